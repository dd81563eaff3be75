/*
 * The hub: what one worker keeps for one deployment of Redis.  Owns the
 * channels and every timer of the gateway; nothing here is per connection.
 *
 * Timers keep a worker that was told to quit alive: all of them are cancelable
 * but the drain's, which exists as long as there are clients to move.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "conduit_sse.h"
#include "ngx_conduit_gateway.h"
#include "ngx_conduit_gateway_metrics.h"


/* subscribers served in one turn of the event loop: about a millisecond */
#define NGX_CONDUIT_SLICE           128

/* bytes that decoding one message may take; none is kept */
#define NGX_CONDUIT_ARENA_LIMIT     (256 * 1024 * 1024)

/* ms */
#define NGX_CONDUIT_RETRY_INTERVAL  500
#define NGX_CONDUIT_SWEEP_INTERVAL  100
#define NGX_CONDUIT_CHECK_INTERVAL  200
#define NGX_CONDUIT_DRAIN_INTERVAL  20


static void ngx_conduit_hub_timer(ngx_conduit_hub_t *hub, ngx_event_t *ev,
    ngx_event_handler_pt handler, ngx_uint_t cancelable);
static void ngx_conduit_hub_run_handler(ngx_event_t *ev);
static void ngx_conduit_hub_retry_handler(ngx_event_t *ev);
static void ngx_conduit_hub_keepalive_handler(ngx_event_t *ev);
static void ngx_conduit_hub_sweep_handler(ngx_event_t *ev);
static void ngx_conduit_hub_sweep(ngx_conduit_shard_t *shard, void *data);
static void ngx_conduit_hub_check_handler(ngx_event_t *ev);
static void ngx_conduit_hub_check_shard(ngx_conduit_shard_t *shard,
    void *data);
static ngx_uint_t ngx_conduit_hub_outage(ngx_conduit_hub_t *hub,
    ngx_conduit_sub_t *sub);
static void ngx_conduit_hub_drain_handler(ngx_event_t *ev);
static void ngx_conduit_hub_delete_timers(ngx_conduit_hub_t *hub);


ngx_conduit_hub_t *
ngx_conduit_hub_get(ngx_conf_t *cf, ngx_array_t *hubs,
    ngx_conduit_redis_t *redis, ngx_conduit_gateway_settings_t *settings)
{
    ngx_uint_t           i;
    ngx_conduit_hub_t   *hub, **elts;

    elts = hubs->elts;

    for (i = 0; i < hubs->nelts; i++) {
        if (ngx_conduit_redis_equal(elts[i]->redis, redis)
            && ngx_memcmp(&elts[i]->settings, settings,
                          sizeof(ngx_conduit_gateway_settings_t))
               == 0)
        {
            return elts[i];
        }
    }

    hub = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_hub_t));
    if (hub == NULL) {
        return NULL;
    }

    hub->redis = redis;
    hub->settings = *settings;

    elts = ngx_array_push(hubs);
    if (elts == NULL) {
        return NULL;
    }

    *elts = hub;

    return hub;
}


ngx_int_t
ngx_conduit_hub_open(ngx_conduit_hub_t *hub)
{
    if (hub->opened) {
        return NGX_OK;
    }

    conduit_buf_reset(&hub->hello);
    conduit_sse_write_retry(hub->settings.retry, &hub->hello);

    if (hub->hello.failed) {
        return NGX_ERROR;
    }

    hub->arena = conduit_arena_create(NGX_CONDUIT_ARENA_LIMIT);
    if (hub->arena == NULL) {
        return NGX_ERROR;
    }

    if (ngx_conduit_shard_init(hub) != NGX_OK) {
        conduit_arena_free(hub->arena);
        hub->arena = NULL;
        return NGX_ERROR;
    }

    hub->opened = 1;

    ngx_rbtree_init(&hub->channels, &hub->sentinel,
                    ngx_str_rbtree_insert_value);

    ngx_queue_init(&hub->run);
    ngx_queue_init(&hub->retry);
    ngx_queue_init(&hub->idle);

    ngx_conduit_hub_timer(hub, &hub->run_event, ngx_conduit_hub_run_handler,
                          1);
    ngx_conduit_hub_timer(hub, &hub->retry_timer,
                          ngx_conduit_hub_retry_handler, 1);
    ngx_conduit_hub_timer(hub, &hub->keepalive_timer,
                          ngx_conduit_hub_keepalive_handler, 1);
    ngx_conduit_hub_timer(hub, &hub->sweep_timer,
                          ngx_conduit_hub_sweep_handler, 1);
    ngx_conduit_hub_timer(hub, &hub->check_timer,
                          ngx_conduit_hub_check_handler, 1);
    ngx_conduit_hub_timer(hub, &hub->drain_timer,
                          ngx_conduit_hub_drain_handler, 0);

    ngx_add_timer(&hub->sweep_timer, hub->settings.poll
                                     ? hub->settings.poll
                                     : NGX_CONDUIT_SWEEP_INTERVAL);

    return NGX_OK;
}


