/* Copyright (C) Conduit for NGINX authors */

#include <string.h>
#include <strings.h>

#include "conduit_compact.h"
#include "conduit_durable.h"


/* digits of each half of an offset */
#define CONDUIT_DURABLE_DIGITS  20

/* intervals by which a client's cursor may be ahead of the clock: a year.  It
   may be far ahead, as each answer can advance it by up to an hour */
#define CONDUIT_DURABLE_AHEAD  (365 * 24 * 3600 / CONDUIT_DURABLE_INTERVAL)

/* seconds by which a cursor advances at most, as the protocol says */
#define CONDUIT_DURABLE_JITTER  3600


static int conduit_durable_type_is(const char *type, size_t len,
    const char *name);
static const char *conduit_durable_token(const char *p, const char *end);
static const char *conduit_durable_value(const char *p, const char *end);
static const char *conduit_durable_spaces(const char *p, const char *end);
static char *conduit_durable_half(uint64_t value, char *out);


/* a media type may have parameters, and is case-insensitive: RFC 9110, 8.3.1 */

conduit_durable_mode_e
conduit_durable_mode(const char *type, size_t len)
{
    if (len > sizeof("text/") - 1
        && strncasecmp(type, "text/", sizeof("text/") - 1) == 0)
    {
        return CONDUIT_DURABLE_TEXT;
    }

    return conduit_durable_type_is(type, len, "application/json")
           ? CONDUIT_DURABLE_JSON : CONDUIT_DURABLE_BYTES;
}


static int
conduit_durable_type_is(const char *type, size_t len, const char *name)
{
    size_t  n;

    n = strlen(name);

    return len >= n && strncasecmp(type, name, n) == 0
           && (len == n || type[n] == ';' || type[n] == ' '
               || type[n] == '\t');
}


int
conduit_durable_type_valid(const char *type, size_t len)
{
    const char  *p, *end;

    end = type + len;
    p = conduit_durable_token(type, end);

    if (p == NULL || p == end || *p != '/') {
        return 0;
    }

    p = conduit_durable_token(p + 1, end);

    while (p != NULL && p != end) {

        p = conduit_durable_spaces(p, end);

        if (p == end || *p != ';') {
            return 0;
        }

        p = conduit_durable_spaces(p + 1, end);

        /* a parameter may be empty, as in "text/plain; ;" */

        if (p != end && *p != ';') {
            p = conduit_durable_value(conduit_durable_token(p, end), end);
        }
    }

    return p != NULL;
}


/* returns the end of a token, or NULL if there is none */

static const char *
conduit_durable_token(const char *p, const char *end)
{
    const char  *start;

    for (start = p; p < end; p++) {
        if (*p <= ' ' || *p >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", *p)) {
            break;
        }
    }

    return p == start ? NULL : p;
}


/* returns the end of the "=" and the value of a parameter, a token or a quoted
   string; NULL if there are none, or if p, the end of its name, is NULL */

static const char *
conduit_durable_value(const char *p, const char *end)
{
    if (p == NULL || end - p < 2 || *p != '=') {
        return NULL;
    }

    if (*++p != '"') {
        return conduit_durable_token(p, end);
    }

    for (p++; p < end && *p != '"'; p++) {

        if (*p == '\\') {
            p++;
        }

        if (p == end || *p < ' ' || *p >= 0x7f) {
            return NULL;
        }
    }

    return p < end ? p + 1 : NULL;
}


static const char *
conduit_durable_spaces(const char *p, const char *end)
{
    while (p < end && *p == ' ') {
        p++;
    }

    return p;
}


int
conduit_durable_offset_parse(const char *s, size_t len,
    conduit_durable_offset_t *offset)
{
    conduit_stream_id_t  id;

    memset(&id, 0, sizeof(id));

    if (len == sizeof("-1") - 1 && memcmp(s, "-1", sizeof("-1") - 1) == 0) {
        offset->kind = CONDUIT_DURABLE_START;

    } else if (len == sizeof("now") - 1
               && memcmp(s, "now", sizeof("now") - 1) == 0)
    {
        offset->kind = CONDUIT_DURABLE_NOW;

    } else if (memchr(s, '-', len) != NULL
               && conduit_stream_id_parse(s, len, &id) == 0)
    {
        offset->kind = CONDUIT_DURABLE_AFTER;

    } else {
        return -1;
    }

    offset->id = id;

    return 0;
}


void
conduit_durable_offset_write(const conduit_stream_id_t *id, char *out)
{
    out = conduit_durable_half(id->ms, out);
    *out++ = '-';
    (void) conduit_durable_half(id->seq, out);
}


static char *
conduit_durable_half(uint64_t value, char *out)
{
    int  i;

    for (i = CONDUIT_DURABLE_DIGITS - 1; i >= 0; i--) {
        out[i] = '0' + value % 10;
        value /= 10;
    }

    return out + CONDUIT_DURABLE_DIGITS;
}


size_t
conduit_durable_etag_write(const conduit_durable_offset_t *from,
    const conduit_stream_id_t *to, int closed, char *out)
{
    char  *p;

    p = out;
    *p++ = '"';

    if (from->kind == CONDUIT_DURABLE_START) {
        *p++ = '-';
        *p++ = '1';

    } else {
        conduit_durable_offset_write(&from->id, p);
        p += CONDUIT_DURABLE_OFFSET;
    }

    *p++ = ':';
    conduit_durable_offset_write(to, p);
    p += CONDUIT_DURABLE_OFFSET;

    if (closed) {
        *p++ = ':';
        *p++ = 'c';
    }

    *p++ = '"';

    return p - out;
}


