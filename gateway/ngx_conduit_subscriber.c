/* Copyright (C) Conduit for NGINX authors */

/*
 * A subscriber: one response of Server-Sent Events, from its header to its last
 * chunk.  ngx_conduit_output.c sends the frames, ngx_conduit_client.c finds out
 * whether the client has closed the connection.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "conduit_sse.h"
#include "ngx_conduit_client.h"
#include "ngx_conduit_collect.h"
#include "ngx_conduit_durable_sse.h"
#include "ngx_conduit_farewell.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_response.h"
#include "ngx_conduit_subscriber_core.h"


static void ngx_conduit_sub_member_ping(ngx_conduit_member_t *m);
static void ngx_conduit_sub_member_end(ngx_conduit_member_t *m,
    ngx_conduit_roster_why_e why);
static ngx_uint_t ngx_conduit_sub_member_away(ngx_conduit_member_t *m);
static ngx_int_t ngx_conduit_sub_start(ngx_conduit_sub_t *sub);
static ngx_int_t ngx_conduit_sub_listener_start(ngx_conduit_listener_t *l);
static ngx_int_t ngx_conduit_sub_send(ngx_conduit_listener_t *l);
static ngx_int_t ngx_conduit_sub_break_off(ngx_conduit_sub_t *sub);
static void ngx_conduit_sub_listener_end(ngx_conduit_listener_t *l,
    ngx_conduit_close_e why);
static void ngx_conduit_sub_end(ngx_conduit_sub_t *sub,
    ngx_conduit_close_e why);
static void ngx_conduit_sub_finish(ngx_conduit_sub_t *sub,
    ngx_conduit_close_e why, ngx_int_t rc);
static ngx_conduit_sub_t *ngx_conduit_sub_of(ngx_http_request_t *r);
static void ngx_conduit_sub_unblock(ngx_conduit_sub_t *sub);


const ngx_conduit_listener_handlers_t  ngx_conduit_sub_listener = {
    ngx_conduit_sub_listener_start,
    ngx_conduit_sub_send,
    ngx_conduit_sub_listener_end
};

const ngx_conduit_member_handlers_t  ngx_conduit_sub_member = {
    ngx_conduit_sub_member_ping,
    ngx_conduit_sub_member_end,
    ngx_conduit_sub_member_away
};


ngx_int_t
ngx_conduit_sub_begin(ngx_conduit_sub_t *sub)
{
    ngx_int_t           rc;

    sub->started = 1;

    if (ngx_conduit_durable_is(sub->hub)
        && ngx_conduit_durable_sse_headers(sub->request, sub->hub) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (sub->gzip.on && ngx_conduit_response_gzip(sub->request) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_conduit_response_header(sub->request);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        return rc;
    }

    /* flushing the first data sends the header, too */

    if (ngx_conduit_sub_hello(sub) == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (ngx_conduit_sub_blocked(sub)) {
        return ngx_conduit_sub_block(sub);
    }

    return NGX_OK;
}


/*
 * Sends the response header and the first line, unless they were sent already.
 * Returns NGX_OK, or NGX_ERROR after ending the subscriber.
 */

static ngx_int_t
ngx_conduit_sub_start(ngx_conduit_sub_t *sub)
{
    ngx_int_t  rc;

    if (sub->started) {
        return NGX_OK;
    }

    rc = ngx_conduit_sub_begin(sub);

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_ERROR, rc);

    return NGX_ERROR;
}


static ngx_int_t
ngx_conduit_sub_listener_start(ngx_conduit_listener_t *l)
{
    return ngx_conduit_sub_start(ngx_queue_data(l, ngx_conduit_sub_t,
                                                listener));
}


static void
ngx_conduit_sub_listener_end(ngx_conduit_listener_t *l,
    ngx_conduit_close_e why)
{
    ngx_conduit_sub_t  *sub;

    sub = ngx_queue_data(l, ngx_conduit_sub_t, listener);

    if (why == NGX_CONDUIT_CLOSE_END && !sub->started
        && !ngx_conduit_durable_is(sub->hub))
    {

        /* the client has got the end of the stream, and after_end is stop; or
           it only wants a running stream, and none is */

        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_END,
                               NGX_HTTP_NO_CONTENT);
        return;
    }

    ngx_conduit_sub_end(sub, why);
}


/*
 * Ends the response properly: tells the client when to come back, or that it
 * needs a new token to do so, then sends the last chunk.
 */

