/* Copyright (C) Conduit for NGINX authors */

/*
 * A response of Server-Sent Events: its header, sending a text, and a response
 * that ends at once.
 */

#ifndef NGX_CONDUIT_RESPONSE_H
#define NGX_CONDUIT_RESPONSE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_buf.h"

#pragma GCC visibility push(hidden)

/* Sends the header.  Returns what ngx_http_send_header() returns. */
ngx_int_t ngx_conduit_response_header(ngx_http_request_t *r);

/* Adds "Vary: <name>" once, besides any other "Vary".  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_response_vary(ngx_http_request_t *r, const char *name);

/*
 * Says that the response is in gzip, before its header is sent: filters of
 * NGINX then do not compress it again.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_response_gzip(ngx_http_request_t *r);

/*
 * Sends a text, copied to the request's pool; last makes it the end of the
 * response.  Returns what the filters return.
 */
ngx_int_t ngx_conduit_response_text(ngx_http_request_t *r, conduit_buf_t *b,
    ngx_uint_t last);

/*
 * Returns a random time from 3/4 to 5/4 of msec, so that clients do not all
 * reconnect at once.
 */
ngx_msec_t ngx_conduit_jitter(ngx_msec_t msec);

/*
 * Answers a valid request that can't be served now, or that takes no events
 * (HEAD, "post_action"), with 200, a jittered "retry:" and the end of the
 * response.  Returns what the content handler returns.
 */
ngx_int_t ngx_conduit_response_turn_away(ngx_http_request_t *r,
    ngx_msec_t retry);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_RESPONSE_H */
