/* Copyright (C) Conduit for NGINX authors */

/*
 * Where one subscriber stands in its channel, and what it is to be sent next.
 * Pure: no NGINX type.  A subscriber is in one of four states, "where":
 *
 *   JOINING   came with a position that the window does not have, or that the
 *             caller wants judged first: a batch is read from there, and the
 *             answer judges the position.  Except in an outage, the response
 *             header is not sent before that
 *   BELOW     has a position below the window, and waits for a batch
 *   BATCH     was judged by the answer to a batch, which has the entries to
 *             send to it next
 *   WINDOW    is to be sent item "seq" of the window next, or, if that is the
 *             end, waits for it
 *
 *     JOINING --judge--> BATCH | WINDOW | BELOW
 *     BELOW   --judge--> BATCH | WINDOW | BELOW
 *     BATCH   --the batch is done--> WINDOW | BELOW
 *     BATCH   --there is no batch for it, or not any more--> BELOW
 *     WINDOW  --the window was dropped past it--> BELOW
 *     BATCH, BELOW --the stream is another one--> WINDOW
 *
 * In the window a subscriber's place is a sequence number, not an ID, as IDs
 * start again with each life of the stream: so it gets the frames of one life,
 * then the mark, then the frames of the next life.  The terms are explained in
 * conduit_history.h; what is a subscriber here is a listener in the files named
 * ngx_conduit_*.
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
    CONDUIT_PLACE_TRIMMED,                 /* entries after its position were
                                              trimmed before it got them */
    CONDUIT_PLACE_GONE                     /* its position is of a stream that
                                              is gone, perhaps with entries that
                                              it has not got */
} conduit_place_loss_e;

typedef struct {
    uint64_t              seq;     /* of the next item, valid in WINDOW */
    conduit_stream_id_t   pos;     /* ID of the last entry it has got, in
                                      "life"; 0-0: it starts with the oldest.
                                      The caller keeps the client's own position
                                      (for the id of control events), which is
                                      not reset when pos becomes 0-0 */
    uint32_t              life;
    uint32_t              since;   /* "asked" of the history when it joined.  An
                                      answer to an earlier question does not
                                      judge it: that may lack the newest
                                      entries, even the one at its position,
                                      which another worker may have sent to
                                      it */
    uint8_t               where;   /* conduit_place_e */
    uint8_t               loss;    /* conduit_place_loss_e, to be told */
    uint8_t               has_next;
    conduit_stream_id_t   next;    /* the entry after pos, valid when
                                      has_next */
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


/* Whether the window has all entries that the stream has, up to the cursor. */
int conduit_place_has_all(const conduit_history_t *h);

/* Puts a new subscriber in its place; pos is NULL, or 0-0, for the whole
   stream. */
void conduit_place_join(conduit_place_t *p, const conduit_history_t *h,
    const conduit_stream_id_t *pos);

/*
 * Returns what to do next for a subscriber, from the window or, in BATCH, from
 * the batch (NULL otherwise).  Skips items with nothing to send: marks, and
 * entries that are no messages.  A loss is told only right before the next
 * event: *item is the entry of that event.
 */
conduit_place_do_e conduit_place_next(conduit_place_t *p,
    const conduit_history_t *h, const conduit_window_t *batch,
    const conduit_item_t **item);

/* The item from conduit_place_next() was sent. */
void conduit_place_sent(conduit_place_t *p, const conduit_item_t *item);

/*
 * Items of the window that follow that one were sent with it: all of one life
 * up to seq, seq not included; the last entry among them has the ID last.
 */
void conduit_place_sent_more(conduit_place_t *p, uint64_t seq,
    const conduit_stream_id_t *last);

/*
 * Judges a subscriber, which is JOINING or BELOW, by an answer for which
 * conduit_history_agrees() has returned 1: that to a batch or, after all its
 * entries were taken, that to FULL about the cursor.  The position must not be
 * below the answer's from.  Returns
 *
 *   END     refuse the subscriber, or call conduit_place_settle(): until then
 *           it stays where it is
 *   AGAIN   ask again from p->pos, which may have been moved back; "where" is
 *           as before
 *   others  it is in BATCH, in WINDOW, or BELOW at another position
 *
 * If the question was sent before the subscriber joined, the result is AGAIN;
 * or OK, if the window has got the entry at its position since then, and an
 * entry after it.  An answer about the cursor makes no batch: if the subscriber
 * is in BATCH after it, call conduit_place_unserved().
 */
conduit_history_verdict_e conduit_place_judge(conduit_place_t *p,
    const conduit_history_t *h, const conduit_history_answer_t *a);

/*
 * Places a subscriber whose verdict was END, but which is to wait for entries
 * that may follow the END.
 */
void conduit_place_settle(conduit_place_t *p, const conduit_history_t *h,
    const conduit_history_answer_t *a);

/* There is no batch for a subscriber in BATCH, or not any more: it is BELOW
   again. */
void conduit_place_unserved(conduit_place_t *p);

/*
 * A subscriber in BATCH has got all of the batch: it goes on in WINDOW or
 * BELOW.  last, and next (or NULL), are those of conduit_history_batch().
 */
void conduit_place_batch_done(conduit_place_t *p, const conduit_history_t *h,
    const conduit_stream_id_t *last, const conduit_stream_id_t *next);

/*
 * The n oldest items of the window are about to be dropped: a subscriber that
 * is at one of them becomes BELOW; or, where they are of an earlier life, which
 * can't be read again, it skips them.
 */
void conduit_place_leave(conduit_place_t *p, const conduit_history_t *h,
    size_t n);

/* The plan says CUT: if the entry at its position was cut off, a subscriber is
   moved back to the last entry before the cut.  The caller must cut the batch,
   too (conduit_history_batch_cut()). */
void conduit_place_cut(conduit_place_t *p, const conduit_history_t *h);

/* The plan says RESTART: a subscriber below the window is moved to what the
   window has of the life that is over; or, if it has got no entry yet, to the
   new life.  The caller must drop the batch. */
void conduit_place_restarted(conduit_place_t *p, const conduit_history_t *h);

#pragma GCC visibility pop

#endif /* CONDUIT_PLACE_H */
