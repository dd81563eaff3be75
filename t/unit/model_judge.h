/* Copyright (C) Conduit for NGINX authors */

/*
 * The oracle of the model test, one step: a subscriber whose position is that
 * of entry a gets entry b.  What must it get, or be told of, before b?
 *
 * The gateway can't know the following, so none breaks a promise (each has its
 * function or its comment below):
 *
 *   by ID     a subscriber goes on after its position's ID, whatever stream
 *             that was of: if it is told "gone"; if no entry ever had the ID;
 *             if the ID is of another stream and inside of this one, on Redis
 *             6, and where its entry may have been deleted or rolled back;
 *             after XSETID
 *   fooled    another stream, or one that was rolled back and went on, whose
 *             numbers fit; and a batch below the window of another stream
 *   back      entries that RESTORE or RENAME has brought back after a position
 *   unseen    Redis 6: entries trimmed before the first read of a stream
 *   holes     after XDEL has left holes, or XSETID has changed entries-added,
 *             "trimmed" may be told although nothing was trimmed; also if
 *             memory was out before an entry after a gap was taken, or before
 *             the end of an answer
 */

#ifndef MODEL_JUDGE_H
#define MODEL_JUDGE_H

#include "model.h"

/* sets of entries */
typedef struct {
    const model_sub_t  *sub;
    int                 a;          /* -1: it starts with the oldest entry */
    int                 b;
    int                 first;      /* it has got nothing yet */
    int                 anew;       /* b is of another life of the stream, as
                                       the channel sees it */
    uint64_t            before;     /* added before b, to the same stream */
    uint64_t            had;        /* entries it got, or was told of */
    uint64_t            after;      /* added after a, to the same stream */
    uint64_t            due;        /* messages that it must get or be told
                                       of */
} model_step_t;


/* the oldest entry of a set */

static int
one_of(uint64_t set)
{
    return set ? __builtin_ctzll(set) : -1;
}


static int
goes_by_id(const model_step_t *s)
{
    int                   i;
    const model_redis_t  *r;
    const model_sub_t    *sub;

    r = &m.redis;
    sub = s->sub;

    if (!s->first) {
        return 0;
    }

    if (s->a < 0 || sub->told == CONDUIT_PLACE_GONE) {
        return 1;
    }

    if (s->before & BIT(s->a)) {
        return 0;
    }

    if (!m.mode->counted || r->setid
        || (conduit_stream_id_cmp(&sub->start, &m.h.rollback_from) > 0
            && conduit_stream_id_cmp(&sub->start, &m.h.rollback_to) <= 0))
    {
        return 1;
    }

    for (i = 0; i < r->n; i++) {
        if (((r->deleted | r->back) & BIT(i))
            && conduit_stream_id_cmp(&r->id[i], &sub->start) >= 0)
        {
            return 1;
        }
    }

    return 0;
}


/* whether a and b are of two streams that the channel took for one stream */

static int
is_fooled(const model_step_t *s)
{
    return s->a >= 0 && !(s->before & BIT(s->a))
           && (m.fooled_by & m.redis.line[s->a]);
}


static void
step_of(model_step_t *s, const model_sub_t *sub, int a, int b)
{
    int                   i;
    const model_redis_t  *r;

    r = &m.redis;
    s->sub = sub;
    s->a = a;
    s->b = b;
    s->first = (sub->prev < 0);
    s->anew = !s->first && sub->life != sub->place.life;
    s->before = r->line[b] & ~BIT(b);
    s->had = model_line(r, a) | sub->done;
    s->due = s->before & ~s->had & r->messages & ~m.fooled;
    s->after = 0;

    for (i = 0; a >= 0 && i < r->n; i++) {
        if ((r->line[i] & BIT(a)) && i != a) {
            s->after |= BIT(i);
        }
    }

    s->after &= ~s->had;

    if (a < 0 || !(s->before & BIT(a))) {
        s->due &= ~m.fooled_by;
    }

    if (goes_by_id(s)) {
        for (i = 0; i < r->n; i++) {
            if (conduit_stream_id_cmp(&r->id[i], &sub->start) <= 0) {
                s->due &= ~BIT(i);
            }
        }
    }
}


/* P1: an entry is there that was there when b was read */

static uint64_t
step_there(const model_step_t *s)
{
    uint64_t              there, stale;
    const model_sub_t    *sub;
    const model_redis_t  *r;

    r = &m.redis;
    sub = s->sub;

    if (sub->told == CONDUIT_PLACE_GONE && sub->place.life != m.h.life) {

        /* of a life that is over it gets what the window has; entries that are
           there again belong to the next life */

        return 0;
    }

    /* entries brought back, and not read since */

    stale = m.came & ~r->seen;

    if (s->anew) {

        /* from the oldest entry on, those that it had included */

        there = s->before & r->messages & ~m.fooled
                & ~(sub->told ? sub->came : 0);

    } else {
        there = s->due & ~sub->came;
    }

    return there & ~stale & r->there & m.read_there[s->b];
}


