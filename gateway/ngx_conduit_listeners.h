/*
 * The listeners of a channel: the queues of those who are sent its events.
 * Serves them from what the feed has in memory; knows nothing of Redis, and of
 * a listener only how to start it, send to it and end it.
 *
 * A listener stands in one of these queues:
 *
 *   opening   has a position that is being looked up: it came with it, or the
 *             entry there is gone
 *   waiting   has all there is
 *   ready     has frames of the window to send, at the next turn
 *   behind    is below the floor, waits for a batch
 *   reading   has frames of the batch to send, at the next turn
 *   blocked   its socket is full; goes on from its position afterwards
 */

#ifndef NGX_CONDUIT_LISTENERS_H
#define NGX_CONDUIT_LISTENERS_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_feed.h"
#include "ngx_conduit_gateway.h"
#include "ngx_conduit_schedule.h"

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_listener_s  ngx_conduit_listener_t;

/* what can be done with a listener; one for all that are alike */
typedef struct {
    /* sends what comes before the first event, once.  NGX_OK, or NGX_ERROR
       after the listener was removed */
    ngx_int_t  (*start)(ngx_conduit_listener_t *l);
    /* sends frames from index *i on that are after the position, and advances
       both.  NGX_OK when all are sent, NGX_AGAIN when the socket is full,
       NGX_DONE when the listener is removed */
    ngx_int_t  (*send)(ngx_conduit_listener_t *l, ngx_conduit_frames_t *frames,
                       ngx_uint_t *i);
    /* ends and removes it; with NGX_CONDUIT_CLOSE_END it has seen the end */
    void       (*end)(ngx_conduit_listener_t *l, ngx_conduit_close_e why);
} ngx_conduit_listener_handlers_t;

struct ngx_conduit_listener_s {
    /* set before it is added; the rest is zero */
    const ngx_conduit_listener_handlers_t  *on;
    ngx_conduit_position_t                  at;

    /* private but for blocked */
    ngx_queue_t                             queue;
    uint64_t                                seq;       /* of the next frame in
                                                          the window; valid when
                                                          not below its base */
    ngx_uint_t                              blocked;   /* is in that queue */
};

typedef struct {
    ngx_queue_t              opening;
    ngx_queue_t              waiting;
    ngx_queue_t              ready;
    ngx_queue_t              behind;
    ngx_queue_t              reading;
    ngx_queue_t              blocked;
    ngx_uint_t               n;           /* in all */
    ngx_conduit_feed_t      *feed;
    ngx_conduit_view_t      *view;        /* of the feed */
    ngx_conduit_schedule_t  *schedule;
    ngx_conduit_task_t       turn;        /* of the owner, which has
                                             ngx_conduit_listeners_serve() do
                                             it */
    size_t                   limit;       /* bytes of the window */
} ngx_conduit_listeners_t;


/* Makes the queues; the owner sets the members from feed on before. */
void ngx_conduit_listeners_init(ngx_conduit_listeners_t *ls);

/* Takes a listener in; waits: its position takes a look-up. */
void ngx_conduit_listeners_add(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_uint_t waits);

void ngx_conduit_listeners_remove(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);

/* Puts a listener that can be sent to where its position calls for. */
void ngx_conduit_listeners_place(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);

/*
 * Serves up to max listeners, and asks for another turn when more are left.
 * Returns how many were.
 */
ngx_uint_t ngx_conduit_listeners_serve(ngx_conduit_listeners_t *ls,
    ngx_uint_t max);

/* What the feed wants to know: ngx_conduit_feed_handlers_t.wants. */
ngx_uint_t ngx_conduit_listeners_want(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *below);

/* What the feed reports, named as there. */
void ngx_conduit_listeners_appended(ngx_conduit_listeners_t *ls);
void ngx_conduit_listeners_lost(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *first);
void ngx_conduit_listeners_gone(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *last);
void ngx_conduit_listeners_restarted(ngx_conduit_listeners_t *ls);
void ngx_conduit_listeners_moved_back(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *last);
void ngx_conduit_listeners_settled(ngx_conduit_listeners_t *ls);
void ngx_conduit_listeners_caught_up(ngx_conduit_listeners_t *ls);

/* Starts those who wait for a look-up; they go on waiting. */
void ngx_conduit_listeners_start(ngx_conduit_listeners_t *ls);

/* Ends all, as after an outage. */
void ngx_conduit_listeners_send_away(ngx_conduit_listeners_t *ls);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_LISTENERS_H */
