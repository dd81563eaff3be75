/* Copyright (C) Conduit for NGINX authors */

/*
 * The model test of the gateway's engine.  A small model of Redis, a connection
 * to it (two queues), and a channel with subscribers are run in random
 * interleavings, which a seed determines.  An oracle compares what each
 * subscriber receives with what the stream contained.  The promises:
 *
 *     P1   a subscriber gets each entry that is there, and is told of each loss
 *     P2   it is told of a loss only if entries may have been lost
 *     P3   it gets no entry twice; a stream is not read again without a reason
 *     P4   it gets the last entry after all activity has stopped
 *     P5   after an error, only the timer leads to another question
 *     P6   at most one question about the cursor and one for a batch are open
 *
 *     CONDUIT_MODEL_RUNS=n   number of runs in each mode
 *     CONDUIT_MODEL_BASE=n   the first seed, 0 by default
 *     CONDUIT_MODEL_SEED=n   run this seed only, and print all steps
 *     CONDUIT_MODEL_MODE=n   run this mode only (an index of "modes")
 *
 * No run may fail.  A failed run is printed with its seed and the broken
 * promise; then the steps that are not necessary for the failure are removed,
 * and the others are printed.
 *
 *     model.h           the state of a run
 *     model_redis.h     Redis
 *     model_link.h      the connection to it
 *     model_feed.h      the feed, without sockets
 *     model_shell.h     the parts around the feed: links, timer, subscribers
 *     model_ops.h       the operations on all of them
 *     model_oracle.h    the oracle: deliveries, plans, questions (P3 to P6)
 *     model_judge.h     what a subscriber must get or be told before an entry
 *                       (P1, P2), and what nobody can know
 */

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model_ops.h"

#ifndef RUNS
#define RUNS       2000             /* of each mode */
#endif

#define STEPS      120              /* of a run, at most */
#define BEFORE     12               /* operations before the channel opens */

static const model_mode_t  modes[] = {
    { "append and trim, Redis 7", 1, 0, 0, 0, 0 },
    { "append and trim, polled", 1, 0, 1, 0, 0 },
    { "append and trim, Redis 6", 0, 0, 0, 0, 0 },
    { "everything, Redis 7", 1, 1, 0, 0, 0 },
    { "everything, Redis 6", 0, 1, 0, 0, 0 },
    { "everything, with constant errors", 1, 1, 0, 1, 0 },
    { "append and trim, no scripts", 1, 0, 0, 0, 1 },
    { "everything, no scripts", 1, 1, 0, 0, 1 }
};

#define MODES  (sizeof(modes) / sizeof(modes[0]))

/* by step: 1 if a failed run is repeated without it */
static char  left_out[STEPS + BEFORE + 1];


/* the retry timer expires, a sweep comes, or a lost link comes up again */

static void
time_passes(void)
{
    switch (rnd(8)) {

    case 0:
        ring(0);
        break;

    case 1:
        if (m.polling) {
            ring(0);
        }

        break;

    case 2: case 3:
        if (m.down) {
            link_up();
        }

        break;

    default:
        retry();
    }
}


static void
step(void)
{
    switch (rnd(22)) {

    case 0: case 1: case 2:
        redis_op();
        break;

    case 3: case 4: case 5: case 6:
        execute();
        break;

    case 7: case 8: case 9: case 10:
        deliver();
        break;

    case 11: case 12:
        hear();
        break;

    case 13:
        join();
        break;

    case 14:
        trouble();
        break;

    case 15: case 16:
        time_passes();
        break;

    case 17:
        shrink();
        break;

    case 18:
        pause_sub(rnd(SUBS));
        break;

    default:
        take();
        (void) serve(rnd(SUBS));
    }

    pump();
}


/* runs what is due, without new operations; returns whether anything was due */

static int
is_due(void)
{
    int  i, busy;

    busy = 0;

    if (m.down) {
        link_up();
        busy = 1;
    }

    while (m.nout && m.nin < QUEUE) {
        execute();
        busy = 1;
    }

    while (is_taking()) {
        take();
        busy = 1;
    }

    if (m.nin) {
        deliver();
        busy = 1;
    }

    if (m.bells) {
        m.bells = 0;
        ring(1);
        busy = 1;
    }

    for (i = 0; i < SUBS; i++) {
        busy |= serve(i);
    }

    pump();

    return busy || m.nout;
}


static void
quiesce(void)
{
    int  i;

    for (i = 0; i < 400 && !m.promise; i++) {

        if (is_due()) {
            continue;
        }

        if (!m.later) {
            return;
        }

        retry();
    }

    broken("P4", "does not come to rest");
}


/* adds a last entry, which all subscribers must get; what a lost ring was for
   must be found by a sweep */

