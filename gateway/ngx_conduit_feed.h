/* Copyright (C) Conduit for NGINX authors */

/*
 * The feed: what a worker knows of one stream, and how it reads it.  A thin
 * shell around conduit_history.h, which makes all decisions: the feed sends the
 * questions it is told to, has the entries of answers decoded a few at a time,
 * and reports to its owner through handlers.  It knows nothing of listeners.
 *
 *   open, start, close   between open and close its key is in a shard
 *   renew                asks Redis for entries after the cursor
 *   history              what is in memory: the window and the cursor
 *   catch_up, batch      a batch: entries read from below the window
 *   place, seek          where the feed starts to read; searches for where
 *                        listeners without a position start
 *   drop                 drops the oldest items of the window
 *
 * No type of hiredis is used here: those are in ngx_conduit_feed_core.h.
 */

#ifndef NGX_CONDUIT_FEED_H
#define NGX_CONDUIT_FEED_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_place.h"
#include "conduit_start.h"
#include "ngx_conduit_gateway.h"

#pragma GCC visibility push(hidden)

/*
 * What a feed reports to its owner, whose pointer data is.  Only released() may
 * close the feed.
 */
typedef struct {
    /* returns whether a listener needs a batch while none reads one; if so,
       *pos becomes the position of the next listener that does */
    ngx_uint_t  (*below)(void *data, conduit_stream_id_t *pos);
    /* new items are in the window */
    void        (*appended)(void *data);
    /* the window was cut, or has a new life: call conduit_place_cut() or
       conduit_place_restarted() for all listeners */
    void        (*changed)(void *data, conduit_history_change_e change);
    /* call conduit_place_judge() with this answer for the listeners that are
       JOINING; if batch is 1, also for those BELOW */
    void        (*judged)(void *data, const conduit_history_answer_t *answer,
                          ngx_uint_t batch);
    /* an answer has told whether the stream is at rest: resting is 1 when its
       newest entry is an END, or it has no entry.  The question had that
       serial, or was sent later */
    void        (*settled)(void *data, uint32_t serial, ngx_uint_t resting);
    /* returns whether a listener waits for a search.  If start is not NULL, a
       new search begins: *start becomes what a listener searches for, and the
       search is for all listeners that wait now and search for the same */
    ngx_uint_t  (*seeks)(void *data, conduit_start_t *start);
    /* the search is over: these listeners start after pos */
    void        (*found)(void *data, const conduit_stream_id_t *pos);
    /* no answer can be expected for a while: begin the responses that wait for
       one */
    void        (*outage)(void *data);
    /* questions can be sent: the server is up, or the key moved to another */
    void        (*readable)(void *data);
    /* the stream can't be read: end all listeners */
    void        (*failed)(void *data);
    /* a call of the feed is over: it may be closed, unless
       ngx_conduit_feed_in_use() */
    void        (*released)(void *data);
} ngx_conduit_feed_handlers_t;


/*
 * Opens a feed, which must be zeroed; no question is sent yet.  The text of
 * name must live as long as the feed.  Returns NGX_OK, or NGX_ERROR when memory
 * is out.
 */
ngx_int_t ngx_conduit_feed_open(ngx_conduit_feed_t *feed,
    ngx_conduit_hub_t *hub, ngx_str_t *name,
    const ngx_conduit_feed_handlers_t *on, void *data);

/*
 * Sets the position at which the feed starts to read, unless it has one.  Call
 * it before a listener is placed at pos.
 */
void ngx_conduit_feed_place(ngx_conduit_feed_t *feed,
    const conduit_stream_id_t *pos);

/* Sends the first question, once the first listener was placed. */
void ngx_conduit_feed_start(ngx_conduit_feed_t *feed);

/*
 * Asks about the cursor now; or, if that question is out, again when it is
 * answered.  So settled() will be called for a question that is sent after this
 * call.
 */
void ngx_conduit_feed_renew(ngx_conduit_feed_t *feed);
/* Begins the search that a listener waits for, or asks for its next step,
   unless one is out. */
void ngx_conduit_feed_seek(ngx_conduit_feed_t *feed);

/*
 * Whether the window is up to date, as far as Redis has told: then a search
 * that the window can answer need not ask Redis.
 */
ngx_uint_t ngx_conduit_feed_is_fresh(ngx_conduit_feed_t *feed);

/* Closes a feed that is not in use, and drops its questions. */
void ngx_conduit_feed_close(ngx_conduit_feed_t *feed);

/* Whether a call of the feed is under way, so that it must not be closed. */
ngx_uint_t ngx_conduit_feed_in_use(ngx_conduit_feed_t *feed);

/* Whether the server is up; *away: for how many ms it has been down. */
ngx_uint_t ngx_conduit_feed_is_up(ngx_conduit_feed_t *feed, ngx_msec_t *away);

/* Whether entries of an answer about the cursor are still to be appended, in
   later turns. */
ngx_uint_t ngx_conduit_feed_takes(ngx_conduit_feed_t *feed);

/* Whether an answer can be expected soon. */
ngx_uint_t ngx_conduit_feed_answers(ngx_conduit_feed_t *feed);

/*
 * Whether a position is that of an END that no entry follows.  NGX_OK: no;
 * NGX_DONE: yes; NGX_AGAIN: it was when Redis answered last, which must be
 * asked again to be sure.
 */
ngx_int_t ngx_conduit_feed_at_end(ngx_conduit_feed_t *feed,
    conduit_stream_id_t *pos);

/* The position that the last search for a turn found: that of the END before
   the turn; 0-0: none. */
const conduit_stream_id_t *ngx_conduit_feed_found_end(ngx_conduit_feed_t *feed);

conduit_history_t *ngx_conduit_feed_history(ngx_conduit_feed_t *feed);

/* Returns the batch; *last and *next are for conduit_place_batch_done(). */
conduit_window_t *ngx_conduit_feed_batch(ngx_conduit_feed_t *feed,
    conduit_stream_id_t **last, conduit_stream_id_t **next);

/* Asks for a batch, when a listener needs one and none is being read. */
void ngx_conduit_feed_catch_up(ngx_conduit_feed_t *feed);

/* No listener reads the batch any more: frees it, and asks for the next one. */
void ngx_conduit_feed_batch_done(ngx_conduit_feed_t *feed);

/* Drops the n oldest items of the window, after conduit_place_leave(). */
void ngx_conduit_feed_drop(ngx_conduit_feed_t *feed, size_t n);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_FEED_H */
