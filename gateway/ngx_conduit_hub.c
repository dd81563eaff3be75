/* Copyright (C) Conduit for NGINX authors */

/*
 * The hub: what one worker keeps for one deployment of Redis.  This file opens
 * and closes it, and has all channels read at intervals.
 *
 * A worker that was told to quit does not exit while a timer is set, unless the
 * timer is cancelable.  All timers are, except for that of the drain, which is
 * only set while there are clients to disconnect.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "conduit_sse.h"
#include "ngx_conduit_hub.h"
#include "ngx_conduit_probe.h"


/* how many bytes of memory decoding one message may take; they are not kept */
#define NGX_CONDUIT_ARENA_LIMIT     (256 * 1024 * 1024)

/* ms */
#define NGX_CONDUIT_SWEEP_INTERVAL  100


static ngx_uint_t ngx_conduit_hub_same(ngx_str_t *a, ngx_str_t *b);
static void ngx_conduit_hub_sweep_handler(ngx_event_t *ev);
static ngx_uint_t ngx_conduit_hub_any_away(void *data);
static void ngx_conduit_hub_delete_timer(ngx_event_t *ev);


ngx_conduit_hub_t *
ngx_conduit_hub_get(ngx_conf_t *cf, ngx_array_t *hubs,
    ngx_conduit_redis_t *redis, ngx_conduit_gateway_settings_t *settings,
    ngx_conduit_fields_t *fields)
{
    ngx_uint_t           i;
    ngx_conduit_hub_t   *hub, **elts;

    elts = hubs->elts;

    for (i = 0; i < hubs->nelts; i++) {
        if (ngx_conduit_redis_equal(elts[i]->redis, redis)
            && ngx_memcmp(&elts[i]->settings, settings,
                          sizeof(ngx_conduit_gateway_settings_t))
               == 0
            && ngx_conduit_hub_same(&elts[i]->fields.data, &fields->data)
            && ngx_conduit_hub_same(&elts[i]->fields.end, &fields->end))
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
    hub->fields = *fields;
    hub->format = &conduit_formats[settings->format];

    elts = ngx_array_push(hubs);
    if (elts == NULL) {
        return NULL;
    }

    *elts = hub;

    return hub;
}


static ngx_uint_t
ngx_conduit_hub_same(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len && ngx_memcmp(a->data, b->data, a->len) == 0;
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

    ngx_rbtree_init(&hub->keys, &hub->sentinel,
                    ngx_str_rbtree_insert_value);
    ngx_queue_init(&hub->probes);

    ngx_conduit_schedule_init(&hub->schedule, hub->settings.coalesce);

    hub->roster.keepalive = hub->settings.keepalive;
    hub->roster.drain = hub->settings.drain;
    hub->roster.data = hub;
    hub->roster.any_away = ngx_conduit_hub_any_away;

    ngx_conduit_roster_init(&hub->roster);

    ngx_memzero(&hub->sweep_timer, sizeof(ngx_event_t));
    hub->sweep_timer.data = hub;
    hub->sweep_timer.handler = ngx_conduit_hub_sweep_handler;
    hub->sweep_timer.log = ngx_cycle->log;
    hub->sweep_timer.cancelable = 1;

    ngx_add_timer(&hub->sweep_timer, hub->settings.poll
                                     ? hub->settings.poll
                                     : NGX_CONDUIT_SWEEP_INTERVAL);

    return NGX_OK;
}


ngx_uint_t
ngx_conduit_hub_quits(ngx_conduit_hub_t *hub)
{
    return ngx_exiting || (hub->opened && hub->draining);
}


ngx_msec_t
ngx_conduit_hub_patience(ngx_conduit_hub_t *hub)
{
    return hub->settings.outage ? hub->settings.outage : hub->redis->timeout;
}


void
ngx_conduit_hub_end(ngx_conduit_hub_t *hub)
{
    ngx_conduit_probe_t  *p;

    if (!hub->opened) {
        return;
    }

    hub->draining = 1;

    ngx_conduit_roster_end_all(&hub->roster);

    while (!ngx_queue_empty(&hub->probes)) {
        p = ngx_queue_data(ngx_queue_head(&hub->probes), ngx_conduit_probe_t,
                           all);

        ngx_conduit_probes_remove(p);
        p->handler(p, NULL);
    }
}


void
ngx_conduit_hub_close(ngx_conduit_hub_t *hub)
{
    ngx_uint_t  i;

    if (!hub->opened) {
        return;
    }

    /* this drops the replies that channels wait for, which frees the remaining
       channels */

    ngx_conduit_shard_close_all(hub);

    if (hub->nchannels) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "conduit: %ui channels were not closed on exit",
                      hub->nchannels);
    }

    ngx_conduit_roster_close(&hub->roster);
    ngx_conduit_schedule_close(&hub->schedule);
    ngx_conduit_hub_delete_timer(&hub->sweep_timer);
    ngx_conduit_hub_delete_timer(&hub->canary_timer);

    conduit_arena_free(hub->arena);
    hub->arena = NULL;
    conduit_buf_free(&hub->scratch);
    conduit_buf_free(&hub->hello);

    for (i = 0; i < 2; i++) {
        if (hub->tails[i] != NULL) {
            ngx_conduit_frame_release(hub->tails[i]);
            hub->tails[i] = NULL;
        }
    }

    hub->opened = 0;
}


static void
ngx_conduit_hub_delete_timer(ngx_event_t *ev)
{
    if (ev->timer_set) {
        ngx_del_timer(ev);
    }
}


/*
 * Has each channel read at intervals, even if its doorbell did not ring, so
 * that the entries of a lost ring are found within a cycle.  Without doorbells,
 * this is the poll.
 */

static void
ngx_conduit_hub_sweep_handler(ngx_event_t *ev)
{
    ngx_msec_t          interval;
    ngx_conduit_hub_t  *hub = ev->data;

    interval = hub->settings.poll ? hub->settings.poll
                                  : NGX_CONDUIT_SWEEP_INTERVAL;

    ngx_add_timer(&hub->sweep_timer, interval);

    ngx_conduit_shard_sweep(hub, interval);
}


/* handler of the roster: whether any server is down */

static ngx_uint_t
ngx_conduit_hub_any_away(void *data)
{
    return ngx_conduit_shard_any_away(data);
}


void
ngx_conduit_hub_drain(ngx_conduit_hub_t *hub)
{
    if (!hub->opened) {
        return;
    }

    hub->draining = 1;

    ngx_conduit_roster_drain(&hub->roster);
}
