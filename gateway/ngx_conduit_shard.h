/* Copyright (C) Conduit for NGINX authors */

/*
 * A shard: the keys that a worker reads from one server, and the doorbell that
 * rings for them.  Each key belongs to a feed.
 *
 *   add, remove   adds a key to the shard of its slot, with which it moves
 *   redirect      moves a key to the server that a reply (MOVED, ASK) names
 *   ring          handler: the doorbell has rung, or the key is due for a read
 *   ask, down     handlers: the server is up, or is down
 */

#ifndef NGX_CONDUIT_SHARD_H
#define NGX_CONDUIT_SHARD_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_id.h"
#include "ngx_conduit_doorbell.h"
#include "ngx_conduit_gateway.h"
#include "ngx_conduit_topology.h"

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_key_s  ngx_conduit_key_t;

/*
 * which read-only scripts the server lets the gateway run, as far as replies
 * have shown since the link is up
 */
typedef enum {
    NGX_CONDUIT_SCRIPTS_RO = 0,            /* by EVALSHA_RO, until it is
                                              refused */
    NGX_CONDUIT_SCRIPTS_ANY,               /* by EVALSHA: Redis 6, or EVALSHA_RO
                                              is not allowed */
    NGX_CONDUIT_SCRIPTS_NONE,              /* none: XREAD and XINFO are used */
    NGX_CONDUIT_SCRIPTS_NOTHING            /* none, and XINFO is refused, too:
                                              XREAD alone is used */
} ngx_conduit_scripts_e;

/* why a key is to be read */
typedef enum {
    NGX_CONDUIT_RING_BELL = 0,             /* the key has changed */
    NGX_CONDUIT_RING_SWEEP,                /* a ring may have been lost */
    NGX_CONDUIT_RING_POLL,                 /* there is no doorbell */
    NGX_CONDUIT_RING_FLUSH                 /* the database was flushed */
} ngx_conduit_ring_e;

/* the handlers of a key's owner.  "ask" and "down" may remove the key, the
   others must not: their callers go on with it, or with its neighbours */
typedef struct {
    void  (*ring)(ngx_conduit_key_t *key, ngx_conduit_ring_e why);
    /* questions can be sent: the server is up, or the key moved to another */
    void  (*ask)(ngx_conduit_key_t *key);
    /* questions are to wait for the retry timer; called while a reply is
       handled, so the key must not be removed */
    void  (*again)(ngx_conduit_key_t *key);
    /* the key is read from another server from now on: replies of the previous
       one are to be ignored */
    void  (*moved)(ngx_conduit_key_t *key);
    /* the server is down, or its replies take long */
    void  (*down)(ngx_conduit_key_t *key);
} ngx_conduit_key_handlers_t;

struct ngx_conduit_key_s {
    /* the owner sets these before ngx_conduit_shard_add(); the rest is zero */
    ngx_str_node_t                      node;          /* node.str: the name */
    ngx_str_t                           label;         /* for the log, from
                                                          "info" on */
    const ngx_conduit_key_handlers_t   *on;
    unsigned                            redirects:3;   /* in a row; 0 after a
                                                          good reply */
    unsigned                            empty_polls:8;  /* polls in a row
                                                           without a new
                                                           entry */
    unsigned                            skipped:1;     /* an entry was skipped
                                                          and logged */

    /* for the owner to read */
    ngx_conduit_shard_t                *shard;
    uint32_t                            moves;         /* how often it was moved
                                                          to another shard */
    unsigned                            asking:1;      /* its slot is being
                                                          moved: send ASKING */

    ngx_queue_t                         queue;         /* of the shard */
};

/*
 * a canary (ngx_conduit_canary.h), in a stream that is this worker's own
 */
typedef struct {
    ngx_str_t               key;           /* empty: to be chosen */
    conduit_stream_id_t     last;          /* the last entry read */
    ngx_msec_t              sent;
    ngx_msec_t              proof;         /* when the last canary that came
                                              back was sent; 0: none */
    unsigned                pending:1;     /* a canary was sent and is not back
                                              yet */
    unsigned                failed:1;      /* one of its commands was refused */
    unsigned                error_logged:1;  /* an error was logged */
    u_char                  name[sizeof("conduit:canary:0123456789abcdef")];
} ngx_conduit_canary_t;

/* what a worker reads from one server */
struct ngx_conduit_shard_s {
    ngx_conduit_hub_t              *hub;
    ngx_conduit_node_t             *node;          /* NULL: the shard of the
                                                      keys whose server is not
                                                      known */
    ngx_conduit_doorbell_t          doorbell;      /* never opened without a
                                                      node */
    ngx_queue_t                     keys;          /* in the order of the
                                                      sweep */
    ngx_uint_t                      nkeys;
    ngx_uint_t                      round;         /* counts rounds of the
                                                      poll */
    ngx_msec_t                      sweep_due;     /* keys due for the sweep,
                                                      multiplied by the ms of
                                                      its cycle */
    ngx_msec_t                      down_since;
    ngx_msec_t                      unused_since;  /* since when it has no
                                                      keys */
    ngx_msec_t                      error_logged_at;  /* when an error reply was
                                                         last logged; 0:
                                                         never */
    ngx_conduit_canary_t            canary;
    ngx_conduit_scripts_e           scripts;
    unsigned                        impatient:1;   /* headers are sent before
                                                      Redis has answered */
};


/* Makes the hub's topology and its shard "nowhere".  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_shard_init(ngx_conduit_hub_t *hub);

/*
 * Closes all doorbells and drops the replies still to come, which frees the
 * feeds without listeners.
 */
void ngx_conduit_shard_close_all(ngx_conduit_hub_t *hub);

/* Returns the key of a name, or NULL. */
ngx_conduit_key_t *ngx_conduit_shard_find(ngx_conduit_hub_t *hub,
    ngx_str_t *name);

/*
 * Adds a new key to the shard of its slot.  Returns NGX_OK, or NGX_ERROR when
 * memory is out.
 */
ngx_int_t ngx_conduit_shard_add(ngx_conduit_hub_t *hub, ngx_conduit_key_t *key);

/* Removes a key. */
void ngx_conduit_shard_remove(ngx_conduit_key_t *key);

/*
 * Moves a key to the server that an error reply names, and has its questions
 * sent there.  Returns 1, or 0 when the reply names none.
 */
ngx_uint_t ngx_conduit_shard_redirect(ngx_conduit_key_t *key,
    redisReply *reply);

/*
 * Whether the links are being opened, so that a response should wait a little
 * for an answer of Redis.
 */
ngx_uint_t ngx_conduit_shard_connecting(ngx_conduit_shard_t *shard);

/*
 * Whether any server with keys is down.  Calls down() for the keys of servers
 * that are down for more than a moment: responses that wait are started then.
 */
ngx_uint_t ngx_conduit_shard_any_away(ngx_conduit_hub_t *hub);

/* Calls a function for each shard, "nowhere" included. */
void ngx_conduit_shard_all(ngx_conduit_hub_t *hub,
    void (*handler)(ngx_conduit_shard_t *shard, void *data), void *data);

/* Calls ring() for the keys that are due; called every interval ms. */
void ngx_conduit_shard_sweep(ngx_conduit_hub_t *hub, ngx_msec_t interval);

/*
 * Returns the shard of a server (NULL: "nowhere"), which the first call makes
 * and opens; NULL when memory is out.
 */
ngx_conduit_shard_t *ngx_conduit_shard_of(ngx_conduit_hub_t *hub,
    ngx_conduit_node_t *node);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_SHARD_H */
