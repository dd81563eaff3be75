/*
 * A shard: what a worker reads from one server, by one doorbell: keys, which
 * belong to feeds.
 *
 *   add, remove   a key is at the server of its slot, and moves with the slot
 *   redirect      a reply (MOVED, ASK) has named another server
 *   ring          handler: the doorbell has rung, or the key is due for a read
 *   ask, down     handlers: the server is up, or is away
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

/* which scripts that read a server lets the gateway run, as found out since its
   link is up */
typedef enum {
    NGX_CONDUIT_SCRIPTS_RO = 0,            /* by EVALSHA_RO, as far as known */
    NGX_CONDUIT_SCRIPTS_ANY,               /* by EVALSHA: it is Redis 6 */
    NGX_CONDUIT_SCRIPTS_NONE,              /* none: XRANGE and XINFO are */
    NGX_CONDUIT_SCRIPTS_NOTHING            /* XINFO isn't, either */
} ngx_conduit_scripts_e;

/* why a key is to be read */
typedef enum {
    NGX_CONDUIT_RING_BELL = 0,             /* it has changed */
    NGX_CONDUIT_RING_SWEEP,                /* a ring may have been lost */
    NGX_CONDUIT_RING_POLL,                 /* nothing rings */
    NGX_CONDUIT_RING_FLUSH                 /* the database was flushed */
} ngx_conduit_ring_e;

/* what a key's owner is told; it may remove the key meanwhile */
typedef struct {
    void  (*ring)(ngx_conduit_key_t *key, ngx_conduit_ring_e why);
    /* questions can be sent: the server is up, or the key moved to another */
    void  (*ask)(ngx_conduit_key_t *key);
    /* questions are to be sent by the retry; called while a reply is dealt
       with, so that the key stays */
    void  (*again)(ngx_conduit_key_t *key);
    /* it is read from another server from now on: replies of the one before
       are of no use */
    void  (*moved)(ngx_conduit_key_t *key);
    /* the server is away, or its replies take long */
    void  (*down)(ngx_conduit_key_t *key);
} ngx_conduit_key_handlers_t;

struct ngx_conduit_key_s {
    /* the owner sets these before ngx_conduit_shard_add(); the rest is zero */
    ngx_str_node_t                      node;          /* its str */
    ngx_str_t                           label;         /* for the log, from
                                                          "info" on */
    const ngx_conduit_key_handlers_t   *on;
    unsigned                            redirects:3;   /* in a row; 0 after a
                                                          good reply */
    unsigned                            lull:8;        /* polls in a row for
                                                          nothing */
    unsigned                            skipped:1;     /* an entry was, and is
                                                          in the log */

    /* for the owner to read */
    ngx_conduit_shard_t                *shard;
    uint32_t                            moves;         /* from shard to shard */
    unsigned                            asking:1;      /* its slot is being
                                                          moved: ASKING */

    ngx_queue_t                         queue;         /* of the shard */
};

/* shows that what is written to a server comes back by its doorbell */
typedef struct {
    ngx_str_t               key;           /* empty before the first */
    conduit_stream_id_t     last;          /* entry seen */
    ngx_msec_t              sent;
    ngx_msec_t              proof;         /* when one was sent that came back;
                                              0: none has */
    unsigned                pending:1;     /* one is on its way */
    unsigned                failed:1;      /* a part of it was refused */
    unsigned                refused:1;     /* an error was logged */
    u_char                  name[sizeof("conduit:canary:0123456789abcdef")];
} ngx_conduit_canary_t;

/* what a worker reads from one server */
struct ngx_conduit_shard_s {
    ngx_conduit_hub_t              *hub;
    ngx_conduit_node_t             *node;          /* NULL: of the keys whose
                                                      server is not known */
    ngx_conduit_doorbell_t          doorbell;      /* never opened without a
                                                      node */
    ngx_queue_t                     keys;          /* swept next: the head */
    ngx_uint_t                      nkeys;
    ngx_uint_t                      round;         /* of the poll */
    ngx_msec_t                      sweep_due;     /* keys, times ms */
    ngx_msec_t                      down_since;
    ngx_msec_t                      unused_since;  /* without keys */
    ngx_msec_t                      complained;    /* an error reply was
                                                      logged; 0: none */
    ngx_conduit_canary_t            canary;
    ngx_conduit_scripts_e           scripts;
    unsigned                        impatient:1;   /* headers are sent before
                                                      Redis has answered */
};


/* Makes the hub's topology and its shard of nowhere.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_shard_init(ngx_conduit_hub_t *hub);

/* Closes all doorbells; pending replies end, and feeds without listeners. */
void ngx_conduit_shard_close_all(ngx_conduit_hub_t *hub);

/* Returns the key of a name, or NULL. */
ngx_conduit_key_t *ngx_conduit_shard_find(ngx_conduit_hub_t *hub,
    ngx_str_t *name);

/*
 * Puts a new key where its slot is.  Returns NGX_OK, or NGX_ERROR when memory
 * is out.
 */
ngx_int_t ngx_conduit_shard_add(ngx_conduit_hub_t *hub, ngx_conduit_key_t *key);

/* Takes a key out. */
void ngx_conduit_shard_remove(ngx_conduit_key_t *key);

/*
 * Moves a key to where an error reply says it is, and has it asked there.
 * Returns 1, or 0 when the reply does not say.
 */
ngx_uint_t ngx_conduit_shard_redirect(ngx_conduit_key_t *key,
    redisReply *reply);

/*
 * Whether the links are on their way up, so that an answer that needs Redis is
 * worth a little waiting.
 */
ngx_uint_t ngx_conduit_shard_connecting(ngx_conduit_shard_t *shard);

/*
 * Whether any server with keys is away.  Calls down() of the keys of those that
 * are away for more than a moment: responses that wait start then.
 */
ngx_uint_t ngx_conduit_shard_any_away(ngx_conduit_hub_t *hub);

/* Rings for the keys that are due, of interval ms. */
void ngx_conduit_shard_sweep(ngx_conduit_hub_t *hub, ngx_msec_t interval);

/*
 * Returns the shard of a server (NULL: that of nowhere), made and opened with
 * the first call; NULL when memory is out.
 */
ngx_conduit_shard_t *ngx_conduit_shard_of(ngx_conduit_hub_t *hub,
    ngx_conduit_node_t *node);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_SHARD_H */
