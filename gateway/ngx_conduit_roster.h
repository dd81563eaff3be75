/* Copyright (C) Conduit for NGINX authors */

/*
 * The roster of a worker: its connected clients, and how long they may stay.
 * Knows nothing of streams, nor of how a response is sent.
 *
 *   keepalive   sends a comment to members that were sent nothing for a while
 *   check       ends members whose deadline has passed, or whose server has
 *               been down for too long
 *   drain       the worker is to quit: ends all, spread over a configured time
 *
 * The queue of members is in the order of the last writes, oldest first.
 */

#ifndef NGX_CONDUIT_ROSTER_H
#define NGX_CONDUIT_ROSTER_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_member_s  ngx_conduit_member_t;

/* why a member is ended */
typedef enum {
    NGX_CONDUIT_ROSTER_DRAIN = 0,
    NGX_CONDUIT_ROSTER_AWAY,
    NGX_CONDUIT_ROSTER_DEADLINE
} ngx_conduit_roster_why_e;

/* what can be done with a member; one table for each kind */
typedef struct {
    /* sends a comment; the member may be gone afterwards */
    void        (*ping)(ngx_conduit_member_t *m);
    /* ends the member, which is removed when this returns */
    void        (*end)(ngx_conduit_member_t *m, ngx_conduit_roster_why_e why);
    /* returns whether its server has been down for too long */
    ngx_uint_t  (*away)(ngx_conduit_member_t *m);
} ngx_conduit_member_handlers_t;

struct ngx_conduit_member_s {
    const ngx_conduit_member_handlers_t   *on;
    ngx_msec_t                             deadline;   /* valid when limited */
    ngx_uint_t                             limited;
    ngx_msec_t                             written;    /* time of the last
                                                          write */
    ngx_queue_t                            queue;
};

typedef struct {
    /* the owner sets these before ngx_conduit_roster_init() */
    ngx_msec_t     keepalive;         /* 0: off */
    ngx_msec_t     drain;
    void          *data;
    /* called at the beginning of each check: returns whether any server is
       down */
    ngx_uint_t   (*any_away)(void *data);

    /* private but for nmembers */
    ngx_queue_t    members;
    ngx_uint_t     nmembers;
    ngx_uint_t     nlimited;
    ngx_event_t    keepalive_timer;
    ngx_event_t    check_timer;
    ngx_event_t    drain_timer;       /* the only timer that keeps a worker from
                                         quitting */
    ngx_msec_t     drain_until;
} ngx_conduit_roster_t;


void ngx_conduit_roster_init(ngx_conduit_roster_t *roster);

/* end_all: ends all members at once, with the reason DRAIN.  close: deletes the
   timers. */
void ngx_conduit_roster_end_all(ngx_conduit_roster_t *roster);
void ngx_conduit_roster_close(ngx_conduit_roster_t *roster);

/*
 * Adds a member, whose handlers and deadline are set; is_up: its server is up.
 */
void ngx_conduit_roster_add(ngx_conduit_roster_t *roster,
    ngx_conduit_member_t *m, ngx_uint_t is_up);

/* Something was sent to a member. */
void ngx_conduit_roster_written(ngx_conduit_roster_t *roster,
    ngx_conduit_member_t *m);

void ngx_conduit_roster_remove(ngx_conduit_roster_t *roster,
    ngx_conduit_member_t *m);

/*
 * A server is down: starts the checks, which end its members if it stays down
 * for too long.
 */
void ngx_conduit_roster_check(ngx_conduit_roster_t *roster);

/* Ends all members, spread over the time "drain". */
void ngx_conduit_roster_drain(ngx_conduit_roster_t *roster);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_ROSTER_H */
