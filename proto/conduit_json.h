/* Copyright (C) Conduit for NGINX authors */

/*
 * Writes a google.protobuf.Struct as JSON (RFC 8259) on one line.  Private to
 * proto/.
 */

#ifndef CONDUIT_JSON_H
#define CONDUIT_JSON_H

#include "conduit_arena.h"
#include "conduit_buf.h"
#include "conduit_pb.h"

#pragma GCC visibility push(hidden)

/*
 * Appends a struct that conduit_message_decode() has unpacked, whose limited
 * depth limits the recursion.  Keys are sorted by bytes; a key that occurs
 * several times is written once, with its last value.  Scratch memory comes
 * from the arena.  When memory is out, sets b->failed.
 */
void conduit_json_write_struct(const Google__Protobuf__Struct *object,
    conduit_arena_t *arena, conduit_buf_t *b);

#pragma GCC visibility pop

#endif /* CONDUIT_JSON_H */
