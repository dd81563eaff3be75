/* Copyright (C) Conduit for NGINX authors */

/*
 * A request to the gateway: which channel a client wants to read, from which
 * position, and whether it may.
 *
 *   preaccess: the token is taken out (ngx_conduit_gateway_token.c)
 *     -> handler: method, ids, position, token -> subscriber, or pull
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_durable.h"
#include "ngx_conduit_durable_reply.h"
#include "ngx_conduit_durable_sse.h"
#include "ngx_conduit_gateway_args.h"
#include "ngx_conduit_gateway_cors.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_gateway_stream.h"
#include "ngx_conduit_gateway_token.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_pull_json.h"
#include "ngx_conduit_response.h"


#define ngx_conduit_gateway_denied(reason)                                    \
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_AUTH + (reason))


static ngx_int_t ngx_conduit_gateway_read(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx,
    ngx_conduit_wanted_t *wanted);
static ngx_int_t ngx_conduit_gateway_method(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf);
static ngx_int_t ngx_conduit_gateway_answer(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx,
    ngx_conduit_wanted_t *wanted, ngx_msec_t expires);
static ngx_uint_t ngx_conduit_gateway_ends_at_once(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx);
static ngx_uint_t ngx_conduit_gateway_was_answered(
    ngx_conduit_gateway_ctx_t *ctx);
static ngx_int_t ngx_conduit_gateway_pull(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx,
    ngx_conduit_wanted_t *wanted, ngx_msec_t expires);
static ngx_int_t ngx_conduit_gateway_encoding(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx);
static ngx_uint_t ngx_conduit_gateway_accepts_gzip(ngx_http_request_t *r);
static const char *ngx_conduit_gateway_token(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx, ngx_str_t *token);
static ngx_int_t ngx_conduit_gateway_authenticate(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx,
    ngx_conduit_name_t *name, ngx_str_t *token, ngx_msec_t *expires);
static ngx_int_t ngx_conduit_gateway_claims(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_verified_t *v,
    ngx_conduit_name_t *name);
static ngx_int_t ngx_conduit_gateway_discard_body(ngx_http_request_t *r);
static ngx_int_t ngx_conduit_gateway_refuse(ngx_http_request_t *r,
    ngx_uint_t status, const char *text);


ngx_int_t
ngx_conduit_gateway_handler(ngx_http_request_t *r)
{
    ngx_int_t                        rc;
    ngx_msec_t                       expires;
    ngx_conduit_wanted_t             wanted;
    ngx_conduit_gateway_ctx_t       *ctx;
    ngx_conduit_gateway_loc_conf_t  *glcf;

    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "conduit: \"conduit_gateway\" can't be used in a "
                      "subrequest");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_conduit_gateway_module);

    rc = ngx_conduit_gateway_method(r, glcf);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    ctx = ngx_conduit_gateway_token_take(r);

    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_conduit_gateway_read(r, glcf, ctx, &wanted);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    expires = 0;

    rc = ngx_conduit_gateway_authenticate(r, glcf, ctx, &wanted.name,
                                          &wanted.token, &expires);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rc = ngx_conduit_gateway_discard_body(r);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    return ngx_conduit_gateway_answer(r, glcf, ctx, &wanted, expires);
}


/* answers an authorized request, as a subscriber, a pull, or a request of
   Durable Streams */

