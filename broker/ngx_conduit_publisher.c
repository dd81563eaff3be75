/* Copyright (C) Conduit for NGINX authors */

/*
 * A publisher: the links to the servers of one deployment, and their checks.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_publisher.h"
#include "ngx_conduit_time.h"


/* ms that a server that has lost its slots has for pending replies */
#define NGX_CONDUIT_PUBLISHER_LINGER      10000

/* ms between two log lines at error level */
#define NGX_CONDUIT_PUBLISHER_ERROR_INTERVAL  10000


/* ms between two checks of the watch */
#define NGX_CONDUIT_PUBLISHER_WATCH       1000

/* keys of streams that never exist, which a user who may publish may write */
#define NGX_CONDUIT_PUBLISHER_PREFIX      "stream:conduit:ready:"

/* how many keys are tried to find one in a slot of the server */
#define NGX_CONDUIT_PUBLISHER_TRIES       20000


/* what a publisher keeps for each server */
typedef struct {
    ngx_conduit_link_t        link;           /* the first member */
    ngx_conduit_publisher_t  *publisher;
    ngx_conduit_node_t       *node;
    ngx_str_t                 key;            /* of the checks; empty: none */
    u_char                    name[sizeof(NGX_CONDUIT_PUBLISHER_PREFIX) + 16];
} ngx_conduit_publisher_peer_t;


static ngx_int_t ngx_conduit_publisher_open(ngx_conduit_publisher_t *pub);
static void ngx_conduit_publisher_changed(void *data);
static void ngx_conduit_publisher_failed(void *data);
static void ngx_conduit_publisher_wake(ngx_conduit_publisher_t *pub,
    ngx_uint_t ok);
static void ngx_conduit_publisher_review(void *data,
    ngx_conduit_node_t *node);
static void ngx_conduit_publisher_drop(void *data, ngx_conduit_node_t *node);
static void ngx_conduit_publisher_look(ngx_event_t *ev);
static ngx_int_t ngx_conduit_publisher_check(void *data,
    ngx_conduit_node_t *node);
