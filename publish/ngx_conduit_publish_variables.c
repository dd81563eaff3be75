/* Copyright (C) Conduit for NGINX authors */

/*
 * The variables $conduit_publish_... and $conduit_redis_time.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish_conf.h"


static ngx_conduit_conf_t *ngx_conduit_publish_common_conf(
    ngx_http_request_t *r);
static ngx_int_t ngx_conduit_publish_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_conduit_publish_phase_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_conduit_publish_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_variable_t  ngx_conduit_publish_vars[] = {

    { ngx_string("conduit_publish_id"), NULL,
      ngx_conduit_publish_id_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("conduit_publish_phase"), NULL,
      ngx_conduit_publish_phase_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("conduit_redis_time"), NULL,
      ngx_conduit_publish_time_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_conduit_publish_add_variables(ngx_conf_t *cf)
{
    return ngx_conduit_http_variables(cf, ngx_conduit_publish_vars,
                                      ngx_conduit_publish_common_conf,
                                      ngx_conduit_publish_verified);
}


static ngx_conduit_conf_t *
ngx_conduit_publish_common_conf(ngx_http_request_t *r)
{
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    return &plcf->common;
}


static ngx_int_t
ngx_conduit_publish_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_conduit_publish_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_publish_module);

    if (ctx == NULL || ctx->id.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = ctx->id.len;
    v->data = ctx->id.data;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_publish_phase_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_conduit_publish_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_publish_module);

    if (ctx == NULL || !ctx->decoded) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = (u_char *) conduit_phase_name(ctx->phase);
    v->len = ngx_strlen(v->data);

    return NGX_OK;
}


/* in seconds with a milliseconds resolution, like $request_time */

static ngx_int_t
ngx_conduit_publish_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                     *p;
    ngx_conduit_publish_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_publish_module);

    if (ctx == NULL || !ctx->answered) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(p, "%T.%03M", (time_t) ctx->redis_time / 1000,
                         ctx->redis_time % 1000)
             - p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = p;

    return NGX_OK;
}
