/*
 * The events of a subscriber's connection: the client has gone, or its socket
 * takes more.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_conduit_subscriber.h"


static ngx_conduit_sub_t *ngx_conduit_sub_of(ngx_http_request_t *r);
static void ngx_conduit_sub_read_handler(ngx_http_request_t *r);
static ngx_uint_t ngx_conduit_sub_left(ngx_http_request_t *r, ngx_err_t *err);
static ngx_uint_t ngx_conduit_sub_gone(ngx_connection_t *c);
static void ngx_conduit_sub_write_handler(ngx_http_request_t *r);


ngx_int_t
ngx_conduit_sub_watch(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    c = r->connection;

    r->read_event_handler = ngx_conduit_sub_read_handler;
    r->write_event_handler = ngx_conduit_sub_write_handler;

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);
        return NGX_OK;
    }

    return ngx_handle_read_event(c->read, 0);
}


void
ngx_conduit_sub_unwatch(ngx_http_request_t *r)
{
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
}


/* returns NULL when the request is no subscriber, or is none any more */

static ngx_conduit_sub_t *
ngx_conduit_sub_of(ngx_http_request_t *r)
{
    ngx_conduit_gateway_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_gateway_module);

    return (ctx && ctx->sub.channel) ? &ctx->sub : NULL;
}


/*
 * Does what ngx_http_test_reading() does, but takes the subscriber out of its
 * channel before NGINX finalizes the request.  With "post_action" NGINX would
 * clear its contexts and go on with it in another location, while the channel
 * still sends to it.
 */

static void
ngx_conduit_sub_read_handler(ngx_http_request_t *r)
{
    ngx_err_t           err;
    ngx_event_t        *rev;
    ngx_connection_t   *c;
    ngx_conduit_sub_t  *sub;

    c = r->connection;
    rev = c->read;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "conduit: subscriber's read handler");

    sub = ngx_conduit_sub_of(r);

    if (sub == NULL) {
        return;
    }

    err = 0;

    if (ngx_conduit_sub_left(r, &err)) {

        rev->eof = 1;
        c->error = 1;

        if (err) {
            rev->error = 1;
        }

        ngx_log_error(NGX_LOG_INFO, c->log, err,
                      "client prematurely closed connection");

        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_CLIENT,
                               NGX_HTTP_CLIENT_CLOSED_REQUEST);
    }
}


/* whether the client has closed, as far as the read event tells */

static ngx_uint_t
ngx_conduit_sub_left(ngx_http_request_t *r, ngx_err_t *err)
{
    int                n;
    char               buf[1];
    ngx_event_t       *rev;
    ngx_connection_t  *c;
#if (NGX_HAVE_EPOLLRDHUP)
    socklen_t          len;
#endif

    c = r->connection;
    rev = c->read;

    /* where NGINX has no HTTP/2, this is NULL */

    if (r->stream) {
        return c->error;
    }

#if (nginx_version >= 1025000 && (NGX_QUIC || NGX_COMPAT))
    if (c->quic) {
        return c->error || rev->error;
    }
#endif

#if (NGX_HAVE_KQUEUE)
    if (ngx_event_flags & NGX_USE_KQUEUE_EVENT) {
        *err = rev->kq_errno;
        return rev->pending_eof;
    }
#endif

#if (NGX_HAVE_EPOLLRDHUP)
    if ((ngx_event_flags & NGX_USE_EPOLL_EVENT) && ngx_use_epoll_rdhup) {

        if (!rev->pending_eof) {
            return 0;
        }

        /* some systems return the error, others return -1 and set errno */

        len = sizeof(ngx_err_t);

        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) err, &len) == -1)
        {
            *err = ngx_socket_errno;
        }

        return 1;
    }
#endif

    n = recv(c->fd, buf, 1, MSG_PEEK);

    if (n == 0) {
        return 1;
    }

    if (n == -1) {

        if (ngx_socket_errno == NGX_EAGAIN) {
            return 0;
        }

        *err = ngx_socket_errno;
        return 1;
    }

    /* poll and select would tell of bytes that nobody reads again and again */

    return (ngx_event_flags & NGX_USE_LEVEL_EVENT) && rev->active
           && ngx_del_event(rev, NGX_READ_EVENT, 0) != NGX_OK;
}


/* HTTP/2 and HTTP/3 tell of a client that went by a write event */

static ngx_uint_t
ngx_conduit_sub_gone(ngx_connection_t *c)
{
#if (nginx_version >= 1025000 && (NGX_QUIC || NGX_COMPAT))
    if (c->quic && c->write->error) {
        return 1;
    }
#endif

    return c->error;
}


static void
ngx_conduit_sub_write_handler(ngx_http_request_t *r)
{
    ngx_event_t        *wev;
    ngx_connection_t   *c;
    ngx_conduit_sub_t  *sub;

    c = r->connection;
    wev = c->write;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "conduit: subscriber's write handler");

    sub = ngx_conduit_sub_of(r);

    if (sub == NULL) {
        return;
    }

    if (ngx_conduit_sub_gone(c)) {
        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_CLIENT, NGX_ERROR);
        return;
    }

    /* the events are those of a subrequest, until it has ended */

    if (c->data != r) {
        return;
    }

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "conduit: client timed out");
        c->timedout = 1;
        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_TIMEOUT,
                               NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (wev->delayed) {
        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_ERROR, NGX_ERROR);
        }

        return;
    }

    if (!ngx_conduit_sub_blocked(sub) && !sub->blocked) {
        return;
    }

    if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_CLIENT, NGX_ERROR);
        return;
    }

    ngx_conduit_sub_reap(sub);

    if (ngx_conduit_sub_blocked(sub)) {

        if (ngx_conduit_sub_block(sub) != NGX_OK) {
            ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_ERROR, NGX_ERROR);
        }

        return;
    }

    /* limit_rate may have set it a moment ago */

    if (wev->timer_set && !wev->delayed) {
        ngx_del_timer(wev);
    }

    ngx_conduit_roster_written(&sub->channel->hub->roster, &sub->member);

    if (sub->blocked) {
        ngx_conduit_channel_place(sub->channel, sub);
    }
}
