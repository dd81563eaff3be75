/* Copyright (C) Conduit for NGINX authors */

/*
 * The responses of the Durable Streams protocol: body and headers.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_durable_reply.h"
#include "ngx_conduit_durable_sse.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_response.h"


/* once a body has this many bytes, no further entry is appended */
#define NGX_CONDUIT_DURABLE_CHUNK  (1024 * 1024)

/* a response may be cached, because the entries between two offsets do not
   change, but not for long, because further ones may follow.  It is "private",
   because other modules may control access as well, and a shared cache would
   not ask them */
#define NGX_CONDUIT_DURABLE_CACHE                                             \
    "private, max-age=60, stale-while-revalidate=300"


static ngx_uint_t ngx_conduit_durable_mode(ngx_conduit_durable_t *d);
static void ngx_conduit_durable_take_entry(ngx_conduit_durable_t *d,
    ngx_conduit_question_t *q, ngx_conduit_entry_t *e, conduit_buf_t *body);
static ngx_int_t ngx_conduit_durable_set(ngx_conduit_durable_t *d,
    ngx_uint_t status, conduit_buf_t *body);
static ngx_int_t ngx_conduit_durable_set_etag(ngx_conduit_durable_t *d);
static ngx_int_t ngx_conduit_durable_set_cursor(ngx_conduit_durable_t *d);
static ngx_int_t ngx_conduit_durable_text(ngx_http_request_t *r,
    ngx_uint_t status, const char *text);


ngx_conduit_durable_t *
ngx_conduit_durable_of(ngx_http_request_t *r)
{
    ngx_conduit_gateway_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_gateway_module);

    return (ctx && ctx->durable && ctx->durable->channel) ? ctx->durable
                                                          : NULL;
}


ngx_uint_t
ngx_conduit_durable_tail_only(ngx_conduit_durable_t *d)
{
    return d->request->method == NGX_HTTP_HEAD
           || d->args.offset.kind == CONDUIT_DURABLE_NOW;
}


static ngx_uint_t
ngx_conduit_durable_mode(ngx_conduit_durable_t *d)
{
    return d->hub->settings.format - CONDUIT_FORMAT_DURABLE;
}


void
ngx_conduit_durable_take(ngx_conduit_durable_t *d, ngx_conduit_question_t *q,
    conduit_buf_t *body)
{
    size_t                     i;
    ngx_conduit_entry_t        e;
    conduit_history_answer_t  *a;

    a = &q->answer;

    d->entries = 0;
    d->closed = 0;
    d->all = 1;
    d->next = d->args.offset.id;

    if (ngx_conduit_durable_tail_only(d)) {
        d->closed = ngx_conduit_answer_newest(q, &e) && e.end;
        d->next = a->last_id;
        a->full = 0;
    }

    for (i = 0; i < a->nentries && !d->closed; i++) {

        ngx_conduit_answer_read(q, i, &e);

        if (body->len >= NGX_CONDUIT_DURABLE_CHUNK) {
            d->all = 0;
            break;
        }

        ngx_conduit_durable_take_entry(d, q, &e, body);
    }

    if (!d->closed && d->all) {
        d->all = !a->full;
    }

    /* the entry with the stream's last ID may have been deleted: the client has
       got all up to that ID, and its next offset is that ID */

    if (!d->closed && d->all
        && conduit_stream_id_cmp(&a->last_id, &d->next) > 0)
    {
        d->next = a->last_id;
    }

    conduit_durable_finish(ngx_conduit_durable_mode(d), body->len == 0, body);
}


static void
ngx_conduit_durable_take_entry(ngx_conduit_durable_t *d,
    ngx_conduit_question_t *q, ngx_conduit_entry_t *e, conduit_buf_t *body)
{
    size_t       max;
    const char  *error;

    d->closed = e->end;

    /* the client has got this entry: it is the one at the offset */

    if (conduit_stream_id_cmp(&e->id, &d->args.offset.id) <= 0) {
        return;
    }

    d->next = e->id;

    if (e->data.data == NULL && e->end) {
        return;
    }

    max = d->hub->settings.max_value;

    error = e->data.data == NULL ? "no such field"
            : max && e->data.len > max ? CONDUIT_FORMAT_TOO_LARGE
            : conduit_durable_add(ngx_conduit_durable_mode(d), e->data.data,
                                  e->data.len, d->entries == 0, body) != 0
            ? "not JSON" : NULL;

    if (error != NULL) {
        ngx_conduit_frame_skipped(d->hub, q->key, e, error);
        return;
    }

    d->entries++;
}


ngx_int_t
ngx_conduit_durable_reply(ngx_conduit_durable_t *d, ngx_uint_t status,
    conduit_buf_t *body)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = d->request;

    switch (status) {

    case NGX_HTTP_NOT_FOUND:
        return ngx_conduit_durable_text(r, status, "Stream not found");

    case NGX_CONDUIT_HTTP_GONE:
        return ngx_conduit_durable_text(r, status,
                                        "Offset is not kept any more");

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return ngx_conduit_durable_reply_busy(r);

    case NGX_HTTP_INTERNAL_SERVER_ERROR:
        ngx_conduit_gateway_count_refused(status);
        return status;

    default: /* 200, 204 */
        break;
    }

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_REQUESTS
                              + NGX_CONDUIT_REQUEST_ACCEPTED);

    if (ngx_conduit_durable_set(d, status, body) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_conduit_response_text(r, body, 1);
}


