/* Copyright (C) Conduit for NGINX authors */

/*
 * The connections that publish.  A channel's messages all go through the same
 * one, each after the reply to the one before, so that their order is known.
 * One set in the program.
 */

#ifndef PUBLISHERS_H
#define PUBLISHERS_H

#include <stdint.h>

#include "stats.h"
#include "target.h"

typedef struct {
    uint64_t     next;      /* sequence number of the next message */
    stats_set_t  stored;    /* those that were acknowledged */
} channel_t;

typedef struct {
    uint64_t        waiting;     /* messages without a reply yet */
    uint64_t        stored;      /* replies of 2xx */
    uint64_t        failed;      /* other replies, and broken connections */
    int             status;      /* of the first other reply */
    stats_times_t   times;       /* from when it was due to the reply, ns */
} published_t;


extern channel_t    *channels;
extern published_t   published;


/*
 * Opens nothing yet; connections are made as they are needed.  each: every
 * message has a connection of its own.
 */
void publishers_init(const target_t *target, uint32_t channels_n,
    uint32_t connections, int each, size_t size);

/* Publishes the channel's next message as soon as its connection is free. */
void publish(uint32_t channel, message_phase_e phase, uint64_t due);

/* Publishes a message of sequence 0, which nobody checks. */
void publish_warm(uint32_t channel);

/*
 * From now on each connection publishes to its channels in turn, without an
 * end, or stops after what is under way.
 */
void publishers_flood(int on);

/* Forgets counts and times. */
void publishers_mark(void);

#endif /* PUBLISHERS_H */
