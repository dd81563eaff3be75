/* Copyright (C) Conduit for NGINX authors */

/*
 * Metrics of the publish module: names, descriptions, labels.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish.h"
#include "ngx_conduit_publish_metrics.h"


_Static_assert(NGX_CONDUIT_PUBLISH_CELLS <= NGX_CONDUIT_STATS_CELLS,
               "the slots are too small");


ngx_conduit_stats_t  ngx_conduit_publish_stats = {
    .slot = &ngx_conduit_publish_stats.own
};


static const char * const  ngx_conduit_publish_outcomes[] = {
    "accepted", "invalid", "unauthorized", "forbidden", "method", "conflict",
    "too_large", "unsupported", "rate_limited", "failed", "unavailable",
    "timeout", "aborted", NULL
};

static const char * const  ngx_conduit_publish_invalids[] = {
    "ids", "protobuf", "utf8", "depth", "channel_id", "message_id",
    "channel_mismatch", "incomplete", "json", "field", "idempotency_key", NULL
};

static const char * const  ngx_conduit_publish_auths[] = {
    "missing", "expired", "not_yet_valid", "malformed", "algorithm", "kid",
    "signature", "issuer", "audience", "claim", "no_memory", "format", "org",
    NULL
};


static const char * const  ngx_conduit_publish_unavailables[] = {
    "no_memory", "oom", "readonly", "loading", "busy", "cluster", "masterdown",
    "noreplicas", "misconf", "unreachable", "lost", NULL
};


const conduit_metric_t  ngx_conduit_publish_metrics[] = {

    { "requests_total", "Publish requests by outcome.",
      CONDUIT_COUNTER, NGX_CONDUIT_PUBLISH_REQUESTS,
      "outcome", ngx_conduit_publish_outcomes, NULL },

    { "invalid_total", "Requests refused as invalid, by reason.",
      CONDUIT_COUNTER, NGX_CONDUIT_PUBLISH_INVALID,
      "reason", ngx_conduit_publish_invalids, NULL },

    { "auth_failures_total", "Requests refused for their token, by reason.",
      CONDUIT_COUNTER, NGX_CONDUIT_PUBLISH_AUTH,
      "reason", ngx_conduit_publish_auths, NULL },

    { "unavailable_total", "Requests answered with 503, by reason.",
      CONDUIT_COUNTER, NGX_CONDUIT_PUBLISH_UNAVAILABLE,
      "reason", ngx_conduit_publish_unavailables, NULL },

    { "checks_refused_total", "Checks of conduit_publish_health that Redis "
      "refused, by reason.",
      CONDUIT_COUNTER, NGX_CONDUIT_PUBLISH_CHECKS,
      "reason", conduit_redis_error_names, NULL },

    { "no_expiry_total", "Messages stored in a stream whose expiry Redis "
      "refused to set.",
      CONDUIT_COUNTER, NGX_CONDUIT_PUBLISH_NO_EXPIRY, NULL, NULL, NULL },

    { "messages_total", "Messages stored.",
      CONDUIT_COUNTER, NGX_CONDUIT_PUBLISH_MESSAGES, NULL, NULL, NULL },

    { "bytes_total", "Bytes of the messages accepted.",
      CONDUIT_COUNTER, NGX_CONDUIT_PUBLISH_BYTES, NULL, NULL, NULL },

    { "replayed_total", "Requests answered with the result of an earlier "
      "request with the same Idempotency-Key.",
      CONDUIT_COUNTER, NGX_CONDUIT_PUBLISH_REPLAYED, NULL, NULL, NULL },

    { "redis_duration_seconds", "Time that Redis took to reply, for publish "
      "requests that reached it.",
      CONDUIT_HISTOGRAM, NGX_CONDUIT_PUBLISH_REDIS_TIME,
      NULL, NULL, conduit_metrics_seconds },

    { "request_duration_seconds", "Time from the first byte of an accepted "
      "request to its response.",
      CONDUIT_HISTOGRAM, NGX_CONDUIT_PUBLISH_TIME,
      NULL, NULL, conduit_metrics_seconds },

    NGX_CONDUIT_JWT_CACHE_METRICS,

    NGX_CONDUIT_REDIS_METRICS,

    { NULL, NULL, CONDUIT_COUNTER, 0, NULL, NULL, NULL }
};


ngx_conduit_outcome_label_e
ngx_conduit_publish_outcome(ngx_uint_t status)
{
    switch (status) {

    case NGX_HTTP_OK:
        return NGX_CONDUIT_OUTCOME_ACCEPTED;

    case NGX_HTTP_BAD_REQUEST:
        return NGX_CONDUIT_OUTCOME_INVALID;

    case NGX_HTTP_UNAUTHORIZED:
        return NGX_CONDUIT_OUTCOME_UNAUTHORIZED;

    case NGX_HTTP_FORBIDDEN:
        return NGX_CONDUIT_OUTCOME_FORBIDDEN;

    case NGX_HTTP_NOT_ALLOWED:
        return NGX_CONDUIT_OUTCOME_METHOD;

    case NGX_HTTP_CONFLICT:
    case NGX_CONDUIT_HTTP_UNPROCESSABLE:
        return NGX_CONDUIT_OUTCOME_CONFLICT;

    case NGX_HTTP_UNSUPPORTED_MEDIA_TYPE:
        return NGX_CONDUIT_OUTCOME_UNSUPPORTED;

    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        return NGX_CONDUIT_OUTCOME_TOO_LARGE;

    case NGX_HTTP_TOO_MANY_REQUESTS:
        return NGX_CONDUIT_OUTCOME_LIMITED;

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return NGX_CONDUIT_OUTCOME_UNAVAILABLE;

    case NGX_HTTP_GATEWAY_TIME_OUT:
        return NGX_CONDUIT_OUTCOME_TIMEOUT;

    default:
        return NGX_CONDUIT_OUTCOME_FAILED;
    }
}
