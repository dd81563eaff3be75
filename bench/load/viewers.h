/* Copyright (C) Conduit for NGINX authors */

/*
 * The clients.  Each one reads and checks an event stream, and reconnects with
 * Last-Event-ID as an EventSource does.  The program has one set of them.
 */

#ifndef VIEWERS_H
#define VIEWERS_H

#include <stdint.h>
#include <zlib.h>

#include "http.h"
#include "sse.h"
#include "stats.h"
#include "target.h"

/* ms that an EventSource waits without a "retry" line (Chromium) */
#define VIEWERS_RETRY      3000

/* closes are counted in slots of 100 ms after viewers_mark_closes() */
#define VIEWERS_SLOTS      600

typedef struct {
    http_t       http;          /* first: handlers get this */
    sse_t        sse;
    z_stream    *gzip;          /* NULL: no response was in gzip */
    char        *request;       /* without the empty line */
    size_t       request_len;
    uint32_t     channel;
    unsigned     slow:1;        /* reads nothing before viewers_unslow() */
    unsigned     open:1;        /* a response with status 200 has begun */
    unsigned     dead:1;        /* an EventSource would not reconnect */
    unsigned     done:1;        /* has got all messages that it waits for */
    unsigned     warm:1;        /* has got a message of sequence 0 */
    uint64_t     opened;        /* ns: first request */
    uint64_t     retry_at;      /* ns; 0: not waiting */
    uint64_t     last;          /* highest sequence number */
    uint64_t     events;        /* without those that came twice */
    stats_set_t  seen;
} viewer_t;

typedef struct {
    uint64_t       open;        /* responses under way */
    uint64_t       warm;        /* warm clients, except for slow ones */
    uint64_t       done;        /* clients that are done */
    uint64_t       refused;     /* responses with another status than 200 */
    int            status;      /* of the first of those */
    uint64_t       broken;      /* responses without a proper end */
    uint64_t       closed;      /* all that ended before the client was done */
    uint64_t       events;      /* all received, without warm-up */
    uint64_t       bytes;       /* of bodies, without warm-up, before gunzip */
    uint64_t       twice;
    uint64_t       disordered;
    uint64_t       foreign;     /* of a channel that was not asked for */
    stats_times_t  times;       /* ns from when a message was due to the
                                   event */
    stats_times_t  first;       /* ns from the request to the first event */
    uint64_t       slots[VIEWERS_SLOTS];
} viewed_t;


extern viewer_t  *viewers;
extern viewed_t   viewed;


/*
 * Makes n clients without connecting them, spread over the channels in turn, of
 * which the first "slow" ones read nothing; and "more" further clients of one
 * additional channel.  total: a client that has got that many messages closes
 * its response; 0: it does not.
 */
void viewers_init(const target_t *target, uint32_t n, uint32_t channels_n,
    uint32_t slow, uint32_t more, uint64_t total);

void viewer_open(uint32_t i);

void viewer_close(uint32_t i);

/* Reconnects all clients that have waited for their retry time. */
void viewers_retry(void);

void viewers_unslow(void);

/* From now on ends of responses are counted in slots. */
void viewers_mark_closes(void);

/* Returns how many messages were stored, but not received by the slow clients;
   if slow is 0, by the others. */
uint64_t viewers_lost(int slow);

/* Returns whether the slow clients, or the others, have got all messages that
   were stored. */
int viewers_complete(int slow);

#endif /* VIEWERS_H */
