/* Copyright (C) Conduit for NGINX authors */

/*
 * A feed's batches: entries read from the position of a listener that is below
 * the window, or joins.  All listeners at this position or after it are served
 * from them.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_feed_core.h"
#include "ngx_conduit_gateway_metrics.h"


static ngx_int_t ngx_conduit_feed_batch_begin(ngx_conduit_feed_t *feed);
static ngx_int_t ngx_conduit_feed_batch_append(ngx_conduit_feed_t *feed,
    size_t i);


void
ngx_conduit_feed_batch_ask(ngx_conduit_feed_t *feed)
{
    conduit_history_t           *h;
    conduit_stream_id_t          pos;
    ngx_conduit_batch_t         *b;
    conduit_history_question_t   ask;

    h = &feed->history;
    b = &feed->batch;

    if (b->question != NULL || b->state == NGX_CONDUIT_BATCH_WAIT
        || !feed->key.shard->doorbell.is_up
        || h->state <= CONDUIT_HISTORY_CLAIMED
        || (b->state == NGX_CONDUIT_BATCH_DISAGREED
            && h->busy != CONDUIT_HISTORY_IDLE)
        || !feed->on->below(feed->data, &pos))
    {
        return;
    }

    conduit_history_ask_batch(h, &pos, &ask);

    b->question = ngx_conduit_feed_send(feed, &ask,
                                        ngx_conduit_feed_count(feed, b->shift)
                                        + ask.extra, 0);

    if (b->question == NULL) {
        ngx_conduit_feed_batch_wait(feed);
        return;
    }

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_CATCH_UPS);
}


void
ngx_conduit_feed_batch_wait(ngx_conduit_feed_t *feed)
{
    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\": a batch waits for the retry",
                   &feed->key.node.str);

    feed->batch.state = NGX_CONDUIT_BATCH_WAIT;

    ngx_conduit_feed_later(feed);
}


void
ngx_conduit_feed_batch_retry(ngx_conduit_feed_t *feed)
{
    if (feed->batch.state == NGX_CONDUIT_BATCH_WAIT) {
        feed->batch.state = NGX_CONDUIT_BATCH_READY;
    }

    ngx_conduit_feed_batch_ask(feed);
}


void
ngx_conduit_feed_batch_unsent(ngx_conduit_feed_t *feed)
{
    ngx_conduit_batch_t  *b;

    b = &feed->batch;

    if (b->question == NULL || b->question->taking) {
        return;
    }

    ngx_conduit_feed_forget(feed, b->question);
    b->question = NULL;
}


void
ngx_conduit_feed_batch_unanswered(ngx_conduit_feed_t *feed,
    ngx_conduit_question_e result)
{
    size_t                count;
    ngx_conduit_batch_t  *b;

    b = &feed->batch;

    /* the count of this question: a new one may ask for fewer entries by now,
       if another answer had larger ones */

    count = b->question->count - b->question->ask.extra;

    ngx_conduit_feed_batch_unsent(feed);

    if (result == NGX_CONDUIT_QUESTION_TOO_LARGE) {

        if (count > 1) {
            b->shift++;

        } else {
            ngx_conduit_feed_give_up(feed);
        }
    }

    if (feed->key.shard->doorbell.is_up) {
        ngx_conduit_feed_batch_wait(feed);
        feed->on->outage(feed->data);
    }
}


