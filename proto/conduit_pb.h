/* Copyright (C) Conduit for NGINX authors */

/*
 * The code that protoc-c generates from publish.proto and the two files that it
 * imports, with hidden visibility.  Private to proto/.
 */

#ifndef CONDUIT_PB_H
#define CONDUIT_PB_H

#include <stddef.h>

/* before the pragma, as the symbols of the library are not hidden */
#include <protobuf-c/protobuf-c.h>

#pragma GCC visibility push(hidden)

#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "publish.pb-c.h"

/*
 * Returns the length that a decoded string had on the wire; strlen() would stop
 * at the first zero byte.  s is a string of a message that was unpacked into a
 * conduit_arena_t, the empty string that protobuf-c uses for absent fields, or
 * NULL.
 */
size_t conduit_pb_strlen(const char *s);

#pragma GCC visibility pop

#endif /* CONDUIT_PB_H */
