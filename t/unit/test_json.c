/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of proto/conduit_json.c: a payload written as JSON.  Numbers must be
 * short and read back as the same double; strings and the order of keys are
 * compared byte by byte.
 */

#include <check.h>
#include <float.h>
#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_message.h"
#include "wire.h"

#define ARENA_LIMIT  (64 * 1024 * 1024)

#define lit(s)       s, sizeof(s) - 1


static conduit_arena_t    *arena;
static conduit_buf_t       object;    /* content of the payload */
static conduit_buf_t       value;     /* content of a Value */
static conduit_buf_t       wire;
static conduit_buf_t       json;
static conduit_message_t   message;


static void
setup(void)
{
    arena = conduit_arena_create(ARENA_LIMIT);
    ck_assert_ptr_nonnull(arena);

    memset(&object, 0, sizeof(object));
    memset(&value, 0, sizeof(value));
    memset(&wire, 0, sizeof(wire));
    memset(&json, 0, sizeof(json));
}


static void
teardown(void)
{
    conduit_arena_free(arena);
    conduit_buf_free(&object);
    conduit_buf_free(&value);
    conduit_buf_free(&wire);
    conduit_buf_free(&json);
}


/* writes a message whose payload is object; returns the JSON of the payload */

static const char *
payload_text(size_t *len)
{
    size_t             head;
    static const char  envelope[] =
        "{\"event_type\":\"stream\",\"message_id\":\"" WIRE_MESSAGE "\","
        "\"channel_id\":\"" WIRE_CHANNEL "\",\"phase\":\"PHASE_UNSPECIFIED\","
        "\"sequence\":0,\"payload\":";

    conduit_buf_reset(&wire);
    conduit_buf_reset(&json);
    conduit_arena_reset(arena);

    wire_ids(&wire);
    wire_bytes(&wire, 6, object.data, object.len);

    ck_assert_int_eq(conduit_message_decode((uint8_t *) wire.data, wire.len,
                                            arena, &message),
                     CONDUIT_MESSAGE_OK);

    conduit_message_write_json(&message, arena, &json);
    ck_assert_int_eq(json.failed, 0);

    head = sizeof(envelope) - 1;
    ck_assert_uint_gt(json.len, head + 1);
    ck_assert_mem_eq(json.data, envelope, head);
    ck_assert_int_eq(json.data[json.len - 1], '}');

    *len = json.len - head - 1;

    return json.data + head;
}


static void
assert_payload(const char *text, size_t len)
{
    size_t       n;
    const char  *p;

    p = payload_text(&n);

    ck_assert_msg(n == len && memcmp(p, text, len) == 0,
                  "payload is %.*s, not %s", (int) n, p, text);
}


static json_t *
parse(void)
{
    size_t         n;
    const char    *p;
    json_t        *parsed;
    json_error_t   error;

    p = payload_text(&n);
    parsed = json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                        &error);

    ck_assert_msg(parsed != NULL, "%s: %.*s", error.text, (int) n, p);

    return parsed;
}


/* writes the payload {"k": number}; returns the text of the number */

static const char *
number_text(double number, size_t *len)
{
    const char  *p;

    conduit_buf_reset(&object);
    conduit_buf_reset(&value);
    wire_double(&value, 2, number);
    wire_entry(&object, "k", 1, &value);

    p = payload_text(len);

    ck_assert_mem_eq(p, "{\"k\":", 5);
    ck_assert_int_eq(p[*len - 1], '}');
    *len -= 6;

    return p + 5;
}


static void
assert_round_trip(double number)
{
    double       back;
    size_t       n;
    json_t      *parsed;
    const char  *p;

    p = number_text(number, &n);
    ck_assert_uint_le(n, 24);

    parsed = json_loadb(p, n, JSON_DECODE_ANY, NULL);
    ck_assert_msg(parsed != NULL, "no JSON: %.*s", (int) n, p);

    back = json_number_value(parsed);
    json_decref(parsed);

    ck_assert_msg(memcmp(&back, &number, sizeof(double)) == 0,
                  "%a became %a by %.*s", number, back, (int) n, p);
}


static void
assert_number(double number, const char *text)
{
    size_t       n;
    const char  *p;

    p = number_text(number, &n);

    ck_assert_msg(n == strlen(text) && memcmp(p, text, n) == 0,
                  "%a is %.*s, not %s", number, (int) n, p, text);
}


