/* Copyright (C) Conduit for NGINX authors */

/*
 * What a request to the gateway asks for: its position, or where it starts
 * without one, and how long it waits.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_args.h"
#include "ngx_conduit_http.h"


static ngx_int_t ngx_conduit_gateway_position(ngx_http_request_t *r,
    conduit_stream_id_t *pos);
static ngx_int_t ngx_conduit_gateway_is_position(ngx_http_request_t *r,
    const char *name, ngx_str_t *value, conduit_stream_id_t *pos);
static ngx_int_t ngx_conduit_gateway_start(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, conduit_start_t *start,
    const char **err);
static ngx_int_t ngx_conduit_gateway_resumes(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf);
static ngx_uint_t ngx_conduit_gateway_is_off(ngx_str_t *value);


ngx_int_t
ngx_conduit_gateway_find_start(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_wanted_t *wanted,
    const char **err)
{
    ngx_int_t  rc;

    rc = ngx_conduit_gateway_position(r, &wanted->pos);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_conduit_gateway_start(r, glcf, &wanted->start, err) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_conduit_gateway_resumes(r, glcf);

    wanted->resumes = (rc == NGX_OK);

    return rc == NGX_ERROR ? NGX_ERROR : NGX_OK;
}


/*
 * Finds the position to go on from.  The header has precedence, because the
 * value in the URL is out of date after the first reconnect.
 * event-source-polyfill sends no such header, but adds "lastEventId" to its URL
 * with each reconnect, which is therefore newer than a "last_event_id" of that
 * URL.  A value that is not a stream ID is ignored, because an EventSource
 * would not reconnect after a 400.
 * Returns NGX_OK, NGX_DECLINED without a position, or NGX_ERROR.
 */

static ngx_int_t
ngx_conduit_gateway_position(ngx_http_request_t *r, conduit_stream_id_t *pos)
{
    ngx_int_t         rc;
    ngx_str_t         value;
    ngx_uint_t        i;
    ngx_table_elt_t  *header;

    static const char  *args[] = { "lastEventId", "last_event_id" };

    header = ngx_conduit_http_find(&r->headers_in.headers, "Last-Event-ID",
                                   NULL);

    if (header != NULL && header->value.len
        && ngx_conduit_gateway_is_position(r, "Last-Event-ID", &header->value,
                                           pos)
           == NGX_OK)
    {
        return NGX_OK;
    }

    for (i = 0; i < sizeof(args) / sizeof(args[0]); i++) {

        rc = ngx_conduit_http_arg(r, args[i], &value);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_ABORT) {

            /* the argument is repeated or badly encoded */

            ngx_str_null(&value);
        }

        if (rc != NGX_DECLINED
            && ngx_conduit_gateway_is_position(r, args[i], &value, pos)
               == NGX_OK)
        {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_conduit_gateway_is_position(ngx_http_request_t *r, const char *name,
    ngx_str_t *value, conduit_stream_id_t *pos)
{
    if (conduit_stream_id_parse((char *) value->data, value->len, pos) == 0) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "conduit: client sent \"%s\" that is not a stream ID, it is "
                  "ignored", name);

    return NGX_DECLINED;
}


/*
 * Finds out where a client starts that has no position.  Returns NGX_OK, or
 * NGX_ERROR when memory is out; *err is NULL, or a static text for the reply.
 */

static ngx_int_t
ngx_conduit_gateway_start(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, conduit_start_t *start,
    const char **err)
{
    ngx_str_t    value;
    ngx_time_t  *tp;

    switch (ngx_conduit_http_arg(r, "since", &value)) {

    case NGX_OK:
        tp = ngx_timeofday();

        *err = conduit_start_parse((char *) value.data, value.len,
                                   (uint64_t) tp->sec * 1000 + tp->msec,
                                   start);
        return NGX_OK;

    case NGX_DECLINED:
        start->kind = glcf->start;
        return NGX_OK;

    case NGX_ABORT:
        *err = "Invalid since";
        return NGX_OK;

    default:
        return NGX_ERROR;
    }
}


/*
 * Whether a client without a position gets 204 if no stream is running
 * ("conduit_gateway_resume_only").  Returns NGX_OK if so; NGX_DECLINED if not;
 * NGX_ERROR when memory is out.
 */

static ngx_int_t
ngx_conduit_gateway_resumes(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf)
{
    ngx_str_t  value;

    if (glcf->resume_only == NULL) {
        return NGX_DECLINED;
    }

    if (ngx_http_complex_value(r, glcf->resume_only, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_conduit_gateway_is_off(&value) ? NGX_DECLINED : NGX_OK;
}


/* an empty value and "0" are false, as in other directives of NGINX that take a
   condition; so is "off" */

static ngx_uint_t
ngx_conduit_gateway_is_off(ngx_str_t *value)
{
    return value->len == 0
           || (value->len == 1 && value->data[0] == '0')
           || (value->len == sizeof("off") - 1
               && ngx_memcmp(value->data, "off", value->len) == 0);
}


ngx_int_t
ngx_conduit_gateway_wait(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_wanted_t *wanted,
    const char **err)
{
    ngx_int_t  wait;
    ngx_str_t  value;

    switch (ngx_conduit_http_arg(r, "wait", &value)) {

    case NGX_OK:
        wait = ngx_parse_time(&value, 0);

        if (wait == NGX_ERROR) {
            *err = "Invalid wait";
            return NGX_OK;
        }

        wanted->wait = ngx_min((ngx_msec_t) wait, glcf->max_wait);
        return NGX_OK;

    case NGX_DECLINED:
        return NGX_OK;

    case NGX_ABORT:
        *err = "Invalid wait";
        return NGX_OK;

    default:
        return NGX_ERROR;
    }
}
