/* Copyright (C) Conduit for NGINX authors */

/*
 * Writes protobuf's wire form by hand, for messages that no library writes.  A
 * buffer holds the content of one message.
 */

#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>
#include <string.h>

#include "conduit_buf.h"

#define WIRE_CHANNEL  "97f58c19-ce38-4c6b-8a5b-47f3405691f0"
#define WIRE_MESSAGE  "0f8fad5b-d9cb-469f-a165-70867728950e"


static inline void
wire_byte(conduit_buf_t *b, unsigned byte)
{
    char  c;

    c = (char) byte;
    conduit_buf_append(b, &c, 1);
}


static inline void
wire_varint(conduit_buf_t *b, uint64_t n)
{
    for (/* void */ ; n > 0x7f; n >>= 7) {
        wire_byte(b, 0x80 | (n & 0x7f));
    }

    wire_byte(b, n);
}


static inline void
wire_tag(conduit_buf_t *b, uint32_t number, unsigned type)
{
    wire_varint(b, (uint64_t) number << 3 | type);
}


static inline void
wire_uint(conduit_buf_t *b, uint32_t number, uint64_t n)
{
    wire_tag(b, number, 0);
    wire_varint(b, n);
}


static inline void
wire_double(conduit_buf_t *b, uint32_t number, double n)
{
    wire_tag(b, number, 1);
    conduit_buf_append(b, &n, sizeof(double));
}


static inline void
wire_bytes(conduit_buf_t *b, uint32_t number, const void *data, size_t len)
{
    wire_tag(b, number, 2);
    wire_varint(b, len);
    conduit_buf_append(b, data, len);
}


/* makes the content the only field of a message */

static inline void
wire_wrap(conduit_buf_t *b, uint32_t number)
{
    conduit_buf_t  outer;

    memset(&outer, 0, sizeof(outer));
    wire_bytes(&outer, number, b->data, b->len);
    conduit_buf_free(b);
    *b = outer;
}


/* appends an entry of a Struct; value is the content of a Value */

static inline void
wire_entry(conduit_buf_t *b, const char *key, size_t len,
    const conduit_buf_t *value)
{
    conduit_buf_t  entry;

    memset(&entry, 0, sizeof(entry));
    wire_bytes(&entry, 1, key, len);
    wire_bytes(&entry, 2, value->data, value->len);
    wire_bytes(b, 1, entry.data, entry.len);
    conduit_buf_free(&entry);
}


/* both ids, as every good message has them */

static inline void
wire_ids(conduit_buf_t *b)
{
    wire_bytes(b, 1, WIRE_CHANNEL, 36);
    wire_bytes(b, 2, WIRE_MESSAGE, 36);
}

#endif /* WIRE_H */
