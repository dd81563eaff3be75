/* Copyright (C) Conduit for NGINX authors */

/*
 * The connection of the model test to Redis: two queues, and what can happen to
 * a question and an answer in them.
 */

#ifndef MODEL_LINK_H
#define MODEL_LINK_H

#include "model_oracle.h"


/* the reply to XINFO */

static void
answer_facts(model_packet_t *p)
{
    const model_stream_t  *s;

    s = &m.redis.now;
    p->a.from = p->q.id;
    p->a.serial = p->q.serial;
    p->a.missing = !s->exists;
    p->line = s->exists ? model_line(&m.redis, s->tip) : 0;

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
    int                    i, e, full;
    const model_stream_t  *s;

    s = &m.redis.now;
    full = (p->q.kind == CONDUIT_HISTORY_FULL);

    m.armed = 1;
    p->line = s->exists ? model_line(&m.redis, s->tip) : 0;
    p->there = m.redis.there;
    p->trimmed = m.redis.trimmed;
    memset(&p->a, 0, sizeof(p->a));
    p->a.kind = p->q.kind;

    for (i = 0; s->exists && i < s->n && p->a.nentries < p->count; i++) {
        e = s->list[i];

        if (conduit_stream_id_cmp(&m.redis.id[e], &p->q.id) >= !full) {
            p->entries[p->a.nentries].id = m.redis.id[e];
            p->entries[p->a.nentries++].hash = e + 1;
        }
    }

    p->a.full = (p->a.nentries == p->count);
}


static void
answer_newest(model_packet_t *p)
{
    int                    e;
    const model_stream_t  *s;

    s = &m.redis.now;

    if (!s->exists || s->n == 0) {
        return;
    }

    e = s->list[s->n - 1];
    p->a.ended = !p->a.full && (m.redis.ends & BIT(e));

    if (p->a.nentries == 0) {
        p->a.has_tail = 1;
        p->a.tail.id = m.redis.id[e];
        p->a.tail.hash = e + 1;
    }
}


/* whether XINFO saw another state of the stream than XREAD before it */

static int
is_changed(const model_packet_t *p)
{
    const conduit_stream_id_t  *last;
    const model_stream_t       *s;

    s = &m.redis.now;

    if (p->a.length == 0) {
        return p->a.nentries != 0;
    }

    last = &m.redis.id[s->list[s->n - 1]];

    if (p->a.nentries == 0) {
        return conduit_stream_id_cmp(last, &p->q.id) >= 0;
    }

    return conduit_stream_id_cmp(&p->entries[0].id, &p->a.oldest) < 0
           || conduit_stream_id_cmp(&p->entries[p->a.nentries - 1].id, last)
              > 0
           || (!p->a.full
               && conduit_stream_id_cmp(&p->entries[p->a.nentries - 1].id, last)
                  != 0);
}


static void
execute(void)
{
    int              full;
    model_packet_t  *p;

    if (m.nout == 0 || m.nin == QUEUE) {
        return;
    }

    p = &m.out[0];
    full = (p->q.kind == CONDUIT_HISTORY_FULL);

    if (m.storm || m.redis.wrong) {
        p->failed = PASSING;
    }

    if (!p->failed && !p->half) {
        answer_entries(p);

        if (full && m.mode->apart) {
            say("redis answers XREAD");
            p->half = 1;
            return;
        }
    }

    if (!p->failed && full) {
        answer_facts(p);
        answer_newest(p);

        if (p->half && is_changed(p)) {
            p->failed = PASSING;
        }
    }

    m.in[m.nin++] = *p;
    memmove(m.out, m.out + 1, --m.nout * sizeof(*p));
    p = &m.in[m.nin - 1];

    if (p->failed) {
        say("redis answers an error %d", p->failed);
        return;
    }

    say("redis answers %s%s from " FID ": %s%zu of %d, last " FID " added %d",
        p->batch ? "batch " : "", full ? "FULL" : "FAST", ID(p->q.id),
        p->a.missing ? "missing, " : "", p->a.nentries, m.redis.now.n,
        ID(m.redis.now.last_id), (int) m.redis.now.added);
}


static size_t
count_of(int batch)
{
    return COUNT >> m.shift[batch] ? COUNT >> m.shift[batch] : 1;
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
    p->count = count_of(batch) + q->extra;
    p->failed = ANSWERED;
    p->half = 0;

    say("asks %s%s " FID " for %zu", batch ? "batch " : "",
        q->kind == CONDUIT_HISTORY_FULL ? "FULL" : "FAST", ID(q->id), p->count);
}


/* a ring without a change: the server's tracking table overflows */

static void
overflow(void)
{
    if (m.armed && !m.polling) {
        say("redis rings for nothing");
        m.armed = 0;
        m.bells++;
    }
}


/* no ring comes any more: a sweep, or polling, has to find new entries */

static void
lose_tracking(void)
{
    say("tracking is lost");
    m.polling = 1;
    m.unrung = 1;
    m.bells = 0;
}

#endif /* MODEL_LINK_H */
