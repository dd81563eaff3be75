/*
 * A channel: one stream, read once for all its subscribers in a worker.
 *
 * Three questions to Redis may be under way for a channel, one of each kind:
 *  - XREAD from the cursor, which appends to the window.  A ring while it is
 *    under way may be older or newer than its reply: "dirty" makes another one
 *    follow.  A full reply is followed by another one too.
 *  - XRANGE from the position of the first subscriber that is behind: a batch.
 *    It starts with the entry at that position: when that one is still there,
 *    nothing after it was trimmed.
 *  - XINFO, the look-up: whether the stream still is the one that the cursor,
 *    or the position of a subscriber that resumes, belongs to.  A stream that
 *    was deleted and made again may give out smaller IDs (its server's clock
 *    was set back, an explicit ID); waiting for IDs to catch up would be waiting
 *    for ever.  Then all start from the oldest entry again.  And whether the
 *    oldest entry is past a position: then its subscriber has lost some.
 * The channel stays in memory until the last reply is in.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway.h"


/* a window that nobody drains is trimmed at this many times its size */
#define NGX_CONDUIT_WINDOW_SLACK  4


static void ngx_conduit_channel_free(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_release(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_read(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_read_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_channel_append(ngx_conduit_channel_t *ch,
    redisReply *reply);
static ngx_int_t ngx_conduit_channel_frames(ngx_conduit_channel_t *ch,
    redisReply *list, ngx_conduit_frames_t *frames, conduit_stream_id_t *last);
static void ngx_conduit_channel_complain(ngx_conduit_channel_t *ch,
    redisReply *reply);
static void ngx_conduit_channel_wake(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_trim(ngx_conduit_channel_t *ch, size_t limit);
static void ngx_conduit_channel_catch_up(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_batch_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_channel_batch(ngx_conduit_channel_t *ch,
    redisReply *reply);
static ngx_int_t ngx_conduit_channel_judge(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub);
static void ngx_conduit_channel_look_up(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_info_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_channel_info(ngx_conduit_channel_t *ch,
    redisReply *reply);
static ngx_uint_t ngx_conduit_channel_trimmed(ngx_conduit_stream_info_t *info,
    conduit_stream_id_t *pos);
static void ngx_conduit_channel_lost(ngx_queue_t *queue);
static void ngx_conduit_channel_admit(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info);
static void ngx_conduit_channel_restart(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_restart_queue(ngx_conduit_channel_t *ch,
    ngx_queue_t *queue, ngx_queue_t *to);
static void ngx_conduit_channel_move(ngx_conduit_sub_t *sub,
    ngx_queue_t *queue);
static void ngx_conduit_channel_take(ngx_queue_t *list, ngx_queue_t *queue);
static void ngx_conduit_channel_serve_window(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub);
static void ngx_conduit_channel_serve_batch(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub);


static const conduit_stream_id_t  ngx_conduit_oldest = { 0, 0 };


ngx_conduit_channel_t *
ngx_conduit_channel_get(ngx_conduit_hub_t *hub, ngx_str_t *key,
    conduit_stream_id_t *pos)
{
    uint32_t                hash;
    ngx_str_node_t         *node;
    ngx_conduit_channel_t  *ch;

    hash = ngx_crc32_long(key->data, key->len);

    node = ngx_str_rbtree_lookup(&hub->channels, key, hash);
    if (node != NULL) {
        return (ngx_conduit_channel_t *) node;
    }

    ch = ngx_calloc(sizeof(ngx_conduit_channel_t) + key->len, ngx_cycle->log);
    if (ch == NULL) {
        return NULL;
    }

    ch->hub = hub;
    ch->base = 1;
    ch->cursor = *pos;
    ch->floor = *pos;
    ch->known = (conduit_stream_id_cmp(pos, &ngx_conduit_oldest) == 0);

    ngx_queue_init(&ch->opening);
    ngx_queue_init(&ch->waiting);
    ngx_queue_init(&ch->ready);
    ngx_queue_init(&ch->behind);
    ngx_queue_init(&ch->reading_batch);
    ngx_queue_init(&ch->blocked);

    ch->node.node.key = hash;
    ch->node.str.len = key->len;
    ch->node.str.data = (u_char *) ch + sizeof(ngx_conduit_channel_t);
    ngx_memcpy(ch->node.str.data, key->data, key->len);

    ngx_rbtree_insert(&hub->channels, &ch->node.node);
    ngx_queue_insert_tail(&hub->all, &ch->all);
    hub->nchannels++;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: channel \"%V\" opened at %uL-%uL",
                   &ch->node.str, pos->ms, pos->seq);

    ngx_conduit_channel_read(ch);

    return ch;
}


static void
ngx_conduit_channel_free(ngx_conduit_channel_t *ch)
{
    ngx_conduit_hub_t  *hub;

    hub = ch->hub;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: channel \"%V\" forgotten", &ch->node.str);

    if (ch->running) {
        ngx_queue_remove(&ch->run);
    }

    if (ch->retrying) {
        ngx_queue_remove(&ch->retry);
    }

    ngx_queue_remove(&ch->all);
    ngx_rbtree_delete(&hub->channels, &ch->node.node);
    hub->nchannels--;

    ngx_conduit_frames_clear(&ch->window);
    ngx_conduit_frames_clear(&ch->batch);

    ngx_free(ch);
}


/* frees a channel that nobody needs and Redis owes nothing */

static void
ngx_conduit_channel_release(ngx_conduit_channel_t *ch)
{
    if (ch->nsubs == 0 && ch->holds == 0
        && !ch->reading && !ch->catching && !ch->probing)
    {
        ngx_conduit_channel_free(ch);
    }
}


ngx_int_t
ngx_conduit_channel_add(ngx_conduit_channel_t *ch, ngx_conduit_sub_t *sub)
{
    ngx_int_t  at_cursor;

    if (sub->resumed) {
        at_cursor = conduit_stream_id_cmp(&sub->pos, &ch->cursor);

        if (ch->known && ch->ended && at_cursor == 0 && !ch->reading) {
            ngx_conduit_channel_release(ch);
            return NGX_DONE;
        }

        if (!ch->known || at_cursor > 0
            || conduit_stream_id_cmp(&sub->pos, &ch->floor) < 0)
        {
            sub->place = &ch->opening;

        } else {
            sub->place = &ch->waiting;
        }

    } else {
        sub->place = &ch->waiting;
    }

    ch->nsubs++;
    sub->channel = ch;
    ngx_queue_insert_tail(sub->place, &sub->queue);
    ngx_conduit_hub_sub_added(ch->hub, sub);

    if (sub->place == &ch->waiting) {
        ngx_conduit_channel_place(ch, sub);
        return NGX_OK;
    }

    /* a look-up that is under way may be older than the position */

    sub->probe = ch->probes + 1;

    if (!ch->hub->doorbell.is_up) {
        return NGX_OK;
    }

    ngx_conduit_channel_look_up(ch);

    return ch->probing ? NGX_AGAIN : NGX_OK;
}


void
ngx_conduit_channel_remove(ngx_conduit_sub_t *sub)
{
    ngx_conduit_channel_t  *ch;

    ch = sub->channel;

    if (ch == NULL) {
        return;
    }

    sub->channel = NULL;
    sub->place = NULL;
    ngx_queue_remove(&sub->queue);
    ch->nsubs--;

    ngx_conduit_hub_sub_removed(ch->hub, sub);

    ngx_conduit_channel_release(ch);
}


static void
ngx_conduit_channel_move(ngx_conduit_sub_t *sub, ngx_queue_t *queue)
{
    ngx_queue_remove(&sub->queue);
    ngx_queue_insert_tail(queue, &sub->queue);
    sub->place = queue;
}


/*
 * Takes all of a queue: a list that can be worked off while any subscriber may
 * leave it.
 */

static void
ngx_conduit_channel_take(ngx_queue_t *list, ngx_queue_t *queue)
{
    ngx_queue_init(list);

    if (!ngx_queue_empty(queue)) {
        ngx_queue_add(list, queue);
        ngx_queue_init(queue);
    }
}


void
ngx_conduit_channel_place(ngx_conduit_channel_t *ch, ngx_conduit_sub_t *sub)
{
    if (conduit_stream_id_cmp(&sub->pos, &ch->floor) < 0) {
        ngx_conduit_channel_move(sub, &ch->behind);
        ngx_conduit_channel_catch_up(ch);
        return;
    }

    if (sub->seq < ch->base) {
        sub->seq = ch->base + ngx_conduit_frames_after(&ch->window, &sub->pos);
    }

    if (sub->seq == ch->base + ch->window.nelts) {
        ngx_conduit_channel_move(sub, &ch->waiting);
        return;
    }

    ngx_conduit_channel_move(sub, &ch->ready);
    ngx_conduit_hub_run(ch->hub, ch);
}


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
ngx_conduit_channel_down(ngx_conduit_channel_t *ch)
{
    ngx_queue_t         list, *q;
    ngx_conduit_sub_t  *sub;

    ch->holds++;

    ngx_conduit_channel_take(&list, &ch->opening);

    while (!ngx_queue_empty(&list)) {
        q = ngx_queue_head(&list);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        ngx_conduit_channel_move(sub, &ch->opening);
        (void) ngx_conduit_sub_start(sub);
    }

    ch->holds--;

    ngx_conduit_channel_release(ch);
}


static void
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


static void
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


/* there are new frames: all who had everything have something to send */

static void
ngx_conduit_channel_wake(ngx_conduit_channel_t *ch)
{
    ngx_queue_t        *q;
    ngx_conduit_sub_t  *sub;

    if (ngx_queue_empty(&ch->waiting)) {
        return;
    }

    for (q = ngx_queue_head(&ch->waiting);
         q != ngx_queue_sentinel(&ch->waiting);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);
        sub->place = &ch->ready;
    }

    ngx_queue_add(&ch->ready, &ch->waiting);
    ngx_queue_init(&ch->waiting);

    ngx_conduit_hub_run(ch->hub, ch);
}


static void
ngx_conduit_channel_trim(ngx_conduit_channel_t *ch, size_t limit)
{
    size_t              bytes;
    ngx_uint_t          n;
    ngx_queue_t        *q;
    ngx_conduit_sub_t  *sub;

    bytes = ch->window.bytes;

    for (n = 0; bytes > limit && n < ch->window.nelts; n++) {
        bytes -= ch->window.elts[n]->len;
    }

    if (n == 0) {
        return;
    }

    /* a subscriber that falls behind knows what it must find there */

    for (q = ngx_queue_head(&ch->blocked);
         q != ngx_queue_sentinel(&ch->blocked);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        if (sub->seq >= ch->base && sub->seq < ch->base + n) {
            sub->next = ch->window.elts[sub->seq - ch->base]->id;
            sub->next_known = 1;
        }
    }

    ch->floor = ch->window.elts[n - 1]->id;
    ch->base += n;

    ngx_conduit_frames_drop(&ch->window, n);
}


static void
ngx_conduit_channel_catch_up(ngx_conduit_channel_t *ch)
{
    ngx_queue_t        *q;
    ngx_conduit_hub_t  *hub;
    ngx_conduit_sub_t  *sub;

    hub = ch->hub;

    if (ch->catching || !ngx_queue_empty(&ch->reading_batch)
        || ngx_queue_empty(&ch->behind) || !hub->doorbell.is_up)
    {
        return;
    }

    q = ngx_queue_head(&ch->behind);
    sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

    ch->batch_start = sub->pos;
    ch->batch_epoch = ch->epoch;

    if (ngx_conduit_stream_range(&hub->doorbell.reader, &ch->node.str,
                                 &ch->batch_start,
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

        if (ch->batch_epoch == ch->epoch) {
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
    ngx_queue_t          list, *q;
    ngx_conduit_sub_t   *sub;
    ngx_conduit_entry_t  entry;

    if (reply->type != REDIS_REPLY_ARRAY) {
        ngx_conduit_channel_complain(ch, reply);
        ngx_conduit_hub_retry(ch->hub, ch);
        return;
    }

    ch->batch_last = ch->batch_start;
    ch->batch_first = ngx_conduit_oldest;

    if (reply->elements) {

        if (ngx_conduit_stream_entry(reply->element[0], &entry) == NGX_OK) {
            ch->batch_first = entry.id;
        }

        if (ngx_conduit_channel_frames(ch, reply, &ch->batch, &ch->batch_last)
            != NGX_OK)
        {
            ngx_conduit_hub_retry(ch->hub, ch);
        }
    }

    if (reply->elements <= 1
        && conduit_stream_id_cmp(&ch->batch_last, &ch->floor) < 0)
    {
        /* nothing is kept below the window any more */

        ch->batch_last = ch->floor;
    }

    ngx_conduit_channel_take(&list, &ch->behind);

    while (!ngx_queue_empty(&list)) {
        q = ngx_queue_head(&list);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        if (conduit_stream_id_cmp(&sub->pos, &ch->batch_start) < 0
            || conduit_stream_id_cmp(&sub->pos, &ch->batch_last) >= 0)
        {
            ngx_conduit_channel_move(sub, &ch->behind);

        } else if (ngx_conduit_channel_judge(ch, sub) == NGX_OK) {
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
ngx_conduit_channel_judge(ngx_conduit_channel_t *ch, ngx_conduit_sub_t *sub)
{
    if (sub->judged
        || conduit_stream_id_cmp(&sub->pos, &ngx_conduit_oldest) == 0)
    {
        return NGX_OK;
    }

    if (conduit_stream_id_cmp(&ch->batch_first, &ngx_conduit_oldest) != 0
        && conduit_stream_id_cmp(&ch->batch_first, &sub->pos) <= 0)
    {
        /* trimming starts with the oldest: it has not come that far */

        return NGX_OK;
    }

    if (!sub->next_known) {
        return NGX_AGAIN;
    }

    /* the entry that comes next is known: it is there, or it is lost */

    sub->judged = 1;

    if (conduit_stream_id_cmp(&ch->batch_first, &ngx_conduit_oldest) == 0
        || conduit_stream_id_cmp(&ch->batch_first, &sub->next) > 0)
    {
        sub->lost = 1;
    }

    return NGX_OK;
}


static void
ngx_conduit_channel_look_up(ngx_conduit_channel_t *ch)
{
    ngx_conduit_hub_t  *hub;

    hub = ch->hub;

    if (ch->probing || !hub->doorbell.is_up) {
        return;
    }

    if (ngx_conduit_stream_info(&hub->doorbell.reader, &ch->node.str,
                                ngx_conduit_channel_info_reply, ch)
        == NGX_OK)
    {
        ch->probing = 1;
        ch->probes++;
        return;
    }

    ngx_conduit_hub_retry(hub, ch);
}


static void
ngx_conduit_channel_info_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_channel_t  *ch = data;

    ch->probing = 0;
    ch->holds++;

    if (outcome == NGX_CONDUIT_REPLIED) {
        ngx_conduit_channel_info(ch, reply);

        if (!ngx_queue_empty(&ch->opening)) {
            ngx_conduit_channel_look_up(ch);
        }
    }

    ch->holds--;

    ngx_conduit_channel_release(ch);
}


static void
ngx_conduit_channel_info(ngx_conduit_channel_t *ch, redisReply *reply)
{
    ngx_uint_t                 another;
    ngx_conduit_stream_info_t  info;

    if (ngx_conduit_stream_parse_info(reply, &info) != NGX_OK) {

        /* not allowed, or no stream: take positions as they are */

        ngx_conduit_channel_complain(ch, reply);
        ngx_conduit_channel_admit(ch, NULL);
        return;
    }

    another = conduit_stream_id_cmp(&info.last_id, &ch->cursor) < 0;

    if (!another && ch->known
        && ngx_conduit_channel_trimmed(&info, &ch->cursor))
    {
        ngx_conduit_channel_lost(&ch->waiting);
        ngx_conduit_channel_lost(&ch->ready);
        ngx_conduit_channel_lost(&ch->blocked);
    }

    ngx_conduit_channel_admit(ch, &info);

    if (another) {
        ngx_conduit_channel_restart(ch);
        ngx_conduit_channel_ring(ch, 0);
        return;
    }

    ch->known = 1;
}


/*
 * Whether entries after a position are gone.  When the entry there went as the
 * last one, nothing after it is, and that can't be told from here: it is taken
 * for a loss.
 */

static ngx_uint_t
ngx_conduit_channel_trimmed(ngx_conduit_stream_info_t *info,
    conduit_stream_id_t *pos)
{
    if (!info->trimmed || conduit_stream_id_cmp(pos, &ngx_conduit_oldest) == 0)
    {
        return 0;
    }

    return conduit_stream_id_cmp(pos, info->length ? &info->first.id
                                                   : &info->last_id)
           < 0;
}


static void
ngx_conduit_channel_lost(ngx_queue_t *queue)
{
    ngx_queue_t        *q;
    ngx_conduit_sub_t  *sub;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        if (conduit_stream_id_cmp(&sub->pos, &ngx_conduit_oldest) != 0) {
            sub->lost = 1;
        }
    }
}


/*
 * Starts those whose position was looked up.  One that is after everything the
 * stream has given out belongs to another stream, or to none: it starts from
 * the oldest entry.  One at or after an END that nothing follows has seen it
 * all.
 */

static void
ngx_conduit_channel_admit(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info)
{
    ngx_uint_t          ended;
    ngx_queue_t         list, *q;
    ngx_conduit_sub_t  *sub;

    if (ngx_queue_empty(&ch->opening)) {
        return;
    }

    ended = info && info->length
            && ngx_conduit_frame_is_end(ch->hub, &info->last);

    ngx_conduit_channel_take(&list, &ch->opening);

    while (!ngx_queue_empty(&list)) {
        q = ngx_queue_head(&list);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        ngx_conduit_channel_move(sub, &ch->opening);

        if (sub->probe > ch->probes) {
            continue;
        }

        if (ended && conduit_stream_id_cmp(&info->last.id, &sub->pos) <= 0) {
            ngx_conduit_sub_refuse(sub);
            continue;
        }

        if (info && conduit_stream_id_cmp(&info->last_id, &sub->pos) < 0) {
            sub->pos = ngx_conduit_oldest;
        }

        if (info && ngx_conduit_channel_trimmed(info, &sub->pos)) {
            sub->lost = 1;
        }

        sub->judged = 1;

        if (ngx_conduit_sub_start(sub) == NGX_OK) {
            ngx_conduit_channel_place(ch, sub);
        }
    }
}


/* the stream is not the one it was: all start from its oldest entry */

static void
ngx_conduit_channel_restart(ngx_conduit_channel_t *ch)
{
    ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                  "conduit: redis %V: stream \"%V\" is gone or was made anew, "
                  "reading it from its oldest entry",
                  &ch->hub->redis->name, &ch->node.str);

    ch->epoch++;
    ch->base += ch->window.nelts;
    ch->cursor = ngx_conduit_oldest;
    ch->floor = ngx_conduit_oldest;
    ch->ended = 0;
    ch->known = 1;

    ngx_conduit_frames_drop(&ch->window, ch->window.nelts);
    ngx_conduit_frames_clear(&ch->batch);

    ngx_conduit_channel_restart_queue(ch, &ch->waiting, NULL);
    ngx_conduit_channel_restart_queue(ch, &ch->blocked, NULL);
    ngx_conduit_channel_restart_queue(ch, &ch->ready, &ch->waiting);
    ngx_conduit_channel_restart_queue(ch, &ch->behind, &ch->waiting);
    ngx_conduit_channel_restart_queue(ch, &ch->reading_batch, &ch->waiting);
}


static void
ngx_conduit_channel_restart_queue(ngx_conduit_channel_t *ch,
    ngx_queue_t *queue, ngx_queue_t *to)
{
    ngx_queue_t        *q, *next;
    ngx_conduit_sub_t  *sub;

    for (q = ngx_queue_head(queue); q != ngx_queue_sentinel(queue); q = next) {

        next = ngx_queue_next(q);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        sub->pos = ngx_conduit_oldest;
        sub->seq = ch->base;

        if (to != NULL) {
            ngx_conduit_channel_move(sub, to);
        }
    }
}


ngx_uint_t
ngx_conduit_channel_serve(ngx_conduit_channel_t *ch, ngx_uint_t max)
{
    ngx_uint_t          n;
    ngx_queue_t        *q;
    ngx_conduit_sub_t  *sub;

    ch->holds++;

    for (n = 0; n < max; n++) {

        if (!ngx_queue_empty(&ch->ready)) {
            q = ngx_queue_head(&ch->ready);
            sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);
            ngx_conduit_channel_serve_window(ch, sub);

        } else if (!ngx_queue_empty(&ch->reading_batch)) {
            q = ngx_queue_head(&ch->reading_batch);
            sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);
            ngx_conduit_channel_serve_batch(ch, sub);

        } else {
            break;
        }
    }

    if (ngx_queue_empty(&ch->ready)) {
        ngx_conduit_channel_trim(ch, ch->hub->settings.window);
    }

    if (ngx_queue_empty(&ch->reading_batch)) {
        ngx_conduit_frames_clear(&ch->batch);
        ngx_conduit_channel_catch_up(ch);
    }

    if (!ngx_queue_empty(&ch->ready) || !ngx_queue_empty(&ch->reading_batch)) {
        ngx_conduit_hub_run(ch->hub, ch);
    }

    ch->holds--;

    ngx_conduit_channel_release(ch);

    return n;
}


static void
ngx_conduit_channel_serve_window(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub)
{
    ngx_int_t   rc;
    ngx_uint_t  i;

    if (sub->seq < ch->base) {
        ngx_conduit_channel_place(ch, sub);
        return;
    }

    i = sub->seq - ch->base;

    rc = ngx_conduit_sub_send(sub, &ch->window, &i);

    if (rc == NGX_DONE) {
        return;
    }

    sub->seq = ch->base + i;

    ngx_conduit_channel_move(sub, rc == NGX_AGAIN ? &ch->blocked
                                                  : &ch->waiting);
}


static void
ngx_conduit_channel_serve_batch(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub)
{
    ngx_int_t   rc;
    ngx_uint_t  i;

    i = ngx_conduit_frames_after(&ch->batch, &sub->pos);

    rc = ngx_conduit_sub_send(sub, &ch->batch, &i);

    if (rc == NGX_DONE) {
        return;
    }

    if (rc == NGX_AGAIN) {
        ngx_conduit_channel_move(sub, &ch->blocked);
        return;
    }

    /* entries that are no messages have no frames, but are passed */

    if (conduit_stream_id_cmp(&sub->pos, &ch->batch_last) < 0) {
        sub->pos = ch->batch_last;
    }

    ngx_conduit_channel_place(ch, sub);
}
