/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_place_core.h"


static void conduit_place_follow(conduit_place_t *p,
    const conduit_history_t *h);
static int conduit_place_is_cursor(const conduit_place_t *p,
    const conduit_history_t *h);
static int conduit_place_is_item(const conduit_place_t *p,
    const conduit_history_t *h);
static conduit_history_verdict_e conduit_place_judge_late(conduit_place_t *p,
    const conduit_history_t *h);
static void conduit_place_moved(conduit_place_t *p, const conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_verdict_e verdict);
static const conduit_item_t *conduit_place_item(conduit_place_t *p,
    const conduit_history_t *h);


void
conduit_place_join(conduit_place_t *p, const conduit_history_t *h,
    const conduit_stream_id_t *pos)
{
    memset(p, 0, sizeof(*p));
    p->life = h->life;
    p->since = h->asked;

    if (pos == NULL || conduit_place_is_zero(pos)) {
        conduit_place_fresh(p, h);
        return;
    }

    p->pos = *pos;
    p->where = CONDUIT_PLACE_JOINING;

    /* this comes before the check for a rollback, as the entry at the cursor
       may have an ID that was rolled back before */

    if (conduit_place_is_cursor(p, h)) {
        conduit_place_enter(p, h);
        return;
    }

    (void) conduit_history_resume(h, &p->pos);

    if (conduit_place_is_cursor(p, h) || conduit_place_is_item(p, h)) {
        conduit_place_enter(p, h);
    }
}


/* whether a subscriber's position is the cursor, whose entry was read */

static int
conduit_place_is_cursor(const conduit_place_t *p, const conduit_history_t *h)
{
    return h->state == CONDUIT_HISTORY_SURE
           && conduit_stream_id_cmp(&p->pos, &h->cursor) == 0;
}


/* whether the window has the entry at a subscriber's position */

static int
conduit_place_is_item(const conduit_place_t *p, const conduit_history_t *h)
{
    return conduit_window_find(&h->window, h->life_seq,
                               conduit_window_end(&h->window), &p->pos)
           != CONDUIT_WINDOW_NONE;
}


void
conduit_place_fresh(conduit_place_t *p, const conduit_history_t *h)
{
    p->pos.ms = 0;
    p->pos.seq = 0;
    p->has_next = 0;
    p->where = CONDUIT_PLACE_BELOW;

    if (conduit_place_within(h, &p->pos)) {
        p->where = CONDUIT_PLACE_WINDOW;
        p->seq = h->fresh_seq;
    }
}


/* places a subscriber that has got all of the life before this one, and is to
   get all of this one */

static void
conduit_place_follow(conduit_place_t *p, const conduit_history_t *h)
{
    p->pos.ms = 0;
    p->pos.seq = 0;

    if (h->life_seq >= h->window.base) {
        p->where = CONDUIT_PLACE_WINDOW;
        p->has_next = 0;
        p->seq = h->life_seq;
        return;
    }

    p->where = CONDUIT_PLACE_BELOW;
    p->has_next = 1;
    p->next = h->first;

    if (h->late) {
        conduit_place_lose(p, CONDUIT_PLACE_TRIMMED);
    }
}


int
conduit_place_within(const conduit_history_t *h, const conduit_stream_id_t *pos)
{
    return conduit_place_is_zero(pos)
           ? conduit_place_has_all(h)
           : conduit_stream_id_cmp(pos, &h->floor) >= 0;
}


int
conduit_place_has_all(const conduit_history_t *h)
{
    /* fresh_seq is after life_seq if a GAP was read in this life: all entries
       before the gap were trimmed, so the stream begins with the one after it,
       which the window has */

    return h->fresh_seq >= h->window.base
           && (conduit_place_is_zero(&h->floor)
               || h->fresh_seq > h->life_seq);
}


void
conduit_place_enter(conduit_place_t *p, const conduit_history_t *h)
{
    p->where = CONDUIT_PLACE_WINDOW;
    p->has_next = 0;
    p->seq = conduit_window_after(&h->window, h->life_seq,
                                  conduit_window_end(&h->window), &p->pos);
}


