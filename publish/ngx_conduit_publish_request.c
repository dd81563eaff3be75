/* Copyright (C) Conduit for NGINX authors */

/*
 * A publish request: verifies its token, checks the message, and adds it to a
 * Redis stream.
 *
 *   content handler: method, ids, token, Content-Length
 *     -> body handler: size, message (proto/)
 *       -> script (broker/) -> entry ID or error
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish.h"


static ngx_int_t ngx_conduit_publish_admit(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx);
static ngx_int_t ngx_conduit_publish_authenticate(ngx_http_request_t *r,
    ngx_conduit_publish_loc_conf_t *plcf, ngx_conduit_publish_ctx_t *ctx);
static ngx_int_t ngx_conduit_publish_denied(ngx_http_request_t *r,
    ngx_uint_t reason, conduit_jwt_status_e status, const char *text);
static ngx_int_t ngx_conduit_publish_headers(ngx_http_request_t *r,
    ngx_conduit_publish_loc_conf_t *plcf, ngx_conduit_publish_ctx_t *ctx);
static ngx_int_t ngx_conduit_publish_refuse(ngx_http_request_t *r,
    ngx_uint_t status, const char *text);
static uint64_t ngx_conduit_publish_clock(void);
static void ngx_conduit_publish_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_conduit_publish_incomplete(ngx_http_request_t *r);
static ngx_int_t ngx_conduit_publish_check(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body);
static ngx_int_t ngx_conduit_publish_invalid(ngx_http_request_t *r,
    conduit_message_status_e status);
static ngx_int_t ngx_conduit_publish_send(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body);
static void ngx_conduit_publish_done(void *data,
    ngx_conduit_published_t *result);
static void ngx_conduit_publish_cleanup(void *data);


#if (NGX_DEBUG)

/* names of ngx_conduit_published_e */

static const char  *ngx_conduit_publish_results[] = {
    "stored", "over the rate", "no Redis", "connection lost", "timed out",
    "Redis is busy", "Redis is out of memory", "refused by Redis",
    "another request had this key", "no sequence left"
};

#endif


ngx_int_t
ngx_conduit_publish_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_cleanup_t         *cln;
    ngx_conduit_publish_ctx_t  *ctx;

    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "conduit: \"conduit_publish\" can't be used in a "
                      "subrequest");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_conduit_http_cache_control(r, "no-store") != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->method != NGX_HTTP_POST) {

        if (ngx_conduit_http_header(r, "Allow", "POST") != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_conduit_publish_refuse(r, NGX_HTTP_NOT_ALLOWED,
                                          "Method not allowed");
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_conduit_publish_ctx_t));
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->request = r;

    rc = ngx_conduit_publish_admit(r, ctx);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_conduit_publish_cleanup;
    cln->data = ctx;

    ngx_http_set_ctx(r, ctx, ngx_conduit_publish_module);

    rc = ngx_http_read_client_request_body(r, ngx_conduit_publish_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


/* checks what is known before the body is read: ids, token, headers; returns
   NGX_DECLINED to continue, or the result of an error response */

static ngx_int_t
ngx_conduit_publish_admit(ngx_http_request_t *r, ngx_conduit_publish_ctx_t *ctx)
{
    ngx_int_t                        rc;
    const char                      *err;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    err = ngx_conduit_http_ids(r, &plcf->common, &ctx->ids);
    if (err != NULL) {
        ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                                NGX_CONDUIT_PUBLISH_INVALID
                                + NGX_CONDUIT_INVALID_IDS);
        return ngx_conduit_publish_refuse(r, NGX_HTTP_BAD_REQUEST, err);
    }

    rc = ngx_conduit_publish_authenticate(r, plcf, ctx);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    return ngx_conduit_publish_headers(r, plcf, ctx);
}


/* returns NGX_DECLINED to continue, or the result of an error response */

