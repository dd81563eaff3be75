/* Copyright (C) Conduit for NGINX authors */

/*
 * The sweep reads all keys in turn, in case a ring was lost.  Where the
 * doorbell can't ring (it polls, without CLIENT TRACKING), the poll reads them
 * instead.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_hub.h"


/* ms */
#define NGX_CONDUIT_SWEEP_CYCLE          20000
/* shorter: while a slot moves, a key that does not exist yet is read on the old
   server; when it is then created on the new one, no server reports that */
#define NGX_CONDUIT_SWEEP_CYCLE_CLUSTER  5000
/* at most so many reads a second by one worker, over all servers of a hub (each
   channel has one key): with more keys the cycle gets longer, which is no harm,
   as the sweep is only a safety net for lost rings, which are rare.  The poll
   has no such limit */
#define NGX_CONDUIT_SWEEP_RATE           1000

/* after this many polls in a row without an entry a key is polled half as
   often, after twice as many a quarter as often, after four times as many an
   eighth as often */
#define NGX_CONDUIT_EMPTY_POLLS          16


static void ngx_conduit_shard_sweep_one(ngx_conduit_shard_t *shard,
    void *data);
static ngx_uint_t ngx_conduit_shard_poll_due(ngx_conduit_shard_t *shard,
    ngx_conduit_key_t *key);


void
ngx_conduit_shard_sweep(ngx_conduit_hub_t *hub, ngx_msec_t interval)
{
    ngx_conduit_shard_all(hub, ngx_conduit_shard_sweep_one, &interval);
}


static void
ngx_conduit_shard_sweep_one(ngx_conduit_shard_t *shard, void *data)
{
    ngx_msec_t              interval = *(ngx_msec_t *) data;
    ngx_uint_t              n;
    ngx_msec_t              cycle;
    ngx_queue_t            *q;
    ngx_conduit_key_t      *key;

    /* when the server can be read again, all keys are */

    if (!shard->doorbell.is_up) {
        return;
    }

    cycle = (shard->hub->redis->scheme == CONDUIT_REDIS_CLUSTER)
            ? NGX_CONDUIT_SWEEP_CYCLE_CLUSTER : NGX_CONDUIT_SWEEP_CYCLE;
    cycle = ngx_max(cycle,
                    shard->hub->nchannels * 1000 / NGX_CONDUIT_SWEEP_RATE);

    if (shard->doorbell.polling) {
        cycle = interval;
        shard->round++;
    }

    /* in keys x ms: each ms adds nkeys, and each key that is read takes a
       cycle; the remainder is kept for the next sweep */

    shard->sweep_due += shard->nkeys * interval;
    n = ngx_min(shard->sweep_due / cycle, shard->nkeys);
    shard->sweep_due %= cycle;

    while (n--) {
        q = ngx_queue_head(&shard->keys);
        key = ngx_queue_data(q, ngx_conduit_key_t, queue);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&shard->keys, q);

        if (!shard->doorbell.polling) {
            ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_SWEEPS);
            key->on->ring(key, NGX_CONDUIT_RING_SWEEP);

        } else if (ngx_conduit_shard_poll_due(shard, key)) {
            key->on->ring(key, NGX_CONDUIT_RING_POLL);
        }
    }
}


/* whether a key is due in this round of the poll: a key that has had no new
   entries for a while is due less often */

static ngx_uint_t
ngx_conduit_shard_poll_due(ngx_conduit_shard_t *shard, ngx_conduit_key_t *key)
{
    ngx_uint_t  every, empty;

    every = 1;

    for (empty = key->empty_polls;
         empty >= NGX_CONDUIT_EMPTY_POLLS && every < 8;
         empty /= 2)
    {
        every *= 2;
    }

    return shard->round % every == 0;
}
