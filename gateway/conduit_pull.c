/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_pull.h"


/* the fields of an event that become members of its JSON object, in the order
   of the members */
typedef enum {
    CONDUIT_PULL_ID = 0,
    CONDUIT_PULL_EVENT,
    CONDUIT_PULL_DATA,
    CONDUIT_PULL_FIELDS
} conduit_pull_field_e;


static int conduit_pull_member(const char *sse, size_t len,
    conduit_pull_field_e field, int text, int first, conduit_buf_t *b);
static const char *conduit_pull_value(const char *line, const char *end,
    const char *name);
static void conduit_pull_string(const char *s, size_t len, conduit_buf_t *b);


int
conduit_pull_write(const char *sse, size_t len, int text, conduit_buf_t *b)
{
    int     n;
    size_t  from;

    from = b->len;

    conduit_buf_lit(b, "{");

    n = conduit_pull_member(sse, len, CONDUIT_PULL_ID, 1, 1, b);
    n += conduit_pull_member(sse, len, CONDUIT_PULL_EVENT, 1, n == 0, b);

    if (!conduit_pull_member(sse, len, CONDUIT_PULL_DATA, text, n == 0, b)) {
        b->len = from;
        return 0;
    }

    conduit_buf_lit(b, "}");

    return 1;
}


/* appends a member made of all lines of a field; returns whether the event has
   such a line */

static int
conduit_pull_member(const char *sse, size_t len, conduit_pull_field_e field,
    int text, int first, conduit_buf_t *b)
{
    int          n;
    const char  *p, *end, *last, *value;

    static const char * const  names[CONDUIT_PULL_FIELDS] = {
        "id: ", "event: ", "data: "
    };

    static const char * const  starts[CONDUIT_PULL_FIELDS] = {
        "\"id\":", "\"event\":", "\"data\":"
    };

    n = 0;
    last = sse + len;

    for (p = sse; p < last; p = end + 1) {

        end = memchr(p, '\n', last - p);

        if (end == NULL) {
            end = last;
        }

        value = conduit_pull_value(p, end, names[field]);

        if (value == NULL) {
            continue;
        }

        if (n++ == 0) {

            if (!first) {
                conduit_buf_lit(b, ",");
            }

            conduit_buf_append(b, starts[field], strlen(starts[field]));

            if (text) {
                conduit_buf_lit(b, "\"");
            }

        } else if (text) {
            conduit_buf_lit(b, "\\n");

        } else {
            conduit_buf_lit(b, "\n");
        }

        if (text) {
            conduit_pull_string(value, end - value, b);

        } else {
            conduit_buf_append(b, value, end - value);
        }
    }

    if (n && text) {
        conduit_buf_lit(b, "\"");
    }

    return n > 0;
}


/* returns the value of a line, if it begins with the name, or NULL */

static const char *
conduit_pull_value(const char *line, const char *end, const char *name)
{
    size_t  len;

    len = strlen(name);

    return ((size_t) (end - line) >= len && memcmp(line, name, len) == 0)
           ? line + len : NULL;
}


/* appends the characters of a JSON string (RFC 8259, 7); s is UTF-8 */

static void
conduit_pull_string(const char *s, size_t len, conduit_buf_t *b)
{
    size_t         i, from;
    char           escape[] = "\\u0000";
    unsigned char  c;

    static const char  hex[] = "0123456789abcdef";

    from = 0;

    for (i = 0; i < len; i++) {

        c = s[i];

        if (c >= 0x20 && c != '"' && c != '\\') {
            continue;
        }

        conduit_buf_append(b, s + from, i - from);
        from = i + 1;

        if (c >= 0x20) {
            conduit_buf_lit(b, "\\");
            conduit_buf_append(b, s + i, 1);
            continue;
        }

        escape[4] = hex[c >> 4];
        escape[5] = hex[c & 0xf];
        conduit_buf_append(b, escape, sizeof(escape) - 1);
    }

    conduit_buf_append(b, s + from, len - from);
}
