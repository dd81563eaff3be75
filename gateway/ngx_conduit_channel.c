/*
 * A channel: its life, who is in which of its queues, and their turns.  What it
 * asks Redis is in ngx_conduit_channel_read.c and ngx_conduit_channel_look.c,
 * what it does when the stream lost its end in ngx_conduit_channel_back.c.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_channel.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_time.h"


/* ms between two lines about the errors of a server */
#define NGX_CONDUIT_COMPLAINTS  10000


static void ngx_conduit_channel_free(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_set_blocked(ngx_conduit_sub_t *sub,
    ngx_uint_t blocked);
static ngx_uint_t ngx_conduit_channel_before_all(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub);
static void ngx_conduit_channel_leave(ngx_conduit_channel_t *ch,
    ngx_queue_t *queue, ngx_uint_t n);
static ngx_uint_t ngx_conduit_channel_retry(void *data, ngx_uint_t max);
static ngx_uint_t ngx_conduit_channel_turn(void *data, ngx_uint_t max);
static void ngx_conduit_channel_serve_window(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub);
static void ngx_conduit_channel_serve_batch(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub);


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

    ch->turn.handler = ngx_conduit_channel_turn;
    ch->turn.data = ch;
    ch->retry.handler = ngx_conduit_channel_retry;
    ch->retry.data = ch;

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

    if (ngx_conduit_shard_add(ch) != NGX_OK) {
        ngx_free(ch);
        return NULL;
    }

    ngx_rbtree_insert(&hub->channels, &ch->node.node);
    hub->nchannels++;
    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_CHANNELS, 1);

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

    ngx_conduit_schedule_cancel(&ch->turn);
    ngx_conduit_schedule_cancel(&ch->retry);

    ngx_conduit_shard_remove(ch);
    ngx_rbtree_delete(&hub->channels, &ch->node.node);
    hub->nchannels--;
    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_CHANNELS, -1);

    ngx_conduit_frames_clear(&ch->window);
    ngx_conduit_channel_drop_batch(ch);

    ngx_free(ch);
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


void
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
    ngx_int_t     at_cursor;
    ngx_uint_t    stop;
    ngx_queue_t  *queue;

    queue = &ch->waiting;

    if (sub->resumed) {
        ngx_conduit_channel_lead_back(ch, sub);
        at_cursor = conduit_stream_id_cmp(&sub->pos, &ch->cursor);

        stop = (ch->hub->settings.after_end == NGX_CONDUIT_AFTER_END_STOP
                && ch->ended && at_cursor == 0);

        if (stop && ch->known && !ch->reading && ch->shard->doorbell.is_up) {
            ngx_conduit_channel_release(ch);
            return NGX_DONE;
        }

        /* before a 204, whether something follows the end is worth asking */

        if (!ch->known || at_cursor > 0 || stop
            || conduit_stream_id_cmp(&sub->pos, &ch->floor) < 0
            || ngx_conduit_channel_before_all(ch, sub))
        {
            queue = &ch->opening;
        }
    }

    ch->nsubs++;
    sub->channel = ch;
    ngx_queue_insert_tail(queue, &sub->queue);
    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_SUBSCRIBERS, 1);
    ngx_conduit_roster_add(&ch->hub->roster, &sub->member,
                           ch->shard->doorbell.is_up);

    if (queue == &ch->waiting) {
        ngx_conduit_channel_place(ch, sub);
        return NGX_OK;
    }

    /* a look-up that is under way may be older than the position */

    sub->probe = ch->probes + 1;

    if (ch->shard->doorbell.is_up) {
        ngx_conduit_channel_look_up(ch);
        return ch->probing ? NGX_AGAIN : NGX_OK;
    }

    /* a worker's first request comes before its links are up */

    return ngx_conduit_shard_connecting(ch->shard) ? NGX_AGAIN : NGX_OK;
}


/* the window starts with the oldest entry there was; was that the first? */

static ngx_uint_t
ngx_conduit_channel_before_all(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub)
{
    return conduit_stream_id_cmp(&ch->floor, &ngx_conduit_oldest) == 0
           && conduit_stream_id_cmp(&sub->pos, &ngx_conduit_oldest) != 0
           && ch->window.nelts
           && conduit_stream_id_cmp(&sub->pos, &ch->window.elts[0]->id) < 0;
}


void
ngx_conduit_channel_remove(ngx_conduit_sub_t *sub)
{
    ngx_conduit_channel_t  *ch;

    ch = sub->channel;

    if (ch == NULL) {
        return;
    }

    ngx_conduit_channel_set_blocked(sub, 0);

    sub->channel = NULL;
    ngx_queue_remove(&sub->queue);
    ch->nsubs--;

    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_SUBSCRIBERS, -1);
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_CLOSED + sub->close);
    ngx_conduit_roster_remove(&ch->hub->roster, &sub->member);

    ngx_conduit_channel_release(ch);
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


void
ngx_conduit_channel_send_away(ngx_conduit_channel_t *ch)
{
    ngx_uint_t          i;
    ngx_queue_t         list, *q, *queues[6];
    ngx_conduit_sub_t  *sub;

    queues[0] = &ch->opening;
    queues[1] = &ch->waiting;
    queues[2] = &ch->ready;
    queues[3] = &ch->behind;
    queues[4] = &ch->reading_batch;
    queues[5] = &ch->blocked;

    for (i = 0; i < 6; i++) {

        ngx_conduit_channel_take(&list, queues[i]);

        while (!ngx_queue_empty(&list)) {
            q = ngx_queue_head(&list);
            sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

            ngx_conduit_channel_move(sub, queues[i]);
            ngx_conduit_sub_end(sub, NGX_CONDUIT_CLOSE_OUTAGE);
        }
    }
}


