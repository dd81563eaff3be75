/* Copyright (C) Conduit for NGINX authors */

/*
 * The messages of a run.  Each has a marker in its payload: channel, sequence
 * number and the time at which it was due, in characters that JSON, forms and
 * event streams do not escape.  So the events of any server can be checked.
 */

#ifndef MESSAGE_H
#define MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_buf.h"

#define MESSAGE_CHANNEL  37    /* a UUID and NUL */


/* values of the protobuf enum */
typedef enum {
    MESSAGE_START = 1,
    MESSAGE_DELTA,
    MESSAGE_END
} message_phase_e;

typedef struct {
    uint32_t         channel;
    uint64_t         sequence;    /* 0: a message that is not checked */
    uint64_t         due;         /* ns */
    message_phase_e  phase;
    size_t           size;        /* of the payload's text */
} message_t;


/*
 * The number of this run.  It is part of the name of each channel, so that a
 * server that was measured before has no messages in these channels.
 */
extern uint32_t  message_run;


void message_channel(uint32_t channel, char *uuid);

/* Appends a serialized PublishRequest. */
void message_proto(const message_t *m, conduit_buf_t *out);

/* Appends the JSON that the gateway makes of a message; it is what is published
   to other servers. */
void message_event(const message_t *m, conduit_buf_t *out);

/*
 * Finds the next marker from p on; sets channel, sequence and due.  Returns the
 * position after the marker, or NULL.
 */
const char *message_find(const char *p, const char *end, message_t *m);

#endif /* MESSAGE_H */
