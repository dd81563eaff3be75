/* Copyright (C) Conduit for NGINX authors */

/*
 * A question to Redis about one stream: FAST or FULL, as conduit_history.h
 * defines them, or REVERSE, a step of the search of conduit_start.h.  Sends it
 * in a form that the server accepts, and makes an answer of the reply.
 *
 *   REVERSE  XREVRANGE
 *   FAST     XREAD
 *   FULL     EVALSHA_RO  refused as unknown (Redis 6)    -> EVALSHA
 *                        NOSCRIPT                        -> EVAL(_RO), once
 *                        not allowed, nor in the script  -> XREAD and XINFO
 *                        unknown (renamed), each of them -> XREAD and XINFO
 *
 * The shard remembers which forms its server has refused, until the link is
 * lost.  XREAD and XINFO are two commands, so the stream may change between
 * them: if the replies show that, the result is NGX_CONDUIT_QUESTION_LOST, and
 * the owner asks again.  Without permission for XINFO, the answer has only what
 * can be concluded from the entries.
 *
 * The reply to XREAD, if it has entries, and that of the script name the key.
 * If it is not the key of the question, then each command on this connection
 * gets the reply to another one: the result is NGX_CONDUIT_QUESTION_LOST, and
 * the connection is closed.
 *
 * A question is either forgotten by its owner, or its handler is called exactly
 * once.
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

/* the form in which a question is sent */
enum {
    NGX_CONDUIT_FORM_FAST = 0,
    NGX_CONDUIT_FORM_REVERSE,
    NGX_CONDUIT_FORM_SHA_RO,
    NGX_CONDUIT_FORM_TEXT_RO,
    NGX_CONDUIT_FORM_SHA,
    NGX_CONDUIT_FORM_TEXT,
    NGX_CONDUIT_FORM_INFO,        /* XREAD, and XINFO after it */
    NGX_CONDUIT_FORM_ENTRIES      /* XREAD alone */
};

/* what became of a question */
typedef enum {
    NGX_CONDUIT_QUESTION_ANSWERED = 0,
    NGX_CONDUIT_QUESTION_REFUSED,     /* an error, or an unexpected reply:
                                         q->reply */
    NGX_CONDUIT_QUESTION_LOST,        /* the link is gone, or the replies do not
                                         fit together: ask again */
    NGX_CONDUIT_QUESTION_TOO_LARGE    /* the link was closed, as the reply was
                                         too large */
} ngx_conduit_question_e;

/* how far the owner of a question is with its answer */
typedef enum {
    NGX_CONDUIT_TAKING_NOT = 0,       /* there is none, or it was not looked at
                                         yet */
    NGX_CONDUIT_TAKING_BEGUN,         /* it is being taken to its end, perhaps
                                         in several turns */
    NGX_CONDUIT_TAKING_OUTDATED       /* likewise; then the question is asked
                                         again, as the link has changed since
                                         the answer came, or as the key has rung
                                         while the end of the answer was
                                         handled */
} ngx_conduit_taking_e;

/* called once a question is over; the owner must forget it
   (ngx_conduit_question_forget()), in this call or later */
typedef void (*ngx_conduit_question_pt)(void *data, ngx_conduit_question_t *q,
    ngx_conduit_question_e result);

struct ngx_conduit_question_s {
    /* set by the owner; data is NULL once it is forgotten */
    ngx_conduit_key_t           *key;
    ngx_conduit_question_pt      handler;
    void                        *data;
    conduit_history_question_t   ask;
    ngx_uint_t                   count;    /* entries asked for */
    ngx_uint_t                   reverse;  /* the entries from ask.id back are
                                              asked for, and nothing else of ask
                                              is set */

    /* valid when answered; with "reverse", of the answer only nentries and
       full: ngx_conduit_answer_read() reads the entries, the newest first */
    conduit_history_answer_t     answer;
    size_t                       taken;    /* index of the next entry to take,
                                              kept by the owner */
    size_t                       end;      /* index after the last entry to
                                              take, likewise */
    ngx_uint_t                   taking;   /* ngx_conduit_taking_e, kept by the
                                              owner */
    ngx_uint_t                   whole;    /* the owner has asked for the whole
                                              stream */
    ngx_conduit_question_t      *next;     /* for the owner's list */

    /* private but for reply */
    ngx_conduit_shard_t         *shard;    /* that was asked: the key may have
                                              moved to another one meanwhile */
    redisReply                  *reply;    /* valid when refused */
    redisReply                  *read;     /* the reply to XREAD; that to XINFO
                                              follows */
    redisReply                  *list;     /* the array of entries, in one of
                                              them */
    conduit_history_entry_t     *entries;
    size_t                       bytes;    /* of the entries; valid when
                                              answered */
    ngx_uint_t                   stray;    /* the reply is of another key */
    ngx_uint_t                   waits;    /* how many replies are still to
                                              come */
    ngx_uint_t                   form;
};


/*
 * Sends a question, which must be zeroed but for the members set by the owner.
 * Returns NGX_OK, or NGX_ERROR: there is no link, or memory is out.
 */
ngx_int_t ngx_conduit_question_send(ngx_conduit_question_t *q);

/* Frees a question, now or when its last reply has come; its handler is not
   called any more. */
void ngx_conduit_question_forget(ngx_conduit_question_t *q);

/* To be called when a link is up: loads the script. */
void ngx_conduit_question_prepare(ngx_conduit_shard_t *shard);


/* Makes the answer from the replies. */
ngx_conduit_question_e ngx_conduit_answer_parse(ngx_conduit_question_t *q);

/* Reads entry i of the answer. */
void ngx_conduit_answer_read(ngx_conduit_question_t *q, size_t i,
    ngx_conduit_entry_t *e);

/*
 * Reads the newest entry of the stream, if the answer has it.  Returns whether
 * it has.
 */
ngx_uint_t ngx_conduit_answer_newest(ngx_conduit_question_t *q,
    ngx_conduit_entry_t *e);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_QUESTION_H */
