/* Copyright (C) Conduit for NGINX authors */

/*
 * Headers of a response, and complete short responses.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_http.h"
#include "ngx_conduit_send.h"


static ngx_table_elt_t *ngx_conduit_http_push(ngx_http_request_t *r,
    const char *key, const char *value);
static ngx_int_t ngx_conduit_http_hide_expires(ngx_http_request_t *r,
    ngx_str_t *value);
#if (nginx_version < 1023000)
static ngx_int_t ngx_conduit_http_push_cache_control(ngx_http_request_t *r,
    ngx_table_elt_t *h);
#endif


ngx_int_t
ngx_conduit_http_text(ngx_http_request_t *r, ngx_uint_t status,
    const char *text, size_t len)
{
    static ngx_str_t  plain = ngx_string("text/plain");

    return ngx_conduit_http_content(r, status, &plain, text, len);
}


ngx_int_t
ngx_conduit_http_content(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, const char *data, size_t len)
{
    if (ngx_conduit_http_cache_control(r, "no-store") != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_conduit_http_send(r, status, type, data, len);
}


ngx_int_t
ngx_conduit_http_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, const char *data, size_t len)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.status = status;
    r->headers_out.content_length_n = len;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    /* the message is stored: "If-Match" and the like must not turn the reply
       into a 412 or 304 */

    r->disable_not_modified = 1;

    b = ngx_create_temp_buf(r->pool, len ? len : 1);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_cpymem(b->last, data, len);
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_conduit_http_output(r, &out);
}


ngx_int_t
ngx_conduit_http_header(ngx_http_request_t *r, const char *key,
    const char *value)
{
    return ngx_conduit_http_push(r, key, value) ? NGX_OK : NGX_ERROR;
}


static ngx_table_elt_t *
ngx_conduit_http_push(ngx_http_request_t *r, const char *key,
    const char *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    h->hash = 1;
    h->key.data = (u_char *) key;
    h->key.len = ngx_strlen(key);
    h->value.data = (u_char *) value;
    h->value.len = ngx_strlen(value);
    h->lowcase_key = NULL;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return h;
}


ngx_int_t
ngx_conduit_http_cache_control(ngx_http_request_t *r, const char *value)
{
    ngx_table_elt_t  *h;

    h = ngx_conduit_http_drop(r, "Cache-Control");

    if (h == NULL) {
        h = ngx_conduit_http_push(r, "Cache-Control", value);
        if (h == NULL) {
            return NGX_ERROR;
        }
    }

    h->hash = 1;
    h->value.data = (u_char *) value;
    h->value.len = ngx_strlen(value);

    return ngx_conduit_http_hide_expires(r, &h->value);
}


/*
 * The directive "expires" changes r->headers_out.expires and cache_control, or
 * adds headers if there are none (ngx_http_set_expires()).  Here it is given
 * two headers to change that are not in the list of headers that are sent.
 */

static ngx_int_t
ngx_conduit_http_hide_expires(ngx_http_request_t *r, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    static u_char  expires[] = "Expires";

    h = r->headers_out.expires;

    if (h != NULL && h->key.data == expires) {
        h[1].value = *value;
        return NGX_OK;
    }

    if (h != NULL) {

        /* set by a response that was redirected here by X-Accel-Redirect */

        h->hash = 0;
    }

    h = ngx_pcalloc(r->pool, 2 * sizeof(ngx_table_elt_t));
    if (h == NULL) {
        return NGX_ERROR;
    }

    h[0].key.data = expires;
    h[0].key.len = sizeof(expires) - 1;

    /* $sent_http_cache_control takes its value from here */

    h[1].hash = 1;
    ngx_str_set(&h[1].key, "Cache-Control");
    h[1].value = *value;

#if (nginx_version < 1023000)

    if (ngx_conduit_http_push_cache_control(r, &h[1]) != NGX_OK) {
        return NGX_ERROR;
    }

#else
    r->headers_out.cache_control = &h[1];
#endif

    r->headers_out.expires = h;

    return NGX_OK;
}


#if (nginx_version < 1023000)

/* an array of headers before NGINX 1.23 */

static ngx_int_t
ngx_conduit_http_push_cache_control(ngx_http_request_t *r,
    ngx_table_elt_t *h)
{
    ngx_array_t       *cache_control;
    ngx_table_elt_t  **ph;

    cache_control = &r->headers_out.cache_control;

    if (ngx_array_init(cache_control, r->pool, 1, sizeof(ngx_table_elt_t *))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ph = ngx_array_push(cache_control);
    if (ph == NULL) {
        return NGX_ERROR;
    }

    *ph = h;

    return NGX_OK;
}

#endif


ngx_table_elt_t *
ngx_conduit_http_find(ngx_list_t *headers, const char *name,
    ngx_table_elt_t *prev)
{
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header;

    len = ngx_strlen(name);
    part = &headers->part;
    header = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {

            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        if (prev != NULL) {

            if (&header[i] == prev) {
                prev = NULL;
            }

            continue;
        }

        if (header[i].hash != 0 && header[i].key.len == len
            && ngx_strncasecmp(header[i].key.data, (u_char *) name, len) == 0)
        {
            return &header[i];
        }
    }
}


ngx_table_elt_t *
ngx_conduit_http_drop(ngx_http_request_t *r, const char *name)
{
    ngx_table_elt_t  *h, *next, *first;

    first = ngx_conduit_http_find(&r->headers_out.headers, name, NULL);

    for (h = first; h != NULL; h = next) {
        next = ngx_conduit_http_find(&r->headers_out.headers, name, h);
        h->hash = 0;
    }

    return first;
}
