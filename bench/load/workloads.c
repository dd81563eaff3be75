/* Copyright (C) Conduit for NGINX authors */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "publishers.h"
#include "viewers.h"
#include "workloads.h"

#define IN_TURN   100               /* connections opened in one turn */
#define FIRST     32                /* clients that are not measured, see
                                       first_clients() */


static void run_publish(const target_t *target, const options_t *o);
static void run_deliver(const target_t *target, const options_t *o);
static void run_idle(const target_t *target, const options_t *o);
static void run_storm(const target_t *target, const options_t *o);
static void run_tokens(const target_t *target, const options_t *o);


const workload_t  workloads[] = {
    { "publish",  run_publish },
    { "deliver",  run_deliver },
    { "idle",     run_idle },
    { "storm",    run_storm },
    { "tokens",   run_tokens },
    { "doorbell", run_doorbell },
    { NULL, NULL }
};

uint64_t  measured_cpu, measured_ns;


static uint64_t
cpu_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return (uint64_t) ts.tv_sec * LOOP_SEC + (uint64_t) ts.tv_nsec;
}


void
phase(const char *name)
{
    char  line[16];

    if (strcmp(name, "measured") == 0) {
        measured_cpu = cpu_now() - measured_cpu;
        measured_ns = loop_now() - measured_ns;
    }

    printf("{\"phase\":\"%s\"}\n", name);
    fflush(stdout);

    if (fgets(line, sizeof(line), stdin) == NULL) {
        exit(1);
    }

    if (strcmp(name, "measure") == 0) {
        measured_cpu = cpu_now();
        measured_ns = loop_now();
    }
}


/* returns a number that grows with each reply, each event that a client gets
   for the first time, and each client that is connected, refused or done */

static uint64_t
progress(void)
{
    static uint64_t  most_open;

    if (viewed.open > most_open) {
        most_open = viewed.open;
    }

    return viewed.events - viewed.twice + published.stored + published.failed
           + most_open + viewed.refused + viewed.done;
}


/*
 * Runs the event loop until a condition holds.  Returns 0 if it gives up
 * because there was no progress for some time.
 */

static int
wait_until(int (*holds)(const options_t *o), const options_t *o)
{
    uint64_t  now, last, before;

    before = progress();
    last = loop_now();

    while (!holds(o)) {
        now = loop_now();

        if (progress() != before) {
            before = progress();
            last = now;

        } else if (now - last > o->patience * LOOP_MS) {
            return 0;
        }

        viewers_retry();
        loop_turn(now + 20 * LOOP_MS);
    }

    return 1;
}


static int
all_published(const options_t *o)
{
    (void) o;

    return published.waiting == 0;
}


static int
all_open(const options_t *o)
{
    return viewed.open + viewed.refused + o->slow >= o->clients;
}


static int
all_done(const options_t *o)
{
    return published.waiting == 0 && viewed.done + viewed.refused >= o->clients;
}


static int
all_received(const options_t *o)
{
    (void) o;

    return published.waiting == 0 && viewers_complete(0);
}


static int
slow_received(const options_t *o)
{
    (void) o;

    return viewers_complete(1);
}


static void
die(const char *why)
{
    fprintf(stderr, "load: %s (open %llu, refused %llu with %d, warm %llu, "
            "publishes failed %llu with %d)\n", why,
            (unsigned long long) viewed.open,
            (unsigned long long) viewed.refused, viewed.status,
            (unsigned long long) viewed.warm,
            (unsigned long long) published.failed, published.status);
    exit(1);
}


static void
connect_all(const options_t *o)
{
    uint32_t  i;
    uint64_t  last, answered;

    last = loop_now();
    answered = 0;

    for (i = 0; i < o->clients; i++) {
        while (i >= o->slow + answered + o->at_once
               && loop_now() - last < o->patience * LOOP_MS)
        {
            loop_turn(loop_now() + LOOP_MS);

            if (viewed.open + viewed.refused != answered) {
                answered = viewed.open + viewed.refused;
                last = loop_now();
            }
        }

        viewer_open(i);
    }

    if (!wait_until(all_open, o) || viewed.refused) {
        die("not all clients were let in");
    }
}


/*
 * A server may begin a response before its subscription is active: messages
 * that are not counted are published until each client has got one.
 */

static void
warm_up(const options_t *o)
{
    uint32_t  i;
    uint64_t  now, last, before, so_far, again;

    last = loop_now();
    before = 0;
    again = 0;

    for (now = loop_now(); viewed.warm + o->slow < o->clients
                           || published.waiting; now = loop_now())
    {
        /* only the first message of each channel counts as progress */

        so_far = viewed.warm + (published.stored < o->channels
                                ? published.stored : o->channels);

        if (so_far != before) {
            before = so_far;
            last = now;

        } else if (now - last > o->patience * LOOP_MS) {
            die("not all clients get events");
        }

        if (now >= again && published.waiting == 0) {
            for (i = 0; i < o->channels; i++) {
                publish_warm(i);
            }

            again = now + 500 * LOOP_MS;
        }

        loop_turn(now + 10 * LOOP_MS);
    }

    publishers_mark();
}


/*
 * Workers of a server may connect to Redis only when their first client comes.
 * Clients that are not measured come first, so that this is not measured.
 */

