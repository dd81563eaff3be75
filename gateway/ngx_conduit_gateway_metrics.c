/* Copyright (C) Conduit for NGINX authors */

/*
 * The metrics of the gateway module.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_metrics.h"


static ngx_conduit_lost_e ngx_conduit_gateway_lost(conduit_place_loss_e loss);


_Static_assert(NGX_CONDUIT_GATEWAY_CELLS <= NGX_CONDUIT_STATS_CELLS
               && NGX_CONDUIT_GATEWAY_GAUGES <= NGX_CONDUIT_STATS_GAUGES,
               "the slots are too small");

ngx_conduit_stats_t  ngx_conduit_gateway_stats = {
    .slot = &ngx_conduit_gateway_stats.own
};


static const char * const  ngx_conduit_gateway_outcomes[] = {
    "accepted", "turned_away", "invalid", "unauthorized", "forbidden",
    "method", "preflight", "failed", NULL
};

static const char * const  ngx_conduit_gateway_denials[] = {
    "missing", "expired", "not_yet_valid", "malformed", "algorithm", "kid",
    "signature", "issuer", "audience", "claim", "no_memory", "format",
    "org_or_channel", "required_claim", NULL
};

/* the names of ngx_conduit_close_name() */
static const char * const  ngx_conduit_gateway_closes[] = {
    "client", "end", "drain", "outage", "expired", "duration", "timeout",
    "error", NULL
};

static const char * const  ngx_conduit_gateway_pulled[] = {
    "events", "empty", "end", "away", NULL
};

/* the reasons in history_lost, by ngx_conduit_lost_e */
static const char * const  ngx_conduit_gateway_losses[] = {
    "trimmed", "gone", NULL
};

static const char * const  ngx_conduit_gateway_forms[] = {
    "alone", "chained", "stored", NULL
};

/* in microseconds: from 1 ms, the resolution of the time in an ID, to 30 s */
const uint32_t  ngx_conduit_gateway_delivery[CONDUIT_METRICS_BOUNDS + 1] = {
    1000, 2000, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000,
    2500000, 5000000, 10000000, 30000000, 0
};


/* a counter or gauge without labels */
#define ngx_conduit_single(type, name, cell, help)                            \
    { name, help, type, cell, NULL, NULL, NULL }


