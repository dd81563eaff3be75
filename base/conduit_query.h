/* Copyright (C) Conduit for NGINX authors */

/*
 * Reads the query string of a URL: application/x-www-form-urlencoded (WHATWG
 * URL, 5.1).  Pure: no NGINX type, no allocation.
 */

#ifndef CONDUIT_QUERY_H
#define CONDUIT_QUERY_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

typedef enum {
    CONDUIT_QUERY_FOUND = 0,
    CONDUIT_QUERY_MISSING,
    CONDUIT_QUERY_REPEATED,
    CONDUIT_QUERY_MALFORMED       /* "%" without two hexadecimal digits, or
                                     "%00" */
} conduit_query_status_e;


/*
 * Finds an argument by its name.  Names in args are compared without decoding
 * them.  Returns CONDUIT_QUERY_FOUND, with *value pointing into args, still
 * encoded; CONDUIT_QUERY_MISSING; or CONDUIT_QUERY_REPEATED if there are two or
 * more of that name, with *value set to the first one.
 */
conduit_query_status_e conduit_query_find(const char *args, size_t len,
    const char *name, const char **value, size_t *value_len);

/*
 * Decodes "%XX" and "+" into out (at least len bytes; may be value itself).
 * Returns CONDUIT_QUERY_FOUND and sets *out_len; or CONDUIT_QUERY_MALFORMED,
 * with out undefined.
 */
conduit_query_status_e conduit_query_decode(const char *value, size_t len,
    char *out, size_t *out_len);

/*
 * Overwrites the values of all arguments with a name with 'x', so that a secret
 * does not get into a log.
 */
void conduit_query_mask(char *args, size_t len, const char *name);

/*
 * Does the same with all arguments whose value is this one, whatever their
 * names.  value is not decoded, and not empty.
 */
void conduit_query_mask_value(char *args, size_t len, const char *value,
    size_t value_len);

#pragma GCC visibility pop

#endif /* CONDUIT_QUERY_H */
