/* Copyright (C) Conduit for NGINX authors */

/* Listeners that wait for an answer that says whether the stream is running. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_resuming.h"


static ngx_conduit_listener_t *ngx_conduit_resuming_next(
    ngx_conduit_resuming_t *rs, ngx_queue_t *list);
static void ngx_conduit_resuming_go_on(ngx_conduit_resuming_t *rs,
    ngx_conduit_listener_t *l);


void
ngx_conduit_resuming_init(ngx_conduit_resuming_t *rs,
    ngx_conduit_listeners_t *ls)
{
    ngx_queue_init(&rs->queue);
    rs->listeners = ls;
}


void
ngx_conduit_resuming_add(ngx_conduit_resuming_t *rs, ngx_conduit_listener_t *l)
{
    ngx_conduit_listeners_t  *ls;

    ls = rs->listeners;

    /* a feed sends no question before it knows where to start, which it does
       not if this is the first listener, or if all others wait for a search */

    ngx_conduit_feed_place(ls->feed, &l->id);

    /* the rest of the place stays zero: nothing is sent to it from there */

    l->place.where = CONDUIT_PLACE_JOINING;
    l->place.since = ngx_conduit_feed_history(ls->feed)->asked;

    ngx_queue_insert_tail(&rs->queue, &l->queue);
    ls->n++;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: listener %p asks for a running stream, %ui in all",
                   l, ls->n);

    ngx_conduit_feed_renew(ls->feed);
}


void
ngx_conduit_resuming_settled(ngx_conduit_resuming_t *rs, uint32_t serial,
    ngx_uint_t resting)
{
    ngx_queue_t              list;
    ngx_conduit_listener_t  *l;

    if (ngx_queue_empty(&rs->queue)) {
        return;
    }

    ngx_conduit_schedule_take(&list, &rs->queue);

    while (!ngx_queue_empty(&list)) {
        l = ngx_conduit_resuming_next(rs, &list);

        if ((int32_t) (serial - l->place.since) <= 0) {

            /* the question was sent before this listener came */

            continue;
        }

        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: listener %p: the stream is %s",
                       l, resting ? "at rest" : "running");

        if (resting) {
            l->on->end(l, NGX_CONDUIT_CLOSE_END);

        } else {
            ngx_conduit_resuming_go_on(rs, l);
        }
    }
}


/* puts the first listener of a list, made by ngx_conduit_schedule_take(), back
   into the queue, from which it can be removed, and returns it */

static ngx_conduit_listener_t *
ngx_conduit_resuming_next(ngx_conduit_resuming_t *rs, ngx_queue_t *list)
{
    ngx_conduit_listener_t  *l;

    l = ngx_queue_data(ngx_queue_head(list), ngx_conduit_listener_t, queue);

    ngx_queue_remove(&l->queue);
    ngx_queue_insert_tail(&rs->queue, &l->queue);

    return l;
}


/* makes it a listener like all others that come without a position; a search
   may be needed for where it starts */

static void
ngx_conduit_resuming_go_on(ngx_conduit_resuming_t *rs,
    ngx_conduit_listener_t *l)
{
    ngx_int_t                 rc;
    ngx_conduit_listeners_t  *ls;

    ls = rs->listeners;

    ngx_conduit_listeners_remove(ls, l);

    rc = ngx_conduit_listeners_add(ls, l);

    if (rc == NGX_DONE) {

        /* it starts at an END that nothing follows: it is put back into the
           queue, as end() removes it */

        ngx_queue_insert_tail(&rs->queue, &l->queue);
        ls->n++;

        l->on->end(l, NGX_CONDUIT_CLOSE_END);
        return;
    }

    if (rc == NGX_AGAIN || (l->on->start(l) == NGX_OK && !l->blocked)) {
        ngx_conduit_listeners_place(ls, l);
    }
}


void
ngx_conduit_resuming_start(ngx_conduit_resuming_t *rs)
{
    ngx_queue_t              list;
    ngx_conduit_listener_t  *l;

    ngx_conduit_schedule_take(&list, &rs->queue);

    while (!ngx_queue_empty(&list)) {
        l = ngx_conduit_resuming_next(rs, &list);
        (void) l->on->start(l);
    }
}


void
ngx_conduit_resuming_send_away(ngx_conduit_resuming_t *rs)
{
    ngx_queue_t              list;
    ngx_conduit_listener_t  *l;

    ngx_conduit_schedule_take(&list, &rs->queue);

    while (!ngx_queue_empty(&list)) {
        l = ngx_conduit_resuming_next(rs, &list);
        l->on->end(l, NGX_CONDUIT_CLOSE_OUTAGE);
    }
}
