/* Copyright (C) Conduit for NGINX authors */

/*
 * Counters in shared memory.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_stats.h"


/* number of workers, including those that shut down after a reload */
#define NGX_CONDUIT_STATS_SLOTS  128


struct ngx_conduit_stats_shared_s {
    time_t                start;
    ngx_atomic_t          generation;    /* counts configurations */
    ngx_conduit_slot_t    slots[NGX_CONDUIT_STATS_SLOTS];
};


/* the generation of this process' configuration: when a worker starts late,
   sh->generation may already be that of the next one */
static ngx_atomic_uint_t  ngx_conduit_stats_generation;


static ngx_int_t ngx_conduit_stats_init(ngx_shm_zone_t *zone, void *data);
static ngx_uint_t ngx_conduit_stats_alive(ngx_atomic_uint_t pid);
static ngx_conduit_slot_t *ngx_conduit_stats_take(
    ngx_conduit_stats_shared_t *sh);
static void ngx_conduit_stats_clear(ngx_conduit_slot_t *slot);
static ngx_uint_t ngx_conduit_stats_fresh(ngx_conduit_slot_t *slot,
    ngx_msec_t age);
static ngx_uint_t ngx_conduit_stats_add_link(ngx_conduit_stats_link_t *links,
    ngx_uint_t n, ngx_uint_t nmax, ngx_conduit_stats_link_t *link,
    ngx_uint_t *next);


ngx_shm_zone_t *
ngx_conduit_stats_zone(ngx_conf_t *cf, ngx_str_t *name, void *tag)
{
    size_t           size;
    ngx_shm_zone_t  *zone;

    /* room for the slab allocator's own header and page descriptors */

    size = sizeof(ngx_conduit_stats_shared_t);
    size = ngx_align(size + size / 64, ngx_pagesize) + 8 * ngx_pagesize;

    zone = ngx_shared_memory_add(cf, name, size, tag);

    if (zone != NULL) {
        zone->init = ngx_conduit_stats_init;
    }

    return zone;
}


/* data is zone->data of the previous configuration, or NULL */

static ngx_int_t
ngx_conduit_stats_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t             *pool;
    ngx_conduit_stats_shared_t  *sh;

    sh = data;

    if (sh == NULL) {
        pool = (ngx_slab_pool_t *) zone->shm.addr;

        sh = zone->shm.exists
             ? pool->data
             : ngx_slab_calloc(pool, sizeof(ngx_conduit_stats_shared_t));

        if (sh == NULL) {
            return NGX_ERROR;
        }

        if (pool->data == NULL) {
            sh->start = ngx_time();
            pool->data = sh;
        }
    }

    ngx_conduit_stats_generation = ngx_atomic_fetch_add(&sh->generation, 1) + 1;

    zone->data = sh;

    return NGX_OK;
}


void
ngx_conduit_stats_open(ngx_conduit_stats_t *stats, ngx_shm_zone_t *zone)
{
    ngx_uint_t                   i;
    ngx_atomic_uint_t            ready;
    ngx_conduit_slot_t          *slot;
    ngx_conduit_stats_shared_t  *sh;

    sh = zone ? zone->data : NULL;

    stats->slot = &stats->own;
    stats->shared = sh;

    if (sh == NULL) {
        return;
    }

    slot = ngx_conduit_stats_take(sh);

    if (slot == NULL) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "conduit: more than %d workers, this one is not counted",
                      NGX_CONDUIT_STATS_SLOTS);
        slot = &stats->own;
    }

    stats->slot = slot;

    /* inherit the latest proof of the previous workers: a reload must not make
       "ready" fail */

    ready = 0;

    for (i = 0; i < NGX_CONDUIT_STATS_SLOTS; i++) {
        ready = ngx_max(ready, sh->slots[i].ready);
    }

    slot->ready = ready;
    slot->opened = ngx_current_msec;

    ngx_memory_barrier();

    slot->started = ngx_pid;
}


/* takes the slot of the worker that this one replaces, or a free one */

static ngx_conduit_slot_t *
ngx_conduit_stats_take(ngx_conduit_stats_shared_t *sh)
{
    ngx_uint_t           i, round;
    ngx_atomic_uint_t    pid;
    ngx_conduit_slot_t  *slot;

    for (round = 0; round < 2; round++) {

        for (i = 0; i < NGX_CONDUIT_STATS_SLOTS; i++) {
            slot = &sh->slots[i];
            pid = slot->pid;

            if (round == 0
                && (slot->generation != ngx_conduit_stats_generation
                    || slot->worker != ngx_worker || pid == 0))
            {
                continue;
            }

            if (round && ngx_conduit_stats_alive(pid)) {
                continue;
            }

            if (ngx_atomic_cmp_set(&slot->pid, pid, ngx_pid)) {
                ngx_conduit_stats_clear(slot);
                slot->generation = ngx_conduit_stats_generation;
                slot->worker = ngx_worker;
                return slot;
            }
        }
    }

    return NULL;
}


static ngx_uint_t
ngx_conduit_stats_alive(ngx_atomic_uint_t pid)
{
    return pid != 0 && (kill((ngx_pid_t) pid, 0) == 0 || ngx_errno != ESRCH);
}


static void
ngx_conduit_stats_clear(ngx_conduit_slot_t *slot)
{
    slot->leaving = 0;
    slot->ready = 0;

    ngx_memzero(slot->gauges, sizeof(slot->gauges));
    ngx_memzero(slot->links, sizeof(slot->links));
}


void
ngx_conduit_stats_close(ngx_conduit_stats_t *stats)
{
    ngx_conduit_slot_t  *slot;

    slot = stats->slot;

    if (slot == &stats->own) {
        return;
    }

    stats->slot = &stats->own;

    ngx_memzero(slot->gauges, sizeof(slot->gauges));
    ngx_memzero(slot->links, sizeof(slot->links));

    ngx_memory_barrier();

    slot->pid = 0;
}


