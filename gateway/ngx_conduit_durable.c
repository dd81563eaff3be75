/* Copyright (C) Conduit for NGINX authors */

/*
 * A request of the Durable Streams protocol.
 *
 * Each one begins with a probe.  The answer of Redis to it says whether there
 * is such a stream, whether the stream is closed, whether entries after the
 * offset were trimmed, and which ones follow.  So a reader gets all that was
 * added before its request, even if this worker does not have it in memory.
 *
 *            +--------------------- woken up -------------------+
 *            v                                                  |
 *   PROBE: nothing follows, live=long-poll  --> WAIT, as a listener
 *     |                                           |
 *     | live=sse                                  | time is over, drain, outage
 *     v                                           v
 *   a subscriber                   the response, which ends the request
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_conduit_client.h"
#include "ngx_conduit_durable.h"
#include "ngx_conduit_durable_reply.h"
#include "ngx_conduit_durable_sse.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_gateway_token.h"
#include "ngx_conduit_subscriber.h"


static ngx_conduit_durable_t *ngx_conduit_durable_create(
    ngx_http_request_t *r, ngx_conduit_name_t *name);
static void ngx_conduit_durable_cleanup(void *data);
static void ngx_conduit_durable_probe(ngx_conduit_durable_t *d);
static void ngx_conduit_durable_probed(ngx_conduit_probe_t *p,
    ngx_conduit_question_t *q);
static void ngx_conduit_durable_next(ngx_conduit_durable_t *d,
    conduit_buf_t *body);
static void ngx_conduit_durable_subscribe(ngx_conduit_durable_t *d);
static void ngx_conduit_durable_wait(ngx_conduit_durable_t *d);
static ngx_int_t ngx_conduit_durable_listener_start(ngx_conduit_listener_t *l);
static ngx_int_t ngx_conduit_durable_listener_send(ngx_conduit_listener_t *l);
static void ngx_conduit_durable_listener_end(ngx_conduit_listener_t *l,
    ngx_conduit_close_e why);
static void ngx_conduit_durable_member_ping(ngx_conduit_member_t *m);
static void ngx_conduit_durable_member_end(ngx_conduit_member_t *m,
    ngx_conduit_roster_why_e why);
static ngx_uint_t ngx_conduit_durable_member_away(ngx_conduit_member_t *m);
static void ngx_conduit_durable_detach(ngx_conduit_durable_t *d);
static void ngx_conduit_durable_leave(ngx_conduit_durable_t *d);
static void ngx_conduit_durable_finish(ngx_conduit_durable_t *d,
    ngx_uint_t status, conduit_buf_t *body);
static void ngx_conduit_durable_timeout(ngx_event_t *ev);
static void ngx_conduit_durable_read_handler(ngx_http_request_t *r);
static void ngx_conduit_durable_write_handler(ngx_http_request_t *r);


static const ngx_conduit_listener_handlers_t  ngx_conduit_durable_listener = {
    ngx_conduit_durable_listener_start,
    ngx_conduit_durable_listener_send,
    ngx_conduit_durable_listener_end
};

static const ngx_conduit_member_handlers_t  ngx_conduit_durable_member = {
    ngx_conduit_durable_member_ping,
    ngx_conduit_durable_member_end,
    ngx_conduit_durable_member_away
};


ngx_int_t
ngx_conduit_durable_handler(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx,
    ngx_conduit_name_t *name, ngx_conduit_durable_args_t *args,
    ngx_msec_t expires)
{
    ngx_msec_t              wait;
    ngx_conduit_durable_t  *d;

    if (args->live == NGX_CONDUIT_LIVE_SSE
        && ngx_conduit_hub_quits(glcf->hub))
    {
        return ngx_conduit_durable_reply_busy(r);
    }

    if (ngx_conduit_hub_open(glcf->hub) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    d = ngx_conduit_durable_create(r, name);
    if (d == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    wait = glcf->durable_wait;

    d->hub = glcf->hub;
    d->ctx = ctx;
    d->type = &glcf->durable_type;
    d->args = *args;
    d->expires = expires;
    d->until = ngx_current_msec
               + ((expires && expires < wait) ? expires : wait);

    d->channel = ngx_conduit_channel_get(d->hub, &d->key, d->label);
    if (d->channel == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_conduit_gateway_token_forget(ctx);

    ctx->durable = d;

    ngx_conduit_durable_probe(d);

    if (ngx_conduit_client_watch(r, ngx_conduit_durable_read_handler,
                                 ngx_conduit_durable_write_handler)
        != NGX_OK)
    {
        ngx_conduit_client_unwatch(r);
        ngx_conduit_durable_detach(d);
        return NGX_ERROR;
    }

    r->main->count++;

    return NGX_DONE;
}


static ngx_conduit_durable_t *
ngx_conduit_durable_create(ngx_http_request_t *r, ngx_conduit_name_t *name)
{
    ngx_http_cleanup_t     *cln;
    ngx_conduit_durable_t  *d;

    cln = ngx_http_cleanup_add(r, sizeof(ngx_conduit_durable_t));
    if (cln == NULL) {
        return NULL;
    }

    d = cln->data;

    ngx_memzero(d, sizeof(ngx_conduit_durable_t));

    cln->handler = ngx_conduit_durable_cleanup;

    d->request = r;
    d->label = name->label;
    d->key.len = name->key.len;
    d->key.data = ngx_pstrdup(r->pool, &name->key);

    if (d->key.data == NULL) {
        return NULL;
    }

    d->timer.data = d;
    d->timer.handler = ngx_conduit_durable_timeout;
    d->timer.log = r->connection->log;

    return d;
}


static void
ngx_conduit_durable_cleanup(void *data)
{
    ngx_conduit_durable_detach(data);
}


/* asks Redis for the entries from the offset on; the first is the one at the
   offset, which the client has got */

