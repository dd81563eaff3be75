/* Copyright (C) Conduit for NGINX authors */

/*
 * Headers of a publish request that tell the format of its body, and the format
 * that the response should have.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish.h"


static ngx_uint_t ngx_conduit_publish_accept(ngx_str_t *value);
static ngx_uint_t ngx_conduit_publish_refused(u_char *p, u_char *end);
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


/* reads one "Accept" header: a list of types with parameters (RFC 9110,
   12.5.1) */

static ngx_uint_t
ngx_conduit_publish_accept(ngx_str_t *value)
{
    u_char  *p, *end, *last, *type, *type_end;

    p = value->data;
    last = p + value->len;

    for ( /* void */ ; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, ',');
        if (end == NULL) {
            end = last;
        }

        type = p;
        type_end = ngx_strlchr(p, end, ';');
        if (type_end == NULL) {
            type_end = end;
        }

        p = type_end;
        ngx_conduit_publish_trim(&type, &type_end);

        if ((ngx_conduit_publish_is(type, type_end, "application/json")
             || ngx_conduit_publish_is(type, type_end,
                                       "application/problem+json"))
            && !ngx_conduit_publish_refused(p, end))
        {
            return 1;
        }
    }

    return 0;
}


/* whether the parameters of a type include a quality of zero, which means "not
   acceptable" */

static ngx_uint_t
ngx_conduit_publish_refused(u_char *p, u_char *end)
{
    u_char  *start, *stop;

    while (p < end) {

        start = p + 1;
        stop = ngx_strlchr(start, end, ';');
        if (stop == NULL) {
            stop = end;
        }

        p = stop;
        ngx_conduit_publish_trim(&start, &stop);

        if (stop - start < 3 || (start[0] | 0x20) != 'q' || start[1] != '=') {
            continue;
        }

        for (start += 2; start < stop; start++) {
            if (*start != '0' && *start != '.') {
                break;
            }
        }

        return start == stop;
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
