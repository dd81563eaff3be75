/*
 * Topology: which Redis server holds a key now.
 *
 *   one server   the one of the URL, always
 *   Sentinel     the master that a Sentinel names (SENTINEL
 *                GET-MASTER-ADDR-BY-NAME); asked every second, and when a
 *                Sentinel announces +switch-master
 *   Cluster      the master of the key's slot (CLUSTER SLOTS); asked every
 *                second, and when a reply sends a command elsewhere
 *
 * A scout, one link of its own, asks; it goes from one seed, node or Sentinel
 * to the next when it gets no answer.  What it learns is compared with what is
 * known: an armed key does not ring when its slot moves, so that the owner is
 * told of every change, and reads again.
 *
 * A worker looks no names up: of servers that are told by name those are known
 * that are hosts of the URL.
 */

#ifndef NGX_CONDUIT_TOPOLOGY_H
#define NGX_CONDUIT_TOPOLOGY_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "conduit_slot.h"
#include "ngx_conduit_link.h"

#pragma GCC visibility push(hidden)

#define NGX_CONDUIT_NODE_TEXT  (CONDUIT_HOST_MAX + sizeof("[]:65535"))

typedef struct ngx_conduit_topology_s  ngx_conduit_topology_t;

/* one server; lives as long as it has slots or the owner's data */
typedef struct {
    ngx_conduit_redis_t        redis;    /* what links to it are made of */
    void                      *data;     /* the owner's; NULL: not in use */
    ngx_uint_t                 slots;    /* it is the master of; 0: none */
    ngx_msec_t                 since;    /* it has had none */

    /* private */
    ngx_queue_t                queue;
    ngx_str_t                  host;     /* as the cluster writes it */
    u_char                     name[NGX_CONDUIT_NODE_TEXT];
    u_char                     ip[NGX_SOCKADDR_STRLEN];
} ngx_conduit_node_t;

struct ngx_conduit_topology_s {
    /* the owner sets these before ngx_conduit_topology_open(); none is called
       from a reply handler */
    ngx_conduit_redis_t       *redis;
    void                      *data;
    /* owners of keys have changed, or are known for the first time */
    void                     (*changed)(void *data);
    /* nothing is known, and nobody answers */
    void                     (*failed)(void *data);
    /* now and then for each node that has data: which can be given up, and set
       to NULL, when it is of no use */
    void                     (*review)(void *data, ngx_conduit_node_t *node);

    /* private */
    unsigned                   opened:1;
    unsigned                   known:1;
    unsigned                   asking:1;    /* a reply is to come */
    unsigned                   again:1;     /* ask once more then */
    unsigned                   news:1;      /* the owner is to be told */
    unsigned                   doubted:1;   /* asked for a reason */
    ngx_uint_t                 in_vain;     /* how often, without news */
    ngx_conduit_reasons_t      refusals;    /* error replies that were logged */
    ngx_msec_t                 refused;     /* when the first of them came */
    uint32_t                   stranger;    /* a name that was logged: its
                                               hash; 0: none */
    ngx_queue_t                nodes;
    ngx_conduit_node_t        *master;      /* of all keys, but in a cluster */
    ngx_conduit_node_t       **slots;       /* of a cluster */
    ngx_conduit_redis_t        guides;      /* whom the scout may ask */
    ngx_conduit_link_t         scout;
    ngx_conduit_link_t         crier;       /* a Sentinel's +switch-master */
    ngx_msec_t                 asked;
    ngx_event_t                ask_timer;
    ngx_event_t                news_event;
};


/*
 * Opens a topology in a worker; does nothing on an open one.  One server is
 * known at once, without a call of changed().  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_topology_open(ngx_conduit_topology_t *t);

/*
 * Closes it and frees the nodes; the owner gives up their data before.  Never
 * to be called from a reply handler.
 */
void ngx_conduit_topology_close(ngx_conduit_topology_t *t);

/* Returns the server that holds a key, or NULL when that is not known. */
ngx_conduit_node_t *ngx_conduit_topology_node(ngx_conduit_topology_t *t,
    ngx_str_t *key);

/*
 * Follows an error reply of from to a command on a key: for MOVED takes note of
 * the new owner of its slot; sets *ask when only this command is meant (to be
 * preceded by ASKING).  Returns where to send it, or NULL when the reply says
 * nothing of that, or the node is not known yet.
 */
ngx_conduit_node_t *ngx_conduit_topology_redirect(ngx_conduit_topology_t *t,
    ngx_conduit_node_t *from, redisReply *reply, ngx_uint_t *ask);

/*
 * Something does not fit what is known (a redirection, a lost link, a server
 * that is no master): asks again soon.
 */
void ngx_conduit_topology_doubt(ngx_conduit_topology_t *t);

/* Calls a function for each node that has data. */
void ngx_conduit_topology_each(ngx_conduit_topology_t *t,
    void (*handler)(void *data, ngx_conduit_node_t *node), void *data);

/*
 * Calls a function for each master, with data of the owner or without, while it
 * returns NGX_OK.  Returns NGX_OK, NGX_DECLINED when no master is known, or
 * what the function returned.
 */
ngx_int_t ngx_conduit_topology_masters(ngx_conduit_topology_t *t,
    ngx_int_t (*handler)(void *data, ngx_conduit_node_t *node), void *data);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_TOPOLOGY_H */
