/* Copyright (C) Conduit for NGINX authors */

/*
 * Declarations shared by the files of the publish module: the configuration of
 * a location, and the context of a request.
 */

#ifndef NGX_CONDUIT_PUBLISH_H
#define NGX_CONDUIT_PUBLISH_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_message.h"
#include "ngx_conduit_conf.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_publish_metrics.h"
#include "ngx_conduit_script.h"

/* the only symbol that NGINX looks up in the .so */
extern ngx_module_t  ngx_conduit_publish_module;

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_conduit_conf_t        common;

    ngx_flag_t                org_claim;
    size_t                    max_size;
    ngx_uint_t                rate;         /* messages per rate_window */
    ngx_msec_t                rate_window;
    ngx_uint_t                max_len;
    ngx_uint_t                batch;        /* messages per request */
    ngx_msec_t                idempotency;  /* 0: off */
    ngx_msec_t                idle_ttl;
    ngx_msec_t                end_ttl;

    ngx_conduit_publisher_t  *publisher;    /* shared by locations with the same
                                               Redis settings */
    ngx_conduit_http_log_t   *limited;      /* limits what is logged about
                                               messages over the rate */
} ngx_conduit_publish_loc_conf_t;

/* format of a request body, by its Content-Type */
typedef enum {
    NGX_CONDUIT_FORMAT_PROTOBUF = 0,        /* also with any other type */
    NGX_CONDUIT_FORMAT_JSON,                /* one message */
    NGX_CONDUIT_FORMAT_NDJSON               /* a batch, one message per line */
} ngx_conduit_format_e;

/* whether a message that was not accepted may have been stored nevertheless */
typedef enum {
    NGX_CONDUIT_STORED_NO = 0,
    NGX_CONDUIT_STORED_UNKNOWN
} ngx_conduit_certainty_e;

/* context of a request, allocated from its pool */
typedef struct {
    ngx_http_request_t       *request;
    ngx_conduit_ids_t         ids;
    ngx_conduit_format_e      format;
    ngx_conduit_publish_t     publish;
    ngx_conduit_entries_t     entries;      /* used if publish.entries is set */
    size_t                    bytes;        /* of all messages */
    ngx_conduit_script_op_t  *op;           /* in progress; NULL: none */
    ngx_str_t                 id;           /* of the entry, or the first one */
    conduit_phase_e           phase;        /* of the last message */
    uint64_t                  started;      /* when publishing started, us */
    ngx_msec_t                redis_time;   /* how long it took, ms */
    unsigned                  decoded:1;    /* phase is set */
    unsigned                  answered:1;   /* redis_time is set */
    u_char                    key[CONDUIT_KEY_MAX];   /* of the stream */
} ngx_conduit_publish_ctx_t;


extern ngx_conduit_stats_t  ngx_conduit_publish_stats;

/* The content handler of "conduit_publish". */
ngx_int_t ngx_conduit_publish_handler(ngx_http_request_t *r);

/*
 * Returns the result of verifying the token of a request, which lives as long
 * as the request.  With create set, allocates it (zeroed) if it is not there
 * yet.  Returns NULL if it is not there, or when memory is out.
 */
ngx_conduit_verified_t *ngx_conduit_publish_token(ngx_http_request_t *r,
    ngx_uint_t create);

/*
 * Returns the organization and channel that the token allows the request to
 * publish to, for $conduit_verified_org_id and $conduit_verified_channel_id; an
 * ngx_conduit_http_verified_pt.
 */
ngx_int_t ngx_conduit_publish_verified(ngx_http_request_t *r,
    ngx_conduit_ids_t *ids, ngx_uint_t channel, ngx_uint_t verify);

/* Returns the size, in bytes, of what was read of the request body. */
off_t ngx_conduit_publish_body_size(ngx_http_request_t *r);

/*
 * Returns whether the request body was read to its end; size is the result of
 * ngx_conduit_publish_body_size().  A request may be redirected from another
 * location ("error_page 413 = @name", "proxy_request_buffering off",
 * "post_action") that has begun to read or discard the body: NGINX then takes
 * the part that was read for the whole.
 */
