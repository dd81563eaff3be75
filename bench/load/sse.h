/* Copyright (C) Conduit for NGINX authors */

/*
 * The parser of an event stream, by the rules of WHATWG HTML, 9.2.6: CR, LF and
 * CRLF end a line, a byte order mark may come first, an id with a NUL is
 * ignored.  Pure; takes its input in pieces of any size.
 */

#ifndef SSE_H
#define SSE_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_buf.h"

#define SSE_ID     128    /* a longer id is ignored */
#define SSE_EVENT  32     /* a longer name is cut */


/* data belongs to the parser and is valid in the call; it may hold NUL */
typedef void (*sse_event_pt)(void *user, const char *event, const char *data,
    size_t len);

/* zeroed, with the handler set, is ready to use */
typedef struct {
    sse_event_pt   handler;
    void          *user;

    char           last_id[SSE_ID];   /* what a reconnect sends; may be empty */
    uint64_t       retry;             /* ms; 0: none came */
    uint64_t       retries;           /* lines of it */

    char           id[SSE_ID];        /* of the event that is being read */
    char           event[SSE_EVENT];
    conduit_buf_t  data;
    conduit_buf_t  line;              /* the part of a line that came */
    unsigned       started:1;         /* a line was read */
    unsigned       cr:1;              /* a LF that follows is of the same end */
} sse_t;


void sse_feed(sse_t *sse, const char *data, size_t len);

/* A new response: what came of an event without its end is dropped. */
void sse_restart(sse_t *sse);

void sse_free(sse_t *sse);

#endif /* SSE_H */
