/* Copyright (C) Conduit for NGINX authors */

/*
 * The token of a request to the gateway: taken from the query before anything
 * logs it, or from "conduit_gateway_token"; verified once, and kept across
 * internal redirects.
 *
 *   taken by the preaccess phase, or by a variable that is evaluated before
 *     -> verified by a variable, or else by the content handler
 *       -> forgotten when the request is a subscriber, or ends
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_query.h"
#include "ngx_conduit_gateway_cors.h"
#include "ngx_conduit_gateway_token.h"


static ngx_int_t ngx_conduit_gateway_preaccess_handler(ngx_http_request_t *r);
static ngx_conduit_gateway_ctx_t *ngx_conduit_gateway_token_ctx(
    ngx_http_request_t *r);
static ngx_int_t ngx_conduit_gateway_token_look(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx);
static ngx_int_t ngx_conduit_gateway_token_value(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx);
static ngx_int_t ngx_conduit_gateway_token_evaluate(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx, ngx_http_complex_value_t *cv,
    ngx_str_t *token);
static ngx_int_t ngx_conduit_gateway_token_hide(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_int_t ngx_conduit_gateway_token_copy(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx, ngx_str_t *token, ngx_uint_t own);
static ngx_int_t ngx_conduit_gateway_token_own_args(ngx_http_request_t *r);
static ngx_uint_t ngx_conduit_gateway_token_masked(ngx_str_t *token);
static void ngx_conduit_gateway_token_mask(ngx_str_t *uri, ngx_str_t *value);
static void ngx_conduit_gateway_token_cleanup(void *data);


ngx_int_t
ngx_conduit_gateway_token_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_conduit_gateway_preaccess_handler;

    return NGX_OK;
}


/*
 * NGINX logs the request line with every error of a request, so the token must
 * be removed from it before errors occur.  limit_conn and limit_req, which log
 * the requests they refuse, run in this phase, after this handler.  Returns
 * NGX_DECLINED; or NGX_HTTP_INTERNAL_SERVER_ERROR when memory is out.
 */

static ngx_int_t
ngx_conduit_gateway_preaccess_handler(ngx_http_request_t *r)
{
    ngx_conduit_gateway_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_conduit_gateway_module);

    if (glcf->common.redis == NULL || r != r->main) {
        return NGX_DECLINED;
    }

    /* errors of modules that run after this, such as limit_req, must not be
       cached, either, and pages of allowed origins may read them */

    if (ngx_conduit_http_cache_control(r, "no-store") != NGX_OK
        || ngx_conduit_gateway_cors_early(r) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!glcf->common.auth) {
        return NGX_DECLINED;
    }

    return ngx_conduit_gateway_token_take(r)
           ? NGX_DECLINED : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


ngx_conduit_gateway_ctx_t *
ngx_conduit_gateway_token_take(ngx_http_request_t *r)
{
    ngx_conduit_gateway_ctx_t       *ctx;
    ngx_conduit_gateway_loc_conf_t  *glcf;

    ctx = ngx_conduit_gateway_token_ctx(r);

    if (ctx == NULL) {
        return NULL;
    }

    glcf = ngx_http_get_module_loc_conf(r, ngx_conduit_gateway_module);

    /* with "conduit_gateway_auth off" the token is not taken: another module
       may check it, and gets the request as it came */

    if (glcf->common.auth
        && (ngx_conduit_gateway_token_look(r, ctx) != NGX_OK
            || ngx_conduit_gateway_token_value(r, ctx) != NGX_OK))
    {
        return NULL;
    }

    return ctx;
}


/*
 * NGINX clears the contexts of a request when it redirects it to another
 * location; the context is found again by its cleanup.
 */