static void
ngx_conduit_durable_probe(ngx_conduit_durable_t *d)
{
    ngx_conduit_probe_t  *p;

    p = &d->probe;

    p->handler = ngx_conduit_durable_probed;
    p->from = d->args.offset.id;
    p->count = d->hub->settings.read_count
               + (d->args.offset.kind == CONDUIT_DURABLE_AFTER);

    if (d->args.live == NGX_CONDUIT_LIVE_SSE) {

        /* finds out whether any entry follows: the subscriber reads them */

        p->count = 2;
    }

    if (ngx_conduit_durable_tail_only(d)) {
        p->count = 1;
        p->from.ms = UINT64_MAX;
        p->from.seq = UINT64_MAX;
    }

    ngx_conduit_channel_probe(d->channel, p);

    ngx_add_timer(&d->timer, ngx_conduit_hub_patience(d->hub));
}


static void
ngx_conduit_durable_probed(ngx_conduit_probe_t *p, ngx_conduit_question_t *q)
{
    conduit_buf_t           body;
    ngx_conduit_durable_t  *d;

    d = ngx_queue_data(p, ngx_conduit_durable_t, probe);

    if (d->timer.timer_set) {
        ngx_del_timer(&d->timer);
    }

    /* NULL: the stream can't be read.  A reply with entries alone, without
       XINFO, does not say whether the stream exists if it is empty */

    if (q == NULL || q->form == NGX_CONDUIT_FORM_ENTRIES) {
        ngx_conduit_durable_finish(d, NGX_HTTP_SERVICE_UNAVAILABLE, NULL);
        return;
    }

    switch (conduit_durable_judge(&d->args.offset, &q->answer)) {

    case CONDUIT_DURABLE_MISSING:
        ngx_conduit_durable_finish(d, NGX_HTTP_NOT_FOUND, NULL);
        return;

    case CONDUIT_DURABLE_GONE:

        if (d->request->method != NGX_HTTP_HEAD) {
            ngx_conduit_durable_finish(d, NGX_CONDUIT_HTTP_GONE, NULL);
            return;
        }

        break;

    default: /* CONDUIT_DURABLE_OK */
        break;
    }

    ngx_memzero(&body, sizeof(conduit_buf_t));

    ngx_conduit_durable_take(d, q, &body);

    if (body.failed) {
        ngx_conduit_durable_finish(d, NGX_HTTP_INTERNAL_SERVER_ERROR, NULL);

    } else {
        ngx_conduit_durable_next(d, &body);
    }

    conduit_buf_free(&body);
}


/* decides what follows an answer of Redis: see the diagram above */

