/* Copyright (C) Conduit for NGINX authors */

/*
 * A channel: connects a feed with its listeners, and has the schedule give them
 * turns.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_channel.h"
#include "ngx_conduit_feed_core.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_resuming.h"


/* clients of a queue that ngx_conduit_channel_get_state() counts, at most */
#define NGX_CONDUIT_CHANNEL_LOOK  1000


struct ngx_conduit_channel_s {
    ngx_conduit_feed_t       feed;
    ngx_conduit_listeners_t  listeners;
    ngx_conduit_resuming_t   resuming;
    ngx_queue_t              askers;
    ngx_conduit_probes_t     probes;
    ngx_uint_t               refs;         /* calls under way that still use
                                              it */
};


static void ngx_conduit_channel_release(ngx_conduit_channel_t *ch);
static ngx_uint_t ngx_conduit_channel_count(ngx_queue_t *queue,
    conduit_stream_id_t *slowest);
static ngx_conduit_asker_t *ngx_conduit_channel_asker(
    ngx_conduit_channel_t *ch, ngx_queue_t *list);
static ngx_uint_t ngx_conduit_channel_turn(void *data, ngx_uint_t max);
static ngx_uint_t ngx_conduit_channel_later(void *data, ngx_uint_t max);
static ngx_uint_t ngx_conduit_channel_below(void *data,
    conduit_stream_id_t *pos);
static void ngx_conduit_channel_appended(void *data);
static void ngx_conduit_channel_changed(void *data,
    conduit_history_change_e change);
static void ngx_conduit_channel_judged(void *data,
    const conduit_history_answer_t *answer, ngx_uint_t batch);
static void ngx_conduit_channel_settled(void *data, uint32_t serial,
    ngx_uint_t resting);
static ngx_uint_t ngx_conduit_channel_seeks(void *data,
    conduit_start_t *start);
static void ngx_conduit_channel_found(void *data,
    const conduit_stream_id_t *pos);
static void ngx_conduit_channel_outage(void *data);
static void ngx_conduit_channel_readable(void *data);
static void ngx_conduit_channel_failed(void *data);
static void ngx_conduit_channel_released(void *data);


static const ngx_conduit_feed_handlers_t  ngx_conduit_channel_feed = {
    ngx_conduit_channel_below,
    ngx_conduit_channel_appended,
    ngx_conduit_channel_changed,
    ngx_conduit_channel_judged,
    ngx_conduit_channel_settled,
    ngx_conduit_channel_seeks,
    ngx_conduit_channel_found,
    ngx_conduit_channel_outage,
    ngx_conduit_channel_readable,
    ngx_conduit_channel_failed,
    ngx_conduit_channel_released
};


ngx_conduit_channel_t *
ngx_conduit_channel_get(ngx_conduit_hub_t *hub, ngx_str_t *name,
    ngx_str_t *label)
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
    ls->schedule = &hub->schedule;
    ls->turn.handler = ngx_conduit_channel_turn;
    ls->turn.data = ch;
    ls->held.timeout.handler = ngx_conduit_channel_later;
    ls->held.timeout.data = ch;
    ls->held.time = hub->settings.coalesce;
    ls->held.window = hub->settings.window;
    ls->held.max = hub->settings.buffer_size;
    ls->limit = hub->settings.window;
    ls->after_end = hub->settings.after_end;

    ngx_conduit_listeners_init(ls);
    ngx_conduit_resuming_init(&ch->resuming, ls);
    ngx_queue_init(&ch->askers);

    ch->probes.feed = &ch->feed;
    ch->probes.released = ngx_conduit_channel_released;
    ch->probes.data = ch;

    ngx_conduit_probes_init(&ch->probes);

    ch->feed.key.label = label ? *label : str;

    if (ngx_conduit_feed_open(&ch->feed, hub, &str, &ngx_conduit_channel_feed,
                              ch)
        != NGX_OK)
    {
        ngx_free(ch);
        return NULL;
    }

    hub->nchannels++;
    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_CHANNELS, 1);

    return ch;
}


