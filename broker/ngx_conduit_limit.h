/*
 * A limit to the size of one reply: what hiredis would take into memory without
 * asking.  A server that sends more (somebody wrote an entry of half a gigabyte
 * to a stream) loses the connection instead.
 */

#ifndef NGX_CONDUIT_LIMIT_H
#define NGX_CONDUIT_LIMIT_H

#include <ngx_config.h>
#include <ngx_core.h>

#include <hiredis/hiredis.h>
#include <hiredis/async.h>

#pragma GCC visibility push(hidden)

#define NGX_CONDUIT_REPLY_MAX  (64 * 1024 * 1024)

typedef struct {
    size_t      bytes;       /* of the reply that is coming in */
    ngx_uint_t  exceeded;
} ngx_conduit_limit_t;


/* Puts a limit on a context; l belongs to the caller and outlives it. */
void ngx_conduit_limit_attach(redisAsyncContext *ac, ngx_conduit_limit_t *l);

/* A reply is complete: the next one starts. */
void ngx_conduit_limit_reset(ngx_conduit_limit_t *l);

/*
 * Whether a string that is not complete yet is over the limit: to be asked
 * before more is read.  The caller then frees the context.
 */
ngx_uint_t ngx_conduit_limit_exceeded(redisAsyncContext *ac);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_LIMIT_H */
