/*
 * A feed: its life, what its shard tells it, and positions that come.  Its
 * replies are taken in ngx_conduit_feed_read.c and ngx_conduit_feed_look.c.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_feed_core.h"


static ngx_conduit_feed_t *ngx_conduit_feed_of(ngx_conduit_key_t *key);
static void ngx_conduit_feed_key_ring(ngx_conduit_key_t *key,
    ngx_conduit_ring_e why);
static void ngx_conduit_feed_key_ask(ngx_conduit_key_t *key);
static void ngx_conduit_feed_key_again(ngx_conduit_key_t *key);
static void ngx_conduit_feed_key_moved(ngx_conduit_key_t *key);
static void ngx_conduit_feed_key_down(ngx_conduit_key_t *key);
static ngx_uint_t ngx_conduit_feed_retry(void *data, ngx_uint_t max);
static void ngx_conduit_feed_ask(ngx_conduit_feed_t *feed);
static ngx_uint_t ngx_conduit_feed_before_all(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at);


static const ngx_conduit_key_handlers_t  ngx_conduit_feed_key = {
    ngx_conduit_feed_key_ring,
    ngx_conduit_feed_key_ask,
    ngx_conduit_feed_key_again,
    ngx_conduit_feed_key_moved,
    ngx_conduit_feed_key_down
};

static const ngx_conduit_feed_replies_t  ngx_conduit_feed_replies = {
    ngx_conduit_feed_read_reply,
    ngx_conduit_feed_batch_reply,
    ngx_conduit_feed_info_reply
};


static ngx_conduit_feed_t *
ngx_conduit_feed_of(ngx_conduit_key_t *key)
{
    return ngx_queue_data(key, ngx_conduit_feed_t, key);
}


static void
ngx_conduit_feed_key_ring(ngx_conduit_key_t *key, ngx_conduit_ring_e why)
{
    ngx_conduit_feed_t  *feed;

    feed = ngx_conduit_feed_of(key);

    if (why == NGX_CONDUIT_RING_SWEEP) {
        feed->swept = !feed->reading;
    }

    ngx_conduit_feed_ring(feed, why == NGX_CONDUIT_RING_BELL);
}


static void
ngx_conduit_feed_key_ask(ngx_conduit_key_t *key)
{
    ngx_conduit_feed_ask(ngx_conduit_feed_of(key));
}


/* within a reply: servers send it from one to the other, perhaps for long */

static void
ngx_conduit_feed_key_again(ngx_conduit_key_t *key)
{
    ngx_conduit_feed_t  *feed;

    feed = ngx_conduit_feed_of(key);

    ngx_conduit_schedule_retry(&feed->hub->schedule, &feed->retry);

    feed->on->outage(feed->data);
}


/* another server may have another number of entries added */

static void
ngx_conduit_feed_key_moved(ngx_conduit_key_t *key)
{
    ngx_conduit_feed_of(key)->numbered = 0;
}


static void
ngx_conduit_feed_key_down(ngx_conduit_key_t *key)
{
    ngx_conduit_feed_t  *feed;

    feed = ngx_conduit_feed_of(key);

    feed->on->outage(feed->data);
}


static ngx_uint_t
ngx_conduit_feed_retry(void *data, ngx_uint_t max)
{
    ngx_conduit_feed_ask(data);

    return 0;
}


/* asks all that is wanted: the server is back, or a question had failed */

static void
ngx_conduit_feed_ask(ngx_conduit_feed_t *feed)
{
    feed->paused = 0;

    /* read as if the key had rung: an empty reply is followed by XINFO */

    feed->rung = 1;

    if (feed->reading) {
        feed->dirty = 1;

    } else {
        ngx_conduit_feed_read(feed);
    }

    ngx_conduit_feed_catch_up(feed);

    if (ngx_conduit_feed_wants(feed) & NGX_CONDUIT_WANT_SETTLE) {
        ngx_conduit_feed_look_up(feed);
    }
}


