/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_walk.h"


/*
 * What a field contains.  The messages come first: they are also the kinds of
 * frames, and the rows of conduit_walk_fields[].
 */
typedef enum {
    CONDUIT_WALK_REQUEST = 0,
    CONDUIT_WALK_TIMESTAMP,
    CONDUIT_WALK_STRUCT,
    CONDUIT_WALK_ENTRY,
    CONDUIT_WALK_VALUE,
    CONDUIT_WALK_LIST,
    CONDUIT_WALK_MESSAGES,     /* how many there are */
    CONDUIT_WALK_STRING,
    CONDUIT_WALK_VARINT,
    CONDUIT_WALK_FIXED64,
    CONDUIT_WALK_UNKNOWN
} conduit_walk_kind_e;

/* a message that is being read; the frames are a stack */
typedef struct {
    conduit_walk_kind_e   kind;
    unsigned              given;    /* bit n: message field n has occurred */
    const uint8_t        *end;
} conduit_walk_frame_t;

#define CONDUIT_WALK_FIELDS  6

/* the request, and for each level of nesting at most a struct, an entry and a
   value */
#define CONDUIT_WALK_FRAMES  (3 * CONDUIT_MESSAGE_MAX_DEPTH + 1)

typedef struct {
    size_t                 depth;   /* structs and lists */
    conduit_walk_frame_t  *top;
    conduit_walk_frame_t   frames[CONDUIT_WALK_FRAMES];
} conduit_walk_stack_t;

/* bytes of a tag or length, and of any varint, that protobuf-c accepts */
#define CONDUIT_WALK_TAG_MAX     5
#define CONDUIT_WALK_VARINT_MAX  10

/* the greatest length that protobuf-c accepts */
#define CONDUIT_WALK_LEN_MAX     0x7fffffff


static int conduit_wire_tag(const uint8_t **p, const uint8_t *end,
    conduit_wire_field_t *f);
static int conduit_wire_value(const uint8_t **p, const uint8_t *end,
    conduit_wire_field_t *f);
static int conduit_wire_group(const uint8_t **p, const uint8_t *end,
    uint32_t number);
static inline int conduit_wire_varint(const uint8_t **p, const uint8_t *end,
    size_t max, uint64_t *value);
static int conduit_wire_varint_long(const uint8_t **p, const uint8_t *end,
    size_t max, uint64_t *value);
static void conduit_walk_begin(conduit_walk_stack_t *stack,
    const uint8_t *data, size_t len);
static conduit_message_status_e conduit_walk_check(conduit_walk_kind_e kind,
    const conduit_wire_field_t *f);
static conduit_message_status_e conduit_walk_enter(conduit_walk_stack_t *stack,
    conduit_walk_kind_e kind, const uint8_t *end);
static int conduit_walk_leave(conduit_walk_stack_t *stack, const uint8_t *p);
static int conduit_walk_nests(conduit_walk_kind_e kind);
static void conduit_walk_note(conduit_walk_t *w,
    const conduit_wire_field_t *f);
static int conduit_walk_again(conduit_walk_frame_t *frame, uint32_t number);
static conduit_walk_kind_e conduit_walk_known(conduit_walk_kind_e message,
    uint32_t number);
static unsigned conduit_walk_type(conduit_walk_kind_e kind);
static int conduit_walk_utf8(const uint8_t *p, size_t len);
static size_t conduit_walk_utf8_char(const uint8_t *p, size_t len);


/* fields 1 to 6 of the messages; the rows are in the order of the enum */

