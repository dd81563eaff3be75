/*
 * A google.protobuf.Struct as JSON (RFC 8259) on one line.  Private to this
 * room.
 */

#ifndef CONDUIT_JSON_H
#define CONDUIT_JSON_H

#include "conduit_arena.h"
#include "conduit_buf.h"
#include "conduit_pb.h"

#pragma GCC visibility push(hidden)

/*
 * Appends a struct that conduit_message_decode() unpacked; its depth bounds the
 * recursion.  Keys come sorted by bytes, each once, with the last value given.
 * A failed allocation, of scratch memory from the arena too, shows in
 * b->failed.
 */
void conduit_json_write_struct(const Google__Protobuf__Struct *object,
    conduit_arena_t *arena, conduit_buf_t *b);

#pragma GCC visibility pop

#endif /* CONDUIT_JSON_H */
