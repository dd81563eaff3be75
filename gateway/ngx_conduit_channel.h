/* Copyright (C) Conduit for NGINX authors */

/*
 * A channel: connects the feed of one stream with its listeners in a worker.
 * Exists as long as it has listeners or probes.
 *
 *   listener   is sent the events of the stream: ngx_conduit_listeners.h
 *   member     the same client in the roster: ngx_conduit_roster.h
 *   asker      a listener that waits until the window is up to date
 *   probe      reads the stream once, past the window: ngx_conduit_probe.h
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
    ngx_uint_t            behind;       /* clients that were not sent all that
                                           is in memory, or whose socket is
                                           full.  In each queue, only so many
                                           are counted as does not take long */
    ngx_uint_t            blocked;      /* of these, those whose socket is
                                           full */
    conduit_stream_id_t   last;         /* the stream was read up to here */
    conduit_stream_id_t   slowest;      /* position of the slowest client that
                                           is behind; last when none is */
} ngx_conduit_channel_state_t;

typedef struct ngx_conduit_asker_s  ngx_conduit_asker_t;

/* what an asker is told; one table for each kind */
typedef struct {
    /* called once: Redis has answered a question that was sent after the asker
       came, so the window has all that the stream had at that time */
    void  (*caught_up)(ngx_conduit_asker_t *a);
    /* no answer can be expected for a while; the asker goes on waiting, unless
       it leaves the channel.  May be called several times */
    void  (*outage)(ngx_conduit_asker_t *a);
} ngx_conduit_asker_handlers_t;

/* an asker waits until the window has all that the stream had when the asker
   came */
struct ngx_conduit_asker_s {
    ngx_queue_t                          queue;
    const ngx_conduit_asker_handlers_t  *on;
    uint32_t                             since;     /* answers to the channel's
                                                       first so many questions
                                                       do not count, as they
                                                       were sent before the
                                                       asker came */
    unsigned                             asking:1;  /* private */
};


/*
 * Finds or makes the channel of a key.  The log names it by its label, which
 * must live longer than the hub, or by the key if label is NULL.  Returns NULL
 * when memory is out.
 */
ngx_conduit_channel_t *ngx_conduit_channel_get(ngx_conduit_hub_t *hub,
    ngx_str_t *key, ngx_str_t *label);

/*
 * Adds a listener, and its member to the roster.  Returns NGX_OK: start it at
 * once; NGX_AGAIN: it is started later, when it is known where it starts, or
 * whether there is a running stream to resume; NGX_DONE: it has got the END,
 * which nothing follows, and was not added (only if after_end is stop).
 */
ngx_int_t ngx_conduit_channel_add(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_member_t *m);

/* Removes a listener. */
void ngx_conduit_channel_remove(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_member_t *m);

/* How many questions were sent so far. */
uint32_t ngx_conduit_channel_asked(ngx_conduit_channel_t *ch);

/*
 * Asks Redis for new entries on behalf of an asker, whose listener has been
 * added; its since is what ngx_conduit_channel_asked() returned before that.
 * Its handlers are called later, from the event loop.
 */
void ngx_conduit_channel_ask(ngx_conduit_channel_t *ch,
    ngx_conduit_asker_t *a);

/* Removes an asker; does nothing if it does not wait. */
void ngx_conduit_channel_unask(ngx_conduit_asker_t *a);

/*
 * Whether the window is up to date, as far as Redis has told.  If an entry was
 * added since, the notice of it is on its way.
 */
ngx_uint_t ngx_conduit_channel_fresh(ngx_conduit_channel_t *ch);

/* Whether an answer of Redis can be expected soon. */
ngx_uint_t ngx_conduit_channel_answers(ngx_conduit_channel_t *ch);

/*
 * Gives an eager listener a turn, if it is in the window; otherwise it gets one
 * when it gets there.
 */
void ngx_conduit_channel_wake(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l);

/*
 * Adds a probe: it reads the stream as it is now.  The channel is not freed
 * during the call of the probe's handler.
 */
void ngx_conduit_channel_probe(ngx_conduit_channel_t *ch,
    ngx_conduit_probe_t *p);

/*
 * Removes a probe; does nothing if it is over.  A channel without any probes
 * and listeners is freed.
 */
void ngx_conduit_channel_unprobe(ngx_conduit_channel_t *ch,
    ngx_conduit_probe_t *p);

/* The socket of a blocked listener is writable again. */
void ngx_conduit_channel_writable(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l);

/* Calls ngx_conduit_listeners_next(). */
ngx_uint_t ngx_conduit_channel_next(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t **frame,
    conduit_place_loss_e *loss);

/* Whether a listener, in any state, is in the window and has got all of it. */
ngx_uint_t ngx_conduit_channel_has_all(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l);

/*
 * Calls ngx_conduit_held_bundle() for the frame that ngx_conduit_channel_next()
 * has just given a listener.
 */
ngx_conduit_frame_t *ngx_conduit_channel_bundle(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t *frame,
    ngx_conduit_frame_t **last);

/* Calls ngx_conduit_listeners_sent_bundle(). */
ngx_uint_t ngx_conduit_channel_sent_bundle(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, uint64_t since);

/* Calls ngx_conduit_listeners_grown(). */
void ngx_conduit_channel_grown(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l, ngx_conduit_frame_t *frame, size_t bytes);

/*
 * Whether a listener has got all of the stream, as far as Redis has told.
 * Unlike ngx_conduit_channel_has_all(), it is also true when the listener got
 * the last entry from a batch; and it is not while the stream may have more
 * entries than were read.
 */
ngx_uint_t ngx_conduit_channel_at_end(ngx_conduit_channel_t *ch,
    ngx_conduit_listener_t *l);

/* Whether events are held back to be sent with later ones. */
ngx_uint_t ngx_conduit_channel_waits(ngx_conduit_channel_t *ch);

/* Whether the channel's server is down; *away: for how many ms, if so. */
ngx_uint_t ngx_conduit_channel_away(ngx_conduit_channel_t *ch,
    ngx_msec_t *away);

/* Fills in the state of the channel of a key; changes nothing. */
void ngx_conduit_channel_get_state(ngx_conduit_key_t *key,
    ngx_conduit_channel_state_t *state);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_CHANNEL_H */
