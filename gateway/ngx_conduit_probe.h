/* Copyright (C) Conduit for NGINX authors */

/*
 * Probes: readings of a stream at one moment, each for one request.  A probe
 * asks FULL of conduit_history.h, as a feed does, but keeps nothing of the
 * answer, and is answered by what Redis has after the request came.
 *
 * Probes from the same ID that come in one turn of the event loop share a
 * question: so do those of all clients that one entry wakes up.
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
 * The answer, valid during the call; or NULL: the stream can't be read, as an
 * entry is too large, or as the worker quits.  The probe is over and may be
 * used again.
 */
typedef void (*ngx_conduit_probe_pt)(ngx_conduit_probe_t *p,
    ngx_conduit_question_t *q);

/* the probes of a channel */
typedef struct {
    /* set by the owner */
    ngx_conduit_feed_t     *feed;
    void                  (*released)(void *data);  /* the probes are not in use
                                                       by a caller any more */
    void                   *data;

    /* private */
    ngx_queue_t             waiting;      /* ngx_conduit_probe_t, not sent */
    ngx_queue_t             groups;       /* probes that share a question */
    ngx_uint_t              n;            /* in all */
    ngx_uint_t              holds;
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
    ngx_conduit_probes_t   *probes;       /* NULL while it is none of them */
};


/* Makes the queues; the owner has set the other members. */
void ngx_conduit_probes_init(ngx_conduit_probes_t *ps);

/* Asks, at the next turn, or once the server is up. */
void ngx_conduit_probes_add(ngx_conduit_probes_t *ps, ngx_conduit_probe_t *p);

/* Drops a probe, if it is one: its handler is not called. */
void ngx_conduit_probes_remove(ngx_conduit_probe_t *p);

/* Whether there are probes, or a caller is using them. */
ngx_uint_t ngx_conduit_probes_used(ngx_conduit_probes_t *ps);

/* Questions can be sent. */
void ngx_conduit_probes_readable(ngx_conduit_probes_t *ps);

/* Forgets the questions; there are no probes. */
void ngx_conduit_probes_close(ngx_conduit_probes_t *ps);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PROBE_H */
