/* Copyright (C) Conduit for NGINX authors */

/*
 * The hub: what one worker keeps for one deployment of Redis.
 *
 *   get           finds it by server and settings, at configuration time
 *   open, close   in a worker
 *   drain         ends the responses when the worker is to quit, so that the
 *                 clients reconnect to a new one
 */

#ifndef NGX_CONDUIT_HUB_H
#define NGX_CONDUIT_HUB_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_arena.h"
#include "conduit_buf.h"
#include "conduit_format.h"
#include "ngx_conduit_frame.h"
#include "ngx_conduit_gateway.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_roster.h"
#include "ngx_conduit_schedule.h"
#include "ngx_conduit_shard.h"
#include "ngx_conduit_stream.h"

#pragma GCC visibility push(hidden)

struct ngx_conduit_hub_s {
    ngx_conduit_redis_t            *redis;
    ngx_conduit_gateway_settings_t  settings;
    ngx_conduit_fields_t            fields;
    const conduit_format_t         *format;

    /* set in a worker, from the first subscriber on */
    ngx_uint_t                      opened;
    ngx_conduit_topology_t          topology;
    ngx_conduit_shard_t             nowhere;       /* of keys whose server is
                                                      unknown */
    ngx_rbtree_t                    keys;          /* of all shards */
    ngx_rbtree_node_t               sentinel;
    ngx_uint_t                      nchannels;
    ngx_queue_t                     probes;        /* ngx_conduit_probe_t, of
                                                      all channels */
    ngx_conduit_frame_t            *tails[2];      /* see
                                                      ngx_conduit_durable_sse.h
                                                      */
    uint64_t                        tails_cursor;
    ngx_conduit_schedule_t          schedule;
    ngx_conduit_roster_t            roster;
    ngx_event_t                     sweep_timer;
    ngx_event_t                     canary_timer;
    void                          (*on_ready)(void *data);  /* NULL: no
                                                               canaries */
    void                           *on_ready_data;
    /* whether a key that rang is the canary's; NULL: no canaries */
    ngx_uint_t                    (*canary_ring)(ngx_conduit_shard_t *shard,
                                                 u_char *name, size_t len);
    ngx_msec_t                      ready;         /* when Redis was last known
                                                      to work; 0: never */
    ngx_msec_t                      oldest_proof;  /* of the servers */
    ngx_uint_t                      sick;          /* a server is known to be
                                                      down */
    ngx_uint_t                      draining;
    ngx_conduit_http_log_t          skips;         /* limits the log of skipped
                                                      entries */
    conduit_arena_t                *arena;         /* for the message being
                                                      decoded */
    conduit_buf_t                   scratch;
    conduit_buf_t                   hello;         /* first line of responses */
};


/*
 * Finds or makes the hub of a server, settings and fields at configuration
 * time; hubs is an array of ngx_conduit_hub_t pointers.  So locations that send
 * the same key in different formats, or with different fields, have different
 * hubs, and different channels.  Returns NULL when memory is out.
 */
ngx_conduit_hub_t *ngx_conduit_hub_get(ngx_conf_t *cf, ngx_array_t *hubs,
    ngx_conduit_redis_t *redis, ngx_conduit_gateway_settings_t *settings,
    ngx_conduit_fields_t *fields);

/* Opens a hub in a worker; does nothing if it is open.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_hub_open(ngx_conduit_hub_t *hub);

/*
 * Whether the worker quits, so that a client of a hub, open or not, is to come
 * back to a new worker.
 */
ngx_uint_t ngx_conduit_hub_quits(ngx_conduit_hub_t *hub);

/*
 * How long, in ms, a request that gets one complete answer waits for Redis: as
 * long as an event stream stays open in an outage.  If that is 0, as long as a
 * command may take, so that a server that is up can reply.
 */
ngx_msec_t ngx_conduit_hub_patience(ngx_conduit_hub_t *hub);

/* Ends all responses at once, and all probes. */
void ngx_conduit_hub_end(ngx_conduit_hub_t *hub);

/*
 * Closes the links and frees all memory of the hub.  The responses of all hubs
 * must have ended, because one HTTP/2 connection may still have unsent bytes
 * of several hubs.
 */
void ngx_conduit_hub_close(ngx_conduit_hub_t *hub);

/*
 * The worker was told to quit: ends all responses, spread over the drain time.
 */
void ngx_conduit_hub_drain(ngx_conduit_hub_t *hub);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_HUB_H */
