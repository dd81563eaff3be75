/*
 * The publish module's parts to each other: the location's configuration, and a
 * request on its way.
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

/* the one name here that NGINX looks up in the .so */
extern ngx_module_t  ngx_conduit_publish_module;

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_conduit_conf_t        common;

    ngx_flag_t                org_claim;
    size_t                    max_size;
    ngx_uint_t                rate;         /* messages per rate_window */
    ngx_msec_t                rate_window;
    ngx_uint_t                max_len;
    ngx_uint_t                batch;        /* messages in a request */
    ngx_msec_t                idempotency;  /* 0: off */
    ngx_msec_t                idle_ttl;
    ngx_msec_t                end_ttl;

    ngx_conduit_publisher_t  *publisher;    /* one for equal servers */
    ngx_conduit_http_log_t   *limited;      /* of messages over the rate */
} ngx_conduit_publish_loc_conf_t;

/* what a body is, as Content-Type says */
typedef enum {
    NGX_CONDUIT_FORMAT_PROTOBUF = 0,        /* also any other type */
    NGX_CONDUIT_FORMAT_JSON,
    NGX_CONDUIT_FORMAT_NDJSON               /* several, one a line */
} ngx_conduit_format_e;

/* what is known of a message that was not answered with 200 */
typedef enum {
    NGX_CONDUIT_STORED_NO = 0,
    NGX_CONDUIT_STORED_UNKNOWN
} ngx_conduit_certainty_e;

/* of a request; in its pool */
typedef struct {
    ngx_http_request_t       *request;
    ngx_conduit_ids_t         ids;
    ngx_conduit_format_e      format;
    ngx_conduit_publish_t     publish;
    ngx_conduit_entries_t     entries;      /* with publish.entries set */
    size_t                    bytes;        /* of the messages */
    ngx_conduit_script_op_t  *op;           /* under way */
    ngx_str_t                 id;
    conduit_phase_t           phase;
    uint64_t                  started;      /* microseconds */
    ngx_msec_t                redis_time;
    unsigned                  decoded:1;
    unsigned                  answered:1;   /* Redis has */
    u_char                    key[CONDUIT_KEY_MAX];
} ngx_conduit_publish_ctx_t;


extern ngx_conduit_stats_t  ngx_conduit_publish_stats;

/*
 * The content handler of "conduit_publish".  Returns what such a handler does.
 */
ngx_int_t ngx_conduit_publish_handler(ngx_http_request_t *r);

/*
 * Returns what the token of a request came to, made with create set; NULL when
 * there is none, or memory is out.
 */
ngx_conduit_verified_t *ngx_conduit_publish_token(ngx_http_request_t *r,
    ngx_uint_t create);

/*
 * The ids that a valid token lets the request publish to, for
 * $conduit_verified_*; an ngx_conduit_http_verified_pt.
 */
ngx_int_t ngx_conduit_publish_verified(ngx_http_request_t *r,
    ngx_conduit_ids_t *ids, ngx_uint_t channel, ngx_uint_t verify);

/* Returns the size of the body that was read, in bytes. */
off_t ngx_conduit_publish_body_size(ngx_http_request_t *r);

/*
 * Returns whether the body was read to its end; size is what there is of it.  A
 * request may come from another location ("error_page 413 = @name", proxy_pass
 * without buffering, "post_action"), where reading or discarding it had begun:
 * NGINX takes what is there then for the whole.
 */
ngx_uint_t ngx_conduit_publish_body_whole(ngx_http_request_t *r, off_t size);

/*
 * Makes one piece of the body, which NGINX has in buffers in memory or in a
 * temporary file; it lives as long as the request.  Returns NGX_OK, or
 * NGX_HTTP_INTERNAL_SERVER_ERROR.
 */
ngx_int_t ngx_conduit_publish_body(ngx_http_request_t *r, ngx_str_t *body);

/* Whether an answer in JSON is asked for: "Accept" names such a type. */
ngx_uint_t ngx_conduit_publish_accepts_json(ngx_http_request_t *r);

/* Returns what Content-Type says that the body is. */
ngx_conduit_format_e ngx_conduit_publish_format(ngx_http_request_t *r);

/* Whether Content-Encoding says that the body is not as it is. */
ngx_uint_t ngx_conduit_publish_encoded(ngx_http_request_t *r);

/*
 * Takes the Idempotency-Key of a request that is to be published once into
 * ctx->entries.  Returns NULL, or a static text that says what is wrong.
 */
const char *ngx_conduit_publish_key(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx);

/* Takes blanks off both ends. */
void ngx_conduit_publish_trim(u_char **start, u_char **end);

/*
 * Makes an entry of a message in protobuf, if the request has a key.  Returns
 * NGX_DECLINED to go on, or NGX_HTTP_INTERNAL_SERVER_ERROR.
 */
ngx_int_t ngx_conduit_publish_once(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body,
    conduit_message_t *message);

/* Sets the fingerprint of a request that has a key.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_publish_fingerprint(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body);

/*
 * Makes ctx->entries of a body in JSON.  Returns NGX_DECLINED to go on, or the
 * result of an answer.
 */
ngx_int_t ngx_conduit_publish_json(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body);

/* Answers that a message, or a body, of so many bytes is over the limit. */
ngx_int_t ngx_conduit_publish_too_large(ngx_http_request_t *r, off_t size,
    size_t limit);

/*
 * Answers with what Redis said of a message, and logs and counts it.  Returns
 * what to finalize the request with.
 */
ngx_int_t ngx_conduit_publish_answer(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result);

/* Does so for a message that was not stored, or not for certain. */
ngx_int_t ngx_conduit_publish_failed(ngx_http_request_t *r,
    ngx_conduit_published_t *result);

/*
 * Answers with an error, and counts the request by the status: with a text, or
 * with a problem (RFC 9457) where that is asked for.  The text is printable
 * ASCII without quotes and backslashes; it is copied.
 */
ngx_int_t ngx_conduit_publish_error(ngx_http_request_t *r, ngx_uint_t status,
    const char *text, size_t len, ngx_conduit_certainty_e stored);

/* Adds "RateLimit-Policy", and with left set what is left for ms. */
ngx_int_t ngx_conduit_publish_rate_headers(ngx_http_request_t *r,
    ngx_uint_t left, ngx_msec_t ms);

/* Adds "WWW-Authenticate", which says what is wrong with a token. */
ngx_int_t ngx_conduit_publish_challenge(ngx_http_request_t *r,
    conduit_jwt_status_t status);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PUBLISH_H */
