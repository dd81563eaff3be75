/* Copyright (C) Conduit for NGINX authors */

/*
 * Reading JSON with jansson.  Pure: no NGINX type.
 */

#ifndef CONDUIT_JANSSON_H
#define CONDUIT_JANSSON_H

#include <stddef.h>

#include <jansson.h>

#pragma GCC visibility push(hidden)

/*
 * Does what json_loadb() does, and tells when memory was out, which jansson
 * reports as a syntax error or not at all.  Returns the object or array, whose
 * reference belongs to the caller; or NULL with *error set: then
 * json_error_code(error) is json_error_out_of_memory if memory was out, while
 * error->text may say something else.
 */
json_t *conduit_jansson_load(const char *text, size_t len, size_t flags,
    json_error_t *error);

#pragma GCC visibility pop

#endif /* CONDUIT_JANSSON_H */