START_TEST(numbers_are_short)
{
    assert_number(0, "0");
    assert_number(-0.0, "-0.0");
    assert_number(1, "1");
    assert_number(-42, "-42");
    assert_number(1e15, "1000000000000000");
    assert_number(9007199254740991.0, "9007199254740991");
    assert_number(-9007199254740991.0, "-9007199254740991");
    assert_number(100000, "100000");
    assert_number(9007199254740992.0, "9.007199254740992e+15");
    assert_number(9007199254740993.0, "9.007199254740992e+15");
    assert_number(-9007199254740994.0, "-9.007199254740994e+15");
    assert_number(9223372036854775808.0, "9.223372036854776e+18");
    assert_number(9007199254740993.0 / 2, "4503599627370496");
    assert_number(4503599627370495.5, "4503599627370495.5");
    assert_number(0.1, "0.1");
    assert_number(-2.5, "-2.5");
    assert_number(0.1 + 0.2, "0.30000000000000004");
    assert_number(1.0 / 3, "0.3333333333333333");
    assert_number(1e21, "1e+21");
    assert_number(1e-7, "1e-07");
    assert_number(1e23, "1e+23");
    assert_number(5e-324, "5e-324");
    assert_number(DBL_MAX, "1.7976931348623157e+308");
    assert_number(-DBL_MIN, "-2.2250738585072014e-308");
}
END_TEST


START_TEST(numbers_that_are_none_are_null)
{
    assert_number(NAN, "null");
    assert_number(-NAN, "null");
    assert_number(INFINITY, "null");
    assert_number(-INFINITY, "null");
}
END_TEST


START_TEST(numbers_round_trip)
{
    size_t               i;
    static const double  numbers[] = {
        0, 1, 0.5, 0.1, 0.2, 0.3, 1e21, 1e22, 1e23, 1e-5, 1e-7, 123456.789,
        9007199254740991.0, 9007199254740992.0, 9007199254740994.0,
        99999999999999984.0, 1e17, 9223372036854775808.0,
        18446744073709551616.0, DBL_MAX, DBL_MIN, DBL_TRUE_MIN, DBL_EPSILON,
        DBL_MIN - DBL_TRUE_MIN, 2 * DBL_TRUE_MIN, 1 + DBL_EPSILON,
        2.2250738585072011e-308, 5e-324, 1.7976931348623155e308,
        3.14159265358979, 0.30000000000000004, 4503599627370496.5,
        8.41e21, 2.0e-3, 9.5367431640625e-07, 1.0 / 3, 2.0 / 3
    };

    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        assert_round_trip(numbers[i]);

        if (numbers[i] != 0) {
            assert_round_trip(-numbers[i]);
        }
    }

    assert_round_trip(-0.0);
}
END_TEST


/* powers of 2, where the distance between doubles changes, and powers of 10,
   where the number of digits changes */

START_TEST(powers_and_neighbours_round_trip)
{
    int     i;
    char    text[16];
    double  number;

    for (i = -1074; i <= 1023; i++) {
        number = ldexp(1, i);
        assert_round_trip(number);
        assert_round_trip(nextafter(number, INFINITY));

        /* not for the least double, whose neighbour is zero */

        if (i > -1074) {
            assert_round_trip(-nextafter(number, 0));
        }
    }

    for (i = -323; i <= 308; i++) {
        snprintf(text, sizeof(text), "1e%d", i);
        number = strtod(text, NULL);

        assert_round_trip(number);
        assert_round_trip(-nextafter(number, INFINITY));
        assert_round_trip(nextafter(number, 0));
    }
}
END_TEST


/* numbers halfway between two doubles: parsers round them to the even one */

