/* Copyright (C) Conduit for NGINX authors */

/*
 * What a request to the gateway asks for, from its arguments and headers.
 */

#ifndef NGX_CONDUIT_GATEWAY_ARGS_H
#define NGX_CONDUIT_GATEWAY_ARGS_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_start.h"
#include "ngx_conduit_durable.h"
#include "ngx_conduit_gateway_request.h"
#include "ngx_conduit_gateway_stream.h"

#pragma GCC visibility push(hidden)

/* what a request asks for */
typedef struct {
    ngx_conduit_name_t    name;
    ngx_str_t             token;
    conduit_stream_id_t   pos;        /* 0-0: none */
    conduit_start_t       start;      /* where to start without one */
    ngx_uint_t            resumes;    /* without one: it only wants a running
                                         stream */
    ngx_uint_t            json;       /* it wants an array of events */
    ngx_msec_t            wait;       /* ms to wait for the first of these */
    ngx_conduit_durable_args_t  durable;  /* of the format "durable", instead of
                                             these */
} ngx_conduit_wanted_t;


/*
 * Finds the position to go on from; without one, where to start, and whether
 * the client only wants a running stream.  Returns NGX_OK, or NGX_ERROR when
 * memory is out; *err is NULL, or a static text for the reply.
 */
ngx_int_t ngx_conduit_gateway_find_start(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_wanted_t *wanted,
    const char **err);

/*
 * Finds out how long a client waits for the first event, at most as long as
 * configured.  Returns the same.
 */
ngx_int_t ngx_conduit_gateway_wait(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_wanted_t *wanted,
    const char **err);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_ARGS_H */
