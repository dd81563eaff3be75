/*
 * A question to Redis about one stream: FAST or FULL, as conduit_history.h has
 * them.  Sends it in the form that the server takes, and makes an answer of
 * what comes back.
 *
 *   FAST   XREAD
 *   FULL   EVALSHA_RO    refused as unknown (Redis 6)    -> EVALSHA
 *                        NOSCRIPT                        -> EVAL(_RO), once
 *                        not allowed, nor in the script  -> XRANGE and XINFO
 *                        unknown (renamed), each of them -> XRANGE and XINFO
 *
 * What a server has refused is kept in its shard until the link is lost.
 * XRANGE and XINFO are two commands, so that something may change between them:
 * where that can be seen, they are asked again.  Without the right to XINFO the
 * answer tells only what the entries do.
 *
 * A question is forgotten by who asked it, or answered exactly once.
 */

#ifndef NGX_CONDUIT_QUESTION_H
#define NGX_CONDUIT_QUESTION_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_history.h"
#include "ngx_conduit_shard.h"
#include "ngx_conduit_stream.h"

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_question_s  ngx_conduit_question_t;

/* in which form it is sent */
enum {
    NGX_CONDUIT_FORM_FAST = 0,
    NGX_CONDUIT_FORM_SHA_RO,
    NGX_CONDUIT_FORM_TEXT_RO,
    NGX_CONDUIT_FORM_SHA,
    NGX_CONDUIT_FORM_TEXT,
    NGX_CONDUIT_FORM_RANGE,       /* XRANGE, and XINFO after it */
    NGX_CONDUIT_FORM_ENTRIES      /* XRANGE alone */
};

/* what became of a question */
typedef enum {
    NGX_CONDUIT_QUESTION_ANSWERED = 0,
    NGX_CONDUIT_QUESTION_REFUSED,     /* an error, or of no form: q->reply */
    NGX_CONDUIT_QUESTION_LOST,        /* the link is gone, or was */
    NGX_CONDUIT_QUESTION_TOO_LARGE    /* likewise, the reply was */
} ngx_conduit_question_e;

/* the question is the handler's from here on: it forgets it, now or later */
typedef void (*ngx_conduit_question_pt)(void *data, ngx_conduit_question_t *q,
    ngx_conduit_question_e result);

struct ngx_conduit_question_s {
    /* set by who asks; data is NULL once it is forgotten */
    ngx_conduit_key_t           *key;
    ngx_conduit_question_pt      handler;
    void                        *data;
    conduit_history_question_t   ask;
    ngx_uint_t                   count;    /* entries asked for */

    /* valid when answered */
    conduit_history_answer_t     answer;
    size_t                       taken;    /* entries, by who asked */
    ngx_uint_t                   begun;    /* likewise */
    ngx_uint_t                   whole;    /* likewise: asked for all of the
                                              stream */
    ngx_conduit_question_t      *next;     /* likewise */

    /* private but for reply */
    redisReply                  *reply;    /* valid when refused */
    redisReply                  *range;    /* of XRANGE, XINFO follows */
    redisReply                  *list;     /* the entries in one of them */
    conduit_history_entry_t     *entries;
    ngx_uint_t                   waits;    /* for so many replies */
    ngx_uint_t                   form;
};


/*
 * Sends a question, zeroed before but for what is set by who asks.  Returns
 * NGX_OK, or NGX_ERROR: there is no link, or no memory.
 */
ngx_int_t ngx_conduit_question_send(ngx_conduit_question_t *q);

/* Frees a question, now or when its reply is in. */
void ngx_conduit_question_forget(ngx_conduit_question_t *q);

/* A link is up: has the script loaded. */
void ngx_conduit_question_prepare(ngx_conduit_shard_t *shard);


/* Makes the answer of what has come. */
ngx_conduit_question_e ngx_conduit_answer_parse(ngx_conduit_question_t *q);

/* An entry of the answer. */
void ngx_conduit_answer_read(ngx_conduit_question_t *q, size_t i,
    ngx_conduit_entry_t *e);

/* The newest entry, when the answer has it: likewise.  Returns whether. */
ngx_uint_t ngx_conduit_answer_newest(ngx_conduit_question_t *q,
    ngx_conduit_entry_t *e);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_QUESTION_H */
