/* Copyright (C) Conduit for NGINX authors */

/*
 * What is done to a server.  A workload tells when it gets to a phase and waits
 * for a line of input, so that whoever started it can look at the server:
 *
 *     start       nothing was done yet
 *     still       (if options.still) all is connected, nothing is published
 *     measure     all is connected: what follows is measured
 *     reload      (if options.reload) the server is to be reloaded now
 *     full        (if options.slow) all was published, the slow read nothing
 *     measured    the end of it
 */

#ifndef WORKLOADS_H
#define WORKLOADS_H

#include <stdint.h>

#include "target.h"

typedef struct {
    uint32_t  clients;
    uint32_t  channels;
    uint32_t  connections;   /* that publish */
    uint32_t  at_once;       /* clients that wait for a response, at most; not
                                in "storm" and "tokens" */
    uint32_t  rate;          /* messages a second, of all channels together */
    uint32_t  slow;          /* clients */
    uint32_t  messages;      /* a channel, where they are counted */
    uint32_t  size;          /* bytes of the payload's text */
    uint32_t  ms;            /* how long */
    uint32_t  still;         /* ms without messages before "measure"; 0: none */
    uint32_t  reload;        /* ms, when; 0: never */
    uint32_t  patience;      /* ms without progress, then it is given up */
    int       each;          /* a connection for each publish */
} options_t;

typedef struct {
    const char  *name;
    void       (*run)(const target_t *target, const options_t *o);
} workload_t;


/* ends with an entry without a name */
extern const workload_t  workloads[];

/* Tells of a phase and waits, see above. */
void phase(const char *name);

/* in a file of its own: it needs Redis, and no server */
void run_doorbell(const target_t *target, const options_t *o);

/* CPU time of this process between "measure" and "measured", and that time. */
extern uint64_t  measured_cpu, measured_ns;

#endif /* WORKLOADS_H */
