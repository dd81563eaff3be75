/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_portion.c: how many entries are asked for, after
 * entries of which sizes.
 */

#include <check.h>
#include <stdlib.h>

#include "conduit_portion.h"

#define MAX  100


typedef struct {
    const char  *name;
    size_t       entries[6][2];    /* of each answer: how many, bytes of each */
    size_t       count;            /* asked for after them */
} row_t;

static const row_t  rows[] = {
    { "before the first answer, as many as the configuration says",
      { { 0, 0 } }, MAX },
    { "an answer without entries tells nothing",
      { { 0, 1 }, { 0, 0 } }, MAX },
    { "the first answer counts whatever was assumed",
      { { 32, 200 }, { 0, 0 } }, MAX },
    { "so many as fit into 128k",
      { { 10, 16 * 1024 }, { 0, 0 } }, 7 },
    { "one at least",
      { { 1, 10 * 1024 * 1024 }, { 0, 0 } }, 1 },
    { "a larger size counts at once",
      { { 100, 200 }, { 100, 16 * 1024 }, { 0, 0 } }, 7 },
    { "the mean of an answer counts, whose entries differ",
      { { 100, 200 }, { 2, 8 * 1024 }, { 0, 0 } }, 15 },
    { "a smaller size counts by half",
      { { 8, 16 * 1024 }, { 8, 0 }, { 0, 0 } }, 15 },
    { "by half again",
      { { 8, 16 * 1024 }, { 8, 0 }, { 8, 0 }, { 0, 0 } }, 31 },
    { "entries without bytes",
      { { 8, 0 }, { 8, 0 }, { 0, 0 } }, MAX }
};

#define ROWS  (sizeof(rows) / sizeof(rows[0]))


START_TEST(a_question_asks_for_about_128k)
{
    size_t        i, n, size;
    const row_t  *row;

    row = &rows[_i];
    size = 0;

    for (i = 0; row->entries[i][0] || row->entries[i][1]; i++) {
        n = row->entries[i][0];
        size = conduit_portion_learn(size, n * row->entries[i][1], n);
    }

    ck_assert_msg(conduit_portion_count(size, MAX) == row->count,
                  "%s: %zu instead of %zu", row->name,
                  conduit_portion_count(size, MAX), row->count);
}
END_TEST


/* however often it falls, a size does not become that of "not known" */

START_TEST(a_size_never_falls_to_not_known)
{
    int     i;
    size_t  size;

    size = conduit_portion_learn(0, 1000000, 1);

    for (i = 0; i < 100; i++) {
        size = conduit_portion_learn(size, 0, 1);
    }

    ck_assert_uint_gt(size, 0);
    ck_assert_uint_eq(conduit_portion_count(size, 10000), 10000);
    ck_assert_uint_eq(conduit_portion_count(size, 1), 1);
}
END_TEST


int
main(void)
{
    int       failed;
    Suite    *suite;
    TCase    *tcase;
    SRunner  *runner;

    suite = suite_create("portion");
    tcase = tcase_create("portion");

    tcase_add_loop_test(tcase, a_question_asks_for_about_128k, 0, ROWS);
    tcase_add_test(tcase, a_size_never_falls_to_not_known);

    suite_add_tcase(suite, tcase);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);

    return failed != 0;
}
