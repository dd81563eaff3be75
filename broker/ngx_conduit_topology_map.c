/* Copyright (C) Conduit for NGINX authors */

/*
 * Parses the replies of Sentinels and cluster nodes, and keeps the nodes.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_topology_map.h"


static ngx_int_t ngx_conduit_topology_range(ngx_conduit_topology_t *t,
    redisReply *range, ngx_conduit_node_t **slots);
static ngx_conduit_node_t *ngx_conduit_topology_reply_node(
    ngx_conduit_topology_t *t, redisReply *reply);
static void ngx_conduit_topology_reply_ip(redisReply *reply, ngx_str_t *peer,
    ngx_str_t *ip);
static ngx_conduit_node_t *ngx_conduit_topology_find(
    ngx_conduit_topology_t *t, ngx_str_t *host, in_port_t port);
static ngx_conduit_node_t *ngx_conduit_topology_add(ngx_conduit_topology_t *t,
    ngx_str_t *host, ngx_str_t *ip, in_port_t port);
static void ngx_conduit_topology_set_addrs(ngx_conduit_node_t *node,
    ngx_str_t *ip, in_port_t port, ngx_conduit_redis_addr_t *url_addrs,
    ngx_uint_t n);
static void ngx_conduit_topology_set_name(ngx_conduit_node_t *node,
    ngx_str_t *host, in_port_t port, ngx_uint_t brackets);
static ngx_int_t ngx_conduit_topology_family(ngx_str_t *ip);
static ngx_conduit_redis_addr_t *ngx_conduit_topology_url_addrs(
    ngx_conduit_topology_t *t, ngx_str_t *name, ngx_uint_t *n);
static void ngx_conduit_topology_log_unusable(ngx_conduit_topology_t *t,
    ngx_str_t *name);


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

    node = ngx_conduit_topology_get(t, &host, &host, port);
    if (node == NULL) {
        return NGX_ABORT;
    }

    if (t->master != node) {

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "conduit: redis %V: the master is %V",
                      &t->redis->name, &node->redis.name);

        t->master = node;
        t->known = 1;
        t->map_changed = 1;
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
        t->map_changed = 1;

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
        return NGX_ABORT;
    }

    while (first <= last) {
        slots[first++] = node;
    }

    return NGX_OK;
}


/*
 * [host, port, id, [name, value, ...]]: host is an address, or, from Redis 7
 * on, a name with its address among the values.  A nil or empty host is the
 * address that the reply came from, whatever the values say; "?" is a host
 * whose name the server does not know.
 */

static ngx_conduit_node_t *
ngx_conduit_topology_reply_node(ngx_conduit_topology_t *t, redisReply *reply)
{
    in_port_t  port;
    ngx_str_t  host, ip, peer;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2
        || reply->element[1]->type != REDIS_REPLY_INTEGER
        || reply->element[1]->integer < 1
        || reply->element[1]->integer > 65535)
    {
        return NULL;
    }

    port = reply->element[1]->integer;

    peer.data = t->query_link.peer;
    peer.len = ngx_strlen(peer.data);

    if (reply->element[0]->type == REDIS_REPLY_STRING
        && reply->element[0]->len != 0)
    {
        host.data = (u_char *) reply->element[0]->str;
        host.len = reply->element[0]->len;

        ip = host;
        ngx_conduit_topology_reply_ip(reply, &peer, &ip);

        if (host.len == 1 && host.data[0] == '?') {
            host = (ip.data == host.data) ? peer : ip;
            ip = host;
        }

    } else {
        host = peer;
        ip = peer;
    }

    return ngx_conduit_topology_get(t, &host, &ip, port);
}


/* finds the address among the values; it is empty if the replying node does not
   know its own address */

static void
ngx_conduit_topology_reply_ip(redisReply *reply, ngx_str_t *peer,
    ngx_str_t *ip)
{
    size_t       i;
    redisReply  *values, *value;

    values = reply->elements > 3 ? reply->element[3] : NULL;

    if (values == NULL || values->type != REDIS_REPLY_ARRAY) {
        return;
    }

    for (i = 0; i + 1 < values->elements; i += 2) {
        value = values->element[i + 1];

        if (values->element[i]->type == REDIS_REPLY_STRING
            && value->type == REDIS_REPLY_STRING
            && ngx_strcmp(values->element[i]->str, "ip") == 0)
        {
            if (value->len == 0) {
                *ip = *peer;
                continue;
            }

            ip->data = (u_char *) value->str;
            ip->len = value->len;
        }
    }
}


ngx_conduit_node_t *
ngx_conduit_topology_get(ngx_conduit_topology_t *t, ngx_str_t *host,
    ngx_str_t *ip, in_port_t port)
{
    ngx_conduit_node_t  *node;

    node = ngx_conduit_topology_find(t, host, port);

    return node != NULL ? node : ngx_conduit_topology_add(t, host, ip, port);
}


static ngx_conduit_node_t *
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

        if (node->redis.addrs[0].port == port && node->host.len == host->len
            && ngx_memcmp(node->host.data, host->data, host->len) == 0)
        {
            return node;
        }
    }

    return NULL;
}


/* prefers the address: a worker can't resolve an announced name */