ngx_conduit_stats_link_t *
ngx_conduit_stats_link_open(ngx_conduit_stats_t *stats, ngx_str_t *node,
    const char *role)
{
    size_t                     len;
    ngx_uint_t                 i;
    ngx_conduit_stats_link_t  *link, *unused;

    unused = NULL;
    len = ngx_min(node->len, NGX_CONDUIT_STATS_NAME - 1);

    for (i = 0; i < NGX_CONDUIT_STATS_LINKS; i++) {
        link = &stats->slot->links[i];

        if (link->open == 0) {
            unused = unused ? unused : link;
            continue;
        }

        if (ngx_strncmp(link->node, node->data, len) == 0
            && link->node[len] == '\0' && ngx_strcmp(link->role, role) == 0)
        {
            link->open++;
            return link;
        }
    }

    if (unused == NULL) {
        return NULL;
    }

    ngx_memcpy(unused->node, node->data, len);
    unused->node[len] = '\0';
    (void) ngx_cpystrn((u_char *) unused->role, (u_char *) role,
                       sizeof(unused->role));
    unused->up = 0;

    ngx_memory_barrier();

    unused->open = 1;

    return unused;
}


void
ngx_conduit_stats_link_close(ngx_conduit_stats_link_t *link)
{
    link->open--;
}


ngx_uint_t
ngx_conduit_stats_sum(ngx_conduit_stats_t *stats, uint64_t *cells,
    uint64_t *gauges, ngx_conduit_stats_link_t *links, ngx_uint_t nmax)
{
    ngx_uint_t           i, k, n, next;
    ngx_conduit_slot_t  *slot;

    n = 0;

    ngx_memzero(cells, NGX_CONDUIT_STATS_CELLS * sizeof(uint64_t));
    ngx_memzero(gauges, NGX_CONDUIT_STATS_GAUGES * sizeof(uint64_t));

    for (i = 0; i < NGX_CONDUIT_STATS_SLOTS && stats->shared; i++) {
        slot = &stats->shared->slots[i];

        for (k = 0; k < NGX_CONDUIT_STATS_CELLS; k++) {
            cells[k] += slot->cells[k];
        }

        if (!ngx_conduit_stats_alive(slot->pid)) {
            continue;
        }

        for (k = 0; k < NGX_CONDUIT_STATS_GAUGES; k++) {
            gauges[k] += slot->gauges[k];
        }

        next = 0;

        for (k = 0; k < NGX_CONDUIT_STATS_LINKS; k++) {
            n = ngx_conduit_stats_add_link(links, n, nmax, &slot->links[k],
                                           &next);
        }
    }

    return n;
}


/* *next is a hint: workers mostly open their links in the same order */

static ngx_uint_t
ngx_conduit_stats_add_link(ngx_conduit_stats_link_t *links, ngx_uint_t n,
    ngx_uint_t nmax, ngx_conduit_stats_link_t *link, ngx_uint_t *next)
{
    ngx_uint_t                i, k;
    ngx_conduit_stats_link_t  copy;

    if (link->open == 0) {
        return n;
    }

    /* copied, as another process may be writing it */

    copy = *link;
    copy.node[sizeof(copy.node) - 1] = '\0';
    copy.role[sizeof(copy.role) - 1] = '\0';

    for (i = 0; i < n; i++) {
        k = (*next + i) % n;

        if (ngx_strcmp(links[k].node, copy.node) == 0
            && ngx_strcmp(links[k].role, copy.role) == 0)
        {
            links[k].open += copy.open;
            links[k].up += copy.up;
            *next = k + 1;
            return n;
        }
    }

    if (n < nmax) {
        links[n++] = copy;
    }

    *next = n;

    return n;
}


ngx_uint_t
ngx_conduit_stats_ready(ngx_conduit_stats_t *stats, ngx_msec_t age)
{
    ngx_uint_t           i, n;
    ngx_atomic_uint_t    pid;
    ngx_conduit_slot_t  *slot;

    /* a worker without a slot in shared memory checks its own proof */

    if (stats->slot == &stats->own
        && !ngx_conduit_stats_fresh(&stats->own, age))
    {
        return 0;
    }

    n = (stats->slot == &stats->own);

    for (i = 0; i < NGX_CONDUIT_STATS_SLOTS && stats->shared; i++) {
        slot = &stats->shared->slots[i];

        pid = slot->pid;

        /* a worker that has just taken the slot does not count yet */

        if (slot->leaving || slot->started != pid
            || !ngx_conduit_stats_alive(pid))
        {
            continue;
        }

        n++;

        if (!ngx_conduit_stats_fresh(slot, age)) {
            return 0;
        }
    }

    return n != 0;
}


static ngx_uint_t
ngx_conduit_stats_fresh(ngx_conduit_slot_t *slot, ngx_msec_t age)
{
    ngx_msec_int_t  limit, proof, proof_then, worker;

    limit = age;

    /* how old the proof is, how old it was when the worker started, and how
       old the worker is.  Processes share the clock, but read it at different
       times: each may be negative */

    proof = ngx_current_msec - slot->ready;
    proof_then = slot->opened - slot->ready;
    worker = ngx_current_msec - slot->opened;

    /* a new worker has the proof of its predecessors, and as much time for its
       own as they had: on a busy machine it takes a while to start */

    return slot->ready != 0
           && (proof <= limit || (proof_then <= limit && worker <= limit));
}


time_t
ngx_conduit_stats_uptime(ngx_conduit_stats_t *stats)
{
    return stats->shared ? ngx_time() - stats->shared->start : 0;
}
