/* Copyright (C) Conduit for NGINX authors */

/*
 * A response of Server-Sent Events: what all responses share.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_sse.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_response.h"


ngx_int_t
ngx_conduit_response_header(ngx_http_request_t *r)
{
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = -1;
    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    /* no charset is to be added: event streams are UTF-8 */

    r->headers_out.override_charset = NULL;

    /* "If-Match" and the like must not be applied: a stream has no version */

    r->disable_not_modified = 1;

    if (ngx_conduit_http_cache_control(r, "no-cache, no-transform") != NGX_OK
        || ngx_conduit_http_header(r, "X-Accel-Buffering", "no") != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_send_header(r);
}


ngx_int_t
ngx_conduit_response_vary(ngx_http_request_t *r, const char *name)
{
    ngx_table_elt_t  *h;

    h = NULL;

    for ( ;; ) {
        h = ngx_conduit_http_find(&r->headers_out.headers, "Vary", h);

        if (h == NULL) {
            return ngx_conduit_http_header(r, "Vary", name);
        }

        if (h->value.len == ngx_strlen(name)
            && ngx_strncasecmp(h->value.data, (u_char *) name, h->value.len)
               == 0)
        {
            return NGX_OK;
        }
    }
}


ngx_int_t
ngx_conduit_response_gzip(ngx_http_request_t *r)
{
    if (ngx_conduit_http_header(r, "Content-Encoding", "gzip") != NGX_OK) {
        return NGX_ERROR;
    }

    r->headers_out.content_encoding =
                        ngx_conduit_http_find(&r->headers_out.headers,
                                              "Content-Encoding", NULL);

    return NGX_OK;
}


ngx_int_t
ngx_conduit_response_text(ngx_http_request_t *r, conduit_buf_t *b,
    ngx_uint_t last)
{
    ngx_buf_t    *buf;
    ngx_chain_t   out;

    if (b->failed) {
        return NGX_ERROR;
    }

    if (b->len == 0) {
        return last ? ngx_http_send_special(r, NGX_HTTP_LAST) : NGX_OK;
    }

    buf = ngx_create_temp_buf(r->pool, b->len);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    buf->last = ngx_cpymem(buf->last, b->data, b->len);
    buf->flush = 1;
    buf->last_buf = last;
    buf->last_in_chain = last;

    out.buf = buf;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_conduit_response_turn_away(ngx_http_request_t *r, ngx_msec_t retry)
{
    ngx_int_t      rc;
    conduit_buf_t  b;

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_REQUESTS
                              + NGX_CONDUIT_REQUEST_TURNED_AWAY);

    rc = ngx_conduit_response_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    ngx_memzero(&b, sizeof(conduit_buf_t));

    conduit_sse_write_retry(ngx_conduit_jitter(retry), &b);

    rc = ngx_conduit_response_text(r, &b, 1);

    conduit_buf_free(&b);

    return rc;
}


ngx_msec_t
ngx_conduit_jitter(ngx_msec_t msec)
{
    return msec - msec / 4 + ngx_random() % (msec / 2 + 1);
}
