/* Copyright (C) Conduit for NGINX authors */

/*
 * Commands as they are sent to Redis (RESP, the protocol of Redis).  Pure: no
 * NGINX type.
 */

#ifndef CONDUIT_RESP_H
#define CONDUIT_RESP_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/*
 * Returns the bytes that conduit_resp_write() writes at most for a command of n
 * words of these lengths.
 */
size_t conduit_resp_max(size_t n, const size_t *lengths);

/*
 * Writes a command: an array of its words as strings.  They may contain any
 * bytes.  p has room for conduit_resp_max() bytes.  Returns the number of bytes
 * written.
 */
size_t conduit_resp_write(char *p, size_t n, const char **words,
    const size_t *lengths);

#pragma GCC visibility pop

#endif /* CONDUIT_RESP_H */
