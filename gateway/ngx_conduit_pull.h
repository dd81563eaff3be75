/* Copyright (C) Conduit for NGINX authors */

/*
 * A pull: a request that gets the events after the client's position in one
 * complete response, for clients that do not read Server-Sent Events.  It may
 * wait for the first event (long poll).  Like a subscriber, it is a listener of
 * its channel and a member of the roster.
 *
 *   alloc          makes a pull, for a request whose token was checked
 *   create         makes it a listener: it is answered later
 *   turn_away      answers at once, without looking at the stream
 *
 * A pull takes events until its body is full, until the stream ends, or until
 * it has got all events that the stream had when it came.  It knows that after
 * Redis has answered a question that was sent later.  The pull's form says what
 * the body and the headers look like.
 */

#ifndef NGX_CONDUIT_PULL_H
#define NGX_CONDUIT_PULL_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_buf.h"
#include "ngx_conduit_channel.h"
#include "ngx_conduit_frame.h"
#include "ngx_conduit_gateway.h"
#include "ngx_conduit_hub.h"

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_pull_s  ngx_conduit_pull_t;

/* the kinds of answer to a pull */
typedef enum {
    NGX_CONDUIT_PULL_ALL = 0,     /* all there is */
    NGX_CONDUIT_PULL_PART,        /* some events; there may be more */
    NGX_CONDUIT_PULL_NOTHING,     /* no event came in time, or the worker
                                     quits */
    NGX_CONDUIT_PULL_AWAY,        /* Redis has not answered */
    NGX_CONDUIT_PULL_END,         /* no event will come: the stream has ended
                                     and after_end is stop, or the client only
                                     wants a running stream, and none is */
    NGX_CONDUIT_PULLS
} ngx_conduit_pull_e;

/* the format of an answer, as a table of functions.  pull->body.failed is
   checked after each call */
typedef struct {
    /* appends an event to pull->body, if the format has one for it */
    void       (*event)(ngx_conduit_pull_t *pull, ngx_conduit_frame_t *frame);
    /* appends what the format has for lost history, before the next event */
    void       (*lost)(ngx_conduit_pull_t *pull, conduit_place_loss_e loss);
    /* completes pull->body, sets the status, the type and the headers of the
       response.  Returns NGX_OK to send it, or the code to finalize the request
       with.  pull->channel is NULL by then */
    ngx_int_t  (*answer)(ngx_conduit_pull_t *pull, ngx_conduit_pull_e result);
} ngx_conduit_pull_form_t;

struct ngx_conduit_pull_s {
    ngx_conduit_listener_t          listener;   /* start and resumes may be set
                                                   before create */
    ngx_conduit_member_t            member;
    ngx_conduit_asker_t             asker;
    ngx_http_request_t             *request;
    ngx_conduit_hub_t              *hub;
    ngx_conduit_channel_t          *channel;    /* NULL when detached */
    const ngx_conduit_pull_form_t  *form;
    void                           *data;       /* the form's */
    conduit_buf_t                   body;
    ngx_msec_t                      wait;       /* ms for the first event; 0:
                                                   answer at once */
    size_t                          bytes;      /* of the body, sent */
    uint32_t                        events;     /* taken, sent or not */
    unsigned                        start:2;    /* conduit_start_e it came
                                                   with */
    unsigned                        caught_up:1;  /* the question described
                                                     above was answered, or is
                                                     not needed */
    unsigned                        ended:1;    /* the last event ends the
                                                   stream */
    unsigned                        close:4;    /* ngx_conduit_close_e */
    unsigned                        deadline_why:4;  /* ngx_conduit_close_e of
                                                        its deadline */
    unsigned                        losses:8;   /* how often it was told of lost
                                                   history, 255 at most */
};


/*
 * Allocates a pull in the request's pool, with a form and a position, or 0-0.
 * Returns NULL when memory is out.
 */
ngx_conduit_pull_t *ngx_conduit_pull_alloc(ngx_http_request_t *r,
    ngx_conduit_hub_t *hub, const ngx_conduit_pull_form_t *form,
    conduit_stream_id_t *pos);

/*
 * Makes a pull a listener of the channel of a key; label is that of
 * ngx_conduit_channel_get(), expires the remaining life of the token in ms, or
 * 0 when the pull may outlive it.  The pull must be in the request's context.
 * Returns what the content handler returns.
 */
ngx_int_t ngx_conduit_pull_create(ngx_conduit_pull_t *pull, ngx_str_t *key,
    ngx_str_t *label, ngx_msec_t expires);

/*
 * Answers NOTHING at once, as the worker quits.  Returns what the content
 * handler returns.
 */
ngx_int_t ngx_conduit_pull_turn_away(ngx_conduit_pull_t *pull);

/*
 * Answers a pull that was not added to a channel, or was removed from it.
 * Returns what to finalize the request with.
 */
ngx_int_t ngx_conduit_pull_answer(ngx_conduit_pull_t *pull,
    ngx_conduit_pull_e result);

/*
 * Sets *pos to the position after which the client's next request is to go on,
 * or to 0-0 if that is to begin with the oldest entry.  Returns whether the
 * position is known.
 */
ngx_uint_t ngx_conduit_pull_position(ngx_conduit_pull_t *pull,
    conduit_stream_id_t *pos);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PULL_H */
