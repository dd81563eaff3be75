/* Copyright (C) Conduit for NGINX authors */

#ifndef MEMORY_H_INCLUDED
#define MEMORY_H_INCLUDED

#include <stddef.h>

/*
 * Pure code is built for the unit tests with malloc(), calloc() and realloc()
 * defined as the functions here.  They count the calls, and make one of them
 * fail as the C library's do.  What tests and libraries allocate is not
 * counted, unless a test hands these functions to a library.
 */

/* starts to count; the call with number fail returns NULL; 0: none fails */
void memory_count(size_t fail);

/* the number of calls since then, and the bytes that they asked for */
size_t memory_calls(void);
size_t memory_bytes(void);

void *memory_malloc(size_t size);
void *memory_calloc(size_t n, size_t size);
void *memory_realloc(void *p, size_t size);

#endif
