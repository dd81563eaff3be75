/* Copyright (C) Conduit for NGINX authors */

/*
 * The listeners of a channel: their queues.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_listeners_core.h"


/* while listeners have yet to be sent frames of the window, it may grow to this
   many times its size */
#define NGX_CONDUIT_WINDOW_SLACK  4
/* larger sizes count as this one, so that the product is a size */
#define NGX_CONDUIT_WINDOW_MAX                                                \
    (NGX_MAX_SIZE_T_VALUE / NGX_CONDUIT_WINDOW_SLACK)

#define NGX_CONDUIT_QUEUES        6


#if (NGX_DEBUG)
static const char *ngx_conduit_listeners_name(ngx_conduit_listeners_t *ls,
    ngx_queue_t *queue);
#endif
static void ngx_conduit_listeners_set_blocked(ngx_conduit_listener_t *l,
    ngx_uint_t blocked);
static void ngx_conduit_listeners_all(ngx_conduit_listeners_t *ls,
    ngx_queue_t **queues);


void
ngx_conduit_listeners_init(ngx_conduit_listeners_t *ls)
{
    ngx_uint_t    i;
    ngx_queue_t  *queues[NGX_CONDUIT_QUEUES];

    ngx_conduit_listeners_all(ls, queues);

    for (i = 0; i < NGX_CONDUIT_QUEUES; i++) {
        ngx_queue_init(queues[i]);
    }
}


static void
ngx_conduit_listeners_all(ngx_conduit_listeners_t *ls, ngx_queue_t **queues)
{
    queues[0] = &ls->waiting;
    queues[1] = &ls->seeking;
    queues[2] = &ls->ready;
    queues[3] = &ls->below;
    queues[4] = &ls->reading;
    queues[5] = &ls->blocked;
}


void
ngx_conduit_listeners_remove(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    ngx_conduit_listeners_set_blocked(l, 0);

    ngx_queue_remove(&l->queue);
    ls->n--;

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: listener %p leaves at %uL-%uL, %ui left",
                   l, l->id.ms, l->id.seq, ls->n);
}


ngx_conduit_listener_t *
ngx_conduit_listeners_head(ngx_queue_t *queue)
{
    return ngx_queue_data(ngx_queue_head(queue), ngx_conduit_listener_t,
                          queue);
}


void
ngx_conduit_listeners_move(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_queue_t *queue)
{
    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: listener %p is %s at %uL-%uL",
                   l, ngx_conduit_listeners_name(ls, queue), l->place.pos.ms,
                   l->place.pos.seq);

    ngx_queue_remove(&l->queue);
    ngx_queue_insert_tail(queue, &l->queue);

    ngx_conduit_listeners_set_blocked(l, queue == &ls->blocked);
}


#if (NGX_DEBUG)

