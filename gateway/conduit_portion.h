/* Copyright (C) Conduit for NGINX authors */

/*
 * How many entries a question asks for: as many as the configuration says, or
 * fewer when they are large.  The replies for all channels of a server come
 * through one connection: while a reply of megabytes is read, those for other
 * channels wait behind it, and all of it is in memory.  Pure.
 */

#ifndef CONDUIT_PORTION_H
#define CONDUIT_PORTION_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* bytes of new entries in one reply, about */
#define CONDUIT_PORTION_BYTES  (128 * 1024)

/*
 * Returns the size in bytes that entries of a stream are expected to have,
 * after an answer with n entries of "bytes" bytes in all.  size is what was
 * returned before, 0 at first.  The result is the mean of the answer's entries
 * if that is larger than size; else it is halfway between the two.
 */
size_t conduit_portion_learn(size_t size, size_t bytes, size_t n);

/*
 * Returns how many entries of a size to ask for: from 1 to max.  Size 0: not
 * known yet.
 */
size_t conduit_portion_count(size_t size, size_t max);

#pragma GCC visibility pop

#endif /* CONDUIT_PORTION_H */
