/* Copyright (C) Conduit for NGINX authors */

/*
 * Reads a google.protobuf.Timestamp in its JSON form (RFC 3339).  Pure: no
 * NGINX type, no allocation.
 */

#ifndef CONDUIT_TIMESTAMP_H
#define CONDUIT_TIMESTAMP_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/*
 * Reads a date and time as in "2026-01-09T20:51:07.250Z" (RFC 3339), with an
 * optional fraction of up to nine digits, and "Z" or an offset; the year is 1
 * to 9999.  Returns 0 and sets *seconds (since the epoch) and *nanos (0 to
 * 999999999); or returns -1, with both unchanged.
 */
int conduit_timestamp_parse(const char *s, size_t len, int64_t *seconds,
    int32_t *nanos);

#pragma GCC visibility pop

#endif /* CONDUIT_TIMESTAMP_H */