ngx_str_t
ngx_conduit_topology_same_host(ngx_conduit_node_t *node)
{
    ngx_str_t  host;

    host.data = node->ip;
    host.len = ngx_strlen(node->ip);

    return host.len ? host : node->host;
}


static ngx_conduit_node_t *
ngx_conduit_topology_add(ngx_conduit_topology_t *t, ngx_str_t *host,
    ngx_str_t *ip, in_port_t port)
{
    ngx_int_t                  family;
    ngx_uint_t                 n;
    ngx_conduit_node_t        *node;
    ngx_conduit_redis_addr_t  *url_addrs;

    if (host->len > CONDUIT_HOST_MAX) {
        return NULL;
    }

    n = 1;
    url_addrs = NULL;
    family = ngx_conduit_topology_family(ip);

    if (family == AF_UNSPEC) {

        url_addrs = ngx_conduit_topology_url_addrs(t, ip, &n);
        if (url_addrs == NULL) {
            ngx_conduit_topology_log_unusable(t, ip);
            return NULL;
        }
    }

    node = ngx_calloc(sizeof(ngx_conduit_node_t)
                      + n * sizeof(ngx_conduit_redis_addr_t), ngx_cycle->log);
    if (node == NULL) {
        return NULL;
    }

    node->redis = *t->redis;
    node->redis.scheme = CONDUIT_REDIS_TCP;

    ngx_conduit_topology_set_name(node, host, port, family == AF_INET6
                                                    && host->data == ip->data);
    ngx_conduit_topology_set_addrs(node, ip, port, url_addrs, n);

    node->unused_since = ngx_current_msec;

    ngx_queue_insert_tail(&t->nodes, &node->queue);

    return node;
}


/* the name for logs, and the host in it */

static void
ngx_conduit_topology_set_name(ngx_conduit_node_t *node, ngx_str_t *host,
    in_port_t port, ngx_uint_t brackets)
{
    u_char  *p;

    p = ngx_sprintf(node->name, brackets ? "[%V]:%ui" : "%V:%ui", host,
                    (ngx_uint_t) port);

    node->redis.name.data = node->name;
    node->redis.name.len = p - node->name;

    node->host.data = node->name + brackets;
    node->host.len = host->len;
}


/* n addresses, behind the node: those of a host of the URL, or ip alone */

static void
ngx_conduit_topology_set_addrs(ngx_conduit_node_t *node, ngx_str_t *ip,
    in_port_t port, ngx_conduit_redis_addr_t *url_addrs, ngx_uint_t n)
{
    ngx_uint_t                 i;
    ngx_conduit_redis_addr_t  *addr;

    addr = (ngx_conduit_redis_addr_t *) &node[1];

    if (url_addrs == NULL) {
        ngx_memcpy(node->ip, ip->data, ip->len);
        addr->host.data = node->ip;
        addr->host.len = ip->len;
    }

    for (i = 0; i < n; i++) {

        if (url_addrs != NULL) {
            addr[i] = url_addrs[i];
        }

        addr[i].port = port;
        addr[i].name = node->host;
    }

    node->redis.addrs = addr;
    node->redis.naddrs = n;
}


/* returns the family of a numeric address, AF_UNSPEC for anything else */

static ngx_int_t
ngx_conduit_topology_family(ngx_str_t *ip)
{
#if (NGX_HAVE_INET6)
    u_char  addr[16];
#endif

    if (ip->len >= NGX_SOCKADDR_STRLEN) {
        return AF_UNSPEC;
    }

    if (ngx_inet_addr(ip->data, ip->len) != INADDR_NONE) {
        return AF_INET;
    }

#if (NGX_HAVE_INET6)
    if (ngx_inet6_addr(ip->data, ip->len, addr) == NGX_OK) {
        return AF_INET6;
    }
#endif

    return AF_UNSPEC;
}


/* returns the *n addresses of a host of the URL, or NULL */

static ngx_conduit_redis_addr_t *
ngx_conduit_topology_url_addrs(ngx_conduit_topology_t *t, ngx_str_t *name,
    ngx_uint_t *n)
{
    ngx_uint_t                 i, first;
    ngx_conduit_redis_addr_t  *addrs;

    addrs = t->redis->addrs;
    first = t->redis->naddrs;

    for (i = 0; i < t->redis->naddrs; i++) {

        if (addrs[i].name.len == name->len
            && ngx_strncasecmp(addrs[i].name.data, name->data, name->len) == 0
            && (first > i || addrs[i].port == addrs[first].port))
        {
            first = ngx_min(first, i);

        } else if (first < i) {
            break;
        }
    }

    *n = i - first;

    return *n ? &addrs[first] : NULL;
}


static void
ngx_conduit_topology_log_unusable(ngx_conduit_topology_t *t, ngx_str_t *name)
{
    uint32_t  hash;

    hash = ngx_crc32_short(name->data, name->len) | 1;

    if (t->unusable == hash) {
        return;
    }

    t->unusable = hash;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "conduit: redis %V: server \"%V\" is neither an address nor "
                  "a host of the URL; let Redis announce addresses (%s)",
                  &t->redis->name, name,
                  t->slots ? "cluster-preferred-endpoint-type ip"
                           : "sentinel announce-hostnames no");
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
            node->unused_since = ngx_current_msec;
        }
    }
}
