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
static size_t ngx_conduit_send_size(ngx_chain_t *in);


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
    u_char        buf[NGX_CONDUIT_SEND_MAX], *p;
    size_t        size;
    ssize_t       n;
    ngx_chain_t  *cl;

    size = ngx_conduit_send_size(in);

    if (size == 0 || (limit && (off_t) size > limit)) {
        return ngx_send_chain(c, in, limit);
    }

    if (!c->write->ready) {
        return in;
    }

    p = buf;

    for (cl = in; cl; cl = cl->next) {
        if (!ngx_buf_special(cl->buf)) {
            p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
        }
    }

    /* counts what is sent in c->sent; clears "ready" if the socket is full */

    n = ngx_send(c, buf, size);

    if (n == NGX_ERROR) {
        return NGX_CHAIN_ERROR;
    }

    return ngx_chain_update_sent(in, n > 0 ? n : 0);
}


/* returns the bytes of a chain; or 0 if it has parts of files or too many
   bytes */

static size_t
ngx_conduit_send_size(ngx_chain_t *in)
{
    size_t      n, size;
    ngx_buf_t  *b;

    size = 0;

    for ( /* void */ ; in; in = in->next) {
        b = in->buf;

        if (ngx_buf_special(b)) {
            continue;
        }

        if (b->in_file || !ngx_buf_in_memory(b)) {
            return 0;
        }

        n = b->last - b->pos;

        if (n > NGX_CONDUIT_SEND_MAX - size) {
            return 0;
        }

        size += n;
    }

    return size;
}
