/* Copyright (C) Conduit for NGINX authors */

/*
 * The connections for publishing.  All messages of a channel are sent on the
 * same connection, each one after the reply to the one before, so that their
 * order is known.  The program has one set of connections.
 */

#ifndef PUBLISHERS_H
#define PUBLISHERS_H

#include <stdint.h>

#include "stats.h"
#include "target.h"

typedef struct {
    uint64_t     next;      /* sequence number of the next message */
    stats_set_t  stored;    /* sequence numbers that were acknowledged */
} channel_t;

typedef struct {
    uint64_t        waiting;     /* messages without a reply yet */
    uint64_t        stored;      /* replies of 2xx */
    uint64_t        failed;      /* other replies, and broken connections */
    int             status;      /* of the first reply that was not 2xx */
    stats_times_t   times;       /* ns from when a message was due to the
                                    reply */
} published_t;


extern channel_t    *channels;
extern published_t   published;


/*
 * Sets up the connections, which are opened when they are needed.  each: opens
 * a connection for each message.
 */
void publishers_init(const target_t *target, uint32_t channels_n,
    uint32_t connections, int each, size_t size);

/* Publishes the channel's next message as soon as its connection is free. */
void publish(uint32_t channel, message_phase_e phase, uint64_t due);

/* Publishes a message of sequence 0, which nobody checks. */
void publish_warm(uint32_t channel);

/*
 * From now on each connection publishes to its channels in turn, without end;
 * if on is 0, it stops after the message under way.
 */
void publishers_flood(int on);

/* Sets counts and times back to zero. */
void publishers_mark(void);

#endif /* PUBLISHERS_H */
