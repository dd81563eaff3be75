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

/* wire types; a group is a field up to its end */
#define CONDUIT_WIRE_VARINT   0
#define CONDUIT_WIRE_FIXED64  1
#define CONDUIT_WIRE_BYTES    2
#define CONDUIT_WIRE_GROUP    3
#define CONDUIT_WIRE_END      4
#define CONDUIT_WIRE_FIXED32  5

/* groups in groups, as many as other decoders take */
#define CONDUIT_WIRE_MAX_GROUPS  100

/* the payload's field in a PublishRequest */
#define CONDUIT_WIRE_PAYLOAD  6

/* one field, as it stands on the wire */
typedef struct {
    uint32_t        number;
    unsigned        type;
    const uint8_t  *data;     /* the value, without the length in front of it;
                                 of a group, what is behind its tag */
    size_t          len;
} conduit_wire_field_t;


/*
 * Reads the field at *p, which is before end, and moves *p behind it.  Returns
 * 0, or -1 when it is malformed or does not end by end.  A group is read to its
 * end, without recursion, its fields for their form alone; one that is not
 * closed, is closed by another's end, or nests too deeply is malformed.
 */
int conduit_wire_field(const uint8_t **p, const uint8_t *end,
    conduit_wire_field_t *f);

/*
 * Walks a serialized PublishRequest once, without recursion, and checks the
 * form of every field, the nesting of the payload and the UTF-8 of all strings.
 * At least as strict as protobuf-c: what is a known field there is one here.
 * *merge is set to whether protobuf-c would not read the message as protobuf
 * defines it: it has a group, or a message field that is not repeated is given
 * several times.  conduit_merge() mends that.  Returns CONDUIT_MESSAGE_OK,
 * _MALFORMED, _DEPTH or _UTF8, the first fault it meets.
 */
conduit_message_status_t conduit_walk(const uint8_t *data, size_t len,
    int *merge);

#pragma GCC visibility pop

#endif /* CONDUIT_WALK_H */
