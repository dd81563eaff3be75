/* Copyright (C) Conduit for NGINX authors */

/*
 * The arguments of a request of the Durable Streams protocol.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_query.h"
#include "ngx_conduit_durable.h"
#include "ngx_conduit_http.h"


static ngx_int_t ngx_conduit_durable_arg(ngx_http_request_t *r,
    const char *name, ngx_str_t *value);


ngx_int_t
ngx_conduit_durable_read(ngx_http_request_t *r,
    ngx_conduit_durable_args_t *args, const char **err)
{
    ngx_int_t  offset, live, cursor;
    ngx_str_t  value;

    ngx_memzero(args, sizeof(ngx_conduit_durable_args_t));

    offset = ngx_conduit_durable_arg(r, "offset", &value);

    if (offset == NGX_OK
        && conduit_durable_offset_parse((char *) value.data, value.len,
                                        &args->offset)
           != 0)
    {
        offset = NGX_ABORT;
    }

    live = ngx_conduit_durable_arg(r, "live", &value);

    if (live == NGX_OK) {
        if (value.len == sizeof("long-poll") - 1
            && ngx_memcmp(value.data, "long-poll", sizeof("long-poll") - 1)
               == 0)
        {
            args->live = NGX_CONDUIT_LIVE_POLL;

        } else if (value.len == sizeof("sse") - 1
                   && ngx_memcmp(value.data, "sse", sizeof("sse") - 1) == 0)
        {
            args->live = NGX_CONDUIT_LIVE_SSE;

        } else {
            live = NGX_ABORT;
        }
    }

    cursor = ngx_conduit_durable_arg(r, "cursor", &value);

    if (offset == NGX_ERROR || live == NGX_ERROR || cursor == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (cursor == NGX_OK) {
        args->cursor = conduit_durable_cursor_parse((char *) value.data,
                                                    value.len);
    }

    *err = offset == NGX_ABORT ? "Invalid offset"
           : live == NGX_ABORT ? "Invalid live"
           : args->live && offset == NGX_DECLINED ? "Missing offset" : NULL;

    return NGX_OK;
}


/*
 * Reads an argument.  Returns NGX_OK; NGX_DECLINED without it; NGX_ABORT when
 * it is empty, repeated or badly encoded; NGX_ERROR when memory is out.
 */

static ngx_int_t
ngx_conduit_durable_arg(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    size_t       len;
    ngx_int_t    rc;
    const char  *data;

    rc = ngx_conduit_http_arg(r, name, value);

    if (rc == NGX_DECLINED
        && conduit_query_find((char *) r->args.data, r->args.len, name, &data,
                              &len)
           == CONDUIT_QUERY_FOUND)
    {
        return NGX_ABORT;
    }

    return rc;
}
