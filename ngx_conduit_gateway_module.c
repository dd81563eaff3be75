/* Copyright (C) Conduit for NGINX authors */

/*
 * The module conduit_gateway sends the entries of Redis streams as Server-Sent
 * Events.  This file has its directives and variables.  Requests are handled in
 * gateway/ngx_conduit_gateway_request.c, start and exit of a worker process in
 * gateway/ngx_conduit_gateway_worker.c.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_format.h"
#include "ngx_conduit_gateway_channels.h"
#include "ngx_conduit_gateway_cors.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_gateway_stream.h"
#include "ngx_conduit_gateway_token.h"
#include "ngx_conduit_gateway_worker.h"
#include "ngx_conduit_pull.h"


/* ms: "conduit_gateway_health ready" requires that the last canary of each hub
   came back within that time */
#define NGX_CONDUIT_GATEWAY_READY  5000

/* ms: the greatest "conduit_gateway_coalesce" */
#define NGX_CONDUIT_GATEWAY_COALESCE  1000

#define NGX_CONDUIT_GATEWAY_WAKEUP_FORM                                       \
    "\"tracking\", \"poll\", or \"poll\" and a time, as in \"poll 100ms\""


static ngx_conduit_conf_t *ngx_conduit_gateway_common_conf(
    ngx_http_request_t *r);
