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
 * The owner must not free the memory while the program runs, because an event
 * that epoll reported before the socket was closed still refers to it.
 */
struct loop_io_s {
    int    fd;
    void (*handler)(loop_io_t *io, uint32_t events);
};


/* Creates the loop, and raises the limit of open files to the maximum.  Exits
   on failure. */
void loop_init(void);

/* events are those of epoll; with 0, not even errors are reported */
void loop_watch(loop_io_t *io, uint32_t events);
void loop_change(loop_io_t *io, uint32_t events);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t loop_now(void);

/* Handles events; waits for them at most until a time. */
void loop_turn(uint64_t until);

#endif /* LOOP_H */
