/* Copyright (C) Conduit for NGINX authors */

/*
 * What a request of the Durable Streams protocol is answered, but for the
 * events of live=sse.
 */

#ifndef NGX_CONDUIT_DURABLE_REPLY_H
#define NGX_CONDUIT_DURABLE_REPLY_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_durable.h"

#pragma GCC visibility push(hidden)

/* NGINX has no name for it */
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
    ngx_conduit_channel_t       *channel;   /* NULL: it has nothing there */
    ngx_str_t                    key;
    ngx_str_t                   *label;     /* as for ngx_conduit_channel_get()
                                               */
    ngx_str_t                   *type;      /* of the stream */
    ngx_conduit_durable_args_t   args;      /* the offset moves on */
    ngx_msec_t                   expires;
    ngx_msec_t                   until;     /* it waits until then */

    /* what the last probe has found */
    conduit_stream_id_t          next;      /* where the client is then */
    ngx_uint_t                   entries;   /* how many are to be sent */
    unsigned                     all:1;     /* there are no more */
    unsigned                     closed:1;  /* there will be no more */

    unsigned                     waits:1;   /* it is a listener */
    unsigned                     woken:1;   /* it was one */
};


/* Returns the request's, or NULL when there is none, or when it is over. */
ngx_conduit_durable_t *ngx_conduit_durable_of(ngx_http_request_t *r);

/* Whether the request is about the end of the stream: HEAD, or "now". */
ngx_uint_t ngx_conduit_durable_tail_only(ngx_conduit_durable_t *d);

/*
 * Takes an answer of Redis: sets what the probe has found, and appends the
 * entries to the body.  A failed allocation shows in body->failed.
 */
void ngx_conduit_durable_take(ngx_conduit_durable_t *d,
    ngx_conduit_question_t *q, conduit_buf_t *body);

/*
 * Sends the response; body is that of a 200.  Returns what to finalize the
 * request with, as the functions below.
 */
ngx_int_t ngx_conduit_durable_reply(ngx_conduit_durable_t *d,
    ngx_uint_t status, conduit_buf_t *body);

/* Sends an event stream of a closed stream to a client that has got all. */
ngx_int_t ngx_conduit_durable_reply_closed(ngx_conduit_durable_t *d);

/* Sends a 503 that asks the client to come back. */
ngx_int_t ngx_conduit_durable_reply_busy(ngx_http_request_t *r);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_DURABLE_REPLY_H */
