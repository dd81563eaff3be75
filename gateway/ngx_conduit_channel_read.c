/*
 * A channel's reads: one stream, read once for all its subscribers in a worker.
 *
 * Three questions to Redis may be under way for a channel, one of each kind:
 *  - XREAD from just before the cursor, which appends to the window.  The entry
 *    at the cursor comes first: it shows that nothing after it was trimmed.
 *    When it does not, XINFO and the read are sent together, and tell; or a
 *    read of all that is in the window shows where the stream has left it
 *    (ngx_conduit_channel_back.c).  A ring
 *    while a read is under way may be older or newer than its reply: "dirty"
 *    makes another one follow.  A full reply is followed by another one too.
 *  - XRANGE from the position of the first subscriber that is behind: a batch.
 *    It starts with the entry at that position: when that one is still there,
 *    nothing after it was trimmed.
 *  - XINFO, the look-up (ngx_conduit_channel_look.c).
 * A question that was answered with an error is asked again by the hub's retry,
 * and not before: an error that comes at once would be asked for all the time.
 * The channel stays in memory until the last reply is in.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_channel.h"
#include "ngx_conduit_gateway_metrics.h"


/* rings in a row for nothing, after which the next one is not followed at
   once */
#define NGX_CONDUIT_SPURIOUS  3


static void ngx_conduit_channel_read_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_channel_too_large(ngx_conduit_channel_t *ch);
static ngx_uint_t ngx_conduit_channel_count(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_append(ngx_conduit_channel_t *ch,
    redisReply *reply);
static ngx_int_t ngx_conduit_channel_take_in(ngx_conduit_channel_t *ch,
    redisReply *list, conduit_stream_id_t *first);
static void ngx_conduit_channel_nothing(ngx_conduit_channel_t *ch,
    ngx_uint_t kept);
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

        /* rings for nothing: the server's table of keys overflows, and each
           read costs another key its place; slower is what helps */

        if (ch->spurious == NGX_CONDUIT_SPURIOUS) {
            ngx_conduit_schedule_retry(&ch->hub->schedule, &ch->retry);
            return;
        }
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
    ch->paused = 0;

    /* whatever happened meanwhile, an empty answer is to be looked into */

    ch->rung = 1;

    if (ch->reading) {
        ch->dirty = 1;

    } else {
        ngx_conduit_channel_read(ch);
    }

    ngx_conduit_channel_catch_up(ch);

    if (!ngx_queue_empty(&ch->opening)) {
        ngx_conduit_channel_look_up(ch);
    }
}


ngx_conduit_link_t *
ngx_conduit_channel_link(ngx_conduit_channel_t *ch)
{
    ngx_conduit_link_t  *link;

    link = &ch->shard->doorbell.reader;

    if (ch->asking) {
        /* when it fails, so does what follows */
        (void) ngx_conduit_link_asking(link);
    }

    return link;
}


void
ngx_conduit_channel_unanswered(ngx_conduit_channel_t *ch,
    ngx_conduit_outcome_e outcome)
{
    if (outcome == NGX_CONDUIT_TOO_LARGE) {
        ngx_conduit_channel_too_large(ch);
    }

    /* when the doorbell comes up, all channels are read; this one may have
       moved from a server that is lost to one that is up */

    if (ch->shard->doorbell.is_up) {
        ngx_conduit_schedule_retry(&ch->hub->schedule, &ch->retry);
    }
}


/* the next try asks for less; one entry is the least */

static void
ngx_conduit_channel_too_large(ngx_conduit_channel_t *ch)
{
    if (ngx_conduit_channel_count(ch) > 2) {
        ch->shift++;
        return;
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "conduit: redis %V: an entry of \"%V\" is too large, its "
                  "clients are sent away",
                  &ch->shard->doorbell.redis->name, &ch->node.str);

    ngx_conduit_channel_send_away(ch);
}


/* how many entries to ask for: the one at the position, and as many as may be
   new */

static ngx_uint_t
ngx_conduit_channel_count(ngx_conduit_channel_t *ch)
{
    ngx_uint_t  n;

    n = ch->hub->settings.read_count >> ch->shift;

    return ngx_max(n, 1) + 1;
}


