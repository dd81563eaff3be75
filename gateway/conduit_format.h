/* Copyright (C) Conduit for NGINX authors */

/*
 * Formats: how an entry of a stream becomes the bytes of a Server-Sent Event
 * (WHATWG HTML, 9.2.5 and 9.2.6).  Each format has its functions, which are
 * chosen once for a location.  Pure: no NGINX type.
 *
 *   conduit   event: stream, id:, data: of a PublishRequest, as the contract
 *             says
 *   payload   id:, data: of the payload of a PublishRequest alone; a message
 *             without one is not sent; END is "data: [DONE]"
 *   json      id:, data: of a field that is JSON, on one line
 *   text      id:, and a data: for each line of a field of any bytes
 *   durable   the two events of conduit_durable.h, for a stream of JSON, of
 *             text, or of bytes; the control event without its rest, unless the
 *             stream ends with it
 *
 * In json, text and durable, an entry that has the end field ends the stream,
 * even if its data field can't be sent: then the event has no data.  Such an
 * event is an id alone: the client stores its position and dispatches nothing.
 * In durable it is a control event alone.
 */

#ifndef CONDUIT_FORMAT_H
#define CONDUIT_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_arena.h"
#include "conduit_buf.h"
#include "conduit_id.h"

#pragma GCC visibility push(hidden)

typedef enum {
    CONDUIT_FORMAT_CONDUIT = 0,
    CONDUIT_FORMAT_PAYLOAD,
    CONDUIT_FORMAT_JSON,
    CONDUIT_FORMAT_TEXT,
    CONDUIT_FORMAT_DURABLE,        /* in the order of conduit_durable_mode_e:
                                      of JSON */
    CONDUIT_FORMAT_DURABLE_TEXT,
    CONDUIT_FORMAT_DURABLE_BYTES,
    CONDUIT_FORMATS
} conduit_format_e;

/* the error of a value that is larger than "max" */
#define CONDUIT_FORMAT_TOO_LARGE  "larger than \"conduit_gateway_max_size\""

/* an entry, as it was read */
typedef struct {
    conduit_stream_id_t  id;
    const uint8_t       *data;   /* the value of the data field; NULL: no such
                                    field */
    size_t               len;
    size_t               max;    /* largest len allowed; 0: any.  The format
                                    conduit has no limit */
    int                  end;    /* the entry has the end field */
} conduit_format_entry_t;

/* the event made from an entry */
typedef struct {
    int                  sent;   /* an event was appended */
    int                  end;    /* an event was appended that ends the
                                    stream */
    int                  prompt; /* an event was appended that must not be held
                                    back: it is no delta, or it is the end */
    const char          *error;  /* static text: why the entry, or its value,
                                    was skipped; NULL: it was not */
} conduit_format_event_t;

typedef struct {
    /*
     * Appends the event of an entry to b and fills *event.  A failed allocation
     * shows in b->failed; decoding takes memory from the arena, which the
     * caller resets before.
     */
    void  (*write)(const conduit_format_entry_t *e, conduit_arena_t *arena,
                   conduit_buf_t *b, conduit_format_event_t *event);

    /* Whether write() would set event->end; it uses the arena likewise. */
    int   (*is_end)(const conduit_format_entry_t *e, conduit_arena_t *arena);
} conduit_format_t;


/* indexed by conduit_format_e */
extern const conduit_format_t  conduit_formats[CONDUIT_FORMATS];

#pragma GCC visibility pop

#endif /* CONDUIT_FORMAT_H */
