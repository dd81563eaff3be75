/* Copyright (C) Conduit for NGINX authors */

/*
 * Pulls that are answered with a JSON array.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_accept.h"
#include "conduit_pull.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_pull_json.h"


/* seconds in "Retry-After" when Redis does not answer: less than the "retry" of
   an error event, because a pull costs less than an event stream */
#define NGX_CONDUIT_PULL_RETRY  "1"

/* headers that pages of other origins may read */
#define NGX_CONDUIT_PULL_EXPOSED                                              \
    "Conduit-Next-Id, Conduit-Up-To-Date, Conduit-Stream-Ended, Retry-After"


static void ngx_conduit_pull_json_event(ngx_conduit_pull_t *pull,
    ngx_conduit_frame_t *frame);
static void ngx_conduit_pull_json_lost(ngx_conduit_pull_t *pull,
    conduit_place_loss_e loss);
static void ngx_conduit_pull_json_append(ngx_conduit_pull_t *pull,
    const char *sse, size_t len, int text);
static ngx_int_t ngx_conduit_pull_json_answer(ngx_conduit_pull_t *pull,
    ngx_conduit_pull_e result);
static ngx_int_t ngx_conduit_pull_json_headers(ngx_conduit_pull_t *pull,
    ngx_conduit_pull_e result);
static ngx_int_t ngx_conduit_pull_json_next(ngx_conduit_pull_t *pull);
static ngx_int_t ngx_conduit_pull_json_away(ngx_conduit_pull_t *pull);


const ngx_conduit_pull_form_t  ngx_conduit_pull_json = {
    ngx_conduit_pull_json_event,
    ngx_conduit_pull_json_lost,
    ngx_conduit_pull_json_answer
};


ngx_uint_t
ngx_conduit_pull_json_wanted(ngx_http_request_t *r)
{
    int               json, sse, q;
    char             *value;
    ngx_table_elt_t  *h;

    h = NULL;
    json = -1;
    sse = -1;

    for ( ;; ) {
        h = ngx_conduit_http_find(&r->headers_in.headers, "Accept", h);

        if (h == NULL) {
            return json > 0 && json > sse;
        }

        value = (char *) h->value.data;

        q = conduit_accept_quality(value, h->value.len, "application/json");
        json = ngx_max(json, q);

        q = conduit_accept_quality(value, h->value.len, "text/event-stream");
        sse = ngx_max(sse, q);
    }
}


static void
ngx_conduit_pull_json_event(ngx_conduit_pull_t *pull,
    ngx_conduit_frame_t *frame)
{
    int         text;
    ngx_uint_t  format;

    format = pull->hub->settings.format;

    /* in the format payload, the event END has "[DONE]", which is no JSON */

    text = format == CONDUIT_FORMAT_TEXT
           || (format == CONDUIT_FORMAT_PAYLOAD && frame->end);

    ngx_conduit_pull_json_append(pull, (char *) frame->data, frame->len, text);
}


static void
ngx_conduit_pull_json_lost(ngx_conduit_pull_t *pull, conduit_place_loss_e loss)
{
    conduit_buf_t  *b;

    b = &pull->hub->scratch;

    conduit_buf_reset(b);

    ngx_conduit_control_write("history_lost",
                              ngx_conduit_gateway_loss_name(loss),
                              &pull->listener.id, b);

    if (b->failed) {
        pull->body.failed = 1;
        return;
    }

    ngx_conduit_pull_json_append(pull, b->data, b->len, 0);
}


static void
ngx_conduit_pull_json_append(ngx_conduit_pull_t *pull, const char *sse,
    size_t len, int text)
{
    size_t          from;
    conduit_buf_t  *b;

    b = &pull->body;
    from = b->len;

    conduit_buf_append(b, from ? "," : "[", 1);

    if (!conduit_pull_write(sse, len, text, b)) {
        b->len = from;
    }
}


static ngx_int_t
ngx_conduit_pull_json_answer(ngx_conduit_pull_t *pull,
    ngx_conduit_pull_e result)
{
    ngx_http_request_t  *r;

    r = pull->request;

    if (ngx_conduit_http_cache_control(r, "no-store") != NGX_OK
        || ngx_conduit_http_header(r, "Vary", "Accept") != NGX_OK
        || ngx_conduit_pull_json_headers(pull, result) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    switch (result) {

    case NGX_CONDUIT_PULL_END:
        return NGX_HTTP_NO_CONTENT;

    case NGX_CONDUIT_PULL_AWAY:
        return ngx_conduit_pull_json_away(pull);

    default:
        break;
    }

    if (pull->body.len == 0) {
        conduit_buf_lit(&pull->body, "[");
    }

    conduit_buf_lit(&pull->body, "]\n");

    r->headers_out.status = NGX_HTTP_OK;
    ngx_str_set(&r->headers_out.content_type, "application/json");

    /* no charset is to be added: JSON is UTF-8 */

    r->headers_out.override_charset = NULL;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_pull_json_headers(ngx_conduit_pull_t *pull,
    ngx_conduit_pull_e result)
{
    ngx_http_request_t  *r;

    r = pull->request;

    if (ngx_conduit_pull_json_next(pull) != NGX_OK) {
        return NGX_ERROR;
    }

    if (result == NGX_CONDUIT_PULL_ALL
        && ngx_conduit_http_header(r, "Conduit-Up-To-Date", "true") != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (pull->ended
        && ngx_conduit_http_header(r, "Conduit-Stream-Ended", "true")
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_conduit_http_find(&r->headers_out.headers,
                              "Access-Control-Allow-Origin", NULL)
        == NULL)
    {
        return NGX_OK;
    }

    return ngx_conduit_http_header(r, "Access-Control-Expose-Headers",
                                   NGX_CONDUIT_PULL_EXPOSED);
}


static ngx_int_t
ngx_conduit_pull_json_next(ngx_conduit_pull_t *pull)
{
    char                 *text;
    conduit_stream_id_t   pos;

    if (!ngx_conduit_pull_position(pull, &pos)) {
        return NGX_OK;
    }

    text = ngx_pnalloc(pull->request->pool, CONDUIT_STREAM_ID_MAX + 1);
    if (text == NULL) {
        return NGX_ERROR;
    }

    text[conduit_stream_id_write(&pos, text)] = '\0';

    return ngx_conduit_http_header(pull->request, "Conduit-Next-Id", text);
}


/* Redis has not answered, and there is no event: asks the client to come back
   soon */

static ngx_int_t
ngx_conduit_pull_json_away(ngx_conduit_pull_t *pull)
{
    ngx_http_request_t  *r;

    r = pull->request;

    if (ngx_conduit_http_header(r, "Retry-After", NGX_CONDUIT_PULL_RETRY)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    conduit_buf_lit(&pull->body, "Redis is not available");

    r->headers_out.status = NGX_HTTP_SERVICE_UNAVAILABLE;
    ngx_str_set(&r->headers_out.content_type, "text/plain");

    return NGX_OK;
}
