/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of base/conduit_query.c: finding, decoding and masking arguments of a
 * query string.
 */

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_query.h"
#include "exact.h"

#define lit(s)    s, sizeof(s) - 1
#define count(a)  (sizeof(a) / sizeof(a[0]))

#define FOUND      CONDUIT_QUERY_FOUND
#define MISSING    CONDUIT_QUERY_MISSING
#define REPEATED   CONDUIT_QUERY_REPEATED
#define MALFORMED  CONDUIT_QUERY_MALFORMED


typedef struct {
    const char  *text;
    size_t       len;
} text_t;


/* finds "token" and sets *offset to the offset of its value */

static conduit_query_status_e
find(const char *args, size_t len, size_t *offset, size_t *value_len)
{
    char                    *text;
    const char              *value;
    conduit_query_status_e   status;

    text = exact_copy(args, len);
    value = NULL;

    status = conduit_query_find(text, len, "token", &value, value_len);

    if (status == FOUND) {
        ck_assert_msg(value >= text && value + *value_len <= text + len, "%s",
                      args);
        *offset = (size_t) (value - text);
    }

    free(text);

    return status;
}


START_TEST(arguments_are_found)
{
    size_t               i, offset, len;
    static const struct {
        const char  *args;
        size_t       len;
        size_t       offset;
        size_t       value_len;
    } cases[] = {
        { lit("token=abc"), 6, 3 },
        { lit("a=b&token=abc"), 10, 3 },
        { lit("token=abc&a=b"), 6, 3 },
        { lit("a&token=abc&b"), 8, 3 },
        { lit("&&token=abc&&"), 8, 3 },

        /* a value without "=", and an empty one */

        { lit("token"), 5, 0 },
        { lit("token="), 6, 0 },
        { lit("token&a=b"), 5, 0 },
        { lit("token=&a=b"), 6, 0 },
        { lit("a=b&token"), 9, 0 },
        { lit("a=b&token="), 10, 0 },

        /* the first "=" ends the name; the value is not decoded */

        { lit("token=a=b"), 6, 3 },
        { lit("token=="), 6, 1 },
        { lit("token=%41+%"), 6, 5 },
        { lit("token=a;token=b"), 6, 9 },
        { lit("token=a?token=b"), 6, 9 },
        { lit("token=a\0b"), 6, 3 },

        /* other names with the same beginning or end */

        { lit("tokens=1&token=2"), 15, 1 },
        { lit("atoken=1&token=2"), 15, 1 },
        { lit("tok=1&token=2"), 12, 1 },
        { lit("Token=1&token=2"), 14, 1 },
        { lit("token=1&TOKEN=2"), 6, 1 },
        { lit("a=token&token=2"), 14, 1 },
        { lit("a=token=1&token=2"), 16, 1 },
        { lit("token\0=1&token=2"), 15, 1 }
    };

    for (i = 0; i < count(cases); i++) {
        ck_assert_msg(find(cases[i].args, cases[i].len, &offset, &len)
                      == FOUND, "%s", cases[i].args);
        ck_assert_msg(offset == cases[i].offset && len == cases[i].value_len,
                      "%s: %zu bytes at %zu", cases[i].args, len, offset);
    }
}
END_TEST


START_TEST(missing_arguments_are_missing)
{
    size_t               i, offset, len;
    static const text_t  texts[] = {
        { lit("") }, { lit("&") }, { lit("=") }, { lit("&&=&") },
        { lit("toke") }, { lit("tokens") }, { lit("tokens=1") },
        { lit("=token") }, { lit("a=token") }, { lit("TOKEN=1") },
        { lit(" token=1") }, { lit("token =1") }, { lit("token%3d1") },
        { lit("?token=1") }, { lit("a;token=1") },

        /* names are not decoded */

        { lit("%74oken=1") }, { lit("t%6fken=1") }
    };

    for (i = 0; i < count(texts); i++) {
        ck_assert_msg(find(texts[i].text, texts[i].len, &offset, &len)
                      == MISSING, "%s", texts[i].text);
    }
}
END_TEST


START_TEST(repeated_arguments_are_not_taken)
{
    size_t               i, offset, len;
    static const text_t  texts[] = {
        { lit("token=1&token=1") }, { lit("token=1&token=2") },
        { lit("token&token") }, { lit("token=&token=") },
        { lit("token=1&token") }, { lit("token&a=b&token=1") },
        { lit("a=b&token=1&&token=2&c=d") },
        { lit("token=1&token=2&token=3") }
    };

    for (i = 0; i < count(texts); i++) {
        ck_assert_msg(find(texts[i].text, texts[i].len, &offset, &len)
                      == REPEATED, "%s", texts[i].text);
    }
}
END_TEST