static ngx_int_t ngx_conduit_publisher_key(ngx_conduit_publisher_peer_t *peer);
static void ngx_conduit_publisher_checked(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static ngx_uint_t ngx_conduit_publisher_would(
    ngx_conduit_publisher_peer_t *peer, redisReply *reply);
static void ngx_conduit_publisher_done(ngx_conduit_publisher_t *pub);


ngx_int_t
ngx_conduit_publisher_node(ngx_conduit_publisher_t *pub, ngx_str_t *key,
    ngx_conduit_waiter_t *waiter, ngx_conduit_node_t **node)
{
    if (!pub->opened && ngx_conduit_publisher_open(pub) != NGX_OK) {
        return NGX_ERROR;
    }

    *node = ngx_conduit_topology_node(&pub->topology, key);

    if (*node != NULL) {
        return NGX_OK;
    }

    /* the slot has no server, or no server could be found: do not wait */

    if (pub->topology.known || pub->lost) {
        return NGX_DECLINED;
    }

    ngx_queue_insert_tail(&pub->waiting, &waiter->queue);

    return NGX_AGAIN;
}


static ngx_int_t
ngx_conduit_publisher_open(ngx_conduit_publisher_t *pub)
{
    ngx_conduit_topology_t  *t;

    t = &pub->topology;

    t->redis = pub->redis;
    t->data = pub;
    t->changed = ngx_conduit_publisher_changed;
    t->failed = ngx_conduit_publisher_failed;
    t->review = ngx_conduit_publisher_review;

    ngx_queue_init(&pub->waiting);
    pub->lost = 0;

    if (ngx_conduit_topology_open(t) != NGX_OK) {
        return NGX_ERROR;
    }

    pub->opened = 1;

    return NGX_OK;
}


ngx_conduit_link_t *
ngx_conduit_publisher_link(ngx_conduit_publisher_t *pub,
    ngx_conduit_node_t *node)
{
    ngx_conduit_publisher_peer_t  *peer;

    if (node->data != NULL) {
        return node->data;
    }

    peer = ngx_calloc(sizeof(ngx_conduit_publisher_peer_t), ngx_cycle->log);
    if (peer == NULL) {
        return NULL;
    }

    peer->link.redis = &node->redis;
    peer->link.role = "publish";
    peer->publisher = pub;
    peer->node = node;

    node->data = peer;

    return &peer->link;
}


ngx_uint_t
ngx_conduit_publisher_level(ngx_conduit_publisher_t *pub)
{
    if (pub->error_logged_at
        && ngx_current_msec - pub->error_logged_at
           < NGX_CONDUIT_PUBLISHER_ERROR_INTERVAL)
    {
        return NGX_LOG_INFO;
    }

    pub->error_logged_at = ngx_conduit_moment(ngx_current_msec);

    return NGX_LOG_ERR;
}


void
ngx_conduit_publisher_close(ngx_conduit_publisher_t *pub)
{
    if (!pub->opened) {
        return;
    }

    if (pub->watch_timer.timer_set) {
        ngx_del_timer(&pub->watch_timer);
    }

    /* commands that end now must not be sent to another server */

    pub->opened = 0;
    pub->watched = 0;

    ngx_conduit_publisher_wake(pub, 0);
    ngx_conduit_topology_each(&pub->topology, ngx_conduit_publisher_drop, pub);
    ngx_conduit_topology_close(&pub->topology);
}


static void
ngx_conduit_publisher_changed(void *data)
{
    ngx_conduit_publisher_t  *pub = data;

    pub->lost = 0;

    ngx_conduit_publisher_wake(pub, 1);
}


static void
ngx_conduit_publisher_failed(void *data)
{
    ngx_conduit_publisher_t  *pub = data;

    pub->lost = 1;

    ngx_conduit_publisher_wake(pub, 0);
}


static void
ngx_conduit_publisher_wake(ngx_conduit_publisher_t *pub, ngx_uint_t ok)
{
    ngx_queue_t           *q;
    ngx_conduit_waiter_t  *waiter;

    while (!ngx_queue_empty(&pub->waiting)) {

        q = ngx_queue_head(&pub->waiting);
        waiter = ngx_queue_data(q, ngx_conduit_waiter_t, queue);

        ngx_queue_remove(q);
        waiter->handler(waiter->data, ok);
    }
}


/* the server has lost all its slots: wait for pending replies, then close */

static void
ngx_conduit_publisher_review(void *data, ngx_conduit_node_t *node)
{
    ngx_conduit_link_t  *link;

    link = node->data;

    if (node->slots
        || (link->state != NGX_CONDUIT_LINK_CLOSED
            && !ngx_queue_empty(&link->pending)
            && ngx_current_msec - node->unused_since
               < NGX_CONDUIT_PUBLISHER_LINGER))
    {
        return;
    }

    ngx_conduit_publisher_drop(data, node);
}


static void
ngx_conduit_publisher_drop(void *data, ngx_conduit_node_t *node)
{
    ngx_conduit_link_t  *link;

    link = node->data;

    ngx_conduit_link_close(link);

    /* this frees the peer: the link is its first member */

    node->data = NULL;
    ngx_free(link);
}


ngx_int_t
ngx_conduit_publisher_watch(ngx_conduit_publisher_t *pub,
    void (*on_ready)(void *data), void *data)
{
    if (pub->watched) {
        return NGX_OK;
    }

    if (!pub->opened && ngx_conduit_publisher_open(pub) != NGX_OK) {
        return NGX_ERROR;
    }

    pub->watched = 1;
    pub->on_ready = on_ready;
    pub->on_ready_data = data;
    pub->checks = 0;
    pub->refused = 0;
    pub->ready = 0;

    ngx_memzero(&pub->watch_timer, sizeof(ngx_event_t));
    pub->watch_timer.data = pub;
    pub->watch_timer.handler = ngx_conduit_publisher_look;
    pub->watch_timer.log = ngx_cycle->log;
    pub->watch_timer.cancelable = 1;

    ngx_add_timer(&pub->watch_timer, 1);

    return NGX_OK;
}


static void
ngx_conduit_publisher_look(ngx_event_t *ev)
{
    ngx_conduit_publisher_t  *pub = ev->data;

    /* a command would delay a worker that is exiting */

    if (ngx_exiting) {
        pub->redis->stats->slot->leaving = 1;
        return;
    }

    ngx_add_timer(&pub->watch_timer, pub->ready ? NGX_CONDUIT_PUBLISHER_WATCH
                                     : NGX_CONDUIT_PUBLISHER_WATCH / 10);

    if (pub->checks) {
        return;
    }

    /* counts as one check until all are sent: one that fails at once must not
       complete the round */

    pub->checks = 1;
    pub->failed = 0;
    pub->checked = ngx_current_msec;

    if (ngx_conduit_topology_masters(&pub->topology,
                                     ngx_conduit_publisher_check, pub)
        != NGX_OK)
    {
        pub->failed = 1;
    }

    ngx_conduit_publisher_done(pub);
}


/*
 * XADD with NOMKSTREAM (Redis 6.2) on a missing stream writes nothing, but
 * Redis first checks whether it may write at all: it is out of memory, a
 * replica, can't save to disk, or has too few replicas.
 */

static ngx_int_t
ngx_conduit_publisher_check(void *data, ngx_conduit_node_t *node)
{
    ngx_conduit_link_t            *link;
    ngx_conduit_publisher_t       *pub = data;
    ngx_conduit_publisher_peer_t  *peer;

    ngx_str_t  args[] = {
        ngx_string("XADD"), ngx_null_string, ngx_string("NOMKSTREAM"),
        ngx_string("*"), ngx_string("data"), ngx_string("")
    };

    link = ngx_conduit_publisher_link(pub, node);
    if (link == NULL) {
        return NGX_ERROR;
    }

    peer = node->data;

    if (ngx_conduit_publisher_key(peer) != NGX_OK) {
        return NGX_ERROR;
    }

    args[1] = peer->key;

    if (ngx_conduit_link_send(link, ngx_conduit_publisher_checked, peer, args,
                              6)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    pub->checks++;

    return NGX_OK;
}


/* finds a key in a slot of the server; it is kept until its slot moves */

static ngx_int_t
ngx_conduit_publisher_key(ngx_conduit_publisher_peer_t *peer)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_CONDUIT_PUBLISHER_TRIES; i++) {

        if (peer->key.len
            && ngx_conduit_topology_node(&peer->publisher->topology,
                                         &peer->key)
               == peer->node)
        {
            return NGX_OK;
        }

        peer->key.data = peer->name;
        peer->key.len = ngx_sprintf(peer->name, NGX_CONDUIT_PUBLISHER_PREFIX
                                    "%08xD%08xD%Z", (uint32_t) ngx_random(),
                                    (uint32_t) ngx_random())
                        - peer->name - 1;
    }

    return NGX_DECLINED;
}


