/* Copyright (C) Conduit for NGINX authors */

/*
 * The state of one run of the model test.
 */

#ifndef MODEL_H
#define MODEL_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "conduit_place.h"
#include "model_redis.h"

#define SUBS       4
#define QUEUE      4
#define COUNT      3                /* entries that a read asks for */

#define ID(id)  (id).ms, (id).seq
#define FID     "%" PRIu64 "-%" PRIu64

typedef struct {
    const char  *name;
    int          counted;           /* Redis 7 */
    int          wild;              /* also XDEL, DEL, RESTORE, clock changes,
                                       XSETID */
    int          poll;              /* nothing rings */
    int          storm;             /* constant errors, for a while */
    int          apart;             /* no scripts: XREAD, then XINFO */
} model_mode_t;

/* what comes instead of an answer */
typedef enum {
    ANSWERED = 0,
    PASSING,                        /* a temporary error */
    REDIRECT,                       /* the key is at another server */
    TOO_LARGE                       /* the reply exceeds its limit */
} model_failure_e;

/* a question or an answer on its way */
typedef struct {
    int                          batch;
    size_t                       count;       /* entries it asks for */
    model_failure_e              failed;
    int                          half;        /* XREAD is answered, XINFO is
                                                 not yet */
    conduit_history_question_t   q;
    conduit_history_answer_t     a;
    conduit_history_entry_t      entries[MODEL_ENTRIES];

    /* what was true when it was answered */
    uint64_t                     line;        /* of the stream */
    uint64_t                     there;
    uint64_t                     trimmed;
} model_packet_t;

typedef struct {
    int                  here;
    conduit_place_t      place;
    conduit_stream_id_t  start;     /* its position; 0-0: none */
    conduit_stream_id_t  moved;     /* its position after a rollback */
    int                  born;      /* entries that may be its position */
    int                  prev;      /* entry delivered last; -1: none */
    int                  told;      /* since then: conduit_place_loss_e */
    uint64_t             got;       /* entries delivered */
    uint64_t             done;      /* these, and all before them in their
                                       streams */
    uint64_t             came;      /* entries brought back since it joined */
    uint64_t             twice;     /* delivered, and may be again */
    uint32_t             life;      /* at the last delivery */
} model_sub_t;

static struct {
    const model_mode_t  *mode;
    uint64_t             seed;
    uint64_t             random;
    int                  loud;
    int                  step;
    int                  storm;               /* all answers are errors */
    const char          *promise;             /* the broken one, or NULL */
    const char          *form;                /* of "what" */
    char                 what[256];

    /* Redis and the way there */

    model_redis_t        redis;
    int                  armed;
    int                  polling;             /* nothing rings, for a while */
    int                  bells;               /* rings not delivered yet */
    int                  unrung;              /* a ring was lost */
    int                  down;                /* there is no link */

    model_packet_t       out[QUEUE];          /* to Redis, in order */
    int                  nout;
    model_packet_t       in[QUEUE];
    int                  nin;

    /* the channel */

    conduit_history_t    h;
    size_t               limit;               /* bytes of the window */
    model_packet_t       taking;              /* the answer being taken */
    size_t               taken;
    size_t               take_end;            /* of the plan */
    int                  renew;               /* the link has changed since that
                                                 answer came */
    int                  later;               /* the retry timer runs */
    size_t               max_overlap;         /* entries that FULL may ask for
                                                 again; 0: any */
    int                  shift[2];            /* how often COUNT is halved, as a
                                                 reply was too large: cursor,
                                                 batch */

    enum { B_IDLE, B_OUT, B_TAKING, B_WAIT }  batch_state;
    model_packet_t       batch_taking;
    size_t               batch_taken;
    size_t               batch_n;             /* entries to be taken */
    int                  disagreed;
    conduit_window_t     batch;
    conduit_stream_id_t  batch_last;
    conduit_stream_id_t  batch_next;
    int                  batch_has_next;

    model_sub_t          subs[SUBS];

    /* the oracle */

    uint64_t             read_there[MODEL_ENTRIES];     /* the entries there
                                                           when this one was
                                                           read */
    uint64_t             read_trimmed[MODEL_ENTRIES];   /* the entries trimmed
                                                           by then */
    uint64_t             was_read;
    uint32_t             seen_life[MODEL_ENTRIES];      /* life in which this
                                                           one was taken */
    uint64_t             came;                /* entries brought back since the
                                                 channel began */
    uint64_t             line;                /* entries of the last answer's
                                                 stream */
    uint64_t             unseen;              /* entries trimmed before the
                                                 first read */
    uint64_t             fooled;              /* first entries of another
                                                 stream, whose numbers fit */
    uint64_t             fooled_by;           /* the stream before that */
    int                  memory_out;          /* in the middle of an answer:
                                                 since then neither the number
                                                 nor the next entry is known */
    uint64_t             blind;               /* first entries after a GAP that
                                                 was found in that state */
    int                  out_now[2];          /* unanswered: questions about
                                                 the cursor, batches */
    int                  waits[2];            /* whether they wait for the retry
                                                 timer */
    uint64_t             questions;
} m;


static uint32_t
rnd(uint32_t n)
{
    m.random ^= m.random << 13;
    m.random ^= m.random >> 7;
    m.random ^= m.random << 17;

    return (uint32_t) (m.random >> 33) % n;
}


/* each step has its own random numbers, so that other steps can be left out */

static void
reseed(uint64_t step)
{
    m.random = (m.seed * 4096 + step + 1) * 0x9e3779b97f4a7c15u;
    (void) rnd(2);
    (void) rnd(2);
}


static void
say(const char *fmt, ...)
{
    va_list  args;

    if (!m.loud) {
        return;
    }

    printf("%4d  ", m.step);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
}


static void
broken(const char *promise, const char *fmt, ...)
{
    va_list  args;

    if (m.promise) {
        return;
    }

    m.promise = promise;
    m.form = fmt;
    va_start(args, fmt);
    vsnprintf(m.what, sizeof(m.what), fmt, args);
    va_end(args);
    say("BROKEN: %s: %s", promise, m.what);
}

#endif /* MODEL_H */
