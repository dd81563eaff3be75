/* Copyright (C) Conduit for NGINX authors */

/*
 * Clients of "conduit_gateway_resume_only" that have no position: they only
 * want a stream that is running.  An answer of Redis says whether it is; its
 * question must have been sent after they came.  Their responses do not begin
 * before that answer:
 *
 *   the newest entry is no END          they become listeners like all others
 *                                       that come without a position
 *   it is an END, or there is none      204
 *
 * In an outage the header is sent at once; then the second case is a response
 * without an event.  Until Redis has answered, they count as listeners of their
 * channel, but are in none of its queues.
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
 * Adds a listener, and has Redis asked.  ngx_conduit_listeners_remove() removes
 * it.
 */
void ngx_conduit_resuming_add(ngx_conduit_resuming_t *rs,
    ngx_conduit_listener_t *l);

/* Called by the handler settled() of the feed. */
void ngx_conduit_resuming_settled(ngx_conduit_resuming_t *rs, uint32_t serial,
    ngx_uint_t resting);

/* Calls start() of all of them, for an outage; they go on waiting. */
void ngx_conduit_resuming_start(ngx_conduit_resuming_t *rs);

/* Ends all of them with NGX_CONDUIT_CLOSE_OUTAGE. */
void ngx_conduit_resuming_send_away(ngx_conduit_resuming_t *rs);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_RESUMING_H */
