/* Copyright (C) Conduit for NGINX authors */

/*
 * malloc(), calloc() and realloc() for unit tests: they count calls and bytes,
 * and make a call fail; see memory.h.
 */

#include <errno.h>
#include <stdlib.h>

#include "memory.h"


static size_t  calls, bytes, failing;


void
memory_count(size_t fail)
{
    calls = 0;
    bytes = 0;
    failing = fail;
}


size_t
memory_calls(void)
{
    return calls;
}


size_t
memory_bytes(void)
{
    return bytes;
}


static int
memory_fails(size_t size)
{
    bytes += size;

    if (++calls != failing) {
        return 0;
    }

    errno = ENOMEM;

    return 1;
}


void *
memory_malloc(size_t size)
{
    return memory_fails(size) ? NULL : malloc(size);
}


void *
memory_calloc(size_t n, size_t size)
{
    return memory_fails(n * size) ? NULL : calloc(n, size);
}


void *
memory_realloc(void *p, size_t size)
{
    return memory_fails(size) ? NULL : realloc(p, size);
}