static void
ngx_conduit_hub_timer(ngx_conduit_hub_t *hub, ngx_event_t *ev,
    ngx_event_handler_pt handler, ngx_uint_t cancelable)
{
    ngx_memzero(ev, sizeof(ngx_event_t));

    ev->data = hub;
    ev->handler = handler;
    ev->log = ngx_cycle->log;
    ev->cancelable = cancelable;
}


void
ngx_conduit_hub_close(ngx_conduit_hub_t *hub)
{
    ngx_queue_t        *q;
    ngx_conduit_sub_t  *sub;

    if (!hub->opened) {
        return;
    }

    hub->draining = 1;

    while (!ngx_queue_empty(&hub->idle)) {
        q = ngx_queue_head(&hub->idle);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, idle);
        ngx_conduit_sub_end(sub, NGX_CONDUIT_CLOSE_DRAIN);
    }

    /* the replies that channels wait for end here, and with them the rest of
       the channels */

    ngx_conduit_shard_close_all(hub);

    if (hub->nchannels) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "conduit: %ui channels left over", hub->nchannels);
    }

    ngx_conduit_hub_delete_timers(hub);

    conduit_arena_free(hub->arena);
    hub->arena = NULL;
    conduit_buf_free(&hub->scratch);
    conduit_buf_free(&hub->hello);

    hub->opened = 0;
}


static void
ngx_conduit_hub_delete_timers(ngx_conduit_hub_t *hub)
{
    ngx_uint_t    i;
    ngx_event_t  *timers[6];

    timers[0] = &hub->retry_timer;
    timers[1] = &hub->keepalive_timer;
    timers[2] = &hub->sweep_timer;
    timers[3] = &hub->check_timer;
    timers[4] = &hub->drain_timer;
    timers[5] = &hub->canary_timer;

    for (i = 0; i < 6; i++) {
        if (timers[i]->timer_set) {
            ngx_del_timer(timers[i]);
        }
    }

    if (hub->run_event.posted) {
        ngx_delete_posted_event(&hub->run_event);
    }
}


void
ngx_conduit_hub_run(ngx_conduit_hub_t *hub, ngx_conduit_channel_t *ch)
{
    if (!ch->running) {
        ch->running = 1;
        ngx_queue_insert_tail(&hub->run, &ch->run);
    }

    if (!hub->serving && !hub->run_event.posted) {
        ngx_post_event(&hub->run_event, &ngx_posted_events);
    }
}


/*
 * One slice of the work: further ones come after the sockets were looked at, so
 * that a large channel delays neither another one nor another request.
 */

static void
ngx_conduit_hub_run_handler(ngx_event_t *ev)
{
    ngx_uint_t              left;
    ngx_queue_t            *q;
    ngx_conduit_hub_t      *hub = ev->data;
    ngx_conduit_channel_t  *ch;

    left = NGX_CONDUIT_SLICE;

    /* channels that want more put themselves at the end of the queue */

    hub->serving = 1;

    while (left && !ngx_queue_empty(&hub->run)) {

        q = ngx_queue_head(&hub->run);
        ch = ngx_queue_data(q, ngx_conduit_channel_t, run);

        ngx_queue_remove(q);
        ch->running = 0;

        left -= ngx_conduit_channel_serve(ch, left);
    }

    hub->serving = 0;

    if (!ngx_queue_empty(&hub->run)) {
        ngx_post_event(&hub->run_event, &ngx_posted_next_events);
    }
}


void
ngx_conduit_hub_retry(ngx_conduit_hub_t *hub, ngx_conduit_channel_t *ch)
{
    if (!ch->retrying) {
        ch->retrying = 1;
        ngx_queue_insert_tail(&hub->retry, &ch->retry);
    }

    if (!hub->retry_timer.timer_set) {
        ngx_add_timer(&hub->retry_timer, NGX_CONDUIT_RETRY_INTERVAL);
    }
}


