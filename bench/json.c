/* Copyright (C) Conduit for NGINX authors */

/*
 * Measures what it costs to turn a message into JSON, for several kinds of
 * numbers: a message of 16 KB with a list of doubles is decoded and written.
 * The numbers alone are also written, by the module's function and by
 * snprintf() with 15, 16 or 17 digits, the fewest from which strtod() returns
 * the same number.  The last column is what the JSON would cost with
 * snprintf(). All figures are CPU times, the best of several rounds. `make
 * bench-json` builds and runs it.
 */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conduit_message.h"
#include "conduit_number.h"
#include "wire.h"

#define MESSAGE_SIZE  16384
#define COUNT         4096
#define ROUNDS        9
#define ENTRIES       32      /* messages a round */


typedef struct {
    const char  *name;
    double     (*number)(uint64_t random);
} bench_kind_t;


static double whole(uint64_t random);
static double steps(uint64_t random);
static double cents(uint64_t random);
static double unit(uint64_t random);
static double large(uint64_t random);
static double extreme(uint64_t random);
static double any(uint64_t random);
static double identifier(uint64_t random);


static const bench_kind_t  kinds[] = {
    { "whole below 10000", whole },
    { "steps of 0.1", steps },
    { "two decimals", cents },
    { "random in [0, 1)", unit },
    { "random below 1e6", large },
    { "random e-300, e+300", extreme },
    { "any bits", any },
    { "whole, 64 bits", identifier }
};

static double           numbers[COUNT];
static conduit_buf_t    wire, json;
static conduit_arena_t  *arena;


static double
whole(uint64_t random)
{
    return (double) (random % 10000);
}


static double
steps(uint64_t random)
{
    return (double) (random % 20000) * 0.1;
}


static double
cents(uint64_t random)
{
    return (double) (random % 10000000) / 100;
}


static double
unit(uint64_t random)
{
    return ldexp((double) (random >> 11), -53);
}


static double
large(uint64_t random)
{
    return unit(random) * 1e6;
}


static double
extreme(uint64_t random)
{
    return ldexp((double) (random >> 11), (random & 1) ? 940 : -1040);
}


static double
any(uint64_t random)
{
    double  number;

    memcpy(&number, &random, sizeof(double));

    return isfinite(number) ? number : unit(random);
}


static double
identifier(uint64_t random)
{
    return (double) (int64_t) random;
}


static double
cpu_ns(void)
{
    struct timespec  t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);

    return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}


static uint64_t
next_random(void)
{
    static uint64_t  bits = 88172645463325252u;

    bits ^= bits << 13;
    bits ^= bits >> 7;
    bits ^= bits << 17;

    return bits;
}


static size_t
write_by_printf(double number, char *text)
{
    int  n, precision;

    if (number == (double) (int64_t) number && fabs(number) < 0x1p53) {
        return snprintf(text, CONDUIT_NUMBER_MAX, "%lld", (long long) number);
    }

    precision = 15;

    do {
        n = snprintf(text, CONDUIT_NUMBER_MAX, "%.*g", precision, number);
    } while (++precision <= 17 && strtod(text, NULL) != number);

    return n;
}


/* returns the ns a number takes; checks that strtod() returns the same
   number */

static double
measure_numbers(size_t (*write)(double number, char *text))
{
    char    text[CONDUIT_NUMBER_MAX + 1];
    double  t, best;
    size_t  i, n, round;

    best = INFINITY;

    for (round = 0; round < ROUNDS; round++) {
        t = cpu_ns();

        for (i = 0; i < COUNT; i++) {
            write(numbers[i], text);
        }

        best = fmin(best, cpu_ns() - t);
    }

    for (i = 0; i < COUNT; i++) {
        n = write(numbers[i], text);
        text[n] = '\0';

        if (strtod(text, NULL) != numbers[i]) {
            fprintf(stderr, "%a became %s\n", numbers[i], text);
            exit(1);
        }
    }

    return best / COUNT;
}


/* makes a message of MESSAGE_SIZE bytes; returns how many numbers it has */

static size_t
build_message(void)
{
    size_t         n;
    conduit_buf_t  list, value;

    memset(&list, 0, sizeof(list));
    memset(&value, 0, sizeof(value));

    for (n = 0; list.len < MESSAGE_SIZE - 120; n++) {
        conduit_buf_reset(&value);
        wire_double(&value, 2, numbers[n % COUNT]);
        wire_bytes(&list, 1, value.data, value.len);
    }

    wire_wrap(&list, 6);

    conduit_buf_reset(&wire);
    wire_entry(&wire, "k", 1, &list);
    wire_wrap(&wire, 6);
    wire_ids(&wire);

    conduit_buf_free(&list);
    conduit_buf_free(&value);

    return n;
}


/* sets how many microseconds decoding and writing a message take */

static void
measure_message(double *decode, double *write)
{
    double             start, decoded, one, two;
    size_t             i, round;
    conduit_message_t  m;

    *decode = INFINITY;
    *write = INFINITY;

    for (round = 0; round < ROUNDS; round++) {
        one = 0;
        two = 0;

        for (i = 0; i < ENTRIES; i++) {
            conduit_arena_reset(arena);
            conduit_buf_reset(&json);

            start = cpu_ns();

            if (conduit_message_decode((uint8_t *) wire.data, wire.len, arena,
                                       &m)
                != CONDUIT_MESSAGE_OK)
            {
                fprintf(stderr, "the message is refused\n");
                exit(1);
            }

            decoded = cpu_ns();
            conduit_message_write_json(&m, arena, &json);

            one += decoded - start;
            two += cpu_ns() - decoded;
        }

        *decode = fmin(*decode, one / ENTRIES / 1000);
        *write = fmin(*write, two / ENTRIES / 1000);
    }
}


int
main(void)
{
    double  decode, write, ns, printf_ns;
    size_t  i, k, n;

    arena = conduit_arena_create(CONDUIT_MESSAGE_MEMORY(MESSAGE_SIZE));
    if (arena == NULL) {
        return 1;
    }

    printf("                        ns a number           message of 16 KB\n"
           "                      printf  to_chars    numbers  decode    JSON"
           "  printf\n");

    for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {

        for (i = 0; i < COUNT; i++) {
            numbers[i] = kinds[k].number(next_random());
        }

        printf_ns = measure_numbers(write_by_printf);
        ns = measure_numbers(conduit_number_write);
        n = build_message();
        measure_message(&decode, &write);

        /* the last column: the JSON, if snprintf() wrote its numbers */

        printf("%-20s  %6.0f  %8.0f  %9zu  %4.0f us %4.0f us %5.0f us\n",
               kinds[k].name, printf_ns, ns, n, decode, write,
               write + (double) n * (printf_ns - ns) / 1000);
    }

    conduit_buf_free(&wire);
    conduit_buf_free(&json);
    conduit_arena_free(arena);

    return 0;
}
