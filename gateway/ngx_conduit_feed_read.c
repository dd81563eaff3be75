/*
 * A feed's reads: one stream, read once for all who listen in a worker.
 *
 * Three questions to Redis may be under way for a feed, one of each kind:
 *  - XREAD from just before the cursor, which appends to the window.  The entry
 *    at the cursor comes first: it shows that nothing after it was trimmed.
 *    When it does not, XINFO and the read are sent together, and tell; or a
 *    read of all that is in the window shows where the stream has left it
 *    (ngx_conduit_feed_back.c).  A ring
 *    while a read is under way may be older or newer than its reply: "dirty"
 *    makes another one follow.  A full reply is followed by another one too.
 *  - XRANGE from the position of the first subscriber that is behind: a batch.
 *    It starts with the entry at that position: when that one is still there,
 *    nothing after it was trimmed.
 *  - XINFO, the look-up (ngx_conduit_feed_look.c).
 * A question that was answered with an error is asked again by the retry,
 * and not before: an error that comes at once would be asked for all the time.
 * The feed stays in memory until the last reply is in.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_feed_core.h"
#include "ngx_conduit_gateway_metrics.h"


static void ngx_conduit_feed_append(ngx_conduit_feed_t *feed,
    redisReply *reply);
static ngx_int_t ngx_conduit_feed_take_in(ngx_conduit_feed_t *feed,
    redisReply *list, conduit_stream_id_t *first);
static void ngx_conduit_feed_nothing(ngx_conduit_feed_t *feed,
    ngx_uint_t kept);
static ngx_int_t ngx_conduit_feed_frames(ngx_conduit_feed_t *feed,
    redisReply *list, ngx_conduit_frames_t *frames, conduit_stream_id_t *last);
static void ngx_conduit_feed_batch(ngx_conduit_feed_t *feed,
    redisReply *reply);
static ngx_int_t ngx_conduit_feed_check(ngx_conduit_batch_t *batch,
    ngx_conduit_position_t *at);


void
ngx_conduit_feed_read_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_feed_t  *feed = data;

    feed->reading = 0;
    feed->holds++;

    if (outcome != NGX_CONDUIT_REPLIED) {
        ngx_conduit_feed_unanswered(feed, outcome);

    } else if (!(ngx_conduit_feed_wants(feed) & NGX_CONDUIT_WANT_EVENTS)) {

        /* nobody listens any more */

    } else if (feed->read_moves != feed->key.moves) {

        /* of the server before */

        ngx_conduit_feed_read(feed);

    } else if (!ngx_conduit_shard_redirect(&feed->key, reply)) {

        if (feed->read_epoch == feed->epoch) {
            ngx_conduit_feed_append(feed, reply);

        } else {
            /* read from the cursor of the stream before */
            ngx_conduit_feed_read(feed);
        }
    }

    feed->holds--;

    feed->on->released(feed->data);
}


static void
ngx_conduit_feed_append(ngx_conduit_feed_t *feed, redisReply *reply)
{
    ngx_int_t             rc;
    redisReply           *list;
    ngx_conduit_entry_t   first;

    if (ngx_conduit_stream_entries(reply, &list) != NGX_OK
        || (list != NULL
            && ngx_conduit_stream_entry(list->element[0], &first) != NGX_OK))
    {
        ngx_conduit_feed_complain(feed, reply);
        ngx_conduit_feed_put_off(feed, NGX_CONDUIT_ASK_READ);
        return;
    }

    feed->complained = 0;
    feed->key.redirects = 0;

    if (feed->comparing
        && ngx_conduit_feed_part(feed, list, &first.id) != NGX_OK)
    {
        ngx_conduit_feed_another(feed);
        ngx_conduit_feed_read(feed);
        return;
    }

    if (list == NULL
        || (list->elements == 1
            && conduit_stream_id_cmp(&first.id, &feed->cursor) == 0))
    {
        ngx_conduit_feed_nothing(feed, list != NULL);
        return;
    }

    if (feed->compare) {

        /* the entry at the cursor is gone, and was not trimmed */

        ngx_conduit_feed_read(feed);
        return;
    }

    if (feed->known && !feed->checked && !feed->comparing
        && conduit_stream_id_cmp(&feed->cursor, &ngx_conduit_oldest) != 0
        && conduit_stream_id_cmp(&feed->cursor, &first.id) != 0)
    {
        /* the entry at the cursor is gone, and others may be: XINFO tells;
           the first of this reply was still there */

        if (conduit_stream_id_cmp(&feed->next, &ngx_conduit_oldest) == 0) {
            feed->next = first.id;
        }

        feed->check = 1;
        ngx_conduit_feed_read(feed);
        return;
    }

    rc = ngx_conduit_feed_take_in(feed, list, &first.id);

    if (rc != NGX_OK) {
        ngx_conduit_feed_put_off(feed, NGX_CONDUIT_ASK_READ);
        return;
    }

    if (list->elements >= ngx_conduit_feed_count(feed) || feed->dirty) {
        ngx_conduit_feed_read(feed);
    }
}


