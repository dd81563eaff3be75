/* Copyright (C) Conduit for NGINX authors */

/*
 * The oracle of the model test: compares what each subscriber gets with what
 * the streams had, and the channel's plans with what was true when Redis
 * answered.
 */

#ifndef MODEL_ORACLE_H
#define MODEL_ORACLE_H

#include "model_judge.h"


/* stores which entries were there when an entry was read, each time */

static void
was_read(int e, const model_packet_t *p)
{
    if (m.was_read & BIT(e)) {
        m.read_there[e] &= p->there;
        m.read_trimmed[e] |= p->trimmed;
        return;
    }

    m.was_read |= BIT(e);
    m.read_there[e] = p->there;
    m.read_trimmed[e] = p->trimmed;
}


static void
told(int n, int loss)
{
    model_sub_t  *sub;

    sub = &m.subs[n];
    say("sub %d is told %s", n, loss == CONDUIT_PLACE_GONE ? "\"gone\""
                                                           : "\"trimmed\"");

    if (sub->told < loss) {
        sub->told = loss;
    }
}


/*
 * A position may be that of any entry that ever had the ID, or the one before a
 * rollback: the ID does not tell.  One of them has to fit what the subscriber
 * gets, one what it is told.
 */

static void
first_delivered(int n, int b)
{
    int             a, e, last, p1, p2;
    const char     *promise, *form;
    model_sub_t    *sub;
    model_redis_t  *r;

    r = &m.redis;
    sub = &m.subs[n];
    last = -1;
    p1 = 0;
    p2 = 0;
    form = NULL;
    e = -1;

    for (a = 0; a < r->n && a < sub->born; a++) {

        if (conduit_stream_id_cmp(&r->id[a], &sub->start) != 0
            && conduit_stream_id_cmp(&r->id[a], &sub->moved) != 0)
        {
            continue;
        }

        last = a;
        promise = judge_step(sub, a, b, &form, &e);
        p1 |= (promise == NULL || strcmp(promise, "P1") != 0);
        p2 |= (promise == NULL || strcmp(promise, "P2") != 0);

        if (promise == NULL && sub->told != CONDUIT_PLACE_GONE
            && !(r->line[a] & BIT(b)))
        {
            sub->done |= r->line[a];
        }
    }

    if (p1 && p2) {
        return;
    }

    promise = judge_step(sub, last, b, &form, &e);

    if (promise) {
        broken(promise, form, n, b, last, e);
    }
}


static void
next_delivered(int n, int b)
{
    int           e;
    const char   *promise, *form;
    model_sub_t  *sub;

    sub = &m.subs[n];

    if (sub->place.life != sub->life) {

        /* the channel sees another life, which is read from its oldest entry */

        sub->twice |= sub->got;
    }

    if (sub->got & ~sub->twice & BIT(b)) {
        broken("P3", "sub %d gets entry %d twice", n, b);
    }

    promise = judge_step(sub, sub->prev, b, &form, &e);

    if (promise) {
        broken(promise, form, n, b, sub->prev, e);
    }
}


/* an entry is delivered */

static void
delivered(int n, int b)
{
    model_sub_t  *sub;

    sub = &m.subs[n];

    say("sub %d gets " FID " (entry %d)", n, ID(m.redis.id[b]), b);

    if (sub->prev >= 0) {
        next_delivered(n, b);

    } else {
        first_delivered(n, b);
    }

    if (sub->life != sub->place.life) {
        sub->done = 0;
    }

    sub->done |= m.redis.line[b];
    sub->got |= BIT(b);
    sub->twice &= ~BIT(b);
    sub->prev = b;
    sub->life = sub->place.life;
    sub->told = CONDUIT_PLACE_TOLD;
}


/*
 * Whether an answer is of the stream that had these entries, c at the cursor,
 * and the channel could know it: not after XDEL of c and an entry after it, nor
 * after XSETID, nor with entries that were brought back.
 */

static int
is_same(const model_packet_t *p, uint64_t had, int c)
{
    if ((m.redis.deleted & BIT(c))
        && (!p->a.counted
            || conduit_stream_id_cmp(&p->a.max_deleted, &m.redis.id[c])))
    {
        return 0;
    }

    return !(had & ~p->line) && !(m.fooled_by & m.redis.line[c])
           && !(p->line & m.redis.back) && !m.redis.setid
           && !(m.redis.padded & (p->line | had));
}


/*
 * Whether the channel goes on in a stream that lacks the entry at the cursor,
 * or other entries that the channel had, as the numbers fit.
 */

