/* Copyright (C) Conduit for NGINX authors */

/*
 * Coalescing: a channel holds events back for a short time, and sends them
 * together, as one bundle ("conduit_gateway_coalesce").
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_held.h"


static size_t ngx_conduit_held_measure(ngx_conduit_held_t *held,
    const conduit_window_t *w);
static void ngx_conduit_held_observe(const ngx_conduit_held_t *held,
    const conduit_window_t *w, uint64_t since, uint64_t *cells);


ngx_uint_t
ngx_conduit_held_wait(ngx_conduit_held_t *held,
    ngx_conduit_schedule_t *schedule, const conduit_window_t *w)
{
    if (held->time == 0) {
        return 0;
    }

    switch (conduit_coalesce_look(&held->coalesce, w, ngx_conduit_frame_prompt,
                                  held->window, held->time, ngx_current_msec))
    {

    case CONDUIT_COALESCE_START:
        ngx_conduit_schedule_later(schedule, &held->timeout);
        return 1;

    case CONDUIT_COALESCE_WAIT:
        return 1;

    default: /* CONDUIT_COALESCE_SEND */
        return 0;
    }
}


void
ngx_conduit_held_make_bundle(ngx_conduit_held_t *held,
    const conduit_window_t *w)
{
    size_t                bytes;
    u_char               *p;
    uint64_t              seq;
    ngx_conduit_frame_t  *f;

    if (held->time == 0) {
        return;
    }

    conduit_coalesce_over(&held->coalesce);
    ngx_conduit_schedule_cancel(&held->timeout);
    ngx_conduit_held_drop_bundle(held);

    bytes = ngx_conduit_held_measure(held, w);

    if (held->first != held->last) {
        held->bundle = ngx_conduit_frame_alloc(bytes);
    }

    if (held->bundle == NULL) {
        held->first = NULL;
        held->last = NULL;
        return;
    }

    p = held->bundle->data;

    for (seq = held->from; seq < held->end; seq++) {

        f = conduit_window_item(w, seq)->frame;

        if (f != NULL) {
            p = ngx_cpymem(p, f->data, f->len);
        }
    }

    /* ngx_conduit_held_bundle() compares frames by address: the references keep
       these two frames from being freed, so that no other frame gets their
       address while the bundle exists */

    held->first->refs++;
    held->last->refs++;
}


/* finds the events of a bundle: sets held->first and held->last, without taking
   references, and the members that describe it; returns its size in bytes */

static size_t
ngx_conduit_held_measure(ngx_conduit_held_t *held, const conduit_window_t *w)
{
    size_t                 bytes;
    uint64_t               seq;
    ngx_conduit_frame_t   *f;
    const conduit_item_t  *item;

    bytes = 0;

    held->n = 0;
    held->now = 0;

    for (seq = ngx_max(held->coalesce.from, w->base);
         seq < conduit_window_end(w);
         seq++)
    {

        item = conduit_window_item(w, seq);
        f = item->frame;

        if (item->kind != CONDUIT_ITEM_ENTRY) {
            break;
        }

        if (f == NULL) {
            continue;
        }

        if (f->len > held->max - bytes
            || (held->last != NULL && held->last->end))
        {
            break;
        }

        if (held->first == NULL) {
            held->first = f;
            held->from = seq;
        }

        held->last = f;
        held->end = seq + 1;
        held->n++;
        bytes += f->len;
    }

    return bytes;
}


void
ngx_conduit_held_reset(ngx_conduit_held_t *held, const conduit_window_t *w)
{
    conduit_coalesce_reset(&held->coalesce, w);
    ngx_conduit_held_close(held);
}


ngx_conduit_frame_t *
ngx_conduit_held_bundle(ngx_conduit_held_t *held,
    const ngx_conduit_frame_t *frame, ngx_conduit_frame_t **last)
{
    if (frame != held->first) {
        return NULL;
    }

    *last = held->last;

    return held->bundle;
}


void
ngx_conduit_held_count(ngx_conduit_held_t *held, const conduit_window_t *w,
    uint64_t since)
{
    uint64_t     now, *cells;
    ngx_uint_t   i;
    ngx_time_t  *tp;

    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_EVENTS, held->n);

    cells = ngx_conduit_gateway_stats.slot->cells
            + NGX_CONDUIT_GATEWAY_DELIVERY;

    if (held->first->id.ms < since) {
        ngx_conduit_held_observe(held, w, since, cells);
        return;
    }

    /* all such clients that are served in one millisecond add the same */

    tp = ngx_timeofday();
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    if (now != held->now) {
        held->now = now;

        ngx_memzero(held->delivery, sizeof(held->delivery));
        ngx_conduit_held_observe(held, w, 0, held->delivery);
    }

    for (i = 0; i < CONDUIT_METRICS_CELLS; i++) {
        cells[i] += held->delivery[i];
    }
}


/* adds the events of the bundle, but for those before the time since, to cells
   of delivery_seconds */

static void
ngx_conduit_held_observe(const ngx_conduit_held_t *held,
    const conduit_window_t *w, uint64_t since, uint64_t *cells)
{
    uint64_t               seq;
    const conduit_item_t  *item;

    for (seq = held->from; seq < held->end; seq++) {

        item = conduit_window_item(w, seq);

        if (item->frame != NULL && item->id.ms >= since) {
            ngx_conduit_gateway_delivered(cells, item->id.ms);
        }
    }
}


void
ngx_conduit_held_drop_bundle(ngx_conduit_held_t *held)
{
    if (held->bundle == NULL) {
        return;
    }

    ngx_conduit_frame_release(held->bundle);
    ngx_conduit_frame_release(held->first);
    ngx_conduit_frame_release(held->last);

    held->bundle = NULL;
    held->first = NULL;
    held->last = NULL;
}


void
ngx_conduit_held_close(ngx_conduit_held_t *held)
{
    ngx_conduit_schedule_cancel(&held->timeout);
    ngx_conduit_held_drop_bundle(held);
}
