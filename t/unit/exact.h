/* Copyright (C) Conduit for NGINX authors */

/*
 * Input in memory of its exact size, so that valgrind and ASan see an access
 * past its end.
 */

#ifndef EXACT_H
#define EXACT_H

#include <stdlib.h>
#include <string.h>
#include <check.h>


/* Returns a copy without a terminating zero, to be freed by the caller. */

static inline void *
exact_copy(const void *data, size_t len)
{
    void  *copy;

    copy = malloc(len ? len : 1);
    ck_assert_ptr_nonnull(copy);

    if (len) {
        memcpy(copy, data, len);
    }

    return copy;
}

#endif /* EXACT_H */
