/* Copyright (C) Conduit for NGINX authors */

/*
 * The event loop of the generator: epoll, level-triggered, one thread.
 */

#ifndef LOOP_H
#define LOOP_H

#include <stdint.h>

#define LOOP_MS   ((uint64_t) 1000000)
#define LOOP_SEC  ((uint64_t) 1000000000)


typedef struct loop_io_s  loop_io_t;

/*
 * The owner keeps the memory for as long as the program runs: an event that was
 * reported before its socket was closed still comes here.
 */
struct loop_io_s {
    int    fd;
    void (*handler)(loop_io_t *io, uint32_t events);
};


/* Exits if there is no epoll; takes as many file descriptors as are allowed. */
void loop_init(void);

/* events are epoll's; 0: none, not even of errors */
void loop_watch(loop_io_t *io, uint32_t events);
void loop_change(loop_io_t *io, uint32_t events);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t loop_now(void);

/* Handles what there is, waits for it until a time at most. */
void loop_turn(uint64_t until);

#endif /* LOOP_H */
