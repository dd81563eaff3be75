/* Copyright (C) Conduit for NGINX authors */

/*
 * The events of a subscriber's connection: the client has closed it, or its
 * socket is writable.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_conduit_client.h"


static ngx_uint_t ngx_conduit_client_closed(ngx_http_request_t *r,
    ngx_err_t *err);
static ngx_uint_t ngx_conduit_client_peek(ngx_connection_t *c, ngx_err_t *err);


ngx_int_t
ngx_conduit_client_watch(ngx_http_request_t *r,
    ngx_http_event_handler_pt on_read, ngx_http_event_handler_pt on_write)
{
    ngx_connection_t  *c;

    c = r->connection;

    r->read_event_handler = on_read;
    r->write_event_handler = on_write;

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);
        return NGX_OK;
    }

    return ngx_handle_read_event(c->read, 0);
}


void
ngx_conduit_client_unwatch(ngx_http_request_t *r)
{
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
}


ngx_uint_t
ngx_conduit_client_left(ngx_http_request_t *r)
{
    ngx_err_t          err;
    ngx_connection_t  *c;

    c = r->connection;
    err = 0;

    if (!ngx_conduit_client_closed(r, &err)) {
        return 0;
    }

    c->read->eof = 1;
    c->error = 1;

    if (err) {
        c->read->error = 1;
    }

    ngx_log_error(NGX_LOG_INFO, c->log, err,
                  "client prematurely closed connection");

    return 1;
}


/* whether the client has closed the connection, as far as the read event
   shows */

static ngx_uint_t
ngx_conduit_client_closed(ngx_http_request_t *r, ngx_err_t *err)
{
    ngx_connection_t  *c;
#if (NGX_HAVE_EPOLLRDHUP)
    socklen_t          len;
#endif

    c = r->connection;

    /* this is NULL if NGINX is built without HTTP/2 */

    if (r->stream) {
        return c->error;
    }

#if (nginx_version >= 1025000 && (NGX_QUIC || NGX_COMPAT))
    if (c->quic) {
        return c->error || c->read->error;
    }
#endif

#if (NGX_HAVE_KQUEUE)
    if (ngx_event_flags & NGX_USE_KQUEUE_EVENT) {
        *err = c->read->kq_errno;
        return c->read->pending_eof;
    }
#endif

#if (NGX_HAVE_EPOLLRDHUP)
    if ((ngx_event_flags & NGX_USE_EPOLL_EVENT) && ngx_use_epoll_rdhup) {

        if (!c->read->pending_eof) {
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

    return ngx_conduit_client_peek(c, err);
}


/* for event methods that do not report a closed connection: tries to read from
   the socket, and leaves the bytes there */

static ngx_uint_t
ngx_conduit_client_peek(ngx_connection_t *c, ngx_err_t *err)
{
    int           n;
    char          buf[1];
    ngx_event_t  *rev;

    rev = c->read;

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

    /* poll and select would report unread bytes again and again */

    return (ngx_event_flags & NGX_USE_LEVEL_EVENT) && rev->active
           && ngx_del_event(rev, NGX_READ_EVENT, 0) != NGX_OK;
}


/* HTTP/2 and HTTP/3 report a closed connection by a write event */

ngx_uint_t
ngx_conduit_client_gone(ngx_connection_t *c)
{
#if (nginx_version >= 1025000 && (NGX_QUIC || NGX_COMPAT))
    if (c->quic && c->write->error) {
        return 1;
    }
#endif

    return c->error;
}