static const uint8_t
    conduit_walk_fields[CONDUIT_WALK_MESSAGES][CONDUIT_WALK_FIELDS] =
{
    /* PublishRequest: channel, message, time, phase, sequence, payload */
    { CONDUIT_WALK_STRING, CONDUIT_WALK_STRING, CONDUIT_WALK_TIMESTAMP,
      CONDUIT_WALK_VARINT, CONDUIT_WALK_VARINT, CONDUIT_WALK_STRUCT },

    /* Timestamp: seconds, nanos */
    { CONDUIT_WALK_VARINT, CONDUIT_WALK_VARINT, CONDUIT_WALK_UNKNOWN,
      CONDUIT_WALK_UNKNOWN, CONDUIT_WALK_UNKNOWN, CONDUIT_WALK_UNKNOWN },

    /* Struct: fields */
    { CONDUIT_WALK_ENTRY, CONDUIT_WALK_UNKNOWN, CONDUIT_WALK_UNKNOWN,
      CONDUIT_WALK_UNKNOWN, CONDUIT_WALK_UNKNOWN, CONDUIT_WALK_UNKNOWN },

    /* FieldsEntry: key, value */
    { CONDUIT_WALK_STRING, CONDUIT_WALK_VALUE, CONDUIT_WALK_UNKNOWN,
      CONDUIT_WALK_UNKNOWN, CONDUIT_WALK_UNKNOWN, CONDUIT_WALK_UNKNOWN },

    /* Value: null, number, string, bool, struct, list */
    { CONDUIT_WALK_VARINT, CONDUIT_WALK_FIXED64, CONDUIT_WALK_STRING,
      CONDUIT_WALK_VARINT, CONDUIT_WALK_STRUCT, CONDUIT_WALK_LIST },

    /* ListValue: values */
    { CONDUIT_WALK_VALUE, CONDUIT_WALK_UNKNOWN, CONDUIT_WALK_UNKNOWN,
      CONDUIT_WALK_UNKNOWN, CONDUIT_WALK_UNKNOWN, CONDUIT_WALK_UNKNOWN }
};


conduit_message_status_e
conduit_walk(const uint8_t *data, size_t len, conduit_walk_t *w)
{
    const uint8_t             *p;
    conduit_walk_kind_e        kind;
    conduit_wire_field_t       f;
    conduit_walk_stack_t       stack;
    conduit_message_status_e   status;

    memset(w, 0, sizeof(conduit_walk_t));

    if (len == 0) {
        return CONDUIT_MESSAGE_OK;
    }

    if (len > CONDUIT_WALK_LEN_MAX) {
        return CONDUIT_MESSAGE_MALFORMED;
    }

    conduit_walk_begin(&stack, data, len);
    p = data;

    for ( ;; ) {

        if (conduit_walk_leave(&stack, p)) {
            return CONDUIT_MESSAGE_OK;
        }

        if (conduit_wire_field(&p, stack.top->end, &f) != 0) {
            return CONDUIT_MESSAGE_MALFORMED;
        }

        w->merge |= (f.type == CONDUIT_WIRE_GROUP);

        kind = conduit_walk_known(stack.top->kind, f.number);

        if (kind == CONDUIT_WALK_UNKNOWN) {
            continue;
        }

        status = conduit_walk_check(kind, &f);
        if (status != CONDUIT_MESSAGE_OK) {
            return status;
        }

        if (kind >= CONDUIT_WALK_MESSAGES) {

            if (stack.top == stack.frames) {
                conduit_walk_note(w, &f);
            }

            continue;
        }

        w->merge |= conduit_walk_again(stack.top, f.number);

        status = conduit_walk_enter(&stack, kind, p);
        if (status != CONDUIT_MESSAGE_OK) {
            return status;
        }

        p = f.data;
    }
}


/* begins the outermost message, the request */

static void
conduit_walk_begin(conduit_walk_stack_t *stack, const uint8_t *data, size_t len)
{
    stack->depth = 0;
    stack->top = stack->frames;
    stack->top->kind = CONDUIT_WALK_REQUEST;
    stack->top->given = 0;
    stack->top->end = data + len;
}


/* the wire type and the text of a known field */

static conduit_message_status_e
conduit_walk_check(conduit_walk_kind_e kind, const conduit_wire_field_t *f)
{
    if (f->type != conduit_walk_type(kind)) {
        return CONDUIT_MESSAGE_MALFORMED;
    }

    if (kind == CONDUIT_WALK_STRING && !conduit_walk_utf8(f->data, f->len)) {
        return CONDUIT_MESSAGE_UTF8;
    }

    return CONDUIT_MESSAGE_OK;
}


/* begins a message within the one on top */

