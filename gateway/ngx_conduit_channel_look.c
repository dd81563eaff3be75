/*
 * A channel's look-ups: XINFO STREAM tells
 *  - whether the stream still is the one that the cursor, or the position of a
 *    subscriber that resumes, belongs to.  A stream that was deleted and made
 *    again may give out smaller IDs (its server's clock was set back, an
 *    explicit ID); waiting for IDs to catch up would be waiting for ever.  Then
 *    all start from the oldest entry again; unless it only lost its last
 *    entries (ngx_conduit_channel_back.c);
 *  - whether the oldest entry is past a position: then its subscriber has lost
 *    some that were trimmed.  When nothing was ever removed from the stream,
 *    the position is of an earlier one of that name, and what came after it
 *    there nobody can tell;
 *  - whether the stream has ended, for those who resume after its end: they
 *    wait for what may follow, whatever their position, or are refused.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_channel.h"
#include "ngx_conduit_gateway_metrics.h"


static void ngx_conduit_channel_info_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_channel_info(ngx_conduit_channel_t *ch,
    redisReply *reply);
static void ngx_conduit_channel_after_end(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info);
static void ngx_conduit_channel_gap(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info);
static ngx_uint_t ngx_conduit_channel_barred(redisReply *reply);
static ngx_uint_t ngx_conduit_channel_before(ngx_conduit_stream_info_t *info,
    conduit_stream_id_t *pos);
static ngx_uint_t ngx_conduit_channel_only_loss(ngx_conduit_stream_info_t *info,
    conduit_stream_id_t *pos);
static void ngx_conduit_channel_lost_queue(ngx_queue_t *queue,
    conduit_stream_id_t *first);
static void ngx_conduit_channel_admit(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info);
static ngx_uint_t ngx_conduit_channel_has_ended(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info);
static void ngx_conduit_channel_locate(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub, ngx_conduit_stream_info_t *info, ngx_uint_t ended);
static ngx_uint_t ngx_conduit_channel_had_all(ngx_conduit_channel_t *ch,
    conduit_stream_id_t *pos);
static conduit_stream_id_t *ngx_conduit_channel_last(
    ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_past(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_settle(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub, ngx_conduit_stream_info_t *info);
static void ngx_conduit_channel_gone_queue(ngx_conduit_channel_t *ch,
    ngx_queue_t *queue);
static void ngx_conduit_channel_rewind(ngx_conduit_channel_t *ch);
static void ngx_conduit_channel_restart_queue(ngx_conduit_channel_t *ch,
    ngx_queue_t *queue, ngx_queue_t *to);


void
ngx_conduit_channel_look_up(ngx_conduit_channel_t *ch)
{
    ngx_conduit_hub_t  *hub;

    hub = ch->hub;

    if (ch->probing || !ch->shard->doorbell.is_up
        || (ch->paused & NGX_CONDUIT_ASK_LOOK_UP))
    {
        return;
    }

    if (ngx_conduit_stream_info(ngx_conduit_channel_link(ch), &ch->node.str,
                                ngx_conduit_channel_info_reply, ch)
        == NGX_OK)
    {
        ch->probing = 1;
        ch->probes++;
        ch->probe_moves = ch->moves;
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_LOOK_UPS);
        return;
    }

    ngx_conduit_schedule_retry(&hub->schedule, &ch->retry);
}


static void
ngx_conduit_channel_info_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_channel_t  *ch = data;

    ch->probing = 0;
    ch->holds++;

    if (outcome != NGX_CONDUIT_REPLIED) {
        ngx_conduit_channel_unanswered(ch, outcome);

    } else if (ch->probe_moves != ch->moves) {

        /* of the server before */

        if (ch->nsubs) {
            ngx_conduit_channel_look_up(ch);
        }

    } else if (!ngx_conduit_shard_redirect(ch, reply)) {
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
    ngx_uint_t                 another, shorter, compare;
    ngx_conduit_stream_info_t  info;

    if (ngx_conduit_stream_parse_info(reply, &info) != NGX_OK) {

        ngx_conduit_channel_complain(ch, reply);

        if (!ngx_conduit_channel_barred(reply)) {

            /* it passes: nobody waits for it with the header, all are asked
               for again */

            ngx_conduit_channel_put_off(ch, NGX_CONDUIT_ASK_LOOK_UP);
            ngx_conduit_channel_down(ch);
            return;
        }

        /* a cursor that came with a subscriber can't be trusted: read all */

        if (!ch->known) {
            ngx_conduit_channel_rewind(ch);
            ngx_conduit_channel_ring(ch, 0);
        }

        ngx_conduit_channel_admit(ch, NULL);
        return;
    }

    ngx_conduit_channel_after_end(ch, &info);

    another = conduit_stream_id_cmp(&info.last_id, &ch->cursor) < 0;

    if (info.counted
        && conduit_stream_id_cmp(&info.last_id, &ch->cursor) == 0)
    {
        ch->number = info.added;
        ch->numbered = 1;
    }

    if (!another && ch->reading && ch->checked) {
        ngx_conduit_channel_gap(ch, &info);
        ngx_conduit_channel_compare(ch, &info);
    }

    shorter = another && ngx_conduit_channel_step_back(ch, &info);

    if (another && !shorter) {
        compare = ch->compare;

        if (ngx_conduit_channel_compare(ch, &info)) {

            /* who waits for a look-up waits for the next one; a read that is
               under way is of no use, unless it is this one */

            ch->epoch += !compare;
            ngx_conduit_channel_ring(ch, 0);
            return;
        }
    }

    if (another && !shorter) {
        ngx_conduit_channel_gone(ch);
    }

    ngx_conduit_channel_admit(ch, &info);

    if (another) {

        if (!shorter) {
            ngx_conduit_channel_restart(ch);
        }

        ngx_conduit_channel_ring(ch, 0);
        return;
    }

    ch->known = 1;
}


