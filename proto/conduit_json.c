/* Copyright (C) Conduit for NGINX authors */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_json.h"
#include "conduit_number.h"


/*
 * A member of an object, for sorting by key.  Most comparisons only need the
 * head; reading the key itself may miss the CPU cache.
 */
typedef struct {
    uint64_t     head;      /* the first 8 bytes of the key, padded with zeros,
                               as a big-endian number */
    const char  *key;
    uint32_t     len;
    uint32_t     index;     /* position in the struct */
} conduit_json_member_t;


static void conduit_json_write_list(const Google__Protobuf__ListValue *list,
    conduit_arena_t *arena, conduit_buf_t *b);
static void conduit_json_write_value(const Google__Protobuf__Value *value,
    conduit_arena_t *arena, conduit_buf_t *b);
static void conduit_json_write_number(double number, conduit_buf_t *b);
static void conduit_json_write_string(const char *s, size_t len,
    conduit_buf_t *b);
static size_t conduit_json_special(const uint8_t *p, size_t len);
static void conduit_json_write_escape(const uint8_t *p, conduit_buf_t *b);
static conduit_json_member_t *conduit_json_members(
    const Google__Protobuf__Struct *object, conduit_arena_t *arena);
static uint64_t conduit_json_key_head(const char *key, size_t len);
static int conduit_json_member_cmp(const void *one, const void *two);
static int conduit_json_key_cmp(const conduit_json_member_t *a,
    const conduit_json_member_t *b);


void
conduit_json_write_struct(const Google__Protobuf__Struct *object,
    conduit_arena_t *arena, conduit_buf_t *b)
{
    size_t                  i, n;
    const char             *separator;
    conduit_json_member_t  *members;

    n = object->n_fields;

    if (n == 0) {
        conduit_buf_lit(b, "{}");
        return;
    }

    members = conduit_json_members(object, arena);
    if (members == NULL) {
        b->failed = 1;
        return;
    }

    separator = "{";

    for (i = 0; i < n; i++) {

        /* of equal keys, the last one counts, which is sorted last */

        if (i + 1 < n
            && conduit_json_key_cmp(&members[i], &members[i + 1]) == 0)
        {
            continue;
        }

        conduit_buf_append(b, separator, 1);
        conduit_json_write_string(members[i].key, members[i].len, b);
        conduit_buf_lit(b, ":");
        conduit_json_write_value(object->fields[members[i].index]->value,
                                 arena, b);
        separator = ",";
    }

    conduit_buf_lit(b, "}");
}


static void
conduit_json_write_list(const Google__Protobuf__ListValue *list,
    conduit_arena_t *arena, conduit_buf_t *b)
{
    size_t  i;

    conduit_buf_lit(b, "[");

    for (i = 0; i < list->n_values; i++) {

        if (i > 0) {
            conduit_buf_lit(b, ",");
        }

        conduit_json_write_value(list->values[i], arena, b);
    }

    conduit_buf_lit(b, "]");
}


static void
conduit_json_write_value(const Google__Protobuf__Value *value,
    conduit_arena_t *arena, conduit_buf_t *b)
{
    if (value == NULL) {
        conduit_buf_lit(b, "null");
        return;
    }

    switch (value->kind_case) {

    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        conduit_json_write_number(value->number_value, b);
        break;

    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        conduit_json_write_string(value->string_value,
                                  conduit_pb_strlen(value->string_value), b);
        break;

    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:

        if (value->bool_value) {
            conduit_buf_lit(b, "true");

        } else {
            conduit_buf_lit(b, "false");
        }

        break;

    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        conduit_json_write_struct(value->struct_value, arena, b);
        break;

    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        conduit_json_write_list(value->list_value, arena, b);
        break;

    default:   /* null, or no kind at all */
        conduit_buf_lit(b, "null");
    }
}


static void
conduit_json_write_number(double number, conduit_buf_t *b)
{
    char  *text;

    if (!isfinite(number)) {
        conduit_buf_lit(b, "null");
        return;
    }

    /* parsers may read "-0" as an integer, and so lose the sign */

    if (number == 0 && signbit(number)) {
        conduit_buf_lit(b, "-0.0");
        return;
    }

    text = conduit_buf_reserve(b, CONDUIT_NUMBER_MAX);
    if (text == NULL) {
        return;
    }

    b->len += conduit_number_write(number, text);
}


