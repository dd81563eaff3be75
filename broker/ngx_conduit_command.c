/* Copyright (C) Conduit for NGINX authors */

/*
 * The commands of a link: they are pipelined, replies come in order, and each
 * command has a deadline.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_command.h"


static void ngx_conduit_command_reply(redisAsyncContext *ac, void *reply,
    void *data);
static ngx_msec_int_t ngx_conduit_command_left(ngx_conduit_command_t *cmd);


ngx_conduit_command_t *
ngx_conduit_command_create(ngx_conduit_link_t *link)
{
    ngx_queue_t            *q;
    ngx_conduit_command_t  *cmd;

    if (!ngx_queue_empty(&link->free)) {
        q = ngx_queue_head(&link->free);
        ngx_queue_remove(q);
        cmd = ngx_queue_data(q, ngx_conduit_command_t, queue);

    } else {
        cmd = ngx_alloc(sizeof(ngx_conduit_command_t), ngx_cycle->log);
        if (cmd == NULL) {
            return NULL;
        }
    }

    ngx_memzero(cmd, sizeof(ngx_conduit_command_t));
    cmd->link = link;

    return cmd;
}


ngx_int_t
ngx_conduit_command_send(ngx_conduit_command_t *cmd, const char *wire,
    size_t len)
{
    if (redisAsyncFormattedCommand(cmd->link->ac, ngx_conduit_command_reply,
                                   cmd, wire, len)
        != REDIS_OK)
    {
        return NGX_ERROR;
    }

    if (!ngx_conduit_command_is_heard(cmd->link->ac, cmd)) {
        return NGX_ERROR;
    }

    cmd->ac = cmd->link->ac;

    return NGX_OK;
}


ngx_int_t
ngx_conduit_command_send_unsent(ngx_conduit_link_t *link)
{
    ngx_queue_t            *q;
    redisAsyncContext      *ac;
    ngx_conduit_command_t  *cmd;

    ac = link->ac;

    for (q = ngx_queue_head(&link->pending);
         link->ac == ac && q != ngx_queue_sentinel(&link->pending);
         q = ngx_queue_next(q))
    {
        cmd = ngx_queue_data(q, ngx_conduit_command_t, queue);

        if (cmd->ac != NULL) {
            continue;
        }

        if (ngx_conduit_command_send(cmd, cmd->wire, cmd->len) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_free(cmd->wire);
        cmd->wire = NULL;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_conduit_command_is_heard(redisAsyncContext *ac, void *data)
{
    if (ac->replies.tail != NULL && ac->replies.tail->privdata == data) {
        return 1;
    }

    /* only shut down: this may run in a reply handler, where the context
       must not be freed; the next event ends the connection and all pending
       commands */

    (void) shutdown(ac->c.fd, SHUT_RDWR);

    return 0;
}


static void
ngx_conduit_command_reply(redisAsyncContext *ac, void *reply, void *data)
{
    ngx_conduit_link_t     *link;
    ngx_conduit_command_t  *cmd = data;
    ngx_conduit_outcome_e   outcome;

    link = cmd->link;

    if (reply != NULL) {
        link->replied_at = ngx_current_msec;
        ngx_conduit_limit_reset(&link->limit);
        ngx_conduit_command_done(cmd, reply, NGX_CONDUIT_REPLIED);
        return;
    }

    if (link->ac == ac) {
        link->on->gone(link, ac);
    }

    outcome = link->stuck ? NGX_CONDUIT_TIMED_OUT : NGX_CONDUIT_LOST;

    /* replies come in order: the oldest command's was the one too large */

    if (link->limit.exceeded) {
        link->limit.exceeded = 0;
        outcome = NGX_CONDUIT_TOO_LARGE;
    }

    ngx_conduit_command_done(cmd, NULL, outcome);
}


void
ngx_conduit_command_done(ngx_conduit_command_t *cmd, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    void                  *data;
    ngx_conduit_link_t    *link;
    ngx_conduit_reply_pt   handler;

    link = cmd->link;
    handler = cmd->handler;
    data = cmd->data;

    ngx_queue_remove(&cmd->queue);

    if (cmd->wire != NULL) {
        ngx_free(cmd->wire);
        cmd->wire = NULL;
    }

    /* deadlines have the order of the queue, so the timer need not be moved
       with each reply: if it fires early, it sets itself again */

    if (ngx_queue_empty(&link->pending) && link->command_timer.timer_set) {
        ngx_del_timer(&link->command_timer);
    }

    ngx_queue_insert_head(&link->free, &cmd->queue);

    handler(data, reply, outcome);
}


void
ngx_conduit_link_command_timer(ngx_event_t *ev)
{
    ngx_queue_t            *q;
    ngx_conduit_link_t     *link = ev->data;
    ngx_conduit_command_t  *cmd;

    while (!ngx_queue_empty(&link->pending)) {

        q = ngx_queue_head(&link->pending);
        cmd = ngx_queue_data(q, ngx_conduit_command_t, queue);

        if (ngx_conduit_command_left(cmd) > 0) {

            if ((ngx_msec_int_t) (cmd->deadline - ngx_current_msec) <= 0
                && link->slow != NULL)
            {
                link->slow(link);
            }

            break;
        }

        if (cmd->ac != NULL && cmd->ac != link->ac) {

            /* never happens: hiredis completes all commands of a context it
               frees */

            ngx_conduit_command_done(cmd, NULL, NGX_CONDUIT_LOST);
            continue;
        }

        if (cmd->ac != NULL) {

            /* replies come in order: without this one no later one can come */

            ngx_conduit_stats_count(link->redis->stats,
                                    NGX_CONDUIT_REDIS_TIMEOUTS);
            link->stuck = 1;
            link->on->late(link);
            link->stuck = 0;
            break;
        }

        ngx_conduit_command_done(cmd, NULL, NGX_CONDUIT_NOT_SENT);
    }

    ngx_conduit_command_arm(link);
}


void
ngx_conduit_command_arm(ngx_conduit_link_t *link)
{
    ngx_queue_t            *q;
    ngx_msec_int_t          wait;
    ngx_conduit_command_t  *cmd;

    if (link->state == NGX_CONDUIT_LINK_CLOSED
        || ngx_queue_empty(&link->pending))
    {
        return;
    }

    q = ngx_queue_head(&link->pending);
    cmd = ngx_queue_data(q, ngx_conduit_command_t, queue);
    wait = cmd->deadline - ngx_current_msec;

    if (wait <= 0) {
        wait = ngx_conduit_command_left(cmd);
    }

    ngx_add_timer(&link->command_timer, wait > 0 ? wait : 1);
}


/*
 * Returns the ms until a command is given up.  A reply of many megabytes, or
 * one behind it, may take longer than a command's timeout.  A link that only
 * reads keeps waiting as long as bytes arrive: after a reconnect the same reply
 * would be late again, for ever.  A publisher must be answered in time in any
 * case.
 */

static ngx_msec_int_t
ngx_conduit_command_left(ngx_conduit_command_t *cmd)
{
    ngx_msec_int_t       left, silent;
    ngx_conduit_link_t  *link;

    link = cmd->link;
    left = cmd->deadline - ngx_current_msec;

    if (!link->internal || cmd->ac == NULL || cmd->ac != link->ac) {
        return left;
    }

    silent = link->limit.read + link->redis->timeout - ngx_current_msec;

    return ngx_max(left, silent);
}