uint64_t
conduit_durable_cursor_parse(const char *s, size_t len)
{
    uint64_t  value;

    if (conduit_org_parse(s, len, &value) != 0 || value > UINT32_MAX) {
        return 0;
    }

    return value;
}


uint64_t
conduit_durable_cursor(uint64_t now, uint64_t client, uint32_t random)
{
    uint64_t  current;

    current = now > CONDUIT_DURABLE_EPOCH
              ? (now - CONDUIT_DURABLE_EPOCH) / CONDUIT_DURABLE_INTERVAL : 0;

    /* a client that has sent the present cursor, or a later one that a server
       can have sent, gets a greater one; any other client gets the present
       one */

    if (client == 0 || client < current
        || client > current + CONDUIT_DURABLE_AHEAD)
    {
        return current;
    }

    return client + 1
           + random % (CONDUIT_DURABLE_JITTER / CONDUIT_DURABLE_INTERVAL);
}


conduit_durable_verdict_e
conduit_durable_judge(const conduit_durable_offset_t *offset,
    const conduit_history_answer_t *a)
{
    int                         order;
    const conduit_stream_id_t  *id;

    if (a->missing) {
        return CONDUIT_DURABLE_MISSING;
    }

    if (offset->kind != CONDUIT_DURABLE_AFTER) {
        return CONDUIT_DURABLE_OK;
    }

    id = &offset->id;
    order = conduit_stream_id_cmp(id, &a->last_id);

    /* an offset after the newest entry is from another stream, which had this
       key before */

    if (order >= 0) {
        return order ? CONDUIT_DURABLE_GONE : CONDUIT_DURABLE_OK;
    }

    if (a->length && conduit_stream_id_cmp(&a->oldest, id) <= 0) {
        return CONDUIT_DURABLE_OK;
    }

    /* the oldest entry is after the offset: entries between them may have been
       removed, unless the stream still has all that were ever added */

    if (a->counted) {
        return a->added == a->length ? CONDUIT_DURABLE_OK
                                     : CONDUIT_DURABLE_GONE;
    }

    /* Redis before 7 does not count the entries that were added.  A client with
       0-0 has read the stream when it had no entry: it may go on */

    return (a->length && id->ms == 0 && id->seq == 0) ? CONDUIT_DURABLE_OK
                                                      : CONDUIT_DURABLE_GONE;
}


int
conduit_durable_add(conduit_durable_mode_e mode, const uint8_t *data,
    size_t len, int first, conduit_buf_t *b)
{
    size_t  from;

    if (mode != CONDUIT_DURABLE_JSON) {
        conduit_buf_append(b, data, len);
        return 0;
    }

    from = b->len;

    conduit_buf_append(b, first ? "[" : ",", 1);

    if (conduit_compact(data, len, b) != 0) {
        b->len = from;
        return -1;
    }

    return 0;
}


void
conduit_durable_finish(conduit_durable_mode_e mode, int empty,
    conduit_buf_t *b)
{
    if (mode != CONDUIT_DURABLE_JSON) {
        return;
    }

    if (empty) {
        conduit_buf_lit(b, "[");
    }

    conduit_buf_lit(b, "]");
}


void
conduit_durable_base64(const uint8_t *data, size_t len, conduit_buf_t *b)
{
    char      *p;
    size_t     n;
    uint32_t   bits;

    static const char  digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz0123456789+/";

    if (len == 0) {
        return;
    }

    p = conduit_buf_reserve(b, (len + 2) / 3 * 4);

    if (p == NULL) {
        return;
    }

    b->len += (len + 2) / 3 * 4;

    for ( /* void */ ; len; data += n, len -= n) {

        n = len < 3 ? len : 3;

        bits = (uint32_t) data[0] << 16;

        if (n > 1) {
            bits |= (uint32_t) data[1] << 8;
        }

        if (n > 2) {
            bits |= data[2];
        }

        *p++ = digits[bits >> 18];
        *p++ = digits[(bits >> 12) & 63];
        *p++ = n > 1 ? digits[(bits >> 6) & 63] : '=';
        *p++ = n > 2 ? digits[bits & 63] : '=';
    }
}


void
conduit_durable_control(const conduit_stream_id_t *id, conduit_buf_t *b)
{
    char  text[CONDUIT_DURABLE_OFFSET];

    conduit_durable_offset_write(id, text);

    conduit_buf_lit(b, "event: control\ndata:{\"streamNextOffset\":\"");
    conduit_buf_append(b, text, CONDUIT_DURABLE_OFFSET);
    conduit_buf_lit(b, "\"");
}


void
conduit_durable_control_open(uint64_t cursor, int up_to_date,
    conduit_buf_t *b)
{
    char    text[CONDUIT_ORG_MAX];
    size_t  n;

    n = conduit_decimal_write(cursor, text);

    conduit_buf_lit(b, ",\"streamCursor\":\"");
    conduit_buf_append(b, text, n);

    if (up_to_date) {
        conduit_buf_lit(b, "\",\"upToDate\":true}\n\n");

    } else {
        conduit_buf_lit(b, "\"}\n\n");
    }
}


void
conduit_durable_control_closed(conduit_buf_t *b)
{
    conduit_buf_lit(b, ",\"upToDate\":true,\"streamClosed\":true}\n\n");
}
