/* Copyright (C) Conduit for NGINX authors */

/*
 * Verifies the token of a request by the settings of its location, with a cache
 * of tokens that were verified before.
 *
 * A cache belongs to the keys, the issuer and the audience that its tokens were
 * verified with.  Caches are part of the configuration: after a reload they are
 * empty, even if the keys are the same.  Each worker has its own.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_conf.h"


#define NGX_CONDUIT_CACHE_MAX  1000000


/* data of ngx_conduit_conf_take_claim(): where it stores values of claims */
typedef struct {
    ngx_pool_t  *pool;
    ngx_str_t   *values;
} ngx_conduit_conf_taker_t;


static ngx_conduit_cache_t *ngx_conduit_cache_create(ngx_conf_t *cf,
    ngx_conduit_conf_t *conf);
static void ngx_conduit_cache_cleanup(void *data);
static conduit_jwt_cache_t *ngx_conduit_cache_table(
    ngx_conduit_cache_t *cache);
static void ngx_conduit_conf_policy(ngx_conduit_conf_t *conf,
    ngx_uint_t need_org, conduit_jwt_policy_t *policy);
static ngx_int_t ngx_conduit_conf_claims(ngx_http_request_t *r,
    ngx_conduit_conf_t *conf, conduit_jwt_policy_t *policy,
    ngx_conduit_conf_taker_t *taker);
static int ngx_conduit_conf_take_claim(void *data, size_t i, const char *text,
    size_t len);
static ngx_uint_t ngx_conduit_conf_equal(ngx_str_t *a, ngx_str_t *b);


/* a number of tokens, or "off" */

char *
ngx_conduit_conf_cache_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    char       *rv;
    ngx_int_t  *size;
    ngx_str_t  *value;

    size = (ngx_int_t *) (p + cmd->offset);
    value = cf->args->elts;

    if (*size == NGX_CONF_UNSET && ngx_strcmp(value[1].data, "off") == 0) {
        *size = 0;
        return NGX_CONF_OK;
    }

    rv = ngx_conf_set_num_slot(cf, cmd, conf);

    if (rv == NGX_CONF_OK && (*size < 1 || *size > NGX_CONDUIT_CACHE_MAX)) {
        rv = "invalid number";
    }

    return ngx_conduit_named(cf, cmd, rv, "number",
                             "a number from 1 to 1000000, or \"off\"");
}


ngx_int_t
ngx_conduit_conf_set_cache(ngx_conf_t *cf, ngx_conduit_conf_t *conf)
{
    ngx_conduit_cache_t      *cache;
    ngx_conduit_main_conf_t  *main_conf;

    /* values of required claims are not kept in a cache, so that tokens are
       verified in full, see conduit_jwt_cache_verify() */

    if (conf->redis == NULL || !conf->auth || conf->cache_size == 0
        || conf->claims != NULL)
    {
        return NGX_OK;
    }

    main_conf = ngx_conduit_main_conf(cf, conf->pages);

    for (cache = main_conf->caches; cache != NULL; cache = cache->next) {

        if (cache->keys == conf->keys && cache->size == conf->cache_size
            && ngx_conduit_conf_equal(&cache->issuer, &conf->issuer)
            && ngx_conduit_conf_equal(&cache->audience, &conf->audience))
        {
            conf->cache = cache;
            return NGX_OK;
        }
    }

    conf->cache = ngx_conduit_cache_create(cf, conf);
    if (conf->cache == NULL) {
        return NGX_ERROR;
    }

    conf->cache->next = main_conf->caches;
    main_conf->caches = conf->cache;

    return NGX_OK;
}


static ngx_conduit_cache_t *
ngx_conduit_cache_create(ngx_conf_t *cf, ngx_conduit_conf_t *conf)
{
    ngx_conduit_cache_t  *cache;
    ngx_pool_cleanup_t   *cln;

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_conduit_cache_t));
    if (cln == NULL) {
        return NULL;
    }

    cache = cln->data;
    ngx_memzero(cache, sizeof(ngx_conduit_cache_t));

    cache->keys = conf->keys;
    cache->issuer = conf->issuer;
    cache->audience = conf->audience;
    cache->size = conf->cache_size;

    cln->handler = ngx_conduit_cache_cleanup;

    return cache;
}


static void
ngx_conduit_cache_cleanup(void *data)
{
    ngx_conduit_cache_t  *cache = data;

    conduit_jwt_cache_free(cache->table);
    cache->table = NULL;
}


/*
 * Returns the table of this worker, created for its first token.  When memory
 * is out, returns NULL: the token is verified in full, and the next token tries
 * to create the table again.
 */

static conduit_jwt_cache_t *
ngx_conduit_cache_table(ngx_conduit_cache_t *cache)
{
    if (cache == NULL) {
        return NULL;
    }

    if (cache->table == NULL) {
        cache->table = conduit_jwt_cache_create(cache->size);
    }

    return cache->table;
}


