/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as the header "Accept".  The quality is in its bounds; a list of
 * the bytes and a type after them names at least that type, unless a quoted
 * string is open at their end; case does not matter.
 */

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_accept.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int          q, other;
    char        *text;
    size_t       i, len;

    static const char  type[] = "application/json";
    static const char  more[] = ",application/json;q=0.5";

    len = size + sizeof(more) - 1;

    text = malloc(len);
    fuzz_check(text != NULL);

    if (size) {
        memcpy(text, data, size);
    }

    memcpy(text + size, more, sizeof(more) - 1);

    q = conduit_accept_quality(text, size, type);
    fuzz_check(q >= -1 && q <= 1000);

    if (memchr(text, '"', size) == NULL) {
        other = conduit_accept_quality(text, len, type);
        fuzz_check(other == (q > 500 ? q : 500));
    }

    for (i = 0; i < size; i++) {
        text[i] = toupper((unsigned char) text[i]);
    }

    fuzz_check(conduit_accept_quality(text, size, type) == q);

    free(text);

    return 0;
}
