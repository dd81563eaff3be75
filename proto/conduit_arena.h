/* Copyright (C) Conduit for NGINX authors */

/*
 * A bump allocator for one decoded message, used by protobuf-c as its
 * ProtobufCAllocator.  Single blocks are not freed.  A reset frees everything
 * but the first chunk, so that a worker decodes most messages without malloc().
 * The size of a block can be queried: protobuf-c does not tell the length of a
 * string, which may contain zero bytes, but it allocates a block for it.  Pure:
 * no NGINX type.
 */

#ifndef CONDUIT_ARENA_H
#define CONDUIT_ARENA_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

typedef struct conduit_arena_s  conduit_arena_t;


/*
 * Creates an arena of at most limit bytes, to be freed with
 * conduit_arena_free(), which accepts NULL.  Returns NULL when memory is out.
 */
conduit_arena_t *conduit_arena_create(size_t limit);
void conduit_arena_free(conduit_arena_t *a);

/* Discards all blocks; keeps the first chunk for the next message. */
void conduit_arena_reset(conduit_arena_t *a);

/*
 * Returns a block of size bytes, aligned for any type and valid until the next
 * reset; or NULL when memory is out or the limit is reached.
 */
void *conduit_arena_alloc(conduit_arena_t *a, size_t size);

/* Returns whether the limit was reached since the last reset. */
int conduit_arena_full(const conduit_arena_t *a);

/* Returns the size that a block was allocated with. */
size_t conduit_arena_size(const void *block);

#pragma GCC visibility pop

#endif /* CONDUIT_ARENA_H */
