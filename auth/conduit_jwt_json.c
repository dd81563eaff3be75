/*
 * JSON of a token, made readable to jansson.  jansson knows no integer beyond
 * an int64_t, no number beyond a double, no zero byte in a key and no half of a
 * surrogate pair, and refuses a whole text for one of them; a token may have
 * any of them in claims that nobody asks for, and an organization has 64 bits.
 *
 * A token of JSON is replaced by another of the same kind, a number by a number
 * and a character of a string by characters, and all else is copied.  So a text
 * is JSON afterwards if it was before, and jansson remains the only parser.
 *
 *   number                     becomes
 *   0 ... 2^64-1               an integer with the bits of the uint64_t
 *   any other integer          the real that is next to it
 *   a real, or one of these,   the real 1e300, or -1e300
 *   from 1e300 or -1e300 on
 *
 *   in a string                becomes
 *   \u0000                     U+0001 U+0001
 *   \u0001                     U+0001 U+0002
 *   half a pair, \udxxx        U+0001 U+Exxx
 *
 * An integer of jansson's is thus one that was written as an integer and is not
 * negative.  Different strings stay different, and one that has none of these
 * three characters, as all have that are compared with, stays what it is.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conduit_jwt_private.h"


/* a real of more digits before its point is above what is looked at anywhere */
#define CONDUIT_JWT_JSON_DIGITS  300

/* an exponent above it is cut: no mantissa has as many digits */
#define CONDUIT_JWT_JSON_EXPONENT_MAX  1000000

/* "\uXXXX" */
#define CONDUIT_JWT_JSON_ESCAPE  6

typedef struct {
    int  integer;          /* no fraction, no exponent */
    int  huge;             /* 1e300 at least, whatever the sign */
} conduit_jwt_json_number_t;

/* what was read, and what of it is not written yet */
typedef struct {
    const char     *start;
    const char     *p;
    const char     *end;
    conduit_buf_t  *out;
} conduit_jwt_json_t;


static void conduit_jwt_json_string(conduit_jwt_json_t *j);
static int conduit_jwt_json_escape(const char *p, const char *end);
static void conduit_jwt_json_number(conduit_jwt_json_t *j);
static int conduit_jwt_json_is_number(const char *p, size_t len,
    conduit_jwt_json_number_t *number);
static size_t conduit_jwt_json_digits(const char *p, size_t len);
static void conduit_jwt_json_replace(conduit_jwt_json_t *j, size_t len,
    const char *text, size_t text_len);


int
conduit_jwt_json_rewrite(const char *text, size_t len, conduit_buf_t *out)
{
    conduit_jwt_json_t  j;

    /* jansson skips a zero byte behind a number */

    if (memchr(text, '\0', len) != NULL) {
        return -1;
    }

    j.start = text;
    j.p = text;
    j.end = text + len;
    j.out = out;

    while (j.p < j.end) {

        if (*j.p == '"') {
            conduit_jwt_json_string(&j);

        } else if (*j.p == '-' || (*j.p >= '0' && *j.p <= '9')) {
            conduit_jwt_json_number(&j);

        } else {
            j.p++;
        }
    }

    conduit_jwt_json_replace(&j, 0, "", 0);

    return out->failed ? -1 : 0;
}


/* goes behind the string that begins at j->p, or to the end of all */

static void
conduit_jwt_json_string(conduit_jwt_json_t *j)
{
    int   c, n, next;
    char  text[2 * CONDUIT_JWT_JSON_ESCAPE + 1];

    j->p++;

    while (j->p < j->end && *j->p != '"') {

        if (*j->p != '\\') {
            j->p++;
            continue;
        }

        c = conduit_jwt_json_escape(j->p, j->end);

        if (c < 0) {
            j->p += (j->end - j->p > 1) ? 2 : 1;
            continue;
        }

        if (c == 0 || c == 1) {
            n = snprintf(text, sizeof(text), "\\u0001\\u000%d", c + 1);
            conduit_jwt_json_replace(j, CONDUIT_JWT_JSON_ESCAPE, text, n);
            continue;
        }

        if (c >= 0xd800 && c <= 0xdbff) {
            next = conduit_jwt_json_escape(j->p + CONDUIT_JWT_JSON_ESCAPE,
                                           j->end);

            if (next >= 0xdc00 && next <= 0xdfff) {
                j->p += 2 * CONDUIT_JWT_JSON_ESCAPE;
                continue;
            }
        }

        if (c >= 0xd800 && c <= 0xdfff) {
            n = snprintf(text, sizeof(text), "\\u0001\\ue%03x", c & 0xfff);
            conduit_jwt_json_replace(j, CONDUIT_JWT_JSON_ESCAPE, text, n);
            continue;
        }

        j->p += CONDUIT_JWT_JSON_ESCAPE;
    }

    if (j->p < j->end) {
        j->p++;
    }
}


