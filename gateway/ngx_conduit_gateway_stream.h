/* Copyright (C) Conduit for NGINX authors */

/*
 * Which stream a location sends, and who may read it: the key, the fields and
 * the format of its entries, the claims that a token must have.
 */

#ifndef NGX_CONDUIT_GATEWAY_STREAM_H
#define NGX_CONDUIT_GATEWAY_STREAM_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_request.h"

#pragma GCC visibility push(hidden)

/* the stream of a request */
typedef struct {
    ngx_str_t                key;
    ngx_str_t               *label;        /* NULL: the contract defines the
                                              key */
    ngx_conduit_ids_t        ids;          /* valid if label is NULL */
    char                     text[CONDUIT_KEY_MAX];   /* what key points to if
                                                         label is NULL */
} ngx_conduit_name_t;


/*
 * Finds out which stream a request is for.  Returns NGX_OK, or NGX_ERROR when
 * memory is out; *err is NULL, or a static text for the reply, which says what
 * is missing or malformed.
 */
ngx_int_t ngx_conduit_gateway_name(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_name_t *name,
    const char **err);

/*
 * Compares the claims of a valid token with those that the location requires.
 * Returns NGX_OK; NGX_DECLINED, logged, when a claim is missing, or has another
 * value or type; NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_gateway_required(ngx_http_request_t *r,
    ngx_conduit_conf_t *conf, ngx_conduit_verified_t *v);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_STREAM_H */
