/* Copyright (C) Conduit for NGINX authors */

/*
 * Rewrites a serialized PublishRequest so that protobuf-c decodes it as the
 * protobuf specification requires.  Private to proto/.
 */

#ifndef CONDUIT_MERGE_H
#define CONDUIT_MERGE_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_arena.h"
#include "conduit_message.h"

#pragma GCC visibility push(hidden)

/*
 * Rewrites a message that conduit_walk() has accepted, in memory of the arena.
 * A message field that occurs several times is written once, with the content
 * of all; of several kinds of a Value only the last one remains.  The
 * timestamp, which is not part of an event, and unknown fields, including
 * groups, are left out.  The result is not longer than the message.  Returns
 * CONDUIT_MESSAGE_OK and sets *data and *len to the result; or
 * CONDUIT_MESSAGE_NO_MEMORY.
 */
conduit_message_status_e conduit_merge(const uint8_t **data, size_t *len,
    conduit_arena_t *arena);

#pragma GCC visibility pop

#endif /* CONDUIT_MERGE_H */
