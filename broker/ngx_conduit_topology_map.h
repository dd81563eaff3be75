/*
 * The part of the topology that reads replies and keeps the nodes.
 */

#ifndef NGX_CONDUIT_TOPOLOGY_MAP_H
#define NGX_CONDUIT_TOPOLOGY_MAP_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_topology.h"

#pragma GCC visibility push(hidden)

/*
 * Takes a reply to SENTINEL GET-MASTER-ADDR-BY-NAME: [address, port], or nil;
 * sets t->news when the master is another one.  Returns NGX_OK, NGX_DECLINED
 * when it names nobody, NGX_ABORT when it is nobody that can be used
 * (ngx_conduit_topology_add).
 */
ngx_int_t ngx_conduit_topology_master(ngx_conduit_topology_t *t,
    redisReply *reply);

/*
 * Takes a reply to CLUSTER SLOTS: [[first, last, [host, port, id, [name, value,
 * ...]], replicas...], ...]; likewise, NGX_DECLINED when no slot is served,
 * NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_topology_slots(ngx_conduit_topology_t *t,
    redisReply *reply);

/* Finds a node by what it is called and its port; NULL: there is none. */
ngx_conduit_node_t *ngx_conduit_topology_find(ngx_conduit_topology_t *t,
    ngx_str_t *host, in_port_t port);

/* What a node is found by that has no name but is where this one is. */
ngx_str_t ngx_conduit_topology_same_host(ngx_conduit_node_t *node);

/*
 * Adds a node: host is how the cluster calls it, ip where it is, an address or
 * the name of a host of the URL.  Returns NULL when it is neither, which is
 * logged, or memory is out.
 */
ngx_conduit_node_t *ngx_conduit_topology_add(ngx_conduit_topology_t *t,
    ngx_str_t *host, ngx_str_t *ip, in_port_t port);

/* Counts the slots of each node. */
void ngx_conduit_topology_count(ngx_conduit_topology_t *t);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_TOPOLOGY_MAP_H */