ngx_int_t
ngx_conduit_feed_open(ngx_conduit_feed_t *feed, ngx_conduit_hub_t *hub,
    ngx_str_t *name, conduit_stream_id_t *pos,
    const ngx_conduit_feed_handlers_t *on, void *data)
{
    feed->hub = hub;
    feed->on = on;
    feed->data = data;
    feed->replies = &ngx_conduit_feed_replies;
    feed->retry.handler = ngx_conduit_feed_retry;
    feed->retry.data = feed;
    feed->view.base = 1;
    feed->view.floor = *pos;
    feed->cursor = *pos;
    feed->known = (conduit_stream_id_cmp(pos, &ngx_conduit_oldest) == 0);

    feed->key.node.str = *name;
    feed->key.on = &ngx_conduit_feed_key;

    if (ngx_conduit_shard_add(hub, &feed->key) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" opened at %uL-%uL",
                   name, pos->ms, pos->seq);

    ngx_conduit_feed_read(feed);

    return NGX_OK;
}


void
ngx_conduit_feed_close(ngx_conduit_feed_t *feed)
{
    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" closed", &feed->key.node.str);

    ngx_conduit_schedule_cancel(&feed->retry);
    ngx_conduit_shard_remove(&feed->key);

    ngx_conduit_frames_clear(&feed->view.window);
    ngx_conduit_feed_drop_batch(feed);
}


ngx_uint_t
ngx_conduit_feed_busy(ngx_conduit_feed_t *feed)
{
    return feed->holds || feed->reading || feed->catching || feed->probing;
}


ngx_uint_t
ngx_conduit_feed_is_up(ngx_conduit_feed_t *feed, ngx_msec_t *away)
{
    *away = ngx_current_msec - feed->key.shard->down_since;

    return feed->key.shard->doorbell.is_up;
}


ngx_int_t
ngx_conduit_feed_join(ngx_conduit_feed_t *feed, ngx_conduit_position_t *at)
{
    ngx_int_t   at_cursor;
    ngx_uint_t  stop;

    if (!at->resumed) {
        return NGX_OK;
    }

    ngx_conduit_feed_lead_back(feed, at);
    at_cursor = conduit_stream_id_cmp(&at->id, &feed->cursor);

    stop = (feed->hub->settings.after_end == NGX_CONDUIT_AFTER_END_STOP
            && feed->ended && at_cursor == 0);

    if (stop && feed->known && !feed->reading
        && feed->key.shard->doorbell.is_up)
    {
        return NGX_DONE;
    }

    /* before a 204, Redis is asked whether something follows the END */

    if (!feed->known || at_cursor > 0 || stop
        || conduit_stream_id_cmp(&at->id, &feed->view.floor) < 0
        || ngx_conduit_feed_before_all(feed, at))
    {
        return NGX_AGAIN;
    }

    return NGX_OK;
}


/* the window starts with the oldest entry there was, and the position is before
   it: some in between may have been trimmed */

static ngx_uint_t
ngx_conduit_feed_before_all(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at)
{
    return conduit_stream_id_cmp(&feed->view.floor, &ngx_conduit_oldest) == 0
           && conduit_stream_id_cmp(&at->id, &ngx_conduit_oldest) != 0
           && feed->view.window.nelts
           && conduit_stream_id_cmp(&at->id, &feed->view.window.elts[0]->id)
              < 0;
}


ngx_int_t
ngx_conduit_feed_seek(ngx_conduit_feed_t *feed, ngx_conduit_position_t *at)
{
    /* a look-up that is under way may be older than the position */

    at->probe = feed->probes + 1;

    if (feed->key.shard->doorbell.is_up) {
        ngx_conduit_feed_look_up(feed);
        return feed->probing ? NGX_AGAIN : NGX_OK;
    }

    /* a worker's first request comes before its links are up */

    return ngx_conduit_shard_connecting(feed->key.shard) ? NGX_AGAIN : NGX_OK;
}


void
ngx_conduit_feed_served(ngx_conduit_feed_t *feed)
{
    if (!feed->catching) {
        ngx_conduit_feed_drop_batch(feed);
        ngx_conduit_feed_catch_up(feed);
    }
}
