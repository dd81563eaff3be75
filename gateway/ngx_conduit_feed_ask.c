/*
 * The questions of a feed: sends them, and puts off those that are of no use
 * now.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_feed_core.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_time.h"


/* ms between two lines about the errors of a server */
#define NGX_CONDUIT_COMPLAINTS  10000


static void ngx_conduit_feed_too_large(ngx_conduit_feed_t *feed);


ngx_uint_t
ngx_conduit_feed_wants(ngx_conduit_feed_t *feed)
{
    conduit_stream_id_t  below;

    return feed->on->wants(feed->data, &below);
}


void
ngx_conduit_feed_ring(ngx_conduit_feed_t *feed, ngx_uint_t rung)
{
    if (rung) {
        feed->rung = 1;

        /* rings without a new entry: the server's tracking table is full, and
           each read evicts another key, which rings; the retry is slower */

        if (feed->spurious == NGX_CONDUIT_SPURIOUS) {
            ngx_conduit_schedule_retry(&feed->hub->schedule, &feed->retry);
            return;
        }
    }

    if (feed->reading) {
        feed->dirty = 1;
        return;
    }

    ngx_conduit_feed_read(feed);
}


void
ngx_conduit_feed_read(ngx_conduit_feed_t *feed)
{
    ngx_uint_t            from_start, count;
    ngx_conduit_hub_t    *hub;
    conduit_stream_id_t   before;

    hub = feed->hub;

    if (!feed->key.shard->doorbell.is_up
        || (feed->paused & NGX_CONDUIT_ASK_READ))
    {
        return;
    }

    from_start = (conduit_stream_id_cmp(&feed->cursor, &ngx_conduit_oldest)
                  == 0);
    feed->checked = 0;
    feed->comparing = feed->compare;

    if (feed->check && !feed->probing && !feed->compare) {

        if (feed->known && !from_start
            && (feed->paused & NGX_CONDUIT_ASK_LOOK_UP))
        {
            /* XINFO is put off, and the reply would call for it again */
            return;
        }

        feed->check = 0;

        /* commands of one link are answered in order: this answer is about
           the cursor as it is now */

        if (feed->known && !from_start) {
            ngx_conduit_feed_look_up(feed);
            feed->checked = feed->probing;
        }
    }

    feed->dirty = 0;
    feed->read_epoch = feed->epoch;
    feed->read_moves = feed->key.moves;

    before = feed->cursor;
    count = ngx_conduit_feed_count(feed);

    if (feed->compare && feed->view.window.nelts) {
        before = feed->view.window.elts[0]->id;
        count += feed->view.window.nelts;
    }

    if (!from_start) {
        conduit_stream_id_before(&before);
    }

    if (ngx_conduit_stream_read(ngx_conduit_feed_link(feed),
                                &feed->key.node.str, &before, count,
                                feed->replies->read, feed)
        == NGX_OK)
    {
        feed->reading = 1;

        ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: feed \"%V\" reads after %uL-%uL, compares: "
                       "%ui", &feed->key.node.str, before.ms, before.seq,
                       (ngx_uint_t) feed->comparing);

        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_READS);
        return;
    }

    ngx_conduit_schedule_retry(&hub->schedule, &feed->retry);
}


void
ngx_conduit_feed_catch_up(ngx_conduit_feed_t *feed)
{
    ngx_conduit_hub_t    *hub;
    ngx_conduit_batch_t  *batch;
    conduit_stream_id_t   below;

    hub = feed->hub;

    if (feed->catching || !feed->key.shard->doorbell.is_up
        || (feed->paused & NGX_CONDUIT_ASK_BATCH)
        || !(feed->on->wants(feed->data, &below) & NGX_CONDUIT_WANT_BATCH))
    {
        return;
    }

    batch = feed->view.batch;

    if (batch == NULL) {

        batch = ngx_calloc(sizeof(ngx_conduit_batch_t), ngx_cycle->log);
        if (batch == NULL) {
            ngx_conduit_schedule_retry(&hub->schedule, &feed->retry);
            return;
        }

        feed->view.batch = batch;
    }

    batch->start = below;
    batch->epoch = feed->epoch;
    batch->moves = feed->key.moves;

    if (ngx_conduit_stream_range(ngx_conduit_feed_link(feed),
                                 &feed->key.node.str, &batch->start,
                                 ngx_conduit_feed_count(feed),
                                 feed->replies->batch, feed)
        == NGX_OK)
    {
        feed->catching = 1;

        ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: feed \"%V\" reads a batch from %uL-%uL",
                       &feed->key.node.str, below.ms, below.seq);

        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_CATCH_UPS);
        return;
    }

    ngx_conduit_schedule_retry(&hub->schedule, &feed->retry);
}


