#include <errno.h>
#include <string.h>

#include "conduit_jansson.h"


json_t *
conduit_jansson_load(const char *text, size_t len, size_t flags,
    json_error_t *error)
{
    json_t  *json;

    /* where memory is out, jansson may leave the code of *error as it was */

    memset(error, 0, sizeof(json_error_t));

    /*
     * malloc() tells by errno.  jansson goes on after some failures, with a
     * byte of a string or number lost, and clears errno for a number: one that
     * follows such a failure hides it.
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
