/* Copyright (C) Conduit for NGINX authors */

/*
 * The probes of a channel.  A probe reads the stream once, from an ID on, for
 * one request.  Probes with the same ID and count form a group, for which one
 * question is sent to Redis.
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
    uint32_t                 moves;       /* how often the key had moved to
                                             another server when the question
                                             was sent */
    ngx_uint_t               shift;       /* how often its count was halved */
} ngx_conduit_probe_group_t;


static ngx_uint_t ngx_conduit_probes_send(void *data, ngx_uint_t max);
static ngx_uint_t ngx_conduit_probes_retry(void *data, ngx_uint_t max);
static ngx_conduit_probe_group_t *ngx_conduit_probe_group_create(
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
ngx_conduit_probes_in_use(ngx_conduit_probes_t *ps)
{
    return ps->n || ps->refs;
}


void
ngx_conduit_probes_resume(ngx_conduit_probes_t *ps)
{
    if (!ngx_queue_empty(&ps->waiting)) {
        ngx_conduit_schedule_run(&ps->feed->hub->schedule, &ps->send);
    }
}


/* the channel has no probes any more, so that all groups are empty: frees them,
   and has the replies to their questions ignored */

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


/* the retry timer has expired */

static ngx_uint_t
ngx_conduit_probes_retry(void *data, ngx_uint_t max)
{
    ngx_conduit_probes_resume(data);

    return 0;
}


/*
 * Sends one question for each ID and count of the probes that wait.  After an
 * outage there may be thousands of IDs, and for each of them the whole queue is
 * searched.  Therefore a turn ends when its time slice is used up, and the
 * other probes are sent in later turns.
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

        g = ngx_conduit_probe_group_create(ps);

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


/* moves the first probe that waits, and all others with the same ID and count,
   to a new group */

static ngx_conduit_probe_group_t *
ngx_conduit_probe_group_create(ngx_conduit_probes_t *ps)
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

    /* each reply that was too large halves the count, down to 2: the entry at
       the client's offset, which it has got, and the next one */

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

    ps->refs++;

    ngx_queue_remove(&g->queue);

    if (result == NGX_CONDUIT_QUESTION_ANSWERED
        && g->moves == ps->feed->key.moves)
    {
        ngx_conduit_probe_answered(g, q);

    } else if (result == NGX_CONDUIT_QUESTION_TOO_LARGE && q->count <= 2) {

        /* even the smallest count is too large: the stream can't be read */

        ngx_conduit_probe_answered(g, NULL);

    } else {
        /* groups that were sent together may all get a reply that is too large:
           the count is halved once, not once for each group */

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

    ps->refs--;

    ps->released(ps->data);
}


static void
ngx_conduit_probe_answered(ngx_conduit_probe_group_t *g,
    ngx_conduit_question_t *q)
{
    ngx_conduit_probe_t  *p;

    /* the reply has all of the rest of the stream, so no large entries follow:
       the count need not be halved any more */

    if (q != NULL && !q->answer.full) {
        g->owner->shift = 0;
    }

    while (!ngx_queue_empty(&g->list)) {
        p = ngx_conduit_probe_head(&g->list);

        ngx_conduit_probes_remove(p);
        p->handler(p, q);
    }
}


/* puts the probes of a group back into the queue: they are sent again when the
   retry timer expires, or when the server is up */

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


/* handles an error reply: a redirect moves the key to another server, where
   ngx_conduit_probes_resume() sends the probes; other errors are logged */

static void
ngx_conduit_probe_refused(ngx_conduit_probes_t *ps, redisReply *reply)
{
    if (!ngx_conduit_shard_redirect(&ps->feed->key, reply)) {
        ngx_conduit_feed_log_error(ps->feed, reply);
    }

    freeReplyObject(reply);
}


static ngx_conduit_probe_t *
ngx_conduit_probe_head(ngx_queue_t *queue)
{
    return ngx_queue_data(ngx_queue_head(queue), ngx_conduit_probe_t, queue);
}
