/*
 * A feed's look-ups: XINFO STREAM tells
 *  - whether the stream still is the one that the cursor, or the position of a
 *    subscriber that resumes, belongs to.  A stream that was deleted and made
 *    again may give out smaller IDs (its server's clock was set back, an
 *    explicit ID); waiting for IDs to catch up would be waiting for ever.  Then
 *    all start from the oldest entry again; unless it only lost its last
 *    entries (ngx_conduit_feed_back.c);
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

#include "ngx_conduit_feed_core.h"
#include "ngx_conduit_gateway_metrics.h"


static void ngx_conduit_feed_info(ngx_conduit_feed_t *feed,
    redisReply *reply);
static void ngx_conduit_feed_after_end(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info);
static void ngx_conduit_feed_gap(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info);
static ngx_uint_t ngx_conduit_feed_barred(redisReply *reply);
static ngx_uint_t ngx_conduit_feed_before(ngx_conduit_stream_info_t *info,
    conduit_stream_id_t *pos);
static ngx_uint_t ngx_conduit_feed_only_loss(ngx_conduit_stream_info_t *info,
    conduit_stream_id_t *pos);
static void ngx_conduit_feed_admit(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info);
static ngx_uint_t ngx_conduit_feed_has_ended(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info);
static void ngx_conduit_feed_locate(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at);
static ngx_uint_t ngx_conduit_feed_had_all(ngx_conduit_feed_t *feed,
    conduit_stream_id_t *pos);
static conduit_stream_id_t *ngx_conduit_feed_last(
    ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_settled(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at);
static void ngx_conduit_feed_past(ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_gone(ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_restart(ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_rewind(ngx_conduit_feed_t *feed);


void
ngx_conduit_feed_info_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_feed_t  *feed = data;

    feed->probing = 0;
    feed->holds++;

    if (outcome != NGX_CONDUIT_REPLIED) {
        ngx_conduit_feed_unanswered(feed, outcome);

    } else if (feed->probe_moves != feed->key.moves) {

        /* of the server before */

        if (ngx_conduit_feed_wants(feed) & NGX_CONDUIT_WANT_EVENTS) {
            ngx_conduit_feed_look_up(feed);
        }

    } else if (!ngx_conduit_shard_redirect(&feed->key, reply)) {
        ngx_conduit_feed_info(feed, reply);

        if (ngx_conduit_feed_wants(feed) & NGX_CONDUIT_WANT_SETTLE) {
            ngx_conduit_feed_look_up(feed);
        }
    }

    feed->holds--;

    feed->on->released(feed->data);
}


static void
ngx_conduit_feed_info(ngx_conduit_feed_t *feed, redisReply *reply)
{
    ngx_uint_t                 another, shorter, compare;
    ngx_conduit_stream_info_t  info;

    if (ngx_conduit_stream_parse_info(reply, &info) != NGX_OK) {

        ngx_conduit_feed_complain(feed, reply);

        if (!ngx_conduit_feed_barred(reply)) {

            /* a passing error: who waits gets the header now, the look-up is
               sent again by the retry */

            ngx_conduit_feed_put_off(feed, NGX_CONDUIT_ASK_LOOK_UP);
            feed->on->outage(feed->data);
            return;
        }

        /* a cursor that came with a subscriber can't be trusted: read all */

        if (!feed->known) {
            ngx_conduit_feed_rewind(feed);
            ngx_conduit_feed_ring(feed, 0);
        }

        ngx_conduit_feed_admit(feed, NULL);
        return;
    }

    ngx_conduit_feed_after_end(feed, &info);

    another = conduit_stream_id_cmp(&info.last_id, &feed->cursor) < 0;

    if (info.counted
        && conduit_stream_id_cmp(&info.last_id, &feed->cursor) == 0)
    {
        feed->number = info.added;
        feed->numbered = 1;
    }

    if (!another && feed->reading && feed->checked) {
        ngx_conduit_feed_gap(feed, &info);
        ngx_conduit_feed_compare(feed, &info);
    }

    shorter = another && ngx_conduit_feed_step_back(feed, &info);

    if (another && !shorter) {
        compare = feed->compare;

        if (ngx_conduit_feed_compare(feed, &info)) {

            /* who waits for this look-up waits for the next one; the reply to
               a read under way is ignored, unless that one compares */

            feed->epoch += !compare;
            ngx_conduit_feed_ring(feed, 0);
            return;
        }
    }

    if (another && !shorter) {
        ngx_conduit_feed_gone(feed);
    }

    ngx_conduit_feed_admit(feed, &info);

    if (another) {

        if (!shorter) {
            ngx_conduit_feed_restart(feed);
        }

        ngx_conduit_feed_ring(feed, 0);
        return;
    }

    feed->known = 1;
}


