/* Copyright (C) Conduit for NGINX authors */

/*
 * Where one subscriber stands in its channel, and what it is to be sent next.
 * Pure: the listeners' queues follow from "where".
 *
 *   JOINING   came with a position that the window does not have: a batch
 *             is read from there, and the answer judges the position.  The
 *             response header is not sent yet
 *   BELOW     has a position below the window, and waits for a batch
 *   BATCH     was judged by a batch, which holds the entries to send next
 *   WINDOW    is at "seq" of the window: ready, or waiting if that is the end
 *
 *     JOINING --judge--> BATCH --batch is done--> WINDOW | BELOW
 *     BELOW   --judge--> BATCH
 *     WINDOW  --the window was dropped past it--> BELOW
 *
 * In the window a subscriber is placed by sequence number, not by ID: so it
 * gets the frames of an earlier life of the stream before those of the next
 * one, and the mark between them in its turn.
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

/* what a subscriber is to be told before its next event */
typedef enum {
    CONDUIT_PLACE_TOLD = 0,                /* nothing */
    CONDUIT_PLACE_TRIMMED,
    CONDUIT_PLACE_GONE
} conduit_place_loss_e;

typedef struct {
    uint64_t              seq;     /* of the next item, valid in WINDOW */
    conduit_stream_id_t   pos;     /* ID of the last entry it got, in "life";
                                      0-0: it starts with the oldest.  The
                                      caller keeps the client's own position
                                      (for the id of control events), which
                                      stays when pos becomes 0-0 */
    conduit_stream_id_t   next;    /* the entry after pos, valid when
                                      has_next */
    uint32_t              life;
    uint32_t              since;   /* "asked" of the history when it joined: an
                                      answer to an earlier question does not
                                      judge it, as it may be older than the
                                      position, which another worker may have
                                      sent, or than what is there */
    uint8_t               where;   /* conduit_place_e */
    uint8_t               loss;    /* conduit_place_loss_e, to be told */
    uint8_t               has_next;
} conduit_place_t;

/* what to do for a subscriber that can be sent to */
typedef enum {
    CONDUIT_PLACE_SEND = 0,        /* send the item's frame (never NULL), then
                                      call conduit_place_sent() */
    CONDUIT_PLACE_TELL,            /* send history_lost with the reason of
                                      p->loss, then set that to TOLD */
    CONDUIT_PLACE_NONE,            /* it has all there is; in BATCH: all of the
                                      batch, call conduit_place_batch_done() */
    CONDUIT_PLACE_READ             /* read a batch from p->pos */
} conduit_place_do_e;


/* Whether the window has all entries of the stream, up to the cursor. */
int conduit_place_has_all(const conduit_history_t *h);

/* Puts a new subscriber in its place; pos is NULL for the whole stream. */
void conduit_place_join(conduit_place_t *p, const conduit_history_t *h,
    const conduit_stream_id_t *pos);

/*
 * Says what to do next, from the window or, in BATCH, from the batch (NULL
 * otherwise).  Skips items with nothing to send: marks, entries that are no
 * messages.  A loss is told only when an event follows, before it: *item is its
 * entry.
 */
conduit_place_do_e conduit_place_next(conduit_place_t *p,
    const conduit_history_t *h, const conduit_window_t *batch,
    const conduit_item_t **item);

/* The item from conduit_place_next() was sent. */
void conduit_place_sent(conduit_place_t *p, const conduit_item_t *item);

/*
 * Judges a subscriber by an answer that agrees: to a batch or, all entries
 * taken, to the cursor's FULL.  The subscriber is JOINING or BELOW, at a
 * position not below the answer's from.  An answer to a question from before it
 * joined is AGAIN, or OK if the window has got the entry at its position since,
 * and one after it.  END and AGAIN leave it where it is.  END: refuse it, or
 * call conduit_place_settle().  AGAIN: ask again from p->pos.  After any other
 * verdict it is in BATCH, in WINDOW, or BELOW at another position.  An answer
 * to the cursor makes no batch: call conduit_place_unserved() if it is in BATCH
 * then.
 */
conduit_history_verdict_e conduit_place_judge(conduit_place_t *p,
    const conduit_history_t *h, const conduit_history_answer_t *a);

/*
 * Places a subscriber that was found at the END and is to wait for what may
 * follow.
 */
void conduit_place_settle(conduit_place_t *p, const conduit_history_t *h,
    const conduit_history_answer_t *a);

/* The subscriber in BATCH has no batch, or not any more: it is BELOW again. */
void conduit_place_unserved(conduit_place_t *p);

/*
 * The subscriber in BATCH has got all of the batch: last and next (or NULL) are
 * those of conduit_history_batch().
 */
void conduit_place_batch_done(conduit_place_t *p, const conduit_history_t *h,
    const conduit_stream_id_t *last, const conduit_stream_id_t *next);

/*
 * The n oldest items of the window are about to be dropped: a subscriber at one
 * of them becomes BELOW, or moves on when they are of an earlier life.
 */
void conduit_place_leave(conduit_place_t *p, const conduit_history_t *h,
    size_t n);

/* The plan says CUT.  The caller cuts the batch, too. */
void conduit_place_cut(conduit_place_t *p, const conduit_history_t *h);

/* The plan says RESTART.  The caller drops the batch. */
void conduit_place_restarted(conduit_place_t *p, const conduit_history_t *h);

#pragma GCC visibility pop

#endif /* CONDUIT_PLACE_H */
