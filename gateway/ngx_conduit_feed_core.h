/* Copyright (C) Conduit for NGINX authors */

/*
 * What the files of a feed share; its owner includes it to embed the struct.
 *
 *   feed          opens and closes, takes what its shard reports, has turns
 *   feed_cursor   the question about the cursor: asks, appends new entries
 *   feed_batch    the question for listeners below the window
 *   feed_seek     the search for where listeners without a position start
 *   question      the commands sent, and the replies to them (answer)
 *
 * Calls go downwards in this list.  At most one question about the cursor, one
 * for a batch and one for a search are out.  Answers are processed in the order
 * in which they come, each to its end, which may take several turns:
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

/*
 * after so many rings in a row without a new entry, a ring does not lead to a
 * question at once, but when the retry timer expires
 */
#define NGX_CONDUIT_SPURIOUS  3

/* why the question about the cursor is asked; a larger cause replaces a smaller
   one */
typedef enum {
    NGX_CONDUIT_CAUSE_NONE = 0,
    NGX_CONDUIT_CAUSE_SWEEP,
    NGX_CONDUIT_CAUSE_BELL
} ngx_conduit_cause_e;

/* whether a batch may be asked for */
typedef enum {
    NGX_CONDUIT_BATCH_READY = 0,
    NGX_CONDUIT_BATCH_DISAGREED,           /* once the question about the cursor
                                              is answered: the last batch and
                                              the window were of different
                                              streams */
    NGX_CONDUIT_BATCH_WAIT                 /* when the retry timer expires */
} ngx_conduit_batch_e;

/* entries below the window, read for the listeners there */
typedef struct {
    ngx_conduit_question_t            *question;   /* sent, or answered and
                                                      being decoded */
    conduit_window_t                   window;
    conduit_stream_id_t                last;       /* position of a listener
                                                      that has got all of the
                                                      batch */
    conduit_stream_id_t                next;       /* ID of the entry after
                                                      that; 0-0: not known */
    size_t                             n;          /* entries to decode */
    uint8_t                            state;      /* ngx_conduit_batch_e */
    uint8_t                            shift;      /* how often read_count is
                                                      halved */
} ngx_conduit_batch_t;

/* a search for where listeners start */
typedef struct {
    ngx_conduit_question_t            *question;   /* the step: sent, or
                                                      answered and being looked
                                                      at */
    conduit_start_search_t             search;     /* under way, unless its
                                                      start is OLDEST */
    conduit_stream_id_t                turn;       /* position found by the last
                                                      search for a turn */
    unsigned                           waits:1;    /* for the retry timer */
    uint8_t                            shift;      /* how often the size of a
                                                      step is halved */
} ngx_conduit_seek_t;

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
    ngx_conduit_question_t            *answers;    /* to be processed, oldest
                                                      first */
    ngx_conduit_batch_t                batch;
    ngx_conduit_seek_t                 seek;
    size_t                             max_overlap;  /* entries read before that
                                                        FULL may ask for again;
                                                        0: all */
    size_t                             size;       /* expected bytes of an
                                                      entry:
                                                      conduit_portion.h */
    uint32_t                           refs;       /* calls under way that still
                                                      use it */
    uint8_t                            shift;      /* how often read_count is
                                                      halved */
    uint8_t                            spurious;   /* rings in a row without
                                                      a new entry */
    uint8_t                            cause;      /* ngx_conduit_cause_e */
    unsigned                           ended:1;    /* an END is at the cursor */
    unsigned                           full:1;     /* the stream may have more
                                                      entries: the last answer
                                                      about the cursor was full,
                                                      or an entry of it was
                                                      left; or a batch had later
                                                      entries */
    unsigned                           error_logged:1;  /* an error reply was
                                                           logged */
};


/* Whether the time of this turn is used up. */
ngx_uint_t ngx_conduit_feed_turn_over(ngx_conduit_feed_t *feed);

/* Returns how many new entries a question asks for. */
ngx_uint_t ngx_conduit_feed_count(ngx_conduit_feed_t *feed, ngx_uint_t shift);

/*
 * Makes and sends a question.  reverse: it asks for the entries from ask->id
 * back.  Returns NULL when it can't be sent.
 */
ngx_conduit_question_t *ngx_conduit_feed_send(ngx_conduit_feed_t *feed,
    conduit_history_question_t *ask, ngx_uint_t count, ngx_uint_t reverse);

