/*
 * The wire form of a PublishRequest, checked before protobuf-c sees it.
 * Private to this room.
 */

#ifndef CONDUIT_WALK_H
#define CONDUIT_WALK_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_message.h"

#pragma GCC visibility push(hidden)

/* wire types; groups (3 and 4) are refused, as protobuf-c refuses them */
#define CONDUIT_WIRE_VARINT   0
#define CONDUIT_WIRE_FIXED64  1
#define CONDUIT_WIRE_BYTES    2
#define CONDUIT_WIRE_FIXED32  5

/* the field of a PublishRequest that conduit_walk() counts */
#define CONDUIT_WIRE_PAYLOAD  6

/* one field, as it stands on the wire */
typedef struct {
    uint32_t        number;
    unsigned        type;
    const uint8_t  *data;     /* the value, without the length in front of it */
    size_t          len;
} conduit_wire_field_t;


/*
 * Reads the field at *p, which is before end, and moves *p behind it.  Returns
 * 0, or -1 when it is malformed or does not end by end.
 */
int conduit_wire_field(const uint8_t **p, const uint8_t *end,
    conduit_wire_field_t *f);

/*
 * Walks a serialized PublishRequest once, without recursion, and checks the
 * form of every field, the nesting of the payload and the UTF-8 of all strings.
 * At least as strict as protobuf-c: what is a known field there is one here.
 * *payloads is set to the number of payload fields.  Returns
 * CONDUIT_MESSAGE_OK, _MALFORMED, _DEPTH or _UTF8, the first fault it meets.
 */
conduit_message_status_t conduit_walk(const uint8_t *data, size_t len,
    size_t *payloads);

#pragma GCC visibility pop

#endif /* CONDUIT_WALK_H */
