/* Copyright (C) Conduit for NGINX authors */

/*
 * The output of a subscriber.
 *
 * It sends the frames' own memory through the filters, and holds a reference to
 * a frame until its buffer is consumed (pos == last), or until the request's
 * pool is destroyed: HTTP/2 still sends from it after the request's cleanups
 * have run.  The buffers themselves live in the request's pool and are reused,
 * so that a response that lasts for days does not grow.
 *
 * While any of its output is buffered, nothing more is handed over: a slow
 * client falls behind and goes on from its position.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_output.h"


static void ngx_conduit_sub_count(ngx_conduit_sub_t *sub,
    ngx_conduit_frame_t *frame);
static ngx_int_t ngx_conduit_sub_push_event(ngx_conduit_sub_t *sub,
    ngx_conduit_frame_t *frame, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last, ngx_conduit_frame_t **rest);
static ngx_int_t ngx_conduit_sub_tell_position(ngx_conduit_sub_t *sub,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last);
static ngx_int_t ngx_conduit_sub_tell_lost(ngx_conduit_sub_t *sub,
    const char *reason, ngx_conduit_out_t **first, ngx_conduit_out_t **last);
static ngx_int_t ngx_conduit_sub_push(ngx_conduit_sub_t *sub,
    ngx_conduit_frame_t *frame, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last);


ngx_int_t
ngx_conduit_sub_collect(ngx_conduit_sub_t *sub, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last, ngx_uint_t *end)
{
    size_t                limit, before;
    const char           *reason;
    ngx_conduit_frame_t  *frame, *rest;

    limit = sub->hub->settings.buffer_size;
    before = sub->pending;

    *first = NULL;
    *last = NULL;
    *end = 0;

    if (sub->listener.tells
        && ngx_conduit_sub_tell_position(sub, first, last) != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* not NULL: the last event of a bundle whose bytes are in the chain
       already */

    rest = NULL;

    while ((rest != NULL || sub->pending - before < limit) && !*end) {

        if (!ngx_conduit_channel_next(sub->channel, &sub->listener, &frame,
                                      &reason))
        {
            return NGX_OK;
        }

        if (frame == NULL) {

            if (ngx_conduit_sub_tell_lost(sub, reason, first, last)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            continue;
        }

        if (rest == NULL
            && ngx_conduit_sub_push_event(sub, frame, first, last, &rest)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (frame == rest) {
            rest = NULL;
        }

        *end = frame->end;

        ngx_conduit_sub_count(sub, frame);
        sub->events++;
    }

    return NGX_AGAIN;
}


/* appends an event, or the bundle it begins: *rest is the bundle's last then */

static ngx_int_t
ngx_conduit_sub_push_event(ngx_conduit_sub_t *sub, ngx_conduit_frame_t *frame,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last,
    ngx_conduit_frame_t **rest)
{
    ngx_conduit_frame_t  *bundle;

    bundle = ngx_conduit_channel_bundle(sub->channel, &sub->listener, frame,
                                        rest);

    if (bundle == NULL) {
        bundle = frame;
    }

    bundle->refs++;

    return ngx_conduit_sub_push(sub, bundle, first, last);
}


/*
 * Counts an event, and measures the time since Redis added its entry, whose ID
 * starts with that millisecond, unless the entry is older than the request.
 */

static void
ngx_conduit_sub_count(ngx_conduit_sub_t *sub, ngx_conduit_frame_t *frame)
{
    uint64_t             now, start;
    ngx_time_t          *tp;
    ngx_http_request_t  *r;

    r = sub->request;
    tp = ngx_timeofday();

    start = (uint64_t) r->start_sec * 1000 + r->start_msec;
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_EVENTS);

    if (frame->id.ms >= start) {
        conduit_metrics_observe(ngx_conduit_gateway_stats.slot->cells
                                + NGX_CONDUIT_GATEWAY_DELIVERY,
                                ngx_conduit_gateway_delivery,
                                now > frame->id.ms
                                ? (now - frame->id.ms) * 1000 : 0);
    }
}


/* where a client starts, before its first event */

static ngx_int_t
ngx_conduit_sub_tell_position(ngx_conduit_sub_t *sub,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last)
{
    ngx_conduit_frame_t  *frame;

    frame = ngx_conduit_frame_position(sub->hub, &sub->listener.id);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    sub->listener.tells = 0;

    return ngx_conduit_sub_push(sub, frame, first, last);
}


