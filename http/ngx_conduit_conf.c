/* Copyright (C) Conduit for NGINX authors */

/*
 * The part of a location's configuration that both modules have in common:
 * defaults, inheritance and checks.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_conf.h"


static void ngx_conduit_conf_merge_location(ngx_conf_t *cf,
    ngx_conduit_conf_t *prev, ngx_conduit_conf_t *conf);
static char *ngx_conduit_conf_check(ngx_conf_t *cf, ngx_conduit_conf_t *conf);
static void ngx_conduit_conf_warn(ngx_conf_t *cf, ngx_conduit_conf_t *conf,
    ngx_uint_t tls);
static void ngx_conduit_conf_warn_claim(ngx_conf_t *cf,
    ngx_conduit_conf_t *conf, ngx_str_t *value, const char *claim);


static const char  *ngx_conduit_names[] = { "publish", "gateway" };

/* default "conduit_X_jwt_cache", by ngx_conduit_kind_e: there are few
   publishers, and each uses its token for long */
static const ngx_uint_t  ngx_conduit_cache_sizes[] = { 1000, 10000 };

static const char  *ngx_conduit_keys[] = {
    "\"conduit_publish_jwt_secret_file\" or \"conduit_publish_jwt_key_file\"",
    "\"conduit_gateway_jwt_key_file\""
};


void
ngx_conduit_conf_init(ngx_conduit_conf_t *conf, ngx_conduit_kind_e kind,
    ngx_conduit_pages_t *pages)
{
    /*
     * set by ngx_pcalloc():
     *
     *     conf->directive = NULL;
     *     conf->handler = NULL;
     *     conf->file = NULL;
     *     conf->line = 0;
     *     conf->redis = NULL;
     *     conf->page = NGX_CONDUIT_PAGE_NONE;
     *     conf->clcf = NULL;
     *     conf->next = NULL;
     *     conf->redis_user = { 0, NULL };
     *     conf->redis_password = { 0, NULL };
     *     conf->keys = NULL;
     *     conf->issuer = { 0, NULL };
     *     conf->audience = { 0, NULL };
     *     conf->cache = NULL;
     */

    conf->kind = kind;
    conf->pages = pages;
    conf->connect_timeout = NGX_CONF_UNSET_MSEC;
    conf->timeout = NGX_CONF_UNSET_MSEC;
    conf->org_id = NGX_CONF_UNSET_PTR;
    conf->channel_id = NGX_CONF_UNSET_PTR;
    conf->key = NGX_CONF_UNSET_PTR;
    conf->claims = NGX_CONF_UNSET_PTR;
    conf->auth = NGX_CONF_UNSET;
    conf->cache_size = NGX_CONF_UNSET_UINT;

    ngx_conduit_tls_conf_init(&conf->redis_ssl);
}


