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
 * Has the handlers called for a client that goes, or came and went with its
 * request, and for a socket that takes more.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_client_watch(ngx_http_request_t *r,
    ngx_http_event_handler_pt on_read, ngx_http_event_handler_pt on_write);

/*
 * The request is NGINX's again, which may go on with it in another location
 * ("error_page", "post_action"): gives it the handlers that a content handler
 * starts with.
 */
void ngx_conduit_client_unwatch(ngx_http_request_t *r);

/*
 * For the handler of reads: whether the client has closed, as
 * ngx_http_test_reading() finds out; takes note of it in the connection.
 */
ngx_uint_t ngx_conduit_client_left(ngx_http_request_t *r);

/* For the handler of writes: likewise, where such an event tells. */
ngx_uint_t ngx_conduit_client_gone(ngx_connection_t *c);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_CLIENT_H */