const conduit_metric_t  ngx_conduit_gateway_metrics[] = {

    ngx_conduit_single(CONDUIT_GAUGE, "subscribers",
                       NGX_CONDUIT_GATEWAY_SUBSCRIBERS,
                       "Subscribers connected."),
    ngx_conduit_single(CONDUIT_GAUGE, "channels",
                       NGX_CONDUIT_GATEWAY_CHANNELS,
                       "Channels with subscribers, summed over workers."),
    ngx_conduit_single(CONDUIT_GAUGE, "slow_subscribers",
                       NGX_CONDUIT_GATEWAY_BLOCKED,
                       "Subscribers whose socket is full."),
    ngx_conduit_single(CONDUIT_GAUGE, "pulls",
                       NGX_CONDUIT_GATEWAY_PULLS,
                       "Requests for JSON that wait for their answer."),

    { "requests_total", "Requests to the gateway, by outcome.",
      CONDUIT_COUNTER, NGX_CONDUIT_GATEWAY_REQUESTS,
      "outcome", ngx_conduit_gateway_outcomes, NULL },

    { "auth_failures_total", "Requests refused for their token, by reason.",
      CONDUIT_COUNTER, NGX_CONDUIT_GATEWAY_AUTH,
      "reason", ngx_conduit_gateway_denials, NULL },

    { "closed_total", "Subscribers that ended, by reason.",
      CONDUIT_COUNTER, NGX_CONDUIT_GATEWAY_CLOSED,
      "reason", ngx_conduit_gateway_closes, NULL },

    { "pulls_total", "Requests for JSON that were answered, by result.",
      CONDUIT_COUNTER, NGX_CONDUIT_GATEWAY_PULLED,
      "result", ngx_conduit_gateway_pulled, NULL },

    { "delivery_seconds", "Time from the timestamp in an entry's ID to the "
      "write to a subscriber that was connected by then.",
      CONDUIT_HISTOGRAM, NGX_CONDUIT_GATEWAY_DELIVERY,
      NULL, NULL, ngx_conduit_gateway_delivery },

    ngx_conduit_single(CONDUIT_COUNTER, "events_total",
                       NGX_CONDUIT_GATEWAY_EVENTS,
                       "Events written to subscribers."),
    ngx_conduit_single(CONDUIT_COUNTER, "writes_total",
                       NGX_CONDUIT_GATEWAY_WRITES,
                       "Writes of events; one may contain several."),
    ngx_conduit_single(CONDUIT_COUNTER, "bytes_total",
                       NGX_CONDUIT_GATEWAY_BYTES,
                       "Bytes written to subscribers, before framing; those "
                       "of conduit_gateway_gzip after compression, those of "
                       "NGINX's gzip before."),
    ngx_conduit_single(CONDUIT_COUNTER, "keepalives_total",
                       NGX_CONDUIT_GATEWAY_KEEPALIVES,
                       "Comments written to idle subscribers."),
    ngx_conduit_single(CONDUIT_COUNTER, "slow_total",
                       NGX_CONDUIT_GATEWAY_SLOW,
                       "Times that a subscriber's socket was full."),
    { "history_lost_total", "Subscribers told that Redis no longer has the "
      "entries that they missed, or their stream.",
      CONDUIT_COUNTER, NGX_CONDUIT_GATEWAY_LOST,
      "reason", ngx_conduit_gateway_losses, NULL },
    ngx_conduit_single(CONDUIT_COUNTER, "server_draining_total",
                       NGX_CONDUIT_GATEWAY_DRAININGS,
                       "Subscribers told to ask for a new token, as theirs "
                       "would be refused on a reconnect."),

    ngx_conduit_single(CONDUIT_COUNTER, "frames_total",
                       NGX_CONDUIT_GATEWAY_FRAMES,
                       "Entries decoded into events, once per worker for all "
                       "subscribers that are not behind."),
    { "gzip_frames_total", "Events compressed for clients that get gzip, once "
      "per worker and form; stored: one that does not get shorter.",
      CONDUIT_COUNTER, NGX_CONDUIT_GATEWAY_DEFLATED,
      "form", ngx_conduit_gateway_forms, NULL },
    ngx_conduit_single(CONDUIT_COUNTER, "gzip_saved_bytes_total",
                       NGX_CONDUIT_GATEWAY_GZIP_SAVED,
                       "Bytes of events not written to subscribers, as these "
                       "get gzip."),
    ngx_conduit_single(CONDUIT_COUNTER, "skipped_total",
                       NGX_CONDUIT_GATEWAY_SKIPPED,
                       "Entries skipped, as they are not valid messages."),
    ngx_conduit_single(CONDUIT_COUNTER, "restarts_total",
                       NGX_CONDUIT_GATEWAY_RESTARTS,
                       "Streams found deleted or recreated, and read from "
                       "their oldest entry."),

    ngx_conduit_single(CONDUIT_COUNTER, "reads_total",
                       NGX_CONDUIT_GATEWAY_READS,
                       "Reads of a channel from its last known entry on "
                       "(XREAD)."),
    ngx_conduit_single(CONDUIT_COUNTER, "catch_up_reads_total",
                       NGX_CONDUIT_GATEWAY_CATCH_UPS,
                       "Reads for subscribers that are behind (XRANGE)."),
    ngx_conduit_single(CONDUIT_COUNTER, "look_ups_total",
                       NGX_CONDUIT_GATEWAY_LOOK_UPS,
                       "Queries of the state of a stream (XINFO)."),
    ngx_conduit_single(CONDUIT_COUNTER, "searches_total",
                       NGX_CONDUIT_GATEWAY_SEARCHES,
                       "Reads that find where clients without a position "
                       "start (XREVRANGE)."),

    ngx_conduit_single(CONDUIT_COUNTER, "doorbells_total",
                       NGX_CONDUIT_GATEWAY_RINGS,
                       "Notifications of Redis that a channel's key changed."),
    ngx_conduit_single(CONDUIT_COUNTER, "doorbells_spurious_total",
                       NGX_CONDUIT_GATEWAY_SPURIOUS,
                       "Notifications after which there was nothing to read."),
    ngx_conduit_single(CONDUIT_COUNTER, "doorbells_lost_total",
                       NGX_CONDUIT_GATEWAY_BELLS_LOST,
                       "Times that a connection for notifications or reads "
                       "was lost, and all channels were read again."),
    ngx_conduit_single(CONDUIT_COUNTER, "sweeps_total",
                       NGX_CONDUIT_GATEWAY_SWEEPS,
                       "Reads of a channel without a notification."),
    ngx_conduit_single(CONDUIT_COUNTER, "sweeps_found_total",
                       NGX_CONDUIT_GATEWAY_SWEPT,
                       "Reads without a notification that found entries."),
    ngx_conduit_single(CONDUIT_COUNTER, "canaries_total",
                       NGX_CONDUIT_GATEWAY_CANARIES,
                       "Test entries of health checks that came back from "
                       "Redis."),

    { "checks_refused_total", "Checks of conduit_gateway_health that Redis "
      "refused, by reason.",
      CONDUIT_COUNTER, NGX_CONDUIT_GATEWAY_CHECKS,
      "reason", conduit_redis_error_names, NULL },

    NGX_CONDUIT_JWT_CACHE_METRICS,

    NGX_CONDUIT_REDIS_METRICS,

    { NULL, NULL, CONDUIT_COUNTER, 0, NULL, NULL, NULL }
};