/* frees a channel, unless it has listeners or probes, or a call still uses it;
   a reply that is still to come is ignored */

static void
ngx_conduit_channel_release(ngx_conduit_channel_t *ch)
{
    if (ch->listeners.n || ch->refs || ngx_conduit_feed_in_use(&ch->feed)
        || ngx_conduit_probes_in_use(&ch->probes))
    {
        return;
    }

    ch->feed.hub->nchannels--;
    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_CHANNELS, -1);

    ngx_conduit_schedule_cancel(&ch->listeners.turn);
    ngx_conduit_held_close(&ch->listeners.held);
    ngx_conduit_probes_close(&ch->probes);
    ngx_conduit_feed_close(&ch->feed);

    ngx_free(ch);
}


ngx_int_t
ngx_conduit_channel_add(ngx_conduit_channel_t *ch, ngx_conduit_listener_t *l,
    ngx_conduit_member_t *m)
{
    ngx_int_t   rc;
    ngx_msec_t  away;

    if (l->resumes) {
        ngx_conduit_resuming_add(&ch->resuming, l);
        rc = NGX_AGAIN;

    } else {
        rc = ngx_conduit_listeners_add(&ch->listeners, l);
    }

    if (rc == NGX_DONE) {
        ngx_conduit_channel_release(ch);
        return NGX_DONE;
    }

    ngx_conduit_roster_add(&ch->feed.hub->roster, m,
                           ngx_conduit_feed_is_up(&ch->feed, &away));

    if (!l->resumes) {
        ngx_conduit_listeners_place(&ch->listeners, l);
    }

    ngx_conduit_feed_start(&ch->feed);

    /* if an answer is not expected soon, the response header is sent at once */

    return rc == NGX_AGAIN && ngx_conduit_feed_answers(&ch->feed) ? NGX_AGAIN
                                                                  : NGX_OK;
}


void
ngx_conduit_channel_remove(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_member_t *m)
{
    ngx_conduit_listeners_remove(&ch->listeners, l);
    ngx_conduit_roster_remove(&ch->feed.hub->roster, m);

    ngx_conduit_channel_release(ch);
}


uint32_t
ngx_conduit_channel_asked(ngx_conduit_channel_t *ch)
{
    return ngx_conduit_feed_history(&ch->feed)->asked;
}


void
ngx_conduit_channel_ask(ngx_conduit_channel_t *ch, ngx_conduit_asker_t *a)
{
    a->asking = 1;
    ngx_queue_insert_tail(&ch->askers, &a->queue);

    /* if no question was sent before it came, the first one, sent for its
       listener, is enough */

    if (a->since != 0) {
        ngx_conduit_feed_renew(&ch->feed);
    }
}


void
ngx_conduit_channel_unask(ngx_conduit_asker_t *a)
{
    if (a->asking) {
        a->asking = 0;
        ngx_queue_remove(&a->queue);
    }
}


ngx_uint_t
ngx_conduit_channel_fresh(ngx_conduit_channel_t *ch)
{
    return ngx_conduit_feed_is_fresh(&ch->feed);
}


ngx_uint_t
ngx_conduit_channel_answers(ngx_conduit_channel_t *ch)
{
    return ngx_conduit_feed_answers(&ch->feed);
}


void
ngx_conduit_channel_wake(ngx_conduit_channel_t *ch, ngx_conduit_listener_t *l)
{
    if (l->place.where == CONDUIT_PLACE_WINDOW && !l->seeking) {
        ngx_conduit_listeners_place(&ch->listeners, l);
    }
}


/* puts the first asker of a list, made by ngx_conduit_schedule_take(), back
   into the channel's queue, from which its handler can remove it, and returns
   it */