static void
conduit_json_write_string(const char *s, size_t len, conduit_buf_t *b)
{
    size_t          n;
    const uint8_t  *p;

    p = (const uint8_t *) s;

    conduit_buf_lit(b, "\"");

    for ( ;; ) {
        n = conduit_json_special(p, len);
        conduit_buf_append(b, p, n);

        p += n;
        len -= n;

        if (len == 0) {
            break;
        }

        conduit_json_write_escape(p, b);

        n = (*p == 0xe2) ? 3 : 1;
        p += n;
        len -= n;
    }

    conduit_buf_lit(b, "\"");
}


/* returns the number of bytes before the first one that must be escaped */

static size_t
conduit_json_special(const uint8_t *p, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {

        if (p[i] < 0x20 || p[i] == '"' || p[i] == '\\') {
            break;
        }

        /* U+2028 and U+2029 end a line in older JavaScript */

        if (p[i] == 0xe2 && len - i >= 3 && p[i + 1] == 0x80
            && (p[i + 2] & 0xfe) == 0xa8)
        {
            break;
        }
    }

    return i;
}


static void
conduit_json_write_escape(const uint8_t *p, conduit_buf_t *b)
{
    char               text[6];
    static const char  hex[] = "0123456789abcdef";

    text[0] = '\\';

    switch (*p) {
    case '"':
    case '\\':
        text[1] = (char) *p;
        break;
    case '\b':
        text[1] = 'b';
        break;
    case '\t':
        text[1] = 't';
        break;
    case '\n':
        text[1] = 'n';
        break;
    case '\f':
        text[1] = 'f';
        break;
    case '\r':
        text[1] = 'r';
        break;
    case 0xe2:
        conduit_buf_append(b, (p[2] == 0xa8) ? "\\u2028" : "\\u2029",
                           sizeof("\\u2028") - 1);
        return;
    default:
        memcpy(text + 1, "u00", sizeof("u00") - 1);
        text[4] = hex[*p >> 4];
        text[5] = hex[*p & 0xf];
        conduit_buf_append(b, text, 6);
        return;
    }

    conduit_buf_append(b, text, 2);
}


/*
 * Returns the members sorted by key, and those with equal keys by position, or
 * NULL when memory is out.  Most publishers send keys in order already.
 */

static conduit_json_member_t *
conduit_json_members(const Google__Protobuf__Struct *object,
    conduit_arena_t *arena)
{
    int                     sorted;
    size_t                  i, n;
    conduit_json_member_t  *m, *members;

    n = object->n_fields;

    /* can't happen: conduit_walk() refuses messages of 2 GiB */

    if (n > UINT32_MAX) {
        return NULL;
    }

    members = conduit_arena_alloc(arena, n * sizeof(conduit_json_member_t));
    if (members == NULL) {
        return NULL;
    }

    sorted = 1;

    for (i = 0; i < n; i++) {
        m = &members[i];

        m->key = object->fields[i]->key;
        m->len = (uint32_t) conduit_pb_strlen(m->key);
        m->head = conduit_json_key_head(m->key, m->len);
        m->index = (uint32_t) i;

        if (i > 0 && conduit_json_key_cmp(m - 1, m) > 0) {
            sorted = 0;
        }
    }

    if (!sorted) {
        qsort(members, n, sizeof(conduit_json_member_t),
              conduit_json_member_cmp);
    }

    return members;
}


static uint64_t
conduit_json_key_head(const char *key, size_t len)
{
    size_t    i;
    uint64_t  head;

    head = 0;

    for (i = 0; i < sizeof(head); i++) {
        head = head << 8 | ((i < len) ? (uint8_t) key[i] : 0);
    }

    return head;
}


static int
conduit_json_member_cmp(const void *one, const void *two)
{
    int                           rc;
    const conduit_json_member_t  *a, *b;

    a = one;
    b = two;

    rc = conduit_json_key_cmp(a, b);

    if (rc != 0) {
        return rc;
    }

    return (a->index < b->index) ? -1 : (a->index > b->index);
}


static int
conduit_json_key_cmp(const conduit_json_member_t *a,
    const conduit_json_member_t *b)
{
    int     rc;
    size_t  len;

    if (a->head != b->head) {
        return (a->head < b->head) ? -1 : 1;
    }

    len = (a->len < b->len) ? a->len : b->len;

    if (len > sizeof(a->head)) {
        rc = memcmp(a->key + sizeof(a->head), b->key + sizeof(a->head),
                    len - sizeof(a->head));

        if (rc != 0) {
            return rc;
        }
    }

    return (a->len < b->len) ? -1 : (a->len > b->len);
}