START_TEST(numbers_between_two_doubles_round_trip)
{
    size_t             i;
    static const char  *halves[] = {
        "9007199254740993", "9007199254740995", "4503599627370496.25",
        "1.00000000000000011102230246251565404236316680908203125",
        "2.4703282292062327e-324", "7.4109846876186982e-324",
        "1.7976931348623158e308", "2.2250738585072011e-308",
        "6.631236846766476e-316", "9.5367431640625e-07", "8.41e+21",
        "2.8480945455893e+20", "1.1754943508222875e-38"
    };

    for (i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {

        if (strtod(halves[i], NULL) != 0) {
            assert_round_trip(strtod(halves[i], NULL));
        }
    }
}
END_TEST


START_TEST(random_bits_round_trip)
{
    double    number;
    size_t    i, finite;
    uint64_t  bits;

    bits = 88172645463325252u;
    finite = 0;

    for (i = 0; i < 20000; i++) {

        /* xorshift */

        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;

        memcpy(&number, &bits, sizeof(double));

        if (isfinite(number)) {
            finite++;
            assert_round_trip(number);
        }

        /* the same bits as a denormal, and as a number near one */

        number = ldexp((double) (bits >> 12), -1074);
        assert_round_trip(number);

        number = ldexp((double) (bits >> 11), -53);
        assert_round_trip(number);
    }

    ck_assert_uint_gt(finite, 19000);
}
END_TEST


/* compiles a locale with this decimal point; returns 0 if that is impossible */

static int
make_locale(const char *dir, const char *name, const char *point)
{
    FILE  *f;
    char   text[1024];

    snprintf(text, sizeof(text), "%s/%s.src", dir, name);

    f = fopen(text, "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "comment_char %%\nescape_char /\nLC_NUMERIC\n"
               "decimal_point \"%s\"\nthousands_sep \"\"\n"
               "grouping -1\nEND LC_NUMERIC\n", point);
    fclose(f);

    snprintf(text, sizeof(text), "localedef -c -i %s/%s.src -f UTF-8 %s/%s"
             " >/dev/null 2>&1", dir, name, dir, name);

    /* localedef warns that other categories are missing: ignore its result */

    return system(text) >= 0 && setlocale(LC_NUMERIC, name) != NULL;
}


START_TEST(locale_does_not_matter)
{
    char                 dir[] = "/tmp/conduit-locale-XXXXXX";
    char                 text[64];
    size_t               i;
    static const char   *points[] = { ",", "<U066B>" };
    static const char   *shown[] = { "0,5", "0\xd9\xab""5" };
    static const char   *names[] = { "comma", "arabic" };

    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(setenv("LOCPATH", dir, 1), 0);

    for (i = 0; i < 2; i++) {

        if (!make_locale(dir, names[i], points[i])) {
            fprintf(stderr, "no localedef: locale %s is not tested\n",
                    names[i]);
            continue;
        }

        snprintf(text, sizeof(text), "%g", 0.5);
        ck_assert_str_eq(text, shown[i]);

        assert_number(0.5, "0.5");
        assert_number(-1234567.25, "-1234567.25");
        assert_number(1.5e300, "1.5e+300");
        assert_number(0.1 + 0.2, "0.30000000000000004");
        assert_number(-DBL_MAX, "-1.7976931348623157e+308");
    }

    setlocale(LC_ALL, "C");

    snprintf(text, sizeof(text), "rm -r %s", dir);
    ck_assert_int_eq(system(text), 0);
}
END_TEST


START_TEST(every_kind_is_written)
{
    wire_uint(&value, 1, 0);
    wire_entry(&object, "a", 1, &value);

    conduit_buf_reset(&value);
    wire_double(&value, 2, 1.5);
    wire_entry(&object, "b", 1, &value);

    conduit_buf_reset(&value);
    wire_bytes(&value, 3, "text", 4);
    wire_entry(&object, "c", 1, &value);

    conduit_buf_reset(&value);
    wire_uint(&value, 4, 1);
    wire_entry(&object, "d", 1, &value);

    conduit_buf_reset(&value);
    wire_uint(&value, 4, 0);
    wire_entry(&object, "e", 1, &value);

    conduit_buf_reset(&value);
    wire_bytes(&value, 5, lit("\x0a\x07\x0a\x01x\x12\x02\x20\x01"));
    wire_entry(&object, "f", 1, &value);

    conduit_buf_reset(&value);
    wire_bytes(&value, 6, lit("\x0a\x02\x20\x01\x0a\x00\x0a\x03\x1a\x01y"));
    wire_entry(&object, "g", 1, &value);

    /* a Value without a kind */

    conduit_buf_reset(&value);
    wire_entry(&object, "h", 1, &value);

    /* an entry without a Value */

    wire_bytes(&object, 1, lit("\x0a\x01i"));

    assert_payload(lit("{\"a\":null,\"b\":1.5,\"c\":\"text\",\"d\":true,"
                       "\"e\":false,\"f\":{\"x\":true},"
                       "\"g\":[true,null,\"y\"],\"h\":null,\"i\":null}"));

    json_decref(parse());
}
END_TEST


START_TEST(empty_objects_lists_and_strings_are_written)
{
    assert_payload(lit("{}"));

    wire_bytes(&value, 5, "", 0);
    wire_entry(&object, "a", 1, &value);

    conduit_buf_reset(&value);
    wire_bytes(&value, 6, "", 0);
    wire_entry(&object, "b", 1, &value);

    conduit_buf_reset(&value);
    wire_bytes(&value, 3, "", 0);
    wire_entry(&object, "c", 1, &value);

    assert_payload(lit("{\"a\":{},\"b\":[],\"c\":\"\"}"));

    /* an empty key, and an entry without a key, are the same key */

    conduit_buf_reset(&object);
    wire_entry(&object, "", 0, &value);
    assert_payload(lit("{\"\":\"\"}"));

    wire_bytes(&object, 1, "", 0);
    assert_payload(lit("{\"\":null}"));
}
END_TEST


START_TEST(quotes_and_control_characters_are_escaped)
{
    wire_bytes(&value, 3,
               lit("\"\\/\b\f\n\r\t\x01\x1f\x7f<>&'\xc3\xa9\xe2\x82\xac"
                   "\xf0\x9f\x98\x80\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9"
                   "\xe2\x80\xaa\xe2\x81\xa8\xc2\x85"));
    wire_entry(&object, lit("\"\n\xe2\x80\xa8"), &value);

    assert_payload(lit("{\"\\\"\\n\\u2028\":\"\\\"\\\\/\\b\\f\\n\\r\\t"
                       "\\u0001\\u001f\x7f<>&'\xc3\xa9\xe2\x82\xac"
                       "\xf0\x9f\x98\x80\xe2\x80\xa7\\u2028\\u2029"
                       "\xe2\x80\xaa\xe2\x81\xa8\xc2\x85\"}"));
}
END_TEST


/* each character of Unicode, written in a string, is returned by a parser */

START_TEST(every_character_comes_back)
{
    char           text[8];
    size_t         n;
    json_t        *parsed, *member;
    unsigned long  c;

    for (c = 0; c <= 0x10ffff; c += (c < 0x3000) ? 1 : 251) {

        if (c >= 0xd800 && c <= 0xdfff) {
            continue;
        }

        n = 0;

        if (c < 0x80) {
            text[n++] = (char) c;

        } else if (c < 0x800) {
            text[n++] = (char) (0xc0 | c >> 6);
            text[n++] = (char) (0x80 | (c & 0x3f));

        } else if (c < 0x10000) {
            text[n++] = (char) (0xe0 | c >> 12);
            text[n++] = (char) (0x80 | (c >> 6 & 0x3f));
            text[n++] = (char) (0x80 | (c & 0x3f));

        } else {
            text[n++] = (char) (0xf0 | c >> 18);
            text[n++] = (char) (0x80 | (c >> 12 & 0x3f));
            text[n++] = (char) (0x80 | (c >> 6 & 0x3f));
            text[n++] = (char) (0x80 | (c & 0x3f));
        }

        text[n++] = 'z';

        conduit_buf_reset(&object);
        conduit_buf_reset(&value);
        wire_bytes(&value, 3, text, n);
        wire_entry(&object, "k", 1, &value);

        parsed = parse();
        ck_assert_ptr_null(memchr(json.data, '\n', json.len));
        ck_assert_ptr_null(memchr(json.data, '\r', json.len));

        member = json_object_get(parsed, "k");
        ck_assert_uint_eq(json_string_length(member), n);
        ck_assert_mem_eq(json_string_value(member), text, n);
        json_decref(parsed);
    }
}
END_TEST


START_TEST(zero_bytes_cut_nothing)
{
    wire_bytes(&value, 3, lit("a\0b\0"));
    wire_entry(&object, lit("x\0y"), &value);
    assert_payload(lit("{\"x\\u0000y\":\"a\\u0000b\\u0000\"}"));

    conduit_buf_reset(&object);
    conduit_buf_reset(&value);
    wire_bytes(&value, 3, lit("\0"));
    wire_entry(&object, lit("\0"), &value);
    assert_payload(lit("{\"\\u0000\":\"\\u0000\"}"));
}
END_TEST


START_TEST(keys_are_sorted_by_bytes)
{
    size_t  i;
    static const struct {
        const char  *key;
        size_t       len;
    } keys[] = {
        { lit("b") }, { lit("\xc4\x80") }, { lit("\xc3\xa9") },
        { lit("") }, { lit("a") },
        { lit("aa") }, { lit("Z") }, { lit("a\0") },
        { lit("\xf0\x9f\x98\x80") },
        { lit("123456789") }, { lit("12345678") }, { lit("1234567") },
        { lit("12345678\0") }, { lit("1234567899") }, { lit("123456780") },
        { lit("10") }, { lit("9") }, { lit("a\0\0\0\0\0\0\0\0b") }
    };

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        wire_entry(&object, keys[i].key, keys[i].len, &value);
    }

    assert_payload(lit("{\"\":null,\"10\":null,\"1234567\":null,"
                       "\"12345678\":null,\"12345678\\u0000\":null,"
                       "\"123456780\":null,\"123456789\":null,"
                       "\"1234567899\":null,\"9\":null,\"Z\":null,"
                       "\"a\":null,\"a\\u0000\":null,"
                       "\"a\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000"
                       "\\u0000b\":null,\"aa\":null,\"b\":null,"
                       "\"\xc3\xa9\":null,\"\xc4\x80\":null,"
                       "\"\xf0\x9f\x98\x80\":null}"));
}
END_TEST


