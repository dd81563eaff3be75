/* Copyright (C) Conduit for NGINX authors */

/*
 * The token of a request to the gateway.
 */

#ifndef NGX_CONDUIT_GATEWAY_TOKEN_H
#define NGX_CONDUIT_GATEWAY_TOKEN_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_request.h"

#pragma GCC visibility push(hidden)

/*
 * Adds a handler to the preaccess phase, which takes the token out of a request
 * before anything logs it, in a location that needs one.  Returns NGX_OK or
 * NGX_ERROR.
 */
ngx_int_t ngx_conduit_gateway_token_init(ngx_conf_t *cf);

/*
 * Returns the context of a main request, which the first call makes, after
 * taking the token where the location needs one; NULL when memory is out.
 */
ngx_conduit_gateway_ctx_t *ngx_conduit_gateway_token_take(
    ngx_http_request_t *r);

/*
 * Finds the token: that of the argument or, for clients that can send headers,
 * of "Authorization", or else that of "conduit_gateway_token".  Returns NGX_OK;
 * NGX_DECLINED when there is none; NGX_ABORT when the argument is repeated or
 * badly encoded, even if there is another token.
 */
ngx_int_t ngx_conduit_gateway_token_find(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx, ngx_str_t *token);

/* Overwrites and frees the token; its verified claims stay. */
void ngx_conduit_gateway_token_forget(ngx_conduit_gateway_ctx_t *ctx);

/*
 * Returns the ids of a valid token, for $conduit_verified_*; an
 * ngx_conduit_http_verified_pt.
 */
ngx_int_t ngx_conduit_gateway_verified(ngx_http_request_t *r,
    ngx_conduit_ids_t *ids, ngx_uint_t channel, ngx_uint_t verify);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_TOKEN_H */
