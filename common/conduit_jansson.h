/*
 * Reading JSON with jansson.  Pure: no NGINX type.
 */

#ifndef CONDUIT_JANSSON_H
#define CONDUIT_JANSSON_H

#include <stddef.h>

#include <jansson.h>

#pragma GCC visibility push(hidden)

/*
 * json_loadb(), which also says when memory is out: jansson calls that a syntax
 * error, or sets no error at all.  Returns the object or array, a reference of
 * the caller, or NULL with *error set; json_error_code(error) is
 * json_error_out_of_memory when memory was out, whatever the text is.
 */
json_t *conduit_jansson_load(const char *text, size_t len, size_t flags,
    json_error_t *error);

#pragma GCC visibility pop

#endif /* CONDUIT_JANSSON_H */
