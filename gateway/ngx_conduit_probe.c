/* Copyright (C) Conduit for NGINX authors */

/*
 * The probes of a channel: which are sent together, and what becomes of them.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_feed_core.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_probe.h"


/* probes that share a question */
typedef struct {
    ngx_queue_t              queue;
    ngx_queue_t              list;        /* ngx_conduit_probe_t */
    ngx_conduit_probes_t    *owner;
    ngx_conduit_question_t  *question;
    uint32_t                 moves;       /* of the key, when it was sent */
    ngx_uint_t               shift;       /* that it was sent with */
} ngx_conduit_probe_group_t;


static ngx_uint_t ngx_conduit_probes_send(void *data, ngx_uint_t max);
static ngx_uint_t ngx_conduit_probes_retry(void *data, ngx_uint_t max);
static ngx_conduit_probe_group_t *ngx_conduit_probe_group(
    ngx_conduit_probes_t *ps);
static ngx_int_t ngx_conduit_probe_ask(ngx_conduit_probe_group_t *g);
static void ngx_conduit_probe_replied(void *data, ngx_conduit_question_t *q,
    ngx_conduit_question_e result);
static void ngx_conduit_probe_answered(ngx_conduit_probe_group_t *g,
    ngx_conduit_question_t *q);
static void ngx_conduit_probe_again(ngx_conduit_probe_group_t *g);
static void ngx_conduit_probe_refused(ngx_conduit_probes_t *ps,
    redisReply *reply);
static ngx_conduit_probe_t *ngx_conduit_probe_head(ngx_queue_t *queue);


void
ngx_conduit_probes_init(ngx_conduit_probes_t *ps)
{
    ngx_queue_init(&ps->waiting);
    ngx_queue_init(&ps->groups);

    ps->send.handler = ngx_conduit_probes_send;
    ps->send.data = ps;
    ps->retry.handler = ngx_conduit_probes_retry;
    ps->retry.data = ps;
}


void
ngx_conduit_probes_add(ngx_conduit_probes_t *ps, ngx_conduit_probe_t *p)
{
    p->probes = ps;
    ps->n++;

    ngx_queue_insert_tail(&ps->waiting, &p->queue);
    ngx_queue_insert_tail(&ps->feed->hub->probes, &p->all);

    ngx_conduit_schedule_run(&ps->feed->hub->schedule, &ps->send);
}


void
ngx_conduit_probes_remove(ngx_conduit_probe_t *p)
{
    if (p->probes == NULL) {
        return;
    }

    p->probes->n--;
    p->probes = NULL;

    ngx_queue_remove(&p->queue);
    ngx_queue_remove(&p->all);
}


ngx_uint_t
ngx_conduit_probes_used(ngx_conduit_probes_t *ps)
{
    return ps->n || ps->holds;
}


void
ngx_conduit_probes_readable(ngx_conduit_probes_t *ps)
{
    if (!ngx_queue_empty(&ps->waiting)) {
        ngx_conduit_schedule_run(&ps->feed->hub->schedule, &ps->send);
    }
}


void
ngx_conduit_probes_close(ngx_conduit_probes_t *ps)
{
    ngx_conduit_probe_group_t  *g;

    ngx_conduit_schedule_cancel(&ps->send);
    ngx_conduit_schedule_cancel(&ps->retry);

    while (!ngx_queue_empty(&ps->groups)) {
        g = ngx_queue_data(ngx_queue_head(&ps->groups),
                           ngx_conduit_probe_group_t, queue);

        ngx_queue_remove(&g->queue);
        ngx_conduit_question_forget(g->question);
        ngx_free(g);
    }
}


static ngx_uint_t
ngx_conduit_probes_retry(void *data, ngx_uint_t max)
{
    ngx_conduit_probes_readable(data);

    return 0;
}


/*
 * Sends a question for each ID that a probe waits for.  After an outage these
 * may be thousands, each of which looks at all probes that wait: what does not
 * fit in a slice is sent in the next turns.
 */

static ngx_uint_t
ngx_conduit_probes_send(void *data, ngx_uint_t max)
{
    ngx_msec_t                  away;
    ngx_uint_t                  n;
    ngx_conduit_probes_t       *ps = data;
    ngx_conduit_probe_group_t  *g;

    n = 0;

    while (!ngx_queue_empty(&ps->waiting)
           && ngx_conduit_feed_is_up(ps->feed, &away))
    {
        if (n == max
            || (n && ngx_conduit_schedule_over(&ps->feed->hub->schedule)))
        {
            ngx_conduit_schedule_run(&ps->feed->hub->schedule, &ps->send);
            break;
        }

        g = ngx_conduit_probe_group(ps);

        if (g == NULL) {
            ngx_conduit_schedule_retry(&ps->feed->hub->schedule, &ps->retry);
            break;
        }

        if (ngx_conduit_probe_ask(g) != NGX_OK) {
            ngx_conduit_probe_again(g);
            ngx_free(g);
            break;
        }

        n++;
    }

    return n;
}


