/*
 * What a channel holds back with "conduit_gateway_coalesce": has the timer of
 * conduit_coalesce.h, and makes a bundle of what goes out at last.
 *
 * A bundle is a copy of events that follow each other as one piece of memory,
 * for all who are sent the first of them next.  A client then costs one buffer,
 * and not one an event.
 */

#ifndef NGX_CONDUIT_HELD_H
#define NGX_CONDUIT_HELD_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_coalesce.h"
#include "ngx_conduit_frame.h"
#include "ngx_conduit_schedule.h"

#pragma GCC visibility push(hidden)

/* the owner sets the members from time on, the rest is zero at first */
typedef struct {
    conduit_coalesce_t    coalesce;
    ngx_conduit_frame_t  *bundle;      /* NULL: none.  All three have a
                                          reference */
    ngx_conduit_frame_t  *first;       /* of its events */
    ngx_conduit_frame_t  *last;
    ngx_msec_t            time;        /* of the schedule's delay; 0: nothing is
                                          held back */
    size_t                window;      /* bytes that may be held back */
    size_t                max;         /* bytes of a bundle */
    ngx_conduit_task_t    release;     /* is called when the time is over */
} ngx_conduit_held_t;


/*
 * Whether what was appended to the window since the last call is held back.  If
 * not, ngx_conduit_held_release() follows.
 */
ngx_uint_t ngx_conduit_held_wait(ngx_conduit_held_t *held,
    ngx_conduit_schedule_t *schedule, const conduit_window_t *w);

/*
 * Nothing is held back any more.  Makes a bundle of what was, or has just been
 * appended, in the place of the one before: as many events as have up to max
 * bytes and no mark between them; one that ends the stream is the last.  When
 * there are less than two, or memory is out, there is none, and events are sent
 * one by one.
 */
void ngx_conduit_held_release(ngx_conduit_held_t *held,
    const conduit_window_t *w);

/* The window was cut, or has a new life: likewise, without a bundle. */
void ngx_conduit_held_reset(ngx_conduit_held_t *held,
    const conduit_window_t *w);

/*
 * The bundle, for one who stands in the window and is sent a frame of it now:
 * NULL unless the frame is the first of the bundle, which has the bytes of all
 * that follow in the window up to and including *last.
 */
ngx_conduit_frame_t *ngx_conduit_held_bundle(ngx_conduit_held_t *held,
    const ngx_conduit_frame_t *frame, ngx_conduit_frame_t **last);

/* All have the bundle: gives it up. */
void ngx_conduit_held_served(ngx_conduit_held_t *held);

/* Gives up everything. */
void ngx_conduit_held_close(ngx_conduit_held_t *held);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_HELD_H */
