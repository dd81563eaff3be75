/* Copyright (C) Conduit for NGINX authors */

/*
 * Asks a node of a cluster or a Sentinel which servers there are, on a link of
 * its own; another node or Sentinel when there is no reply.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_topology_query.h"


/* ms */
#define NGX_CONDUIT_QUERY_SOON     100
#define NGX_CONDUIT_QUERY_TIMEOUT  1000
#define NGX_CONDUIT_QUERY_FIRST    20

/* after so many replies that do not confirm a doubt another node is asked: a
   node cut off from the others replies with an outdated map */
#define NGX_CONDUIT_QUERY_UNCONFIRMED  5

/* for the log */
#define ngx_conduit_topology_command(t)                                       \
    ((t)->slots ? "CLUSTER SLOTS" : "SENTINEL GET-MASTER-ADDR-BY-NAME")


static void ngx_conduit_topology_query_up(ngx_conduit_link_t *link);
static void ngx_conduit_topology_retry(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_topology_log_recovery(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_check_doubt(ngx_conduit_topology_t *t);
static void ngx_conduit_topology_log_refusal(ngx_conduit_topology_t *t,
    redisReply *reply);
static void ngx_conduit_topology_sentinel_up(ngx_conduit_link_t *link);
static void ngx_conduit_topology_sentinel_message(void *data,
    redisReply *reply);
static void ngx_conduit_topology_report(ngx_conduit_topology_t *t);


void
ngx_conduit_topology_query_open(ngx_conduit_topology_t *t)
{
    t->seeds = *t->redis;
    t->seeds.db = 0;
    t->seeds.timeout = ngx_min(t->redis->timeout, NGX_CONDUIT_QUERY_TIMEOUT);
    t->seeds.connect_timeout = ngx_min(t->redis->connect_timeout,
                                       NGX_CONDUIT_QUERY_TIMEOUT);

    t->query_link.redis = &t->seeds;
    t->query_link.role = "topology";
    t->query_link.data = t;
    t->query_link.internal = 1;
    t->query_link.up = ngx_conduit_topology_query_up;

    if (t->redis->scheme == CONDUIT_REDIS_SENTINEL) {

        /* user and password are for the servers; Sentinels are asked without
           AUTH */

        ngx_str_null(&t->seeds.user);
        ngx_str_null(&t->seeds.password);

        t->sentinel_link.redis = &t->seeds;
        t->sentinel_link.role = "sentinel";
        t->sentinel_link.data = t;
        t->sentinel_link.internal = 1;
        t->sentinel_link.up = ngx_conduit_topology_sentinel_up;

        ngx_conduit_link_open(&t->sentinel_link);
        t->sentinel_link.addr = ngx_random();
    }

    ngx_conduit_link_open(&t->query_link);

    /* let each worker start with another address; the link takes this modulo
       the number of addresses */

    t->query_link.addr = ngx_random();

    /* spread the requests of the workers over time */

    ngx_add_timer(&t->query_timer,
                  NGX_CONDUIT_QUERY_INTERVAL / 2
                  + ngx_random() % NGX_CONDUIT_QUERY_INTERVAL);

    ngx_conduit_topology_query(t);
}


void
ngx_conduit_topology_query_close(ngx_conduit_topology_t *t)
{
    if (t->query_timer.timer_set) {
        ngx_del_timer(&t->query_timer);
    }

    ngx_conduit_link_close(&t->query_link);
    ngx_conduit_link_close(&t->sentinel_link);

    if (t->seeds.addrs != t->redis->addrs && t->seeds.addrs != NULL) {
        ngx_free(t->seeds.addrs);
    }

    t->seeds.addrs = NULL;
}


void
ngx_conduit_topology_doubt(ngx_conduit_topology_t *t)
{
    ngx_msec_t  passed;

    if (!t->opened || t->redis->scheme < CONDUIT_REDIS_CLUSTER) {
        return;
    }

    t->doubted = 1;

    if (t->querying) {
        t->query_again = 1;
        return;
    }

    passed = ngx_current_msec - t->queried;

    ngx_add_timer(&t->query_timer, passed < NGX_CONDUIT_QUERY_SOON
                                   ? NGX_CONDUIT_QUERY_SOON - passed : 1);
}


static void
ngx_conduit_topology_query_up(ngx_conduit_link_t *link)
{
    ngx_conduit_topology_query(link->data);
}


void
ngx_conduit_topology_query(ngx_conduit_topology_t *t)
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

    if (t->querying) {
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

    t->queried = ngx_current_msec;

    if (ngx_conduit_link_send(&t->query_link, ngx_conduit_topology_reply, t,
                              args, n)
        == NGX_OK)
    {
        t->querying = 1;

    } else {
        ngx_conduit_topology_retry(t);
    }
}


/* while nothing is known, asks again soon; reports a failure when all addresses
   have failed */

static void
ngx_conduit_topology_retry(ngx_conduit_topology_t *t)
{
    if (t->known) {
        return;
    }

    if (t->query_link.tried_all
        && t->query_link.state == NGX_CONDUIT_LINK_WAITING)
    {
        ngx_conduit_topology_report(t);
        return;
    }

    ngx_add_timer(&t->query_timer, NGX_CONDUIT_QUERY_FIRST);
}


static void
ngx_conduit_topology_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_int_t                rc;
    ngx_conduit_topology_t  *t = data;

    t->querying = 0;

    if (!t->opened) {
        return;
    }

    if (outcome == NGX_CONDUIT_REPLIED) {

        rc = (t->slots != NULL) ? ngx_conduit_topology_slots(t, reply)
                                : ngx_conduit_topology_master(t, reply);

        if (rc == NGX_OK) {
            ngx_conduit_topology_log_recovery(t);
            ngx_conduit_topology_check_doubt(t);

        } else if (rc == NGX_DECLINED || rc == NGX_ABORT) {

            if (rc == NGX_DECLINED) {
                ngx_conduit_topology_log_refusal(t, reply);
            }

            /* another node or Sentinel may know */

            ngx_conduit_link_reset(&t->query_link, NULL);
        }
    }

    if (t->map_changed) {
        ngx_conduit_topology_report(t);
    }

    ngx_conduit_topology_retry(t);

    if (t->query_again) {
        t->query_again = 0;
        ngx_conduit_topology_doubt(t);
    }
}


static void
ngx_conduit_topology_log_recovery(ngx_conduit_topology_t *t)
{
    t->unusable = 0;

    if (t->refusals.n == 0) {
        return;
    }

    t->refusals.n = 0;

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "conduit: redis %V: %s works again after %Mms",
                  &t->redis->name, ngx_conduit_topology_command(t),
                  ngx_current_msec - t->refused_at);
}


