/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_history_core.h"


/* takes eight bytes at a time; each step multiplies by an odd number */

uint64_t
conduit_history_hash(const void *data, size_t len)
{
    uint64_t              hash, word;
    const unsigned char  *p;

    p = data;
    hash = 0x9e3779b97f4a7c15u ^ len;

    for ( /* void */ ; len; p += sizeof(word)) {
        word = 0;
        memcpy(&word, p, len < sizeof(word) ? len : sizeof(word));

        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;

        if (len <= sizeof(word)) {
            break;
        }

        len -= sizeof(word);
    }

    return hash;
}


int
conduit_history_common(const conduit_history_t *h,
    const conduit_history_answer_t *a, uint64_t *after, size_t *i)
{
    int                             found;
    size_t                          k;
    uint64_t                        s, end;
    conduit_stream_id_t             below;
    const conduit_item_t           *item;
    const conduit_history_entry_t  *entry;

    item = NULL;
    found = 0;
    end = conduit_window_end(&h->window);
    s = conduit_history_oldest(h);

    if (s == end) {
        k = conduit_history_index(a, &h->cursor);

        if (k && conduit_history_is_cursor(h, &a->entries[k - 1])) {
            *i = k - 1;
            *after = conduit_history_begin(h);
            return 1;
        }

        return 0;
    }

    /* the window's oldest items may have been dropped since the question was
       sent */

    below = conduit_history_below(h);

    for (k = conduit_history_index(a, &below);
         k < a->nentries && s < end;
         k++)
    {
        entry = &a->entries[k];

        for ( /* void */ ; s < end; s++) {
            item = conduit_window_item(&h->window, s);

            if (item->kind == CONDUIT_ITEM_ENTRY
                && conduit_stream_id_cmp(&item->id, &entry->id) >= 0)
            {
                break;
            }
        }

        if (s == end || conduit_stream_id_cmp(&item->id, &entry->id) != 0
            || item->hash != entry->hash)
        {
            break;
        }

        found = 1;
        *i = k;
        *after = ++s;
    }

    return found;
}


uint64_t
conduit_history_begin(const conduit_history_t *h)
{
    return h->life_seq > h->window.base ? h->life_seq : h->window.base;
}


uint64_t
conduit_history_oldest(const conduit_history_t *h)
{
    uint64_t  seq, end;

    end = conduit_window_end(&h->window);
    seq = conduit_history_begin(h);

    while (seq < end
           && conduit_window_item(&h->window, seq)->kind != CONDUIT_ITEM_ENTRY)
    {
        seq++;
    }

    return seq;
}


int
conduit_history_is_cursor(const conduit_history_t *h,
    const conduit_history_entry_t *entry)
{
    return conduit_stream_id_cmp(&entry->id, &h->cursor) == 0
           && entry->hash == h->cursor_hash;
}


size_t
conduit_history_index(const conduit_history_answer_t *a,
    const conduit_stream_id_t *id)
{
    size_t  low, high, i;

    low = 0;
    high = a->nentries;

    while (low < high) {
        i = low + (high - low) / 2;

        if (conduit_stream_id_cmp(&a->entries[i].id, id) <= 0) {
            low = i + 1;

        } else {
            high = i;
        }
    }

    return low;
}


conduit_stream_id_t
conduit_history_below(const conduit_history_t *h)
{
    uint64_t             seq;
    conduit_stream_id_t  id;

    seq = conduit_history_oldest(h);

    if (seq == conduit_window_end(&h->window)) {
        return h->floor;
    }

    id = conduit_window_item(&h->window, seq)->id;

    if (conduit_stream_id_cmp(&h->compared, &id) > 0) {

        /* the question did not begin at the window's oldest entry, as such a
           reply was too large: older entries are not compared */

        id = h->compared;
    }

    conduit_stream_id_before(&id);

    return id;
}


int
conduit_history_only_deleted(const conduit_history_t *h,
    const conduit_history_answer_t *a)
{
    size_t               after;
    uint64_t             number;
    conduit_stream_id_t  below;

    below = conduit_history_below(h);
    after = a->nentries - conduit_history_index(a, &h->cursor);

    if (!a->counted
        || after != a->nentries - conduit_history_index(a, &below))
    {
        return 0;
    }

    number = a->added - after;

    /* the largest ID deleted is the cursor's: another stream would have had no
       entry with it to delete */

    if (conduit_stream_id_cmp(&a->max_deleted, &h->cursor) == 0) {
        return !conduit_history_numbered(h) || number >= h->number;
    }

    return conduit_history_numbered(h) && !a->full && number == h->number
           && conduit_stream_id_cmp(&a->max_deleted, &h->cursor) > 0;
}


int
conduit_history_is_short(const conduit_history_t *h,
    const conduit_history_answer_t *a)
{
    size_t  i;

    if (h->busy != CONDUIT_HISTORY_FULL || h->state == CONDUIT_HISTORY_CLAIMED
        || !a->full || !a->counted || conduit_history_is_zero(&h->cursor)
        || conduit_stream_id_cmp(&a->max_deleted, &h->cursor) < 0
        || conduit_stream_id_cmp(&a->oldest, &h->cursor) > 0)
    {
        return 0;
    }

    i = conduit_history_index(a, &h->cursor);

    return i == 0 || !conduit_history_is_cursor(h, &a->entries[i - 1]);
}


const conduit_stream_id_t *
conduit_history_last_message(const conduit_history_t *h)
{
    uint64_t                    seq, first;
    const conduit_item_t       *item;
    const conduit_stream_id_t  *id;

    seq = conduit_window_end(&h->window);
    first = conduit_history_begin(h);

    id = conduit_history_is_zero(&h->floor) ? &h->cursor : &h->floor;

    while (seq > first) {
        item = conduit_window_item(&h->window, --seq);

        if (item->kind != CONDUIT_ITEM_ENTRY) {
            continue;
        }

        if (item->frame != NULL) {
            return &item->id;
        }

        if (conduit_history_is_zero(&h->floor)) {

            /* no entry was seen before the first one */

            id = &item->id;
        }
    }

    return conduit_history_is_zero(&h->message) ? id : &h->message;
}


const char *
conduit_history_other(const conduit_history_t *h,
    const conduit_history_answer_t *a)
{
    uint64_t  number;

    /* in the same stream, entries-added counts all entries that were read, and
       they must have been removed since */

    number = conduit_history_numbered(h)
             ? h->number : !conduit_history_is_zero(&h->cursor);

    if (a->counted && a->added < number) {
        return "has had fewer entries";
    }

    if (conduit_stream_id_cmp(&a->last_id, &h->cursor) < 0
        || conduit_stream_id_cmp(&a->last_id, &h->ahead) < 0)
    {
        return "ends before what was seen of it";
    }

    if (a->length == 0) {
        return NULL;
    }

    if (conduit_stream_id_cmp(&h->cursor, &a->oldest) < 0) {

        if (a->counted && a->added - a->length < number) {
            return "has lost fewer entries than were read";
        }

        if (conduit_history_is_zero(&h->cursor)
            && conduit_stream_id_cmp(&a->oldest, &h->ahead) <= 0)
        {
            return "was empty up to there, and is not";
        }

        return NULL;
    }

    return conduit_history_only_deleted(h, a)
           ? NULL : "has nothing in common with what was read";
}
