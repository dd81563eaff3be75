/*
 * The listeners of a channel: who is in which queue, and their turns.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_listeners.h"


/* while listeners have yet to be sent frames of the window, it may have this
   many times its size */
#define NGX_CONDUIT_WINDOW_SLACK  4


static ngx_conduit_listener_t *ngx_conduit_listeners_head(ngx_queue_t *queue);
static void ngx_conduit_listeners_move(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_queue_t *queue);
#if (NGX_DEBUG)
static const char *ngx_conduit_listeners_name(ngx_conduit_listeners_t *ls,
    ngx_queue_t *queue);
#endif
static void ngx_conduit_listeners_set_blocked(ngx_conduit_listener_t *l,
    ngx_uint_t blocked);
static void ngx_conduit_listeners_take(ngx_queue_t *list, ngx_queue_t *queue);
static void ngx_conduit_listeners_serve_window(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);
static void ngx_conduit_listeners_serve_batch(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);
static void ngx_conduit_listeners_trim(ngx_conduit_listeners_t *ls,
    size_t limit);
static void ngx_conduit_listeners_leave(ngx_conduit_listeners_t *ls,
    ngx_queue_t *queue, ngx_uint_t n);
static void ngx_conduit_listeners_lost_queue(ngx_queue_t *queue,
    conduit_stream_id_t *first);
static void ngx_conduit_listeners_gone_queue(ngx_conduit_listeners_t *ls,
    ngx_queue_t *queue, conduit_stream_id_t *last);
static void ngx_conduit_listeners_restart_queue(ngx_conduit_listeners_t *ls,
    ngx_queue_t *queue, ngx_queue_t *to);
static void ngx_conduit_listeners_back_queue(ngx_conduit_listeners_t *ls,
    ngx_queue_t *queue, conduit_stream_id_t *last);


void
ngx_conduit_listeners_init(ngx_conduit_listeners_t *ls)
{
    ngx_queue_init(&ls->opening);
    ngx_queue_init(&ls->waiting);
    ngx_queue_init(&ls->ready);
    ngx_queue_init(&ls->behind);
    ngx_queue_init(&ls->reading);
    ngx_queue_init(&ls->blocked);
}


void
ngx_conduit_listeners_add(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_uint_t waits)
{
    ls->n++;

    ngx_queue_insert_tail(waits ? &ls->opening : &ls->waiting, &l->queue);

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: listener %p comes at %uL-%uL, is looked up: %ui",
                   l, l->at.id.ms, l->at.id.seq, waits);
}


void
ngx_conduit_listeners_remove(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    ngx_conduit_listeners_set_blocked(l, 0);

    ngx_queue_remove(&l->queue);
    ls->n--;

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: listener %p goes at %uL-%uL, %ui left",
                   l, l->at.id.ms, l->at.id.seq, ls->n);
}


static ngx_conduit_listener_t *
ngx_conduit_listeners_head(ngx_queue_t *queue)
{
    return ngx_queue_data(ngx_queue_head(queue), ngx_conduit_listener_t,
                          queue);
}


/* puts a listener at the end of a queue */

static void
ngx_conduit_listeners_move(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_queue_t *queue)
{
    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: listener %p is %s at %uL-%uL",
                   l, ngx_conduit_listeners_name(ls, queue), l->at.id.ms,
                   l->at.id.seq);

    ngx_queue_remove(&l->queue);
    ngx_queue_insert_tail(queue, &l->queue);

    ngx_conduit_listeners_set_blocked(l, queue == &ls->blocked);
}


#if (NGX_DEBUG)

static const char *
ngx_conduit_listeners_name(ngx_conduit_listeners_t *ls, ngx_queue_t *queue)
{
    return queue == &ls->opening ? "opening"
           : queue == &ls->waiting ? "waiting"
           : queue == &ls->ready ? "ready"
           : queue == &ls->behind ? "behind"
           : queue == &ls->reading ? "reading" : "blocked";
}

#endif


static void
ngx_conduit_listeners_set_blocked(ngx_conduit_listener_t *l,
    ngx_uint_t blocked)
{
    if (blocked == l->blocked) {
        return;
    }

    l->blocked = blocked;

    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_BLOCKED, blocked ? 1 : -1);
    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_SLOW, blocked);
}


/*
 * Takes all of a queue: a list that can be worked off while any listener may
 * leave it.
 */

static void
ngx_conduit_listeners_take(ngx_queue_t *list, ngx_queue_t *queue)
{
    ngx_queue_init(list);

    if (!ngx_queue_empty(queue)) {
        ngx_queue_add(list, queue);
        ngx_queue_init(queue);
    }
}


