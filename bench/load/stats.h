/* Copyright (C) Conduit for NGINX authors */

/*
 * Figures of a run: a histogram of times, and a set of whole numbers.
 */

#ifndef STATS_H
#define STATS_H

#include <stddef.h>
#include <stdint.h>

/* a bucket is at most 1/64 of its value wide */
#define STATS_SUB      64
#define STATS_BUCKETS  (STATS_SUB * 59)


/* empty when it is zeroed */
typedef struct {
    uint64_t  count;
    uint64_t  max;
    uint64_t  buckets[STATS_BUCKETS];
} stats_times_t;

/* empty when it is zeroed */
typedef struct {
    uint64_t  *words;
    size_t     n;        /* words */
} stats_set_t;


/* Adds a time, in any unit. */
void stats_time(stats_times_t *t, uint64_t value);

/*
 * Returns the percentile of a share (0.99 for p99): the exact value or at most
 * 1/64 more, and never more than the largest time.  Returns 0 when empty.
 */
uint64_t stats_percentile(const stats_times_t *t, double share);

/* Adds a number; returns 1 if it was not in the set.  Exits when memory is
   out. */
int stats_set_add(stats_set_t *s, uint64_t number);

/* Returns how many numbers of a, not smaller than "from", are not in b. */
uint64_t stats_set_without(const stats_set_t *a, const stats_set_t *b,
    uint64_t from);

void stats_set_free(stats_set_t *s);

#endif /* STATS_H */
