/* Copyright (C) Conduit for NGINX authors */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_buf.h"


#define CONDUIT_BUF_MIN  256


void
conduit_buf_reset(conduit_buf_t *b)
{
    b->len = 0;
    b->failed = 0;
}


void
conduit_buf_free(conduit_buf_t *b)
{
    free(b->data);

    b->data = NULL;
    b->len = 0;
    b->cap = 0;
    b->failed = 0;
}


char *
conduit_buf_reserve(conduit_buf_t *b, size_t n)
{
    char    *data;
    size_t   cap;

    /*
     * the failure stays until a reset: if a smaller piece were appended after
     * one that was lost, the content would have a hole
     */

    if (b->failed) {
        return NULL;
    }

    if (b->data != NULL && n <= b->cap - b->len) {
        return b->data + b->len;
    }

    /* so that the doubling below can't overflow */

    if (n > SIZE_MAX / 4 - b->len) {
        b->failed = 1;
        return NULL;
    }

    cap = (b->cap > CONDUIT_BUF_MIN) ? b->cap : CONDUIT_BUF_MIN;

    while (cap < b->len + n) {
        cap *= 2;
    }

    data = realloc(b->data, cap);
    if (data == NULL) {
        b->failed = 1;
        return NULL;
    }

    b->data = data;
    b->cap = cap;

    return data + b->len;
}


void
conduit_buf_append(conduit_buf_t *b, const void *data, size_t n)
{
    char  *p;

    if (n == 0) {
        return;
    }

    p = conduit_buf_reserve(b, n);
    if (p == NULL) {
        return;
    }

    memcpy(p, data, n);
    b->len += n;
}
