/* Copyright (C) Conduit for NGINX authors */

/*
 * The feed of the model test, without sockets: the question about the cursor,
 * the batch, and what an answer to them does to the subscribers.
 */

#ifndef MODEL_FEED_H
#define MODEL_FEED_H

#include "model_link.h"


static void pump(void);


/* by the retry timer */

static void
later(void)
{
    m.later = 1;
}


static void
ask(int rung)
{
    conduit_history_question_t  q;

    /* when a link comes up, all is asked for */

    if (m.down || m.h.busy != CONDUIT_HISTORY_IDLE) {
        return;
    }

    if (m.max_overlap >= m.h.window.n) {
        m.max_overlap = 0;
    }

    conduit_history_ask(&m.h, rung,
                        m.max_overlap ? m.max_overlap : MODEL_ENTRIES, &q);
    send_out(0, &q);
}


static void
ring(int rung)
{
    if (conduit_history_ring(&m.h)) {
        ask(rung);
    }
}


static void
drop_batch(void)
{
    conduit_window_drop(&m.batch, m.batch.n);
}


static void
trim(void)
{
    int     i;
    size_t  n;

    n = conduit_window_excess(&m.h.window, m.limit);

    if (n == 0) {
        return;
    }

    for (i = 0; i < SUBS; i++) {
        if (m.subs[i].here) {
            conduit_place_leave(&m.subs[i].place, &m.h, n);
        }
    }

    if (!m.batch_has_next) {
        m.batch_has_next = conduit_history_batch_leave(&m.h, n, &m.batch_last,
                                                       &m.batch_next);
    }

    conduit_history_drop(&m.h, n);
}


/* changes the limit of the window at any time, even while an answer is due */

static void
shrink(void)
{
    m.limit = 100 * rnd(8);
    trim();
    say("the window has %zu items", m.h.window.n);
}


static void
judge_sub(int i, const conduit_history_answer_t *a)
{
    model_sub_t          *sub;
    conduit_stream_id_t   pos;

    sub = &m.subs[i];
    pos = sub->place.pos;

    switch (conduit_place_judge(&sub->place, &m.h, a)) {

    case CONDUIT_HISTORY_AGAIN:
        say("sub %d is to ask again from " FID, i, ID(sub->place.pos));

        if (conduit_stream_id_cmp(&pos, &sub->place.pos) != 0) {
            sub->moved = sub->place.pos;
        }

        break;

    case CONDUIT_HISTORY_END:
        say("sub %d waits for what follows the END", i);
        conduit_place_settle(&sub->place, &m.h, a);
        break;

    default:
        say("sub %d is at %d, " FID, i, sub->place.where, ID(sub->place.pos));
    }
}


/* after the last entry of an answer */

static void
settled(void)
{
    int               i;
    conduit_place_t  *p;

    if (m.taking.q.kind == CONDUIT_HISTORY_FULL
        && conduit_history_agrees(&m.h, &m.taking.a)) {

        for (i = 0; i < SUBS; i++) {
            p = &m.subs[i].place;

            if (!m.subs[i].here || p->where != CONDUIT_PLACE_JOINING
                || conduit_stream_id_cmp(&p->pos, &m.taking.a.from) < 0)
            {
                continue;
            }

            judge_sub(i, &m.taking.a);

            if (p->where == CONDUIT_PLACE_BATCH) {
                conduit_place_unserved(p);
            }
        }
    }

    trim();
}


/* an answer is done with */

static void
done(int ask_again)
{
    if (m.renew) {
        say("its link is not there any more");
        m.renew = 0;
        m.waits[0] = 0;
        conduit_history_unsent(&m.h);
        ask_again = 1;
    }

    if (ask_again) {
        ask(0);
    }
}


static void
take_one(void)
{
    int                       e;
    conduit_history_next_e    next;
    conduit_history_entry_t  *entry;

    if (rnd(64) == 0) {
        say("memory is out");
        m.blind |= BIT((int) m.taking.entries[0].hash - 1);
        m.memory_out = 1;
        conduit_history_failed(&m.h);
        m.waits[0] = 1;
        later();
        done(0);
        return;
    }

    entry = &m.taking.entries[m.taken++];
    e = (int) entry->hash - 1;
    m.redis.seen |= BIT(e) & m.redis.there;
    m.seen_life[e] = m.h.life;
    was_read(e, &m.taking);

    if (conduit_history_take(&m.h, entry,
                             m.redis.messages & BIT(e) ? &m.redis.id[e] : NULL,
                             100)
        != 0)
    {
        abort();
    }

    say("takes " FID, ID(entry->id));

    if (m.taken == m.take_end) {
        next = conduit_history_taken(&m.h, &m.taking.a);
        settled();
        done(next == CONDUIT_HISTORY_NEXT_ASK);
    }
}


/* all entries of a batch were taken: it serves its subscribers */

static void
batch_taken(void)
{
    int               i;
    model_packet_t   *p;
    conduit_place_t  *place;

    p = &m.batch_taking;
    m.batch_state = B_IDLE;

    for (i = 0; i < SUBS; i++) {
        place = &m.subs[i].place;

        if (!m.subs[i].here || place->life != m.h.life
            || place->where == CONDUIT_PLACE_WINDOW
            || conduit_stream_id_cmp(&place->pos, &p->a.from) < 0)
        {
            continue;
        }

        judge_sub(i, &p->a);
    }
}


