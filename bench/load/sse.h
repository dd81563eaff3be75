/* Copyright (C) Conduit for NGINX authors */

/*
 * The parser of an event stream, by the rules of WHATWG HTML, 9.2.6: CR, LF and
 * CRLF end a line, a byte order mark may come first, an id with a NUL is
 * ignored.  It has no input or output of its own, and takes pieces of any size.
 */

#ifndef SSE_H
#define SSE_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_buf.h"

#define SSE_ID     128    /* a longer id is ignored */
#define SSE_EVENT  32     /* a longer event name is truncated */


/* data belongs to the parser and is valid during the call; it may contain
   NUL */
typedef void (*sse_event_pt)(void *user, const char *event, const char *data,
    size_t len);

/* ready for use when it is zeroed and the handler is set */
typedef struct {
    sse_event_pt   handler;
    void          *user;

    char           last_id[SSE_ID];   /* what a reconnect sends as
                                         Last-Event-ID; may be empty */
    uint64_t       retry;             /* ms; 0: not received */
    uint64_t       retries;           /* number of "retry" lines */

    char           id[SSE_ID];        /* of the event that is being read */
    char           event[SSE_EVENT];
    conduit_buf_t  data;
    conduit_buf_t  line;              /* the part of a line received so far */
    unsigned       started:1;         /* a line was read */
    unsigned       cr:1;              /* CR was read: an LF that follows belongs
                                         to the same line end */
} sse_t;


void sse_feed(sse_t *sse, const char *data, size_t len);

/* To be called for a new response: drops an event that is not complete. */
void sse_restart(sse_t *sse);

void sse_free(sse_t *sse);

#endif /* SSE_H */