static conduit_message_status_e
conduit_walk_enter(conduit_walk_stack_t *stack, conduit_walk_kind_e kind,
    const uint8_t *end)
{
    if (conduit_walk_nests(kind)
        && stack->depth++ == CONDUIT_MESSAGE_MAX_DEPTH)
    {
        return CONDUIT_MESSAGE_DEPTH;
    }

    /* can't happen, as the depth is limited: see CONDUIT_WALK_FRAMES */

    if (stack->top == stack->frames + CONDUIT_WALK_FRAMES - 1) {
        return CONDUIT_MESSAGE_DEPTH;
    }

    stack->top++;
    stack->top->kind = kind;
    stack->top->given = 0;
    stack->top->end = end;

    return CONDUIT_MESSAGE_OK;
}


/* leaves the messages that end at p; returns whether that is all of them */

static int
conduit_walk_leave(conduit_walk_stack_t *stack, const uint8_t *p)
{
    while (p == stack->top->end) {

        if (stack->top == stack->frames) {
            return 1;
        }

        stack->depth -= conduit_walk_nests(stack->top->kind);
        stack->top--;
    }

    return 0;
}


/* returns whether such messages count for the depth */

static int
conduit_walk_nests(conduit_walk_kind_e kind)
{
    return kind == CONDUIT_WALK_STRUCT || kind == CONDUIT_WALK_LIST;
}


/* notes a field of the request that is no message */

static void
conduit_walk_note(conduit_walk_t *w, const conduit_wire_field_t *f)
{
    switch (f->number) {

    case 1:
        w->channel_id = f->data;
        w->channel_id_len = f->len;
        break;

    case 2:
        w->message_id = f->data;
        w->message_id_len = f->len;
        break;

    case 4:

        /* an enum has 32 bits */

        w->phase = (int32_t) (uint32_t) f->varint;
        break;

    case 5:
        w->sequence = f->varint;
        break;
    }
}


/* returns whether a message field that is not repeated occurs again */

static int
conduit_walk_again(conduit_walk_frame_t *frame, uint32_t number)
{
    int  again;

    if (conduit_walk_nests(frame->kind)) {
        return 0;
    }

    again = (frame->given >> number) & 1;
    frame->given |= 1u << number;

    return again;
}


int
conduit_wire_field(const uint8_t **p, const uint8_t *end,
    conduit_wire_field_t *f)
{
    if (conduit_wire_tag(p, end, f) != 0) {
        return -1;
    }

    if (f->type != CONDUIT_WIRE_GROUP) {
        return conduit_wire_value(p, end, f);
    }

    f->data = *p;

    if (conduit_wire_group(p, end, f->number) != 0) {
        return -1;
    }

    f->len = *p - f->data;

    return 0;
}


static int
conduit_wire_tag(const uint8_t **p, const uint8_t *end,
    conduit_wire_field_t *f)
{
    uint64_t  value;

    if (conduit_wire_varint(p, end, CONDUIT_WALK_TAG_MAX, &value) != 0
        || value > UINT32_MAX)
    {
        return -1;
    }

    f->number = (uint32_t) value >> 3;
    f->type = value & 7;

    return (f->number == 0) ? -1 : 0;
}


static int
conduit_wire_value(const uint8_t **p, const uint8_t *end,
    conduit_wire_field_t *f)
{
    uint64_t  value;

    f->data = *p;
    f->varint = 0;

    switch (f->type) {

    case CONDUIT_WIRE_VARINT:

        if (conduit_wire_varint(p, end, CONDUIT_WALK_VARINT_MAX, &f->varint)
            != 0)
        {
            return -1;
        }

        f->len = *p - f->data;

        return 0;

    case CONDUIT_WIRE_FIXED64:
        f->len = 8;
        break;

    case CONDUIT_WIRE_FIXED32:
        f->len = 4;
        break;

    case CONDUIT_WIRE_BYTES:

        if (conduit_wire_varint(p, end, CONDUIT_WALK_TAG_MAX, &value) != 0
            || value > CONDUIT_WALK_LEN_MAX)
        {
            return -1;
        }

        f->data = *p;
        f->len = value;
        break;

    default:
        return -1;
    }

    if (f->len > (size_t) (end - f->data)) {
        return -1;
    }

    *p = f->data + f->len;

    return 0;
}