/*
 * The cursor came with a client's position that is at an END, which was not
 * read then, or after it and never given out by the stream: what follows the
 * END is what is waited for.
 */

static void
ngx_conduit_channel_after_end(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info)
{
    ngx_uint_t  after;

    if (ch->ended || info->length == 0
        || conduit_stream_id_cmp(&ch->cursor, &info->last.id) < 0)
    {
        return;
    }

    after = (conduit_stream_id_cmp(&ch->cursor, &info->last_id) > 0);

    if ((after ? ch->known
               : ch->hub->settings.after_end == NGX_CONDUIT_AFTER_END_WAIT)
        || !ngx_conduit_channel_has_ended(ch, info))
    {
        return;
    }

    ch->ended = 1;

    if (!after) {
        return;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: channel \"%V\" is after its END, back to "
                   "%uL-%uL", &ch->node.str, info->last.id.ms,
                   info->last.id.seq);

    /* a reply that is under way is to another question */

    ch->epoch++;
    ch->cursor = info->last.id;
    ch->floor = info->last.id;

    ngx_conduit_channel_ring(ch, 0);
}


/*
 * The entry at the cursor is gone: were others after it?  The stream tells how
 * many entries it ever had, so that those that are gone can be counted from the
 * cursor on, when the number of its entry is known.
 */

static void
ngx_conduit_channel_gap(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info)
{
    ngx_uint_t  none;

    if (info->length) {
        ch->oldest = info->first.id;
    }

    if (!ngx_conduit_channel_before(info, &ch->cursor)) {
        return;
    }

    if (!info->trimmed) {

        /* another stream, with larger IDs: who is in the window goes on to it
           from there */

        ngx_conduit_channel_past(ch);

        ch->numbered = 1;
        ch->number = 0;
        return;
    }

    none = info->counted
           && ((ch->numbered && info->added - ch->number == info->length)
               || ngx_conduit_channel_only_loss(info, &ch->cursor));

    ch->numbered = info->counted;
    ch->number = info->added - info->length;

    if (!none) {
        ngx_conduit_channel_lost(ch, info->length ? &info->first.id
                                                  : &info->last_id);
    }
}


/* not allowed, or no stream: it will not be told */

static ngx_uint_t
ngx_conduit_channel_barred(redisReply *reply)
{
    ngx_uint_t  i;

    static const char  *errors[] = { "NOPERM", "ERR", "WRONGTYPE", NULL };

    if (reply->type != REDIS_REPLY_ERROR) {
        return 1;
    }

    for (i = 0; errors[i]; i++) {
        if (ngx_strncmp(reply->str, errors[i], ngx_strlen(errors[i])) == 0) {
            return 1;
        }
    }

    return 0;
}


/*
 * Whether a position is before all that the stream has.  In a stream of which
 * entries were removed, some after the position may be among them.  When the
 * entry there went as the last one, none are, and that can't be told from here:
 * it is taken for a loss.
 */

static ngx_uint_t
ngx_conduit_channel_before(ngx_conduit_stream_info_t *info,
    conduit_stream_id_t *pos)
{
    if (conduit_stream_id_cmp(pos, &ngx_conduit_oldest) == 0) {
        return 0;
    }

    return conduit_stream_id_cmp(pos, info->length ? &info->first.id
                                                   : &info->last_id)
           < 0;
}


/* whether the entry at a position is the only one that was ever removed */