static void
finish(void)
{
    m.storm = 0;
    say("-- no more");

    if (m.redis.wrong) {
        model_del(&m.redis);
        m.unrung = 1;
    }

    if (m.unrung || m.polling) {
        ring(0);
    }

    quiesce();

    m.step++;
    m.redis.changed = 0;
    model_xadd(&m.redis, MESSAGE);

    if (m.armed && !m.polling) {
        m.bells++;

    } else if (m.polling) {
        ring(0);
    }

    quiesce();

    if (m.redis.now.n && m.redis.n < MODEL_ENTRIES) {
        rested(m.redis.now.list[m.redis.now.n - 1]);
    }
}


/* runs operations on the stream, then opens the channel; returns the number of
   steps to run */

static int
begin(const model_mode_t *mode, uint64_t seed, int loud)
{
    int                  i, steps;
    conduit_stream_id_t  pos;

    memset(&m, 0, sizeof(m));
    m.mode = mode;
    m.seed = seed;
    m.loud = loud;
    m.redis.clock = 10;
    m.polling = mode->poll;

    reseed(0);
    m.limit = 200 + 100 * rnd(6);
    steps = 40 + rnd(STEPS - 40);

    for (i = rnd(BEFORE); i; i--) {
        reseed(STEPS + i);

        if (!left_out[STEPS + i]) {
            redis_op();
        }
    }

    reseed(STEPS + BEFORE + 1);
    memset(&pos, 0, sizeof(pos));

    if (m.redis.n && rnd(2)) {
        pos = m.redis.id[rnd(m.redis.n)];
    }

    say("channel at " FID, ID(pos));
    conduit_history_init(&m.h, &pos, NULL);
    ask(1);
    m.came = 0;

    return steps;
}


static void
run(const model_mode_t *mode, uint64_t seed, int loud)
{
    int  steps;

    steps = begin(mode, seed, loud);

    for (m.step = 1; m.step < steps && !m.promise; m.step++) {
        reseed(m.step);

        if (!left_out[m.step]) {
            step();
        }
    }

    if (!m.promise) {
        finish();
    }

    conduit_history_free(&m.h);
    conduit_window_clear(&m.batch);
}


/* finds the steps that are necessary for a failure, and prints them */

static void
explain(const model_mode_t *mode, uint64_t seed)
{
    size_t       i, changed;
    const char  *form;

    form = m.form;

    do {
        changed = 0;

        for (i = 1; i < sizeof(left_out); i++) {
            if (left_out[i]) {
                continue;
            }

            left_out[i] = 1;
            run(mode, seed, 0);

            if (m.form == form) {
                changed = 1;

            } else {
                left_out[i] = 0;
            }
        }
    } while (changed);

    run(mode, seed, 1);
    memset(left_out, 0, sizeof(left_out));
}


static uint64_t
number(const char *name, uint64_t none)
{
    const char  *value;

    value = getenv(name);

    return value ? strtoull(value, NULL, 10) : none;
}


static int
run_mode(size_t k)
{
    uint64_t     seed, base, runs, failed, questions;
    const char  *form;

    base = number("CONDUIT_MODEL_BASE", 0);
    runs = number("CONDUIT_MODEL_RUNS", RUNS);
    failed = 0;
    questions = 0;
    form = NULL;

    for (seed = base; seed < base + runs; seed++) {
        run(&modes[k], seed, 0);
        questions += m.questions;

        if (m.promise == NULL) {
            continue;
        }

        printf("model: %s: CONDUIT_MODEL_MODE=%zu CONDUIT_MODEL_SEED=%" PRIu64
               ": %s: %s\n", modes[k].name, k, seed, m.promise, m.what);

        if (m.form != form) {
            form = m.form;
            explain(&modes[k], seed);
        }

        failed++;

        if (failed == 10) {
            break;
        }
    }

    printf("model: %s: seeds %" PRIu64 " to %" PRIu64 ", %" PRIu64
           " questions, %" PRIu64 " runs failed\n", modes[k].name, base,
           seed - 1, questions, failed);

    return failed != 0;
}


/* runs a single mode, or every other mode: two processes share the work */

static int
run_modes(size_t mode, size_t half)
{
    int     failed;
    size_t  k;

    failed = 0;

    for (k = 0; k < MODES; k++) {
        if (mode == k || (mode == MODES && k % 2 == half)) {
            failed |= run_mode(k);
        }
    }

    fflush(stdout);

    return failed;
}


int
main(void)
{
    int       failed, status;
    pid_t     pid;
    size_t    mode;
    uint64_t  seed;

    mode = number("CONDUIT_MODEL_MODE", MODES);
    seed = number("CONDUIT_MODEL_SEED", UINT64_MAX);

    if (seed != UINT64_MAX) {
        mode %= MODES;
        run(&modes[mode], seed, 0);

        if (m.promise) {
            explain(&modes[mode], seed);

        } else {
            run(&modes[mode], seed, 1);
        }

        return m.promise != NULL;
    }

    if (mode != MODES) {
        return run_modes(mode, 0);
    }

    pid = fork();

    if (pid == 0) {
        _exit(run_modes(mode, 1));
    }

    failed = run_modes(mode, 0);

    return failed || pid == -1 || waitpid(pid, &status, 0) != pid
           || status != 0;
}
