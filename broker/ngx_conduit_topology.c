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

#include "ngx_conduit_topology_map.h"


/* ms */
#define NGX_CONDUIT_ASK_INTERVAL  1000
#define NGX_CONDUIT_ASK_SOON      100
#define NGX_CONDUIT_ASK_TIMEOUT   1000
#define NGX_CONDUIT_ASK_FIRST     20

/* after so many replies that do not confirm a doubt another node is asked: a
   node cut off from the others replies with an outdated map */
#define NGX_CONDUIT_ASK_IN_VAIN   5

/* for the log */
#define ngx_conduit_topology_command(t)                                       \
    ((t)->slots ? "CLUSTER SLOTS" : "SENTINEL GET-MASTER-ADDR-BY-NAME")


static ngx_int_t ngx_conduit_topology_single(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_open_scout(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_ask_handler(ngx_event_t *ev);
static void ngx_conduit_topology_ask(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_unanswered(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_scout_up(ngx_conduit_link_t *link);
static void ngx_conduit_topology_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_topology_told(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_weigh(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_refused(ngx_conduit_topology_t *t,
    redisReply *reply);
static void ngx_conduit_topology_crier_up(ngx_conduit_link_t *link);
static void ngx_conduit_topology_cry(void *data, redisReply *reply);
static void ngx_conduit_topology_news(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_news_handler(ngx_event_t *ev);
static void ngx_conduit_topology_review(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_guides(ngx_conduit_topology_t *t);


ngx_int_t
ngx_conduit_topology_open(ngx_conduit_topology_t *t)
{
    ngx_int_t  rc;

    if (t->opened) {
        return NGX_OK;
    }

    t->known = 0;
    t->asking = 0;
    t->again = 0;
    t->news = 0;
    t->refusals.n = 0;
    t->doubted = 0;
    t->in_vain = 0;
    t->stranger = 0;
    t->master = NULL;
    t->slots = NULL;

    ngx_queue_init(&t->nodes);

    ngx_memzero(&t->ask_timer, sizeof(ngx_event_t));
    t->ask_timer.data = t;
    t->ask_timer.handler = ngx_conduit_topology_ask_handler;
    t->ask_timer.log = ngx_cycle->log;
    t->ask_timer.cancelable = 1;

    ngx_memzero(&t->news_event, sizeof(ngx_event_t));
    t->news_event.data = t;
    t->news_event.handler = ngx_conduit_topology_news_handler;
    t->news_event.log = ngx_cycle->log;

    rc = NGX_OK;

    switch (t->redis->scheme) {

    case CONDUIT_REDIS_CLUSTER:

        t->slots = ngx_calloc(CONDUIT_SLOTS * sizeof(ngx_conduit_node_t *),
                              ngx_cycle->log);
        if (t->slots == NULL) {
            return NGX_ERROR;
        }

        ngx_conduit_topology_open_scout(t);
        break;

    case CONDUIT_REDIS_SENTINEL:
        ngx_conduit_topology_open_scout(t);
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


static void
ngx_conduit_topology_open_scout(ngx_conduit_topology_t *t)
{
    t->guides = *t->redis;
    t->guides.db = 0;
    t->guides.timeout = ngx_min(t->redis->timeout, NGX_CONDUIT_ASK_TIMEOUT);
    t->guides.connect_timeout = ngx_min(t->redis->connect_timeout,
                                        NGX_CONDUIT_ASK_TIMEOUT);

    t->scout.redis = &t->guides;
    t->scout.role = "scout";
    t->scout.data = t;
    t->scout.internal = 1;
    t->scout.up = ngx_conduit_topology_scout_up;

    if (t->redis->scheme == CONDUIT_REDIS_SENTINEL) {

        /* user and password are for the servers; Sentinels are asked without
           AUTH */

        ngx_str_null(&t->guides.user);
        ngx_str_null(&t->guides.password);

        t->crier.redis = &t->guides;
        t->crier.role = "sentinel";
        t->crier.data = t;
        t->crier.internal = 1;
        t->crier.up = ngx_conduit_topology_crier_up;

        ngx_conduit_link_open(&t->crier);
        t->crier.addr = ngx_random();
    }

    ngx_conduit_link_open(&t->scout);

    /* let each worker start with another address; the link takes this modulo
       the number of addresses */

    t->scout.addr = ngx_random();

    /* spread the requests of the workers over time */

    ngx_add_timer(&t->ask_timer, NGX_CONDUIT_ASK_INTERVAL / 2
                                 + ngx_random() % NGX_CONDUIT_ASK_INTERVAL);

    ngx_conduit_topology_ask(t);
}


void
ngx_conduit_topology_close(ngx_conduit_topology_t *t)
{
    ngx_queue_t  *q;

    if (!t->opened) {
        return;
    }

    t->opened = 0;

    if (t->ask_timer.timer_set) {
        ngx_del_timer(&t->ask_timer);
    }

    ngx_conduit_link_close(&t->scout);
    ngx_conduit_link_close(&t->crier);

    if (t->news_event.posted) {
        ngx_delete_posted_event(&t->news_event);
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

    if (t->guides.addrs != t->redis->addrs && t->guides.addrs != NULL) {
        ngx_free(t->guides.addrs);
    }

    t->guides.addrs = NULL;
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

    node = ngx_conduit_topology_find(t, &host, r.port);
    if (node == NULL) {
        node = ngx_conduit_topology_add(t, &host, &host, r.port);
    }

    if (r.kind == CONDUIT_REDIRECT_ASK) {
        *ask = 1;
        return node;
    }

    old = t->slots[r.slot];

    if (node != NULL && old != node) {

        t->slots[r.slot] = node;
        t->news = 1;
        node->slots++;

        if (old != NULL && --old->slots == 0) {
            old->since = ngx_current_msec;
        }
    }

    ngx_conduit_topology_doubt(t);

    return node;
}


void
ngx_conduit_topology_doubt(ngx_conduit_topology_t *t)
{
    ngx_msec_t  passed;

    if (!t->opened || t->redis->scheme < CONDUIT_REDIS_CLUSTER) {
        return;
    }

    t->doubted = 1;

    if (t->asking) {
        t->again = 1;
        return;
    }

    passed = ngx_current_msec - t->asked;

    ngx_add_timer(&t->ask_timer, passed < NGX_CONDUIT_ASK_SOON
                                 ? NGX_CONDUIT_ASK_SOON - passed : 1);
}


void
ngx_conduit_topology_each(ngx_conduit_topology_t *t,
    void (*handler)(void *data, ngx_conduit_node_t *node), void *data)
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
    ngx_int_t (*handler)(void *data, ngx_conduit_node_t *node), void *data)
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
ngx_conduit_topology_ask_handler(ngx_event_t *ev)
{
    ngx_conduit_topology_t  *t = ev->data;

    ngx_add_timer(&t->ask_timer, NGX_CONDUIT_ASK_INTERVAL);

    ngx_conduit_topology_ask(t);
    ngx_conduit_topology_review(t);
}


static void
ngx_conduit_topology_ask(ngx_conduit_topology_t *t)
{
    ngx_str_t   *args;
    ngx_uint_t   n;

    ngx_str_t  cluster[] = {
        ngx_string("CLUSTER"), ngx_string("SLOTS")
    };

    ngx_str_t  sentinel[] = {
        ngx_string("SENTINEL"), ngx_string("GET-MASTER-ADDR-BY-NAME"),
        t->redis->service
    };

    if (t->asking) {
        return;
    }

    if (t->redis->scheme == CONDUIT_REDIS_CLUSTER) {
        args = cluster;
        n = sizeof(cluster) / sizeof(ngx_str_t);

    } else {
        args = sentinel;
        n = sizeof(sentinel) / sizeof(ngx_str_t);
    }

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "conduit: redis %V: %V is sent", &t->redis->name, &args[0]);

    t->asked = ngx_current_msec;

    if (ngx_conduit_link_send(&t->scout, ngx_conduit_topology_reply, t, args,
                              n)
        == NGX_OK)
    {
        t->asking = 1;

    } else {
        ngx_conduit_topology_unanswered(t);
    }
}


/* while nothing is known, asks again soon; reports a failure when all addresses
   have failed */

static void
ngx_conduit_topology_unanswered(ngx_conduit_topology_t *t)
{
    if (t->known) {
        return;
    }

    if (t->scout.tried_all
        && t->scout.state == NGX_CONDUIT_LINK_WAITING)
    {
        ngx_conduit_topology_news(t);
        return;
    }

    ngx_add_timer(&t->ask_timer, NGX_CONDUIT_ASK_FIRST);
}


static void
ngx_conduit_topology_scout_up(ngx_conduit_link_t *link)
{
    ngx_conduit_topology_ask(link->data);
}


static void
ngx_conduit_topology_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_int_t                rc;
    ngx_conduit_topology_t  *t = data;

    t->asking = 0;

    if (!t->opened) {
        return;
    }

    if (outcome == NGX_CONDUIT_REPLIED) {

        rc = (t->slots != NULL) ? ngx_conduit_topology_slots(t, reply)
                                : ngx_conduit_topology_master(t, reply);

        if (rc == NGX_OK) {
            ngx_conduit_topology_told(t);
            ngx_conduit_topology_weigh(t);

        } else if (rc == NGX_DECLINED || rc == NGX_ABORT) {

            if (rc == NGX_DECLINED) {
                ngx_conduit_topology_refused(t, reply);
            }

            /* another node or Sentinel may know */

            ngx_conduit_link_reset(&t->scout, NULL);
        }
    }

    if (t->news) {
        ngx_conduit_topology_news(t);
    }

    ngx_conduit_topology_unanswered(t);

    if (t->again) {
        t->again = 0;
        ngx_conduit_topology_doubt(t);
    }
}


static void
ngx_conduit_topology_told(ngx_conduit_topology_t *t)
{
    t->stranger = 0;

    if (t->refusals.n == 0) {
        return;
    }

    t->refusals.n = 0;

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "conduit: redis %V: %s works again after %Mms",
                  &t->redis->name, ngx_conduit_topology_command(t),
                  ngx_current_msec - t->refused);
}


static void
ngx_conduit_topology_weigh(ngx_conduit_topology_t *t)
{
    if (t->news) {
        t->in_vain = 0;

    } else if (t->doubted && ++t->in_vain == NGX_CONDUIT_ASK_IN_VAIN) {
        t->in_vain = 0;
        ngx_conduit_link_reset(&t->scout, NULL);
    }

    t->doubted = 0;
}


static void
ngx_conduit_topology_refused(ngx_conduit_topology_t *t, redisReply *reply)
{
    const char  *why;

    why = reply->type == REDIS_REPLY_ERROR ? reply->str
          : t->slots ? "no slots are served" : "no master of that name";

    if (t->refusals.n == 0) {
        t->refused = ngx_current_msec;
    }

    if (ngx_conduit_reasons_add(&t->refusals, why)) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "conduit: redis %V: %s failed: %s",
                      &t->redis->name, ngx_conduit_topology_command(t), why);
    }
}


static void
ngx_conduit_topology_crier_up(ngx_conduit_link_t *link)
{
    if (ngx_conduit_link_subscribe(link, "+switch-master",
                                   ngx_conduit_topology_cry)
        != NGX_OK)
    {
        ngx_conduit_link_reset(link, "out of memory");
    }
}


/* ["message", "+switch-master", "name ip port ip port"]; the message is not
   trusted: the scout asks again */

static void
ngx_conduit_topology_cry(void *data, redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3
        && reply->element[0]->type == REDIS_REPLY_STRING
        && ngx_strcmp(reply->element[0]->str, "message") == 0)
    {
        ngx_conduit_topology_doubt(data);
    }
}


static void
ngx_conduit_topology_news(ngx_conduit_topology_t *t)
{
    if (!t->news_event.posted) {
        ngx_post_event(&t->news_event, &ngx_posted_events);
    }
}


static void
ngx_conduit_topology_news_handler(ngx_event_t *ev)
{
    ngx_conduit_topology_t  *t = ev->data;

    if (!t->known) {
        t->failed(t->data);
        return;
    }

    t->news = 0;

    ngx_conduit_topology_guides(t);

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


/* in a cluster lets the scout ask any node: the seeds may be removed one day */

static void
ngx_conduit_topology_guides(ngx_conduit_topology_t *t)
{
    size_t                     size;
    u_char                    *p;
    ngx_uint_t                 i, n;
    ngx_queue_t               *q;
    ngx_conduit_node_t        *node;
    ngx_conduit_redis_addr_t  *addrs;

    if (t->slots == NULL) {
        return;
    }

    n = t->redis->naddrs;

    for (q = ngx_queue_head(&t->nodes);
         q != ngx_queue_sentinel(&t->nodes);
         q = ngx_queue_next(q))
    {
        n++;
    }

    size = sizeof(ngx_conduit_redis_addr_t) + NGX_SOCKADDR_STRLEN
           + CONDUIT_HOST_MAX;

    addrs = ngx_calloc(n * size, ngx_cycle->log);
    if (addrs == NULL) {
        return;
    }

    p = (u_char *) &addrs[n];

    for (i = 0; i < t->redis->naddrs; i++) {
        addrs[i] = t->redis->addrs[i];
    }

    for (q = ngx_queue_head(&t->nodes);
         q != ngx_queue_sentinel(&t->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_conduit_node_t, queue);

        addrs[i] = node->redis.addrs[0];
        addrs[i].host.data = p;
        p = ngx_cpymem(p, node->redis.addrs[0].host.data,
                       addrs[i].host.len + 1);
        addrs[i].name.data = p;
        p = ngx_cpymem(p, node->redis.addrs[0].name.data, addrs[i].name.len);
        i++;
    }

    if (t->guides.addrs != t->redis->addrs) {
        ngx_free(t->guides.addrs);
    }

    t->guides.addrs = addrs;
    t->guides.naddrs = n;
}
