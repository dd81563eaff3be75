/*
 * conduit_gateway: streams Redis entries as Server-Sent Events.  The
 * directives, the variables, and what a worker keeps; the way of a request is
 * in gateway/ngx_conduit_gateway_request.c.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include <sys/eventfd.h>

#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_gateway_request.h"
#include "ngx_conduit_status.h"
#include "ngx_conduit_time.h"


/* ms: how old the last canary that came back may be */
#define NGX_CONDUIT_GATEWAY_READY  5000


typedef struct {
    ngx_array_t                      hubs;     /* ngx_conduit_hub_t * */
    ngx_shm_zone_t                  *zone;     /* NULL: not in use */
    ngx_uint_t                       used;     /* some location is of the
                                                  module */
    ngx_uint_t                       watched;  /* and one tells whether Redis
                                                  works */

    /* of a worker: NGINX closes it, being idle, when the worker is to quit */
    ngx_connection_t                *watcher;
} ngx_conduit_gateway_main_conf_t;


static ngx_conduit_conf_t *ngx_conduit_gateway_common_conf(
    ngx_http_request_t *r);
static ngx_int_t ngx_conduit_gateway_number_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_conduit_gateway_close_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static char *ngx_conduit_gateway(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_conduit_gateway_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_conduit_gateway_health(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_conduit_gateway_page_handler(ngx_http_request_t *r);
static char *ngx_conduit_gateway_wakeup(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_conduit_gateway_time(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_conduit_gateway_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_conduit_gateway_init(ngx_conf_t *cf);
static void *ngx_conduit_gateway_create_main_conf(ngx_conf_t *cf);
static void *ngx_conduit_gateway_create_loc_conf(ngx_conf_t *cf);
static char *ngx_conduit_gateway_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_conduit_gateway_merge_settings(ngx_conf_t *cf,
    ngx_conduit_gateway_settings_t *prev,
    ngx_conduit_gateway_settings_t *conf);
static ngx_int_t ngx_conduit_gateway_init_process(ngx_cycle_t *cycle);
static ngx_int_t ngx_conduit_gateway_watch(
    ngx_conduit_gateway_main_conf_t *gmcf);
static void ngx_conduit_gateway_proved(void);
static void ngx_conduit_gateway_watcher_handler(ngx_event_t *ev);
static void ngx_conduit_gateway_close_hubs(void *data);
static void ngx_conduit_gateway_exit_process(ngx_cycle_t *cycle);


static ngx_conf_num_bounds_t  ngx_conduit_gateway_read_count_bounds = {
    ngx_conf_check_num_bounds, 1, 10000
};


static ngx_conduit_pages_t  ngx_conduit_gateway_pages = {
    &ngx_conduit_gateway_stats,
    "conduit_gateway_",
    ngx_conduit_gateway_metrics,
    NGX_CONDUIT_GATEWAY_READY
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
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.connect_timeout),
      &ngx_conduit_conf_not_zero },

    { ngx_string("conduit_gateway_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, common.timeout),
      &ngx_conduit_conf_not_zero },

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

    { ngx_string("conduit_gateway_wakeup"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_conduit_gateway_wakeup,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_gateway_read_count"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.read_count),
      &ngx_conduit_gateway_read_count_bounds },

    { ngx_string("conduit_gateway_window"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.window),
      NULL },

    { ngx_string("conduit_gateway_buffer_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.buffer_size),
      NULL },

    { ngx_string("conduit_gateway_retry"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.retry),
      &ngx_conduit_conf_not_zero },

    { ngx_string("conduit_gateway_keepalive"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.keepalive),
      NULL },

    { ngx_string("conduit_gateway_outage"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.outage),
      NULL },

    { ngx_string("conduit_gateway_drain"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.drain),
      NULL },

    { ngx_string("conduit_gateway_max_duration"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, settings.max_duration),
      NULL },

    { ngx_string("conduit_gateway_expire"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_gateway_loc_conf_t, expire),
      NULL },

    { ngx_string("conduit_gateway_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_conduit_gateway_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_gateway_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_gateway_health,
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
    NULL,                                  /* init module */
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
    ngx_conduit_gateway_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_gateway_module);
    sub = ctx ? &ctx->sub : NULL;

    if (sub == NULL || sub->request == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    switch (data) {

    case 0:
        n = sub->events;
        break;

    case 1:
        n = sub->bytes;
        break;

    default:
        n = sub->losses;
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

    if (sub == NULL || sub->request == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = (u_char *) ngx_conduit_close_name(sub->close);
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

    ngx_conduit_gateway_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_conduit_gateway_module);
    gmcf->used = 1;

    return ngx_conduit_conf_enable(cf, &glcf->common,
                                   ngx_conduit_gateway_handler);
}


static char *
ngx_conduit_gateway_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_gateway_loc_conf_t  *glcf = conf;

    ngx_conduit_gateway_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_conduit_gateway_module);
    gmcf->used = 1;

    return ngx_conduit_status_enable(cf, &glcf->common.page,
                                     ngx_conduit_gateway_page_handler);
}


static char *
ngx_conduit_gateway_health(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_gateway_loc_conf_t  *glcf = conf;

    char                             *rv;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_conduit_gateway_module);
    gmcf->used = 1;

    rv = ngx_conduit_health_enable(cf, &glcf->common.page,
                                   ngx_conduit_gateway_page_handler);

    if (glcf->common.page == NGX_CONDUIT_PAGE_READY) {
        gmcf->watched = 1;
    }

    return rv;
}


static ngx_int_t
ngx_conduit_gateway_page_handler(ngx_http_request_t *r)
{
    ngx_conduit_gateway_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_conduit_gateway_module);

    return ngx_conduit_status_send(r, glcf->common.page,
                                   &ngx_conduit_gateway_pages);
}


/* "tracking", "poll", "poll 100ms" */

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
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                           cf->args->nelts == 2 ? &value[1] : &value[2]);
        return NGX_CONF_ERROR;
    }

    *poll = 100;

    if (cf->args->nelts == 3) {
        *poll = ngx_parse_time(&value[2], 0);

        if (*poll == (ngx_msec_t) NGX_ERROR || *poll == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid time \"%V\"",
                               &value[2]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* a time, or "off" */

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

    return ngx_conf_set_msec_slot(cf, cmd, conf);
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

    return ngx_conduit_http_variables(cf, ngx_conduit_gateway_common_conf);
}


static ngx_int_t
ngx_conduit_gateway_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt              *h;
    ngx_http_core_main_conf_t        *cmcf;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    static ngx_str_t  name = ngx_string("conduit_gateway");

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_conduit_gateway_module);

    if (!gmcf->used) {
        return NGX_OK;
    }

    gmcf->zone = ngx_conduit_stats_zone(cf, &name,
                                        &ngx_conduit_gateway_module);
    if (gmcf->zone == NULL) {
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
                          &ngx_conduit_gateway_stats);

    s = &glcf->settings;

    s->poll = NGX_CONF_UNSET_MSEC;
    s->read_count = NGX_CONF_UNSET_UINT;
    s->window = NGX_CONF_UNSET_SIZE;
    s->buffer_size = NGX_CONF_UNSET_SIZE;
    s->retry = NGX_CONF_UNSET_MSEC;
    s->keepalive = NGX_CONF_UNSET_MSEC;
    s->outage = NGX_CONF_UNSET_MSEC;
    s->drain = NGX_CONF_UNSET_MSEC;
    s->max_duration = NGX_CONF_UNSET_MSEC;

    glcf->expire = NGX_CONF_UNSET;

    return glcf;
}


static char *
ngx_conduit_gateway_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_conduit_gateway_loc_conf_t  *prev = parent;
    ngx_conduit_gateway_loc_conf_t  *conf = child;

    ngx_conduit_gateway_main_conf_t  *gmcf;

    ngx_conf_merge_value(conf->expire, prev->expire, 0);

    if (ngx_conduit_gateway_merge_settings(cf, &prev->settings,
                                           &conf->settings)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (ngx_conduit_conf_merge(cf, &prev->common, &conf->common)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->common.redis) {
        gmcf = ngx_http_conf_get_module_main_conf(cf,
                                                  ngx_conduit_gateway_module);

        conf->hub = ngx_conduit_hub_get(cf, &gmcf->hubs, conf->common.redis,
                                        &conf->settings);
        if (conf->hub == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_conduit_gateway_merge_settings(ngx_conf_t *cf,
    ngx_conduit_gateway_settings_t *prev,
    ngx_conduit_gateway_settings_t *conf)
{
    ngx_conf_merge_msec_value(conf->poll, prev->poll, 0);
    ngx_conf_merge_uint_value(conf->read_count, prev->read_count, 100);
    ngx_conf_merge_size_value(conf->window, prev->window, 256 * 1024);
    ngx_conf_merge_size_value(conf->buffer_size, prev->buffer_size, 64 * 1024);
    ngx_conf_merge_msec_value(conf->retry, prev->retry, 500);
    ngx_conf_merge_msec_value(conf->keepalive, prev->keepalive, 15000);
    ngx_conf_merge_msec_value(conf->outage, prev->outage, 10000);
    ngx_conf_merge_msec_value(conf->drain, prev->drain, 5000);
    ngx_conf_merge_msec_value(conf->max_duration, prev->max_duration, 0);

    if (conf->buffer_size == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"conduit_gateway_buffer_size\" must not be zero");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_conduit_gateway_init_process(ngx_cycle_t *cycle)
{
    ngx_fd_t                          fd;
    ngx_connection_t                 *c;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    /* cache processes come here, too */

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    gmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_conduit_gateway_module);

    if (gmcf == NULL || !gmcf->used) {
        return NGX_OK;
    }

    ngx_conduit_stats_open(&ngx_conduit_gateway_stats, gmcf->zone);

    if (ngx_conduit_gateway_watch(gmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

    c = (fd == -1) ? NULL : ngx_get_connection(fd, cycle->log);

    if (c == NULL) {

        /* the worker serves all the same, but cuts its clients when it quits */

        ngx_log_error(NGX_LOG_ERR, cycle->log, ngx_errno,
                      "conduit: no notice of the end of the worker to be had");

        if (fd != -1) {
            (void) close(fd);
        }

        return NGX_OK;
    }

    c->data = gmcf;
    c->log = cycle->log;
    c->idle = 1;
    c->read->log = cycle->log;
    c->read->handler = ngx_conduit_gateway_watcher_handler;
    c->write->log = cycle->log;

    gmcf->watcher = c;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_gateway_watch(ngx_conduit_gateway_main_conf_t *gmcf)
{
    ngx_uint_t           i;
    ngx_conduit_hub_t  **hubs;

    hubs = gmcf->hubs.elts;

    for (i = 0; gmcf->watched && i < gmcf->hubs.nelts; i++) {
        if (ngx_conduit_canary_start(hubs[i], ngx_conduit_gateway_proved)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* the worker is as ready as the deployment that showed it least lately */

static void
ngx_conduit_gateway_proved(void)
{
    ngx_uint_t                        i;
    ngx_msec_t                        ready;
    ngx_conduit_hub_t               **hubs;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    gmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_conduit_gateway_module);
    hubs = gmcf->hubs.elts;
    ready = ngx_conduit_moment(ngx_current_msec);

    for (i = 0; i < gmcf->hubs.nelts; i++) {

        if (hubs[i]->sick) {
            ready = 0;
            break;
        }

        if (hubs[i]->ready == 0) {
            return;
        }

        if ((ngx_msec_int_t) (hubs[i]->ready - ready) < 0) {
            ready = hubs[i]->ready;
        }
    }

    ngx_conduit_gateway_stats.slot->ready = ready;
}


/* NGINX closes idle connections when the worker is to quit: the notice */

static void
ngx_conduit_gateway_watcher_handler(ngx_event_t *ev)
{
    ngx_uint_t                        i;
    ngx_connection_t                 *c;
    ngx_conduit_hub_t               **hubs;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    c = ev->data;
    gmcf = c->data;

    gmcf->watcher = NULL;
    ngx_close_connection(c);

    ngx_conduit_gateway_stats.slot->leaving = 1;

    hubs = gmcf->hubs.elts;

    for (i = 0; i < gmcf->hubs.nelts; i++) {
        ngx_conduit_hub_drain(hubs[i]);
    }
}


static void
ngx_conduit_gateway_close_hubs(void *data)
{
    ngx_uint_t                        i;
    ngx_conduit_hub_t               **hubs;
    ngx_conduit_gateway_main_conf_t  *gmcf = data;

    if (gmcf->watcher != NULL) {
        ngx_close_connection(gmcf->watcher);
        gmcf->watcher = NULL;
    }

    hubs = gmcf->hubs.elts;

    for (i = 0; i < gmcf->hubs.nelts; i++) {
        ngx_conduit_hub_close(hubs[i]);
    }
}


static void
ngx_conduit_gateway_exit_process(ngx_cycle_t *cycle)
{
    ngx_conduit_gateway_main_conf_t  *gmcf;

    gmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_conduit_gateway_module);

    if (gmcf != NULL && gmcf->used) {
        ngx_conduit_gateway_close_hubs(gmcf);
        ngx_conduit_stats_close(&ngx_conduit_gateway_stats);
    }
}
