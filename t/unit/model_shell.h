/*
 * The shell of the model test: what the feed and the listeners do, without
 * sockets, and the connection between them and Redis.
 */

#ifndef MODEL_SHELL_H
#define MODEL_SHELL_H

#include "model_oracle.h"


static void pump(void);


/* --- Redis --- */

/* what XINFO tells */

static void
answer_facts(model_packet_t *p)
{
    const model_stream_t  *s;

    s = &m.redis.now;
    p->a.from = p->q.id;
    p->a.serial = p->q.serial;
    p->a.missing = !s->exists;

    if (!s->exists) {
        return;
    }

    p->a.length = s->n;
    p->a.last_id = s->last_id;
    p->a.counted = m.mode->counted;

    if (p->a.counted) {
        p->a.added = s->added;
        p->a.max_deleted = s->max_deleted;
    }

    if (s->n) {
        p->a.oldest = m.redis.id[s->list[0]];
    }
}


static void
answer_entries(model_packet_t *p)
{
    int                    i, e, from;
    size_t                 count;
    const model_stream_t  *s;

    s = &m.redis.now;
    from = (p->q.kind == CONDUIT_HISTORY_FULL) ? 0 : 1;
    count = COUNT + p->q.extra;

    for (i = 0; i < s->n && p->a.nentries < count; i++) {
        e = s->list[i];

        if (conduit_stream_id_cmp(&m.redis.id[e], &p->q.id) >= from) {
            p->entries[p->a.nentries].id = m.redis.id[e];
            p->entries[p->a.nentries++].hash = e + 1;
        }
    }

    p->a.full = (p->a.nentries == count);

    if (from == 0 && p->a.nentries == 0 && s->n) {
        e = s->list[s->n - 1];
        p->a.has_tail = 1;
        p->a.tail.id = m.redis.id[e];
        p->a.tail.hash = e + 1;
    }
}


static void
execute(void)
{
    int              full;
    model_packet_t  *p;

    if (m.nout == 0 || m.nin == QUEUE) {
        return;
    }

    p = &m.in[m.nin++];
    *p = m.out[0];
    memmove(m.out, m.out + 1, --m.nout * sizeof(*p));

    if (m.storm || m.redis.wrong) {
        p->failed = 1;
    }

    if (p->failed) {
        say("redis answers an error %d", p->failed);
        return;
    }

    m.armed = 1;
    p->line = m.redis.now.exists ? model_line(&m.redis, m.redis.now.tip) : 0;
    p->there = m.redis.there;
    p->trimmed = m.redis.trimmed;
    memset(&p->a, 0, sizeof(p->a));
    full = (p->q.kind == CONDUIT_HISTORY_FULL);

    if (full) {
        answer_facts(p);
    }

    if (m.redis.now.exists) {
        answer_entries(p);
    }

    say("redis answers %s%s from " FID ": %s%zu of %d, last " FID " added %d",
        p->batch ? "batch " : "", full ? "FULL" : "FAST", ID(p->q.id),
        p->a.missing ? "missing, " : "", p->a.nentries, m.redis.now.n,
        ID(m.redis.now.last_id), (int) m.redis.now.added);
}


static void
send_out(int batch, conduit_history_question_t *q)
{
    model_packet_t  *p;

    asked(batch);

    if (m.promise) {
        return;
    }

    p = &m.out[m.nout++];
    p->batch = batch;
    p->q = *q;
    p->failed = 0;

    say("asks %s%s " FID, batch ? "batch " : "",
        q->kind == CONDUIT_HISTORY_FULL ? "FULL" : "FAST", ID(q->id));
}


