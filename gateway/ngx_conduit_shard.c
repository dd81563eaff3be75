/*
 * A shard: the channels of one server, and its doorbell.  A deployment of one
 * server has one; in a cluster a channel follows its slot from shard to shard.
 * Doorbells exist for the servers that are read from only.
 *
 *   moved     the map says so (topology), or a reply (MOVED, ASK)
 *   read      after every move: nothing rings when a slot moves
 *   nowhere   while nobody says where; an outage for its subscribers
 *   stale     is a reply of the server before: it is asked for again here
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_conduit_channel.h"
#include "ngx_conduit_gateway_metrics.h"


/* ms */
#define NGX_CONDUIT_SWEEP_CYCLE          20000
/* a stream that does not exist yet does not ring when its slot leaves */
#define NGX_CONDUIT_SWEEP_CYCLE_CLUSTER  5000
#define NGX_CONDUIT_PATIENCE             300
#define NGX_CONDUIT_UNUSED               60000

/* polls for nothing after which a channel is asked half as often, and again
   and again, down to an eighth */
#define NGX_CONDUIT_LULL                 16

/* redirections in a row before a channel waits a little */
#define NGX_CONDUIT_REDIRECTS            5


static void ngx_conduit_shard_prepare(ngx_conduit_shard_t *shard,
    ngx_conduit_hub_t *hub, ngx_conduit_node_t *node);
static void ngx_conduit_shard_insert(ngx_conduit_shard_t *shard,
    ngx_conduit_channel_t *ch);
static void ngx_conduit_shard_move(ngx_conduit_channel_t *ch,
    ngx_conduit_shard_t *shard, ngx_uint_t asking);
static void ngx_conduit_shard_changed(void *data);
static void ngx_conduit_shard_settle_all(ngx_conduit_shard_t *shard,
    void *data);
static void ngx_conduit_shard_settle(ngx_conduit_channel_t *ch);
static void ngx_conduit_shard_failed(void *data);
static void ngx_conduit_shard_review(void *data, ngx_conduit_node_t *node);
static void ngx_conduit_shard_silence(void *data, ngx_conduit_node_t *node);
static void ngx_conduit_shard_close(void *data, ngx_conduit_node_t *node);
static void ngx_conduit_shard_up(void *data);
static void ngx_conduit_shard_down(void *data);
static void ngx_conduit_shard_ring(void *data, u_char *key, size_t len);
static void ngx_conduit_shard_each_node(void *data, ngx_conduit_node_t *node);
static ngx_uint_t ngx_conduit_shard_lull(ngx_conduit_shard_t *shard,
    ngx_conduit_channel_t *ch);


typedef struct {
    void     (*handler)(ngx_conduit_shard_t *shard, void *data);
    void      *data;
} ngx_conduit_shard_visit_t;


ngx_int_t
ngx_conduit_shard_init(ngx_conduit_hub_t *hub)
{
    ngx_conduit_topology_t  *t;

    ngx_conduit_shard_prepare(&hub->nowhere, hub, NULL);

    t = &hub->topology;

    t->redis = hub->redis;
    t->data = hub;
    t->changed = ngx_conduit_shard_changed;
    t->failed = ngx_conduit_shard_failed;
    t->review = ngx_conduit_shard_review;

    return ngx_conduit_topology_open(t);
}


static void
ngx_conduit_shard_prepare(ngx_conduit_shard_t *shard, ngx_conduit_hub_t *hub,
    ngx_conduit_node_t *node)
{
    ngx_conduit_doorbell_t  *db;

    ngx_memzero(shard, sizeof(ngx_conduit_shard_t));

    shard->hub = hub;
    shard->node = node;
    shard->down_since = ngx_current_msec;
    shard->unused_since = ngx_current_msec;

    ngx_queue_init(&shard->channels);

    db = &shard->doorbell;

    db->redis = node ? &node->redis : hub->redis;
    db->data = shard;
    db->poll = (hub->settings.poll != 0);
    db->up = ngx_conduit_shard_up;
    db->down = ngx_conduit_shard_down;
    db->ring = ngx_conduit_shard_ring;
}


