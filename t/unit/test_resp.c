/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of broker/conduit_resp.c: commands as they are sent to Redis.
 */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_resp.h"

#define lit(s)    s, sizeof(s) - 1
#define count(a)  (sizeof(a) / sizeof(a[0]))


/* writes a command to memory of the size that is asked for, and compares */

static void
check(size_t n, const char **words, const size_t *lengths,
    const char *expected, size_t len)
{
    char    *p;
    size_t   max, written;

    max = conduit_resp_max(n, lengths);
    p = malloc(max);
    ck_assert_ptr_nonnull(p);

    written = conduit_resp_write(p, n, words, lengths);

    ck_assert_uint_le(written, max);
    ck_assert_uint_eq(written, len);
    ck_assert_mem_eq(p, expected, len);

    free(p);
}


START_TEST(words_are_strings_with_their_lengths)
{
    static const char    *words[] = { "XADD", "", "a\0\r\n$b", "0123456789" };
    static const size_t   lengths[] = { 4, 0, 6, 10 };

    check(1, words, lengths, lit("*1\r\n$4\r\nXADD\r\n"));

    check(4, words, lengths,
          lit("*4\r\n$4\r\nXADD\r\n$0\r\n\r\n$6\r\na\0\r\n$b\r\n"
              "$10\r\n0123456789\r\n"));
}
END_TEST


START_TEST(many_words_and_long_words_have_their_numbers)
{
    size_t       i, len, lengths[100];
    char         word[16384], expected[20000];
    const char  *words[100];

    memset(word, 'x', sizeof(word));

    for (i = 0; i < count(words); i++) {
        words[i] = "";
        lengths[i] = 0;
    }

    words[99] = word;
    lengths[99] = sizeof(word);

    len = 0;
    memcpy(expected, "*100\r\n", 6);
    len += 6;

    for (i = 0; i < 99; i++) {
        memcpy(expected + len, "$0\r\n\r\n", 6);
        len += 6;
    }

    memcpy(expected + len, "$16384\r\n", 8);
    len += 8;
    memcpy(expected + len, word, sizeof(word));
    len += sizeof(word);
    memcpy(expected + len, "\r\n", 2);
    len += 2;

    check(100, words, lengths, expected, len);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("resp");
    tc = tcase_create("resp");
    tcase_add_test(tc, words_are_strings_with_their_lengths);
    tcase_add_test(tc, many_words_and_long_words_have_their_numbers);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
