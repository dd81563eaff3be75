/* Copyright (C) Conduit for NGINX authors */

/*
 * A link: one connection of a worker to one Redis server.
 *
 * hiredis frees its context by itself after any failure, from within its own
 * functions, and calls the handlers of pending replies with NULL while doing
 * so; with 0.14 and 1.0 the context must not be freed in the connect and
 * disconnect callbacks.  The rules here:
 *  - ngx_conduit_link_lost() is the only way to lose a connection: it
 *    forgets the context before anything else, so that handlers which run
 *    afterwards find a link without a connection;
 *  - all commands complete in ngx_conduit_command_done(), whether
 *    hiredis answered them, dropped them, or never saw them;
 *  - a new connection is only made by a timer, never in a callback.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_adapter.h"
#include "ngx_conduit_command.h"


static void ngx_conduit_link_connect_timer(ngx_event_t *ev);
static void ngx_conduit_link_connect(ngx_conduit_link_t *link);
static redisAsyncContext *ngx_conduit_link_context(ngx_conduit_link_t *link);
static void ngx_conduit_link_connected(const redisAsyncContext *ac,
    int status);
static void ngx_conduit_link_disconnected(const redisAsyncContext *ac,
    int status);
static void ngx_conduit_link_shutdown(redisAsyncContext *ac);
static ngx_uint_t ngx_conduit_link_is_idle(ngx_conduit_link_t *link,
    const redisAsyncContext *ac);
static void ngx_conduit_link_gone(ngx_conduit_link_t *link,
    redisAsyncContext *ac);
static void ngx_conduit_link_late(ngx_conduit_link_t *link);
static ngx_int_t ngx_conduit_link_login(ngx_conduit_link_t *link);
static ngx_int_t ngx_conduit_link_login_send(ngx_conduit_link_t *link,
    const char *command, int argc, const char **argv, size_t *argvlen);
static void ngx_conduit_link_login_reply(redisAsyncContext *ac, void *reply,
    void *data);
static ngx_uint_t ngx_conduit_link_accepts(ngx_conduit_link_t *link,
    const char *command, redisReply *reply);
static ngx_uint_t ngx_conduit_link_usable(ngx_conduit_link_t *link,
    char *error);
static void ngx_conduit_link_set_up(ngx_conduit_link_t *link);


static const ngx_conduit_link_handlers_t  ngx_conduit_link_handlers = {
    ngx_conduit_link_gone,
    ngx_conduit_link_late
};


void
ngx_conduit_link_open(ngx_conduit_link_t *link)
{
    if (link->state != NGX_CONDUIT_LINK_CLOSED || link->shut) {
        return;
    }

    link->on = &ngx_conduit_link_handlers;
    link->ac = NULL;
    link->failed = 0;
    link->stuck = 0;
    link->quiet = 0;
    link->idle = 0;
    link->tried_all = 0;
    link->delay = 0;
    link->addr = 0;
    link->tried = 0;
    link->reasons.n = 0;

    ngx_queue_init(&link->pending);
    ngx_queue_init(&link->free);

    ngx_memzero(&link->connect_timer, sizeof(ngx_event_t));
    link->connect_timer.data = link;
    link->connect_timer.handler = ngx_conduit_link_connect_timer;
    link->connect_timer.log = ngx_cycle->log;
    link->connect_timer.cancelable = 1;

    ngx_memzero(&link->command_timer, sizeof(ngx_event_t));
    link->command_timer.data = link;
    link->command_timer.handler = ngx_conduit_link_command_timer;
    link->command_timer.log = ngx_cycle->log;
    link->command_timer.cancelable = link->internal;

    link->state = NGX_CONDUIT_LINK_CONNECTING;
    link->stats = ngx_conduit_stats_link_open(link->redis->stats,
                                              &link->redis->name, link->role);

    ngx_post_event(&link->connect_timer, &ngx_posted_events);
}


void
ngx_conduit_link_close(ngx_conduit_link_t *link)
{
    ngx_queue_t            *q;
    redisAsyncContext      *ac;
    ngx_conduit_command_t  *cmd;

    if (link->state == NGX_CONDUIT_LINK_CLOSED) {
        return;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V %s: closing",
                   &link->redis->name, link->role);

    ngx_conduit_link_count(link, -1);

    if (link->stats != NULL) {
        ngx_conduit_stats_link_close(link->stats);
        link->stats = NULL;
    }

    link->state = NGX_CONDUIT_LINK_CLOSED;
    link->closing = 1;

    if (link->connect_timer.timer_set) {
        ngx_del_timer(&link->connect_timer);
    }

    if (link->connect_timer.posted) {
        ngx_delete_posted_event(&link->connect_timer);
    }

    ac = link->ac;
    link->ac = NULL;
    link->ssl = NULL;

    if (ac != NULL) {
        redisAsyncFree(ac);
    }

    while (!ngx_queue_empty(&link->pending)) {
        q = ngx_queue_head(&link->pending);
        cmd = ngx_queue_data(q, ngx_conduit_command_t, queue);
        ngx_conduit_command_done(cmd, NULL, cmd->ac ? NGX_CONDUIT_LOST
                                                    : NGX_CONDUIT_NOT_SENT);
    }

    if (link->command_timer.timer_set) {
        ngx_del_timer(&link->command_timer);
    }

    while (!ngx_queue_empty(&link->free)) {
        q = ngx_queue_head(&link->free);
        ngx_queue_remove(q);
        ngx_free(ngx_queue_data(q, ngx_conduit_command_t, queue));
    }

    link->closing = 0;
}


void
ngx_conduit_link_reset(ngx_conduit_link_t *link, const char *why)
{
    if (link->ac == NULL) {
        return;
    }

    if (why == NULL) {
        link->quiet = 1;
        why = "trying another server";
    }

    ngx_conduit_link_drop(link, why);
}


static void
ngx_conduit_link_connect_timer(ngx_event_t *ev)
{
    ngx_conduit_link_t  *link = ev->data;

    if (link->ac != NULL) {
        ngx_conduit_link_drop(link,
                              link->ac->c.flags & REDIS_CONNECTED
                              && ngx_conduit_tls_shaking(link->ssl)
                              ? "no TLS handshake in time" : "timed out");
        return;
    }

    ngx_conduit_link_connect(link);
}


static void
ngx_conduit_link_connect(ngx_conduit_link_t *link)
{
    redisAsyncContext    *ac;
    ngx_conduit_redis_t  *redis;

    redis = link->redis;
    link->state = NGX_CONDUIT_LINK_CONNECTING;
    link->handshake = 0;
    link->ssl = NULL;
    link->limit.exceeded = 0;
    link->limit.unexpected = 0;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V %s: connecting",
                   &redis->name, link->role);

    ac = ngx_conduit_link_context(link);
    if (ac == NULL) {
        return;
    }

    if (ngx_conduit_adapter_attach(ac, ngx_conduit_link_shutdown,
                                   link->ssl != NULL, ngx_cycle->log)
        != NGX_OK)
    {
        ngx_conduit_link_lost(link, "no worker connection or memory left");
        redisAsyncFree(ac);
        return;
    }

    ac->data = link;
    link->ac = ac;

    ngx_add_timer(&link->connect_timer, redis->connect_timeout);

    /* the log-in is sent with the first write */

    if (redisAsyncSetConnectCallback(ac, ngx_conduit_link_connected)
        != REDIS_OK
        || redisAsyncSetDisconnectCallback(ac, ngx_conduit_link_disconnected)
        != REDIS_OK
        || ngx_conduit_link_login(link) != NGX_OK)
    {
        ngx_conduit_link_drop(link, "out of memory");
    }
}


