/* Copyright (C) Conduit for NGINX authors */

/*
 * The doorbell: tells when a key that was read has changed.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_tracking.h"


#define NGX_CONDUIT_INVALIDATE      "__redis__:invalidate"

/* ms; together with a command's timeout a dead link is noticed within 10s */
#define NGX_CONDUIT_PROBE_INTERVAL  5000


static void ngx_conduit_doorbell_bell_up(ngx_conduit_link_t *link);
static void ngx_conduit_doorbell_bell_down(ngx_conduit_link_t *link);
static void ngx_conduit_doorbell_bell_id_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_doorbell_subscribe(ngx_conduit_doorbell_t *db);
static void ngx_conduit_doorbell_message(void *data, redisReply *reply);
static void ngx_conduit_doorbell_invalidate(ngx_conduit_doorbell_t *db,
    redisReply *keys);
static void ngx_conduit_doorbell_reader_up(ngx_conduit_link_t *link);
static void ngx_conduit_doorbell_reader_down(ngx_conduit_link_t *link);
static void ngx_conduit_doorbell_reader_slow(ngx_conduit_link_t *link);
static void ngx_conduit_doorbell_probe(ngx_event_t *ev);
static void ngx_conduit_doorbell_probe_bell(ngx_conduit_doorbell_t *db);
static void ngx_conduit_doorbell_ping_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);


void
ngx_conduit_doorbell_open(ngx_conduit_doorbell_t *db)
{
    if (db->opened) {
        return;
    }

    db->opened = 1;
    db->is_up = 0;
    db->polling = db->poll;
    db->subscribed = 0;
    db->probing = 0;
    db->binding = 0;
    db->bind_again = 0;
    db->retry_tracking = 0;
    db->trial = 0;
    db->refusals = 0;

    db->bell.redis = db->redis;
    db->bell.role = "bell";
    db->bell.data = db;
    db->bell.internal = 1;
    db->bell.up = ngx_conduit_doorbell_bell_up;
    db->bell.down = ngx_conduit_doorbell_bell_down;

    db->reader.redis = db->redis;
    db->reader.role = "reader";
    db->reader.data = db;
    db->reader.internal = 1;
    db->reader.up = ngx_conduit_doorbell_reader_up;
    db->reader.down = ngx_conduit_doorbell_reader_down;
    db->reader.slow = ngx_conduit_doorbell_reader_slow;

    ngx_memzero(&db->probe_timer, sizeof(ngx_event_t));
    db->probe_timer.data = db;
    db->probe_timer.handler = ngx_conduit_doorbell_probe;
    db->probe_timer.log = ngx_cycle->log;
    db->probe_timer.cancelable = 1;

    ngx_add_timer(&db->probe_timer, NGX_CONDUIT_PROBE_INTERVAL);

    if (!db->polling) {
        ngx_conduit_link_open(&db->bell);
    }

    ngx_conduit_link_open(&db->reader);
}


void
ngx_conduit_doorbell_close(ngx_conduit_doorbell_t *db)
{
    if (!db->opened) {
        return;
    }

    db->opened = 0;
    db->is_up = 0;

    if (db->probe_timer.timer_set) {
        ngx_del_timer(&db->probe_timer);
    }

    ngx_conduit_link_close(&db->bell);
    ngx_conduit_link_close(&db->reader);
}


static void
ngx_conduit_doorbell_bell_up(ngx_conduit_link_t *link)
{
    ngx_conduit_doorbell_t  *db = link->data;

    ngx_str_t  args[] = { ngx_string("CLIENT"), ngx_string("ID") };

    if (db->polling && !db->trial) {
        return;
    }

    if (ngx_conduit_link_send(link, ngx_conduit_doorbell_bell_id_reply, db,
                              args, 2)
        != NGX_OK)
    {
        ngx_conduit_link_reset(link, "out of memory");
    }
}


static void
ngx_conduit_doorbell_bell_down(ngx_conduit_link_t *link)
{
    ngx_uint_t               refused;
    ngx_conduit_doorbell_t  *db = link->data;

    /* hiredis closes the connection on an error reply to SUBSCRIBE, with the
       text of the reply as the reason */

    refused = db->probing && !db->subscribed
              && ngx_conduit_tracking_unsupported(link->why);

    db->subscribed = 0;
    db->probing = 0;

    if (db->trial) {
        ngx_conduit_tracking_trial_failed(db, link->why);
        return;
    }

    if (db->polling) {
        return;
    }

    if (refused) {
        ngx_conduit_tracking_unavailable(db, link->why);
        return;
    }

    ngx_conduit_tracking_report_down(db);
}


