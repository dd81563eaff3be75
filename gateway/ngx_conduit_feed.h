/* Copyright (C) Conduit for NGINX authors */

/*
 * The feed: what a worker knows of one stream, and how it reads it.  A thin
 * shell around conduit_history.h, which makes all decisions: the feed sends the
 * questions it is told to, has the entries of answers decoded a few at a time,
 * and reports to its owner through handlers.  It knows nothing of listeners.
 *
 *   open, start, close   its life; its key is at a shard meanwhile
 *   renew                asks Redis what the newest entry is
 *   history              what is in memory: the window and the cursor
 *   catch_up, served     a batch: entries read from below the window
 *   place, seek          where the first listener starts; looks for where one
 *                        without a position does
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
 * What a feed reports; data is its owner's.  Only released() may close the
 * feed.
 */
typedef struct {
    /* whether a listener needs a batch, and none reads one; *pos becomes the
       position of the next listener that does */
    ngx_uint_t  (*below)(void *data, conduit_stream_id_t *pos);
    /* new items are in the window */
    void        (*appended)(void *data);
    /* call conduit_place_cut() or _restarted() for all listeners */
    void        (*changed)(void *data, conduit_history_change_e change);
    /* an answer judges the listeners that join; one to a batch also those that
       are below the window */
    void        (*judged)(void *data, const conduit_history_answer_t *answer,
                          ngx_uint_t batch);
    /* an answer, of that serial or to a later question, has told whether the
       newest entry is an END, or there is none: then resting is 1 */
    void        (*settled)(void *data, uint32_t serial, ngx_uint_t resting);
    /* whether a listener waits for a search; *start, unless NULL, becomes where
       one starts: the search that begins is for all that wait now and start
       there, too */
    ngx_uint_t  (*seeks)(void *data, conduit_start_t *start);
    /* they start after pos */
    void        (*found)(void *data, const conduit_stream_id_t *pos);
    /* no answer comes for a while: no listener is to wait for one */
    void        (*outage)(void *data);
    /* questions can be sent: the server is up, or the key moved to another */
    void        (*readable)(void *data);
    /* the stream can't be read: send all listeners away */
    void        (*failed)(void *data);
    /* the feed is not in use by a caller any more, it may be closed */
    void        (*released)(void *data);
} ngx_conduit_feed_handlers_t;


/*
 * Opens a feed, zeroed before; no question is sent yet.  name is kept.  Returns
 * NGX_OK, or NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_feed_open(ngx_conduit_feed_t *feed,
    ngx_conduit_hub_t *hub, ngx_str_t *name,
    const ngx_conduit_feed_handlers_t *on, void *data);

/*
 * Has the feed start at pos, unless it has started: called before a listener is
 * placed there.
 */
void ngx_conduit_feed_place(ngx_conduit_feed_t *feed,
    const conduit_stream_id_t *pos);

/* Sends the first question, once the first listener was placed. */
void ngx_conduit_feed_start(ngx_conduit_feed_t *feed);

/*
 * Asks about the cursor now, or when the question that is out is answered:
 * settled() will be called for a question asked after this call.
 */
void ngx_conduit_feed_renew(ngx_conduit_feed_t *feed);
/* Asks for the search that a listener waits for, when none is under way. */
void ngx_conduit_feed_seek(ngx_conduit_feed_t *feed);

/*
 * Whether the window is up to date, as far as Redis has told: then a search in
 * it need not ask Redis.
 */
ngx_uint_t ngx_conduit_feed_is_fresh(ngx_conduit_feed_t *feed);

/* Closes a feed that is not in use, and forgets its questions. */
void ngx_conduit_feed_close(ngx_conduit_feed_t *feed);

/* Whether a caller is using the feed, so that it must not be closed. */
ngx_uint_t ngx_conduit_feed_in_use(ngx_conduit_feed_t *feed);

/* Whether the server is up; *away: for how many ms it has been down. */
ngx_uint_t ngx_conduit_feed_is_up(ngx_conduit_feed_t *feed, ngx_msec_t *away);

/* Whether an answer can be expected soon. */
ngx_uint_t ngx_conduit_feed_answers(ngx_conduit_feed_t *feed);

/*
 * Whether a position is at the END of a stream and nothing follows that.
 * NGX_OK: no; NGX_AGAIN: it was at last, but Redis is to be asked again;
 * NGX_DONE: yes.
 */
ngx_int_t ngx_conduit_feed_at_end(ngx_conduit_feed_t *feed,
    conduit_stream_id_t *pos);

/* The END that the last search found, before the running turn; 0-0: none. */
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