static void
first_clients(const options_t *o, uint32_t channel)
{
    uint32_t  i;
    uint64_t  now, end, again;

    end = loop_now() + o->patience * LOOP_MS;
    again = 0;

    for (i = 0; i < FIRST; i++) {
        viewer_open(o->clients + i);
    }

    for (now = loop_now(); viewed.warm < FIRST; now = loop_now()) {

        if (now > end) {
            die("the first clients get no events");
        }

        if (now >= again && published.waiting == 0) {
            publish_warm(channel);
            again = now + 500 * LOOP_MS;
        }

        loop_turn(now + 10 * LOOP_MS);
    }

    for (i = 0; i < FIRST; i++) {
        viewer_close(o->clients + i);
    }

    publishers_mark();
}


/* publishes as many messages a second as the server accepts */

static void
run_publish(const target_t *target, const options_t *o)
{
    uint64_t  now, end;

    publishers_init(target, o->channels, o->connections, o->each, o->size);
    phase("start");

    publishers_flood(1);
    end = loop_now() + 100 * LOOP_MS;

    while (loop_now() < end) {
        loop_turn(end);
    }

    publishers_mark();
    phase("measure");
    end = loop_now() + o->ms * LOOP_MS;

    for (now = loop_now(); now < end; now = loop_now()) {
        loop_turn(end);
    }

    phase("measured");
    publishers_flood(0);
    (void) wait_until(all_published, o);
}


static void
turn_for(uint32_t ms)
{
    uint64_t  now, end;

    end = loop_now() + ms * LOOP_MS;

    for (now = loop_now(); now < end; now = loop_now()) {
        loop_turn(end);
    }
}


/* publishes at a steady rate, to clients that are connected before */

static void
run_deliver(const target_t *target, const options_t *o)
{
    uint64_t  now, start, due, n, total, reload;

    publishers_init(target, o->channels, o->connections, 0, o->size);
    viewers_init(target, o->clients, o->channels, o->slow, 0, 0);
    phase("start");

    connect_all(o);
    warm_up(o);

    if (o->still) {
        phase("still");
        turn_for(o->still);
    }

    phase("measure");

    start = loop_now();
    total = (uint64_t) o->ms * o->rate / 1000;
    reload = (uint64_t) o->reload * o->rate / 1000;
    n = 0;

    while (n < total) {
        due = start + n * LOOP_SEC / o->rate;
        now = loop_now();

        if (due > now) {
            loop_turn(due);
            viewers_retry();
            continue;
        }

        publish((uint32_t) (n % o->channels), MESSAGE_DELTA, due);
        loop_turn(0);

        if (++n == reload) {
            viewers_mark_closes();
            phase("reload");
        }
    }

    (void) wait_until(all_received, o);

    if (o->slow) {
        phase("full");
        viewers_unslow();
        (void) wait_until(slow_received, o);
    }

    phase("measured");
}


/* clients are connected, and nothing is published */

static void
run_idle(const target_t *target, const options_t *o)
{
    publishers_init(target, o->channels, 1, 0, o->size);
    viewers_init(target, o->clients, o->channels, 0, 0, 0);
    phase("start");

    connect_all(o);
    phase("measure");
    turn_for(o->ms);
    phase("measured");
}


/* all clients come at the same time, and read all stored messages of a
   channel */

static void
run_storm(const target_t *target, const options_t *o)
{
    uint32_t  i;

    publishers_init(target, o->channels + 1, o->connections, 0, o->size);
    viewers_init(target, o->clients, o->channels, 0, FIRST, o->messages);
    phase("start");
    first_clients(o, o->channels);

    for (i = 0; i < o->messages * o->channels; i++) {
        publish(i % o->channels, MESSAGE_DELTA, loop_now());
    }

    if (!wait_until(all_published, o) || published.failed) {
        die("not all messages were taken");
    }

    phase("measure");

    for (i = 0; i < o->clients; i++) {
        viewer_open(i);

        if (i % IN_TURN == IN_TURN - 1) {
            loop_turn(0);
        }
    }

    (void) wait_until(all_done, o);
    phase("measured");
}


/*
 * Streams from START to END, each with one client.  The client of every other
 * stream connects when half of the stream was published.  o->rate is the rate
 * of one stream.
 */

static void
run_tokens(const target_t *target, const options_t *o)
{
    uint32_t  i;
    uint64_t  now, start, step, sequence, due;

    publishers_init(target, o->clients + 1, o->connections, 0, o->size);
    viewers_init(target, o->clients, o->clients, 0, FIRST, o->messages);
    phase("start");
    first_clients(o, o->clients);
    phase("measure");

    /* one message of each stream in 1/rate, at equal distances */

    step = LOOP_SEC / o->rate / o->clients;
    start = loop_now() + 10 * LOOP_MS;

    for (sequence = 1; sequence <= o->messages; sequence++) {
        for (i = 0; i < o->clients; i++) {
            due = start + ((sequence - 1) * o->clients + i) * step;

            for (now = loop_now(); now < due; now = loop_now()) {
                loop_turn(due);
                viewers_retry();
            }

            if (sequence == 1 && i % 2 == 0) {
                viewer_open(i);

            } else if (sequence == o->messages / 2 + 1 && i % 2 == 1) {
                viewer_open(i);
            }

            publish(i, sequence == 1 ? MESSAGE_START
                       : sequence == o->messages ? MESSAGE_END
                       : MESSAGE_DELTA, due);
            loop_turn(0);
        }
    }

    (void) wait_until(all_done, o);
    phase("measured");
}
