/* Copyright (C) Conduit for NGINX authors */

/*
 * The floor of a delivery through Redis, that is, what it costs at least: XADD,
 * the invalidation message that it causes on a second connection, and XREAD,
 * for one message after the other.  There is no HTTP and there are no clients;
 * each message counts as an event.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hiredis/hiredis.h>

#include "loop.h"
#include "publishers.h"
#include "viewers.h"
#include "workloads.h"


static redisContext *
redis_connect(const struct sockaddr_in *address)
{
    redisContext  *c;

    c = redisConnect("127.0.0.1", ntohs(address->sin_port));

    if (c == NULL || c->err) {
        fprintf(stderr, "load: redis: %s\n", c != NULL ? c->errstr : "memory");
        exit(1);
    }

    return c;
}


static redisReply *
redis_reply(redisContext *c, redisReply *reply)
{
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        fprintf(stderr, "load: redis: %s\n",
                reply != NULL ? reply->str : c->errstr);
        exit(1);
    }

    return reply;
}


#define redis(c, ...)                                                          \
    redis_reply(c, redisCommand(c, __VA_ARGS__))


static void
key_of(uint32_t channel, char *key)
{
    char  uuid[MESSAGE_CHANNEL];

    message_channel(channel, uuid);
    snprintf(key, 64, "stream:1:%s", uuid);
}


/* reads the entries after an ID; Redis then tracks the key, and reports its
   next change */

static void
read_after(redisContext *reader, uint32_t channel, char *id)
{
    char         key[64];
    redisReply  *reply, *entry;

    key_of(channel, key);
    reply = redis(reader, "XREAD COUNT 100 STREAMS %s %s", key, id);

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 1) {
        entry = reply->element[0]->element[1]->element[0];
        snprintf(id, 32, "%s", entry->element[0]->str);
        viewed.events++;
    }

    freeReplyObject(reply);
}


static void
ring(redisContext *writer, redisContext *bell, const message_t *m)
{
    char           key[64];
    void          *rung;
    conduit_buf_t  body;

    memset(&body, 0, sizeof(body));
    message_proto(m, &body);
    key_of(m->channel, key);

    freeReplyObject(redis(writer, "XADD %s MAXLEN ~ 1200 * data %b", key,
                          body.data, body.len));
    conduit_buf_free(&body);

    if (redisGetReply(bell, &rung) != REDIS_OK) {
        redis_reply(bell, NULL);
    }

    freeReplyObject(rung);
}


void
run_doorbell(const target_t *target, const options_t *o)
{
    char          (*ids)[32];
    uint32_t        i;
    message_t       m;
    uint64_t        start, now, n;
    redisReply     *reply;
    redisContext   *bell, *reader, *writer;
    struct timespec ts;

    ids = calloc(o->channels, sizeof(*ids));

    if (ids == NULL) {
        exit(1);
    }

    bell = redis_connect(&target->publish_address);
    reader = redis_connect(&target->publish_address);
    writer = redis_connect(&target->publish_address);

    reply = redis(bell, "CLIENT ID");
    freeReplyObject(redis(reader, "CLIENT TRACKING ON REDIRECT %lld",
                          reply->integer));
    freeReplyObject(reply);
    freeReplyObject(redis(bell, "SUBSCRIBE __redis__:invalidate"));

    phase("start");

    for (i = 0; i < o->channels; i++) {
        strcpy(ids[i], "0-0");
        read_after(reader, i, ids[i]);
    }

    phase("measure");
    start = loop_now();
    memset(&m, 0, sizeof(m));
    m.phase = MESSAGE_DELTA;
    m.size = o->size;

    for (n = 0; n < (uint64_t) o->ms * o->rate / 1000; n++) {
        m.due = start + n * LOOP_SEC / o->rate;
        m.channel = (uint32_t) (n % o->channels);
        m.sequence = n / o->channels + 1;

        for (now = loop_now(); now < m.due; now = loop_now()) {
            ts.tv_sec = 0;
            ts.tv_nsec = (long) (m.due - now < LOOP_SEC ? m.due - now
                                                        : LOOP_SEC - 1);
            nanosleep(&ts, NULL);
        }

        ring(writer, bell, &m);
        read_after(reader, m.channel, ids[m.channel]);
        stats_time(&viewed.times, loop_now() - m.due);
    }

    phase("measured");
    redisFree(bell);
    redisFree(reader);
    redisFree(writer);
    free(ids);
}
