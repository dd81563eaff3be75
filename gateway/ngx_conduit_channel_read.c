/*
 * A channel's reads: one stream, read once for all its subscribers in a worker.
 *
 * Three questions to Redis may be under way for a channel, one of each kind:
 *  - XREAD from the cursor, which appends to the window.  A ring while it is
 *    under way may be older or newer than its reply: "dirty" makes another one
 *    follow.  A full reply is followed by another one too.
 *  - XRANGE from the position of the first subscriber that is behind: a batch.
 *    It starts with the entry at that position: when that one is still there,
 *    nothing after it was trimmed.
 *  - XINFO, the look-up (ngx_conduit_channel_look.c).
 * The channel stays in memory until the last reply is in.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_channel.h"


static void ngx_conduit_channel_read_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_channel_append(ngx_conduit_channel_t *ch,
    redisReply *reply);
static ngx_int_t ngx_conduit_channel_frames(ngx_conduit_channel_t *ch,
    redisReply *list, ngx_conduit_frames_t *frames, conduit_stream_id_t *last);
static void ngx_conduit_channel_batch_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_channel_batch(ngx_conduit_channel_t *ch,
    redisReply *reply);
static ngx_int_t ngx_conduit_channel_judge(ngx_conduit_batch_t *batch,
    ngx_conduit_sub_t *sub);


void
ngx_conduit_channel_ring(ngx_conduit_channel_t *ch, ngx_uint_t rung)
{
    if (rung) {
        ch->rung = 1;
    }

    if (ch->reading) {
        ch->dirty = 1;
        return;
    }

    ngx_conduit_channel_read(ch);
}


void
ngx_conduit_channel_ask(ngx_conduit_channel_t *ch)
{
    /* whatever happened meanwhile, an empty answer is to be looked into */

    ch->check = 1;

    ngx_conduit_channel_ring(ch, 1);
    ngx_conduit_channel_catch_up(ch);

    if (!ngx_queue_empty(&ch->opening)) {
        ngx_conduit_channel_look_up(ch);
    }
}


void
ngx_conduit_channel_read(ngx_conduit_channel_t *ch)
{
    ngx_conduit_hub_t  *hub;

    hub = ch->hub;

    /* when the doorbell comes up, all channels are read */

    if (!hub->doorbell.is_up) {
        return;
    }

    /* commands of one link are answered in order: this answer is about the
       cursor as it is now */

    if (ch->check && !ch->probing) {
        ch->check = 0;

        if (ch->known
            && conduit_stream_id_cmp(&ch->cursor, &ngx_conduit_oldest) != 0)
        {
            ngx_conduit_channel_look_up(ch);
        }
    }

    ch->dirty = 0;
    ch->read_epoch = ch->epoch;

    if (ngx_conduit_stream_read(&hub->doorbell.reader, &ch->node.str,
                                &ch->cursor, hub->settings.read_count,
                                ngx_conduit_channel_read_reply, ch)
        == NGX_OK)
    {
        ch->reading = 1;
        return;
    }

    ngx_conduit_hub_retry(hub, ch);
}


static void
ngx_conduit_channel_read_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_channel_t  *ch = data;

    ch->reading = 0;
    ch->holds++;

    if (outcome == NGX_CONDUIT_REPLIED) {

        if (ch->read_epoch == ch->epoch) {
            ngx_conduit_channel_append(ch, reply);

        } else {
            /* read from the cursor of the stream before */
            ngx_conduit_channel_read(ch);
        }
    }

    ch->holds--;

    ngx_conduit_channel_release(ch);
}


static void
ngx_conduit_channel_append(ngx_conduit_channel_t *ch, redisReply *reply)
{
    ngx_int_t            rc;
    ngx_uint_t           n;
    redisReply          *list;
    ngx_conduit_hub_t   *hub;

    hub = ch->hub;

    if (ngx_conduit_stream_entries(reply, &list) != NGX_OK) {
        ngx_conduit_channel_complain(ch, reply);
        ngx_conduit_hub_retry(hub, ch);
        return;
    }

    ch->complained = 0;

    if (list == NULL) {

        if (ch->dirty) {
            ngx_conduit_channel_read(ch);

        } else if (ch->rung) {
            ch->rung = 0;
            ngx_conduit_channel_look_up(ch);
        }

        return;
    }

    n = ch->window.nelts;

    rc = ngx_conduit_channel_frames(ch, list, &ch->window, &ch->cursor);

    ch->known = 1;
    ch->rung = 0;

    if (ch->window.nelts > n) {
        ch->ended = ch->window.elts[ch->window.nelts - 1]->end;
        ngx_conduit_channel_wake(ch);
        ngx_conduit_channel_trim(ch, hub->settings.window
                                     * NGX_CONDUIT_WINDOW_SLACK);
    }

    if (rc != NGX_OK) {
        ngx_conduit_hub_retry(hub, ch);
        return;
    }

    if (list->elements >= hub->settings.read_count) {

        /* there is more, and what is next may go before it is read */

        ch->check = 1;
        ngx_conduit_channel_read(ch);

    } else if (ch->dirty) {
        ngx_conduit_channel_read(ch);
    }
}


/*
 * Appends the frames of a list of entries; *last becomes the ID of the last one
 * seen.  On NGX_ERROR those after *last are still to be read.
 */

static ngx_int_t
ngx_conduit_channel_frames(ngx_conduit_channel_t *ch, redisReply *list,
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
                          &ch->hub->redis->name, &ch->node.str);
            return NGX_ERROR;
        }

        if (conduit_stream_id_cmp(&entry.id, last) <= 0) {
            continue;
        }

        rc = ngx_conduit_frame_create(ch->hub, &ch->node.str, &entry, &frame);

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
ngx_conduit_channel_complain(ngx_conduit_channel_t *ch, redisReply *reply)
{
    if (ch->complained) {
        return;
    }

    ch->complained = 1;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "conduit: redis %V: reading \"%V\" failed: %s",
                  &ch->hub->redis->name, &ch->node.str,
                  reply->type == REDIS_REPLY_ERROR ? reply->str
                                                   : "unexpected reply");
}