ngx_uint_t
ngx_conduit_listeners_want(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *below)
{
    ngx_uint_t  wants;

    wants = ls->n ? NGX_CONDUIT_WANT_EVENTS : 0;

    if (!ngx_queue_empty(&ls->opening)) {
        wants |= NGX_CONDUIT_WANT_SETTLE;
    }

    if (ngx_queue_empty(&ls->reading) && !ngx_queue_empty(&ls->behind)) {
        *below = ngx_conduit_listeners_head(&ls->behind)->at.id;
        wants |= NGX_CONDUIT_WANT_BATCH;
    }

    return wants;
}


void
ngx_conduit_listeners_place(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    ngx_conduit_view_t  *view;

    view = ls->view;

    if (conduit_stream_id_cmp(&l->at.id, &view->floor) < 0) {
        ngx_conduit_listeners_move(ls, l, &ls->behind);
        ngx_conduit_feed_catch_up(ls->feed);
        return;
    }

    if (l->seq < view->base) {
        l->seq = view->base
                 + ngx_conduit_frames_after(&view->window, &l->at.id);
    }

    if (l->seq == view->base + view->window.nelts) {
        ngx_conduit_listeners_move(ls, l, &ls->waiting);
        return;
    }

    ngx_conduit_listeners_move(ls, l, &ls->ready);
    ngx_conduit_schedule_run(ls->schedule, &ls->turn);
}


ngx_uint_t
ngx_conduit_listeners_serve(ngx_conduit_listeners_t *ls, ngx_uint_t max)
{
    ngx_uint_t  n;

    for (n = 0; n < max; n++) {

        if (!ngx_queue_empty(&ls->ready)) {
            ngx_conduit_listeners_serve_window(ls,
                                    ngx_conduit_listeners_head(&ls->ready));

        } else if (!ngx_queue_empty(&ls->reading)) {
            ngx_conduit_listeners_serve_batch(ls,
                                    ngx_conduit_listeners_head(&ls->reading));

        } else {
            break;
        }
    }

    if (ngx_queue_empty(&ls->ready)) {
        ngx_conduit_listeners_trim(ls, ls->limit);
    }

    if (ngx_queue_empty(&ls->reading)) {
        ngx_conduit_feed_served(ls->feed);
    }

    if (!ngx_queue_empty(&ls->ready) || !ngx_queue_empty(&ls->reading)) {
        ngx_conduit_schedule_run(ls->schedule, &ls->turn);
    }

    return n;
}


static void
ngx_conduit_listeners_serve_window(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    ngx_int_t            rc;
    ngx_uint_t           i;
    ngx_conduit_view_t  *view;

    view = ls->view;

    if (l->seq < view->base) {
        ngx_conduit_listeners_place(ls, l);
        return;
    }

    i = l->seq - view->base;

    rc = l->on->send(l, &view->window, &i);

    if (rc == NGX_DONE) {
        return;
    }

    l->seq = view->base + i;

    ngx_conduit_listeners_move(ls, l, rc == NGX_AGAIN ? &ls->blocked
                                                      : &ls->waiting);
}


static void
ngx_conduit_listeners_serve_batch(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    ngx_int_t             rc;
    ngx_uint_t            i;
    ngx_conduit_batch_t  *batch;

    batch = ls->view->batch;

    i = ngx_conduit_frames_after(&batch->frames, &l->at.id);

    rc = l->on->send(l, &batch->frames, &i);

    if (rc == NGX_DONE) {
        return;
    }

    if (rc == NGX_AGAIN) {
        ngx_conduit_listeners_move(ls, l, &ls->blocked);
        return;
    }

    /* entries that are no messages have no frames, but are passed */

    if (conduit_stream_id_cmp(&l->at.id, &batch->last) < 0) {
        l->at.id = batch->last;
    }

    ngx_conduit_listeners_place(ls, l);
}


/* drops the oldest frames of the window down to limit bytes */

static void
ngx_conduit_listeners_trim(ngx_conduit_listeners_t *ls, size_t limit)
{
    size_t                bytes;
    ngx_uint_t            n;
    ngx_conduit_view_t   *view;
    conduit_stream_id_t  *id;

    view = ls->view;
    bytes = view->window.bytes;

    for (n = 0; bytes > limit && n < view->window.nelts; n++) {
        bytes -= view->window.elts[n]->len;
    }

    if (n == 0) {
        return;
    }

    ngx_conduit_listeners_leave(ls, &ls->blocked, n);
    ngx_conduit_listeners_leave(ls, &ls->ready, n);

    /* after a gap, the floor is above the frames before that */

    id = &view->window.elts[n - 1]->id;

    if (conduit_stream_id_cmp(&view->floor, id) < 0) {
        view->floor = *id;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: window %p loses %ui frames, up to %uL-%uL",
                   view, n, id->ms, id->seq);

    view->base += n;

    ngx_conduit_frames_drop(&view->window, n);
}


