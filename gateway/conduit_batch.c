/* Copyright (C) Conduit for NGINX authors */

#include "conduit_history_core.h"


static int conduit_history_same(conduit_history_t *h,
    const conduit_history_answer_t *a);
static int conduit_history_has_entry(const conduit_history_t *h,
    const conduit_history_entry_t *entry);
static int conduit_history_had_all(const conduit_history_t *h,
    const conduit_stream_id_t *pos);
static int conduit_history_had_past(const conduit_history_t *h,
    const conduit_stream_id_t *pos);
static int conduit_history_rolled_back(const conduit_history_t *h,
    const conduit_stream_id_t *pos);
static conduit_history_verdict_e conduit_history_judge_before(
    const conduit_history_answer_t *a, const conduit_stream_id_t *pos);
static conduit_history_verdict_e conduit_history_judge_inside(
    const conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_stream_id_t *pos);


void
conduit_history_ask_batch(conduit_history_t *h, const conduit_stream_id_t *pos,
    conduit_history_question_t *q)
{
    q->kind = CONDUIT_HISTORY_FULL;
    q->id = *pos;
    q->overlap = 1;
    q->extra = 2;
    q->serial = ++h->asked;
}


int
conduit_history_agrees(conduit_history_t *h, const conduit_history_answer_t *a)
{
    if (h->state <= CONDUIT_HISTORY_CLAIMED) {
        return 0;
    }

    if (!conduit_history_same(h, a)) {
        h->state = CONDUIT_HISTORY_SUSPECT;
        return 0;
    }

    if (a->last_id.ms != UINT64_MAX
        && conduit_stream_id_cmp(&a->last_id, &h->cursor) > 0
        && conduit_stream_id_cmp(&a->last_id, &h->ahead) > 0)
    {
        h->ahead = a->last_id;
    }

    if (conduit_history_is_zero(&h->cursor) && !conduit_history_numbered(h)
        && (a->counted || a->missing))
    {
        /* the stream is empty: by the number, it will be found out if entries
           are added and trimmed after this, before they are read */

        h->number = a->added;
        h->number_state = CONDUIT_HISTORY_NUMBER_KNOWN;
    }

    return 1;
}


static int
conduit_history_same(conduit_history_t *h, const conduit_history_answer_t *a)
{
    int                             common;
    size_t                          i, above;
    conduit_stream_id_t             below;
    const conduit_history_entry_t  *entry;

    if (conduit_history_is_zero(&h->cursor)) {

        /* no entry was read yet: an answer without entries agrees */

        return a->missing || a->length == 0;
    }

    if (a->missing || conduit_stream_id_cmp(&a->last_id, &h->cursor) < 0
        || (a->counted && conduit_history_numbered(h)
            && a->added < h->number))
    {
        return 0;
    }

    below = conduit_history_below(h);
    above = conduit_history_index(a, &below);
    common = (above && conduit_history_is_cursor(h, &a->entries[above - 1]))
             || (a->has_tail && conduit_history_is_cursor(h, &a->tail));

    /* they must have an entry in common, and the answer must have none from
       "below" up to the cursor that the window lacks */

    for (i = above; i < a->nentries + a->has_tail; i++) {
        entry = i < a->nentries ? &a->entries[i] : &a->tail;

        if (conduit_stream_id_cmp(&entry->id, &below) <= 0
            || conduit_stream_id_cmp(&entry->id, &h->cursor) > 0)
        {
            break;
        }

        if (!conduit_history_has_entry(h, entry)) {
            return 0;
        }

        common = 1;
    }

    if (common) {
        return 1;
    }

    /* the answer ends below the window; or it has reached the end of a stream
       whose last entries were deleted */

    return above == a->nentries
           && (a->full || a->length == 0
               || conduit_history_only_deleted(h, a));
}