/* moves *p from after the tag of a group to after its end */

static int
conduit_wire_group(const uint8_t **p, const uint8_t *end, uint32_t number)
{
    size_t                 n;
    uint32_t               open[CONDUIT_WIRE_MAX_GROUPS];
    conduit_wire_field_t   f;

    open[0] = number;

    for (n = 1; n > 0; /* void */ ) {

        if (conduit_wire_tag(p, end, &f) != 0) {
            return -1;
        }

        if (f.type == CONDUIT_WIRE_END) {

            if (f.number != open[n - 1]) {
                return -1;
            }

            n--;

        } else if (f.type == CONDUIT_WIRE_GROUP) {

            if (n == CONDUIT_WIRE_MAX_GROUPS) {
                return -1;
            }

            open[n++] = f.number;

        } else if (conduit_wire_value(p, end, &f) != 0) {
            return -1;
        }
    }

    return 0;
}


/* reads a varint of at most max bytes; most have one */

static inline int
conduit_wire_varint(const uint8_t **p, const uint8_t *end, size_t max,
    uint64_t *value)
{
    if (*p < end && (**p & 0x80) == 0) {
        *value = *(*p)++;
        return 0;
    }

    return conduit_wire_varint_long(p, end, max, value);
}


/* of a tenth byte only bit 63 is left */

static int
conduit_wire_varint_long(const uint8_t **p, const uint8_t *end, size_t max,
    uint64_t *value)
{
    size_t    i;
    uint64_t  v;

    v = 0;

    for (i = 0; i < max && *p < end; i++) {

        if (i == CONDUIT_WALK_VARINT_MAX - 1 && **p > 1) {
            return -1;
        }

        v |= (uint64_t) (**p & 0x7f) << (7 * i);

        if ((*(*p)++ & 0x80) == 0) {
            *value = v;
            return 0;
        }
    }

    return -1;
}


static conduit_walk_kind_e
conduit_walk_known(conduit_walk_kind_e message, uint32_t number)
{
    if (number > CONDUIT_WALK_FIELDS) {
        return CONDUIT_WALK_UNKNOWN;
    }

    return conduit_walk_fields[message][number - 1];
}


static unsigned
conduit_walk_type(conduit_walk_kind_e kind)
{
    if (kind == CONDUIT_WALK_VARINT) {
        return CONDUIT_WIRE_VARINT;
    }

    if (kind == CONDUIT_WALK_FIXED64) {
        return CONDUIT_WIRE_FIXED64;
    }

    return CONDUIT_WIRE_BYTES;
}


static int
conduit_walk_utf8(const uint8_t *p, size_t len)
{
    size_t    n;
    uint64_t  block;

    while (len > 0) {

        /* skip ASCII, which most text consists of, in blocks of 8 bytes */

        while (len >= sizeof(block)) {
            memcpy(&block, p, sizeof(block));

            if (block & UINT64_C(0x8080808080808080)) {
                break;
            }

            p += sizeof(block);
            len -= sizeof(block);
        }

        if (len == 0) {
            break;
        }

        n = conduit_walk_utf8_char(p, len);
        if (n == 0) {
            return 0;
        }

        p += n;
        len -= n;
    }

    return 1;
}


/* returns the length of the character at p, or 0 if invalid (RFC 3629, 4) */

static size_t
conduit_walk_utf8_char(const uint8_t *p, size_t len)
{
    size_t   i, n;
    uint8_t  low, high;

    if (p[0] < 0x80) {
        return 1;
    }

    if (p[0] < 0xc2 || p[0] > 0xf4) {
        return 0;
    }

    n = (p[0] < 0xe0) ? 2 : (p[0] < 0xf0) ? 3 : 4;

    if (len < n) {
        return 0;
    }

    /* the second byte excludes overlong forms, surrogates, > U+10FFFF */

    low = (p[0] == 0xe0) ? 0xa0 : (p[0] == 0xf0) ? 0x90 : 0x80;
    high = (p[0] == 0xed) ? 0x9f : (p[0] == 0xf4) ? 0x8f : 0xbf;

    if (p[1] < low || p[1] > high) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    return n;
}
