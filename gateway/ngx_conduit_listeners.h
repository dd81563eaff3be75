/*
 * The listeners of a channel: the queues of those who are sent its events.
 * Where each stands in the stream, conduit_place.h says; here it is given its
 * turns.  Knows nothing of Redis, and of a listener only how to start it, send
 * to it and end it.
 *
 * A listener stands in one of these queues:
 *
 *   waiting   has all there is, or all but what is held back, so that one
 *             write has it with what comes (ngx_conduit_held.h)
 *   ready     has items of the window to send, at the next turn
 *   below     is below the window, or has a position that is still to be judged
 *             (JOINING): waits for a batch
 *   reading   has items of the batch to send, at the next turn
 *   blocked   its socket is full; goes on from its position afterwards
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

/* what can be done with a listener; one for all that are alike */
typedef struct {
    /* sends what comes before the first event, once.  NGX_OK, or NGX_ERROR
       after the listener was removed */
    ngx_int_t  (*start)(ngx_conduit_listener_t *l);
    /* sends what ngx_conduit_listeners_next() gives.  NGX_OK when all is sent,
       NGX_AGAIN when the socket is full, NGX_DONE when the listener is
       removed */
    ngx_int_t  (*send)(ngx_conduit_listener_t *l);
    /* ends and removes it; with NGX_CONDUIT_CLOSE_END it has seen the end */
    void       (*end)(ngx_conduit_listener_t *l, ngx_conduit_close_e why);
} ngx_conduit_listener_handlers_t;

struct ngx_conduit_listener_s {
    /* set before it is added; the rest is zero */
    const ngx_conduit_listener_handlers_t  *on;
    conduit_stream_id_t                     id;        /* of the last event that
                                                          its client has got;
                                                          0-0: of none */

    /* private but for blocked */
    conduit_place_t                         place;
    ngx_queue_t                             queue;
    uint32_t                                life;      /* of the stream, that
                                                          id is of */
    ngx_uint_t                              blocked;   /* is in that queue */
};

typedef struct {
    ngx_queue_t              waiting;
    ngx_queue_t              ready;
    ngx_queue_t              below;
    ngx_queue_t              reading;
    ngx_queue_t              blocked;
    ngx_uint_t               n;           /* in all */
    ngx_conduit_feed_t      *feed;
    ngx_conduit_schedule_t  *schedule;
    ngx_conduit_task_t       turn;        /* of the owner, which has
                                             ngx_conduit_listeners_serve() do
                                             it */
    size_t                   limit;       /* bytes of the window */
    ngx_uint_t               after_end;   /* ngx_conduit_after_end_e */
    ngx_conduit_held_t       held;        /* its release has
                                             ngx_conduit_listeners_release() do
                                             it */
} ngx_conduit_listeners_t;


/* Makes the queues; the owner sets the members from feed on before. */
void ngx_conduit_listeners_init(ngx_conduit_listeners_t *ls);

/*
 * Takes a listener in.  Returns NGX_OK; NGX_AGAIN: its position is to be judged
 * first; NGX_DONE: it is at the end of the stream, and is not taken (only where
 * after_end is stop).
 */
ngx_int_t ngx_conduit_listeners_add(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);

void ngx_conduit_listeners_remove(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);

/* Puts a listener that can be sent to where its place calls for. */
void ngx_conduit_listeners_place(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);

/*
 * What a listener is to be sent next, and takes it for sent: *frame, or *reason
 * for which history was lost.  Returns 0 when there is nothing.
 */
ngx_uint_t ngx_conduit_listeners_next(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t **frame,
    const char **reason);

/*
 * Serves up to max listeners, and asks for another turn when more are left.
 * Returns how many were.
 */
ngx_uint_t ngx_conduit_listeners_serve(ngx_conduit_listeners_t *ls,
    ngx_uint_t max);

/* Sends what is held back, at the next turn. */
void ngx_conduit_listeners_release(ngx_conduit_listeners_t *ls);

/* What the feed reports, named as there. */
ngx_uint_t ngx_conduit_listeners_below(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *pos);
void ngx_conduit_listeners_appended(ngx_conduit_listeners_t *ls);
void ngx_conduit_listeners_changed(ngx_conduit_listeners_t *ls,
    conduit_history_change_e change);
void ngx_conduit_listeners_judged(ngx_conduit_listeners_t *ls,
    const conduit_history_answer_t *answer, ngx_uint_t batch);

/* Starts those who wait for a judgement; they go on waiting. */
void ngx_conduit_listeners_start(ngx_conduit_listeners_t *ls);

/* Ends all, as after an outage. */
void ngx_conduit_listeners_send_away(ngx_conduit_listeners_t *ls);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_LISTENERS_H */
