/* Copyright (C) Conduit for NGINX authors */

/*
 * Headers of a publish request that tell the format of its body, and the format
 * that the response should have.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_accept.h"
#include "ngx_conduit_publish.h"


static ngx_uint_t ngx_conduit_publish_accept(ngx_str_t *value);
static ngx_uint_t ngx_conduit_publish_is(u_char *start, u_char *end,
    const char *text);


ngx_uint_t
ngx_conduit_publish_accepts_json(ngx_http_request_t *r)
{
    ngx_table_elt_t  *h;

    h = NULL;

    for ( ;; ) {
        h = ngx_conduit_http_find(&r->headers_in.headers, "accept", h);

        if (h == NULL) {
            return 0;
        }

        if (ngx_conduit_publish_accept(&h->value)) {
            return 1;
        }
    }
}


/* whether one "Accept" header names a type that the module answers with */

static ngx_uint_t
ngx_conduit_publish_accept(ngx_str_t *value)
{
    ngx_uint_t  i;

    static const char * const  types[] = {
        "application/json", "application/problem+json"
    };

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {

        if (conduit_accept_quality((char *) value->data, value->len, types[i])
            > 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_conduit_format_e
ngx_conduit_publish_format(ngx_http_request_t *r)
{
    u_char     *start, *end;
    ngx_str_t  *value;

    if (r->headers_in.content_type == NULL) {
        return NGX_CONDUIT_FORMAT_PROTOBUF;
    }

    value = &r->headers_in.content_type->value;

    start = value->data;
    end = ngx_strlchr(start, start + value->len, ';');
    if (end == NULL) {
        end = start + value->len;
    }

    ngx_conduit_publish_trim(&start, &end);

    if (ngx_conduit_publish_is(start, end, "application/json")) {
        return NGX_CONDUIT_FORMAT_JSON;
    }

    if (ngx_conduit_publish_is(start, end, "application/x-ndjson")) {
        return NGX_CONDUIT_FORMAT_NDJSON;
    }

    return NGX_CONDUIT_FORMAT_PROTOBUF;
}


ngx_uint_t
ngx_conduit_publish_encoded(ngx_http_request_t *r)
{
    u_char           *start, *end;
    ngx_table_elt_t  *h;

    h = NULL;

    for ( ;; ) {
        h = ngx_conduit_http_find(&r->headers_in.headers, "content-encoding",
                                  h);

        if (h == NULL) {
            return 0;
        }

        start = h->value.data;
        end = start + h->value.len;
        ngx_conduit_publish_trim(&start, &end);

        if (start != end && !ngx_conduit_publish_is(start, end, "identity")) {
            return 1;
        }
    }
}


void
ngx_conduit_publish_trim(u_char **start, u_char **end)
{
    while (*start < *end && (**start == ' ' || **start == '\t')) {
        (*start)++;
    }

    while (*end > *start && ((*end)[-1] == ' ' || (*end)[-1] == '\t')) {
        (*end)--;
    }
}


static ngx_uint_t
ngx_conduit_publish_is(u_char *start, u_char *end, const char *text)
{
    size_t  len;

    len = ngx_strlen(text);

    return (size_t) (end - start) == len
           && ngx_strncasecmp(start, (u_char *) text, len) == 0;
}
