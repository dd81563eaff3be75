/* Copyright (C) Conduit for NGINX authors */

/*
 * Publishing: one script, one round trip.
 *
 * The rate key carries the whole stream key as its hash tag, so that both live
 * in one slot of a cluster.  It counts a fixed window: INCR, with PEXPIRE for
 * the first message.  If the key has lost its expiry (another client wrote it),
 * the expiry is set again, or messages would be refused for ever.  The expiry
 * of the stream is renewed with every message: an abandoned stream dies by
 * itself.  When it cannot be set, the message is stored all the same, and the
 * reply says both.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_entries.h"
#include "ngx_conduit_lua.h"
#include "ngx_conduit_script.h"


/* how many redirections are followed before a message is given up */
#define NGX_CONDUIT_REDIRECTS    5


struct ngx_conduit_script_op_s {
    ngx_conduit_publisher_t  *publisher;
    ngx_conduit_publish_t    *publish;      /* NULL when cancelled */
    ngx_conduit_node_t       *node;         /* the server used */
    ngx_conduit_waiter_t      waiter;
    ngx_msec_t                started;
    ngx_event_t               timer;        /* deadline of the operation, if it
                                               takes more than one command */
    ngx_uint_t                redirects;
    unsigned                  waiting:1;    /* until the server is known */
    unsigned                  loading:1;    /* EVAL was sent, not EVALSHA */
    unsigned                  asking:1;     /* ASKING goes before it */
    unsigned                  single:1;     /* uses the stream's key only */
};


static ngx_int_t ngx_conduit_script_start(ngx_conduit_script_op_t *op);
static void ngx_conduit_script_known(void *data, ngx_uint_t ok);
static void ngx_conduit_script_arm(ngx_conduit_script_op_t *op);
static void ngx_conduit_script_timer(ngx_event_t *ev);
static void ngx_conduit_script_free(ngx_conduit_script_op_t *op);
static ngx_int_t ngx_conduit_script_send(ngx_conduit_script_op_t *op);
static ngx_int_t ngx_conduit_script_message(ngx_conduit_script_op_t *op,
    ngx_conduit_link_t *link);
static void ngx_conduit_script_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static ngx_int_t ngx_conduit_script_again(ngx_conduit_script_op_t *op,
    redisReply *reply);
static ngx_uint_t ngx_conduit_script_alone(ngx_conduit_script_op_t *op,
    redisReply *reply);
static ngx_str_t *ngx_conduit_script_node(ngx_conduit_script_op_t *op);
static void ngx_conduit_script_fail(ngx_conduit_script_op_t *op,
    ngx_conduit_published_e status);
static void ngx_conduit_script_result(ngx_conduit_script_op_t *op,
    redisReply *reply, ngx_conduit_published_t *result);
static void ngx_conduit_script_stored(redisReply *reply,
    ngx_conduit_published_t *result);


/*
 * KEYS: the stream, its rate key.
 * ARGV: the message, the rate (0: none), its window in ms, the stream's length,
 * the stream's expiry in ms.
 * Returns the entry's ID; or the number of ms to wait; or a list of the ID and
 * the error of setting the stream's expiry.
 */

static ngx_conduit_lua_t  ngx_conduit_script =
    ngx_conduit_lua(
    "local rate = tonumber(ARGV[2])\n"
    "if rate > 0 then\n"
    "  local n = redis.call('INCR', KEYS[2])\n"
    "  if n == 1 then\n"
    "    redis.call('PEXPIRE', KEYS[2], ARGV[3])\n"
    "  elseif n > rate then\n"
    "    local wait = redis.call('PTTL', KEYS[2])\n"
    "    if wait < 0 then\n"
    "      redis.call('PEXPIRE', KEYS[2], ARGV[3])\n"
    "      wait = tonumber(ARGV[3])\n"
    "    end\n"
    "    return wait\n"
    "  end\n"
    "end\n"
    "local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*',"
    " 'data', ARGV[1])\n"
    "local expiry = redis.pcall('PEXPIRE', KEYS[1], ARGV[5])\n"
    "if type(expiry) == 'table' and expiry.err then\n"
    "  return {id, expiry.err}\n"
    "end\n"
    "return id\n");


