/*
 * What the files of a feed share, and its owner has room for.
 *
 *   feed          opens and closes, hears of its shard, has turns
 *   feed_cursor   the question about the cursor: asks, appends what is new
 *   feed_batch    that for those who are below the window
 *   question      what is sent, and what comes back (answer)
 *
 * Calls go downwards here, too.  At most one question about the cursor and one
 * for a batch are under way.  Answers are dealt with in the order in which
 * they come, each to its end, which may take several turns:
 *
 *   reply -> question -> feed->answers -> begin -> decode, in turns -> end
 */

#ifndef NGX_CONDUIT_FEED_CORE_H
#define NGX_CONDUIT_FEED_CORE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_feed.h"
#include "ngx_conduit_frame.h"
#include "ngx_conduit_hub.h"
#include "ngx_conduit_question.h"
#include "ngx_conduit_schedule.h"

#pragma GCC visibility push(hidden)

/* rings in a row without a new entry, after which the next one is followed by
   the retry only */
#define NGX_CONDUIT_SPURIOUS  3

/* why the cursor is asked for: what counts for more is larger */
typedef enum {
    NGX_CONDUIT_CAUSE_NONE = 0,
    NGX_CONDUIT_CAUSE_SWEEP,
    NGX_CONDUIT_CAUSE_BELL
} ngx_conduit_cause_e;

/* whether a batch may be asked for */
typedef enum {
    NGX_CONDUIT_BATCH_READY = 0,
    NGX_CONDUIT_BATCH_DISAGREED,           /* after the question about the
                                              cursor: the answer was of another
                                              stream than the window */
    NGX_CONDUIT_BATCH_WAIT                 /* by the retry */
} ngx_conduit_batch_e;

/* a stretch below the window, read for those who are there */
typedef struct {
    ngx_conduit_question_t            *question;   /* under way, or answered and
                                                      being decoded */
    conduit_window_t                   window;
    conduit_stream_id_t                last;       /* who is at its end */
    conduit_stream_id_t                next;       /* the entry after that; 0-0:
                                                      not known */
    size_t                             n;          /* entries to decode */
    uint8_t                            state;      /* ngx_conduit_batch_e */
    uint8_t                            shift;      /* read_count is halved so
                                                      often */
} ngx_conduit_batch_t;

struct ngx_conduit_feed_s {
    ngx_conduit_key_t                  key;        /* of its shard */
    ngx_conduit_hub_t                 *hub;
    const ngx_conduit_feed_handlers_t *on;
    void                              *data;
    ngx_conduit_task_t                 retry;      /* asks Redis again */
    ngx_conduit_task_t                 work;       /* goes on with an answer */
    ngx_conduit_question_pt            replied;

    conduit_history_t                  history;
    ngx_conduit_question_t            *question;   /* about the cursor */
    ngx_conduit_question_t            *answers;    /* to be dealt with, oldest
                                                      first */
    ngx_conduit_batch_t                batch;
    size_t                             known;      /* entries that FULL may ask
                                                      for again; 0: any */
    uint32_t                           holds;
    uint8_t                            shift;      /* read_count is halved so
                                                      often */
    uint8_t                            spurious;   /* rings in a row without
                                                      a new entry */
    uint8_t                            cause;      /* ngx_conduit_cause_e */
    unsigned                           ended:1;    /* an END is at the cursor */
    unsigned                           complained:1;  /* an error reply was
                                                         logged */
    unsigned                           renew:1;    /* the link is another one
                                                      than that of the answer
                                                      that is being taken */
};


/* Whether the time of a turn is over; the turn starts with start. */
void ngx_conduit_feed_turn_start(void);
ngx_uint_t ngx_conduit_feed_turn_over(void);

/* How many entries a question asks for that may be new. */
ngx_uint_t ngx_conduit_feed_count(ngx_conduit_feed_t *feed, ngx_uint_t shift);

/* Makes and sends a question.  Returns NULL when that can't be. */
ngx_conduit_question_t *ngx_conduit_feed_send(ngx_conduit_feed_t *feed,
    conduit_history_question_t *ask, ngx_uint_t count);

/* Asks again by the retry timer whatever waits for that. */
void ngx_conduit_feed_later(ngx_conduit_feed_t *feed);

/* Logs an error reply, once until reading works again. */
void ngx_conduit_feed_complain(ngx_conduit_feed_t *feed, redisReply *reply);

/* An entry is larger than any reply may be: all are sent away. */
void ngx_conduit_feed_give_up(ngx_conduit_feed_t *feed);

/* Finds out whether the stream ends with an END, as far as an answer has it. */
void ngx_conduit_feed_find_end(ngx_conduit_feed_t *feed,
    ngx_conduit_question_t *q);

/*
 * Makes the frame of an entry of an answer: *frame is NULL when it is no
 * message.  NGX_OK, or NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_feed_frame(ngx_conduit_feed_t *feed,
    ngx_conduit_question_t *q, size_t i, ngx_conduit_frame_t **frame);


/* Asks about the cursor, for a cause, as soon as that can be. */
void ngx_conduit_feed_ring(ngx_conduit_feed_t *feed,
    ngx_conduit_cause_e cause);

/* Asks about the cursor now, if the server is up; nothing is under way. */
void ngx_conduit_feed_ask(ngx_conduit_feed_t *feed);

/* The cursor's question, if any, is of no use any more. */
void ngx_conduit_feed_unsent(ngx_conduit_feed_t *feed);

/* The cursor's question was not answered: it is asked again later. */
void ngx_conduit_feed_unanswered(ngx_conduit_feed_t *feed,
    ngx_conduit_question_e result);

/*
 * Goes on with the answer about the cursor.  NGX_OK: it is dealt with;
 * NGX_AGAIN: there is more to do.
 */
ngx_int_t ngx_conduit_feed_take(ngx_conduit_feed_t *feed);


/* Asks for a batch, when one is wanted and none is in hand. */
void ngx_conduit_feed_batch_ask(ngx_conduit_feed_t *feed);

/* A batch is asked for by the retry only, from now on; and from then on. */
void ngx_conduit_feed_batch_wait(ngx_conduit_feed_t *feed);
void ngx_conduit_feed_batch_retry(ngx_conduit_feed_t *feed);

/* The batch's question, if any, is of no use any more. */
void ngx_conduit_feed_batch_unsent(ngx_conduit_feed_t *feed);

/* The batch's question was not answered: it is asked again later. */
void ngx_conduit_feed_batch_unanswered(ngx_conduit_feed_t *feed,
    ngx_conduit_question_e result);

/*
 * Goes on with the answer to a batch.  NGX_OK: it is dealt with; NGX_AGAIN:
 * there is more to do; NGX_DECLINED: dealt with, the cursor is to be asked for.
 */
ngx_int_t ngx_conduit_feed_batch_take(ngx_conduit_feed_t *feed);

/* Whether it is known which entry comes after the batch. */
ngx_uint_t ngx_conduit_feed_batch_next(ngx_conduit_feed_t *feed);

/* Nobody stands in the batch any more, or may: its frames go. */
void ngx_conduit_feed_batch_drop(ngx_conduit_feed_t *feed);

/* The window was cut: so is the batch. */
void ngx_conduit_feed_batch_cut(ngx_conduit_feed_t *feed);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_FEED_CORE_H */
