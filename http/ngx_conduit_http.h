/* Copyright (C) Conduit for NGINX authors */

/*
 * HTTP functions of both modules.
 *
 *   http             ids, arguments and tokens of a request; memory and limits
 *                    on logging for it
 *   http_reply       headers of a response, short responses
 *   http_variables   variables of a module, and $conduit_org_id and its kin
 */

#ifndef NGX_CONDUIT_HTTP_H
#define NGX_CONDUIT_HTTP_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_id.h"
#include "ngx_conduit_conf.h"

#pragma GCC visibility push(hidden)

/* a channel as a request names it */
typedef struct {
    uint64_t  org;
    char      channel[CONDUIT_UUID_LEN];     /* lower case */
} ngx_conduit_ids_t;

/* state of a worker, initially zero */
typedef struct {
    ngx_msec_t  logged;                      /* when last logged; 0: never */
    ngx_uint_t  skipped;                     /* not logged since then */
} ngx_conduit_http_log_t;


/*
 * Reads org_id and channel_id as configured in the location, or by default from
 * the last two segments of the URI (publish), or the last segment and the
 * argument "channel_id" (gateway).  Returns NULL, or a static text that names
 * the id that is missing or malformed.
 */
const char *ngx_conduit_http_ids(ngx_http_request_t *r,
    ngx_conduit_conf_t *conf, ngx_conduit_ids_t *ids);

/*
 * Finds the texts of both ids without parsing them; len 0: missing.  They may
 * be in memory of the request or of r->pool.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_http_raw_ids(ngx_http_request_t *r,
    ngx_conduit_conf_t *conf, ngx_str_t *org, ngx_str_t *channel);

/*
 * Reads a query argument and decodes it into memory of r->pool.  Returns
 * NGX_OK; NGX_DECLINED when it is missing or empty; NGX_ABORT when it is
 * repeated or badly encoded; NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_http_arg(ngx_http_request_t *r, const char *name,
    ngx_str_t *value);

/*
 * Reads the token from "Authorization: Bearer <token>".  Returns NGX_OK,
 * NGX_DECLINED without such a header, NGX_ABORT when it has another form.
 */
ngx_int_t ngx_conduit_http_bearer(ngx_http_request_t *r, ngx_str_t *token);

/*
 * Finds a header by its name (case-insensitive): the first one, or the next one
 * after prev.  Removed headers (hash 0) are skipped.  Returns NULL if there is
 * none.
 */
ngx_table_elt_t *ngx_conduit_http_find(ngx_list_t *headers, const char *name,
    ngx_table_elt_t *prev);

/*
 * Removes all response headers of a name.  Returns the first one, which the
 * caller may reuse, or NULL.
 */
ngx_table_elt_t *ngx_conduit_http_drop(ngx_http_request_t *r,
    const char *name);

/*
 * Adds a response header; key and value must live as long as the request.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_http_header(ngx_http_request_t *r, const char *key,
    const char *value);

/*
 * Sets Cache-Control, replacing an earlier one; value must live as long as the
 * request.  The directive "expires" then neither changes it nor adds headers;
 * "add_header" adds a second one.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_http_cache_control(ngx_http_request_t *r,
    const char *value);

/*
 * Sends a complete plain text response that must not be cached; text is
 * copied.  The request body must have been read or discarded.  Returns what to
 * finalize the request with.
 */
ngx_int_t ngx_conduit_http_text(ngx_http_request_t *r, ngx_uint_t status,
    const char *text, size_t len);

/* Does the same for content of another type. */
ngx_int_t ngx_conduit_http_content(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, const char *data, size_t len);

/* Does the same after ngx_conduit_http_cache_control() was called. */
ngx_int_t ngx_conduit_http_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, const char *data, size_t len);

/*
 * Returns memory that lasts as long as the request's pool, while NGINX clears
 * module contexts on each internal redirect: it is the data of the pool cleanup
 * with this handler.  The first call allocates size zeroed bytes.  Returns NULL
 * when memory is out or, with a size of 0, when nothing was allocated yet.
 */
void *ngx_conduit_http_kept(ngx_http_request_t *r, ngx_pool_cleanup_pt handler,
    size_t size);

/*
 * Limits the logging of an event that clients can cause at will.  Returns
 * whether to log it, once in 10 seconds, and sets *skipped to the number of
 * events not logged since.
 */
ngx_uint_t ngx_conduit_http_may_log(ngx_conduit_http_log_t *log,
    ngx_uint_t *skipped);

/* Returns the location configuration of the module. */
typedef ngx_conduit_conf_t *(*ngx_conduit_http_conf_pt)(ngx_http_request_t *r);

/*
 * Sets ids->org, or with channel set ids->channel, from the token of a main
 * request, in a location of the module that requires one.  With verify unset,
 * only a token that was verified before is used.  Returns NGX_OK; NGX_DECLINED
 * when there is no valid token; NGX_ERROR when memory is out.
 */
typedef ngx_int_t (*ngx_conduit_http_verified_pt)(ngx_http_request_t *r,
    ngx_conduit_ids_t *ids, ngx_uint_t channel, ngx_uint_t verify);

/*
 * Adds the variables of a module: its own, which end with
 * ngx_http_null_variable; and $conduit_org_id, $conduit_channel_id,
 * $conduit_verified_org_id and $conduit_verified_channel_id, which both modules
 * have: the handler of the module added second calls that of the first one in
 * locations that are not its own.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_http_variables(ngx_conf_t *cf, ngx_http_variable_t *own,
    ngx_conduit_http_conf_pt conf, ngx_conduit_http_verified_pt verified);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_HTTP_H */
