/* Copyright (C) Conduit for NGINX authors */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "publishers.h"
#include "viewers.h"


viewer_t  *viewers;
viewed_t   viewed;

static uint32_t  viewers_n, viewers_waiting;
static uint64_t  viewers_total, closes_from;

static void viewer_header(http_t *c, int status);
static void viewer_body(http_t *c, const char *data, size_t len);
static void viewer_gzip_begin(viewer_t *v);
static void viewer_gzip(viewer_t *v, const char *data, size_t len);
static void viewer_end(http_t *c, int clean);
static void viewer_event(void *user, const char *event, const char *data,
    size_t len);
static void viewer_message(viewer_t *v, const message_t *m);
static void viewer_done(viewer_t *v);

static const http_handlers_t  viewer_handlers = {
    viewer_header, viewer_body, viewer_end
};


void
viewers_init(const target_t *target, uint32_t n, uint32_t channels_n,
    uint32_t slow, uint32_t more, uint64_t total)
{
    uint32_t       i;
    viewer_t      *v;
    conduit_buf_t  request;

    memset(&request, 0, sizeof(request));
    viewers_n = n + more;
    viewers_total = total;
    viewers = calloc(viewers_n, sizeof(viewer_t));

    if (viewers == NULL) {
        perror("calloc");
        exit(1);
    }

    for (i = 0; i < viewers_n; i++) {
        v = &viewers[i];
        v->http.io.fd = -1;
        v->http.handlers = &viewer_handlers;
        v->http.address = &target->events_address;
        v->sse.handler = viewer_event;
        v->sse.user = v;
        v->channel = i < n ? i % channels_n : channels_n;

        /* a small TCP window, as of a distant client, so that the server's
           socket gets full */

        if (i < slow) {
            v->slow = 1;
            v->http.stalled = 1;
            v->http.rcvbuf = 16384;
            v->http.mss = 1400;
        }

        if (i == 0 || v->channel != viewers[i - 1].channel) {
            conduit_buf_reset(&request);
            target_events(target, v->channel, &request);
        }

        v->request = malloc(request.len);
        v->request_len = request.len;

        if (v->request == NULL) {
            perror("malloc");
            exit(1);
        }

        memcpy(v->request, request.data, request.len);
    }

    conduit_buf_free(&request);
}


void
viewer_open(uint32_t i)
{
    viewer_t              *v;
    static conduit_buf_t   request;

    v = &viewers[i];

    if (v->retry_at) {
        v->retry_at = 0;
        viewers_waiting--;
    }

    if (v->opened == 0) {
        v->opened = loop_now();
    }

    conduit_buf_reset(&request);
    conduit_buf_append(&request, v->request, v->request_len);

    if (v->sse.last_id[0]) {
        conduit_buf_lit(&request, "Last-Event-ID: ");
        conduit_buf_append(&request, v->sse.last_id, strlen(v->sse.last_id));
        conduit_buf_lit(&request, "\r\n");
    }

    conduit_buf_lit(&request, "\r\n");
    sse_restart(&v->sse);
    http_send(&v->http, request.data, request.len);
}


void
viewer_close(uint32_t i)
{
    viewer_t  *v;

    v = &viewers[i];

    if (v->open) {
        v->open = 0;
        viewed.open--;
    }

    http_close(&v->http);
}


void
viewers_retry(void)
{
    uint32_t  i;
    uint64_t  now;

    now = loop_now();

    for (i = 0; i < viewers_n && viewers_waiting; i++) {
        if (viewers[i].retry_at && viewers[i].retry_at <= now) {
            viewer_open(i);
        }
    }
}


void
viewers_unslow(void)
{
    uint32_t  i;

    for (i = 0; i < viewers_n; i++) {
        http_unstall(&viewers[i].http);
    }
}


void
viewers_mark_closes(void)
{
    closes_from = loop_now();
}


static void
viewer_header(http_t *c, int status)
{
    viewer_t  *v;

    v = (viewer_t *) c;

    if (status == 200) {
        v->open = 1;
        viewed.open++;

        if (c->response.gzip) {
            viewer_gzip_begin(v);
        }

        return;
    }

    /* after another status an EventSource does not reconnect */

    v->dead = 1;
    viewed.refused++;

    if (viewed.status == 0) {
        viewed.status = status;
    }
}


static void
viewer_body(http_t *c, const char *data, size_t len)
{
    viewer_t  *v;

    v = (viewer_t *) c;

    if (!v->open) {
        return;
    }

    viewed.bytes += v->warm ? len : 0;

    if (c->response.gzip) {
        viewer_gzip(v, data, len);

    } else {
        sse_feed(&v->sse, data, len);
    }
}


