/* Copyright (C) Conduit for NGINX authors */

/*
 * A feed: how it opens and closes, how it handles what its shard reports, its
 * turns, and the answers it gets.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_portion.h"
#include "ngx_conduit_feed_core.h"


static ngx_conduit_feed_t *ngx_conduit_feed_of(ngx_conduit_key_t *key);
static void ngx_conduit_feed_key_ring(ngx_conduit_key_t *key,
    ngx_conduit_ring_e why);
static void ngx_conduit_feed_key_ask(ngx_conduit_key_t *key);
static void ngx_conduit_feed_key_again(ngx_conduit_key_t *key);
static void ngx_conduit_feed_key_moved(ngx_conduit_key_t *key);
static void ngx_conduit_feed_key_down(ngx_conduit_key_t *key);
static ngx_uint_t ngx_conduit_feed_retry(void *data, ngx_uint_t max);
static ngx_uint_t ngx_conduit_feed_turn(void *data, ngx_uint_t max);
static void ngx_conduit_feed_replied(void *data, ngx_conduit_question_t *q,
    ngx_conduit_question_e result);
static void ngx_conduit_feed_refused(ngx_conduit_feed_t *feed,
    ngx_conduit_question_t *q);
static void ngx_conduit_feed_work(ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_release_frame(void *frame);


static const ngx_conduit_key_handlers_t  ngx_conduit_feed_key = {
    ngx_conduit_feed_key_ring,
    ngx_conduit_feed_key_ask,
    ngx_conduit_feed_key_again,
    ngx_conduit_feed_key_moved,
    ngx_conduit_feed_key_down
};


static ngx_conduit_feed_t *
ngx_conduit_feed_of(ngx_conduit_key_t *key)
{
    return ngx_queue_data(key, ngx_conduit_feed_t, key);
}


static void
ngx_conduit_feed_key_ring(ngx_conduit_key_t *key, ngx_conduit_ring_e why)
{
    ngx_conduit_cause_e  cause;

    cause = why == NGX_CONDUIT_RING_BELL ? NGX_CONDUIT_CAUSE_BELL
            : why == NGX_CONDUIT_RING_SWEEP ? NGX_CONDUIT_CAUSE_SWEEP
            : NGX_CONDUIT_CAUSE_NONE;

    ngx_conduit_feed_ring(ngx_conduit_feed_of(key), cause);
}


/* the link or the server is a new one: all questions are asked again */

static void
ngx_conduit_feed_key_ask(ngx_conduit_key_t *key)
{
    ngx_conduit_feed_t  *feed;

    feed = ngx_conduit_feed_of(key);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" can be read", &key->node.str);

    ngx_conduit_feed_unsent(feed);
    ngx_conduit_feed_batch_unsent(feed);
    ngx_conduit_feed_seek_unsent(feed);

    ngx_conduit_feed_ask(feed);
    ngx_conduit_feed_batch_ask(feed);
    ngx_conduit_feed_seek(feed);

    feed->on->readable(feed->data);
}


/* called while a reply is handled: two servers redirect the key to each other,
   which may go on for long */

static void
ngx_conduit_feed_key_again(ngx_conduit_key_t *key)
{
    ngx_conduit_feed_t  *feed;

    feed = ngx_conduit_feed_of(key);

    ngx_conduit_feed_batch_wait(feed);
    ngx_conduit_feed_seek_wait(feed);

    if (feed->history.busy == CONDUIT_HISTORY_IDLE) {
        conduit_history_failed(&feed->history);
    }

    feed->on->outage(feed->data);
}


/* the answers to questions that are out would come from the server that had the
   key before */

static void
ngx_conduit_feed_key_moved(ngx_conduit_key_t *key)
{
    ngx_conduit_feed_t  *feed;

    feed = ngx_conduit_feed_of(key);

    ngx_conduit_feed_unsent(feed);
    ngx_conduit_feed_batch_unsent(feed);
    ngx_conduit_feed_seek_unsent(feed);
}


static void
ngx_conduit_feed_key_down(ngx_conduit_key_t *key)
{
    ngx_conduit_feed_t  *feed;

    feed = ngx_conduit_feed_of(key);

    feed->on->outage(feed->data);
}


static ngx_uint_t
ngx_conduit_feed_retry(void *data, ngx_uint_t max)
{
    ngx_conduit_feed_t  *feed = data;

    (void) conduit_history_retry(&feed->history);

    if (conduit_history_ring(&feed->history)) {
        ngx_conduit_feed_ask(feed);
    }

    ngx_conduit_feed_batch_retry(feed);
    ngx_conduit_feed_seek_retry(feed);

    return 0;
}