void
ngx_conduit_channel_read(ngx_conduit_channel_t *ch)
{
    ngx_uint_t            from_start, count;
    ngx_conduit_hub_t    *hub;
    conduit_stream_id_t   before;

    hub = ch->hub;

    if (!ch->shard->doorbell.is_up || (ch->paused & NGX_CONDUIT_ASK_READ)) {
        return;
    }

    from_start = (conduit_stream_id_cmp(&ch->cursor, &ngx_conduit_oldest)
                  == 0);
    ch->checked = 0;
    ch->comparing = ch->compare;

    if (ch->check && !ch->probing && !ch->compare) {

        if (ch->known && !from_start
            && (ch->paused & NGX_CONDUIT_ASK_LOOK_UP))
        {
            /* without the look-up, the answer would ask for it again */
            return;
        }

        ch->check = 0;

        /* commands of one link are answered in order: this answer is about
           the cursor as it is now */

        if (ch->known && !from_start) {
            ngx_conduit_channel_look_up(ch);
            ch->checked = ch->probing;
            ch->oldest.ms = UINT64_MAX;      /* not told */
        }
    }

    ch->dirty = 0;
    ch->read_epoch = ch->epoch;
    ch->read_moves = ch->moves;

    before = ch->cursor;
    count = ngx_conduit_channel_count(ch);

    if (ch->compare && ch->window.nelts) {
        before = ch->window.elts[0]->id;
        count += ch->window.nelts;
    }

    if (!from_start) {
        conduit_stream_id_before(&before);
    }

    if (ngx_conduit_stream_read(ngx_conduit_channel_link(ch), &ch->node.str,
                                &before, count,
                                ngx_conduit_channel_read_reply, ch)
        == NGX_OK)
    {
        ch->reading = 1;
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_READS);
        return;
    }

    ngx_conduit_schedule_retry(&hub->schedule, &ch->retry);
}


static void
ngx_conduit_channel_read_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_channel_t  *ch = data;

    ch->reading = 0;
    ch->holds++;

    if (outcome != NGX_CONDUIT_REPLIED) {
        ngx_conduit_channel_unanswered(ch, outcome);

    } else if (ch->nsubs && ch->read_moves != ch->moves) {

        /* of the server before */

        ngx_conduit_channel_read(ch);

    } else if (ch->nsubs && !ngx_conduit_shard_redirect(ch, reply)) {

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
    ngx_int_t             rc;
    redisReply           *list;
    ngx_conduit_entry_t   first;

    if (ngx_conduit_stream_entries(reply, &list) != NGX_OK
        || (list != NULL
            && ngx_conduit_stream_entry(list->element[0], &first) != NGX_OK))
    {
        ngx_conduit_channel_complain(ch, reply);
        ngx_conduit_channel_put_off(ch, NGX_CONDUIT_ASK_READ);
        return;
    }

    ch->complained = 0;
    ch->redirects = 0;

    if (ch->comparing
        && ngx_conduit_channel_part(ch, list, &first.id) != NGX_OK)
    {
        ngx_conduit_channel_read(ch);
        return;
    }

    if (list == NULL
        || (list->elements == 1
            && conduit_stream_id_cmp(&first.id, &ch->cursor) == 0))
    {
        ngx_conduit_channel_nothing(ch, list != NULL);
        return;
    }

    if (ch->compare) {

        /* it is gone, and was not trimmed */

        ngx_conduit_channel_read(ch);
        return;
    }

    if (ch->known && !ch->checked && !ch->comparing
        && conduit_stream_id_cmp(&ch->cursor, &ngx_conduit_oldest) != 0
        && conduit_stream_id_cmp(&ch->cursor, &first.id) != 0)
    {
        /* the entry at the cursor is gone: what else? */

        ch->check = 1;
        ngx_conduit_channel_read(ch);
        return;
    }

    rc = ngx_conduit_channel_take_in(ch, list, &first.id);

    if (rc != NGX_OK) {
        ngx_conduit_channel_put_off(ch, NGX_CONDUIT_ASK_READ);
        return;
    }

    if (list->elements >= ngx_conduit_channel_count(ch) || ch->dirty) {
        ngx_conduit_channel_read(ch);
    }
}


/* appends entries to the window, and those that come after a gap */

static ngx_int_t
ngx_conduit_channel_take_in(ngx_conduit_channel_t *ch, redisReply *list,
    conduit_stream_id_t *first)
{
    ngx_int_t   rc;
    ngx_uint_t  n, continued;

    n = ch->window.nelts;
    continued = conduit_stream_id_cmp(first, &ch->cursor) == 0;

    if (!continued
        && conduit_stream_id_cmp(&ch->cursor, &ngx_conduit_oldest) != 0)
    {
        /* nobody is led across what may be a gap by the window */

        ch->floor = *first;
        conduit_stream_id_before(&ch->floor);

        if (ch->checked
            && conduit_stream_id_cmp(&ch->oldest, &ch->cursor) > 0
            && conduit_stream_id_cmp(&ch->oldest, first) < 0)
        {

            /* it was there a moment ago, and went before it was read */

            ngx_conduit_channel_lost(ch, first);
            ch->numbered = 0;
        }
    }

    rc = ngx_conduit_channel_frames(ch, list, &ch->window, &ch->cursor);

    ch->number += list->elements - continued;
    ch->numbered = (ch->numbered && rc == NGX_OK);
    ch->known = 1;
    ch->seen = 1;
    ch->kept = 1;
    ch->spurious = 0;
    ch->lull = 0;

    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_SWEPT, ch->swept && !ch->rung);
    ch->swept = 0;

    if (!ch->dirty) {
        ch->rung = 0;
    }

    if (ch->window.nelts > n) {
        ch->ended = ch->window.elts[ch->window.nelts - 1]->end;
        ngx_conduit_channel_wake(ch);
        ngx_conduit_channel_trim(ch, ch->hub->settings.window
                                     * NGX_CONDUIT_WINDOW_SLACK);
    }

    return rc;
}


