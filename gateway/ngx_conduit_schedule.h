/* Copyright (C) Conduit for NGINX authors */

/*
 * The schedule of a worker: gives tasks their turns, and calls tasks that
 * failed again later.  Knows nothing of what a task does.
 *
 *   run     at the next turn of the event loop; all tasks that run share one
 *           slice of work a turn, so that a large task delays neither other
 *           tasks nor other requests; a task with work left asks for a turn
 *   long    likewise, for a task that has used up a slice: in each turn, one of
 *           these tasks gets a slice of its own, after the tasks of "run", so
 *           that they need not wait for it
 *   retry   after half a second, all tasks at once
 *   later   after a delay that is the same for all tasks, each when it is due
 */

#ifndef NGX_CONDUIT_SCHEDULE_H
#define NGX_CONDUIT_SCHEDULE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#pragma GCC visibility push(hidden)

/*
 * Does up to max pieces of work and returns how many it did; called for "retry"
 * and "later", max is 0 and the result is not used.  The handler may free the
 * task, and may ask for another turn.
 */
typedef ngx_uint_t (*ngx_conduit_task_pt)(void *data, ngx_uint_t max);

/* the owner sets the handler and its data, the rest is zero at first */
typedef struct {
    ngx_queue_t            queue;         /* next is NULL while in no queue */
    ngx_msec_t             due;           /* valid while it is in "later" */
    ngx_conduit_task_pt    handler;
    void                  *data;
} ngx_conduit_task_t;

typedef struct {
    ngx_queue_t            run;           /* ngx_conduit_task_t */
    ngx_queue_t            longer;        /* ngx_conduit_task_t */
    ngx_queue_t            retry;         /* ngx_conduit_task_t */
    ngx_queue_t            later;         /* ngx_conduit_task_t, by due */
    ngx_msec_t             delay;         /* of "later" */
    ngx_event_t            run_event;
    ngx_event_t            retry_timer;
    ngx_event_t            later_timer;   /* set for the first task, which may
                                             have been cancelled since */
    uint64_t               started;       /* when the slice began, in
                                             microseconds */
    ngx_uint_t             serving;       /* a slice is under way */
} ngx_conduit_schedule_t;


/*
 * Makes a schedule without tasks; its timers do not keep a worker from
 * quitting.  delay (ms) is that of ngx_conduit_schedule_later().
 */
void ngx_conduit_schedule_init(ngx_conduit_schedule_t *s, ngx_msec_t delay);

/* Deletes its events; tasks still in it are never called. */
void ngx_conduit_schedule_close(ngx_conduit_schedule_t *s);

/* Gives a task a turn; does nothing when the task is in a queue already. */
void ngx_conduit_schedule_run(ngx_conduit_schedule_t *s,
    ngx_conduit_task_t *task);

/* Gives a turn to a task that has used up a slice; does nothing when the task
   is in a queue already. */
void ngx_conduit_schedule_run_long(ngx_conduit_schedule_t *s,
    ngx_conduit_task_t *task);

/*
 * Whether the time of the slice is used up: then a task with many pieces of
 * work stops, after at least one piece.  Call it only within a turn.
 */
ngx_uint_t ngx_conduit_schedule_over(ngx_conduit_schedule_t *s);

/* Calls a task when the retry timer expires; does nothing when the task is in a
   queue already. */
void ngx_conduit_schedule_retry(ngx_conduit_schedule_t *s,
    ngx_conduit_task_t *task);

/*
 * Calls a task when the delay is over.  Does nothing when the task waits
 * already: the delay does not start again.
 */
void ngx_conduit_schedule_later(ngx_conduit_schedule_t *s,
    ngx_conduit_task_t *task);

/*
 * Moves all of a queue to a list.  Handlers that are called while the list is
 * worked off may remove items from it, and may add items to the queue, which do
 * not get into the list.
 */
void ngx_conduit_schedule_take(ngx_queue_t *list, ngx_queue_t *queue);

/* Removes a task from its queue: it is not called any more. */
void ngx_conduit_schedule_cancel(ngx_conduit_task_t *task);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_SCHEDULE_H */