int
conduit_place_is_zero(const conduit_stream_id_t *id)
{
    return id->ms == 0 && id->seq == 0;
}


conduit_place_do_e
conduit_place_next(conduit_place_t *p, const conduit_history_t *h,
    const conduit_window_t *batch, const conduit_item_t **item)
{
    uint64_t               end, seq;
    const conduit_item_t  *i;

    *item = NULL;

    if (p->where == CONDUIT_PLACE_WINDOW) {
        i = conduit_place_item(p, h);

    } else if (p->where == CONDUIT_PLACE_BATCH) {
        end = conduit_window_end(batch);
        i = NULL;

        for (seq = conduit_window_after(batch, batch->base, end, &p->pos);
             seq < end;
             seq++)
        {
            i = conduit_window_item(batch, seq);

            if (i->frame != NULL) {
                break;
            }

            p->pos = i->id;
            i = NULL;
        }

    } else {
        return CONDUIT_PLACE_READ;
    }

    if (i == NULL) {
        return CONDUIT_PLACE_NONE;
    }

    *item = i;

    return p->loss ? CONDUIT_PLACE_TELL : CONDUIT_PLACE_SEND;
}


/* returns the next item of the window that has a frame to send, or NULL; skips
   others */

static const conduit_item_t *
conduit_place_item(conduit_place_t *p, const conduit_history_t *h)
{
    uint64_t               end;
    const conduit_item_t  *item;

    end = conduit_window_end(&h->window);

    if (p->seq < h->window.base) {

        /* never happens: conduit_place_leave() must be called before a drop */

        p->seq = h->window.base;
        conduit_place_lose(p, CONDUIT_PLACE_TRIMMED);
    }

    for ( /* void */ ; p->seq < end; p->seq++) {
        item = conduit_window_item(&h->window, p->seq);

        switch (item->kind) {

        case CONDUIT_ITEM_GAP:

            /* a subscriber that is ahead of the cursor, and past the gap, does
               not miss its entries */

            if (conduit_stream_id_cmp(&item->id, &p->pos) > 0) {
                conduit_place_lose(p, CONDUIT_PLACE_TRIMMED);
            }

            break;

        case CONDUIT_ITEM_LIFE:
            conduit_place_next_life(p, item, 0);
            break;

        default:

            /* a position may be ahead of the cursor, as another worker may have
               read further */

            if (conduit_stream_id_cmp(&item->id, &p->pos) <= 0) {
                break;
            }

            if (item->frame != NULL) {
                return item;
            }

            p->pos = item->id;
        }
    }

    return NULL;
}


void
conduit_place_lose(conduit_place_t *p, conduit_place_loss_e loss)
{
    if (p->loss < loss) {
        p->loss = loss;
    }
}


void
conduit_place_sent(conduit_place_t *p, const conduit_item_t *item)
{
    p->pos = item->id;
    p->has_next = 0;

    if (p->where == CONDUIT_PLACE_WINDOW) {
        p->seq++;
    }
}


void
conduit_place_sent_more(conduit_place_t *p, uint64_t seq,
    const conduit_stream_id_t *last)
{
    p->pos = *last;
    p->seq = seq;
}


conduit_history_verdict_e
conduit_place_judge(conduit_place_t *p, const conduit_history_t *h,
    const conduit_history_answer_t *a)
{
    conduit_stream_id_t        pos;
    conduit_history_verdict_e  verdict;

    if ((int32_t) (a->serial - p->since) <= 0) {
        return conduit_place_judge_late(p, h);
    }

    if (p->has_next && conduit_stream_id_cmp(&p->pos, &h->floor) >= 0) {

        /* the window has the next entry, even if that is not in the stream any
           more */

        conduit_place_enter(p, h);
        return CONDUIT_HISTORY_OK;
    }

    pos = p->pos;

    verdict = conduit_history_judge(h, a, &pos, p->has_next ? &p->next : NULL);

    if (verdict == CONDUIT_HISTORY_TRIMMED) {
        conduit_place_lose(p, CONDUIT_PLACE_TRIMMED);

    } else if (verdict == CONDUIT_HISTORY_GONE) {
        conduit_place_lose(p, CONDUIT_PLACE_GONE);
    }

    if (verdict == CONDUIT_HISTORY_END) {
        return verdict;
    }

    if (conduit_stream_id_cmp(&pos, &p->pos) != 0) {
        p->has_next = 0;
        p->pos = pos;

        if (verdict == CONDUIT_HISTORY_AGAIN) {
            return verdict;
        }

        conduit_place_moved(p, h, a, verdict);

        return verdict;
    }

    if (verdict != CONDUIT_HISTORY_AGAIN) {
        conduit_place_settle(p, h, a);

        /* it is told "trimmed" now: it goes on after the newest GAP, which
           would tell it once more */

        if (verdict == CONDUIT_HISTORY_TRIMMED
            && p->where == CONDUIT_PLACE_WINDOW && p->seq < h->fresh_seq)
        {
            p->seq = h->fresh_seq;
        }
    }

    return verdict;
}