static ngx_int_t
ngx_conduit_gateway_answer(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx,
    ngx_conduit_wanted_t *wanted, ngx_msec_t expires)
{
    if (ngx_conduit_durable_is(glcf->hub)) {

        if (r->post_action || ngx_conduit_gateway_was_answered(ctx)) {
            return ngx_conduit_durable_reply_busy(r);
        }

        return ngx_conduit_durable_handler(r, glcf, ctx, &wanted->name,
                                           &wanted->durable, expires);
    }

    if (wanted->json) {
        return ngx_conduit_gateway_pull(r, glcf, ctx, wanted, expires);
    }

    if (ngx_conduit_gateway_encoding(r, glcf, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->method == NGX_HTTP_HEAD
        || ngx_conduit_gateway_ends_at_once(r, glcf, ctx))
    {
        return ngx_conduit_response_turn_away(r, glcf->settings.retry);
    }

    ngx_conduit_gateway_token_forget(ctx);

    ctx->sub.listener.start = wanted->start;
    ctx->sub.listener.resumes = wanted->resumes;

    return ngx_conduit_sub_create(glcf->hub, r, &ctx->sub, &wanted->name.key,
                                  wanted->name.label, &wanted->pos, expires);
}


/* whether a request is to end without events: it is a "post_action", it was
   answered before, or the worker quits */

static ngx_uint_t
ngx_conduit_gateway_ends_at_once(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx)
{
    return r->post_action || ngx_terminate
           || ngx_conduit_gateway_was_answered(ctx)
           || ngx_conduit_hub_quits(glcf->hub);
}


/*
 * Whether the gateway has begun to answer a request before an internal redirect
 * brought it here: it may have buffers in filters, and its cleanups belong to
 * that answer, so it can't be answered in another way.
 */

static ngx_uint_t
ngx_conduit_gateway_was_answered(ngx_conduit_gateway_ctx_t *ctx)
{
    return ctx->sub.request != NULL || ctx->pull != NULL
           || ctx->durable != NULL;
}


static ngx_int_t
ngx_conduit_gateway_pull(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx,
    ngx_conduit_wanted_t *wanted, ngx_msec_t expires)
{
    ngx_conduit_pull_t  *pull;

    pull = ngx_conduit_pull_alloc(r, glcf->hub, &ngx_conduit_pull_json,
                                  &wanted->pos);
    if (pull == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    pull->listener.start = wanted->start;
    pull->listener.resumes = wanted->resumes;

    if (ngx_conduit_gateway_ends_at_once(r, glcf, ctx)) {
        return ngx_conduit_pull_turn_away(pull);
    }

    ngx_conduit_gateway_token_forget(ctx);

    ctx->pull = pull;
    pull->wait = r->method == NGX_HTTP_HEAD ? 0 : wanted->wait;

    return ngx_conduit_pull_create(pull, &wanted->name.key,
                                   wanted->name.label, expires);
}


/*
 * Reads what a request asks for.  Returns NGX_DECLINED to go on, or what the
 * content handler returns after an answer.
 */

static ngx_int_t
ngx_conduit_gateway_read(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx,
    ngx_conduit_wanted_t *wanted)
{
    const char  *err;

    ngx_memzero(wanted, sizeof(ngx_conduit_wanted_t));

    if (ngx_conduit_gateway_name(r, glcf, &wanted->name, &err) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (err == NULL && glcf->common.auth) {
        err = ngx_conduit_gateway_token(r, ctx, &wanted->token);
    }

    if (err == NULL
        && (ngx_conduit_durable_is(glcf->hub)
            ? ngx_conduit_durable_read(r, &wanted->durable, &err)
            : ngx_conduit_gateway_find_start(r, glcf, wanted, &err))
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    wanted->json = !ngx_conduit_durable_is(glcf->hub)
                   && ngx_conduit_pull_json_wanted(r);

    if (err == NULL && wanted->json
        && ngx_conduit_gateway_wait(r, glcf, wanted, &err) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return err ? ngx_conduit_gateway_refuse(r, NGX_HTTP_BAD_REQUEST, err)
               : NGX_DECLINED;
}


/*
 * Answers a request other than GET or HEAD: a preflight (WHATWG Fetch, 3.2.2)
 * or a wrong method.  Returns NGX_DECLINED to go on.
 */

static ngx_int_t
ngx_conduit_gateway_method(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf)
{
    if (ngx_conduit_gateway_cors(r) != NGX_OK
        || (ngx_conduit_durable_is(glcf->hub)
            && ngx_conduit_durable_headers(r) != NGX_OK))
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)) {
        return NGX_DECLINED;
    }

    if (r->method == NGX_HTTP_OPTIONS) {
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_REQUESTS
                                  + NGX_CONDUIT_REQUEST_PREFLIGHT);

        return NGX_HTTP_NO_CONTENT;
    }

    if (ngx_conduit_http_header(r, "Allow", "GET, HEAD, OPTIONS") != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_conduit_gateway_refuse(r, NGX_HTTP_NOT_ALLOWED,
                                      "Method not allowed");
}


/*
 * Decides whether the response is in gzip.  It is not for a client of HTTP/1.0,
 * as with the default of NGINX's "gzip_http_version".
 */

static ngx_int_t
ngx_conduit_gateway_encoding(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx)
{
    /* after a redirect, the request may already be a subscriber, whose response
       was begun with or without gzip */

    if (ctx->sub.request == NULL) {
        ctx->sub.gzip.on = glcf->gzip
                           && r->http_version >= NGX_HTTP_VERSION_11
                           && ngx_conduit_gateway_accepts_gzip(r);
    }

    return glcf->gzip ? ngx_conduit_response_vary(r, "Accept-Encoding")
                      : NGX_OK;
}


static ngx_uint_t
ngx_conduit_gateway_accepts_gzip(ngx_http_request_t *r)
{
    ngx_table_elt_t  *h;

    h = NULL;

    for ( ;; ) {
        h = ngx_conduit_http_find(&r->headers_in.headers, "Accept-Encoding",
                                  h);

        if (h == NULL) {
            return 0;
        }

        if (conduit_deflate_accepted((char *) h->value.data, h->value.len)) {
            return 1;
        }
    }
}


/* finds the token, and counts a missing one; returns NULL, or the error text */

static const char *
ngx_conduit_gateway_token(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx, ngx_str_t *token)
{
    switch (ngx_conduit_gateway_token_find(r, ctx, token)) {

    case NGX_OK:
        return NULL;

    case NGX_DECLINED:
        ngx_conduit_gateway_denied(NGX_CONDUIT_DENIED_MISSING);
        return "Missing token";

    default:
        ngx_conduit_gateway_denied(NGX_CONDUIT_DENIED_FORMAT);
        return "Invalid token argument";
    }
}


/*
 * Returns NGX_DECLINED to go on, or what the content handler returns after an
 * answer.  *expires is set when the response is to end with the token.  Sets
 * sub.refused to the first second in which the token is not accepted any more,
 * or to 0 when that does not fit in uint32_t.
 */

static ngx_int_t
ngx_conduit_gateway_authenticate(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_ctx_t *ctx,
    ngx_conduit_name_t *name, ngx_str_t *token, ngx_msec_t *expires)
{
    int64_t                left, end;
    ngx_int_t              rc;
    conduit_jwt_claims_t  *claims;
    conduit_jwt_status_e   status;

    if (!glcf->common.auth) {
        return NGX_DECLINED;
    }

    claims = &ctx->verified.claims;

    status = ngx_conduit_conf_verify(r, &glcf->common, token, 1,
                                     &ctx->verified);

    if (status != CONDUIT_JWT_OK) {
        ngx_conduit_gateway_denied(status);

        if (status == CONDUIT_JWT_NO_MEMORY) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        /* every 401 has a challenge: RFC 9110 15.5.2, RFC 6750 3 */

        if (ngx_conduit_http_header(r, "WWW-Authenticate",
                                    "Bearer error=\"invalid_token\"")
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_conduit_gateway_refuse(r, NGX_HTTP_UNAUTHORIZED,
                                          status == CONDUIT_JWT_EXPIRED
                                          ? "Token expired"
                                          : "Invalid token");
    }

    rc = ngx_conduit_gateway_claims(r, glcf, &ctx->verified, name);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    end = claims->exp + CONDUIT_JWT_LEEWAY + 1;

    ctx->sub.refused = (end > 0 && end <= (int64_t) UINT32_MAX)
                       ? (uint32_t) end : 0;

    if (glcf->expire) {

        /* as long as the token would be accepted, but at most a day, because
           NGINX's timers count milliseconds in an int on some platforms */

        left = claims->exp + CONDUIT_JWT_LEEWAY - ngx_time();
        left = ngx_max(left, 1);

        *expires = ngx_min(left, 24 * 3600) * 1000;
    }

    return NGX_DECLINED;
}


/* checks the claims of a valid token; returns NGX_DECLINED to go on, or what
   the content handler returns after an answer */

static ngx_int_t
ngx_conduit_gateway_claims(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_verified_t *v,
    ngx_conduit_name_t *name)
{
    ngx_int_t              rc;
    ngx_conduit_ids_t     *ids;
    conduit_jwt_claims_t  *claims;

    ids = &name->ids;
    claims = &v->claims;

    if (glcf->common.key == NULL
        && (claims->org_id != ids->org
            || ngx_memcmp(claims->channel_id, ids->channel, CONDUIT_UUID_LEN)
               != 0))
    {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "conduit: client sent a token of org %uL channel %*s in "
                      "a request for org %uL channel %*s",
                      claims->org_id, (size_t) CONDUIT_UUID_LEN,
                      claims->channel_id, ids->org, (size_t) CONDUIT_UUID_LEN,
                      ids->channel);
        ngx_conduit_gateway_denied(NGX_CONDUIT_DENIED_CLAIMS);
        return ngx_conduit_gateway_refuse(r, NGX_HTTP_FORBIDDEN,
                                          "Invalid token claims");
    }

    rc = ngx_conduit_gateway_required(r, &glcf->common, v);

    if (rc == NGX_DECLINED) {
        ngx_conduit_gateway_denied(NGX_CONDUIT_DENIED_REQUIRED);
        return ngx_conduit_gateway_refuse(r, NGX_HTTP_FORBIDDEN,
                                          "Invalid token claims");
    }

    return rc == NGX_OK ? NGX_DECLINED : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* returns NGX_DECLINED to go on, or what the content handler returns */

static ngx_int_t
ngx_conduit_gateway_discard_body(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (!r->discard_body) {
        return NGX_DECLINED;
    }

    /* the request is refused: while NGINX discards the body, it would not
       notice that the client has closed the connection */

    ngx_conduit_gateway_count_refused(NGX_HTTP_BAD_REQUEST);

    return ngx_conduit_http_text(r, NGX_HTTP_BAD_REQUEST,
                                 "Unexpected request body",
                                 sizeof("Unexpected request body") - 1);
}


static ngx_int_t
ngx_conduit_gateway_refuse(ngx_http_request_t *r, ngx_uint_t status,
    const char *text)
{
    ngx_int_t  rc;

    ngx_conduit_gateway_count_refused(status);

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_conduit_http_text(r, status, text, ngx_strlen(text));
}
