/*
 * The feed: what is known of one stream, and how that gets known.  A thin shell
 * around conduit_history.h, which decides everything: it sends the questions
 * that are to be asked, has the entries of answers decoded a few at a time, and
 * reports upward through handlers.  It knows nothing of who listens.
 *
 *   open, start, close   with its key at a shard
 *   history              what there is in memory: the window and the cursor
 *   catch_up, served     a batch: a stretch below the window
 *   drop                 the oldest of the window
 *
 * Nothing here is of Redis or hiredis: that is in ngx_conduit_feed_core.h.
 */

#ifndef NGX_CONDUIT_FEED_H
#define NGX_CONDUIT_FEED_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_place.h"
#include "ngx_conduit_gateway.h"

#pragma GCC visibility push(hidden)

/*
 * What a feed reports, data is its owner's.  Nothing but released() may close
 * the feed.
 */
typedef struct {
    /* whether somebody needs a batch, and nobody is in one; *pos becomes the
       position of the next of those who do */
    ngx_uint_t  (*below)(void *data, conduit_stream_id_t *pos);
    /* there are new items in the window */
    void        (*appended)(void *data);
    /* conduit_place_cut() or _restarted() for all */
    void        (*changed)(void *data, conduit_history_change_e change);
    /* an answer for those who join; to a batch: for all who are below */
    void        (*judged)(void *data, const conduit_history_answer_t *answer,
                          ngx_uint_t batch);
    /* no answer comes for a while: nobody is to wait for one */
    void        (*outage)(void *data);
    /* the stream can't be read: all are to be sent away */
    void        (*failed)(void *data);
    /* something was dealt with, the feed may be closed */
    void        (*released)(void *data);
} ngx_conduit_feed_handlers_t;


/*
 * Opens a feed, zeroed before, that starts at pos, and asks nothing yet.  name
 * is kept.  Returns NGX_OK, or NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_feed_open(ngx_conduit_feed_t *feed,
    ngx_conduit_hub_t *hub, ngx_str_t *name, conduit_stream_id_t *pos,
    const ngx_conduit_feed_handlers_t *on, void *data);

/* The first question, once the first listener is there. */
void ngx_conduit_feed_start(ngx_conduit_feed_t *feed);

/* Closes a feed that is not held: what it has asked is forgotten. */
void ngx_conduit_feed_close(ngx_conduit_feed_t *feed);

/* Whether something is being dealt with. */
ngx_uint_t ngx_conduit_feed_held(ngx_conduit_feed_t *feed);

/* Whether the server is up; *away: for how many ms it has been down. */
ngx_uint_t ngx_conduit_feed_is_up(ngx_conduit_feed_t *feed, ngx_msec_t *away);

/* Whether an answer is soon to be had. */
ngx_uint_t ngx_conduit_feed_answers(ngx_conduit_feed_t *feed);

/*
 * Whether a position is at the END of a stream that nothing follows: NGX_OK:
 * no; NGX_AGAIN: it was, and is to be asked for; NGX_DONE: it is.
 */
ngx_int_t ngx_conduit_feed_at_end(ngx_conduit_feed_t *feed,
    conduit_stream_id_t *pos);

conduit_history_t *ngx_conduit_feed_history(ngx_conduit_feed_t *feed);

/* The batch, with the end of conduit_place_batch_done(). */
conduit_window_t *ngx_conduit_feed_batch(ngx_conduit_feed_t *feed,
    conduit_stream_id_t **last, conduit_stream_id_t **next);

/* Asks for a batch, when one is wanted and none is in hand. */
void ngx_conduit_feed_catch_up(ngx_conduit_feed_t *feed);

/* Nobody stands in the batch any more: frees it, and asks for the next one. */
void ngx_conduit_feed_served(ngx_conduit_feed_t *feed);

/* Drops the n oldest items of the window, after conduit_place_leave(). */
void ngx_conduit_feed_drop(ngx_conduit_feed_t *feed, size_t n);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_FEED_H */
