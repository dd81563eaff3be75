/*
 * What the files of a subscriber share.
 */

#ifndef NGX_CONDUIT_SUBSCRIBER_H
#define NGX_CONDUIT_SUBSCRIBER_H

#include "ngx_conduit_gateway.h"

#pragma GCC visibility push(hidden)

/*
 * Has the subscriber told of a client that goes, or came and went with its
 * request, and of a socket that takes more.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_sub_watch(ngx_http_request_t *r);

/*
 * The request is NGINX's again, which may go on with it in another location
 * ("error_page", "post_action"): gives it the handlers that a content handler
 * starts with.
 */
void ngx_conduit_sub_unwatch(ngx_http_request_t *r);

/*
 * Whether anything of the response is buffered in NGINX, or waits there for a
 * subrequest to end.
 */
ngx_uint_t ngx_conduit_sub_blocked(ngx_conduit_sub_t *sub);

/*
 * Waits for the socket, at most send_timeout, or for the end of a subrequest,
 * whatever time that takes.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_sub_block(ngx_conduit_sub_t *sub);

/*
 * Makes a buffer over bytes that stay until it is reaped, out of one that was
 * used before, and counts them as pending.  Returns NULL when memory is out.
 */
ngx_conduit_out_t *ngx_conduit_sub_out(ngx_conduit_sub_t *sub, u_char *data,
    size_t len);

/*
 * Hands a chain of such buffers over, flushed; end makes them the last of the
 * response.  Returns what the filters return.
 */
ngx_int_t ngx_conduit_sub_output(ngx_conduit_sub_t *sub,
    ngx_conduit_out_t *first, ngx_conduit_out_t *last, ngx_uint_t end);

/* Gives back what the filters have consumed. */
void ngx_conduit_sub_reap(ngx_conduit_sub_t *sub);

/*
 * Lets the subscriber go and finalizes its request with rc; nothing of either
 * is to be used afterwards.
 */
void ngx_conduit_sub_finish(ngx_conduit_sub_t *sub,
    ngx_conduit_close_e why, ngx_int_t rc);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_SUBSCRIBER_H */
