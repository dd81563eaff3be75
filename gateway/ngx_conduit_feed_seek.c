/* Copyright (C) Conduit for NGINX authors */

/*
 * A feed's searches: where a listener that comes without a position starts, as
 * conduit_start.h says.  One search is under way at a time, in steps; it is for
 * all listeners that start at the same place and were there when it began.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_portion.h"
#include "ngx_conduit_feed_core.h"
#include "ngx_conduit_gateway_metrics.h"


/* entries of a step */
#define NGX_CONDUIT_SEEK  100


static ngx_uint_t ngx_conduit_feed_seek_active(ngx_conduit_feed_t *feed);
static void ngx_conduit_feed_seek_end(ngx_conduit_feed_t *feed);
static ngx_uint_t ngx_conduit_feed_seek_count(ngx_conduit_feed_t *feed);
static ngx_uint_t ngx_conduit_feed_seek_look(ngx_conduit_feed_t *feed,
    size_t i);


void
ngx_conduit_feed_seek(ngx_conduit_feed_t *feed)
{
    ngx_conduit_seek_t          *s;
    ngx_uint_t                   active;
    conduit_start_t              start;
    conduit_history_question_t   ask;

    s = &feed->seek;

    if (s->question != NULL || s->waits || !feed->key.shard->doorbell.is_up) {
        return;
    }

    /* a search that nobody waits for any more ends here */

    active = ngx_conduit_feed_seek_active(feed);

    if (!feed->on->seeks(feed->data, active ? NULL : &start)) {
        ngx_conduit_feed_seek_end(feed);
        return;
    }

    if (!active) {
        conduit_start_begin(&s->search, &start);
    }

    ngx_memzero(&ask, sizeof(conduit_history_question_t));
    ask.id = s->search.from;

    s->question = ngx_conduit_feed_send(feed, &ask,
                                        ngx_conduit_feed_seek_count(feed), 1);

    if (s->question == NULL) {
        ngx_conduit_feed_seek_wait(feed);
        return;
    }

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_SEARCHES);
}


/* whether a search is under way: OLDEST needs none, so it stands for no
   search */

static ngx_uint_t
ngx_conduit_feed_seek_active(ngx_conduit_feed_t *feed)
{
    return feed->seek.search.start.kind != CONDUIT_START_OLDEST;
}


static void
ngx_conduit_feed_seek_end(ngx_conduit_feed_t *feed)
{
    feed->seek.search.start.kind = CONDUIT_START_OLDEST;
}


/* how many entries a step asks for: one is enough, except in the search for an
   END */

static ngx_uint_t
ngx_conduit_feed_seek_count(ngx_conduit_feed_t *feed)
{
    ngx_uint_t           n;
    ngx_conduit_seek_t  *s;

    s = &feed->seek;

    if (s->search.start.kind != CONDUIT_START_TURN) {
        return 1;
    }

    n = ngx_min(feed->hub->settings.read_count, NGX_CONDUIT_SEEK);
    n = conduit_portion_count(feed->size, n) >> s->shift;

    return ngx_max(n, 1);
}


void
ngx_conduit_feed_seek_wait(ngx_conduit_feed_t *feed)
{
    feed->seek.waits = 1;

    ngx_conduit_feed_later(feed);
}


void
ngx_conduit_feed_seek_retry(ngx_conduit_feed_t *feed)
{
    feed->seek.waits = 0;

    ngx_conduit_feed_seek(feed);
}


void
ngx_conduit_feed_seek_unsent(ngx_conduit_feed_t *feed)
{
    ngx_conduit_seek_t  *s;

    s = &feed->seek;

    if (s->question == NULL || s->question->taking) {
        return;
    }

    ngx_conduit_feed_forget(feed, s->question);
    s->question = NULL;
}


void
ngx_conduit_feed_seek_unanswered(ngx_conduit_feed_t *feed,
    ngx_conduit_question_e result)
{
    ngx_uint_t  count;

    count = feed->seek.question->count;

    ngx_conduit_feed_seek_unsent(feed);

    if (result == NGX_CONDUIT_QUESTION_TOO_LARGE) {

        if (count > 1) {
            feed->seek.shift++;

        } else {
            ngx_conduit_feed_give_up(feed);
        }
    }

    if (feed->key.shard->doorbell.is_up) {
        ngx_conduit_feed_seek_wait(feed);
        feed->on->outage(feed->data);
    }
}


ngx_int_t
ngx_conduit_feed_seek_take(ngx_conduit_feed_t *feed)
{
    ngx_uint_t               found;
    conduit_stream_id_t      pos;
    ngx_conduit_seek_t      *s;
    ngx_conduit_question_t  *q;

    s = &feed->seek;
    q = s->question;

    q->taking = NGX_CONDUIT_TAKING_BEGUN;
    feed->error_logged = 0;
    found = 0;

    while (!found && q->taken < q->answer.nentries) {

        found = ngx_conduit_feed_seek_look(feed, q->taken++);

        if (!found && q->taken < q->answer.nentries
            && ngx_conduit_feed_turn_over(feed))
        {
            return NGX_AGAIN;
        }
    }

    if (!found) {
        found = !conduit_start_more(&s->search, q->answer.full);
    }

    feed->answers = q->next;
    s->question = NULL;

    ngx_conduit_question_forget(q);

    if (found) {
        pos = s->search.pos;
        s->shift = 0;

        if (s->search.start.kind == CONDUIT_START_TURN) {
            s->turn = pos;
        }

        ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: feed \"%V\": start %ui is after %uL-%uL",
                       &feed->key.node.str,
                       (ngx_uint_t) s->search.start.kind, pos.ms, pos.seq);

        ngx_conduit_feed_seek_end(feed);
        feed->on->found(feed->data, &pos);
    }

    ngx_conduit_feed_seek(feed);

    return NGX_OK;
}


static ngx_uint_t
ngx_conduit_feed_seek_look(ngx_conduit_feed_t *feed, size_t i)
{
    int                      end;
    ngx_conduit_seek_t      *s;
    ngx_conduit_entry_t      entry;
    ngx_conduit_question_t  *q;

    s = &feed->seek;
    q = s->question;

    ngx_conduit_answer_read(q, i, &entry);

    end = conduit_start_asks(&s->search)
          && ngx_conduit_frame_is_end(feed->hub, &entry);

    return conduit_start_look(&s->search, &entry.id, end);
}
