/*
 * Coalescing: whether what has come to a window is sent at once, or waits a
 * little for what may follow, so that one write has both.  Pure: no NGINX type
 * and no clock; the caller has the timer.
 *
 *   at once   the first event after a silence; what the caller calls prompt
 *             (START and END, say), and all that waits before it;
 *             marks of the window; more bytes than the window may have
 *   waits     any other event: until "time" is over since the first of those
 *             that wait came
 *
 * A silence is that no event came for "time".
 */

#ifndef CONDUIT_COALESCE_H
#define CONDUIT_COALESCE_H

#include "conduit_window.h"

#pragma GCC visibility push(hidden)

typedef enum {
    CONDUIT_COALESCE_SEND = 0,     /* at once, with all that waits */
    CONDUIT_COALESCE_START,        /* it waits: the time starts */
    CONDUIT_COALESCE_WAIT          /* it waits with others: the time goes on */
} conduit_coalesce_e;

/* of a window; zeroed is that nothing came yet */
typedef struct {
    uint64_t  seen;                /* number of the item that comes next */
    uint64_t  last;                /* ms, when the newest event came */
    uint64_t  from;                /* number of the first that waits, or that
                                      has just come */
    size_t    bytes;               /* of those that wait */
    unsigned  some:1;              /* last is set */
    unsigned  waits:1;             /* the caller's timer runs */
} conduit_coalesce_t;

/* Whether the event of a frame, never NULL, is to be sent at once. */
typedef int (*conduit_coalesce_prompt_pt)(const void *frame);


/*
 * Looks at the items that came to the window since the last look, at the time
 * now (ms, of any clock that does not go back).  time (ms) is over 0; limit is
 * how many bytes the window may have: what waits never has more, and so is not
 * dropped from it.  After SEND, nothing waits.
 */
conduit_coalesce_e conduit_coalesce_look(conduit_coalesce_t *c,
    const conduit_window_t *w, conduit_coalesce_prompt_pt prompt, size_t limit,
    uint64_t time, uint64_t now);

/*
 * All of the window is sent: the time is over, or the window was cut or has a
 * new life, after which the next event does not wait either.
 */
void conduit_coalesce_over(conduit_coalesce_t *c);
void conduit_coalesce_reset(conduit_coalesce_t *c, const conduit_window_t *w);

#pragma GCC visibility pop

#endif /* CONDUIT_COALESCE_H */
