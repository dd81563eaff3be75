/* Copyright (C) Conduit for NGINX authors */

/*
 * Durable Streams, live=sse: what a subscriber is sent besides the frames of
 * entries.  The frame of an entry has the data event, and the beginning of the
 * control event that follows it.  The rest of the control event depends on the
 * time and the client, but is the same for most clients at a given time.  So
 * the hub keeps two of them for all clients: one that says that more events
 * follow, and one that says that the client has got all.
 */

#ifndef NGX_CONDUIT_DURABLE_SSE_H
#define NGX_CONDUIT_DURABLE_SSE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_frame.h"
#include "ngx_conduit_output.h"

#pragma GCC visibility push(hidden)

/* Whether the hub's format is "durable". */
ngx_uint_t ngx_conduit_durable_is(ngx_conduit_hub_t *hub);

/*
 * Returns the rest of a control event of a stream that is not closed, with a
 * reference; all: the client has got all there is.  NULL when memory is out.
 */
ngx_conduit_frame_t *ngx_conduit_durable_tail(ngx_conduit_sub_t *sub,
    ngx_uint_t all);

/*
 * Returns a whole control event, which tells a client that has got all entries
 * its position, with a reference.  NULL when memory is out.
 */
ngx_conduit_frame_t *ngx_conduit_durable_position(ngx_conduit_sub_t *sub);

/* Writes the control event of a closed stream. */
void ngx_conduit_durable_closed(const conduit_stream_id_t *id,
    conduit_buf_t *b);

/*
 * Adds the headers that all responses of the format have; replaces them when
 * called again, after an internal redirect.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_durable_headers(ngx_http_request_t *r);

/* Adds the headers of an event stream.  Returns NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_durable_sse_headers(ngx_http_request_t *r,
    ngx_conduit_hub_t *hub);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_DURABLE_SSE_H */