/* returns a connecting context, or NULL if the attempt has failed already */

static redisAsyncContext *
ngx_conduit_link_context(ngx_conduit_link_t *link)
{
    ngx_err_t                  err;
    const char                *why;
    redisAsyncContext         *ac;
    ngx_conduit_redis_t       *redis;
    ngx_conduit_redis_addr_t  *addr;

    redis = link->redis;
    addr = NULL;
    link->tried++;

    if (redis->path.len) {
        ac = redisAsyncConnectUnix((char *) redis->path.data);

    } else {
        addr = &redis->addrs[link->addr++ % redis->naddrs];
        (void) ngx_cpystrn(link->peer, addr->host.data, NGX_SOCKADDR_STRLEN);
        ac = redisAsyncConnect((char *) addr->host.data, addr->port);
    }

    err = ngx_errno;

    if (ac == NULL) {
        ngx_conduit_link_lost(link, "out of memory");
        return NULL;
    }

    if (ac->err) {
        ngx_conduit_link_no_connect(link, ac->errstr, err);
        redisAsyncFree(ac);
        return NULL;
    }

    ngx_conduit_limit_attach(ac, &link->limit);

    if (redis->tls != NULL && addr != NULL) {

        link->ssl = ngx_conduit_tls_connect(redis->tls, ac, &addr->name, &why);

        if (link->ssl == NULL) {
            ngx_conduit_link_lost(link, why);
            redisAsyncFree(ac);
            return NULL;
        }
    }

    return ac;
}


