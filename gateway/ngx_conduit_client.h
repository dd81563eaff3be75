/* Copyright (C) Conduit for NGINX authors */

/*
 * The connection of a subscriber: whether its client has gone.
 */

#ifndef NGX_CONDUIT_CLIENT_H
#define NGX_CONDUIT_CLIENT_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#pragma GCC visibility push(hidden)

/*
 * Sets the handlers to be called when the client closes the connection, or has
 * done so since its request, and when the socket is writable.  NGX_OK or
 * NGX_ERROR.
 */
ngx_int_t ngx_conduit_client_watch(ngx_http_request_t *r,
    ngx_http_event_handler_pt on_read, ngx_http_event_handler_pt on_write);

/*
 * Gives the request back to NGINX, which may go on with it in another location
 * ("error_page", "post_action"): sets the handlers that a content handler
 * starts with.
 */
void ngx_conduit_client_unwatch(ngx_http_request_t *r);

/*
 * For the read handler: whether the client has closed the connection, found out
 * as ngx_http_test_reading() does; marks the connection accordingly.
 */
ngx_uint_t ngx_conduit_client_left(ngx_http_request_t *r);

/*
 * For the write handler: the same, for protocols where a write event reports
 * that the client has closed the connection.
 */
ngx_uint_t ngx_conduit_client_gone(ngx_connection_t *c);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_CLIENT_H */
