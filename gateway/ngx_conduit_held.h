/* Copyright (C) Conduit for NGINX authors */

/*
 * The events that a channel holds back for a short time, to send them together
 * ("conduit_gateway_coalesce").  conduit_coalesce.h decides which events wait;
 * here are the timer for that, and the bundle of the events that have waited.
 *
 * A bundle is a copy of successive events in one piece of memory.  It is shared
 * by all listeners whose next event is the first one in it: each of them is
 * sent one buffer, instead of one buffer an event.
 */

#ifndef NGX_CONDUIT_HELD_H
#define NGX_CONDUIT_HELD_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_coalesce.h"
#include "ngx_conduit_frame.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_schedule.h"

#pragma GCC visibility push(hidden)

/* the owner sets the members from time on, the rest is zero at first */
typedef struct {
    conduit_coalesce_t    coalesce;
    ngx_conduit_frame_t  *bundle;      /* NULL: there is none */
    ngx_conduit_frame_t  *first;       /* the first event of the bundle, and the
                                          last one: all three are referenced */
    ngx_conduit_frame_t  *last;
    ngx_msec_t            time;        /* how long events are held back, the
                                          delay of the schedule; 0: they are
                                          not */
    size_t                window;      /* bytes that may be held back */
    size_t                max;         /* bytes of a bundle */
    ngx_conduit_task_t    timeout;     /* its handler is called when the time is
                                          over */

    /* of the bundle */
    uint64_t              from;        /* sequence numbers: of its first event,
                                          and of the item after its last one */
    uint64_t              end;
    ngx_uint_t            n;           /* events */
    uint64_t              now;         /* ms, of the next member; 0: not set */
    uint64_t              delivery[CONDUIT_METRICS_CELLS];
                                       /* what it adds to the cells of
                                          delivery_seconds for a client that was
                                          there before its first event */
} ngx_conduit_held_t;


/*
 * Whether the items appended to the window since the last call are held back.
 * If not, the caller calls ngx_conduit_held_make_bundle().
 */
ngx_uint_t ngx_conduit_held_wait(ngx_conduit_held_t *held,
    ngx_conduit_schedule_t *schedule, const conduit_window_t *w);

/*
 * Ends the wait.  Makes a bundle of the events that were held back, or have
 * just been appended; it replaces the previous one.  The bundle ends before an
 * event that would make it larger than max bytes, before a mark of the window,
 * and after an event that ends the stream.  With fewer than two events, or when
 * memory is out, there is no bundle, and events are sent one by one.
 */
void ngx_conduit_held_make_bundle(ngx_conduit_held_t *held,
    const conduit_window_t *w);

/* The window was cut, or a new life of the stream has begun: ends the wait
   without a bundle. */
void ngx_conduit_held_reset(ngx_conduit_held_t *held,
    const conduit_window_t *w);

/*
 * Returns the bundle for a listener in the window that is sent a frame now:
 * NULL unless the frame is the first of the bundle, which has all events of the
 * window from there up to and including *last.
 */
ngx_conduit_frame_t *ngx_conduit_held_bundle(ngx_conduit_held_t *held,
    const ngx_conduit_frame_t *frame, ngx_conduit_frame_t **last);

/*
 * Counts the events of the bundle as sent to a client whose request came at the
 * time since, in ms.  The window must still have them, as it does while a
 * listener is sent the bundle.
 */
void ngx_conduit_held_count(ngx_conduit_held_t *held,
    const conduit_window_t *w, uint64_t since);

/* All listeners were sent the bundle: releases it. */
void ngx_conduit_held_drop_bundle(ngx_conduit_held_t *held);

/* Releases the bundle and stops the timer. */
void ngx_conduit_held_close(ngx_conduit_held_t *held);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_HELD_H */
