/* Copyright (C) Conduit for NGINX authors */

/*
 * The canary: a test entry that a worker adds to a stream of its own on each
 * server, to see that the doorbell rings for it.
 *
 *   arm     XREAD on the reader: Redis then tracks the key, and reports its
 *           next change
 *   send    XADD and PEXPIRE
 *   ring    the doorbell has rung for the key: XREAD again
 *   back    the new entry was read: writing, the doorbell and reading work
 *
 * Where streams are polled, the canary is read right after it was written.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_conduit_canary.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_stream.h"
#include "ngx_conduit_time.h"


#define NGX_CONDUIT_CANARY_PREFIX    "conduit:canary:"

/* ms */
#define NGX_CONDUIT_CANARY_INTERVAL  1000
#define NGX_CONDUIT_CANARY_EAGER     100      /* while a canary is late */
#define NGX_CONDUIT_CANARY_PATIENCE  3000     /* a canary that is not back by
                                                 then is given up */
#define NGX_CONDUIT_CANARY_OUTAGE    1000     /* how long a link may be down */
#define NGX_CONDUIT_CANARY_TTL       "60000"

/* how many random keys are tried to find one in a slot of the server */
#define NGX_CONDUIT_CANARY_TRIES     20000


static void ngx_conduit_canary_tick(ngx_event_t *ev);
static ngx_int_t ngx_conduit_canary_look(void *data, ngx_conduit_node_t *node);
static ngx_int_t ngx_conduit_canary_name(ngx_conduit_shard_t *shard);
static void ngx_conduit_canary_send(ngx_conduit_shard_t *shard);
static void ngx_conduit_canary_read(ngx_conduit_shard_t *shard,
    ngx_conduit_reply_pt handler);
static ngx_uint_t ngx_conduit_canary_ring(ngx_conduit_shard_t *shard,
    u_char *key, size_t len);