static void
ngx_conduit_durable_next(ngx_conduit_durable_t *d, conduit_buf_t *body)
{
    ngx_conduit_durable_args_t  *args;

    args = &d->args;

    if (d->request->method == NGX_HTTP_HEAD
        || args->live == NGX_CONDUIT_LIVE_NONE)
    {
        ngx_conduit_durable_finish(d, NGX_HTTP_OK, body);
        return;
    }

    if (args->live == NGX_CONDUIT_LIVE_SSE) {

        /* the worker may have begun to quit since the request came, and ends no
           stream that opens now; a stream that is closed needs no worker */

        if (ngx_conduit_hub_quits(d->hub)
            && !(d->closed && d->entries == 0))
        {
            ngx_conduit_durable_finish(d, NGX_HTTP_SERVICE_UNAVAILABLE, NULL);
            return;
        }

        ngx_conduit_durable_subscribe(d);
        return;
    }

    if (d->entries) {
        ngx_conduit_durable_finish(d, NGX_HTTP_OK, body);
        return;
    }

    /* a request that was woken up but has nothing to send, for example because
       the new entry is not valid, does not wait again: it might be woken up
       again at once */

    if (d->closed || d->woken || ngx_conduit_hub_quits(d->hub)
        || (ngx_msec_int_t) (d->until - ngx_current_msec) <= 0)
    {
        ngx_conduit_durable_finish(d, NGX_HTTP_NO_CONTENT, NULL);
        return;
    }

    args->offset.kind = CONDUIT_DURABLE_AFTER;
    args->offset.id = d->next;

    if (!d->all) {

        /* all entries of this answer were skipped, and there are more */

        ngx_conduit_durable_probe(d);
        return;
    }

    ngx_conduit_durable_wait(d);
}


/* makes the request a subscriber, unless the stream is closed at the offset */

static void
ngx_conduit_durable_subscribe(ngx_conduit_durable_t *d)
{
    ngx_int_t             rc;
    ngx_connection_t     *c;
    ngx_conduit_sub_t    *sub;
    ngx_http_request_t   *r;
    conduit_stream_id_t   pos;

    r = d->request;
    c = r->connection;

    ngx_conduit_client_unwatch(r);

    if (d->closed && d->entries == 0) {
        ngx_conduit_durable_detach(d);
        rc = ngx_conduit_durable_reply_closed(d);

    } else {
        sub = &d->ctx->sub;

        /* "error_page" may have brought the request from a location that had
           set these and then failed: this format has no gzip, and starts at the
           offset */

        sub->gzip.on = 0;
        ngx_memzero(&sub->listener.start, sizeof(conduit_start_t));
        sub->listener.resumes = 0;

        pos = d->args.offset.id;

        if (d->entries == 0 && d->all) {
            pos = d->next;
            sub->told = 1;
        }

        if (d->args.cursor) {
            sub->cursor = conduit_durable_cursor(ngx_time(), d->args.cursor,
                                                 ngx_random());
        }

        rc = ngx_conduit_sub_create(d->hub, r, sub, &d->key, d->label, &pos,
                                    d->expires);

        ngx_conduit_durable_detach(d);
    }

    /* the handler has incremented r->main->count for the probe, which is over:
       this call decrements it.  A subscriber has incremented it for itself */

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* waits for an entry after the offset, as a listener of the channel */

static void
ngx_conduit_durable_wait(ngx_conduit_durable_t *d)
{
    ngx_memzero(&d->listener, sizeof(ngx_conduit_listener_t));
    ngx_memzero(&d->member, sizeof(ngx_conduit_member_t));

    d->listener.on = &ngx_conduit_durable_listener;
    d->listener.id = d->next;
    d->member.on = &ngx_conduit_durable_member;
    d->member.limited = 1;
    d->member.deadline = d->until;

    if (ngx_conduit_channel_add(d->channel, &d->listener, &d->member)
        == NGX_DONE)
    {
        /* the entry that ends the stream was added after the answer */

        d->woken = 1;
        ngx_conduit_durable_probe(d);
        return;
    }

    d->waits = 1;
    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_SUBSCRIBERS, 1);
}


/* does nothing: the response is sent when it is complete */

static ngx_int_t
ngx_conduit_durable_listener_start(ngx_conduit_listener_t *l)
{
    return NGX_OK;
}


/* there is something to send: asks Redis for it, because a response is only
   made from the reply to a probe, not from the window */

