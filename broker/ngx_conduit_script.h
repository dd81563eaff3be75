/*
 * Publishing: the rate check, XADD and the expiry as one script, which Redis
 * runs in one round trip and in one piece.
 */

#ifndef NGX_CONDUIT_SCRIPT_H
#define NGX_CONDUIT_SCRIPT_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_id.h"
#include "conduit_redis_error.h"
#include "ngx_conduit_publisher.h"

#pragma GCC visibility push(hidden)

typedef enum {
    NGX_CONDUIT_PUBLISHED = 0,
    NGX_CONDUIT_RATE_LIMITED,     /* wait says how long */
    NGX_CONDUIT_NO_REDIS,         /* not stored */
    NGX_CONDUIT_REDIS_LOST,       /* may have been stored */
    NGX_CONDUIT_REDIS_TIMED_OUT,  /* may have been stored */
    NGX_CONDUIT_REDIS_BUSY,       /* not stored; another try may do */
    NGX_CONDUIT_REDIS_FULL,       /* not stored: -OOM */
    NGX_CONDUIT_REDIS_REFUSED     /* not stored; another try won't do */
} ngx_conduit_published_e;

typedef struct {
    ngx_conduit_published_e  status;
    ngx_str_t                id;      /* of the entry; until the return */
    ngx_msec_t               wait;    /* ms until the rate allows one more */
    ngx_str_t                error;   /* Redis' own words; until the return;
                                         with PUBLISHED, why the stream's life
                                         was not set */
    conduit_redis_error_t    kind;    /* of a message that Redis refused */
    ngx_str_t               *node;    /* the server's name; likewise */
} ngx_conduit_published_t;

typedef void (*ngx_conduit_published_pt)(void *data,
    ngx_conduit_published_t *result);

/* what to publish; all of it belongs to the caller, until the handler ran or
   the operation was cancelled */
typedef struct {
    ngx_str_t                 key;      /* of the stream */
    ngx_str_t                 message;  /* the serialized PublishRequest */
    ngx_uint_t                rate;     /* messages per window; 0: no limit */
    ngx_msec_t                window;
    ngx_uint_t                max_len;
    ngx_msec_t                ttl;
    ngx_conduit_published_pt  handler;
    void                     *data;
} ngx_conduit_publish_t;

typedef struct ngx_conduit_script_op_s  ngx_conduit_script_op_t;


/*
 * Publishes.  Returns an operation to cancel with, after which the handler is
 * called exactly once, unless cancelled; or NULL with *status set to
 * NGX_CONDUIT_NO_REDIS or NGX_CONDUIT_REDIS_BUSY (memory is out), and the
 * handler is not called.
 */
ngx_conduit_script_op_t *ngx_conduit_script_publish(
    ngx_conduit_publisher_t *pub, ngx_conduit_publish_t *p,
    ngx_conduit_published_e *status);

/* Forgets the caller: its handler is not called.  The message may be stored. */
void ngx_conduit_script_cancel(ngx_conduit_script_op_t *op);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_SCRIPT_H */
