/*
 * What a topology learns: replies of Sentinels and of a cluster's nodes.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_topology_map.h"


static ngx_int_t ngx_conduit_topology_range(ngx_conduit_topology_t *t,
    redisReply *range, ngx_conduit_node_t **slots);
static ngx_conduit_node_t *ngx_conduit_topology_reply_node(
    ngx_conduit_topology_t *t, redisReply *reply);


ngx_int_t
ngx_conduit_topology_master(ngx_conduit_topology_t *t, redisReply *reply)
{
    ngx_int_t            port;
    ngx_str_t            host;
    ngx_conduit_node_t  *node;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[1]->type != REDIS_REPLY_STRING)
    {
        return NGX_DECLINED;
    }

    host.data = (u_char *) reply->element[0]->str;
    host.len = reply->element[0]->len;
    port = ngx_atoi((u_char *) reply->element[1]->str, reply->element[1]->len);

    if (port < 1 || port > 65535) {
        return NGX_DECLINED;
    }

    node = ngx_conduit_topology_find(t, &host, port);
    if (node == NULL) {
        node = ngx_conduit_topology_add(t, &host, &host, port);
    }

    if (node == NULL) {
        return NGX_ERROR;
    }

    if (t->master != node) {

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "conduit: redis %V: the master is %V",
                      &t->redis->name, &node->redis.name);

        t->master = node;
        t->known = 1;
        t->news = 1;
        ngx_conduit_topology_count(t);
    }

    return NGX_OK;
}


ngx_int_t
ngx_conduit_topology_slots(ngx_conduit_topology_t *t, redisReply *reply)
{
    size_t                size, i;
    ngx_int_t             rc;
    ngx_conduit_node_t  **slots;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) {
        return NGX_DECLINED;
    }

    size = CONDUIT_SLOTS * sizeof(ngx_conduit_node_t *);

    slots = ngx_calloc(size, ngx_cycle->log);
    if (slots == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < reply->elements; i++) {

        rc = ngx_conduit_topology_range(t, reply->element[i], slots);

        if (rc != NGX_OK) {
            ngx_free(slots);
            return rc;
        }
    }

    if (ngx_memcmp(slots, t->slots, size) == 0) {
        ngx_free(slots);

    } else {

        if (t->known) {
            ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                          "conduit: redis %V: slots have moved",
                          &t->redis->name);
        }

        ngx_free(t->slots);
        t->slots = slots;
        t->known = 1;
        t->news = 1;

        ngx_conduit_topology_count(t);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_topology_range(ngx_conduit_topology_t *t, redisReply *range,
    ngx_conduit_node_t **slots)
{
    long long            first, last;
    ngx_conduit_node_t  *node;

    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3
        || range->element[0]->type != REDIS_REPLY_INTEGER
        || range->element[1]->type != REDIS_REPLY_INTEGER)
    {
        return NGX_DECLINED;
    }

    first = range->element[0]->integer;
    last = range->element[1]->integer;

    if (first < 0 || last >= CONDUIT_SLOTS) {
        return NGX_DECLINED;
    }

    node = ngx_conduit_topology_reply_node(t, range->element[2]);
    if (node == NULL) {
        return NGX_ERROR;
    }

    while (first <= last) {
        slots[first++] = node;
    }

    return NGX_OK;
}


/*
 * [host, port, id, [name, value, ...]]: an address, or, from Redis 7 on, a name
 * with its address among the values, or nil for the one that was asked.
 */

