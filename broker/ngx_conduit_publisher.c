/*
 * A publisher: links to the servers that are published to.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_publisher.h"
#include "ngx_conduit_time.h"


/* ms that a server without slots may take for what it was sent */
#define NGX_CONDUIT_PUBLISHER_LINGER      10000

/* ms between two lines about errors */
#define NGX_CONDUIT_PUBLISHER_COMPLAINTS  10000


/* ms between two pings of the watch */
#define NGX_CONDUIT_PUBLISHER_WATCH       1000


static ngx_int_t ngx_conduit_publisher_open(ngx_conduit_publisher_t *pub);
static void ngx_conduit_publisher_changed(void *data);
static void ngx_conduit_publisher_failed(void *data);
static void ngx_conduit_publisher_wake(ngx_conduit_publisher_t *pub,
    ngx_uint_t ok);
static void ngx_conduit_publisher_review(void *data,
    ngx_conduit_node_t *node);
static void ngx_conduit_publisher_drop(void *data, ngx_conduit_node_t *node);
static void ngx_conduit_publisher_look(ngx_event_t *ev);
static ngx_int_t ngx_conduit_publisher_ping(void *data,
    ngx_conduit_node_t *node);
static void ngx_conduit_publisher_pong(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);


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

    /* a slot that nobody serves is as good as no server */

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
    ngx_conduit_link_t  *link;

    if (node->data != NULL) {
        return node->data;
    }

    link = ngx_calloc(sizeof(ngx_conduit_link_t), ngx_cycle->log);
    if (link == NULL) {
        return NULL;
    }

    link->redis = &node->redis;
    link->role = "publish";

    node->data = link;

    return link;
}


ngx_uint_t
ngx_conduit_publisher_level(ngx_conduit_publisher_t *pub)
{
    if (pub->complained
        && ngx_current_msec - pub->complained
           < NGX_CONDUIT_PUBLISHER_COMPLAINTS)
    {
        return NGX_LOG_INFO;
    }

    pub->complained = ngx_conduit_moment(ngx_current_msec);

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

    /* what ends now is not sent elsewhere */

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


/* a server that is master of nothing any more: let it answer, then let go */

static void
ngx_conduit_publisher_review(void *data, ngx_conduit_node_t *node)
{
    ngx_conduit_link_t  *link;

    link = node->data;

    if (node->slots
        || (link->state != NGX_CONDUIT_LINK_CLOSED
            && !ngx_queue_empty(&link->pending)
            && ngx_current_msec - node->since < NGX_CONDUIT_PUBLISHER_LINGER))
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

    node->data = NULL;
    ngx_free(link);
}


ngx_int_t
ngx_conduit_publisher_watch(ngx_conduit_publisher_t *pub,
    void (*proved)(void *data), void *data)
{
    if (pub->watched) {
        return NGX_OK;
    }

    if (!pub->opened && ngx_conduit_publisher_open(pub) != NGX_OK) {
        return NGX_ERROR;
    }

    pub->watched = 1;
    pub->proved = proved;
    pub->proved_data = data;
    pub->pings = 0;
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

    /* a command holds up a worker that is to quit */

    if (ngx_exiting) {
        pub->redis->stats->slot->leaving = 1;
        return;
    }

    ngx_add_timer(&pub->watch_timer, pub->ready ? NGX_CONDUIT_PUBLISHER_WATCH
                                     : NGX_CONDUIT_PUBLISHER_WATCH / 10);

    if (pub->pings) {
        return;
    }

    /* the walk itself is the one that holds the round open: a command may fail
       before it returns */

    pub->pings = 1;
    pub->failed = 0;
    pub->pinged = ngx_current_msec;

    if (ngx_conduit_topology_masters(&pub->topology,
                                     ngx_conduit_publisher_ping, pub)
        != NGX_OK)
    {
        pub->failed = 1;
    }

    ngx_conduit_publisher_pong(pub, NULL, NGX_CONDUIT_REPLIED);
}


static ngx_int_t
ngx_conduit_publisher_ping(void *data, ngx_conduit_node_t *node)
{
    size_t                    argvlen[1];
    const char               *argv[1];
    ngx_conduit_link_t       *link;
    ngx_conduit_publisher_t  *pub = data;

    link = ngx_conduit_publisher_link(pub, node);
    if (link == NULL) {
        return NGX_ERROR;
    }

    argv[0] = "PING";
    argvlen[0] = 4;

    if (ngx_conduit_link_command(link, ngx_conduit_publisher_pong, pub, 1,
                                 argv, argvlen)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    pub->pings++;

    return NGX_OK;
}


/* any answer will do, but that of a server which does not serve */

static void
ngx_conduit_publisher_pong(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_conduit_publisher_t  *pub = data;

    if (outcome != NGX_CONDUIT_REPLIED
        || (reply != NULL && reply->type == REDIS_REPLY_ERROR
            && ngx_strncmp(reply->str, "NOPERM", 6) != 0))
    {
        pub->failed = 1;
    }

    if (--pub->pings == 0 && !pub->failed) {
        pub->ready = ngx_conduit_moment(pub->pinged);
        pub->proved(pub->proved_data);
    }
}