/* appends entries to the window; a gap may be before the first */

static ngx_int_t
ngx_conduit_feed_take_in(ngx_conduit_feed_t *feed, redisReply *list,
    conduit_stream_id_t *first)
{
    ngx_int_t   rc;
    ngx_uint_t  n, continued;

    n = feed->view.window.nelts;
    continued = conduit_stream_id_cmp(first, &feed->cursor) == 0;

    if (!continued
        && conduit_stream_id_cmp(&feed->cursor, &ngx_conduit_oldest) != 0)
    {
        /* entries may be missing before *first: who has not got to it is
           served by XRANGE, which finds out */

        feed->view.floor = *first;
        conduit_stream_id_before(&feed->view.floor);

        if (conduit_stream_id_cmp(&feed->next, &ngx_conduit_oldest) != 0
            && conduit_stream_id_cmp(&feed->next, first) < 0)
        {

            /* feed->next was there a moment ago, and went before it was
               appended */

            feed->on->lost(feed->data, first);
            feed->numbered = 0;
        }
    }

    feed->next = ngx_conduit_oldest;

    rc = ngx_conduit_feed_frames(feed, list, &feed->view.window, &feed->cursor);

    feed->number += list->elements - continued;
    feed->numbered = (feed->numbered && rc == NGX_OK);
    feed->known = 1;
    feed->seen = 1;
    feed->kept = 1;
    feed->spurious = 0;
    feed->key.lull = 0;

    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_SWEPT,
                            feed->swept && !feed->rung);
    feed->swept = 0;

    if (!feed->dirty) {
        feed->rung = 0;
    }

    if (feed->view.window.nelts > n) {
        feed->ended = feed->view.window.elts[feed->view.window.nelts - 1]->end;
        feed->on->appended(feed->data);
    }

    return rc;
}


/* no entry is after the cursor; kept: the one at the cursor is still there */

static void
ngx_conduit_feed_nothing(ngx_conduit_feed_t *feed, ngx_uint_t kept)
{
    feed->swept = 0;

    if (kept) {
        feed->kept = 1;
        feed->known = 1;
        feed->seen = 1;

    } else if (feed->kept && !feed->probing) {

        /* the first read without it looks up, once; a look-up that is under
           way may be older: then the next read does */

        feed->kept = 0;
        ngx_conduit_feed_look_up(feed);
    }

    if (feed->key.lull < 255) {
        feed->key.lull++;
    }

    if (feed->dirty) {
        ngx_conduit_feed_read(feed);
        return;
    }

    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_SPURIOUS, feed->rung);

    if (feed->rung && feed->spurious < NGX_CONDUIT_SPURIOUS) {
        feed->spurious++;
    }

    if (!kept && feed->rung) {
        ngx_conduit_feed_look_up(feed);
    }

    feed->rung = 0;
}


/*
 * Appends the frames of a list of entries; *last becomes the ID of the last one
 * seen.  On NGX_ERROR those after *last are still to be read.
 */

static ngx_int_t
ngx_conduit_feed_frames(ngx_conduit_feed_t *feed, redisReply *list,
    ngx_conduit_frames_t *frames, conduit_stream_id_t *last)
{
    size_t                i;
    ngx_int_t             rc;
    ngx_conduit_entry_t   entry;
    ngx_conduit_frame_t  *frame;

    for (i = 0; i < list->elements; i++) {

        if (ngx_conduit_stream_entry(list->element[i], &entry) != NGX_OK) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "conduit: redis %V sent an invalid entry of \"%V\"",
                          &feed->key.shard->doorbell.redis->name,
                          &feed->key.node.str);
            return NGX_ERROR;
        }

        if (conduit_stream_id_cmp(&entry.id, last) <= 0) {
            continue;
        }

        rc = ngx_conduit_frame_create(feed->hub, &feed->key.node.str,
                                      &entry.id, &entry.data, &frame);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_OK
            && ngx_conduit_frames_push(frames, frame) != NGX_OK)
        {
            ngx_conduit_frame_release(frame);
            return NGX_ERROR;
        }

        *last = entry.id;
    }

    return NGX_OK;
}


