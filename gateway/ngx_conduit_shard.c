/* Copyright (C) Conduit for NGINX authors */

/*
 * A shard: the keys of one server, and its doorbell.  A deployment of one
 * server has one shard; in a cluster a key follows its slot from shard to
 * shard.  Only servers that keys are read from have a doorbell.
 *
 * A key is moved when the slot map (topology) or a reply (MOVED, ASK) says so.
 * It is read after every move, because Redis does not report changes of keys
 * when a slot moves.  Replies of the previous server are ignored.  While the
 * server of a key is not known, the key is in the shard "nowhere", which is an
 * outage for its subscribers.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_hub.h"
#include "ngx_conduit_question.h"


/* ms that responses wait for a link; that a shard without keys is kept */
#define NGX_CONDUIT_PATIENCE   300
#define NGX_CONDUIT_UNUSED     60000

/* after this many redirections in a row a key waits for the retry timer */
#define NGX_CONDUIT_REDIRECTS  5


static void ngx_conduit_shard_prepare(ngx_conduit_shard_t *shard,
    ngx_conduit_hub_t *hub, ngx_conduit_node_t *node);
static void ngx_conduit_shard_insert(ngx_conduit_shard_t *shard,
    ngx_conduit_key_t *key);
static void ngx_conduit_shard_take(ngx_conduit_key_t *key);
static void ngx_conduit_shard_move(ngx_conduit_key_t *key,
    ngx_conduit_shard_t *shard, ngx_uint_t asking);
static void ngx_conduit_shard_changed(void *data);
static void ngx_conduit_shard_follow_slots(ngx_conduit_shard_t *shard,
    void *data);
static void ngx_conduit_shard_follow_slot(ngx_conduit_key_t *key);
static void ngx_conduit_shard_failed(void *data);
static void ngx_conduit_shard_review(void *data, ngx_conduit_node_t *node);
static void ngx_conduit_shard_close_doorbell(void *data,
    ngx_conduit_node_t *node);
static void ngx_conduit_shard_close(void *data, ngx_conduit_node_t *node);
static void ngx_conduit_shard_up(void *data);
static void ngx_conduit_shard_down(void *data);
static void ngx_conduit_shard_slow(void *data);
static void ngx_conduit_shard_ring(void *data, u_char *name, size_t len);
static void ngx_conduit_shard_tell_ask(ngx_conduit_key_t *key);
static void ngx_conduit_shard_tell_flush(ngx_conduit_key_t *key);
static void ngx_conduit_shard_tell_down(ngx_conduit_key_t *key);
static void ngx_conduit_shard_each(ngx_conduit_shard_t *shard,
    void (*handler)(ngx_conduit_key_t *key));
static void ngx_conduit_shard_check_down(ngx_conduit_shard_t *shard,
    void *data);
static void ngx_conduit_shard_each_node(void *data, ngx_conduit_node_t *node);


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

    ngx_queue_init(&shard->keys);

    db = &shard->doorbell;

    db->redis = node ? &node->redis : hub->redis;
    db->data = shard;
    db->poll = (hub->settings.poll != 0);
    db->up = ngx_conduit_shard_up;
    db->down = ngx_conduit_shard_down;
    db->slow = ngx_conduit_shard_slow;
    db->ring = ngx_conduit_shard_ring;
}


