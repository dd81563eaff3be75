/* Copyright (C) Conduit for NGINX authors */

/*
 * Responses of the publish module that depend on the reply of Redis.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_entries.h"
#include "ngx_conduit_publish.h"


/* how many bytes JSON adds to a record, at most */
#define NGX_CONDUIT_STORED_JSON                                               \
    sizeof("{\"id\":\"\",\"sequence\":,\"message_id\":\"\"},")


/* the response to a message that was not stored, or may have been */
typedef struct {
    ngx_uint_t                code;
    ngx_uint_t                reason;   /* of a 503, for its counter */
    ngx_conduit_certainty_e   stored;
    const char               *text;
} ngx_conduit_publish_failure_t;


static ngx_int_t ngx_conduit_publish_stored(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result);
static ngx_int_t ngx_conduit_publish_stored_headers(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result);
static u_char *ngx_conduit_publish_stored_text(ngx_conduit_publish_ctx_t *ctx,
    ngx_str_t records, u_char *p);
static u_char *ngx_conduit_publish_stored_json(ngx_conduit_publish_ctx_t *ctx,
    ngx_str_t records, u_char *p);
static ngx_int_t ngx_conduit_publish_ok(ngx_http_request_t *r,
    ngx_str_t *type, u_char *data, size_t len);
static void ngx_conduit_publish_observe_time(ngx_http_request_t *r);
static void ngx_conduit_publish_no_expiry(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result);
static ngx_int_t ngx_conduit_publish_limited(ngx_http_request_t *r,
    ngx_conduit_published_t *result);
static void ngx_conduit_publish_log_failure(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result);
static void ngx_conduit_publish_set_failure(
    ngx_conduit_publish_failure_t *failure, ngx_conduit_published_t *result);


