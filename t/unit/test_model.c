/*
 * The model test of the gateway's engine: a small Redis, the connection to it
 * as two queues, and a channel with its subscribers run in random
 * interleavings, given by a seed.  An oracle compares what each subscriber gets
 * with what the stream had.  The promises:
 *
 *     P1   it gets each entry that is there, and is told of each that is lost
 *     P2   it is told of a loss only if there may be one
 *     P3   it gets no entry twice, a stream is not read anew for no reason
 *     P4   it gets the last entry, once all is quiet
 *     P5   after an error only the timer asks again
 *     P6   one question about the cursor, and one for a batch, is out at most
 *
 *     CONDUIT_MODEL_RUNS=n   runs a mode
 *     CONDUIT_MODEL_BASE=n   the first seed; 0 otherwise
 *     CONDUIT_MODEL_SEED=n   runs that seed alone, and says what happens
 *     CONDUIT_MODEL_MODE=n   this mode only (an index of "modes")
 *
 * No run may fail.  A failed run is printed with its seed and the promise that
 * is broken, then shortened step by step, and explained.
 *
 *     model.h           the state of a run
 *     model_redis.h     Redis
 *     model_link.h      the connection to it
 *     model_feed.h      the feed, without sockets
 *     model_shell.h     the parts around the feed: links, timer, subscribers
 *     model_ops.h       the operations on all of them
 *     model_oracle.h    the oracle: deliveries, plans, questions (P3 to P6)
 *     model_judge.h     what a subscriber must get or be told before an entry
 *                       (P1, P2), and what can't be known
 */

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model_ops.h"

#ifndef RUNS
#define RUNS       2000             /* a mode */
#endif

#define STEPS      120              /* of a run, at most */
#define BEFORE     12               /* operations before it */

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

/* steps to leave out while a failed run is shortened */
static char  left_out[STEPS + BEFORE + 1];


/* the retry timer or a sweep; or a link comes up, when there is none */

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


/* nothing happens any more, but for what is due */

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


/* all subscribers must get a last event; after a lost ring, by a sweep */

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


/* makes the stream as it is before the channel is opened; returns the number of
   steps */

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


/* leaves out the steps that the failure does not need, and prints the rest */

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


/* runs the modes of one half, as two processes use two cores */

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