void
ngx_conduit_shard_close_all(ngx_conduit_hub_t *hub)
{
    /* a channel that has moved may wait for a reply of another shard's: all
       replies end before the first shard is freed */

    ngx_conduit_topology_each(&hub->topology, ngx_conduit_shard_silence, hub);
    ngx_conduit_topology_each(&hub->topology, ngx_conduit_shard_close, hub);
    ngx_conduit_topology_close(&hub->topology);
}


ngx_conduit_shard_t *
ngx_conduit_shard_of(ngx_conduit_hub_t *hub, ngx_conduit_node_t *node)
{
    ngx_conduit_shard_t  *shard;

    if (node == NULL) {
        return &hub->nowhere;
    }

    if (node->data != NULL) {
        return node->data;
    }

    shard = ngx_alloc(sizeof(ngx_conduit_shard_t), ngx_cycle->log);
    if (shard == NULL) {
        return NULL;
    }

    ngx_conduit_shard_prepare(shard, hub, node);

    node->data = shard;

    ngx_conduit_doorbell_open(&shard->doorbell);

    return shard;
}


ngx_int_t
ngx_conduit_shard_add(ngx_conduit_channel_t *ch)
{
    ngx_conduit_hub_t    *hub;
    ngx_conduit_shard_t  *shard;

    hub = ch->hub;

    shard = ngx_conduit_shard_of(hub,
                                 ngx_conduit_topology_node(&hub->topology,
                                                           &ch->node.str));
    if (shard == NULL) {
        return NGX_ERROR;
    }

    ngx_conduit_shard_insert(shard, ch);

    return NGX_OK;
}


static void
ngx_conduit_shard_insert(ngx_conduit_shard_t *shard, ngx_conduit_channel_t *ch)
{
    if (shard->nchannels++ == 0 && shard->node == NULL) {
        shard->down_since = ngx_current_msec;
        shard->impatient = 0;
    }

    ch->shard = shard;
    ngx_queue_insert_tail(&shard->channels, &ch->all);
}


void
ngx_conduit_shard_remove(ngx_conduit_channel_t *ch)
{
    if (--ch->shard->nchannels == 0) {
        ch->shard->unused_since = ngx_current_msec;
    }

    ngx_queue_remove(&ch->all);
}


static void
ngx_conduit_shard_move(ngx_conduit_channel_t *ch, ngx_conduit_shard_t *shard,
    ngx_uint_t asking)
{
    ch->asking = asking;

    if (shard != ch->shard) {

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: channel \"%V\" moves", &ch->node.str);

        /* another server may count in another way, and what the one before
           still answers is of no use */

        ch->numbered = 0;
        ch->moves++;

        ngx_conduit_shard_remove(ch);
        ngx_conduit_shard_insert(shard, ch);
    }

    if (shard->doorbell.is_up) {
        ngx_conduit_channel_ask(ch);
        return;
    }

    ngx_conduit_roster_check(&ch->hub->roster);

    if (shard->impatient) {
        ngx_conduit_channel_down(ch);
    }
}


ngx_uint_t
ngx_conduit_shard_redirect(ngx_conduit_channel_t *ch, redisReply *reply)
{
    ngx_uint_t            ask;
    ngx_conduit_hub_t    *hub;
    ngx_conduit_node_t   *node;
    ngx_conduit_shard_t  *shard;

    hub = ch->hub;

    if (ch->shard->node == NULL) {
        return 0;
    }

    node = ngx_conduit_topology_redirect(&hub->topology, ch->shard->node,
                                         reply, &ask);
    if (node == NULL) {
        return 0;
    }

    shard = ngx_conduit_shard_of(hub, node);

    if (shard == NULL || ch->redirects == NGX_CONDUIT_REDIRECTS) {
        ch->redirects = 0;
        ngx_conduit_schedule_retry(&hub->schedule, &ch->retry);
        return 1;
    }

    ch->redirects++;

    ngx_conduit_shard_move(ch, shard, ask);

    return 1;
}