/* a listener that falls behind keeps the ID of the frame that it missed, which
   the stream must still have when the batch is read */

static void
ngx_conduit_listeners_leave(ngx_conduit_listeners_t *ls, ngx_queue_t *queue,
    ngx_uint_t n)
{
    ngx_queue_t             *q;
    ngx_conduit_view_t      *view;
    ngx_conduit_listener_t  *l;

    view = ls->view;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        l = ngx_queue_data(q, ngx_conduit_listener_t, queue);

        if (l->seq >= view->base && l->seq < view->base + n) {
            l->at.next = view->window.elts[l->seq - view->base]->id;
            l->at.next_known = 1;
            l->at.judged = 0;
        }
    }
}


/* all who had everything have something to send */

void
ngx_conduit_listeners_appended(ngx_conduit_listeners_t *ls)
{
    if (!ngx_queue_empty(&ls->waiting)) {

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: listeners %p: all waiting are ready", ls);

        ngx_queue_add(&ls->ready, &ls->waiting);
        ngx_queue_init(&ls->waiting);

        ngx_conduit_schedule_run(ls->schedule, &ls->turn);
    }

    ngx_conduit_listeners_trim(ls, ls->limit * NGX_CONDUIT_WINDOW_SLACK);
}


void
ngx_conduit_listeners_lost(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *first)
{
    ngx_conduit_listeners_lost_queue(&ls->waiting, first);
    ngx_conduit_listeners_lost_queue(&ls->ready, first);
    ngx_conduit_listeners_lost_queue(&ls->blocked, first);
}


static void
ngx_conduit_listeners_lost_queue(ngx_queue_t *queue,
    conduit_stream_id_t *first)
{
    ngx_queue_t             *q;
    ngx_conduit_listener_t  *l;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        l = ngx_queue_data(q, ngx_conduit_listener_t, queue);

        if (conduit_stream_id_cmp(&l->at.id, &ngx_conduit_oldest) != 0
            && conduit_stream_id_cmp(&l->at.id, first) < 0)
        {
            l->at.lost = 1;

            ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                           "conduit: listener %p has lost entries before "
                           "%uL-%uL", l, first->ms, first->seq);
        }
    }
}


/*
 * Who has a position, and has not got all that was read of the stream, is told.
 * Those in "opening" are told by their look-up; those in "waiting" had all.
 */

void
ngx_conduit_listeners_gone(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *last)
{
    ngx_conduit_listeners_gone_queue(ls, &ls->ready, last);
    ngx_conduit_listeners_gone_queue(ls, &ls->behind, last);
    ngx_conduit_listeners_gone_queue(ls, &ls->reading, last);
    ngx_conduit_listeners_gone_queue(ls, &ls->blocked, last);
}


static void
ngx_conduit_listeners_gone_queue(ngx_conduit_listeners_t *ls,
    ngx_queue_t *queue, conduit_stream_id_t *last)
{
    uint64_t                 end;
    ngx_queue_t             *q;
    ngx_conduit_listener_t  *l;

    end = ls->view->base + ls->view->window.nelts;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        l = ngx_queue_data(q, ngx_conduit_listener_t, queue);

        if (l->at.lost || l->seq == end
            || conduit_stream_id_cmp(&l->at.id, last) >= 0
            || conduit_stream_id_cmp(ngx_conduit_position_id(&l->at),
                                     &ngx_conduit_oldest)
               == 0)
        {
            continue;
        }

        l->at.lost = 1;
        l->at.gone = 1;

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: listener %p: its stream is gone", l);
    }
}


/* all start from the oldest entry of another stream */

void
ngx_conduit_listeners_restarted(ngx_conduit_listeners_t *ls)
{
    ngx_conduit_listeners_restart_queue(ls, &ls->waiting, NULL);
    ngx_conduit_listeners_restart_queue(ls, &ls->blocked, NULL);
    ngx_conduit_listeners_restart_queue(ls, &ls->ready, &ls->waiting);
    ngx_conduit_listeners_restart_queue(ls, &ls->behind, &ls->waiting);
    ngx_conduit_listeners_restart_queue(ls, &ls->reading, &ls->waiting);
}


static void
ngx_conduit_listeners_restart_queue(ngx_conduit_listeners_t *ls,
    ngx_queue_t *queue, ngx_queue_t *to)
{
    ngx_queue_t             *q, *next;
    ngx_conduit_listener_t  *l;

    for (q = ngx_queue_head(queue); q != ngx_queue_sentinel(queue); q = next) {

        next = ngx_queue_next(q);
        l = ngx_queue_data(q, ngx_conduit_listener_t, queue);

        l->at.earlier = *ngx_conduit_position_id(&l->at);
        l->at.id = ngx_conduit_oldest;
        l->seq = ls->view->base;

        if (to != NULL) {
            ngx_conduit_listeners_move(ls, l, to);
        }
    }
}