static ngx_int_t
ngx_conduit_sub_tell_lost(ngx_conduit_sub_t *sub, const char *reason,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last)
{
    ngx_conduit_frame_t  *frame;

    frame = ngx_conduit_frame_control(sub->hub, "history_lost", reason,
                                      &sub->listener.id);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_LOST + (*reason == 'g'));

    sub->losses += (sub->losses < 255);

    return ngx_conduit_sub_push(sub, frame, first, last);
}


/* appends a frame to a chain, taking over a reference to it */

static ngx_int_t
ngx_conduit_sub_push(ngx_conduit_sub_t *sub, ngx_conduit_frame_t *frame,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last)
{
    ngx_conduit_out_t  *out;

    out = ngx_conduit_sub_out(sub, frame->data, frame->len);

    if (out == NULL) {
        ngx_conduit_frame_release(frame);
        return NGX_ERROR;
    }

    out->frame = frame;

    if (*last == NULL) {
        *first = out;

    } else {
        (*last)->link.next = &out->link;
    }

    *last = out;

    return NGX_OK;
}


ngx_conduit_out_t *
ngx_conduit_sub_out(ngx_conduit_sub_t *sub, u_char *data, size_t len)
{
    ngx_buf_t          *b;
    ngx_conduit_out_t  *out;

    out = sub->free;

    if (out != NULL) {
        sub->free = out->next;

    } else {
        out = ngx_palloc(sub->request->pool, sizeof(ngx_conduit_out_t));
        if (out == NULL) {
            return NULL;
        }
    }

    ngx_memzero(out, sizeof(ngx_conduit_out_t));

    b = &out->buf;

    b->start = data;
    b->pos = data;
    b->last = data + len;
    b->end = data + len;
    b->tag = (ngx_buf_tag_t) &ngx_conduit_gateway_module;
    b->memory = 1;

    out->link.buf = b;

    *sub->busy_last = out;
    sub->busy_last = &out->next;
    sub->pending += len;

    return out;
}


ngx_int_t
ngx_conduit_sub_output(ngx_conduit_sub_t *sub, ngx_conduit_out_t *first,
    ngx_conduit_out_t *last, ngx_uint_t end)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = sub->request;

    /* some filters take any kind of "last" for the end of the response */

    last->buf.flush = 1;
    last->buf.last_in_chain = end;
    last->buf.last_buf = end;

    sub->bytes += sub->pending;
    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_BYTES, sub->pending);

    rc = ngx_http_output_filter(r, &first->link);

    /* a filter has made a subrequest, which runs only after an event of the
       connection */

    if (r->main->posted_requests != NULL) {
        ngx_post_event(r->connection->read, &ngx_posted_events);
    }

    ngx_conduit_sub_reap(sub);

    ngx_conduit_roster_written(&sub->hub->roster, &sub->member);

    return rc;
}


void
ngx_conduit_sub_reap(ngx_conduit_sub_t *sub)
{
    ngx_conduit_out_t  *out;

    while (sub->busy != NULL && sub->busy->buf.pos == sub->busy->buf.last) {

        out = sub->busy;
        sub->busy = out->next;

        if (sub->busy == NULL) {
            sub->busy_last = &sub->busy;
        }

        sub->pending -= out->buf.end - out->buf.start;

        if (out->frame != NULL) {
            ngx_conduit_frame_release(out->frame);
        }

        out->next = sub->free;
        sub->free = out;
    }
}


ngx_uint_t
ngx_conduit_sub_blocked(ngx_conduit_sub_t *sub)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = sub->request;
    c = r->connection;

    /*
     * any bit counts: those of TLS and HTTP/2 are not among the HTTP ones;
     * output that waits for a subrequest to end ("add_before_body") sets none
     */

    return c->buffered || r->buffered || r->postponed || c->data != r;
}


ngx_int_t
ngx_conduit_sub_block(ngx_conduit_sub_t *sub)
{
    ngx_event_t               *wev;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = sub->request;
    wev = r->connection->write;

    /*
     * A subrequest has the connection and its timer.  NGINX calls the write
     * handler of this request when the subrequest has ended.
     */

    if (r->connection->data != r) {

        if (wev->timer_set && !wev->delayed) {
            ngx_del_timer(wev);
        }

        return NGX_OK;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!wev->delayed) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    return ngx_handle_write_event(wev, clcf->send_lowat);
}


void
ngx_conduit_sub_release(ngx_conduit_sub_t *sub)
{
    ngx_conduit_out_t  *out;

    for (out = sub->busy; out; out = out->next) {
        if (out->frame != NULL) {
            ngx_conduit_frame_release(out->frame);
        }
    }

    sub->busy = NULL;
}
