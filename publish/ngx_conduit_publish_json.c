/* Copyright (C) Conduit for NGINX authors */

/*
 * A request body in JSON: one message, or a batch with one message per line.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/rand.h>

#include "conduit_message_json.h"
#include "ngx_conduit_publish.h"


static ngx_int_t ngx_conduit_publish_lines(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body);
static ngx_uint_t ngx_conduit_publish_blank(u_char *p, u_char *end);
static ngx_int_t ngx_conduit_publish_too_many(ngx_http_request_t *r,
    ngx_uint_t limit);
static ngx_int_t ngx_conduit_publish_object(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, conduit_arena_t *arena, ngx_str_t *text,
    ngx_uint_t line);
static ngx_int_t ngx_conduit_publish_entry(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, conduit_message_json_t *m);
static ngx_int_t ngx_conduit_publish_uuid(char *out);
static ngx_int_t ngx_conduit_publish_bad_json(ngx_http_request_t *r,
    conduit_message_json_status_e status, conduit_message_json_error_t *error,
    ngx_uint_t line);


ngx_int_t
ngx_conduit_publish_json(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body)
{
    ngx_int_t         rc;
    ngx_uint_t        max;
    conduit_arena_t  *arena;

    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    /* the shortest message, "{}" and a line end, takes 3 bytes */

    max = (ctx->format == NGX_CONDUIT_FORMAT_NDJSON)
          ? ngx_min(plcf->batch, body->len / 3 + 1) : 1;

    ctx->entries.elts = ngx_palloc(r->pool, max * sizeof(ngx_conduit_entry_t));
    if (ctx->entries.elts == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->format == NGX_CONDUIT_FORMAT_NDJSON) {
        return ngx_conduit_publish_lines(r, ctx, body);
    }

    arena = conduit_arena_create(CONDUIT_MESSAGE_JSON_MEMORY(body->len));
    if (arena == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_conduit_publish_object(r, ctx, arena, body, 0);

    conduit_arena_free(arena);

    return rc;
}


/* reads one message per line; blank lines are skipped */

static ngx_int_t
ngx_conduit_publish_lines(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body)
{
    u_char           *p, *end, *last;
    ngx_int_t         rc;
    ngx_str_t         text;
    ngx_uint_t        line, limit;
    conduit_arena_t  *arena;

    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    /* a batch of more messages than the rate allows could never be published */

    limit = plcf->rate ? ngx_min(plcf->rate, plcf->batch) : plcf->batch;

    arena = conduit_arena_create(CONDUIT_MESSAGE_JSON_MEMORY(body->len));
    if (arena == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = NGX_DECLINED;
    last = body->data + body->len;

    for (p = body->data, line = 1; p < last && rc == NGX_DECLINED;
         p = end + 1, line++)
    {
        end = ngx_strlchr(p, last, '\n');
        if (end == NULL) {
            end = last;
        }

        if (ngx_conduit_publish_blank(p, end)) {
            continue;
        }

        if (ctx->entries.n == limit) {
            rc = ngx_conduit_publish_too_many(r, limit);
            break;
        }

        text.data = p;
        text.len = end - p;

        conduit_arena_reset(arena);
        rc = ngx_conduit_publish_object(r, ctx, arena, &text, line);
    }

    conduit_arena_free(arena);

    if (rc == NGX_DECLINED && ctx->entries.n == 0) {
        ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                                NGX_CONDUIT_PUBLISH_INVALID
                                + NGX_CONDUIT_INVALID_JSON);

        return ngx_conduit_publish_error(r, NGX_HTTP_BAD_REQUEST,
                                         "No message in the batch",
                                         sizeof("No message in the batch") - 1,
                                         NGX_CONDUIT_STORED_NO);
    }

    return rc;
}


