/* Copyright (C) Conduit for NGINX authors */

#include <errno.h>
#include <string.h>

#include "conduit_jansson.h"


json_t *
conduit_jansson_load(const char *text, size_t len, size_t flags,
    json_error_t *error)
{
    json_t  *json;

    /* when memory is out, jansson may return without setting *error */

    memset(error, 0, sizeof(json_error_t));

    /*
     * A malloc() that fails sets errno to ENOMEM.  jansson continues after some
     * failed allocations, with a byte of a string or number lost, so the result
     * is not enough to detect them.  It also clears errno before it converts a
     * number: a failure that a number follows remains undetected.
     */

    errno = 0;

    json = json_loadb(text, len, flags, error);

    if (errno != ENOMEM) {
        return json;
    }

    json_decref(json);

    error->text[JSON_ERROR_TEXT_LENGTH - 1] = json_error_out_of_memory;

    return NULL;
}