static void
ask(int rung)
{
    conduit_history_question_t  q;

    conduit_history_ask(&m.h, rung, MODEL_ENTRIES, &q);
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


static void
judge_sub(int i, const conduit_history_answer_t *a)
{
    model_sub_t  *sub;

    sub = &m.subs[i];

    if (conduit_place_judge(&sub->place, &m.h, a) == CONDUIT_HISTORY_AGAIN) {
        say("sub %d is to ask again from " FID, i, ID(sub->place.pos));
        sub->moved = sub->place.pos;
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


static void
take(void)
{
    int                       e;
    conduit_history_next_e    next;
    conduit_history_entry_t  *entry;

    if (m.h.busy != CONDUIT_HISTORY_TAKING) {
        return;
    }

    if (rnd(64) == 0) {
        say("memory is out");
        m.blind |= BIT((int) m.taking.entries[0].hash - 1);
        conduit_history_failed(&m.h);
        m.waits[0] = 1;
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

    if (m.taken == m.taking.a.nentries) {
        next = conduit_history_taken(&m.h);
        settled();

        if (next == CONDUIT_HISTORY_NEXT_ASK) {
            ask(0);
        }
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
    int                     i, c, numbered, zero;
    uint64_t                seq;
    conduit_history_plan_t  plan;

    m.taking = *p;
    m.taking.a.entries = m.taking.entries;

    numbered = m.h.numbered;
    zero = (m.h.cursor.ms == 0 && m.h.cursor.seq == 0);
    c = at_cursor();

    conduit_history_answer(&m.h, &m.taking.a, &plan);

    planned(&m.taking, &plan, c, zero, numbered);

    m.taken = plan.first;

    say("plan: %s; change %d next %d first %zu of %zu, number %d%s", plan.why,
        plan.change, plan.next, plan.first, p->a.nentries, (int) m.h.number,
        m.h.numbered ? "" : "?");

    for (i = 0; i < SUBS; i++) {

        if (m.subs[i].here && plan.change == CONDUIT_HISTORY_CUT) {
            conduit_place_cut(&m.subs[i].place, &m.h);

        } else if (m.subs[i].here && plan.change == CONDUIT_HISTORY_RESTART) {
            conduit_place_restarted(&m.subs[i].place, &m.h);
        }
    }

    if (plan.change == CONDUIT_HISTORY_CUT) {
        seq = conduit_window_after(&m.batch, m.batch.base,
                                   conduit_window_end(&m.batch), &m.h.cursor);
        conduit_window_cut(&m.batch, seq);

        if (conduit_stream_id_cmp(&m.batch_last, &m.h.cursor) > 0) {
            m.batch_last = m.h.cursor;
            m.batch_has_next = 0;
        }

    } else if (plan.change == CONDUIT_HISTORY_RESTART) {
        drop_batch();
    }

    switch (plan.next) {

    case CONDUIT_HISTORY_NEXT_ASK:
        settled();
        ask(0);
        break;

    case CONDUIT_HISTORY_NEXT_IDLE:
        settled();
        break;

    default:
        break;
    }
}


static void
batch_answered(model_packet_t *p)
{
    int               i, e;
    size_t            k, n;
    conduit_item_t    item;
    conduit_place_t  *place;

    m.batch_state = B_IDLE;
    p->a.entries = p->entries;

    if (!conduit_history_agrees(&m.h, &p->a)) {
        say("batch does not agree");

        if (++m.disagreed > 1) {
            m.batch_state = B_WAIT;
            m.waits[1] = 1;
        }

        ring(0);
        return;
    }

    m.disagreed = 0;
    batch_agreed(p, at_cursor());
    m.batch_has_next = conduit_history_batch(&m.h, &p->a, &n, &m.batch_last,
                                             &m.batch_next);
    drop_batch();

    for (k = 0; k < n; k++) {
        e = (int) p->entries[k].hash - 1;
        was_read(e, p);
        memset(&item, 0, sizeof(item));
        item.id = p->entries[k].id;
        item.frame = m.redis.messages & BIT(e) ? &m.redis.id[e] : NULL;

        if (conduit_window_append(&m.batch, &item) != 0) {
            abort();
        }
    }

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


/* what is to be asked for those who are below */

static void
pump(void)
{
    int                          i;
    conduit_place_t             *p;
    conduit_history_question_t   q;

    if (m.batch_state != B_IDLE || m.h.state == CONDUIT_HISTORY_CLAIMED
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


static void
deliver(void)
{
    model_packet_t  p;

    /* what is being taken comes first */

    if (m.nin == 0 || m.h.busy == CONDUIT_HISTORY_TAKING) {
        return;
    }

    p = m.in[0];
    memmove(m.in, m.in + 1, --m.nin * sizeof(p));
    m.out_now[p.batch]--;
    m.waits[p.batch] = (p.failed == 1);

    if (!p.failed) {
        if (p.batch) {
            batch_answered(&p);

        } else {
            answered(&p);
        }

    } else if (p.batch) {
        m.batch_state = p.failed == 1 ? B_WAIT : B_IDLE;

    } else if (p.failed == 1) {
        conduit_history_failed(&m.h);

    } else {
        conduit_history_unsent(&m.h);
        ask(0);
    }
}


static void
cut_link(void)
{
    say("link lost and up");

    m.nout = 0;
    m.nin = 0;
    memset(m.out_now, 0, sizeof(m.out_now));
    memset(m.waits, 0, sizeof(m.waits));
    m.bells = 0;
    m.armed = 0;

    if (m.batch_state == B_OUT) {
        m.batch_state = B_IDLE;
    }

    if (m.h.busy == CONDUIT_HISTORY_TAKING) {
        m.blind |= BIT((int) m.taking.entries[0].hash - 1);
    }

    conduit_history_unsent(&m.h);
    ask(1);
}


static void
retry(void)
{
    memset(m.waits, 0, sizeof(m.waits));

    if (m.batch_state == B_WAIT) {
        m.batch_state = B_IDLE;
    }

    if (conduit_history_retry(&m.h)) {
        ask(0);
    }
}


static int
serve(int n)
{
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
        delivered(n, (int) ((conduit_stream_id_t *) item->frame - m.redis.id));
        conduit_place_sent(&sub->place, item);
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