static void
ngx_conduit_link_connected(const redisAsyncContext *ac, int status)
{
    ngx_err_t            err = ngx_errno;
    ngx_conduit_link_t  *link = ac->data;

    if (link == NULL || link->ac != ac) {
        return;
    }

    if (status != REDIS_OK) {
        ngx_conduit_link_no_connect(link, ac->c.errstr, err);
        return;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V %s: connected, logging in",
                   &link->redis->name, link->role);

    if (link->redis->path.len == 0) {
        (void) redisEnableKeepAlive((redisContext *) &ac->c);
    }
}


static void
ngx_conduit_link_disconnected(const redisAsyncContext *ac, int status)
{
    ngx_conduit_link_t  *link = ac->data;

    if (link != NULL && link->ac == ac) {

        if (ngx_conduit_link_is_idle(link, ac)) {
            link->idle = 1;
        }

        ngx_conduit_link_lost(link, status == REDIS_OK ? "closed"
                                    : ngx_conduit_link_error(link, ac));
    }
}


/*
 * Whether the server, or a balancer in front of it, has closed a connection for
 * being idle (Redis: "timeout").  A subscription is never closed for that.
 */

static ngx_uint_t
ngx_conduit_link_is_idle(ngx_conduit_link_t *link, const redisAsyncContext *ac)
{
    return link->state == NGX_CONDUIT_LINK_UP
           && ac->err == REDIS_ERR_EOF
           && link->message == NULL
           && !link->limit.exceeded
           && !link->limit.unexpected
           && ngx_queue_empty(&link->pending)
           && ngx_current_msec - link->replied_at >= NGX_CONDUIT_LINK_IDLE;
}


static void
ngx_conduit_link_gone(ngx_conduit_link_t *link, redisAsyncContext *ac)
{
    ngx_conduit_link_lost(link, ngx_conduit_link_error(link, ac));
}


static void
ngx_conduit_link_late(ngx_conduit_link_t *link)
{
    ngx_conduit_link_drop(link, "no reply in time");
}


/* worker_shutdown_timeout has passed: the worker exits and must not connect
   again */

static void
ngx_conduit_link_shutdown(redisAsyncContext *ac)
{
    ngx_conduit_link_t  *link = ac->data;

    if (link != NULL && link->ac == ac) {
        link->shut = 1;
        ngx_conduit_link_close(link);
        return;
    }

    redisAsyncFree(ac);
}


