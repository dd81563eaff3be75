/* Copyright (C) Conduit for NGINX authors */

/*
 * Topology: which Redis server holds a key now.
 *
 * Changes are reported to the owner by a posted event, never in the handler of
 * the reply that brought them: the owner may close links.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_topology_query.h"


static ngx_int_t ngx_conduit_topology_single(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_query_handler(ngx_event_t *ev);
static void ngx_conduit_topology_change_handler(ngx_event_t *ev);
static void ngx_conduit_topology_review(ngx_conduit_topology_t *t);


ngx_int_t
ngx_conduit_topology_open(ngx_conduit_topology_t *t)
{
    ngx_int_t  rc;

    if (t->opened) {
        return NGX_OK;
    }

    t->known = 0;
    t->querying = 0;
    t->query_again = 0;
    t->map_changed = 0;
    t->refusals.n = 0;
    t->doubted = 0;
    t->unconfirmed = 0;
    t->unusable = 0;
    t->master = NULL;
    t->slots = NULL;

    ngx_queue_init(&t->nodes);

    ngx_memzero(&t->query_timer, sizeof(ngx_event_t));
    t->query_timer.data = t;
    t->query_timer.handler = ngx_conduit_topology_query_handler;
    t->query_timer.log = ngx_cycle->log;
    t->query_timer.cancelable = 1;

    ngx_memzero(&t->change_event, sizeof(ngx_event_t));
    t->change_event.data = t;
    t->change_event.handler = ngx_conduit_topology_change_handler;
    t->change_event.log = ngx_cycle->log;

    rc = NGX_OK;

    switch (t->redis->scheme) {

    case CONDUIT_REDIS_CLUSTER:

        t->slots = ngx_calloc(CONDUIT_SLOTS * sizeof(ngx_conduit_node_t *),
                              ngx_cycle->log);
        if (t->slots == NULL) {
            return NGX_ERROR;
        }

        ngx_conduit_topology_query_open(t);
        break;

    case CONDUIT_REDIS_SENTINEL:
        ngx_conduit_topology_query_open(t);
        break;

    default:
        rc = ngx_conduit_topology_single(t);
        break;
    }

    if (rc == NGX_OK) {
        t->opened = 1;
    }

    return rc;
}


static ngx_int_t
ngx_conduit_topology_single(ngx_conduit_topology_t *t)
{
    ngx_conduit_node_t  *node;

    node = ngx_calloc(sizeof(ngx_conduit_node_t), ngx_cycle->log);
    if (node == NULL) {
        return NGX_ERROR;
    }

    node->redis = *t->redis;
    node->slots = CONDUIT_SLOTS;
    ngx_queue_insert_tail(&t->nodes, &node->queue);

    t->master = node;
    t->known = 1;

    return NGX_OK;
}


void
ngx_conduit_topology_close(ngx_conduit_topology_t *t)
{
    ngx_queue_t  *q;

    if (!t->opened) {
        return;
    }

    t->opened = 0;

    ngx_conduit_topology_query_close(t);

    if (t->change_event.posted) {
        ngx_delete_posted_event(&t->change_event);
    }

    while (!ngx_queue_empty(&t->nodes)) {
        q = ngx_queue_head(&t->nodes);
        ngx_queue_remove(q);
        ngx_free(ngx_queue_data(q, ngx_conduit_node_t, queue));
    }

    if (t->slots != NULL) {
        ngx_free(t->slots);
        t->slots = NULL;
    }

    t->master = NULL;
}


ngx_conduit_node_t *
ngx_conduit_topology_node(ngx_conduit_topology_t *t, ngx_str_t *key)
{
    if (t->slots == NULL) {
        return t->master;
    }

    return t->slots[conduit_slot((char *) key->data, key->len)];
}


ngx_conduit_node_t *
ngx_conduit_topology_redirect(ngx_conduit_topology_t *t,
    ngx_conduit_node_t *from, redisReply *reply, ngx_uint_t *ask)
{
    ngx_str_t            host;
    conduit_redirect_t   r;
    ngx_conduit_node_t  *node, *old;

    *ask = 0;

    if (t->slots == NULL || reply->type != REDIS_REPLY_ERROR
        || conduit_redirect_parse(reply->str, reply->len, &r)
           == CONDUIT_REDIRECT_NONE)
    {
        return NULL;
    }

    ngx_conduit_stats_count(t->redis->stats, NGX_CONDUIT_REDIS_REDIRECTS);

    host.data = (u_char *) r.host;
    host.len = r.host_len;

    if (host.len == 0 || (host.len == 1 && host.data[0] == '?')) {
        host = ngx_conduit_topology_same_host(from);
    }

    node = ngx_conduit_topology_get(t, &host, &host, r.port);

    if (r.kind == CONDUIT_REDIRECT_ASK) {
        *ask = 1;

        /* a server is used before it has its first slot */

        if (node != NULL) {
            node->unused_since = ngx_current_msec;
        }

        return node;
    }

    old = t->slots[r.slot];

    if (node != NULL && old != node) {

        t->slots[r.slot] = node;
        t->map_changed = 1;
        node->slots++;

        if (old != NULL && --old->slots == 0) {
            old->unused_since = ngx_current_msec;
        }
    }

    ngx_conduit_topology_doubt(t);

    return node;
}


