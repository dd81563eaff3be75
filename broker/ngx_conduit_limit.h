/*
 * Limits to what a server may send.  A server that breaks one loses the
 * connection:
 *  - the size of one reply, which hiredis would take into memory without asking
 *    (somebody wrote an entry of half a gigabyte to a stream);
 *  - a reply that nobody waits for, and on a link that has subscribed whatever
 *    is not a message of its channel: hiredis ends the process (assert) on most
 *    of them, and 0.14 calls the handler of the reply before on the others.
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
    redisAsyncContext  *ac;
    const char         *channel;   /* subscribed to; NULL: none */
    size_t              bytes;     /* of the reply that is coming in */
    ngx_uint_t          message;   /* it is one of the channel */
    ngx_uint_t          exceeded;
    ngx_uint_t          unexpected;
    ngx_msec_t          read;      /* when the last bytes came */
} ngx_conduit_limit_t;


/* Puts limits on a context; l belongs to the caller and outlives it. */
void ngx_conduit_limit_attach(redisAsyncContext *ac, ngx_conduit_limit_t *l);

/*
 * The context is about to subscribe to a channel, a zero-terminated constant,
 * the only one it ever does, and sends no other command from now on.
 */
void ngx_conduit_limit_subscribe(ngx_conduit_limit_t *l, const char *channel);

/* A reply is complete: the next one starts. */
void ngx_conduit_limit_reset(ngx_conduit_limit_t *l);

/* There are bytes to read on the context's socket. */
void ngx_conduit_limit_read(redisAsyncContext *ac);

/*
 * Within the handler of a reply: it is not freed when that returns, but by the
 * caller, with freeReplyObject().
 */
void ngx_conduit_limit_keep(redisReply *reply);

/*
 * Whether a string that is not complete yet is over the limit: to be asked
 * before more is read.  The caller then frees the context.
 */
ngx_uint_t ngx_conduit_limit_exceeded(redisAsyncContext *ac);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_LIMIT_H */
