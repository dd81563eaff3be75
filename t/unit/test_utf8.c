/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of base/conduit_utf8.c: characters of each length, and how many bytes
 * one U+FFFD replaces.
 */

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_utf8.h"

#define lit(s)    s, sizeof(s) - 1


/* checks the result for bytes in memory of their exact size */

static void
is_char(const char *bytes, size_t len, size_t n, int good)
{
    int       result;
    uint8_t  *copy;

    copy = malloc(len);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, len);

    ck_assert_uint_eq(conduit_utf8_char(copy, len, &result), n);
    ck_assert_int_eq(result, good);

    free(copy);
}


START_TEST(characters_of_each_length)
{
    is_char(lit("\0"), 1, 1);
    is_char(lit("a\x80"), 1, 1);
    is_char(lit("\x7f"), 1, 1);
    is_char(lit("\xc2\x80"), 2, 1);
    is_char(lit("\xdf\xbf"), 2, 1);
    is_char(lit("\xe0\xa0\x80"), 3, 1);
    is_char(lit("\xe1\x80\x80"), 3, 1);
    is_char(lit("\xed\x9f\xbf"), 3, 1);
    is_char(lit("\xee\x80\x80"), 3, 1);
    is_char(lit("\xef\xbf\xbf" "a"), 3, 1);
    is_char(lit("\xf0\x90\x80\x80"), 4, 1);
    is_char(lit("\xf1\x80\x80\x80"), 4, 1);
    is_char(lit("\xf4\x8f\xbf\xbf"), 4, 1);
}
END_TEST


/* includes the examples of Unicode 15, tables 3-8 to 3-11 */

START_TEST(an_invalid_sequence_is_replaced_once)
{
    is_char(lit("\x80"), 1, 0);
    is_char(lit("\xbf\x80"), 1, 0);
    is_char(lit("\xc0\x80"), 1, 0);
    is_char(lit("\xc1\xbf"), 1, 0);
    is_char(lit("\xc2"), 1, 0);
    is_char(lit("\xc2" "A"), 1, 0);
    is_char(lit("\xdf\xc0"), 1, 0);
    is_char(lit("\xe0\x80\x80"), 1, 0);
    is_char(lit("\xe0\x9f\xbf"), 1, 0);
    is_char(lit("\xe1\x80"), 2, 0);
    is_char(lit("\xe1\x80" "A"), 2, 0);
    is_char(lit("\xe1\x80\xe2"), 2, 0);
    is_char(lit("\xed\xa0\x80"), 1, 0);
    is_char(lit("\xf0\x80\x80\x80"), 1, 0);
    is_char(lit("\xf0\x8f\xbf\xbf"), 1, 0);
    is_char(lit("\xf0\x91\x92" "A"), 3, 0);
    is_char(lit("\xf1\x80\x80"), 3, 0);
    is_char(lit("\xf1\x80"), 2, 0);
    is_char(lit("\xf1"), 1, 0);
    is_char(lit("\xf4\x90\x80\x80"), 1, 0);
    is_char(lit("\xf5\x80\x80\x80"), 1, 0);
    is_char(lit("\xff"), 1, 0);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("utf8");
    tc = tcase_create("utf8");
    tcase_add_test(tc, characters_of_each_length);
    tcase_add_test(tc, an_invalid_sequence_is_replaced_once);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
