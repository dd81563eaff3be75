/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of broker/conduit_redis_error.c: the code and the kind of error replies
 * as different versions of Redis write them.
 */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_redis_error.h"
#include "exact.h"


#define SHA   "f_0123456789012345678901234567890123456789"
#define V6    "ERR Error running script (call to " SHA "): @user_script:14: " \
              "@user_script: 14: "
#define V7    " script: 0123456789012345678901234567890123456789, on "         \
              "@user_script:14."


typedef struct {
    const char             *text;
    const char             *code;
    conduit_redis_error_e   kind;
} row_t;

/* errors as Redis 6.2, 7.0 and 8.0, and Valkey, write them */
static const row_t  rows[] = {
    { "OOM command not allowed when used memory > 'maxmemory'.", "OOM",
      CONDUIT_REDIS_ERROR_OOM },
    { V6 "-OOM command not allowed when used memory > 'maxmemory'. ", "OOM",
      CONDUIT_REDIS_ERROR_OOM },
    { "OOM command not allowed when used memory > 'maxmemory'." V7, "OOM",
      CONDUIT_REDIS_ERROR_OOM },
    { V6 "-READONLY You can't write against a read only replica. ",
      "READONLY", CONDUIT_REDIS_ERROR_READONLY },
    { "READONLY You can't write against a read only replica." V7, "READONLY",
      CONDUIT_REDIS_ERROR_READONLY },
    { V6 "-NOREPLICAS Not enough good replicas to write. ", "NOREPLICAS",
      CONDUIT_REDIS_ERROR_NOREPLICAS },
    { V6 "-MISCONF Redis is configured to save RDB snapshots, but ",
      "MISCONF", CONDUIT_REDIS_ERROR_MISCONF },
    { "LOADING Redis is loading the dataset in memory", "LOADING",
      CONDUIT_REDIS_ERROR_LOADING },
    { "LOADING Valkey is loading the dataset in memory", "LOADING",
      CONDUIT_REDIS_ERROR_LOADING },
    { "BUSY Redis is busy running a script.", "BUSY",
      CONDUIT_REDIS_ERROR_BUSY },
    { "CLUSTERDOWN Hash slot not served", "CLUSTERDOWN",
      CONDUIT_REDIS_ERROR_CLUSTER },
    { "TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN",
      CONDUIT_REDIS_ERROR_CLUSTER },
    { "MOVED 1 127.0.0.1:7000", "MOVED", CONDUIT_REDIS_ERROR_CLUSTER },
    { "ASK 1 127.0.0.1:7000", "ASK", CONDUIT_REDIS_ERROR_CLUSTER },
    { "MASTERDOWN Link with MASTER is down", "MASTERDOWN",
      CONDUIT_REDIS_ERROR_MASTERDOWN },

    /* errors that a retry would get again */
    { "WRONGTYPE Operation against a key", "WRONGTYPE",
      CONDUIT_REDIS_ERROR_OTHER },
    { V6 "-WRONGTYPE Operation against a key ", "WRONGTYPE",
      CONDUIT_REDIS_ERROR_OTHER },
    { V6 "-ERR The user executing the script can't run this command ", "ERR",
      CONDUIT_REDIS_ERROR_OTHER },
    { "NOPERM this user has no permissions", "NOPERM",
      CONDUIT_REDIS_ERROR_OTHER },

    /* only the whole first word is the code */
    { "ERR a key is named OOM ", "ERR", CONDUIT_REDIS_ERROR_OTHER },
    { "ERR it is - said: -OOM so", "ERR", CONDUIT_REDIS_ERROR_OTHER },
    { "OOMPH is no code", "OOMPH", CONDUIT_REDIS_ERROR_OTHER },
    { "BUSYGROUP Consumer Group name already exists", "BUSYGROUP",
      CONDUIT_REDIS_ERROR_OTHER },
    { "OO", "OO", CONDUIT_REDIS_ERROR_OTHER },
    { "OOM", "OOM", CONDUIT_REDIS_ERROR_OOM },
    { "", "", CONDUIT_REDIS_ERROR_OTHER },
    { " OOM", "", CONDUIT_REDIS_ERROR_OTHER },

    /* an incomplete wrapped error */
    { "ERR Error running script ", "ERR", CONDUIT_REDIS_ERROR_OTHER },
    { "ERR Error running script (call", "ERR", CONDUIT_REDIS_ERROR_OTHER },
    { V6, "ERR", CONDUIT_REDIS_ERROR_OTHER },
    { V6 "-", "ERR", CONDUIT_REDIS_ERROR_OTHER },
    { V6 "-O", "O", CONDUIT_REDIS_ERROR_OTHER }
};