static ngx_uint_t
ngx_conduit_channel_only_loss(ngx_conduit_stream_info_t *info,
    conduit_stream_id_t *pos)
{
    return info->counted && info->added - info->length == 1
           && conduit_stream_id_cmp(&info->deleted, pos) == 0;
}


void
ngx_conduit_channel_lost(ngx_conduit_channel_t *ch, conduit_stream_id_t *first)
{
    ngx_conduit_channel_lost_queue(&ch->waiting, first);
    ngx_conduit_channel_lost_queue(&ch->ready, first);
    ngx_conduit_channel_lost_queue(&ch->blocked, first);
}


static void
ngx_conduit_channel_lost_queue(ngx_queue_t *queue, conduit_stream_id_t *first)
{
    ngx_queue_t        *q;
    ngx_conduit_sub_t  *sub;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        if (conduit_stream_id_cmp(&sub->pos, &ngx_conduit_oldest) != 0
            && conduit_stream_id_cmp(&sub->pos, first) < 0)
        {
            sub->lost = 1;
        }
    }
}


/*
 * Starts those whose position was looked up.  One at or after an END that
 * nothing follows has seen it all: it waits for what may follow, or is refused
 * where after_end is stop.  Any other one that is after everything the stream
 * has given out belongs to another stream, or to none: it starts from the
 * oldest entry.
 */

static void
ngx_conduit_channel_admit(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info)
{
    ngx_uint_t          ended, stop;
    ngx_queue_t         list, *q;
    ngx_conduit_sub_t  *sub;

    if (ngx_queue_empty(&ch->opening)) {
        return;
    }

    ended = ngx_conduit_channel_has_ended(ch, info);
    stop = (ch->hub->settings.after_end == NGX_CONDUIT_AFTER_END_STOP);

    ngx_conduit_channel_take(&list, &ch->opening);

    while (!ngx_queue_empty(&list)) {
        q = ngx_queue_head(&list);
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        ngx_conduit_channel_move(sub, &ch->opening);

        if (sub->probe > ch->probes) {
            continue;
        }

        if (stop && ended
            && conduit_stream_id_cmp(&info->last.id, &sub->pos) <= 0)
        {
            ngx_conduit_sub_refuse(sub);
            continue;
        }

        ngx_conduit_channel_lead_back(ch, sub);

        if (info) {
            ngx_conduit_channel_locate(ch, sub, info, ended);
        }

        ngx_conduit_channel_settle(ch, sub, info);

        if (ngx_conduit_sub_start(sub) == NGX_OK) {
            ngx_conduit_channel_place(ch, sub);
        }
    }
}


static ngx_uint_t
ngx_conduit_channel_has_ended(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info)
{
    return info && info->length
           && ngx_conduit_frame_is_end(ch->hub, &info->last);
}


/*
 * Says where a position is in the stream, and what its subscriber is to be told
 * of.  A position of an earlier life of the stream is no loss for one who had
 * all that was seen of that.  One after all that an ended stream has given out
 * is at its END from here on: it is told before what follows that.
 */

static void
ngx_conduit_channel_locate(ngx_conduit_channel_t *ch, ngx_conduit_sub_t *sub,
    ngx_conduit_stream_info_t *info, ngx_uint_t ended)
{
    ngx_uint_t  future, before;

    future = (conduit_stream_id_cmp(&info->last_id, &sub->pos) < 0);
    before = ngx_conduit_channel_before(info, &sub->pos);

    if (future || (before && !info->trimmed)) {

        if (sub->lost || !ngx_conduit_channel_had_all(ch, &sub->pos)) {
            sub->lost = 1;
            sub->gone = 1;
        }

    } else if (before && !ngx_conduit_channel_only_loss(info, &sub->pos)) {
        sub->lost = 1;
    }

    if (!future) {
        return;
    }

    if (ended) {
        sub->pos = info->last.id;
        return;
    }

    sub->earlier = sub->pos;
    sub->pos = ngx_conduit_oldest;
}


/*
 * Whether a position is at the end of what this worker has seen of the stream,
 * or of the life before that.
 */

static ngx_uint_t
ngx_conduit_channel_had_all(ngx_conduit_channel_t *ch,
    conduit_stream_id_t *pos)
{
    if (ch->seen
        && conduit_stream_id_cmp(pos, ngx_conduit_channel_last(ch)) >= 0
        && conduit_stream_id_cmp(pos, &ch->cursor) <= 0)
    {
        return 1;
    }

    return conduit_stream_id_cmp(pos, &ch->past_from) >= 0
           && conduit_stream_id_cmp(pos, &ch->past_to) <= 0;
}


/* who is there has been given all up to the cursor: entries that are no
   messages may follow */

