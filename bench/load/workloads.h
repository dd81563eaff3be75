/* Copyright (C) Conduit for NGINX authors */

/*
 * The workloads, which send messages to a server and receive events from it.
 * At each phase, a workload prints the name of the phase and waits for a line
 * of input, so that the program that started it can look at the server:
 *
 *     start       nothing was done yet
 *     still       (if options.still) all clients are connected, nothing is
 *                 published
 *     measure     all clients are connected: what follows is measured
 *     reload      (if options.reload) the server is to be reloaded now
 *     full        (if options.slow) all messages were published, the slow
 *                 clients have read nothing
 *     measured    the measurement is over
 */

#ifndef WORKLOADS_H
#define WORKLOADS_H

#include <stdint.h>

#include "target.h"

typedef struct {
    uint32_t  clients;
    uint32_t  channels;
    uint32_t  connections;   /* for publishing */
    uint32_t  at_once;       /* clients that wait for a response, at most; not
                                in "storm" and "tokens" */
    uint32_t  rate;          /* messages a second, of all channels together */
    uint32_t  slow;          /* clients */
    uint32_t  messages;      /* a channel; of "storm" and "tokens" */
    uint32_t  size;          /* bytes of the payload's text */
    uint32_t  ms;            /* how long, where "messages" is not used */
    uint32_t  still;         /* ms without messages before "measure"; 0: none */
    uint32_t  reload;        /* ms after the first message; 0: never */
    uint32_t  patience;      /* ms without progress, after which it gives up */
    int       each;          /* opens a connection for each message */
} options_t;

typedef struct {
    const char  *name;
    void       (*run)(const target_t *target, const options_t *o);
} workload_t;


/* ends with an entry without a name */
extern const workload_t  workloads[];

/* Prints the name of a phase and waits for input, see above. */
void phase(const char *name);

/* a workload with Redis instead of a server (doorbell.c) */
void run_doorbell(const target_t *target, const options_t *o);

/* The CPU time of this process between "measure" and "measured", and the time
   between them. */
extern uint64_t  measured_cpu, measured_ns;

#endif /* WORKLOADS_H */
