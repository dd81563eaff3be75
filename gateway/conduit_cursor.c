/* Copyright (C) Conduit for NGINX authors */

#include "conduit_history_core.h"


static void conduit_history_close_gap(conduit_history_t *h,
    const conduit_stream_id_t *id);


void
conduit_history_init(conduit_history_t *h, const conduit_stream_id_t *pos,
    void (*release)(void *frame))
{
    h->window.release = release;
    h->life = 1;
    h->base_life = 1;

    if (pos != NULL) {
        h->cursor = *pos;
        h->floor = *pos;
        h->state = CONDUIT_HISTORY_CLAIMED;
    }
}


void
conduit_history_free(conduit_history_t *h)
{
    conduit_window_clear(&h->window);
}


int
conduit_history_ring(conduit_history_t *h)
{
    if (h->busy == CONDUIT_HISTORY_IDLE) {
        return 1;
    }

    h->dirty = 1;

    return 0;
}


void
conduit_history_ask(conduit_history_t *h, int rung, size_t max_overlap,
    conduit_history_question_t *q)
{
    uint64_t  seq, end;

    h->dirty = 0;

    /* while the number is not known, the last entry of an answer is not taken,
       so one more is asked for */

    q->id = h->cursor;
    q->overlap = 1;
    q->extra = 1 + !conduit_history_numbered(h);
    q->serial = ++h->asked;

    if (h->state == CONDUIT_HISTORY_SURE
        && !(rung && conduit_history_is_zero(&h->cursor)))
    {
        conduit_stream_id_before(&q->id);
        q->kind = CONDUIT_HISTORY_FAST;
        h->busy = CONDUIT_HISTORY_FAST;
        return;
    }

    q->kind = CONDUIT_HISTORY_FULL;
    h->busy = CONDUIT_HISTORY_FULL;

    /* ask from the oldest entry that the window has of this life */

    end = conduit_window_end(&h->window);
    seq = conduit_history_oldest(h);

    if (end - seq > max_overlap) {
        seq = end - max_overlap;
    }

    for ( /* void */ ; seq < end; seq++) {

        if (conduit_window_item(&h->window, seq)->kind == CONDUIT_ITEM_ENTRY) {
            q->id = conduit_window_item(&h->window, seq)->id;
            q->overlap = end - seq;
            q->extra = q->overlap + !conduit_history_numbered(h);
            break;
        }
    }
}


int
conduit_history_take(conduit_history_t *h,
    const conduit_history_entry_t *entry, void *frame, uint32_t size)
{
    conduit_item_t  item;

    item.frame = frame;
    item.id = entry->id;
    item.hash = entry->hash;
    item.size = frame ? size : CONDUIT_HISTORY_MARK;
    item.kind = CONDUIT_ITEM_ENTRY;

    if (conduit_window_append(&h->window, &item) != 0) {
        return -1;
    }

    conduit_history_close_gap(h, &entry->id);

    if (conduit_history_is_zero(&h->first)) {
        h->first = entry->id;
    }

    if (h->state == CONDUIT_HISTORY_CLAIMED
        && !conduit_history_is_zero(&h->cursor))
    {
        /* whether there are entries between the claimed position and this one
           is not known: the window begins here */

        h->floor = entry->id;
        conduit_stream_id_before(&h->floor);
    }

    if (frame != NULL) {
        h->message = entry->id;
    }

    h->cursor = entry->id;
    h->cursor_hash = entry->hash;
    h->next.id = conduit_history_zero;
    h->state = CONDUIT_HISTORY_SURE;
    h->number++;

    return 0;
}


/*
 * Sets the ID of a GAP at the end of the window to that of the entry that
 * follows it.  That may not be the first entry of the answer that led to the
 * GAP: if memory ran out, the next answer may begin lower.
 */

static void
conduit_history_close_gap(conduit_history_t *h, const conduit_stream_id_t *id)
{
    uint64_t         seq;
    conduit_item_t  *item;

    for (seq = conduit_window_end(&h->window) - 1;
         seq > h->window.base;
         seq--)
    {
        item = conduit_window_item(&h->window, seq - 1);

        if (item->kind != CONDUIT_ITEM_GAP) {
            break;
        }

        item->id = *id;
    }
}


conduit_history_next_e
conduit_history_taken(conduit_history_t *h,
    const conduit_history_answer_t *a)
{
    size_t  i;

    h->busy = CONDUIT_HISTORY_IDLE;

    i = conduit_history_index(a, &h->cursor);

    if (i < a->nentries) {
        h->next = a->entries[i];
    }

    if (a->full) {
        return CONDUIT_HISTORY_NEXT_ASK;
    }

    if (a->kind == CONDUIT_HISTORY_FAST
        && conduit_stream_id_cmp(&h->cursor, &h->ahead) < 0)
    {

        /* the stream ended before "ahead": FULL tells whether entries were
           rolled back or deleted */

        h->state = CONDUIT_HISTORY_SUSPECT;
        return CONDUIT_HISTORY_NEXT_ASK;
    }

    if (h->number_state == CONDUIT_HISTORY_NUMBER_UNKNOWN) {

        /* FULL tells the number at the end of the stream */

        h->state = CONDUIT_HISTORY_SUSPECT;
        return CONDUIT_HISTORY_NEXT_ASK;
    }

    return h->dirty ? CONDUIT_HISTORY_NEXT_ASK : CONDUIT_HISTORY_NEXT_IDLE;
}


void
conduit_history_failed(conduit_history_t *h)
{
    h->busy = CONDUIT_HISTORY_WAIT;

    if (h->state == CONDUIT_HISTORY_SURE) {
        h->state = CONDUIT_HISTORY_SUSPECT;
    }
}


int
conduit_history_retry(conduit_history_t *h)
{
    if (h->busy != CONDUIT_HISTORY_WAIT) {
        return 0;
    }

    h->busy = CONDUIT_HISTORY_IDLE;

    return 1;
}


void
conduit_history_unsent(conduit_history_t *h)
{
    conduit_history_failed(h);
    h->busy = CONDUIT_HISTORY_IDLE;
}


void
conduit_history_drop(conduit_history_t *h, size_t n)
{
    uint64_t               seq;
    const conduit_item_t  *item;

    for (seq = h->window.base; seq < h->window.base + n; seq++) {
        item = conduit_window_item(&h->window, seq);

        if (item->kind == CONDUIT_ITEM_LIFE) {
            h->base_life = item->id.ms;

        } else if (seq >= h->life_seq) {
            h->floor = item->id;

            if (item->kind == CONDUIT_ITEM_GAP) {

                /* entries are lost before this ID: a smaller position is below
                   the window, where an answer judges it */

                conduit_stream_id_before(&h->floor);

                if (conduit_stream_id_cmp(&h->cursor, &h->floor) < 0) {

                    /* another GAP follows this one, in front of an entry that
                       is not read yet */

                    h->floor = h->cursor;
                }
            }
        }
    }

    conduit_window_drop(&h->window, n);
}