static ngx_int_t
ngx_conduit_link_login(ngx_conduit_link_t *link)
{
    int                   argc;
    char                  db[NGX_INT_T_LEN];
    size_t                argvlen[3];
    const char           *argv[3];
    ngx_conduit_redis_t  *redis;

    redis = link->redis;

    if (redis->password.len) {
        argc = 1;

        if (redis->user.len) {
            argv[argc] = (char *) redis->user.data;
            argvlen[argc++] = redis->user.len;
        }

        argv[argc] = (char *) redis->password.data;
        argvlen[argc++] = redis->password.len;

        if (ngx_conduit_link_login_send(link, "AUTH", argc, argv, argvlen)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (redis->db) {
        argv[1] = db;
        argvlen[1] = ngx_sprintf((u_char *) db, "%ui", redis->db)
                     - (u_char *) db;

        if (ngx_conduit_link_login_send(link, "SELECT", 2, argv, argvlen)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    /* the reply to PING shows whether the server is usable: not loading, no
       AUTH required; the link gets ready in this reply, as hiredis 0.14 allows
       little in its connect callback */

    return ngx_conduit_link_login_send(link, "PING", 1, argv, argvlen);
}


/* sets the first argument to the command */

static ngx_int_t
ngx_conduit_link_login_send(ngx_conduit_link_t *link, const char *command,
    int argc, const char **argv, size_t *argvlen)
{
    argv[0] = command;
    argvlen[0] = ngx_strlen(command);

    if (redisAsyncCommandArgv(link->ac, ngx_conduit_link_login_reply,
                              (void *) command, argc, argv, argvlen)
        != REDIS_OK
        || !ngx_conduit_command_is_heard(link->ac, (void *) command))
    {
        return NGX_ERROR;
    }

    link->handshake++;

    return NGX_OK;
}


static void
ngx_conduit_link_login_reply(redisAsyncContext *ac, void *reply, void *data)
{
    u_char               why[256];
    const char          *command = data;
    redisReply          *r = reply;
    ngx_conduit_link_t  *link = ac->data;

    if (link == NULL || link->ac != ac) {
        return;
    }

    if (r == NULL) {
        ngx_conduit_link_lost(link, ngx_conduit_link_error(link, ac));
        return;
    }

    if (!ngx_conduit_link_accepts(link, command, r)) {
        *ngx_snprintf(why, sizeof(why) - 1, "%s refused: %s", command,
                      r->type == REDIS_REPLY_ERROR ? r->str
                                                   : "unexpected reply")
            = '\0';
        ngx_conduit_link_drop(link, (char *) why);
        return;
    }

    if (--link->handshake == 0) {
        ngx_conduit_link_set_up(link);
    }
}


/*
 * Whether the reply to a command of the log-in is acceptable.  PING may fail,
 * see below.  After a failed SELECT the link would use another database.  An
 * unexpected reply belongs to another command: all that follow would be taken
 * for replies to the wrong commands.
 */

static ngx_uint_t
ngx_conduit_link_accepts(ngx_conduit_link_t *link, const char *command,
    redisReply *reply)
{
    ngx_uint_t  ping;

    ping = (ngx_strcmp(command, "PING") == 0);

    if (reply->type == REDIS_REPLY_ERROR) {
        return ping && ngx_conduit_link_usable(link, reply->str);
    }

    return reply->type == REDIS_REPLY_STATUS
           && ngx_strcmp(reply->str, ping ? "PONG" : "OK") == 0;
}


/*
 * Whether a server that replies to PING with an error can be used for this
 * link.  NOPERM only forbids PING.  A server that can't save (MISCONF) serves
 * reads, and refuses each write itself.  MASTERDOWN (a replica without its
 * master, from Redis 7.0 on) does not matter to links that only read: older
 * versions accept them.
 */

static ngx_uint_t
ngx_conduit_link_usable(ngx_conduit_link_t *link, char *error)
{
    ngx_log_debug3(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V %s: PING: %s",
                   &link->redis->name, link->role, error);

    return conduit_redis_error_is(error, "NOPERM")
           || conduit_redis_error_is(error, "MISCONF")
           || (link->internal && conduit_redis_error_is(error, "MASTERDOWN"));
}


static void
ngx_conduit_link_set_up(ngx_conduit_link_t *link)
{
    ngx_uint_t          level;
    redisAsyncContext  *ac;

    if (link->connect_timer.timer_set) {
        ngx_del_timer(&link->connect_timer);
    }

    link->state = NGX_CONDUIT_LINK_UP;
    link->up_since = ngx_current_msec;
    link->replied_at = ngx_current_msec;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V %s: ready",
                   &link->redis->name, link->role);

    ngx_conduit_stats_count(link->redis->stats, NGX_CONDUIT_REDIS_CONNECTS);
    ngx_conduit_link_count(link, 1);

    if (link->failed || link->idle) {

        /* if the outage was logged as an error, its end is logged as a
           warning */

        level = link->reasons.n ? NGX_LOG_WARN : NGX_LOG_INFO;

        ngx_log_error(level, ngx_cycle->log, 0,
                      "conduit: redis %V %s: connected again after %Mms",
                      &link->redis->name, link->role,
                      ngx_current_msec - link->lost_at);
    }

    link->failed = 0;
    link->quiet = 0;
    link->idle = 0;
    link->reasons.n = 0;
    ac = link->ac;

    if (link->up) {
        link->up(link);
    }

    /* up() may have reset the link */

    if (link->ac == ac && ngx_conduit_command_send_unsent(link) != NGX_OK) {
        ngx_conduit_link_drop(link, "out of memory");
    }
}
