/*
 * JSON as a google.protobuf.Struct.  Private to this room.
 */

#ifndef CONDUIT_STRUCT_JSON_H
#define CONDUIT_STRUCT_JSON_H

#include <jansson.h>

#include "conduit_arena.h"
#include "conduit_message_json.h"
#include "conduit_pb.h"

#pragma GCC visibility push(hidden)

/* where a reader is, for its errors */
typedef struct {
    conduit_arena_t               *arena;
    conduit_message_json_error_t  *error;   /* error->field is the place */
    size_t                         len;     /* of the place */
} conduit_json_reader_t;


/*
 * Makes a Struct of an object, in memory of the arena; its strings are those of
 * the json_t, which must live as long.  The object is the first level of
 * CONDUIT_MESSAGE_MAX_DEPTH.  Returns what conduit_message_json_read() does.
 */
conduit_message_json_status_t conduit_struct_json_read(
    conduit_json_reader_t *reader, json_t *object,
    Google__Protobuf__Struct **result);

/* Goes into a member; returns where to come back to with _leave(). */
size_t conduit_json_enter(conduit_json_reader_t *reader, const char *key);
void conduit_json_leave(conduit_json_reader_t *reader, size_t len);

#pragma GCC visibility pop

#endif /* CONDUIT_STRUCT_JSON_H */
