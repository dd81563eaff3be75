/* Copyright (C) Conduit for NGINX authors */

/*
 * The listeners of a channel: the queues of those that are sent its events.
 * conduit_place.h says where each listener is in the stream; here it gets its
 * turns.  Knows nothing of Redis, and of a listener only how to start it, send
 * to it and end it.
 *
 * A listener is in one of these queues:
 *
 *   seeking   has no position: a search finds out where it starts
 *   waiting   was sent all there is, except for events that are held back to be
 *             sent with later ones in one write (ngx_conduit_held.h)
 *   ready     is to be sent items of the window at the next turn
 *   below     is below the window, or has a position that is not judged yet
 *             (JOINING): waits for a batch
 *   reading   is to be sent items of the batch at the next turn
 *   blocked   its socket is full; it goes on from its position afterwards
 */

#ifndef NGX_CONDUIT_LISTENERS_H
#define NGX_CONDUIT_LISTENERS_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_feed.h"
#include "ngx_conduit_frame.h"
#include "ngx_conduit_gateway.h"
#include "ngx_conduit_held.h"
#include "ngx_conduit_schedule.h"

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_listener_s  ngx_conduit_listener_t;

/* what can be done with a listener; one table for each kind */
typedef struct {
    /* sends what comes before the first event; does nothing when called again.
       Returns NGX_OK, or NGX_ERROR after the listener was removed */
    ngx_int_t  (*start)(ngx_conduit_listener_t *l);
    /* sends what ngx_conduit_listeners_next() gives.  Returns NGX_OK when all
       is sent, NGX_AGAIN when the socket is full, NGX_DONE when the listener
       was removed */
    ngx_int_t  (*send)(ngx_conduit_listener_t *l);
    /* ends and removes it; NGX_CONDUIT_CLOSE_END: it has seen the END */
    void       (*end)(ngx_conduit_listener_t *l, ngx_conduit_close_e why);
} ngx_conduit_listener_handlers_t;

/* what is used in each turn of a listener comes first, in few cache lines */
struct ngx_conduit_listener_s {
    /* on, id, start and resumes are set before it is added; the rest is zero */
    const ngx_conduit_listener_handlers_t  *on;
    conduit_stream_id_t                     id;        /* of the last event that
                                                          its client has got;
                                                          0-0: of none */

    /* private but for blocked, tells and eager */
    ngx_queue_t                             queue;
    uint32_t                                life;      /* the life of the stream
                                                          in which id is */
    unsigned                                blocked:1; /* is in the queue
                                                          "blocked" */
    unsigned                                seeking:1; /* likewise "seeking" */
    unsigned                                sought:1;  /* the search under way
                                                          is for it, too */
    unsigned                                tells:1;   /* its client is to be
                                                          told where it starts
                                                          (id); the owner resets
                                                          it */
    unsigned                                eager:1;   /* it has a turn even if
                                                          nothing is to be sent;
                                                          the owner sets it, and
                                                          removes the listener
                                                          in that turn */
    unsigned                                resumes:1; /* it only wants a
                                                          running stream, and
                                                          has no position: see
                                                          ngx_conduit_resuming.h
                                                          */
    conduit_place_t                         place;
    conduit_start_t                         start;     /* where it starts;
                                                          OLDEST means after id,
                                                          or with the oldest
                                                          entry if that is
                                                          0-0 */
};

typedef struct {
    ngx_queue_t              seeking;
    ngx_queue_t              waiting;
    ngx_queue_t              ready;
    ngx_queue_t              below;
    ngx_queue_t              reading;
    ngx_queue_t              blocked;
    ngx_uint_t               n;           /* in all */
    size_t                   work;        /* done since the clock was looked at
                                             in this turn, in bytes */
    ngx_conduit_feed_t      *feed;
    ngx_conduit_schedule_t  *schedule;
    ngx_conduit_task_t       turn;        /* the owner sets a handler that calls
                                             ngx_conduit_listeners_serve() */
    size_t                   limit;       /* bytes of the window */
    ngx_uint_t               after_end;   /* ngx_conduit_after_end_e */
    ngx_conduit_held_t       held;        /* the owner sets a timeout that calls
                                             ngx_conduit_listeners_send_held()
                                             */
} ngx_conduit_listeners_t;


/* Makes the queues; the owner has set the members from feed on. */
void ngx_conduit_listeners_init(ngx_conduit_listeners_t *ls);

/*
 * Adds a listener.  Returns NGX_OK; NGX_AGAIN: its position must be found or
 * judged first; NGX_DONE: it is at an END, which nothing follows, and was not
 * added (only if after_end is stop).
 */
ngx_int_t ngx_conduit_listeners_add(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);

void ngx_conduit_listeners_remove(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);

/* Puts a listener that is not blocked, or no longer, into the queue that fits
   its place. */
void ngx_conduit_listeners_place(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);

/*
 * Gets what a listener is to be sent next, and counts it as sent.  Returns 1
 * and sets *frame; or, when history was lost, 1 with *frame NULL and *loss,
 * which is CONDUIT_PLACE_TOLD otherwise.  Returns 0 when there is nothing to
 * send.
 */
ngx_uint_t ngx_conduit_listeners_next(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t **frame,
    conduit_place_loss_e *loss);

/*
 * Counts all events of the bundle (ngx_conduit_held_bundle()) as sent to a
 * listener, whose client came at the time since, in ms.  It was sent the bundle
 * instead of its first event, the last that ngx_conduit_listeners_next() has
 * given.  Returns their number.
 */
ngx_uint_t ngx_conduit_listeners_sent_bundle(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, uint64_t since);

/* Whether there is something to be sent to a listener in the window. */
ngx_uint_t ngx_conduit_listeners_more(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);

/*
 * The frame that was just sent to a listener takes so many more bytes than
 * before.  If it is in the window, they count for the window's limit.
 */
void ngx_conduit_listeners_grown(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t *frame, size_t bytes);

/*
 * Serves up to max listeners, and asks for another turn when more are left.
 * Returns how many were served.
 */
ngx_uint_t ngx_conduit_listeners_serve(ngx_conduit_listeners_t *ls,
    ngx_uint_t max);

/* Sends what is held back, at the next turn. */
void ngx_conduit_listeners_send_held(ngx_conduit_listeners_t *ls);

/* These are called by the feed's handlers of the same names
   (ngx_conduit_feed.h). */
ngx_uint_t ngx_conduit_listeners_below(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *pos);
void ngx_conduit_listeners_appended(ngx_conduit_listeners_t *ls);
void ngx_conduit_listeners_changed(ngx_conduit_listeners_t *ls,
    conduit_history_change_e change);
void ngx_conduit_listeners_judged(ngx_conduit_listeners_t *ls,
    const conduit_history_answer_t *answer, ngx_uint_t batch);
ngx_uint_t ngx_conduit_listeners_seeks(ngx_conduit_listeners_t *ls,
    conduit_start_t *start);
void ngx_conduit_listeners_found(ngx_conduit_listeners_t *ls,
    const conduit_stream_id_t *pos);

/*
 * Calls start() of the listeners that wait for a search, for a batch or to be
 * judged; they go on waiting.
 */
void ngx_conduit_listeners_start(ngx_conduit_listeners_t *ls);

/* Ends all listeners with NGX_CONDUIT_CLOSE_OUTAGE. */
void ngx_conduit_listeners_send_away(ngx_conduit_listeners_t *ls);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_LISTENERS_H */
