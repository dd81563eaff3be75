/*
 * Publishing: one script, one round trip.
 *
 * The rate key carries the whole stream key as its hash tag, so that both live
 * in one slot of a cluster.  A fixed window is kept there: INCR, and PEXPIRE
 * for the first.  A key that lost its expiry (a foreign write) is healed, or it
 * would refuse for ever.  The expiry of the stream is renewed with every
 * message: an abandoned stream dies by itself.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_sha1.h>

#include "ngx_conduit_script.h"


#define NGX_CONDUIT_RATE_PREFIX  "conduit:rate:{"
#define NGX_CONDUIT_SHA_LEN      40


struct ngx_conduit_script_op_s {
    ngx_conduit_link_t     *link;
    ngx_conduit_publish_t  *publish;    /* NULL when cancelled */
    ngx_uint_t              loading;    /* the text was sent, not its sum */
};


static ngx_int_t ngx_conduit_script_send(ngx_conduit_script_op_t *op);
static void ngx_conduit_script_reply(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_script_result(redisReply *reply,
    ngx_conduit_published_t *result);
static const char *ngx_conduit_script_sha(void);


/*
 * KEYS: the stream, its rate key.
 * ARGV: the message, the rate (0: none), its window in ms, the stream's length,
 * the stream's life in ms.
 * Returns the entry's ID, or the number of ms to wait.
 */

static const char  ngx_conduit_script[] =
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
    "redis.call('PEXPIRE', KEYS[1], ARGV[5])\n"
    "return id\n";


ngx_conduit_script_op_t *
ngx_conduit_script_publish(ngx_conduit_link_t *link, ngx_conduit_publish_t *p,
    ngx_conduit_published_e *status)
{
    ngx_int_t                 rc;
    ngx_conduit_script_op_t  *op;

    *status = NGX_CONDUIT_REDIS_BUSY;

    op = ngx_alloc(sizeof(ngx_conduit_script_op_t), ngx_cycle->log);
    if (op == NULL) {
        return NULL;
    }

    op->link = link;
    op->publish = p;
    op->loading = 0;

    rc = ngx_conduit_script_send(op);

    if (rc == NGX_OK) {
        return op;
    }

    if (rc == NGX_DECLINED) {
        *status = NGX_CONDUIT_NO_REDIS;
    }

    ngx_free(op);

    return NULL;
}


void
ngx_conduit_script_cancel(ngx_conduit_script_op_t *op)
{
    op->publish = NULL;
}


static ngx_int_t
ngx_conduit_script_send(ngx_conduit_script_op_t *op)
{
    u_char                 *last;
    u_char                  numbers[4][NGX_INT_T_LEN];
    u_char                  rate_key[sizeof(NGX_CONDUIT_RATE_PREFIX)
                                     + CONDUIT_KEY_MAX];
    size_t                  argvlen[10];
    const char             *argv[10];
    ngx_uint_t              i;
    ngx_conduit_publish_t  *p;

    p = op->publish;

    if (op->loading) {
        argv[0] = "EVAL";
        argvlen[0] = 4;
        argv[1] = ngx_conduit_script;
        argvlen[1] = sizeof(ngx_conduit_script) - 1;

    } else {
        argv[0] = "EVALSHA";
        argvlen[0] = 7;
        argv[1] = ngx_conduit_script_sha();
        argvlen[1] = NGX_CONDUIT_SHA_LEN;
    }

    last = ngx_cpymem(rate_key, NGX_CONDUIT_RATE_PREFIX,
                      sizeof(NGX_CONDUIT_RATE_PREFIX) - 1);
    last = ngx_cpymem(last, p->key.data, p->key.len);
    *last++ = '}';

    argv[2] = "2";
    argvlen[2] = 1;
    argv[3] = (char *) p->key.data;
    argvlen[3] = p->key.len;
    argv[4] = (char *) rate_key;
    argvlen[4] = last - rate_key;
    argv[5] = (char *) p->message.data;
    argvlen[5] = p->message.len;

    argvlen[6] = ngx_sprintf(numbers[0], "%ui", p->rate) - numbers[0];
    argvlen[7] = ngx_sprintf(numbers[1], "%M", p->window) - numbers[1];
    argvlen[8] = ngx_sprintf(numbers[2], "%ui", p->max_len) - numbers[2];
    argvlen[9] = ngx_sprintf(numbers[3], "%M", p->ttl) - numbers[3];

    for (i = 0; i < 4; i++) {
        argv[6 + i] = (char *) numbers[i];
    }

    return ngx_conduit_link_command(op->link, ngx_conduit_script_reply, op,
                                    10, argv, argvlen);
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
        ngx_free(op);
        return;
    }

    ngx_memzero(&result, sizeof(ngx_conduit_published_t));

    switch (outcome) {

    case NGX_CONDUIT_NOT_SENT:
        result.status = NGX_CONDUIT_NO_REDIS;
        break;

    case NGX_CONDUIT_LOST:
        result.status = NGX_CONDUIT_REDIS_LOST;
        break;

    case NGX_CONDUIT_TIMED_OUT:
        result.status = NGX_CONDUIT_REDIS_TIMED_OUT;
        break;

    default: /* NGX_CONDUIT_REPLIED */

        if (reply->type == REDIS_REPLY_ERROR && !op->loading
            && ngx_strncmp(reply->str, "NOSCRIPT", 8) == 0)
        {
            op->loading = 1;

            rc = ngx_conduit_script_send(op);

            if (rc == NGX_OK) {
                return;
            }

            result.status = (rc == NGX_DECLINED) ? NGX_CONDUIT_NO_REDIS
                                                 : NGX_CONDUIT_REDIS_BUSY;
            break;
        }

        ngx_conduit_script_result(reply, &result);
    }

    ngx_free(op);

    p->handler(p->data, &result);
}


