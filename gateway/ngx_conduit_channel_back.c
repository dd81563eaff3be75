/*
 * A stream that lost its last entries.  Redis replicates asynchronously: after
 * a failover, or when a server comes back with an older file, the stream may
 * end before the channel's cursor.  What it lost was sent and can't be taken
 * back; what comes next has new IDs, which may be smaller than those.
 *
 *   stream     1  2  3                new entries: 3.1, 3.2 ...
 *   window     1  2  3  4  5          4 and 5 are dropped
 *   cursor           ^<----+          all who were after 3 are at 3
 *
 * It is the same stream, and not one made anew, when its last entry is a frame
 * of the window, byte for byte; or, when new ones have come already, an entry
 * that is further back.  Then all that is in the window is read once more.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_channel.h"


static ngx_uint_t ngx_conduit_channel_is_frame(ngx_conduit_channel_t *ch,
    ngx_conduit_entry_t *entry, ngx_conduit_frame_t *frame);
static void ngx_conduit_channel_back_to(ngx_conduit_channel_t *ch,
    ngx_uint_t n);
static void ngx_conduit_channel_back_queue(ngx_conduit_channel_t *ch,
    ngx_queue_t *queue);


ngx_uint_t
ngx_conduit_channel_step_back(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info)
{
    ngx_uint_t            n;
    conduit_stream_id_t  *id;

    if (info->length == 0) {
        return 0;
    }

    id = &info->last.id;
    n = ngx_conduit_frames_after(&ch->window, id);

    if (n == 0
        || !ngx_conduit_channel_is_frame(ch, &info->last,
                                         ch->window.elts[n - 1]))
    {
        return 0;
    }

    ngx_conduit_channel_back_to(ch, n);

    ch->numbered = (info->counted
                    && conduit_stream_id_cmp(&info->last_id, id) == 0);
    ch->number = info->added;

    return 1;
}


ngx_uint_t
ngx_conduit_channel_compare(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info)
{
    conduit_stream_id_t  *last;

    if (info->length == 0 || ch->window.nelts == 0) {
        return 0;
    }

    /* they have nothing in common when one begins where the other one ends, as
       after a trim */

    last = &ch->window.elts[ch->window.nelts - 1]->id;

    if (conduit_stream_id_cmp(&info->first.id, last) > 0
        || conduit_stream_id_cmp(&info->last.id, &ch->window.elts[0]->id) < 0)
    {
        return 0;
    }

    ch->compare = 1;

    return 1;
}


ngx_int_t
ngx_conduit_channel_part(ngx_conduit_channel_t *ch, redisReply *list,
    conduit_stream_id_t *first)
{
    size_t               i;
    ngx_uint_t           n, another;
    ngx_conduit_entry_t  entry;

    ch->compare = 0;
    ch->numbered = 0;
    another = 1;

    for (i = list ? list->elements : 0; i; i--) {

        if (ngx_conduit_stream_entry(list->element[i - 1], &entry) != NGX_OK) {
            break;
        }

        if (conduit_stream_id_cmp(&entry.id, &ch->cursor) > 0) {

            /* it goes on after the cursor: with nothing to compare, so does
               the channel */

            *first = entry.id;
            another = 0;
        }

        n = ngx_conduit_frames_after(&ch->window, &entry.id);

        if (n == 0
            || conduit_stream_id_cmp(&ch->window.elts[n - 1]->id, &entry.id)
               != 0)
        {
            continue;
        }

        if (ngx_conduit_channel_is_frame(ch, &entry,
                                         ch->window.elts[n - 1]))
        {
            if (conduit_stream_id_cmp(&entry.id, &ch->cursor) < 0) {
                ngx_conduit_channel_back_to(ch, n);
            }

            *first = ch->cursor;
            return NGX_OK;
        }

        /* the same ID, and another message */

        another = 1;
    }

    if (!another) {
        return NGX_OK;
    }

    ngx_conduit_channel_gone(ch);
    ngx_conduit_channel_restart(ch);

    return NGX_DECLINED;
}