static ngx_int_t
ngx_conduit_publish_authenticate(ngx_http_request_t *r,
    ngx_conduit_publish_loc_conf_t *plcf, ngx_conduit_publish_ctx_t *ctx)
{
    ngx_int_t                rc;
    ngx_str_t                token;
    conduit_jwt_status_e     status;
    ngx_conduit_verified_t  *v;

    if (!plcf->common.auth) {
        return NGX_DECLINED;
    }

    v = ngx_conduit_publish_token(r, 1);
    if (v == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_conduit_http_bearer(r, &token);

    if (rc != NGX_OK) {
        return ngx_conduit_publish_denied(r, rc == NGX_DECLINED
                                             ? NGX_CONDUIT_AUTH_MISSING
                                             : NGX_CONDUIT_AUTH_FORMAT,
                                          CONDUIT_JWT_OK,
                                          rc == NGX_DECLINED
                                          ? "Missing authorization header"
                                          : "Invalid authorization format");
    }

    status = ngx_conduit_conf_verify(r, &plcf->common, &token,
                                     plcf->org_claim, v);

    if (status == CONDUIT_JWT_NO_MEMORY) {
        ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                                NGX_CONDUIT_PUBLISH_AUTH + status);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (status != CONDUIT_JWT_OK) {
        return ngx_conduit_publish_denied(r, status, status,
                                          status == CONDUIT_JWT_EXPIRED
                                          ? "Token expired"
                                          : "Token validation failed");
    }

    if (plcf->org_claim && v->claims.org_id != ctx->ids.org) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "conduit: client sent a token of org %uL in a request "
                      "for org %uL", v->claims.org_id, ctx->ids.org);
        ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                                NGX_CONDUIT_PUBLISH_AUTH
                                + NGX_CONDUIT_AUTH_ORG);
        return ngx_conduit_publish_refuse(r, NGX_HTTP_FORBIDDEN,
                                          "Invalid token claims");
    }

    return NGX_DECLINED;
}


/*
 * Sends a 401 response.  status is that of the token, or CONDUIT_JWT_OK if
 * there is none.
 */

static ngx_int_t
ngx_conduit_publish_denied(ngx_http_request_t *r, ngx_uint_t reason,
    conduit_jwt_status_e status, const char *text)
{
    ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                            NGX_CONDUIT_PUBLISH_AUTH + reason);

    if (ngx_conduit_publish_challenge(r, status) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_conduit_publish_refuse(r, NGX_HTTP_UNAUTHORIZED, text);
}


/*
 * Checks the headers about the body.  Returns NGX_DECLINED to continue, or the
 * result of an error response.
 */

static ngx_int_t
ngx_conduit_publish_headers(ngx_http_request_t *r,
    ngx_conduit_publish_loc_conf_t *plcf, ngx_conduit_publish_ctx_t *ctx)
{
    const char  *err;

    if (ngx_conduit_publish_encoded(r)) {

        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "conduit: client sent a body with Content-Encoding");

        /* says what is supported, see RFC 9110, 15.5.16 */

        if (ngx_conduit_http_header(r, "Accept-Encoding", "identity")
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_conduit_publish_refuse(r, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE,
                                          "Content-Encoding is not supported");
    }

    err = ngx_conduit_publish_idempotency_key(r, ctx);

    if (err != NULL) {
        ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                                NGX_CONDUIT_PUBLISH_INVALID
                                + NGX_CONDUIT_INVALID_KEY);
        return ngx_conduit_publish_refuse(r, NGX_HTTP_BAD_REQUEST, err);
    }

    ctx->format = ngx_conduit_publish_format(r);

    if (r->headers_in.content_length_n > (off_t) plcf->max_size) {
        return ngx_conduit_publish_too_large(r, r->headers_in.content_length_n,
                                             plcf->max_size);
    }

    return NGX_DECLINED;
}


/* sends an error response before the body is read; discards the body */

static ngx_int_t
ngx_conduit_publish_refuse(ngx_http_request_t *r, ngx_uint_t status,
    const char *text)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_conduit_publish_error(r, status, text, ngx_strlen(text),
                                     NGX_CONDUIT_STORED_NO);
}


