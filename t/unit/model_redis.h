/* Copyright (C) Conduit for NGINX authors */

/*
 * A small Redis stream for test_model.c: the effects of XADD, XTRIM, XDEL, DEL,
 * RENAME, RESTORE and XSETID, and what XINFO STREAM says of them.  Also what no
 * server says: which entries were ever added, which of them came before which,
 * and where each of them is now.
 *
 * A set of entries is a mask of 64 bits, one for each index of the log.
 */

#ifndef MODEL_REDIS_H
#define MODEL_REDIS_H

#include <stdint.h>
#include <string.h>

#include "conduit_id.h"

#define MODEL_ENTRIES  64           /* entries of a run, at most */

#define BIT(e)  ((uint64_t) 1 << (e))

typedef struct {
    int                  exists;
    int                  n;
    int                  list[MODEL_ENTRIES];
    int                  padded;    /* XSETID has raised entries-added */
    int                  tip;       /* the entry added last, there or not; -1:
                                       none */
    conduit_stream_id_t  last_id;
    conduit_stream_id_t  max_deleted;
    uint64_t             added;
    uint64_t             trimmed;   /* masks; valid in a copy */
    uint64_t             deleted;
} model_stream_t;

typedef struct {
    model_stream_t       now;
    model_stream_t       dump;      /* the stream at an earlier moment */
    model_stream_t       aside;     /* the stream under another name */
    int                  wrong;     /* the key holds no stream */

    conduit_stream_id_t  id[MODEL_ENTRIES];
    uint64_t             line[MODEL_ENTRIES];   /* an entry, and those added
                                                   before it to the same
                                                   stream */
    int                  n;         /* entries ever added */
    uint64_t             messages;  /* masks from here on: entries that are
                                       messages */
    uint64_t             ends;      /* messages that are an END */

    uint64_t             there;     /* each entry is in one of these four */
    uint64_t             trimmed;
    uint64_t             deleted;
    uint64_t             gone;      /* removed with the stream: DEL, RESTORE */

    uint64_t             seen;      /* read by the channel since they are
                                       there */
    uint64_t             back;      /* brought back */
    uint64_t             came;      /* brought back by the last operation */
    uint64_t             padded;    /* of a stream whose entries-added was
                                       raised above what it has had */
    int                  setid;     /* XSETID has raised last-generated-id */
    uint64_t             clock;
    int                  changed;   /* the stream changed since this was
                                       cleared: the key rings */
} model_redis_t;


static uint64_t
model_line(const model_redis_t *r, int e)
{
    return e >= 0 ? r->line[e] : 0;
}


static uint64_t
model_mask(const model_stream_t *s)
{
    int       i;
    uint64_t  mask;

    mask = 0;

    for (i = 0; i < s->n; i++) {
        mask |= BIT(s->list[i]);
    }

    return mask;
}


/* what an entry is */
typedef enum {
    NO_MESSAGE = 0,
    MESSAGE,
    END
} model_kind_e;


static void
model_xadd(model_redis_t *r, model_kind_e kind)
{
    int              e;
    model_stream_t  *s;

    if (r->n == MODEL_ENTRIES || r->wrong) {
        return;
    }

    s = &r->now;

    if (!s->exists) {
        memset(s, 0, sizeof(*s));
        s->exists = 1;
        s->tip = -1;
    }

    if (r->clock > s->last_id.ms) {
        s->last_id.ms = r->clock;
        s->last_id.seq = 0;

    } else {
        s->last_id.seq++;
    }

    e = r->n++;
    r->id[e] = s->last_id;
    r->line[e] = BIT(e) | model_line(r, s->tip);
    r->there |= BIT(e);

    if (s->padded) {
        r->padded |= BIT(e);
    }

    if (kind != NO_MESSAGE) {
        r->messages |= BIT(e);
    }

    if (kind == END) {
        r->ends |= BIT(e);
    }

    s->list[s->n++] = e;
    s->tip = e;
    s->added++;
    r->changed = 1;
}


/* takes n entries out of the stream, from the i-th on */

static void
model_remove(model_redis_t *r, int i, int n)
{
    model_stream_t  *s;

    s = &r->now;
    memmove(s->list + i, s->list + i + n, (s->n - i - n) * sizeof(int));
    s->n -= n;
    r->there = model_mask(s);
    r->changed = 1;
}


static void
model_xtrim(model_redis_t *r, int n)
{
    uint64_t  was;

    if (n) {
        was = r->there;
        model_remove(r, 0, n);
        r->trimmed |= was & ~r->there;
    }
}


static void
model_xdel(model_redis_t *r, int i)
{
    int              e;
    model_stream_t  *s;

    s = &r->now;
    e = s->list[i];

    if (conduit_stream_id_cmp(&r->id[e], &s->max_deleted) > 0) {
        s->max_deleted = r->id[e];
    }

    model_remove(r, i, 1);
    r->deleted |= BIT(e);
}


static void
model_del(model_redis_t *r)
{
    r->gone |= r->there;
    r->there = 0;
    r->changed |= (r->now.exists || r->wrong);
    r->now.exists = 0;
    r->now.n = 0;
    r->wrong = 0;
}


static void
model_xsetid(model_redis_t *r, int ms, int added)
{
    model_stream_t  *s;

    s = &r->now;
    s->last_id.ms += ms;
    r->setid |= (ms > 0);
    s->added += added;

    if (added) {
        s->padded = 1;
        r->padded |= model_line(r, s->tip);
    }
}


/* another type: no question can be answered until it is deleted */

static void
model_set(model_redis_t *r)
{
    model_del(r);
    r->wrong = 1;
    r->changed = 1;
}


static void
model_dump(const model_redis_t *r, model_stream_t *s)
{
    *s = r->now;
    s->trimmed = r->trimmed;
    s->deleted = r->deleted;
}


/* the key gets another stream: RESTORE REPLACE, RENAME, a failover */

static void
model_become(model_redis_t *r, const model_stream_t *s)
{
    int       e;
    uint64_t  was, line;

    was = r->there;
    line = model_line(r, s->tip);

    for (e = 0; e < r->n; e++) {

        /* rolled back: the loss of the entries after it is told to nobody */

        if ((r->line[e] & line) && !(line & BIT(e))) {
            r->seen &= ~BIT(e);
        }
    }

    model_del(r);
    r->now = *s;
    r->there = model_mask(s);
    r->trimmed = (r->trimmed & ~line) | (s->trimmed & line);
    r->deleted = (r->deleted & ~line) | (s->deleted & line);
    r->gone &= ~(r->trimmed | r->deleted);
    r->came = r->there & ~was;
    r->back |= r->came;
    r->seen &= ~r->came;
    r->gone &= ~r->there;
    r->changed = 1;
}


static void
model_rename(model_redis_t *r)
{
    model_stream_t  s;

    if (r->aside.exists) {
        s = r->aside;
        r->aside.exists = 0;
        model_become(r, &s);

    } else if (r->now.exists) {
        model_dump(r, &r->aside);
        model_del(r);
    }
}

#endif /* MODEL_REDIS_H */
