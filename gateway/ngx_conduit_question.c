/* Copyright (C) Conduit for NGINX authors */

/*
 * A question to Redis about one stream, and the answer.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <ngx_sha1.h>

#include "ngx_conduit_hub.h"
#include "ngx_conduit_question.h"


#define NGX_CONDUIT_SHA_LEN  40

static ngx_uint_t ngx_conduit_question_form(ngx_conduit_question_t *q);
static ngx_int_t ngx_conduit_question_command(ngx_conduit_question_t *q);
static ngx_int_t ngx_conduit_question_entries(ngx_conduit_question_t *q);
static ngx_conduit_link_t *ngx_conduit_question_link(
    ngx_conduit_question_t *q);
static void ngx_conduit_question_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static ngx_uint_t ngx_conduit_question_closed(ngx_conduit_question_t *q,
    ngx_conduit_outcome_e outcome);
static ngx_uint_t ngx_conduit_question_next_form(ngx_conduit_question_t *q,
    redisReply *error);
static ngx_uint_t ngx_conduit_question_no_permission(ngx_conduit_question_t *q,
    redisReply *error);
static ngx_uint_t ngx_conduit_question_no_scripts(ngx_conduit_question_t *q,
    redisReply *error);
static void ngx_conduit_question_read(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_question_info(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_question_answered(ngx_conduit_question_t *q);
static void ngx_conduit_question_free(ngx_conduit_question_t *q);
static ngx_str_t *ngx_conduit_question_sha(void);


static const char  *ngx_conduit_question_names[] = {
    "XREAD", "XREVRANGE", "EVALSHA_RO", "EVAL_RO", "EVALSHA", "EVAL",
    "XREAD and XINFO", "XREAD"
};

static ngx_str_t  ngx_conduit_question_text
    = ngx_string(CONDUIT_HISTORY_SCRIPT);


ngx_int_t
ngx_conduit_question_send(ngx_conduit_question_t *q)
{
    q->form = ngx_conduit_question_form(q);

    return ngx_conduit_question_command(q);
}


static ngx_uint_t
ngx_conduit_question_form(ngx_conduit_question_t *q)
{
    static const ngx_uint_t  forms[] = {
        NGX_CONDUIT_FORM_SHA_RO, NGX_CONDUIT_FORM_SHA, NGX_CONDUIT_FORM_INFO,
        NGX_CONDUIT_FORM_ENTRIES
    };

    if (q->reverse) {
        return NGX_CONDUIT_FORM_REVERSE;
    }

    if (q->ask.kind == CONDUIT_HISTORY_FAST) {
        return NGX_CONDUIT_FORM_FAST;
    }

    return forms[q->key->shard->scripts];
}


static ngx_int_t
ngx_conduit_question_command(ngx_conduit_question_t *q)
{
    ngx_int_t             rc;
    ngx_str_t            *key, *script;
    conduit_stream_id_t  *id;

    key = &q->key->node.str;
    id = &q->ask.id;

    ngx_log_debug5(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: \"%V\" is asked for %ui from %uL-%uL: %s",
                   key, q->count, id->ms, id->seq,
                   ngx_conduit_question_names[q->form]);

    switch (q->form) {

    case NGX_CONDUIT_FORM_FAST:
        rc = ngx_conduit_stream_read(ngx_conduit_question_link(q), key, id,
                                     q->count, ngx_conduit_question_reply, q);
        break;

    case NGX_CONDUIT_FORM_REVERSE:
        rc = ngx_conduit_stream_back(ngx_conduit_question_link(q), key, id,
                                     q->count, ngx_conduit_question_reply, q);
        break;

    case NGX_CONDUIT_FORM_INFO:
    case NGX_CONDUIT_FORM_ENTRIES:
        rc = ngx_conduit_question_entries(q);
        break;

    default:
        script = (q->form == NGX_CONDUIT_FORM_SHA_RO
                  || q->form == NGX_CONDUIT_FORM_SHA)
                 ? ngx_conduit_question_sha() : &ngx_conduit_question_text;

        rc = ngx_conduit_stream_eval(ngx_conduit_question_link(q),
                                     ngx_conduit_question_names[q->form],
                                     script, key, id, q->count,
                                     ngx_conduit_question_reply, q);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    q->waits++;

    return NGX_OK;
}


/* asks by XREAD and, for all but the entries, by XINFO */