static void
ngx_conduit_publish_body_handler(ngx_http_request_t *r)
{
    off_t                            size;
    ngx_int_t                        rc;
    ngx_str_t                        body;
    ngx_conduit_publish_ctx_t       *ctx;
    ngx_conduit_publish_loc_conf_t  *plcf;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_publish_module);
    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    size = ngx_conduit_publish_body_size(r);

    if (size > (off_t) plcf->max_size) {
        rc = ngx_conduit_publish_too_large(r, size, plcf->max_size);
        ngx_http_finalize_request(r, rc);
        return;
    }

    if (!ngx_conduit_publish_body_whole(r, size)) {
        rc = ngx_conduit_publish_incomplete(r);
        ngx_http_finalize_request(r, rc);
        return;
    }

    rc = ngx_conduit_publish_body(r, &body);

    if (rc == NGX_OK) {
        rc = (ctx->format == NGX_CONDUIT_FORMAT_PROTOBUF)
             ? ngx_conduit_publish_check(r, ctx, &body)
             : ngx_conduit_publish_json(r, ctx, &body);
    }

    if (rc == NGX_DECLINED) {
        rc = ngx_conduit_publish_send(r, ctx, &body);
    }

    /* NGX_DONE: the response is sent when Redis has replied */

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


static ngx_int_t
ngx_conduit_publish_incomplete(ngx_http_request_t *r)
{
    ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                            NGX_CONDUIT_PUBLISH_INVALID
                            + NGX_CONDUIT_INVALID_INCOMPLETE);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "conduit: the request body was not read completely before "
                  "the request was redirected to this location");

    return ngx_conduit_publish_error(r, NGX_HTTP_BAD_REQUEST,
                                     "Incomplete request body",
                                     sizeof("Incomplete request body") - 1,
                                     NGX_CONDUIT_STORED_NO);
}


/*
 * Checks a protobuf message.  Returns NGX_DECLINED to continue, or the result
 * of an error response.
 */

static ngx_int_t
ngx_conduit_publish_check(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body)
{
    conduit_message_t         message;
    conduit_message_status_e  status;

    status = conduit_message_check(body->data, body->len,
                                   CONDUIT_MESSAGE_MEMORY(body->len), &message);

    if (status == CONDUIT_MESSAGE_NO_MEMORY) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (status == CONDUIT_MESSAGE_OK) {
        ctx->phase = message.phase;
        ctx->decoded = 1;

        if (ngx_memcmp(message.channel_id, ctx->ids.channel, CONDUIT_UUID_LEN)
            == 0)
        {
            return ngx_conduit_publish_idempotent_entry(r, ctx, body, &message);
        }
    }

    return ngx_conduit_publish_invalid(r, status);
}


/* refuses a message that is not valid; CONDUIT_MESSAGE_OK: it is valid, but
   names another channel than the request */

static ngx_int_t
ngx_conduit_publish_invalid(ngx_http_request_t *r,
    conduit_message_status_e status)
{
    const char             *text;
    ngx_conduit_invalid_e   reason;

    switch (status) {

    case CONDUIT_MESSAGE_OK:
        reason = NGX_CONDUIT_INVALID_MISMATCH;
        text = "Channel_id of the message is not the one of the path";
        break;

    case CONDUIT_MESSAGE_CHANNEL_ID:
        reason = NGX_CONDUIT_INVALID_CHANNEL_ID;
        text = "Invalid channel_id in the message";
        break;

    case CONDUIT_MESSAGE_MESSAGE_ID:
        reason = NGX_CONDUIT_INVALID_MESSAGE_ID;
        text = "Invalid message_id in the message";
        break;

    default:
        reason = (status == CONDUIT_MESSAGE_UTF8) ? NGX_CONDUIT_INVALID_UTF8
               : (status == CONDUIT_MESSAGE_DEPTH) ? NGX_CONDUIT_INVALID_DEPTH
               : NGX_CONDUIT_INVALID_PROTOBUF;
        text = "Invalid protobuf";
        break;
    }

    ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                            NGX_CONDUIT_PUBLISH_INVALID + reason);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "conduit: client sent an invalid message: %s",
                  status == CONDUIT_MESSAGE_OK
                  ? "channel_id differs from the path"
                  : conduit_message_status_text(status));

    return ngx_conduit_publish_error(r, NGX_HTTP_BAD_REQUEST, text,
                                     ngx_strlen(text), NGX_CONDUIT_STORED_NO);
}


