/* Copyright (C) Conduit for NGINX authors */

/*
 * How a listener gets its place: a search finds where it starts, an answer
 * judges its position.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_listeners_core.h"


static ngx_uint_t ngx_conduit_listeners_search(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, conduit_stream_id_t *pos);
static ngx_int_t ngx_conduit_listeners_join(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, const conduit_stream_id_t *pos);
static void ngx_conduit_listeners_begin(ngx_conduit_listener_t *l);
static void ngx_conduit_listeners_judge(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, const conduit_history_answer_t *a,
    ngx_uint_t batch);
static ngx_uint_t ngx_conduit_listeners_is_at_end(
    const conduit_stream_id_t *pos, const conduit_history_t *h,
    const conduit_history_answer_t *a);


#if (NGX_DEBUG)

/* conduit_history_verdict_e, conduit_place_loss_e */

static const char  *ngx_conduit_listeners_verdicts[] = {
    "in the stream", "before the oldest entry", "of another stream",
    "the END's", "not covered by the answer"
};

static const char  *ngx_conduit_listeners_losses[] = {
    "nothing", "trimmed", "gone"
};

#endif


ngx_int_t
ngx_conduit_listeners_add(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l)
{
    ngx_int_t            rc;
    conduit_stream_id_t  pos;

    pos = l->id;

    if (ngx_conduit_listeners_search(ls, l, &pos)) {
        rc = ngx_conduit_listeners_join(ls, l, &pos);

    } else {
        l->seeking = 1;
        rc = NGX_AGAIN;
    }

    if (rc == NGX_DONE) {
        return NGX_DONE;
    }

    ls->n++;

    ngx_queue_insert_tail(&ls->waiting, &l->queue);

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: listener %p joins at %uL-%uL, %ui in all",
                   l, l->id.ms, l->id.seq, ls->n);

    return rc;
}


/* whether it is known where a listener starts, which sets *pos; if not, Redis
   must be asked */

static ngx_uint_t
ngx_conduit_listeners_search(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, conduit_stream_id_t *pos)
{
    conduit_start_search_t  search;

    if (l->start.kind == CONDUIT_START_OLDEST) {
        return 1;
    }

    if (!ngx_conduit_feed_is_fresh(ls->feed)) {
        return 0;
    }

    conduit_start_begin(&search, &l->start);

    if (!conduit_start_window(&search, ngx_conduit_feed_history(ls->feed),
                              ngx_conduit_frame_ends,
                              ngx_conduit_feed_found_end(ls->feed)))
    {
        return 0;
    }

    *pos = search.pos;

    return 1;
}


/* puts a listener in its place after pos; returns what _add() does */

static ngx_int_t
ngx_conduit_listeners_join(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, const conduit_stream_id_t *pos)
{
    ngx_int_t  rc;

    ngx_conduit_feed_place(ls->feed, pos);

    conduit_place_join(&l->place, ngx_conduit_feed_history(ls->feed), pos);

    l->life = l->place.life;
    ngx_conduit_listeners_moved_back(l);

    /* "turn" starts at an END that other entries follow.  The channel may not
       have read these yet, as Redis' notice can arrive later than the reply to
       the search; then it would take the END for the end of the stream */

    if (ls->after_end == NGX_CONDUIT_AFTER_END_STOP
        && l->start.kind != CONDUIT_START_TURN
        && l->place.where == CONDUIT_PLACE_WINDOW
        && (l->place.pos.ms || l->place.pos.seq))
    {
        rc = ngx_conduit_feed_at_end(ls->feed, &l->place.pos);

        if (rc == NGX_DONE && l->start.kind != CONDUIT_START_SINCE) {
            return NGX_DONE;
        }

        /* "since": the search did not look at what follows its entry, so an
           answer that does must come first */

        if (rc != NGX_OK) {
            l->place.where = CONDUIT_PLACE_JOINING;
        }
    }

    if (l->place.where == CONDUIT_PLACE_JOINING) {
        return NGX_AGAIN;
    }

    ngx_conduit_listeners_begin(l);

    return NGX_OK;
}


/*
 * Called when the place where a listener starts is known and judged.  The
 * client is told of no loss before it, as it never had those entries.  With
 * LATEST and SINCE, the first event may be far off, so the client is told its
 * position now: if it reconnects before that event, it resumes here and misses
 * none.  TURN needs no such line, as the search will find the same place again.
 */

static void
ngx_conduit_listeners_begin(ngx_conduit_listener_t *l)
{
    if (l->start.kind == CONDUIT_START_LATEST
        || l->start.kind == CONDUIT_START_SINCE)
    {
        l->id = l->place.pos;
        l->life = l->place.life;
        l->tells = 1;
    }

    if (l->start.kind != CONDUIT_START_OLDEST) {
        l->place.loss = CONDUIT_PLACE_TOLD;
        l->start.kind = CONDUIT_START_OLDEST;
    }
}


ngx_uint_t
ngx_conduit_listeners_seeks(ngx_conduit_listeners_t *ls,
    conduit_start_t *start)
{
    ngx_queue_t             *q;
    ngx_conduit_listener_t  *l;

    if (ngx_queue_empty(&ls->seeking)) {
        return 0;
    }

    if (start == NULL) {
        return 1;
    }

    *start = ngx_conduit_listeners_head(&ls->seeking)->start;

    for (q = ngx_queue_head(&ls->seeking);
         q != ngx_queue_sentinel(&ls->seeking);
         q = ngx_queue_next(q))
    {
        l = ngx_queue_data(q, ngx_conduit_listener_t, queue);
        l->sought = conduit_start_same(&l->start, start);
    }

    return 1;
}


