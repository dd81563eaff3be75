/* Copyright (C) Conduit for NGINX authors */

/*
 * Coalescing: the decision whether an event waits.
 */

#include "conduit_coalesce.h"


/* what the new items are */
enum {
    CONDUIT_COALESCE_NOTHING = 0,
    CONDUIT_COALESCE_EVENT,
    CONDUIT_COALESCE_PROMPT
};


static int conduit_coalesce_came(conduit_coalesce_t *c,
    const conduit_window_t *w, conduit_coalesce_prompt_pt prompt);


conduit_coalesce_e
conduit_coalesce_look(conduit_coalesce_t *c, const conduit_window_t *w,
    conduit_coalesce_prompt_pt prompt, size_t limit, uint64_t time,
    uint64_t now)
{
    int  came, silence;

    came = conduit_coalesce_came(c, w, prompt);

    if (came == CONDUIT_COALESCE_NOTHING) {

        if (c->waits && c->bytes <= limit) {
            return CONDUIT_COALESCE_WAIT;
        }

        /* nothing waits; or there are too many bytes, as items without a frame
           count, too */

        conduit_coalesce_over(c);
        return CONDUIT_COALESCE_SEND;
    }

    silence = !c->some || now - c->last >= time;

    c->some = 1;
    c->last = now;

    if (came == CONDUIT_COALESCE_PROMPT || silence || c->bytes > limit) {
        conduit_coalesce_over(c);
        return CONDUIT_COALESCE_SEND;
    }

    if (c->waits) {
        return CONDUIT_COALESCE_WAIT;
    }

    c->waits = 1;

    return CONDUIT_COALESCE_START;
}


/* adds up the bytes of new items and returns what they are; entries without a
   frame are no events */

static int
conduit_coalesce_came(conduit_coalesce_t *c, const conduit_window_t *w,
    conduit_coalesce_prompt_pt prompt)
{
    int                    came;
    uint64_t               seq, end;
    const conduit_item_t  *item;

    came = CONDUIT_COALESCE_NOTHING;
    end = conduit_window_end(w);

    if (!c->waits) {
        c->from = c->seen;
    }

    for (seq = c->seen > w->base ? c->seen : w->base; seq < end; seq++) {

        item = conduit_window_item(w, seq);
        c->bytes += item->size;

        if (item->kind != CONDUIT_ITEM_ENTRY
            || (item->frame != NULL && prompt(item->frame)))
        {
            came = CONDUIT_COALESCE_PROMPT;

        } else if (item->frame != NULL && came == CONDUIT_COALESCE_NOTHING) {
            came = CONDUIT_COALESCE_EVENT;
        }
    }

    c->seen = end;

    return came;
}


void
conduit_coalesce_over(conduit_coalesce_t *c)
{
    c->waits = 0;
    c->bytes = 0;
}


void
conduit_coalesce_reset(conduit_coalesce_t *c, const conduit_window_t *w)
{
    conduit_coalesce_over(c);

    c->seen = conduit_window_end(w);
    c->from = c->seen;
    c->some = 0;
}
