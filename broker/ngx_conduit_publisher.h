/*
 * A publisher: what a worker keeps to publish to one deployment of Redis.  A
 * link to each server that is published to, and the operations that wait until
 * it is known which.
 */

#ifndef NGX_CONDUIT_PUBLISHER_H
#define NGX_CONDUIT_PUBLISHER_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_redis_error.h"
#include "ngx_conduit_link.h"
#include "ngx_conduit_topology.h"

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_conduit_redis_t     *redis;      /* set by the owner */

    /* private */
    ngx_conduit_topology_t   topology;
    ngx_queue_t              waiting;    /* ngx_conduit_waiter_t */
    ngx_uint_t               opened;
    ngx_uint_t               lost;       /* no map, nobody answers */
    ngx_msec_t               complained; /* when an error was logged; 0: none */

    /* of the watch */
    ngx_event_t              watch_timer;
    ngx_uint_t               watched;
    void                   (*proved)(void *data);
    void                    *proved_data;
    ngx_uint_t               checks;     /* answers still to come */
    ngx_uint_t               failed;     /* one of them was none */
    ngx_uint_t               refused;    /* what Redis said was logged; until
                                            all is well */
    ngx_msec_t               checked;    /* when they were sent */
    ngx_msec_t               ready;      /* when all masters would have written
                                            last, ngx_current_msec; 0: never */
    /* NULL, or counts what Redis has refused to write */
    void                   (*refusal)(conduit_redis_error_t kind);
} ngx_conduit_publisher_t;

/* somebody who waits for the topology; part of the caller's memory */
typedef struct {
    ngx_queue_t              queue;
    /* ok: the topology is known; else nobody tells, or it closes */
    void                   (*handler)(void *data, ngx_uint_t ok);
    void                    *data;
} ngx_conduit_waiter_t;


/*
 * Finds the server for a key.  Returns NGX_OK with *node set; NGX_AGAIN when
 * that is not known yet: the waiter's handler is called once; NGX_DECLINED when
 * nobody tells; NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_publisher_node(ngx_conduit_publisher_t *pub,
    ngx_str_t *key, ngx_conduit_waiter_t *waiter, ngx_conduit_node_t **node);

/*
 * Returns the link to a server, made with the first call for it; NULL when
 * memory is out.
 */
ngx_conduit_link_t *ngx_conduit_publisher_link(ngx_conduit_publisher_t *pub,
    ngx_conduit_node_t *node);

/*
 * Sees to it, from now on, that pub->ready is kept: asks every master once a
 * second for a write that changes nothing, and calls proved() when all would
 * have done it.  A server that is out of memory, is a replica, or may not write
 * for another reason is not ready.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_publisher_watch(ngx_conduit_publisher_t *pub,
    void (*proved)(void *data), void *data);

/*
 * The level at which to log that a message failed: what one meets, a thousand
 * others do, so that one in 10 seconds is an error and the rest are info.
 */
ngx_uint_t ngx_conduit_publisher_level(ngx_conduit_publisher_t *pub);

/*
 * Closes all links and forgets what was learnt: operations under way end
 * before the return.  Does nothing before the first one.
 */
void ngx_conduit_publisher_close(ngx_conduit_publisher_t *pub);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PUBLISHER_H */
