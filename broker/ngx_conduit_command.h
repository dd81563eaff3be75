/* Copyright (C) Conduit for NGINX authors */

/*
 * Declarations shared by the files of a link; a file calls those below it.
 *
 *   link_send   sends commands and subscribes; opens the link if needed
 *   link        connects and logs in
 *   link_lost   handles a lost or failed connection
 *   command     the pending commands; they report a connection that failed
 *               to the link through its handlers, link->on
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
    redisAsyncContext      *ac;        /* it was sent on; NULL: not yet sent */
    ngx_conduit_reply_pt    handler;
    void                   *data;
    ngx_msec_t              deadline;
    char                   *wire;      /* what is to be sent when the link is
                                          up; NULL: it was sent */
    size_t                  len;
} ngx_conduit_command_t;

/* what commands report about their connection */
struct ngx_conduit_link_handlers_s {
    /* hiredis has ended the connection */
    void  (*gone)(ngx_conduit_link_t *link, redisAsyncContext *ac);
    /* a reply is late, and later ones can't come: drop the connection */
    void  (*late)(ngx_conduit_link_t *link);
};

/*
 * Drops a connection.  The link forgets the context first; the context is freed
 * at once, or by hiredis when the current callback returns.
 */
void ngx_conduit_link_drop(ngx_conduit_link_t *link, const char *why);

/* To be called whenever a connection is lost or could not be made. */
void ngx_conduit_link_lost(ngx_conduit_link_t *link, const char *why);

/*
 * The same for an attempt that has failed with hiredis' text of a system error,
 * which has no number.  err is errno as hiredis has left it.
 */
void ngx_conduit_link_no_connect(ngx_conduit_link_t *link, const char *errstr,
    ngx_err_t err);

/* Adds n to the number of links that are up; call before link->state
   changes. */
void ngx_conduit_link_count(ngx_conduit_link_t *link, ngx_int_t n);

/* Why a connection ended, for the log; to be called in hiredis' callbacks. */
const char *ngx_conduit_link_error(ngx_conduit_link_t *link,
    const redisAsyncContext *ac);

/* Creates a command, not yet in a queue.  NULL when memory is out. */
ngx_conduit_command_t *ngx_conduit_command_create(ngx_conduit_link_t *link);

/* Sets the timer for the deadline of the oldest command. */
void ngx_conduit_command_arm(ngx_conduit_link_t *link);

/* The timer's handler: the deadline of the oldest command has passed. */
void ngx_conduit_link_command_timer(ngx_event_t *ev);

/* Hands a command to hiredis; wire is copied.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_command_send(ngx_conduit_command_t *cmd,
    const char *wire, size_t len);

/*
 * Sends the commands that came while the link was connecting.  Returns NGX_OK,
 * or NGX_ERROR when one can't be sent: the connection is to be dropped then,
 * and all fail.
 */
ngx_int_t ngx_conduit_command_send_unsent(ngx_conduit_link_t *link);

/*
 * Whether hiredis has stored the callback of the last command sent, with this
 * data.  When memory is out, hiredis (0.14 to 1.1, at least) sends a command
 * without one, and its reply would be taken for that of the next command: in
 * this case the connection is shut down, and nothing may be sent on it.
 */
ngx_uint_t ngx_conduit_command_is_heard(redisAsyncContext *ac, void *data);

/* Completes a command; nothing else takes commands off link->pending. */
void ngx_conduit_command_done(ngx_conduit_command_t *cmd, redisReply *reply,
    ngx_conduit_outcome_e outcome);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_COMMAND_H */
