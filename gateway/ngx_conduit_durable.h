/* Copyright (C) Conduit for NGINX authors */

/*
 * Requests of the Durable Streams protocol (conduit_durable.h).
 *
 *   read       reads the arguments: what a request asks for
 *   handler    answers the request, after its token was checked
 */

#ifndef NGX_CONDUIT_DURABLE_H
#define NGX_CONDUIT_DURABLE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_durable.h"
#include "ngx_conduit_gateway_request.h"
#include "ngx_conduit_gateway_stream.h"

#pragma GCC visibility push(hidden)

typedef enum {
    NGX_CONDUIT_LIVE_NONE = 0,
    NGX_CONDUIT_LIVE_POLL,                 /* "long-poll" */
    NGX_CONDUIT_LIVE_SSE                   /* "sse" */
} ngx_conduit_live_e;

/* what a request asks for */
typedef struct {
    conduit_durable_offset_t   offset;
    ngx_uint_t                 live;       /* ngx_conduit_live_e */
    uint64_t                   cursor;     /* 0: none */
} ngx_conduit_durable_args_t;


/*
 * Reads the arguments of a request.  Returns NGX_OK, or NGX_ERROR when memory
 * is out; *err is NULL, or a static text for the reply, which says what is
 * wrong.
 */
ngx_int_t ngx_conduit_durable_read(ngx_http_request_t *r,
    ngx_conduit_durable_args_t *args, const char **err);

/*
 * Answers a GET or HEAD request whose token was checked; expires is that of
 * ngx_conduit_sub_create(), ctx its context.  Returns what the content handler
 * returns.
 */
ngx_int_t ngx_conduit_durable_handler(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx,
    ngx_conduit_name_t *name, ngx_conduit_durable_args_t *args,
    ngx_msec_t expires);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_DURABLE_H */
