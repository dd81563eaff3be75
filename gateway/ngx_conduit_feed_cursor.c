/* Copyright (C) Conduit for NGINX authors */

/*
 * The question about a feed's cursor: asked when the key rings, is swept or
 * polled; new entries are appended to the window.  conduit_history.c decides
 * what to ask, and what an answer means.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_feed_core.h"
#include "ngx_conduit_gateway_metrics.h"


/* when a deletion can only be recognized by reading all of a stream, it may
   have this many entries: more than Conduit keeps of a stream */
#define NGX_CONDUIT_WHOLE  10000


static ngx_int_t ngx_conduit_feed_begin(ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_take_nothing(ngx_conduit_feed_t *feed,
    conduit_history_next_e next, ngx_uint_t more);
static ngx_uint_t ngx_conduit_feed_ask_whole(ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_changed(ngx_conduit_feed_t *feed,
    conduit_history_plan_t *plan, conduit_stream_id_t *cursor);
static void ngx_conduit_feed_cut(ngx_conduit_feed_t *feed);
static ngx_int_t ngx_conduit_feed_append(ngx_conduit_feed_t *feed, size_t i);
static void ngx_conduit_feed_settled(ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_reset_empty(ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_count_empty(ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_done(ngx_conduit_feed_t *feed,
    ngx_uint_t ask_again);


#if (NGX_DEBUG)

/* conduit_history_change_e, conduit_history_next_e */

static const char  *ngx_conduit_feed_changes[] = {
    "no change", "a gap", "rolled back", "another stream"
};

static const char  *ngx_conduit_feed_nexts[] = {
    "waits for a ring", "asks again", "appends", "waits for memory"
};

#endif


void
ngx_conduit_feed_ring(ngx_conduit_feed_t *feed, ngx_conduit_cause_e cause)
{
    if (cause > feed->cause) {
        feed->cause = cause;
    }

    /* several rings without a new entry: the server's tracking table is full,
       so each read evicts another key, which rings; the retry timer slows this
       down */

    if (cause == NGX_CONDUIT_CAUSE_BELL
        && feed->spurious == NGX_CONDUIT_SPURIOUS)
    {
        ngx_conduit_feed_later(feed);
        return;
    }

    if (conduit_history_ring(&feed->history)) {
        ngx_conduit_feed_ask(feed);
    }
}


void
ngx_conduit_feed_ask(ngx_conduit_feed_t *feed)
{
    size_t                       overlap;
    conduit_history_t           *h;
    conduit_history_question_t   ask;

    h = &feed->history;

    /* nothing is sent before the doorbell is up: then all keys are read */

    if (h->state == CONDUIT_HISTORY_NOWHERE
        || !feed->key.shard->doorbell.is_up
        || h->busy != CONDUIT_HISTORY_IDLE)
    {
        return;
    }

    /* a handler calls this while an answer is taken: the question is sent after
       that */

    if (feed->question != NULL) {
        feed->question->taking = NGX_CONDUIT_TAKING_OUTDATED;
        return;
    }

    if (feed->max_overlap >= h->window.n) {
        feed->max_overlap = 0;
    }

    overlap = feed->max_overlap ? feed->max_overlap : NGX_MAX_INT32_VALUE;

    conduit_history_ask(h, feed->cause == NGX_CONDUIT_CAUSE_BELL, overlap,
                        &ask);

    feed->question = ngx_conduit_feed_send(feed, &ask,
                             ngx_conduit_feed_count(feed, feed->shift)
                             + ask.extra, 0);

    if (feed->question == NULL) {
        conduit_history_failed(h);
        ngx_conduit_feed_later(feed);
        return;
    }

    ngx_conduit_gateway_count(ask.kind == CONDUIT_HISTORY_FAST
                              ? NGX_CONDUIT_GATEWAY_READS
                              : NGX_CONDUIT_GATEWAY_LOOK_UPS);
}


void
ngx_conduit_feed_unsent(ngx_conduit_feed_t *feed)
{
    ngx_conduit_question_t  *q;

    q = feed->question;

    if (q != NULL && q->taking) {

        /* the answer is still taken to its end */

        q->taking = NGX_CONDUIT_TAKING_OUTDATED;
        return;
    }

    if (q != NULL) {
        ngx_conduit_feed_forget(feed, q);
        feed->question = NULL;
    }

    conduit_history_unsent(&feed->history);
}


void
ngx_conduit_feed_unanswered(ngx_conduit_feed_t *feed,
    ngx_conduit_question_e result)
{
    size_t      overlap, count;
    ngx_uint_t  full, whole;

    /* the count of this question: the next one may ask for fewer entries */

    count = feed->question->count - feed->question->ask.extra;

    full = (feed->question->ask.kind == CONDUIT_HISTORY_FULL);
    overlap = feed->question->ask.overlap;
    whole = feed->question->whole;

    ngx_conduit_feed_unsent(feed);

    if (result == NGX_CONDUIT_QUESTION_TOO_LARGE) {

        /* the next try asks for less */

        if (full && !whole && overlap > 1) {
            feed->max_overlap = overlap / 2;

        } else if (whole || count > 1) {
            feed->shift++;

        } else {
            ngx_conduit_feed_give_up(feed);
        }
    }

    /* if the server is down, all keys are read when its doorbell comes up.  If
       it is up, as this key has moved to it from a server that was lost, the
       retry timer asks */

    if (feed->key.shard->doorbell.is_up) {
        conduit_history_failed(&feed->history);
        ngx_conduit_feed_later(feed);
        feed->on->outage(feed->data);
    }
}


ngx_int_t
ngx_conduit_feed_take(ngx_conduit_feed_t *feed)
{
    ngx_int_t                rc;
    ngx_conduit_question_t  *q;

    q = feed->question;

    if (q->taking == NGX_CONDUIT_TAKING_NOT) {
        q->taking = NGX_CONDUIT_TAKING_BEGUN;

        rc = ngx_conduit_feed_begin(feed);

        if (rc != NGX_AGAIN) {
            return rc;
        }
    }

    while (q->taken < q->end) {

        if (ngx_conduit_feed_append(feed, q->taken) != NGX_OK) {
            feed->full = 1;
            conduit_history_failed(&feed->history);
            ngx_conduit_feed_later(feed);
            feed->on->appended(feed->data);
            feed->on->outage(feed->data);
            ngx_conduit_feed_done(feed, 0);
            return NGX_OK;
        }

        q->taken++;

        if (q->taken < q->end && ngx_conduit_feed_turn_over(feed)) {

            ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                           "conduit: feed \"%V\" has taken %uz of %uz entries",
                           &feed->key.node.str, q->taken, q->end);

            feed->on->appended(feed->data);
            return NGX_AGAIN;
        }
    }

    ngx_conduit_feed_reset_empty(feed);

    rc = conduit_history_taken(&feed->history, &q->answer);

    feed->on->appended(feed->data);
    ngx_conduit_feed_settled(feed);
    ngx_conduit_feed_done(feed, rc == CONDUIT_HISTORY_NEXT_ASK);

    return NGX_OK;
}


/* returns NGX_OK: the answer is done; or NGX_AGAIN: entries are to be taken */

static ngx_int_t
ngx_conduit_feed_begin(ngx_conduit_feed_t *feed)
{
    ngx_uint_t               full, more;
    conduit_history_t       *h;
    conduit_stream_id_t      cursor;
    conduit_history_plan_t   plan;
    ngx_conduit_question_t  *q;

    h = &feed->history;
    q = feed->question;
    full = (q->ask.kind == CONDUIT_HISTORY_FULL);
    cursor = h->cursor;

    feed->error_logged = 0;
    more = feed->full;
    feed->full = q->answer.full;

    if (!q->answer.full) {
        feed->shift = 0;
    }

    if (full) {

        if (ngx_conduit_feed_ask_whole(feed)) {
            return NGX_OK;
        }

        ngx_conduit_feed_find_end(feed, q);
    }

    conduit_history_answer(h, &q->answer, &plan);

    q->taken = plan.first;
    q->end = plan.end;
    feed->full |= (plan.end < q->answer.nentries);

    ngx_conduit_feed_changed(feed, &plan, &cursor);

    if (full && plan.first == q->answer.nentries
        && h->state == CONDUIT_HISTORY_SURE)
    {
        feed->ended = q->answer.ended;
    }

    if (plan.next == CONDUIT_HISTORY_NEXT_TAKE) {
        return NGX_AGAIN;
    }

    ngx_conduit_feed_take_nothing(feed, plan.next, more);

    return NGX_OK;
}


/* ends an answer of which no entry is taken; more: the answer before it did not
   tell whether the stream has more entries */

static void
ngx_conduit_feed_take_nothing(ngx_conduit_feed_t *feed,
    conduit_history_next_e next, ngx_uint_t more)
{
    /* neither does this one, or the stream has those that were not taken */

    if (next != CONDUIT_HISTORY_NEXT_IDLE) {
        feed->full |= (more
                       || conduit_history_has_later(&feed->history,
                                                    &feed->question->answer));
    }

    if (next == CONDUIT_HISTORY_NEXT_WAIT) {
        ngx_conduit_feed_later(feed);
        feed->on->outage(feed->data);
        ngx_conduit_feed_done(feed, 0);
        return;
    }

    if (next == CONDUIT_HISTORY_NEXT_IDLE) {
        ngx_conduit_feed_count_empty(feed);

        /* so the answer before this one had all there is: some clients are told
           that */

        if (more) {
            feed->on->appended(feed->data);
        }
    }

    ngx_conduit_feed_settled(feed);
    ngx_conduit_feed_done(feed, next == CONDUIT_HISTORY_NEXT_ASK);
}


/*
 * If the answer ends too early to tell what happened to the entry at the
 * cursor, asks once for all entries of the stream.  Returns 1 if it did, or
 * failed to, and the answer is done with; else 0.
 */

static ngx_uint_t
ngx_conduit_feed_ask_whole(ngx_conduit_feed_t *feed)
{
    ngx_conduit_question_t  *q, *whole;

    q = feed->question;

    if (q->whole || feed->shift || feed->max_overlap
        || q->answer.length > NGX_CONDUIT_WHOLE
        || !conduit_history_is_short(&feed->history, &q->answer))
    {
        return 0;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" asks for all of %uL entries",
                   &feed->key.node.str, q->answer.length);

    /* asks for some more, as entries may have been added since */

    whole = ngx_conduit_feed_send(feed, &q->ask,
                                  q->answer.length
                                  + ngx_conduit_feed_count(feed, 0), 0);

    if (whole != NULL) {
        whole->whole = 1;
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_LOOK_UPS);

    } else {
        conduit_history_failed(&feed->history);
        ngx_conduit_feed_later(feed);
    }

    feed->question = whole;
    feed->answers = q->next;

    ngx_conduit_question_forget(q);

    if (whole == NULL) {
        feed->on->outage(feed->data);
    }

    return 1;
}


static void
ngx_conduit_feed_changed(ngx_conduit_feed_t *feed,
    conduit_history_plan_t *plan, conduit_stream_id_t *cursor)
{
    conduit_history_t  *h;

    h = &feed->history;

    ngx_log_debug7(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" %s: %s, %s, %uz of %uz entries are "
                   "new, cursor %uL", &feed->key.node.str, plan->why,
                   ngx_conduit_feed_changes[plan->change],
                   ngx_conduit_feed_nexts[plan->next],
                   feed->question->answer.nentries - plan->first,
                   feed->question->answer.nentries, h->cursor.ms);

    if (plan->change == CONDUIT_HISTORY_CUT
        || plan->change == CONDUIT_HISTORY_RESTART)
    {
        /* the ring was not spurious */

        feed->spurious = 0;
        feed->cause = NGX_CONDUIT_CAUSE_NONE;
    }

    switch (plan->change) {

    case CONDUIT_HISTORY_CUT:

        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "conduit: redis %V: stream \"%V\" has lost its entries "
                      "after %uL-%uL, up to %uL-%uL",
                      &feed->key.shard->doorbell.redis->name,
                      &feed->key.label, h->cursor.ms, h->cursor.seq,
                      cursor->ms, cursor->seq);

        ngx_conduit_feed_cut(feed);
        feed->on->changed(feed->data, plan->change);
        break;

    case CONDUIT_HISTORY_RESTART:

        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_RESTARTS);

        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "conduit: redis %V: stream \"%V\" was deleted or "
                      "recreated, reading it from its oldest entry",
                      &feed->key.shard->doorbell.redis->name,
                      &feed->key.label);

        feed->ended = 0;

        ngx_conduit_feed_batch_drop(feed);
        feed->on->changed(feed->data, plan->change);
        feed->on->appended(feed->data);
        break;

    default:
        break;
    }
}