/* nothing is after the cursor; whether the entry there is still kept */

static void
ngx_conduit_channel_nothing(ngx_conduit_channel_t *ch, ngx_uint_t kept)
{
    ch->swept = 0;

    if (kept) {
        ch->kept = 1;
        ch->known = 1;
        ch->seen = 1;

    } else if (ch->kept && !ch->probing) {

        /* by the first read without it; a look-up under way may be older */

        ch->kept = 0;
        ngx_conduit_channel_look_up(ch);
    }

    if (ch->lull < 255) {
        ch->lull++;
    }

    if (ch->dirty) {
        ngx_conduit_channel_read(ch);
        return;
    }

    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_SPURIOUS, ch->rung);

    if (ch->rung && ch->spurious < NGX_CONDUIT_SPURIOUS) {
        ch->spurious++;
    }

    if (!kept && ch->rung) {
        ngx_conduit_channel_look_up(ch);
    }

    ch->rung = 0;
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
                          &ch->shard->doorbell.redis->name, &ch->node.str);
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
ngx_conduit_channel_catch_up(ngx_conduit_channel_t *ch)
{
    ngx_queue_t          *q;
    ngx_conduit_hub_t    *hub;
    ngx_conduit_sub_t    *sub;
    ngx_conduit_batch_t  *batch;

    hub = ch->hub;

    if (ch->catching || !ngx_queue_empty(&ch->reading_batch)
        || ngx_queue_empty(&ch->behind) || !ch->shard->doorbell.is_up
        || (ch->paused & NGX_CONDUIT_ASK_BATCH))
    {
        return;
    }

    q = ngx_queue_head(&ch->behind);
    sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

    batch = ch->batch;

    if (batch == NULL) {

        batch = ngx_calloc(sizeof(ngx_conduit_batch_t), ngx_cycle->log);
        if (batch == NULL) {
            ngx_conduit_schedule_retry(&hub->schedule, &ch->retry);
            return;
        }

        ch->batch = batch;
    }

    batch->start = sub->pos;
    batch->epoch = ch->epoch;
    batch->moves = ch->moves;

    if (ngx_conduit_stream_range(ngx_conduit_channel_link(ch), &ch->node.str,
                                 &batch->start, ngx_conduit_channel_count(ch),
                                 ngx_conduit_channel_batch_reply, ch)
        == NGX_OK)
    {
        ch->catching = 1;
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_CATCH_UPS);
        return;
    }

    ngx_conduit_schedule_retry(&hub->schedule, &ch->retry);
}


static void
ngx_conduit_channel_batch_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_channel_t  *ch = data;

    ch->catching = 0;
    ch->holds++;

    if (outcome != NGX_CONDUIT_REPLIED) {
        ngx_conduit_channel_unanswered(ch, outcome);

    } else if (ch->batch->moves != ch->moves) {
        ngx_conduit_channel_catch_up(ch);

    } else if (!ngx_conduit_shard_redirect(ch, reply)) {

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
        ngx_conduit_channel_put_off(ch, NGX_CONDUIT_ASK_BATCH);
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
            ngx_conduit_channel_put_off(ch, NGX_CONDUIT_ASK_BATCH);
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

    ngx_conduit_schedule_run(&ch->hub->schedule, &ch->turn);
}


/*
 * Settles whether entries between a subscriber's position and the batch are
 * gone.  Returns NGX_OK, or NGX_AGAIN when that, or why, takes a look-up.
 */

static ngx_int_t
ngx_conduit_channel_judge(ngx_conduit_batch_t *batch, ngx_conduit_sub_t *sub)
{
    ngx_uint_t  gone;

    if (sub->lost
        || conduit_stream_id_cmp(&sub->pos, &ngx_conduit_oldest) == 0)
    {
        return NGX_OK;
    }

    /* trimming starts with the oldest: has it come that far? */

    gone = (conduit_stream_id_cmp(&batch->first, &ngx_conduit_oldest) == 0);

    if (!gone && conduit_stream_id_cmp(&batch->first, &sub->pos) <= 0) {
        return NGX_OK;
    }

    if (!sub->next_known && sub->judged) {
        return NGX_OK;
    }

    /* an entry that was there, after the position or before it, still is, or
       some are lost */

    if (!sub->next_known || gone
        || conduit_stream_id_cmp(&batch->first, &sub->next) > 0)
    {
        if (sub->judged || !sub->next_known) {

            /* when trimming has not come to the position, what follows the
               hole there is known */

            sub->judged = 0;
            sub->next = batch->first;
            sub->next_known = !gone;
            return NGX_AGAIN;
        }

        /* a look-up tells why: trimmed, or the stream is another one */

        sub->lost = 1;
        return NGX_AGAIN;
    }

    sub->judged = 1;

    return NGX_OK;
}