/* Sets the retry timer: then all questions that wait for it are asked again. */
void ngx_conduit_feed_later(ngx_conduit_feed_t *feed);

/* Logs an error reply, once until a reply is good again. */
void ngx_conduit_feed_log_error(ngx_conduit_feed_t *feed, redisReply *reply);

/* An entry is larger than a reply may be: ends all listeners. */
void ngx_conduit_feed_give_up(ngx_conduit_feed_t *feed);

/* Sets ended in the answer if it has the newest entry and that is an END. */
void ngx_conduit_feed_find_end(ngx_conduit_feed_t *feed,
    ngx_conduit_question_t *q);

/*
 * Makes the frame of entry i of an answer: *frame is NULL when the entry is no
 * message.  Returns NGX_OK, or NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_feed_frame(ngx_conduit_feed_t *feed,
    ngx_conduit_question_t *q, size_t i, ngx_conduit_frame_t **frame);


/* Asks about the cursor, for a cause, as soon as possible. */
void ngx_conduit_feed_ring(ngx_conduit_feed_t *feed,
    ngx_conduit_cause_e cause);

/* Asks about the cursor now, if the server is up and the history is idle. */
void ngx_conduit_feed_ask(ngx_conduit_feed_t *feed);

/* Drops the question about the cursor, if one is out, unless its answer is
   being taken. */
void ngx_conduit_feed_unsent(ngx_conduit_feed_t *feed);

/* The question about the cursor was not answered: it will be asked again. */
void ngx_conduit_feed_unanswered(ngx_conduit_feed_t *feed,
    ngx_conduit_question_e result);

/*
 * Goes on with the answer about the cursor.  Returns NGX_OK: it is done;
 * NGX_AGAIN: there is more to do.
 */
ngx_int_t ngx_conduit_feed_take(ngx_conduit_feed_t *feed);


/* Asks for a batch, when one is wanted and none is in hand. */
void ngx_conduit_feed_batch_ask(ngx_conduit_feed_t *feed);

/*
 * wait: no batch is asked for until the retry timer expires.  retry: it has
 * expired.
 */
void ngx_conduit_feed_batch_wait(ngx_conduit_feed_t *feed);
void ngx_conduit_feed_batch_retry(ngx_conduit_feed_t *feed);

/* Drops the question for a batch, if one is out, unless its answer is being
   taken. */
void ngx_conduit_feed_batch_unsent(ngx_conduit_feed_t *feed);

/* The question for a batch was not answered: it will be asked again. */
void ngx_conduit_feed_batch_unanswered(ngx_conduit_feed_t *feed,
    ngx_conduit_question_e result);

/*
 * Goes on with the answer to a batch.  Returns NGX_OK: it is done; NGX_AGAIN:
 * there is more to do; NGX_DECLINED: it is done, but is of another stream than
 * the window or has later entries, so the caller is to ask about the cursor.
 */
ngx_int_t ngx_conduit_feed_batch_take(ngx_conduit_feed_t *feed);

/* wait, retry, unsent, unanswered: as those of a batch, for a step of a
   search. */
void ngx_conduit_feed_seek_wait(ngx_conduit_feed_t *feed);
void ngx_conduit_feed_seek_retry(ngx_conduit_feed_t *feed);
void ngx_conduit_feed_seek_unsent(ngx_conduit_feed_t *feed);
void ngx_conduit_feed_seek_unanswered(ngx_conduit_feed_t *feed,
    ngx_conduit_question_e result);

/*
 * Goes on with the answer to a step of a search.  Returns NGX_OK: it is done;
 * NGX_AGAIN: there is more to do.
 */
ngx_int_t ngx_conduit_feed_seek_take(ngx_conduit_feed_t *feed);

/* Takes a question off the list of answers, if it is there, and forgets it. */
void ngx_conduit_feed_forget(ngx_conduit_feed_t *feed,
    ngx_conduit_question_t *q);

/* Whether it is known which entry comes after the batch. */
ngx_uint_t ngx_conduit_feed_batch_next(ngx_conduit_feed_t *feed);

/* No listener reads the batch any more, or none may: releases its frames. */
void ngx_conduit_feed_batch_drop(ngx_conduit_feed_t *feed);

/* The window was cut: cuts the batch, too. */
void ngx_conduit_feed_batch_cut(ngx_conduit_feed_t *feed);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_FEED_CORE_H */