START_TEST(last_of_equal_keys_is_taken)
{
    size_t              i;
    static const char  *keys[] = { "b", "a", "b", "c", "a", "b", "c", "c" };

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        conduit_buf_reset(&value);
        wire_double(&value, 2, (double) i);
        wire_entry(&object, keys[i], 1, &value);
    }

    assert_payload(lit("{\"a\":4,\"b\":5,\"c\":7}"));

    /* keys that are in order already are not sorted */

    conduit_buf_reset(&object);

    for (i = 0; i < 3; i++) {
        conduit_buf_reset(&value);
        wire_double(&value, 2, (double) i);
        wire_entry(&object, "same key", 8, &value);
    }

    assert_payload(lit("{\"same key\":2}"));
}
END_TEST


START_TEST(thousands_of_keys_are_merged_and_sorted)
{
    int            n;
    char           key[24];
    void          *iter;
    size_t         i;
    json_t        *parsed;
    unsigned       x;
    const char    *before, *name;
    static double  last[5000];

    /* each key about ten times, in random order */

    x = 12345;

    for (i = 0; i < 50000; i++) {
        x = x * 1103515245 + 12345;

        n = snprintf(key, sizeof(key), "a longer key %u", (x >> 8) % 5000);
        last[(x >> 8) % 5000] = (double) i;

        conduit_buf_reset(&value);
        wire_double(&value, 2, (double) i);
        wire_entry(&object, key, n, &value);
    }

    parsed = parse();
    before = "";

    for (iter = json_object_iter(parsed);
         iter != NULL;
         iter = json_object_iter_next(parsed, iter))
    {
        name = json_object_iter_key(iter);
        ck_assert_int_lt(strcmp(before, name), 0);
        before = name;

        i = strtoul(name + sizeof("a longer key ") - 1, NULL, 10);
        ck_assert_double_eq(json_number_value(json_object_iter_value(iter)),
                            last[i]);
    }

    ck_assert_uint_gt(json_object_size(parsed), 4900);
    json_decref(parsed);
}
END_TEST


