/*
 * Which pages of other origins a browser lets read the gateway's answers (CORS,
 * WHATWG Fetch 3.2): "conduit_gateway_cors" and
 * "conduit_gateway_cors_credentials".
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
 * Merges and checks both directives; common must have been merged.  Returns
 * NGX_CONF_OK, or NGX_CONF_ERROR after logging what is wrong.
 */
char *ngx_conduit_gateway_cors_merge(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *prev, ngx_conduit_gateway_loc_conf_t *conf);

/*
 * Sets the response headers for the location that the request is in, and what a
 * preflight asks for if it is one, in place of those that were set before.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_gateway_cors(ngx_http_request_t *r);

/*
 * Does so for what NGINX itself refuses in the location.  With "*" it does
 * nothing: there are configurations that add the header for that.
 */
ngx_int_t ngx_conduit_gateway_cors_early(ngx_http_request_t *r);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_CORS_H */
