/* Copyright (C) Conduit for NGINX authors */

/*
 * The module conduit_gateway sends the entries of Redis streams as Server-Sent
 * Events.  This file has its directives and what NGINX calls to configure it;
 * gateway/ngx_conduit_gateway_conf.h says what is parsed and checked where.
 * Requests are handled in gateway/ngx_conduit_gateway_request.c, start and exit
 * of a worker process in gateway/ngx_conduit_gateway_worker.c.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_format.h"
#include "ngx_conduit_gateway_channels.h"
#include "ngx_conduit_gateway_conf.h"
#include "ngx_conduit_gateway_cors.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_gateway_token.h"
#include "ngx_conduit_gateway_worker.h"


/* ms: "conduit_gateway_health ready" requires that the last canary of each hub
   came back within that time */
#define NGX_CONDUIT_GATEWAY_READY  5000


static char *ngx_conduit_gateway(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_conduit_gateway_page_handler(ngx_http_request_t *r);
static ngx_int_t ngx_conduit_gateway_init(ngx_conf_t *cf);
static ngx_int_t ngx_conduit_gateway_init_module(ngx_cycle_t *cycle);
static void *ngx_conduit_gateway_create_main_conf(ngx_conf_t *cf);
static void *ngx_conduit_gateway_create_loc_conf(ngx_conf_t *cf);
static char *ngx_conduit_gateway_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);


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
      ngx_conduit_gateway_wakeup_slot,
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
      ngx_conduit_gateway_coalesce_slot,
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
      ngx_conduit_gateway_time_slot,
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
      ngx_conduit_gateway_time_slot,
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


static ngx_int_t
ngx_conduit_gateway_init(ngx_conf_t *cf)
{
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

    return ngx_conduit_gateway_token_init(cf);
}


static ngx_int_t
ngx_conduit_gateway_init_module(ngx_cycle_t *cycle)
{
    ngx_conduit_status_log(cycle, &ngx_conduit_gateway_pages);
    ngx_conduit_gateway_check_drain(cycle);

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

    glcf = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_gateway_loc_conf_t));
    if (glcf == NULL) {
        return NULL;
    }

    ngx_conduit_conf_init(&glcf->common, NGX_CONDUIT_GATEWAY,
                          &ngx_conduit_gateway_pages);

    ngx_conduit_gateway_conf_unset(glcf);

    return glcf;
}


static char *
ngx_conduit_gateway_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_conduit_gateway_loc_conf_t  *prev = parent;
    ngx_conduit_gateway_loc_conf_t  *conf = child;

    ngx_conduit_gateway_given_t  given;

    ngx_conduit_gateway_given(conf, &given);
    ngx_conduit_gateway_conf_merge(prev, conf);

    if (ngx_conduit_conf_merge(cf, &prev->common, &conf->common)
        != NGX_CONF_OK
        || ngx_conduit_gateway_cors_merge(cf, prev, conf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    /* an "if" or "limit_except" block inherits the Redis of its location, which
       was checked already */

    if (conf->common.redis && conf->common.redis != prev->common.redis
        && ngx_conduit_gateway_check_stream(cf, conf, &given) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    return conf->common.redis ? ngx_conduit_gateway_set_hub(cf, conf)
                              : NGX_CONF_OK;
}
