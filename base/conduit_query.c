/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_query.h"


static int conduit_query_next(const char *args, size_t len, const char *name,
    size_t *pos, size_t *value, size_t *value_len);
static int conduit_query_hex(char c);


/*
 * Finds the next argument with a name, beginning at the offset *pos, and moves
 * *pos past it.  Returns 1 and sets *value and *value_len to the offset and
 * length of its value, or returns 0 when there is none.
 */

static int
conduit_query_next(const char *args, size_t len, const char *name,
    size_t *pos, size_t *value, size_t *value_len)
{
    size_t       name_len, n;
    const char  *p, *end;

    name_len = strlen(name);

    while (*pos < len) {

        p = args + *pos;
        end = memchr(p, '&', len - *pos);
        n = end ? (size_t) (end - p) : len - *pos;

        *pos += n + 1;

        if (n >= name_len && memcmp(p, name, name_len) == 0
            && (n == name_len || p[name_len] == '='))
        {
            *value_len = (n == name_len) ? 0 : n - name_len - 1;
            *value = (size_t) (p - args) + n - *value_len;
            return 1;
        }
    }

    return 0;
}


conduit_query_status_e
conduit_query_find(const char *args, size_t len, const char *name,
    const char **value, size_t *value_len)
{
    size_t  pos, offset, other, other_len;

    pos = 0;

    if (!conduit_query_next(args, len, name, &pos, &offset, value_len)) {
        return CONDUIT_QUERY_MISSING;
    }

    *value = args + offset;

    if (conduit_query_next(args, len, name, &pos, &other, &other_len)) {
        return CONDUIT_QUERY_REPEATED;
    }

    return CONDUIT_QUERY_FOUND;
}


void
conduit_query_mask(char *args, size_t len, const char *name)
{
    size_t  pos, value, value_len;

    pos = 0;

    while (conduit_query_next(args, len, name, &pos, &value, &value_len)) {
        memset(args + value, 'x', value_len);
    }
}


void
conduit_query_mask_value(char *args, size_t len, const char *value,
    size_t value_len)
{
    char  *p, *end, *last, *text;

    last = args + len;

    for (p = args; p < last; p = end + 1) {

        end = memchr(p, '&', (size_t) (last - p));
        end = end ? end : last;

        text = memchr(p, '=', (size_t) (end - p));

        if (text == NULL) {
            continue;
        }

        text++;

        if ((size_t) (end - text) == value_len
            && memcmp(text, value, value_len) == 0)
        {
            memset(text, 'x', value_len);
        }
    }
}


conduit_query_status_e
conduit_query_decode(const char *value, size_t len, char *out,
    size_t *out_len)
{
    int     high, low;
    char   *start;
    size_t  i;

    start = out;

    for (i = 0; i < len; i++) {

        if (value[i] != '%') {
            *out++ = (value[i] == '+') ? ' ' : value[i];
            continue;
        }

        if (len - i < 3) {
            return CONDUIT_QUERY_MALFORMED;
        }

        high = conduit_query_hex(value[i + 1]);
        low = conduit_query_hex(value[i + 2]);

        if (high < 0 || low < 0 || (high == 0 && low == 0)) {
            return CONDUIT_QUERY_MALFORMED;
        }

        *out++ = (char) (high * 16 + low);
        i += 2;
    }

    *out_len = out - start;

    return CONDUIT_QUERY_FOUND;
}


static int
conduit_query_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}
