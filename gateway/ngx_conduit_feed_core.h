/*
 * What the files of a feed share, and its owner has room for.
 *
 *   feed        opens and closes, hears of its shard, places positions
 *   feed_read   takes the replies to reads, and to batches
 *   feed_look   takes the replies to look-ups
 *   feed_back   the stream has lost its end: goes back with it
 *   feed_ask    sends the questions
 *
 * Calls go downwards here, too.
 */

#ifndef NGX_CONDUIT_FEED_CORE_H
#define NGX_CONDUIT_FEED_CORE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_feed.h"
#include "ngx_conduit_hub.h"
#include "ngx_conduit_schedule.h"
#include "ngx_conduit_shard.h"
#include "ngx_conduit_stream.h"

#pragma GCC visibility push(hidden)

/* kinds of questions, as bits of paused */
#define NGX_CONDUIT_ASK_READ     1
#define NGX_CONDUIT_ASK_BATCH    2
#define NGX_CONDUIT_ASK_LOOK_UP  4

/* rings in a row without a new entry, after which the next one is followed by
   the retry only */
#define NGX_CONDUIT_SPURIOUS     3

/* who takes the replies */
typedef struct {
    ngx_conduit_reply_pt               read;
    ngx_conduit_reply_pt               batch;
    ngx_conduit_reply_pt               look_up;
} ngx_conduit_feed_replies_t;

struct ngx_conduit_feed_s {
    ngx_conduit_key_t                  key;        /* of its shard */
    ngx_conduit_hub_t                 *hub;
    const ngx_conduit_feed_handlers_t *on;
    void                              *data;
    const ngx_conduit_feed_replies_t  *replies;
    ngx_conduit_task_t                 retry;      /* asks Redis again */
    ngx_conduit_view_t                 view;
    ngx_conduit_stream_info_t         *info;       /* within settled(): of the
                                                      look-up; NULL: it was
                                                      refused */

    conduit_stream_id_t     cursor;        /* read up to here */
    uint64_t                number;        /* of the entry there, valid when
                                              numbered */
    conduit_stream_id_t     next;          /* entry after the cursor, in a reply
                                              that was not appended; 0-0: not
                                              known */

    conduit_stream_id_t     back;          /* a rollback: entries after it, up
                                              to the lead, were read, and lost
                                              by the stream; a lead of 0-0:
                                              there was none */
    conduit_stream_id_t     lead;

    conduit_stream_id_t     past_from;     /* the stream's life before this one,
                                              as far as it was seen: a position
                                              from here on had all of it */
    conduit_stream_id_t     past_to;       /* and up to here; 0-0: none was
                                              seen */

    uint32_t                epoch;         /* lives of the stream seen */
    uint32_t                read_epoch;    /* when XREAD was sent */
    uint32_t                read_moves;    /* when XREAD was sent */
    uint32_t                probe_moves;   /* when XINFO was */
    uint32_t                probes;        /* look-ups sent */
    uint32_t                holds;         /* replies being dealt with */

    unsigned                spurious:3;    /* rings in a row for nothing */
    unsigned                shift:4;       /* read_count is halved so often */
    unsigned                reading:1;     /* XREAD is under way */
    unsigned                dirty:1;       /* rang since it was sent */
    unsigned                rung:1;        /* it was sent for a ring: an empty
                                              reply is followed by XINFO */
    unsigned                checked:1;     /* XINFO was sent just before it */
    unsigned                catching:1;    /* XRANGE of a batch is under way */
    unsigned                probing:1;     /* XINFO is under way */
    unsigned                paused:3;      /* what was refused, and is asked
                                              again by the retry only */
    unsigned                ended:1;       /* an END is at the cursor; used
                                              where after_end is stop */
    unsigned                known:1;       /* the cursor is of this stream, not
                                              only what a client came with */
    unsigned                seen:1;        /* something was read of it */
    unsigned                kept:1;        /* the entry at the cursor was there
                                              at the last reply */
    unsigned                numbered:1;
    unsigned                check:1;       /* entries after the cursor may have
                                              been trimmed: XINFO before the
                                              next read */
    unsigned                complained:1;  /* an error reply was logged */
    unsigned                swept:1;       /* read though nothing rang */
    unsigned                compare:1;     /* the window may have entries that
                                              the stream has lost: read from its
                                              oldest one */
    unsigned                comparing:1;   /* XREAD was sent for that */
    unsigned                info_ended:1;  /* valid with info: the stream ends
                                              with an END */
};


/* The link to read on; while the slot moves, ASKING is sent on it. */
ngx_conduit_link_t *ngx_conduit_feed_link(ngx_conduit_feed_t *feed);

/* What those who listen want: NGX_CONDUIT_WANT_... */
ngx_uint_t ngx_conduit_feed_wants(ngx_conduit_feed_t *feed);

/* The key has changed (rung), or may have: reads on from the cursor. */
void ngx_conduit_feed_ring(ngx_conduit_feed_t *feed, ngx_uint_t rung);

/* Sends XREAD from the cursor; none must be under way. */
void ngx_conduit_feed_read(ngx_conduit_feed_t *feed);

/* Sends XINFO, unless one is under way. */
void ngx_conduit_feed_look_up(ngx_conduit_feed_t *feed);

/* How many entries a question asks for: that at the position, and new ones. */
ngx_uint_t ngx_conduit_feed_count(ngx_conduit_feed_t *feed);

/* A command ended without a reply. */
void ngx_conduit_feed_unanswered(ngx_conduit_feed_t *feed,
    ngx_conduit_outcome_e outcome);

/*
 * The reply to a question (NGX_CONDUIT_ASK_READ, ...) was an error, or memory
 * was out for it: it is not sent again before the retry, whoever wants it.
 */
void ngx_conduit_feed_put_off(ngx_conduit_feed_t *feed, ngx_uint_t question);

/* Logs an error reply, once until reading works again. */
void ngx_conduit_feed_complain(ngx_conduit_feed_t *feed, redisReply *reply);

/* Frees the batch; no reply to it may be under way, nobody may stand in it. */
void ngx_conduit_feed_drop_batch(ngx_conduit_feed_t *feed);

/* Take the replies to XREAD, XRANGE and XINFO. */
void ngx_conduit_feed_read_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
void ngx_conduit_feed_batch_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
void ngx_conduit_feed_info_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);

/* The stream is another one: tells who had not got all of it, starts anew. */
void ngx_conduit_feed_another(ngx_conduit_feed_t *feed);

/*
 * The stream ends before the cursor: goes back to its last entry when that is
 * in the window, with all who were after it.  Returns 1, or 0 when it is
 * another stream, or that can't be told.
 */
ngx_uint_t ngx_conduit_feed_step_back(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info);

/*
 * The entry at the cursor is gone.  Returns 1 when the next read is to compare
 * the window with the stream, or 0 when they have no entry in common.
 */
ngx_uint_t ngx_conduit_feed_compare(ngx_conduit_feed_t *feed,
    ngx_conduit_stream_info_t *info);

/*
 * Takes the reply to such a read, NULL for no entries: goes back to the last
 * entry that both have.  Returns NGX_OK when the list is to be taken in, *first
 * then is where it begins for the cursor; NGX_DECLINED when it is of another
 * stream.
 */
ngx_int_t ngx_conduit_feed_part(ngx_conduit_feed_t *feed, redisReply *list,
    conduit_stream_id_t *first);

/*
 * A position in a stretch which the feed saw and the stream has lost since
 * becomes the one where that began.
 */
void ngx_conduit_feed_lead_back(ngx_conduit_feed_t *feed,
    ngx_conduit_position_t *at);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_FEED_CORE_H */
