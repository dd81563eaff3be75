/*
 * A moment as proto3 JSON spells it.  Pure: no NGINX type, no allocation.
 * Private to this room.
 */

#ifndef CONDUIT_TIMESTAMP_H
#define CONDUIT_TIMESTAMP_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/*
 * Reads a date and time of RFC 3339, "2026-01-09T20:51:07.250Z", with up to
 * nine digits of a fraction and an offset or "Z"; the year is 1 to 9999.  Sets
 * the seconds since the epoch and the nanoseconds after them.  Returns 0, or -1
 * and leaves both as they were.
 */
int conduit_timestamp_parse(const char *s, size_t len, int64_t *seconds,
    int32_t *nanos);

#pragma GCC visibility pop

#endif /* CONDUIT_TIMESTAMP_H */