static int
is_taken_for(const model_packet_t *p, uint64_t had, int c)
{
    if (p->q.kind != CONDUIT_HISTORY_FULL) {
        return 0;
    }

    return (c >= 0 && !(p->line & BIT(c)))
           || (m.h.state == CONDUIT_HISTORY_SUSPECT
               && ((had & ~p->line) || (p->line & m.redis.back)));
}


/* the channel reads again the entries after the cursor */

static void
rolled_back(const model_packet_t *p)
{
    int       i, c;
    uint64_t  again;

    c = (int) m.h.cursor_hash - 1;
    again = p->there & m.redis.back ? UINT64_MAX : ~p->there;

    for (i = 0; i < m.redis.n; i++) {
        if ((m.redis.line[i] & BIT(c)) && i != c) {
            m.redis.seen &= ~BIT(i);
        }
    }

    for (i = 0; i < SUBS; i++) {
        m.subs[i].twice |= m.subs[i].got & again;
    }
}


/*
 * A plan of the channel, before its entries are taken.  c is the entry at the
 * cursor before, or -1.
 */

static void
planned(const model_packet_t *p, const conduit_history_plan_t *plan, int c,
    int was_zero, int was_known)
{
    int       x;
    uint64_t  before, was;

    was = c >= 0 ? m.redis.line[c] : m.line;
    x = plan->first < p->a.nentries
        ? (int) p->entries[plan->first].hash - 1 : -1;
    before = x >= 0 ? m.redis.line[x] & ~BIT(x) : p->line;

    if (plan->change == CONDUIT_HISTORY_GAP && !was_known && m.memory_out) {
        m.blind |= BIT(x);
    }

    if (was_zero && !m.mode->counted) {

        /* Redis 6: the loss of entries before the first read can't be
           noticed */

        m.unseen |= before;
    }

    if (plan->change == CONDUIT_HISTORY_RESTART) {

        if (c >= 0 && is_same(p, was | m.line, c)) {
            broken("P3", "the stream is read anew (%s), but it is the one of "
                   "entry %d", plan->why, c);
        }

    } else if (plan->change == CONDUIT_HISTORY_CUT) {
        rolled_back(p);

    } else if (!p->a.missing && is_taken_for(p, was | m.line, c)) {
        say("fooled");
        m.fooled |= before;
        m.fooled_by |= was | m.line | (x >= 0 ? m.redis.line[x] : p->line);
    }

    if (p->q.kind == CONDUIT_HISTORY_FULL) {
        m.line = p->line;

    } else if (m.h.state == CONDUIT_HISTORY_SURE) {
        m.line |= p->line;
    }
}


/*
 * A batch agrees; c is the entry at the cursor.  A batch that ends below the
 * window may be of another stream, before the cursor's question finds that out.
 */

static void
batch_agreed(const model_packet_t *p, int c)
{
    if (c >= 0 && !(p->line & BIT(c))) {
        say("misled");
        m.fooled |= m.redis.line[c] & ~p->line & ~p->there;
        m.fooled_by |= m.redis.line[c] | p->line;
    }

    m.line |= p->line;
}


/*
 * A batch does not agree; c is the entry at the cursor.  While nothing but XADD
 * and XTRIM happens, a batch that has c, or was asked for from before it, is of
 * the same stream.
 */

static void
batch_disagreed(const model_packet_t *p, int c)
{
    if (!m.mode->wild && c >= 0 && (p->there & BIT(c))
        && (conduit_stream_id_cmp(&p->q.id, &m.redis.id[c]) <= 0
            || (p->a.has_tail && (int) p->a.tail.hash - 1 == c)))
    {
        broken("P4", "a batch from " FID " does not agree, though entry %d is "
               "there", ID(p->q.id), c);
    }
}


/* P5 and P6: a question is sent */

static void
asked(int batch)
{
    if (m.out_now[batch]++) {
        broken("P6", "two %s at once", batch ? "batches" : "questions");
    }

    if (m.waits[batch]) {
        broken("P5", "a %s is asked again without the timer",
               batch ? "batch" : "question");
    }

    m.questions++;
}


/* P4: all is quiet, and entry e was added last */

static void
rested(int e)
{
    int           i;
    model_sub_t  *sub;

    for (i = 0; i < SUBS; i++) {
        sub = &m.subs[i];

        if (sub->here && !(sub->got & BIT(e))) {
            say("sub %d is at %d, " FID ", number %" PRIu64 ", life %u", i,
                sub->place.where, ID(sub->place.pos), sub->place.seq,
                sub->place.life);
            broken("P4", "sub %d has not got the last entry", i);
        }
    }
}

#endif /* MODEL_ORACLE_H */
