/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_coalesce.c: which events are sent at once and which
 * wait, as a table of sequences; windows that are dropped from or cut.
 */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_coalesce.h"

#define TIME   50
#define LIMIT  1000

static int  delta, urgent = 1;


static int
prompt(const void *frame)
{
    return *(const int *) frame;
}


static void
append(conduit_window_t *w, conduit_item_e kind, void *frame, uint32_t size)
{
    conduit_item_t  item;

    memset(&item, 0, sizeof(item));
    item.kind = kind;
    item.frame = frame;
    item.size = size;

    ck_assert_int_eq(conduit_window_append(w, &item), 0);
}


static int
look(conduit_coalesce_t *c, const conduit_window_t *w, uint64_t now)
{
    return conduit_coalesce_look(c, w, prompt, LIMIT, TIME, now);
}


/* at time now, items are appended; result is the decision on them */

typedef struct {
    uint64_t    now;
    const char *items;    /* d: event; D: event of 400 bytes; p: prompt event;
                             -: entry that is not a message; g: mark; "!": no
                             items, the caller's timer expires */
    int         result;
} step_t;

typedef struct {
    const char  *name;
    step_t       steps[10];
} row_t;

#define SEND   CONDUIT_COALESCE_SEND
#define START  CONDUIT_COALESCE_START
#define WAIT   CONDUIT_COALESCE_WAIT

static const row_t  rows[] = {

    { "the first is sent, the others wait for the end of the time",
      { { 0, "d", SEND }, { 20, "d", START }, { 40, "d", WAIT },
        { 69, "d", WAIT }, { 70, "!", 0 }, { 80, "d", START },
        { 100, "dd", WAIT } } },

    { "the time of a silence is that of no event, not of no write",
      { { 0, "d", SEND }, { 49, "d", START }, { 98, "d", WAIT }, { 99, "!", 0 },
        { 147, "d", START }, { 197, "!", 0 }, { 197, "d", SEND },
        { 246, "d", START } } },

    { "an event that comes when the time is just over is after a silence",
      { { 0, "d", SEND }, { 50, "d", SEND }, { 100, "d", SEND } } },

    { "several that come after a silence wait for nothing",
      { { 0, "ddd", SEND }, { 1, "d", START } } },

    { "whatever is prompt takes all along, wherever it is",
      { { 0, "d", SEND }, { 1, "d", START }, { 2, "p", SEND },
        { 3, "d", START }, { 4, "dpd", SEND }, { 5, "dp", SEND },
        { 6, "pd", SEND }, { 7, "d", START } } },

    { "a mark does, too",
      { { 0, "d", SEND }, { 1, "d", START }, { 2, "g", SEND },
        { 3, "gd", SEND } } },

    { "an entry that is no message is no event",
      { { 0, "-", SEND }, { 10, "d", SEND }, { 50, "-", SEND },
        { 61, "d", SEND }, { 70, "d", START }, { 71, "-", WAIT } } },

    { "nothing new changes nothing",
      { { 0, "", SEND }, { 1, "d", SEND }, { 2, "", SEND }, { 3, "d", START },
        { 60, "", WAIT }, { 60, "!", 0 }, { 60, "", SEND } } },

    { "what waits is no larger than the window",
      { { 0, "DDD", SEND }, { 1, "D", START }, { 2, "D", WAIT },
        { 3, "D", SEND }, { 4, "DD", START }, { 30, "d", WAIT },
        { 54, "!", 0 },
        { 55, "DD", START } } },

    { "nor are entries that are no message, and what waits with them",
      { { 0, "d", SEND }, { 1, "DD", START }, { 2, "----------", WAIT },
        { 3, "-----------", SEND }, { 4, "-", SEND }, { 5, "d", START } } },
};


START_TEST(events_wait_or_not)
{
    char                kind;
    size_t              i;
    const char         *p;
    const row_t        *row;
    const step_t       *step;
    conduit_window_t    w;
    conduit_coalesce_t  c;

    row = &rows[_i];

    memset(&w, 0, sizeof(w));
    memset(&c, 0, sizeof(c));

    for (i = 0; i < 10 && row->steps[i].items != NULL; i++) {

        step = &row->steps[i];

        if (step->items[0] == '!') {
            ck_assert_msg(c.waits, "%s: step %zu", row->name, i);
            conduit_coalesce_over(&c);
            continue;
        }

        for (p = step->items; *p; p++) {
            kind = *p;
            append(&w, kind == 'g' ? CONDUIT_ITEM_GAP : CONDUIT_ITEM_ENTRY,
                   kind == '-' || kind == 'g' ? NULL
                   : kind == 'p' ? &urgent : &delta,
                   kind == 'D' ? 400 : 10);
        }

        ck_assert_msg(look(&c, &w, step->now) == step->result,
                      "%s: step %zu", row->name, i);
        ck_assert_msg(c.waits == (step->result != SEND),
                      "%s: step %zu waits", row->name, i);
    }

    conduit_window_clear(&w);
}
END_TEST


/* items may be dropped before the function has seen them */

START_TEST(items_may_be_dropped_before_a_look)
{
    conduit_window_t    w;
    conduit_coalesce_t  c;

    memset(&w, 0, sizeof(w));
    memset(&c, 0, sizeof(c));

    append(&w, CONDUIT_ITEM_ENTRY, &delta, 10);
    ck_assert_int_eq(look(&c, &w, 0), SEND);

    append(&w, CONDUIT_ITEM_ENTRY, &urgent, 10);
    append(&w, CONDUIT_ITEM_ENTRY, &delta, 10);
    conduit_window_drop(&w, 2);

    ck_assert_int_eq(look(&c, &w, 1), START);

    conduit_window_clear(&w);
}
END_TEST


/* after a cut, sequence numbers are reused: items with these numbers are new,
   and the first event does not wait */

START_TEST(numbers_given_again_after_a_cut_are_new)
{
    conduit_window_t    w;
    conduit_coalesce_t  c;

    memset(&w, 0, sizeof(w));
    memset(&c, 0, sizeof(c));

    append(&w, CONDUIT_ITEM_ENTRY, &delta, 10);
    ck_assert_int_eq(look(&c, &w, 0), SEND);
    append(&w, CONDUIT_ITEM_ENTRY, &delta, 10);
    append(&w, CONDUIT_ITEM_ENTRY, &delta, 10);
    ck_assert_int_eq(look(&c, &w, 1), START);

    conduit_window_cut(&w, 1);
    conduit_coalesce_reset(&c, &w);
    ck_assert_int_eq(c.waits, 0);
    ck_assert_int_eq(look(&c, &w, 2), SEND);

    append(&w, CONDUIT_ITEM_ENTRY, &delta, 10);
    ck_assert_int_eq(look(&c, &w, 3), SEND);
    append(&w, CONDUIT_ITEM_ENTRY, &delta, 10);
    ck_assert_int_eq(look(&c, &w, 4), START);

    conduit_window_clear(&w);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("coalesce");
    tc = tcase_create("coalesce");
    tcase_add_loop_test(tc, events_wait_or_not, 0,
                        sizeof(rows) / sizeof(rows[0]));
    tcase_add_test(tc, items_may_be_dropped_before_a_look);
    tcase_add_test(tc, numbers_given_again_after_a_cut_are_new);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