static const char *
ngx_conduit_listeners_name(ngx_conduit_listeners_t *ls, ngx_queue_t *queue)
{
    return queue == &ls->waiting ? "waiting"
           : queue == &ls->seeking ? "seeking"
           : queue == &ls->ready ? "ready"
           : queue == &ls->below ? "below"
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


ngx_uint_t
ngx_conduit_listeners_below(ngx_conduit_listeners_t *ls,
    conduit_stream_id_t *pos)
{
    ngx_conduit_listener_t  *l;

    if (!ngx_queue_empty(&ls->reading) || ngx_queue_empty(&ls->below)) {
        return 0;
    }

    /* the listener goes to the end of the queue: if no answer settles its
       position, it does not hold up the others */

    l = ngx_conduit_listeners_head(&ls->below);

    ngx_queue_remove(&l->queue);
    ngx_queue_insert_tail(&ls->below, &l->queue);

    *pos = l->place.pos;

    return 1;
}


void
ngx_conduit_listeners_place(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    conduit_history_t  *h;

    if (l->seeking) {
        ngx_conduit_listeners_move(ls, l, &ls->seeking);
        ngx_conduit_feed_seek(ls->feed);
        return;
    }

    switch (l->place.where) {

    case CONDUIT_PLACE_WINDOW:

        h = ngx_conduit_feed_history(ls->feed);

        /* one that was blocked has a turn even if it is at the end: it may have
           to be told so */

        if (l->place.seq == conduit_window_end(&h->window)
            && !l->tells && !l->eager && !l->blocked)
        {
            ngx_conduit_listeners_move(ls, l, &ls->waiting);
            return;
        }

        ngx_conduit_listeners_move(ls, l, &ls->ready);
        break;

    case CONDUIT_PLACE_BATCH:
        ngx_conduit_listeners_move(ls, l, &ls->reading);
        break;

    default: /* CONDUIT_PLACE_JOINING, CONDUIT_PLACE_BELOW */
        ngx_conduit_listeners_move(ls, l, &ls->below);
        ngx_conduit_feed_catch_up(ls->feed);
        return;
    }

    ngx_conduit_schedule_run(ls->schedule, &ls->turn);
}


/* waiting listeners are never at the items that are dropped: they are at the
   end, or at held events, which have fewer bytes than the limit */

void
ngx_conduit_listeners_trim(ngx_conduit_listeners_t *ls, size_t limit)
{
    size_t                   n;
    ngx_uint_t               i;
    ngx_queue_t             *q, *queues[NGX_CONDUIT_QUEUES];
    conduit_history_t       *h;
    ngx_conduit_listener_t  *l;

    h = ngx_conduit_feed_history(ls->feed);
    n = conduit_window_excess(&h->window, limit);

    if (n == 0) {
        return;
    }

    ngx_conduit_listeners_all(ls, queues);

    /* all but the waiting ones, which are the first queue */

    for (i = 1; i < NGX_CONDUIT_QUEUES; i++) {
        for (q = ngx_queue_head(queues[i]);
             q != ngx_queue_sentinel(queues[i]);
             q = ngx_queue_next(q))
        {
            l = ngx_queue_data(q, ngx_conduit_listener_t, queue);
            conduit_place_leave(&l->place, h, n);
        }
    }

    ngx_conduit_feed_drop(ls->feed, n);
}


/* there are new items for waiting listeners, to be sent at once or a little
   later */

void
ngx_conduit_listeners_appended(ngx_conduit_listeners_t *ls)
{
    if (!ngx_conduit_held_wait(&ls->held, ls->schedule,
                               &ngx_conduit_feed_history(ls->feed)->window))
    {
        ngx_conduit_listeners_send_held(ls);
    }

    ngx_conduit_listeners_trim(ls, ngx_min(ls->limit, NGX_CONDUIT_WINDOW_MAX)
                                   * NGX_CONDUIT_WINDOW_SLACK);
}


void
ngx_conduit_listeners_send_held(ngx_conduit_listeners_t *ls)
{
    ngx_conduit_held_make_bundle(&ls->held,
                                 &ngx_conduit_feed_history(ls->feed)->window);

    if (ngx_queue_empty(&ls->waiting)) {
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: listeners %p: those waiting become ready", ls);

    ngx_queue_add(&ls->ready, &ls->waiting);
    ngx_queue_init(&ls->waiting);

    ngx_conduit_schedule_run(ls->schedule, &ls->turn);
}


/* the window was cut or has a new life; listeners below it may be in it now */

void
ngx_conduit_listeners_changed(ngx_conduit_listeners_t *ls,
    conduit_history_change_e change)
{
    ngx_uint_t               i;
    ngx_queue_t             *q, list, *queues[NGX_CONDUIT_QUEUES];
    conduit_history_t       *h;
    ngx_conduit_listener_t  *l;

    h = ngx_conduit_feed_history(ls->feed);

    /* no event is held back: all listeners are placed anew below */

    ngx_conduit_held_reset(&ls->held, &h->window);

    ngx_conduit_listeners_all(ls, queues);

    for (i = 0; i < NGX_CONDUIT_QUEUES; i++) {

        for (q = ngx_queue_head(queues[i]);
             q != ngx_queue_sentinel(queues[i]);
             q = ngx_queue_next(q))
        {
            l = ngx_queue_data(q, ngx_conduit_listener_t, queue);

            if (change == CONDUIT_HISTORY_RESTART) {
                conduit_place_restarted(&l->place, h);
                continue;
            }

            conduit_place_cut(&l->place, h);
            ngx_conduit_listeners_moved_back(l);
        }
    }

    /* listeners that are not blocked change their queue now, as items of the
       window may be dropped before their turn; the last queue is "blocked" */

    for (i = 0; i < NGX_CONDUIT_QUEUES - 1; i++) {
        ngx_conduit_schedule_take(&list, queues[i]);

        while (!ngx_queue_empty(&list)) {
            l = ngx_conduit_listeners_head(&list);

            if (l->seeking || l->place.where == CONDUIT_PLACE_WINDOW
                || l->place.where == CONDUIT_PLACE_BATCH)
            {
                ngx_conduit_listeners_place(ls, l);

            } else {
                ngx_conduit_listeners_move(ls, l, &ls->below);
            }
        }
    }
}


void
ngx_conduit_listeners_moved_back(ngx_conduit_listener_t *l)
{
    conduit_stream_id_t  *pos;

    pos = &l->place.pos;

    if (l->life == l->place.life && (pos->ms || pos->seq)
        && conduit_stream_id_cmp(&l->id, pos) > 0)
    {
        ngx_log_debug5(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: listener %p moves back from %uL-%uL to "
                       "%uL-%uL", l, l->id.ms, l->id.seq, pos->ms, pos->seq);

        l->id = *pos;
    }
}


void
ngx_conduit_listeners_send_away(ngx_conduit_listeners_t *ls)
{
    ngx_uint_t               i;
    ngx_queue_t              list, *queues[NGX_CONDUIT_QUEUES];
    ngx_conduit_listener_t  *l;

    ngx_conduit_listeners_all(ls, queues);

    for (i = 0; i < NGX_CONDUIT_QUEUES; i++) {

        ngx_conduit_schedule_take(&list, queues[i]);

        while (!ngx_queue_empty(&list)) {
            l = ngx_conduit_listeners_head(&list);
            ngx_conduit_listeners_move(ls, l, queues[i]);
            l->on->end(l, NGX_CONDUIT_CLOSE_OUTAGE);
        }
    }
}
