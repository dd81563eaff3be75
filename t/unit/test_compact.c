/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_compact.c: JSON is copied without white space; texts
 * that are not JSON or nested too deeply are refused.
 */

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_compact.h"
#include "exact.h"
#include "memory.h"

#define lit(s)    s, sizeof(s) - 1
#define count(a)  (sizeof(a) / sizeof(a[0]))


typedef struct {
    const char  *text;
    const char  *compact;
} pair_t;


/* the text is copied to memory of its exact size, so that valgrind and ASan see
   a read past its end */

static int
compact(const char *text, size_t len, conduit_buf_t *b)
{
    int       rc;
    uint8_t  *copy;

    copy = exact_copy(text, len);

    rc = conduit_compact(len ? copy : copy + 1, len, b);

    free(copy);

    return rc;
}


static void
is_refused(const char *text, size_t len)
{
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));
    conduit_buf_lit(&b, "data: ");

    ck_assert_msg(compact(text, len, &b) == -1, "%.*s", (int) len, text);
    ck_assert_uint_eq(b.len, 6);
    ck_assert_int_eq(b.failed, 0);

    conduit_buf_free(&b);
}


START_TEST(json_is_copied_without_space)
{
    size_t         i;
    conduit_buf_t  b;

    static const pair_t  pairs[] = {
        { "null", "null" }, { "true", "true" }, { " \t\r\nfalse\r\n", "false" },
        { "0", "0" }, { "-0", "-0" }, { "12", "12" }, { "-1.50", "-1.50" },
        { "1e5", "1e5" }, { "0E+00", "0E+00" }, { "1.5e-300", "1.5e-300" },
        { "123456789012345678901234567890", "123456789012345678901234567890" },
        { "\"\"", "\"\"" }, { "\" a  b \"", "\" a  b \"" },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00fF\\uD800\"",
          "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00fF\\uD800\"" },
        { "\"\x7f\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80\"",
          "\"\x7f\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80\"" },
        { "{}", "{}" }, { "[]", "[]" }, { " { \n } ", "{}" }, { "[ ]", "[]" },
        { "[[],{},[{}]]", "[[],{},[{}]]" },
        { "{ \"a\" : 1 ,\r\n \"b\" : [ 1 , \"x\" , null ] , \"a\" : { } }",
          "{\"a\":1,\"b\":[1,\"x\",null],\"a\":{}}" },
        { "[true,false,null,{\"\":0}]", "[true,false,null,{\"\":0}]" },
        { "[{\"a\":[{\"b\":[]}]},1]", "[{\"a\":[{\"b\":[]}]},1]" }
    };

    for (i = 0; i < count(pairs); i++) {
        memset(&b, 0, sizeof(b));
        conduit_buf_lit(&b, "data: ");

        ck_assert_msg(compact(pairs[i].text, strlen(pairs[i].text), &b) == 0,
                      "%s", pairs[i].text);
        ck_assert_uint_eq(b.len, 6 + strlen(pairs[i].compact));
        ck_assert_mem_eq(b.data + 6, pairs[i].compact, b.len - 6);

        conduit_buf_free(&b);
    }
}
END_TEST


START_TEST(anything_else_is_refused)
{
    size_t  i;

    static const char *const  texts[] = {
        "", " ", "\n", "nul", "nulll", "tru", "True", "fals", "undefined",
        "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".5", "1.e5", "1e",
        "1e+", "0x1", "1 2", "--1", "1-", "1,", ",1", "\"", "\"a", "\"\\\"",
        "\"\\", "\"\\x\"", "\"\\u\"", "\"\\u12\"", "\"\\u123\"", "\"\\u12g4\"",
        "\"\\u123", "\"a\nb\"", "\"a\tb\"", "\"\x1f\"", "'a'", "\"a\"\"b\"",
        "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1 2]",
        "[1}", "{1}", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{\"a\":1,}",
        "{\"a\":1]", "{,}", "{\"a\" 1}", "{\"a\"::1}", "{a:1}", "{\"a\":1 2}",
        "[]]", "{}}", "[][]", "{} {}", "// x\n1", "/**/1", "[1]x", "a",
        "\xef\xbb\xbf" "1", "\"\x80\"", "\"\xc3\"", "\"\xed\xa0\x80\"",
        "\"\xc0\x80\"", "\"\xf4\x90\x80\x80\"", "\xc2\xa0" "1", "\f1", "\v1"
    };

    for (i = 0; i < count(texts); i++) {
        is_refused(texts[i], strlen(texts[i]));
    }

    is_refused(lit("1\0"));
    is_refused(lit("\0"));
    is_refused(lit("\"\0\""));
    is_refused(lit("\"\\\0\""));
}
END_TEST


/* alternates objects and arrays, so that each bit of the stack is tested */

static size_t
nested(char *text, size_t depth)
{
    char    *p;
    size_t   i;

    p = text;

    for (i = 0; i < depth; i++) {
        p = stpcpy(p, i % 3 ? "[" : "{\"a\":");
    }

    p = stpcpy(p, "1");

    for (i = depth; i > 0; i--) {
        p = stpcpy(p, (i - 1) % 3 ? "]" : "}");
    }

    return (size_t) (p - text);
}


START_TEST(nesting_has_a_limit)
{
    char           text[8 * (CONDUIT_COMPACT_DEPTH + 1)];
    size_t         len;
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));

    len = nested(text, CONDUIT_COMPACT_DEPTH);
    ck_assert_int_eq(compact(text, len, &b), 0);
    ck_assert_uint_eq(b.len, len);
    ck_assert_mem_eq(b.data, text, len);

    conduit_buf_free(&b);

    len = nested(text, CONDUIT_COMPACT_DEPTH + 1);
    is_refused(text, len);
}
END_TEST


START_TEST(a_text_cut_short_is_refused)
{
    size_t  n;

    static const char  text[]
        = "{\"a\":[1.5e5,\"\\u00e9\xc3\xa9\",{}],\"b\":null}";

    for (n = 0; n < sizeof(text) - 1; n++) {
        is_refused(text, n);
    }
}
END_TEST


START_TEST(memory_may_be_out)
{
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));

    memory_count(1);
    ck_assert_int_eq(compact(lit("[1]"), &b), 0);
    memory_count(0);

    ck_assert_int_eq(b.failed, 1);

    conduit_buf_free(&b);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("compact");
    tc = tcase_create("compact");
    tcase_add_test(tc, json_is_copied_without_space);
    tcase_add_test(tc, anything_else_is_refused);
    tcase_add_test(tc, nesting_has_a_limit);
    tcase_add_test(tc, a_text_cut_short_is_refused);
    tcase_add_test(tc, memory_may_be_out);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
