/* Copyright (C) Conduit for NGINX authors */

/*
 * Publishing: rate check, XADD and expiry in one script, which Redis runs
 * atomically and in one round trip.  A message that is stored as it came uses
 * the plain script; everything else uses that of ngx_conduit_entries.h.
 */

#ifndef NGX_CONDUIT_SCRIPT_H
#define NGX_CONDUIT_SCRIPT_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_id.h"
#include "conduit_redis_error.h"
#include "ngx_conduit_publisher.h"

#pragma GCC visibility push(hidden)

#define NGX_CONDUIT_RATE_PREFIX     "conduit:rate:{"
#define NGX_CONDUIT_KEY_PREFIX_MAX  sizeof("conduit:sequence:{}:")

typedef enum {
    NGX_CONDUIT_PUBLISHED = 0,
    NGX_CONDUIT_RATE_LIMITED,     /* wait says how long */
    NGX_CONDUIT_NO_REDIS,         /* not stored */
    NGX_CONDUIT_REDIS_LOST,       /* may have been stored */
    NGX_CONDUIT_REDIS_TIMED_OUT,  /* may have been stored */
    NGX_CONDUIT_REDIS_BUSY,       /* not stored; a retry may succeed */
    NGX_CONDUIT_REDIS_FULL,       /* not stored: -OOM */
    NGX_CONDUIT_REDIS_REFUSED,    /* not stored; a retry would fail */
    NGX_CONDUIT_REQUEST_DIFFERS,  /* not stored: the request is remembered
                                     with another fingerprint */
    NGX_CONDUIT_NO_SEQUENCE       /* not stored: the stream's last one is as
                                     great as a script can count */
} ngx_conduit_published_e;

typedef struct {
    ngx_conduit_published_e  status;
    ngx_str_t                id;      /* of the entry, or the first one; until
                                         the return */
    ngx_msec_t               wait;    /* ms until the rate allows one more;
                                         with counted, until its window ends */
    ngx_uint_t               left;    /* messages that the rate still allows,
                                         with counted */
    ngx_str_t                records; /* what was stored, with entries, for
                                         ngx_conduit_entries_next(); until the
                                         return */
    unsigned                 counted:1;   /* left and wait are set (entries
                                             only) */
    unsigned                 replayed:1;  /* stored by an earlier request */
    ngx_str_t                error;   /* error text of Redis; until the return;
                                         with PUBLISHED, why the stream's expiry
                                         was not set */
    conduit_redis_error_e    kind;    /* set if Redis refused the message */
    ngx_str_t               *node;    /* the server's name; likewise */
} ngx_conduit_published_t;

typedef void (*ngx_conduit_published_pt)(void *data,
    ngx_conduit_published_t *result);

/* one of several messages */
typedef struct {
    ngx_str_t                 message;      /* the serialized PublishRequest */
    u_char                    message_id[CONDUIT_UUID_LEN];
    u_char                    sequence[NGX_INT64_LEN];   /* decimal */
    size_t                    sequence_len; /* 0: the stream's next, to be added
                                               to the message */
} ngx_conduit_entry_t;

/* messages to be stored all or none, in this order */
typedef struct {
    ngx_conduit_entry_t      *elts;
    ngx_uint_t                n;            /* 1 at least; not more than rate */
    ngx_str_t                 request;      /* the request is remembered by
                                               these bytes; empty: it is not */
    ngx_str_t                 fingerprint;  /* of the request */
    ngx_msec_t                remember;     /* for how long */
} ngx_conduit_entries_t;

/* what to publish; all of it belongs to the caller, until the handler ran or
   the operation was cancelled */
typedef struct {
    ngx_str_t                 key;      /* of the stream */
    ngx_str_t                 message;  /* the serialized PublishRequest */
    ngx_conduit_entries_t    *entries;  /* instead of message; or NULL */
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