void
ngx_conduit_feed_look_up(ngx_conduit_feed_t *feed)
{
    ngx_conduit_hub_t  *hub;

    hub = feed->hub;

    if (feed->probing || !feed->key.shard->doorbell.is_up
        || (feed->paused & NGX_CONDUIT_ASK_LOOK_UP))
    {
        return;
    }

    if (ngx_conduit_stream_info(ngx_conduit_feed_link(feed),
                                &feed->key.node.str, feed->replies->look_up,
                                feed)
        == NGX_OK)
    {
        feed->probing = 1;
        feed->probes++;
        feed->probe_moves = feed->key.moves;

        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: feed \"%V\" looks up, %uD",
                       &feed->key.node.str, feed->probes);

        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_LOOK_UPS);
        return;
    }

    ngx_conduit_schedule_retry(&hub->schedule, &feed->retry);
}


ngx_conduit_link_t *
ngx_conduit_feed_link(ngx_conduit_feed_t *feed)
{
    ngx_conduit_link_t  *link;

    link = &feed->key.shard->doorbell.reader;

    if (feed->key.asking) {
        /* when it fails, so does what follows */
        (void) ngx_conduit_link_asking(link);
    }

    return link;
}


void
ngx_conduit_feed_unanswered(ngx_conduit_feed_t *feed,
    ngx_conduit_outcome_e outcome)
{
    if (outcome == NGX_CONDUIT_TOO_LARGE) {
        ngx_conduit_feed_too_large(feed);
    }

    /* when the doorbell comes up, all channels are read; this one may have
       moved from a server that is lost to one that is up */

    if (feed->key.shard->doorbell.is_up) {
        ngx_conduit_schedule_retry(&feed->hub->schedule, &feed->retry);
    }
}


/* the next try asks for less; one entry is the least */

static void
ngx_conduit_feed_too_large(ngx_conduit_feed_t *feed)
{
    if (ngx_conduit_feed_count(feed) > 2) {
        feed->shift++;
        return;
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "conduit: redis %V: an entry of \"%V\" is too large, its "
                  "clients are sent away",
                  &feed->key.shard->doorbell.redis->name, &feed->key.node.str);

    feed->on->failed(feed->data);
}


ngx_uint_t
ngx_conduit_feed_count(ngx_conduit_feed_t *feed)
{
    ngx_uint_t  n;

    n = feed->hub->settings.read_count >> feed->shift;

    return ngx_max(n, 1) + 1;
}


/* in an outage all channels of a server fail for the same reason: one line a
   channel until reading works again, and one a server in 10 seconds */

void
ngx_conduit_feed_complain(ngx_conduit_feed_t *feed, redisReply *reply)
{
    ngx_conduit_shard_t  *shard;

    shard = feed->key.shard;

    if (feed->complained
        || (shard->complained
            && ngx_current_msec - shard->complained < NGX_CONDUIT_COMPLAINTS))
    {
        return;
    }

    feed->complained = 1;
    shard->complained = ngx_conduit_moment(ngx_current_msec);

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "conduit: redis %V: reading \"%V\" failed: %s",
                  &shard->doorbell.redis->name, &feed->key.node.str,
                  reply->type == REDIS_REPLY_ERROR ? reply->str
                                                   : "unexpected reply");
}


void
ngx_conduit_feed_put_off(ngx_conduit_feed_t *feed, ngx_uint_t question)
{
    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" puts off question %ui",
                   &feed->key.node.str, question);

    feed->paused |= question;

    ngx_conduit_schedule_retry(&feed->hub->schedule, &feed->retry);
}


void
ngx_conduit_feed_drop_batch(ngx_conduit_feed_t *feed)
{
    if (feed->view.batch == NULL) {
        return;
    }

    ngx_conduit_frames_clear(&feed->view.batch->frames);

    ngx_free(feed->view.batch);
    feed->view.batch = NULL;
}
