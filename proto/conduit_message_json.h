/*
 * A PublishRequest that was posted as JSON, as protobuf defines that for its
 * messages ("proto3 JSON"): jansson parses it, protobuf-c packs it.  Pure: no
 * NGINX type.
 */

#ifndef CONDUIT_MESSAGE_JSON_H
#define CONDUIT_MESSAGE_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_arena.h"
#include "conduit_id.h"
#include "conduit_message.h"

#pragma GCC visibility push(hidden)

/* of the name of a place in a message, such as "payload.list[3].name" */
#define CONDUIT_MESSAGE_JSON_FIELD_MAX  200

/* of conduit_message_json_error_write() */
#define CONDUIT_MESSAGE_JSON_ERROR_MAX  (CONDUIT_MESSAGE_JSON_FIELD_MAX + 200)

/* private to this room */
#define CONDUIT_MESSAGE_JSON_TOO_DEEP  "is nested deeper than 100 levels"

/*
 * An arena limit that is enough for any text of len bytes: "1," becomes a value
 * of 64 bytes, with the pointer to it, and 11 bytes of wire form; nothing else
 * takes more for a byte of text.
 */
#define CONDUIT_MESSAGE_JSON_MEMORY(len)  (65536 + 128 * (size_t) (len))

typedef enum {
    CONDUIT_MESSAGE_JSON_OK = 0,
    CONDUIT_MESSAGE_JSON_SYNTAX,       /* no JSON object */
    CONDUIT_MESSAGE_JSON_FIELD,        /* a field is unknown, or of a wrong
                                          type */
    CONDUIT_MESSAGE_JSON_DEPTH,        /* nested deeper than the limit */
    CONDUIT_MESSAGE_JSON_CHANNEL_ID,   /* no UUID */
    CONDUIT_MESSAGE_JSON_MESSAGE_ID,   /* likewise */
    CONDUIT_MESSAGE_JSON_MISMATCH,     /* channel_id is not the path's */
    CONDUIT_MESSAGE_JSON_NO_MEMORY
} conduit_message_json_status_t;

/* what is wrong with a text, and where */
typedef struct {
    const char  *text;        /* static, e.g. "is no UUID" */
    int          line;        /* from 1; 0: not known, field is */
    int          column;      /* in characters, from 1 */
    char         field[CONDUIT_MESSAGE_JSON_FIELD_MAX + 1];
} conduit_message_json_error_t;

/* a message that was read; data lives as long as the arena is not reset */
typedef struct {
    uint8_t         *data;             /* the serialized PublishRequest */
    size_t           len;
    char             message_id[CONDUIT_UUID_LEN];   /* lower case */
    conduit_phase_t  phase;
    uint64_t         sequence;         /* with has_sequence */
    unsigned         has_sequence:1;   /* or else it is not in data */
} conduit_message_json_t;


/*
 * Reads one JSON object.  Names of fields may be in snake_case or in
 * lowerCamelCase; a field that is null counts as left out.  What is left out:
 * channel_id is channel (CONDUIT_UUID_LEN bytes, lower case), which a given one
 * must be, too; message_id is that of m->message_id, to be set by the caller;
 * phase is PHASE_DELTA.  Ids are packed hyphenated and in lower case.  On any
 * status but _OK and _NO_MEMORY *error is set.
 */
conduit_message_json_status_t conduit_message_json_read(const char *text,
    size_t len, const char *channel, conduit_arena_t *arena,
    conduit_message_json_t *m, conduit_message_json_error_t *error);

/*
 * Writes an error as a line of printable ASCII, without quotes or backslashes,
 * to out (CONDUIT_MESSAGE_JSON_ERROR_MAX bytes, zero-terminated).  Returns its
 * length.
 */
size_t conduit_message_json_error_write(
    const conduit_message_json_error_t *error, char *out);

#pragma GCC visibility pop

#endif /* CONDUIT_MESSAGE_JSON_H */
