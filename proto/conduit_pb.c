/* Copyright (C) Conduit for NGINX authors */

/*
 * One translation unit for the generated code, which gets hidden visibility
 * here; warnings about it must not fail a build with -Werror.
 */

#include "conduit_arena.h"
#include "conduit_pb.h"

#pragma GCC visibility push(hidden)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#include "google/protobuf/struct.pb-c.c"
#include "google/protobuf/timestamp.pb-c.c"
#include "publish.pb-c.c"

#pragma GCC diagnostic pop
#pragma GCC visibility pop


size_t
conduit_pb_strlen(const char *s)
{
    /* an absent field is not a block of the arena */

    if (s == NULL || s == protobuf_c_empty_string) {
        return 0;
    }

    return conduit_arena_size(s) - 1;
}
