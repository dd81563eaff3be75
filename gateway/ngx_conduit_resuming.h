/* Copyright (C) Conduit for NGINX authors */

/*
 * Clients of "conduit_gateway_resume_only" that have no position: they come to
 * resume what is running.  Their responses are not begun before Redis has said,
 * in answer to a question sent after they came, whether that is anything:
 *
 *   the newest entry is no END          they become listeners like any other,
 *                                       from the oldest entry on
 *   it is an END, or there is none      204
 *
 * In an outage the header is sent at once; then the second case is a response
 * without an event.  Until Redis has answered, they count as listeners of their
 * channel, but stand in none of its queues.
 */

#ifndef NGX_CONDUIT_RESUMING_H
#define NGX_CONDUIT_RESUMING_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_listeners.h"

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_queue_t               queue;
    ngx_conduit_listeners_t  *listeners;
} ngx_conduit_resuming_t;


void ngx_conduit_resuming_init(ngx_conduit_resuming_t *rs,
    ngx_conduit_listeners_t *ls);

/*
 * Adds a listener, which ngx_conduit_listeners_remove() removes, and sees to it
 * that Redis is asked.
 */
void ngx_conduit_resuming_add(ngx_conduit_resuming_t *rs,
    ngx_conduit_listener_t *l);

/* The handler of the feed. */
void ngx_conduit_resuming_settled(ngx_conduit_resuming_t *rs, uint32_t serial,
    ngx_uint_t resting);

/* Starts them, as in an outage; they go on waiting. */
void ngx_conduit_resuming_start(ngx_conduit_resuming_t *rs);

/* Ends all of them, as after an outage. */
void ngx_conduit_resuming_send_away(ngx_conduit_resuming_t *rs);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_RESUMING_H */