static ngx_int_t
ngx_conduit_durable_listener_send(ngx_conduit_listener_t *l)
{
    ngx_conduit_durable_t  *d;

    d = ngx_queue_data(l, ngx_conduit_durable_t, listener);

    d->woken = 1;

    ngx_conduit_durable_probe(d);
    ngx_conduit_durable_leave(d);

    return NGX_DONE;
}


static void
ngx_conduit_durable_listener_end(ngx_conduit_listener_t *l,
    ngx_conduit_close_e why)
{
    ngx_conduit_durable_t  *d;

    d = ngx_queue_data(l, ngx_conduit_durable_t, listener);

    if (why == NGX_CONDUIT_CLOSE_END) {
        (void) ngx_conduit_durable_listener_send(l);
        return;
    }

    ngx_conduit_durable_finish(d, NGX_HTTP_SERVICE_UNAVAILABLE, NULL);
}


static void
ngx_conduit_durable_member_ping(ngx_conduit_member_t *m)
{
    /* nothing is sent before the answer */
}


static void
ngx_conduit_durable_member_end(ngx_conduit_member_t *m,
    ngx_conduit_roster_why_e why)
{
    ngx_conduit_durable_t  *d;

    d = ngx_queue_data(m, ngx_conduit_durable_t, member);

    ngx_conduit_durable_finish(d, why == NGX_CONDUIT_ROSTER_AWAY
                                  ? NGX_HTTP_SERVICE_UNAVAILABLE
                                  : NGX_HTTP_NO_CONTENT, NULL);
}


static ngx_uint_t
ngx_conduit_durable_member_away(ngx_conduit_member_t *m)
{
    ngx_msec_t              away;
    ngx_conduit_durable_t  *d;

    d = ngx_queue_data(m, ngx_conduit_durable_t, member);

    return ngx_conduit_channel_away(d->channel, &away)
           && away >= d->hub->settings.outage;
}


/* removes the request from its channel; does nothing the second time */

static void
ngx_conduit_durable_detach(ngx_conduit_durable_t *d)
{
    ngx_conduit_channel_t  *ch;

    if (d->timer.timer_set) {
        ngx_del_timer(&d->timer);
    }

    if (d->channel == NULL) {
        return;
    }

    ch = d->channel;

    if (d->waits) {

        /* a request that waits has no probe.  Leaving frees the channel if it
           has no other listeners or probes */

        ngx_conduit_durable_leave(d);

    } else {
        ngx_conduit_channel_unprobe(ch, &d->probe);
    }

    d->channel = NULL;
}


static void
ngx_conduit_durable_leave(ngx_conduit_durable_t *d)
{
    d->waits = 0;

    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_SUBSCRIBERS, -1);
    ngx_conduit_channel_remove(d->channel, &d->listener, &d->member);
}


static void
ngx_conduit_durable_finish(ngx_conduit_durable_t *d, ngx_uint_t status,
    conduit_buf_t *body)
{
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = d->request;
    c = r->connection;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "conduit: durable %p: the response is %ui", d, status);

    ngx_conduit_durable_detach(d);
    ngx_conduit_client_unwatch(r);

    rc = ngx_conduit_durable_reply(d, status, body);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* Redis has not answered the probe in time */

static void
ngx_conduit_durable_timeout(ngx_event_t *ev)
{
    ngx_conduit_durable_t  *d = ev->data;

    ngx_log_error(NGX_LOG_INFO, d->request->connection->log, 0,
                  "conduit: redis %V: no answer for \"%V\"",
                  &d->hub->redis->name, d->label ? d->label : &d->key);

    ngx_conduit_durable_finish(d, NGX_HTTP_SERVICE_UNAVAILABLE, NULL);
}


/* ends the request if the client has closed the connection */

static void
ngx_conduit_durable_read_handler(ngx_http_request_t *r)
{
    ngx_conduit_durable_t  *d;

    d = ngx_conduit_durable_of(r);

    if (d != NULL && ngx_conduit_client_left(r)) {
        ngx_conduit_durable_detach(d);
        ngx_conduit_client_unwatch(r);
        ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
    }
}


static void
ngx_conduit_durable_write_handler(ngx_http_request_t *r)
{
    ngx_conduit_durable_t  *d;

    d = ngx_conduit_durable_of(r);

    if (d != NULL && ngx_conduit_client_gone(r->connection)) {
        ngx_conduit_durable_detach(d);
        ngx_conduit_client_unwatch(r);
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}