static void
ngx_conduit_sub_end(ngx_conduit_sub_t *sub, ngx_conduit_close_e why)
{
    ngx_int_t       rc;
    conduit_buf_t  *b;

    if (ngx_conduit_sub_start(sub) != NGX_OK) {
        return;
    }

    /* events that are held back for later ones are sent now */

    if (ngx_conduit_channel_waits(sub->channel)
        && ngx_conduit_sub_send(&sub->listener) == NGX_DONE)
    {
        return;
    }

    b = &sub->hub->scratch;

    conduit_buf_reset(b);

    if (sub->gzip.on) {
        ngx_conduit_gzip_begin_last(b);
    }

    /* tells the client its position.  Without it the gateway would search for
       its start again when it reconnects, and the client would miss entries
       that were added meanwhile.  The line is buffered even if the socket is
       full */

    if (sub->listener.tells) {
        conduit_sse_write_id(&sub->listener.id, b);
    }

    ngx_conduit_sub_farewell(sub, why, b);

    if (sub->gzip.on) {
        ngx_conduit_gzip_finish_last(&sub->gzip, b);
    }

    /* output that is still buffered is sent before this: filters keep the
       order */

    rc = ngx_conduit_response_text(sub->request, b, 1);

    ngx_conduit_sub_finish(sub, why, rc == NGX_ERROR ? NGX_ERROR : NGX_OK);
}


/*
 * Removes the subscriber and finalizes its request with rc; the caller must use
 * neither of them afterwards.
 */

static void
ngx_conduit_sub_finish(ngx_conduit_sub_t *sub, ngx_conduit_close_e why,
    ngx_int_t rc)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = sub->request;
    c = r->connection;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "conduit: subscriber, listener %p: the response ends: %s",
                   &sub->listener, ngx_conduit_close_name(why));

    sub->close = why;

    ngx_conduit_sub_remove(sub);
    ngx_conduit_client_unwatch(r);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static void
ngx_conduit_sub_member_end(ngx_conduit_member_t *m,
    ngx_conduit_roster_why_e why)
{
    ngx_conduit_sub_t  *sub;

    sub = ngx_queue_data(m, ngx_conduit_sub_t, member);

    switch (why) {

    case NGX_CONDUIT_ROSTER_DRAIN:
        ngx_conduit_sub_end(sub, NGX_CONDUIT_CLOSE_DRAIN);
        return;

    case NGX_CONDUIT_ROSTER_AWAY:
        ngx_conduit_sub_end(sub, NGX_CONDUIT_CLOSE_OUTAGE);
        return;

    default: /* NGX_CONDUIT_ROSTER_DEADLINE */
        ngx_conduit_sub_end(sub, sub->deadline_why);
    }
}


/*
 * Whether a subscriber's server has been away for too long.  Subscribers that
 * will be told to ask the application for a new token are spread over the time
 * of a drain, each at its own moment, so that they do not all ask at once.
 */

static ngx_uint_t
ngx_conduit_sub_member_away(ngx_conduit_member_t *m)
{
    uintptr_t                        address;
    ngx_msec_t                       away, moment;
    ngx_conduit_sub_t               *sub;
    ngx_conduit_gateway_settings_t  *settings;

    sub = ngx_queue_data(m, ngx_conduit_sub_t, member);
    settings = &sub->hub->settings;

    if (!ngx_conduit_channel_away(sub->channel, &away)
        || away < settings->outage)
    {
        return 0;
    }

    if (settings->drain == 0
        || !ngx_conduit_sub_tells_drain(sub, NGX_CONDUIT_OUTAGE_RETRY))
    {
        return 1;
    }

    address = (uintptr_t) sub;
    moment = ngx_murmur_hash2((u_char *) &address, sizeof(uintptr_t))
             % settings->drain;

    return away - settings->outage >= moment;
}


void
ngx_conduit_sub_remove(ngx_conduit_sub_t *sub)
{
    ngx_conduit_channel_t  *ch;

    ch = sub->channel;

    if (ch == NULL) {
        return;
    }

    sub->channel = NULL;

    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_SUBSCRIBERS, -1);
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_CLOSED + sub->close);

    ngx_conduit_channel_remove(ch, &sub->listener, &sub->member);
}


/* sends frames until the socket is full, nothing is left, or the stream has
   ended */

static ngx_int_t
ngx_conduit_sub_send(ngx_conduit_listener_t *l)
{
    ngx_int_t           rc, more;
    ngx_uint_t          end;
    ngx_conduit_sub_t  *sub;
    ngx_conduit_out_t  *first, *last;

    sub = ngx_queue_data(l, ngx_conduit_sub_t, listener);

    for ( ;; ) {

        if (ngx_conduit_sub_blocked(sub)) {
            return NGX_AGAIN;
        }

        more = ngx_conduit_sub_collect(sub, &first, &last, &end);

        if (more == NGX_ERROR) {
            ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_ERROR, NGX_ERROR);
            return NGX_DONE;
        }

        if (first == NULL && more != NGX_DECLINED) {
            return NGX_OK;
        }

        if (first != NULL) {
            ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_WRITES);

            rc = ngx_conduit_sub_output(sub, first, last, end);

            if (rc == NGX_ERROR) {
                ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_CLIENT,
                                       NGX_ERROR);
                return NGX_DONE;
            }
        }

        if (more == NGX_DECLINED) {
            return ngx_conduit_sub_break_off(sub);
        }

        if (end) {
            ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_END, NGX_OK);
            return NGX_DONE;
        }

        if (ngx_conduit_sub_blocked(sub)) {

            if (ngx_conduit_sub_block(sub) != NGX_OK) {
                ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_ERROR,
                                       NGX_ERROR);
                return NGX_DONE;
            }

            return NGX_AGAIN;
        }

        if (more == NGX_OK) {
            return NGX_OK;
        }
    }
}


