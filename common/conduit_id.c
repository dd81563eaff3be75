#include <string.h>

#include "conduit_id.h"


static int conduit_decimal_parse(const char *s, size_t len, uint64_t *value);
static size_t conduit_decimal_write(uint64_t value, char *buf);
static int conduit_hex_lower(char c);


int
conduit_org_parse(const char *s, size_t len, uint64_t *org)
{
    return conduit_decimal_parse(s, len, org);
}


int
conduit_uuid_parse(const char *s, size_t len, char *out)
{
    int     c;
    size_t  i;

    if (len != CONDUIT_UUID_LEN) {
        return -1;
    }

    for (i = 0; i < CONDUIT_UUID_LEN; i++) {

        if (i == 8 || i == 13 || i == 18 || i == 23) {
            c = (s[i] == '-') ? '-' : -1;

        } else {
            c = conduit_hex_lower(s[i]);
        }

        if (c < 0) {
            return -1;
        }

        out[i] = (char) c;
    }

    return 0;
}


int
conduit_uuid_parse_any(const char *s, size_t len, char *out)
{
    int     c;
    size_t  i;

    if (len != CONDUIT_UUID_LEN - 4) {
        return conduit_uuid_parse(s, len, out);
    }

    for (i = 0; i < len; i++) {

        c = conduit_hex_lower(s[i]);
        if (c < 0) {
            return -1;
        }

        if (i == 8 || i == 12 || i == 16 || i == 20) {
            *out++ = '-';
        }

        *out++ = (char) c;
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


/* 1 to 20 digits; strtoull() would take blanks and signs as well */

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


static size_t
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


/* the digit in lower case, or -1; not by isxdigit(), which asks the locale */

static int
conduit_hex_lower(char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')) {
        return c;
    }

    if (c >= 'A' && c <= 'F') {
        return c + ('a' - 'A');
    }

    return -1;
}
