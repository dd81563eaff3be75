/* Copyright (C) Conduit for NGINX authors */

/*
 * The responses to requests of the Durable Streams protocol, except for the
 * events of live=sse.
 */

#ifndef NGX_CONDUIT_DURABLE_REPLY_H
#define NGX_CONDUIT_DURABLE_REPLY_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_durable.h"

#pragma GCC visibility push(hidden)

/* NGINX does not define this status */
#define NGX_CONDUIT_HTTP_GONE  410

/* a request, in its pool */
struct ngx_conduit_durable_s {
    ngx_conduit_probe_t          probe;
    ngx_conduit_listener_t       listener;  /* while it waits */
    ngx_conduit_member_t         member;    /* likewise */
    ngx_event_t                  timer;     /* of the probe; it keeps a worker
                                               from quitting */
    ngx_http_request_t          *request;
    ngx_conduit_gateway_ctx_t   *ctx;
    ngx_conduit_hub_t           *hub;
    ngx_conduit_channel_t       *channel;   /* NULL: it has neither a probe nor
                                               a listener there any more */
    ngx_str_t                    key;
    ngx_str_t                   *label;     /* as for ngx_conduit_channel_get()
                                               */
    ngx_str_t                   *type;      /* of the stream */
    ngx_conduit_durable_args_t   args;      /* a long poll advances the offset
                                               with each probe */
    ngx_msec_t                   expires;   /* of the token, see
                                               ngx_conduit_durable_handler() */
    ngx_msec_t                   until;     /* a long poll waits until then */

    /* what the last probe has found */
    conduit_stream_id_t          next;      /* the client's next offset */
    ngx_uint_t                   entries;   /* how many are to be sent */
    unsigned                     all:1;     /* the stream has no more entries */
    unsigned                     closed:1;  /* the stream is closed here */

    unsigned                     waits:1;   /* it is a listener */
    unsigned                     woken:1;   /* it was a listener, and a new
                                               entry has ended its wait */
};


/*
 * Returns the state of a request; NULL if it is no request of the protocol, or
 * if it has left its channel.
 */
ngx_conduit_durable_t *ngx_conduit_durable_of(ngx_http_request_t *r);

/* Whether a request reads no entries, only the end: HEAD, or offset=now. */
ngx_uint_t ngx_conduit_durable_tail_only(ngx_conduit_durable_t *d);

/*
 * Takes the answer to a probe: sets the members about what it has found, and
 * appends the entries to the body.  A failed allocation shows in body->failed.
 */
void ngx_conduit_durable_take(ngx_conduit_durable_t *d,
    ngx_conduit_question_t *q, conduit_buf_t *body);

/*
 * Sends the response with a status; body is needed for 200 only.  Returns what
 * to finalize the request with, as do the functions below.
 */
ngx_int_t ngx_conduit_durable_reply(ngx_conduit_durable_t *d,
    ngx_uint_t status, conduit_buf_t *body);

/*
 * Sends an event stream with the only event that is left for a client that has
 * got all entries of a closed stream: the control event that says so.
 */
ngx_int_t ngx_conduit_durable_reply_closed(ngx_conduit_durable_t *d);

/* Sends a 503 that asks the client to come back. */
ngx_int_t ngx_conduit_durable_reply_busy(ngx_http_request_t *r);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_DURABLE_REPLY_H */
