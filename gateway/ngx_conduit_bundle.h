/*
 * A bundle: events that follow each other in a window as one piece of memory,
 * for all who are sent the first of them next.  Made when events that waited
 * for each other go out; a client then costs one buffer, and not one an event.
 */

#ifndef NGX_CONDUIT_BUNDLE_H
#define NGX_CONDUIT_BUNDLE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_window.h"
#include "ngx_conduit_frame.h"

#pragma GCC visibility push(hidden)

/* zeroed is none; all three have a reference */
typedef struct {
    ngx_conduit_frame_t  *frame;       /* the bytes of all; NULL: none */
    ngx_conduit_frame_t  *first;
    ngx_conduit_frame_t  *last;
} ngx_conduit_bundle_t;


/*
 * Makes a bundle of the window's events from a number on, in the place of the
 * one before: as many as have up to max bytes and no mark between them, the
 * last of them may end the stream.  When there are less than two, or memory is
 * out, there is none: events are sent one by one then.
 */
void ngx_conduit_bundle_make(ngx_conduit_bundle_t *b,
    const conduit_window_t *w, uint64_t from, size_t max);

/* Gives it up.  Who was sent it has references. */
void ngx_conduit_bundle_drop(ngx_conduit_bundle_t *b);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_BUNDLE_H */
