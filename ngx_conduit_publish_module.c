/* Copyright (C) Conduit for NGINX authors */

/*
 * The module conduit_publish accepts messages by POST and adds them to Redis
 * streams.  This file has its directives and what NGINX calls to configure it;
 * publish/ngx_conduit_publish_conf.h says what is parsed and checked where.
 * Requests are handled in publish/ngx_conduit_publish_request.c, start and exit
 * of a worker process in publish/ngx_conduit_publish_worker.c.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish_conf.h"
#include "ngx_conduit_publish_worker.h"


/* ms: "conduit_publish_health ready" requires that Redis accepted a check
   within that time; checks are sent once a second, and a reply takes time */
#define NGX_CONDUIT_PUBLISH_READY  2000


static char *ngx_conduit_publish(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_conduit_publish_page_handler(ngx_http_request_t *r);
static ngx_int_t ngx_conduit_publish_init(ngx_conf_t *cf);
static ngx_int_t ngx_conduit_publish_init_module(ngx_cycle_t *cycle);
static void *ngx_conduit_publish_create_main_conf(ngx_conf_t *cf);
static void *ngx_conduit_publish_create_loc_conf(ngx_conf_t *cf);
static char *ngx_conduit_publish_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_conduit_publisher_t *ngx_conduit_publish_publisher(ngx_conf_t *cf,
    ngx_conduit_redis_t *redis);


static ngx_conf_post_t  ngx_conduit_publish_ttl_bounds = {
    ngx_conduit_publish_check_ttl
};

static ngx_conduit_bounds_t  ngx_conduit_publish_max_len_bounds = {
    1, NGX_MAX_INT_T_VALUE
};


/* messages in a batch: limited, because Redis does nothing else while it runs
   the script that stores them */
static ngx_conduit_bounds_t  ngx_conduit_publish_batch_bounds = {
    1, 1000
};


static const conduit_metrics_build_t  ngx_conduit_publish_build =
    NGX_CONDUIT_BUILD("publish");


static ngx_conduit_pages_t  ngx_conduit_publish_pages = {
    &ngx_conduit_publish_module,
    ngx_string("conduit_publish"),
    &ngx_conduit_publish_stats,
    "conduit_publish_",
    ngx_conduit_publish_metrics,
    NGX_CONDUIT_PUBLISH_READY,
    ngx_conduit_publish_page_handler,
    &ngx_conduit_publish_build,
    NULL
};


static ngx_command_t  ngx_conduit_publish_commands[] = {

    { ngx_string("conduit_publish"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_publish,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_redis_user"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.redis_user),
      NULL },

    { ngx_string("conduit_publish_redis_password_file"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_conf_password_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_redis_ssl_trusted_certificate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t,
               common.redis_ssl.trusted_certificate),
      NULL },

    { ngx_string("conduit_publish_redis_ssl_verify"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.redis_ssl.verify),
      NULL },

    { ngx_string("conduit_publish_redis_ssl_name"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.redis_ssl.name),
      NULL },

    { ngx_string("conduit_publish_redis_ssl_certificate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.redis_ssl.certificate),
      NULL },

    { ngx_string("conduit_publish_redis_ssl_certificate_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t,
               common.redis_ssl.certificate_key),
      NULL },

    { ngx_string("conduit_publish_connect_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.connect_timeout),
      &ngx_conduit_not_zero },

    { ngx_string("conduit_publish_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.timeout),
      &ngx_conduit_not_zero },

    { ngx_string("conduit_publish_org_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.org_id),
      NULL },

    { ngx_string("conduit_publish_channel_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.channel_id),
      NULL },

    { ngx_string("conduit_publish_org_claim"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, org_claim),
      NULL },

    { ngx_string("conduit_publish_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.auth),
      NULL },

    { ngx_string("conduit_publish_jwt_secret_file"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_conduit_conf_secret_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_jwt_key_file"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_conduit_conf_key_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_jwt_issuer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.issuer),
      NULL },

    { ngx_string("conduit_publish_jwt_audience"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.audience),
      NULL },

    { ngx_string("conduit_publish_jwt_cache"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_conf_cache_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.cache_size),
      NULL },

    { ngx_string("conduit_publish_max_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, max_size),
      &ngx_conduit_not_zero },

    { ngx_string("conduit_publish_rate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_publish_rate_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_max_len"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, max_len),
      &ngx_conduit_publish_max_len_bounds },

    { ngx_string("conduit_publish_batch"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, batch),
      &ngx_conduit_publish_batch_bounds },

    { ngx_string("conduit_publish_idempotency"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_publish_idempotency_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_idle_ttl"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, idle_ttl),
      &ngx_conduit_publish_ttl_bounds },

    { ngx_string("conduit_publish_end_ttl"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, end_ttl),
      &ngx_conduit_publish_ttl_bounds },

    { ngx_string("conduit_publish_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_conduit_status_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_health_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_conduit_publish_module_ctx = {
    ngx_conduit_publish_add_variables,     /* preconfiguration */
    ngx_conduit_publish_init,              /* postconfiguration */

    ngx_conduit_publish_create_main_conf,  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_conduit_publish_create_loc_conf,   /* create location configuration */
    ngx_conduit_publish_merge_loc_conf     /* merge location configuration */
};


ngx_module_t  ngx_conduit_publish_module = {
    NGX_MODULE_V1,
    &ngx_conduit_publish_module_ctx,       /* module context */
    ngx_conduit_publish_commands,          /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_conduit_publish_init_module,       /* init module */
    ngx_conduit_publish_init_process,      /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_conduit_publish_exit_process,      /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_conduit_publish(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_publish_loc_conf_t  *plcf = conf;

    return ngx_conduit_conf_enable(cf, cmd, &plcf->common,
                                   ngx_conduit_publish_handler);
}


static ngx_int_t
ngx_conduit_publish_page_handler(ngx_http_request_t *r)
{
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    return ngx_conduit_status_send(r, plcf->common.page,
                                   &ngx_conduit_publish_pages);
}


static ngx_int_t
ngx_conduit_publish_init(ngx_conf_t *cf)
{
    if (ngx_conduit_conf_check_handlers(cf, &ngx_conduit_publish_pages)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_conduit_status_init(cf, &ngx_conduit_publish_pages);
}


static ngx_int_t
ngx_conduit_publish_init_module(ngx_cycle_t *cycle)
{
    ngx_conduit_status_log(cycle, &ngx_conduit_publish_pages);

    return NGX_OK;
}


static void *
ngx_conduit_publish_create_main_conf(ngx_conf_t *cf)
{
    ngx_pool_cleanup_t               *cln;
    ngx_conduit_publish_main_conf_t  *pmcf;

    pmcf = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_publish_main_conf_t));
    if (pmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&pmcf->publishers, cf->pool, 4,
                       sizeof(ngx_conduit_publisher_t *))
        != NGX_OK)
    {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_conduit_publish_close_publishers;
    cln->data = pmcf;

    return pmcf;
}


static void *
ngx_conduit_publish_create_loc_conf(ngx_conf_t *cf)
{
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_publish_loc_conf_t));
    if (plcf == NULL) {
        return NULL;
    }

    ngx_conduit_conf_init(&plcf->common, NGX_CONDUIT_PUBLISH,
                          &ngx_conduit_publish_pages);

    ngx_conduit_publish_conf_unset(plcf);

    return plcf;
}


static char *
ngx_conduit_publish_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_conduit_publish_loc_conf_t  *prev = parent;
    ngx_conduit_publish_loc_conf_t  *conf = child;

    ngx_conduit_publish_conf_merge(prev, conf);

    if (ngx_conduit_conf_merge(cf, &prev->common, &conf->common)
        != NGX_CONF_OK
        || ngx_conduit_publish_check_claim(cf, conf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->common.redis != NULL
        && conf->common.redis != prev->common.redis)
    {
        ngx_conduit_publish_check_size(cf, conf);
    }

    if (conf->common.redis) {
        conf->publisher = ngx_conduit_publish_publisher(cf,
                                                        conf->common.redis);
        if (conf->publisher == NULL) {
            return NGX_CONF_ERROR;
        }

        conf->limited = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_http_log_t));
        if (conf->limited == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* returns the publisher shared by all locations with the same Redis settings */

static ngx_conduit_publisher_t *
ngx_conduit_publish_publisher(ngx_conf_t *cf, ngx_conduit_redis_t *redis)
{
    ngx_uint_t                        i;
    ngx_conduit_publisher_t          *pub, **pubs;
    ngx_conduit_publish_main_conf_t  *pmcf;

    pmcf = ngx_http_conf_get_module_main_conf(cf, ngx_conduit_publish_module);

    pubs = pmcf->publishers.elts;

    for (i = 0; i < pmcf->publishers.nelts; i++) {
        if (ngx_conduit_redis_equal(pubs[i]->redis, redis)) {
            return pubs[i];
        }
    }

    pub = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_publisher_t));
    if (pub == NULL) {
        return NULL;
    }

    pub->redis = redis;

    pubs = ngx_array_push(&pmcf->publishers);
    if (pubs == NULL) {
        return NULL;
    }

    *pubs = pub;

    return pub;
}
