/*
 * What both modules do with an HTTP request: ids out of it, short answers into
 * it, variables about it.
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

/* of a worker; all zero at first */
typedef struct {
    ngx_msec_t  logged;                      /* when; 0: never */
    ngx_uint_t  skipped;                     /* since then */
} ngx_conduit_http_log_t;


/*
 * Reads org_id and channel_id as the location is configured, or from where the
 * contract has them: the last two segments of the URI (publish); the last one
 * and the argument "channel_id" (gateway).  Returns NULL, or a static text that
 * names the one that is missing or malformed.
 */
const char *ngx_conduit_http_ids(ngx_http_request_t *r,
    ngx_conduit_conf_t *conf, ngx_conduit_ids_t *ids);

/*
 * Reads a query argument and decodes it into memory of r->pool.  Returns
 * NGX_OK; NGX_DECLINED when it is missing or empty; NGX_ABORT when it is
 * repeated or badly encoded; NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_http_arg(ngx_http_request_t *r, const char *name,
    ngx_str_t *value);

/*
 * Takes the token out of "Authorization: Bearer <token>".  Returns NGX_OK,
 * NGX_DECLINED without such a header, NGX_ABORT when it is of another form.
 */
ngx_int_t ngx_conduit_http_bearer(ngx_http_request_t *r, ngx_str_t *token);

/*
 * Finds a header by its name, in any case: the first one, or the first behind
 * prev.  Those that were taken back (hash of 0) are none.  NULL when there is
 * none.
 */
ngx_table_elt_t *ngx_conduit_http_find(ngx_list_t *headers, const char *name,
    ngx_table_elt_t *prev);

/*
 * Takes all response headers of a name back.  Returns the first, for a value of
 * its own, or NULL.
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
 * Sets Cache-Control, in place of one that was set before; value must live as
 * long as the request.  The directive "expires" neither changes it nor adds
 * headers; "add_header" adds a second one.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_http_cache_control(ngx_http_request_t *r,
    const char *value);

/*
 * Sends a complete answer of plain text, copied, that is not to be cached; the
 * request body must have been read or discarded.  Returns what to finalize the
 * request with.
 */
ngx_int_t ngx_conduit_http_text(ngx_http_request_t *r, ngx_uint_t status,
    const char *text, size_t len);

/* Does the same with content of another type. */
ngx_int_t ngx_conduit_http_content(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, const char *data, size_t len);

/*
 * Returns memory of a request that lasts until its pool goes, where NGINX
 * clears the contexts of modules with each internal redirect: it is the data of
 * the pool cleanup with this handler.  The first call makes it, of size bytes
 * that are zero.  Returns NULL when memory is out or, with a size of 0, when
 * there is none.
 */
void *ngx_conduit_http_kept(ngx_http_request_t *r, ngx_pool_cleanup_pt handler,
    size_t size);

/*
 * Takes note of something that a client can bring about at will.  Returns
 * whether it is to be logged, which is once in 10 seconds, and sets *skipped to
 * how often it was not since the last time.
 */
ngx_uint_t ngx_conduit_http_may_log(ngx_conduit_http_log_t *log,
    ngx_uint_t *skipped);

/* Gives the location's configuration of the calling module. */
typedef ngx_conduit_conf_t *(*ngx_conduit_http_conf_pt)(ngx_http_request_t *r);

/*
 * Gives ids->org, or with channel set ids->channel, of a main request's token,
 * in a location of the module that asks for one; with verify unset only of one
 * that was verified before.  Returns NGX_OK; NGX_DECLINED when it is not valid;
 * NGX_ERROR when memory is out.
 */
typedef ngx_int_t (*ngx_conduit_http_verified_pt)(ngx_http_request_t *r,
    ngx_conduit_ids_t *ids, ngx_uint_t channel, ngx_uint_t verify);

/*
 * Adds $conduit_org_id, $conduit_channel_id, $conduit_verified_org_id and
 * $conduit_verified_channel_id, which both modules have: the module that comes
 * second asks the first one where it has no say itself.
 */
ngx_int_t ngx_conduit_http_variables(ngx_conf_t *cf,
    ngx_conduit_http_conf_pt conf, ngx_conduit_http_verified_pt verified);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_HTTP_H */
