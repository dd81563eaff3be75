/*
 * Replies of the publish module: what Redis' answer means for a publisher.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish.h"


static void ngx_conduit_publish_timed(ngx_http_request_t *r);
static void ngx_conduit_publish_no_expiry(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result);
static ngx_int_t ngx_conduit_publish_limited(ngx_http_request_t *r,
    ngx_conduit_published_t *result);


ngx_int_t
ngx_conduit_publish_answer(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result)
{
    ngx_log_t                       *log;
    ngx_uint_t                       level;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);
    log = r->connection->log;

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

        ngx_conduit_stats_add(&ngx_conduit_publish_stats,
                              NGX_CONDUIT_PUBLISH_BYTES,
                              ctx->publish.message.len);
        ngx_conduit_publish_timed(r);

        return ngx_conduit_publish_text(r, NGX_HTTP_OK, (char *) ctx->id.data,
                                     ctx->id.len);

    case NGX_CONDUIT_RATE_LIMITED:
        return ngx_conduit_publish_limited(r, result);

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
                      "conduit: redis %V did not reply on publishing to "
                      "\"%V\" in %Mms, the message may have been stored",
                      result->node, &ctx->publish.key, ctx->redis_time);
        break;

    default:
        break;
    }

    return ngx_conduit_publish_failed(r, result);
}


/* the time of a whole request; NGINX has the millisecond of its start */

static void
ngx_conduit_publish_timed(ngx_http_request_t *r)
{
    ngx_time_t      *tp;
    ngx_msec_int_t   ms;

    tp = ngx_timeofday();

    ms = (ngx_msec_int_t) ((tp->sec - r->start_sec) * 1000
                           + (tp->msec - r->start_msec));

    conduit_metrics_observe(ngx_conduit_publish_stats.slot->cells
                            + NGX_CONDUIT_PUBLISH_TIME,
                            conduit_metrics_seconds,
                            (uint64_t) ngx_max(ms, 0) * 1000);
}


/* the message is stored: its publisher must not send it again */

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

    last = ngx_sprintf(text, "Rate limit of %ui messages per %M second%s "
                       "exceeded", plcf->rate, plcf->rate_window / 1000,
                       plcf->rate_window == 1000 ? "" : "s");

    if (ngx_conduit_http_may_log(plcf->limited, &skipped)) {

        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "conduit: publishing is limited to %ui messages in %Mms "
                      "a channel, %ui more were refused since the last such "
                      "line", plcf->rate, plcf->rate_window, skipped);
    }

    return ngx_conduit_publish_text(r, NGX_HTTP_TOO_MANY_REQUESTS,
                                 (char *) text, last - text);
}


ngx_int_t
ngx_conduit_publish_failed(ngx_http_request_t *r,
    ngx_conduit_published_t *result)
{
    ngx_uint_t   code, reason;
    const char  *text;

    code = NGX_HTTP_SERVICE_UNAVAILABLE;
    reason = result->kind;

    switch (result->status) {

    case NGX_CONDUIT_NO_REDIS:
        reason = NGX_CONDUIT_UNAVAILABLE_NO_REDIS;
        text = "Redis is not reachable, the message was not stored";
        break;

    case NGX_CONDUIT_REDIS_LOST:
        reason = NGX_CONDUIT_UNAVAILABLE_LOST;
        text = "Connection to Redis lost, the message may have been stored";
        break;

    case NGX_CONDUIT_REDIS_TIMED_OUT:
        code = NGX_HTTP_GATEWAY_TIME_OUT;
        text = "Redis did not answer in time, the message may have been "
               "stored";
        break;

    case NGX_CONDUIT_REDIS_BUSY:
        text = "Redis is busy, the message was not stored";
        break;

    case NGX_CONDUIT_REDIS_FULL:
        text = "Redis is out of memory, the message was not stored";
        break;

    default:
        code = NGX_HTTP_INTERNAL_SERVER_ERROR;
        text = "Redis refused the message";
        break;
    }

    if (code == NGX_HTTP_SERVICE_UNAVAILABLE) {

        ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                                NGX_CONDUIT_PUBLISH_UNAVAILABLE + reason);

        if (ngx_conduit_http_header(r, "Retry-After", "1") != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_conduit_publish_text(r, code, text, ngx_strlen(text));
}


ngx_int_t
ngx_conduit_publish_text(ngx_http_request_t *r, ngx_uint_t status,
    const char *text, size_t len)
{
    ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                            NGX_CONDUIT_PUBLISH_REQUESTS
                            + ngx_conduit_publish_outcome(status));

    return ngx_conduit_http_text(r, status, text, len);
}