ngx_uint_t ngx_conduit_publish_body_whole(ngx_http_request_t *r, off_t size);

/*
 * Sets *body to the request body as one string, which NGINX may have in several
 * buffers or in a temporary file; it lives as long as the request.  Returns
 * NGX_OK or NGX_HTTP_INTERNAL_SERVER_ERROR.
 */
ngx_int_t ngx_conduit_publish_body(ngx_http_request_t *r, ngx_str_t *body);

/*
 * Returns whether the client asks for JSON: "Accept" has "application/json" or
 * "application/problem+json", with a quality above zero.
 */
ngx_uint_t ngx_conduit_publish_accepts_json(ngx_http_request_t *r);

/* Returns the format of the body by its Content-Type. */
ngx_conduit_format_e ngx_conduit_publish_format(ngx_http_request_t *r);

/* Returns whether the body has a Content-Encoding other than "identity". */
ngx_uint_t ngx_conduit_publish_encoded(ngx_http_request_t *r);

/*
 * Reads the header Idempotency-Key into ctx->entries, unless
 * "conduit_publish_idempotency" is off or there is no such header.  Returns
 * NULL; or a static text that says what is wrong, for a response.
 */
const char *ngx_conduit_publish_idempotency_key(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx);

/* Moves *start and *end so that spaces and tabs at both ends are left out. */
void ngx_conduit_publish_trim(u_char **start, u_char **end);

/*
 * Sets ctx->bytes for a protobuf message; if the request has an
 * Idempotency-Key, also makes it the only entry of ctx->entries.  body must
 * live as long as the request.  Returns NGX_DECLINED to continue, or
 * NGX_HTTP_INTERNAL_SERVER_ERROR.
 */
ngx_int_t ngx_conduit_publish_idempotent_entry(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body,
    conduit_message_t *message);

/*
 * Sets ctx->entries.fingerprint of a request with an Idempotency-Key.  Returns
 * NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_publish_fingerprint(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body);

/*
 * Fills ctx->entries from a body in JSON.  Returns NGX_DECLINED to continue; or
 * what to finalize the request with, after sending an error response.
 */
ngx_int_t ngx_conduit_publish_json(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body);

/*
 * Sends a 413 response for a message, or a body, of size bytes, and logs it.
 * Returns what to finalize the request with.
 */
ngx_int_t ngx_conduit_publish_too_large(ngx_http_request_t *r, off_t size,
    size_t limit);

/*
 * Sends the response for the result of publishing, and logs and counts it.
 * Returns what to finalize the request with.
 */
ngx_int_t ngx_conduit_publish_answer(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result);

/*
 * Does the same, without logging, for a message that was not stored, or that
 * may or may not have been stored.
 */
ngx_int_t ngx_conduit_publish_failed(ngx_http_request_t *r,
    ngx_conduit_published_t *result);

/*
 * Sends an error response, and counts the request by its status.  The body is
 * text, or a problem document (RFC 9457) with text as its detail if the client
 * asks for JSON.  text is copied; it must be printable ASCII without quotes and
 * backslashes.  The request body must have been read or discarded.  Returns
 * what to finalize the request with.
 */
ngx_int_t ngx_conduit_publish_error(ngx_http_request_t *r, ngx_uint_t status,
    const char *text, size_t len, ngx_conduit_certainty_e stored);

/*
 * Adds the headers "RateLimit-Policy" and "RateLimit": left messages may still
 * be published to the channel within the next ms milliseconds.  Returns NGX_OK
 * or NGX_ERROR.
 */
ngx_int_t ngx_conduit_publish_rate_headers(ngx_http_request_t *r,
    ngx_uint_t left, ngx_msec_t ms);

/*
 * Adds the header "WWW-Authenticate", which says what is wrong with the token;
 * status is CONDUIT_JWT_OK if there is none, and never CONDUIT_JWT_NO_MEMORY.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_publish_challenge(ngx_http_request_t *r,
    conduit_jwt_status_e status);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PUBLISH_H */
