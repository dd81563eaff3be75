/* Copyright (C) Conduit for NGINX authors */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stats.h"


/*
 * Values below 64 have a bucket each; above, each power of two has 64 buckets
 * of the same width.
 */

static size_t
bucket_of(uint64_t value)
{
    int  shift;

    if (value < STATS_SUB) {
        return (size_t) value;
    }

    shift = 63 - __builtin_clzll(value) - 6;

    return (size_t) (shift + 1) * STATS_SUB
           + (size_t) ((value >> shift) & (STATS_SUB - 1));
}


/* the largest value of a bucket */

static uint64_t
bucket_end(size_t i)
{
    uint64_t  first;
    size_t    shift;

    if (i < STATS_SUB) {
        return i;
    }

    shift = i / STATS_SUB - 1;
    first = (uint64_t) (STATS_SUB + i % STATS_SUB) << shift;

    return first + ((uint64_t) 1 << shift) - 1;
}


void
stats_time(stats_times_t *t, uint64_t value)
{
    t->buckets[bucket_of(value)]++;
    t->count++;

    if (value > t->max) {
        t->max = value;
    }
}


uint64_t
stats_percentile(const stats_times_t *t, double share)
{
    size_t    i;
    uint64_t  sum, want, end;

    if (t->count == 0) {
        return 0;
    }

    want = (uint64_t) (share * (double) t->count);

    if ((double) want < share * (double) t->count) {
        want++;
    }

    sum = 0;

    for (i = 0; i < STATS_BUCKETS; i++) {
        sum += t->buckets[i];

        if (sum >= want && sum > 0) {
            end = bucket_end(i);
            return end < t->max ? end : t->max;
        }
    }

    return t->max;
}


int
stats_set_add(stats_set_t *s, uint64_t number)
{
    size_t     word, n;
    uint64_t  *words, bit;

    word = (size_t) (number / 64);
    bit = (uint64_t) 1 << number % 64;

    if (word >= s->n) {
        n = word + 1 > 2 * s->n ? word + 1 : 2 * s->n;
        words = realloc(s->words, n * sizeof(uint64_t));

        if (words == NULL) {
            perror("realloc");
            exit(1);
        }

        memset(words + s->n, 0, (n - s->n) * sizeof(uint64_t));
        s->words = words;
        s->n = n;
    }

    if (s->words[word] & bit) {
        return 0;
    }

    s->words[word] |= bit;

    return 1;
}


uint64_t
stats_set_without(const stats_set_t *a, const stats_set_t *b, uint64_t from)
{
    size_t    i;
    uint64_t  word, n;

    n = 0;

    for (i = (size_t) (from / 64); i < a->n; i++) {
        word = a->words[i];

        if (i < b->n) {
            word &= ~b->words[i];
        }

        if (i == from / 64) {
            word &= ~(uint64_t) 0 << from % 64;
        }

        n += (uint64_t) __builtin_popcountll(word);
    }

    return n;
}


void
stats_set_free(stats_set_t *s)
{
    free(s->words);
    memset(s, 0, sizeof(*s));
}