void
ngx_conduit_feed_batch_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_feed_t  *feed = data;

    feed->catching = 0;
    feed->holds++;

    if (outcome != NGX_CONDUIT_REPLIED) {
        ngx_conduit_feed_unanswered(feed, outcome);

    } else if (feed->view.batch->moves != feed->key.moves) {
        ngx_conduit_feed_catch_up(feed);

    } else if (!ngx_conduit_shard_redirect(&feed->key, reply)) {

        if (feed->view.batch->epoch == feed->epoch) {
            ngx_conduit_feed_batch(feed, reply);

        } else {
            ngx_conduit_feed_catch_up(feed);
        }
    }

    feed->holds--;

    feed->on->released(feed->data);
}


static void
ngx_conduit_feed_batch(ngx_conduit_feed_t *feed, redisReply *reply)
{
    ngx_conduit_batch_t  *batch;
    ngx_conduit_entry_t   entry;

    if (reply->type != REDIS_REPLY_ARRAY) {
        ngx_conduit_feed_complain(feed, reply);
        ngx_conduit_feed_put_off(feed, NGX_CONDUIT_ASK_BATCH);
        return;
    }

    batch = feed->view.batch;

    /* a batch is asked for when nobody is served from the one before */

    ngx_conduit_frames_clear(&batch->frames);

    batch->last = batch->start;
    batch->first = ngx_conduit_oldest;

    if (reply->elements) {

        if (ngx_conduit_stream_entry(reply->element[0], &entry) == NGX_OK) {
            batch->first = entry.id;
        }

        if (ngx_conduit_feed_frames(feed, reply, &batch->frames, &batch->last)
            != NGX_OK)
        {
            ngx_conduit_feed_put_off(feed, NGX_CONDUIT_ASK_BATCH);
        }
    }

    if (reply->elements <= 1
        && conduit_stream_id_cmp(&batch->last, &feed->view.floor) < 0)
    {
        /* the stream has no more entries below the window */

        batch->last = feed->view.floor;
    }

    feed->on->caught_up(feed->data);

    if (ngx_conduit_feed_wants(feed) & NGX_CONDUIT_WANT_SETTLE) {
        ngx_conduit_feed_look_up(feed);
    }
}


ngx_int_t
ngx_conduit_feed_judge(ngx_conduit_feed_t *feed, ngx_conduit_position_t *at)
{
    if (ngx_conduit_feed_check(feed->view.batch, at) == NGX_OK) {
        return NGX_OK;
    }

    at->probe = feed->probes + 1;

    return NGX_AGAIN;
}


/*
 * Settles whether entries between a subscriber's position and the batch are
 * gone.  Returns NGX_OK, or NGX_AGAIN when that, or why, takes a look-up.
 */

static ngx_int_t
ngx_conduit_feed_check(ngx_conduit_batch_t *batch, ngx_conduit_position_t *at)
{
    ngx_uint_t  gone;

    if (at->lost
        || conduit_stream_id_cmp(&at->id, &ngx_conduit_oldest) == 0)
    {
        return NGX_OK;
    }

    /* trimming starts with the oldest: has it come that far? */

    gone = (conduit_stream_id_cmp(&batch->first, &ngx_conduit_oldest) == 0);

    if (!gone && conduit_stream_id_cmp(&batch->first, &at->id) <= 0) {
        return NGX_OK;
    }

    if (!at->next_known && at->judged) {
        return NGX_OK;
    }

    /* entries after the position may be lost when the one that is known to
       follow it is gone, or none is known */

    if (!at->next_known || gone
        || conduit_stream_id_cmp(&batch->first, &at->next) > 0)
    {
        if (at->judged || !at->next_known) {

            /* a look-up tells; unless trimming has come to the position, the
               first of this batch has to be there then */

            at->judged = 0;
            at->next = batch->first;
            at->next_known = !gone;
            return NGX_AGAIN;
        }

        /* a look-up tells why: trimmed, or the stream is another one */

        at->lost = 1;
        return NGX_AGAIN;
    }

    at->judged = 1;

    return NGX_OK;
}
