/* Copyright (C) Conduit for NGINX authors */

/*
 * A Redis deployment as a location configures it: addresses, credentials,
 * timeouts.  Created by the master process with the configuration; read-only
 * afterwards.
 */

#ifndef NGX_CONDUIT_REDIS_H
#define NGX_CONDUIT_REDIS_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_redis_url.h"
#include "ngx_conduit_stats.h"
#include "ngx_conduit_tls.h"

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_str_t    host;              /* a numeric address, zero-terminated; IPv6
                                       without brackets */
    in_port_t    port;
    ngx_str_t    name;              /* name or address as configured; the
                                       certificate must be for it */
} ngx_conduit_redis_addr_t;

typedef struct {
    ngx_str_t                  name;     /* as in the configuration, without
                                            credentials; for logs */
    conduit_redis_scheme_e     scheme;
    ngx_uint_t                 secure;   /* "rediss" */
    ngx_conduit_tls_t         *tls;      /* with "rediss"; set by the caller */
    ngx_str_t                  path;     /* of a unix socket, zero-terminated;
                                            else empty */
    ngx_conduit_redis_addr_t  *addrs;    /* of the server, of the seeds of a
                                            cluster, of the Sentinels */
    ngx_uint_t                 naddrs;
    ngx_str_t                  service;  /* of a Sentinel master */
    ngx_str_t                  user;     /* empty: the default user */
    ngx_str_t                  password; /* empty: no AUTH */
    ngx_uint_t                 db;
    ngx_msec_t                 connect_timeout;  /* AUTH and SELECT included */
    ngx_msec_t                 timeout;  /* of one command */
    ngx_conduit_stats_t       *stats;    /* of the module; set by it */
} ngx_conduit_redis_t;


/*
 * Creates a deployment from a URL (the parameter of conduit_publish or
 * conduit_gateway), and resolves its host names.  On errors logs at emerg
 * level, with file and line, and returns NULL.  The result lives in cf->pool;
 * timeouts are left zero, and tls NULL.
 */
ngx_conduit_redis_t *ngx_conduit_redis_create(ngx_conf_t *cf, ngx_str_t *url);

/* Returns 1 if deployment, credentials, timeouts and TLS are the same. */
ngx_uint_t ngx_conduit_redis_equal(ngx_conduit_redis_t *a,
    ngx_conduit_redis_t *b);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_REDIS_H */
