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

#include "ngx_conduit_feed_core.h"


static ngx_uint_t ngx_conduit_feed_is_frame(ngx_conduit_feed_t *feed,
    ngx_conduit_entry_t *entry, ngx_conduit_frame_t *frame);
static void ngx_conduit_feed_back_to(ngx_conduit_feed_t *feed,
    ngx_uint_t n);


ngx_uint_t
ngx_conduit_feed_step_back(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info)
{
    ngx_uint_t            n;
    conduit_stream_id_t  *id;

    if (info->length == 0) {
        return 0;
    }

    id = &info->last.id;
    n = ngx_conduit_frames_after(&feed->view.window, id);

    if (n == 0
        || !ngx_conduit_feed_is_frame(feed, &info->last,
                                         feed->view.window.elts[n - 1]))
    {
        return 0;
    }

    ngx_conduit_feed_back_to(feed, n);

    feed->numbered = (info->counted
                    && conduit_stream_id_cmp(&info->last_id, id) == 0);
    feed->number = info->added;

    return 1;
}


ngx_uint_t
ngx_conduit_feed_compare(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info)
{
    conduit_stream_id_t  *last;

    if (info->length == 0 || feed->view.window.nelts == 0) {
        return 0;
    }

    /* they have nothing in common when one begins where the other one ends, as
       after a trim */

    last = &feed->view.window.elts[feed->view.window.nelts - 1]->id;

    if (conduit_stream_id_cmp(&info->first.id, last) > 0
        || conduit_stream_id_cmp(&info->last.id,
                                 &feed->view.window.elts[0]->id)
           < 0)
    {
        return 0;
    }

    feed->compare = 1;

    return 1;
}


ngx_int_t
ngx_conduit_feed_part(ngx_conduit_feed_t *feed, redisReply *list,
    conduit_stream_id_t *first)
{
    size_t               i;
    ngx_uint_t           n, another;
    ngx_conduit_entry_t  entry;

    feed->compare = 0;
    feed->numbered = 0;
    another = 1;

    for (i = list ? list->elements : 0; i; i--) {

        if (ngx_conduit_stream_entry(list->element[i - 1], &entry) != NGX_OK) {
            break;
        }

        if (conduit_stream_id_cmp(&entry.id, &feed->cursor) > 0) {

            /* the stream goes on after the cursor: so does the feed, when
               there is no entry to compare */

            *first = entry.id;
            another = 0;
        }

        n = ngx_conduit_frames_after(&feed->view.window, &entry.id);

        if (n == 0
            || conduit_stream_id_cmp(&feed->view.window.elts[n - 1]->id,
                                     &entry.id)
               != 0)
        {
            continue;
        }

        if (ngx_conduit_feed_is_frame(feed, &entry,
                                         feed->view.window.elts[n - 1]))
        {
            if (conduit_stream_id_cmp(&entry.id, &feed->cursor) < 0) {
                ngx_conduit_feed_back_to(feed, n);
            }

            *first = feed->cursor;
            return NGX_OK;
        }

        /* the same ID, and another message */

        another = 1;
    }

    return another ? NGX_DECLINED : NGX_OK;
}


static ngx_uint_t
ngx_conduit_feed_is_frame(ngx_conduit_feed_t *feed,
    ngx_conduit_entry_t *entry, ngx_conduit_frame_t *frame)
{
    ngx_uint_t            same;
    ngx_conduit_frame_t  *f;

    if (conduit_stream_id_cmp(&entry->id, &frame->id) != 0
        || ngx_conduit_frame_create(feed->hub, &feed->key.node.str,
                                    &entry->id, &entry->data, &f)
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
ngx_conduit_feed_back_to(ngx_conduit_feed_t *feed, ngx_uint_t n)
{
    conduit_stream_id_t  *id;
    ngx_conduit_batch_t  *batch;

    id = &feed->view.window.elts[n - 1]->id;

    ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                  "conduit: redis %V: stream \"%V\" has lost its entries after "
                  "%uL-%uL, up to %uL-%uL",
                  &feed->key.shard->doorbell.redis->name,
                  &feed->key.node.str, id->ms, id->seq, feed->cursor.ms,
                  feed->cursor.seq);

    /* clients may come with a position in the stretch that is lost; two
       stretches that overlap are joined */

    if (conduit_stream_id_cmp(&feed->lead, id) <= 0
        || conduit_stream_id_cmp(id, &feed->back) < 0)
    {
        feed->back = *id;
    }

    if (conduit_stream_id_cmp(&feed->lead, &feed->cursor) < 0) {
        feed->lead = feed->cursor;
    }

    feed->epoch++;
    feed->cursor = *id;
    feed->next = ngx_conduit_oldest;
    feed->ended = feed->view.window.elts[n - 1]->end;
    feed->known = 1;
    feed->kept = 1;
    feed->numbered = 0;
    feed->compare = 0;

    if (conduit_stream_id_cmp(&feed->view.floor, id) > 0) {
        feed->view.floor = *id;
    }

    ngx_conduit_frames_cut(&feed->view.window, n);

    batch = feed->view.batch;

    if (batch != NULL) {
        ngx_conduit_frames_cut(&batch->frames,
                               ngx_conduit_frames_after(&batch->frames, id));

        if (conduit_stream_id_cmp(&batch->last, id) > 0) {
            batch->last = *id;
        }
    }

    feed->on->moved_back(feed->data, &feed->cursor);
}


void
ngx_conduit_feed_lead_back(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at)
{
    ngx_uint_t  n;

    if (conduit_stream_id_cmp(&at->id, &feed->back) <= 0
        || conduit_stream_id_cmp(&at->id, &feed->lead) > 0
        || conduit_stream_id_cmp(&at->id, &feed->view.floor) < 0)
    {
        return;
    }

    /* entries added since may have IDs of the lost stretch */

    n = ngx_conduit_frames_after(&feed->view.window, &at->id);

    if (n == 0
        || conduit_stream_id_cmp(&feed->view.window.elts[n - 1]->id, &at->id)
           != 0)
    {
        at->id = feed->back;
        at->next_known = 0;
    }
}