conduit_jwt_status_e
ngx_conduit_conf_verify(ngx_http_request_t *r, ngx_conduit_conf_t *conf,
    ngx_str_t *token, ngx_uint_t need_org, ngx_conduit_verified_t *v)
{
    int                        hit;
    conduit_jwt_cache_t       *table;
    conduit_jwt_policy_t       policy;
    ngx_conduit_conf_taker_t   taker;

    if (ngx_conduit_conf_verified(conf, need_org, v)) {
        return v->status;
    }

    hit = 0;
    ngx_conduit_conf_policy(conf, need_org, &policy);

    if (ngx_conduit_conf_claims(r, conf, &policy, &taker) == NGX_OK) {

        table = ngx_conduit_cache_table(conf->cache);

        v->status = conduit_jwt_cache_verify(table, conf->keys, &policy,
                                             (char *) token->data, token->len,
                                             ngx_time(), &v->claims, &hit);

    } else {
        v->status = CONDUIT_JWT_NO_MEMORY;
    }

    v->values = taker.values;
    v->conf = conf;
    v->need_org = need_org;

    if (conf->cache != NULL) {
        ngx_conduit_stats_count(conf->pages->stats,
                                hit ? NGX_CONDUIT_JWT_CACHE_HITS
                                    : NGX_CONDUIT_JWT_CACHE_MISSES);
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "conduit: token verified: %s%s",
                   conduit_jwt_status_name(v->status), hit ? ", cached" : "");

    if (v->status == CONDUIT_JWT_NO_MEMORY) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "conduit: not enough memory to verify a token");

    } else if (v->status != CONDUIT_JWT_OK) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "conduit: client sent an invalid token: %s",
                      conduit_jwt_status_name(v->status));
    }

    return v->status;
}


static void
ngx_conduit_conf_policy(ngx_conduit_conf_t *conf, ngx_uint_t need_org,
    conduit_jwt_policy_t *policy)
{
    ngx_memzero(policy, sizeof(conduit_jwt_policy_t));

    if (conf->issuer.len) {
        policy->issuer = (char *) conf->issuer.data;
        policy->issuer_len = conf->issuer.len;
    }

    if (conf->audience.len) {
        policy->audience = (char *) conf->audience.data;
        policy->audience_len = conf->audience.len;
    }

    policy->need_sub = (conf->kind == NGX_CONDUIT_PUBLISH);

    /* with "conduit_gateway_key", streams have no organization and channel */

    if (conf->key == NULL) {
        policy->need_org = need_org;
        policy->need_channel = (conf->kind == NGX_CONDUIT_GATEWAY);
    }
}


/* allocates the values of required claims, to be set by the callback */

static ngx_int_t
ngx_conduit_conf_claims(ngx_http_request_t *r, ngx_conduit_conf_t *conf,
    conduit_jwt_policy_t *policy, ngx_conduit_conf_taker_t *taker)
{
    taker->pool = r->pool;
    taker->values = NULL;

    if (conf->claims == NULL) {
        return NGX_OK;
    }

    policy->names = conf->claims->names.elts;
    policy->nnames = conf->claims->names.nelts;
    policy->claim = ngx_conduit_conf_take_claim;
    policy->data = taker;

    taker->values = ngx_pcalloc(r->pool, policy->nnames * sizeof(ngx_str_t));

    return taker->values ? NGX_OK : NGX_ERROR;
}


static int
ngx_conduit_conf_take_claim(void *data, size_t i, const char *text, size_t len)
{
    ngx_str_t                 *value;
    ngx_conduit_conf_taker_t  *taker = data;

    if (text == NULL) {
        return 0;
    }

    value = &taker->values[i];

    value->data = ngx_pnalloc(taker->pool, len + 1);
    if (value->data == NULL) {
        return -1;
    }

    ngx_memcpy(value->data, text, len);
    value->len = len;

    return 0;
}


ngx_uint_t
ngx_conduit_conf_verified(ngx_conduit_conf_t *conf, ngx_uint_t need_org,
    ngx_conduit_verified_t *v)
{
    ngx_conduit_conf_t  *prev;

    prev = v->conf;

    if (prev == NULL || v->need_org != need_org) {
        return 0;
    }

    if (prev == conf) {
        return 1;
    }

    /* a location that does not set its own keys or claims inherits the same
       pointers */

    return prev->keys == conf->keys
           && prev->claims == conf->claims
           && (prev->key == NULL) == (conf->key == NULL)
           && ngx_conduit_conf_equal(&prev->issuer, &conf->issuer)
           && ngx_conduit_conf_equal(&prev->audience, &conf->audience);
}


static ngx_uint_t
ngx_conduit_conf_equal(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len
           && (a->len == 0 || ngx_memcmp(a->data, b->data, a->len) == 0);
}