static void
batch_take_one(void)
{
    int             e;
    conduit_item_t  item;

    if (rnd(64) == 0) {
        say("memory is out");
        drop_batch();
        m.batch_state = B_WAIT;
        m.waits[1] = 1;
        later();
        return;
    }

    memset(&item, 0, sizeof(item));
    item.id = m.batch_taking.entries[m.batch_taken].id;
    e = (int) m.batch_taking.entries[m.batch_taken++].hash - 1;
    item.frame = m.redis.messages & BIT(e) ? &m.redis.id[e] : NULL;
    was_read(e, &m.batch_taking);

    if (conduit_window_append(&m.batch, &item) != 0) {
        abort();
    }

    if (m.batch_taken == m.batch_n) {
        batch_taken();
    }
}


/* answers are processed one after the other, each in several turns */

static int
is_taking(void)
{
    return m.h.busy == CONDUIT_HISTORY_TAKING || m.batch_state == B_TAKING;
}


static void
take(void)
{
    if (m.h.busy == CONDUIT_HISTORY_TAKING) {
        take_one();

    } else if (m.batch_state == B_TAKING) {
        batch_take_one();
    }
}


/* the entry there, or -1 */

static int
at_cursor(void)
{
    int  c;

    c = (int) m.h.cursor_hash - 1;

    return c >= 0 && conduit_stream_id_cmp(&m.redis.id[c], &m.h.cursor) == 0
           ? c : -1;
}


static void
answered(model_packet_t *p)
{
    int                     i, c, known, zero;
    conduit_stream_id_t     pos;
    conduit_history_plan_t  plan;

    m.taking = *p;
    m.taking.a.entries = m.taking.entries;

    known = (m.h.number_state == CONDUIT_HISTORY_NUMBER_KNOWN
             || m.h.next.id.ms != 0);
    zero = (m.h.cursor.ms == 0 && m.h.cursor.seq == 0);
    c = at_cursor();

    if (known) {
        m.memory_out = 0;
    }

    conduit_history_answer(&m.h, &m.taking.a, &plan);

    planned(&m.taking, &plan, c, zero, known);

    m.taken = plan.first;
    m.take_end = plan.end;

    say("plan: %s; change %d next %d first %zu of %zu up to %zu, number %d%s",
        plan.why, plan.change, plan.next, plan.first, p->a.nentries, plan.end,
        (int) m.h.number,
        m.h.number_state == CONDUIT_HISTORY_NUMBER_KNOWN ? "" : "?");

    for (i = 0; i < SUBS; i++) {

        if (m.subs[i].here && plan.change == CONDUIT_HISTORY_CUT) {
            pos = m.subs[i].place.pos;
            conduit_place_cut(&m.subs[i].place, &m.h);

            if (m.subs[i].place.where == CONDUIT_PLACE_JOINING
                && conduit_stream_id_cmp(&pos, &m.subs[i].place.pos) != 0)
            {
                m.subs[i].moved = m.subs[i].place.pos;
            }

        } else if (m.subs[i].here && plan.change == CONDUIT_HISTORY_RESTART) {
            conduit_place_restarted(&m.subs[i].place, &m.h);
        }
    }

    if (plan.change == CONDUIT_HISTORY_CUT) {
        conduit_history_batch_cut(&m.h, &m.batch, &m.batch_last,
                                  &m.batch_next);
        m.batch_has_next = (m.batch_has_next && m.batch_next.ms != 0);

    } else if (plan.change == CONDUIT_HISTORY_RESTART) {
        drop_batch();
    }

    switch (plan.next) {

    case CONDUIT_HISTORY_NEXT_ASK:
    case CONDUIT_HISTORY_NEXT_IDLE:
        settled();
        done(plan.next == CONDUIT_HISTORY_NEXT_ASK);
        break;

    default:
        break;
    }
}


static void
batch_answered(model_packet_t *p)
{
    m.batch_state = B_IDLE;
    m.batch_taking = *p;
    p = &m.batch_taking;
    p->a.entries = p->entries;

    if (!conduit_history_agrees(&m.h, &p->a)) {
        say("batch does not agree");
        batch_disagreed(p, at_cursor());

        if (++m.disagreed > 1) {
            m.batch_state = B_WAIT;
            m.waits[1] = 1;
            later();
        }

        ring(0);
        return;
    }

    m.disagreed = 0;
    batch_agreed(p, at_cursor());
    drop_batch();

    m.batch_has_next = conduit_history_batch(&m.h, &p->a, &m.batch_n,
                                             &m.batch_last, &m.batch_next);
    m.batch_taken = 0;
    m.batch_state = B_TAKING;

    if (m.batch_n == 0) {
        batch_taken();
    }
}


/* sends the question for subscribers below the window, if one is needed */

static void
pump(void)
{
    int                          i;
    conduit_place_t             *p;
    conduit_history_question_t   q;

    if (m.down || m.batch_state != B_IDLE
        || m.h.state == CONDUIT_HISTORY_CLAIMED
        || (m.disagreed && m.h.busy != CONDUIT_HISTORY_IDLE))
    {
        return;
    }

    for (i = 0; i < SUBS; i++) {
        if (m.subs[i].here && m.subs[i].place.where == CONDUIT_PLACE_BATCH) {
            return;
        }
    }

    for (i = 0; i < SUBS; i++) {
        p = &m.subs[i].place;

        if (m.subs[i].here && (p->where == CONDUIT_PLACE_BELOW
                               || p->where == CONDUIT_PLACE_JOINING))
        {
            conduit_history_ask_batch(&m.h, &p->pos, &q);
            m.batch_state = B_OUT;
            send_out(1, &q);
            return;
        }
    }
}

#endif /* MODEL_FEED_H */