/* the window was cut, perhaps to no item; cuts the batch, too */

static void
ngx_conduit_feed_cut(ngx_conduit_feed_t *feed)
{
    conduit_item_t       *item;
    conduit_window_t     *w;
    ngx_conduit_frame_t  *frame;

    w = &feed->history.window;

    ngx_conduit_feed_batch_cut(feed);

    if (w->n == 0) {

        /* the window had no items: the cursor has not moved */

        return;
    }

    item = conduit_window_item(w, conduit_window_end(w) - 1);
    frame = item->frame;

    feed->ended = (frame != NULL && frame->end);
}


static ngx_int_t
ngx_conduit_feed_append(ngx_conduit_feed_t *feed, size_t i)
{
    ngx_conduit_frame_t     *frame;
    ngx_conduit_question_t  *q;

    q = feed->question;

    if (ngx_conduit_feed_frame(feed, q, i, &frame) != NGX_OK) {
        return NGX_ERROR;
    }

    if (conduit_history_take(&feed->history, &q->answer.entries[i], frame,
                             frame ? frame->len : 0)
        != 0)
    {
        if (frame != NULL) {
            ngx_conduit_frame_release(frame);
        }

        return NGX_ERROR;
    }

    feed->ended = (frame != NULL && frame->end);

    return NGX_OK;
}


