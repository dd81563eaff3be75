/* Copyright (C) Conduit for NGINX authors */

/*
 * A connection of a link was lost or could not be made: logs it, sets the time
 * and the address of the next attempt, and fails commands.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_command.h"


/* a system error with its number, as in "111: Connection refused" */
#define NGX_CONDUIT_LINK_ERROR  128


static void ngx_conduit_link_reset_delay(ngx_conduit_link_t *link,
    ngx_uint_t was_up, ngx_uint_t idle);
static void ngx_conduit_link_fail_unsent(ngx_conduit_link_t *link);
static void ngx_conduit_link_log_loss(ngx_conduit_link_t *link, const char *why,
    ngx_uint_t was_up, ngx_uint_t more);
static void ngx_conduit_link_log_error(ngx_conduit_link_t *link,
    const char *what, const char *why, ngx_uint_t info);
static void ngx_conduit_link_schedule(ngx_conduit_link_t *link,
    ngx_uint_t idle);
static ngx_uint_t ngx_conduit_link_has_next(ngx_conduit_link_t *link);


void
ngx_conduit_link_drop(ngx_conduit_link_t *link, const char *why)
{
    redisAsyncContext  *ac;

    ac = link->ac;

    ngx_conduit_link_lost(link, why);

    redisAsyncFree(ac);
}


void
ngx_conduit_link_lost(ngx_conduit_link_t *link, const char *why)
{
    ngx_uint_t  was_up, idle, more;

    was_up = (link->state == NGX_CONDUIT_LINK_UP);
    idle = (was_up && link->idle);

    if (!idle) {
        ngx_conduit_stats_count(link->redis->stats,
                                was_up ? NGX_CONDUIT_REDIS_LOSSES
                                       : NGX_CONDUIT_REDIS_FAILURES);
    }

    ngx_conduit_link_count(link, -1);

    link->ac = NULL;
    link->ssl = NULL;
    link->message = NULL;

    if (link->limit.exceeded) {
        why = "a reply of more than 64m";

    } else if (link->limit.unexpected) {
        why = "an unexpected reply";
        link->limit.unexpected = 0;
    }

    ngx_conduit_link_reset_delay(link, was_up, idle);

    more = idle || ngx_conduit_link_has_next(link);

    ngx_conduit_link_schedule(link, idle);
    ngx_conduit_link_log_loss(link, why, was_up, more);

    if ((was_up && !idle) || !more) {
        link->failed = 1;
    }

    if (!more) {
        link->quiet = 0;
        ngx_conduit_link_fail_unsent(link);
    }

    if (was_up && link->down) {
        link->down(link);
    }
}


/* only a connection that was stable resets the back-off */

static void
ngx_conduit_link_reset_delay(ngx_conduit_link_t *link, ngx_uint_t was_up,
    ngx_uint_t idle)
{
    if (was_up
        && ngx_current_msec - link->up_since >= NGX_CONDUIT_LINK_STABLE)
    {
        link->delay = 0;
        link->tried = 1;
    }

    if (idle) {

        /* try its address first, and then all others */

        if (link->addr) {
            link->addr--;
        }

        link->delay = 0;
        link->tried = 0;
    }
}


void
ngx_conduit_link_no_connect(ngx_conduit_link_t *link, const char *errstr,
    ngx_err_t err)
{
    u_char  *p, *last, text[NGX_CONDUIT_LINK_ERROR];

    if (errstr[0] == '\0') {
        ngx_conduit_link_lost(link, "connect failed");
        return;
    }

    last = text + sizeof(text) - 1;

    p = ngx_snprintf(text, sizeof(text) - 1, "%d: ", err);
    *ngx_strerror(err, p, last - p) = '\0';

    /* the text is of another error if errno has changed meanwhile */

    ngx_conduit_link_lost(link, ngx_strcmp(p, errstr) == 0 ? (char *) text
                                                           : errstr);
}


/* hiredis completes the commands that were sent; the others fail here, as all
   addresses were tried */