static conduit_stream_id_t *
ngx_conduit_channel_last(ngx_conduit_channel_t *ch)
{
    conduit_stream_id_t  *id;

    if (ch->window.nelts) {
        id = &ch->window.elts[ch->window.nelts - 1]->id;

        if (conduit_stream_id_cmp(id, &ch->floor) > 0) {
            return id;
        }
    }

    return &ch->floor;
}


/* the life of the stream that was seen is over */

static void
ngx_conduit_channel_past(ngx_conduit_channel_t *ch)
{
    if (ch->seen) {
        ch->past_from = *ngx_conduit_channel_last(ch);
        ch->past_to = ch->cursor;
    }
}


/*
 * What was said of a subscriber's position is as of now, and rests on the
 * oldest entry, or on the one that is known to follow.  When nothing does, it
 * is as good as at the window.
 */

static void
ngx_conduit_channel_settle(ngx_conduit_channel_t *ch, ngx_conduit_sub_t *sub,
    ngx_conduit_stream_info_t *info)
{
    sub->judged = 1;

    if (info == NULL || info->length == 0) {
        sub->next_known = 0;
        return;
    }

    if (conduit_stream_id_cmp(&info->last.id, &sub->pos) <= 0
        && conduit_stream_id_cmp(&sub->pos, &ch->floor) < 0
        && conduit_stream_id_cmp(&ch->floor, &info->last_id) <= 0)
    {
        sub->pos = ch->floor;
    }

    if (!sub->next_known
        || conduit_stream_id_cmp(&info->first.id, &sub->pos) > 0
        || conduit_stream_id_cmp(&sub->next, &sub->pos) <= 0)
    {
        sub->next = info->first.id;
        sub->next_known = 1;
    }
}


void
ngx_conduit_channel_restart(ngx_conduit_channel_t *ch)
{
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_RESTARTS);

    ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                  "conduit: redis %V: stream \"%V\" is gone or was made anew, "
                  "reading it from its oldest entry",
                  &ch->shard->doorbell.redis->name, &ch->node.str);

    ngx_conduit_channel_rewind(ch);

    ngx_conduit_channel_restart_queue(ch, &ch->waiting, NULL);
    ngx_conduit_channel_restart_queue(ch, &ch->blocked, NULL);
    ngx_conduit_channel_restart_queue(ch, &ch->ready, &ch->waiting);
    ngx_conduit_channel_restart_queue(ch, &ch->behind, &ch->waiting);
    ngx_conduit_channel_restart_queue(ch, &ch->reading_batch, &ch->waiting);
}


void
ngx_conduit_channel_gone(ngx_conduit_channel_t *ch)
{
    if (!ch->seen) {
        return;
    }

    /* those who wait have all there was */

    ngx_conduit_channel_gone_queue(ch, &ch->ready);
    ngx_conduit_channel_gone_queue(ch, &ch->behind);
    ngx_conduit_channel_gone_queue(ch, &ch->reading_batch);
    ngx_conduit_channel_gone_queue(ch, &ch->blocked);
}


static void
ngx_conduit_channel_gone_queue(ngx_conduit_channel_t *ch, ngx_queue_t *queue)
{
    ngx_queue_t          *q;
    ngx_conduit_sub_t    *sub;
    conduit_stream_id_t  *last;

    last = ngx_conduit_channel_last(ch);

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        if (sub->lost || sub->seq == ch->base + ch->window.nelts
            || conduit_stream_id_cmp(&sub->pos, last) >= 0
            || conduit_stream_id_cmp(ngx_conduit_sub_position(sub),
                                     &ngx_conduit_oldest)
               == 0)
        {
            continue;
        }

        sub->lost = 1;
        sub->gone = 1;
    }
}


/* reads the stream from its oldest entry, in place of what is in memory */

static void
ngx_conduit_channel_rewind(ngx_conduit_channel_t *ch)
{
    ngx_conduit_channel_past(ch);

    ch->epoch++;
    ch->base += ch->window.nelts;
    ch->cursor = ngx_conduit_oldest;
    ch->floor = ngx_conduit_oldest;
    ch->ended = 0;
    ch->known = 1;
    ch->seen = 0;
    ch->numbered = 0;
    ch->kept = 0;
    ch->compare = 0;
    ch->lead = ngx_conduit_oldest;

    ngx_conduit_frames_drop(&ch->window, ch->window.nelts);

    if (ch->batch != NULL) {
        ngx_conduit_frames_clear(&ch->batch->frames);
    }
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

        sub->earlier = *ngx_conduit_sub_position(sub);
        sub->pos = ngx_conduit_oldest;
        sub->seq = ch->base;

        if (to != NULL) {
            ngx_conduit_channel_move(sub, to);
        }
    }
}
