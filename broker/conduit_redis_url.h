/* Copyright (C) Conduit for NGINX authors */

/*
 * The URL of a Redis deployment, the parameter of the conduit_publish and
 * conduit_gateway directives.  Pure: no NGINX type, no allocation, no name
 * resolution.
 */

#ifndef CONDUIT_REDIS_URL_H
#define CONDUIT_REDIS_URL_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define CONDUIT_REDIS_PORT     6379
#define CONDUIT_SENTINEL_PORT  26379
#define CONDUIT_REDIS_HOSTS    16      /* seeds or sentinels in one URL */

typedef enum {
    CONDUIT_REDIS_TCP = 0,        /* redis://, rediss:// */
    CONDUIT_REDIS_UNIX,           /* unix:/path */
    CONDUIT_REDIS_CLUSTER,        /* redis+cluster://, rediss+cluster:// */
    CONDUIT_REDIS_SENTINEL        /* redis+sentinel://, rediss+sentinel:// */
} conduit_redis_scheme_e;

/* a piece of the URL's text, not zero-terminated */
typedef struct {
    const char  *data;            /* NULL when absent */
    size_t       len;
} conduit_text_t;

typedef struct {
    conduit_text_t  name;         /* host name or address; an IPv6 address
                                     without its brackets */
    uint16_t        port;
    unsigned        ipv6:1;       /* was written in brackets */
} conduit_redis_host_t;

typedef struct {
    conduit_redis_scheme_e  scheme;
    unsigned                tls:1;      /* "rediss" */
    conduit_text_t          user;       /* as written: percent-encoded */
    conduit_text_t          password;   /* as written: percent-encoded */
    conduit_text_t          path;       /* of a unix socket */
    conduit_text_t          service;    /* of a Sentinel master */
    unsigned                db;         /* 0 when absent */
    size_t                  nhosts;
    conduit_redis_host_t    hosts[CONDUIT_REDIS_HOSTS];
} conduit_redis_url_t;


/*
 * Splits a URL:
 *   redis://[user[:password]@]host[:port][/db]
 *   unix:/path[?db=n]
 *   redis+cluster://[user[:password]@]host[:port][,host[:port]...]
 *   redis+sentinel://[user[:password]@]host[:port][,...]/name[/db]
 * and, with TLS, "rediss" for "redis" in each.
 * A password without a user is written ":password@"; a user without a password
 * is accepted.  The last "@" ends user and password, where "/" must be written
 * %2F.  Host names and the name of a Sentinel master may hold letters, digits,
 * '-', '_' and '.'; an IPv6 address stands in brackets.  A port is 1 to 65535,
 * a database 0 to 2147483647.  Control characters are refused everywhere.
 * The result points into s.  Returns NULL, or a static text that says what is
 * wrong, to be logged as "invalid URL ...: <text>".
 */
const char *conduit_redis_url_parse(const char *s, size_t len,
    conduit_redis_url_t *url);

/*
 * Decodes %XX of text into out (text.len bytes at least).  Returns the number
 * of bytes written, or -1 if a sequence is malformed or encodes a zero byte.
 */
long conduit_redis_url_decode(conduit_text_t text, char *out);

#pragma GCC visibility pop

#endif /* CONDUIT_REDIS_URL_H */