ngx_conduit_script_op_t *
ngx_conduit_script_publish(ngx_conduit_publisher_t *pub,
    ngx_conduit_publish_t *p, ngx_conduit_published_e *status)
{
    ngx_int_t                 rc;
    ngx_conduit_script_op_t  *op;

    *status = NGX_CONDUIT_REDIS_BUSY;

    op = ngx_calloc(sizeof(ngx_conduit_script_op_t), ngx_cycle->log);
    if (op == NULL) {
        return NULL;
    }

    op->publisher = pub;
    op->publish = p;
    op->waiter.handler = ngx_conduit_script_known;
    op->waiter.data = op;
    op->started = ngx_current_msec;

    rc = ngx_conduit_script_start(op);

    if (rc == NGX_OK) {
        return op;
    }

    if (rc == NGX_DECLINED) {
        *status = NGX_CONDUIT_NO_REDIS;
    }

    ngx_conduit_script_free(op);

    return NULL;
}


void
ngx_conduit_script_cancel(ngx_conduit_script_op_t *op)
{
    op->publish = NULL;

    if (op->timer.timer_set) {
        ngx_del_timer(&op->timer);
    }
}


static ngx_int_t
ngx_conduit_script_start(ngx_conduit_script_op_t *op)
{
    ngx_int_t  rc;

    rc = ngx_conduit_publisher_node(op->publisher, &op->publish->key,
                                    &op->waiter, &op->node);

    if (rc == NGX_AGAIN) {
        op->waiting = 1;
        ngx_conduit_script_arm(op);
        return NGX_OK;
    }

    return rc == NGX_OK ? ngx_conduit_script_send(op) : rc;
}


/* the server of the key has become known (ok), or could not be found */

static void
ngx_conduit_script_known(void *data, ngx_uint_t ok)
{
    ngx_int_t                 rc;
    ngx_conduit_script_op_t  *op = data;

    op->waiting = 0;

    if (op->publish == NULL) {
        ngx_conduit_script_free(op);
        return;
    }

    rc = ok ? ngx_conduit_script_start(op) : NGX_DECLINED;

    if (rc != NGX_OK) {
        ngx_conduit_script_fail(op, rc == NGX_DECLINED
                                    ? NGX_CONDUIT_NO_REDIS
                                    : NGX_CONDUIT_REDIS_BUSY);
    }
}


/*
 * A single command has its own deadline.  When the server has to be found
 * first, or the command is sent again, the whole operation gets the timeout of
 * one command, so that the publisher is answered in time.
 */

static void
ngx_conduit_script_arm(ngx_conduit_script_op_t *op)
{
    ngx_msec_int_t  left;

    if (op->timer.timer_set) {
        return;
    }

    left = op->started + op->publisher->redis->timeout - ngx_current_msec;

    op->timer.data = op;
    op->timer.handler = ngx_conduit_script_timer;
    op->timer.log = ngx_cycle->log;

    ngx_add_timer(&op->timer, left > 0 ? left : 1);
}


static void
ngx_conduit_script_timer(ngx_event_t *ev)
{
    ngx_conduit_publish_t    *p;
    ngx_conduit_published_t   result;
    ngx_conduit_script_op_t  *op = ev->data;

    if (op->waiting) {
        ngx_queue_remove(&op->waiter.queue);
        ngx_conduit_script_fail(op, NGX_CONDUIT_NO_REDIS);
        return;
    }

    ngx_conduit_topology_doubt(&op->publisher->topology);

    ngx_memzero(&result, sizeof(ngx_conduit_published_t));
    result.status = NGX_CONDUIT_REDIS_TIMED_OUT;
    result.node = ngx_conduit_script_node(op);

    /* the operation is freed when the reply comes, or the link is lost */

    p = op->publish;
    op->publish = NULL;

    p->handler(p->data, &result);
}


static void
ngx_conduit_script_free(ngx_conduit_script_op_t *op)
{
    if (op->timer.timer_set) {
        ngx_del_timer(&op->timer);
    }

    ngx_free(op);
}