START_TEST(arguments_end_at_their_length)
{
    size_t               n, offset, len;
    static const text_t  args = { lit("a=b&token=12&token=3") };

    for (n = 0; n <= args.len; n++) {
        switch (find(args.text, n, &offset, &len)) {
        case MISSING:
            ck_assert_uint_lt(n, sizeof("a=b&token") - 1);
            break;

        case FOUND:
            ck_assert_uint_ge(n, sizeof("a=b&token") - 1);
            ck_assert_uint_lt(n, sizeof("a=b&token=12&token") - 1);
            ck_assert_uint_eq(len, (n < 11) ? 0 : (n == 11) ? 1 : 2);
            break;

        case REPEATED:
            ck_assert_uint_ge(n, sizeof("a=b&token=12&token") - 1);
            break;

        default:
            ck_abort_msg("%zu bytes", n);
        }
    }
}
END_TEST


/* decodes into another buffer of the same length, and in place */

static conduit_query_status_e
decode(const char *s, size_t len, char *out, size_t *out_len)
{
    char                    *text, *other;
    size_t                   n;
    conduit_query_status_e   status, again;

    text = exact_copy(s, len);
    other = exact_copy(s, len);

    n = 0;
    *out_len = 0;
    status = conduit_query_decode(text, len, other, out_len);
    ck_assert_msg(memcmp(text, s, len) == 0, "%s", s);

    again = conduit_query_decode(text, len, text, &n);

    ck_assert_msg(status == again, "%s", s);

    if (status == FOUND) {
        ck_assert_msg(n == *out_len && n <= len
                      && memcmp(text, other, n) == 0, "%s", s);
        memcpy(out, other, n);
    }

    free(text);
    free(other);

    return status;
}


START_TEST(values_are_decoded)
{
    char                 out[64];
    size_t               i, len;
    static const struct {
        const char  *value;
        size_t       len;
        const char  *text;
        size_t       text_len;
    } cases[] = {
        { lit(""), lit("") },
        { lit("abc"), lit("abc") },
        { lit("%41"), lit("A") },
        { lit("a%2Db%2dc"), lit("a-b-c") },
        { lit("%61%62%63"), lit("abc") },
        { lit("a+b"), lit("a b") },
        { lit("++"), lit("  ") },
        { lit("a%2Bb"), lit("a+b") },
        { lit("%20"), lit(" ") },
        { lit("%25"), lit("%") },
        { lit("%2541"), lit("%41") },
        { lit("%01%7f%80%ff%FF%fF"), lit("\x01\x7f\x80\xff\xff\xff") },
        { lit("%0a%0D"), lit("\n\r") },
        { lit("%10"), lit("\x10") },
        { lit("%E2%82%AC"), lit("\xe2\x82\xac") },
        { lit("\xe2\x82\xac"), lit("\xe2\x82\xac") },
        { lit("a=b&c;d/e?f"), lit("a=b&c;d/e?f") }
    };

    for (i = 0; i < count(cases); i++) {
        ck_assert_msg(decode(cases[i].value, cases[i].len, out, &len) == FOUND,
                      "%s", cases[i].value);
        ck_assert_msg(len == cases[i].text_len
                      && memcmp(out, cases[i].text, len) == 0, "%s: %.*s",
                      cases[i].value, (int) len, out);
    }
}
END_TEST


START_TEST(every_byte_is_decoded)
{
    char    value[4], out[4];
    size_t  i, len;

    for (i = 1; i < 256; i++) {
        snprintf(value, sizeof(value), (i % 2) ? "%%%02zx" : "%%%02zX", i);

        ck_assert_int_eq(decode(value, 3, out, &len), FOUND);
        ck_assert_uint_eq(len, 1);
        ck_assert_uint_eq((unsigned char) out[0], i);
    }
}
END_TEST


START_TEST(broken_values_are_malformed)
{
    char                 out[64];
    size_t               i, len;
    static const text_t  texts[] = {
        { lit("%") }, { lit("%4") }, { lit("a%") }, { lit("a%4") },
        { lit("%%") }, { lit("%%41") }, { lit("%4%41") }, { lit("%g0") },
        { lit("%0g") }, { lit("%G0") }, { lit("%/0") }, { lit("%:0") },
        { lit("%@0") }, { lit("%`0") }, { lit("%0/") }, { lit("%0:") },
        { lit("%0@") }, { lit("%0`") }, { lit("% 1") }, { lit("%1 ") },
        { lit("%+1") }, { lit("%-1") }, { lit("%x1") }, { lit("%u0041") },
        { lit("%\0001") }, { lit("%1\0") },
        { lit("%\xc1\x31") }, { lit("%\x31\xe1") },
        { lit("%11%") }, { lit("%11%1") },

        /* a zero byte would end the string in other programs */

        { lit("%00") }, { lit("a%00b") }, { lit("%41%00") }
    };

    for (i = 0; i < count(texts); i++) {
        ck_assert_msg(decode(texts[i].text, texts[i].len, out, &len)
                      == MALFORMED, "taken: %s", texts[i].text);
    }
}
END_TEST