static void
ngx_conduit_publisher_checked(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_publisher_peer_t  *peer = data;

    if (outcome != NGX_CONDUIT_REPLIED
        || (reply->type == REDIS_REPLY_ERROR
            && !ngx_conduit_publisher_would(peer, reply)))
    {
        peer->publisher->failed = 1;
    }

    ngx_conduit_publisher_done(peer->publisher);
}


/*
 * Whether a server that replies with this error takes writes: the user may not
 * write this key, the server does not know NOMKSTREAM, or the key's slot has
 * moved (the next check uses another key).
 */

static ngx_uint_t
ngx_conduit_publisher_would(ngx_conduit_publisher_peer_t *peer,
    redisReply *reply)
{
    ngx_uint_t                ask;
    conduit_redis_error_e     kind;
    ngx_conduit_publisher_t  *pub;

    pub = peer->publisher;

    if (conduit_redis_error_is(reply->str, "NOPERM")
        || conduit_redis_error_is(reply->str, "ERR Invalid stream ID"))
    {
        return 1;
    }

    if (conduit_redis_error_is(reply->str, "MOVED ")
        || conduit_redis_error_is(reply->str, "ASK "))
    {
        (void) ngx_conduit_topology_redirect(&pub->topology, peer->node, reply,
                                             &ask);
        peer->key.len = 0;
        return 1;
    }

    kind = conduit_redis_error_kind(reply->str, reply->len);

    if (pub->refusal) {
        pub->refusal(kind);
    }

    if (kind != CONDUIT_REDIS_ERROR_OOM) {

        /* the server may no longer be the master */

        ngx_conduit_topology_doubt(&pub->topology);
    }

    /* log once, until all checks succeed */

    if (!pub->refused) {
        pub->refused = 1;

        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "conduit: redis %V: the check of "
                      "\"conduit_publish_health\" failed: %s",
                      &peer->link.redis->name, reply->str);
    }

    return 0;
}


static void
ngx_conduit_publisher_done(ngx_conduit_publisher_t *pub)
{
    if (--pub->checks == 0 && !pub->failed) {
        pub->refused = 0;
        pub->ready = ngx_conduit_moment(pub->checked);
        pub->on_ready(pub->on_ready_data);
    }
}
