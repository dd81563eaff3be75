/* Copyright (C) Conduit for NGINX authors */

/*
 * The output of a subscriber: hands frames and other bytes to NGINX's filters.
 */

#ifndef NGX_CONDUIT_OUTPUT_H
#define NGX_CONDUIT_OUTPUT_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_channel.h"
#include "ngx_conduit_frame.h"
#include "ngx_conduit_gateway.h"
#include "ngx_conduit_gzip.h"
#include "ngx_conduit_hub.h"

#pragma GCC visibility push(hidden)

/* a frame on its way through the filters */
struct ngx_conduit_out_s {
    ngx_buf_t               buf;
    ngx_chain_t             link;
    ngx_conduit_frame_t    *frame;         /* NULL: the bytes belong to no
                                              frame */
    ngx_conduit_out_t      *next;
};

/* what is used for each event is from the end of member to the middle of
   listener, in few cache lines: an event of a channel needs those of all its
   clients */
struct ngx_conduit_sub_s {
    ngx_conduit_member_t    member;        /* of the hub's roster */
    ngx_http_request_t     *request;
    ngx_conduit_hub_t      *hub;
    ngx_conduit_channel_t  *channel;       /* NULL when detached */
    ngx_conduit_out_t      *busy;          /* in the filters, oldest first */
    ngx_conduit_out_t     **busy_last;
    ngx_conduit_out_t      *free;
    uint64_t                since;         /* time of its request, in ms */
    uint64_t                bytes;         /* as handed to the filters */
    uint32_t                events;
    uint32_t                pending;       /* bytes of busy */
    ngx_conduit_gzip_t      gzip;
    ngx_conduit_listener_t  listener;      /* of its channel */
    uint64_t                cursor;        /* of Durable Streams: the smallest
                                              cursor that it may be sent */
    uint32_t                refused;       /* time() from which its token is
                                              refused; 0: never */
    unsigned                close:4;       /* ngx_conduit_close_e */
    unsigned                deadline_why:4;  /* ngx_conduit_close_e of its
                                                deadline */
    unsigned                started:1;     /* the header was sent */
    unsigned                told:1;        /* of Durable Streams: the client was
                                              told that it has got all; before
                                              the start: it has got all */
    unsigned                losses:8;      /* how often it was told of lost
                                              history, 255 at most */
};


/*
 * Whether any of the response is buffered in NGINX, or waits there for a
 * subrequest to end.
 */
ngx_uint_t ngx_conduit_sub_blocked(ngx_conduit_sub_t *sub);

/*
 * Waits until the socket is writable, for at most send_timeout, or until a
 * subrequest ends, however long that takes.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_sub_block(ngx_conduit_sub_t *sub);

/*
 * Appends a frame to a chain, which is empty if *last is NULL.  Takes over the
 * caller's reference to the frame, even on failure.  Returns NGX_OK, or
 * NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_sub_push(ngx_conduit_sub_t *sub,
    ngx_conduit_frame_t *frame, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last);

/*
 * Appends an event, or a bundle whose last event is tail, in gzip; takes a new
 * reference to it.  Returns the same.
 */
ngx_int_t ngx_conduit_sub_push_piece(ngx_conduit_sub_t *sub,
    ngx_conduit_frame_t *frame, ngx_conduit_frame_t *tail,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last);

/* Appends the end of a response in gzip.  Returns the same. */
ngx_int_t ngx_conduit_sub_push_end(ngx_conduit_sub_t *sub,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last);

/*
 * Whether a buffer has copies of several pieces, which take memory for this
 * response alone.
 */
ngx_uint_t ngx_conduit_sub_joined(ngx_conduit_out_t *out);

/*
 * Sends bytes that are not an event.  data must stay valid until the response
 * has ended.  first: they are the first ones after its header.  Returns
 * NGX_ERROR, or what the filters return.
 */
ngx_int_t ngx_conduit_sub_text(ngx_conduit_sub_t *sub, u_char *data,
    size_t len, ngx_uint_t first);

/*
 * Sends the first bytes of the body: the line that says when to reconnect
 * ("retry"); in Durable Streams a control event if the client has got all
 * events, else a comment.  Returns NGX_ERROR, or what the filters return.
 */
ngx_int_t ngx_conduit_sub_hello(ngx_conduit_sub_t *sub);

/*
 * Hands a chain of buffers to the filters, flushed; end: it is the end of
 * the response.  Returns what the filters return.
 */
ngx_int_t ngx_conduit_sub_output(ngx_conduit_sub_t *sub,
    ngx_conduit_out_t *first, ngx_conduit_out_t *last, ngx_uint_t end);

/* Releases the buffers that the filters have consumed. */
void ngx_conduit_sub_reap(ngx_conduit_sub_t *sub);

/*
 * Releases the frames that the filters have not consumed and will not: called
 * when the request's pool is destroyed, not before.
 */
void ngx_conduit_sub_release(ngx_conduit_sub_t *sub);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_OUTPUT_H */