/* P1: an entry is trimmed */

static uint64_t
step_trimmed(const model_step_t *s)
{
    uint64_t              lost;
    const model_redis_t  *r;

    r = &m.redis;

    if (s->sub->told || (s->first && s->a < 0)) {
        return 0;
    }

    lost = (r->trimmed & m.read_there[s->b])
           | ((r->trimmed | r->there) & m.read_trimmed[s->b]);

    return s->due & ~m.unseen & lost & ~(s->anew ? 0 : m.came);
}


/*
 * P1: an entry is of another stream, which is over, and the channel had seen it
 */

static uint64_t
step_over(const model_step_t *s)
{
    int                   i;
    uint64_t              over;
    const model_redis_t  *r;

    r = &m.redis;

    if (s->sub->told || s->a < 0 || (r->line[s->a] & r->line[s->b])
        || is_fooled(s) || goes_by_id(s))
    {
        return 0;
    }

    over = s->after & r->seen & r->messages & r->gone & ~m.came;

    for (i = 0; i < r->n; i++) {

        /* leaves out entries of lives after that of b, or before that of a */

        if (m.seen_life[i] > s->sub->place.life
            || m.seen_life[i] < s->sub->life)
        {
            over &= ~BIT(i);
        }
    }

    return over;
}


/* P2: the entries that are lost, or that may be taken for lost */

static uint64_t
step_hidden(const model_step_t *s)
{
    int                   i;
    uint64_t              hidden, later;
    const model_sub_t    *sub;
    const model_redis_t  *r;

    r = &m.redis;
    sub = s->sub;
    hidden = s->before & ~s->had & ~r->there;
    later = 0;

    for (i = 0; i < r->n; i++) {

        if (r->line[i] & BIT(s->b)) {
            later |= BIT(i);
        }

        if (r->line[i] & r->line[s->b]) {
            hidden |= (r->deleted | r->back) & BIT(i);
        }

        if (s->a >= 0 && sub->told == CONDUIT_PLACE_GONE
            && (r->line[i] & r->line[s->a]))
        {
            hidden |= BIT(i) & (~s->had | r->back) & ~r->there;
        }
    }

    hidden |= s->after & ~later & ~r->there;

    if (sub->place.life != m.h.life) {

        /* the rest of a life that is over can't be read any more */

        hidden |= s->after;
    }

    if (sub->life != sub->place.life) {

        /* another life is read from its oldest entry, whatever it had */

        hidden |= (s->before & ~r->there) | s->after;
    }

    return hidden;
}


static int
is_told_falsely(const model_step_t *s)
{
    uint64_t              blind;
    const model_sub_t    *sub;
    const model_redis_t  *r;

    r = &m.redis;
    sub = s->sub;

    if (!sub->told || step_hidden(s) || is_fooled(s)
        || sub->place.life > sub->life + 1)
    {
        return 0;
    }

    if (sub->told == CONDUIT_PLACE_GONE) {

        /* if there is only one stream, no position is of another one */

        return !s->first || (s->a >= 0 && !m.mode->wild);
    }

    if (!m.mode->counted || (r->padded & r->line[s->b])) {
        return 0;
    }

    /* its own entry was gone */

    if (s->first && (s->a < 0 || !(r->there & ~r->back & BIT(s->a)))) {
        return 0;
    }

    blind = m.blind & ~(sub->life == sub->place.life ? sub->done : 0);

    return blind == 0;
}


/* Returns the promise that is broken, or NULL; *e is the entry in question. */

static const char *
judge_step(const model_sub_t *sub, int a, int b, const char **form, int *e)
{
    model_step_t  s;

    step_of(&s, sub, a, b);

    *form = "sub %d gets entry %d after %d without %d, which is there";
    *e = one_of(step_there(&s));

    if (*e >= 0) {
        return "P1";
    }

    *form = "sub %d gets entry %d after %d, but %d is trimmed, not told";
    *e = one_of(step_trimmed(&s));

    if (*e >= 0) {
        return "P1";
    }

    *form = "sub %d gets entry %d after %d of another stream, of which %d is "
            "missing, not told";
    *e = one_of(step_over(&s));

    if (*e >= 0) {
        return "P1";
    }

    if (is_told_falsely(&s)) {
        *form = sub->told == CONDUIT_PLACE_GONE
                ? "sub %d is told \"gone\" before entry %d, falsely"
                : "sub %d is told \"trimmed\" before entry %d, falsely";
        return "P2";
    }

    return NULL;
}

#endif /* MODEL_JUDGE_H */
