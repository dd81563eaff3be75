/* Copyright (C) Conduit for NGINX authors */

/*
 * Coalescing: decides whether new events of a window are sent at once, or wait
 * a little for further ones, to be sent with them in one write.  Pure: no NGINX
 * type and no clock; the caller has the timer.
 *
 *   at once   the first event after a silence; an event that the caller calls
 *             prompt (START and END, say), with all that wait before it;
 *             marks of the window; all, once they exceed the window's bytes
 *   waits     any other event, until "time" has passed since the first of the
 *             waiting events came
 *
 * There is a silence when no event came for "time".
 */

#ifndef CONDUIT_COALESCE_H
#define CONDUIT_COALESCE_H

#include "conduit_window.h"

#pragma GCC visibility push(hidden)

typedef enum {
    CONDUIT_COALESCE_SEND = 0,     /* at once, with all that wait */
    CONDUIT_COALESCE_START,        /* the event waits: start the timer */
    CONDUIT_COALESCE_WAIT          /* it waits with others: the timer runs
                                      already */
} conduit_coalesce_e;

/* the state of a window; zeroed: nothing came yet */
typedef struct {
    uint64_t  seen;                /* sequence number up to which items were
                                      looked at */
    uint64_t  last;                /* ms, when the newest event came */
    uint64_t  from;                /* sequence number of the first item that
                                      waits or has just come */
    size_t    bytes;               /* of the items that wait */
    unsigned  some:1;              /* last is set */
    unsigned  waits:1;             /* the caller's timer runs */
} conduit_coalesce_t;

/* Whether the event of a frame, never NULL, is to be sent at once. */
typedef int (*conduit_coalesce_prompt_pt)(const void *frame);


/*
 * Looks at the items appended since the last call, at the time now (ms, of any
 * clock that does not go back).  time (ms) is over 0; limit is how many bytes
 * the window may have: waiting items never have more, so that none is dropped.
 * After SEND, nothing waits.
 */
conduit_coalesce_e conduit_coalesce_look(conduit_coalesce_t *c,
    const conduit_window_t *w, conduit_coalesce_prompt_pt prompt, size_t limit,
    uint64_t time, uint64_t now);

/*
 * over: the time has passed, and the caller sends all of the window.  reset:
 * the window was cut or has a new life: nothing waits any more, and the next
 * event is sent at once.
 */
void conduit_coalesce_over(conduit_coalesce_t *c);
void conduit_coalesce_reset(conduit_coalesce_t *c, const conduit_window_t *w);

#pragma GCC visibility pop

#endif /* CONDUIT_COALESCE_H */
