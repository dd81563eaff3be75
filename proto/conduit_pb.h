/*
 * The code protoc-c generates of publish.proto and of the two files it imports,
 * with hidden visibility.  Private to this room.
 */

#ifndef CONDUIT_PB_H
#define CONDUIT_PB_H

#include <stddef.h>

/* the library's own symbols stay visible: included before the pragma */
#include <protobuf-c/protobuf-c.h>

#pragma GCC visibility push(hidden)

#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "publish.pb-c.h"

/*
 * The length a decoded string had on the wire; strlen() would stop at a zero
 * byte.  s comes from a message that was unpacked into a conduit_arena_t, or
 * is the empty string protobuf-c gives to fields that are absent.
 */
size_t conduit_pb_strlen(const char *s);

#pragma GCC visibility pop

#endif /* CONDUIT_PB_H */