static ngx_int_t
ngx_conduit_question_entries(ngx_conduit_question_t *q)
{
    ngx_str_t            *key;
    conduit_stream_id_t   after;

    key = &q->key->node.str;

    after = q->ask.id;
    conduit_stream_id_before(&after);

    if (ngx_conduit_stream_read(ngx_conduit_question_link(q), key, &after,
                                q->count, ngx_conduit_question_read, q)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (q->form == NGX_CONDUIT_FORM_ENTRIES) {
        return NGX_OK;
    }

    /* if XINFO can't be sent, the reply to XREAD alone counts as lost.  It has
       an ASKING of its own, as that is for one command */

    if (ngx_conduit_stream_info(ngx_conduit_question_link(q), key,
                                ngx_conduit_question_info, q)
        == NGX_OK)
    {
        q->waits++;
    }

    return NGX_OK;
}


static ngx_conduit_link_t *
ngx_conduit_question_link(ngx_conduit_question_t *q)
{
    ngx_conduit_link_t  *link;

    q->shard = q->key->shard;
    link = &q->shard->doorbell.reader;

    if (q->key->asking) {
        /* if it fails, the command after it fails, too */
        (void) ngx_conduit_link_asking(link);
    }

    return link;
}


static void
ngx_conduit_question_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_question_t  *q = data;

    if (ngx_conduit_question_closed(q, outcome)) {
        return;
    }

    if (q->form != NGX_CONDUIT_FORM_FAST && q->form != NGX_CONDUIT_FORM_REVERSE
        && reply->type == REDIS_REPLY_ERROR
        && ngx_conduit_question_next_form(q, reply))
    {
        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: \"%V\" is asked in another form: %s",
                       &q->key->node.str, reply->str);

        if (ngx_conduit_question_command(q) != NGX_OK) {
            q->handler(q->data, q, NGX_CONDUIT_QUESTION_LOST);
        }

        return;
    }

    ngx_conduit_limit_keep(reply);
    q->reply = reply;

    ngx_conduit_question_answered(q);
}


/* hands the answer to the owner, which may free the question */

static void
ngx_conduit_question_answered(ngx_conduit_question_t *q)
{
    ngx_uint_t               stray;
    ngx_conduit_link_t      *link;
    ngx_conduit_question_e   result;

    result = ngx_conduit_answer_parse(q);

    if (result == NGX_CONDUIT_QUESTION_REFUSED && q->reply == NULL) {

        /* the handler expects the refused reply in q->reply */

        q->reply = q->read;
        q->read = NULL;
    }

    stray = q->stray;
    link = &q->shard->doorbell.reader;

    q->handler(q->data, q, result);

    if (stray) {
        ngx_conduit_link_reset(link, "a reply of another key");
    }
}


/* counts a reply; returns 1 when there is nothing to read: the question was
   forgotten, or there is no reply, which the handler was told */

static ngx_uint_t
ngx_conduit_question_closed(ngx_conduit_question_t *q,
    ngx_conduit_outcome_e outcome)
{
    q->waits--;

    if (q->data == NULL) {

        if (q->waits == 0) {
            ngx_conduit_question_free(q);
        }

        return 1;
    }

    if (outcome == NGX_CONDUIT_REPLIED) {
        return 0;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: \"%V\": no reply, %ui", &q->key->node.str,
                   (ngx_uint_t) outcome);

    q->handler(q->data, q, outcome == NGX_CONDUIT_TOO_LARGE
                           ? NGX_CONDUIT_QUESTION_TOO_LARGE
                           : NGX_CONDUIT_QUESTION_LOST);

    return 1;
}


/* whether a script that failed can be sent in another form; if so, sets
   q->form */

static ngx_uint_t
ngx_conduit_question_next_form(ngx_conduit_question_t *q, redisReply *error)
{
    ngx_uint_t            ro;
    ngx_conduit_shard_t  *shard;

    shard = q->shard;

    ro = (q->form == NGX_CONDUIT_FORM_SHA_RO
          || q->form == NGX_CONDUIT_FORM_TEXT_RO);

    if (conduit_redis_error_is(error->str, "NOSCRIPT")) {

        if (q->form != NGX_CONDUIT_FORM_SHA_RO
            && q->form != NGX_CONDUIT_FORM_SHA)
        {
            return 0;
        }

        ngx_conduit_question_prepare(shard);

        q->form++;
        return 1;
    }

    if (conduit_redis_error_has(error->str, "unknown command")) {

        if (!ro) {
            /* removed by "rename-command" */
            return ngx_conduit_question_no_scripts(q, error);
        }

        shard->scripts = NGX_CONDUIT_SCRIPTS_ANY;
        q->form = NGX_CONDUIT_FORM_SHA;
        return 1;
    }

    return ngx_conduit_question_no_permission(q, error);
}


/*
 * The same for a missing permission.  NOPERM refuses the command that runs the
 * script, or its key; an ACL error from the script refuses a command in it.
 */