/*
 * The cursor came with a client's position that is at an END, which was not
 * read then, or after it and never given out by the stream: what follows the
 * END is what is waited for.
 */

static void
ngx_conduit_feed_after_end(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info)
{
    ngx_uint_t  after;

    if (feed->ended || info->length == 0
        || conduit_stream_id_cmp(&feed->cursor, &info->last.id) < 0)
    {
        return;
    }

    after = (conduit_stream_id_cmp(&feed->cursor, &info->last_id) > 0);

    if ((after ? feed->known
               : feed->hub->settings.after_end == NGX_CONDUIT_AFTER_END_WAIT)
        || !ngx_conduit_feed_has_ended(feed, info))
    {
        return;
    }

    feed->ended = 1;

    if (!after) {
        return;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: feed \"%V\" is after its END, back to "
                   "%uL-%uL", &feed->key.node.str, info->last.id.ms,
                   info->last.id.seq);

    /* a reply that is under way is to another question */

    feed->epoch++;
    feed->cursor = info->last.id;
    feed->view.floor = info->last.id;

    ngx_conduit_feed_ring(feed, 0);
}


/*
 * The entry at the cursor is gone: were others after it?  The stream tells how
 * many entries it ever had, so that those that are gone can be counted from the
 * cursor on, when the number of its entry is known.
 */

static void
ngx_conduit_feed_gap(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info)
{
    ngx_uint_t  none;

    if (!ngx_conduit_feed_before(info, &feed->cursor)) {
        return;
    }

    if (!info->trimmed) {

        /* another stream, with larger IDs: who is in the window goes on to it
           from there */

        ngx_conduit_feed_past(feed);

        feed->numbered = 1;
        feed->number = 0;
        return;
    }

    none = info->counted
           && ((feed->numbered && info->added - feed->number == info->length)
               || ngx_conduit_feed_only_loss(info, &feed->cursor));

    feed->numbered = info->counted;
    feed->number = info->added - info->length;

    if (!none) {
        feed->on->lost(feed->data, info->length ? &info->first.id
                                                : &info->last_id);
    }
}


/* an error that does not pass: not allowed, or the key is no stream */

