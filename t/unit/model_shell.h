/* Copyright (C) Conduit for NGINX authors */

/*
 * The shell of the model test, around its feed: links that go down and come up,
 * errors, the retry timer, and the serving of subscribers.
 */

#ifndef MODEL_SHELL_H
#define MODEL_SHELL_H

#include "model_feed.h"


/* forgets the cursor's question, if any, unless its answer is being taken */

static void
unsent(void)
{
    if (m.h.busy == CONDUIT_HISTORY_TAKING) {

        /* all entries of the answer being taken are taken first */

        m.renew = 1;
        return;
    }

    conduit_history_unsent(&m.h);
}


static void
link_lost(void)
{
    say("the link is lost");

    m.down = 1;
    m.nout = 0;
    m.nin = 0;
    memset(m.out_now, 0, sizeof(m.out_now));
    m.bells = 0;
    m.armed = 0;
    m.waits[0] = 0;

    if (m.batch_state == B_OUT) {
        m.batch_state = B_IDLE;
    }

    unsent();
}


static void
link_up(void)
{
    say("the link is up");

    m.down = 0;
    m.polling = m.mode->poll;
    unsent();

    if (!m.renew) {
        ask(rnd(2));
    }

    pump();
}


/* an entry seems larger than a reply may be: disconnects all subscribers */

static void
give_up(void)
{
    int  i;

    say("all are sent away");

    for (i = 0; i < SUBS; i++) {
        m.subs[i].here = 0;
    }
}


/* the next question asks for fewer entries */

static void
too_large(const model_packet_t *p)
{
    if (!p->batch && p->q.kind == CONDUIT_HISTORY_FULL && p->q.overlap > 1) {
        m.max_overlap = p->q.overlap / 2;

    } else if (count_of(p->batch) > 1) {
        m.shift[p->batch]++;

    } else {
        give_up();
    }
}


static void
failed(const model_packet_t *p)
{
    if (p->failed == TOO_LARGE) {
        too_large(p);
    }

    if (p->batch) {
        m.batch_state = p->failed == REDIRECT ? B_IDLE : B_WAIT;

    } else {
        conduit_history_unsent(&m.h);
    }

    if (p->failed == REDIRECT) {

        if (rnd(3) == 0) {
            link_lost();            /* there is no link to the new server yet */

        } else if (!p->batch) {
            ask(0);
        }

        return;
    }

    m.waits[p->batch] = 1;
    later();

    if (!p->batch) {
        conduit_history_failed(&m.h);
    }
}


static void
deliver(void)
{
    model_packet_t  p;

    /* the answer being taken comes first; errors do not wait for it */

    if (m.nin == 0 || (is_taking() && !m.in[0].failed)) {
        return;
    }

    p = m.in[0];
    memmove(m.in, m.in + 1, --m.nin * sizeof(p));
    m.out_now[p.batch]--;

    if (p.failed) {
        failed(&p);
        return;
    }

    if (!p.a.full) {
        m.shift[p.batch] = 0;
    }

    if (p.batch) {
        batch_answered(&p);

    } else {
        answered(&p);
    }
}


/* the timer */

static void
retry(void)
{
    if (!m.later) {
        return;
    }

    m.later = 0;
    memset(m.waits, 0, sizeof(m.waits));

    if (m.batch_state == B_WAIT) {
        m.batch_state = B_IDLE;
    }

    (void) conduit_history_retry(&m.h);
    ring(0);
    pump();
}


/*
 * A subscriber in a batch is blocked: the batch does not wait for it, it
 * remembers the next entry.
 */

static void
pause_sub(int n)
{
    conduit_place_t       *p;
    const conduit_item_t  *item;

    p = &m.subs[n].place;

    if (!m.subs[n].here || p->where != CONDUIT_PLACE_BATCH) {
        return;
    }

    say("sub %d is slow", n);

    if (conduit_place_next(p, &m.h, &m.batch, &item) == CONDUIT_PLACE_NONE) {
        conduit_place_batch_done(p, &m.h, &m.batch_last,
                                 m.batch_has_next ? &m.batch_next : NULL);
        return;
    }

    conduit_place_unserved(p);
    p->next = item->id;
    p->has_next = 1;
}


static int
serve(int n)
{
    int                    e;
    model_sub_t           *sub;
    const conduit_item_t  *item;

    sub = &m.subs[n];

    if (!sub->here) {
        return 0;
    }

    switch (conduit_place_next(&sub->place, &m.h, &m.batch, &item)) {

    case CONDUIT_PLACE_TELL:
        told(n, sub->place.loss);
        sub->place.loss = CONDUIT_PLACE_TOLD;
        return 1;

    case CONDUIT_PLACE_SEND:
        e = (int) ((conduit_stream_id_t *) item->frame - m.redis.id);
        delivered(n, e);
        conduit_place_sent(&sub->place, item);

        if (m.redis.ends & BIT(e)) {
            say("sub %d has its END", n);
            sub->here = 0;
        }

        return 1;

    case CONDUIT_PLACE_NONE:
        if (sub->place.where == CONDUIT_PLACE_BATCH) {
            conduit_place_batch_done(&sub->place, &m.h, &m.batch_last,
                                     m.batch_has_next ? &m.batch_next : NULL);
            return 1;
        }

        return 0;

    default:
        return 0;
    }
}

#endif /* MODEL_SHELL_H */
