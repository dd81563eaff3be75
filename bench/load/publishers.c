/* Copyright (C) Conduit for NGINX authors */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "publishers.h"


typedef struct {
    http_t      http;        /* first: handlers get this */
    message_t  *queue;       /* a ring; the first one is under way */
    size_t      first, n, cap;
    uint32_t    channel;     /* the next one of publisher_flood() */
} publisher_t;


channel_t    *channels;
published_t   published;

static const target_t  *target;
static publisher_t     *publishers;
static uint32_t         channels_n, connections, message_size;
static int              each, flooding;

static void publisher_put(uint32_t channel, const message_t *m);
static void publisher_send(publisher_t *p);
static void publisher_flood(publisher_t *p);
static void publisher_header(http_t *c, int status);
static void publisher_body(http_t *c, const char *data, size_t len);
static void publisher_end(http_t *c, int clean);

static const http_handlers_t  publisher_handlers = {
    publisher_header, publisher_body, publisher_end
};


void
publishers_init(const target_t *t, uint32_t n, uint32_t connections_n,
    int one_each, size_t size)
{
    uint32_t  i;

    target = t;
    channels_n = n;
    connections = connections_n;
    each = one_each;
    message_size = (uint32_t) size;

    channels = calloc(n, sizeof(channel_t));
    publishers = calloc(connections, sizeof(publisher_t));

    if (channels == NULL || publishers == NULL) {
        perror("calloc");
        exit(1);
    }

    for (i = 0; i < n; i++) {
        channels[i].next = 1;
    }

    for (i = 0; i < connections; i++) {
        publishers[i].http.io.fd = -1;
        publishers[i].http.handlers = &publisher_handlers;
        publishers[i].http.address = &t->publish_address;
        publishers[i].channel = i;
    }
}


void
publish(uint32_t channel, message_phase_e phase, uint64_t due)
{
    message_t  m;

    m.channel = channel;
    m.sequence = channels[channel].next++;
    m.due = due;
    m.phase = phase;
    m.size = message_size;

    publisher_put(channel, &m);
}


void
publish_warm(uint32_t channel)
{
    message_t  m;

    m.channel = channel;
    m.sequence = 0;
    m.due = loop_now();
    m.phase = MESSAGE_DELTA;
    m.size = message_size;

    publisher_put(channel, &m);
}


static void
publisher_put(uint32_t channel, const message_t *m)
{
    size_t        i, cap;
    message_t    *queue;
    publisher_t  *p;

    p = &publishers[channel % connections];

    if (p->n == p->cap) {
        cap = p->cap ? 2 * p->cap : 16;
        queue = calloc(cap, sizeof(message_t));

        if (queue == NULL) {
            perror("calloc");
            exit(1);
        }

        for (i = 0; i < p->n; i++) {
            queue[i] = p->queue[(p->first + i) % p->cap];
        }

        free(p->queue);
        p->queue = queue;
        p->cap = cap;
        p->first = 0;
    }

    p->queue[(p->first + p->n++) % p->cap] = *m;
    published.waiting++;

    if (!p->http.busy) {
        publisher_send(p);
    }
}


static void
publisher_send(publisher_t *p)
{
    static conduit_buf_t  request;

    conduit_buf_reset(&request);
    target_publish(target, &p->queue[p->first], each, &request);
    http_send(&p->http, request.data, request.len);
}


static void
publisher_flood(publisher_t *p)
{
    publish(p->channel, MESSAGE_DELTA, loop_now());

    p->channel += connections;

    if (p->channel >= channels_n) {
        p->channel %= connections;
    }
}


void
publishers_flood(int on)
{
    uint32_t  i;

    flooding = on;

    for (i = 0; on && i < connections; i++) {
        publisher_flood(&publishers[i]);
    }
}


void
publishers_mark(void)
{
    uint64_t  waiting;

    waiting = published.waiting;
    memset(&published, 0, sizeof(published));
    published.waiting = waiting;
}


static void
publisher_header(http_t *c, int status)
{
    (void) c;

    if ((status < 200 || status > 299) && published.status == 0) {
        published.status = status;
    }
}


static void
publisher_body(http_t *c, const char *data, size_t len)
{
    (void) c;
    (void) data;
    (void) len;
}


static void
publisher_end(http_t *c, int clean)
{
    int           status;
    uint64_t      now;
    message_t    *m;
    publisher_t  *p;

    p = (publisher_t *) c;
    m = &p->queue[p->first];
    now = loop_now();
    status = clean ? c->response.status : 0;

    if (each) {
        http_close(c);
    }

    if (status >= 200 && status <= 299) {
        published.stored++;
        stats_time(&published.times, now > m->due ? now - m->due : 0);

        if (m->sequence && !flooding) {
            (void) stats_set_add(&channels[m->channel].stored, m->sequence);
        }

    } else {
        published.failed++;
    }

    published.waiting--;
    p->first = (p->first + 1) % p->cap;
    p->n--;

    if (p->n) {
        publisher_send(p);

    } else if (flooding) {
        publisher_flood(p);
    }
}