START_TEST(code_and_kind_of_an_error)
{
    char        *text;
    size_t       len, n;
    const row_t  *row = &rows[_i];
    const char   *code;

    /* memory of the exact size, so that ASan sees a read past the end */

    len = strlen(row->text);
    text = exact_copy(row->text, len);

    code = conduit_redis_error_code(text, len, &n);

    ck_assert_msg(n == strlen(row->code) && memcmp(code, row->code, n) == 0,
                  "\"%s\": the code is \"%.*s\"", row->text, (int) n, code);
    ck_assert_msg(conduit_redis_error_kind(text, len) == row->kind,
                  "\"%s\": the kind is %d", row->text,
                  conduit_redis_error_kind(text, len));

    free(text);
}
END_TEST


START_TEST(a_text_begins_with_a_word)
{
    ck_assert_int_eq(conduit_redis_error_is("MOVED 1 h:1", "MOVED "), 1);
    ck_assert_int_eq(conduit_redis_error_is("MOVED", "MOVED"), 1);
    ck_assert_int_eq(conduit_redis_error_is("MOVE", "MOVED"), 0);
    ck_assert_int_eq(conduit_redis_error_is("moved 1 h:1", "MOVED "), 0);
    ck_assert_int_eq(conduit_redis_error_is("ERR MOVED 1", "MOVED "), 0);
    ck_assert_int_eq(conduit_redis_error_is("", "ERR"), 0);
}
END_TEST


START_TEST(a_text_has_a_word_in_any_case)
{
    ck_assert_int_eq(conduit_redis_error_has("ERR Unknown command 'x'",
                                             "unknown"), 1);
    ck_assert_int_eq(conduit_redis_error_has("SYNTAX", "syntax"), 1);
    ck_assert_int_eq(conduit_redis_error_has("ERR synta", "syntax"), 0);
    ck_assert_int_eq(conduit_redis_error_has("ERR syn tax", "syntax"), 0);
    ck_assert_int_eq(conduit_redis_error_has("", "syntax"), 0);
}
END_TEST


START_TEST(each_kind_has_a_name)
{
    size_t  i;

    for (i = 0; i < CONDUIT_REDIS_ERRORS; i++) {
        ck_assert_ptr_nonnull(conduit_redis_error_names[i]);
    }

    ck_assert_ptr_null(conduit_redis_error_names[CONDUIT_REDIS_ERRORS]);
    ck_assert_str_eq(conduit_redis_error_names[CONDUIT_REDIS_ERROR_OOM],
                     "oom");
    ck_assert_str_eq(conduit_redis_error_names[CONDUIT_REDIS_ERROR_MISCONF],
                     "misconf");
}
END_TEST


int
main(void)
{
    int       failed;
    Suite    *suite;
    TCase    *tcase;
    SRunner  *runner;

    suite = suite_create("redis error");
    tcase = tcase_create("redis error");

    tcase_add_loop_test(tcase, code_and_kind_of_an_error, 0,
                        sizeof(rows) / sizeof(rows[0]));
    tcase_add_test(tcase, a_text_begins_with_a_word);
    tcase_add_test(tcase, a_text_has_a_word_in_any_case);
    tcase_add_test(tcase, each_kind_has_a_name);

    suite_add_tcase(suite, tcase);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
