/* Copyright (C) Conduit for NGINX authors */

/*
 * The doorbell: tells when a key that was read has changed.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_doorbell.h"


#define NGX_CONDUIT_INVALIDATE     "__redis__:invalidate"

/* ms; together with a command's timeout a dead link is noticed within 10s */
#define NGX_CONDUIT_PROBE_INTERVAL  5000

/* after so many refusals of CLIENT TRACKING in a row streams are polled */
#define NGX_CONDUIT_REFUSALS        3

/* ms, after which CLIENT TRACKING is tried again */
#define NGX_CONDUIT_TRIAL_INTERVAL  15000


static void ngx_conduit_doorbell_bell_up(ngx_conduit_link_t *link);
static void ngx_conduit_doorbell_bell_down(ngx_conduit_link_t *link);
static void ngx_conduit_doorbell_bell_id(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_doorbell_message(void *data, redisReply *reply);
static void ngx_conduit_doorbell_invalidate(ngx_conduit_doorbell_t *db,
    redisReply *keys);
static void ngx_conduit_doorbell_reader_up(ngx_conduit_link_t *link);
static void ngx_conduit_doorbell_reader_down(ngx_conduit_link_t *link);
static void ngx_conduit_doorbell_reader_slow(ngx_conduit_link_t *link);
static void ngx_conduit_doorbell_bind(ngx_conduit_doorbell_t *db);
static void ngx_conduit_doorbell_bound(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_doorbell_refused(ngx_conduit_doorbell_t *db,
    char *error);
static void ngx_conduit_doorbell_fall_back(ngx_conduit_doorbell_t *db,
    const char *why);
static void ngx_conduit_doorbell_poll(ngx_conduit_doorbell_t *db);
static void ngx_conduit_doorbell_trial(ngx_conduit_doorbell_t *db);
static void ngx_conduit_doorbell_trial_failed(ngx_conduit_doorbell_t *db,
    const char *why);
static void ngx_conduit_doorbell_ready(ngx_conduit_doorbell_t *db);
static void ngx_conduit_doorbell_lost(ngx_conduit_doorbell_t *db);
static void ngx_conduit_doorbell_probe(ngx_event_t *ev);
static void ngx_conduit_doorbell_pong(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static ngx_uint_t ngx_conduit_doorbell_unsupported(char *error);


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
    db->rebind = 0;
    db->refused = 0;
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

    if (ngx_conduit_link_send(link, ngx_conduit_doorbell_bell_id, db, args, 2)
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
              && ngx_conduit_doorbell_unsupported(link->why);

    db->subscribed = 0;
    db->probing = 0;

    if (db->trial) {
        ngx_conduit_doorbell_trial_failed(db, link->why);
        return;
    }

    if (db->polling) {
        return;
    }

    if (refused) {
        ngx_conduit_doorbell_fall_back(db, link->why);
        return;
    }

    ngx_conduit_doorbell_lost(db);
}


static void
ngx_conduit_doorbell_bell_id(void *data, redisReply *reply,
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
            ngx_conduit_doorbell_trial_failed(db, "CLIENT ID refused");
            return;
        }

        if (reply->type == REDIS_REPLY_ERROR
            && ngx_conduit_doorbell_unsupported(reply->str))
        {
            ngx_conduit_doorbell_fall_back(db, reply->str);
            return;
        }

        ngx_conduit_link_reset(&db->bell, "CLIENT ID refused");
        return;
    }

    db->bell_id = reply->integer;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V: the bell is client %L",
                   &db->redis->name, (int64_t) db->bell_id);

    if (ngx_conduit_link_subscribe(&db->bell, NGX_CONDUIT_INVALIDATE,
                                   ngx_conduit_doorbell_message)
        != NGX_OK)
    {
        ngx_conduit_link_reset(&db->bell, "out of memory");
        return;
    }

    db->probing = 1;
    db->probed = ngx_current_msec;
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
            ngx_conduit_doorbell_bind(db);
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
        ngx_conduit_doorbell_ready(db);
    }

    ngx_conduit_doorbell_bind(db);
}