static ngx_conduit_asker_t *
ngx_conduit_channel_asker(ngx_conduit_channel_t *ch, ngx_queue_t *list)
{
    ngx_conduit_asker_t  *a;

    a = ngx_queue_data(ngx_queue_head(list), ngx_conduit_asker_t, queue);

    ngx_queue_remove(&a->queue);
    ngx_queue_insert_tail(&ch->askers, &a->queue);

    return a;
}


void
ngx_conduit_channel_probe(ngx_conduit_channel_t *ch, ngx_conduit_probe_t *p)
{
    ngx_conduit_probes_add(&ch->probes, p);
}


void
ngx_conduit_channel_unprobe(ngx_conduit_channel_t *ch, ngx_conduit_probe_t *p)
{
    ngx_conduit_probes_remove(p);
    ngx_conduit_channel_release(ch);
}


void
ngx_conduit_channel_writable(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l)
{
    ngx_conduit_listeners_place(&ch->listeners, l);
}


ngx_uint_t
ngx_conduit_channel_next(ngx_conduit_channel_t *ch, ngx_conduit_listener_t *l,
    ngx_conduit_frame_t **frame, conduit_place_loss_e *loss)
{
    return ngx_conduit_listeners_next(&ch->listeners, l, frame, loss);
}


ngx_uint_t
ngx_conduit_channel_has_all(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l)
{
    return l->place.where == CONDUIT_PLACE_WINDOW
           && !ngx_conduit_listeners_more(&ch->listeners, l);
}


ngx_conduit_frame_t *
ngx_conduit_channel_bundle(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t *frame,
    ngx_conduit_frame_t **last)
{
    /* a batch may end between the first and the last event of a bundle */

    if (l->place.where != CONDUIT_PLACE_WINDOW) {
        return NULL;
    }

    return ngx_conduit_held_bundle(&ch->listeners.held, frame, last);
}


ngx_uint_t
ngx_conduit_channel_sent_bundle(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, uint64_t since)
{
    return ngx_conduit_listeners_sent_bundle(&ch->listeners, l, since);
}


void
ngx_conduit_channel_grown(ngx_conduit_channel_t *ch, ngx_conduit_listener_t *l,
    ngx_conduit_frame_t *frame, size_t bytes)
{
    ngx_conduit_listeners_grown(&ch->listeners, l, frame, bytes);
}


ngx_uint_t
ngx_conduit_channel_at_end(ngx_conduit_channel_t *ch, ngx_conduit_listener_t *l)
{
    conduit_place_t    *p;
    conduit_history_t  *h;

    p = &l->place;
    h = ngx_conduit_feed_history(&ch->feed);

    if (p->life != h->life || ch->feed.full
        || ngx_conduit_feed_takes(&ch->feed))
    {
        return 0;
    }

    return (p->where == CONDUIT_PLACE_WINDOW
            && p->seq == conduit_window_end(&h->window))
           || (p->where == CONDUIT_PLACE_BATCH
               && conduit_stream_id_cmp(&p->pos, &h->cursor) >= 0);
}


ngx_uint_t
ngx_conduit_channel_waits(ngx_conduit_channel_t *ch)
{
    return ch->listeners.held.coalesce.waits;
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

    ch->refs++;

    n = ngx_conduit_listeners_serve(&ch->listeners, max);

    ch->refs--;

    ngx_conduit_channel_release(ch);

    return n;
}


static ngx_uint_t
ngx_conduit_channel_later(void *data, ngx_uint_t max)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_send_held(&ch->listeners);

    return 0;
}


/* the handlers of the feed: each calls the functions of the same name for
   listeners, clients that resume, askers or probes */

static ngx_uint_t
ngx_conduit_channel_below(void *data, conduit_stream_id_t *pos)
{
    ngx_conduit_channel_t  *ch = data;

    return ngx_conduit_listeners_below(&ch->listeners, pos);
}


static void
ngx_conduit_channel_appended(void *data)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_appended(&ch->listeners);
}


