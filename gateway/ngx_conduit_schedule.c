/* Copyright (C) Conduit for NGINX authors */

/*
 * The schedule: turns and retries of tasks.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_schedule.h"


/*
 * A slice: so many pieces of work, or microseconds, in one turn of the event
 * loop.  It is short, as an event of another channel needs about six turns on
 * its way from its publisher to its client; a turn costs a few microseconds.
 */
#define NGX_CONDUIT_SCHEDULE_SLICE  128
#define NGX_CONDUIT_SCHEDULE_TIME   500

/* ms */
#define NGX_CONDUIT_SCHEDULE_RETRY  500


static void ngx_conduit_schedule_event(ngx_conduit_schedule_t *s,
    ngx_event_t *ev, ngx_event_handler_pt handler);
static void ngx_conduit_schedule_add(ngx_conduit_schedule_t *s,
    ngx_queue_t *queue, ngx_conduit_task_t *task);
static void ngx_conduit_schedule_run_handler(ngx_event_t *ev);
static ngx_uint_t ngx_conduit_schedule_serve(ngx_queue_t *queue,
    ngx_uint_t max);
static uint64_t ngx_conduit_schedule_now(void);
static void ngx_conduit_schedule_retry_handler(ngx_event_t *ev);
static void ngx_conduit_schedule_later_handler(ngx_event_t *ev);
static ngx_conduit_task_t *ngx_conduit_schedule_next(ngx_queue_t *queue);


void
ngx_conduit_schedule_init(ngx_conduit_schedule_t *s, ngx_msec_t delay)
{
    ngx_queue_init(&s->run);
    ngx_queue_init(&s->longer);
    ngx_queue_init(&s->retry);
    ngx_queue_init(&s->later);

    ngx_conduit_schedule_event(s, &s->run_event,
                               ngx_conduit_schedule_run_handler);
    ngx_conduit_schedule_event(s, &s->retry_timer,
                               ngx_conduit_schedule_retry_handler);
    ngx_conduit_schedule_event(s, &s->later_timer,
                               ngx_conduit_schedule_later_handler);

    s->delay = delay;
    s->serving = 0;
}


static void
ngx_conduit_schedule_event(ngx_conduit_schedule_t *s, ngx_event_t *ev,
    ngx_event_handler_pt handler)
{
    ngx_memzero(ev, sizeof(ngx_event_t));

    ev->data = s;
    ev->handler = handler;
    ev->log = ngx_cycle->log;
    ev->cancelable = 1;
}


void
ngx_conduit_schedule_close(ngx_conduit_schedule_t *s)
{
    if (s->retry_timer.timer_set) {
        ngx_del_timer(&s->retry_timer);
    }

    if (s->later_timer.timer_set) {
        ngx_del_timer(&s->later_timer);
    }

    if (s->run_event.posted) {
        ngx_delete_posted_event(&s->run_event);
    }
}


void
ngx_conduit_schedule_run(ngx_conduit_schedule_t *s, ngx_conduit_task_t *task)
{
    ngx_conduit_schedule_add(s, &s->run, task);
}


void
ngx_conduit_schedule_run_long(ngx_conduit_schedule_t *s,
    ngx_conduit_task_t *task)
{
    ngx_conduit_schedule_add(s, &s->longer, task);
}


static void
ngx_conduit_schedule_add(ngx_conduit_schedule_t *s, ngx_queue_t *queue,
    ngx_conduit_task_t *task)
{
    if (task->queue.next == NULL) {
        ngx_queue_insert_tail(queue, &task->queue);

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: task %p waits for a turn", task);
    }

    if (!s->serving && !s->run_event.posted) {
        ngx_post_event(&s->run_event, &ngx_posted_events);
    }
}


/*
 * Does one slice of work; the next one comes after the event loop has looked at
 * the sockets.
 */

static void
ngx_conduit_schedule_run_handler(ngx_event_t *ev)
{
    ngx_uint_t               left;
    ngx_conduit_schedule_t  *s = ev->data;

    left = NGX_CONDUIT_SCHEDULE_SLICE;

    /* tasks that want more put themselves at the end of a queue */

    s->serving = 1;
    s->started = ngx_conduit_schedule_now();

    while (left && !ngx_queue_empty(&s->run)) {

        left -= ngx_conduit_schedule_serve(&s->run, left);

        if (ngx_conduit_schedule_over(s)) {
            break;
        }
    }

    if (!ngx_queue_empty(&s->longer)) {
        s->started = ngx_conduit_schedule_now();

        (void) ngx_conduit_schedule_serve(&s->longer,
                                          NGX_CONDUIT_SCHEDULE_SLICE);
    }

    s->serving = 0;

    if (!ngx_queue_empty(&s->run) || !ngx_queue_empty(&s->longer)) {
        ngx_post_event(&s->run_event, &ngx_posted_next_events);
    }
}


