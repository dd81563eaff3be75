/*
 * What the files of a link share; calls go downwards.
 *
 *   link_send   what a link is used for: opens it when needed
 *   link        its life: connects and logs in
 *   link_lost   a connection is gone
 *   command     commands that wait for a reply; tell the link of a connection
 *               that failed through its handlers, link->on
 */

#ifndef NGX_CONDUIT_COMMAND_H
#define NGX_CONDUIT_COMMAND_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_link.h"

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_queue_t             queue;
    ngx_conduit_link_t     *link;
    redisAsyncContext      *ac;        /* it was sent on; NULL before */
    ngx_conduit_reply_pt    handler;
    void                   *data;
    ngx_msec_t              deadline;
    char                   *wire;      /* until it is sent */
    int                     len;
} ngx_conduit_command_t;

/* what commands tell of the connection they were sent on */
struct ngx_conduit_link_handlers_s {
    /* hiredis has given it up */
    void  (*gone)(ngx_conduit_link_t *link, redisAsyncContext *ac);
    /* a reply is late, and none can come: the connection is to be dropped */
    void  (*late)(ngx_conduit_link_t *link);
};

/*
 * Gives a connection up.  The context is freed at once, or by hiredis when its
 * callback returns; either way it finds the link without it.
 */
void ngx_conduit_link_drop(ngx_conduit_link_t *link, const char *why);

/* A connection is gone, or could not be made: the one way to none. */
void ngx_conduit_link_lost(ngx_conduit_link_t *link, const char *why);

/* Counts links that are up, n more; called before a change of link->state. */
void ngx_conduit_link_count(ngx_conduit_link_t *link, ngx_int_t n);

/* Why hiredis gave a connection up, which it is just telling: for the log. */
const char *ngx_conduit_link_error(ngx_conduit_link_t *link,
    const redisAsyncContext *ac);

/* Makes a command that is in no queue yet.  NULL when memory is out. */
ngx_conduit_command_t *ngx_conduit_command_create(ngx_conduit_link_t *link);

/* Sets the timer for the deadline of the oldest command. */
void ngx_conduit_command_arm(ngx_conduit_link_t *link);

/* The deadline of the oldest command. */
void ngx_conduit_link_command_timer(ngx_event_t *ev);

/* Hands a command to hiredis.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_command_send(ngx_conduit_command_t *cmd);

/*
 * Whether hiredis has kept the callback of the command that was sent last, with
 * this data.  When memory is out, it (0.14 to 1.1, at least) sends a command
 * without one, and the replies would be taken for those of the commands behind
 * it: then the connection is shut down, and nothing may be sent on it.
 */
ngx_uint_t ngx_conduit_command_is_heard(redisAsyncContext *ac, void *data);

/* Completes a command: the one way out of link->pending. */
void ngx_conduit_command_done(ngx_conduit_command_t *cmd, redisReply *reply,
    ngx_conduit_outcome_e outcome);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_COMMAND_H */
