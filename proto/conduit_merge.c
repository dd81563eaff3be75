/* Copyright (C) Conduit for NGINX authors */

/*
 * Protobuf defines what it means if a field that is not repeated occurs several
 * times.  Of numbers and strings, the last one counts.  Messages are merged:
 * the bytes of all of them are read as those of one message.  The kinds of a
 * Value are a oneof: a field of another kind discards those before it, and a
 * message field of the same kind is merged with those before it.
 *
 * protobuf-c does not merge messages in the oneof of a Value, and has no
 * groups.  Also, for each payload field after the first, it copies the members
 * collected so far, so that a message of many small payload fields would take
 * quadratic time.
 *
 * A merged field is written with one tag and one length.  The length is known
 * only after the content is written, so bytes are reserved for it: as many as
 * the sum of the lengths of all parts needs.  If unknown fields are left out,
 * these are more than necessary, and the length is written as a padded varint.
 * Since in the message each part has a tag and a length, the result is never
 * longer.
 */

#include <string.h>

#include "conduit_merge.h"
#include "conduit_walk.h"


/* field numbers */
#define CONDUIT_MERGE_TIMESTAMP  3
#define CONDUIT_MERGE_FIELDS     1      /* Struct */
#define CONDUIT_MERGE_KEY        1      /* FieldsEntry */
#define CONDUIT_MERGE_VALUE      2
#define CONDUIT_MERGE_STRUCT     5      /* Value, whose kinds are 1 to 6 */
#define CONDUIT_MERGE_LIST       6
#define CONDUIT_MERGE_VALUES     1      /* ListValue */

/* the result, which always fits; failed is set should it not fit */
typedef struct {
    uint8_t  *last;
    uint8_t  *end;
    int       failed;
} conduit_merge_t;

/* a message field whose content is being written */
typedef struct {
    uint8_t  *head;           /* where its length is to be written */
    size_t    head_len;       /* bytes reserved for the length */
} conduit_merge_field_t;

/* iterates over the fields of an inner message, whose parts are all fields with
   a given number in an outer message */
typedef struct {
    const uint8_t  *outer;    /* rest of the outer message */
    const uint8_t  *outer_end;
    uint32_t        number;
    const uint8_t  *start;    /* field returned last, with its tag */
    const uint8_t  *p;        /* rest of the current part */
    const uint8_t  *end;
} conduit_merge_parts_t;


static void conduit_merge_request(conduit_merge_t *m, const uint8_t *p,
    const uint8_t *end);
static void conduit_merge_struct(conduit_merge_t *m, const uint8_t *p,
    const uint8_t *end);
static void conduit_merge_entry(conduit_merge_t *m, const uint8_t *p,
    const uint8_t *end);
static void conduit_merge_list(conduit_merge_t *m, const uint8_t *p,
    const uint8_t *end);
static void conduit_merge_value(conduit_merge_t *m, const uint8_t *p,
    const uint8_t *end, uint32_t number);
static void conduit_merge_parts(conduit_merge_parts_t *parts, const uint8_t *p,
    const uint8_t *end, uint32_t number);
static int conduit_merge_next(conduit_merge_parts_t *parts,
    conduit_wire_field_t *f);
static void conduit_merge_copy(conduit_merge_t *m, const uint8_t *p,
    const uint8_t *end);
static void conduit_merge_open(conduit_merge_t *m,
    conduit_merge_field_t *field, uint32_t number, size_t len);
static void conduit_merge_close(conduit_merge_t *m,
    const conduit_merge_field_t *field);


conduit_message_status_e
conduit_merge(const uint8_t **data, size_t *len, conduit_arena_t *arena)
{
    uint8_t          *start;
    conduit_merge_t   m;

    start = conduit_arena_alloc(arena, *len);
    if (start == NULL) {
        return CONDUIT_MESSAGE_NO_MEMORY;
    }

    m.last = start;
    m.end = start + *len;
    m.failed = 0;

    conduit_merge_request(&m, *data, *data + *len);

    if (m.failed) {
        return CONDUIT_MESSAGE_MALFORMED;
    }

    *data = start;
    *len = m.last - start;

    return CONDUIT_MESSAGE_OK;
}