static void
ngx_conduit_script_result(redisReply *reply, ngx_conduit_published_t *result)
{
    ngx_uint_t           i;
    conduit_stream_id_t  id;

    /* errors that pass by themselves: the server loads its data, runs a slow
       script, is or has become a replica, or its cluster has no owner */

    static const char  *passing[] = {
        "LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN",
        "NOREPLICAS", "MISCONF", NULL
    };

    if (reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0) {
        result->status = NGX_CONDUIT_RATE_LIMITED;
        result->wait = reply->integer;
        return;
    }

    result->error.data = (u_char *) reply->str;
    result->error.len = reply->str ? (size_t) reply->len : 0;

    if (reply->type == REDIS_REPLY_STRING
        && conduit_stream_id_parse(reply->str, reply->len, &id) == 0)
    {
        result->status = NGX_CONDUIT_PUBLISHED;
        result->id = result->error;
        return;
    }

    result->status = NGX_CONDUIT_REDIS_REFUSED;

    if (reply->type != REDIS_REPLY_ERROR) {
        ngx_str_set(&result->error, "unexpected reply");
        return;
    }

    /* an error of a command of the script reads "-OOM ..." or "... -OOM ..."
       depending on the server's version */

    if (ngx_strstr(reply->str, "OOM ") != NULL) {
        result->status = NGX_CONDUIT_REDIS_FULL;
        return;
    }

    for (i = 0; passing[i]; i++) {
        if (ngx_strncmp(reply->str, passing[i], ngx_strlen(passing[i])) == 0) {
            result->status = NGX_CONDUIT_REDIS_BUSY;
            return;
        }
    }
}


/* the script's SHA-1 in hexadecimal, by which EVALSHA knows it */

static const char *
ngx_conduit_script_sha(void)
{
    u_char       digest[20];
    ngx_sha1_t   sha1;

    static char  text[NGX_CONDUIT_SHA_LEN];

    if (text[0] == '\0') {
        ngx_sha1_init(&sha1);
        ngx_sha1_update(&sha1, ngx_conduit_script,
                        sizeof(ngx_conduit_script) - 1);
        ngx_sha1_final(digest, &sha1);
        ngx_hex_dump((u_char *) text, digest, sizeof(digest));
    }

    return text;
}
