/* Copyright (C) Conduit for NGINX authors */

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
 * A link of its own asks; without a reply it goes to the next seed, node or
 * Sentinel.  The reply is compared with the known map: a tracked key is
 * not invalidated when its slot moves, so the owner is told of every change,
 * and reads the keys again.
 *
 * A worker resolves no names: a server that is announced by name can only be
 * used if it is a host of the URL.
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

/*
 * Files; a file calls those below it:
 *
 *   topology        opens and closes; finds a key's server; tells the
 *                   owner
 *   topology_query  asks, and asks again after a doubt
 *   topology_map    reads replies and keeps the nodes
 */

/* a server; it is freed when it has neither slots nor data of the owner */
typedef struct {
    ngx_conduit_redis_t        redis;    /* for links to this server */
    void                      *data;     /* the owner's; NULL: not in use */
    ngx_uint_t                 slots;    /* how many it is the master of */
    ngx_msec_t                 unused_since;    /* when it lost the last one,
                                                   or was last used for ASK */

    /* private */
    ngx_queue_t                queue;
    ngx_str_t                  host;     /* as named in replies */
    u_char                     name[NGX_CONDUIT_NODE_TEXT];
    u_char                     ip[NGX_SOCKADDR_STRLEN];
} ngx_conduit_node_t;

/* changed(), failed() */
typedef void (*ngx_conduit_topology_pt)(void *data);

/* takes one node */
typedef void (*ngx_conduit_node_pt)(void *data, ngx_conduit_node_t *node);
typedef ngx_int_t (*ngx_conduit_master_pt)(void *data,
    ngx_conduit_node_t *node);

struct ngx_conduit_topology_s {
    /* the owner sets these before ngx_conduit_topology_open(); none is called
       from a reply handler */
    ngx_conduit_redis_t       *redis;
    void                      *data;
    /* owners of keys have changed, or are known for the first time */
    ngx_conduit_topology_pt    changed;
    /* no map is known, and all addresses have failed */
    ngx_conduit_topology_pt    failed;
    /* called regularly for each node with data: the owner may free the data and
       set it to NULL */
    ngx_conduit_node_pt        review;

    /* private */
    unsigned                   opened:1;
    unsigned                   known:1;
    unsigned                   querying:1;     /* waits for a reply */
    unsigned                   query_again:1;  /* after the reply */
    unsigned                   map_changed:1;  /* not yet reported */
    unsigned                   doubted:1;      /* a doubt made it ask */
    ngx_uint_t                 unconfirmed; /* doubts in a row that no reply
                                               confirmed */
    ngx_conduit_reasons_t      refusals;    /* error replies that were logged */
    ngx_msec_t                 refused_at;  /* when the first of them came */
    uint32_t                   unusable;    /* hash of the last unusable name
                                               logged; 0: none */
    ngx_queue_t                nodes;
    ngx_conduit_node_t        *master;      /* of all keys; NULL in a cluster */
    ngx_conduit_node_t       **slots;       /* of a cluster */
    ngx_conduit_redis_t        seeds;       /* the addresses for query_link */
    ngx_conduit_link_t         query_link;
    ngx_conduit_link_t         sentinel_link;   /* its +switch-master */
    ngx_msec_t                 queried;     /* when it was asked last */
    ngx_event_t                query_timer;
    ngx_event_t                change_event;
};


/*
 * Opens a topology in a worker; does nothing if it is open.  A single server is
 * known at once, without a call of changed().  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_topology_open(ngx_conduit_topology_t *t);

/*
 * Closes a topology and frees its nodes; the owner must have freed their data.
 * Must not be called from a reply handler.
 */
void ngx_conduit_topology_close(ngx_conduit_topology_t *t);

/* Returns the server that holds a key, or NULL when that is not known. */
ngx_conduit_node_t *ngx_conduit_topology_node(ngx_conduit_topology_t *t,
    ngx_str_t *key);

/*
 * Parses an error reply of the node "from" to a command.  MOVED updates the
 * map; for ASK sets *ask: only this command is sent to the other node, after
 * ASKING.  Returns the node to send it to, or NULL if the reply is no
 * redirection or the node can't be used.
 */
ngx_conduit_node_t *ngx_conduit_topology_redirect(ngx_conduit_topology_t *t,
    ngx_conduit_node_t *from, redisReply *reply, ngx_uint_t *ask);

/*
 * The known map may be outdated (a redirection, a lost link, a server that is
 * no master): asks again soon.
 */
void ngx_conduit_topology_doubt(ngx_conduit_topology_t *t);

/*
 * The owner could not follow a change, as memory is out: asks again soon, and
 * calls changed() after the reply even if it has nothing new.
 */
void ngx_conduit_topology_repeat(ngx_conduit_topology_t *t);

/* Calls a function for each node that has data. */
void ngx_conduit_topology_each(ngx_conduit_topology_t *t,
    ngx_conduit_node_pt handler, void *data);

/*
 * Calls a function for each master, with data of the owner or without, while it
 * returns NGX_OK.  Returns NGX_OK, NGX_DECLINED when no master is known, or
 * what the function returned.
 */
ngx_int_t ngx_conduit_topology_masters(ngx_conduit_topology_t *t,
    ngx_conduit_master_pt handler, void *data);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_TOPOLOGY_H */