/* an answer to FULL judges the listeners that are joining; an answer to FAST,
   too, can tell whether the newest entry is an END */

static void
ngx_conduit_feed_settled(ngx_conduit_feed_t *feed)
{
    ngx_conduit_question_t    *q;
    conduit_history_newest_e   newest;

    q = feed->question;
    newest = conduit_history_newest(&feed->history, &q->answer, feed->ended);

    if (q->ask.kind == CONDUIT_HISTORY_FULL
        && conduit_history_agrees(&feed->history, &q->answer))
    {
        feed->on->judged(feed->data, &q->answer, 0);
    }

    if (newest != CONDUIT_HISTORY_UNKNOWN) {
        feed->on->settled(feed->data, q->ask.serial,
                          newest == CONDUIT_HISTORY_RESTING);
    }
}


static void
ngx_conduit_feed_reset_empty(ngx_conduit_feed_t *feed)
{
    feed->spurious = 0;
    feed->key.empty_polls = 0;

    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_SWEPT,
                            feed->cause == NGX_CONDUIT_CAUSE_SWEEP);

    if (!feed->history.dirty) {
        feed->cause = NGX_CONDUIT_CAUSE_NONE;
    }
}


/* there is no entry after the cursor */

static void
ngx_conduit_feed_count_empty(ngx_conduit_feed_t *feed)
{
    if (feed->key.empty_polls < 255) {
        feed->key.empty_polls++;
    }

    if (feed->cause == NGX_CONDUIT_CAUSE_BELL) {

        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_SPURIOUS);

        if (feed->spurious < NGX_CONDUIT_SPURIOUS) {
            feed->spurious++;
        }
    }

    feed->cause = NGX_CONDUIT_CAUSE_NONE;
}


static void
ngx_conduit_feed_done(ngx_conduit_feed_t *feed, ngx_uint_t ask_again)
{
    ngx_conduit_question_t  *q;

    q = feed->question;

    feed->question = NULL;
    feed->answers = q->next;

    if (q->taking == NGX_CONDUIT_TAKING_OUTDATED) {
        conduit_history_unsent(&feed->history);
        ask_again = 1;
    }

    ngx_conduit_question_forget(q);

    if (ask_again) {
        ngx_conduit_feed_ask(feed);
    }
}