static void
ngx_conduit_hub_retry_handler(ngx_event_t *ev)
{
    ngx_queue_t             list, *q;
    ngx_conduit_hub_t      *hub = ev->data;
    ngx_conduit_channel_t  *ch;

    ngx_queue_init(&list);

    if (!ngx_queue_empty(&hub->retry)) {
        ngx_queue_add(&list, &hub->retry);
        ngx_queue_init(&hub->retry);
    }

    while (!ngx_queue_empty(&list)) {

        q = ngx_queue_head(&list);
        ch = ngx_queue_data(q, ngx_conduit_channel_t, retry);

        ngx_queue_remove(q);
        ch->retrying = 0;

        ngx_conduit_channel_ask(ch);
    }
}


void
ngx_conduit_hub_sub_added(ngx_conduit_hub_t *hub, ngx_conduit_sub_t *sub)
{
    ngx_msec_t  keepalive;

    hub->nsubs++;
    hub->nlimited += sub->limited;

    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_SUBSCRIBERS, 1);

    sub->written = ngx_current_msec;
    ngx_queue_insert_tail(&hub->idle, &sub->idle);

    keepalive = hub->settings.keepalive;

    if (keepalive && !hub->keepalive_timer.timer_set) {
        ngx_add_timer(&hub->keepalive_timer, keepalive);
    }

    if (!sub->channel->shard->doorbell.is_up || hub->nlimited) {
        ngx_conduit_hub_check(hub);
    }
}


void
ngx_conduit_hub_sub_written(ngx_conduit_hub_t *hub, ngx_conduit_sub_t *sub)
{
    sub->written = ngx_current_msec;

    ngx_queue_remove(&sub->idle);
    ngx_queue_insert_tail(&hub->idle, &sub->idle);
}


void
ngx_conduit_hub_sub_removed(ngx_conduit_hub_t *hub, ngx_conduit_sub_t *sub)
{
    hub->nsubs--;
    hub->nlimited -= sub->limited;

    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_SUBSCRIBERS, -1);
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_CLOSED + sub->close);

    ngx_queue_remove(&sub->idle);

    if (hub->nsubs == 0 && hub->drain_timer.timer_set) {
        ngx_del_timer(&hub->drain_timer);
    }
}


/* the queue is in the order of the last writes: the head is due first */

static void
ngx_conduit_hub_keepalive_handler(ngx_event_t *ev)
{
    ngx_uint_t          n;
    ngx_msec_t          idle, keepalive;
    ngx_queue_t        *q;
    ngx_conduit_hub_t  *hub = ev->data;
    ngx_conduit_sub_t  *sub;

    keepalive = hub->settings.keepalive;

    for (n = 0; !ngx_queue_empty(&hub->idle); n++) {

        q = ngx_queue_head(&hub->idle);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, idle);
        idle = ngx_current_msec - sub->written;

        if (idle < keepalive) {

            /* those who are due soon are served together: a wake-up costs more
               than a comment */

            ngx_add_timer(&hub->keepalive_timer,
                          keepalive - idle + keepalive / 64);
            return;
        }

        if (n == NGX_CONDUIT_SLICE) {
            ngx_add_timer(&hub->keepalive_timer, 1);
            return;
        }

        /* before the write: a subscriber may go with it */

        ngx_conduit_hub_sub_written(hub, sub);
        ngx_conduit_sub_ping(sub);
    }
}


/*
 * Asks for every channel now and then, whether its bell rang or not: within a
 * cycle a lost ring is made good.  Without a bell, this is the poll.
 */

static void
ngx_conduit_hub_sweep_handler(ngx_event_t *ev)
{
    ngx_msec_t          interval;
    ngx_conduit_hub_t  *hub = ev->data;

    interval = hub->settings.poll ? hub->settings.poll
                                  : NGX_CONDUIT_SWEEP_INTERVAL;

    ngx_add_timer(&hub->sweep_timer, interval);

    ngx_conduit_shard_all(hub, ngx_conduit_hub_sweep, &interval);
}


static void
ngx_conduit_hub_sweep(ngx_conduit_shard_t *shard, void *data)
{
    ngx_msec_t  *interval = data;

    ngx_conduit_shard_sweep(shard, *interval);
}


void
ngx_conduit_hub_check(ngx_conduit_hub_t *hub)
{
    if (hub->nsubs && !hub->check_timer.timer_set) {
        ngx_add_timer(&hub->check_timer, NGX_CONDUIT_CHECK_INTERVAL);
    }
}


/* ends those whose time is over, and those whose server stays away */

