/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_history_core.h"


static int conduit_history_leaves_one(const conduit_history_t *h,
    const conduit_history_answer_t *a, size_t first);
static void conduit_history_fast(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static void conduit_history_settle(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static void conduit_history_begins(conduit_history_t *h,
    const conduit_history_entry_t *entry);
static void conduit_history_future(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static void conduit_history_full(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static void conduit_history_missing(conduit_history_t *h,
    conduit_history_plan_t *plan);
static void conduit_history_empty(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static void conduit_history_trimmed(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static int conduit_history_is_next(const conduit_history_t *h,
    const conduit_history_answer_t *a);
static void conduit_history_count(conduit_history_t *h,
    const conduit_history_answer_t *a, size_t first);
static void conduit_history_go_on(conduit_history_t *h,
    const conduit_history_answer_t *a, size_t first,
    conduit_history_plan_t *plan);
static void conduit_history_cut(conduit_history_t *h,
    const conduit_history_answer_t *a, uint64_t after);
static void conduit_history_gap(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static void conduit_history_restart(conduit_history_t *h,
    conduit_history_plan_t *plan);
static int conduit_history_mark(conduit_history_t *h, conduit_item_e kind,
    uint64_t ms, uint64_t seq);


void
conduit_history_answer(conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_history_plan_t *plan)
{
    plan->change = CONDUIT_HISTORY_NOTHING;
    plan->next = CONDUIT_HISTORY_NEXT_IDLE;
    plan->first = a->nentries;
    plan->end = a->nentries;

    if (a->kind == CONDUIT_HISTORY_FAST) {
        conduit_history_fast(h, a, plan);

    } else {
        h->compared = a->from;

        if (!conduit_history_numbered(h)) {
            h->number_state = a->counted ? CONDUIT_HISTORY_NUMBER_UNKNOWN
                                         : CONDUIT_HISTORY_NUMBER_NONE;
        }

        if (h->state == CONDUIT_HISTORY_CLAIMED) {
            conduit_history_settle(h, a, plan);

        } else {
            conduit_history_full(h, a, plan);
        }
    }

    switch (plan->next) {

    case CONDUIT_HISTORY_NEXT_TAKE:
        h->busy = CONDUIT_HISTORY_TAKING;

        if (conduit_history_leaves_one(h, a, plan->first)) {
            plan->end--;
        }

        if (plan->first == plan->end) {
            plan->next = conduit_history_taken(h, a);
        }

        break;

    case CONDUIT_HISTORY_NEXT_IDLE:
        plan->next = h->dirty ? CONDUIT_HISTORY_NEXT_ASK
                              : CONDUIT_HISTORY_NEXT_IDLE;
        h->busy = CONDUIT_HISTORY_IDLE;
        break;

    case CONDUIT_HISTORY_NEXT_ASK:
        h->busy = CONDUIT_HISTORY_IDLE;
        break;

    case CONDUIT_HISTORY_NEXT_WAIT:
        conduit_history_failed(h);
        break;
    }
}


/*
 * Whether the last entry of an answer, whose entries from "first" on are new,
 * is not taken, but left for the next answer.  As long as the number is not
 * known, only such an entry tells whether the stream was trimmed up to the
 * cursor or past it.  An answer to FAST that reaches the end of the stream
 * leaves one, too: FULL follows, which tells the number, but the stream may be
 * trimmed before that.
 */

static int
conduit_history_leaves_one(const conduit_history_t *h,
    const conduit_history_answer_t *a, size_t first)
{
    if (conduit_history_numbered(h) || first == a->nentries) {
        return 0;
    }

    return a->full ? a->nentries - first > 1
                   : a->kind == CONDUIT_HISTORY_FAST
                     && h->number_state == CONDUIT_HISTORY_NUMBER_UNKNOWN;
}


static void
conduit_history_fast(conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_history_plan_t *plan)
{
    if (a->nentries == 0 && conduit_history_is_zero(&h->cursor)) {
        plan->why = "nothing yet";
        return;
    }

    if (a->nentries
        && conduit_stream_id_cmp(&a->entries[0].id, &h->cursor) == 0
        && a->entries[0].hash == h->cursor_hash)
    {
        plan->why = "starts at the cursor";
        plan->next = CONDUIT_HISTORY_NEXT_TAKE;
        plan->first = 1;
        return;
    }

    plan->why = "does not start at the cursor";
    plan->next = CONDUIT_HISTORY_NEXT_ASK;
    h->state = CONDUIT_HISTORY_SUSPECT;
}


/* the first answer: the cursor is what a client said, no entry was read yet */

static void
conduit_history_settle(conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_history_plan_t *plan)
{
    size_t  first;

    if (a->missing) {
        h->cursor = conduit_history_zero;
        h->floor = conduit_history_zero;
        h->state = CONDUIT_HISTORY_SURE;
        h->number = 0;
        h->number_state = CONDUIT_HISTORY_NUMBER_KNOWN;
        plan->why = "no stream yet";
        return;
    }

    if (conduit_stream_id_cmp(&a->last_id, &h->cursor) < 0) {
        conduit_history_future(h, a, plan);
        return;
    }

    plan->why = "starts at a position";
    first = 0;

    if (a->nentries
        && conduit_stream_id_cmp(&a->entries[0].id, &h->cursor) == 0)
    {
        conduit_history_begins(h, &a->entries[0]);
        first = 1;

    } else if (a->has_tail) {

        /* there is no entry at the position, nor after it */

        conduit_history_begins(h, &a->tail);
        h->compared = a->tail.id;

    } else if (a->length == 0) {
        h->cursor = a->last_id;
        h->floor = a->last_id;
        h->state = CONDUIT_HISTORY_SUSPECT;

    }

    /* otherwise the state stays CLAIMED until conduit_history_take() of an
       entry */

    conduit_history_go_on(h, a, first, plan);
}


/*
 * The channel begins after this entry.  The window gets the entry without a
 * frame, as it is sent to nobody: so subscribers that come with its ID, as all
 * do that lost their connections at the same time, are found in the window and
 * need no batch.  If memory is out, they get one.
 */

static void
conduit_history_begins(conduit_history_t *h,
    const conduit_history_entry_t *entry)
{
    conduit_item_t  item;

    h->cursor = entry->id;
    h->cursor_hash = entry->hash;
    h->floor = entry->id;
    h->state = CONDUIT_HISTORY_SURE;

    memset(&item, 0, sizeof(item));
    item.kind = CONDUIT_ITEM_ENTRY;
    item.id = entry->id;
    item.hash = entry->hash;
    item.size = CONDUIT_HISTORY_MARK;

    (void) conduit_window_append(&h->window, &item);
}


conduit_history_newest_e
conduit_history_newest(const conduit_history_t *h,
    const conduit_history_answer_t *a, int ended)
{
    /* some entries were not taken: one was left, or they are of another
       stream */

    if (a->full || conduit_history_has_later(h, a)) {
        return CONDUIT_HISTORY_UNKNOWN;
    }

    if (a->kind == CONDUIT_HISTORY_FAST) {

        /* either its first entry is the cursor's, and the others were
           taken; or there is no entry yet; or FULL follows */

        if (h->state != CONDUIT_HISTORY_SURE) {
            return CONDUIT_HISTORY_UNKNOWN;
        }

        return (ended || conduit_history_is_zero(&h->cursor))
               ? CONDUIT_HISTORY_RESTING : CONDUIT_HISTORY_RUNNING;
    }

    if (a->nentries == 0 && !a->has_tail) {

        /* XREAD alone tells that no entry is at or after "from", but not
           whether some are before it: the next question begins at 0-0 */

        return (!a->missing && conduit_stream_id_cmp(&a->last_id, &a->from) < 0)
               ? CONDUIT_HISTORY_UNKNOWN : CONDUIT_HISTORY_RESTING;
    }

    return a->ended ? CONDUIT_HISTORY_RESTING : CONDUIT_HISTORY_RUNNING;
}


/* the stream ends before the position that a client has claimed */

static void
conduit_history_future(conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_history_plan_t *plan)
{
    if (a->ended && a->has_tail) {
        conduit_history_begins(h, &a->tail);
        h->compared = a->tail.id;
        plan->why = "the position is after the END";
        conduit_history_go_on(h, a, 0, plan);
        return;
    }

    h->cursor = conduit_history_zero;
    h->floor = conduit_history_zero;
    h->state = CONDUIT_HISTORY_SUSPECT;
    plan->why = "the position is of another stream";
    plan->next = CONDUIT_HISTORY_NEXT_ASK;
}


static void
conduit_history_full(conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_history_plan_t *plan)
{
    size_t    i;
    uint64_t  after;

    h->state = CONDUIT_HISTORY_SUSPECT;

    if (a->missing) {
        conduit_history_missing(h, plan);
        return;
    }

    if (conduit_history_common(h, a, &after, &i)) {
        plan->why = "goes on";

        if (after < conduit_window_end(&h->window)
            || conduit_stream_id_cmp(&a->last_id, &h->ahead) < 0)
        {
            plan->why = "has lost its last entries";
            plan->change = CONDUIT_HISTORY_CUT;
            conduit_history_cut(h, a, after);
        }

        h->state = CONDUIT_HISTORY_SURE;
        conduit_history_go_on(h, a, i + 1, plan);
        return;
    }

    plan->why = conduit_history_other(h, a);

    if (plan->why != NULL) {
        conduit_history_restart(h, plan);
        return;
    }

    if (a->length == 0) {
        conduit_history_empty(h, a, plan);
        return;
    }

    if (conduit_stream_id_cmp(&h->cursor, &a->oldest) < 0) {
        conduit_history_trimmed(h, a, plan);
        return;
    }

    plan->why = "the entry at the cursor was deleted";
    conduit_history_go_on(h, a, conduit_history_index(a, &h->cursor), plan);
}


static void
conduit_history_missing(conduit_history_t *h, conduit_history_plan_t *plan)
{
    if (!conduit_history_is_zero(&h->cursor)
        || !conduit_history_is_zero(&h->ahead))
    {
        plan->why = "the stream is gone";
        conduit_history_restart(h, plan);
        return;
    }

    plan->why = "no stream yet";
    h->state = CONDUIT_HISTORY_SURE;
    h->number = 0;
    h->number_state = CONDUIT_HISTORY_NUMBER_KNOWN;
}


static void
conduit_history_empty(conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_history_plan_t *plan)
{
    plan->why = "is empty";

    /* a known number is kept: it will tell how many entries were trimmed
       since */

    if (a->counted && !conduit_history_numbered(h)
        && (conduit_history_is_zero(&h->cursor)
            || conduit_stream_id_cmp(&a->last_id, &h->cursor) == 0))
    {
        h->number = a->added;
        h->number_state = CONDUIT_HISTORY_NUMBER_KNOWN;
    }
}


/* all entries of the stream are after the cursor */

static void
conduit_history_trimmed(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan)
{
    int  zero;

    zero = conduit_history_is_zero(&h->cursor);
    plan->why = zero ? "begins" : "was trimmed up to the cursor";

    if (a->counted && conduit_history_numbered(h)
        ? a->added - a->length == h->number
        : zero || conduit_history_is_next(h, a))
    {
        conduit_history_go_on(h, a, 0, plan);
        return;
    }

    plan->why = zero ? "begins after its first entries"
                     : "was trimmed past the cursor";
    conduit_history_gap(h, a, plan);
}


/* whether the oldest entry is the one that followed the cursor's */

static int
conduit_history_is_next(const conduit_history_t *h,
    const conduit_history_answer_t *a)
{
    return a->nentries
           && conduit_stream_id_cmp(&a->entries[0].id, &h->next.id) == 0
           && a->entries[0].hash == h->next.hash;
}


/*
 * Sets the number to the value that entries-added had just before
 * entries[first] was added: counted back from the end of the stream, or from
 * its beginning if none of its entries was deleted.
 */

static void
conduit_history_count(conduit_history_t *h, const conduit_history_answer_t *a,
    size_t first)
{
    if (!a->counted) {
        h->number_state = CONDUIT_HISTORY_NUMBER_NONE;
        return;
    }

    if (!a->full) {
        h->number = a->added - (a->nentries - first);
        h->number_state = CONDUIT_HISTORY_NUMBER_KNOWN;
        return;
    }

    if (conduit_stream_id_cmp(&a->from, &a->oldest) <= 0
        && conduit_stream_id_cmp(&a->max_deleted, &a->oldest) < 0)
    {
        h->number = a->added - a->length + first;
        h->number_state = CONDUIT_HISTORY_NUMBER_KNOWN;
    }
}


static void
conduit_history_go_on(conduit_history_t *h, const conduit_history_answer_t *a,
    size_t first, conduit_history_plan_t *plan)
{
    conduit_history_count(h, a, first);

    plan->next = CONDUIT_HISTORY_NEXT_TAKE;
    plan->first = first;
}


/* the items from "after" on are not in the stream any more */

static void
conduit_history_cut(conduit_history_t *h, const conduit_history_answer_t *a,
    uint64_t after)
{
    size_t                i;
    conduit_item_t       *item;
    conduit_stream_id_t   to;

    /* if the answer has the entry at "ahead", only entries up to the cursor are
       gone */

    to = h->cursor;
    i = conduit_history_index(a, &h->ahead);

    if (conduit_stream_id_cmp(&to, &h->ahead) < 0
        && (i == 0
            || conduit_stream_id_cmp(&a->entries[i - 1].id, &h->ahead) != 0))
    {
        to = h->ahead;
    }

    if (after < conduit_window_end(&h->window)) {

        if (conduit_history_oldest(h) < after) {
            item = conduit_window_item(&h->window, after - 1);

            h->cursor = item->id;
            h->cursor_hash = item->hash;
        }

        h->number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;

        conduit_window_cut(&h->window, after);

        if (conduit_stream_id_cmp(&h->message, &h->cursor) > 0) {
            h->message = conduit_history_zero;
        }

        if (h->fresh_seq > after) {
            h->fresh_seq = h->life_seq;
        }
    }

    /* two rollbacks that overlap are merged into one */

    if (conduit_stream_id_cmp(&h->rollback_to, &h->cursor) <= 0
        || conduit_stream_id_cmp(&h->cursor, &h->rollback_from) < 0)
    {
        h->rollback_from = h->cursor;
    }

    if (conduit_stream_id_cmp(&h->rollback_to, &to) < 0) {
        h->rollback_to = to;
    }

    h->ahead = conduit_history_zero;
    h->next.id = conduit_history_zero;
}


/* the entries between the cursor and the answer's first one are gone */

static void
conduit_history_gap(conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_history_plan_t *plan)
{
    const conduit_stream_id_t  *id;

    id = &a->entries[0].id;

    if (conduit_history_mark(h, CONDUIT_ITEM_GAP, id->ms, id->seq) != 0) {
        plan->next = CONDUIT_HISTORY_NEXT_WAIT;
        return;
    }

    h->fresh_seq = conduit_window_end(&h->window);
    h->message = conduit_history_zero;
    h->number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    h->late |= conduit_history_is_zero(&h->first);

    plan->change = CONDUIT_HISTORY_GAP;
    conduit_history_go_on(h, a, 0, plan);
}


/* the stream is another one: read it from its oldest entry */

static void
conduit_history_restart(conduit_history_t *h, conduit_history_plan_t *plan)
{
    conduit_stream_id_t  from;

    from = *conduit_history_last_message(h);

    if (conduit_history_mark(h, CONDUIT_ITEM_LIFE, h->life + 1, 0) != 0) {
        plan->next = CONDUIT_HISTORY_NEXT_WAIT;
        return;
    }

    h->past_seq = h->life_seq;
    h->past_floor = h->floor;
    h->past_from = from;
    h->past_to = h->cursor;
    h->ahead = conduit_history_zero;

    h->life++;
    h->life_seq = conduit_window_end(&h->window);
    h->fresh_seq = h->life_seq;
    h->cursor = conduit_history_zero;
    h->next.id = conduit_history_zero;
    h->floor = conduit_history_zero;
    h->first = conduit_history_zero;
    h->late = 0;
    h->message = conduit_history_zero;
    h->rollback_from = conduit_history_zero;
    h->rollback_to = conduit_history_zero;
    h->number = 0;
    h->number_state = CONDUIT_HISTORY_NUMBER_KNOWN;

    plan->change = CONDUIT_HISTORY_RESTART;
    plan->next = CONDUIT_HISTORY_NEXT_ASK;
}


static int
conduit_history_mark(conduit_history_t *h, conduit_item_e kind, uint64_t ms,
    uint64_t seq)
{
    conduit_item_t  item;

    memset(&item, 0, sizeof(item));
    item.kind = kind;
    item.id.ms = ms;
    item.id.seq = seq;
    item.size = CONDUIT_HISTORY_MARK;

    return conduit_window_append(&h->window, &item);
}
