/* Copyright (C) Conduit for NGINX authors */

/*
 * The part of the topology that asks a cluster or a Sentinel.
 */

#ifndef NGX_CONDUIT_TOPOLOGY_QUERY_H
#define NGX_CONDUIT_TOPOLOGY_QUERY_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_topology_map.h"

#pragma GCC visibility push(hidden)

#define NGX_CONDUIT_QUERY_INTERVAL  1000    /* ms */


/* Opens the links to the nodes or Sentinels, and asks for the first time. */
void ngx_conduit_topology_query_open(ngx_conduit_topology_t *t);

/* Closes the links and frees the addresses. */
void ngx_conduit_topology_query_close(ngx_conduit_topology_t *t);

/*
 * Asks, unless a reply is expected already.  A reply that changes the map, and
 * the failure of all addresses while no map is known, post t->change_event.
 */
void ngx_conduit_topology_query(ngx_conduit_topology_t *t);

/*
 * In a cluster lets the link use any node: the hosts of the URL may be removed
 * one day.  To be called when the map has changed.
 */
void ngx_conduit_topology_add_seeds(ngx_conduit_topology_t *t);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_TOPOLOGY_QUERY_H */