static void
ngx_conduit_hub_check_handler(ngx_event_t *ev)
{
    ngx_uint_t          n, down;
    ngx_queue_t         due, *q, *next;
    ngx_conduit_hub_t  *hub = ev->data;
    ngx_conduit_sub_t  *sub;

    ngx_queue_init(&due);

    down = 0;
    ngx_conduit_shard_all(hub, ngx_conduit_hub_check_shard, &down);

    n = 0;

    for (q = ngx_queue_head(&hub->idle);
         q != ngx_queue_sentinel(&hub->idle) && n < NGX_CONDUIT_SLICE;
         q = next)
    {
        next = ngx_queue_next(q);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, idle);

        if ((down && ngx_conduit_hub_outage(hub, sub))
            || (sub->limited
                && (ngx_msec_int_t) (sub->deadline - ngx_current_msec) <= 0))
        {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&due, q);
            n++;
        }
    }

    while (!ngx_queue_empty(&due)) {
        q = ngx_queue_head(&due);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, idle);
        ngx_conduit_sub_end(sub, ngx_conduit_hub_outage(hub, sub)
                                 ? NGX_CONDUIT_CLOSE_OUTAGE : sub->limit);
    }

    if (hub->nsubs && (down || hub->nlimited)) {
        ngx_add_timer(&hub->check_timer,
                      n == NGX_CONDUIT_SLICE ? 1 : NGX_CONDUIT_CHECK_INTERVAL);
    }
}


/* those who wait for Redis before their header do so for a moment only */

static void
ngx_conduit_hub_check_shard(ngx_conduit_shard_t *shard, void *data)
{
    ngx_uint_t  *down = data;

    if (shard->doorbell.is_up || shard->nchannels == 0) {
        return;
    }

    *down = 1;

    if (!shard->impatient && !ngx_conduit_shard_connecting(shard)) {
        shard->impatient = 1;
        ngx_conduit_shard_each(shard, ngx_conduit_channel_down);
    }
}


/*
 * Whether a subscriber's server was away for too long.  Those who are told to
 * ask the application for a new token go over the time of a drain, each at a
 * moment of its own, as not all may ask at once.
 */

static ngx_uint_t
ngx_conduit_hub_outage(ngx_conduit_hub_t *hub, ngx_conduit_sub_t *sub)
{
    uintptr_t             address;
    ngx_msec_t            away, moment;
    ngx_conduit_shard_t  *shard;

    shard = sub->channel->shard;
    away = ngx_current_msec - shard->down_since;

    if (shard->doorbell.is_up || away < hub->settings.outage) {
        return 0;
    }

    if (hub->settings.drain == 0
        || !ngx_conduit_sub_told(sub, NGX_CONDUIT_OUTAGE_RETRY))
    {
        return 1;
    }

    address = (uintptr_t) sub;
    moment = ngx_murmur_hash2((u_char *) &address, sizeof(uintptr_t))
             % hub->settings.drain;

    return away - hub->settings.outage >= moment;
}


void
ngx_conduit_hub_drain(ngx_conduit_hub_t *hub)
{
    if (!hub->opened) {
        return;
    }

    hub->draining = 1;

    if (hub->nsubs == 0) {
        return;
    }

    hub->drain_until = ngx_current_msec + hub->settings.drain;

    ngx_add_timer(&hub->drain_timer, 1);
}


/* ends as many as keeps the rest even over the time that is left */

static void
ngx_conduit_hub_drain_handler(ngx_event_t *ev)
{
    ngx_uint_t          n;
    ngx_queue_t        *q;
    ngx_msec_int_t      left;
    ngx_conduit_hub_t  *hub = ev->data;
    ngx_conduit_sub_t  *sub;

    left = hub->drain_until - ngx_current_msec;

    if (left > NGX_CONDUIT_DRAIN_INTERVAL) {
        n = (hub->nsubs * NGX_CONDUIT_DRAIN_INTERVAL + ngx_random() % left)
            / left;

    } else {
        n = NGX_CONDUIT_SLICE;
    }

    while (n-- && !ngx_queue_empty(&hub->idle)) {
        q = ngx_queue_head(&hub->idle);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, idle);
        ngx_conduit_sub_end(sub, NGX_CONDUIT_CLOSE_DRAIN);
    }

    if (hub->nsubs) {
        ngx_add_timer(&hub->drain_timer,
                      left > NGX_CONDUIT_DRAIN_INTERVAL
                      ? NGX_CONDUIT_DRAIN_INTERVAL : 1);
    }
}
