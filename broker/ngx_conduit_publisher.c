/*
 * A publisher: links to the servers that are published to.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_publisher.h"


/* ms that a server without slots may take for what it was sent */
#define NGX_CONDUIT_PUBLISHER_LINGER      10000

/* ms between two lines about errors */
#define NGX_CONDUIT_PUBLISHER_COMPLAINTS  10000


static ngx_int_t ngx_conduit_publisher_open(ngx_conduit_publisher_t *pub);
static void ngx_conduit_publisher_changed(void *data);
static void ngx_conduit_publisher_failed(void *data);
static void ngx_conduit_publisher_wake(ngx_conduit_publisher_t *pub,
    ngx_uint_t ok);
static void ngx_conduit_publisher_review(void *data,
    ngx_conduit_node_t *node);
static void ngx_conduit_publisher_drop(void *data, ngx_conduit_node_t *node);


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

    pub->complained = ngx_current_msec | 1;

    return NGX_LOG_ERR;
}


void
ngx_conduit_publisher_close(ngx_conduit_publisher_t *pub)
{
    if (!pub->opened) {
        return;
    }

    /* what ends now is not sent elsewhere */

    pub->opened = 0;

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