void
ngx_conduit_shard_close_all(ngx_conduit_hub_t *hub)
{
    /* a feed whose key has moved may wait for a reply on a link of another
       shard: all links are closed before the first shard is freed */

    ngx_conduit_topology_each(&hub->topology, ngx_conduit_shard_close_doorbell,
                              hub);
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


void
ngx_conduit_shard_remove(ngx_conduit_key_t *key)
{
    ngx_rbtree_delete(&key->shard->hub->keys, &key->node.node);

    ngx_conduit_shard_take(key);
}


static void
ngx_conduit_shard_take(ngx_conduit_key_t *key)
{
    if (--key->shard->nkeys == 0) {
        key->shard->unused_since = ngx_current_msec;
    }

    ngx_queue_remove(&key->queue);
}


static void
ngx_conduit_shard_insert(ngx_conduit_shard_t *shard, ngx_conduit_key_t *key)
{
    if (shard->nkeys++ == 0 && shard->node == NULL) {
        shard->down_since = ngx_current_msec;
        shard->impatient = 0;
    }

    key->shard = shard;
    ngx_queue_insert_tail(&shard->keys, &key->queue);
}


ngx_conduit_key_t *
ngx_conduit_shard_find(ngx_conduit_hub_t *hub, ngx_str_t *name)
{
    return (ngx_conduit_key_t *) ngx_str_rbtree_lookup(&hub->keys, name,
                                     ngx_crc32_long(name->data, name->len));
}


ngx_int_t
ngx_conduit_shard_add(ngx_conduit_hub_t *hub, ngx_conduit_key_t *key)
{
    ngx_str_t            *name;
    ngx_conduit_shard_t  *shard;

    name = &key->node.str;

    shard = ngx_conduit_shard_of(hub,
                                 ngx_conduit_topology_node(&hub->topology,
                                                           name));
    if (shard == NULL) {
        return NGX_ERROR;
    }

    ngx_conduit_shard_insert(shard, key);

    key->node.node.key = ngx_crc32_long(name->data, name->len);

    ngx_rbtree_insert(&hub->keys, &key->node.node);

    return NGX_OK;
}


static void
ngx_conduit_shard_move(ngx_conduit_key_t *key, ngx_conduit_shard_t *shard,
    ngx_uint_t asking)
{
    key->asking = asking;

    if (shard != key->shard) {

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "conduit: key \"%V\" moves", &key->node.str);

        key->moves++;
        key->on->moved(key);

        ngx_conduit_shard_take(key);
        ngx_conduit_shard_insert(shard, key);
    }

    if (shard->doorbell.is_up) {
        key->on->ask(key);
        return;
    }

    ngx_conduit_roster_check(&shard->hub->roster);

    if (shard->impatient) {
        key->on->down(key);
    }
}


ngx_uint_t
ngx_conduit_shard_redirect(ngx_conduit_key_t *key, redisReply *reply)
{
    ngx_uint_t            ask;
    ngx_conduit_hub_t    *hub;
    ngx_conduit_node_t   *node;
    ngx_conduit_shard_t  *shard;

    hub = key->shard->hub;

    if (key->shard->node == NULL) {
        return 0;
    }

    node = ngx_conduit_topology_redirect(&hub->topology, key->shard->node,
                                         reply, &ask);
    if (node == NULL) {
        return 0;
    }

    shard = ngx_conduit_shard_of(hub, node);

    if (shard == NULL || key->redirects == NGX_CONDUIT_REDIRECTS) {
        key->redirects = 0;
        key->on->again(key);
        return 1;
    }

    key->redirects++;

    ngx_conduit_shard_move(key, shard, ask);

    return 1;
}


/* the topology has changed: moves each key to the server of its slot */

static void
ngx_conduit_shard_changed(void *data)
{
    ngx_conduit_shard_all(data, ngx_conduit_shard_follow_slots, NULL);
}


static void
ngx_conduit_shard_follow_slots(ngx_conduit_shard_t *shard, void *data)
{
    ngx_conduit_shard_each(shard, ngx_conduit_shard_follow_slot);
}


static void
ngx_conduit_shard_follow_slot(ngx_conduit_key_t *key)
{
    ngx_conduit_hub_t    *hub;
    ngx_conduit_shard_t  *shard;

    hub = key->shard->hub;

    shard = ngx_conduit_shard_of(hub,
                                 ngx_conduit_topology_node(&hub->topology,
                                                           &key->node.str));

    if (shard == key->shard) {
        key->asking = 0;
        return;
    }

    if (shard == NULL) {
        ngx_conduit_topology_repeat(&hub->topology);
        return;
    }

    ngx_conduit_shard_move(key, shard, 0);
}


static void
ngx_conduit_shard_failed(void *data)
{
    ngx_conduit_hub_t  *hub = data;

    hub->nowhere.impatient = 1;

    ngx_conduit_shard_each(&hub->nowhere, ngx_conduit_shard_tell_down);
}


/* reviews a server: closes its shard if it has no keys, and the server has no
   slots or was unused for long */

static void
ngx_conduit_shard_review(void *data, ngx_conduit_node_t *node)
{
    ngx_conduit_shard_t  *shard;

    shard = node->data;

    if (shard->nkeys && !shard->doorbell.is_up) {

        /* the server is down, so its slots may have moved to another one */

        ngx_conduit_topology_doubt(&shard->hub->topology);
        return;
    }

    if (shard->nkeys == 0
        && (node->slots == 0
            || (shard->hub->on_ready == NULL
                && ngx_current_msec - shard->unused_since
                   >= NGX_CONDUIT_UNUSED)))
    {
        ngx_conduit_shard_close(data, node);
    }
}


