/* Copyright (C) Conduit for NGINX authors */

/*
 * What both modules do with an HTTP request.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_query.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_time.h"


#define NGX_CONDUIT_HTTP_LOG  10000        /* ms between two log lines */


/* a variable that both modules add: "next" is the handler of the first one */
typedef struct {
    ngx_conduit_http_conf_pt        conf;
    ngx_conduit_http_verified_pt    verified;
    ngx_http_get_variable_pt        next;
    uintptr_t                       next_data;
    ngx_uint_t                      channel;  /* 0: the organization */
} ngx_conduit_http_variable_t;


static ngx_table_elt_t *ngx_conduit_http_push(ngx_http_request_t *r,
    const char *key, const char *value);
static ngx_int_t ngx_conduit_http_hide_expires(ngx_http_request_t *r,
    ngx_str_t *value);
static void ngx_conduit_http_segment(ngx_str_t *uri, ngx_str_t *segment);
static ngx_int_t ngx_conduit_http_raw_ids(ngx_http_request_t *r,
    ngx_conduit_conf_t *conf, ngx_str_t *org, ngx_str_t *channel);
static ngx_int_t ngx_conduit_http_get_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_conduit_http_get_verified(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


const char *
ngx_conduit_http_ids(ngx_http_request_t *r, ngx_conduit_conf_t *conf,
    ngx_conduit_ids_t *ids)
{
    ngx_str_t  org, channel;

    if (ngx_conduit_http_raw_ids(r, conf, &org, &channel) != NGX_OK) {
        return "Out of memory";
    }

    if (conduit_org_parse((char *) org.data, org.len, &ids->org) != 0) {
        return org.len ? "Invalid org_id" : "Missing org_id";
    }

    if (conduit_uuid_parse((char *) channel.data, channel.len, ids->channel)
        != 0)
    {
        return channel.len ? "Invalid channel_id" : "Missing channel_id";
    }

    return NULL;
}


static ngx_int_t
ngx_conduit_http_raw_ids(ngx_http_request_t *r, ngx_conduit_conf_t *conf,
    ngx_str_t *org, ngx_str_t *channel)
{
    ngx_int_t  rc;
    ngx_str_t  uri;

    uri = r->uri;
    ngx_str_null(channel);
    ngx_str_null(org);

    if (conf->kind == NGX_CONDUIT_PUBLISH) {
        ngx_conduit_http_segment(&uri, channel);

    } else if (conf->channel_id == NULL) {

        rc = ngx_conduit_http_arg(r, "channel_id", channel);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_ABORT) {
            ngx_str_set(channel, "?");
        }
    }

    ngx_conduit_http_segment(&uri, org);

    if (conf->channel_id
        && ngx_http_complex_value(r, conf->channel_id, channel) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (conf->org_id
        && ngx_http_complex_value(r, conf->org_id, org) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* moves the last segment of *uri to *segment */

static void
ngx_conduit_http_segment(ngx_str_t *uri, ngx_str_t *segment)
{
    size_t  i;

    for (i = uri->len; i > 0; i--) {

        if (uri->data[i - 1] == '/') {
            segment->data = uri->data + i;
            segment->len = uri->len - i;
            uri->len = i - 1;
            return;
        }
    }
}


ngx_int_t
ngx_conduit_http_arg(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    size_t                   len;
    const char              *data;
    conduit_query_status_t   status;

    status = conduit_query_find((char *) r->args.data, r->args.len, name,
                                &data, &len);

    if (status != CONDUIT_QUERY_FOUND) {
        return status == CONDUIT_QUERY_MISSING ? NGX_DECLINED : NGX_ABORT;
    }

    if (len == 0) {
        return NGX_DECLINED;
    }

    if (ngx_strlchr((u_char *) data, (u_char *) data + len, '%') == NULL
        && ngx_strlchr((u_char *) data, (u_char *) data + len, '+') == NULL)
    {
        value->data = (u_char *) data;
        value->len = len;
        return NGX_OK;
    }

    value->data = ngx_pnalloc(r->pool, len);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    status = conduit_query_decode(data, len, (char *) value->data,
                                  &value->len);

    return status == CONDUIT_QUERY_FOUND ? NGX_OK : NGX_ABORT;
}


ngx_int_t
ngx_conduit_http_bearer(ngx_http_request_t *r, ngx_str_t *token)
{
    ngx_str_t  *value;

    if (r->headers_in.authorization == NULL) {
        return NGX_DECLINED;
    }

    value = &r->headers_in.authorization->value;

    /* the scheme is case-insensitive, RFC 9110 11.1 */

    if (value->len < sizeof("Bearer ") - 1
        || ngx_strncasecmp(value->data, (u_char *) "Bearer ",
                           sizeof("Bearer ") - 1)
           != 0)
    {
        return NGX_ABORT;
    }

    token->data = value->data + sizeof("Bearer ") - 1;
    token->len = value->len - (sizeof("Bearer ") - 1);

    while (token->len && token->data[0] == ' ') {
        token->data++;
        token->len--;
    }

    return NGX_OK;
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


/*
 * The directive "expires" changes r->headers_out.expires and cache_control, or
 * adds headers if there are none (ngx_http_set_expires()).  Here it is given
 * two headers to change that are not in the list of headers that are sent.
 */

static ngx_int_t
ngx_conduit_http_hide_expires(ngx_http_request_t *r, ngx_str_t *value)
{
    ngx_table_elt_t   *h;
#if (nginx_version < 1023000)
    ngx_array_t       *cache_control;
    ngx_table_elt_t  **ph;
#endif

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

    *ph = &h[1];

#else
    r->headers_out.cache_control = &h[1];
#endif

    r->headers_out.expires = h;

    return NGX_OK;
}


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
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    if (ngx_conduit_http_cache_control(r, "no-store") != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

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

    return ngx_http_output_filter(r, &out);
}


void *
ngx_conduit_http_kept(ngx_http_request_t *r, ngx_pool_cleanup_pt handler,
    size_t size)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == handler) {
            return cln->data;
        }
    }

    if (size == 0) {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(r->pool, size);
    if (cln == NULL) {
        return NULL;
    }

    ngx_memzero(cln->data, size);

    cln->handler = handler;

    return cln->data;
}


ngx_uint_t
ngx_conduit_http_may_log(ngx_conduit_http_log_t *log, ngx_uint_t *skipped)
{
    if (log->logged
        && ngx_current_msec - log->logged < NGX_CONDUIT_HTTP_LOG)
    {
        log->skipped++;
        return 0;
    }

    *skipped = log->skipped;

    log->logged = ngx_conduit_moment(ngx_current_msec);
    log->skipped = 0;

    return 1;
}


ngx_int_t
ngx_conduit_http_variables(ngx_conf_t *cf, ngx_conduit_http_conf_pt conf,
    ngx_conduit_http_verified_pt verified)
{
    ngx_uint_t                    i;
    ngx_http_variable_t          *v;
    ngx_conduit_http_variable_t  *own;

    /*
     * not cacheable: which ids a token is valid for depends on the location,
     * and an internal redirect may lead to another one
     */

    static ngx_http_variable_t  vars[] = {

        { ngx_string("conduit_org_id"), NULL,
          ngx_conduit_http_get_variable, 0, NGX_HTTP_VAR_CHANGEABLE, 0 },

        { ngx_string("conduit_channel_id"), NULL,
          ngx_conduit_http_get_variable, 1, NGX_HTTP_VAR_CHANGEABLE, 0 },

        { ngx_string("conduit_verified_org_id"), NULL,
          ngx_conduit_http_get_verified, 0,
          NGX_HTTP_VAR_CHANGEABLE|NGX_HTTP_VAR_NOCACHEABLE, 0 },

        { ngx_string("conduit_verified_channel_id"), NULL,
          ngx_conduit_http_get_verified, 1,
          NGX_HTTP_VAR_CHANGEABLE|NGX_HTTP_VAR_NOCACHEABLE, 0 },

          ngx_http_null_variable
    };

    for (i = 0; vars[i].name.len; i++) {

        own = ngx_palloc(cf->pool, sizeof(ngx_conduit_http_variable_t));
        if (own == NULL) {
            return NGX_ERROR;
        }

        v = ngx_http_add_variable(cf, &vars[i].name, vars[i].flags);
        if (v == NULL) {
            return NGX_ERROR;
        }

        own->conf = conf;
        own->verified = verified;
        own->channel = vars[i].data;
        own->next = v->get_handler;
        own->next_data = v->data;

        v->get_handler = vars[i].get_handler;
        v->data = (uintptr_t) own;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_http_get_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    size_t                        len;
    char                         *p;
    uint64_t                      org;
    ngx_str_t                     org_text, channel_text;
    ngx_conduit_conf_t           *conf;
    ngx_conduit_http_variable_t  *own;

    own = (ngx_conduit_http_variable_t *) data;
    conf = own->conf(r);

    if (conf->redis == NULL) {

        if (own->next) {
            return own->next(r, v, own->next_data);
        }

        /*
         * not a location of the module; NGINX caches "not found", so it is not
         * set while a rewrite may still lead to such a location
         */

        ngx_memzero(v, sizeof(ngx_http_variable_value_t));
        v->data = (u_char *) "";
        v->not_found = r->headers_out.status != 0;

        return NGX_OK;
    }

    if (ngx_conduit_http_raw_ids(r, conf, &org_text, &channel_text) != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(r->pool, CONDUIT_UUID_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (own->channel) {

        if (conduit_uuid_parse((char *) channel_text.data, channel_text.len, p)
            != 0)
        {
            v->not_found = 1;
            return NGX_OK;
        }

        len = CONDUIT_UUID_LEN;

    } else {

        if (conduit_org_parse((char *) org_text.data, org_text.len, &org)
            != 0)
        {
            v->not_found = 1;
            return NGX_OK;
        }

        /* one spelling for each organization: it may be the key of a limit */

        len = ngx_sprintf((u_char *) p, "%uL", org) - (u_char *) p;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = len;
    v->data = (u_char *) p;

    return NGX_OK;
}


/*
 * A subrequest uses the token of its main request.  After the header was sent,
 * or when the request has ended and is logged, no token is verified.
 */

static ngx_int_t
ngx_conduit_http_get_verified(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                       *p;
    ngx_int_t                     rc;
    ngx_str_t                     value;
    ngx_uint_t                    verify;
    ngx_conduit_ids_t             ids;
    ngx_http_request_t           *main;
    ngx_conduit_conf_t           *conf;
    ngx_conduit_http_variable_t  *own;
    u_char                        org[NGX_INT64_LEN];

    own = (ngx_conduit_http_variable_t *) data;
    main = r->main;
    conf = own->conf(main);

    if (conf->redis == NULL && own->next) {
        return own->next(r, v, own->next_data);
    }

    verify = (main->count != 0 && !main->header_sent);

    /* as above: empty, and "not found" only when that can't change any more */

    ngx_memzero(v, sizeof(ngx_http_variable_value_t));
    v->data = (u_char *) "";
    v->not_found = !verify;

    if (conf->redis == NULL || !conf->auth) {
        return NGX_OK;
    }

    rc = own->verified(main, &ids, own->channel, verify);

    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_OK : NGX_ERROR;
    }

    if (own->channel) {
        value.data = (u_char *) ids.channel;
        value.len = CONDUIT_UUID_LEN;

    } else {
        value.data = org;
        value.len = ngx_sprintf(org, "%uL", ids.org) - org;
    }

    /* the exact size: the memory is kept for as long as a stream lasts */

    p = ngx_pnalloc(r->pool, value.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, value.data, value.len);

    v->valid = 1;
    v->not_found = 0;
    v->len = value.len;
    v->data = p;

    return NGX_OK;
}