void
ngx_conduit_listeners_found(ngx_conduit_listeners_t *ls,
    const conduit_stream_id_t *pos)
{
    ngx_int_t                rc;
    ngx_queue_t              list;
    conduit_stream_id_t      at;
    ngx_conduit_listener_t  *l;

    ngx_conduit_schedule_take(&list, &ls->seeking);

    while (!ngx_queue_empty(&list)) {

        l = ngx_conduit_listeners_head(&list);
        ngx_conduit_listeners_move(ls, l, &ls->seeking);

        at = *pos;

        /* the search was not for this listener, but the window may have its
           start by now */

        if (!l->sought && !ngx_conduit_listeners_search(ls, l, &at)) {
            continue;
        }

        l->seeking = 0;
        l->sought = 0;

        rc = ngx_conduit_listeners_join(ls, l, &at);

        if (rc == NGX_DONE) {
            l->on->end(l, NGX_CONDUIT_CLOSE_END);
            continue;
        }

        if (rc == NGX_AGAIN || l->on->start(l) == NGX_OK) {
            ngx_conduit_listeners_place(ls, l);
        }
    }

    ngx_conduit_feed_start(ls->feed);
}


void
ngx_conduit_listeners_judged(ngx_conduit_listeners_t *ls,
    const conduit_history_answer_t *a, ngx_uint_t batch)
{
    ngx_queue_t              list;
    conduit_history_t       *h;
    ngx_conduit_listener_t  *l;

    h = ngx_conduit_feed_history(ls->feed);

    ngx_conduit_schedule_take(&list, &ls->below);

    while (!ngx_queue_empty(&list)) {

        l = ngx_conduit_listeners_head(&list);
        ngx_conduit_listeners_move(ls, l, &ls->below);

        if (l->place.life != h->life
            || conduit_stream_id_cmp(&l->place.pos, &a->from) < 0
            || (!batch && l->place.where != CONDUIT_PLACE_JOINING))
        {
            continue;
        }

        ngx_conduit_listeners_judge(ls, l, a, batch);
    }
}


static void
ngx_conduit_listeners_judge(ngx_conduit_listeners_t *ls,
    ngx_conduit_listener_t *l, const conduit_history_answer_t *a,
    ngx_uint_t batch)
{
    conduit_place_t           *p;
    conduit_history_t         *h;
    conduit_history_verdict_e  verdict;

    p = &l->place;
    h = ngx_conduit_feed_history(ls->feed);

    verdict = conduit_place_judge(p, h, a);

    ngx_log_debug5(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: listener %p: its position is %s, it is told %s "
                   "and continues after %uL-%uL", l,
                   ngx_conduit_listeners_verdicts[verdict],
                   ngx_conduit_listeners_losses[p->loss], p->pos.ms,
                   p->pos.seq);

    switch (verdict) {

    case CONDUIT_HISTORY_AGAIN:
        return;

    case CONDUIT_HISTORY_END:
        conduit_place_settle(p, h, a);
        break;

    case CONDUIT_HISTORY_GONE:

        if (l->start.kind == CONDUIT_START_LATEST) {

            /* the entry that was found belongs to a stream that is gone:
               search again in the new one */

            l->seeking = 1;
            ngx_conduit_listeners_place(ls, l);
            return;
        }

        break;

    default:
        break;
    }

    if (ls->after_end == NGX_CONDUIT_AFTER_END_STOP
        && ngx_conduit_listeners_is_at_end(&p->pos, h, a))
    {
        l->on->end(l, NGX_CONDUIT_CLOSE_END);
        return;
    }

    ngx_conduit_listeners_moved_back(l);
    ngx_conduit_listeners_begin(l);

    if (p->where == CONDUIT_PLACE_BATCH && !batch) {
        conduit_place_unserved(p);
    }

    if (l->on->start(l) == NGX_OK && !l->blocked) {
        ngx_conduit_listeners_place(ls, l);
    }
}


/* whether a position is that of an END that no entry follows */

static ngx_uint_t
ngx_conduit_listeners_is_at_end(const conduit_stream_id_t *pos,
    const conduit_history_t *h, const conduit_history_answer_t *a)
{
    const conduit_stream_id_t  *last;

    if (!a->ended || conduit_stream_id_cmp(pos, &h->cursor) < 0) {
        return 0;
    }

    last = a->has_tail ? &a->tail.id : &a->entries[a->nentries - 1].id;

    return conduit_stream_id_cmp(pos, last) == 0;
}


void
ngx_conduit_listeners_start(ngx_conduit_listeners_t *ls)
{
    ngx_uint_t               i;
    ngx_queue_t              list, *queues[2];
    ngx_conduit_listener_t  *l;

    queues[0] = &ls->seeking;
    queues[1] = &ls->below;

    for (i = 0; i < 2; i++) {

        ngx_conduit_schedule_take(&list, queues[i]);

        while (!ngx_queue_empty(&list)) {
            l = ngx_conduit_listeners_head(&list);
            ngx_conduit_listeners_move(ls, l, queues[i]);
            (void) l->on->start(l);
        }
    }
}