static ngx_uint_t
ngx_conduit_feed_barred(redisReply *reply)
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
ngx_conduit_feed_before(ngx_conduit_stream_info_t *info,
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
ngx_conduit_feed_only_loss(ngx_conduit_stream_info_t *info,
    conduit_stream_id_t *pos)
{
    return info->counted && info->added - info->length == 1
           && conduit_stream_id_cmp(&info->deleted, pos) == 0;
}


/* those whose position was looked up are told */

static void
ngx_conduit_feed_admit(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info)
{
    if (!(ngx_conduit_feed_wants(feed) & NGX_CONDUIT_WANT_SETTLE)) {
        return;
    }

    feed->info = info;
    feed->info_ended = ngx_conduit_feed_has_ended(feed, info);

    feed->on->settled(feed->data);

    feed->info = NULL;
}


/*
 * One at or after an END that nothing follows has seen it all: it waits for
 * what may follow, or is refused where after_end is stop.  Any other one that
 * is after everything the stream has given out belongs to another stream, or to
 * none: it starts from the oldest entry.
 */

ngx_int_t
ngx_conduit_feed_settle(ngx_conduit_feed_t *feed, ngx_conduit_position_t *at)
{
    if (at->probe > feed->probes) {
        return NGX_AGAIN;
    }

    if (feed->hub->settings.after_end == NGX_CONDUIT_AFTER_END_STOP
        && feed->info_ended
        && conduit_stream_id_cmp(&feed->info->last.id, &at->id) <= 0)
    {
        return NGX_DONE;
    }

    ngx_conduit_feed_lead_back(feed, at);

    if (feed->info) {
        ngx_conduit_feed_locate(feed, at);
    }

    ngx_conduit_feed_settled(feed, at);

    return NGX_OK;
}


static ngx_uint_t
ngx_conduit_feed_has_ended(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info)
{
    return info && info->length
           && ngx_conduit_frame_is_end(feed->hub, &info->last.data);
}


/*
 * Says where a position is in the stream, and what its subscriber is to be told
 * of.  A position of an earlier life of the stream is no loss for one who had
 * all that was seen of that.  One after all that an ended stream has given out
 * is at its END from here on: it is told before what follows that.
 */

static void
ngx_conduit_feed_locate(ngx_conduit_feed_t *feed, ngx_conduit_position_t *at)
{
    ngx_uint_t                  future, before;
    ngx_conduit_stream_info_t  *info;

    info = feed->info;

    future = (conduit_stream_id_cmp(&info->last_id, &at->id) < 0);
    before = ngx_conduit_feed_before(info, &at->id);

    if (future || (before && !info->trimmed)) {

        if (at->lost || !ngx_conduit_feed_had_all(feed, &at->id)) {
            at->lost = 1;
            at->gone = 1;
        }

    } else if (before && !ngx_conduit_feed_only_loss(info, &at->id)) {
        at->lost = 1;
    }

    if (!future) {
        return;
    }

    if (feed->info_ended) {
        at->id = info->last.id;
        return;
    }

    at->earlier = at->id;
    at->id = ngx_conduit_oldest;
}


/*
 * Whether a position is at the end of what this worker has seen of the stream,
 * or of the life before that.
 */

static ngx_uint_t
ngx_conduit_feed_had_all(ngx_conduit_feed_t *feed,
    conduit_stream_id_t *pos)
{
    if (feed->seen
        && conduit_stream_id_cmp(pos, ngx_conduit_feed_last(feed)) >= 0
        && conduit_stream_id_cmp(pos, &feed->cursor) <= 0)
    {
        return 1;
    }

    return conduit_stream_id_cmp(pos, &feed->past_from) >= 0
           && conduit_stream_id_cmp(pos, &feed->past_to) <= 0;
}


/* who is there has been given all up to the cursor: entries that are no
   messages may follow */

static conduit_stream_id_t *
ngx_conduit_feed_last(ngx_conduit_feed_t *feed)
{
    conduit_stream_id_t  *id;

    if (feed->view.window.nelts) {
        id = &feed->view.window.elts[feed->view.window.nelts - 1]->id;

        if (conduit_stream_id_cmp(id, &feed->view.floor) > 0) {
            return id;
        }
    }

    return &feed->view.floor;
}


/* the life of the stream that was seen is over */

static void
ngx_conduit_feed_past(ngx_conduit_feed_t *feed)
{
    if (feed->seen) {
        feed->past_from = *ngx_conduit_feed_last(feed);
        feed->past_to = feed->cursor;
    }
}


/*
 * The loss of a position is settled as of now.  It is looked at again with each
 * batch: at->next, an entry known to follow, or the oldest one, must still be
 * there then.  A position that no entry follows is moved up to the floor.
 */

static void
ngx_conduit_feed_settled(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at)
{
    ngx_conduit_stream_info_t  *info;

    info = feed->info;
    at->judged = 1;

    if (info == NULL || info->length == 0) {
        at->next_known = 0;
        return;
    }

    if (conduit_stream_id_cmp(&info->last.id, &at->id) <= 0
        && conduit_stream_id_cmp(&at->id, &feed->view.floor) < 0
        && conduit_stream_id_cmp(&feed->view.floor, &info->last_id) <= 0)
    {
        at->id = feed->view.floor;
    }

    if (!at->next_known
        || conduit_stream_id_cmp(&info->first.id, &at->id) > 0
        || conduit_stream_id_cmp(&at->next, &at->id) <= 0)
    {
        at->next = info->first.id;
        at->next_known = 1;
    }
}


void
ngx_conduit_feed_another(ngx_conduit_feed_t *feed)
{
    ngx_conduit_feed_gone(feed);
    ngx_conduit_feed_restart(feed);
}


static void
ngx_conduit_feed_gone(ngx_conduit_feed_t *feed)
{
    if (feed->seen) {
        feed->on->gone(feed->data, ngx_conduit_feed_last(feed));
    }
}


static void
ngx_conduit_feed_restart(ngx_conduit_feed_t *feed)
{
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_RESTARTS);

    ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                  "conduit: redis %V: stream \"%V\" is gone or was made anew, "
                  "reading it from its oldest entry",
                  &feed->key.shard->doorbell.redis->name, &feed->key.node.str);

    ngx_conduit_feed_rewind(feed);

    feed->on->restarted(feed->data);
}


/* reads the stream from its oldest entry, in place of what is in memory */

static void
ngx_conduit_feed_rewind(ngx_conduit_feed_t *feed)
{
    ngx_conduit_feed_past(feed);

    feed->epoch++;
    feed->view.base += feed->view.window.nelts;
    feed->cursor = ngx_conduit_oldest;
    feed->next = ngx_conduit_oldest;
    feed->view.floor = ngx_conduit_oldest;
    feed->ended = 0;
    feed->known = 1;
    feed->seen = 0;
    feed->numbered = 0;
    feed->kept = 0;
    feed->compare = 0;
    feed->lead = ngx_conduit_oldest;

    ngx_conduit_frames_drop(&feed->view.window, feed->view.window.nelts);

    if (feed->view.batch != NULL) {
        ngx_conduit_frames_clear(&feed->view.batch->frames);
    }
}
