/* Copyright (C) Conduit for NGINX authors */

/*
 * Any eight bytes as a double: the text that is written is a JSON number, and
 * strtod() returns the same double.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "conduit_number.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char     text[CONDUIT_NUMBER_MAX + 1];
    char    *end;
    double   number, back;
    size_t   n;
    json_t  *parsed;

    if (size < sizeof(double)) {
        return 0;
    }

    memcpy(&number, data, sizeof(double));

    if (!isfinite(number)) {
        return 0;
    }

    n = conduit_number_write(number, text);

    if (n == 0 || n > 24) {
        abort();
    }

    text[n] = '\0';
    back = strtod(text, &end);

    if (end != text + n || memcmp(&back, &number, sizeof(double)) != 0) {
        abort();
    }

    parsed = json_loadb(text, n, JSON_DECODE_ANY, NULL);

    if (parsed == NULL || json_number_value(parsed) != number) {
        abort();
    }

    json_decref(parsed);

    return 0;
}
