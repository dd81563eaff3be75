/* Copyright (C) Conduit for NGINX authors */

/*
 * ngx_http_write_filter() sends by a function of the connection.  For the time
 * of a call of the filters it is replaced by the one below, unless the
 * connection has another one than plain connections (TLS, HTTP/2, HTTP/3).
 *
 * What is left in NGINX's buffers is sent as ever, when the socket is writable.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_conduit_send.h"


/* bytes that are copied to be sent at once; copying more would take longer than
   is saved */
#define NGX_CONDUIT_SEND_MAX  4096


static ngx_chain_t *ngx_conduit_send_chain(ngx_connection_t *c,
    ngx_chain_t *in, off_t limit);
static size_t ngx_conduit_send_copy(ngx_chain_t *in, u_char *buf);


ngx_int_t
ngx_conduit_http_output(ngx_http_request_t *r, ngx_chain_t *out)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    c = r->connection;

    if (r->stream || c->send_chain != ngx_send_chain || c->send != ngx_send) {
        return ngx_http_output_filter(r, out);
    }

    c->send_chain = ngx_conduit_send_chain;

    rc = ngx_http_output_filter(r, out);

    if (c->send_chain == ngx_conduit_send_chain) {
        c->send_chain = ngx_send_chain;
    }

    return rc;
}


/* an ngx_send_chain_pt: returns what was not sent, NULL if all was, or
   NGX_CHAIN_ERROR */

static ngx_chain_t *
ngx_conduit_send_chain(ngx_connection_t *c, ngx_chain_t *in, off_t limit)
{
    u_char   buf[NGX_CONDUIT_SEND_MAX];
    size_t   size;
    ssize_t  n;

    if (!c->write->ready) {
        return in;
    }

    size = ngx_conduit_send_copy(in, buf);

    if (size == 0 || (limit && (off_t) size > limit)) {
        return ngx_send_chain(c, in, limit);
    }

    /* counts what is sent in c->sent; clears "ready" if the socket is full */

    n = ngx_send(c, buf, size);

    if (n == NGX_ERROR) {
        return NGX_CHAIN_ERROR;
    }

    if (n != (ssize_t) size) {
        return ngx_chain_update_sent(in, n > 0 ? n : 0);
    }

    /* as ngx_chain_update_sent() does: special buffers are left as they are */

    for ( /* void */ ; in; in = in->next) {
        if (ngx_buf_in_memory(in->buf)) {
            in->buf->pos = in->buf->last;
        }
    }

    return NULL;
}


/* copies a chain to buf, which has room for NGX_CONDUIT_SEND_MAX bytes, and
   returns their number; or 0 if it has parts of files or too many bytes */

static size_t
ngx_conduit_send_copy(ngx_chain_t *in, u_char *buf)
{
    u_char     *p;
    size_t      n;
    ngx_buf_t  *b;

    p = buf;

    for ( /* void */ ; in; in = in->next) {
        b = in->buf;

        if (ngx_buf_in_memory_only(b)) {
            n = b->last - b->pos;

            if (n > (size_t) (buf + NGX_CONDUIT_SEND_MAX - p)) {
                return 0;
            }

            p = ngx_cpymem(p, b->pos, n);

        } else if (!ngx_buf_special(b)) {
            return 0;
        }
    }

    return p - buf;
}
