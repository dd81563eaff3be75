/* Copyright (C) Conduit for NGINX authors */

/*
 * The variables $conduit_gateway_...
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_conf.h"
#include "ngx_conduit_gateway_token.h"
#include "ngx_conduit_pull.h"


static ngx_conduit_conf_t *ngx_conduit_gateway_common_conf(
    ngx_http_request_t *r);
static ngx_int_t ngx_conduit_gateway_number_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_conduit_gateway_close_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_variable_t  ngx_conduit_gateway_vars[] = {

    { ngx_string("conduit_gateway_events"), NULL,
      ngx_conduit_gateway_number_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("conduit_gateway_bytes"), NULL,
      ngx_conduit_gateway_number_variable, 1, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("conduit_gateway_losses"), NULL,
      ngx_conduit_gateway_number_variable, 2, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("conduit_gateway_close"), NULL,
      ngx_conduit_gateway_close_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_conduit_gateway_add_variables(ngx_conf_t *cf)
{
    return ngx_conduit_http_variables(cf, ngx_conduit_gateway_vars,
                                      ngx_conduit_gateway_common_conf,
                                      ngx_conduit_gateway_verified);
}


static ngx_conduit_conf_t *
ngx_conduit_gateway_common_conf(ngx_http_request_t *r)
{
    ngx_conduit_gateway_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_conduit_gateway_module);

    return &glcf->common;
}


/* data: 0 for events, 1 for bytes, 2 for losses */

static ngx_int_t
ngx_conduit_gateway_number_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    uint64_t                    n;
    u_char                     *p;
    ngx_conduit_sub_t          *sub;
    ngx_conduit_pull_t         *pull;
    ngx_conduit_gateway_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_gateway_module);
    sub = ctx ? &ctx->sub : NULL;

    if (sub == NULL || (sub->request == NULL && ctx->pull == NULL)) {
        v->not_found = 1;
        return NGX_OK;
    }

    pull = ctx->pull;

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    switch (data) {

    case 0:
        n = pull ? pull->events : sub->events;
        break;

    case 1:
        n = pull ? pull->bytes : sub->bytes;
        break;

    default:
        n = pull ? pull->losses : sub->losses;
    }

    v->len = ngx_sprintf(p, "%uL", n)
             - p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = p;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_gateway_close_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_conduit_sub_t          *sub;
    ngx_conduit_gateway_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_gateway_module);
    sub = ctx ? &ctx->sub : NULL;

    if (sub == NULL || (sub->request == NULL && ctx->pull == NULL)) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = (u_char *) ngx_conduit_close_name(ctx->pull ? ctx->pull->close
                                                          : sub->close);
    v->len = ngx_strlen(v->data);
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
