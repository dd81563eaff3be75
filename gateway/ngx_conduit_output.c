/* Copyright (C) Conduit for NGINX authors */

/*
 * The output of a subscriber.
 *
 * The bytes of a frame are sent from the frame's own memory, not copied.  A
 * reference to the frame is held until its buffer is consumed (pos == last), or
 * until the request's pool is destroyed, because HTTP/2 still sends from the
 * buffer after the request's cleanups have run.  The buffers are allocated from
 * the request's pool and reused, so that the memory of a response that lasts
 * for days does not grow.  In a response in gzip (ngx_conduit_gzip.h), the
 * compressed form of a frame is sent, and other bytes in stored blocks.
 *
 * Small pieces that follow each other in a chain, as when a client gets the
 * history, are copied into one "joint" frame, which belongs to this response
 * alone and is freed when it was sent.  The reason is that NGINX never frees
 * the buffers of a request, 176 bytes for each: a client that got 200 small
 * events at once would keep 35 KB for as long as its stream lasts.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "conduit_sse.h"
#include "ngx_conduit_durable_sse.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_output.h"
#include "ngx_conduit_send.h"


/* pieces of up to this many bytes are copied if others are beside them */
#define NGX_CONDUIT_PIECE  4096


static ngx_int_t ngx_conduit_sub_push_stored(ngx_conduit_sub_t *sub,
    ngx_conduit_frame_t *frame, u_char *data, size_t len,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last);
static ngx_int_t ngx_conduit_sub_push_copy(ngx_conduit_sub_t *sub,
    const u_char *data, size_t len, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last);
static ngx_int_t ngx_conduit_sub_push_bytes(ngx_conduit_sub_t *sub,
    ngx_conduit_frame_t *frame, u_char *data, size_t len,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last);
static ngx_uint_t ngx_conduit_sub_join(ngx_conduit_sub_t *sub,
    ngx_conduit_out_t *out, const u_char *data, size_t len);
static ngx_conduit_out_t *ngx_conduit_sub_out(ngx_conduit_sub_t *sub,
    ngx_conduit_frame_t *frame, u_char *data, size_t len);
static void ngx_conduit_sub_set_bytes(ngx_conduit_out_t *out, u_char *data,
    size_t len);


ngx_int_t
ngx_conduit_sub_push(ngx_conduit_sub_t *sub, ngx_conduit_frame_t *frame,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last)
{
    if (sub->gzip.on) {
        ngx_conduit_gzip_text(&sub->gzip, frame->data, frame->len);
        return ngx_conduit_sub_push_stored(sub, frame, frame->data, frame->len,
                                           first, last);
    }

    return ngx_conduit_sub_push_bytes(sub, frame, frame->data, frame->len,
                                      first, last);
}


ngx_int_t
ngx_conduit_sub_push_piece(ngx_conduit_sub_t *sub, ngx_conduit_frame_t *frame,
    ngx_conduit_frame_t *tail, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last)
{
    size_t            grown;
    const ngx_str_t  *piece;

    piece = ngx_conduit_gzip_frame(&sub->gzip, frame, tail, &grown);

    if (grown) {
        ngx_conduit_channel_grown(sub->channel, &sub->listener, frame, grown);
    }

    frame->refs++;

    if (piece == NULL) {
        return ngx_conduit_sub_push_stored(sub, frame, frame->data, frame->len,
                                           first, last);
    }

    return ngx_conduit_sub_push_bytes(sub, frame, piece->data, piece->len,
                                      first, last);
}


ngx_int_t
ngx_conduit_sub_push_end(ngx_conduit_sub_t *sub, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last)
{
    u_char  end[CONDUIT_DEFLATE_END];

    conduit_deflate_end(sub->gzip.crc, sub->gzip.size, end);

    return ngx_conduit_sub_push_copy(sub, end, sizeof(end), first, last);
}