ngx_int_t
ngx_conduit_publish_answer(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result)
{
    switch (result->status) {

    case NGX_CONDUIT_PUBLISHED:

        ctx->id.data = ngx_pstrdup(r->pool, &result->id);
        if (ctx->id.data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx->id.len = result->id.len;

        if (result->error.len) {
            ngx_conduit_publish_no_expiry(r, ctx, result);
        }

        return ngx_conduit_publish_stored(r, ctx, result);

    case NGX_CONDUIT_RATE_LIMITED:
        return ngx_conduit_publish_limited(r, result);

    default:
        ngx_conduit_publish_log_failure(r, ctx, result);

        return ngx_conduit_publish_failed(r, result);
    }
}


static ngx_int_t
ngx_conduit_publish_stored(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result)
{
    u_char                *p, *last;
    ngx_str_t              records;
    ngx_uint_t             n;
    ngx_conduit_stored_t   stored;

    static ngx_str_t  plain = ngx_string("text/plain");
    static ngx_str_t  json = ngx_string("application/json");

    if (result->replayed) {
        ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                                NGX_CONDUIT_PUBLISH_REPLAYED);

    } else {
        n = ctx->publish.entries ? ctx->entries.n : 1;

        ngx_conduit_stats_add(&ngx_conduit_publish_stats,
                              NGX_CONDUIT_PUBLISH_MESSAGES, n);
        ngx_conduit_stats_add(&ngx_conduit_publish_stats,
                              NGX_CONDUIT_PUBLISH_BYTES, ctx->bytes);
    }

    if (ctx->publish.entries == NULL) {
        return ngx_conduit_publish_ok(r, &plain, ctx->id.data, ctx->id.len);
    }

    if (ngx_conduit_publish_stored_headers(r, ctx, result) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    records = result->records;

    for (n = 0; ngx_conduit_entries_next(&records, &stored) == NGX_OK; n++) {
        /* void */
    }

    p = ngx_pnalloc(r->pool, result->records.len + n * NGX_CONDUIT_STORED_JSON
                             + 2);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* publishers of protobuf expect the bare ID, even if their HTTP library
       sends an "Accept" with JSON in it */

    if (ctx->format == NGX_CONDUIT_FORMAT_PROTOBUF
        || !ngx_conduit_publish_accepts_json(r))
    {
        last = ngx_conduit_publish_stored_text(ctx, result->records, p);
        return ngx_conduit_publish_ok(r, &plain, p, last - p);
    }

    last = ngx_conduit_publish_stored_json(ctx, result->records, p);

    return ngx_conduit_publish_ok(r, &json, p, last - p);
}


static ngx_int_t
ngx_conduit_publish_stored_headers(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result)
{
    u_char                *sequence;
    ngx_str_t              records;
    ngx_conduit_stored_t   stored;

    if (result->replayed
        && ngx_conduit_http_header(r, "Idempotency-Replayed", "true")
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (result->counted
        && ngx_conduit_publish_rate_headers(r, result->left, result->wait)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    records = result->records;

    if (ctx->format != NGX_CONDUIT_FORMAT_JSON
        || ngx_conduit_entries_next(&records, &stored) != NGX_OK)
    {
        return NGX_OK;
    }

    sequence = ngx_pnalloc(r->pool, stored.sequence.len + 1);
    if (sequence == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn(sequence, stored.sequence.data,
                       stored.sequence.len + 1);

    return ngx_conduit_http_header(r, "Conduit-Sequence", (char *) sequence);
}


/* writes the entry ID, or the IDs of a batch, one per line */

static u_char *
ngx_conduit_publish_stored_text(ngx_conduit_publish_ctx_t *ctx,
    ngx_str_t records, u_char *p)
{
    ngx_conduit_stored_t  stored;

    while (ngx_conduit_entries_next(&records, &stored) == NGX_OK) {
        p = ngx_cpymem(p, stored.id.data, stored.id.len);

        if (ctx->format == NGX_CONDUIT_FORMAT_NDJSON) {
            *p++ = '\n';
        }
    }

    return p;
}


/* writes an object, or an array of objects for a batch */

static u_char *
ngx_conduit_publish_stored_json(ngx_conduit_publish_ctx_t *ctx,
    ngx_str_t records, u_char *p)
{
    ngx_uint_t            first;
    ngx_conduit_stored_t  stored;

    first = 1;

    if (ctx->format == NGX_CONDUIT_FORMAT_NDJSON) {
        *p++ = '[';
    }

    while (ngx_conduit_entries_next(&records, &stored) == NGX_OK) {

        if (!first) {
            *p++ = ',';
        }

        first = 0;

        p = ngx_sprintf(p, "{\"id\":\"%V\",\"sequence\":%V,"
                        "\"message_id\":\"%V\"}", &stored.id,
                        &stored.sequence, &stored.message_id);
    }

    if (ctx->format == NGX_CONDUIT_FORMAT_NDJSON) {
        *p++ = ']';
    }

    return p;
}


static ngx_int_t
ngx_conduit_publish_ok(ngx_http_request_t *r, ngx_str_t *type, u_char *data,
    size_t len)
{
    ngx_conduit_publish_observe_time(r);

    ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                            NGX_CONDUIT_PUBLISH_REQUESTS
                            + NGX_CONDUIT_OUTCOME_ACCEPTED);

    /* the handler has set Cache-Control */

    return ngx_conduit_http_send(r, NGX_HTTP_OK, type, (char *) data, len);
}


/* counts the time since the request started, which NGINX has in ms */

static void
ngx_conduit_publish_observe_time(ngx_http_request_t *r)
{
    ngx_time_t      *tp;
    ngx_msec_int_t   ms;

    tp = ngx_timeofday();

    ms = (ngx_msec_int_t) ((tp->sec - r->start_sec) * 1000
                           + (tp->msec - r->start_msec));

    conduit_metrics_observe(ngx_conduit_publish_stats.slot->cells
                            + NGX_CONDUIT_PUBLISH_TIME,
                            conduit_metrics_seconds, CONDUIT_METRICS_BOUNDS,
                            (uint64_t) ngx_max(ms, 0) * 1000);
}


/*
 * Logs and counts a message that was stored in a stream without expiry.  The
 * response is 200: the publisher must not send the message again.
 */

static void
ngx_conduit_publish_no_expiry(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result)
{
    ngx_uint_t                       level;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    level = ngx_conduit_publisher_level(plcf->publisher);

    ngx_log_error(level, r->connection->log, 0,
                  "conduit: redis %V stored a message in \"%V\", but refused "
                  "to set the expiry of the stream: %V",
                  result->node, &ctx->publish.key, &result->error);

    ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                            NGX_CONDUIT_PUBLISH_NO_EXPIRY);
}


static ngx_int_t
ngx_conduit_publish_limited(ngx_http_request_t *r,
    ngx_conduit_published_t *result)
{
    u_char                          *last, *after;
    u_char                           text[sizeof("Rate limit of  messages per"
                                                 "  seconds exceeded")
                                          + 2 * NGX_INT_T_LEN];
    ngx_msec_t                       seconds;
    ngx_uint_t                       skipped;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    seconds = (result->wait + 999) / 1000;

    after = ngx_pnalloc(r->pool, NGX_INT_T_LEN + 1);
    if (after == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    *ngx_sprintf(after, "%M", ngx_max(seconds, 1)) = '\0';

    if (ngx_conduit_http_header(r, "Retry-After", (char *) after) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_conduit_publish_rate_headers(r, 0, result->wait) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    last = ngx_sprintf(text, "Rate limit of %ui messages per %M second%s "
                       "exceeded", plcf->rate, plcf->rate_window / 1000,
                       plcf->rate_window == 1000 ? "" : "s");

    if (ngx_conduit_http_may_log(plcf->limited, &skipped)) {

        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "conduit: message over the rate of %ui in %Mms per "
                      "channel refused, %ui others since the last such line",
                      plcf->rate, plcf->rate_window, skipped);
    }

    return ngx_conduit_publish_error(r, NGX_HTTP_TOO_MANY_REQUESTS,
                                     (char *) text, last - text,
                                     NGX_CONDUIT_STORED_NO);
}


static void
ngx_conduit_publish_log_failure(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result)
{
    ngx_log_t                       *log;
    ngx_uint_t                       level;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);
    log = r->connection->log;

    switch (result->status) {

    case NGX_CONDUIT_REDIS_BUSY:
    case NGX_CONDUIT_REDIS_FULL:
    case NGX_CONDUIT_REDIS_REFUSED:
        level = ngx_conduit_publisher_level(plcf->publisher);

        ngx_log_error(level, log, 0,
                      "conduit: redis %V refused to publish to \"%V\": %V",
                      result->node, &ctx->publish.key, &result->error);
        break;

    case NGX_CONDUIT_REDIS_LOST:
    case NGX_CONDUIT_REDIS_TIMED_OUT:
        level = ngx_conduit_publisher_level(plcf->publisher);

        ngx_log_error(level, log, 0,
                      "conduit: redis %V did not reply to publishing to "
                      "\"%V\" within %Mms, the message may have been stored",
                      result->node, &ctx->publish.key, ctx->redis_time);
        break;

    case NGX_CONDUIT_REQUEST_DIFFERS:
        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "conduit: client sent an Idempotency-Key that was used "
                      "with another body");
        break;

    case NGX_CONDUIT_NO_SEQUENCE:
        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "conduit: client sent a message without a sequence, and "
                      "the sequences of the stream are exhausted");
        break;

    default:
        break;
    }
}


