/* Copyright (C) Conduit for NGINX authors */

/*
 * The roster: keepalive, deadlines, outages and the drain of the clients that
 * are connected.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_roster.h"


/* how many members are served in one turn of the event loop: about a
   millisecond of work */
#define NGX_CONDUIT_ROSTER_SLICE  128

/* ms */
#define NGX_CONDUIT_ROSTER_CHECK  200
#define NGX_CONDUIT_ROSTER_STEP   20      /* of a drain */


static void ngx_conduit_roster_timer(ngx_conduit_roster_t *roster,
    ngx_event_t *ev, ngx_event_handler_pt handler, ngx_uint_t cancelable);
static void ngx_conduit_roster_keepalive_handler(ngx_event_t *ev);
static void ngx_conduit_roster_check_handler(ngx_event_t *ev);
static void ngx_conduit_roster_drain_handler(ngx_event_t *ev);


void
ngx_conduit_roster_init(ngx_conduit_roster_t *roster)
{
    ngx_queue_init(&roster->members);

    roster->nmembers = 0;
    roster->nlimited = 0;

    ngx_conduit_roster_timer(roster, &roster->keepalive_timer,
                             ngx_conduit_roster_keepalive_handler, 1);
    ngx_conduit_roster_timer(roster, &roster->check_timer,
                             ngx_conduit_roster_check_handler, 1);
    ngx_conduit_roster_timer(roster, &roster->drain_timer,
                             ngx_conduit_roster_drain_handler, 0);
}


static void
ngx_conduit_roster_timer(ngx_conduit_roster_t *roster, ngx_event_t *ev,
    ngx_event_handler_pt handler, ngx_uint_t cancelable)
{
    ngx_memzero(ev, sizeof(ngx_event_t));

    ev->data = roster;
    ev->handler = handler;
    ev->log = ngx_cycle->log;
    ev->cancelable = cancelable;
}


void
ngx_conduit_roster_end_all(ngx_conduit_roster_t *roster)
{
    ngx_conduit_member_t  *m;

    while (!ngx_queue_empty(&roster->members)) {
        m = ngx_queue_data(ngx_queue_head(&roster->members),
                           ngx_conduit_member_t, queue);
        m->on->end(m, NGX_CONDUIT_ROSTER_DRAIN);
    }
}


void
ngx_conduit_roster_close(ngx_conduit_roster_t *roster)
{
    ngx_uint_t    i;
    ngx_event_t  *timers[3];

    timers[0] = &roster->keepalive_timer;
    timers[1] = &roster->check_timer;
    timers[2] = &roster->drain_timer;

    for (i = 0; i < 3; i++) {
        if (timers[i]->timer_set) {
            ngx_del_timer(timers[i]);
        }
    }
}


void
ngx_conduit_roster_add(ngx_conduit_roster_t *roster, ngx_conduit_member_t *m,
    ngx_uint_t is_up)
{
    roster->nmembers++;
    roster->nlimited += m->limited;

    m->written = ngx_current_msec;
    ngx_queue_insert_tail(&roster->members, &m->queue);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: member %p joins, %ui in all", m,
                   roster->nmembers);

    if (roster->keepalive && !roster->keepalive_timer.timer_set) {
        ngx_add_timer(&roster->keepalive_timer, roster->keepalive);
    }

    if (!is_up || roster->nlimited) {
        ngx_conduit_roster_check(roster);
    }
}


void
ngx_conduit_roster_written(ngx_conduit_roster_t *roster,
    ngx_conduit_member_t *m)
{
    m->written = ngx_current_msec;

    ngx_queue_remove(&m->queue);
    ngx_queue_insert_tail(&roster->members, &m->queue);
}


void
ngx_conduit_roster_remove(ngx_conduit_roster_t *roster,
    ngx_conduit_member_t *m)
{
    roster->nmembers--;
    roster->nlimited -= m->limited;

    ngx_queue_remove(&m->queue);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: member %p leaves, %ui left", m, roster->nmembers);

    if (roster->nmembers == 0 && roster->drain_timer.timer_set) {
        ngx_del_timer(&roster->drain_timer);
    }
}


/* the queue is in the order of the last writes: its head is due first */

