/* Copyright (C) Conduit for NGINX authors */

#include <stdlib.h>
#include <string.h>

#include "conduit_window.h"

/* items of the first allocation: most channels need few */
#define CONDUIT_WINDOW_FIRST  4


static void conduit_window_release(conduit_window_t *w, size_t i, size_t n);


int
conduit_window_append(conduit_window_t *w, const conduit_item_t *item)
{
    size_t           cap;
    conduit_item_t  *items;

    if (w->head + w->n == w->cap) {

        if (w->head > w->n) {

            /* more than half of the array is free, at the front */

            memmove(w->items, w->items + w->head, w->n * sizeof(*items));
            w->head = 0;

        } else {
            cap = w->cap ? w->cap * 2 : CONDUIT_WINDOW_FIRST;

            items = realloc(w->items, cap * sizeof(*items));
            if (items == NULL) {
                return -1;
            }

            w->items = items;
            w->cap = cap;
        }
    }

    w->items[w->head + w->n] = *item;
    w->bytes += item->size;
    w->n++;

    return 0;
}


uint64_t
conduit_window_end(const conduit_window_t *w)
{
    return w->base + w->n;
}


conduit_item_t *
conduit_window_item(const conduit_window_t *w, uint64_t seq)
{
    return &w->items[w->head + (size_t) (seq - w->base)];
}


void
conduit_window_grow(conduit_window_t *w, uint64_t seq, size_t bytes)
{
    conduit_item_t  *item;

    item = conduit_window_item(w, seq);

    if (bytes > UINT32_MAX - item->size) {
        bytes = UINT32_MAX - item->size;
    }

    item->size += (uint32_t) bytes;
    w->bytes += bytes;
}


uint64_t
conduit_window_find(const conduit_window_t *w, uint64_t from, uint64_t to,
    const conduit_stream_id_t *id)
{
    uint64_t               seq;
    const conduit_item_t  *item;

    /* the entry, if the window has it, is just before the first item after its
       ID */

    seq = conduit_window_after(w, from, to, id);

    if (seq <= from || seq <= w->base) {
        return CONDUIT_WINDOW_NONE;
    }

    item = conduit_window_item(w, seq - 1);

    if (item->kind != CONDUIT_ITEM_ENTRY
        || conduit_stream_id_cmp(&item->id, id) != 0)
    {
        return CONDUIT_WINDOW_NONE;
    }

    return seq - 1;
}


/* a GAP has the ID of the entry that follows it, so that a position is either
   before both or after both */

uint64_t
conduit_window_after(const conduit_window_t *w, uint64_t from, uint64_t to,
    const conduit_stream_id_t *id)
{
    uint64_t  low, high, seq;

    low = from > w->base ? from : w->base;
    high = to;

    while (low < high) {
        seq = low + (high - low) / 2;

        if (conduit_stream_id_cmp(&conduit_window_item(w, seq)->id, id) <= 0) {
            low = seq + 1;

        } else {
            high = seq;
        }
    }

    return low;
}


size_t
conduit_window_excess(const conduit_window_t *w, size_t bytes)
{
    size_t  n, rest;

    rest = w->bytes;

    for (n = 0; n < w->n && rest > bytes; n++) {
        rest -= w->items[w->head + n].size;
    }

    return n == w->n && conduit_window_open(w) ? n - 1 : n;
}


int
conduit_window_open(const conduit_window_t *w)
{
    return w->n && w->items[w->head + w->n - 1].kind == CONDUIT_ITEM_GAP;
}


void
conduit_window_drop(conduit_window_t *w, size_t n)
{
    conduit_window_release(w, 0, n);

    w->head += n;
    w->n -= n;
    w->base += n;

    if (w->n == 0) {
        w->head = 0;
    }
}


void
conduit_window_cut(conduit_window_t *w, uint64_t seq)
{
    size_t  keep;

    keep = (size_t) (seq - w->base);

    conduit_window_release(w, keep, w->n - keep);

    w->n = keep;
}


void
conduit_window_clear(conduit_window_t *w)
{
    conduit_window_drop(w, w->n);

    free(w->items);
    w->items = NULL;
    w->cap = 0;
}


static void
conduit_window_release(conduit_window_t *w, size_t i, size_t n)
{
    conduit_item_t  *item;

    for ( /* void */ ; n; n--, i++) {
        item = &w->items[w->head + i];
        w->bytes -= item->size;

        if (item->frame != NULL && w->release != NULL) {
            w->release(item->frame);
        }
    }
}