START_TEST(nested_objects_are_sorted_too)
{
    wire_bytes(&value, 5, lit("\x0a\x03\x0a\x01z\x0a\x03\x0a\x01y"));
    wire_entry(&object, "k", 1, &value);
    assert_payload(lit("{\"k\":{\"y\":null,\"z\":null}}"));

    wire_wrap(&value, 1);
    wire_wrap(&value, 6);
    wire_entry(&object, "j", 1, &value);
    assert_payload(lit("{\"j\":[{\"y\":null,\"z\":null}],"
                       "\"k\":{\"y\":null,\"z\":null}}"));
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("json");
    tc = tcase_create("json");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, numbers_are_short);
    tcase_add_test(tc, numbers_that_are_none_are_null);
    tcase_add_test(tc, numbers_round_trip);
    tcase_add_test(tc, powers_and_neighbours_round_trip);
    tcase_add_test(tc, numbers_between_two_doubles_round_trip);
    tcase_add_test(tc, random_bits_round_trip);
    tcase_add_test(tc, locale_does_not_matter);
    tcase_add_test(tc, every_kind_is_written);
    tcase_add_test(tc, empty_objects_lists_and_strings_are_written);
    tcase_add_test(tc, quotes_and_control_characters_are_escaped);
    tcase_add_test(tc, every_character_comes_back);
    tcase_add_test(tc, zero_bytes_cut_nothing);
    tcase_add_test(tc, keys_are_sorted_by_bytes);
    tcase_add_test(tc, last_of_equal_keys_is_taken);
    tcase_add_test(tc, thousands_of_keys_are_merged_and_sorted);
    tcase_add_test(tc, nested_objects_are_sorted_too);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
