/* Copyright (C) Conduit for NGINX authors */

/*
 * The clients: event streams that are read, checked, and opened again with
 * their Last-Event-ID as an EventSource does.  One set in the program.
 */

#ifndef VIEWERS_H
#define VIEWERS_H

#include <stdint.h>
#include <zlib.h>

#include "http.h"
#include "sse.h"
#include "stats.h"
#include "target.h"

/* what an EventSource waits when it was not told (Chromium) */
#define VIEWERS_RETRY      3000

/* closes are counted in slots of 100 ms after viewers_mark_closes() */
#define VIEWERS_SLOTS      600

typedef struct {
    http_t       http;          /* first: handlers get this */
    sse_t        sse;
    z_stream    *gzip;          /* of a response in gzip; NULL: none came */
    char        *request;       /* without the empty line */
    size_t       request_len;
    uint32_t     channel;
    unsigned     slow:1;        /* reads nothing before it is told to */
    unsigned     open:1;        /* a response of 200 has begun */
    unsigned     dead:1;        /* by EventSource's rules: never comes back */
    unsigned     done:1;        /* had all that it waits for */
    unsigned     warm:1;        /* had an event of sequence 0 */
    uint64_t     opened;        /* ns: first request */
    uint64_t     retry_at;      /* ns; 0: not waiting */
    uint64_t     last;          /* highest sequence number */
    uint64_t     events;        /* distinct ones */
    stats_set_t  seen;
} viewer_t;

typedef struct {
    uint64_t       open;        /* responses under way */
    uint64_t       warm;        /* clients, without the slow ones */
    uint64_t       done;        /* clients */
    uint64_t       refused;     /* other statuses than 200 */
    int            status;      /* the first of them */
    uint64_t       broken;      /* responses without a proper end */
    uint64_t       closed;      /* all that ended before the client was done */
    uint64_t       events;      /* all that came, without warm-up */
    uint64_t       bytes;       /* of bodies, likewise, as they come */
    uint64_t       twice;
    uint64_t       disordered;
    uint64_t       foreign;     /* of a channel that was not asked for */
    stats_times_t  times;       /* from due to received, ns */
    stats_times_t  first;       /* from request to first event, ns */
    uint64_t       slots[VIEWERS_SLOTS];
} viewed_t;


extern viewer_t  *viewers;
extern viewed_t   viewed;


/*
 * Makes n clients, spread over the channels in turn; the first "slow" of them
 * read nothing.  "more" others are on one further channel.  None is connected.
 * total: sequence numbers a client waits for, after which it closes its
 * response; 0: it stays.
 */
void viewers_init(const target_t *target, uint32_t n, uint32_t channels_n,
    uint32_t slow, uint32_t more, uint64_t total);

void viewer_open(uint32_t i);

void viewer_close(uint32_t i);

/* Opens again whoever has waited long enough. */
void viewers_retry(void);

void viewers_unslow(void);

/* From now on closes are counted in slots. */
void viewers_mark_closes(void);

/* Counts what was stored and not received; slow: by the slow ones only, or by
   the others only. */
uint64_t viewers_lost(int slow);

/* Says whether all (slow or others) have all that was stored. */
int viewers_complete(int slow);

#endif /* VIEWERS_H */