ngx_int_t
ngx_conduit_feed_batch_take(ngx_conduit_feed_t *feed)
{
    ngx_int_t                rc;
    ngx_uint_t               ask;
    ngx_conduit_batch_t     *b;
    ngx_conduit_question_t  *q;

    b = &feed->batch;
    q = b->question;
    rc = NGX_OK;
    ask = 0;

    if (q->taking == NGX_CONDUIT_TAKING_NOT) {
        q->taking = NGX_CONDUIT_TAKING_BEGUN;
        rc = ngx_conduit_feed_batch_begin(feed);
    }

    while (rc == NGX_OK && q->taken < b->n) {

        rc = ngx_conduit_feed_batch_append(feed, q->taken++);

        if (rc == NGX_OK && q->taken < b->n
            && ngx_conduit_feed_turn_over(feed))
        {
            return NGX_AGAIN;
        }
    }

    if (rc == NGX_ERROR) {
        ngx_conduit_feed_batch_drop(feed);
        ngx_conduit_feed_batch_wait(feed);
        feed->on->outage(feed->data);
    }

    if (rc == NGX_OK) {
        ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: feed \"%V\" has a batch of %uz entries, up to "
                       "%uL-%uL", &feed->key.node.str, b->n, b->last.ms,
                       b->last.seq);

        /* the entries after the cursor are taken from another answer: until
           then, a client that gets the batch has not got all of the stream */

        if (conduit_history_has_later(&feed->history, &q->answer)) {
            feed->full = 1;
            ask = 1;
        }

        feed->on->judged(feed->data, &q->answer, 1);
    }

    feed->answers = q->next;
    b->question = NULL;

    ngx_conduit_question_forget(q);

    return rc == NGX_DECLINED || ask ? NGX_DECLINED : NGX_OK;
}


/* returns NGX_OK, or NGX_DECLINED when the answer and the window are of
   different streams */

static ngx_int_t
ngx_conduit_feed_batch_begin(ngx_conduit_feed_t *feed)
{
    ngx_conduit_batch_t     *b;
    ngx_conduit_question_t  *q;

    b = &feed->batch;
    q = b->question;

    feed->error_logged = 0;

    if (!q->answer.full) {
        b->shift = 0;
    }

    if (!conduit_history_agrees(&feed->history, &q->answer)) {

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: feed \"%V\": a batch is of another stream",
                       &feed->key.node.str);

        if (b->state == NGX_CONDUIT_BATCH_READY) {
            b->state = NGX_CONDUIT_BATCH_DISAGREED;

        } else {
            ngx_conduit_feed_batch_wait(feed);
            feed->on->outage(feed->data);
        }

        return NGX_DECLINED;
    }

    if (b->state == NGX_CONDUIT_BATCH_DISAGREED) {
        b->state = NGX_CONDUIT_BATCH_READY;
    }

    ngx_conduit_feed_find_end(feed, q);
    ngx_conduit_feed_batch_drop(feed);

    if (!conduit_history_batch(&feed->history, &q->answer, &b->n, &b->last,
                               &b->next))
    {
        ngx_memzero(&b->next, sizeof(conduit_stream_id_t));
    }

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_feed_batch_append(ngx_conduit_feed_t *feed, size_t i)
{
    conduit_item_t           item;
    ngx_conduit_batch_t     *b;
    ngx_conduit_frame_t     *frame;
    ngx_conduit_question_t  *q;

    b = &feed->batch;
    q = b->question;

    if (ngx_conduit_feed_frame(feed, q, i, &frame) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(&item, sizeof(conduit_item_t));

    item.id = q->answer.entries[i].id;
    item.frame = frame;
    item.size = frame ? frame->len : 0;
    item.kind = CONDUIT_ITEM_ENTRY;

    if (conduit_window_append(&b->window, &item) != 0) {

        if (frame != NULL) {
            ngx_conduit_frame_release(frame);
        }

        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_conduit_feed_batch_next(ngx_conduit_feed_t *feed)
{
    return feed->batch.next.ms || feed->batch.next.seq;
}


void
ngx_conduit_feed_batch_drop(ngx_conduit_feed_t *feed)
{
    conduit_window_clear(&feed->batch.window);
}


void
ngx_conduit_feed_batch_cut(ngx_conduit_feed_t *feed)
{
    ngx_conduit_batch_t  *b;

    b = &feed->batch;

    conduit_history_batch_cut(&feed->history, &b->window, &b->last, &b->next);
}