static void ngx_conduit_canary_armed(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_canary_back(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static ngx_uint_t ngx_conduit_canary_last(ngx_conduit_shard_t *shard,
    redisReply *reply, ngx_conduit_outcome_e outcome);
static void ngx_conduit_canary_sent(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_canary_log_error(ngx_conduit_shard_t *shard,
    redisReply *reply);


ngx_int_t
ngx_conduit_canary_start(ngx_conduit_hub_t *hub, void (*on_ready)(void *data),
    void *data)
{
    if (ngx_conduit_hub_open(hub) != NGX_OK) {
        return NGX_ERROR;
    }

    hub->on_ready = on_ready;
    hub->on_ready_data = data;
    hub->canary_ring = ngx_conduit_canary_ring;

    ngx_memzero(&hub->canary_timer, sizeof(ngx_event_t));
    hub->canary_timer.data = hub;
    hub->canary_timer.handler = ngx_conduit_canary_tick;
    hub->canary_timer.log = ngx_cycle->log;
    hub->canary_timer.cancelable = 1;

    ngx_add_timer(&hub->canary_timer, 1);

    return NGX_OK;
}


static void
ngx_conduit_canary_tick(ngx_event_t *ev)
{
    ngx_uint_t          late;
    ngx_conduit_hub_t  *hub = ev->data;

    hub->oldest_proof = ngx_conduit_moment(ngx_current_msec);
    hub->sick = 0;

    if (ngx_conduit_topology_masters(&hub->topology, ngx_conduit_canary_look,
                                     hub)
        != NGX_OK)
    {
        hub->oldest_proof = 0;
    }

    /* a worker that has not got a canary back yet starts with the time at which
       the previous workers were ready, unless a server is down */

    if (hub->sick) {
        hub->oldest_proof = 0;
    }

    /* looks more often while a canary is late, so that its return is noticed
       before the health page reports a failure */

    late = hub->oldest_proof == 0
           || ngx_current_msec - hub->oldest_proof
              > 2 * NGX_CONDUIT_CANARY_INTERVAL + NGX_CONDUIT_CANARY_EAGER;

    ngx_add_timer(&hub->canary_timer, late ? NGX_CONDUIT_CANARY_EAGER
                                           : NGX_CONDUIT_CANARY_INTERVAL);

    hub->ready = hub->oldest_proof;
    hub->on_ready(hub->on_ready_data);
}


/* for one server: includes its last proof in hub->oldest_proof, and sends the
   next canary if it is due */

static ngx_int_t
ngx_conduit_canary_look(void *data, ngx_conduit_node_t *node)
{
    ngx_conduit_hub_t     *hub = data;
    ngx_conduit_shard_t   *shard;
    ngx_conduit_canary_t  *c;

    shard = ngx_conduit_shard_of(hub, node);
    if (shard == NULL) {
        return NGX_ERROR;
    }

    c = &shard->canary;

    if (!shard->doorbell.is_up) {

        /* Redis tracks a key for one connection, which is down: a canary that
           was sent can't ring any more */

        c->pending = 0;

        if (ngx_current_msec - shard->down_since >= NGX_CONDUIT_CANARY_OUTAGE) {
            c->proof = 0;
            hub->sick = 1;
        }

    } else if (!c->pending
               || ngx_current_msec - c->sent >= NGX_CONDUIT_CANARY_PATIENCE)
    {
        if (c->pending && !c->failed) {

            /* the server may assign IDs smaller than the last one read, for
               example after a restart with another clock, so that XREAD would
               find nothing: a new key has no last ID */

            c->key.len = 0;
        }

        ngx_conduit_canary_send(shard);
    }

    if (c->proof == 0) {
        hub->oldest_proof = 0;

    } else if (hub->oldest_proof
               && (ngx_msec_int_t) (c->proof - hub->oldest_proof) < 0)
    {
        hub->oldest_proof = c->proof;
    }

    return NGX_OK;
}


/* finds a key in a slot of the server; in a cluster it belongs to the server
   until its slot moves */

static ngx_int_t
ngx_conduit_canary_name(ngx_conduit_shard_t *shard)
{
    ngx_uint_t               i;
    ngx_conduit_canary_t    *c;
    ngx_conduit_topology_t  *t;

    c = &shard->canary;
    t = &shard->hub->topology;

    for (i = 0; i < NGX_CONDUIT_CANARY_TRIES; i++) {

        if (c->key.len
            && ngx_conduit_topology_node(t, &c->key) == shard->node)
        {
            return NGX_OK;
        }

        c->key.data = c->name;
        c->key.len = ngx_sprintf(c->name, NGX_CONDUIT_CANARY_PREFIX
                                 "%08xD%08xD", (uint32_t) ngx_random(),
                                 (uint32_t) ngx_random())
                     - c->name;
        c->last.ms = 0;
        c->last.seq = 0;
    }

    return NGX_DECLINED;
}


static void
ngx_conduit_canary_send(ngx_conduit_shard_t *shard)
{
    ngx_conduit_link_t    *reader;
    ngx_conduit_canary_t  *c;

    ngx_str_t  add[] = {
        ngx_string("XADD"), ngx_null_string, ngx_string("MAXLEN"),
        ngx_string("1"), ngx_string("*"), ngx_string("t"), ngx_string("")
    };

    ngx_str_t  expire[] = {
        ngx_string("PEXPIRE"), ngx_null_string,
        ngx_string(NGX_CONDUIT_CANARY_TTL)
    };

    c = &shard->canary;
    reader = &shard->doorbell.reader;

    if (ngx_conduit_canary_name(shard) != NGX_OK) {
        return;
    }

    c->pending = 1;
    c->failed = 0;
    c->sent = ngx_current_msec;

    ngx_conduit_canary_read(shard, ngx_conduit_canary_armed);

    add[1] = c->key;
    expire[1] = c->key;

    (void) ngx_conduit_link_send(reader, ngx_conduit_canary_sent, shard, add,
                                 7);
    (void) ngx_conduit_link_send(reader, ngx_conduit_canary_sent, shard,
                                 expire, 3);

    if (shard->doorbell.polling) {
        ngx_conduit_canary_read(shard, ngx_conduit_canary_back);
    }
}


static void
ngx_conduit_canary_read(ngx_conduit_shard_t *shard,
    ngx_conduit_reply_pt handler)
{
    /* if it fails, the link is down, which is noticed elsewhere */

    (void) ngx_conduit_stream_read(&shard->doorbell.reader, &shard->canary.key,
                                   &shard->canary.last, 1, handler, shard);
}


/* whether the key that rang is the canary's */

static ngx_uint_t
ngx_conduit_canary_ring(ngx_conduit_shard_t *shard, u_char *key, size_t len)
{
    ngx_conduit_canary_t  *c;

    c = &shard->canary;

    if (len != c->key.len || ngx_memcmp(key, c->key.data, len) != 0) {
        return 0;
    }

    if (c->pending) {
        ngx_conduit_canary_read(shard, ngx_conduit_canary_back);
    }

    return 1;
}


static void
ngx_conduit_canary_armed(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    (void) ngx_conduit_canary_last(data, reply, outcome);
}


static void
ngx_conduit_canary_back(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_shard_t   *shard = data;
    ngx_conduit_canary_t  *c;

    c = &shard->canary;

    if (!ngx_conduit_canary_last(shard, reply, outcome) || !c->pending
        || c->failed)
    {
        return;
    }

    c->pending = 0;
    c->proof = ngx_conduit_moment(c->sent);
    c->error_logged = 0;

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_CANARIES);
}


/* stores the ID of the last entry; returns whether it is a new one */

static ngx_uint_t
ngx_conduit_canary_last(ngx_conduit_shard_t *shard, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    redisReply           *list;
    ngx_conduit_entry_t   entry;

    if (outcome != NGX_CONDUIT_REPLIED) {
        return 0;
    }

    if (ngx_conduit_stream_entries(reply, NULL, &list) != NGX_OK) {
        ngx_conduit_canary_log_error(shard, reply);
        return 0;
    }

    if (list == NULL
        || ngx_conduit_stream_entry(list->element[list->elements - 1], NULL,
                                    &entry)
           != NGX_OK)
    {
        return 0;
    }

    shard->canary.last = entry.id;

    return 1;
}


static void
ngx_conduit_canary_sent(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    if (outcome == NGX_CONDUIT_REPLIED && reply->type == REDIS_REPLY_ERROR) {
        ngx_conduit_canary_log_error(data, reply);
    }
}


/* logs an error, but no further ones until a canary is back.  A slot that has
   moved, or is moving, is no error: the next key will be in another slot */

static void
ngx_conduit_canary_log_error(ngx_conduit_shard_t *shard, redisReply *reply)
{
    ngx_uint_t             ask, failed;
    ngx_conduit_canary_t  *c;

    c = &shard->canary;
    failed = c->failed;
    c->failed = 1;

    if (ngx_conduit_topology_redirect(&shard->hub->topology, shard->node,
                                      reply, &ask)
        != NULL)
    {
        c->key.len = 0;
        c->pending = 0;
        return;
    }

    if (!failed) {
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_CHECKS
                                  + (reply->type == REDIS_REPLY_ERROR
                                     ? conduit_redis_error_kind(reply->str,
                                                                reply->len)
                                     : CONDUIT_REDIS_ERROR_OTHER));
    }

    if (c->error_logged) {
        return;
    }

    c->error_logged = 1;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "conduit: redis %V: the check of \"conduit_gateway_health\" "
                  "failed: %s", &shard->doorbell.redis->name,
                  reply->type == REDIS_REPLY_ERROR ? reply->str
                                                   : "unexpected reply");
}