ngx_int_t
ngx_conduit_publish_failed(ngx_http_request_t *r,
    ngx_conduit_published_t *result)
{
    ngx_conduit_publish_failure_t  failure;

    ngx_conduit_publish_set_failure(&failure, result);

    if (failure.code >= NGX_HTTP_INTERNAL_SERVER_ERROR
        && ngx_conduit_http_header(r, "Conduit-Stored",
                                   failure.stored == NGX_CONDUIT_STORED_NO
                                   ? "no" : "unknown")
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (failure.code == NGX_HTTP_SERVICE_UNAVAILABLE) {

        ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                                NGX_CONDUIT_PUBLISH_UNAVAILABLE
                                + failure.reason);

        if (ngx_conduit_http_header(r, "Retry-After", "1") != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_conduit_publish_error(r, failure.code, failure.text,
                                     ngx_strlen(failure.text), failure.stored);
}


static void
ngx_conduit_publish_set_failure(ngx_conduit_publish_failure_t *failure,
    ngx_conduit_published_t *result)
{
    failure->code = NGX_HTTP_SERVICE_UNAVAILABLE;
    failure->reason = result->kind;
    failure->stored = NGX_CONDUIT_STORED_NO;

    switch (result->status) {

    case NGX_CONDUIT_NO_REDIS:
        failure->reason = NGX_CONDUIT_UNAVAILABLE_NO_REDIS;
        failure->text = "Redis is not reachable, the message was not stored";
        break;

    case NGX_CONDUIT_REDIS_LOST:
        failure->reason = NGX_CONDUIT_UNAVAILABLE_LOST;
        failure->stored = NGX_CONDUIT_STORED_UNKNOWN;
        failure->text = "Connection to Redis lost, the message may have been "
                        "stored";
        break;

    case NGX_CONDUIT_REDIS_TIMED_OUT:
        failure->code = NGX_HTTP_GATEWAY_TIME_OUT;
        failure->stored = NGX_CONDUIT_STORED_UNKNOWN;
        failure->text = "Redis did not answer in time, the message may have "
                        "been stored";
        break;

    case NGX_CONDUIT_REDIS_BUSY:
        failure->text = "Redis is busy, the message was not stored";
        break;

    case NGX_CONDUIT_REDIS_FULL:
        failure->text = "Redis is out of memory, the message was not stored";
        break;

    case NGX_CONDUIT_REQUEST_DIFFERS:
        failure->code = NGX_CONDUIT_HTTP_UNPROCESSABLE;
        failure->text = "Idempotency-Key was used with another body";
        break;

    case NGX_CONDUIT_NO_SEQUENCE:
        failure->code = NGX_HTTP_CONFLICT;
        failure->text = "The stream has no further sequence, the message must "
                        "contain one";
        break;

    default:
        failure->code = NGX_HTTP_INTERNAL_SERVER_ERROR;
        failure->text = "Redis refused the message";
        break;
    }
}