static void
ngx_conduit_doorbell_reader_down(ngx_conduit_link_t *link)
{
    ngx_conduit_doorbell_lost(link->data);
}


static void
ngx_conduit_doorbell_reader_slow(ngx_conduit_link_t *link)
{
    ngx_conduit_doorbell_t  *db = link->data;

    if (db->is_up) {
        db->slow(db->data);
    }
}


static void
ngx_conduit_doorbell_bind(ngx_conduit_doorbell_t *db)
{
    u_char  id[NGX_INT64_LEN];

    ngx_str_t  args[] = {
        ngx_string("CLIENT"), ngx_string("TRACKING"), ngx_string("ON"),
        ngx_string("REDIRECT"), ngx_null_string
    };

    if (!db->subscribed || db->reader.state != NGX_CONDUIT_LINK_UP
        || (db->polling && !db->trial))
    {
        return;
    }

    if (ngx_strcmp(db->bell.peer, db->reader.peer) != 0) {

        /* the host has several addresses: the bell's client ID is valid only at
           its own server, so the reader connects to that address */

        if (db->trial) {
            ngx_conduit_doorbell_trial_failed(db, "another address");
            return;
        }

        db->reader.addr = db->bell.addr - 1;
        ngx_conduit_link_reset(&db->reader, NULL);
        return;
    }

    if (db->binding) {
        db->rebind = 1;
        return;
    }

    args[4].data = id;
    args[4].len = ngx_sprintf(id, "%L", (int64_t) db->bell_id) - id;

    if (ngx_conduit_link_send(&db->reader, ngx_conduit_doorbell_bound, db,
                              args, 5)
        != NGX_OK)
    {
        ngx_conduit_link_reset(&db->reader, "out of memory");
        return;
    }

    db->binding = 1;
}


static void
ngx_conduit_doorbell_bound(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_doorbell_t  *db = data;

    db->binding = 0;

    if (outcome != NGX_CONDUIT_REPLIED || !db->opened
        || (db->polling && !db->trial))
    {
        db->rebind = 0;
        return;
    }

    if (db->rebind) {
        db->rebind = 0;
        ngx_conduit_doorbell_bind(db);
        return;
    }

    if (!db->subscribed) {
        /* the bell was lost meanwhile; tracking is bound when it is back */
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_conduit_doorbell_refused(db, reply->str);
        return;
    }

    db->refusals = 0;

    if (db->trial) {
        db->trial = 0;
        db->polling = 0;
        db->refused = 0;

        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "conduit: redis %V: CLIENT TRACKING works again, streams "
                      "are no longer polled", &db->redis->name);
    }

    ngx_conduit_doorbell_ready(db);
}


/*
 * CLIENT TRACKING was refused: the server has no client with the bell's ID, or
 * the two links ended at different servers.  Both reconnect; when that does not
 * help, as with a balancer in front of several servers, streams are polled.
 * Temporary errors (LOADING, BUSY) do not count as refusals.
 */

static void
ngx_conduit_doorbell_refused(ngx_conduit_doorbell_t *db, char *error)
{
    if (db->trial) {
        ngx_conduit_doorbell_trial_failed(db, error);
        return;
    }

    if (ngx_conduit_doorbell_unsupported(error)) {
        ngx_conduit_doorbell_fall_back(db, error);
        return;
    }

    if (conduit_redis_error_is(error, "ERR")
        && ++db->refusals == NGX_CONDUIT_REFUSALS)
    {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "conduit: redis %V keeps refusing CLIENT TRACKING (%s), "
                      "streams are polled, next try in %Mms",
                      &db->redis->name, error,
                      (ngx_msec_t) NGX_CONDUIT_TRIAL_INTERVAL);

        db->refusals = 0;
        db->refused = 1;
        db->tried = ngx_current_msec;
        ngx_conduit_doorbell_poll(db);
        return;
    }

    ngx_conduit_link_reset(&db->bell, "CLIENT TRACKING refused");
    ngx_conduit_link_reset(&db->reader, error);
}