/* history was lost, and the format has no event for it: ends the response.  The
   client reconnects, and gets the status 410 for its offset */

static ngx_int_t
ngx_conduit_sub_break_off(ngx_conduit_sub_t *sub)
{
    ngx_int_t  rc;

    rc = ngx_http_send_special(sub->request, NGX_HTTP_LAST);

    ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_END,
                           rc == NGX_ERROR ? NGX_ERROR : NGX_OK);

    return NGX_DONE;
}


static void
ngx_conduit_sub_member_ping(ngx_conduit_member_t *m)
{
    ngx_conduit_sub_t  *sub;

    static u_char  comment[] = CONDUIT_SSE_KEEPALIVE;

    sub = ngx_queue_data(m, ngx_conduit_sub_t, member);

    if (!sub->started || ngx_conduit_sub_blocked(sub)) {
        return;
    }

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_KEEPALIVES);

    if (ngx_conduit_sub_text(sub, comment, sizeof(comment) - 1, 0)
        == NGX_ERROR)
    {
        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_CLIENT, NGX_ERROR);
        return;
    }

    if (ngx_conduit_sub_blocked(sub) && ngx_conduit_sub_block(sub) != NGX_OK) {
        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_ERROR, NGX_ERROR);
    }
}


/* returns NULL if the request is not a subscriber, or not any more */

static ngx_conduit_sub_t *
ngx_conduit_sub_of(ngx_http_request_t *r)
{
    ngx_conduit_gateway_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_gateway_module);

    return (ctx && ctx->sub.channel) ? &ctx->sub : NULL;
}


/*
 * Does what ngx_http_test_reading() does, but removes the subscriber from its
 * channel before NGINX finalizes the request.  With "post_action" NGINX would
 * clear the request's contexts and go on with it in another location, while the
 * channel still sends to it.
 */

void
ngx_conduit_sub_read_handler(ngx_http_request_t *r)
{
    ngx_conduit_sub_t  *sub;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "conduit: subscriber's read handler");

    sub = ngx_conduit_sub_of(r);

    if (sub == NULL) {
        return;
    }

    if (ngx_conduit_client_left(r)) {
        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_CLIENT,
                               NGX_HTTP_CLIENT_CLOSED_REQUEST);
    }
}


void
ngx_conduit_sub_write_handler(ngx_http_request_t *r)
{
    ngx_event_t        *wev;
    ngx_connection_t   *c;
    ngx_conduit_sub_t  *sub;

    c = r->connection;
    wev = c->write;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "conduit: subscriber's write handler");

    sub = ngx_conduit_sub_of(r);

    if (sub == NULL) {
        return;
    }

    if (ngx_conduit_client_gone(c)) {
        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_CLIENT, NGX_ERROR);
        return;
    }

    /* a subrequest handles the connection's events until it has ended */

    if (c->data != r) {
        return;
    }

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "conduit: client timed out");
        c->timedout = 1;
        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_TIMEOUT,
                               NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (wev->delayed) {
        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_ERROR, NGX_ERROR);
        }

        return;
    }

    if (ngx_conduit_sub_blocked(sub) || sub->listener.blocked) {
        ngx_conduit_sub_unblock(sub);
    }
}


/* sends what the socket did not take before, and then lets the channel send
   more */

static void
ngx_conduit_sub_unblock(ngx_conduit_sub_t *sub)
{
    ngx_event_t         *wev;
    ngx_http_request_t  *r;

    r = sub->request;
    wev = r->connection->write;

    if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_CLIENT, NGX_ERROR);
        return;
    }

    ngx_conduit_sub_reap(sub);

    if (ngx_conduit_sub_blocked(sub)) {

        if (ngx_conduit_sub_block(sub) != NGX_OK) {
            ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_ERROR, NGX_ERROR);
        }

        return;
    }

    /* limit_rate may have set the timer and "delayed" a moment ago */

    if (wev->timer_set && !wev->delayed) {
        ngx_del_timer(wev);
    }

    ngx_conduit_roster_written(&sub->hub->roster, &sub->member);

    if (sub->listener.blocked) {
        ngx_conduit_channel_writable(sub->channel, &sub->listener);
    }
}


const char *
ngx_conduit_close_name(ngx_conduit_close_e why)
{
    static const char  *names[] = {
        "client", "end", "drain", "outage", "expired", "duration", "timeout",
        "error", "answered"
    };

    return names[why];
}
