/*
 * A PublishRequest: decoded with protobuf-c, validated, written as the JSON of
 * its event.  Pure: no NGINX type.
 */

#ifndef CONDUIT_MESSAGE_H
#define CONDUIT_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_arena.h"
#include "conduit_buf.h"
#include "conduit_id.h"

#pragma GCC visibility push(hidden)

/* nesting of objects and lists in a payload, the payload itself being 1 */
#define CONDUIT_MESSAGE_MAX_DEPTH  100

/*
 * An arena limit that is enough to decode and write any message of len bytes:
 * protobuf-c makes up to 60 bytes of one (a struct of empty entries), sorting
 * the keys adds 12, and chunks that were left have unused ends.
 */
#define CONDUIT_MESSAGE_MEMORY(len)  (65536 + 128 * (size_t) (len))

typedef enum {
    CONDUIT_PHASE_UNSPECIFIED = 0,
    CONDUIT_PHASE_START,
    CONDUIT_PHASE_DELTA,
    CONDUIT_PHASE_END,
    CONDUIT_PHASE_ERROR
} conduit_phase_t;

typedef enum {
    CONDUIT_MESSAGE_OK = 0,
    CONDUIT_MESSAGE_MALFORMED,    /* not a PublishRequest */
    CONDUIT_MESSAGE_DEPTH,        /* nested deeper than the limit */
    CONDUIT_MESSAGE_UTF8,         /* a string or map key is not UTF-8 */
    CONDUIT_MESSAGE_CHANNEL_ID,   /* channel_id is no UUID */
    CONDUIT_MESSAGE_MESSAGE_ID,   /* message_id is no UUID */
    CONDUIT_MESSAGE_NO_MEMORY
} conduit_message_status_t;

/* a decoded message; lives as long as its arena is not reset */
typedef struct {
    char             message_id[CONDUIT_UUID_LEN];   /* lower case */
    char             channel_id[CONDUIT_UUID_LEN];   /* lower case */
    conduit_phase_t  phase;
    uint64_t         sequence;
    void            *payload;     /* Google__Protobuf__Struct, or NULL */
} conduit_message_t;


/*
 * Decodes and validates a serialized PublishRequest.  The wire form is walked
 * first, without recursion, for nesting and UTF-8, so that protobuf-c never
 * sees a message that could exhaust the stack.  data is not kept.  Memory comes
 * from the arena, which the caller resets when the message is done with.
 */
conduit_message_status_t conduit_message_decode(const uint8_t *data,
    size_t len, conduit_arena_t *arena, conduit_message_t *m);

/* A short text for logs and replies, e.g. "channel_id is no UUID". */
const char *conduit_message_status_text(conduit_message_status_t status);

/* "PHASE_START" and so on. */
const char *conduit_phase_name(conduit_phase_t phase);

/*
 * Appends the message as one JSON object on one line, members in the order
 * event_type, message_id, channel_id, phase, sequence, payload; keys of objects
 * in the payload sorted by bytes, a key given twice taken once, with its last
 * value.  Scratch memory comes from the arena.  A failed allocation shows in
 * b->failed.
 */
void conduit_message_write_json(const conduit_message_t *m,
    conduit_arena_t *arena, conduit_buf_t *b);

/* Appends its payload alone, likewise; one that is absent is null. */
void conduit_message_write_payload(const conduit_message_t *m,
    conduit_arena_t *arena, conduit_buf_t *b);

#pragma GCC visibility pop

#endif /* CONDUIT_MESSAGE_H */
