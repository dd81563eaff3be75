/* Copyright (C) Conduit for NGINX authors */

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#include "conduit_arena.h"

/* with AddressSanitizer, memory outside of blocks is poisoned */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONDUIT_ARENA_ASAN  1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define CONDUIT_ARENA_ASAN  1
#endif

#ifdef CONDUIT_ARENA_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)    ((void) (p), (void) (n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n)  ((void) (p), (void) (n))
#endif


/*
 * Each chunk is twice as large as the one before it, from the first to the
 * second size; a block too large to share a chunk gets a chunk of its own.
 */
#define CONDUIT_ARENA_CHUNK      (64 * 1024)
#define CONDUIT_ARENA_CHUNK_MAX  (1024 * 1024)

#define CONDUIT_ARENA_ALIGN      alignof(max_align_t)

/* the size of a block is stored directly before it */
#define CONDUIT_ARENA_HEAD       sizeof(size_t)

#define conduit_arena_round(n)                                                \
    (((n) + CONDUIT_ARENA_ALIGN - 1) & ~(CONDUIT_ARENA_ALIGN - 1))


typedef struct conduit_arena_chunk_s  conduit_arena_chunk_t;

struct conduit_arena_chunk_s {
    conduit_arena_chunk_t  *next;
    size_t                  size;    /* of the whole chunk */
};

/* where the first block of a chunk begins */
#define CONDUIT_ARENA_START                                                   \
    conduit_arena_round(sizeof(conduit_arena_chunk_t) + CONDUIT_ARENA_HEAD)

struct conduit_arena_s {
    conduit_arena_chunk_t  *first;   /* kept by a reset */
    conduit_arena_chunk_t  *chunk;   /* where the next block comes from */
    size_t                  next;    /* offset of the next block in it */
    size_t                  held;    /* bytes of all chunks */
    size_t                  limit;
    int                     full;    /* a block was refused: the limit */
};


static conduit_arena_chunk_t *conduit_arena_grow(conduit_arena_t *a,
    size_t size);
static void *conduit_arena_block(conduit_arena_chunk_t *chunk, size_t offset,
    size_t size);
static void conduit_arena_poison(conduit_arena_chunk_t *chunk);


conduit_arena_t *
conduit_arena_create(size_t limit)
{
    conduit_arena_t  *a;

    a = calloc(1, sizeof(conduit_arena_t));
    if (a == NULL) {
        return NULL;
    }

    /* so that sums of sizes can't overflow */

    if (limit > SIZE_MAX / 2) {
        limit = SIZE_MAX / 2;
    }

    a->limit = limit;

    /* the limit has no room for any block: the arena gets no chunk */

    if (limit < CONDUIT_ARENA_START) {
        return a;
    }

    a->first = conduit_arena_grow(a, (limit < CONDUIT_ARENA_CHUNK)
                                     ? limit : CONDUIT_ARENA_CHUNK);
    if (a->first == NULL) {
        free(a);
        return NULL;
    }

    conduit_arena_reset(a);

    return a;
}


void
conduit_arena_free(conduit_arena_t *a)
{
    if (a == NULL) {
        return;
    }

    conduit_arena_reset(a);

    free(a->first);
    free(a);
}


void
conduit_arena_reset(conduit_arena_t *a)
{
    conduit_arena_chunk_t  *chunk, *next;

    a->full = 0;

    if (a->first == NULL) {
        return;
    }

    for (chunk = a->first->next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }

    a->first->next = NULL;
    a->chunk = a->first;
    a->next = CONDUIT_ARENA_START;
    a->held = a->first->size;

    conduit_arena_poison(a->first);
}


void *
conduit_arena_alloc(conduit_arena_t *a, size_t size)
{
    void                   *block;
    size_t                  need, grow;
    conduit_arena_chunk_t  *chunk;

    if (a->first == NULL || size > a->limit - CONDUIT_ARENA_START) {
        a->full = 1;
        return NULL;
    }

    chunk = a->chunk;

    if (a->next > chunk->size || size > chunk->size - a->next) {

        need = CONDUIT_ARENA_START + size;

        grow = 2 * chunk->size;

        if (grow > CONDUIT_ARENA_CHUNK_MAX) {
            grow = CONDUIT_ARENA_CHUNK_MAX;
        }

        if (need > grow / 2) {
            chunk = conduit_arena_grow(a, need);

            /* the next blocks still come from the current chunk */

            return (chunk != NULL)
                   ? conduit_arena_block(chunk, CONDUIT_ARENA_START, size)
                   : NULL;
        }

        if (grow > a->limit - a->held) {
            grow = a->limit - a->held;
        }

        chunk = conduit_arena_grow(a, (grow > need) ? grow : need);
        if (chunk == NULL) {
            return NULL;
        }

        a->chunk = chunk;
        a->next = CONDUIT_ARENA_START;
    }

    block = conduit_arena_block(chunk, a->next, size);

    a->next = conduit_arena_round(a->next + size + CONDUIT_ARENA_HEAD);

    return block;
}


int
conduit_arena_full(const conduit_arena_t *a)
{
    return a->full;
}


size_t
conduit_arena_size(const void *block)
{
    return ((const size_t *) block)[-1];
}


/* adds a chunk of size bytes, its head included, unless the limit is reached */

static conduit_arena_chunk_t *
conduit_arena_grow(conduit_arena_t *a, size_t size)
{
    conduit_arena_chunk_t  *chunk;

    if (size > a->limit - a->held) {
        a->full = 1;
        return NULL;
    }

    chunk = malloc(size);
    if (chunk == NULL) {
        return NULL;
    }

    chunk->next = NULL;
    chunk->size = size;

    if (a->first != NULL) {
        chunk->next = a->first->next;
        a->first->next = chunk;
    }

    a->held += size;

    conduit_arena_poison(chunk);

    return chunk;
}


static void *
conduit_arena_block(conduit_arena_chunk_t *chunk, size_t offset, size_t size)
{
    size_t  *block;

    block = (size_t *) (void *) ((char *) chunk + offset);

    ASAN_UNPOISON_MEMORY_REGION(block - 1, CONDUIT_ARENA_HEAD + size);

    block[-1] = size;

    return block;
}


static void
conduit_arena_poison(conduit_arena_chunk_t *chunk)
{
    ASAN_POISON_MEMORY_REGION(chunk + 1,
                              chunk->size - sizeof(conduit_arena_chunk_t));
}
