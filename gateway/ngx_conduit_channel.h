/*
 * What the files of a channel share.
 */

#ifndef NGX_CONDUIT_CHANNEL_H
#define NGX_CONDUIT_CHANNEL_H

#include "ngx_conduit_gateway.h"

#pragma GCC visibility push(hidden)

/* a window that nobody drains is trimmed at this many times its size */
#define NGX_CONDUIT_WINDOW_SLACK  4

/* what a channel asks for, as bits of paused */
#define NGX_CONDUIT_ASK_READ     1
#define NGX_CONDUIT_ASK_BATCH    2
#define NGX_CONDUIT_ASK_LOOK_UP  4

/* before the oldest entry */
static const conduit_stream_id_t  ngx_conduit_oldest = { 0, 0 };

/* Frees a channel that nobody needs and Redis owes nothing. */
void ngx_conduit_channel_release(ngx_conduit_channel_t *ch);

/* Puts a subscriber at the end of one of its channel's queues. */
void ngx_conduit_channel_move(ngx_conduit_sub_t *sub, ngx_queue_t *queue);

/*
 * Takes all of a queue: a list that can be worked off while any subscriber may
 * leave it.
 */
void ngx_conduit_channel_take(ngx_queue_t *list, ngx_queue_t *queue);

/* Ends all responses, as after an outage. */
void ngx_conduit_channel_send_away(ngx_conduit_channel_t *ch);

/* The link to read on; makes the next command follow its slot (ASKING). */
ngx_conduit_link_t *ngx_conduit_channel_link(ngx_conduit_channel_t *ch);

/* A command ended without a reply. */
void ngx_conduit_channel_unanswered(ngx_conduit_channel_t *ch,
    ngx_conduit_outcome_e outcome);

/* Sends XREAD from the cursor; none must be under way. */
void ngx_conduit_channel_read(ngx_conduit_channel_t *ch);

/*
 * A question (NGX_CONDUIT_ASK_READ, ...) was of no use, and the same one would
 * be just now: it is put off until the retry, whoever wants it before.
 */
void ngx_conduit_channel_put_off(ngx_conduit_channel_t *ch,
    ngx_uint_t question);

/* Logs an error reply, once until reading works again. */
void ngx_conduit_channel_complain(ngx_conduit_channel_t *ch,
    redisReply *reply);

/* Entries before the first one are gone: who had not got to it is told. */
void ngx_conduit_channel_lost(ngx_conduit_channel_t *ch,
    conduit_stream_id_t *first);

/* There are new frames: all who had everything have something to send. */
void ngx_conduit_channel_wake(ngx_conduit_channel_t *ch);

/* Drops the oldest frames of the window down to limit bytes. */
void ngx_conduit_channel_trim(ngx_conduit_channel_t *ch, size_t limit);

/* Asks for a batch for the first who is behind, unless one is in hand. */
void ngx_conduit_channel_catch_up(ngx_conduit_channel_t *ch);

/* Frees the batch; no reply to it may be under way, nobody may stand in it. */
void ngx_conduit_channel_drop_batch(ngx_conduit_channel_t *ch);

/* Sends XINFO, unless one is under way. */
void ngx_conduit_channel_look_up(ngx_conduit_channel_t *ch);

/*
 * The stream that was read is no more, a restart is to follow: who has a
 * position, and not all that was seen of the stream, is told.  Those who are
 * admitted in between are not looked at here.
 */
void ngx_conduit_channel_gone(ngx_conduit_channel_t *ch);

/* The stream is not the one it was: all start from its oldest entry. */
void ngx_conduit_channel_restart(ngx_conduit_channel_t *ch);

/*
 * The stream ends before the cursor: goes back to its last entry when that is
 * in the window, with all who were after it.  Returns 1, or 0 when it is
 * another stream, or that can't be told.
 */
ngx_uint_t ngx_conduit_channel_step_back(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info);

/*
 * The entry at the cursor is gone: whether the window and the stream are to be
 * compared; the next read does then.
 */
ngx_uint_t ngx_conduit_channel_compare(ngx_conduit_channel_t *ch,
    ngx_conduit_stream_info_t *info);

/*
 * Takes the reply to such a read, NULL for no entries: goes back to the last
 * entry that both have.  Returns NGX_OK when the list is to be taken in, *first
 * then is where it begins for the cursor; NGX_DECLINED when it is to be read
 * again, from the start of another stream.
 */
ngx_int_t ngx_conduit_channel_part(ngx_conduit_channel_t *ch,
    redisReply *list, conduit_stream_id_t *first);

/*
 * A subscriber that resumes in a stretch which the channel saw and the stream
 * has lost since goes on from where that began.
 */
void ngx_conduit_channel_lead_back(ngx_conduit_channel_t *ch,
    ngx_conduit_sub_t *sub);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_CHANNEL_H */
