/* Copyright (C) Conduit for NGINX authors */

/*
 * Prepares a request with an Idempotency-Key
 * (draft-ietf-httpapi-idempotency-key-header): its key, the hash of its body,
 * its entry.  The script of broker/ngx_conduit_entries.c remembers key and hash
 * as long as conduit_publish_idempotency says, and does not store a repeat.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/sha.h>

#include "ngx_conduit_publish.h"


#define NGX_CONDUIT_IDEMPOTENCY_KEY_MAX  255    /* bytes of an
                                                   Idempotency-Key */


/*
 * Reads the key of a request into ctx->entries.  The draft says that the key is
 * a string of RFC 8941, which is written in quotes, but many clients send it
 * without: the quotes are removed, so that both are the same key.
 */

const char *
ngx_conduit_publish_idempotency_key(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx)
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

    if (end - start > NGX_CONDUIT_IDEMPOTENCY_KEY_MAX) {
        return "Idempotency-Key is longer than 255 characters";
    }

    ctx->entries.request.data = start;
    ctx->entries.request.len = end - start;
    ctx->entries.remember = plcf->idempotency;

    return NULL;
}


/*
 * Makes the list of entries of a protobuf message with an Idempotency-Key: one
 * entry.  A message without such a key gets no list (entries.n stays 0), so
 * ngx_conduit_publish_send() takes the plain script.  Returns NGX_DECLINED to
 * continue in both cases, or NGX_HTTP_INTERNAL_SERVER_ERROR when memory is out.
 */

ngx_int_t
ngx_conduit_publish_idempotent_entry(ngx_http_request_t *r,
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


/* the SHA-256 of the body is stored with the key: another request with the same
   key is refused if its body is a different one */

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