/* judges a subscriber by an answer to a question that was sent before it
   joined */

static conduit_history_verdict_e
conduit_place_judge_late(conduit_place_t *p, const conduit_history_t *h)
{
    /* if the window has got the entry at its position since it joined, the
       position is valid.  At the cursor that is not enough: the entry may be an
       END with nothing after it */

    if (p->where != CONDUIT_PLACE_JOINING || !conduit_place_is_item(p, h)
        || conduit_stream_id_cmp(&p->pos, &h->cursor) == 0)
    {
        return CONDUIT_HISTORY_AGAIN;
    }

    conduit_place_enter(p, h);

    return CONDUIT_HISTORY_OK;
}


/* a subscriber's position was moved: to the END, or to 0-0 */

static void
conduit_place_moved(conduit_place_t *p, const conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_verdict_e verdict)
{
    if (!conduit_place_is_zero(&p->pos)) {
        conduit_place_settle(p, h, a);
        return;
    }

    /* it starts with the oldest entry, which the answer may not have, as that
       began at the old position.  OK: it had all of the life before, so it is
       owed all of this one, and told if some of that was trimmed.  GONE: it is
       told so, and starts with what there is */

    if (verdict == CONDUIT_HISTORY_OK) {
        conduit_place_follow(p, h);

    } else {
        conduit_place_fresh(p, h);
    }
}


void
conduit_place_settle(conduit_place_t *p, const conduit_history_t *h,
    const conduit_history_answer_t *a)
{
    if (conduit_place_is_zero(&p->pos)) {
        if (conduit_place_within(h, &p->pos)) {
            conduit_place_fresh(p, h);

        } else {
            p->where = CONDUIT_PLACE_BATCH;
        }

        return;
    }

    /* or the answer reaches the end of the stream, and has no entry after the
       position: what comes will be in the window */

    if (conduit_place_within(h, &p->pos)
        || (!a->full
            && (a->nentries == 0
                || conduit_stream_id_cmp(&a->entries[a->nentries - 1].id,
                                         &p->pos)
                   <= 0)))
    {
        conduit_place_enter(p, h);
        return;
    }

    p->where = CONDUIT_PLACE_BATCH;
}


void
conduit_place_unserved(conduit_place_t *p)
{
    p->where = CONDUIT_PLACE_BELOW;
}


void
conduit_place_batch_done(conduit_place_t *p, const conduit_history_t *h,
    const conduit_stream_id_t *last, const conduit_stream_id_t *next)
{
    if (conduit_stream_id_cmp(&p->pos, last) < 0) {
        p->pos = *last;
    }

    if (conduit_place_within(h, &p->pos)) {
        conduit_place_enter(p, h);
        return;
    }

    p->where = CONDUIT_PLACE_BELOW;
    p->has_next = (next != NULL);

    if (next != NULL) {
        p->next = *next;
    }
}


void
conduit_place_next_life(conduit_place_t *p, const conduit_item_t *mark,
    int message)
{
    if (message) {
        conduit_place_lose(p, CONDUIT_PLACE_GONE);
    }

    p->life = mark->id.ms;
    p->pos.ms = 0;
    p->pos.seq = 0;
    p->has_next = 0;
}
