/*
 * The schedule of a worker: gives tasks their turns, and tries again later what
 * failed.  Knows nothing of what a task does.
 *
 *   run     at the next turn of the event loop; all tasks that run share one
 *           slice of work a turn, so that a large one delays neither another
 *           one nor another request; who has work left asks for a turn again
 *   retry   after a little while, all at once
 *   later   after a time that is the same for all, each when its is over
 */

#ifndef NGX_CONDUIT_SCHEDULE_H
#define NGX_CONDUIT_SCHEDULE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#pragma GCC visibility push(hidden)

/*
 * Does up to max pieces of work and returns how many it did; for a retry, or
 * later, max is 0 and the result is not used.  The task may be freed
 * meanwhile, and may ask for another turn.
 */
typedef ngx_uint_t (*ngx_conduit_task_pt)(void *data, ngx_uint_t max);

/* the owner sets the handler and its data, the rest is zero at first */
typedef struct {
    ngx_queue_t            queue;         /* next is NULL while in none */
    ngx_msec_t             due;           /* while it is in "later" */
    ngx_conduit_task_pt    handler;
    void                  *data;
} ngx_conduit_task_t;

typedef struct {
    ngx_queue_t            run;           /* ngx_conduit_task_t */
    ngx_queue_t            retry;         /* ngx_conduit_task_t */
    ngx_queue_t            later;         /* ngx_conduit_task_t, by due */
    ngx_msec_t             delay;         /* of "later" */
    ngx_event_t            run_event;
    ngx_event_t            retry_timer;
    ngx_event_t            later_timer;   /* of the first; may come for none */
    ngx_uint_t             serving;       /* a slice is under way */
} ngx_conduit_schedule_t;


/*
 * Makes a schedule without tasks; its timers keep no worker that quits.  delay
 * (ms) is that of ngx_conduit_schedule_later().
 */
void ngx_conduit_schedule_init(ngx_conduit_schedule_t *s, ngx_msec_t delay);

/* Deletes its events; tasks that are in it are never called. */
void ngx_conduit_schedule_close(ngx_conduit_schedule_t *s);

/* Gives a task a turn.  Does nothing for one that waits for it already. */
void ngx_conduit_schedule_run(ngx_conduit_schedule_t *s,
    ngx_conduit_task_t *task);

/* Calls a task again a little later; likewise. */
void ngx_conduit_schedule_retry(ngx_conduit_schedule_t *s,
    ngx_conduit_task_t *task);

/*
 * Calls a task when the delay is over.  Does nothing for one that waits
 * already: it is called when it was to be.
 */
void ngx_conduit_schedule_later(ngx_conduit_schedule_t *s,
    ngx_conduit_task_t *task);

/*
 * Takes all of a queue: a list that can be worked off while anything may leave
 * it, or come to the queue.
 */
void ngx_conduit_schedule_take(ngx_queue_t *list, ngx_queue_t *queue);

/* Takes a task out: it is not called any more. */
void ngx_conduit_schedule_cancel(ngx_conduit_task_t *task);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_SCHEDULE_H */