/* the topology has news: each channel goes where its key is */

static void
ngx_conduit_shard_changed(void *data)
{
    ngx_conduit_shard_all(data, ngx_conduit_shard_settle_all, NULL);
}


static void
ngx_conduit_shard_settle_all(ngx_conduit_shard_t *shard, void *data)
{
    ngx_conduit_shard_each(shard, ngx_conduit_shard_settle);
}


static void
ngx_conduit_shard_settle(ngx_conduit_channel_t *ch)
{
    ngx_conduit_hub_t    *hub;
    ngx_conduit_shard_t  *shard;

    hub = ch->hub;

    shard = ngx_conduit_shard_of(hub,
                                 ngx_conduit_topology_node(&hub->topology,
                                                           &ch->node.str));

    if (shard == ch->shard) {
        ch->asking = 0;
        return;
    }

    if (shard == NULL) {
        ngx_conduit_topology_doubt(&hub->topology);
        return;
    }

    ngx_conduit_shard_move(ch, shard, 0);
}


static void
ngx_conduit_shard_failed(void *data)
{
    ngx_conduit_hub_t  *hub = data;

    hub->nowhere.impatient = 1;

    ngx_conduit_shard_each(&hub->nowhere, ngx_conduit_channel_down);
}


/* a server that nobody reads from: without slots it won't be needed */

static void
ngx_conduit_shard_review(void *data, ngx_conduit_node_t *node)
{
    ngx_conduit_shard_t  *shard;

    shard = node->data;

    if (shard->nchannels && !shard->doorbell.is_up) {

        /* is it still the one? */

        ngx_conduit_topology_doubt(&shard->hub->topology);
        return;
    }

    if (shard->nchannels == 0
        && (node->slots == 0
            || (shard->hub->proved == NULL
                && ngx_current_msec - shard->unused_since
                   >= NGX_CONDUIT_UNUSED)))
    {
        ngx_conduit_shard_close(data, node);
    }
}


static void
ngx_conduit_shard_silence(void *data, ngx_conduit_node_t *node)
{
    ngx_conduit_shard_t  *shard;

    shard = node->data;

    ngx_conduit_doorbell_close(&shard->doorbell);
}


static void
ngx_conduit_shard_close(void *data, ngx_conduit_node_t *node)
{
    ngx_conduit_shard_t  *shard;

    shard = node->data;

    /* replies that are still to come end here: a channel without subscribers
       goes, one that has moved asks again */

    ngx_conduit_doorbell_close(&shard->doorbell);

    if (shard->nchannels) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "conduit: %ui channels of a closed server",
                      shard->nchannels);
        return;
    }

    node->data = NULL;
    ngx_free(shard);
}


static void
ngx_conduit_shard_up(void *data)
{
    ngx_conduit_shard_t  *shard = data;

    shard->sweep_due = 0;

    ngx_conduit_shard_each(shard, ngx_conduit_channel_ask);
}


static void
ngx_conduit_shard_down(void *data)
{
    ngx_conduit_shard_t  *shard = data;

    shard->down_since = ngx_current_msec;
    shard->impatient = 1;

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_BELLS_LOST);

    ngx_conduit_topology_doubt(&shard->hub->topology);

    ngx_conduit_shard_each(shard, ngx_conduit_channel_down);
    ngx_conduit_roster_check(&shard->hub->roster);
}


