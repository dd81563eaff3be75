/* Copyright (C) Conduit for NGINX authors */

/*
 * The listeners of a channel: their turns, and what each is sent next.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_listeners_core.h"


/*
 * The clock is looked at after a listener was removed, and after so many bytes
 * of events.  Each listener counts as some bytes more, because a small write
 * takes about as long as the copying of these.
 */
#define NGX_CONDUIT_LISTENERS_TIMED  8192
#define NGX_CONDUIT_LISTENERS_EACH   1024


static void ngx_conduit_listeners_serve_one(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);
static void ngx_conduit_listeners_pause(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);
static ngx_uint_t ngx_conduit_listeners_batch_done(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l);


ngx_uint_t
ngx_conduit_listeners_serve(ngx_conduit_listeners_t *ls, ngx_uint_t max)
{
    ngx_uint_t  n;

    ls->work = 0;

    for (n = 0; n < max; n++) {

        if (ls->work >= NGX_CONDUIT_LISTENERS_TIMED) {

            if (ngx_conduit_schedule_over(ls->schedule)) {
                break;
            }

            ls->work = 0;
        }

        ls->work += NGX_CONDUIT_LISTENERS_EACH;

        if (!ngx_queue_empty(&ls->ready)) {
            ngx_conduit_listeners_serve_one(ls,
                                    ngx_conduit_listeners_head(&ls->ready));

        } else if (!ngx_queue_empty(&ls->reading)) {
            ngx_conduit_listeners_serve_one(ls,
                                    ngx_conduit_listeners_head(&ls->reading));

        } else {
            break;
        }
    }

    if (ngx_queue_empty(&ls->ready)) {
        ngx_conduit_held_drop_bundle(&ls->held);
        ngx_conduit_listeners_trim(ls, ls->limit);
    }

    if (ngx_queue_empty(&ls->reading)) {
        ngx_conduit_feed_batch_done(ls->feed);
    }

    if (!ngx_queue_empty(&ls->ready) || !ngx_queue_empty(&ls->reading)) {
        ngx_conduit_schedule_run(ls->schedule, &ls->turn);
    }

    return n;
}


static void
ngx_conduit_listeners_serve_one(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    ngx_int_t  rc;

    if (l->place.where != CONDUIT_PLACE_WINDOW
        && l->place.where != CONDUIT_PLACE_BATCH)
    {
        ngx_conduit_listeners_place(ls, l);
        return;
    }

    rc = l->on->send(l);

    if (rc == NGX_DONE) {
        ls->work = NGX_CONDUIT_LISTENERS_TIMED;
        return;
    }

    if (rc == NGX_AGAIN) {

        if (l->place.where == CONDUIT_PLACE_BATCH) {
            ngx_conduit_listeners_pause(ls, l);
        }

        ngx_conduit_listeners_move(ls, l, &ls->blocked);
        return;
    }

    if (l->place.where == CONDUIT_PLACE_BATCH) {
        (void) ngx_conduit_listeners_batch_done(ls, l);
    }

    ngx_conduit_listeners_place(ls, l);
}


/* the batch does not wait for a blocked listener: that remembers its next
   entry, and a later answer will show whether the stream still has it */

static void
ngx_conduit_listeners_pause(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    conduit_place_t       *p;
    conduit_window_t      *batch;
    conduit_stream_id_t   *last, *next;
    const conduit_item_t  *item;

    p = &l->place;

    if (ngx_conduit_listeners_batch_done(ls, l)) {
        return;
    }

    batch = ngx_conduit_feed_batch(ls->feed, &last, &next);

    (void) conduit_place_next(p, ngx_conduit_feed_history(ls->feed), batch,
                              &item);

    conduit_place_unserved(p);

    p->next = item->id;
    p->has_next = 1;
}


/* whether a listener has got all of the batch; if so, places it anew */

static ngx_uint_t
ngx_conduit_listeners_batch_done(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    conduit_window_t      *batch;
    conduit_history_t     *h;
    conduit_stream_id_t   *last, *next;
    const conduit_item_t  *item;

    h = ngx_conduit_feed_history(ls->feed);
    batch = ngx_conduit_feed_batch(ls->feed, &last, &next);

    if (conduit_place_next(&l->place, h, batch, &item) != CONDUIT_PLACE_NONE) {
        return 0;
    }

    conduit_place_batch_done(&l->place, h, last, next);

    return 1;
}


ngx_uint_t
ngx_conduit_listeners_next(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t **frame,
    conduit_place_loss_e *loss)
{
    conduit_place_t       *p;
    conduit_window_t      *batch;
    conduit_history_t     *h;
    conduit_stream_id_t   *last, *next;
    conduit_place_do_e     what;
    const conduit_item_t  *item;

    *frame = NULL;
    *loss = CONDUIT_PLACE_TOLD;

    p = &l->place;
    h = ngx_conduit_feed_history(ls->feed);
    batch = NULL;

    if (p->where == CONDUIT_PLACE_WINDOW) {

        /* after each event of live delivery */

        if (p->seq == conduit_window_end(&h->window)) {
            return 0;
        }

    } else {
        batch = ngx_conduit_feed_batch(ls->feed, &last, &next);
    }

    what = conduit_place_next(p, h, batch, &item);

    if (what == CONDUIT_PLACE_TELL && l->id.ms == 0 && l->id.seq == 0) {

        /* a client without a position gets the oldest entry there is: it has
           lost nothing */

        p->loss = CONDUIT_PLACE_TOLD;
        what = CONDUIT_PLACE_SEND;
    }

    switch (what) {

    case CONDUIT_PLACE_SEND:
        *frame = item->frame;
        ls->work += item->size;
        l->id = item->id;
        l->life = p->life;
        conduit_place_sent(p, item);
        return 1;

    case CONDUIT_PLACE_TELL:
        *loss = p->loss;
        p->loss = CONDUIT_PLACE_TOLD;
        return 1;

    default: /* CONDUIT_PLACE_NONE, CONDUIT_PLACE_READ */
        return 0;
    }
}


ngx_uint_t
ngx_conduit_listeners_sent_bundle(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, uint64_t since)
{
    ngx_conduit_held_count(&ls->held,
                           &ngx_conduit_feed_history(ls->feed)->window,
                           since);

    ls->work += ls->held.bundle->len;
    l->id = ls->held.last->id;
    conduit_place_sent_more(&l->place, ls->held.end, &l->id);

    return ls->held.n;
}


/* while events are held back, growth is not counted: with it, the held events
   could exceed the limit of the window and be dropped before they are sent */

void
ngx_conduit_listeners_grown(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t *frame, size_t bytes)
{
    uint64_t           seq;
    conduit_window_t  *w;

    if (l->place.where != CONDUIT_PLACE_WINDOW || ls->held.coalesce.waits) {
        return;
    }

    w = &ngx_conduit_feed_history(ls->feed)->window;
    seq = l->place.seq - 1;

    if (seq >= w->base && seq < conduit_window_end(w)
        && conduit_window_item(w, seq)->frame == frame)
    {
        conduit_window_grow(w, seq, bytes);
    }
}


ngx_uint_t
ngx_conduit_listeners_more(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    const conduit_item_t  *item;

    return conduit_place_next(&l->place, ngx_conduit_feed_history(ls->feed),
                              NULL, &item)
           != CONDUIT_PLACE_NONE;
}
