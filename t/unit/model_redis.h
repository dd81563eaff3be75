/*
 * A small Redis stream, for test_model.c: what XADD, XTRIM, XDEL, DEL, RESTORE
 * and XSETID leave behind, with what XINFO STREAM tells of it.
 */

#ifndef MODEL_REDIS_H
#define MODEL_REDIS_H

#include <stdint.h>
#include <string.h>

#include "conduit_id.h"

#define MODEL_ENTRIES  96           /* of a run */

typedef enum {
    THERE = 0, TRIMMED, DELETED, ROLLED_BACK, LIFE_OVER
} model_fate_e;

/* an entry that was ever added; its index is its age */
typedef struct {
    conduit_stream_id_t  id;
    int                  life;
    int                  message;
    int                  seen;      /* by the feed */
    model_fate_e         fate;
} model_entry_t;

typedef struct {
    int                  exists;
    int                  life;
    int                  n;
    int                  list[MODEL_ENTRIES];
    conduit_stream_id_t  last_id;
    conduit_stream_id_t  max_deleted;
    uint64_t             added;
} model_stream_t;

typedef struct {
    model_stream_t       now;
    model_stream_t       dump;      /* of an earlier moment */
    int                  dumped;    /* entries in the log then */
    model_entry_t        log[MODEL_ENTRIES];
    int                  nlog;
    int                  lives;
    uint64_t             clock;
    int                  changed;   /* since the flag was cleared: rings */
} model_redis_t;


static void
model_fate(model_redis_t *r, int from, int to, model_fate_e fate)
{
    for ( /* void */ ; from < to; from++) {
        r->log[r->now.list[from]].fate = fate;
    }
}


static void
model_xadd(model_redis_t *r, int message)
{
    model_entry_t   *e;
    model_stream_t  *s;

    if (r->nlog == MODEL_ENTRIES) {
        return;
    }

    s = &r->now;

    if (!s->exists) {
        memset(s, 0, sizeof(*s));
        s->exists = 1;
        s->life = ++r->lives;
    }

    if (r->clock > s->last_id.ms) {
        s->last_id.ms = r->clock;
        s->last_id.seq = 0;

    } else {
        s->last_id.seq++;
    }

    e = &r->log[r->nlog];
    memset(e, 0, sizeof(*e));
    e->id = s->last_id;
    e->life = s->life;
    e->message = message;

    s->list[s->n++] = r->nlog++;
    s->added++;
    r->changed = 1;
}


static void
model_remove(model_redis_t *r, int i, int n, model_fate_e fate)
{
    model_stream_t  *s;

    s = &r->now;

    if (n == 0) {
        return;
    }

    model_fate(r, i, i + n, fate);

    if (fate == DELETED
        && conduit_stream_id_cmp(&r->log[s->list[i]].id, &s->max_deleted) > 0)
    {
        s->max_deleted = r->log[s->list[i]].id;
    }

    memmove(s->list + i, s->list + i + n, (s->n - i - n) * sizeof(int));
    s->n -= n;
    r->changed = 1;
}


static void
model_del(model_redis_t *r)
{
    if (r->now.exists) {
        model_fate(r, 0, r->now.n, LIFE_OVER);
        r->now.exists = 0;
        r->now.n = 0;
        r->changed = 1;
    }
}


/* RESTORE REPLACE, RENAME of a copy, a failover, a server with an older file */

static void
model_restore(model_redis_t *r)
{
    int  e;

    if (!r->dump.exists) {
        return;
    }

    model_fate(r, 0, r->now.n, r->now.life == r->dump.life ? ROLLED_BACK
                                                           : LIFE_OVER);
    for (e = r->dumped; e < r->nlog; e++) {
        if (r->log[e].life == r->dump.life) {
            r->log[e].fate = ROLLED_BACK;
        }
    }

    r->now = r->dump;
    model_fate(r, 0, r->now.n, THERE);
    r->changed = 1;
}

#endif /* MODEL_REDIS_H */