static void
ngx_conduit_link_fail_unsent(ngx_conduit_link_t *link)
{
    ngx_queue_t            *q, *next;
    ngx_conduit_command_t  *cmd;

    for (q = ngx_queue_head(&link->pending);
         q != ngx_queue_sentinel(&link->pending);
         q = next)
    {
        next = ngx_queue_next(q);
        cmd = ngx_queue_data(q, ngx_conduit_command_t, queue);

        if (cmd->ac == NULL) {
            ngx_conduit_command_done(cmd, NULL, NGX_CONDUIT_NOT_SENT);
        }
    }
}


/*
 * Logs a lost connection, and a failed attempt (at info level while other
 * addresses are left).  A server that has closed an idle connection, and can't
 * be reached afterwards, was shutting down: the outage began with the close.
 */

static void
ngx_conduit_link_log_loss(ngx_conduit_link_t *link, const char *why,
    ngx_uint_t was_up, ngx_uint_t more)
{
    if (link->idle && !was_up && !more) {
        link->idle = 0;
        link->failed = 1;

        ngx_conduit_stats_count(link->redis->stats, NGX_CONDUIT_REDIS_LOSSES);
        ngx_conduit_link_log_error(link, "connection lost", link->why, 0);
    }

    if (was_up || (!link->failed && !link->idle)) {
        link->lost_at = ngx_current_msec;
    }

    if (link->idle && was_up) {
        ngx_conduit_link_log_error(link, "closed while idle", why, 1);

    } else {
        ngx_conduit_link_log_error(link, was_up ? "connection lost"
                                                : "connect failed", why,
                                   link->quiet || (more && !was_up));
    }

    if (was_up || !link->idle) {
        (void) ngx_cpystrn((u_char *) link->why, (u_char *) why,
                           sizeof(link->why));
    }
}


/* each reason of an outage is logged as an error once a minute */

static void
ngx_conduit_link_log_error(ngx_conduit_link_t *link, const char *what,
    const char *why, ngx_uint_t info)
{
    ngx_uint_t  level;

    level = info || !ngx_conduit_reasons_add(&link->reasons, why)
            ? NGX_LOG_INFO : NGX_LOG_ERR;

    ngx_log_error(level, ngx_cycle->log, 0,
                  "conduit: redis %V %s: %s (%s), next try in %Mms",
                  &link->redis->name, link->role, what, why,
                  link->connect_timer.timer.key - ngx_current_msec);
}


static void
ngx_conduit_link_schedule(ngx_conduit_link_t *link, ngx_uint_t idle)
{
    ngx_msec_t  delay;

    if (link->connect_timer.timer_set) {
        ngx_del_timer(&link->connect_timer);
    }

    if (link->state == NGX_CONDUIT_LINK_CLOSED) {
        return;
    }

    link->state = NGX_CONDUIT_LINK_WAITING;

    if (idle) {
        ngx_add_timer(&link->connect_timer, 1);
        return;
    }

    if (ngx_conduit_link_has_next(link)) {
        ngx_add_timer(&link->connect_timer, NGX_CONDUIT_LINK_NEXT);
        return;
    }

    link->tried = 0;
    link->tried_all = 1;

    delay = link->delay ? link->delay * 2 : NGX_CONDUIT_LINK_MIN_DELAY;
    link->delay = ngx_min(delay, NGX_CONDUIT_LINK_MAX_DELAY);

    /* 0.5 to 1.5 times the delay, so that workers do not reconnect at once */

    delay = link->delay / 2 + ngx_random() % (link->delay + 1);

    ngx_add_timer(&link->connect_timer, delay);
}


/* whether there is another address to try */

static ngx_uint_t
ngx_conduit_link_has_next(ngx_conduit_link_t *link)
{
    return link->state != NGX_CONDUIT_LINK_CLOSED
           && link->tried < link->redis->naddrs;
}


void
ngx_conduit_link_count(ngx_conduit_link_t *link, ngx_int_t n)
{
    if (link->stats != NULL && (n > 0 || link->state == NGX_CONDUIT_LINK_UP)) {
        link->stats->up += n;
    }
}


const char *
ngx_conduit_link_error(ngx_conduit_link_t *link, const redisAsyncContext *ac)
{
    return ngx_conduit_tls_why(link->ssl, ac->errstr && ac->errstr[0]
                                          ? ac->errstr : "closed");
}
