/*
 * A PublishRequest put into a form that protobuf-c reads as protobuf defines
 * it.  Private to this room.
 */

#ifndef CONDUIT_MERGE_H
#define CONDUIT_MERGE_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_arena.h"
#include "conduit_message.h"

#pragma GCC visibility push(hidden)

/*
 * Writes a message that conduit_walk() has accepted anew, to memory of the
 * arena, not longer than it was: a message field that was given several times
 * is there once, with the content of all, and of the kinds of a Value the last
 * one is left.  Leaves out the timestamp, which no event has, and all unknown
 * fields, groups among them.  Returns CONDUIT_MESSAGE_OK and sets *data and
 * *len to the result, or CONDUIT_MESSAGE_NO_MEMORY.
 */
conduit_message_status_t conduit_merge(const uint8_t **data, size_t *len,
    conduit_arena_t *arena);

#pragma GCC visibility pop

#endif /* CONDUIT_MERGE_H */