static ngx_conduit_node_t *
ngx_conduit_topology_reply_node(ngx_conduit_topology_t *t, redisReply *reply)
{
    size_t               i;
    ngx_str_t            host, ip;
    redisReply          *values;
    ngx_conduit_node_t  *node;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2
        || reply->element[1]->type != REDIS_REPLY_INTEGER
        || reply->element[1]->integer < 1
        || reply->element[1]->integer > 65535)
    {
        return NULL;
    }

    if (reply->element[0]->type == REDIS_REPLY_STRING
        && reply->element[0]->len != 0)
    {
        host.data = (u_char *) reply->element[0]->str;
        host.len = reply->element[0]->len;

    } else {
        host.data = t->scout.peer;
        host.len = ngx_strlen(host.data);
    }

    ip = host;

    values = reply->elements > 3 ? reply->element[3] : NULL;

    if (values != NULL && values->type == REDIS_REPLY_ARRAY) {

        for (i = 0; i + 1 < values->elements; i += 2) {

            if (values->element[i]->type == REDIS_REPLY_STRING
                && values->element[i + 1]->type == REDIS_REPLY_STRING
                && ngx_strcmp(values->element[i]->str, "ip") == 0)
            {
                ip.data = (u_char *) values->element[i + 1]->str;
                ip.len = values->element[i + 1]->len;
            }
        }
    }

    node = ngx_conduit_topology_find(t, &host, reply->element[1]->integer);

    if (node == NULL) {
        node = ngx_conduit_topology_add(t, &host, &ip,
                                        reply->element[1]->integer);
    }

    return node;
}


ngx_conduit_node_t *
ngx_conduit_topology_find(ngx_conduit_topology_t *t, ngx_str_t *host,
    in_port_t port)
{
    ngx_queue_t         *q;
    ngx_conduit_node_t  *node;

    for (q = ngx_queue_head(&t->nodes);
         q != ngx_queue_sentinel(&t->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_conduit_node_t, queue);

        if (node->addr.port == port && node->host.len == host->len
            && ngx_memcmp(node->host.data, host->data, host->len) == 0)
        {
            return node;
        }
    }

    return NULL;
}


ngx_conduit_node_t *
ngx_conduit_topology_add(ngx_conduit_topology_t *t, ngx_str_t *host,
    ngx_str_t *ip, in_port_t port)
{
    u_char              *p;
    ngx_uint_t           ipv6;
    ngx_conduit_node_t  *node;

#if (NGX_HAVE_INET6)
    u_char               addr[16];
#endif

    if (host->len > CONDUIT_HOST_MAX || ip->len >= NGX_SOCKADDR_STRLEN) {
        return NULL;
    }

    ipv6 = 0;

    if (ngx_inet_addr(ip->data, ip->len) == INADDR_NONE) {

#if (NGX_HAVE_INET6)
        if (ngx_inet6_addr(ip->data, ip->len, addr) != NGX_OK)
#endif
        {
            return NULL;
        }

        ipv6 = 1;
    }

    node = ngx_calloc(sizeof(ngx_conduit_node_t), ngx_cycle->log);
    if (node == NULL) {
        return NULL;
    }

    node->redis = *t->redis;
    node->redis.scheme = CONDUIT_REDIS_TCP;
    node->redis.addrs = &node->addr;
    node->redis.naddrs = 1;

    ngx_memcpy(node->ip, ip->data, ip->len);
    node->addr.host.data = node->ip;
    node->addr.host.len = ip->len;
    node->addr.port = port;

    p = ngx_sprintf(node->name, ipv6 && host->data == ip->data
                    ? "[%V]:%ui" : "%V:%ui", host, (ngx_uint_t) port);

    node->redis.name.data = node->name;
    node->redis.name.len = p - node->name;

    node->host.data = node->name + (node->name[0] == '[');
    node->host.len = host->len;
    node->addr.name = node->host;

    node->since = ngx_current_msec;

    ngx_queue_insert_tail(&t->nodes, &node->queue);

    return node;
}


void
ngx_conduit_topology_count(ngx_conduit_topology_t *t)
{
    ngx_uint_t           i, had;
    ngx_queue_t         *q;
    ngx_conduit_node_t  *node;

    for (q = ngx_queue_head(&t->nodes);
         q != ngx_queue_sentinel(&t->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_conduit_node_t, queue);
        had = node->slots;
        node->slots = 0;

        if (t->slots == NULL) {
            node->slots = (node == t->master) ? CONDUIT_SLOTS : 0;

        } else {
            for (i = 0; i < CONDUIT_SLOTS; i++) {
                node->slots += (t->slots[i] == node);
            }
        }

        if (had && node->slots == 0) {
            node->since = ngx_current_msec;
        }
    }
}
