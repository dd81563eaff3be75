/* Copyright (C) Conduit for NGINX authors */

/*
 * The load generator of the benchmark: one thread, the same for all servers.
 *
 *     load WORKLOAD TARGET [NAME=NUMBER ...]
 *
 * TARGET is a file that describes the server (target.h), NAME a member of
 * options_t (workloads.h).  At each phase, the program prints a line of JSON
 * and waits for a line of input; the last line has the figures.  Times are in
 * microseconds.  bench/run uses it.
 */

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "publishers.h"
#include "viewers.h"
#include "workloads.h"


static options_t  options = {
    .clients = 1,
    .channels = 1,
    .connections = 8,
    .at_once = 200,
    .rate = 10,
    .messages = 10,
    .size = 100,
    .ms = 1000,
    .patience = 10000
};

static const struct {
    const char  *name;
    uint32_t    *number;
    int         *flag;
    uint32_t     min;
} names[] = {
    { "clients",     &options.clients,     NULL, 1 },
    { "channels",    &options.channels,    NULL, 1 },
    { "connections", &options.connections, NULL, 1 },
    { "at_once",     &options.at_once,     NULL, 1 },
    { "rate",        &options.rate,        NULL, 1 },
    { "slow",        &options.slow,        NULL, 0 },
    { "messages",    &options.messages,    NULL, 2 },
    { "size",        &options.size,        NULL, 0 },
    { "ms",          &options.ms,          NULL, 1 },
    { "still",       &options.still,       NULL, 0 },
    { "reload",      &options.reload,      NULL, 0 },
    { "patience",    &options.patience,    NULL, 1 },
    { "each",        NULL, &options.each,        0 }
};


/* sets an option; returns 0 if the argument is not one */

static int
option(const char *arg)
{
    char           *end;
    size_t          i, len;
    unsigned long   n;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        len = strlen(names[i].name);

        if (strncmp(arg, names[i].name, len) != 0 || arg[len] != '=') {
            continue;
        }

        n = strtoul(arg + len + 1, &end, 10);

        if (*end != '\0' || end == arg + len + 1 || n < names[i].min
            || n > 10000000)
        {
            return 0;
        }

        if (names[i].flag != NULL) {
            *names[i].flag = n != 0;

        } else {
            *names[i].number = (uint32_t) n;
        }

        return 1;
    }

    return 0;
}


static void
number(const char *name, uint64_t n)
{
    printf("\"%s\":%llu,", name, (unsigned long long) n);
}


static void
times(const char *name, const stats_times_t *t)
{
    size_t               i;
    static const double  shares[] = {
        0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1
    };

    printf("\"%s\":{\"count\":%llu", name, (unsigned long long) t->count);

    for (i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        printf(",\"%g\":%.1f", shares[i] * 100,
               (double) stats_percentile(t, shares[i]) / 1000);
    }

    printf("},");
}


static void
report(void)
{
    uint32_t  i;

    printf("{");
    number("measured_us", measured_ns / 1000);
    number("own_cpu_us", measured_cpu / 1000);
    number("stored", published.stored);
    number("failed", published.failed);
    times("publish_us", &published.times);

    number("events", viewed.events);
    number("bytes", viewed.bytes);
    number("done", viewed.done);
    number("refused", viewed.refused);
    number("closed", viewed.closed);
    number("broken", viewed.broken);
    number("twice", viewed.twice);
    number("disordered", viewed.disordered);
    number("foreign", viewed.foreign);
    number("lost", viewers_lost(0));
    number("lost_slow", viewers_lost(1));
    times("event_us", &viewed.times);
    times("first_us", &viewed.first);

    printf("\"closes\":[");

    for (i = 0; i < VIEWERS_SLOTS; i++) {
        printf("%s%llu", i ? "," : "",
               (unsigned long long) viewed.slots[i]);
    }

    printf("],");
    printf("\"end\":1}\n");
}


int
main(int argc, char **argv)
{
    int                i;
    target_t           target;
    const workload_t  *w;

    if (argc < 3) {
        fprintf(stderr, "usage: load WORKLOAD TARGET [NAME=NUMBER ...]\n");
        return 2;
    }

    for (w = workloads; w->name != NULL && strcmp(w->name, argv[1]) != 0; w++) {
        /* void */
    }

    if (w->name == NULL) {
        fprintf(stderr, "load: no workload \"%s\"\n", argv[1]);
        return 2;
    }

    for (i = 3; i < argc; i++) {
        if (!option(argv[i])) {
            fprintf(stderr, "load: bad option \"%s\"\n", argv[i]);
            return 2;
        }
    }

    if (options.slow > options.clients) {
        options.slow = options.clients;
    }

    if (target_read(&target, argv[2]) != 0) {
        return 1;
    }

    message_run = (uint32_t) time(NULL) ^ (uint32_t) getpid() << 16;
    loop_init();
    w->run(&target, &options);
    report();

    return 0;
}
