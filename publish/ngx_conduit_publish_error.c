/* Copyright (C) Conduit for NGINX authors */

/*
 * Error responses of the publish module: a line of text or a problem document
 * (RFC 9457), the header that says what is wrong with a token (RFC 6750), and
 * the headers about the rate limit (draft-ietf-httpapi-ratelimit-headers).
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish.h"


#define NGX_CONDUIT_PROBLEM                                                   \
    "{\"type\":\"urn:conduit:problem:%s\",\"title\":\"%s\",\"status\":%ui,"   \
    "\"detail\":\"%*s\",\"stored\":\"%s\"}"

typedef struct {
    ngx_uint_t   status;
    const char  *type;
    const char  *title;      /* name of the status (RFC 9110, 15) */
} ngx_conduit_problem_t;


static const ngx_conduit_problem_t  ngx_conduit_problems[] = {
    { NGX_HTTP_BAD_REQUEST, "invalid", "Bad Request" },
    { NGX_HTTP_UNAUTHORIZED, "unauthorized", "Unauthorized" },
    { NGX_HTTP_FORBIDDEN, "forbidden", "Forbidden" },
    { NGX_HTTP_NOT_ALLOWED, "method", "Method Not Allowed" },
    { NGX_HTTP_CONFLICT, "no-sequence", "Conflict" },
    { NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, "too-large", "Content Too Large" },
    { NGX_HTTP_UNSUPPORTED_MEDIA_TYPE, "unsupported",
      "Unsupported Media Type" },
    { NGX_CONDUIT_HTTP_UNPROCESSABLE, "idempotency-key",
      "Unprocessable Content" },
    { NGX_HTTP_TOO_MANY_REQUESTS, "rate-limited", "Too Many Requests" },
    { NGX_HTTP_SERVICE_UNAVAILABLE, "unavailable", "Service Unavailable" },
    { NGX_HTTP_GATEWAY_TIME_OUT, "timeout", "Gateway Timeout" },
    { 0, "refused", "Internal Server Error" }
};


/* error_description by conduit_jwt_status_e; NULL: there is no token */

static const char * const  ngx_conduit_challenges[] = {
    NULL,
    "the token has expired",
    "the token is not valid yet",
    "the token is malformed",
    "no key has the algorithm of the token",
    "no key has the key id of the token",
    "the signature of the token is wrong",
    "the issuer of the token is missing or does not match",
    "the audience of the token is missing or does not match",
    "a claim of the token is missing or of a wrong type"
};

_Static_assert(sizeof(ngx_conduit_challenges) / sizeof(char *)
               == CONDUIT_JWT_NO_MEMORY, "a status without a text");


ngx_int_t
ngx_conduit_publish_error(ngx_http_request_t *r, ngx_uint_t status,
    const char *text, size_t len, ngx_conduit_certainty_e stored)
{
    size_t                        n;
    u_char                       *last, *json;
    const char                   *word;
    const ngx_conduit_problem_t  *problem;

    static ngx_str_t  plain = ngx_string("text/plain");
    static ngx_str_t  type = ngx_string("application/problem+json");

    ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                            NGX_CONDUIT_PUBLISH_REQUESTS
                            + ngx_conduit_publish_outcome(status));

    if (!ngx_conduit_publish_accepts_json(r)) {
        return ngx_conduit_http_content(r, status, &plain, text, len);
    }

    /* the last element is used for any status that is not in the table */

    for (problem = ngx_conduit_problems; problem->status; problem++) {
        if (problem->status == status) {
            break;
        }
    }

    word = (stored == NGX_CONDUIT_STORED_NO) ? "no" : "unknown";

    n = sizeof(NGX_CONDUIT_PROBLEM) + ngx_strlen(problem->type)
        + ngx_strlen(problem->title) + NGX_INT_T_LEN + len + ngx_strlen(word);

    json = ngx_pnalloc(r->pool, n);
    if (json == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    last = ngx_snprintf(json, n, NGX_CONDUIT_PROBLEM, problem->type,
                        problem->title, status, len, text, word);

    return ngx_conduit_http_content(r, status, &type, (char *) json,
                                    last - json);
}


ngx_int_t
ngx_conduit_publish_challenge(ngx_http_request_t *r,
    conduit_jwt_status_e status)
{
    u_char      *value;
    size_t       len;
    const char  *text;

    text = ngx_conduit_challenges[status];

    /* if there is no token, no error code should be sent (RFC 6750, 3.1) */

    if (text == NULL) {
        return ngx_conduit_http_header(r, "WWW-Authenticate", "Bearer");
    }

    len = sizeof("Bearer error=\"invalid_token\", error_description=\"\"")
          + ngx_strlen(text);

    value = ngx_pnalloc(r->pool, len);
    if (value == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_snprintf(value, len, "Bearer error=\"invalid_token\", "
                        "error_description=\"%s\"%Z", text);

    return ngx_conduit_http_header(r, "WWW-Authenticate", (char *) value);
}


ngx_int_t
ngx_conduit_publish_rate_headers(ngx_http_request_t *r, ngx_uint_t left,
    ngx_msec_t ms)
{
    u_char                          *policy, *limit;
    size_t                           len;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    len = sizeof("\"channel\";q=;w=") + 2 * NGX_INT_T_LEN;

    policy = ngx_pnalloc(r->pool, 2 * len);
    if (policy == NULL) {
        return NGX_ERROR;
    }

    limit = policy + len;

    (void) ngx_snprintf(policy, len, "\"channel\";q=%ui;w=%M%Z", plcf->rate,
                        plcf->rate_window / 1000);
    (void) ngx_snprintf(limit, len, "\"channel\";r=%ui;t=%M%Z", left,
                        (ms + 999) / 1000);

    if (ngx_conduit_http_header(r, "RateLimit-Policy", (char *) policy)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_conduit_http_header(r, "RateLimit", (char *) limit);
}


ngx_int_t
ngx_conduit_publish_too_large(ngx_http_request_t *r, off_t size, size_t limit)
{
    u_char     *last;
    u_char      text[sizeof("Message of  bytes is over the limit of  bytes")
                     + NGX_OFF_T_LEN + NGX_SIZE_T_LEN];
    ngx_int_t   rc;

    last = ngx_sprintf(text, "Message of %O bytes is over the limit of %uz "
                       "bytes", size, limit);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "conduit: client sent a message of %O bytes, the limit is "
                  "%uz", size, limit);

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_conduit_publish_error(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                     (char *) text, last - text,
                                     NGX_CONDUIT_STORED_NO);
}