ngx_int_t
ngx_conduit_feed_open(ngx_conduit_feed_t *feed, ngx_conduit_hub_t *hub,
    ngx_str_t *name, const ngx_conduit_feed_handlers_t *on, void *data)
{
    feed->hub = hub;
    feed->on = on;
    feed->data = data;
    feed->replied = ngx_conduit_feed_replied;
    feed->retry.handler = ngx_conduit_feed_retry;
    feed->retry.data = feed;
    feed->work.handler = ngx_conduit_feed_turn;
    feed->work.data = feed;
    feed->batch.window.release = ngx_conduit_feed_release_frame;

    feed->key.node.str = *name;
    feed->key.on = &ngx_conduit_feed_key;

    if (ngx_conduit_shard_add(hub, &feed->key) != NGX_OK) {
        return NGX_ERROR;
    }

    conduit_history_init(&feed->history, NULL, ngx_conduit_feed_release_frame);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" opened", name);

    return NGX_OK;
}


void
ngx_conduit_feed_place(ngx_conduit_feed_t *feed,
    const conduit_stream_id_t *pos)
{
    if (feed->history.state != CONDUIT_HISTORY_NOWHERE) {
        return;
    }

    conduit_history_init(&feed->history, pos, ngx_conduit_feed_release_frame);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" starts at %uL-%uL",
                   &feed->key.node.str, pos->ms, pos->seq);
}


void
ngx_conduit_feed_start(ngx_conduit_feed_t *feed)
{
    if (feed->history.asked == 0) {
        ngx_conduit_feed_ask(feed);
    }
}


void
ngx_conduit_feed_renew(ngx_conduit_feed_t *feed)
{
    ngx_conduit_feed_ring(feed, NGX_CONDUIT_CAUSE_NONE);
}


static void
ngx_conduit_feed_release_frame(void *frame)
{
    ngx_conduit_frame_release(frame);
}


void
ngx_conduit_feed_close(ngx_conduit_feed_t *feed)
{
    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" closed", &feed->key.node.str);

    ngx_conduit_schedule_cancel(&feed->retry);
    ngx_conduit_schedule_cancel(&feed->work);
    ngx_conduit_shard_remove(&feed->key);

    if (feed->question != NULL) {
        ngx_conduit_question_forget(feed->question);
    }

    if (feed->batch.question != NULL) {
        ngx_conduit_question_forget(feed->batch.question);
    }

    if (feed->seek.question != NULL) {
        ngx_conduit_question_forget(feed->seek.question);
    }

    conduit_history_free(&feed->history);
    conduit_window_clear(&feed->batch.window);
}


ngx_uint_t
ngx_conduit_feed_in_use(ngx_conduit_feed_t *feed)
{
    return feed->refs;
}


ngx_uint_t
ngx_conduit_feed_is_up(ngx_conduit_feed_t *feed, ngx_msec_t *away)
{
    *away = ngx_current_msec - feed->key.shard->down_since;

    return feed->key.shard->doorbell.is_up;
}


/* while the links of a worker are being made, as at its first request, an
   answer can be expected */

ngx_uint_t
ngx_conduit_feed_answers(ngx_conduit_feed_t *feed)
{
    if (!feed->key.shard->doorbell.is_up) {
        return ngx_conduit_shard_connecting(feed->key.shard);
    }

    return feed->batch.state != NGX_CONDUIT_BATCH_WAIT && !feed->seek.waits
           && feed->history.busy != CONDUIT_HISTORY_WAIT;
}


ngx_int_t
ngx_conduit_feed_at_end(ngx_conduit_feed_t *feed, conduit_stream_id_t *pos)
{
    conduit_history_t  *h;

    h = &feed->history;

    if (!feed->ended || h->state == CONDUIT_HISTORY_CLAIMED
        || conduit_stream_id_cmp(pos, &h->cursor) != 0)
    {
        return NGX_OK;
    }

    /* before a 204, Redis is asked whether something follows the END */

    return ngx_conduit_feed_is_fresh(feed)
           && conduit_stream_id_cmp(&h->ahead, &h->cursor) <= 0
           ? NGX_DONE : NGX_AGAIN;
}


ngx_uint_t
ngx_conduit_feed_is_fresh(ngx_conduit_feed_t *feed)
{
    conduit_history_t  *h;

    h = &feed->history;

    /* if streams are polled, the last read may be seconds ago; after several
       rings without a new entry, Redis is only asked when the retry timer
       expires */

    return h->state == CONDUIT_HISTORY_SURE && h->busy == CONDUIT_HISTORY_IDLE
           && feed->key.shard->doorbell.is_up
           && !feed->key.shard->doorbell.polling
           && feed->spurious < NGX_CONDUIT_SPURIOUS;
}


ngx_uint_t
ngx_conduit_feed_takes(ngx_conduit_feed_t *feed)
{
    ngx_conduit_question_t  *q;

    q = feed->question;

    return q != NULL && q->taken < q->end;
}


const conduit_stream_id_t *
ngx_conduit_feed_found_end(ngx_conduit_feed_t *feed)
{
    return &feed->seek.turn;
}


conduit_history_t *
ngx_conduit_feed_history(ngx_conduit_feed_t *feed)
{
    return &feed->history;
}