static int
conduit_history_has_entry(const conduit_history_t *h,
    const conduit_history_entry_t *entry)
{
    uint64_t  seq;

    seq = conduit_window_find(&h->window, h->life_seq,
                              conduit_window_end(&h->window), &entry->id);

    return conduit_history_is_cursor(h, entry)
           || (seq != CONDUIT_WINDOW_NONE
               && conduit_window_item(&h->window, seq)->hash == entry->hash);
}


int
conduit_history_has_later(const conduit_history_t *h,
    const conduit_history_answer_t *a)
{
    const conduit_history_entry_t  *newest;

    newest = a->nentries ? &a->entries[a->nentries - 1] : &a->tail;

    return conduit_stream_id_cmp(&newest->id, &h->cursor) > 0;
}


int
conduit_history_batch(const conduit_history_t *h,
    const conduit_history_answer_t *a, size_t *n, conduit_stream_id_t *last,
    conduit_stream_id_t *next)
{
    /* a batch ends at the cursor: later entries are sent from the window */

    *n = conduit_history_index(a, &h->cursor);
    *last = a->from;

    if (*n == a->nentries && a->full && *n > 1) {
        --*n;
    }

    if (*n) {
        *last = a->entries[*n - 1].id;
    }

    if (*n < a->nentries) {
        *next = a->entries[*n].id;
        return 1;
    }

    if (!a->full && conduit_stream_id_cmp(last, &h->floor) < 0) {

        /* no entry is left below the window */

        *last = h->floor;
    }

    return 0;
}


void
conduit_history_batch_cut(const conduit_history_t *h, conduit_window_t *batch,
    conduit_stream_id_t *last, conduit_stream_id_t *next)
{
    conduit_window_cut(batch,
                       conduit_window_after(batch, batch->base,
                                            conduit_window_end(batch),
                                            &h->cursor));

    if (conduit_stream_id_cmp(last, &h->cursor) > 0) {
        *last = h->cursor;
    }

    if (conduit_stream_id_cmp(next, &h->cursor) > 0) {
        *next = conduit_history_zero;
    }
}


int
conduit_history_batch_leave(const conduit_history_t *h, size_t n,
    const conduit_stream_id_t *last, conduit_stream_id_t *next)
{
    uint64_t               seq, end;
    const conduit_item_t  *item;

    end = h->window.base + n;

    if (end <= h->life_seq || conduit_stream_id_cmp(last, &h->floor) < 0) {
        return 0;
    }

    seq = conduit_window_after(&h->window, h->life_seq, end, last);

    if (seq == end) {
        return 0;
    }

    item = conduit_window_item(&h->window, seq);
    *next = item->id;

    if (item->kind == CONDUIT_ITEM_GAP) {

        /* the entry after the batch is lost: the smallest ID it can have had
           stands for it */

        *next = *last;
        next->seq++;
        next->ms += (next->seq == 0);
    }

    return 1;
}


conduit_history_verdict_e
conduit_history_judge(const conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_stream_id_t *pos,
    const conduit_stream_id_t *next)
{
    int  future;

    if (next != NULL && !a->missing
        && (a->length == 0 || conduit_stream_id_cmp(&a->oldest, next) > 0))
    {
        /* the entry that followed the position was trimmed */

        return CONDUIT_HISTORY_TRIMMED;
    }

    if (next != NULL || conduit_history_is_zero(pos)) {

        /* a full answer may end before the first entry after the position */

        return a->full && conduit_history_index(a, pos) == a->nentries
               ? CONDUIT_HISTORY_AGAIN : CONDUIT_HISTORY_OK;
    }

    future = a->missing || conduit_stream_id_cmp(&a->last_id, pos) < 0;

    if (!future && a->length
        && conduit_stream_id_cmp(&a->oldest, pos) <= 0)
    {
        return conduit_history_judge_inside(h, a, pos);
    }

    if (conduit_history_rolled_back(h, pos)) {
        *pos = h->rollback_from;
        return CONDUIT_HISTORY_AGAIN;
    }

    if (!future && conduit_history_had_all(h, pos)) {
        return CONDUIT_HISTORY_OK;
    }

    if (conduit_history_had_past(h, pos)) {
        *pos = conduit_history_zero;
        return CONDUIT_HISTORY_OK;
    }

    if (future) {
        *pos = conduit_history_zero;

        /* a stream that has ended is not sent again: the client waits for what
           may follow its END */

        if (a->ended) {
            *pos = a->has_tail ? a->tail.id : a->entries[a->nentries - 1].id;
        }

        return CONDUIT_HISTORY_GONE;
    }

    return conduit_history_judge_before(a, pos);
}


