/* Copyright (C) Conduit for NGINX authors */

/* What the questions of a feed have in common: sending, errors, frames. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_portion.h"
#include "ngx_conduit_feed_core.h"
#include "ngx_conduit_time.h"


/* ms between two log lines about error replies of a server */
#define NGX_CONDUIT_ERROR_INTERVAL  10000

ngx_uint_t
ngx_conduit_feed_turn_over(ngx_conduit_feed_t *feed)
{
    return ngx_conduit_schedule_over(&feed->hub->schedule);
}


ngx_uint_t
ngx_conduit_feed_count(ngx_conduit_feed_t *feed, ngx_uint_t shift)
{
    ngx_uint_t  n;

    n = conduit_portion_count(feed->size, feed->hub->settings.read_count)
        >> shift;

    return ngx_max(n, 1);
}


ngx_conduit_question_t *
ngx_conduit_feed_send(ngx_conduit_feed_t *feed,
    conduit_history_question_t *ask, ngx_uint_t count, ngx_uint_t reverse)
{
    ngx_conduit_question_t  *q;

    q = ngx_calloc(sizeof(ngx_conduit_question_t), ngx_cycle->log);
    if (q == NULL) {
        return NULL;
    }

    q->key = &feed->key;
    q->handler = feed->replied;
    q->data = feed;
    q->ask = *ask;
    q->count = count;
    q->reverse = reverse;

    if (ngx_conduit_question_send(q) != NGX_OK) {
        ngx_conduit_question_forget(q);
        return NULL;
    }

    return q;
}


void
ngx_conduit_feed_forget(ngx_conduit_feed_t *feed, ngx_conduit_question_t *q)
{
    ngx_conduit_question_t  **p;

    for (p = &feed->answers; *p && *p != q; p = &(*p)->next) { /* void */ }

    if (*p == q) {
        *p = q->next;
    }

    ngx_conduit_question_forget(q);
}


void
ngx_conduit_feed_later(ngx_conduit_feed_t *feed)
{
    ngx_conduit_schedule_retry(&feed->hub->schedule, &feed->retry);
}


/* in an outage all channels of a server fail for the same reason: logs once a
   channel until reading works again, and once a server in 10 seconds */

void
ngx_conduit_feed_log_error(ngx_conduit_feed_t *feed, redisReply *reply)
{
    ngx_conduit_shard_t  *shard;

    shard = feed->key.shard;

    if (feed->error_logged
        || (shard->error_logged_at
            && ngx_current_msec - shard->error_logged_at
               < NGX_CONDUIT_ERROR_INTERVAL))
    {
        return;
    }

    feed->error_logged = 1;
    shard->error_logged_at = ngx_conduit_moment(ngx_current_msec);

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "conduit: redis %V: reading \"%V\" failed: %s",
                  &shard->doorbell.redis->name, &feed->key.label,
                  reply->type == REDIS_REPLY_ERROR ? reply->str
                                                   : "unexpected reply");
}


void
ngx_conduit_feed_give_up(ngx_conduit_feed_t *feed)
{
    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "conduit: redis %V: an entry of \"%V\" is too large, its "
                  "clients are disconnected",
                  &feed->key.shard->doorbell.redis->name, &feed->key.label);

    feed->on->failed(feed->data);
}


void
ngx_conduit_feed_find_end(ngx_conduit_feed_t *feed, ngx_conduit_question_t *q)
{
    ngx_conduit_entry_t  entry;

    if (ngx_conduit_answer_newest(q, &entry)) {
        q->answer.ended = ngx_conduit_frame_is_end(feed->hub, &entry);
    }
}


ngx_int_t
ngx_conduit_feed_frame(ngx_conduit_feed_t *feed, ngx_conduit_question_t *q,
    size_t i, ngx_conduit_frame_t **frame)
{
    ngx_conduit_entry_t  entry;

    *frame = NULL;

    ngx_conduit_answer_read(q, i, &entry);

    return ngx_conduit_frame_create(feed->hub, &feed->key, &entry, frame)
           == NGX_ERROR ? NGX_ERROR : NGX_OK;
}
