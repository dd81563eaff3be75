/* Copyright (C) Conduit for NGINX authors */

/*
 * Requests with an Idempotency-Key
 * (draft-ietf-httpapi-idempotency-key-header), which are published once, no
 * matter how often they are sent.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/sha.h>

#include "ngx_conduit_publish.h"


#define NGX_CONDUIT_PUBLISH_KEY_MAX  255    /* bytes of an Idempotency-Key */


/*
 * In the draft, the key is a string by RFC 8941, in quotes.  Many clients send
 * it without quotes; that is the same key.
 */

const char *
ngx_conduit_publish_key(ngx_http_request_t *r, ngx_conduit_publish_ctx_t *ctx)
{
    u_char                          *start, *end;
    ngx_table_elt_t                 *h;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    if (plcf->idempotency == 0) {
        return NULL;
    }

    h = ngx_conduit_http_find(&r->headers_in.headers, "idempotency-key",
                              NULL);

    if (h == NULL) {
        return NULL;
    }

    if (ngx_conduit_http_find(&r->headers_in.headers, "idempotency-key", h)
        != NULL)
    {
        return "Idempotency-Key is given twice";
    }

    start = h->value.data;
    end = start + h->value.len;
    ngx_conduit_publish_trim(&start, &end);

    if (end - start >= 2 && *start == '"' && end[-1] == '"') {
        start++;
        end--;
    }

    if (start == end) {
        return "Idempotency-Key is empty";
    }

    if (end - start > NGX_CONDUIT_PUBLISH_KEY_MAX) {
        return "Idempotency-Key is longer than 255 characters";
    }

    ctx->entries.request.data = start;
    ctx->entries.request.len = end - start;
    ctx->entries.remember = plcf->idempotency;

    return NULL;
}


/* a protobuf message without an Idempotency-Key is published by the plain
   script, which needs no entries */

ngx_int_t
ngx_conduit_publish_once(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body,
    conduit_message_t *message)
{
    ngx_conduit_entry_t  *entry;

    ctx->bytes = body->len;

    if (ctx->entries.request.len == 0) {
        return NGX_DECLINED;
    }

    entry = ngx_palloc(r->pool, sizeof(ngx_conduit_entry_t));
    if (entry == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    entry->message = *body;
    entry->sequence_len = ngx_sprintf(entry->sequence, "%uL",
                                      message->sequence)
                          - entry->sequence;
    ngx_memcpy(entry->message_id, message->message_id, CONDUIT_UUID_LEN);

    ctx->entries.elts = entry;
    ctx->entries.n = 1;

    return NGX_DECLINED;
}


/* requests with the same key must have the same body: its SHA-256 is kept */

ngx_int_t
ngx_conduit_publish_fingerprint(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body)
{
    u_char   digest[SHA256_DIGEST_LENGTH];
    u_char  *hex;

    if (SHA256(body->data, body->len, digest) == NULL) {
        return NGX_ERROR;
    }

    hex = ngx_pnalloc(r->pool, 2 * sizeof(digest));
    if (hex == NULL) {
        return NGX_ERROR;
    }

    ngx_hex_dump(hex, digest, sizeof(digest));

    ctx->entries.fingerprint.data = hex;
    ctx->entries.fingerprint.len = 2 * sizeof(digest);

    return NGX_OK;
}