/* all entries of the stream, if any, are after the position */

static conduit_history_verdict_e
conduit_history_judge_before(const conduit_history_answer_t *a,
    const conduit_stream_id_t *pos)
{
    if (conduit_stream_id_cmp(&a->last_id, pos) == 0) {
        return CONDUIT_HISTORY_OK;
    }

    if (a->counted && a->added == a->length) {
        return CONDUIT_HISTORY_GONE;
    }

    if (a->counted && a->added - a->length == 1
        && conduit_stream_id_cmp(&a->max_deleted, pos) == 0)
    {
        return CONDUIT_HISTORY_OK;
    }

    return CONDUIT_HISTORY_TRIMMED;
}


/* the stream has entries up to the position, and its last-generated-id is not
   less */

static conduit_history_verdict_e
conduit_history_judge_inside(const conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_stream_id_t *pos)
{
    int                             last;
    size_t                          i;
    const conduit_history_entry_t  *entry;

    i = conduit_history_index(a, pos);

    if (i == a->nentries && a->full) {
        return CONDUIT_HISTORY_AGAIN;
    }

    entry = i ? &a->entries[i - 1] : (a->has_tail ? &a->tail : NULL);
    last = i == a->nentries && a->ended;

    if (entry != NULL && conduit_stream_id_cmp(&entry->id, pos) == 0) {
        return last ? CONDUIT_HISTORY_END : CONDUIT_HISTORY_OK;
    }

    if (conduit_history_rolled_back(h, pos)) {
        *pos = h->rollback_from;
        return CONDUIT_HISTORY_AGAIN;
    }

    /* its entry is missing among older ones, so it was not trimmed: it was
       deleted, or the position is of another life */

    if (conduit_history_had_past(h, pos)) {
        *pos = conduit_history_zero;
        return CONDUIT_HISTORY_OK;
    }

    if (a->counted && conduit_stream_id_cmp(&a->max_deleted, pos) < 0) {
        return CONDUIT_HISTORY_GONE;
    }

    return last ? CONDUIT_HISTORY_END : CONDUIT_HISTORY_OK;
}


/*
 * Whether a subscriber at this position had all that was seen of the stream: it
 * is that of the last message, or the cursor.
 */

static int
conduit_history_had_all(const conduit_history_t *h,
    const conduit_stream_id_t *pos)
{
    return conduit_stream_id_cmp(pos, conduit_history_last_message(h)) == 0
           || conduit_stream_id_cmp(pos, &h->cursor) == 0;
}


/* whether a subscriber at this position had all of the life before this one */

static int
conduit_history_had_past(const conduit_history_t *h,
    const conduit_stream_id_t *pos)
{
    return conduit_stream_id_cmp(pos, &h->past_from) == 0
           || conduit_stream_id_cmp(pos, &h->past_to) == 0;
}


static int
conduit_history_rolled_back(const conduit_history_t *h,
    const conduit_stream_id_t *pos)
{
    return conduit_stream_id_cmp(pos, &h->rollback_from) > 0
           && conduit_stream_id_cmp(pos, &h->rollback_to) <= 0;
}


int
conduit_history_resume(const conduit_history_t *h, conduit_stream_id_t *pos)
{
    if (!conduit_history_rolled_back(h, pos)
        || conduit_stream_id_cmp(pos, &h->floor) < 0
        || conduit_window_find(&h->window, h->life_seq,
                               conduit_window_end(&h->window), pos)
           != CONDUIT_WINDOW_NONE)
    {
        return 0;
    }

    *pos = h->rollback_from;

    return 1;
}
