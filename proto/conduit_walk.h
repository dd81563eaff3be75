/* Copyright (C) Conduit for NGINX authors */

/*
 * Checks a serialized PublishRequest before protobuf-c decodes it.  Private to
 * proto/.
 */

#ifndef CONDUIT_WALK_H
#define CONDUIT_WALK_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_message.h"

#pragma GCC visibility push(hidden)

/* wire types of protobuf; GROUP and END enclose the fields of a group */
#define CONDUIT_WIRE_VARINT   0
#define CONDUIT_WIRE_FIXED64  1
#define CONDUIT_WIRE_BYTES    2
#define CONDUIT_WIRE_GROUP    3
#define CONDUIT_WIRE_END      4
#define CONDUIT_WIRE_FIXED32  5

/* nesting of groups, the same as the limit of other decoders */
#define CONDUIT_WIRE_MAX_GROUPS  100

/* field number of the payload in a PublishRequest */
#define CONDUIT_WIRE_PAYLOAD  6

/* one field as it is serialized */
typedef struct {
    uint32_t        number;
    unsigned        type;     /* wire type */
    const uint8_t  *data;     /* the value, after its length if it has one; of a
                                 group, all after its tag, with its end */
    size_t          len;
    uint64_t        varint;   /* the value of a varint */
} conduit_wire_field_t;

/*
 * What is found on the way: fields of the request itself, the last one where
 * one occurs several times, as protobuf requires.  The ids point into the
 * message.
 */
typedef struct {
    int             merge;    /* see conduit_walk() */
    int32_t         phase;
    uint64_t        sequence;
    const uint8_t  *channel_id;
    size_t          channel_id_len;
    const uint8_t  *message_id;
    size_t          message_id_len;
} conduit_walk_t;


/*
 * Reads the field at *p, which is before end, and moves *p past it.  Returns 0;
 * or -1 if the field is malformed or goes beyond end.  A group is read to its
 * end, without recursion, and only the form of its fields is checked; it is
 * malformed if it has no end, the end of another group, or is nested too
 * deeply.
 */
int conduit_wire_field(const uint8_t **p, const uint8_t *end,
    conduit_wire_field_t *f);

/*
 * Reads a serialized PublishRequest once, without recursion, and checks the
 * form of all fields, the nesting of the payload, and that all strings are
 * UTF-8.  It is at least as strict as protobuf-c, and has the same known
 * fields.
 *
 * Sets w->merge to 1 if protobuf-c would not decode the message as the protobuf
 * specification requires, and else to 0: the message contains a group, or a
 * message field that is not repeated occurs several times.  Then
 * conduit_merge() must rewrite it.
 *
 * Returns CONDUIT_MESSAGE_OK, or the first fault: _MALFORMED, _DEPTH or _UTF8.
 */
conduit_message_status_e conduit_walk(const uint8_t *data, size_t len,
    conduit_walk_t *w);

#pragma GCC visibility pop

#endif /* CONDUIT_WALK_H */