/* gives the first task of a queue its turn; returns how much it did */

static ngx_uint_t
ngx_conduit_schedule_serve(ngx_queue_t *queue, ngx_uint_t max)
{
    ngx_uint_t           done;
    ngx_conduit_task_t  *task;

    task = ngx_conduit_schedule_next(queue);
    done = task->handler(task->data, max);

    /* the task may be freed: its address is only logged */

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: task %p had a turn: %ui done", task, done);

    return done;
}


ngx_uint_t
ngx_conduit_schedule_over(ngx_conduit_schedule_t *s)
{
    return ngx_conduit_schedule_now() - s->started
           >= NGX_CONDUIT_SCHEDULE_TIME;
}


/* NGINX's cached time does not advance within a turn */

static uint64_t
ngx_conduit_schedule_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


void
ngx_conduit_schedule_retry(ngx_conduit_schedule_t *s,
    ngx_conduit_task_t *task)
{
    if (task->queue.next == NULL) {
        ngx_queue_insert_tail(&s->retry, &task->queue);

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: task %p is tried again later", task);
    }

    if (!s->retry_timer.timer_set) {
        ngx_add_timer(&s->retry_timer, NGX_CONDUIT_SCHEDULE_RETRY);
    }
}


static void
ngx_conduit_schedule_retry_handler(ngx_event_t *ev)
{
    ngx_queue_t              list;
    ngx_conduit_task_t      *task;
    ngx_conduit_schedule_t  *s = ev->data;

    /* tasks that fail again wait until the timer expires the next time */

    ngx_conduit_schedule_take(&list, &s->retry);

    while (!ngx_queue_empty(&list)) {

        task = ngx_conduit_schedule_next(&list);

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: task %p is tried again", task);

        (void) task->handler(task->data, 0);
    }
}


void
ngx_conduit_schedule_later(ngx_conduit_schedule_t *s,
    ngx_conduit_task_t *task)
{
    if (task->queue.next == NULL) {

        /* all tasks have the same delay, so the last one added is the last one
           due */

        task->due = ngx_current_msec + s->delay;
        ngx_queue_insert_tail(&s->later, &task->queue);

        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: task %p is to be called in %Mms", task,
                       s->delay);
    }

    if (!s->later_timer.timer_set) {
        ngx_add_timer(&s->later_timer, s->delay);
    }
}


/* the task for which the timer was set may have been cancelled, so the first
   one need not be due */

static void
ngx_conduit_schedule_later_handler(ngx_event_t *ev)
{
    ngx_msec_int_t           left;
    ngx_conduit_task_t      *task;
    ngx_conduit_schedule_t  *s = ev->data;

    while (!ngx_queue_empty(&s->later)) {

        task = ngx_queue_data(ngx_queue_head(&s->later), ngx_conduit_task_t,
                              queue);
        left = (ngx_msec_int_t) (task->due - ngx_current_msec);

        if (left > 0) {
            ngx_add_timer(&s->later_timer, left);
            return;
        }

        ngx_conduit_schedule_cancel(task);

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: task %p is called", task);

        (void) task->handler(task->data, 0);
    }
}


void
ngx_conduit_schedule_take(ngx_queue_t *list, ngx_queue_t *queue)
{
    ngx_queue_init(list);

    if (!ngx_queue_empty(queue)) {
        ngx_queue_add(list, queue);
        ngx_queue_init(queue);
    }
}


/* removes the first task from a queue and returns it */

static ngx_conduit_task_t *
ngx_conduit_schedule_next(ngx_queue_t *queue)
{
    ngx_conduit_task_t  *task;

    task = ngx_queue_data(ngx_queue_head(queue), ngx_conduit_task_t, queue);

    ngx_conduit_schedule_cancel(task);

    return task;
}


void
ngx_conduit_schedule_cancel(ngx_conduit_task_t *task)
{
    if (task->queue.next == NULL) {
        return;
    }

    ngx_queue_remove(&task->queue);

    /* ngx_queue_remove() does so only with NGX_DEBUG */

    task->queue.prev = NULL;
    task->queue.next = NULL;
}
