/* Copyright (C) Conduit for NGINX authors */

/*
 * Rewrites the JSON of a token so that jansson can parse it.  jansson refuses a
 * whole text that contains an integer outside of int64_t, a number beyond the
 * range of a double, "\u0000", or half of a surrogate pair.  A token may have
 * any of these in claims that are not used here, and an org_id may be any
 * uint64_t.
 *
 * A number is replaced with a number, and a character of a string with other
 * characters; everything else is copied.  So the result is JSON if and only if
 * the text is, and jansson remains the only parser.
 *
 *   number                       becomes
 *   0 ... 2^64-1                 an integer with the bits of the uint64_t
 *   another integer              the nearest real
 *   a number of 1e300 or more    the real 1e300
 *   a number of -1e300 or less   the real -1e300
 *
 *   in a string                  becomes
 *   \u0000                       U+0001 U+0001
 *   \u0001                       U+0001 U+0002
 *   half a pair, \udxxx          U+0001 U+Exxx
 *
 * As a result, a value is an integer for jansson if and only if the token has
 * it as an integer from 0 to 2^64-1.  Different strings remain different.  A
 * string without these three characters remains unchanged; the strings that
 * claims are compared with have none of them.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conduit_jwt_private.h"


/* a number with more digits before its decimal point is huge: no claim that is
   read can have such a value */
#define CONDUIT_JWT_JSON_DIGITS  300

/* further digits of an exponent that has reached this value are skipped: no
   token has room for a mantissa with as many digits */
#define CONDUIT_JWT_JSON_EXPONENT_MAX  1000000

/* length of "\uXXXX" */
#define CONDUIT_JWT_JSON_ESCAPE  6

typedef struct {
    int  integer;          /* no fraction, no exponent */
    int  huge;             /* the absolute value is at least 1e300 */
} conduit_jwt_json_number_t;

/* the text being read */
typedef struct {
    const char     *start;     /* not yet copied to out */
    const char     *p;         /* not yet read */
    const char     *end;
    conduit_buf_t  *out;
} conduit_jwt_json_t;


static void conduit_jwt_json_string(conduit_jwt_json_t *j);
static int conduit_jwt_json_escape(const char *p, const char *end);
static void conduit_jwt_json_number(conduit_jwt_json_t *j);
static int conduit_jwt_json_is_number(const char *p, size_t len,
    conduit_jwt_json_number_t *number);
static int conduit_jwt_json_exponent(const char **p, const char *end,
    long *exponent);
static size_t conduit_jwt_json_digits(const char *p, size_t len);
static void conduit_jwt_json_replace(conduit_jwt_json_t *j, size_t len,
    const char *text, size_t text_len);


int
conduit_jwt_json_rewrite(const char *text, size_t len, conduit_buf_t *out)
{
    conduit_jwt_json_t  j;

    /* jansson would ignore a zero byte after a number */

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


/* moves j->p past the string that begins there, or to the end of the text */

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


/* returns the code unit that "\uXXXX" at p stands for; -1: there is none */

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


/* text that is not a number is copied unchanged, and jansson refuses it */

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

        /* negative, or above 2^64-1 */

        j->p += len;
        conduit_jwt_json_replace(j, 0, "e0", sizeof("e0") - 1);

    } else if (value > INT64_MAX) {

        /* value - 2^64 is negative, and as an int64_t has the same bits */

        n = snprintf(text, sizeof(text), "-%" PRIu64, UINT64_MAX - value + 1);
        conduit_jwt_json_replace(j, len, text, n);

    } else {
        j->p += len;
    }
}


/* returns whether the whole text is one number (RFC 8259, 6) */

static int
conduit_jwt_json_is_number(const char *p, size_t len,
    conduit_jwt_json_number_t *number)
{
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

    /* the absolute value, without the exponent, is below 10^digits */

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

        if (!conduit_jwt_json_exponent(&p, end, &exponent)) {
            return 0;
        }
    }

    number->huge = !zeros && digits + exponent > CONDUIT_JWT_JSON_DIGITS;

    return p == end;
}


/* reads what follows the "e", and moves *p behind it */

static int
conduit_jwt_json_exponent(const char **p, const char *end, long *exponent)
{
    int     negative;
    long    value;
    size_t  n;

    negative = (*p < end && **p == '-');
    *p += (*p < end && (**p == '-' || **p == '+'));

    n = conduit_jwt_json_digits(*p, end - *p);
    if (n == 0) {
        return 0;
    }

    value = 0;

    for (/* void */ ; n > 0; (*p)++, n--) {
        if (value < CONDUIT_JWT_JSON_EXPONENT_MAX) {
            value = value * 10 + (**p - '0');
        }
    }

    *exponent = negative ? -value : value;

    return 1;
}


static size_t
conduit_jwt_json_digits(const char *p, size_t len)
{
    size_t  n;

    for (n = 0; n < len && p[n] >= '0' && p[n] <= '9'; n++) { /* void */ }

    return n;
}


/* copies what was read, then appends text instead of the next len bytes */

static void
conduit_jwt_json_replace(conduit_jwt_json_t *j, size_t len, const char *text,
    size_t text_len)
{
    conduit_buf_append(j->out, j->start, j->p - j->start);
    conduit_buf_append(j->out, text, text_len);

    j->p += len;
    j->start = j->p;
}
