/* Copyright (C) Conduit for NGINX authors */

#include "conduit_place_core.h"


static int conduit_place_miss(conduit_place_t *p, const conduit_item_t *item);


void
conduit_place_leave(conduit_place_t *p, const conduit_history_t *h, size_t n)
{
    int                    message;
    uint64_t               base;
    const conduit_item_t  *item;

    base = h->window.base + n;

    if (p->where != CONDUIT_PLACE_WINDOW || p->seq >= base
        || p->seq < h->window.base)
    {
        return;
    }

    /* message: it misses a message of the life that it has come to */

    message = 0;

    for ( /* void */ ; p->seq < base; p->seq++) {
        item = conduit_window_item(&h->window, p->seq);

        if (item->kind == CONDUIT_ITEM_LIFE) {
            conduit_place_next_life(p, item, message);
            message = 0;
            continue;
        }

        message |= conduit_place_miss(p, item);
    }

    if (p->life != h->life) {

        /* entries of an earlier life can't be read again, so those dropped are
           lost to it; the rest of that life is in the window */

        p->has_next = 0;

        if (message) {
            conduit_place_lose(p, CONDUIT_PLACE_GONE);
        }

    } else if (p->has_next) {
        p->where = CONDUIT_PLACE_BELOW;
    }
}


/* moves past an item that is about to be dropped; returns whether the
   subscriber misses a message */

static int
conduit_place_miss(conduit_place_t *p, const conduit_item_t *item)
{
    if (conduit_stream_id_cmp(&item->id, &p->pos) <= 0) {
        return 0;
    }

    if (item->kind == CONDUIT_ITEM_GAP) {
        conduit_place_lose(p, CONDUIT_PLACE_TRIMMED);
        return 0;
    }

    if (!p->has_next) {

        if (item->frame == NULL && !conduit_place_is_zero(&p->pos)) {
            /* no client is sent this entry */
            p->pos = item->id;
            return 0;
        }

        p->has_next = 1;
        p->next = item->id;
    }

    return item->frame != NULL;
}


void
conduit_place_cut(conduit_place_t *p, const conduit_history_t *h)
{
    uint64_t  end;

    if (p->life != h->life) {
        return;
    }

    if (p->where == CONDUIT_PLACE_JOINING) {

        /* if its entry was rolled back, a new entry may get its ID before it is
           judged */

        (void) conduit_history_resume(h, &p->pos);
        return;
    }

    end = conduit_window_end(&h->window);

    if (p->where == CONDUIT_PLACE_WINDOW && p->seq > end) {
        p->seq = end;

        if (conduit_place_is_zero(&p->pos)) {

            /* it began after a gap that was cut off */

            conduit_place_fresh(p, h);
        }
    }

    if (p->has_next && conduit_stream_id_cmp(&p->next, &h->cursor) > 0) {
        p->has_next = 0;
    }

    if (conduit_stream_id_cmp(&p->pos, &h->cursor) > 0) {
        p->pos = h->cursor;
        conduit_place_enter(p, h);
    }
}


void
conduit_place_restarted(conduit_place_t *p, const conduit_history_t *h)
{
    uint64_t  mark;

    if (p->where == CONDUIT_PLACE_WINDOW) {
        return;
    }

    if (p->where == CONDUIT_PLACE_JOINING) {
        p->life = h->life;
        return;
    }

    if (conduit_place_is_zero(&p->pos)) {

        /* it has got no entry yet; the one that it was waiting for is gone */

        if (p->has_next) {
            conduit_place_lose(p, CONDUIT_PLACE_GONE);
        }

        p->life = h->life;
        conduit_place_fresh(p, h);
        return;
    }

    /* the window has the last entries of the life that is over */

    mark = h->life_seq - 1;
    p->where = CONDUIT_PLACE_WINDOW;
    p->has_next = 0;

    p->seq = conduit_window_after(&h->window, h->past_seq, mark, &p->pos);

    if (conduit_stream_id_cmp(&p->pos, &h->past_floor) < 0) {
        conduit_place_lose(p, CONDUIT_PLACE_GONE);
    }
}
