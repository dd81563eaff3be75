/* Copyright (C) Conduit for NGINX authors */

/*
 * CLIENT TRACKING, by which Redis reports keys that have changed.  It needs two
 * links: the reader, on which streams are read, and the bell, on which Redis
 * sends the names of the keys that were read and have changed since.
 *
 * Tracking is switched on when both links are up.  If the server refuses it,
 * streams are polled, and tracking is tried again from time to time.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_tracking.h"


/* streams are polled after this many refusals of CLIENT TRACKING in a row */
#define NGX_CONDUIT_REFUSALS        3

/* ms from a failed try of CLIENT TRACKING to the next one */
#define NGX_CONDUIT_TRIAL_INTERVAL  15000


static void ngx_conduit_tracking_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_tracking_refused(ngx_conduit_doorbell_t *db,
    char *error);
static void ngx_conduit_tracking_poll(ngx_conduit_doorbell_t *db);
static void ngx_conduit_tracking_trial(ngx_conduit_doorbell_t *db);


void
ngx_conduit_tracking_bind(ngx_conduit_doorbell_t *db)
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

        /* the host has several addresses, and the client ID of the bell is
           valid only at the bell's server: the reader connects to that one.
           addr is the next address to try, so addr - 1 is the current one */

        if (db->trial) {
            ngx_conduit_tracking_trial_failed(db, "another address");
            return;
        }

        db->reader.addr = db->bell.addr - 1;
        ngx_conduit_link_reset(&db->reader, NULL);
        return;
    }

    if (db->binding) {
        db->bind_again = 1;
        return;
    }

    args[4].data = id;
    args[4].len = ngx_sprintf(id, "%L", (int64_t) db->bell_id) - id;

    if (ngx_conduit_link_send(&db->reader, ngx_conduit_tracking_reply, db,
                              args, 5)
        != NGX_OK)
    {
        ngx_conduit_link_reset(&db->reader, "out of memory");
        return;
    }

    db->binding = 1;
}


static void
ngx_conduit_tracking_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_doorbell_t  *db = data;

    db->binding = 0;

    if (outcome != NGX_CONDUIT_REPLIED || !db->opened
        || (db->polling && !db->trial))
    {
        db->bind_again = 0;
        return;
    }

    if (db->bind_again) {
        db->bind_again = 0;
        ngx_conduit_tracking_bind(db);
        return;
    }

    if (!db->subscribed) {
        /* the bell was lost meanwhile; tracking is bound when it is back */
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_conduit_tracking_refused(db, reply->str);
        return;
    }

    db->refusals = 0;

    if (db->trial) {
        db->trial = 0;
        db->polling = 0;
        db->retry_tracking = 0;

        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "conduit: redis %V: CLIENT TRACKING works again, streams "
                      "are no longer polled", &db->redis->name);
    }

    ngx_conduit_tracking_report_up(db);
}


/*
 * CLIENT TRACKING was refused.  If the server does not know the command, or the
 * user may not send it, streams are polled from now on.
 *
 * Otherwise the server has no client with the ID of the bell: the bell was
 * closed meanwhile, or the two links lead to different servers.  Both links
 * reconnect.  If that does not help, as with a balancer in front of several
 * servers, streams are polled until a later trial succeeds.  Temporary errors
 * (LOADING, BUSY) do not count as refusals.
 */

static void
ngx_conduit_tracking_refused(ngx_conduit_doorbell_t *db, char *error)
{
    if (db->trial) {
        ngx_conduit_tracking_trial_failed(db, error);
        return;
    }

    if (ngx_conduit_tracking_unsupported(error)) {
        ngx_conduit_tracking_unavailable(db, error);
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
        db->retry_tracking = 1;
        db->tried_at = ngx_current_msec;
        ngx_conduit_tracking_poll(db);
        return;
    }

    ngx_conduit_link_reset(&db->bell, "CLIENT TRACKING refused");
    ngx_conduit_link_reset(&db->reader, error);
}


ngx_uint_t
ngx_conduit_tracking_unsupported(char *error)
{
    return conduit_redis_error_is(error, "NOPERM")
           || conduit_redis_error_has(error, "unknown")
           || conduit_redis_error_has(error, "not supported")
           || conduit_redis_error_has(error, "syntax");
}


void
ngx_conduit_tracking_unavailable(ngx_conduit_doorbell_t *db, const char *why)
{
    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "conduit: redis %V has no CLIENT TRACKING (%s), streams are "
                  "polled", &db->redis->name, why);

    ngx_conduit_tracking_poll(db);
}


static void
ngx_conduit_tracking_poll(ngx_conduit_doorbell_t *db)
{
    db->polling = 1;

    if (db->reader.state == NGX_CONDUIT_LINK_UP) {
        ngx_conduit_tracking_report_up(db);
    }
}


/*
 * Is called every few seconds while streams are polled.  Ends a trial that has
 * not succeeded until now, by closing the bell; begins the next one if polling
 * is due to refusals, the reader is up, and the interval is over.
 */

void
ngx_conduit_tracking_next_trial(ngx_conduit_doorbell_t *db)
{
    ngx_conduit_link_close(&db->bell);

    db->subscribed = 0;
    db->probing = 0;
    db->trial = 0;

    if (db->retry_tracking && db->reader.state == NGX_CONDUIT_LINK_UP
        && ngx_current_msec - db->tried_at >= NGX_CONDUIT_TRIAL_INTERVAL)
    {
        ngx_conduit_tracking_trial(db);
    }
}


/*
 * Tries tracking again while streams are polled: opens a new bell, to the
 * server of the reader.  The trial ends with a reply to CLIENT TRACKING, with
 * the loss of the bell, or at the next probe.
 */

static void
ngx_conduit_tracking_trial(ngx_conduit_doorbell_t *db)
{
    ngx_log_debug1(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V: CLIENT TRACKING is tried again",
                   &db->redis->name);

    db->trial = 1;
    db->tried_at = ngx_current_msec;

    ngx_conduit_link_open(&db->bell);

    /* streams are polled anyway: a failure to connect is not an error */

    db->bell.quiet = 1;

    /* addr is the next address to try: the bell connects to the address that
       the reader is connected to */

    db->bell.addr = db->reader.addr - 1;
}


void
ngx_conduit_tracking_trial_failed(ngx_conduit_doorbell_t *db, const char *why)
{
    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V: CLIENT TRACKING fails again: %s",
                   &db->redis->name, why);

    db->trial = 0;
    db->tried_at = ngx_current_msec;
}


/* streams can be read, and their changes are tracked or polled */

void
ngx_conduit_tracking_report_up(ngx_conduit_doorbell_t *db)
{
    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V: streams can be read, changes are %s",
                   &db->redis->name, db->polling ? "polled" : "tracked");

    db->is_up = 1;
    db->up(db->data);
}


/* a link was lost: streams can't be read, or changes would not be reported */

void
ngx_conduit_tracking_report_down(ngx_conduit_doorbell_t *db)
{
    if (db->is_up) {

        ngx_log_debug1(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                       "conduit: redis %V: streams can not be read",
                       &db->redis->name);

        db->is_up = 0;
        db->down(db->data);
    }
}
