#include <string.h>

#include "conduit_query.h"


static int conduit_query_hex(char c);


conduit_query_status_t
conduit_query_find(const char *args, size_t len, const char *name,
    const char **value, size_t *value_len)
{
    size_t                   name_len, n;
    const char              *p, *last, *end;
    conduit_query_status_t   status;

    status = CONDUIT_QUERY_MISSING;
    name_len = strlen(name);

    if (len == 0) {
        return status;
    }

    p = args;
    last = args + len;

    for ( ;; ) {

        end = memchr(p, '&', last - p);
        n = (end ? end : last) - p;

        if (n >= name_len && memcmp(p, name, name_len) == 0
            && (n == name_len || p[name_len] == '='))
        {
            if (status == CONDUIT_QUERY_FOUND) {
                return CONDUIT_QUERY_REPEATED;
            }

            status = CONDUIT_QUERY_FOUND;
            *value_len = (n == name_len) ? 0 : n - name_len - 1;
            *value = p + n - *value_len;
        }

        if (end == NULL) {
            return status;
        }

        p = end + 1;
    }
}


conduit_query_status_t
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
