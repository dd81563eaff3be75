/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_id.h"


/* a UUID without hyphens, and the prefix of a UUID URN (RFC 9562, 4) */
#define CONDUIT_UUID_SIMPLE_LEN  (CONDUIT_UUID_LEN - 4)
#define CONDUIT_UUID_URN         "urn:uuid:"


static int conduit_decimal_parse(const char *s, size_t len, uint64_t *value);
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
    char    c;
    size_t  i, group, prefix;

    static const unsigned char  groups[] = { 8, 4, 4, 4, 12 };

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

    for (group = 0; group < sizeof(groups); group++) {

        if (group != 0) {

            if (len != CONDUIT_UUID_SIMPLE_LEN && *s++ != '-') {
                return -1;
            }

            *out++ = '-';
        }

        for (i = 0; i < groups[group]; i++) {

            c = conduit_hex_lower(*s++);
            if (c == 0) {
                return -1;
            }

            *out++ = c;
        }
    }

    return 0;
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

        if (n > (UINT64_MAX - digit) / 10) {
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
    char    digits[CONDUIT_ORG_MAX];
    size_t  n;

    n = sizeof(digits);

    do {
        digits[--n] = (char) ('0' + value % 10);
        value /= 10;
    } while (value != 0);

    memcpy(buf, digits + n, sizeof(digits) - n);

    return sizeof(digits) - n;
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
