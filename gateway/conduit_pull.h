/* Copyright (C) Conduit for NGINX authors */

/*
 * Events as members of a JSON array, for clients that do not read Server-Sent
 * Events.  Pure: no NGINX type.
 */

#ifndef CONDUIT_PULL_H
#define CONDUIT_PULL_H

#include <stddef.h>

#include "conduit_buf.h"

#pragma GCC visibility push(hidden)

/*
 * Appends an object made from the bytes of one event, as conduit_format.h and
 * conduit_sse.h write them:
 *
 *   {"id":"<id>","event":"<event>","data":<data>}
 *
 * A member that the event does not have is left out.  Lines of data are joined
 * with LF; text: they are not JSON, and are written as a string.  For an event
 * without data nothing is appended, as an EventSource does not dispatch it,
 * either.  Returns whether an object was appended.  A failed allocation shows
 * in b->failed.
 */
int conduit_pull_write(const char *sse, size_t len, int text,
    conduit_buf_t *b);

#pragma GCC visibility pop

#endif /* CONDUIT_PULL_H */
