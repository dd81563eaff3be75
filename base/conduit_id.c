/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_id.h"


/* a UUID without hyphens, and the prefix of a UUID URN (RFC 9562, 4) */
#define CONDUIT_UUID_SIMPLE_LEN  (CONDUIT_UUID_LEN - 4)
#define CONDUIT_UUID_URN         "urn:uuid:"


static int conduit_decimal_parse(const char *s, size_t len, uint64_t *value);
static inline char conduit_uuid_digits(const char *s, char *out, size_t n);
static char conduit_hex_lower(char c);
static char conduit_lower(char c);


int
conduit_org_parse(const char *s, size_t len, uint64_t *org)
{
    return conduit_decimal_parse(s, len, org);
}


int
conduit_uuid_parse(const char *s, size_t len, char *out)
{
    char    all;
    size_t  i, prefix, hyphen;

    prefix = sizeof(CONDUIT_UUID_URN) - 1;

    switch (len) {

    case CONDUIT_UUID_SIMPLE_LEN:
    case CONDUIT_UUID_LEN:
        break;

    case CONDUIT_UUID_LEN + 2:

        if (s[0] != '{' || s[len - 1] != '}') {
            return -1;
        }

        s++;
        break;

    case CONDUIT_UUID_LEN + sizeof(CONDUIT_UUID_URN) - 1:

        for (i = 0; i < prefix; i++) {
            if (conduit_lower(s[i]) != CONDUIT_UUID_URN[i]) {
                return -1;
            }
        }

        s += prefix;
        break;

    default:
        return -1;
    }

    hyphen = (len != CONDUIT_UUID_SIMPLE_LEN);

    if (hyphen && (s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-'))
    {
        return -1;
    }

    /* all digits, which are '0' to '9' and 'a' to 'f', have bit 0x20 */

    all = conduit_uuid_digits(s, out, 8)
          & conduit_uuid_digits(s + 8 + hyphen, out + 9, 4)
          & conduit_uuid_digits(s + 12 + 2 * hyphen, out + 14, 4)
          & conduit_uuid_digits(s + 16 + 3 * hyphen, out + 19, 4)
          & conduit_uuid_digits(s + 20 + 4 * hyphen, out + 24, 12);

    out[8] = '-';
    out[13] = '-';
    out[18] = '-';
    out[23] = '-';

    return (all & 0x20) ? 0 : -1;
}


/* writes n digits in lower case; returns the bits that all of them have */

static inline char
conduit_uuid_digits(const char *s, char *out, size_t n)
{
    char    all;
    size_t  i;

    all = 0x7f;

    /* in each call n is a constant, of at most 12 */

#pragma GCC unroll 12
    for (i = 0; i < n; i++) {
        out[i] = conduit_hex_lower(s[i]);
        all &= out[i];
    }

    return all;
}


int
conduit_stream_id_parse(const char *s, size_t len, conduit_stream_id_t *id)
{
    size_t                n;
    const char           *dash;
    conduit_stream_id_t   parsed;

    if (len == 0) {
        return -1;
    }

    parsed.seq = 0;

    dash = memchr(s, '-', len);
    n = (dash != NULL) ? (size_t) (dash - s) : len;

    if (conduit_decimal_parse(s, n, &parsed.ms) != 0) {
        return -1;
    }

    if (dash != NULL
        && conduit_decimal_parse(dash + 1, len - n - 1, &parsed.seq) != 0)
    {
        return -1;
    }

    *id = parsed;

    return 0;
}


size_t
conduit_stream_id_write(const conduit_stream_id_t *id, char *buf)
{
    size_t  n;

    n = conduit_decimal_write(id->ms, buf);
    buf[n++] = '-';
    n += conduit_decimal_write(id->seq, buf + n);

    return n;
}


void
conduit_stream_id_before(conduit_stream_id_t *id)
{
    if (id->seq) {
        id->seq--;

    } else if (id->ms) {
        id->ms--;
        id->seq = UINT64_MAX;
    }
}


int
conduit_stream_id_cmp(const conduit_stream_id_t *a,
    const conduit_stream_id_t *b)
{
    if (a->ms != b->ms) {
        return (a->ms < b->ms) ? -1 : 1;
    }

    if (a->seq != b->seq) {
        return (a->seq < b->seq) ? -1 : 1;
    }

    return 0;
}


size_t
conduit_stream_key_write(uint64_t org, const char *channel, char *buf)
{
    char  *p;

    p = buf;

    memcpy(p, "stream:", sizeof("stream:") - 1);
    p += sizeof("stream:") - 1;

    p += conduit_decimal_write(org, p);
    *p++ = ':';

    memcpy(p, channel, CONDUIT_UUID_LEN);
    p += CONDUIT_UUID_LEN;

    return p - buf;
}


const char *
conduit_stream_key_check(const char *key, size_t len)
{
    size_t         i;
    unsigned char  c;

    if (len == 0) {
        return "Missing stream key";
    }

    if (len > CONDUIT_STREAM_KEY_MAX) {
        return "Stream key too long";
    }

    for (i = 0; i < len; i++) {
        c = (unsigned char) key[i];

        if (c < 0x20 || c == 0x7f) {
            return "Invalid stream key";
        }
    }

    return NULL;
}


/* 1 to 20 digits; strtoull() would accept white space and signs as well */

static int
conduit_decimal_parse(const char *s, size_t len, uint64_t *value)
{
    size_t    i;
    uint64_t  n, digit;

    if (len == 0 || len > CONDUIT_ORG_MAX) {
        return -1;
    }

    n = 0;

    for (i = 0; i < len; i++) {

        if (s[i] < '0' || s[i] > '9') {
            return -1;
        }

        digit = (uint64_t) (s[i] - '0');

        /* only the last of 20 digits can be too much */

        if (i == CONDUIT_ORG_MAX - 1 && n > (UINT64_MAX - digit) / 10) {
            return -1;
        }

        n = n * 10 + digit;
    }

    *value = n;

    return 0;
}


size_t
conduit_decimal_write(uint64_t value, char *buf)
{
    size_t    i, n;
    uint64_t  power;

    power = 10;

    for (n = 1; n < CONDUIT_ORG_MAX && value >= power; n++) {
        power *= 10;
    }

    for (i = n; i > 0; i--) {
        buf[i - 1] = (char) ('0' + value % 10);
        value /= 10;
    }

    return n;
}


/*
 * Returns a hexadecimal digit in lower case, or 0 if c is none.  This runs for
 * each of 32 digits of several UUIDs in a request, hence the table.
 */

static char
conduit_hex_lower(char c)
{
    static const char  lower[256] = {
        ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',
        ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9',
        ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e',
        ['f'] = 'f', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd',
        ['E'] = 'e', ['F'] = 'f'
    };

    return lower[(unsigned char) c];
}


/* tolower() depends on the locale */

static char
conduit_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char) (c + ('a' - 'A')) : c;
}