/* takes the probes from the ID of the first one off those that wait */

static ngx_conduit_probe_group_t *
ngx_conduit_probe_group(ngx_conduit_probes_t *ps)
{
    ngx_queue_t                *q, *next;
    ngx_conduit_probe_t        *first, *p;
    ngx_conduit_probe_group_t  *g;

    g = ngx_calloc(sizeof(ngx_conduit_probe_group_t), ngx_cycle->log);
    if (g == NULL) {
        return NULL;
    }

    g->owner = ps;
    g->moves = ps->feed->key.moves;

    ngx_queue_init(&g->list);

    first = ngx_conduit_probe_head(&ps->waiting);

    for (q = ngx_queue_head(&ps->waiting);
         q != ngx_queue_sentinel(&ps->waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        p = ngx_queue_data(q, ngx_conduit_probe_t, queue);

        if (conduit_stream_id_cmp(&p->from, &first->from) == 0
            && p->count == first->count)
        {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&g->list, q);
        }
    }

    return g;
}


static ngx_int_t
ngx_conduit_probe_ask(ngx_conduit_probe_group_t *g)
{
    ngx_conduit_probe_t     *p;
    ngx_conduit_probes_t    *ps;
    ngx_conduit_question_t  *q;

    ps = g->owner;
    p = ngx_conduit_probe_head(&g->list);

    q = ngx_calloc(sizeof(ngx_conduit_question_t), ngx_cycle->log);
    if (q == NULL) {
        return NGX_ERROR;
    }

    q->key = &ps->feed->key;
    q->handler = ngx_conduit_probe_replied;
    q->data = g;
    q->ask.kind = CONDUIT_HISTORY_FULL;
    q->ask.id = p->from;
    g->shift = ps->shift;
    q->count = ngx_max(p->count >> g->shift, ngx_min(p->count, 2));

    if (ngx_conduit_question_send(q) != NGX_OK) {
        ngx_conduit_question_forget(q);
        return NGX_ERROR;
    }

    g->question = q;
    ngx_queue_insert_tail(&ps->groups, &g->queue);

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_LOOK_UPS);

    return NGX_OK;
}


static void
ngx_conduit_probe_replied(void *data, ngx_conduit_question_t *q,
    ngx_conduit_question_e result)
{
    redisReply                 *reply;
    ngx_conduit_probes_t       *ps;
    ngx_conduit_probe_group_t  *g = data;

    ps = g->owner;
    reply = NULL;

    ps->holds++;

    ngx_queue_remove(&g->queue);

    if (result == NGX_CONDUIT_QUESTION_ANSWERED
        && g->moves == ps->feed->key.moves)
    {
        ngx_conduit_probe_answered(g, q);

    } else if (result == NGX_CONDUIT_QUESTION_TOO_LARGE && q->count <= 2) {

        /* a single entry is too large */

        ngx_conduit_probe_answered(g, NULL);

    } else {
        /* of many groups that were sent together, one asks for less */

        if (result == NGX_CONDUIT_QUESTION_TOO_LARGE && g->shift == ps->shift) {
            ps->shift++;
        }

        ngx_conduit_probe_again(g);

        if (result == NGX_CONDUIT_QUESTION_REFUSED) {
            reply = q->reply;
            q->reply = NULL;
        }
    }

    ngx_conduit_question_forget(q);
    ngx_free(g);

    if (reply != NULL) {
        ngx_conduit_probe_refused(ps, reply);
    }

    ps->holds--;

    ps->released(ps->data);
}


static void
ngx_conduit_probe_answered(ngx_conduit_probe_group_t *g,
    ngx_conduit_question_t *q)
{
    ngx_conduit_probe_t  *p;

    if (q != NULL && !q->answer.full) {
        g->owner->shift = 0;
    }

    while (!ngx_queue_empty(&g->list)) {
        p = ngx_conduit_probe_head(&g->list);

        ngx_conduit_probes_remove(p);
        p->handler(p, q);
    }
}


/* the probes wait for the retry timer, or until the server is up */

static void
ngx_conduit_probe_again(ngx_conduit_probe_group_t *g)
{
    ngx_conduit_probes_t  *ps;

    ps = g->owner;

    if (!ngx_queue_empty(&g->list)) {
        ngx_queue_add(&ps->waiting, &g->list);
        ngx_queue_init(&g->list);
    }

    ngx_conduit_schedule_retry(&ps->feed->hub->schedule, &ps->retry);
}


/* an error reply: a redirect has the key moved, which is reported by
   ngx_conduit_probes_readable() */

static void
ngx_conduit_probe_refused(ngx_conduit_probes_t *ps, redisReply *reply)
{
    if (!ngx_conduit_shard_redirect(&ps->feed->key, reply)) {
        ngx_conduit_feed_complain(ps->feed, reply);
    }

    freeReplyObject(reply);
}


static ngx_conduit_probe_t *
ngx_conduit_probe_head(ngx_queue_t *queue)
{
    return ngx_queue_data(ngx_queue_head(queue), ngx_conduit_probe_t, queue);
}