/* every byte, as the first and the second digit */

START_TEST(hexadecimal_digits_alone_are_digits)
{
    int     good;
    char    value[3], out[3];
    size_t  i, len;

    for (i = 0; i < 256; i++) {
        good = i != 0 && strchr("0123456789abcdefABCDEF", (int) i) != NULL;

        value[0] = '%';
        value[1] = (char) i;
        value[2] = '1';
        ck_assert_int_eq(decode(value, 3, out, &len) == FOUND, good);

        value[1] = '1';
        value[2] = (char) i;
        ck_assert_int_eq(decode(value, 3, out, &len) == FOUND, good);
    }
}
END_TEST


START_TEST(values_are_masked)
{
    char                *text;
    size_t               i;
    static const struct {
        const char  *args;
        const char  *masked;
    } cases[] = {
        { "", "" },
        { "a=b", "a=b" },
        { "token=abc", "token=xxx" },
        { "a=b&token=abc&c=d", "a=b&token=xxx&c=d" },
        { "token", "token" },
        { "token=", "token=" },
        { "token=a=b", "token=xxx" },
        { "token=a;b", "token=xxx" },
        { "token=%41%", "token=xxxx" },
        { "tokens=a&token=b&Token=c", "tokens=a&token=x&Token=c" },

        /* all values of a repeated argument, too */

        { "token=ab&token=c&token=", "token=xx&token=x&token=" },
        { "&token=ab&&token=c&", "&token=xx&&token=x&" }
    };

    for (i = 0; i < count(cases); i++) {
        ck_assert_uint_eq(strlen(cases[i].args), strlen(cases[i].masked));

        text = exact_copy(cases[i].args, strlen(cases[i].args));
        conduit_query_mask(text, strlen(cases[i].args), "token");

        ck_assert_msg(memcmp(text, cases[i].masked, strlen(cases[i].masked))
                      == 0, "%s", cases[i].args);
        free(text);
    }
}
END_TEST


/* arguments of any name; only a whole value is masked */

START_TEST(arguments_of_a_value_are_masked)
{
    char    *text;
    size_t   i;

    static const struct {
        const char  *args;
        const char  *masked;
    } cases[] = {
        { "", "" },
        { "a.b", "a.b" },
        { "=a.b", "=xxx" },
        { "t=a.b", "t=xxx" },
        { "t=a.b&u=a.b", "t=xxx&u=xxx" },
        { "t=a.b&u=a.bc&v=za.b&a.b=c", "t=xxx&u=a.bc&v=za.b&a.b=c" },
        { "t==a.b&u=a.b=", "t==a.b&u=a.b=" },
        { "t=A.b&u=a%2eb&v=", "t=A.b&u=a%2eb&v=" },
        { "&&t=a.b&", "&&t=xxx&" }
    };

    for (i = 0; i < count(cases); i++) {
        ck_assert_uint_eq(strlen(cases[i].args), strlen(cases[i].masked));

        text = exact_copy(cases[i].args, strlen(cases[i].args));
        conduit_query_mask_value(text, strlen(cases[i].args), "a.b", 3);

        ck_assert_msg(memcmp(text, cases[i].masked, strlen(cases[i].masked))
                      == 0, "%s", cases[i].args);
        free(text);
    }
}
END_TEST


START_TEST(mask_stops_at_the_length)
{
    char  args[] = "token=abc";

    conduit_query_mask(args, sizeof("token=ab") - 1, "token");
    ck_assert_str_eq(args, "token=xxc");
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("query");
    tc = tcase_create("query");
    tcase_add_test(tc, arguments_are_found);
    tcase_add_test(tc, missing_arguments_are_missing);
    tcase_add_test(tc, repeated_arguments_are_not_taken);
    tcase_add_test(tc, arguments_end_at_their_length);
    tcase_add_test(tc, values_are_decoded);
    tcase_add_test(tc, every_byte_is_decoded);
    tcase_add_test(tc, broken_values_are_malformed);
    tcase_add_test(tc, hexadecimal_digits_alone_are_digits);
    tcase_add_test(tc, values_are_masked);
    tcase_add_test(tc, arguments_of_a_value_are_masked);
    tcase_add_test(tc, mask_stops_at_the_length);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
