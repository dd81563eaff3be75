/*
 * A channel: joins a feed with its listeners, and has a turn of the schedule.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_channel.h"
#include "ngx_conduit_feed_core.h"
#include "ngx_conduit_gateway_metrics.h"


struct ngx_conduit_channel_s {
    ngx_conduit_feed_t       feed;
    ngx_conduit_listeners_t  listeners;
    ngx_uint_t               holds;        /* callers that still use it */
};


static void ngx_conduit_channel_release(ngx_conduit_channel_t *ch);
static ngx_uint_t ngx_conduit_channel_turn(void *data, ngx_uint_t max);
static ngx_uint_t ngx_conduit_channel_wants(void *data,
    conduit_stream_id_t *below);
static void ngx_conduit_channel_appended(void *data);
static void ngx_conduit_channel_lost(void *data, conduit_stream_id_t *first);
static void ngx_conduit_channel_gone(void *data, conduit_stream_id_t *last);
static void ngx_conduit_channel_restarted(void *data);
static void ngx_conduit_channel_moved_back(void *data,
    conduit_stream_id_t *last);
static void ngx_conduit_channel_settled(void *data);
static void ngx_conduit_channel_caught_up(void *data);
static void ngx_conduit_channel_outage(void *data);
static void ngx_conduit_channel_failed(void *data);
static void ngx_conduit_channel_released(void *data);


static const ngx_conduit_feed_handlers_t  ngx_conduit_channel_feed = {
    ngx_conduit_channel_wants,
    ngx_conduit_channel_appended,
    ngx_conduit_channel_lost,
    ngx_conduit_channel_gone,
    ngx_conduit_channel_restarted,
    ngx_conduit_channel_moved_back,
    ngx_conduit_channel_settled,
    ngx_conduit_channel_caught_up,
    ngx_conduit_channel_outage,
    ngx_conduit_channel_failed,
    ngx_conduit_channel_released
};


ngx_conduit_channel_t *
ngx_conduit_channel_get(ngx_conduit_hub_t *hub, ngx_str_t *name,
    conduit_stream_id_t *pos)
{
    ngx_str_t                 str;
    ngx_conduit_key_t        *key;
    ngx_conduit_channel_t    *ch;
    ngx_conduit_listeners_t  *ls;

    key = ngx_conduit_shard_find(hub, name);
    if (key != NULL) {
        return ngx_queue_data(key, ngx_conduit_channel_t, feed.key);
    }

    ch = ngx_calloc(sizeof(ngx_conduit_channel_t) + name->len, ngx_cycle->log);
    if (ch == NULL) {
        return NULL;
    }

    str.len = name->len;
    str.data = (u_char *) ch + sizeof(ngx_conduit_channel_t);
    ngx_memcpy(str.data, name->data, name->len);

    ls = &ch->listeners;

    ls->feed = &ch->feed;
    ls->view = &ch->feed.view;
    ls->schedule = &hub->schedule;
    ls->turn.handler = ngx_conduit_channel_turn;
    ls->turn.data = ch;
    ls->limit = hub->settings.window;

    ngx_conduit_listeners_init(ls);

    if (ngx_conduit_feed_open(&ch->feed, hub, &str, pos,
                              &ngx_conduit_channel_feed, ch)
        != NGX_OK)
    {
        ngx_free(ch);
        return NULL;
    }

    hub->nchannels++;
    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_CHANNELS, 1);

    return ch;
}


/* frees a channel that nobody needs and that waits for nothing */

static void
ngx_conduit_channel_release(ngx_conduit_channel_t *ch)
{
    if (ch->listeners.n || ch->holds || ngx_conduit_feed_busy(&ch->feed)) {
        return;
    }

    ch->feed.hub->nchannels--;
    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_CHANNELS, -1);

    ngx_conduit_schedule_cancel(&ch->listeners.turn);
    ngx_conduit_feed_close(&ch->feed);

    ngx_free(ch);
}


ngx_int_t
ngx_conduit_channel_add(ngx_conduit_channel_t *ch, ngx_conduit_listener_t *l,
    ngx_conduit_member_t *m)
{
    ngx_int_t   rc;
    ngx_msec_t  away;

    rc = ngx_conduit_feed_join(&ch->feed, &l->at);

    if (rc == NGX_DONE) {
        ngx_conduit_channel_release(ch);
        return NGX_DONE;
    }

    ngx_conduit_listeners_add(&ch->listeners, l, rc == NGX_AGAIN);
    ngx_conduit_roster_add(&ch->feed.hub->roster, m,
                           ngx_conduit_feed_is_up(&ch->feed, &away));

    if (rc == NGX_AGAIN) {
        return ngx_conduit_feed_seek(&ch->feed, &l->at);
    }

    ngx_conduit_listeners_place(&ch->listeners, l);

    return NGX_OK;
}


void
ngx_conduit_channel_remove(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_member_t *m)
{
    ngx_conduit_listeners_remove(&ch->listeners, l);
    ngx_conduit_roster_remove(&ch->feed.hub->roster, m);

    ngx_conduit_channel_release(ch);
}


void
ngx_conduit_channel_writable(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l)
{
    ngx_conduit_listeners_place(&ch->listeners, l);
}


ngx_uint_t
ngx_conduit_channel_away(ngx_conduit_channel_t *ch, ngx_msec_t *away)
{
    return !ngx_conduit_feed_is_up(&ch->feed, away);
}


static ngx_uint_t
ngx_conduit_channel_turn(void *data, ngx_uint_t max)
{
    ngx_uint_t              n;
    ngx_conduit_channel_t  *ch = data;

    ch->holds++;

    n = ngx_conduit_listeners_serve(&ch->listeners, max);

    ch->holds--;

    ngx_conduit_channel_release(ch);

    return n;
}


/* the handlers of the feed: listeners have a function for each */

static ngx_uint_t
ngx_conduit_channel_wants(void *data, conduit_stream_id_t *below)
{
    ngx_conduit_channel_t  *ch = data;

    return ngx_conduit_listeners_want(&ch->listeners, below);
}


static void
ngx_conduit_channel_appended(void *data)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_appended(&ch->listeners);
}


static void
ngx_conduit_channel_lost(void *data, conduit_stream_id_t *first)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_lost(&ch->listeners, first);
}


static void
ngx_conduit_channel_gone(void *data, conduit_stream_id_t *last)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_gone(&ch->listeners, last);
}


static void
ngx_conduit_channel_restarted(void *data)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_restarted(&ch->listeners);
}


static void
ngx_conduit_channel_moved_back(void *data, conduit_stream_id_t *last)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_moved_back(&ch->listeners, last);
}


static void
ngx_conduit_channel_settled(void *data)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_settled(&ch->listeners);
}


static void
ngx_conduit_channel_caught_up(void *data)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_caught_up(&ch->listeners);
}


static void
ngx_conduit_channel_outage(void *data)
{
    ngx_conduit_channel_t  *ch = data;

    ch->holds++;

    ngx_conduit_listeners_start(&ch->listeners);

    ch->holds--;

    ngx_conduit_channel_release(ch);
}


static void
ngx_conduit_channel_failed(void *data)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_send_away(&ch->listeners);
}


static void
ngx_conduit_channel_released(void *data)
{
    ngx_conduit_channel_release(data);
}