static ngx_uint_t
ngx_conduit_question_no_permission(ngx_conduit_question_t *q, redisReply *error)
{
    ngx_conduit_shard_t  *shard;

    shard = q->shard;

    if (conduit_redis_error_is(error->str, "NOPERM")
        && ngx_strstr(error->str, " key") != NULL)
    {
        /* XREAD may be allowed where EVALSHA is not, as EVALSHA needs
           permission to write the key */

        if (q->form == NGX_CONDUIT_FORM_SHA_RO
            || q->form == NGX_CONDUIT_FORM_TEXT_RO)
        {
            return 0;
        }

    } else if (conduit_redis_error_is(error->str, "NOPERM")) {

        if (q->form == NGX_CONDUIT_FORM_SHA_RO
            || q->form == NGX_CONDUIT_FORM_TEXT_RO)
        {
            ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                           "conduit: %s", error->str);

            shard->scripts = NGX_CONDUIT_SCRIPTS_ANY;
            q->form = NGX_CONDUIT_FORM_SHA;
            return 1;
        }

    } else if (ngx_strstr(error->str, "ACL failure") == NULL
               && ngx_strstr(error->str, "can't run this command") == NULL)
    {
        return 0;
    }

    return ngx_conduit_question_no_scripts(q, error);
}


/* the server runs no script, or not this one: logs it, once a link */

static ngx_uint_t
ngx_conduit_question_no_scripts(ngx_conduit_question_t *q, redisReply *error)
{
    ngx_conduit_shard_t  *shard;

    shard = q->shard;

    if (shard->scripts < NGX_CONDUIT_SCRIPTS_NONE) {
        shard->scripts = NGX_CONDUIT_SCRIPTS_NONE;

        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "conduit: redis %V: the gateway is not allowed to run "
                      "its script with EVALSHA_RO and EVAL_RO, or with EVALSHA "
                      "and EVAL (%s), XREAD and XINFO are used instead",
                      &shard->doorbell.redis->name, error->str);
    }

    q->form = ngx_conduit_question_form(q);

    return 1;
}


static void
ngx_conduit_question_read(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_question_t  *q = data;

    if (ngx_conduit_question_closed(q, outcome)) {
        return;
    }

    ngx_conduit_limit_keep(reply);

    if (reply->type != REDIS_REPLY_ARRAY && reply->type != REDIS_REPLY_NIL) {
        q->reply = reply;
        q->handler(q->data, q, NGX_CONDUIT_QUESTION_REFUSED);
        return;
    }

    q->read = reply;

    if (q->form == NGX_CONDUIT_FORM_ENTRIES) {
        ngx_conduit_question_answered(q);
        return;
    }

    if (q->waits == 0) {
        q->handler(q->data, q, NGX_CONDUIT_QUESTION_LOST);
    }
}


static void
ngx_conduit_question_info(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_shard_t     *shard;
    ngx_conduit_question_t  *q = data;

    if (ngx_conduit_question_closed(q, outcome)) {
        return;
    }

    ngx_conduit_limit_keep(reply);
    q->reply = reply;

    if (reply->type == REDIS_REPLY_ERROR
        && conduit_redis_error_is(reply->str, "NOPERM"))
    {
        shard = q->shard;

        if (shard->scripts != NGX_CONDUIT_SCRIPTS_NOTHING) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "conduit: redis %V: reading \"%V\" failed: %s, "
                          "clients are not told of lost entries",
                          &shard->doorbell.redis->name, &q->key->label,
                          reply->str);
        }

        shard->scripts = NGX_CONDUIT_SCRIPTS_NOTHING;
        q->form = NGX_CONDUIT_FORM_ENTRIES;
    }

    ngx_conduit_question_answered(q);
}


void
ngx_conduit_question_forget(ngx_conduit_question_t *q)
{
    q->data = NULL;

    if (q->waits == 0) {
        ngx_conduit_question_free(q);
    }
}


static void
ngx_conduit_question_free(ngx_conduit_question_t *q)
{
    if (q->reply != NULL) {
        freeReplyObject(q->reply);
    }

    if (q->read != NULL) {
        freeReplyObject(q->read);
    }

    if (q->entries != NULL) {
        ngx_free(q->entries);
    }

    ngx_free(q);
}


void
ngx_conduit_question_prepare(ngx_conduit_shard_t *shard)
{
    ngx_conduit_stream_load(&shard->doorbell.reader,
                            &ngx_conduit_question_text);
}


/* the script's SHA-1 in hexadecimal, for EVALSHA */

static ngx_str_t *
ngx_conduit_question_sha(void)
{
    u_char             digest[20];
    ngx_sha1_t         sha1;

    static u_char      text[NGX_CONDUIT_SHA_LEN];
    static ngx_str_t   sha = { 0, text };

    if (sha.len == 0) {
        ngx_sha1_init(&sha1);
        ngx_sha1_update(&sha1, ngx_conduit_question_text.data,
                        ngx_conduit_question_text.len);
        ngx_sha1_final(digest, &sha1);
        ngx_hex_dump(text, digest, sizeof(digest));
        sha.len = NGX_CONDUIT_SHA_LEN;
    }

    return &sha;
}
