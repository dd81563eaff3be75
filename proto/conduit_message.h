/* Copyright (C) Conduit for NGINX authors */

/*
 * A PublishRequest: decodes it with protobuf-c, validates it, and writes it as
 * the JSON of an event.  Pure: no NGINX type.
 */

#ifndef CONDUIT_MESSAGE_H
#define CONDUIT_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_arena.h"
#include "conduit_buf.h"
#include "conduit_id.h"

#pragma GCC visibility push(hidden)

/* nesting of objects and lists in a payload; the payload itself is level 1 */
#define CONDUIT_MESSAGE_MAX_DEPTH  100

/*
 * An arena limit that is sufficient to decode and write any message of len
 * bytes.  For a byte of a message protobuf-c allocates up to 60 bytes (a struct
 * of empty entries), and sorting the keys 12 more; the ends of chunks may be
 * unused.
 */
#define CONDUIT_MESSAGE_MEMORY(len)  (65536 + 128 * (size_t) (len))

typedef enum {
    CONDUIT_PHASE_UNSPECIFIED = 0,
    CONDUIT_PHASE_START,
    CONDUIT_PHASE_DELTA,
    CONDUIT_PHASE_END,
    CONDUIT_PHASE_ERROR
} conduit_phase_e;

typedef enum {
    CONDUIT_MESSAGE_OK = 0,
    CONDUIT_MESSAGE_MALFORMED,    /* not a PublishRequest */
    CONDUIT_MESSAGE_DEPTH,        /* nested deeper than the limit */
    CONDUIT_MESSAGE_UTF8,         /* a string or map key is not UTF-8 */
    CONDUIT_MESSAGE_CHANNEL_ID,   /* channel_id is not a UUID */
    CONDUIT_MESSAGE_MESSAGE_ID,   /* message_id is not a UUID */
    CONDUIT_MESSAGE_NO_MEMORY
} conduit_message_status_e;

/* a decoded message; payload is valid until its arena is reset */
typedef struct {
    char             message_id[CONDUIT_UUID_LEN];   /* lower case */
    char             channel_id[CONDUIT_UUID_LEN];   /* lower case */
    conduit_phase_e  phase;
    uint64_t         sequence;
    void            *payload;     /* Google__Protobuf__Struct, or NULL */
} conduit_message_t;


/*
 * Decodes and validates a serialized PublishRequest.  First checks its form,
 * nesting and UTF-8 without recursion: protobuf-c is recursive, and a deeply
 * nested message could exhaust the stack.  data is not kept.  Memory comes from
 * the arena, which the caller resets when *m is no longer needed.  On any
 * status but CONDUIT_MESSAGE_OK *m is undefined.
 */
conduit_message_status_e conduit_message_decode(const uint8_t *data,
    size_t len, conduit_arena_t *arena, conduit_message_t *m);

/*
 * Validates a message as conduit_message_decode() does, with the same result,
 * but does not decode the payload: m->payload is NULL.  This takes a fraction
 * of the time, and memory only for a message that has to be merged: at most
 * "memory" bytes, which are freed before the return.
 */
conduit_message_status_e conduit_message_check(const uint8_t *data,
    size_t len, size_t memory, conduit_message_t *m);

/* Returns a short text for logs, e.g. "channel_id is not a UUID". */
const char *conduit_message_status_text(conduit_message_status_e status);

/* Returns "PHASE_START" and so on; PHASE_UNSPECIFIED for an unknown phase. */
const char *conduit_phase_name(conduit_phase_e phase);

/*
 * Appends the message as a JSON object on one line, with the members
 * event_type, message_id, channel_id, phase, sequence and payload, in this
 * order.  Keys of objects in the payload are sorted by bytes; a key that occurs
 * several times is written once, with its last value.  Scratch memory comes
 * from the arena.  When memory is out, sets b->failed.
 */
void conduit_message_write_json(const conduit_message_t *m,
    conduit_arena_t *arena, conduit_buf_t *b);

/* Appends only the payload, in the same form; "null" if there is none. */
void conduit_message_write_payload(const conduit_message_t *m,
    conduit_arena_t *arena, conduit_buf_t *b);

#pragma GCC visibility pop

#endif /* CONDUIT_MESSAGE_H */
