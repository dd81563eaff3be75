/* Copyright (C) Conduit for NGINX authors */

/*
 * A state machine without recursion: the stack has one bit for each object or
 * array that is open.
 *
 *   VALUE   a value: after '[' or ',' of an array, after ':', at the start
 *   FIRST   a value, or ']', right after '['
 *   KEY     a member: after ',' of an object
 *   MEMBER  a member, or '}', right after '{'
 *   AFTER   what follows a value: ',', an end, or the end of the text
 */

#include <string.h>

#include "conduit_compact.h"
#include "conduit_utf8.h"


typedef enum {
    CONDUIT_COMPACT_VALUE = 0,
    CONDUIT_COMPACT_FIRST,
    CONDUIT_COMPACT_KEY,
    CONDUIT_COMPACT_MEMBER,
    CONDUIT_COMPACT_AFTER,
    CONDUIT_COMPACT_FAILED
} conduit_compact_state_e;

typedef struct {
    const uint8_t  *p;
    const uint8_t  *end;
    conduit_buf_t  *b;
    size_t          depth;
    uint8_t         object[CONDUIT_COMPACT_DEPTH / 8];   /* a bit a level: 1 is
                                                            an object */
} conduit_compact_t;


static conduit_compact_state_e conduit_compact_step(conduit_compact_t *c,
    conduit_compact_state_e state);
static conduit_compact_state_e conduit_compact_value(conduit_compact_t *c);
static conduit_compact_state_e conduit_compact_key(conduit_compact_t *c);
static conduit_compact_state_e conduit_compact_after(conduit_compact_t *c);
static conduit_compact_state_e conduit_compact_open(conduit_compact_t *c,
    int object);
static conduit_compact_state_e conduit_compact_close(conduit_compact_t *c);
static int conduit_compact_in_object(const conduit_compact_t *c);
static int conduit_compact_string(conduit_compact_t *c);
static int conduit_compact_escape(conduit_compact_t *c);
static int conduit_compact_number(conduit_compact_t *c);
static size_t conduit_compact_digits(conduit_compact_t *c);
static int conduit_compact_word(conduit_compact_t *c, const char *word);
static void conduit_compact_space(conduit_compact_t *c);
static int conduit_compact_is(const conduit_compact_t *c, uint8_t byte);


int
conduit_compact(const uint8_t *text, size_t len, conduit_buf_t *b)
{
    size_t                   before;
    conduit_compact_t        c;
    conduit_compact_state_e  state;

    memset(&c, 0, sizeof(c));

    c.p = text;
    c.end = text + len;
    c.b = b;

    before = b->len;
    state = CONDUIT_COMPACT_VALUE;

    for ( ;; ) {
        conduit_compact_space(&c);

        if (c.p == c.end) {
            break;
        }

        state = conduit_compact_step(&c, state);

        if (state == CONDUIT_COMPACT_FAILED) {
            break;
        }
    }

    if (state == CONDUIT_COMPACT_AFTER && c.depth == 0) {
        return 0;
    }

    b->len = before;

    return -1;
}


/* reads one token; a key is read with its colon */

static conduit_compact_state_e
conduit_compact_step(conduit_compact_t *c, conduit_compact_state_e state)
{
    switch (state) {

    case CONDUIT_COMPACT_FIRST:
        if (conduit_compact_is(c, ']')) {
            return conduit_compact_close(c);
        }

        return conduit_compact_value(c);

    case CONDUIT_COMPACT_VALUE:
        return conduit_compact_value(c);

    case CONDUIT_COMPACT_MEMBER:
        if (conduit_compact_is(c, '}')) {
            return conduit_compact_close(c);
        }

        return conduit_compact_key(c);

    case CONDUIT_COMPACT_KEY:
        return conduit_compact_key(c);

    default: /* CONDUIT_COMPACT_AFTER */
        return conduit_compact_after(c);
    }
}


static conduit_compact_state_e
conduit_compact_value(conduit_compact_t *c)
{
    int  rc;

    switch (*c->p) {

    case '{':
        return conduit_compact_open(c, 1);

    case '[':
        return conduit_compact_open(c, 0);

    case '"':
        rc = conduit_compact_string(c);
        break;

    case 't':
        rc = conduit_compact_word(c, "true");
        break;

    case 'f':
        rc = conduit_compact_word(c, "false");
        break;

    case 'n':
        rc = conduit_compact_word(c, "null");
        break;

    default:
        rc = conduit_compact_number(c);
    }

    return rc == 0 ? CONDUIT_COMPACT_AFTER : CONDUIT_COMPACT_FAILED;
}


static conduit_compact_state_e
conduit_compact_key(conduit_compact_t *c)
{
    if (!conduit_compact_is(c, '"') || conduit_compact_string(c) != 0) {
        return CONDUIT_COMPACT_FAILED;
    }

    conduit_compact_space(c);

    if (!conduit_compact_is(c, ':')) {
        return CONDUIT_COMPACT_FAILED;
    }

    c->p++;
    conduit_buf_lit(c->b, ":");

    return CONDUIT_COMPACT_VALUE;
}


