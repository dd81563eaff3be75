/* Copyright (C) Conduit for NGINX authors */

/*
 * A channel: connects the feed of one stream with its listeners in a worker.
 * Exists as long as it has listeners or probes.
 */

#ifndef NGX_CONDUIT_CHANNEL_H
#define NGX_CONDUIT_CHANNEL_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_gateway.h"
#include "ngx_conduit_listeners.h"
#include "ngx_conduit_probe.h"
#include "ngx_conduit_roster.h"
#include "ngx_conduit_shard.h"

#pragma GCC visibility push(hidden)

/* the state of a channel, for the live view */
typedef struct {
    ngx_str_t            *stream;       /* its key, valid until the next
                                           event */
    ngx_uint_t            clients;
    ngx_uint_t            behind;       /* were not sent all that is in memory,
                                           or do not take it; not all are
                                           counted where that would take long */
    ngx_uint_t            blocked;      /* of these, those whose socket is
                                           full */
    conduit_stream_id_t   last;         /* the stream was read up to here */
    conduit_stream_id_t   slowest;      /* position of the slowest client that
                                           is behind; last when none is */
} ngx_conduit_channel_state_t;

typedef struct ngx_conduit_asker_s  ngx_conduit_asker_t;

/* what an asker is told, once; one table for each kind */
typedef struct {
    /* Redis has answered a question that was sent after it asked: the window
       has all that the stream had then */
    void  (*caught_up)(ngx_conduit_asker_t *a);
    /* no answer comes for a while; it goes on waiting for one, unless it leaves
       the channel.  May be called several times */
    void  (*outage)(ngx_conduit_asker_t *a);
} ngx_conduit_asker_handlers_t;

/* one who waits for the moment from which a window has all there is */
struct ngx_conduit_asker_s {
    ngx_queue_t                          queue;
    const ngx_conduit_asker_handlers_t  *on;
    uint32_t                             since;     /* of the channel's
                                                       questions, the first so
                                                       many do not count */
    unsigned                             asking:1;  /* private */
};


/*
 * Finds or makes the channel of a key.  The log names it by its label, which
 * outlives the hub, or by the key if that is NULL.  Returns NULL when memory is
 * out.
 */
ngx_conduit_channel_t *ngx_conduit_channel_get(ngx_conduit_hub_t *hub,
    ngx_str_t *key, ngx_str_t *label);

/*
 * Adds a listener, and its member to the roster.  Returns NGX_OK: start it at
 * once; NGX_AGAIN: its position, or whether there is anything to resume, is
 * being looked up, it is started later; NGX_DONE: it has seen the end of the
 * stream, and was not added (only where after_end is stop).
 */
ngx_int_t ngx_conduit_channel_add(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_member_t *m);

/* Removes a listener. */
void ngx_conduit_channel_remove(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_member_t *m);

/* How many questions were sent so far. */
uint32_t ngx_conduit_channel_asked(ngx_conduit_channel_t *ch);

/*
 * Has Redis asked for what is new, for an asker whose listener has been added;
 * its since is what ngx_conduit_channel_asked() returned before that.  Its
 * handlers are called later, from the event loop.
 */
void ngx_conduit_channel_ask(ngx_conduit_channel_t *ch,
    ngx_conduit_asker_t *a);

/* The asker does not wait any more; does nothing if it does not. */
void ngx_conduit_channel_unask(ngx_conduit_asker_t *a);

/*
 * Whether the window is up to date, as far as Redis has told: something added
 * meanwhile is on its way.
 */
ngx_uint_t ngx_conduit_channel_fresh(ngx_conduit_channel_t *ch);

/* Whether an answer of Redis can be expected soon. */
ngx_uint_t ngx_conduit_channel_answers(ngx_conduit_channel_t *ch);

/*
 * Gives an eager listener its turn, if it is in the window; elsewhere it gets
 * one when it gets there.
 */
void ngx_conduit_channel_wake(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l);

/*
 * Asks for the stream as it is now.  The channel is not freed during the call
 * of the probe's handler.
 */
void ngx_conduit_channel_probe(ngx_conduit_channel_t *ch,
    ngx_conduit_probe_t *p);

/*
 * Drops a probe, or does nothing when it is over.  A channel without any probes
 * and listeners is freed.
 */
void ngx_conduit_channel_unprobe(ngx_conduit_channel_t *ch,
    ngx_conduit_probe_t *p);

/* A blocked listener can be sent to again. */
void ngx_conduit_channel_writable(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l);

/* Calls ngx_conduit_listeners_next(). */
ngx_uint_t ngx_conduit_channel_next(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t **frame,
    conduit_place_loss_e *loss);

/*
 * Whether a listener, which may be anywhere, has got all that is in memory and
 * is in the window.
 */
ngx_uint_t ngx_conduit_channel_has_all(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l);

/*
 * Calls ngx_conduit_held_bundle() for the frame that ngx_conduit_channel_next()
 * has just given a listener.
 */
ngx_conduit_frame_t *ngx_conduit_channel_bundle(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t *frame,
    ngx_conduit_frame_t **last);

/* Calls ngx_conduit_listeners_grown(). */
void ngx_conduit_channel_grown(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t *frame, size_t bytes);

/*
 * Whether a listener has got all of the stream, as far as Redis has told:
 * unlike above, also from a batch, and not while more is known to be there.
 */
ngx_uint_t ngx_conduit_channel_at_end(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l);

/* Whether events are held back to be sent with later ones. */
ngx_uint_t ngx_conduit_channel_waits(ngx_conduit_channel_t *ch);

/* Whether the channel's server is away; *away: for how many ms then. */
ngx_uint_t ngx_conduit_channel_away(ngx_conduit_channel_t *ch,
    ngx_msec_t *away);

/* Fills in the state of the channel of a key; changes nothing. */
void ngx_conduit_channel_get_state(ngx_conduit_key_t *key,
    ngx_conduit_channel_state_t *state);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_CHANNEL_H */
