/* Copyright (C) Conduit for NGINX authors */

/*
 * Converts JSON to a google.protobuf.Struct.  Private to proto/.
 */

#ifndef CONDUIT_STRUCT_JSON_H
#define CONDUIT_STRUCT_JSON_H

#include <jansson.h>

#include "conduit_arena.h"
#include "conduit_message_json.h"
#include "conduit_pb.h"

#pragma GCC visibility push(hidden)

/* state of reading; keeps the path of the current field, for errors */
typedef struct {
    conduit_arena_t               *arena;
    conduit_message_json_error_t  *error;   /* the path is error->field */
    size_t                         len;     /* of the path */
} conduit_json_reader_t;


/*
 * Converts an object to a Struct in memory of the arena.  The Struct points to
 * the strings of the object, which must live as long.  The object itself is
 * level 1 of CONDUIT_MESSAGE_MAX_DEPTH.  Returns CONDUIT_MESSAGE_JSON_OK,
 * _DEPTH (with error->text set) or _NO_MEMORY.
 */
conduit_message_json_status_e conduit_struct_json_read(
    conduit_json_reader_t *reader, json_t *object,
    Google__Protobuf__Struct **result);

/*
 * conduit_json_enter() appends the key of a member to the path and returns the
 * previous length, which conduit_json_leave() restores.
 */
size_t conduit_json_enter(conduit_json_reader_t *reader, const char *key);
void conduit_json_leave(conduit_json_reader_t *reader, size_t len);

#pragma GCC visibility pop

#endif /* CONDUIT_STRUCT_JSON_H */