ngx_uint_t
ngx_conduit_sub_joined(ngx_conduit_out_t *out)
{
    return out->frame != NULL && out->frame->joint;
}


/* appends bytes in stored blocks; takes over the reference to their frame, even
   on failure; the frame is NULL if they are of none */

static ngx_int_t
ngx_conduit_sub_push_stored(ngx_conduit_sub_t *sub, ngx_conduit_frame_t *frame,
    u_char *data, size_t len, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last)
{
    size_t  n;
    u_char  head[CONDUIT_DEFLATE_STORED];

    for ( /* void */ ; len; data += n, len -= n) {

        n = ngx_min(len, CONDUIT_DEFLATE_BLOCK);

        conduit_deflate_stored(n, head);

        if (ngx_conduit_sub_push_copy(sub, head, sizeof(head), first, last)
            != NGX_OK)
        {
            break;
        }

        if (n == len) {
            return ngx_conduit_sub_push_bytes(sub, frame, data, n, first,
                                              last);
        }

        /* each block holds the frame, as the last one may be copied */

        if (frame != NULL) {
            frame->refs++;
        }

        if (ngx_conduit_sub_push_bytes(sub, frame, data, n, first, last)
            != NGX_OK)
        {
            break;
        }
    }

    if (frame != NULL) {
        ngx_conduit_frame_release(frame);
    }

    return NGX_ERROR;
}


/* appends a copy of a few bytes */

static ngx_int_t
ngx_conduit_sub_push_copy(ngx_conduit_sub_t *sub, const u_char *data,
    size_t len, ngx_conduit_out_t **first, ngx_conduit_out_t **last)
{
    ngx_conduit_frame_t  *frame;

    if (*last != NULL && ngx_conduit_sub_join(sub, *last, data, len)) {
        return NGX_OK;
    }

    frame = ngx_conduit_frame_joint(NULL, data, len);

    if (frame == NULL) {
        return NGX_ERROR;
    }

    return ngx_conduit_sub_push_bytes(sub, frame, frame->data, len, first,
                                      last);
}


/* appends bytes of a frame, or others, which must stay valid until they are
   reaped; takes over the reference to the frame, even on failure */

static ngx_int_t
ngx_conduit_sub_push_bytes(ngx_conduit_sub_t *sub, ngx_conduit_frame_t *frame,
    u_char *data, size_t len, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last)
{
    ngx_conduit_out_t  *out;

    if (*last != NULL && ngx_conduit_sub_join(sub, *last, data, len)) {

        if (frame != NULL) {
            ngx_conduit_frame_release(frame);
        }

        return NGX_OK;
    }

    out = ngx_conduit_sub_out(sub, frame, data, len);

    if (out == NULL) {

        if (frame != NULL) {
            ngx_conduit_frame_release(frame);
        }

        return NGX_ERROR;
    }

    if (*last == NULL) {
        *first = out;

    } else {
        (*last)->link.next = &out->link;
    }

    *last = out;

    return NGX_OK;
}


/* adds a copy of bytes to a buffer that was not sent yet.  Returns 0 if one of
   the two is large, or when memory is out: the bytes then need a buffer of
   their own */

static ngx_uint_t
ngx_conduit_sub_join(ngx_conduit_sub_t *sub, ngx_conduit_out_t *out,
    const u_char *data, size_t len)
{
    size_t                has;
    ngx_buf_t            *b;
    ngx_conduit_frame_t  *joint;

    b = &out->buf;
    has = b->last - b->pos;

    if (len > NGX_CONDUIT_PIECE) {
        return 0;
    }

    if (!ngx_conduit_sub_joined(out)) {

        if (has > NGX_CONDUIT_PIECE) {
            return 0;
        }

        joint = ngx_conduit_frame_joint(NULL, b->pos, has);

        if (joint == NULL) {
            return 0;
        }

        if (out->frame != NULL) {
            ngx_conduit_frame_release(out->frame);
        }

        out->frame = joint;
        ngx_conduit_sub_set_bytes(out, joint->data, has);
    }

    joint = ngx_conduit_frame_joint(out->frame, data, len);

    if (joint == NULL) {
        return 0;
    }

    out->frame = joint;
    ngx_conduit_sub_set_bytes(out, joint->data, has + len);

    sub->pending += len;

    return 1;
}