void
ngx_conduit_gateway_count_refused(ngx_uint_t status)
{
    ngx_conduit_request_e  outcome;

    switch (status) {

    case NGX_HTTP_BAD_REQUEST:
        outcome = NGX_CONDUIT_REQUEST_INVALID;
        break;

    case NGX_HTTP_UNAUTHORIZED:
        outcome = NGX_CONDUIT_REQUEST_UNAUTHORIZED;
        break;

    case NGX_HTTP_FORBIDDEN:
        outcome = NGX_CONDUIT_REQUEST_FORBIDDEN;
        break;

    case NGX_HTTP_NOT_ALLOWED:
        outcome = NGX_CONDUIT_REQUEST_METHOD;
        break;

    default:
        outcome = NGX_CONDUIT_REQUEST_FAILED;
    }

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_REQUESTS + outcome);
}


void
ngx_conduit_gateway_count_lost(conduit_place_loss_e loss)
{
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_LOST
                              + ngx_conduit_gateway_lost(loss));
}


void
ngx_conduit_gateway_delivered(uint64_t *cells, uint64_t ms)
{
    uint64_t     now;
    ngx_time_t  *tp;

    tp = ngx_timeofday();
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    conduit_metrics_observe(cells, ngx_conduit_gateway_delivery,
                            CONDUIT_METRICS_BOUNDS,
                            now > ms ? (now - ms) * 1000 : 0);
}


const char *
ngx_conduit_gateway_loss_name(conduit_place_loss_e loss)
{
    return ngx_conduit_gateway_losses[ngx_conduit_gateway_lost(loss)];
}


static ngx_conduit_lost_e
ngx_conduit_gateway_lost(conduit_place_loss_e loss)
{
    return loss == CONDUIT_PLACE_GONE ? NGX_CONDUIT_LOST_GONE
                                      : NGX_CONDUIT_LOST_TRIMMED;
}