static ngx_int_t ngx_conduit_gateway_number_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_conduit_gateway_close_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static char *ngx_conduit_gateway(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_conduit_gateway_page_handler(ngx_http_request_t *r);
static char *ngx_conduit_gateway_wakeup(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_conduit_gateway_time(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_conduit_gateway_coalesce(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_conduit_gateway_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_conduit_gateway_init(ngx_conf_t *cf);
static ngx_int_t ngx_conduit_gateway_init_module(ngx_cycle_t *cycle);
static void *ngx_conduit_gateway_create_main_conf(ngx_conf_t *cf);
static void *ngx_conduit_gateway_create_loc_conf(ngx_conf_t *cf);
static char *ngx_conduit_gateway_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static void ngx_conduit_gateway_merge_settings(
    ngx_conduit_gateway_settings_t *prev,
    ngx_conduit_gateway_settings_t *conf);


static ngx_conduit_bounds_t  ngx_conduit_gateway_read_count_bounds = {
    1, 10000
};


static ngx_conf_enum_t  ngx_conduit_gateway_after_end[] = {
    { ngx_string("wait"), NGX_CONDUIT_AFTER_END_WAIT },
    { ngx_string("stop"), NGX_CONDUIT_AFTER_END_STOP },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_conduit_gateway_start[] = {
    { ngx_string("oldest"), CONDUIT_START_OLDEST },
    { ngx_string("turn"), CONDUIT_START_TURN },
    { ngx_string("latest"), CONDUIT_START_LATEST },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_conduit_gateway_drain_event[] = {
    { ngx_string("auto"), NGX_CONDUIT_DRAIN_EVENT_AUTO },
    { ngx_string("on"), NGX_CONDUIT_DRAIN_EVENT_ON },
    { ngx_string("off"), NGX_CONDUIT_DRAIN_EVENT_OFF },
    { ngx_null_string, 0 }
};


static const conduit_metrics_build_t  ngx_conduit_gateway_build =
    NGX_CONDUIT_BUILD("gateway");


static ngx_conf_enum_t  ngx_conduit_gateway_format[] = {
    { ngx_string("conduit"), CONDUIT_FORMAT_CONDUIT },
    { ngx_string("payload"), CONDUIT_FORMAT_PAYLOAD },
    { ngx_string("json"), CONDUIT_FORMAT_JSON },
    { ngx_string("text"), CONDUIT_FORMAT_TEXT },
    { ngx_string("durable"), CONDUIT_FORMAT_DURABLE },
    { ngx_null_string, 0 }
};


static ngx_conduit_pages_t  ngx_conduit_gateway_pages = {
    &ngx_conduit_gateway_module,
    ngx_string("conduit_gateway"),
    &ngx_conduit_gateway_stats,
    "conduit_gateway_",
    ngx_conduit_gateway_metrics,
    NGX_CONDUIT_GATEWAY_READY,
    ngx_conduit_gateway_page_handler,
    &ngx_conduit_gateway_build,
    ngx_conduit_gateway_channels
};


static ngx_command_t  ngx_conduit_gateway_commands[] = {

    { ngx_string("conduit_gateway"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_gateway_redis_user"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.redis_user),
      NULL },

    { ngx_string("conduit_gateway_redis_password_file"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_conf_password_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_gateway_redis_ssl_trusted_certificate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t,
               common.redis_ssl.trusted_certificate),
      NULL },

    { ngx_string("conduit_gateway_redis_ssl_verify"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.redis_ssl.verify),
      NULL },

    { ngx_string("conduit_gateway_redis_ssl_name"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.redis_ssl.name),
      NULL },

    { ngx_string("conduit_gateway_redis_ssl_certificate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.redis_ssl.certificate),
      NULL },

    { ngx_string("conduit_gateway_redis_ssl_certificate_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t,
               common.redis_ssl.certificate_key),
      NULL },

    { ngx_string("conduit_gateway_connect_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.connect_timeout),
      &ngx_conduit_not_zero },

    { ngx_string("conduit_gateway_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.timeout),
      &ngx_conduit_not_zero },

    { ngx_string("conduit_gateway_org_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.org_id),
      NULL },

    { ngx_string("conduit_gateway_channel_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.channel_id),
      NULL },

    { ngx_string("conduit_gateway_token"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, token),
      NULL },

    { ngx_string("conduit_gateway_cors"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_conduit_gateway_cors_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_gateway_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.key),
      NULL },

    { ngx_string("conduit_gateway_field"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway_field_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, fields.data),
      NULL },

    { ngx_string("conduit_gateway_format"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.format),
      &ngx_conduit_gateway_format },

    { ngx_string("conduit_gateway_end_field"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway_end_field_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, fields.end),
      NULL },

    { ngx_string("conduit_gateway_durable_type"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway_durable_type_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, durable_type),
      NULL },

    { ngx_string("conduit_gateway_durable_wait"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, durable_wait),
      &ngx_conduit_not_zero },

    { ngx_string("conduit_gateway_max_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.max_value),
      &ngx_conduit_not_zero },

    { ngx_string("conduit_gateway_require_claim"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_conduit_gateway_claim_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_gateway_cors_credentials"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, credentials),
      NULL },

    { ngx_string("conduit_gateway_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.auth),
      NULL },

    { ngx_string("conduit_gateway_jwt_key_file"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_conduit_conf_key_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_gateway_jwt_issuer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.issuer),
      NULL },

    { ngx_string("conduit_gateway_jwt_audience"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.audience),
      NULL },

    { ngx_string("conduit_gateway_jwt_cache"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_conf_cache_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.cache_size),
      NULL },

    { ngx_string("conduit_gateway_start"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, start),
      &ngx_conduit_gateway_start },

    { ngx_string("conduit_gateway_wakeup"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_conduit_gateway_wakeup,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_gateway_read_count"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.read_count),
      &ngx_conduit_gateway_read_count_bounds },

    { ngx_string("conduit_gateway_window"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.window),
      NULL },

    { ngx_string("conduit_gateway_buffer_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.buffer_size),
      &ngx_conduit_not_zero },

    { ngx_string("conduit_gateway_retry"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.retry),
      &ngx_conduit_not_zero },

    { ngx_string("conduit_gateway_coalesce"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway_coalesce,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.coalesce),
      NULL },

    { ngx_string("conduit_gateway_gzip"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, gzip),
      NULL },

    { ngx_string("conduit_gateway_keepalive"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.keepalive),
      NULL },

    { ngx_string("conduit_gateway_outage"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.outage),
      NULL },

    { ngx_string("conduit_gateway_drain"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.drain),
      NULL },

    { ngx_string("conduit_gateway_drain_event"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.drain_event),
      &ngx_conduit_gateway_drain_event },

    { ngx_string("conduit_gateway_max_duration"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.max_duration),
      NULL },

    { ngx_string("conduit_gateway_max_wait"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, max_wait),
      NULL },

    { ngx_string("conduit_gateway_expire"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, expire),
      NULL },

    { ngx_string("conduit_gateway_after_end"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.after_end),
      &ngx_conduit_gateway_after_end },

    { ngx_string("conduit_gateway_resume_only"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway_resume_only_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, resume_only),
      NULL },

    { ngx_string("conduit_gateway_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_conduit_status_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_gateway_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_health_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_conduit_gateway_module_ctx = {
    ngx_conduit_gateway_add_variables,     /* preconfiguration */
    ngx_conduit_gateway_init,              /* postconfiguration */

    ngx_conduit_gateway_create_main_conf,  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_conduit_gateway_create_loc_conf,   /* create location configuration */
    ngx_conduit_gateway_merge_loc_conf     /* merge location configuration */
};


ngx_module_t  ngx_conduit_gateway_module = {
    NGX_MODULE_V1,
    &ngx_conduit_gateway_module_ctx,       /* module context */
    ngx_conduit_gateway_commands,          /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_conduit_gateway_init_module,       /* init module */
    ngx_conduit_gateway_init_process,      /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_conduit_gateway_exit_process,      /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


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


static char *
ngx_conduit_gateway(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_gateway_loc_conf_t  *glcf = conf;

    return ngx_conduit_conf_enable(cf, cmd, &glcf->common,
                                   ngx_conduit_gateway_handler);
}


static ngx_int_t
ngx_conduit_gateway_page_handler(ngx_http_request_t *r)
{
    ngx_conduit_gateway_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_conduit_gateway_module);

    return ngx_conduit_status_send(r, glcf->common.page,
                                   &ngx_conduit_gateway_pages);
}


/* "tracking", which sets settings.poll to 0; or "poll" with an optional time */

static char *
ngx_conduit_gateway_wakeup(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_gateway_loc_conf_t  *glcf = conf;

    ngx_str_t   *value;
    ngx_msec_t  *poll;

    poll = &glcf->settings.poll;

    if (*poll != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "tracking") == 0 && cf->args->nelts == 2) {
        *poll = 0;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "poll") != 0) {
        return ngx_conduit_invalid(cf, cmd, "parameter",
                                   ngx_strcmp(value[1].data, "tracking") == 0
                                   ? &value[2] : &value[1],
                                   NGX_CONDUIT_GATEWAY_WAKEUP_FORM);
    }

    *poll = 100;

    if (cf->args->nelts == 3) {
        *poll = ngx_parse_time(&value[2], 0);

        if (*poll == (ngx_msec_t) NGX_ERROR || *poll == 0) {
            return ngx_conduit_invalid(cf, cmd, "time", &value[2],
                                       NGX_CONDUIT_GATEWAY_WAKEUP_FORM);
        }
    }

    return NGX_CONF_OK;
}


/* a time, or "off", which is stored as 0 */

static char *
ngx_conduit_gateway_time(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t   *value;
    ngx_msec_t  *msec;

    msec = (ngx_msec_t *) (p + cmd->offset);
    value = cf->args->elts;

    if (*msec == NGX_CONF_UNSET_MSEC && ngx_strcmp(value[1].data, "off") == 0)
    {
        *msec = 0;
        return NGX_CONF_OK;
    }

    return ngx_conduit_named(cf, cmd, ngx_conf_set_msec_slot(cf, cmd, conf),
                             "time", NGX_CONDUIT_TIME_FORM ", or \"off\"");
}


/* a time up to NGX_CONDUIT_GATEWAY_COALESCE, or "off", which is stored as 0 */

static char *
ngx_conduit_gateway_coalesce(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    char        *rv;
    ngx_str_t   *value;
    ngx_msec_t  *msec;

    msec = (ngx_msec_t *) (p + cmd->offset);
    value = cf->args->elts;

    if (*msec == NGX_CONF_UNSET_MSEC && ngx_strcmp(value[1].data, "off") == 0)
    {
        *msec = 0;
        return NGX_CONF_OK;
    }

    rv = ngx_conf_set_msec_slot(cf, cmd, conf);

    if (rv == NGX_CONF_OK && *msec > NGX_CONDUIT_GATEWAY_COALESCE) {
        rv = "invalid value";
    }

    return ngx_conduit_named(cf, cmd, rv, "time",
                             "a time from \"1ms\" to \"1s\", or \"off\"");
}


static ngx_int_t
ngx_conduit_gateway_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_conduit_gateway_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return ngx_conduit_http_variables(cf, ngx_conduit_gateway_common_conf,
                                      ngx_conduit_gateway_verified);
}


static ngx_int_t
ngx_conduit_gateway_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt              *h;
    ngx_http_core_main_conf_t        *cmcf;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_conduit_gateway_module);

    if (!gmcf->common.used) {
        return NGX_OK;
    }

    if (ngx_conduit_conf_check_handlers(cf, &ngx_conduit_gateway_pages)
        != NGX_OK
        || ngx_conduit_status_init(cf, &ngx_conduit_gateway_pages) != NGX_OK)
    {
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_conduit_gateway_preaccess_handler;

    return NGX_OK;
}


/*
 * Warns of a "worker_shutdown_timeout" that is too short.  It may be written
 * after the http block, so that the value is not known before.  The warning
 * goes to the log of the old cycle, as all messages about the configuration do;
 * the level of the new log might suppress it.
 */

static ngx_int_t
ngx_conduit_gateway_init_module(ngx_cycle_t *cycle)
{
    ngx_core_conf_t                  *ccf;
    ngx_conduit_conf_t               *conf;
    ngx_conduit_gateway_loc_conf_t   *glcf;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    ngx_conduit_status_log(cycle, &ngx_conduit_gateway_pages);

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);
    gmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_conduit_gateway_module);

    if (gmcf == NULL || ccf->shutdown_timeout == 0) {
        return NGX_OK;
    }

    for (conf = gmcf->common.locations; conf != NULL; conf = conf->next) {

        glcf = (ngx_conduit_gateway_loc_conf_t *) conf;

        if (conf->redis == NULL || conf->clcf->noname
            || glcf->settings.drain <= ccf->shutdown_timeout)
        {
            continue;
        }

        ngx_log_error(NGX_LOG_WARN, cycle->old_cycle->log, 0,
                      "\"worker_shutdown_timeout\" of %Mms is less than "
                      "\"conduit_gateway_drain\" of %Mms for "
                      "\"conduit_gateway\" in %s:%ui: clients would be "
                      "disconnected before they are drained; raise the first "
                      "or lower the second",
                      ccf->shutdown_timeout, glcf->settings.drain, conf->file,
                      conf->line);
    }

    return NGX_OK;
}


static void *
ngx_conduit_gateway_create_main_conf(ngx_conf_t *cf)
{
    ngx_pool_cleanup_t               *cln;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    gmcf = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_gateway_main_conf_t));
    if (gmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&gmcf->hubs, cf->pool, 4, sizeof(ngx_conduit_hub_t *))
        != NGX_OK)
    {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_conduit_gateway_close_hubs;
    cln->data = gmcf;

    return gmcf;
}


static void *
ngx_conduit_gateway_create_loc_conf(ngx_conf_t *cf)
{
    ngx_conduit_gateway_loc_conf_t  *glcf;
    ngx_conduit_gateway_settings_t  *s;

    glcf = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_gateway_loc_conf_t));
    if (glcf == NULL) {
        return NULL;
    }

    ngx_conduit_conf_init(&glcf->common, NGX_CONDUIT_GATEWAY,
                          &ngx_conduit_gateway_pages);

    s = &glcf->settings;

    s->poll = NGX_CONF_UNSET_MSEC;
    s->read_count = NGX_CONF_UNSET_UINT;
    s->window = NGX_CONF_UNSET_SIZE;
    s->buffer_size = NGX_CONF_UNSET_SIZE;
    s->retry = NGX_CONF_UNSET_MSEC;
    s->coalesce = NGX_CONF_UNSET_MSEC;
    s->keepalive = NGX_CONF_UNSET_MSEC;
    s->outage = NGX_CONF_UNSET_MSEC;
    s->drain = NGX_CONF_UNSET_MSEC;
    s->max_duration = NGX_CONF_UNSET_MSEC;
    s->after_end = NGX_CONF_UNSET_UINT;
    s->drain_event = NGX_CONF_UNSET_UINT;
    s->format = NGX_CONF_UNSET_UINT;
    s->max_value = NGX_CONF_UNSET_SIZE;

    glcf->expire = NGX_CONF_UNSET;
    glcf->gzip = NGX_CONF_UNSET;
    glcf->max_wait = NGX_CONF_UNSET_MSEC;
    glcf->start = NGX_CONF_UNSET_UINT;
    glcf->token = NGX_CONF_UNSET_PTR;
    glcf->resume_only = NGX_CONF_UNSET_PTR;
    glcf->waived = NGX_CONF_UNSET;
    glcf->origins = NGX_CONF_UNSET_PTR;
    glcf->credentials = NGX_CONF_UNSET;
    glcf->durable_wait = NGX_CONF_UNSET_MSEC;

    return glcf;
}


static char *
ngx_conduit_gateway_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_conduit_gateway_loc_conf_t  *prev = parent;
    ngx_conduit_gateway_loc_conf_t  *conf = child;

    ngx_conduit_fields_t              fields;
    ngx_conduit_gateway_given_t       given;
    ngx_conduit_gateway_settings_t    settings;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    ngx_conduit_gateway_given(conf, &given);
    ngx_conduit_gateway_waive(prev, conf);

    ngx_conf_merge_value(conf->expire, prev->expire, 0);
    ngx_conf_merge_value(conf->gzip, prev->gzip, 0);
    ngx_conf_merge_msec_value(conf->max_wait, prev->max_wait, 60000);
    ngx_conf_merge_uint_value(conf->start, prev->start, CONDUIT_START_OLDEST);
    ngx_conf_merge_ptr_value(conf->token, prev->token, NULL);
    ngx_conf_merge_ptr_value(conf->resume_only, prev->resume_only, NULL);

    ngx_conduit_gateway_merge_type(&prev->durable_type, &conf->durable_type);
    ngx_conf_merge_msec_value(conf->durable_wait, prev->durable_wait, 20000);

    ngx_conduit_gateway_merge_settings(&prev->settings, &conf->settings);
    ngx_conduit_gateway_merge_fields(&prev->fields, &conf->fields);

    if (ngx_conduit_conf_merge(cf, &prev->common, &conf->common)
        != NGX_CONF_OK
        || ngx_conduit_gateway_cors_merge(cf, prev, conf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    /* an "if" or "limit_except" block has the Redis of its location, where
       everything was checked already */

    if (conf->common.redis && conf->common.redis != prev->common.redis
        && ngx_conduit_gateway_check_stream(cf, conf, &given) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->common.redis) {
        ngx_conduit_gateway_effective(conf, &settings, &fields);

        gmcf = ngx_http_conf_get_module_main_conf(cf,
                                                  ngx_conduit_gateway_module);

        conf->hub = ngx_conduit_hub_get(cf, &gmcf->hubs, conf->common.redis,
                                        &settings, &fields);
        if (conf->hub == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static void
ngx_conduit_gateway_merge_settings(ngx_conduit_gateway_settings_t *prev,
    ngx_conduit_gateway_settings_t *conf)
{
    ngx_conf_merge_msec_value(conf->poll, prev->poll, 0);
    ngx_conf_merge_uint_value(conf->read_count, prev->read_count, 100);
    ngx_conf_merge_size_value(conf->window, prev->window, 256 * 1024);
    ngx_conf_merge_size_value(conf->buffer_size, prev->buffer_size, 64 * 1024);
    ngx_conf_merge_msec_value(conf->retry, prev->retry, 500);
    ngx_conf_merge_msec_value(conf->coalesce, prev->coalesce, 0);
    ngx_conf_merge_msec_value(conf->keepalive, prev->keepalive, 15000);
    ngx_conf_merge_msec_value(conf->outage, prev->outage, 10000);
    ngx_conf_merge_msec_value(conf->drain, prev->drain, 5000);
    ngx_conf_merge_msec_value(conf->max_duration, prev->max_duration, 0);
    ngx_conf_merge_uint_value(conf->after_end, prev->after_end,
                              NGX_CONDUIT_AFTER_END_WAIT);
    ngx_conf_merge_uint_value(conf->drain_event, prev->drain_event,
                              NGX_CONDUIT_DRAIN_EVENT_AUTO);
    ngx_conf_merge_uint_value(conf->format, prev->format,
                              CONDUIT_FORMAT_CONDUIT);
    ngx_conf_merge_size_value(conf->max_value, prev->max_value, 1024 * 1024);
}
