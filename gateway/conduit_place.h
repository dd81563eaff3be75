/*
 * Where one subscriber stands in its channel, and what it is to be sent next.
 * Pure: the listeners' queues follow from "where".
 *
 *   JOINING   came with a position that the window does not have: a batch is
 *             asked from it, and its answer judges it.  Its header is unsent
 *   BELOW     its position is below the window: waits for a batch
 *   BATCH     has been judged by a batch, which holds what comes next for it
 *   WINDOW    at "seq" of the window: ready, or waiting when that is the end
 *
 *     JOINING --judge--> BATCH --batch is done--> WINDOW | BELOW
 *     BELOW   --judge--> BATCH
 *     WINDOW  --the window was dropped past it--> BELOW
 *
 * In the window a subscriber goes by sequence number, not by ID: so it gets the
 * frames of an earlier life of the stream before those of the next one, and the
 * mark between them in its turn.
 */

#ifndef CONDUIT_PLACE_H
#define CONDUIT_PLACE_H

#include "conduit_history.h"

#pragma GCC visibility push(hidden)

typedef enum {
    CONDUIT_PLACE_JOINING = 0,
    CONDUIT_PLACE_BELOW,
    CONDUIT_PLACE_BATCH,
    CONDUIT_PLACE_WINDOW
} conduit_place_e;

/* what it is to be told before the next event */
typedef enum {
    CONDUIT_PLACE_TOLD = 0,                /* nothing */
    CONDUIT_PLACE_TRIMMED,
    CONDUIT_PLACE_GONE
} conduit_place_loss_e;

typedef struct {
    uint64_t              seq;     /* of the next item, valid in WINDOW */
    conduit_stream_id_t   pos;     /* of the last entry it got, in "life"; 0-0:
                                      from the oldest on.  The client's own
                                      position (for the id of control events) is
                                      the caller's to keep: it stays when pos
                                      becomes 0-0 */
    conduit_stream_id_t   next;    /* the entry after pos, valid when known */
    uint32_t              life;
    uint32_t              since;   /* questions asked when it joined: an answer
                                      to one of those may be older than its
                                      position, which it may have from another
                                      worker, or than what is there, and does
                                      not judge it */
    uint8_t               where;   /* conduit_place_e */
    uint8_t               loss;    /* conduit_place_loss_e, to be told */
    uint8_t               known;
} conduit_place_t;

/* what to do for one that can write */
typedef enum {
    CONDUIT_PLACE_SEND = 0,        /* send the item's frame (there is one), then
                                      call conduit_place_sent() */
    CONDUIT_PLACE_TELL,            /* send history_lost with the reason of
                                      p->loss, then set that to TOLD */
    CONDUIT_PLACE_NONE,            /* it has all there is; in BATCH: all of
                                      that, conduit_place_batch_done() */
    CONDUIT_PLACE_READ             /* a batch is to be read from p->pos */
} conduit_place_do_e;


/* Puts a new subscriber in its place; pos is NULL for the whole stream. */
void conduit_place_join(conduit_place_t *p, const conduit_history_t *h,
    const conduit_stream_id_t *pos);

/*
 * Says what to do next, from the window or, in BATCH, from the batch (NULL
 * otherwise).  Passes what is not sent: marks, entries that are no messages.  A
 * loss is told when an event follows, before that: *item is its entry.
 */
conduit_place_do_e conduit_place_next(conduit_place_t *p,
    const conduit_history_t *h, const conduit_window_t *batch,
    const conduit_item_t **item);

/* The item that _next() gave was sent. */
void conduit_place_sent(conduit_place_t *p, const conduit_item_t *item);

/*
 * An answer that agrees has come, to a batch or, all entries taken, to the
 * cursor's FULL: judges one that is JOINING or BELOW and not below the answer's
 * from.  An answer to a question from before it joined is AGAIN, unless the
 * window has got the entry at its position since, and one after that: OK.
 * END and AGAIN leave it where it is.  END: to be refused, or, where that is
 * not wanted, conduit_place_settle().  AGAIN: to be asked for from p->pos.
 * On any other verdict it is in BATCH, in WINDOW, or BELOW with another
 * position.  An answer to the cursor makes no batch: one in BATCH is put back
 * with conduit_place_unserved().
 */
conduit_history_verdict_e conduit_place_judge(conduit_place_t *p,
    const conduit_history_t *h, const conduit_history_answer_t *a);

/* One that was found at the END, and is to wait for what may follow. */
void conduit_place_settle(conduit_place_t *p, const conduit_history_t *h,
    const conduit_history_answer_t *a);

/* There is no batch for one in BATCH, or no more: BELOW again. */
void conduit_place_unserved(conduit_place_t *p);

/*
 * One in BATCH has got all of it: last and next (or NULL) are those of
 * conduit_history_batch().
 */
void conduit_place_batch_done(conduit_place_t *p, const conduit_history_t *h,
    const conduit_stream_id_t *last, const conduit_stream_id_t *next);

/*
 * The n oldest items of the window are about to go: one that stands there is
 * BELOW then, or further on when they are of an earlier life.
 */
void conduit_place_leave(conduit_place_t *p, const conduit_history_t *h,
    size_t n);

/* The plan says CUT: the batch is to be cut, too. */
void conduit_place_cut(conduit_place_t *p, const conduit_history_t *h);

/* The plan says RESTART: the batch is to be dropped. */
void conduit_place_restarted(conduit_place_t *p, const conduit_history_t *h);

#pragma GCC visibility pop

#endif /* CONDUIT_PLACE_H */
