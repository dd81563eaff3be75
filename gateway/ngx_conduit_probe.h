/* Copyright (C) Conduit for NGINX authors */

/*
 * Probes: a probe reads the stream once, from an ID on, for one request.  Its
 * answer is the state of the stream after the request has come.  Its question
 * is CONDUIT_HISTORY_FULL (conduit_history.h), which a feed asks, too, but the
 * answer is not kept.
 *
 * Probes with the same ID and count that come in one turn of the event loop
 * share a question, as do those of all clients that one entry wakes up.
 */

#ifndef NGX_CONDUIT_PROBE_H
#define NGX_CONDUIT_PROBE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_feed.h"
#include "ngx_conduit_gateway.h"
#include "ngx_conduit_question.h"
#include "ngx_conduit_schedule.h"

#pragma GCC visibility push(hidden)

typedef struct ngx_conduit_probe_s  ngx_conduit_probe_t;

/*
 * Is called once for a probe, with the answer, which is valid during the call;
 * or with NULL when the stream can't be read, because an entry is too large or
 * the worker quits.  The probe is over and may be used again.
 */
typedef void (*ngx_conduit_probe_pt)(ngx_conduit_probe_t *p,
    ngx_conduit_question_t *q);

/* the probes of a channel */
typedef struct {
    /* set by the owner */
    ngx_conduit_feed_t     *feed;
    void                  (*released)(void *data);  /* called after handlers of
                                                       probes: the owner may be
                                                       freed in it */
    void                   *data;

    /* private */
    ngx_queue_t             waiting;      /* ngx_conduit_probe_t, not sent */
    ngx_queue_t             groups;       /* probes that share a question */
    ngx_uint_t              n;            /* number of probes, sent or not */
    ngx_uint_t              refs;         /* calls under way that still use
                                             them */
    ngx_uint_t              shift;        /* how often the number of entries is
                                             halved */
    ngx_conduit_task_t      send;
    ngx_conduit_task_t      retry;
} ngx_conduit_probes_t;

struct ngx_conduit_probe_s {
    /* set by the owner; the rest is zero at first */
    conduit_stream_id_t     from;         /* the entry to begin with */
    ngx_uint_t              count;        /* entries to read, at most */
    ngx_conduit_probe_pt    handler;

    /* private */
    ngx_queue_t             queue;
    ngx_queue_t             all;          /* of the hub */
    ngx_conduit_probes_t   *probes;       /* NULL unless it was added */
};


/* Initializes the queues; the owner has set its members before. */
void ngx_conduit_probes_init(ngx_conduit_probes_t *ps);

/* Adds a probe: it is sent in the next turn, or when the server is up. */
void ngx_conduit_probes_add(ngx_conduit_probes_t *ps, ngx_conduit_probe_t *p);

/*
 * Removes a probe, whose handler is not called then; does nothing if it was not
 * added, or is over.
 */
void ngx_conduit_probes_remove(ngx_conduit_probe_t *p);

/* Whether there are probes, or handlers of probes are being called. */
ngx_uint_t ngx_conduit_probes_in_use(ngx_conduit_probes_t *ps);

/* Questions can be sent, after an outage or a move: sends the probes. */
void ngx_conduit_probes_resume(ngx_conduit_probes_t *ps);

/* Forgets the questions of probes that were removed; none may be left. */
void ngx_conduit_probes_close(ngx_conduit_probes_t *ps);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PROBE_H */