static void
ngx_conduit_shard_ring(void *data, u_char *key, size_t len)
{
    ngx_str_t             name;
    ngx_str_node_t       *node;
    ngx_conduit_shard_t  *shard = data;

    if (key == NULL) {
        ngx_conduit_shard_each(shard, ngx_conduit_channel_ask);
        return;
    }

    if (ngx_conduit_canary_ring(shard, key, len)) {
        return;
    }

    name.data = key;
    name.len = len;

    node = ngx_str_rbtree_lookup(&shard->hub->channels, &name,
                                 ngx_crc32_long(key, len));
    if (node != NULL) {
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_RINGS);
        ngx_conduit_channel_ring((ngx_conduit_channel_t *) node, 1);
    }
}


ngx_uint_t
ngx_conduit_shard_connecting(ngx_conduit_shard_t *shard)
{
    return !shard->doorbell.is_up && !shard->impatient
           && ngx_current_msec - shard->down_since < NGX_CONDUIT_PATIENCE;
}


void
ngx_conduit_shard_each(ngx_conduit_shard_t *shard,
    void (*handler)(ngx_conduit_channel_t *ch))
{
    ngx_queue_t             list, *q;
    ngx_conduit_channel_t  *ch;

    if (ngx_queue_empty(&shard->channels)) {
        return;
    }

    ngx_queue_init(&list);
    ngx_queue_add(&list, &shard->channels);
    ngx_queue_init(&shard->channels);

    while (!ngx_queue_empty(&list)) {

        q = ngx_queue_head(&list);
        ch = ngx_queue_data(q, ngx_conduit_channel_t, all);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&shard->channels, q);

        handler(ch);
    }
}


void
ngx_conduit_shard_all(ngx_conduit_hub_t *hub,
    void (*handler)(ngx_conduit_shard_t *shard, void *data), void *data)
{
    ngx_conduit_shard_visit_t  visit;

    visit.handler = handler;
    visit.data = data;

    handler(&hub->nowhere, data);

    ngx_conduit_topology_each(&hub->topology, ngx_conduit_shard_each_node,
                              &visit);
}


static void
ngx_conduit_shard_each_node(void *data, ngx_conduit_node_t *node)
{
    ngx_conduit_shard_visit_t  *visit = data;

    visit->handler(node->data, visit->data);
}


void
ngx_conduit_shard_sweep(ngx_conduit_shard_t *shard, ngx_msec_t interval)
{
    ngx_uint_t              n;
    ngx_msec_t              cycle;
    ngx_queue_t            *q;
    ngx_conduit_channel_t  *ch;

    if (!shard->doorbell.is_up) {
        return;
    }

    cycle = (shard->hub->redis->scheme == CONDUIT_REDIS_CLUSTER)
            ? NGX_CONDUIT_SWEEP_CYCLE_CLUSTER : NGX_CONDUIT_SWEEP_CYCLE;

    if (shard->doorbell.polling) {
        cycle = interval;
        shard->round++;
    }

    /* the part of a channel that is due is kept for the next time */

    shard->sweep_due += shard->nchannels * interval;
    n = ngx_min(shard->sweep_due / cycle, shard->nchannels);
    shard->sweep_due %= cycle;

    while (n--) {
        q = ngx_queue_head(&shard->channels);
        ch = ngx_queue_data(q, ngx_conduit_channel_t, all);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&shard->channels, q);

        if (!shard->doorbell.polling) {
            ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_SWEEPS);
            ch->swept = !ch->reading;
            ngx_conduit_channel_ring(ch, 0);

        } else if (ngx_conduit_shard_lull(shard, ch)) {
            ngx_conduit_channel_ring(ch, 0);
        }
    }
}


/* whether a channel is due in this round of the poll: one where nothing came
   for a while less often */

static ngx_uint_t
ngx_conduit_shard_lull(ngx_conduit_shard_t *shard, ngx_conduit_channel_t *ch)
{
    ngx_uint_t  every, lull;

    every = 1;

    for (lull = ch->lull; lull >= NGX_CONDUIT_LULL && every < 8; lull /= 2) {
        every *= 2;
    }

    return shard->round % every == 0;
}