/* one line a channel, until reading works again, and one a server in a while:
   what is wrong with one is often wrong with all */

void
ngx_conduit_channel_complain(ngx_conduit_channel_t *ch, redisReply *reply)
{
    ngx_conduit_shard_t  *shard;

    shard = ch->shard;

    if (ch->complained
        || (shard->complained
            && ngx_current_msec - shard->complained < NGX_CONDUIT_COMPLAINTS))
    {
        return;
    }

    ch->complained = 1;
    shard->complained = ngx_conduit_moment(ngx_current_msec);

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "conduit: redis %V: reading \"%V\" failed: %s",
                  &shard->doorbell.redis->name, &ch->node.str,
                  reply->type == REDIS_REPLY_ERROR ? reply->str
                                                   : "unexpected reply");
}


void
ngx_conduit_channel_put_off(ngx_conduit_channel_t *ch, ngx_uint_t question)
{
    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: channel \"%V\" puts off question %ui",
                   &ch->node.str, question);

    ch->paused |= question;

    ngx_conduit_schedule_retry(&ch->hub->schedule, &ch->retry);
}


void
ngx_conduit_channel_move(ngx_conduit_sub_t *sub, ngx_queue_t *queue)
{
    ngx_queue_remove(&sub->queue);
    ngx_queue_insert_tail(queue, &sub->queue);

    ngx_conduit_channel_set_blocked(sub, queue == &sub->channel->blocked);
}


static void
ngx_conduit_channel_set_blocked(ngx_conduit_sub_t *sub, ngx_uint_t blocked)
{
    if (blocked == sub->blocked) {
        return;
    }

    sub->blocked = blocked;

    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_BLOCKED, blocked ? 1 : -1);
    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_SLOW, blocked);
}


void
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
    ngx_conduit_schedule_run(&ch->hub->schedule, &ch->turn);
}


void
ngx_conduit_channel_wake(ngx_conduit_channel_t *ch)
{
    if (ngx_queue_empty(&ch->waiting)) {
        return;
    }

    ngx_queue_add(&ch->ready, &ch->waiting);
    ngx_queue_init(&ch->waiting);

    ngx_conduit_schedule_run(&ch->hub->schedule, &ch->turn);
}


void
ngx_conduit_channel_trim(ngx_conduit_channel_t *ch, size_t limit)
{
    size_t      bytes;
    ngx_uint_t  n;

    bytes = ch->window.bytes;

    for (n = 0; bytes > limit && n < ch->window.nelts; n++) {
        bytes -= ch->window.elts[n]->len;
    }

    if (n == 0) {
        return;
    }

    ngx_conduit_channel_leave(ch, &ch->blocked, n);
    ngx_conduit_channel_leave(ch, &ch->ready, n);

    /* the floor is higher where entries after it are lost */

    if (conduit_stream_id_cmp(&ch->floor, &ch->window.elts[n - 1]->id) < 0) {
        ch->floor = ch->window.elts[n - 1]->id;
    }

    ch->base += n;

    ngx_conduit_frames_drop(&ch->window, n);
}


/* a subscriber that falls behind knows what it must find there */

static void
ngx_conduit_channel_leave(ngx_conduit_channel_t *ch, ngx_queue_t *queue,
    ngx_uint_t n)
{
    ngx_queue_t        *q;
    ngx_conduit_sub_t  *sub;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        if (sub->seq >= ch->base && sub->seq < ch->base + n) {
            sub->next = ch->window.elts[sub->seq - ch->base]->id;
            sub->next_known = 1;
            sub->judged = 0;
        }
    }
}


ngx_uint_t
ngx_conduit_channel_away(ngx_conduit_channel_t *ch, ngx_msec_t *away)
{
    *away = ngx_current_msec - ch->shard->down_since;

    return !ch->shard->doorbell.is_up;
}


static ngx_uint_t
ngx_conduit_channel_retry(void *data, ngx_uint_t max)
{
    ngx_conduit_channel_ask(data);

    return 0;
}


/*
 * Serves up to max subscribers of the channel, and has it run again when more
 * are left.  Returns how many were.  The channel may be gone afterwards.
 */

static ngx_uint_t
ngx_conduit_channel_turn(void *data, ngx_uint_t max)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_conduit_sub_t      *sub;
    ngx_conduit_channel_t  *ch = data;

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

    if (ngx_queue_empty(&ch->reading_batch) && !ch->catching) {
        ngx_conduit_channel_drop_batch(ch);
        ngx_conduit_channel_catch_up(ch);
    }

    if (!ngx_queue_empty(&ch->ready) || !ngx_queue_empty(&ch->reading_batch)) {
        ngx_conduit_schedule_run(&ch->hub->schedule, &ch->turn);
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
    ngx_int_t             rc;
    ngx_uint_t            i;
    ngx_conduit_batch_t  *batch;

    batch = ch->batch;

    i = ngx_conduit_frames_after(&batch->frames, &sub->pos);

    rc = ngx_conduit_sub_send(sub, &batch->frames, &i);

    if (rc == NGX_DONE) {
        return;
    }

    if (rc == NGX_AGAIN) {
        ngx_conduit_channel_move(sub, &ch->blocked);
        return;
    }

    /* entries that are no messages have no frames, but are passed */

    if (conduit_stream_id_cmp(&sub->pos, &batch->last) < 0) {
        sub->pos = batch->last;
    }

    ngx_conduit_channel_place(ch, sub);
}
