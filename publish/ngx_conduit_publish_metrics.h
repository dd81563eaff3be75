/* Copyright (C) Conduit for NGINX authors */

/*
 * Metrics of the publish module.
 */

#ifndef NGX_CONDUIT_PUBLISH_METRICS_H
#define NGX_CONDUIT_PUBLISH_METRICS_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_jwt.h"
#include "conduit_redis_error.h"
#include "ngx_conduit_stats.h"

#pragma GCC visibility push(hidden)

/* NGINX does not define this status */
#define NGX_CONDUIT_HTTP_UNPROCESSABLE  422

/* values of "outcome" of requests_total, in the order of their cells */
typedef enum {
    NGX_CONDUIT_OUTCOME_ACCEPTED = 0,
    NGX_CONDUIT_OUTCOME_INVALID,        /* 400 */
    NGX_CONDUIT_OUTCOME_UNAUTHORIZED,   /* 401 */
    NGX_CONDUIT_OUTCOME_FORBIDDEN,      /* 403 */
    NGX_CONDUIT_OUTCOME_METHOD,         /* 405 */
    NGX_CONDUIT_OUTCOME_CONFLICT,       /* 409, 422 */
    NGX_CONDUIT_OUTCOME_TOO_LARGE,      /* 413 */
    NGX_CONDUIT_OUTCOME_UNSUPPORTED,    /* 415 */
    NGX_CONDUIT_OUTCOME_LIMITED,        /* 429 */
    NGX_CONDUIT_OUTCOME_FAILED,         /* 500 */
    NGX_CONDUIT_OUTCOME_UNAVAILABLE,    /* 503 */
    NGX_CONDUIT_OUTCOME_TIMEOUT,        /* 504 */
    NGX_CONDUIT_OUTCOME_ABORTED,        /* it ended before Redis replied */
    NGX_CONDUIT_OUTCOMES
} ngx_conduit_outcome_label_e;

/* values of "reason" of invalid_total, in the order of their cells */
typedef enum {
    NGX_CONDUIT_INVALID_IDS = 0,        /* of the request */
    NGX_CONDUIT_INVALID_PROTOBUF,
    NGX_CONDUIT_INVALID_UTF8,
    NGX_CONDUIT_INVALID_DEPTH,
    NGX_CONDUIT_INVALID_CHANNEL_ID,     /* of the message */
    NGX_CONDUIT_INVALID_MESSAGE_ID,
    NGX_CONDUIT_INVALID_MISMATCH,       /* message and request name different
                                           channels */
    NGX_CONDUIT_INVALID_INCOMPLETE,     /* the body was not read completely */
    NGX_CONDUIT_INVALID_JSON,           /* syntax, or an empty batch */
    NGX_CONDUIT_INVALID_FIELD,          /* of a message in JSON */
    NGX_CONDUIT_INVALID_KEY,            /* Idempotency-Key */
    NGX_CONDUIT_INVALIDS
} ngx_conduit_invalid_e;

/* values of "reason" of auth_failures_total: a conduit_jwt_status_e, or one of
   these */
enum {
    NGX_CONDUIT_AUTH_MISSING = 0,       /* no token; replaces CONDUIT_JWT_OK */
    NGX_CONDUIT_AUTH_FORMAT = CONDUIT_JWT_NO_MEMORY + 1,
    NGX_CONDUIT_AUTH_ORG,               /* org_id is not that of the request */
    NGX_CONDUIT_AUTHS
};

/* values of "reason" of unavailable_total: a conduit_redis_error_e, where the
   first one means that the worker was out of memory, or one of these */
enum {
    NGX_CONDUIT_UNAVAILABLE_NO_REDIS = CONDUIT_REDIS_ERRORS,
    NGX_CONDUIT_UNAVAILABLE_LOST,
    NGX_CONDUIT_UNAVAILABLES
};

/* the first cell of each metric */
enum {
    NGX_CONDUIT_PUBLISH_REQUESTS = NGX_CONDUIT_COMMON_CELLS,
    NGX_CONDUIT_PUBLISH_INVALID = NGX_CONDUIT_PUBLISH_REQUESTS
                                  + NGX_CONDUIT_OUTCOMES,
    NGX_CONDUIT_PUBLISH_AUTH = NGX_CONDUIT_PUBLISH_INVALID
                               + NGX_CONDUIT_INVALIDS,
    NGX_CONDUIT_PUBLISH_UNAVAILABLE = NGX_CONDUIT_PUBLISH_AUTH
                                      + NGX_CONDUIT_AUTHS,
    NGX_CONDUIT_PUBLISH_CHECKS = NGX_CONDUIT_PUBLISH_UNAVAILABLE
                                 + NGX_CONDUIT_UNAVAILABLES,
    NGX_CONDUIT_PUBLISH_NO_EXPIRY = NGX_CONDUIT_PUBLISH_CHECKS
                                    + CONDUIT_REDIS_ERRORS,
    NGX_CONDUIT_PUBLISH_MESSAGES,
    NGX_CONDUIT_PUBLISH_BYTES,
    NGX_CONDUIT_PUBLISH_REPLAYED,
    NGX_CONDUIT_PUBLISH_REDIS_TIME,
    NGX_CONDUIT_PUBLISH_TIME = NGX_CONDUIT_PUBLISH_REDIS_TIME
                               + CONDUIT_METRICS_CELLS,
    NGX_CONDUIT_PUBLISH_CELLS = NGX_CONDUIT_PUBLISH_TIME
                                + CONDUIT_METRICS_CELLS
};

extern const conduit_metric_t  ngx_conduit_publish_metrics[];

/* Returns the outcome of a request by the status of its response. */
ngx_conduit_outcome_label_e ngx_conduit_publish_outcome(ngx_uint_t status);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PUBLISH_METRICS_H */