static ngx_conduit_gateway_ctx_t *
ngx_conduit_gateway_token_ctx(ngx_http_request_t *r)
{
    ngx_conduit_gateway_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_gateway_module);

    if (ctx != NULL) {
        return ctx;
    }

    ctx = ngx_conduit_http_kept(r, ngx_conduit_gateway_token_cleanup,
                                sizeof(ngx_conduit_gateway_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    ngx_http_set_ctx(r, ctx, ngx_conduit_gateway_module);

    return ctx;
}


/* takes the token from the query; does so again after a redirect, because the
   new URI may have another token */

static ngx_int_t
ngx_conduit_gateway_token_look(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx)
{
    ngx_int_t  rc;
    ngx_str_t  token;

    rc = ngx_conduit_http_arg(r, "token", &token);

    /* a proxied location has redirected here (X-Accel-Redirect): NGINX also
       logs the URI that it sent to the upstream */

    if (r->upstream != NULL) {
        ngx_conduit_gateway_token_mask(&r->upstream->uri, NULL);
    }

    if (ctx->looked
        && (rc == NGX_DECLINED
            || (rc == NGX_OK && ngx_conduit_gateway_token_masked(&token))))
    {
        return NGX_OK;
    }

    ngx_conduit_gateway_token_forget(ctx);
    ctx->verified.conf = NULL;

    if (rc == NGX_OK) {

        /* a token that had to be decoded is a copy: masking the query does not
           overwrite it */

        rc = ngx_conduit_gateway_token_copy(r, ctx, &token,
                                            token.data < r->args.data
                                            || token.data >= r->args.data
                                                             + r->args.len);
    }

    ngx_conduit_gateway_token_mask(&r->unparsed_uri, NULL);
    ngx_conduit_gateway_token_mask(&r->request_line, NULL);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc != NGX_DECLINED) {

        if (ngx_conduit_gateway_token_own_args(r) != NGX_OK) {
            ngx_conduit_gateway_token_forget(ctx);
            return NGX_ERROR;
        }

        conduit_query_mask((char *) r->args.data, r->args.len, "token");
    }

    ctx->taken = rc;
    ctx->looked = 1;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "conduit: token taken: %i", rc);

    return NGX_OK;
}


/*
 * Takes the value of "conduit_gateway_token", unless the argument "token" has
 * one.  The value is evaluated again if it was empty, because a later phase may
 * set a variable that it uses, and after a redirect to a location with another
 * "conduit_gateway_token".
 */