static ngx_int_t
ngx_conduit_script_send(ngx_conduit_script_op_t *op)
{
    ngx_int_t            rc;
    ngx_conduit_link_t  *link;

    link = ngx_conduit_publisher_link(op->publisher, op->node);
    if (link == NULL) {
        return NGX_ERROR;
    }

    if (op->asking) {
        rc = ngx_conduit_link_asking(link);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    ngx_log_debug5(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: publish to \"%V\" is sent to redis %V: %s%s%s",
                   &op->publish->key, &op->node->redis.name,
                   op->asking ? "ASKING, " : "",
                   op->loading ? "EVAL" : "EVALSHA",
                   op->single ? ", the stream's key alone" : "");

    rc = op->publish->entries
         ? ngx_conduit_entries_send(link, op->publish, op->single, op->loading,
                                    ngx_conduit_script_reply, op)
         : ngx_conduit_script_message(op, link);

    if (rc == NGX_DECLINED) {
        ngx_conduit_topology_doubt(&op->publisher->topology);
    }

    return rc;
}


static ngx_int_t
ngx_conduit_script_message(ngx_conduit_script_op_t *op,
    ngx_conduit_link_t *link)
{
    u_char                 *last;
    u_char                  rate_key[NGX_CONDUIT_KEY_PREFIX_MAX
                                     + CONDUIT_KEY_MAX];
    char                    numbers[4][CONDUIT_ORG_MAX];
    size_t                  argvlen[10];
    const char             *argv[10];
    ngx_uint_t              i, n, rate;
    ngx_conduit_publish_t  *p;

    p = op->publish;
    rate = op->single ? 0 : p->rate;

    last = ngx_cpymem(rate_key, NGX_CONDUIT_RATE_PREFIX,
                      sizeof(NGX_CONDUIT_RATE_PREFIX) - 1);
    last = ngx_cpymem(last, p->key.data, p->key.len);
    *last++ = '}';

    ngx_conduit_lua_call(&ngx_conduit_script, op->loading, rate ? 2 : 1,
                         argv, argvlen);

    argv[3] = (char *) p->key.data;
    argvlen[3] = p->key.len;
    n = 4;

    if (rate) {
        argv[n] = (char *) rate_key;
        argvlen[n++] = last - rate_key;
    }

    argv[n] = (char *) p->message.data;
    argvlen[n++] = p->message.len;

    argvlen[n] = conduit_decimal_write(rate, numbers[0]);
    argvlen[n + 1] = conduit_decimal_write(p->window, numbers[1]);
    argvlen[n + 2] = conduit_decimal_write(p->max_len, numbers[2]);
    argvlen[n + 3] = conduit_decimal_write(p->ttl, numbers[3]);

    for (i = 0; i < 4; i++) {
        argv[n++] = numbers[i];
    }

    return ngx_conduit_link_command(link, ngx_conduit_script_reply, op, n,
                                    argv, argvlen);
}


static void
ngx_conduit_script_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
    ngx_int_t                 rc;
    ngx_conduit_publish_t    *p;
    ngx_conduit_published_t   result;
    ngx_conduit_script_op_t  *op = data;

    p = op->publish;

    if (p == NULL) {
        ngx_conduit_script_free(op);
        return;
    }

    switch (outcome) {

    case NGX_CONDUIT_NOT_SENT:
        ngx_conduit_script_fail(op, NGX_CONDUIT_NO_REDIS);
        return;

    case NGX_CONDUIT_LOST:
    case NGX_CONDUIT_TOO_LARGE:
        ngx_conduit_script_fail(op, NGX_CONDUIT_REDIS_LOST);
        return;

    case NGX_CONDUIT_TIMED_OUT:
        ngx_conduit_script_fail(op, NGX_CONDUIT_REDIS_TIMED_OUT);
        return;

    default: /* NGX_CONDUIT_REPLIED */
        break;
    }

    rc = ngx_conduit_script_again(op, reply);

    if (rc == NGX_OK) {
        return;
    }

    if (rc != NGX_DONE) {
        ngx_conduit_script_fail(op, rc == NGX_DECLINED
                                    ? NGX_CONDUIT_NO_REDIS
                                    : NGX_CONDUIT_REDIS_BUSY);
        return;
    }

    ngx_memzero(&result, sizeof(ngx_conduit_published_t));

    ngx_conduit_script_result(op, reply, &result);
    result.node = ngx_conduit_script_node(op);

    ngx_conduit_script_free(op);

    p->handler(p->data, &result);
}


/*
 * Sends a refused message once more if it may be accepted in another form or by
 * another server.  Returns NGX_OK when it was sent, NGX_DONE when the reply is
 * final, NGX_DECLINED or NGX_ERROR when it could not be sent.
 */