void
ngx_conduit_topology_repeat(ngx_conduit_topology_t *t)
{
    t->map_changed = 1;
    ngx_conduit_topology_doubt(t);
}


void
ngx_conduit_topology_each(ngx_conduit_topology_t *t,
    ngx_conduit_node_pt handler, void *data)
{
    ngx_queue_t         *q, *next;
    ngx_conduit_node_t  *node;

    if (!t->opened) {
        return;
    }

    for (q = ngx_queue_head(&t->nodes);
         q != ngx_queue_sentinel(&t->nodes);
         q = next)
    {
        next = ngx_queue_next(q);
        node = ngx_queue_data(q, ngx_conduit_node_t, queue);

        if (node->data != NULL) {
            handler(data, node);
        }
    }
}


ngx_int_t
ngx_conduit_topology_masters(ngx_conduit_topology_t *t,
    ngx_conduit_master_pt handler, void *data)
{
    ngx_int_t            rc;
    ngx_queue_t         *q;
    ngx_conduit_node_t  *node;

    rc = NGX_DECLINED;

    if (!t->opened) {
        return rc;
    }

    for (q = ngx_queue_head(&t->nodes);
         q != ngx_queue_sentinel(&t->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_conduit_node_t, queue);

        if (node->slots) {
            rc = handler(data, node);

            if (rc != NGX_OK) {
                return rc;
            }
        }
    }

    return rc;
}


static void
ngx_conduit_topology_query_handler(ngx_event_t *ev)
{
    ngx_conduit_topology_t  *t = ev->data;

    ngx_add_timer(&t->query_timer, NGX_CONDUIT_QUERY_INTERVAL);

    ngx_conduit_topology_query(t);
    ngx_conduit_topology_review(t);
}


static void
ngx_conduit_topology_change_handler(ngx_event_t *ev)
{
    ngx_conduit_topology_t  *t = ev->data;

    if (!t->known) {
        t->failed(t->data);
        return;
    }

    t->map_changed = 0;

    ngx_conduit_topology_add_seeds(t);

    t->changed(t->data);

    ngx_conduit_topology_review(t);
}


static void
ngx_conduit_topology_review(ngx_conduit_topology_t *t)
{
    ngx_queue_t         *q, *next;
    ngx_conduit_node_t  *node;

    for (q = ngx_queue_head(&t->nodes);
         q != ngx_queue_sentinel(&t->nodes);
         q = next)
    {
        next = ngx_queue_next(q);
        node = ngx_queue_data(q, ngx_conduit_node_t, queue);

        if (node->data != NULL) {
            t->review(t->data, node);
        }

        if (node->slots == 0 && node->data == NULL) {
            ngx_queue_remove(&node->queue);
            ngx_free(node);
        }
    }
}
