/*
 * A bump allocator for one decoded message, offered to protobuf-c as its
 * ProtobufCAllocator.  Freeing a block does nothing; a reset frees all and
 * keeps the first chunk, so that a worker decodes without malloc().  Every
 * block knows its size: protobuf-c's strings end at the first zero byte, the
 * block tells the length that was on the wire.  Pure: no NGINX type.
 */

#ifndef CONDUIT_ARENA_H
#define CONDUIT_ARENA_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

typedef struct conduit_arena_s  conduit_arena_t;


/*
 * Makes an arena that never holds more than limit bytes.  Returns NULL when
 * memory is out.  conduit_arena_free() takes NULL too.
 */
conduit_arena_t *conduit_arena_create(size_t limit);
void conduit_arena_free(conduit_arena_t *a);

/* Forgets every block; keeps the first chunk for the next message. */
void conduit_arena_reset(conduit_arena_t *a);

/* Returns size bytes aligned for any type, or NULL (memory out, or limit). */
void *conduit_arena_alloc(conduit_arena_t *a, size_t size);

/* Whether a block was refused for the limit since the last reset. */
int conduit_arena_full(const conduit_arena_t *a);

/* The size a block of conduit_arena_alloc() was asked for. */
size_t conduit_arena_size(const void *block);

#pragma GCC visibility pop

#endif /* CONDUIT_ARENA_H */
