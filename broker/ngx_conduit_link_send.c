/* Copyright (C) Conduit for NGINX authors */

/*
 * Sends commands and subscribes on a link; opens the link if it is closed, and
 * notices if the server has closed it.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "conduit_resp.h"
#include "ngx_conduit_command.h"


/* bytes of a command that is written without allocating memory for it */
#define NGX_CONDUIT_COMMAND_SMALL  4096


static ngx_int_t ngx_conduit_command_write(ngx_conduit_command_t *cmd,
    int argc, const char **argv, const size_t *argvlen);
static void ngx_conduit_link_check_idle(ngx_conduit_link_t *link);
static void ngx_conduit_link_asking_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_link_message(redisAsyncContext *ac, void *reply,
    void *data);


ngx_int_t
ngx_conduit_link_command(ngx_conduit_link_t *link,
    ngx_conduit_reply_pt handler, void *data, int argc, const char **argv,
    const size_t *argvlen)
{
    ngx_conduit_command_t  *cmd;

    if (link->closing || link->shut) {
        return NGX_DECLINED;
    }

    ngx_conduit_link_open(link);
    ngx_conduit_link_check_idle(link);

    if (link->state != NGX_CONDUIT_LINK_UP && link->failed) {
        return NGX_DECLINED;
    }

    cmd = ngx_conduit_command_create(link);
    if (cmd == NULL) {
        return NGX_ERROR;
    }

    cmd->handler = handler;
    cmd->data = data;
    cmd->deadline = ngx_current_msec + link->redis->timeout;

    if (ngx_conduit_command_write(cmd, argc, argv, argvlen) != NGX_OK) {
        ngx_queue_insert_head(&link->free, &cmd->queue);
        return NGX_ERROR;
    }

    ngx_queue_insert_tail(&link->pending, &cmd->queue);

    ngx_conduit_stats_count(link->redis->stats, NGX_CONDUIT_REDIS_COMMANDS);

    if (!link->command_timer.timer_set) {
        ngx_conduit_command_arm(link);
    }

    return NGX_OK;
}


ngx_int_t
ngx_conduit_link_send(ngx_conduit_link_t *link, ngx_conduit_reply_pt handler,
    void *data, ngx_str_t *args, ngx_uint_t n)
{
    size_t       argvlen[NGX_CONDUIT_LINK_ARGS];
    ngx_uint_t   i;
    const char  *argv[NGX_CONDUIT_LINK_ARGS];

    for (i = 0; i < n; i++) {
        argv[i] = (char *) args[i].data;
        argvlen[i] = args[i].len;
    }

    return ngx_conduit_link_command(link, handler, data, n, argv, argvlen);
}


/*
 * Hands a command to hiredis, which copies it, if the link is up; else keeps it
 * in cmd->wire.  It is formatted here, as hiredis formats each argument with
 * sprintf(), which takes longer than all else about sending a command.
 */

static ngx_int_t
ngx_conduit_command_write(ngx_conduit_command_t *cmd, int argc,
    const char **argv, const size_t *argvlen)
{
    char       *wire;
    char        small[NGX_CONDUIT_COMMAND_SMALL];
    size_t      max;
    ngx_int_t   rc;

    max = conduit_resp_max(argc, argvlen);

    if (cmd->link->state == NGX_CONDUIT_LINK_UP && max <= sizeof(small)) {
        return ngx_conduit_command_send(cmd, small,
                                        conduit_resp_write(small, argc, argv,
                                                           argvlen));
    }

    wire = ngx_alloc(max, ngx_cycle->log);
    if (wire == NULL) {
        return NGX_ERROR;
    }

    cmd->len = conduit_resp_write(wire, argc, argv, argvlen);

    if (cmd->link->state != NGX_CONDUIT_LINK_UP) {
        cmd->wire = wire;
        return NGX_OK;
    }

    rc = ngx_conduit_command_send(cmd, wire, cmd->len);

    ngx_free(wire);

    return rc;
}


/*
 * The server may have closed an idle connection, with the event still to come:
 * a command sent now would be lost.  A link with a down() handler is left to
 * the event, since its owner must not be called from within its own call.
 */

static void
ngx_conduit_link_check_idle(ngx_conduit_link_t *link)
{
    u_char  c;

    if (link->state != NGX_CONDUIT_LINK_UP
        || link->down != NULL
        || !ngx_queue_empty(&link->pending)
        || ngx_current_msec - link->replied_at < NGX_CONDUIT_LINK_IDLE
        || recv(link->ac->c.fd, &c, 1, MSG_PEEK|MSG_DONTWAIT) != 0)
    {
        return;
    }

    link->idle = 1;
    ngx_conduit_link_drop(link, "Server closed the connection");
}


ngx_int_t
ngx_conduit_link_asking(ngx_conduit_link_t *link)
{
    ngx_str_t  asking = ngx_string("ASKING");

    return ngx_conduit_link_send(link, ngx_conduit_link_asking_reply, link,
                                 &asking, 1);
}


/* without ASKING the next command is answered with MOVED: log the cause */

static void
ngx_conduit_link_asking_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_link_t  *link = data;

    if (outcome != NGX_CONDUIT_REPLIED) {
        return;
    }

    if (reply->type != REDIS_REPLY_ERROR) {
        link->asking_refused = 0;
        return;
    }

    if (!link->asking_refused) {
        link->asking_refused = 1;

        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "conduit: redis %V %s: ASKING refused: %s",
                      &link->redis->name, link->role, reply->str);
    }
}


ngx_int_t
ngx_conduit_link_subscribe(ngx_conduit_link_t *link, const char *channel,
    ngx_conduit_message_pt handler)
{
    int          rc;
    const char  *argv[2];

    if (link->state != NGX_CONDUIT_LINK_UP) {
        return NGX_ERROR;
    }

    argv[0] = "SUBSCRIBE";
    argv[1] = channel;

    link->message = handler;

    ngx_conduit_limit_subscribe(&link->limit, channel);

    /* without lengths hiredis takes the arguments as zero-terminated */

    rc = redisAsyncCommandArgv(link->ac, ngx_conduit_link_message, link, 2,
                               argv, NULL);

    return rc == REDIS_OK ? NGX_OK : NGX_ERROR;
}


static void
ngx_conduit_link_message(redisAsyncContext *ac, void *reply, void *data)
{
    ngx_conduit_link_t  *link = data;

    if (link->ac != ac) {
        return;
    }

    if (reply == NULL) {
        ngx_conduit_link_lost(link, ngx_conduit_link_error(link, ac));
        return;
    }

    ngx_conduit_limit_reset(&link->limit);

    if (link->message != NULL) {
        link->message(link->data, reply);
    }
}
