/* Copyright (C) Conduit for NGINX authors */

/*
 * A PublishRequest that was posted as JSON, in the mapping that protobuf
 * defines for its messages ("ProtoJSON").  jansson parses it, protobuf-c
 * serializes it.  Pure: no NGINX type.
 */

#ifndef CONDUIT_MESSAGE_JSON_H
#define CONDUIT_MESSAGE_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_arena.h"
#include "conduit_id.h"
#include "conduit_message.h"

#pragma GCC visibility push(hidden)

/* bytes of the path of a field, such as "payload.list[3].name"; a longer path
   is truncated */
#define CONDUIT_MESSAGE_JSON_FIELD_MAX  200

/* bytes that conduit_message_json_error_write() may write */
#define CONDUIT_MESSAGE_JSON_ERROR_MAX  (CONDUIT_MESSAGE_JSON_FIELD_MAX + 200)

/* private to proto/ */
#define CONDUIT_MESSAGE_JSON_TOO_DEEP  "is nested deeper than 100 levels"

/*
 * An arena limit that is sufficient for any text of len bytes.  A list element
 * such as "1," becomes a Value of 64 bytes, with the pointer to it, and 11
 * bytes of serialized message; nothing else needs more for a byte of text.
 */
#define CONDUIT_MESSAGE_JSON_MEMORY(len)  (65536 + 128 * (size_t) (len))

typedef enum {
    CONDUIT_MESSAGE_JSON_OK = 0,
    CONDUIT_MESSAGE_JSON_SYNTAX,       /* not a JSON object */
    CONDUIT_MESSAGE_JSON_FIELD,        /* a field is unknown, or of a wrong
                                          type */
    CONDUIT_MESSAGE_JSON_DEPTH,        /* nested deeper than the limit */
    CONDUIT_MESSAGE_JSON_CHANNEL_ID,   /* not a UUID */
    CONDUIT_MESSAGE_JSON_MESSAGE_ID,   /* not a UUID */
    CONDUIT_MESSAGE_JSON_MISMATCH,     /* channel_id is not the expected one */
    CONDUIT_MESSAGE_JSON_NO_MEMORY
} conduit_message_json_status_e;

/* an error, and where it is: at a line and column, or else in a field */
typedef struct {
    const char  *text;        /* static, e.g. "is not a UUID" */
    int          line;        /* from 1; 0: see field */
    int          column;      /* in characters, from 1 */
    char         field[CONDUIT_MESSAGE_JSON_FIELD_MAX + 1];   /* its path */
} conduit_message_json_error_t;

/* a message that was read; data is valid until the arena is reset */
typedef struct {
    uint8_t         *data;             /* the serialized PublishRequest */
    size_t           len;
    char             message_id[CONDUIT_UUID_LEN];   /* lower case */
    conduit_phase_e  phase;
    uint64_t         sequence;         /* 0 without has_sequence */
    unsigned         has_sequence:1;   /* 0: data contains no sequence */
} conduit_message_json_t;


/*
 * Reads one JSON object and serializes it.  Names of fields may be in
 * snake_case or in lowerCamelCase; a field that is null counts as absent.
 * channel is the expected channel_id (CONDUIT_UUID_LEN bytes, lower case).
 * Absent fields have these values: channel_id that of channel, message_id that
 * of m->message_id, which the caller must set before, phase PHASE_DELTA.  Ids
 * are written hyphenated and in lower case.  Memory comes from the arena.  On
 * any status but CONDUIT_MESSAGE_JSON_OK and _NO_MEMORY, *error is set.
 */
conduit_message_json_status_e conduit_message_json_read(const char *text,
    size_t len, const char *channel, conduit_arena_t *arena,
    conduit_message_json_t *m, conduit_message_json_error_t *error);

/*
 * Writes an error as one line of printable ASCII, without quotes and
 * backslashes, to out, which has CONDUIT_MESSAGE_JSON_ERROR_MAX bytes, with a
 * terminating zero.  Returns the length.
 */
size_t conduit_message_json_error_write(
    const conduit_message_json_error_t *error, char *out);

#pragma GCC visibility pop

#endif /* CONDUIT_MESSAGE_JSON_H */
