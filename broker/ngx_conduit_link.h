/* Copyright (C) Conduit for NGINX authors */

/*
 * A link: one connection of a worker to one Redis server, kept up for as long
 * as somebody needs it.  Connects, logs in, selects the database, pipelines
 * commands with a deadline each, and after a loss connects again.
 *
 *           open                  AUTH, SELECT, PING ok
 *   CLOSED ------> CONNECTING ---------------------> UP
 *     ^              ^    |                           |
 *     |        timer |    | refused, timed out,       | lost, timed out
 *     | close        |    v log-in refused            v
 *   (any)           WAITING <-------------------------+
 */

#ifndef NGX_CONDUIT_LINK_H
#define NGX_CONDUIT_LINK_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include <hiredis/hiredis.h>
#include <hiredis/async.h>

#include "conduit_redis_error.h"
#include "ngx_conduit_limit.h"
#include "ngx_conduit_reasons.h"
#include "ngx_conduit_redis.h"

#pragma GCC visibility push(hidden)

#define NGX_CONDUIT_LINK_NEXT       5       /* ms, to another address */
#define NGX_CONDUIT_LINK_MIN_DELAY  50      /* after all addresses were tried */
#define NGX_CONDUIT_LINK_MAX_DELAY  2000    /* up to 3 s with jitter */
#define NGX_CONDUIT_LINK_STABLE     5000    /* ms up, after which the delay
                                               starts anew */
/* ms without a reply, after which a connection counts as idle: a bit less than
   the shortest "timeout" of Redis, 1 s, as the last reply took some time to get
   here */
#define NGX_CONDUIT_LINK_IDLE       900

/* arguments of a command that is sent with ngx_conduit_link_send() */
#define NGX_CONDUIT_LINK_ARGS       8

typedef struct ngx_conduit_link_s  ngx_conduit_link_t;

typedef enum {
    NGX_CONDUIT_LINK_CLOSED = 0,
    NGX_CONDUIT_LINK_CONNECTING,
    NGX_CONDUIT_LINK_UP,
    NGX_CONDUIT_LINK_WAITING
} ngx_conduit_link_state_e;

/* why a command has no reply */
typedef enum {
    NGX_CONDUIT_REPLIED = 0,
    NGX_CONDUIT_NOT_SENT,         /* there was no connection */
    NGX_CONDUIT_LOST,             /* sent; the connection was lost */
    NGX_CONDUIT_TIMED_OUT,        /* sent; no reply within the deadline */
    NGX_CONDUIT_TOO_LARGE         /* sent; the reply is over the limit */
} ngx_conduit_outcome_e;

/*
 * Takes the reply to a command; called exactly once for each accepted command.
 * reply is NULL unless the outcome is NGX_CONDUIT_REPLIED, and is freed by the
 * link after the return.  May send new commands.
 */
typedef void (*ngx_conduit_reply_pt)(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);

typedef void (*ngx_conduit_link_pt)(ngx_conduit_link_t *link);

typedef void (*ngx_conduit_message_pt)(void *data, redisReply *reply);

typedef struct ngx_conduit_link_handlers_s  ngx_conduit_link_handlers_t;

struct ngx_conduit_link_s {
    /* the owner sets these before ngx_conduit_link_open() */
    ngx_conduit_redis_t       *redis;
    const char                *role;      /* for logs, e.g. "publish" */
    void                      *data;
    ngx_conduit_link_pt        up;        /* may be NULL; sends commands */
    ngx_conduit_link_pt        down;      /* may be NULL; once after each up */
    ngx_conduit_link_pt        slow;      /* may be NULL; a command's timeout
                                             has passed, but bytes still arrive:
                                             may be called repeatedly */
    unsigned                   internal:1;  /* only reads; does not delay a
                                               worker's exit */

