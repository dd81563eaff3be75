/* Copyright (C) Conduit for NGINX authors */

/*
 * What all files of the gateway share: settings, and why a response ended.
 *
 * The files: calls go to the right and downwards only; reports upward go
 * through handlers (tools/arrows checks it):
 *
 *   request -> subscriber -> channel -> listeners -> feed -> shard -> doorbell
 *              response            resuming          hub -> roster, schedule
 *              client                                canary -> hub
 *              output -> frame
 *           -> pull -> channel
 *
 *   hub            one deployment of Redis
 *     shard        one server of it, one doorbell
 *       feed       one Redis stream: a cursor, a window of recent frames
 *         frame    one entry as the bytes of its event, made once, shared
 *     channel      a feed and its listeners
 *       listener   a position in the stream, and its pace
 *         sub      one SSE response
 *         pull     one complete response
 *
 * A listener whose position is not below the floor of the window is served from
 * memory.  A listener below it is served from a batch, read from the stream and
 * shared by all listeners in that part, until it reaches the window.
 */

#ifndef NGX_CONDUIT_GATEWAY_H
#define NGX_CONDUIT_GATEWAY_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

/* the only symbol that NGINX looks up in the .so */
extern ngx_module_t  ngx_conduit_gateway_module;

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_hub_s      ngx_conduit_hub_t;
typedef struct ngx_conduit_shard_s    ngx_conduit_shard_t;
typedef struct ngx_conduit_channel_s  ngx_conduit_channel_t;
typedef struct ngx_conduit_feed_s     ngx_conduit_feed_t;
typedef struct ngx_conduit_sub_s      ngx_conduit_sub_t;
typedef struct ngx_conduit_out_s      ngx_conduit_out_t;
typedef struct ngx_conduit_durable_s  ngx_conduit_durable_t;

/* what the directives of a location say about streaming */
typedef struct {
    ngx_msec_t              poll;          /* 0: tracking */
    ngx_uint_t              read_count;
    size_t                  window;
    size_t                  buffer_size;
    ngx_msec_t              retry;
    ngx_msec_t              coalesce;      /* 0: off */
    ngx_msec_t              keepalive;     /* 0: off */
    ngx_msec_t              outage;
    ngx_msec_t              drain;
    ngx_msec_t              max_duration;  /* 0: off */
    ngx_uint_t              after_end;     /* ngx_conduit_after_end_e */
    ngx_uint_t              drain_event;   /* ngx_conduit_drain_event_e */
    ngx_uint_t              format;        /* conduit_format_e */
    size_t                  max_value;     /* of a field; 0: any */
} ngx_conduit_gateway_settings_t;

/* what a client gets when it comes back after the END of its stream */
typedef enum {
    NGX_CONDUIT_AFTER_END_WAIT = 0,        /* entries that may follow */
    NGX_CONDUIT_AFTER_END_STOP             /* 204 */
} ngx_conduit_after_end_e;

/* which clients are sent server_draining before a response ends early */
typedef enum {
    NGX_CONDUIT_DRAIN_EVENT_AUTO = 0,      /* those whose token would be
                                              refused */
    NGX_CONDUIT_DRAIN_EVENT_ON,            /* all */
    NGX_CONDUIT_DRAIN_EVENT_OFF            /* none */
} ngx_conduit_drain_event_e;

/* ms: the "retry" of the error event sent in an outage, as the contract says */
#define NGX_CONDUIT_OUTAGE_RETRY  3000

/* why a response ended */
typedef enum {
    NGX_CONDUIT_CLOSE_CLIENT = 0,
    NGX_CONDUIT_CLOSE_END,
    NGX_CONDUIT_CLOSE_DRAIN,
    NGX_CONDUIT_CLOSE_OUTAGE,
    NGX_CONDUIT_CLOSE_EXPIRED,
    NGX_CONDUIT_CLOSE_DURATION,
    NGX_CONDUIT_CLOSE_TIMEOUT,
    NGX_CONDUIT_CLOSE_ERROR,
    NGX_CONDUIT_CLOSE_ANSWERED             /* a pull has got its answer */
} ngx_conduit_close_e;

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_H */