static void
ngx_conduit_doorbell_bell_id_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_doorbell_t  *db = data;

    if (outcome != NGX_CONDUIT_REPLIED || !db->opened) {
        return;
    }

    if (db->polling && !db->trial) {
        return;
    }

    if (reply->type != REDIS_REPLY_INTEGER) {

        if (db->trial) {
            ngx_conduit_tracking_trial_failed(db, "CLIENT ID refused");
            return;
        }

        if (reply->type == REDIS_REPLY_ERROR
            && ngx_conduit_tracking_unsupported(reply->str))
        {
            ngx_conduit_tracking_unavailable(db, reply->str);
            return;
        }

        ngx_conduit_link_reset(&db->bell, "CLIENT ID refused");
        return;
    }

    db->bell_id = reply->integer;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V: the bell is client %L",
                   &db->redis->name, (int64_t) db->bell_id);

    ngx_conduit_doorbell_subscribe(db);
}


static void
ngx_conduit_doorbell_subscribe(ngx_conduit_doorbell_t *db)
{
    if (ngx_conduit_link_subscribe(&db->bell, NGX_CONDUIT_INVALIDATE,
                                   ngx_conduit_doorbell_message)
        != NGX_OK)
    {
        ngx_conduit_link_reset(&db->bell, "out of memory");
        return;
    }

    db->probing = 1;
    db->probed_at = ngx_current_msec;
}


/*
 * ["subscribe", channel, count] or ["message", channel, keys]; hiredis 0.14 may
 * also pass other replies.
 */

static void
ngx_conduit_doorbell_message(void *data, redisReply *reply)
{
    redisReply              *kind;
    ngx_conduit_doorbell_t  *db = data;

    if (!db->opened || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != 3
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        return;
    }

    kind = reply->element[0];

    if (ngx_strcmp(kind->str, "message") == 0) {
        ngx_conduit_doorbell_invalidate(db, reply->element[2]);
        return;
    }

    if (ngx_strcmp(kind->str, "subscribe") == 0) {

        db->probing = 0;

        if (!db->subscribed) {
            db->subscribed = 1;
            ngx_conduit_tracking_bind(db);
        }
    }
}


static void
ngx_conduit_doorbell_invalidate(ngx_conduit_doorbell_t *db, redisReply *keys)
{
    size_t       i;
    redisReply  *key;

    if (!db->is_up) {
        /* up() will have all keys read */
        return;
    }

    if (keys->type != REDIS_REPLY_ARRAY) {

        /* nil instead of keys: the database was flushed */

        ngx_log_debug1(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                       "conduit: redis %V: the database was flushed",
                       &db->redis->name);

        db->ring(db->data, NULL, 0);
        return;
    }

    for (i = 0; i < keys->elements; i++) {
        key = keys->element[i];

        if (key->type == REDIS_REPLY_STRING) {

            ngx_log_debug3(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                           "conduit: redis %V: key \"%*s\" has changed",
                           &db->redis->name, key->len, key->str);

            db->ring(db->data, (u_char *) key->str, key->len);
        }
    }
}


static void
ngx_conduit_doorbell_reader_up(ngx_conduit_link_t *link)
{
    ngx_conduit_doorbell_t  *db = link->data;

    if (db->polling) {
        ngx_conduit_tracking_report_up(db);
    }

    ngx_conduit_tracking_bind(db);
}


static void
ngx_conduit_doorbell_reader_down(ngx_conduit_link_t *link)
{
    ngx_conduit_tracking_report_down(link->data);
}


static void
ngx_conduit_doorbell_reader_slow(ngx_conduit_link_t *link)
{
    ngx_conduit_doorbell_t  *db = link->data;

    if (db->is_up) {
        db->slow(db->data);
    }
}


/* a dead connection may go unnoticed: probe both links */

static void
ngx_conduit_doorbell_probe(ngx_event_t *ev)
{
    ngx_conduit_doorbell_t  *db = ev->data;

    ngx_str_t  ping = ngx_string("PING");

    ngx_add_timer(&db->probe_timer, NGX_CONDUIT_PROBE_INTERVAL);

    if (db->polling) {
        ngx_conduit_tracking_next_trial(db);

    } else {
        ngx_conduit_doorbell_probe_bell(db);
    }

    if (db->reader.state == NGX_CONDUIT_LINK_UP) {

        /* if there is no reply, the command's deadline drops the connection */

        (void) ngx_conduit_link_send(&db->reader,
                                     ngx_conduit_doorbell_ping_reply, db,
                                     &ping, 1);
    }
}


/* SUBSCRIBE serves as a ping, each one is confirmed; hiredis 0.14 loses the
   reply to a PING on such a connection */

static void
ngx_conduit_doorbell_probe_bell(ngx_conduit_doorbell_t *db)
{
    if (db->probing) {

        if (ngx_current_msec - db->probed_at >= db->redis->timeout) {
            ngx_conduit_link_reset(&db->bell, "no reply in time");
        }

        return;
    }

    if (db->subscribed) {
        ngx_conduit_doorbell_subscribe(db);
    }
}


static void
ngx_conduit_doorbell_ping_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    /* void */
}
