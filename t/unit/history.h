/* Copyright (C) Conduit for NGINX authors */

/*
 * What the tables of the engine's rules share: a stream with the entries 1-0,
 * 2-0, and so on, each with its number for a hash; an entry with another hash
 * is another entry.
 */

#ifndef HISTORY_H
#define HISTORY_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_place.h"

typedef struct {
    uint64_t  ms, seq, hash;
} entry_t;

/* what the channel knows before the answer */
typedef enum {
    READ = 0,       /* 1-0 to 5-0, number 5; asks FULL */
    FAST,           /* likewise; asks FAST */
    UNCOUNTED,      /* likewise, without the number; FULL */
    AHEAD,          /* likewise, and that last-generated-id was 9-0 */
    CLAIMED,        /* a client's position, 5-0 */
    NEW,            /* that there was no stream */
    NEW_AHEAD,      /* that there was an empty one with last-generated-id 9-0 */
    BLANK           /* nothing, as the first position was of another stream */
} start_e;

/* the entry as it was read, and another entry with its ID */
#define SAME(ms)   { ms, 0, ms }
#define OTHER(ms)  { ms, 0, 99 }

#define NOTHING  CONDUIT_HISTORY_NOTHING
#define GAP      CONDUIT_HISTORY_GAP
#define CUT      CONDUIT_HISTORY_CUT
#define RESTART  CONDUIT_HISTORY_RESTART
#define IDLE     CONDUIT_HISTORY_NEXT_IDLE
#define ASK      CONDUIT_HISTORY_NEXT_ASK
#define TAKE     CONDUIT_HISTORY_NEXT_TAKE

/* an answer in short; of XREAD only the entries */
typedef struct {
    int       counted;              /* Redis 7 */
    int       full, missing;
    uint64_t  n;
    entry_t   e[6];
    uint64_t  length, added, last, oldest, deleted, tail;
} said_t;

typedef struct {
    conduit_history_entry_t   e[6];
    conduit_history_answer_t  a;
} answer_t;


static inline conduit_stream_id_t
id_of(uint64_t ms)
{
    conduit_stream_id_t  id;

    id.ms = ms;
    id.seq = 0;

    return id;
}


/* the number of the cursor, -1: it is not known */

static inline int
number_of(const conduit_history_t *h)
{
    return h->number_state == CONDUIT_HISTORY_NUMBER_KNOWN
           ? (int) h->number : -1;
}


static inline void
answer_of(answer_t *r, const said_t *said, const conduit_history_question_t *q)
{
    uint64_t  i;

    memset(r, 0, sizeof(*r));

    for (i = 0; i < said->n; i++) {
        r->e[i].id.ms = said->e[i].ms;
        r->e[i].id.seq = said->e[i].seq;
        r->e[i].hash = said->e[i].hash;
    }

    r->a.entries = r->e;
    r->a.nentries = said->n;
    r->a.full = said->full;
    r->a.missing = said->missing;
    r->a.counted = said->counted;
    r->a.length = said->length;
    r->a.added = said->added;
    r->a.last_id = id_of(said->last);
    r->a.oldest = id_of(said->oldest);
    r->a.max_deleted = id_of(said->deleted);
    r->a.has_tail = (said->tail != 0);
    r->a.tail.id = id_of(said->tail);
    r->a.tail.hash = said->tail;
    r->a.from = q->id;
    r->a.serial = q->serial;
    r->a.kind = q->kind;
}


/* asks a question, gets the answer, takes all its entries */

static inline void
told_history(conduit_history_t *h, const said_t *said,
    conduit_history_plan_t *plan)
{
    size_t                      i;
    answer_t                    r;
    conduit_history_question_t  q;

    conduit_history_ask(h, 1, 100, &q);
    answer_of(&r, said, &q);
    conduit_history_answer(h, &r.a, plan);

    if (plan->next != CONDUIT_HISTORY_NEXT_TAKE) {
        return;
    }

    for (i = plan->first; i < plan->end; i++) {
        ck_assert_int_eq(conduit_history_take(h, &r.e[i], h, 10), 0);
    }

    plan->next = conduit_history_taken(h, &r.a);
}


/* has read 1-0 to 5-0 of a stream of Redis 7 that has had no others */

static inline void
has_read_five(conduit_history_t *h)
{
    conduit_stream_id_t     zero = { 0, 0 };
    conduit_history_plan_t  plan;

    static const said_t  five = {
        1, 0, 0, 5, { SAME(1), SAME(2), SAME(3), SAME(4), SAME(5) },
        5, 5, 5, 1, 0, 0
    };

    memset(h, 0, sizeof(*h));
    conduit_history_init(h, &zero, NULL);
    told_history(h, &five, &plan);

    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_IDLE);
    ck_assert_uint_eq(h->number, 5);
    ck_assert_uint_eq(conduit_window_end(&h->window), 5);
}


static inline void
start(conduit_history_t *h, start_e what)
{
    conduit_stream_id_t     pos;
    conduit_history_plan_t  plan;

    static const said_t  missing = { 1, 0, 1, 0, { { 0, 0, 0 } },
                                     0, 0, 0, 0, 0, 0 };
    static const said_t  shorter = { 1, 0, 0, 0, { { 0, 0, 0 } },
                                     0, 2, 2, 0, 0, 0 };

    if (what <= AHEAD) {
        has_read_five(h);

        if (what != FAST) {
            conduit_history_unsent(h);
        }

        h->number_state = what == UNCOUNTED ? CONDUIT_HISTORY_NUMBER_UNKNOWN
                                            : CONDUIT_HISTORY_NUMBER_KNOWN;
        h->ahead = id_of(what == AHEAD ? 9 : 0);
        return;
    }

    pos = id_of(what == CLAIMED || what == BLANK ? 5 : 0);
    memset(h, 0, sizeof(*h));
    conduit_history_init(h, &pos, NULL);

    if (what == NEW || what == NEW_AHEAD) {
        told_history(h, &missing, &plan);
        h->ahead = id_of(what == NEW_AHEAD ? 9 : 0);

    } else if (what == BLANK) {
        told_history(h, &shorter, &plan);
    }
}

#endif /* HISTORY_H */
