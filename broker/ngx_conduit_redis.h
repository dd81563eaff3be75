/*
 * One Redis server as a location names it: where it is, who logs in, how long
 * anything may take.  Made at configuration time, in the master; read-only
 * afterwards.
 */

#ifndef NGX_CONDUIT_REDIS_H
#define NGX_CONDUIT_REDIS_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_redis_url.h"

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_str_t    name;              /* as in the configuration, without
                                       credentials; for logs */
    ngx_str_t    path;              /* of a unix socket, zero-terminated;
                                       else empty */
    ngx_str_t   *addrs;             /* numeric addresses, zero-terminated */
    ngx_uint_t   naddrs;
    in_port_t    port;
    ngx_str_t    user;              /* empty: the default user */
    ngx_str_t    password;          /* empty: no AUTH */
    ngx_uint_t   db;
    ngx_msec_t   connect_timeout;   /* to connect, AUTH and SELECT */
    ngx_msec_t   timeout;           /* of one command */
} ngx_conduit_redis_t;


/*
 * Makes a server of a URL (the parameter of conduit_publish or
 * conduit_gateway), resolving its host name.  Returns NULL after logging what
 * is wrong at emerg level with file and line.  The result lives in cf->pool;
 * timeouts are left zero.
 */
ngx_conduit_redis_t *ngx_conduit_redis_create(ngx_conf_t *cf, ngx_str_t *url);

/* Returns 1 if two servers are the same one with the same log-in and times. */
ngx_uint_t ngx_conduit_redis_equal(ngx_conduit_redis_t *a,
    ngx_conduit_redis_t *b);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_REDIS_H */