/* the number in a "\uXXXX" at p, or -1 */

static int
conduit_jwt_json_escape(const char *p, const char *end)
{
    int     c, value;
    size_t  i;

    if (end - p < CONDUIT_JWT_JSON_ESCAPE || p[0] != '\\' || p[1] != 'u') {
        return -1;
    }

    value = 0;

    for (i = 2; i < CONDUIT_JWT_JSON_ESCAPE; i++) {
        c = (unsigned char) p[i];

        if (c >= '0' && c <= '9') {
            c -= '0';

        } else {
            c |= 0x20;

            if (c < 'a' || c > 'f') {
                return -1;
            }

            c -= 'a' - 10;
        }

        value = value << 4 | c;
    }

    return value;
}


/* what is no number is left as it is: jansson refuses it */

static void
conduit_jwt_json_number(conduit_jwt_json_t *j)
{
    int                         n;
    char                        text[sizeof("-9223372036854775808")];
    size_t                      len;
    uint64_t                    value;
    conduit_jwt_json_number_t   number;

    for (len = 1; len < (size_t) (j->end - j->p); len++) {
        if (strchr("0123456789.eE+-", j->p[len]) == NULL) {
            break;
        }
    }

    if (!conduit_jwt_json_is_number(j->p, len, &number)) {
        j->p += len;
        return;
    }

    if (number.huge) {
        n = snprintf(text, sizeof(text), "%s1e300", (*j->p == '-') ? "-" : "");
        conduit_jwt_json_replace(j, len, text, n);
        return;
    }

    if (!number.integer) {
        j->p += len;
        return;
    }

    if (conduit_org_parse(j->p, len, &value) != 0) {

        /* negative, or too large */

        j->p += len;
        conduit_jwt_json_replace(j, 0, "e0", 2);

    } else if (value > INT64_MAX) {

        /* 2^64 less is a negative number of the same bits */

        n = snprintf(text, sizeof(text), "-%" PRIu64, UINT64_MAX - value + 1);
        conduit_jwt_json_replace(j, len, text, n);

    } else {
        j->p += len;
    }
}


/* RFC 8259, 6: all of the text is one number */

static int
conduit_jwt_json_is_number(const char *p, size_t len,
    conduit_jwt_json_number_t *number)
{
    int          negative;
    long         exponent, digits;
    size_t       n, zeros;
    const char  *end;

    end = p + len;
    number->integer = 1;

    p += (*p == '-');

    n = conduit_jwt_json_digits(p, end - p);
    if (n == 0 || (*p == '0' && n > 1)) {
        return 0;
    }

    /* the number is below ten to the power of digits */

    digits = (*p == '0') ? 0 : (long) n;
    zeros = (digits == 0);
    p += n;

    if (p < end && *p == '.') {
        number->integer = 0;
        p++;

        n = conduit_jwt_json_digits(p, end - p);
        if (n == 0) {
            return 0;
        }

        for (/* void */ ; zeros && n > 0 && *p == '0'; p++, n--) {
            digits--;
        }

        zeros = zeros && n == 0;
        p += n;
    }

    exponent = 0;

    if (p < end && (*p == 'e' || *p == 'E')) {
        number->integer = 0;
        p++;

        negative = (p < end && *p == '-');
        p += (p < end && (*p == '-' || *p == '+'));

        n = conduit_jwt_json_digits(p, end - p);
        if (n == 0) {
            return 0;
        }

        for (/* void */ ; n > 0; p++, n--) {
            if (exponent < CONDUIT_JWT_JSON_EXPONENT_MAX) {
                exponent = exponent * 10 + (*p - '0');
            }
        }

        exponent = negative ? -exponent : exponent;
    }

    number->huge = !zeros && digits + exponent > CONDUIT_JWT_JSON_DIGITS;

    return p == end;
}


static size_t
conduit_jwt_json_digits(const char *p, size_t len)
{
    size_t  n;

    for (n = 0; n < len && p[n] >= '0' && p[n] <= '9'; n++) { /* void */ }

    return n;
}


/* writes what was passed, and a text in place of the next len bytes */

static void
conduit_jwt_json_replace(conduit_jwt_json_t *j, size_t len, const char *text,
    size_t text_len)
{
    conduit_buf_append(j->out, j->start, j->p - j->start);
    conduit_buf_append(j->out, text, text_len);

    j->p += len;
    j->start = j->p;
}
