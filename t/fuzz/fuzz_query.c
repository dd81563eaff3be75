/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as a query string.  An argument that is found is inside of the
 * string and follows its name.  Masking overwrites values and nothing else.  A
 * value that is decoded, encoded and decoded again is the same.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_query.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


static char *
fuzz_copy(const char *s, size_t size)
{
    char  *copy;

    copy = malloc(size ? size : 1);
    fuzz_check(copy != NULL);

    if (size) {
        memcpy(copy, s, size);
    }

    return copy;
}


/* decodes into a buffer of the same length and in place; then encodes and
   decodes the result */

static void
fuzz_decode(const char *value, size_t len)
{
    char                    *out, *place, *code;
    size_t                   i, n, again;
    static const char        hex[] = "0123456789abcdef";
    conduit_query_status_e   status;

    out = fuzz_copy(value, len);
    place = fuzz_copy(value, len);

    n = 0;
    again = 0;
    status = conduit_query_decode(value, len, out, &n);

    fuzz_check(status == CONDUIT_QUERY_FOUND
               || status == CONDUIT_QUERY_MALFORMED);
    fuzz_check(conduit_query_decode(place, len, place, &again) == status);

    if (status == CONDUIT_QUERY_FOUND) {
        fuzz_check(n <= len && again == n && memcmp(out, place, n) == 0);

        code = malloc(3 * n + 1);
        fuzz_check(code != NULL);

        for (i = 0; i < n; i++) {
            code[3 * i] = '%';
            code[3 * i + 1] = hex[(unsigned char) out[i] >> 4];
            code[3 * i + 2] = hex[(unsigned char) out[i] & 0x0f];
        }

        /* a zero byte is accepted as it is, but "%00" is malformed */

        if (memchr(out, '\0', n) == NULL) {
            fuzz_check(conduit_query_decode(code, 3 * n, code, &again)
                       == CONDUIT_QUERY_FOUND);
            fuzz_check(again == n && memcmp(code, out, n) == 0);

        } else {
            fuzz_check(conduit_query_decode(code, 3 * n, code, &again)
                       == CONDUIT_QUERY_MALFORMED);
        }

        free(code);
    }

    free(place);
    free(out);
}


static void
fuzz_mask(const char *args, size_t size, const char *name,
    conduit_query_status_e status, const char *value, size_t len)
{
    char        *masked;
    size_t       i, other;
    const char  *again;

    masked = fuzz_copy(args, size);
    conduit_query_mask(masked, size, name);

    for (i = 0; i < size; i++) {
        fuzz_check(masked[i] == args[i]
                   || (masked[i] == 'x' && args[i] != '&'));

        if (status == CONDUIT_QUERY_MISSING) {
            fuzz_check(masked[i] == args[i]);
        }

        if (status == CONDUIT_QUERY_FOUND) {
            fuzz_check(args + i >= value && args + i < value + len
                       ? masked[i] == 'x' : masked[i] == args[i]);
        }
    }

    /* the arguments are still found at the same places */

    fuzz_check(conduit_query_find(masked, size, name, &again, &other)
               == status);

    if (status == CONDUIT_QUERY_FOUND) {
        fuzz_check(again - masked == value - args && other == len);
    }

    free(masked);
}


static void
fuzz_name(const char *args, size_t size, const char *name)
{
    size_t                   len, n;
    const char              *value, *p;
    conduit_query_status_e   status;

    value = NULL;
    len = 0;
    status = conduit_query_find(args, size, name, &value, &len);

    fuzz_check(status == CONDUIT_QUERY_FOUND
               || status == CONDUIT_QUERY_MISSING
               || status == CONDUIT_QUERY_REPEATED);

    if (status == CONDUIT_QUERY_FOUND) {
        fuzz_check(value >= args && len <= size
                   && (size_t) (value - args) <= size - len);
        fuzz_check(value + len == args + size || value[len] == '&');
        fuzz_check(len == 0 || memchr(value, '&', len) == NULL);

        n = strlen(name);
        p = value;

        if (p[-1] == '=') {
            p--;

        } else {
            fuzz_check(len == 0);
        }

        fuzz_check((size_t) (p - args) >= n && memcmp(p - n, name, n) == 0);
        fuzz_check(p - n == args || p[-(ptrdiff_t) n - 1] == '&');

        fuzz_decode(value, len);
    }

    fuzz_mask(args, size, name, status, value, len);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char  *args;

    args = fuzz_copy((const char *) data, size);

    fuzz_decode(args, size);
    fuzz_name(args, size, "token");
    fuzz_name(args, size, "channel_id");
    fuzz_name(args, size, "a");

    free(args);

    return 0;
}