static ngx_int_t
ngx_conduit_gateway_token_value(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx)
{
    ngx_int_t                        rc;
    ngx_str_t                        token;
    ngx_conduit_gateway_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_conduit_gateway_module);

    if (ctx->taken != NGX_DECLINED
        && (ctx->value == NULL || ctx->value == glcf->token))
    {
        return NGX_OK;
    }

    ngx_str_null(&token);

    if (glcf->token != NULL) {

        /* this call comes from a variable of that value which asks for the
           token's claims: there are none yet */

        if (ctx->verified.busy) {
            return NGX_OK;
        }

        if (ngx_conduit_gateway_token_evaluate(r, ctx, glcf->token, &token)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (ctx->value != NULL && token.len == ctx->token.len
        && ngx_conduit_gateway_token_masked(&token))
    {
        /* the value is an argument that was masked before the redirect */

        ctx->value = glcf->token;
        return NGX_OK;
    }

    if (ctx->value != NULL) {
        ngx_conduit_gateway_token_forget(ctx);
        ctx->verified.conf = NULL;
    }

    if (token.len == 0) {
        return NGX_OK;
    }

    rc = ngx_conduit_gateway_token_copy(r, ctx, &token,
                                        glcf->token->lengths != NULL);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx->taken = NGX_OK;
    ctx->value = glcf->token;
    ctx->verified.conf = NULL;

    return ngx_conduit_gateway_token_hide(r, &ctx->token);
}


/* evaluates "conduit_gateway_token"; busy is set meanwhile, so that a variable
   of it that needs the token's claims does not evaluate it again */

static ngx_int_t
ngx_conduit_gateway_token_evaluate(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx, ngx_http_complex_value_t *cv,
    ngx_str_t *token)
{
    ngx_int_t  rc;

    ctx->verified.busy = 1;

    rc = ngx_http_complex_value(r, cv, token);

    ctx->verified.busy = 0;

    return rc;
}


/*
 * Masks the token in the query if the value comes from an argument.  A value
 * without dots is not a token and is not masked: it might equal another
 * argument that the module reads, none of which has dots.
 */

static ngx_int_t
ngx_conduit_gateway_token_hide(ngx_http_request_t *r, ngx_str_t *value)
{
    if (ngx_strlchr(value->data, value->data + value->len, '.') == NULL) {
        return NGX_OK;
    }

    /* a rewrite may have removed the argument from r->args, but not from the
       other texts, which are masked below */

    if (r->args.len >= value->len) {

        if (ngx_conduit_gateway_token_own_args(r) != NGX_OK) {
            return NGX_ERROR;
        }

        conduit_query_mask_value((char *) r->args.data, r->args.len,
                                 (char *) value->data, value->len);
    }

    ngx_conduit_gateway_token_mask(&r->unparsed_uri, value);
    ngx_conduit_gateway_token_mask(&r->request_line, value);

    if (r->upstream != NULL) {
        ngx_conduit_gateway_token_mask(&r->upstream->uri, value);
    }

    return NGX_OK;
}


/*
 * Copies the token to memory of malloc(), which can be freed before the stream
 * ends, unlike memory of the pool.  own: the text is a copy that nothing else
 * reads, and is overwritten.
 */

static ngx_int_t
ngx_conduit_gateway_token_copy(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx, ngx_str_t *token, ngx_uint_t own)
{
    u_char  *copy;

    copy = ngx_alloc(token->len, r->connection->log);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(copy, token->data, token->len);

    if (own) {
        ngx_explicit_memzero(token->data, token->len);
    }

    ctx->token.data = copy;
    ctx->token.len = token->len;

    return NGX_OK;
}


/*
 * Makes r->args writable by copying it: arguments that do not come from the
 * client may be part of the configuration, which all requests share.
 */

static ngx_int_t
ngx_conduit_gateway_token_own_args(ngx_http_request_t *r)
{
    u_char     *p;
    ngx_str_t  *args, *uri;

    args = &r->args;
    uri = &r->unparsed_uri;

    if (args->data >= uri->data
        && args->data + args->len <= uri->data + uri->len)
    {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, args->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, args->data, args->len);
    args->data = p;

    return NGX_OK;
}


static ngx_uint_t
ngx_conduit_gateway_token_masked(ngx_str_t *token)
{
    size_t  i;

    for (i = 0; i < token->len; i++) {
        if (token->data[i] != 'x') {
            return 0;
        }
    }

    return 1;
}


/* masks, in the query of a URI or request line, all arguments with that value;
   if value is NULL, the argument "token" */

static void
ngx_conduit_gateway_token_mask(ngx_str_t *uri, ngx_str_t *value)
{
    u_char  *args, *last, *end;

    last = uri->data + uri->len;
    args = ngx_strlchr(uri->data, last, '?');

    if (args == NULL) {
        return;
    }

    args++;
    end = ngx_strlchr(args, last, ' ');

    end = end ? end : last;

    if (value == NULL) {
        conduit_query_mask((char *) args, end - args, "token");

    } else {
        conduit_query_mask_value((char *) args, end - args,
                                 (char *) value->data, value->len);
    }
}


static void
ngx_conduit_gateway_token_cleanup(void *data)
{
    ngx_conduit_gateway_ctx_t  *ctx = data;

    ngx_conduit_gateway_token_forget(ctx);
    ngx_conduit_sub_release(&ctx->sub);
}


void
ngx_conduit_gateway_token_forget(ngx_conduit_gateway_ctx_t *ctx)
{
    if (ctx->token.data != NULL) {
        ngx_explicit_memzero(ctx->token.data, ctx->token.len);
        ngx_free(ctx->token.data);
    }

    ngx_str_null(&ctx->token);
    ctx->taken = NGX_DECLINED;
    ctx->value = NULL;
}


ngx_int_t
ngx_conduit_gateway_token_find(ngx_http_request_t *r,
    ngx_conduit_gateway_ctx_t *ctx, ngx_str_t *token)
{
    if (ctx->value == NULL && ctx->taken != NGX_DECLINED) {
        *token = ctx->token;
        return ctx->taken;
    }

    if (ngx_conduit_http_bearer(r, token) == NGX_OK && token->len) {
        return NGX_OK;
    }

    *token = ctx->token;

    return ctx->taken;
}


ngx_int_t
ngx_conduit_gateway_verified(ngx_http_request_t *r, ngx_conduit_ids_t *ids,
    ngx_uint_t channel, ngx_uint_t verify)
{
    ngx_str_t                        token;
    ngx_conduit_verified_t          *v;
    ngx_conduit_gateway_ctx_t       *ctx;
    ngx_conduit_gateway_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_conduit_gateway_module);

    if (verify) {
        ctx = ngx_conduit_gateway_token_take(r);

        if (ctx == NULL) {
            return NGX_ERROR;
        }

    } else {
        ctx = ngx_conduit_http_kept(r, ngx_conduit_gateway_token_cleanup, 0);

        if (ctx == NULL) {
            return NGX_DECLINED;
        }
    }

    v = &ctx->verified;

    /* a subscriber's token is freed, but its verified claims are kept */

    if (!ngx_conduit_conf_verified(&glcf->common, 1, v)) {

        if (!verify
            || ngx_conduit_gateway_token_find(r, ctx, &token) != NGX_OK)
        {
            return NGX_DECLINED;
        }

        (void) ngx_conduit_conf_verify(r, &glcf->common, &token, 1, v);
    }

    if (v->status != CONDUIT_JWT_OK
        || !(channel ? v->claims.has_channel : v->claims.has_org))
    {
        return NGX_DECLINED;
    }

    ids->org = v->claims.org_id;
    ngx_memcpy(ids->channel, v->claims.channel_id, CONDUIT_UUID_LEN);

    return NGX_OK;
}