static void
ngx_conduit_topology_check_doubt(ngx_conduit_topology_t *t)
{
    if (t->map_changed) {
        t->unconfirmed = 0;

    } else if (t->doubted
               && ++t->unconfirmed == NGX_CONDUIT_QUERY_UNCONFIRMED)
    {
        t->unconfirmed = 0;
        ngx_conduit_link_reset(&t->query_link, NULL);
    }

    t->doubted = 0;
}


static void
ngx_conduit_topology_log_refusal(ngx_conduit_topology_t *t, redisReply *reply)
{
    const char  *why;

    why = reply->type == REDIS_REPLY_ERROR ? reply->str
          : t->slots ? "no slots are served" : "no master of that name";

    if (t->refusals.n == 0) {
        t->refused_at = ngx_current_msec;
    }

    if (ngx_conduit_reasons_add(&t->refusals, why)) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "conduit: redis %V: %s failed: %s",
                      &t->redis->name, ngx_conduit_topology_command(t), why);
    }
}


static void
ngx_conduit_topology_sentinel_up(ngx_conduit_link_t *link)
{
    if (ngx_conduit_link_subscribe(link, "+switch-master",
                                   ngx_conduit_topology_sentinel_message)
        != NGX_OK)
    {
        ngx_conduit_link_reset(link, "out of memory");
    }
}


/* ["message", "+switch-master", "name ip port ip port"]; the message is not
   trusted: it only causes a query */

static void
ngx_conduit_topology_sentinel_message(void *data, redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3
        && reply->element[0]->type == REDIS_REPLY_STRING
        && ngx_strcmp(reply->element[0]->str, "message") == 0)
    {
        ngx_conduit_topology_doubt(data);
    }
}


static void
ngx_conduit_topology_report(ngx_conduit_topology_t *t)
{
    if (!t->change_event.posted) {
        ngx_post_event(&t->change_event, &ngx_posted_events);
    }
}


void
ngx_conduit_topology_add_seeds(ngx_conduit_topology_t *t)
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

    if (t->seeds.addrs != t->redis->addrs) {
        ngx_free(t->seeds.addrs);
    }

    t->seeds.addrs = addrs;
    t->seeds.naddrs = n;
}
