/* Copyright (C) Conduit for NGINX authors */

/*
 * hiredis' asynchronous API on NGINX's event loop.
 *
 * Events are level-triggered: hiredis reads at most 16k at a time and hides
 * EAGAIN, so with edge-triggered events the rest would stay unread in the
 * socket.  Within a reply it is called several times for one event: otherwise a
 * large reply, and those after it, would take one turn of the event loop for
 * each 16k, while other work is done in each turn.
 *
 * A write is posted rather than registered: all commands of one iteration of
 * the event loop are sent with one write(), usually without an epoll_ctl().
 *
 * hiredis may free the context in any of its functions: after a call of one
 * neither the context nor the adapter is touched here.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_adapter.h"
#include "ngx_conduit_limit.h"
#include "ngx_conduit_tls.h"


/* how often hiredis reads for one event */
#define NGX_CONDUIT_ADAPTER_READS  16


typedef struct {
    redisAsyncContext             *ac;
    ngx_connection_t              *connection;
    ngx_conduit_adapter_close_pt   close;
    ngx_uint_t                    *freed;     /* set when the adapter is freed;
                                                 NULL: nobody asks */

    /* the write handler is running: an addWrite now means that the socket is
       full */
    unsigned                       writing:1;
    unsigned                       tls:1;
} ngx_conduit_adapter_t;


static void ngx_conduit_adapter_read_handler(ngx_event_t *rev);
static void ngx_conduit_adapter_write_handler(ngx_event_t *wev);
static void ngx_conduit_adapter_handle(ngx_conduit_adapter_t *a,
    void (*handler)(redisAsyncContext *ac));
static void ngx_conduit_adapter_add_read(void *data);
static void ngx_conduit_adapter_del_read(void *data);
static void ngx_conduit_adapter_add_write(void *data);
static void ngx_conduit_adapter_del_write(void *data);
static void ngx_conduit_adapter_cleanup(void *data);


ngx_int_t
ngx_conduit_adapter_attach(redisAsyncContext *ac,
    ngx_conduit_adapter_close_pt close, ngx_uint_t tls, ngx_log_t *log)
{
    ngx_connection_t       *c;
    ngx_conduit_adapter_t  *a;

    a = ngx_alloc(sizeof(ngx_conduit_adapter_t), log);
    if (a == NULL) {
        return NGX_ERROR;
    }

    c = ngx_get_connection(ac->c.fd, log);
    if (c == NULL) {
        ngx_free(a);
        return NGX_ERROR;
    }

    /* hiredis before 1.4 does not set this: a new binary would inherit the
       socket */
    (void) fcntl(ac->c.fd, F_SETFD, FD_CLOEXEC);

    a->ac = ac;
    a->connection = c;
    a->close = close;
    a->freed = NULL;
    a->writing = 0;
    a->tls = tls & 1;

    c->data = a;
    c->log = log;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->read->log = log;
    c->read->handler = ngx_conduit_adapter_read_handler;
    c->write->log = log;
    c->write->handler = ngx_conduit_adapter_write_handler;

    ac->ev.data = a;
    ac->ev.addRead = ngx_conduit_adapter_add_read;
    ac->ev.delRead = ngx_conduit_adapter_del_read;
    ac->ev.addWrite = ngx_conduit_adapter_add_write;
    ac->ev.delWrite = ngx_conduit_adapter_del_write;
    ac->ev.cleanup = ngx_conduit_adapter_cleanup;

    return NGX_OK;
}


static void
ngx_conduit_adapter_read_handler(ngx_event_t *rev)
{
    size_t                  rest, before;
    ngx_uint_t              n, freed;
    ngx_connection_t       *c;
    ngx_conduit_adapter_t  *a;

    c = rev->data;
    a = c->data;

    if (c->close) {
        a->close(a->ac);
        return;
    }

    ngx_conduit_limit_read(a->ac);

    freed = 0;
    rest = 0;
    a->freed = &freed;

    for (n = 0; n < NGX_CONDUIT_ADAPTER_READS; n++) {

        if (ngx_conduit_limit_exceeded(a->ac)) {
            redisAsyncFree(a->ac);
            return;
        }

        ngx_conduit_adapter_handle(a, redisAsyncHandleRead);

        if (freed) {
            return;
        }

        /* the socket is empty when nothing was added to what is there of the
           next reply */

        before = rest;
        rest = ngx_conduit_limit_rest(a->ac);

        if (rest == 0 || rest == before) {
            break;
        }
    }

    a->freed = NULL;
}


static void
ngx_conduit_adapter_write_handler(ngx_event_t *wev)
{
    ngx_connection_t       *c;
    ngx_conduit_adapter_t  *a;

    c = wev->data;
    a = c->data;

    if (c->close) {
        a->close(a->ac);
        return;
    }

    /* redisAsyncHandleWrite() ends with delWrite or addWrite, which clear
       this */
    a->writing = 1;

    ngx_conduit_adapter_handle(a, redisAsyncHandleWrite);
}


static void
ngx_conduit_adapter_handle(ngx_conduit_adapter_t *a,
    void (*handler)(redisAsyncContext *ac))
{
    if (!a->tls) {
        handler(a->ac);
        return;
    }

    ngx_conduit_tls_clear();

    handler(a->ac);

    ngx_conduit_tls_clear();
}


static void
ngx_conduit_adapter_add_read(void *data)
{
    ngx_event_t            *rev;
    ngx_conduit_adapter_t  *a = data;

    rev = a->connection->read;

    if (!rev->active
        && ngx_add_event(rev, NGX_READ_EVENT, NGX_LEVEL_EVENT) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ALERT, rev->log, 0,
                      "conduit: could not add a read event");
    }
}


static void
ngx_conduit_adapter_del_read(void *data)
{
    ngx_event_t            *rev;
    ngx_conduit_adapter_t  *a = data;

    rev = a->connection->read;

    if (rev->active) {
        (void) ngx_del_event(rev, NGX_READ_EVENT, 0);
    }
}


static void
ngx_conduit_adapter_add_write(void *data)
{
    ngx_event_t            *wev;
    ngx_conduit_adapter_t  *a = data;

    wev = a->connection->write;

    if ((a->ac->c.flags & REDIS_CONNECTED) && !a->writing) {

        if (!wev->active) {
            ngx_post_event(wev, &ngx_posted_events);
        }

        return;
    }

    a->writing = 0;

    if (!wev->active
        && ngx_add_event(wev, NGX_WRITE_EVENT, NGX_LEVEL_EVENT) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ALERT, wev->log, 0,
                      "conduit: could not add a write event");
    }
}


static void
ngx_conduit_adapter_del_write(void *data)
{
    ngx_event_t            *wev;
    ngx_conduit_adapter_t  *a = data;

    wev = a->connection->write;

    a->writing = 0;

    if (wev->posted) {
        ngx_delete_posted_event(wev);
    }

    if (wev->active) {
        (void) ngx_del_event(wev, NGX_WRITE_EVENT, 0);
    }
}


static void
ngx_conduit_adapter_cleanup(void *data)
{
    ngx_conduit_adapter_t  *a = data;

    if (a->freed != NULL) {
        *a->freed = 1;
    }

    /* hiredis 1.x may call cleanup twice, and would close the socket once
       more */

    a->ac->ev.data = NULL;
    a->ac->ev.addRead = NULL;
    a->ac->ev.delRead = NULL;
    a->ac->ev.addWrite = NULL;
    a->ac->ev.delWrite = NULL;
    a->ac->ev.cleanup = NULL;
    a->ac->c.fd = -1;

    ngx_close_connection(a->connection);
    ngx_free(a);
}