void
ngx_conduit_channel_catch_up(ngx_conduit_channel_t *ch)
{
    ngx_queue_t          *q;
    ngx_conduit_hub_t    *hub;
    ngx_conduit_sub_t    *sub;
    ngx_conduit_batch_t  *batch;

    hub = ch->hub;

    if (ch->catching || !ngx_queue_empty(&ch->reading_batch)
        || ngx_queue_empty(&ch->behind) || !hub->doorbell.is_up)
    {
        return;
    }

    q = ngx_queue_head(&ch->behind);
    sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

    batch = ch->batch;

    if (batch == NULL) {

        batch = ngx_calloc(sizeof(ngx_conduit_batch_t), ngx_cycle->log);
        if (batch == NULL) {
            ngx_conduit_hub_retry(hub, ch);
            return;
        }

        ch->batch = batch;
    }

    batch->start = sub->pos;
    batch->epoch = ch->epoch;

    if (ngx_conduit_stream_range(&hub->doorbell.reader, &ch->node.str,
                                 &batch->start,
                                 hub->settings.read_count + 1,
                                 ngx_conduit_channel_batch_reply, ch)
        == NGX_OK)
    {
        ch->catching = 1;
        return;
    }

    ngx_conduit_hub_retry(hub, ch);
}


static void
ngx_conduit_channel_batch_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_channel_t  *ch = data;

    ch->catching = 0;
    ch->holds++;

    if (outcome == NGX_CONDUIT_REPLIED) {

        if (ch->batch->epoch == ch->epoch) {
            ngx_conduit_channel_batch(ch, reply);

        } else {
            ngx_conduit_channel_catch_up(ch);
        }
    }

    ch->holds--;

    ngx_conduit_channel_release(ch);
}


static void
ngx_conduit_channel_batch(ngx_conduit_channel_t *ch, redisReply *reply)
{
    ngx_queue_t           list, *q;
    ngx_conduit_sub_t    *sub;
    ngx_conduit_batch_t  *batch;
    ngx_conduit_entry_t   entry;

    if (reply->type != REDIS_REPLY_ARRAY) {
        ngx_conduit_channel_complain(ch, reply);
        ngx_conduit_hub_retry(ch->hub, ch);
        return;
    }

    batch = ch->batch;

    /* none stands in the queue of the one before when another is asked for */

    ngx_conduit_frames_clear(&batch->frames);

    batch->last = batch->start;
    batch->first = ngx_conduit_oldest;

    if (reply->elements) {

        if (ngx_conduit_stream_entry(reply->element[0], &entry) == NGX_OK) {
            batch->first = entry.id;
        }

        if (ngx_conduit_channel_frames(ch, reply, &batch->frames, &batch->last)
            != NGX_OK)
        {
            ngx_conduit_hub_retry(ch->hub, ch);
        }
    }

    if (reply->elements <= 1
        && conduit_stream_id_cmp(&batch->last, &ch->floor) < 0)
    {
        /* nothing is kept below the window any more */

        batch->last = ch->floor;
    }

    ngx_conduit_channel_take(&list, &ch->behind);

    while (!ngx_queue_empty(&list)) {
        q = ngx_queue_head(&list);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        if (conduit_stream_id_cmp(&sub->pos, &batch->start) < 0
            || conduit_stream_id_cmp(&sub->pos, &batch->last) >= 0)
        {
            ngx_conduit_channel_move(sub, &ch->behind);

        } else if (ngx_conduit_channel_judge(batch, sub) == NGX_OK) {
            ngx_conduit_channel_move(sub, &ch->reading_batch);

        } else {
            sub->probe = ch->probes + 1;
            ngx_conduit_channel_move(sub, &ch->opening);
        }
    }

    if (!ngx_queue_empty(&ch->opening)) {
        ngx_conduit_channel_look_up(ch);
    }

    ngx_conduit_hub_run(ch->hub, ch);
}


/*
 * Settles whether entries between a subscriber's position and the batch were
 * trimmed.  Returns NGX_OK, or NGX_AGAIN when that takes a look-up.
 */

static ngx_int_t
ngx_conduit_channel_judge(ngx_conduit_batch_t *batch, ngx_conduit_sub_t *sub)
{
    if (sub->judged
        || conduit_stream_id_cmp(&sub->pos, &ngx_conduit_oldest) == 0)
    {
        return NGX_OK;
    }

    if (conduit_stream_id_cmp(&batch->first, &ngx_conduit_oldest) != 0
        && conduit_stream_id_cmp(&batch->first, &sub->pos) <= 0)
    {
        /* trimming starts with the oldest: it has not come that far */

        return NGX_OK;
    }

    if (!sub->next_known) {
        return NGX_AGAIN;
    }

    /* the entry that comes next is known: it is there, or it is lost */

    sub->judged = 1;

    if (conduit_stream_id_cmp(&batch->first, &ngx_conduit_oldest) == 0
        || conduit_stream_id_cmp(&batch->first, &sub->next) > 0)
    {
        sub->lost = 1;
    }

    return NGX_OK;
}


void
ngx_conduit_channel_drop_batch(ngx_conduit_channel_t *ch)
{
    if (ch->batch == NULL) {
        return;
    }

    ngx_conduit_frames_clear(&ch->batch->frames);

    ngx_free(ch->batch);
    ch->batch = NULL;
}
