/*
 * A bundle of events: a copy of their bytes, one after the other.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_bundle.h"


static uint64_t ngx_conduit_bundle_end(ngx_conduit_bundle_t *b,
    const conduit_window_t *w, uint64_t from, size_t max, size_t *bytes);


void
ngx_conduit_bundle_make(ngx_conduit_bundle_t *b, const conduit_window_t *w,
    uint64_t from, size_t max)
{
    size_t                bytes;
    u_char               *p;
    uint64_t              seq, end;
    ngx_conduit_frame_t  *f;

    ngx_conduit_bundle_drop(b);

    if (from < w->base) {
        from = w->base;
    }

    end = ngx_conduit_bundle_end(b, w, from, max, &bytes);

    if (b->first == b->last) {
        b->first = NULL;
        b->last = NULL;
        return;
    }

    b->frame = ngx_conduit_frame_alloc(bytes);

    if (b->frame == NULL) {
        b->first = NULL;
        b->last = NULL;
        return;
    }

    p = b->frame->data;

    for (seq = from; seq < end; seq++) {

        f = conduit_window_item(w, seq)->frame;

        if (f != NULL) {
            p = ngx_cpymem(p, f->data, f->len);
        }
    }

    /* their addresses are names: no other frame may get them */

    b->first->refs++;
    b->last->refs++;
}


/* finds the first and the last of the events, without references */

static uint64_t
ngx_conduit_bundle_end(ngx_conduit_bundle_t *b, const conduit_window_t *w,
    uint64_t from, size_t max, size_t *bytes)
{
    uint64_t               seq, end;
    ngx_conduit_frame_t   *f;
    const conduit_item_t  *item;

    *bytes = 0;
    end = conduit_window_end(w);

    for (seq = from; seq < end; seq++) {

        item = conduit_window_item(w, seq);
        f = item->frame;

        if (item->kind != CONDUIT_ITEM_ENTRY) {
            break;
        }

        if (f == NULL) {
            continue;
        }

        if (f->len > max - *bytes || (b->last != NULL && b->last->end)) {
            break;
        }

        if (b->first == NULL) {
            b->first = f;
        }

        b->last = f;
        *bytes += f->len;
    }

    return seq;
}


void
ngx_conduit_bundle_drop(ngx_conduit_bundle_t *b)
{
    if (b->frame == NULL) {
        return;
    }

    ngx_conduit_frame_release(b->frame);
    ngx_conduit_frame_release(b->first);
    ngx_conduit_frame_release(b->last);

    b->frame = NULL;
    b->first = NULL;
    b->last = NULL;
}
