/* Copyright (C) Conduit for NGINX authors */

/*
 * Which pages of other origins may read the gateway's answers (CORS, WHATWG
 * Fetch 3.2): "conduit_gateway_cors" and "conduit_gateway_cors_credentials".
 */

#ifndef NGX_CONDUIT_GATEWAY_CORS_H
#define NGX_CONDUIT_GATEWAY_CORS_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_request.h"

#pragma GCC visibility push(hidden)

/* "conduit_gateway_cors * | off | origin ..." */
char *ngx_conduit_gateway_cors_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Merges and checks both directives; common must be merged before.  Returns
 * NGX_CONF_OK, or NGX_CONF_ERROR after logging what is wrong.
 */
char *ngx_conduit_gateway_cors_merge(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *prev, ngx_conduit_gateway_loc_conf_t *conf);

/*
 * Sets the CORS headers for the location that the request is in, replacing
 * those set before, and answers a preflight if it is one.  Returns NGX_OK or
 * NGX_ERROR.
 */
ngx_int_t ngx_conduit_gateway_cors(ngx_http_request_t *r);

/*
 * Sets the same headers in an earlier phase, so that errors that NGINX itself
 * returns in the location have them.  With "*" it sets none, because there
 * are configurations that add the header themselves.
 */
ngx_int_t ngx_conduit_gateway_cors_early(ngx_http_request_t *r);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_CORS_H */