static void
ngx_conduit_channel_changed(void *data, conduit_history_change_e change)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_changed(&ch->listeners, change);
}


static void
ngx_conduit_channel_judged(void *data, const conduit_history_answer_t *answer,
    ngx_uint_t batch)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_judged(&ch->listeners, answer, batch);
}


static ngx_uint_t
ngx_conduit_channel_seeks(void *data, conduit_start_t *start)
{
    ngx_conduit_channel_t  *ch = data;

    return ngx_conduit_listeners_seeks(&ch->listeners, start);
}


static void
ngx_conduit_channel_found(void *data, const conduit_stream_id_t *pos)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_found(&ch->listeners, pos);
}


static void
ngx_conduit_channel_settled(void *data, uint32_t serial, ngx_uint_t resting)
{
    ngx_queue_t             list;
    ngx_conduit_asker_t    *a;
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_resuming_settled(&ch->resuming, serial, resting);

    ngx_conduit_schedule_take(&list, &ch->askers);

    while (!ngx_queue_empty(&list)) {
        a = ngx_conduit_channel_asker(ch, &list);

        if ((int32_t) (serial - a->since) > 0) {
            ngx_conduit_channel_unask(a);
            a->on->caught_up(a);
        }
    }
}


static void
ngx_conduit_channel_outage(void *data)
{
    ngx_queue_t             list;
    ngx_conduit_asker_t    *a;
    ngx_conduit_channel_t  *ch = data;

    ch->refs++;

    ngx_conduit_listeners_start(&ch->listeners);
    ngx_conduit_resuming_start(&ch->resuming);

    ngx_conduit_schedule_take(&list, &ch->askers);

    while (!ngx_queue_empty(&list)) {
        a = ngx_conduit_channel_asker(ch, &list);
        a->on->outage(a);
    }

    ch->refs--;

    ngx_conduit_channel_release(ch);
}


static void
ngx_conduit_channel_readable(void *data)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_probes_resume(&ch->probes);
}


static void
ngx_conduit_channel_failed(void *data)
{
    ngx_conduit_channel_t  *ch = data;

    ngx_conduit_listeners_send_away(&ch->listeners);
    ngx_conduit_resuming_send_away(&ch->resuming);
}


static void
ngx_conduit_channel_released(void *data)
{
    ngx_conduit_channel_release(data);
}


void
ngx_conduit_channel_get_state(ngx_conduit_key_t *key,
    ngx_conduit_channel_state_t *state)
{
    ngx_conduit_channel_t    *ch;
    ngx_conduit_listeners_t  *ls;

    ch = ngx_queue_data(key, ngx_conduit_channel_t, feed.key);
    ls = &ch->listeners;

    state->stream = &key->node.str;
    state->clients = ls->n;
    state->last = ch->feed.history.cursor;
    state->slowest = state->last;

    state->blocked = ngx_conduit_channel_count(&ls->blocked, &state->slowest);
    state->behind = state->blocked
                    + ngx_conduit_channel_count(&ls->seeking,
                                                &state->slowest)
                    + ngx_conduit_channel_count(&ls->ready, &state->slowest)
                    + ngx_conduit_channel_count(&ls->below, &state->slowest)
                    + ngx_conduit_channel_count(&ls->reading,
                                                &state->slowest);
}


static ngx_uint_t
ngx_conduit_channel_count(ngx_queue_t *queue, conduit_stream_id_t *slowest)
{
    ngx_uint_t               n;
    ngx_queue_t             *q;
    conduit_stream_id_t     *id;
    ngx_conduit_listener_t  *l;

    n = 0;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue) && n < NGX_CONDUIT_CHANNEL_LOOK;
         q = ngx_queue_next(q))
    {
        l = ngx_queue_data(q, ngx_conduit_listener_t, queue);
        id = &l->id;

        if (conduit_stream_id_cmp(id, slowest) < 0) {
            *slowest = *id;
        }

        n++;
    }

    return n;
}
