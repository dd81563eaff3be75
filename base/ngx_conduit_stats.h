/* Copyright (C) Conduit for NGINX authors */

/*
 * Counters in shared memory: summed over all workers, kept across reloads.
 *
 * Each worker counts in its own slot, without locks; a page adds up the slots.
 * A slot outlives its worker, and the next worker continues with its counters,
 * so that they never decrease; gauges are those of running workers only.
 */

#ifndef NGX_CONDUIT_STATS_H
#define NGX_CONDUIT_STATS_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_metrics.h"

#pragma GCC visibility push(hidden)

#define NGX_CONDUIT_STATS_CELLS   160
#define NGX_CONDUIT_STATS_GAUGES  8
#define NGX_CONDUIT_STATS_LINKS   128   /* servers and roles in a worker */
#define NGX_CONDUIT_STATS_NAME    64

/* the first cells: what both modules count; those of the broker come first */
enum {
    NGX_CONDUIT_REDIS_COMMANDS = 0,
    NGX_CONDUIT_REDIS_CONNECTS,         /* connections that came up */
    NGX_CONDUIT_REDIS_FAILURES,         /* attempts that did not */
    NGX_CONDUIT_REDIS_LOSSES,           /* connections lost */
    NGX_CONDUIT_REDIS_TIMEOUTS,         /* for a command without a reply */
    NGX_CONDUIT_REDIS_REDIRECTS,        /* MOVED and ASK */
    NGX_CONDUIT_JWT_CACHE_HITS,
    NGX_CONDUIT_JWT_CACHE_MISSES,
    NGX_CONDUIT_COMMON_CELLS
};

/* their parts of a metrics' table */
#define NGX_CONDUIT_REDIS_METRICS                                             \
    { "redis_commands_total", "Commands sent to Redis, except for login "     \
      "and subscription.", CONDUIT_COUNTER,                                   \
      NGX_CONDUIT_REDIS_COMMANDS, NULL, NULL, NULL },                         \
    { "redis_connects_total", "Connections to Redis established.",            \
      CONDUIT_COUNTER, NGX_CONDUIT_REDIS_CONNECTS, NULL, NULL, NULL },        \
    { "redis_connect_failures_total", "Attempts to connect to Redis that "    \
      "failed.", CONDUIT_COUNTER, NGX_CONDUIT_REDIS_FAILURES, NULL, NULL,     \
      NULL },                                                                 \
    { "redis_connections_lost_total", "Connections to Redis that were lost.", \
      CONDUIT_COUNTER, NGX_CONDUIT_REDIS_LOSSES, NULL, NULL, NULL },          \
    { "redis_timeouts_total", "Connections closed because Redis did not "     \
      "reply in time.", CONDUIT_COUNTER, NGX_CONDUIT_REDIS_TIMEOUTS, NULL,    \
      NULL, NULL },                                                           \
    { "redis_redirects_total", "MOVED and ASK replies of a cluster.",         \
      CONDUIT_COUNTER, NGX_CONDUIT_REDIS_REDIRECTS, NULL, NULL, NULL }

#define NGX_CONDUIT_JWT_CACHE_METRICS                                         \
    { "jwt_cache_hits_total", "Tokens that the same worker had verified "     \
      "before.", CONDUIT_COUNTER,                                             \
      NGX_CONDUIT_JWT_CACHE_HITS, NULL, NULL, NULL },                         \
    { "jwt_cache_misses_total", "Tokens that were not in the cache, refused " \
      "ones included.", CONDUIT_COUNTER,                                      \
      NGX_CONDUIT_JWT_CACHE_MISSES, NULL, NULL, NULL }

/* links of one role to one server, in a worker; open 0: the place is free */
typedef struct {
    char                      node[NGX_CONDUIT_STATS_NAME];
    char                      role[16];
    uint32_t                  open;
    uint32_t                  up;
} ngx_conduit_stats_link_t;

/* the slot of one worker; only the worker writes it */
typedef struct {
    ngx_atomic_t              pid;       /* 0: the slot is free */
    ngx_atomic_t              generation;
    ngx_atomic_t              worker;
    ngx_atomic_t              leaving;   /* was told to quit */
    ngx_atomic_t              ready;     /* ngx_current_msec when Redis was
                                            last known to work; 0: never */
    ngx_atomic_t              opened;    /* ngx_current_msec when the worker
                                            started */
    ngx_atomic_t              started;   /* pid, once "ready" and "opened" are
                                            those of this worker */
    uint64_t                  cells[NGX_CONDUIT_STATS_CELLS];
    uint64_t                  gauges[NGX_CONDUIT_STATS_GAUGES];
    ngx_conduit_stats_link_t  links[NGX_CONDUIT_STATS_LINKS];
} ngx_conduit_slot_t;

typedef struct ngx_conduit_stats_shared_s  ngx_conduit_stats_shared_t;

/* state of a module in each process */
typedef struct {
    ngx_conduit_slot_t          *slot;   /* never NULL; initially &own */
    ngx_conduit_stats_shared_t  *shared; /* NULL: not counted */
    ngx_conduit_slot_t           own;    /* used without one there */
} ngx_conduit_stats_t;


/*
 * Adds the shared memory of a module to the configuration; name is that of the
 * zone, tag the module.  Returns NULL when memory is out.
 */
ngx_shm_zone_t *ngx_conduit_stats_zone(ngx_conf_t *cf, ngx_str_t *name,
    void *tag);

/*
 * Called when a worker starts: takes a slot of the zone.  Without a free slot,
 * or without a zone (NULL), the worker counts in its own memory.
 */
void ngx_conduit_stats_open(ngx_conduit_stats_t *stats, ngx_shm_zone_t *zone);

/* Called when a worker exits: clears its gauges and frees the slot. */
void ngx_conduit_stats_close(ngx_conduit_stats_t *stats);

#define ngx_conduit_stats_add(stats, cell, n)                                 \
    ((stats)->slot->cells[cell] += (n))

#define ngx_conduit_stats_count(stats, cell)                                  \
    ngx_conduit_stats_add(stats, cell, 1)

/*
 * Registers a link; role and node are copied.  Returns the place whose "up" the
 * link maintains, or NULL when no place is left.
 */
ngx_conduit_stats_link_t *ngx_conduit_stats_link_open(
    ngx_conduit_stats_t *stats, ngx_str_t *node, const char *role);
void ngx_conduit_stats_link_close(ngx_conduit_stats_link_t *link);

/*
 * Adds up all slots: counters into cells, gauges of living workers into gauges,
 * links of the same server and role into links (of nmax places).  Returns how
 * many links there are.
 */
ngx_uint_t ngx_conduit_stats_sum(ngx_conduit_stats_t *stats, uint64_t *cells,
    uint64_t *gauges, ngx_conduit_stats_link_t *links, ngx_uint_t nmax);

/*
 * Whether, in each running worker that was not told to quit, Redis was known to
 * work within the last age ms.  A worker that was started in that time is not
 * expected to know more than its predecessors did when it was started.
 */
ngx_uint_t ngx_conduit_stats_ready(ngx_conduit_stats_t *stats, ngx_msec_t age);

/* Seconds since the zone was created: since NGINX was started, not reloaded. */
time_t ngx_conduit_stats_uptime(ngx_conduit_stats_t *stats);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_STATS_H */