/* makes a buffer for data; reuses a former buffer if possible; counts the bytes
   as pending */

static ngx_conduit_out_t *
ngx_conduit_sub_out(ngx_conduit_sub_t *sub, ngx_conduit_frame_t *frame,
    u_char *data, size_t len)
{
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

    out->buf.tag = (ngx_buf_tag_t) &ngx_conduit_gateway_module;
    out->buf.memory = 1;
    out->link.buf = &out->buf;
    out->frame = frame;

    ngx_conduit_sub_set_bytes(out, data, len);

    *sub->busy_last = out;
    sub->busy_last = &out->next;
    sub->pending += len;

    return out;
}


static void
ngx_conduit_sub_set_bytes(ngx_conduit_out_t *out, u_char *data, size_t len)
{
    ngx_buf_t  *b;

    b = &out->buf;

    b->start = data;
    b->pos = data;
    b->last = data + len;
    b->end = data + len;
}


ngx_int_t
ngx_conduit_sub_hello(ngx_conduit_sub_t *sub)
{
    conduit_buf_t        *hello;
    ngx_conduit_out_t    *first, *last;
    ngx_conduit_frame_t  *frame;

    static u_char  comment[] = CONDUIT_SSE_KEEPALIVE;

    if (!ngx_conduit_durable_is(sub->hub)) {
        hello = &sub->hub->hello;
        return ngx_conduit_sub_text(sub, (u_char *) hello->data, hello->len,
                                    1);
    }

    if (!sub->told) {
        return ngx_conduit_sub_text(sub, comment, sizeof(comment) - 1, 1);
    }

    frame = ngx_conduit_durable_position(sub);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    first = NULL;
    last = NULL;

    if (ngx_conduit_sub_push(sub, frame, &first, &last) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_conduit_sub_output(sub, first, last, 0);
}


ngx_int_t
ngx_conduit_sub_text(ngx_conduit_sub_t *sub, u_char *data, size_t len,
    ngx_uint_t first)
{
    ngx_int_t           rc;
    ngx_conduit_out_t  *head, *last;

    head = NULL;
    last = NULL;

    if (!sub->gzip.on) {
        rc = ngx_conduit_sub_push_bytes(sub, NULL, data, len, &head, &last);

    } else {

        rc = first ? ngx_conduit_sub_push_copy(sub, conduit_deflate_header,
                                               CONDUIT_DEFLATE_HEADER, &head,
                                               &last)
                   : NGX_OK;

        if (rc == NGX_OK) {
            rc = ngx_conduit_sub_push_stored(sub, NULL, data, len, &head,
                                             &last);
        }

        ngx_conduit_gzip_text(&sub->gzip, data, len);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_conduit_sub_output(sub, head, last, 0);
}


ngx_int_t
ngx_conduit_sub_output(ngx_conduit_sub_t *sub, ngx_conduit_out_t *first,
    ngx_conduit_out_t *last, ngx_uint_t end)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = sub->request;

    /* last_in_chain is only set at the end of the response, because some
       filters take it for that */

    last->buf.flush = 1;
    last->buf.last_in_chain = end;
    last->buf.last_buf = end;

    sub->bytes += sub->pending;
    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_BYTES, sub->pending);

    rc = ngx_conduit_http_output(r, &first->link);

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
     * "buffered" is compared with 0, because TLS and HTTP/2 set bits of their
     * own in it.  Output that waits for a subrequest to end ("add_before_body")
     * sets no bit.
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

    ngx_conduit_gzip_release(&sub->gzip);
}