static void
conduit_merge_request(conduit_merge_t *m, const uint8_t *p,
    const uint8_t *end)
{
    int                     given;
    size_t                  len;
    const uint8_t          *start, *next;
    conduit_wire_field_t    f;
    conduit_merge_field_t   field;

    start = p;
    given = 0;
    len = 0;

    for (next = p; p < end; p = next) {

        if (conduit_wire_field(&next, end, &f) != 0) {
            return;
        }

        if (f.number == CONDUIT_WIRE_PAYLOAD) {
            given = 1;
            len += f.len;

        } else if (f.number < CONDUIT_WIRE_PAYLOAD
                   && f.number != CONDUIT_MERGE_TIMESTAMP)
        {
            conduit_merge_copy(m, p, next);
        }
    }

    if (!given) {
        return;
    }

    conduit_merge_open(m, &field, CONDUIT_WIRE_PAYLOAD, len);

    for (p = start; p < end; /* void */ ) {

        if (conduit_wire_field(&p, end, &f) != 0) {
            return;
        }

        if (f.number == CONDUIT_WIRE_PAYLOAD) {
            conduit_merge_struct(m, f.data, f.data + f.len);
        }
    }

    conduit_merge_close(m, &field);
}


/* conduit_walk() has limited the depth of the payload, and so the recursion */

static void
conduit_merge_struct(conduit_merge_t *m, const uint8_t *p, const uint8_t *end)
{
    conduit_wire_field_t    f;
    conduit_merge_field_t   field;

    while (p < end && conduit_wire_field(&p, end, &f) == 0) {

        if (f.number == CONDUIT_MERGE_FIELDS) {
            conduit_merge_open(m, &field, CONDUIT_MERGE_FIELDS, f.len);
            conduit_merge_entry(m, f.data, f.data + f.len);
            conduit_merge_close(m, &field);
        }
    }
}


static void
conduit_merge_entry(conduit_merge_t *m, const uint8_t *p, const uint8_t *end)
{
    int                     given;
    size_t                  len;
    const uint8_t          *start, *next, *key, *key_end;
    conduit_wire_field_t    f;
    conduit_merge_field_t   field;

    start = p;
    key = p;
    key_end = p;
    given = 0;
    len = 0;

    for (next = p; p < end; p = next) {

        if (conduit_wire_field(&next, end, &f) != 0) {
            return;
        }

        if (f.number == CONDUIT_MERGE_KEY) {
            key = p;
            key_end = next;

        } else if (f.number == CONDUIT_MERGE_VALUE) {
            given = 1;
            len += f.len;
        }
    }

    conduit_merge_copy(m, key, key_end);

    if (given) {
        conduit_merge_open(m, &field, CONDUIT_MERGE_VALUE, len);
        conduit_merge_value(m, start, end, CONDUIT_MERGE_VALUE);
        conduit_merge_close(m, &field);
    }
}


static void
conduit_merge_list(conduit_merge_t *m, const uint8_t *p, const uint8_t *end)
{
    const uint8_t          *next;
    conduit_wire_field_t    f;
    conduit_merge_field_t   field;

    for (next = p; p < end; p = next) {

        if (conduit_wire_field(&next, end, &f) != 0) {
            return;
        }

        if (f.number == CONDUIT_MERGE_VALUES) {
            conduit_merge_open(m, &field, CONDUIT_MERGE_VALUES, f.len);
            conduit_merge_value(m, p, next, CONDUIT_MERGE_VALUES);
            conduit_merge_close(m, &field);
        }
    }
}