/* sets the status and the headers of a 200 or 204 */

static ngx_int_t
ngx_conduit_durable_set(ngx_conduit_durable_t *d, ngx_uint_t status,
    conduit_buf_t *body)
{
    char                *next;
    ngx_uint_t           etag;
    const char          *cache;
    ngx_http_request_t  *r;

    r = d->request;

    r->headers_out.status = status;
    r->headers_out.content_length_n = -1;

    if (status == NGX_HTTP_OK) {
        r->headers_out.content_type = *d->type;
        r->headers_out.content_type_len = d->type->len;
        r->headers_out.content_type_lowcase = NULL;

        if (r->method != NGX_HTTP_HEAD) {
            r->headers_out.content_length_n = body->len;
        }
    }

    etag = (!ngx_conduit_durable_tail_only(d)
            && d->args.live == NGX_CONDUIT_LIVE_NONE);

    r->disable_not_modified = !etag;

    cache = ngx_conduit_durable_tail_only(d) || status != NGX_HTTP_OK
            ? "no-store"
            : d->entries ? NGX_CONDUIT_DURABLE_CACHE : "private, no-cache";

    next = ngx_pnalloc(r->pool, CONDUIT_DURABLE_OFFSET + 1);
    if (next == NULL) {
        return NGX_ERROR;
    }

    conduit_durable_offset_write(&d->next, next);
    next[CONDUIT_DURABLE_OFFSET] = '\0';

    if (ngx_conduit_http_cache_control(r, cache) != NGX_OK
        || ngx_conduit_http_header(r, "Stream-Next-Offset", next) != NGX_OK
        || (d->all && r->method != NGX_HTTP_HEAD
            && ngx_conduit_http_header(r, "Stream-Up-To-Date", "true")
               != NGX_OK)
        || (d->closed
            && ngx_conduit_http_header(r, "Stream-Closed", "true") != NGX_OK)
        || (etag && ngx_conduit_durable_set_etag(d) != NGX_OK)
        || (d->args.live && r->method != NGX_HTTP_HEAD && !d->closed
            && ngx_conduit_durable_set_cursor(d) != NGX_OK))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_durable_set_etag(ngx_conduit_durable_t *d)
{
    u_char              *text;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;

    r = d->request;

    text = ngx_pnalloc(r->pool, CONDUIT_DURABLE_ETAG);
    h = ngx_list_push(&r->headers_out.headers);

    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 0;

    if (text == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    ngx_str_set(&h->key, "ETag");
    h->value.data = text;
    h->value.len = conduit_durable_etag_write(&d->args.offset, &d->next,
                                              d->closed, (char *) text);

    r->headers_out.etag = h;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_durable_set_cursor(ngx_conduit_durable_t *d)
{
    char    *text;
    size_t   n;

    text = ngx_pnalloc(d->request->pool, CONDUIT_ORG_MAX + 1);
    if (text == NULL) {
        return NGX_ERROR;
    }

    n = conduit_decimal_write(conduit_durable_cursor(ngx_time(),
                                                     d->args.cursor,
                                                     ngx_random()),
                              text);
    text[n] = '\0';

    return ngx_conduit_http_header(d->request, "Stream-Cursor", text);
}


ngx_int_t
ngx_conduit_durable_reply_closed(ngx_conduit_durable_t *d)
{
    ngx_int_t            rc;
    conduit_buf_t        b;
    ngx_http_request_t  *r;

    r = d->request;

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_REQUESTS
                              + NGX_CONDUIT_REQUEST_ACCEPTED);

    if (ngx_conduit_durable_sse_headers(r, d->hub) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_conduit_response_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    ngx_memzero(&b, sizeof(conduit_buf_t));

    ngx_conduit_durable_closed(&d->next, &b);

    rc = ngx_conduit_response_text(r, &b, 1);

    conduit_buf_free(&b);

    return rc;
}


ngx_int_t
ngx_conduit_durable_reply_busy(ngx_http_request_t *r)
{
    ngx_conduit_gateway_count_refused(NGX_HTTP_SERVICE_UNAVAILABLE);

    if (ngx_conduit_http_header(r, "Retry-After", "1") != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_conduit_http_text(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                 "Stream can't be read now",
                                 sizeof("Stream can't be read now") - 1);
}


static ngx_int_t
ngx_conduit_durable_text(ngx_http_request_t *r, ngx_uint_t status,
    const char *text)
{
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_REQUESTS
                              + NGX_CONDUIT_REQUEST_ACCEPTED);

    return ngx_conduit_http_text(r, status, text, ngx_strlen(text));
}