/* who was after the last entry is at it now */

void
ngx_conduit_listeners_moved_back(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *last)
{
    ngx_conduit_listeners_back_queue(ls, &ls->waiting, last);
    ngx_conduit_listeners_back_queue(ls, &ls->ready, last);
    ngx_conduit_listeners_back_queue(ls, &ls->blocked, last);
    ngx_conduit_listeners_back_queue(ls, &ls->behind, last);
    ngx_conduit_listeners_back_queue(ls, &ls->reading, last);
}


static void
ngx_conduit_listeners_back_queue(ngx_conduit_listeners_t *ls,
    ngx_queue_t *queue, conduit_stream_id_t *last)
{
    uint64_t                 end;
    ngx_queue_t             *q;
    ngx_conduit_listener_t  *l;

    end = ls->view->base + ls->view->window.nelts;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        l = ngx_queue_data(q, ngx_conduit_listener_t, queue);

        if (conduit_stream_id_cmp(&l->at.id, last) > 0) {

            ngx_log_debug5(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                           "conduit: listener %p goes back from %uL-%uL to "
                           "%uL-%uL", l, l->at.id.ms, l->at.id.seq, last->ms,
                           last->seq);

            l->at.id = *last;
            l->at.judged = 0;
            l->at.next_known = 0;
        }

        if (l->seq > end) {
            l->seq = end;
        }
    }
}


/* starts those whose position was looked up, and puts them in their place */

void
ngx_conduit_listeners_settled(ngx_conduit_listeners_t *ls)
{
    ngx_int_t                rc;
    ngx_queue_t              list;
    ngx_conduit_listener_t  *l;

    ngx_conduit_listeners_take(&list, &ls->opening);

    while (!ngx_queue_empty(&list)) {

        l = ngx_conduit_listeners_head(&list);
        ngx_conduit_listeners_move(ls, l, &ls->opening);

        rc = ngx_conduit_feed_settle(ls->feed, &l->at);

        if (rc == NGX_AGAIN) {
            continue;
        }

        if (rc == NGX_DONE) {
            l->on->end(l, NGX_CONDUIT_CLOSE_END);
            continue;
        }

        if (l->on->start(l) == NGX_OK) {
            ngx_conduit_listeners_place(ls, l);
        }
    }
}


/* those who are in the stretch of the batch are served from it */

void
ngx_conduit_listeners_caught_up(ngx_conduit_listeners_t *ls)
{
    ngx_queue_t              list;
    ngx_conduit_batch_t     *batch;
    ngx_conduit_listener_t  *l;

    batch = ls->view->batch;

    ngx_conduit_listeners_take(&list, &ls->behind);

    while (!ngx_queue_empty(&list)) {

        l = ngx_conduit_listeners_head(&list);

        if (conduit_stream_id_cmp(&l->at.id, &batch->start) < 0
            || conduit_stream_id_cmp(&l->at.id, &batch->last) >= 0)
        {
            ngx_conduit_listeners_move(ls, l, &ls->behind);

        } else if (ngx_conduit_feed_judge(ls->feed, &l->at) == NGX_OK) {
            ngx_conduit_listeners_move(ls, l, &ls->reading);

        } else {
            ngx_conduit_listeners_move(ls, l, &ls->opening);
        }
    }

    ngx_conduit_schedule_run(ls->schedule, &ls->turn);
}


void
ngx_conduit_listeners_start(ngx_conduit_listeners_t *ls)
{
    ngx_queue_t              list;
    ngx_conduit_listener_t  *l;

    ngx_conduit_listeners_take(&list, &ls->opening);

    while (!ngx_queue_empty(&list)) {
        l = ngx_conduit_listeners_head(&list);
        ngx_conduit_listeners_move(ls, l, &ls->opening);
        (void) l->on->start(l);
    }
}


void
ngx_conduit_listeners_send_away(ngx_conduit_listeners_t *ls)
{
    ngx_uint_t               i;
    ngx_queue_t              list, *queues[6];
    ngx_conduit_listener_t  *l;

    queues[0] = &ls->opening;
    queues[1] = &ls->waiting;
    queues[2] = &ls->ready;
    queues[3] = &ls->behind;
    queues[4] = &ls->reading;
    queues[5] = &ls->blocked;

    for (i = 0; i < 6; i++) {

        ngx_conduit_listeners_take(&list, queues[i]);

        while (!ngx_queue_empty(&list)) {
            l = ngx_conduit_listeners_head(&list);
            ngx_conduit_listeners_move(ls, l, queues[i]);
            l->on->end(l, NGX_CONDUIT_CLOSE_OUTAGE);
        }
    }
}
