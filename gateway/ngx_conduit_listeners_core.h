/* Copyright (C) Conduit for NGINX authors */

/*
 * What the files of the listeners share; no other file includes it.
 *
 *     ngx_conduit_listeners_join.c    how a listener gets its place
 *     ngx_conduit_listeners.c         the queues
 *     ngx_conduit_listeners_serve.c   their turns
 */

#ifndef NGX_CONDUIT_LISTENERS_CORE_H
#define NGX_CONDUIT_LISTENERS_CORE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_listeners.h"

#pragma GCC visibility push(hidden)

/* The first listener of a queue that is not empty. */
ngx_conduit_listener_t *ngx_conduit_listeners_head(ngx_queue_t *queue);

/* Puts a listener at the end of a queue. */
void ngx_conduit_listeners_move(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_queue_t *queue);

/*
 * Call it when the place of a listener may have moved back, as the stream does
 * not have the entry that the client got last.  If it has moved, its position
 * becomes the listener's id, which the next control events have.
 */
void ngx_conduit_listeners_moved_back(ngx_conduit_listener_t *l);

/*
 * Drops the oldest items of the window down to limit bytes; listeners that are
 * at one of them leave the window.
 */
void ngx_conduit_listeners_trim(ngx_conduit_listeners_t *ls, size_t limit);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_LISTENERS_CORE_H */
