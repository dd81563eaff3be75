/*
 * The feed: what is known of one stream, and how that gets known.  It reads the
 * stream, keeps a window of recent frames, and reports upward through handlers;
 * it knows nothing of who listens but what they want.
 *
 *   open, close        with its key at a shard
 *   join, seek         where a position is; asks Redis when that takes a reply
 *   catch_up, served   a batch: a stretch below the window
 *   judge, settle      whether a position has lost entries, by the batch or the
 *                      look-up that was just read
 *
 * Nothing here is of Redis or hiredis: that is in ngx_conduit_feed_core.h.
 */

#ifndef NGX_CONDUIT_FEED_H
#define NGX_CONDUIT_FEED_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_id.h"
#include "ngx_conduit_frame.h"
#include "ngx_conduit_gateway.h"

#pragma GCC visibility push(hidden)

/* before the oldest entry */
static const conduit_stream_id_t  ngx_conduit_oldest = { 0, 0 };

/* where somebody is in the stream, and what is known of that place */
typedef struct {
    conduit_stream_id_t     id;            /* of the last entry handed over */
    conduit_stream_id_t     next;          /* of the frame after it, valid when
                                              next_known */
    conduit_stream_id_t     earlier;       /* the client's position while id is
                                              0-0: one of an earlier life of the
                                              stream; 0-0: it has none */
    uint32_t                probe;         /* number of the look-up it needs */
    unsigned                resumed:1;     /* the client came with it */
    unsigned                next_known:1;  /* next is that of an entry that was
                                              in the stream */
    unsigned                judged:1;      /* whether anything was lost is
                                              settled, until it moves on */
    unsigned                lost:1;        /* it was; to be told */
    unsigned                gone:1;        /* because its stream was deleted or
                                              made anew */
} ngx_conduit_position_t;

/* a stretch below the window, read for those who are there */
typedef struct {
    ngx_conduit_frames_t    frames;
    conduit_stream_id_t     start;
    conduit_stream_id_t     first;         /* the oldest entry not before it;
                                              0-0: none is left */
    conduit_stream_id_t     last;
    uint32_t                epoch;         /* when it was asked for */
    uint32_t                moves;         /* likewise */
} ngx_conduit_batch_t;

/*
 * What of the stream is in memory.  Every entry after the floor, up to the
 * last one read, is in the window (but for entries that are no messages).
 */
typedef struct {
    ngx_conduit_frames_t    window;
    uint64_t                base;          /* number of its oldest frame */
    conduit_stream_id_t     floor;
    ngx_conduit_batch_t    *batch;         /* NULL: none asked for or in use */
} ngx_conduit_view_t;

/* what those who listen want of a feed, as bits */
#define NGX_CONDUIT_WANT_EVENTS  1         /* somebody is there */
#define NGX_CONDUIT_WANT_BATCH   2         /* somebody is below the window */
#define NGX_CONDUIT_WANT_SETTLE  4         /* a position is to be looked up */

/*
 * What a feed reports, data is its owner's.  Of those that end listeners only
 * outage() may come outside of the handling of a reply; within that, the feed
 * must not be closed before released().
 */
typedef struct {
    /* returns NGX_CONDUIT_WANT_...; *below is the first position of a batch,
       set when that is wanted */
    ngx_uint_t  (*wants)(void *data, conduit_stream_id_t *below);
    /* there are new frames in the window */
    void        (*appended)(void *data);
    /* entries before first are gone: who had not got to it is to be told */
    void        (*lost)(void *data, conduit_stream_id_t *first);
    /* the stream that was read up to last is no more; restarted() follows */
    void        (*gone)(void *data, conduit_stream_id_t *last);
    /* all are at the start of another stream */
    void        (*restarted)(void *data);
    /* the stream has lost its entries after last, and so has the window */
    void        (*moved_back)(void *data, conduit_stream_id_t *last);
    /* a look-up was answered: ngx_conduit_feed_settle() tells about each
       position that waits */
    void        (*settled)(void *data);
    /* a batch was read: ngx_conduit_feed_judge() tells about each position in
       it */
    void        (*caught_up)(void *data);
    /* no reply comes for a while: nobody is to wait for one */
    void        (*outage)(void *data);
    /* the stream can't be read: all are to be sent away */
    void        (*failed)(void *data);
    /* a reply was dealt with, the feed may be closed */
    void        (*released)(void *data);
} ngx_conduit_feed_handlers_t;


/*
 * Opens a feed, zeroed before, that starts at pos, and reads.  name is kept.
 * Returns NGX_OK, or NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_feed_open(ngx_conduit_feed_t *feed,
    ngx_conduit_hub_t *hub, ngx_str_t *name, conduit_stream_id_t *pos,
    const ngx_conduit_feed_handlers_t *on, void *data);

/* Closes a feed that is not busy. */
void ngx_conduit_feed_close(ngx_conduit_feed_t *feed);

/* Whether a reply is to come, or is being dealt with. */
ngx_uint_t ngx_conduit_feed_busy(ngx_conduit_feed_t *feed);

/* Whether the server is up; *away: for how many ms it has been down. */
ngx_uint_t ngx_conduit_feed_is_up(ngx_conduit_feed_t *feed, ngx_msec_t *away);

/*
 * Says where a new position is.  Returns NGX_OK: its place is known by the
 * view; NGX_AGAIN: it takes a look-up, ngx_conduit_feed_seek() sends one;
 * NGX_DONE: it is at the end of the stream (only where after_end is stop).
 */
ngx_int_t ngx_conduit_feed_join(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at);

/*
 * Looks a position up.  Returns NGX_AGAIN: settled() or outage() follows;
 * NGX_OK: no reply is to be expected soon, the response starts without it.
 */
ngx_int_t ngx_conduit_feed_seek(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at);

/* Asks for a batch, when one is wanted and none is in hand. */
void ngx_conduit_feed_catch_up(ngx_conduit_feed_t *feed);

/* Nobody stands in the batch any more: frees it, and asks for the next one. */
void ngx_conduit_feed_served(ngx_conduit_feed_t *feed);

/*
 * Within caught_up(): whether entries between a position and the batch are
 * gone.  Returns NGX_OK, or NGX_AGAIN when that, or why, takes a look-up, which
 * is sent then.
 */
ngx_int_t ngx_conduit_feed_judge(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at);

/*
 * Within settled(): says what is known of a position that waited.  Returns
 * NGX_OK; NGX_AGAIN: the look-up is older than the position; NGX_DONE: it is at
 * the end of the stream (only where after_end is stop).
 */
ngx_int_t ngx_conduit_feed_settle(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at);


/*
 * The position that a client has, to be the ID of control events; 0-0: none.
 * After the stream was made anew it is still that of the stream before, while
 * the client is served from the oldest entry.
 */
static ngx_inline conduit_stream_id_t *
ngx_conduit_position_id(ngx_conduit_position_t *at)
{
    return (at->id.ms == 0 && at->id.seq == 0) ? &at->earlier : &at->id;
}

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_FEED_H */
