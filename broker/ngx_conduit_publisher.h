/* Copyright (C) Conduit for NGINX authors */

/*
 * A publisher: what a worker needs to publish to one Redis deployment.  It has
 * a link to each server, and a queue of operations that wait until the server
 * for their key is known.
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
    ngx_uint_t               lost;       /* no server could be found */
    ngx_msec_t               error_logged_at; /* when an error was logged; 0:
                                                 none */

    /* of the watch */
    ngx_event_t              watch_timer;
    ngx_uint_t               watched;
    void                   (*on_ready)(void *data);
    void                    *on_ready_data;
    ngx_uint_t               checks;     /* replies still to come */
    ngx_uint_t               failed;     /* a check failed */
    ngx_uint_t               refused;    /* logged; until all checks succeed */
    ngx_msec_t               checked;    /* when they were sent */
    ngx_msec_t               ready;      /* when all masters last took writes,
                                            ngx_current_msec; 0: never */
    /* counts writes refused by Redis; may be NULL */
    void                   (*refusal)(conduit_redis_error_e kind);
} ngx_conduit_publisher_t;

/* an operation that waits for the topology; memory of the caller */
typedef struct {
    ngx_queue_t              queue;
    /* ok: the topology is known; else no server told it, or it is being
       closed */
    void                   (*handler)(void *data, ngx_uint_t ok);
    void                    *data;
} ngx_conduit_waiter_t;


/*
 * Finds the server for a key.  Returns NGX_OK with *node set; NGX_AGAIN when it
 * is not known yet: the waiter's handler will be called once; NGX_DECLINED when
 * it can't be found; NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_publisher_node(ngx_conduit_publisher_t *pub,
    ngx_str_t *key, ngx_conduit_waiter_t *waiter, ngx_conduit_node_t **node);

/*
 * Returns the link to a server, created by the first call; NULL when memory is
 * out.
 */
ngx_conduit_link_t *ngx_conduit_publisher_link(ngx_conduit_publisher_t *pub,
    ngx_conduit_node_t *node);

/*
 * Starts to maintain pub->ready: once a second sends a write that changes
 * nothing to every master, and calls on_ready() when all have accepted it.  A
 * server that is out of memory, is a replica, or refuses writes for another
 * reason is not ready.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_publisher_watch(ngx_conduit_publisher_t *pub,
    void (*on_ready)(void *data), void *data);

/*
 * The level at which to log that a message failed: in an outage all fail for
 * the same reason.  Returns NGX_LOG_ERR once in 10 seconds, else NGX_LOG_INFO.
 */
ngx_uint_t ngx_conduit_publisher_level(ngx_conduit_publisher_t *pub);

/*
 * Closes all links and the topology; pending operations end before the return.
 * Does nothing if the publisher was never used.
 */
void ngx_conduit_publisher_close(ngx_conduit_publisher_t *pub);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PUBLISHER_H */
