#include <string.h>

#include "conduit_history.h"

/* what the array counts for an item without a frame, so that they are trimmed
   like others */
#define CONDUIT_HISTORY_MARK  64


static void conduit_history_fast(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static void conduit_history_settle(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static void conduit_history_full(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static void conduit_history_trimmed(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static int conduit_history_common(const conduit_history_t *h,
    const conduit_history_answer_t *a, uint64_t *seq, size_t *i);
static int conduit_history_only_deleted(const conduit_history_t *h,
    const conduit_history_answer_t *a);
static void conduit_history_count(conduit_history_t *h,
    const conduit_history_answer_t *a, size_t first);
static void conduit_history_go_on(conduit_history_t *h,
    const conduit_history_answer_t *a, size_t first,
    conduit_history_plan_t *plan);
static void conduit_history_cut(conduit_history_t *h, uint64_t seq);
static void conduit_history_gap(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);
static void conduit_history_restart(conduit_history_t *h,
    conduit_history_plan_t *plan);
static int conduit_history_mark(conduit_history_t *h, conduit_item_e kind,
    uint64_t ms, uint64_t seq);
static const conduit_stream_id_t *conduit_history_last_message(
    const conduit_history_t *h);
static size_t conduit_history_index(const conduit_history_answer_t *a,
    const conduit_stream_id_t *id);
static int conduit_history_had_all(const conduit_history_t *h,
    const conduit_stream_id_t *pos);
static conduit_history_verdict_e conduit_history_judge_inside(
    const conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_stream_id_t *pos);
static int conduit_history_rolled_back(const conduit_history_t *h,
    const conduit_stream_id_t *pos);

static const conduit_stream_id_t  conduit_history_zero = { 0, 0 };


static int
conduit_history_is_zero(const conduit_stream_id_t *id)
{
    return id->ms == 0 && id->seq == 0;
}


/* eight bytes at a time, each step a multiplication by an odd number */

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


void
conduit_history_init(conduit_history_t *h, const conduit_stream_id_t *pos,
    void (*release)(void *frame))
{
    h->window.release = release;
    h->cursor = *pos;
    h->floor = *pos;
    h->life = 1;
    h->base_life = 1;
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
conduit_history_ask(conduit_history_t *h, int rung, size_t known,
    conduit_history_question_t *q)
{
    uint64_t  seq, end;

    h->dirty = 0;
    h->more = 0;

    q->id = h->cursor;
    q->extra = 1;
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

    /* from the oldest of the window, of this life */

    end = conduit_window_end(&h->window);
    seq = h->life_seq > h->window.base ? h->life_seq : h->window.base;

    if (end - seq > known) {
        seq = end - known;
    }

    for ( /* void */ ; seq < end; seq++) {

        if (conduit_window_item(&h->window, seq)->kind == CONDUIT_ITEM_ENTRY) {
            q->id = conduit_window_item(&h->window, seq)->id;
            q->extra = end - seq;
            break;
        }
    }
}


void
conduit_history_answer(conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_history_plan_t *plan)
{
    plan->change = CONDUIT_HISTORY_NOTHING;
    plan->next = CONDUIT_HISTORY_NEXT_IDLE;
    plan->first = a->nentries;

    if (h->busy == CONDUIT_HISTORY_FAST) {
        conduit_history_fast(h, a, plan);

    } else {
        h->counts = a->counted || (h->counts && a->missing);

        if (h->state == CONDUIT_HISTORY_CLAIMED) {
            conduit_history_settle(h, a, plan);

        } else {
            conduit_history_full(h, a, plan);
        }
    }

    switch (plan->next) {

    case CONDUIT_HISTORY_NEXT_TAKE:
        h->more = a->full;
        h->busy = CONDUIT_HISTORY_TAKING;

        if (plan->first == a->nentries) {
            plan->next = conduit_history_taken(h);
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


/* the first answer: the cursor is a client's position, and nobody has seen
   anything */

static void
conduit_history_settle(conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_history_plan_t *plan)
{
    size_t  first;

    h->state = CONDUIT_HISTORY_SUSPECT;

    if (a->missing) {
        h->cursor = conduit_history_zero;
        h->floor = conduit_history_zero;
        h->state = CONDUIT_HISTORY_SURE;
        h->number = 0;
        h->numbered = 1;
        plan->why = "no stream yet";
        return;
    }

    if (conduit_stream_id_cmp(&a->last_id, &h->cursor) < 0) {
        h->cursor = conduit_history_zero;
        h->floor = conduit_history_zero;
        plan->why = "the position is of another stream";
        plan->next = CONDUIT_HISTORY_NEXT_ASK;
        return;
    }

    plan->why = "starts at a position";
    first = 0;

    if (a->nentries
        && conduit_stream_id_cmp(&a->entries[0].id, &h->cursor) == 0)
    {
        h->cursor_hash = a->entries[0].hash;
        h->state = CONDUIT_HISTORY_SURE;
        first = 1;

    } else if (a->has_tail) {

        /* nothing is there or after it */

        h->cursor = a->tail.id;
        h->floor = a->tail.id;
        h->cursor_hash = a->tail.hash;
        h->state = CONDUIT_HISTORY_SURE;

    } else if (a->length == 0) {
        h->cursor = a->last_id;
        h->floor = a->last_id;

    } else if (a->nentries && !conduit_history_is_zero(&h->cursor)) {

        /* what was between them, if anything, nobody has seen */

        h->floor = a->entries[0].id;
        conduit_stream_id_before(&h->floor);
    }

    conduit_history_go_on(h, a, first, plan);
}


static void
conduit_history_full(conduit_history_t *h, const conduit_history_answer_t *a,
    conduit_history_plan_t *plan)
{
    int       before;
    size_t    i;
    uint64_t  seq;

    h->state = CONDUIT_HISTORY_SUSPECT;

    if (a->missing && conduit_history_is_zero(&h->cursor)) {
        h->state = CONDUIT_HISTORY_SURE;
        h->number = 0;
        h->numbered = 1;
        plan->why = "no stream yet";
        return;
    }

    if (a->missing) {
        plan->why = "the stream is gone";
        conduit_history_restart(h, plan);
        return;
    }

    if (conduit_history_common(h, a, &seq, &i)) {
        plan->why = "goes on";

        if (seq + 1 < conduit_window_end(&h->window)) {
            plan->why = "has lost its last entries";
            plan->change = CONDUIT_HISTORY_CUT;
            conduit_history_cut(h, seq);
        }

        h->state = CONDUIT_HISTORY_SURE;
        conduit_history_go_on(h, a, i + 1, plan);
        return;
    }

    if (a->counted && h->numbered && a->added < h->number) {
        plan->why = "has had fewer entries";
        conduit_history_restart(h, plan);
        return;
    }

    if (conduit_stream_id_cmp(&a->last_id, &h->cursor) < 0) {
        plan->why = "ends before the cursor";
        conduit_history_restart(h, plan);
        return;
    }

    if (a->length == 0) {
        plan->why = "is empty";

        if (!h->numbered && conduit_stream_id_cmp(&a->last_id, &h->cursor) == 0)
        {
            h->number = a->added;
            h->numbered = a->counted;
        }

        return;
    }

    before = conduit_stream_id_cmp(&h->cursor, &a->oldest) < 0;

    if (before) {
        conduit_history_trimmed(h, a, plan);
        return;
    }

    if (conduit_history_only_deleted(h, a)) {
        plan->why = "the entry at the cursor was deleted";
        conduit_history_go_on(h, a, conduit_history_index(a, &h->cursor), plan);
        return;
    }

    plan->why = "has nothing in common with what was read";
    conduit_history_restart(h, plan);
}


/* the oldest entry is after the cursor */

static void
conduit_history_trimmed(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan)
{
    int  all, zero;

    all = a->counted && h->numbered && a->added - a->length == h->number;
    zero = conduit_history_is_zero(&h->cursor);

    if (zero) {
        plan->why = "begins";

        if (a->counted && h->numbered && !all) {
            plan->why = "begins after its first entries";
            conduit_history_gap(h, a, plan);
            return;
        }

        conduit_history_go_on(h, a, 0, plan);
        return;
    }

    if (a->counted && a->added == a->length) {
        plan->why = "was never trimmed, and is after the cursor";
        conduit_history_restart(h, plan);
        return;
    }

    if (all) {
        plan->why = "was trimmed up to the cursor";
        conduit_history_go_on(h, a, 0, plan);
        return;
    }

    plan->why = "was trimmed past the cursor";
    conduit_history_gap(h, a, plan);
}


/*
 * The newest entry of the window that an answer has.  When the window has not
 * the cursor's entry any more, that is what is looked for; *seq is the last
 * item then, as if it was there.
 */

static int
conduit_history_common(const conduit_history_t *h,
    const conduit_history_answer_t *a, uint64_t *seq, size_t *i)
{
    uint64_t               s, first;
    const conduit_item_t  *item;

    if (conduit_history_is_zero(&h->cursor)) {
        return 0;
    }

    s = conduit_window_end(&h->window);
    first = h->life_seq > h->window.base ? h->life_seq : h->window.base;

    if (s == first) {
        *i = conduit_history_index(a, &h->cursor);

        if (*i == 0
            || conduit_stream_id_cmp(&a->entries[*i - 1].id, &h->cursor) != 0
            || a->entries[*i - 1].hash != h->cursor_hash)
        {
            return 0;
        }

        --*i;
        *seq = s - 1;
        return 1;
    }

    while (s > first) {
        item = conduit_window_item(&h->window, --s);

        if (item->kind != CONDUIT_ITEM_ENTRY) {
            continue;
        }

        *i = conduit_history_index(a, &item->id);

        if (*i == 0) {
            return 0;
        }

        if (conduit_stream_id_cmp(&a->entries[*i - 1].id, &item->id) == 0
            && a->entries[*i - 1].hash == item->hash)
        {
            --*i;
            *seq = s;
            return 1;
        }
    }

    return 0;
}


/* how many entries are not after an ID: the index of the first one that is */

static size_t
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


/*
 * The cursor's entry is gone, and older ones are there: trimming has not taken
 * it.  Was it XDEL, and has nothing else changed?
 */

static int
conduit_history_only_deleted(const conduit_history_t *h,
    const conduit_history_answer_t *a)
{
    size_t  after;

    after = a->nentries - conduit_history_index(a, &h->cursor);

    return a->counted && h->numbered && !a->full
           && conduit_stream_id_cmp(&a->max_deleted, &h->cursor) >= 0
           && a->added - after == h->number;
}


/*
 * What entries-added was just before entries[first]: known from the end of the
 * stream, or from its beginning when none of its entries was deleted.
 */

static void
conduit_history_count(conduit_history_t *h, const conduit_history_answer_t *a,
    size_t first)
{
    if (!a->counted) {
        h->numbered = 0;
        return;
    }

    if (!a->full) {
        h->number = a->added - (a->nentries - first);
        h->numbered = 1;
        return;
    }

    if (conduit_stream_id_cmp(&a->from, &a->oldest) <= 0
        && conduit_stream_id_cmp(&a->max_deleted, &a->oldest) < 0)
    {
        h->number = a->added - a->length + first;
        h->numbered = 1;
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


/* what is after an item is not in the stream any more */

static void
conduit_history_cut(conduit_history_t *h, uint64_t seq)
{
    conduit_item_t  *item;

    item = conduit_window_item(&h->window, seq);

    /* two stretches that overlap are taken for one */

    if (conduit_stream_id_cmp(&h->lead, &item->id) <= 0
        || conduit_stream_id_cmp(&item->id, &h->back) < 0)
    {
        h->back = item->id;
    }

    if (conduit_stream_id_cmp(&h->lead, &h->cursor) < 0) {
        h->lead = h->cursor;
    }

    h->cursor = item->id;
    h->cursor_hash = item->hash;
    h->numbered = 0;

    conduit_window_cut(&h->window, seq + 1);

    if (h->fresh_seq > seq + 1) {
        h->fresh_seq = h->life_seq;
    }
}


/* entries between the cursor and the answer's first are gone */

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
    h->numbered = 0;

    plan->change = CONDUIT_HISTORY_GAP;
    conduit_history_go_on(h, a, 0, plan);
}


/* the stream is another one: all of it is read */

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

    h->life++;
    h->life_seq = conduit_window_end(&h->window);
    h->fresh_seq = h->life_seq;
    h->cursor = conduit_history_zero;
    h->floor = conduit_history_zero;
    h->back = conduit_history_zero;
    h->lead = conduit_history_zero;
    h->number = 0;
    h->numbered = 1;

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


/* who has got the last message has got all: what may follow up to the cursor
   are entries that are none */

static const conduit_stream_id_t *
conduit_history_last_message(const conduit_history_t *h)
{
    uint64_t                    seq, first;
    const conduit_item_t       *item;
    const conduit_stream_id_t  *id;

    seq = conduit_window_end(&h->window);
    first = h->life_seq > h->window.base ? h->life_seq : h->window.base;

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

            /* what was before the first one, nobody has seen */

            id = &item->id;
        }
    }

    return id;
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

    h->cursor = entry->id;
    h->cursor_hash = entry->hash;
    h->state = CONDUIT_HISTORY_SURE;
    h->number++;

    return 0;
}


conduit_history_next_e
conduit_history_taken(conduit_history_t *h)
{
    h->busy = CONDUIT_HISTORY_IDLE;

    if (h->more || h->dirty) {
        return CONDUIT_HISTORY_NEXT_ASK;
    }

    if (h->counts && !h->numbered) {

        /* the end of the stream is where its number is told */

        h->state = CONDUIT_HISTORY_SUSPECT;
        return CONDUIT_HISTORY_NEXT_ASK;
    }

    return CONDUIT_HISTORY_NEXT_IDLE;
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

                /* nobody is led past it: before what follows it is below */

                conduit_stream_id_before(&h->floor);
            }
        }
    }

    conduit_window_drop(&h->window, n);
}


void
conduit_history_ask_batch(conduit_history_t *h, const conduit_stream_id_t *pos,
    conduit_history_question_t *q)
{
    q->kind = CONDUIT_HISTORY_FULL;
    q->id = *pos;
    q->extra = 2;
    q->serial = ++h->asked;
}


int
conduit_history_agrees(conduit_history_t *h, const conduit_history_answer_t *a)
{
    size_t    i, above;
    uint64_t  end;

    if (h->state == CONDUIT_HISTORY_CLAIMED) {
        return 0;
    }

    if (a->missing || conduit_history_is_zero(&h->cursor)) {

        /* an empty stream has nothing that could differ */

        if (conduit_history_is_zero(&h->cursor)
            && (a->missing || a->length == 0))
        {
            return 1;
        }

        h->state = CONDUIT_HISTORY_SUSPECT;
        return 0;
    }

    end = conduit_window_end(&h->window);
    above = conduit_history_index(a, &h->floor);

    if (conduit_stream_id_cmp(&a->last_id, &h->cursor) < 0
        || (a->counted && h->numbered && a->added < h->number))
    {
        h->state = CONDUIT_HISTORY_SUSPECT;
        return 0;
    }

    /* an entry that both have */

    for (i = 0; i < a->nentries + a->has_tail; i++) {
        const conduit_history_entry_t  *entry;
        uint64_t                        seq;

        entry = i < a->nentries ? &a->entries[i] : &a->tail;

        if (conduit_stream_id_cmp(&entry->id, &h->cursor) == 0
            && entry->hash == h->cursor_hash)
        {
            return 1;
        }

        seq = conduit_window_find(&h->window, h->life_seq, end, &entry->id);

        if (seq != CONDUIT_WINDOW_NONE
            && conduit_window_item(&h->window, seq)->hash == entry->hash)
        {
            return 1;
        }
    }

    /* it ends below the window; or it has reached the end of a stream whose
       last entries were deleted */

    if (above == a->nentries
        && (a->full || a->length == 0 || conduit_history_only_deleted(h, a)))
    {
        return 1;
    }

    h->state = CONDUIT_HISTORY_SUSPECT;

    return 0;
}


int
conduit_history_batch(const conduit_history_t *h,
    const conduit_history_answer_t *a, size_t *n, conduit_stream_id_t *last,
    conduit_stream_id_t *next)
{
    /* not past the cursor: what comes after it is the window's */

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

        /* nothing is left below the window */

        *last = h->floor;
    }

    return 0;
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

        /* one of those that are gone */

        *next = *last;
        next->seq++;
        next->ms += (next->seq == 0);
    }

    return 1;
}


/*
 * Whether a position is at the end of what was seen of the stream, or of the
 * life before this one.
 */

static int
conduit_history_had_all(const conduit_history_t *h,
    const conduit_stream_id_t *pos)
{
    if (!conduit_history_is_zero(&h->cursor)
        && conduit_stream_id_cmp(pos, conduit_history_last_message(h)) >= 0
        && conduit_stream_id_cmp(pos, &h->cursor) <= 0)
    {
        return 1;
    }

    return !conduit_history_is_zero(&h->past_to)
           && conduit_stream_id_cmp(pos, &h->past_from) >= 0
           && conduit_stream_id_cmp(pos, &h->past_to) <= 0;
}


static int
conduit_history_rolled_back(const conduit_history_t *h,
    const conduit_stream_id_t *pos)
{
    return conduit_stream_id_cmp(pos, &h->back) > 0
           && conduit_stream_id_cmp(pos, &h->lead) <= 0;
}


conduit_history_verdict_e
conduit_history_judge(const conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_stream_id_t *pos,
    const conduit_stream_id_t *next)
{
    int  future;

    future = a->missing || conduit_stream_id_cmp(&a->last_id, pos) < 0;

    if (conduit_history_is_zero(pos)) {

        /* it starts with what there is, or waited for what has gone */

        return next != NULL && a->length
               && conduit_stream_id_cmp(&a->oldest, next) > 0
               ? CONDUIT_HISTORY_TRIMMED : CONDUIT_HISTORY_OK;
    }

    if (!future && a->length
        && conduit_stream_id_cmp(&a->oldest, pos) <= 0)
    {
        return conduit_history_judge_inside(h, a, pos);
    }

    if (conduit_history_rolled_back(h, pos)) {
        *pos = h->back;
        return CONDUIT_HISTORY_AGAIN;
    }

    if (future) {
        next = conduit_history_had_all(h, pos) ? pos : NULL;
        *pos = conduit_history_zero;
        return next ? CONDUIT_HISTORY_OK : CONDUIT_HISTORY_GONE;
    }

    /* all that the stream has is after it */

    if (a->length == 0) {
        return conduit_stream_id_cmp(&a->last_id, pos) == 0
               || conduit_history_had_all(h, pos)
               ? CONDUIT_HISTORY_OK : CONDUIT_HISTORY_TRIMMED;
    }

    if (next != NULL && conduit_stream_id_cmp(&a->oldest, next) <= 0) {
        return CONDUIT_HISTORY_OK;
    }

    if (a->counted && a->added == a->length) {
        return conduit_history_had_all(h, pos) ? CONDUIT_HISTORY_OK
                                               : CONDUIT_HISTORY_GONE;
    }

    if (a->counted && a->added - a->length == 1
        && conduit_stream_id_cmp(&a->max_deleted, pos) == 0)
    {
        return CONDUIT_HISTORY_OK;
    }

    return CONDUIT_HISTORY_TRIMMED;
}


/* the stream has older entries, and has given out larger IDs, or this one */

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
        *pos = h->back;
        return CONDUIT_HISTORY_AGAIN;
    }

    /* trimming takes the oldest, so it was deleted, or is of another life */

    if (conduit_stream_id_cmp(pos, &h->past_from) >= 0
        && conduit_stream_id_cmp(pos, &h->past_to) <= 0)
    {
        *pos = conduit_history_zero;
        return CONDUIT_HISTORY_OK;
    }

    if (a->counted && conduit_stream_id_cmp(&a->max_deleted, pos) < 0) {
        return CONDUIT_HISTORY_GONE;
    }

    return last ? CONDUIT_HISTORY_END : CONDUIT_HISTORY_OK;
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

    *pos = h->back;

    return 1;
}