    /* private */
    unsigned                   failed:1;    /* an outage, already logged */
    unsigned                   stuck:1;     /* dropped for a deadline */
    unsigned                   quiet:1;     /* reset on purpose; not logged
                                               until all addresses failed */
    unsigned                   idle:1;      /* closed by the server while idle;
                                               not an outage */
    unsigned                   tried_all:1; /* all addresses failed once */
    unsigned                   closing:1;   /* takes no commands */
    unsigned                   shut:1;      /* likewise, for good: the worker
                                               has to exit at once */
    unsigned                   asking_refused:1;    /* already logged */
    ngx_conduit_link_state_e   state;
    const ngx_conduit_link_handlers_t  *on;    /* called by its commands */
    redisAsyncContext         *ac;
    SSL                       *ssl;       /* of ac, or NULL */
    ngx_conduit_limit_t        limit;     /* of its replies */
    ngx_uint_t                 addr;      /* next address to try */
    ngx_uint_t                 tried;     /* addresses since the last delay */
    ngx_uint_t                 handshake; /* replies still to come */
    ngx_msec_t                 delay;
    ngx_msec_t                 lost_at;   /* for logs */
    ngx_msec_t                 up_since;
    ngx_msec_t                 replied_at;    /* when the last reply came */
    ngx_conduit_reasons_t      reasons;   /* of the current outage */
    char                       why[64];   /* why it was lost, zero-terminated */
    ngx_event_t                connect_timer;   /* deadline or next try */
    ngx_event_t                command_timer;   /* deadline of the oldest */
    ngx_queue_t                pending;   /* ngx_conduit_command_t, oldest
                                             first: sent, then not yet sent */
    ngx_queue_t                free;
    ngx_conduit_message_pt     message;   /* of a subscription */
    ngx_conduit_stats_link_t  *stats;     /* NULL: not counted */
    u_char                     peer[NGX_SOCKADDR_STRLEN];   /* its address,
                                             zero-terminated, once connected */
};


/*
 * Opens a closed link: connects in the next iteration of the event loop.  Does
 * nothing in any other state.
 */
void ngx_conduit_link_open(ngx_conduit_link_t *link);

/*
 * Closes a link for good and frees its memory.  Pending commands end with
 * NGX_CONDUIT_LOST or NGX_CONDUIT_NOT_SENT before the return.  Must not be
 * called from a reply handler.
 */
void ngx_conduit_link_close(ngx_conduit_link_t *link);

/*
 * Drops the connection, as if it were lost; a new one is made after a delay.
 * why is for the log; NULL: nothing is wrong, and no error is logged.  May be
 * called from reply handlers.
 */
void ngx_conduit_link_reset(ngx_conduit_link_t *link, const char *why);

/*
 * Sends a command; arguments are copied.  Opens a closed link; while the link
 * connects for the first time, or again after the server has closed it for
 * being idle, the command waits for it.  Returns NGX_OK when the handler will
 * be called, NGX_DECLINED during an outage, NGX_ERROR when memory is out; in
 * both cases the handler is not called.
 */
ngx_int_t ngx_conduit_link_command(ngx_conduit_link_t *link,
    ngx_conduit_reply_pt handler, void *data, int argc, const char **argv,
    const size_t *argvlen);

/*
 * Does the same with arguments that are strings of NGINX, n of them, at most
 * NGX_CONDUIT_LINK_ARGS.
 */
ngx_int_t ngx_conduit_link_send(ngx_conduit_link_t *link,
    ngx_conduit_reply_pt handler, void *data, ngx_str_t *args, ngx_uint_t n);

/*
 * Sends ASKING: the next command is for a slot that a cluster is migrating to
 * this server.  Returns what ngx_conduit_link_command() does.
 */
ngx_int_t ngx_conduit_link_asking(ngx_conduit_link_t *link);

/*
 * Subscribes to a channel (a zero-terminated word) on a link that is up.  Until
 * the connection is lost, the handler is called with link->data and each
 * message of the subscription, the confirmation included.  Such a link takes no
 * commands.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_link_subscribe(ngx_conduit_link_t *link,
    const char *channel, ngx_conduit_message_pt handler);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_LINK_H */
