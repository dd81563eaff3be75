/* Copyright (C) Conduit for NGINX authors */

/*
 * What both modules read from a request, and keep for it.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_query.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_time.h"


#define NGX_CONDUIT_HTTP_LOG  10000        /* ms between two log lines */


static void ngx_conduit_http_segment(ngx_str_t *uri, ngx_str_t *segment);


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


ngx_int_t
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
    conduit_query_status_e   status;

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
