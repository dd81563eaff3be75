/* Copyright (C) Conduit for NGINX authors */

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
 * sets t->map_changed when the master is another one.  Returns NGX_OK,
 * NGX_DECLINED when the reply names no master, NGX_ABORT when the master can't
 * be used (see ngx_conduit_topology_get()).
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

/* Returns the host of a node that is announced with an empty host by this
   one. */
ngx_str_t ngx_conduit_topology_same_host(ngx_conduit_node_t *node);

/*
 * Returns the node with this host, as named in replies, and port.  Adds it if
 * it is not known; ip is its address or the name of a host of the URL.  Returns
 * NULL when ip is neither, which is logged, or memory is out.
 */
ngx_conduit_node_t *ngx_conduit_topology_get(ngx_conduit_topology_t *t,
    ngx_str_t *host, ngx_str_t *ip, in_port_t port);

/* Counts the slots of each node. */
void ngx_conduit_topology_count(ngx_conduit_topology_t *t);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_TOPOLOGY_MAP_H */
