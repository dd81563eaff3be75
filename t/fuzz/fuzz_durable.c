/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as an offset: one that is accepted is written with its digits, and
 * read as the same.  Any bytes as a cursor: the one sent in return is greater,
 * or that of the time.  Any bytes in base64: they are the same when decoded.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_durable.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


static void
fuzz_offset(const uint8_t *data, size_t size)
{
    char                      text[CONDUIT_DURABLE_OFFSET];
    conduit_durable_offset_t  offset, again;

    if (conduit_durable_offset_parse((const char *) data, size, &offset) != 0
        || offset.kind != CONDUIT_DURABLE_AFTER)
    {
        return;
    }

    conduit_durable_offset_write(&offset.id, text);

    fuzz_check(conduit_durable_offset_parse(text, sizeof(text), &again) == 0);
    fuzz_check(again.kind == CONDUIT_DURABLE_AFTER);
    fuzz_check(conduit_stream_id_cmp(&offset.id, &again.id) == 0);
}


static void
fuzz_cursor(const uint8_t *data, size_t size)
{
    uint64_t  client, sent;

    const uint64_t  current = 1000;

    client = conduit_durable_cursor_parse((const char *) data, size);
    sent = conduit_durable_cursor(CONDUIT_DURABLE_EPOCH
                                  + current * CONDUIT_DURABLE_INTERVAL,
                                  client, (uint32_t) size);

    fuzz_check(client <= UINT32_MAX);
    fuzz_check(sent == current || (client >= current && sent > client));
}


static int
fuzz_digit(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+' ? 62 : c == '/' ? 63 : -1;
}


static void
fuzz_base64(const uint8_t *data, size_t size)
{
    int            digit;
    size_t         i, n;
    uint32_t       bits;
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));
    conduit_durable_base64(data, size, &b);

    fuzz_check(!b.failed && b.len == (size + 2) / 3 * 4);

    bits = 0;
    n = 0;

    for (i = 0; i < b.len && b.data[i] != '='; i++) {
        digit = fuzz_digit(b.data[i]);
        fuzz_check(digit >= 0);

        bits = bits << 6 | (uint32_t) digit;

        if (i % 4) {
            fuzz_check(n < size
                       && data[n++] == (uint8_t) (bits >> (6 - i % 4 * 2)));
        }
    }

    fuzz_check(n == size && b.len - i < 3);

    conduit_buf_free(&b);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_offset(data, size);
    fuzz_cursor(data, size);
    fuzz_base64(data, size);

    return 0;
}
