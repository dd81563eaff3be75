/* Copyright (C) Conduit for NGINX authors */

#include "conduit_utf8.h"


size_t
conduit_utf8_char(const uint8_t *p, size_t len, int *good)
{
    size_t   i, n;
    uint8_t  low, high;

    *good = 0;

    /*
     * The range of the second byte excludes overlong forms, surrogates and code
     * points above U+10FFFF (RFC 3629, 4).
     */

    low = 0x80;
    high = 0xbf;

    if (p[0] < 0x80) {
        *good = 1;
        return 1;

    } else if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2;

    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        n = 3;
        low = (p[0] == 0xe0) ? 0xa0 : low;
        high = (p[0] == 0xed) ? 0x9f : high;

    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4;
        low = (p[0] == 0xf0) ? 0x90 : low;
        high = (p[0] == 0xf4) ? 0x8f : high;

    } else {
        return 1;
    }

    for (i = 1; i < n; i++) {

        if (i == len || p[i] < low || p[i] > high) {
            return i;
        }

        low = 0x80;
        high = 0xbf;
    }

    *good = 1;

    return n;
}