/*
 * Writes the content of a Value, whose parts are the fields with that number
 * between p and end.  Its last kind counts; if that is a message, it is merged
 * from all fields of this kind that come after the last field of another kind.
 */

static void
conduit_merge_value(conduit_merge_t *m, const uint8_t *p, const uint8_t *end,
    uint32_t number)
{
    int                     message;
    size_t                  i, n, first, len;
    uint32_t                kind;
    conduit_wire_field_t    f;
    conduit_merge_parts_t   parts;
    conduit_merge_field_t   field;

    message = 0;
    kind = 0;
    first = 0;
    len = 0;

    conduit_merge_parts(&parts, p, end, number);

    for (n = 0; conduit_merge_next(&parts, &f); n++) {

        if (f.number > CONDUIT_MERGE_LIST) {
            continue;
        }

        if (f.number != kind || !message) {
            kind = f.number;
            message = (kind >= CONDUIT_MERGE_STRUCT);
            first = n;
            len = 0;
        }

        len += f.len;
    }

    if (message) {
        conduit_merge_open(m, &field, kind, len);
    }

    conduit_merge_parts(&parts, p, end, number);

    for (i = 0; conduit_merge_next(&parts, &f); i++) {

        if (i < first || f.number != kind) {
            continue;
        }

        if (kind == CONDUIT_MERGE_STRUCT) {
            conduit_merge_struct(m, f.data, f.data + f.len);

        } else if (kind == CONDUIT_MERGE_LIST) {
            conduit_merge_list(m, f.data, f.data + f.len);

        } else {
            conduit_merge_copy(m, parts.start, parts.p);
        }
    }

    if (message) {
        conduit_merge_close(m, &field);
    }
}


static void
conduit_merge_parts(conduit_merge_parts_t *parts, const uint8_t *p,
    const uint8_t *end, uint32_t number)
{
    parts->outer = p;
    parts->outer_end = end;
    parts->number = number;
    parts->start = p;
    parts->p = p;
    parts->end = p;
}


/* returns 1 and the next field of the inner message, or 0 at its end */

static int
conduit_merge_next(conduit_merge_parts_t *parts, conduit_wire_field_t *f)
{
    while (parts->p == parts->end) {

        if (parts->outer == parts->outer_end
            || conduit_wire_field(&parts->outer, parts->outer_end, f) != 0)
        {
            return 0;
        }

        if (f->number == parts->number) {
            parts->p = f->data;
            parts->end = f->data + f->len;
        }
    }

    parts->start = parts->p;

    return conduit_wire_field(&parts->p, parts->end, f) == 0;
}


static void
conduit_merge_copy(conduit_merge_t *m, const uint8_t *p, const uint8_t *end)
{
    if (m->failed || m->end - m->last < end - p) {
        m->failed = 1;
        return;
    }

    memcpy(m->last, p, end - p);
    m->last += end - p;
}


/* begins a message field; its content has at most len bytes */

static void
conduit_merge_open(conduit_merge_t *m, conduit_merge_field_t *field,
    uint32_t number, size_t len)
{
    for (field->head_len = 1; len > 0x7f; len >>= 7) {
        field->head_len++;
    }

    field->head = m->last;

    if (m->failed || (size_t) (m->end - m->last) < 1 + field->head_len) {
        m->failed = 1;
        return;
    }

    *field->head++ = (uint8_t) (number << 3 | CONDUIT_WIRE_BYTES);
    m->last = field->head + field->head_len;
}


static void
conduit_merge_close(conduit_merge_t *m, const conduit_merge_field_t *field)
{
    size_t  i, len;

    if (m->failed) {
        return;
    }

    len = m->last - (field->head + field->head_len);

    for (i = 0; i < field->head_len; i++) {
        field->head[i] = (uint8_t) (0x80 | (len & 0x7f));
        len >>= 7;
    }

    field->head[i - 1] &= 0x7f;

    if (len != 0) {
        m->failed = 1;
    }
}
