/* Copyright (C) Conduit for NGINX authors */

/*
 * The metrics of the gateway module.
 */

#ifndef NGX_CONDUIT_GATEWAY_METRICS_H
#define NGX_CONDUIT_GATEWAY_METRICS_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_jwt.h"
#include "conduit_place.h"
#include "conduit_redis_error.h"
#include "ngx_conduit_stats.h"

#pragma GCC visibility push(hidden)

/* values of "outcome" of requests_total, in the order of their cells */
typedef enum {
    NGX_CONDUIT_REQUEST_ACCEPTED = 0,   /* a subscriber, or 204 */
    NGX_CONDUIT_REQUEST_TURNED_AWAY,    /* 200 that ends at once */
    NGX_CONDUIT_REQUEST_INVALID,        /* 400 */
    NGX_CONDUIT_REQUEST_UNAUTHORIZED,   /* 401 */
    NGX_CONDUIT_REQUEST_FORBIDDEN,      /* 403 */
    NGX_CONDUIT_REQUEST_METHOD,         /* 405 */
    NGX_CONDUIT_REQUEST_PREFLIGHT,      /* OPTIONS */
    NGX_CONDUIT_REQUEST_FAILED,         /* 500 */
    NGX_CONDUIT_REQUESTS
} ngx_conduit_request_e;

/* values of "reason" of auth_failures_total: a status of conduit_jwt_verify(),
   or one of these */
enum {
    NGX_CONDUIT_DENIED_MISSING = 0,     /* replaces CONDUIT_JWT_OK */
    NGX_CONDUIT_DENIED_FORMAT = CONDUIT_JWT_NO_MEMORY + 1,
    NGX_CONDUIT_DENIED_CLAIMS,          /* claims name another org or channel */
    NGX_CONDUIT_DENIED_REQUIRED,        /* conduit_gateway_require_claim */
    NGX_CONDUIT_DENIALS
};

/* values of "form" of gzip_frames_total */
enum {
    NGX_CONDUIT_DEFLATED_ALONE = 0,
    NGX_CONDUIT_DEFLATED_CHAINED,
    NGX_CONDUIT_DEFLATED_STORED,
    NGX_CONDUIT_DEFLATED_FORMS
};

#define NGX_CONDUIT_CLOSES  8           /* ngx_conduit_close_e, those of
                                           subscribers */

/* values of "reason" of history_lost_total */
typedef enum {
    NGX_CONDUIT_LOST_TRIMMED = 0,
    NGX_CONDUIT_LOST_GONE,
    NGX_CONDUIT_LOSSES
} ngx_conduit_lost_e;

/* values of "result" of pulls_total */
typedef enum {
    NGX_CONDUIT_PULLED_EVENTS = 0,      /* some */
    NGX_CONDUIT_PULLED_EMPTY,           /* none */
    NGX_CONDUIT_PULLED_END,             /* 204 */
    NGX_CONDUIT_PULLED_AWAY,            /* 503 */
    NGX_CONDUIT_PULLED_RESULTS
} ngx_conduit_pulled_e;

