/* Copyright (C) Conduit for NGINX authors */

/*
 * The URL of conduit_publish and conduit_gateway, checked and resolved while
 * the configuration is read: a worker never resolves a name.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_redis.h"


static ngx_int_t ngx_conduit_redis_credentials(ngx_conf_t *cf,
    ngx_conduit_redis_t *redis, conduit_redis_url_t *u);
static ngx_int_t ngx_conduit_redis_decode(ngx_conf_t *cf, conduit_text_t text,
    ngx_str_t *out);
static ngx_int_t ngx_conduit_redis_hosts(ngx_conf_t *cf,
    ngx_conduit_redis_t *redis, conduit_redis_url_t *u);
static ngx_int_t ngx_conduit_redis_append(ngx_array_t *text, const char *data,
    size_t len);
static ngx_int_t ngx_conduit_redis_resolve(ngx_conf_t *cf,
    conduit_redis_host_t *host, ngx_array_t *addrs, ngx_str_t *name);
static ngx_int_t ngx_conduit_redis_copy(ngx_conf_t *cf, ngx_str_t *out,
    const char *data, size_t len);


ngx_conduit_redis_t *
ngx_conduit_redis_create(ngx_conf_t *cf, ngx_str_t *url)
{
    const char           *err;
    ngx_int_t             rc;
    conduit_redis_url_t   u;
    ngx_conduit_redis_t  *redis;

    err = conduit_redis_url_parse((char *) url->data, url->len, &u);

    if (err == NULL && u.tls && !ngx_conduit_tls_supported) {
        err = "\"rediss\" is not supported: it needs hiredis 1.0 or newer, "
              "and this module is built with an older one or without its TLS";
    }

    if (err != NULL) {
        /* the URL itself may hold a password */
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid Redis URL: %s", err);
        return NULL;
    }

    redis = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_redis_t));
    if (redis == NULL) {
        return NULL;
    }

    redis->scheme = u.scheme;
    redis->secure = u.tls;
    redis->db = u.db;

    if (ngx_conduit_redis_credentials(cf, redis, &u) != NGX_OK) {
        return NULL;
    }

    if (u.scheme == CONDUIT_REDIS_UNIX) {
        rc = ngx_conduit_redis_copy(cf, &redis->path, u.path.data, u.path.len);
        redis->name = redis->path;

    } else {
        rc = ngx_conduit_redis_hosts(cf, redis, &u);
    }

    return rc == NGX_OK ? redis : NULL;
}


static ngx_int_t
ngx_conduit_redis_credentials(ngx_conf_t *cf, ngx_conduit_redis_t *redis,
    conduit_redis_url_t *u)
{
    if (ngx_conduit_redis_decode(cf, u->user, &redis->user) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_conduit_redis_decode(cf, u->password, &redis->password);
}


static ngx_int_t
ngx_conduit_redis_decode(ngx_conf_t *cf, conduit_text_t text, ngx_str_t *out)
{
    long  n;

    if (text.data == NULL || text.len == 0) {
        return NGX_OK;
    }

    out->data = ngx_pnalloc(cf->pool, text.len);
    if (out->data == NULL) {
        return NGX_ERROR;
    }

    n = conduit_redis_url_decode(text, (char *) out->data);
    if (n < 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid Redis URL: bad percent-encoding");
        return NGX_ERROR;
    }

    out->len = n;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_redis_hosts(ngx_conf_t *cf, ngx_conduit_redis_t *redis,
    conduit_redis_url_t *u)
{
    size_t       i;
    ngx_str_t    host;
    ngx_array_t  addrs, names;

    if (ngx_array_init(&addrs, cf->pool, u->nhosts,
                       sizeof(ngx_conduit_redis_addr_t))
        != NGX_OK
        || ngx_array_init(&names, cf->pool, 64, 1) != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < u->nhosts; i++) {

        if (ngx_conduit_redis_resolve(cf, &u->hosts[i], &addrs, &host)
            != NGX_OK
            || (i && ngx_conduit_redis_append(&names, ",", 1) != NGX_OK)
            || ngx_conduit_redis_append(&names, (char *) host.data, host.len)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (u->service.len) {

        if (ngx_conduit_redis_copy(cf, &redis->service, u->service.data,
                                   u->service.len)
            != NGX_OK
            || ngx_conduit_redis_append(&names, "/", 1) != NGX_OK
            || ngx_conduit_redis_append(&names, u->service.data,
                                        u->service.len)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    redis->name.data = names.elts;
    redis->name.len = names.nelts;
    redis->addrs = addrs.elts;
    redis->naddrs = addrs.nelts;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_redis_append(ngx_array_t *text, const char *data, size_t len)
{
    u_char  *p;

    p = ngx_array_push_n(text, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, data, len);

    return NGX_OK;
}


/* adds the addresses of a host, and sets *name to its name for logs */

static ngx_int_t
ngx_conduit_redis_resolve(ngx_conf_t *cf, conduit_redis_host_t *host,
    ngx_array_t *addrs, ngx_str_t *name)
{
    u_char                     text[NGX_SOCKADDR_STRLEN];
    size_t                     len;
    ngx_url_t                  u;
    ngx_uint_t                 i;
    ngx_conduit_redis_addr_t  *addr;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url.len = host->name.len + sizeof("[]:65535") - 1;
    u.url.data = ngx_pnalloc(cf->pool, u.url.len);
    if (u.url.data == NULL) {
        return NGX_ERROR;
    }

    u.url.len = ngx_sprintf(u.url.data, host->ipv6 ? "[%*s]:%ui" : "%*s:%ui",
                            host->name.len, host->name.data,
                            (ngx_uint_t) host->port)
                - u.url.data;

    *name = u.url;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in Redis address \"%V\"",
                           u.err ? u.err : "invalid host", name);
        return NGX_ERROR;
    }

    for (i = 0; i < u.naddrs; i++) {

        len = ngx_sock_ntop(u.addrs[i].sockaddr, u.addrs[i].socklen, text,
                            NGX_SOCKADDR_STRLEN, 0);

        /* hiredis takes an IPv6 address without its brackets */

        if (len > 2 && text[0] == '[') {
            ngx_memmove(text, text + 1, len - 2);
            len -= 2;
        }

        addr = ngx_array_push(addrs);
        if (addr == NULL) {
            return NGX_ERROR;
        }

        addr->port = host->port;

        if (ngx_conduit_redis_copy(cf, &addr->host, (char *) text, len)
            != NGX_OK
            || ngx_conduit_redis_copy(cf, &addr->name, host->name.data,
                                      host->name.len)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_redis_copy(ngx_conf_t *cf, ngx_str_t *out, const char *data,
    size_t len)
{
    out->data = ngx_pnalloc(cf->pool, len + 1);
    if (out->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(out->data, data, len);
    out->data[len] = '\0';
    out->len = len;

    return NGX_OK;
}


static ngx_uint_t
ngx_conduit_redis_str_equal(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len && ngx_memcmp(a->data, b->data, a->len) == 0;
}


ngx_uint_t
ngx_conduit_redis_equal(ngx_conduit_redis_t *a, ngx_conduit_redis_t *b)
{
    return a->scheme == b->scheme
           && a->secure == b->secure
           && a->tls == b->tls
           && ngx_conduit_redis_str_equal(&a->name, &b->name)
           && ngx_conduit_redis_str_equal(&a->user, &b->user)
           && ngx_conduit_redis_str_equal(&a->password, &b->password)
           && a->db == b->db
           && a->connect_timeout == b->connect_timeout
           && a->timeout == b->timeout;
}