static void
ngx_conduit_shard_close_doorbell(void *data, ngx_conduit_node_t *node)
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

    /* this drops the replies still to come: a feed without listeners is closed
       then, and a feed whose key has moved asks again */

    ngx_conduit_doorbell_close(&shard->doorbell);

    if (shard->nkeys) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "conduit: server closed with %ui channels",
                      shard->nkeys);
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
    shard->scripts = NGX_CONDUIT_SCRIPTS_RO;

    ngx_conduit_question_prepare(shard);

    ngx_conduit_shard_each(shard, ngx_conduit_shard_tell_ask);
}


static void
ngx_conduit_shard_down(void *data)
{
    ngx_conduit_shard_t  *shard = data;

    shard->down_since = ngx_current_msec;
    shard->impatient = 1;

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_BELLS_LOST);

    ngx_conduit_topology_doubt(&shard->hub->topology);

    ngx_conduit_shard_each(shard, ngx_conduit_shard_tell_down);
    ngx_conduit_roster_check(&shard->hub->roster);
}


/* replies take long: the responses of listeners that wait for one are started
   without it */

static void
ngx_conduit_shard_slow(void *data)
{
    ngx_conduit_shard_t  *shard = data;

    ngx_conduit_shard_each(shard, ngx_conduit_shard_tell_down);
}


static void
ngx_conduit_shard_ring(void *data, u_char *name, size_t len)
{
    ngx_str_t             str;
    ngx_conduit_hub_t    *hub;
    ngx_conduit_key_t    *key;
    ngx_conduit_shard_t  *shard = data;

    hub = shard->hub;

    if (name == NULL) {
        ngx_conduit_shard_each(shard, ngx_conduit_shard_tell_flush);
        return;
    }

    if (hub->canary_ring != NULL && hub->canary_ring(shard, name, len)) {
        return;
    }

    str.data = name;
    str.len = len;

    key = ngx_conduit_shard_find(hub, &str);

    if (key != NULL) {
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_RINGS);
        key->on->ring(key, NGX_CONDUIT_RING_BELL);
    }
}


static void
ngx_conduit_shard_tell_ask(ngx_conduit_key_t *key)
{
    key->on->ask(key);
}


static void
ngx_conduit_shard_tell_flush(ngx_conduit_key_t *key)
{
    key->on->ring(key, NGX_CONDUIT_RING_FLUSH);
}


static void
ngx_conduit_shard_tell_down(ngx_conduit_key_t *key)
{
    key->on->down(key);
}


ngx_uint_t
ngx_conduit_shard_connecting(ngx_conduit_shard_t *shard)
{
    return !shard->doorbell.is_up && !shard->impatient
           && ngx_current_msec - shard->down_since < NGX_CONDUIT_PATIENCE;
}


/* calls a function for each key; the function may remove any keys */

static void
ngx_conduit_shard_each(ngx_conduit_shard_t *shard,
    void (*handler)(ngx_conduit_key_t *key))
{
    ngx_queue_t             list, *q;
    ngx_conduit_key_t    *key;

    if (ngx_queue_empty(&shard->keys)) {
        return;
    }

    ngx_queue_init(&list);
    ngx_queue_add(&list, &shard->keys);
    ngx_queue_init(&shard->keys);

    while (!ngx_queue_empty(&list)) {

        q = ngx_queue_head(&list);
        key = ngx_queue_data(q, ngx_conduit_key_t, queue);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&shard->keys, q);

        handler(key);
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


ngx_uint_t
ngx_conduit_shard_any_away(ngx_conduit_hub_t *hub)
{
    ngx_uint_t  down;

    down = 0;
    ngx_conduit_shard_all(hub, ngx_conduit_shard_check_down, &down);

    return down;
}


static void
ngx_conduit_shard_check_down(ngx_conduit_shard_t *shard, void *data)
{
    ngx_uint_t  *down = data;

    if (shard->doorbell.is_up || shard->nkeys == 0) {
        return;
    }

    *down = 1;

    if (!shard->impatient && !ngx_conduit_shard_connecting(shard)) {
        shard->impatient = 1;
        ngx_conduit_shard_each(shard, ngx_conduit_shard_tell_down);
    }
}