enum {
    NGX_CONDUIT_GATEWAY_REQUESTS = NGX_CONDUIT_COMMON_CELLS,
    NGX_CONDUIT_GATEWAY_AUTH = NGX_CONDUIT_GATEWAY_REQUESTS
                               + NGX_CONDUIT_REQUESTS,
    NGX_CONDUIT_GATEWAY_CLOSED = NGX_CONDUIT_GATEWAY_AUTH
                                 + NGX_CONDUIT_DENIALS,
    NGX_CONDUIT_GATEWAY_CHECKS = NGX_CONDUIT_GATEWAY_CLOSED
                                 + NGX_CONDUIT_CLOSES,
    NGX_CONDUIT_GATEWAY_EVENTS = NGX_CONDUIT_GATEWAY_CHECKS
                                 + CONDUIT_REDIS_ERRORS,
    NGX_CONDUIT_GATEWAY_WRITES,
    NGX_CONDUIT_GATEWAY_BYTES,
    NGX_CONDUIT_GATEWAY_KEEPALIVES,
    NGX_CONDUIT_GATEWAY_FRAMES,
    NGX_CONDUIT_GATEWAY_SKIPPED,
    NGX_CONDUIT_GATEWAY_READS,
    NGX_CONDUIT_GATEWAY_CATCH_UPS,
    NGX_CONDUIT_GATEWAY_LOOK_UPS,
    NGX_CONDUIT_GATEWAY_SEARCHES,
    NGX_CONDUIT_GATEWAY_RINGS,
    NGX_CONDUIT_GATEWAY_SPURIOUS,
    NGX_CONDUIT_GATEWAY_BELLS_LOST,
    NGX_CONDUIT_GATEWAY_SWEEPS,
    NGX_CONDUIT_GATEWAY_SWEPT,
    NGX_CONDUIT_GATEWAY_LOST,
    NGX_CONDUIT_GATEWAY_DRAININGS = NGX_CONDUIT_GATEWAY_LOST
                                    + NGX_CONDUIT_LOSSES,
    NGX_CONDUIT_GATEWAY_SLOW,
    NGX_CONDUIT_GATEWAY_RESTARTS,
    NGX_CONDUIT_GATEWAY_CANARIES,
    NGX_CONDUIT_GATEWAY_DEFLATED,
    NGX_CONDUIT_GATEWAY_GZIP_SAVED = NGX_CONDUIT_GATEWAY_DEFLATED
                                     + NGX_CONDUIT_DEFLATED_FORMS,
    NGX_CONDUIT_GATEWAY_PULLED,
    NGX_CONDUIT_GATEWAY_DELIVERY = NGX_CONDUIT_GATEWAY_PULLED
                                   + NGX_CONDUIT_PULLED_RESULTS,
    NGX_CONDUIT_GATEWAY_CELLS = NGX_CONDUIT_GATEWAY_DELIVERY
                                + CONDUIT_METRICS_CELLS
};

/* gauges */
enum {
    NGX_CONDUIT_GATEWAY_SUBSCRIBERS = 0,
    NGX_CONDUIT_GATEWAY_CHANNELS,
    NGX_CONDUIT_GATEWAY_BLOCKED,
    NGX_CONDUIT_GATEWAY_PULLS,
    NGX_CONDUIT_GATEWAY_GAUGES
};

extern const conduit_metric_t  ngx_conduit_gateway_metrics[];

/* bounds of the histogram delivery_seconds, in microseconds */
extern const uint32_t  ngx_conduit_gateway_delivery[CONDUIT_METRICS_BOUNDS + 1];

extern ngx_conduit_stats_t  ngx_conduit_gateway_stats;

#define ngx_conduit_gateway_add(cell, n)                                      \
    ngx_conduit_stats_add(&ngx_conduit_gateway_stats, cell, n)

#define ngx_conduit_gateway_count(cell)  ngx_conduit_gateway_add(cell, 1)

/* adds n, which may be negative, to a gauge */
#define ngx_conduit_gateway_gauge(gauge, n)                                   \
    (ngx_conduit_gateway_stats.slot->gauges[gauge] += (n))

/* Counts a request refused with this status. */
void ngx_conduit_gateway_count_refused(ngx_uint_t status);

/* Counts a loss of history that a client is told of; loss must not be
   CONDUIT_PLACE_TOLD. */
void ngx_conduit_gateway_count_lost(conduit_place_loss_e loss);

/*
 * Adds an event that is sent now to cells of delivery_seconds; ms is the time
 * in its ID.
 */
void ngx_conduit_gateway_delivered(uint64_t *cells, uint64_t ms);

/* Returns the "reason" of a history_lost event, likewise. */
const char *ngx_conduit_gateway_loss_name(conduit_place_loss_e loss);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_METRICS_H */