char *
ngx_conduit_conf_merge(ngx_conf_t *cf, ngx_conduit_conf_t *prev,
    ngx_conduit_conf_t *conf)
{
    ngx_uint_t  tls;

    tls = ngx_conduit_tls_conf_given(&conf->redis_ssl);

    ngx_conf_merge_str_value(conf->redis_user, prev->redis_user, "");
    ngx_conf_merge_str_value(conf->redis_password, prev->redis_password, "");
    ngx_conf_merge_msec_value(conf->connect_timeout, prev->connect_timeout,
                              2000);
    ngx_conf_merge_msec_value(conf->timeout, prev->timeout, 4000);
    ngx_conf_merge_ptr_value(conf->org_id, prev->org_id, NULL);
    ngx_conf_merge_ptr_value(conf->channel_id, prev->channel_id, NULL);
    ngx_conf_merge_ptr_value(conf->key, prev->key, NULL);
    ngx_conf_merge_ptr_value(conf->claims, prev->claims, NULL);
    ngx_conf_merge_value(conf->auth, prev->auth, 1);
    ngx_conf_merge_uint_value(conf->cache_size, prev->cache_size,
                              ngx_conduit_cache_sizes[conf->kind]);

    /* no default: data remains NULL, which ngx_conduit_conf_warn() reports */

    if (conf->issuer.data == NULL) {
        conf->issuer = prev->issuer;
    }

    if (conf->audience.data == NULL) {
        conf->audience = prev->audience;
    }

    ngx_conduit_tls_conf_merge(&prev->redis_ssl, &conf->redis_ssl);

    if (conf->keys == NULL) {
        conf->keys = prev->keys;
    }

    ngx_conduit_conf_merge_location(cf, prev, conf);

    if (ngx_conduit_conf_set_cache(cf, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    /* an "if" or "limit_except" block has the conf->redis of its location,
       where everything was checked already */

    if (conf->redis == NULL || conf->redis == prev->redis) {
        return NGX_CONF_OK;
    }

    if (ngx_conduit_conf_check(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    ngx_conduit_conf_warn(cf, conf, tls);

    return NGX_CONF_OK;
}


/*
 * NGINX makes a location configuration for each "if" and "limit_except" block.
 * In an "if" block, the content handler of the surrounding location is still
 * called, with the configuration of the block.  A "limit_except" block has no
 * content handler unless it is set again, which is done here.
 */

static void
ngx_conduit_conf_merge_location(ngx_conf_t *cf, ngx_conduit_conf_t *prev,
    ngx_conduit_conf_t *conf)
{
    ngx_conduit_main_conf_t   *main_conf;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->noname && conf->directive == NULL) {
        conf->directive = prev->directive;
        conf->handler = prev->handler;
        conf->file = prev->file;
        conf->line = prev->line;
        conf->redis = prev->redis;
        conf->page = prev->page;
    }

    if (conf->directive == NULL) {
        return;
    }

    if (clcf->lmt_excpt && clcf->handler == NULL) {
        clcf->handler = conf->handler;
    }

    main_conf = ngx_conduit_main_conf(cf, conf->pages);

    conf->clcf = clcf;
    conf->next = main_conf->locations;
    main_conf->locations = conf;
}


ngx_int_t
ngx_conduit_conf_check_handlers(ngx_conf_t *cf, ngx_conduit_pages_t *pages)
{
    ngx_conduit_conf_t        *conf;
    ngx_http_core_loc_conf_t  *clcf;

    conf = ngx_conduit_main_conf(cf, pages)->locations;

    for ( /* void */ ; conf != NULL; conf = conf->next) {

        clcf = conf->clcf;

        if (clcf->handler == conf->handler) {
            continue;
        }

        /* an "if" block without a handler uses that of its location */

        if (clcf->handler == NULL && clcf->noname && !clcf->lmt_excpt) {
            continue;
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "%sthe location of \"%V\" in %s:%ui has another content "
                      "handler",
                      clcf->lmt_excpt ? "a \"limit_except\" block in "
                      : clcf->noname ? "an \"if\" block in " : "",
                      conf->directive, conf->file, conf->line);

        return NGX_ERROR;
    }

    return NGX_OK;
}


static char *
ngx_conduit_conf_check(ngx_conf_t *cf, ngx_conduit_conf_t *conf)
{
    const char           *name;
    ngx_conduit_redis_t  *redis;

    name = ngx_conduit_names[conf->kind];
    redis = conf->redis;

    redis->connect_timeout = conf->connect_timeout;
    redis->timeout = conf->timeout;

    if (redis->user.len == 0) {
        redis->user = conf->redis_user;
    }

    if (redis->password.len == 0) {
        redis->password = conf->redis_password;
    }

    if (redis->user.len && redis->password.len == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "a Redis user without a password in \"conduit_%s\", "
                      "set \"conduit_%s_redis_password_file\" in %s:%ui",
                      name, name, conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (redis->secure) {
        redis->tls = ngx_conduit_tls_get(cf, &conf->redis_ssl, conf->file,
                                         conf->line);
        if (redis->tls == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (conf->auth && conf->keys == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "no %s is defined for \"conduit_%s\" in %s:%ui; "
                      "define one, or write \"conduit_%s_auth off\" to accept "
                      "requests without a token",
                      ngx_conduit_keys[conf->kind], name,
                      conf->file, conf->line, name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* warns of settings that work but are probably not intended; tls: the location
   itself has "conduit_X_redis_ssl_..." directives */

static void
ngx_conduit_conf_warn(ngx_conf_t *cf, ngx_conduit_conf_t *conf,
    ngx_uint_t tls)
{
    const char  *name;

    name = ngx_conduit_names[conf->kind];

    if (conf->auth) {
        ngx_conduit_conf_warn_claim(cf, conf, &conf->issuer, "issuer");
        ngx_conduit_conf_warn_claim(cf, conf, &conf->audience, "audience");
    }

    if (tls && !conf->redis->secure) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"conduit_%s_redis_ssl_...\" directives are ignored for "
                      "\"conduit_%s\" in %s:%ui: the scheme of its URL is not "
                      "\"rediss\"; change the scheme or remove the directives",
                      name, name, conf->file, conf->line);
    }
}


static void
ngx_conduit_conf_warn_claim(ngx_conf_t *cf, ngx_conduit_conf_t *conf,
    ngx_str_t *value, const char *claim)
{
    const char  *name;

    if (value->data != NULL) {
        return;
    }

    name = ngx_conduit_names[conf->kind];

    ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                  "no \"conduit_%s_jwt_%s\" is defined for \"conduit_%s\" in "
                  "%s:%ui: tokens with any %s are accepted; if that is meant, "
                  "write conduit_%s_jwt_%s \"\"",
                  name, claim, name, conf->file, conf->line, claim, name,
                  claim);
}


char *
ngx_conduit_conf_set_handler(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_conduit_conf_t *conf, ngx_http_handler_pt handler)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler != NULL) {
        return "is in a location that has another content handler";
    }

    clcf->handler = handler;

    conf->directive = &cmd->name;
    conf->handler = handler;
    conf->file = cf->conf_file->file.name.data;
    conf->line = cf->conf_file->line;

    ngx_conduit_main_conf(cf, conf->pages)->used = 1;

    return NGX_CONF_OK;
}


char *
ngx_conduit_conf_enable(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_conduit_conf_t *conf, ngx_http_handler_pt handler)
{
    char       *rv;
    ngx_str_t  *value;

    if (conf->redis) {
        return "is duplicate";
    }

    rv = ngx_conduit_conf_set_handler(cf, cmd, conf, handler);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    value = cf->args->elts;

    conf->redis = ngx_conduit_redis_create(cf, &value[1]);
    if (conf->redis == NULL) {
        return NGX_CONF_ERROR;
    }

    conf->redis->stats = conf->pages->stats;

    return NGX_CONF_OK;
}