static ngx_int_t
ngx_conduit_script_again(ngx_conduit_script_op_t *op, redisReply *reply)
{
    ngx_uint_t           ask;
    ngx_conduit_node_t  *node;

    if (reply->type != REDIS_REPLY_ERROR) {
        return NGX_DONE;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: publish to \"%V\", redis %V replies: %s",
                   &op->publish->key, &op->node->redis.name, reply->str);

    if (conduit_redis_error_is(reply->str, "NOSCRIPT") && !op->loading) {
        op->loading = 1;
        ngx_conduit_script_arm(op);
        return ngx_conduit_script_send(op);
    }

    if (!op->single && ngx_conduit_script_alone(op, reply)) {

        /* without the request's key the messages could be stored twice */

        if (op->publish->entries && op->publish->entries->request.len) {
            return NGX_DONE;
        }

        op->single = 1;
        ngx_conduit_script_arm(op);
        return ngx_conduit_script_send(op);
    }

    node = ngx_conduit_topology_redirect(&op->publisher->topology, op->node,
                                         reply, &ask);

    if (node == NULL || op->redirects++ == NGX_CONDUIT_REDIRECTS) {
        return NGX_DONE;
    }

    op->node = node;
    op->asking = ask;
    op->loading = 0;

    ngx_conduit_script_arm(op);

    return ngx_conduit_script_send(op);
}


/*
 * Whether the message must be sent with the stream's key alone: the slot is
 * being migrated, and some of its keys have moved already.  The message does
 * not wait for the others, and is not counted by the rate.  Redis 6 also
 * replies with ASK although the stream may still be here: to follow it would
 * begin a second stream at the other server.  With the stream's key alone, ASK
 * means that the stream is not here.
 */

static ngx_uint_t
ngx_conduit_script_alone(ngx_conduit_script_op_t *op, redisReply *reply)
{
    if (conduit_redis_error_is(reply->str, "TRYAGAIN ")) {
        return 1;
    }

    return (op->publish->rate || op->publish->entries)
           && conduit_redis_error_is(reply->str, "ASK ");
}


/* for logs: the server, or the deployment when none was found */

static ngx_str_t *
ngx_conduit_script_node(ngx_conduit_script_op_t *op)
{
    return op->node ? &op->node->redis.name : &op->publisher->redis->name;
}


static void
ngx_conduit_script_fail(ngx_conduit_script_op_t *op,
    ngx_conduit_published_e status)
{
    ngx_conduit_publish_t    *p;
    ngx_conduit_published_t   result;

    ngx_conduit_topology_doubt(&op->publisher->topology);

    p = op->publish;

    ngx_memzero(&result, sizeof(ngx_conduit_published_t));
    result.status = status;
    result.node = ngx_conduit_script_node(op);

    ngx_conduit_script_free(op);

    p->handler(p->data, &result);
}


static void
ngx_conduit_script_result(ngx_conduit_script_op_t *op, redisReply *reply,
    ngx_conduit_published_t *result)
{
    result->status = NGX_CONDUIT_REDIS_REFUSED;

    if (reply->type != REDIS_REPLY_ERROR) {
        ngx_str_set(&result->error, "unexpected reply");

        if (op->publish->entries == NULL) {
            ngx_conduit_script_stored(reply, result);

        } else {
            ngx_conduit_entries_result(reply, result);
        }

        return;
    }

    result->error.data = (u_char *) reply->str;
    result->error.len = reply->len;
    result->kind = conduit_redis_error_kind(reply->str, reply->len);

    switch (result->kind) {

    case CONDUIT_REDIS_ERROR_OTHER:
        break;

    case CONDUIT_REDIS_ERROR_OOM:
        result->status = NGX_CONDUIT_REDIS_FULL;
        break;

    default:

        /* the server may no longer be the master */

        result->status = NGX_CONDUIT_REDIS_BUSY;
        ngx_conduit_topology_doubt(&op->publisher->topology);
    }
}


/* reads the plain script's reply; leaves *result as it is for any other
   reply */

static void
ngx_conduit_script_stored(redisReply *reply, ngx_conduit_published_t *result)
{
    redisReply           *entry;
    conduit_stream_id_t   id;

    if (reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0) {
        result->status = NGX_CONDUIT_RATE_LIMITED;
        result->wait = reply->integer;
        return;
    }

    entry = reply;

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
        && reply->element[1]->type == REDIS_REPLY_STRING)
    {
        entry = reply->element[0];
        reply = reply->element[1];
    }

    if (entry->type != REDIS_REPLY_STRING
        || conduit_stream_id_parse(entry->str, entry->len, &id) != 0)
    {
        return;
    }

    result->status = NGX_CONDUIT_PUBLISHED;
    result->id.data = (u_char *) entry->str;
    result->id.len = entry->len;
    ngx_str_null(&result->error);

    if (reply != entry) {
        result->error.data = (u_char *) reply->str;
        result->error.len = reply->len;
    }
}