static void
ngx_conduit_roster_keepalive_handler(ngx_event_t *ev)
{
    ngx_uint_t             n;
    ngx_msec_t             idle;
    ngx_conduit_member_t  *m;
    ngx_conduit_roster_t  *roster = ev->data;

    for (n = 0; !ngx_queue_empty(&roster->members); n++) {

        m = ngx_queue_data(ngx_queue_head(&roster->members),
                           ngx_conduit_member_t, queue);
        idle = ngx_current_msec - m->written;

        if (idle < roster->keepalive) {

            /* the timer is a little late, to serve members that are due soon
               together: a wake-up costs more than a comment */

            ngx_add_timer(&roster->keepalive_timer,
                          roster->keepalive - idle + roster->keepalive / 64);
            return;
        }

        if (n == NGX_CONDUIT_ROSTER_SLICE) {
            ngx_add_timer(&roster->keepalive_timer, 1);
            return;
        }

        /* done before the ping, which may remove the member */

        ngx_conduit_roster_written(roster, m);
        m->on->ping(m);
    }
}


void
ngx_conduit_roster_check(ngx_conduit_roster_t *roster)
{
    if (roster->nmembers && !roster->check_timer.timer_set) {
        ngx_add_timer(&roster->check_timer, NGX_CONDUIT_ROSTER_CHECK);
    }
}


/* ends members whose deadline has passed, or whose server stays down */

static void
ngx_conduit_roster_check_handler(ngx_event_t *ev)
{
    ngx_uint_t             n, down;
    ngx_queue_t            due, *q, *next;
    ngx_conduit_member_t  *m;
    ngx_conduit_roster_t  *roster = ev->data;

    ngx_queue_init(&due);

    down = roster->any_away(roster->data);

    n = 0;

    for (q = ngx_queue_head(&roster->members);
         q != ngx_queue_sentinel(&roster->members)
         && n < NGX_CONDUIT_ROSTER_SLICE;
         q = next)
    {
        next = ngx_queue_next(q);
        m = ngx_queue_data(q, ngx_conduit_member_t, queue);

        if ((down && m->on->away(m))
            || (m->limited
                && (ngx_msec_int_t) (m->deadline - ngx_current_msec) <= 0))
        {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&due, q);
            n++;
        }
    }

    while (!ngx_queue_empty(&due)) {
        m = ngx_queue_data(ngx_queue_head(&due), ngx_conduit_member_t, queue);
        m->on->end(m, m->on->away(m) ? NGX_CONDUIT_ROSTER_AWAY
                                     : NGX_CONDUIT_ROSTER_DEADLINE);
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: check of members: %ui ended, %ui left, a server "
                   "is away: %ui", n, roster->nmembers, down);

    if (roster->nmembers && (down || roster->nlimited)) {
        ngx_add_timer(&roster->check_timer,
                      n == NGX_CONDUIT_ROSTER_SLICE
                      ? 1 : NGX_CONDUIT_ROSTER_CHECK);
    }
}


void
ngx_conduit_roster_drain(ngx_conduit_roster_t *roster)
{
    if (roster->nmembers == 0) {
        return;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: drain of %ui members in %Mms",
                   roster->nmembers, roster->drain);

    roster->drain_until = ngx_current_msec + roster->drain;

    ngx_add_timer(&roster->drain_timer, 1);
}


/* ends so many members that the rest can be spread evenly over the time left */

static void
ngx_conduit_roster_drain_handler(ngx_event_t *ev)
{
    ngx_uint_t             n;
    ngx_msec_int_t         left;
    ngx_conduit_member_t  *m;
    ngx_conduit_roster_t  *roster = ev->data;

    left = roster->drain_until - ngx_current_msec;

    if (left > NGX_CONDUIT_ROSTER_STEP) {
        n = (roster->nmembers * NGX_CONDUIT_ROSTER_STEP
             + ngx_random() % left)
            / left;

    } else {
        n = NGX_CONDUIT_ROSTER_SLICE;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: drain: %ui of %ui members", n, roster->nmembers);

    while (n-- && !ngx_queue_empty(&roster->members)) {
        m = ngx_queue_data(ngx_queue_head(&roster->members),
                           ngx_conduit_member_t, queue);
        m->on->end(m, NGX_CONDUIT_ROSTER_DRAIN);
    }

    if (roster->nmembers) {
        ngx_add_timer(&roster->drain_timer,
                      left > NGX_CONDUIT_ROSTER_STEP
                      ? NGX_CONDUIT_ROSTER_STEP : 1);
    }
}
