/*
 * A growing buffer of bytes on malloc().  Made to be kept and reused: a worker
 * writes every frame into one and copies the result once, in its exact size.
 * Pure: no NGINX type.
 */

#ifndef CONDUIT_BUF_H
#define CONDUIT_BUF_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* zeroed is empty and ready to use */
typedef struct {
    char    *data;
    size_t   len;      /* bytes written */
    size_t   cap;      /* bytes allocated */
    int      failed;   /* an allocation failed since the last reset; what was
                          written since then is not complete */
} conduit_buf_t;


/* Forgets the content and the failure, keeps the memory. */
void conduit_buf_reset(conduit_buf_t *b);

/* Frees the memory; the buffer is empty and ready to use again. */
void conduit_buf_free(conduit_buf_t *b);

/*
 * Makes room for n more bytes.  Returns the place to write them to (the caller
 * then adds what it wrote to b->len), or NULL and sets b->failed.
 */
char *conduit_buf_reserve(conduit_buf_t *b, size_t n);

/* Appends n bytes; on a failed allocation sets b->failed and writes nothing. */
void conduit_buf_append(conduit_buf_t *b, const void *data, size_t n);

/* Appends a string literal. */
#define conduit_buf_lit(b, s)  conduit_buf_append(b, s, sizeof(s) - 1)

#pragma GCC visibility pop

#endif /* CONDUIT_BUF_H */