static conduit_compact_state_e
conduit_compact_after(conduit_compact_t *c)
{
    int  object;

    if (c->depth == 0) {
        return CONDUIT_COMPACT_FAILED;
    }

    object = conduit_compact_in_object(c);

    if (conduit_compact_is(c, ',')) {
        c->p++;
        conduit_buf_lit(c->b, ",");
        return object ? CONDUIT_COMPACT_KEY : CONDUIT_COMPACT_VALUE;
    }

    if (conduit_compact_is(c, object ? '}' : ']')) {
        return conduit_compact_close(c);
    }

    return CONDUIT_COMPACT_FAILED;
}


static conduit_compact_state_e
conduit_compact_open(conduit_compact_t *c, int object)
{
    uint8_t  bit;

    if (c->depth == CONDUIT_COMPACT_DEPTH) {
        return CONDUIT_COMPACT_FAILED;
    }

    bit = (uint8_t) (1u << (c->depth % 8));

    if (object) {
        c->object[c->depth / 8] |= bit;

    } else {
        c->object[c->depth / 8] &= (uint8_t) ~bit;
    }

    c->depth++;
    conduit_buf_append(c->b, c->p++, 1);

    return object ? CONDUIT_COMPACT_MEMBER : CONDUIT_COMPACT_FIRST;
}


static conduit_compact_state_e
conduit_compact_close(conduit_compact_t *c)
{
    c->depth--;
    conduit_buf_append(c->b, c->p++, 1);

    return CONDUIT_COMPACT_AFTER;
}


/* whether the innermost open value is an object; there must be one */

static int
conduit_compact_in_object(const conduit_compact_t *c)
{
    size_t  last;

    last = c->depth - 1;

    return (c->object[last / 8] >> (last % 8)) & 1;
}


/* control characters must be escaped, so a string has no line end */

static int
conduit_compact_string(conduit_compact_t *c)
{
    int             good;
    const uint8_t  *start;

    start = c->p++;

    while (c->p < c->end && *c->p != '"') {

        if (*c->p < 0x20) {
            return -1;
        }

        if (*c->p == '\\') {

            if (conduit_compact_escape(c) != 0) {
                return -1;
            }

            continue;
        }

        c->p += conduit_utf8_char(c->p, (size_t) (c->end - c->p), &good);

        if (!good) {
            return -1;
        }
    }

    if (c->p == c->end) {
        return -1;
    }

    c->p++;
    conduit_buf_append(c->b, start, (size_t) (c->p - start));

    return 0;
}


/* a lone half of a surrogate pair is valid JSON, too (RFC 8259, 8.2) */

static int
conduit_compact_escape(conduit_compact_t *c)
{
    size_t   i;
    uint8_t  byte;

    if (c->end - c->p < 2) {
        return -1;
    }

    byte = c->p[1];
    c->p += 2;

    if (byte != 'u') {
        return (byte != '\0' && strchr("\"\\/bfnrt", byte) != NULL) ? 0 : -1;
    }

    if (c->end - c->p < 4) {
        return -1;
    }

    for (i = 0; i < 4; i++) {
        byte = *c->p++;

        if (!((byte >= '0' && byte <= '9')
              || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f')))
        {
            return -1;
        }
    }

    return 0;
}


static int
conduit_compact_number(conduit_compact_t *c)
{
    const uint8_t  *start;

    start = c->p;

    if (conduit_compact_is(c, '-')) {
        c->p++;
    }

    if (conduit_compact_is(c, '0')) {
        c->p++;

    } else if (conduit_compact_digits(c) == 0) {
        return -1;
    }

    if (conduit_compact_is(c, '.')) {
        c->p++;

        if (conduit_compact_digits(c) == 0) {
            return -1;
        }
    }

    if (conduit_compact_is(c, 'e') || conduit_compact_is(c, 'E')) {
        c->p++;

        if (conduit_compact_is(c, '-') || conduit_compact_is(c, '+')) {
            c->p++;
        }

        if (conduit_compact_digits(c) == 0) {
            return -1;
        }
    }

    conduit_buf_append(c->b, start, (size_t) (c->p - start));

    return 0;
}


static size_t
conduit_compact_digits(conduit_compact_t *c)
{
    const uint8_t  *start;

    start = c->p;

    while (c->p < c->end && *c->p >= '0' && *c->p <= '9') {
        c->p++;
    }

    return (size_t) (c->p - start);
}


static int
conduit_compact_word(conduit_compact_t *c, const char *word)
{
    size_t  len;

    len = strlen(word);

    if ((size_t) (c->end - c->p) < len || memcmp(c->p, word, len) != 0) {
        return -1;
    }

    c->p += len;
    conduit_buf_append(c->b, word, len);

    return 0;
}


static void
conduit_compact_space(conduit_compact_t *c)
{
    while (c->p < c->end
           && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n'
               || *c->p == '\r'))
    {
        c->p++;
    }
}


static int
conduit_compact_is(const conduit_compact_t *c, uint8_t byte)
{
    return c->p < c->end && *c->p == byte;
}
