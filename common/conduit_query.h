/*
 * The query string of a URL, as application/x-www-form-urlencoded (WHATWG URL,
 * 5.1).  Pure: no NGINX type, no allocation.
 */

#ifndef CONDUIT_QUERY_H
#define CONDUIT_QUERY_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

typedef enum {
    CONDUIT_QUERY_FOUND = 0,
    CONDUIT_QUERY_MISSING,
    CONDUIT_QUERY_REPEATED,
    CONDUIT_QUERY_MALFORMED       /* broken or zero-byte percent-encoding */
} conduit_query_status_t;


/*
 * Looks an argument up.  The name is compared as it is written in the query; a
 * name that comes twice is not taken.  *value points into args, still encoded.
 */
conduit_query_status_t conduit_query_find(const char *args, size_t len,
    const char *name, const char **value, size_t *value_len);

/*
 * Decodes "%XX" and "+" into out (len bytes at least; may be value itself).
 * Returns CONDUIT_QUERY_FOUND and sets *out_len, or CONDUIT_QUERY_MALFORMED.
 */
conduit_query_status_t conduit_query_decode(const char *value, size_t len,
    char *out, size_t *out_len);

/*
 * Overwrites the value of every argument of that name with 'x': a secret that
 * must not reach a log.
 */
void conduit_query_mask(char *args, size_t len, const char *name);

/*
 * Overwrites with 'x' every argument whose value, as it is written in the
 * query, is this one (not empty), whatever its name.
 */
void conduit_query_mask_value(char *args, size_t len, const char *value,
    size_t value_len);

#pragma GCC visibility pop

#endif /* CONDUIT_QUERY_H */
