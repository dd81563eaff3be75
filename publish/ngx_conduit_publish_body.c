/* Copyright (C) Conduit for NGINX authors */

/*
 * The body of a publish request.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish.h"


off_t
ngx_conduit_publish_body_size(ngx_http_request_t *r)
{
    off_t         size;
    ngx_chain_t  *cl;

    size = 0;

    if (r->request_body) {
        for (cl = r->request_body->bufs; cl; cl = cl->next) {
            if (!ngx_buf_special(cl->buf)) {
                size += ngx_buf_size(cl->buf);
            }
        }
    }

    return size;
}


ngx_uint_t
ngx_conduit_publish_body_whole(ngx_http_request_t *r, off_t size)
{
    off_t                     announced;
    ngx_table_elt_t          *length;
    ngx_http_request_body_t  *rb;

    rb = r->request_body;

    if (rb == NULL || r->discard_body || r->reading_body) {
        return 0;
    }

    /* rest: bytes still to be read; -1: no body, or NGINX does not read it */

    if (rb->rest > 0 || (rb->rest == 0 && !rb->last_saved)) {
        return 0;
    }

    length = r->headers_in.content_length;
    announced = r->headers_in.content_length_n;

    if (announced < 0) {
        announced = rb->received;

    } else if (announced == 0 && length != NULL) {

        /* NGINX counts content_length_n down while it discards a body: the
           header still has the full length */

        announced = ngx_atoof(length->value.data, length->value.len);
    }

    return size >= announced;
}


ngx_int_t
ngx_conduit_publish_body(ngx_http_request_t *r, ngx_str_t *body)
{
    u_char       *p;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    body->len = ngx_conduit_publish_body_size(r);

    if (body->len == 0) {
        body->data = (u_char *) "";
        return NGX_OK;
    }

    cl = r->request_body->bufs;

    if (cl->next == NULL && ngx_buf_in_memory(cl->buf)) {
        body->data = cl->buf->pos;
        return NGX_OK;
    }

    body->data = ngx_pnalloc(r->pool, body->len);
    if (body->data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = body->data;

    for ( /* void */ ; cl; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)) {
            p = ngx_cpymem(p, b->pos, b->last - b->pos);
            continue;
        }

        /* a chunked body ends with a buffer that is neither in memory nor in a
           file */

        if (!b->in_file) {
            continue;
        }

        n = ngx_read_file(b->file, p, b->file_last - b->file_pos, b->file_pos);

        if (n != (ssize_t) (b->file_last - b->file_pos)) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "conduit: reading the request body's temporary file "
                          "failed");
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        p += n;
    }

    return NGX_OK;
}