static void
viewer_gzip_begin(viewer_t *v)
{
    int  rc;

    if (v->gzip != NULL) {
        rc = inflateReset(v->gzip);

    } else {
        v->gzip = calloc(1, sizeof(z_stream));
        rc = v->gzip != NULL ? inflateInit2(v->gzip, 16 + MAX_WBITS)
                             : Z_MEM_ERROR;
    }

    if (rc != Z_OK) {
        fprintf(stderr, "load: no memory to read gzip\n");
        exit(1);
    }
}


/* decompresses all bytes received so far, as a browser does, so that an event
   is not delayed until the next one comes */

static void
viewer_gzip(viewer_t *v, const char *data, size_t len)
{
    int          rc;
    static char  out[65536];

    v->gzip->next_in = (unsigned char *) (uintptr_t) data;
    v->gzip->avail_in = (unsigned int) len;

    do {
        v->gzip->next_out = (unsigned char *) out;
        v->gzip->avail_out = sizeof(out);

        rc = inflate(v->gzip, Z_SYNC_FLUSH);

        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
            fprintf(stderr, "load: a response is not gzip: %s\n",
                    v->gzip->msg ? v->gzip->msg : "");
            exit(1);
        }

        sse_feed(&v->sse, out, sizeof(out) - v->gzip->avail_out);

    } while (v->open && v->gzip->avail_out == 0);
}


static void
viewer_end(http_t *c, int clean)
{
    uint64_t   now, slot;
    viewer_t  *v;

    v = (viewer_t *) c;
    http_close(c);

    if (v->open) {
        v->open = 0;
        viewed.open--;
    }

    if (v->done || v->dead) {
        return;
    }

    now = loop_now();
    viewed.closed++;
    viewed.broken += !clean;

    if (closes_from) {
        slot = (now - closes_from) / (100 * LOOP_MS);
        viewed.slots[slot < VIEWERS_SLOTS ? slot : VIEWERS_SLOTS - 1]++;
    }

    viewers_waiting += v->retry_at == 0;
    v->retry_at = now + (v->sse.retries ? v->sse.retry : VIEWERS_RETRY)
                        * LOOP_MS;
}


static void
viewer_event(void *user, const char *event, const char *data, size_t len)
{
    viewer_t    *v;
    message_t    m;
    const char  *p, *end;

    (void) event;
    v = user;
    end = data + len;

    for (p = message_find(data, end, &m); p != NULL;
         p = message_find(p, end, &m))
    {
        viewer_message(v, &m);
    }
}


static void
viewer_message(viewer_t *v, const message_t *m)
{
    uint64_t  now;

    if (m->channel != v->channel) {
        viewed.foreign++;
        return;
    }

    if (m->sequence == 0) {
        viewed.warm += !v->warm && !v->slow;
        v->warm = 1;
        return;
    }

    now = loop_now();

    /* a message that was published before the client came says nothing about
       how long delivery takes */

    if (!v->slow && m->due >= v->opened) {
        stats_time(&viewed.times, now > m->due ? now - m->due : 0);
    }

    viewed.events++;

    if (!stats_set_add(&v->seen, m->sequence)) {
        viewed.twice++;
        return;
    }

    viewed.disordered += m->sequence < v->last;
    v->last = m->sequence > v->last ? m->sequence : v->last;

    if (v->events++ == 0) {
        stats_time(&viewed.first, now - v->opened);
    }

    if (v->events == viewers_total) {
        viewer_done(v);
    }
}


/* closes the response even if it goes on, as a client does after END */

static void
viewer_done(viewer_t *v)
{
    v->done = 1;
    viewed.done++;
    viewer_close((uint32_t) (v - viewers));
}


uint64_t
viewers_lost(int slow)
{
    uint32_t   i;
    uint64_t   lost;
    viewer_t  *v;

    lost = 0;

    for (i = 0; i < viewers_n; i++) {
        v = &viewers[i];

        if (v->slow == (slow != 0)) {
            lost += stats_set_without(&channels[v->channel].stored, &v->seen,
                                      1);
        }
    }

    return lost;
}


int
viewers_complete(int slow)
{
    uint32_t   i;
    viewer_t  *v;

    for (i = 0; i < viewers_n; i++) {
        v = &viewers[i];

        if (v->slow == (slow != 0)
            && stats_set_without(&channels[v->channel].stored, &v->seen, 1))
        {
            return 0;
        }
    }

    return 1;
}