static ngx_uint_t
ngx_conduit_doorbell_unsupported(char *error)
{
    return conduit_redis_error_is(error, "NOPERM")
           || conduit_redis_error_has(error, "unknown")
           || conduit_redis_error_has(error, "not supported")
           || conduit_redis_error_has(error, "syntax");
}


static void
ngx_conduit_doorbell_fall_back(ngx_conduit_doorbell_t *db, const char *why)
{
    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "conduit: redis %V has no CLIENT TRACKING (%s), streams are "
                  "polled", &db->redis->name, why);

    ngx_conduit_doorbell_poll(db);
}


static void
ngx_conduit_doorbell_poll(ngx_conduit_doorbell_t *db)
{
    db->polling = 1;

    if (db->reader.state == NGX_CONDUIT_LINK_UP) {
        ngx_conduit_doorbell_ready(db);
    }
}


/*
 * Tries tracking again while streams are polled: opens a new bell, to the
 * server of the reader.  The trial ends with a reply to CLIENT TRACKING, with
 * the loss of the bell, or at the next probe.
 */

static void
ngx_conduit_doorbell_trial(ngx_conduit_doorbell_t *db)
{
    ngx_log_debug1(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V: CLIENT TRACKING is tried again",
                   &db->redis->name);

    db->trial = 1;
    db->tried = ngx_current_msec;

    ngx_conduit_link_open(&db->bell);

    /* streams are polled anyway: a failure to connect is not an error */

    db->bell.quiet = 1;

    db->bell.addr = db->reader.addr - 1;
}


/* the next probe closes the bell: this may run in one of its reply handlers */

static void
ngx_conduit_doorbell_trial_failed(ngx_conduit_doorbell_t *db, const char *why)
{
    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V: CLIENT TRACKING fails again: %s",
                   &db->redis->name, why);

    db->trial = 0;
    db->tried = ngx_current_msec;
}


static void
ngx_conduit_doorbell_ready(ngx_conduit_doorbell_t *db)
{
    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V: streams can be read, changes are %s",
                   &db->redis->name, db->polling ? "polled" : "tracked");

    db->is_up = 1;
    db->up(db->data);
}


static void
ngx_conduit_doorbell_lost(ngx_conduit_doorbell_t *db)
{
    if (db->is_up) {

        ngx_log_debug1(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                       "conduit: redis %V: streams can not be read",
                       &db->redis->name);

        db->is_up = 0;
        db->down(db->data);
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

        /* not in a reply handler: the bell, which is of no use, can be
           closed */

        ngx_conduit_link_close(&db->bell);

        db->subscribed = 0;
        db->probing = 0;
        db->trial = 0;

        if (db->refused && db->reader.state == NGX_CONDUIT_LINK_UP
            && ngx_current_msec - db->tried >= NGX_CONDUIT_TRIAL_INTERVAL)
        {
            ngx_conduit_doorbell_trial(db);
        }

    } else if (db->probing) {

        if (ngx_current_msec - db->probed >= db->redis->timeout) {
            ngx_conduit_link_reset(&db->bell, "no reply in time");
        }

    } else if (db->subscribed) {

        /* SUBSCRIBE serves as a ping, each one is confirmed; hiredis 0.14 loses
           the reply to a PING on such a connection */

        if (ngx_conduit_link_subscribe(&db->bell, NGX_CONDUIT_INVALIDATE,
                                       ngx_conduit_doorbell_message)
            != NGX_OK)
        {
            ngx_conduit_link_reset(&db->bell, "out of memory");
            return;
        }

        db->probing = 1;
        db->probed = ngx_current_msec;
    }

    if (db->reader.state == NGX_CONDUIT_LINK_UP) {

        /* if there is no reply, the command's deadline drops the connection */

        (void) ngx_conduit_link_send(&db->reader, ngx_conduit_doorbell_pong,
                                     db, &ping, 1);
    }
}


static void
ngx_conduit_doorbell_pong(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    /* void */
}