/*
 * Sends the messages to Redis.  Returns NGX_DONE if the response will be sent
 * when Redis has replied, or the result of an error response.
 */

static ngx_int_t
ngx_conduit_publish_send(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body)
{
    ngx_conduit_publish_t           *p;
    ngx_conduit_published_t          result;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    p = &ctx->publish;

    p->key.data = ctx->key;
    p->key.len = conduit_stream_key_write(ctx->ids.org, ctx->ids.channel,
                                          (char *) ctx->key);
    p->message = *body;
    p->entries = ctx->entries.n ? &ctx->entries : NULL;
    p->rate = plcf->rate;
    p->window = plcf->rate_window;
    p->max_len = plcf->max_len;
    p->ttl = (ctx->phase == CONDUIT_PHASE_END) ? plcf->end_ttl
                                               : plcf->idle_ttl;
    p->handler = ngx_conduit_publish_done;
    p->data = ctx;

    if (ctx->entries.request.len
        && ngx_conduit_publish_fingerprint(r, ctx, body) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "conduit: publish to \"%V\": %uz bytes, %ui entries, phase "
                   "%d", &p->key, body->len,
                   ctx->entries.n ? ctx->entries.n : 1, (int) ctx->phase);

    ctx->started = ngx_conduit_publish_clock();
    ngx_memzero(&result, sizeof(ngx_conduit_published_t));

    ctx->op = ngx_conduit_script_publish(plcf->publisher, p, &result.status);

    if (ctx->op == NULL) {
        return ngx_conduit_publish_failed(r, &result);
    }

    /*
     * The code that read the body may have left an event handler that finalizes
     * the request.  With "post_action", NGINX would then continue the request
     * in another location, while this one still waits for Redis.
     */

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_DONE;
}


static void
ngx_conduit_publish_done(void *data, ngx_conduit_published_t *result)
{
    uint64_t                    usec;
    ngx_int_t                   rc;
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_conduit_publish_ctx_t  *ctx = data;

    ctx->op = NULL;
    ctx->answered = 1;
    usec = ngx_conduit_publish_clock() - ctx->started;
    ctx->redis_time = usec / 1000;

    if (result->status != NGX_CONDUIT_NO_REDIS) {
        conduit_metrics_observe(ngx_conduit_publish_stats.slot->cells
                                + NGX_CONDUIT_PUBLISH_REDIS_TIME,
                                conduit_metrics_seconds,
                                CONDUIT_METRICS_BOUNDS, usec);
    }

    r = ctx->request;
    c = r->connection;

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "conduit: publish to \"%V\": %s after %uLus, ID \"%V\"",
                   &ctx->publish.key,
                   ngx_conduit_publish_results[result->status], usec,
                   &result->id);

    rc = ngx_conduit_publish_answer(r, ctx, result);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* microseconds of a clock that is not affected by setting the system time */

static uint64_t
ngx_conduit_publish_clock(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


/* called when the request ends; if Redis has not replied yet, the client has
   closed the connection, or NGINX ended the request */

static void
ngx_conduit_publish_cleanup(void *data)
{
    ngx_conduit_publish_ctx_t  *ctx = data;

    if (ctx->op != NULL) {

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                       "conduit: publish to \"%V\": the client has left",
                       &ctx->publish.key);

        ngx_conduit_script_cancel(ctx->op);
        ctx->op = NULL;

        ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                                NGX_CONDUIT_PUBLISH_REQUESTS
                                + NGX_CONDUIT_OUTCOME_ABORTED);
    }
}
