/* Copyright (C) Conduit for NGINX authors */

/*
 * Limits on what a server may send.  The connection is closed when one is
 * broken:
 *  - the size of one reply, which hiredis would read into memory whatever it is
 *    (an entry of half a gigabyte in a stream);
 *  - a reply to no command, and on a link with a subscription anything that
 *    is not a message of its channel: most of them make hiredis end the process
 *    (assert), for the others 0.14 calls the handler of the previous reply.
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
    size_t              bytes;     /* of the reply being read */
    ngx_uint_t          message;   /* it is a message of the channel */
    ngx_uint_t          exceeded;
    ngx_uint_t          unexpected;
    ngx_msec_t          read;      /* when the last bytes came */
} ngx_conduit_limit_t;


/* Puts limits on a context; l belongs to the caller and outlives the
   context. */
void ngx_conduit_limit_attach(redisAsyncContext *ac, ngx_conduit_limit_t *l);

/*
 * The context is about to subscribe to a channel (a zero-terminated constant);
 * it subscribes to no other one, and sends no other command from now on.
 */
void ngx_conduit_limit_subscribe(ngx_conduit_limit_t *l, const char *channel);

/* A reply is complete: the next one starts. */
void ngx_conduit_limit_reset(ngx_conduit_limit_t *l);

/* There are bytes to read on the context's socket. */
void ngx_conduit_limit_read(redisAsyncContext *ac);

/*
 * Returns 0, or a number that grows as long as a reply that was read in part is
 * being read: then the rest of it is still to come.
 */
size_t ngx_conduit_limit_rest(redisAsyncContext *ac);

/*
 * To be called in the handler of a reply: hiredis will not free the reply when
 * the handler returns, the caller frees it with freeReplyObject().
 */
void ngx_conduit_limit_keep(redisReply *reply);

/*
 * Whether an incomplete string is over the limit; to be called before each
 * read.  The caller then frees the context.
 */
ngx_uint_t ngx_conduit_limit_exceeded(redisAsyncContext *ac);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_LIMIT_H */