static ngx_uint_t
ngx_conduit_publish_blank(u_char *p, u_char *end)
{
    for ( /* void */ ; p < end; p++) {
        if (*p != ' ' && *p != '\t' && *p != '\r') {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_conduit_publish_too_many(ngx_http_request_t *r, ngx_uint_t limit)
{
    u_char  *last;
    u_char   text[sizeof("Batch exceeds the limit of  messages")
                  + NGX_INT_T_LEN];

    last = ngx_sprintf(text, "Batch exceeds the limit of %ui messages", limit);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "conduit: client sent a batch of more than %ui messages",
                  limit);

    return ngx_conduit_publish_error(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                     (char *) text, last - text,
                                     NGX_CONDUIT_STORED_NO);
}


/*
 * Reads one message and adds it to ctx->entries.  line is its number in a
 * batch, from 1, and 0 if there is no batch.  Returns NGX_DECLINED to continue,
 * or the result of an error response.
 */

static ngx_int_t
ngx_conduit_publish_object(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, conduit_arena_t *arena, ngx_str_t *text,
    ngx_uint_t line)
{
    conduit_message_json_t           m;
    conduit_message_json_error_t     error;
    conduit_message_json_status_e    status;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    if (ngx_conduit_publish_uuid(m.message_id) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "conduit: RAND_bytes() failed, could not make a "
                      "message_id");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    status = conduit_message_json_read((char *) text->data, text->len,
                                       ctx->ids.channel, arena, &m, &error);

    if (status == CONDUIT_MESSAGE_JSON_NO_MEMORY) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (status != CONDUIT_MESSAGE_JSON_OK) {
        return ngx_conduit_publish_bad_json(r, status, &error, line);
    }

    if (m.len > plcf->max_size) {
        return ngx_conduit_publish_too_large(r, m.len, plcf->max_size);
    }

    return ngx_conduit_publish_entry(r, ctx, &m);
}


static ngx_int_t
ngx_conduit_publish_entry(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, conduit_message_json_t *m)
{
    ngx_conduit_entry_t  *entry;

    entry = &ctx->entries.elts[ctx->entries.n];

    entry->message.data = ngx_pnalloc(r->pool, m->len);
    if (entry->message.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(entry->message.data, m->data, m->len);
    entry->message.len = m->len;
    entry->sequence_len = 0;

    if (m->has_sequence) {
        entry->sequence_len = ngx_sprintf(entry->sequence, "%uL", m->sequence)
                              - entry->sequence;
    }

    ngx_memcpy(entry->message_id, m->message_id, CONDUIT_UUID_LEN);

    ctx->entries.n++;
    ctx->bytes += m->len;
    ctx->phase = m->phase;
    ctx->decoded = 1;

    return NGX_DECLINED;
}


/* makes a random UUID (version 4, RFC 9562, 5.4) */

static ngx_int_t
ngx_conduit_publish_uuid(char *out)
{
    u_char       bytes[16];
    u_char       hex[32];
    ngx_uint_t   i, n;

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return NGX_ERROR;
    }

    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;

    ngx_hex_dump(hex, bytes, sizeof(bytes));

    for (i = 0, n = 0; i < sizeof(hex); i++) {

        if (i == 8 || i == 12 || i == 16 || i == 20) {
            out[n++] = '-';
        }

        out[n++] = hex[i];
    }

    return NGX_OK;
}


/*
 * The response says where the error is.  The log does not: it would contain
 * names of members, which are the client's data.
 */

static ngx_int_t
ngx_conduit_publish_bad_json(ngx_http_request_t *r,
    conduit_message_json_status_e status, conduit_message_json_error_t *error,
    ngx_uint_t line)
{
    u_char                 *p;
    u_char                  text[sizeof("Invalid message in line : ")
                                 + NGX_INT_T_LEN
                                 + CONDUIT_MESSAGE_JSON_ERROR_MAX];
    ngx_conduit_invalid_e   reason;

    switch (status) {

    case CONDUIT_MESSAGE_JSON_SYNTAX:
        reason = NGX_CONDUIT_INVALID_JSON;
        break;

    case CONDUIT_MESSAGE_JSON_DEPTH:
        reason = NGX_CONDUIT_INVALID_DEPTH;
        break;

    case CONDUIT_MESSAGE_JSON_CHANNEL_ID:
        reason = NGX_CONDUIT_INVALID_CHANNEL_ID;
        break;

    case CONDUIT_MESSAGE_JSON_MESSAGE_ID:
        reason = NGX_CONDUIT_INVALID_MESSAGE_ID;
        break;

    case CONDUIT_MESSAGE_JSON_MISMATCH:
        reason = NGX_CONDUIT_INVALID_MISMATCH;
        break;

    default: /* CONDUIT_MESSAGE_JSON_FIELD */
        reason = NGX_CONDUIT_INVALID_FIELD;
        break;
    }

    if (error->line > 0) {
        error->line += line ? line - 1 : 0;
        p = ngx_cpymem(text, "Invalid JSON, ", sizeof("Invalid JSON, ") - 1);

    } else if (line) {
        p = ngx_sprintf(text, "Invalid message in line %ui: ", line);

    } else {
        p = ngx_cpymem(text, "Invalid message: ",
                       sizeof("Invalid message: ") - 1);
    }

    p += conduit_message_json_error_write(error, (char *) p);

    ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                            NGX_CONDUIT_PUBLISH_INVALID + reason);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "conduit: client sent an invalid message in JSON: %s",
                  error->text);

    return ngx_conduit_publish_error(r, NGX_HTTP_BAD_REQUEST, (char *) text,
                                     p - text, NGX_CONDUIT_STORED_NO);
}