conduit_window_t *
ngx_conduit_feed_batch(ngx_conduit_feed_t *feed, conduit_stream_id_t **last,
    conduit_stream_id_t **next)
{
    *last = &feed->batch.last;
    *next = ngx_conduit_feed_batch_next(feed) ? &feed->batch.next : NULL;

    return &feed->batch.window;
}


void
ngx_conduit_feed_catch_up(ngx_conduit_feed_t *feed)
{
    ngx_conduit_feed_batch_ask(feed);
}


void
ngx_conduit_feed_batch_done(ngx_conduit_feed_t *feed)
{
    if (feed->batch.question == NULL) {
        ngx_conduit_feed_batch_drop(feed);
        ngx_conduit_feed_batch_ask(feed);
    }
}


void
ngx_conduit_feed_drop(ngx_conduit_feed_t *feed, size_t n)
{
    ngx_conduit_batch_t  *b;

    b = &feed->batch;

    if (!ngx_conduit_feed_batch_next(feed)) {
        (void) conduit_history_batch_leave(&feed->history, n, &b->last,
                                           &b->next);
    }

    conduit_history_drop(&feed->history, n);

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" drops %uz items, up to %uL-%uL",
                   &feed->key.node.str, n, feed->history.floor.ms,
                   feed->history.floor.seq);
}


/* a question was answered, or was not; the answers of one link come in order */

static void
ngx_conduit_feed_replied(void *data, ngx_conduit_question_t *q,
    ngx_conduit_question_e result)
{
    ngx_conduit_feed_t       *feed = data;
    ngx_conduit_question_t  **last;

    feed->refs++;

    switch (result) {

    case NGX_CONDUIT_QUESTION_ANSWERED:

        for (last = &feed->answers; *last; last = &(*last)->next) { /* void */ }

        *last = q;

        feed->size = conduit_portion_learn(feed->size, q->bytes,
                                           q->answer.nentries);

        /* it is processed after all sockets of this turn of the event loop were
           read; if the task waits already, to go on with an earlier answer,
           this changes nothing */

        ngx_conduit_schedule_run(&feed->hub->schedule, &feed->work);
        break;

    case NGX_CONDUIT_QUESTION_REFUSED:
        ngx_conduit_feed_refused(feed, q);
        break;

    default:
        if (q == feed->batch.question) {
            ngx_conduit_feed_batch_unanswered(feed, result);

        } else if (q == feed->seek.question) {
            ngx_conduit_feed_seek_unanswered(feed, result);

        } else {
            ngx_conduit_feed_unanswered(feed, result);
        }
    }

    feed->refs--;

    feed->on->released(feed->data);
}


/*
 * An error reply.  A redirect is handled by the shard alone.  After any other
 * error the retry timer asks again, as a question sent at once would probably
 * fail, too.
 */

static void
ngx_conduit_feed_refused(ngx_conduit_feed_t *feed, ngx_conduit_question_t *q)
{
    redisReply  *reply;
    ngx_uint_t   batch, seek;

    batch = (q == feed->batch.question);
    seek = (q == feed->seek.question);

    /* the question is forgotten first, as the functions below may ask another
       one */

    reply = q->reply;
    q->reply = NULL;

    if (batch) {
        ngx_conduit_feed_batch_unsent(feed);

    } else if (seek) {
        ngx_conduit_feed_seek_unsent(feed);

    } else {
        ngx_conduit_feed_unsent(feed);
    }

    if (!ngx_conduit_shard_redirect(&feed->key, reply)) {

        ngx_conduit_feed_log_error(feed, reply);

        if (batch) {
            ngx_conduit_feed_batch_wait(feed);

        } else if (seek) {
            ngx_conduit_feed_seek_wait(feed);

        } else {
            conduit_history_failed(&feed->history);
            ngx_conduit_feed_later(feed);
        }

        feed->on->outage(feed->data);
    }

    freeReplyObject(reply);
}


static ngx_uint_t
ngx_conduit_feed_turn(void *data, ngx_uint_t max)
{
    ngx_conduit_feed_t  *feed = data;

    feed->refs++;

    ngx_conduit_feed_work(feed);

    feed->refs--;

    feed->on->released(feed->data);

    return 1;
}


/* processes answers until the time of the turn is over */

static void
ngx_conduit_feed_work(ngx_conduit_feed_t *feed)
{
    ngx_int_t                rc;
    ngx_conduit_question_t  *q;

    while (feed->answers != NULL) {

        q = feed->answers;

        rc = q == feed->question ? ngx_conduit_feed_take(feed)
             : q == feed->seek.question ? ngx_conduit_feed_seek_take(feed)
             : ngx_conduit_feed_batch_take(feed);

        if (rc == NGX_AGAIN) {
            ngx_conduit_schedule_run_long(&feed->hub->schedule, &feed->work);
            return;
        }

        if (rc == NGX_DECLINED) {
            ngx_conduit_feed_ring(feed, NGX_CONDUIT_CAUSE_NONE);
        }
    }

    ngx_conduit_feed_batch_ask(feed);
}
