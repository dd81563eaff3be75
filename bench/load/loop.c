/* Copyright (C) Conduit for NGINX authors */

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "loop.h"

#define LOOP_EVENTS  512


static int  ep;


void
loop_init(void)
{
    struct rlimit  rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &rl);
    }

    ep = epoll_create1(EPOLL_CLOEXEC);

    if (ep == -1) {
        perror("epoll_create1");
        exit(1);
    }
}


static void
loop_control(int op, loop_io_t *io, uint32_t events)
{
    struct epoll_event  ev;

    ev.events = events;
    ev.data.ptr = io;

    if (epoll_ctl(ep, op, io->fd, &ev) == -1) {
        perror("epoll_ctl");
        exit(1);
    }
}


void
loop_watch(loop_io_t *io, uint32_t events)
{
    loop_control(EPOLL_CTL_ADD, io, events);
}


void
loop_change(loop_io_t *io, uint32_t events)
{
    loop_control(events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, io, events);
}


uint64_t
loop_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * LOOP_SEC + (uint64_t) ts.tv_nsec;
}


void
loop_turn(uint64_t until)
{
    int                 i, n;
    uint64_t            now, wait;
    loop_io_t          *io;
    struct timespec     ts;
    struct epoll_event  events[LOOP_EVENTS];

    now = loop_now();
    wait = until > now ? until - now : 0;
    ts.tv_sec = (time_t) (wait / LOOP_SEC);
    ts.tv_nsec = (long) (wait % LOOP_SEC);

    n = epoll_pwait2(ep, events, LOOP_EVENTS, &ts, NULL);

    for (i = 0; i < n; i++) {
        io = events[i].data.ptr;

        if (io->fd != -1) {
            io->handler(io, events[i].events);
        }
    }
}