static ngx_uint_t
ngx_conduit_channel_is_frame(ngx_conduit_channel_t *ch,
    ngx_conduit_entry_t *entry, ngx_conduit_frame_t *frame)
{
    ngx_uint_t            same;
    ngx_conduit_frame_t  *f;

    if (conduit_stream_id_cmp(&entry->id, &frame->id) != 0
        || ngx_conduit_frame_create(ch->hub, &ch->node.str, entry, &f)
           != NGX_OK)
    {
        return 0;
    }

    same = (f->len == frame->len
            && ngx_memcmp(f->data, frame->data, f->len) == 0);

    ngx_conduit_frame_release(f);

    return same;
}


/* the n oldest frames are kept, the stream has the last of them */

static void
ngx_conduit_channel_back_to(ngx_conduit_channel_t *ch, ngx_uint_t n)
{
    conduit_stream_id_t  *id;
    ngx_conduit_batch_t  *batch;

    id = &ch->window.elts[n - 1]->id;

    ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                  "conduit: redis %V: stream \"%V\" has lost its entries after "
                  "%uL-%uL, up to %uL-%uL",
                  &ch->shard->doorbell.redis->name, &ch->node.str, id->ms,
                  id->seq, ch->cursor.ms, ch->cursor.seq);

    /* who was in the stretch that is lost; two of them are taken for one where
       they overlap */

    if (conduit_stream_id_cmp(&ch->lead, id) <= 0
        || conduit_stream_id_cmp(id, &ch->back) < 0)
    {
        ch->back = *id;
    }

    if (conduit_stream_id_cmp(&ch->lead, &ch->cursor) < 0) {
        ch->lead = ch->cursor;
    }

    ch->epoch++;
    ch->cursor = *id;
    ch->ended = ch->window.elts[n - 1]->end;
    ch->known = 1;
    ch->kept = 1;
    ch->numbered = 0;
    ch->compare = 0;

    if (conduit_stream_id_cmp(&ch->floor, id) > 0) {
        ch->floor = *id;
    }

    ngx_conduit_frames_cut(&ch->window, n);

    batch = ch->batch;

    if (batch != NULL) {
        ngx_conduit_frames_cut(&batch->frames,
                               ngx_conduit_frames_after(&batch->frames, id));

        if (conduit_stream_id_cmp(&batch->last, id) > 0) {
            batch->last = *id;
        }
    }

    ngx_conduit_channel_back_queue(ch, &ch->waiting);
    ngx_conduit_channel_back_queue(ch, &ch->ready);
    ngx_conduit_channel_back_queue(ch, &ch->blocked);
    ngx_conduit_channel_back_queue(ch, &ch->behind);
    ngx_conduit_channel_back_queue(ch, &ch->reading_batch);
}


static void
ngx_conduit_channel_back_queue(ngx_conduit_channel_t *ch, ngx_queue_t *queue)
{
    uint64_t            end;
    ngx_queue_t        *q;
    ngx_conduit_sub_t  *sub;

    end = ch->base + ch->window.nelts;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_conduit_sub_t, queue);

        if (conduit_stream_id_cmp(&sub->pos, &ch->cursor) > 0) {
            sub->pos = ch->cursor;
            sub->judged = 0;
            sub->next_known = 0;
        }

        if (sub->seq > end) {
            sub->seq = end;
        }
    }
}


void
ngx_conduit_channel_lead_back(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub)
{
    ngx_uint_t  n;

    if (conduit_stream_id_cmp(&sub->pos, &ch->back) <= 0
        || conduit_stream_id_cmp(&sub->pos, &ch->lead) > 0
        || conduit_stream_id_cmp(&sub->pos, &ch->floor) < 0)
    {
        return;
    }

    /* those that came instead may have such IDs, too */

    n = ngx_conduit_frames_after(&ch->window, &sub->pos);

    if (n == 0
        || conduit_stream_id_cmp(&ch->window.elts[n - 1]->id, &sub->pos) != 0)
    {
        sub->pos = ch->back;
        sub->next_known = 0;
    }
}
