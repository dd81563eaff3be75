/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as a key: the slot is the same as by a CRC computed bit by bit.
 * Any bytes as an error text of Redis: if it is a redirect, writing it as Redis
 * does and parsing it again returns the same.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_slot.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


/* CRC16 with the polynomial 0x1021, the highest bit first (XMODEM), without
   tables */

static unsigned
fuzz_crc(const uint8_t *data, size_t size)
{
    int       bit;
    size_t    i;
    unsigned  crc;

    crc = 0;

    for (i = 0; i < size; i++) {
        crc ^= (unsigned) data[i] << 8;

        for (bit = 0; bit < 8; bit++) {
            crc = (crc & 0x8000) ? (crc << 1) ^ 0x1021 : crc << 1;
        }

        crc &= 0xffff;
    }

    return crc;
}


/* the slot of a key, with its hash tag found byte by byte */

static unsigned
fuzz_slot(const uint8_t *key, size_t size)
{
    size_t  open, close;

    for (open = 0; open < size && key[open] != '{'; open++) {
        /* void */
    }

    for (close = open + 1; close < size && key[close] != '}'; close++) {
        /* void */
    }

    if (close < size && close > open + 1) {
        return fuzz_crc(key + open + 1, close - open - 1) % CONDUIT_SLOTS;
    }

    return fuzz_crc(key, size) % CONDUIT_SLOTS;
}


static void
fuzz_redirect(const char *text, size_t size)
{
    int                  n;
    char                *again;
    size_t               room;
    conduit_redirect_e   kind;
    conduit_redirect_t   r, copy;

    memset(&r, 0xff, sizeof(r));

    kind = conduit_redirect_parse(text, size, &r);
    fuzz_check(kind == r.kind);

    if (kind == CONDUIT_REDIRECT_NONE) {
        return;
    }

    fuzz_check(kind == CONDUIT_REDIRECT_MOVED || kind == CONDUIT_REDIRECT_ASK);
    fuzz_check(r.slot < CONDUIT_SLOTS && r.port > 0);
    fuzz_check(r.host_len <= CONDUIT_HOST_MAX);
    fuzz_check(r.host > text && r.host_len < size
               && (size_t) (r.host - text) < size - r.host_len);

    /* one pair of brackets was removed from the host: if there is another pair,
       parsing it again would remove that, too */

    if (memchr(r.host, '\0', r.host_len) != NULL
        || (r.host_len > 2 && r.host[0] == '['
            && r.host[r.host_len - 1] == ']'))
    {
        return;
    }

    room = CONDUIT_HOST_MAX + sizeof("MOVED 16383 :65535");
    again = malloc(room);
    fuzz_check(again != NULL);

    n = snprintf(again, room, "%s %u %.*s:%u",
                 (kind == CONDUIT_REDIRECT_ASK) ? "ASK" : "MOVED", r.slot,
                 (int) r.host_len, r.host, r.port);
    fuzz_check(n > 0 && (size_t) n < room);

    fuzz_check(conduit_redirect_parse(again, (size_t) n, &copy) == kind);
    fuzz_check(copy.slot == r.slot && copy.port == r.port
               && copy.host_len == r.host_len
               && memcmp(copy.host, r.host, r.host_len) == 0);

    free(again);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char      *copy;
    unsigned   slot;

    copy = malloc(size ? size : 1);
    fuzz_check(copy != NULL);

    if (size) {
        memcpy(copy, data, size);
    }

    slot = conduit_slot(copy, size);

    fuzz_check(slot < CONDUIT_SLOTS);
    fuzz_check(slot == fuzz_slot(data, size));

    fuzz_redirect(copy, size);

    free(copy);

    return 0;
}
