/* Copyright (C) Conduit for NGINX authors */

/*
 * A byte buffer that grows with realloc().  It is meant to be kept and reused:
 * a worker writes each frame into the same buffer, and then copies the result
 * once, into memory of its exact size.  Pure: no NGINX type.
 */

#ifndef CONDUIT_BUF_H
#define CONDUIT_BUF_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* a zeroed buffer is empty and ready to use */
typedef struct {
    char    *data;
    size_t   len;      /* bytes written */
    size_t   cap;      /* bytes allocated */
    int      failed;   /* an allocation has failed since the last reset: the
                          content is not complete */
} conduit_buf_t;


/* Discards the content and the failure; keeps the memory. */
void conduit_buf_reset(conduit_buf_t *b);

/* Frees the memory; the buffer is empty and ready to use again. */
void conduit_buf_free(conduit_buf_t *b);

/*
 * Makes room for n more bytes.  Returns the address to write them to, valid
 * until the next call; the caller then adds the number of bytes written to
 * b->len.  Returns NULL and sets b->failed when memory is out, and also while
 * an earlier failure is set.
 */
char *conduit_buf_reserve(conduit_buf_t *b, size_t n);

/* Appends n bytes; when memory is out, sets b->failed and writes nothing. */
void conduit_buf_append(conduit_buf_t *b, const void *data, size_t n);

/* Appends a string literal. */
#define conduit_buf_lit(b, s)  conduit_buf_append(b, s, sizeof(s) - 1)

#pragma GCC visibility pop

#endif /* CONDUIT_BUF_H */
