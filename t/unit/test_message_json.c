/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of proto/conduit_message_json.c: which messages in JSON are accepted,
 * the serialized message, and the error for each that is refused.
 */

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "conduit_message_json.h"
#include "conduit_pb.h"
#include "conduit_timestamp.h"
#include "decode.h"
#include "exact.h"
#include "memory.h"


#define OK          CONDUIT_MESSAGE_JSON_OK
#define SYNTAX      CONDUIT_MESSAGE_JSON_SYNTAX
#define FIELD       CONDUIT_MESSAGE_JSON_FIELD
#define DEPTH       CONDUIT_MESSAGE_JSON_DEPTH


static conduit_message_json_t         posted;
static conduit_message_json_error_t   error;


/*
 * Reads a text in memory of its exact size, so that ASan sees a read past its
 * end; the memory is freed, so that it also sees any use after the call.
 */

static conduit_message_json_status_e
read_bytes(const char *text, size_t len)
{
    char                           *copy;
    conduit_message_json_status_e   status;

    copy = exact_copy(text, len);

    conduit_arena_reset(arena);
    memcpy(posted.message_id, WIRE_MESSAGE, CONDUIT_UUID_LEN);

    status = conduit_message_json_read(copy, len, WIRE_CHANNEL, arena,
                                       &posted, &error);
    free(copy);

    return status;
}


static void
good(const char *text)
{
    char  line[CONDUIT_MESSAGE_JSON_ERROR_MAX];

    if (read_bytes(text, strlen(text)) != OK) {
        (void) conduit_message_json_error_write(&error, line);
        ck_abort_msg("%s: %s", text, line);
    }
}


static void
bad(const char *text, size_t len, conduit_message_json_status_e status,
    const char *what)
{
    char    line[CONDUIT_MESSAGE_JSON_ERROR_MAX];
    size_t  n;

    ck_assert_msg(read_bytes(text, len) == status, "%s: another status", text);

    n = conduit_message_json_error_write(&error, line);
    ck_assert_uint_eq(n, strlen(line));
    ck_assert_str_eq(line, what);
}


/* checks the JSON that the gateway writes for the message, without sequence */

static void
event(const char *text)
{
    char    *copy;
    size_t   len;

    len = posted.len;
    copy = malloc(len);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, posted.data, len);

    ck_assert_int_eq(decode_bytes(copy, len), CONDUIT_MESSAGE_OK);
    free(copy);

    write_json();
    conduit_buf_append(&json, "", 1);
    ck_assert_str_eq(json.data, text);
}


static void
payload(const char *text, const char *value)
{
    char  *copy;

    good(text);

    copy = malloc(posted.len);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, posted.data, posted.len);
    ck_assert_int_eq(decode_bytes(copy, posted.len), CONDUIT_MESSAGE_OK);
    free(copy);

    assert_payload(value);
}


START_TEST(everything_may_be_left_out)
{
    good("{}");
    ck_assert_int_eq(posted.phase, CONDUIT_PHASE_DELTA);
    ck_assert_int_eq(posted.has_sequence, 0);
    event("{\"event_type\":\"stream\",\"message_id\":\"" WIRE_MESSAGE "\","
          "\"channel_id\":\"" WIRE_CHANNEL "\",\"phase\":\"PHASE_DELTA\","
          "\"sequence\":0,\"payload\":null}");

    good(" {\"channel_id\":null,\"message_id\":null,\"phase\":null,"
         "\"client_timestamp\":null,\"sequence\":null,\"payload\":null}\r\n");
    ck_assert_int_eq(posted.phase, CONDUIT_PHASE_DELTA);
    ck_assert_int_eq(posted.has_sequence, 0);
}
END_TEST


START_TEST(every_field_is_packed)
{
    size_t         i;
    conduit_buf_t  b;
    static const char  *texts[] = {
        "{\"channel_id\":\"97F58C19CE384C6B8A5B47F3405691F0\","
        "\"message_id\":\"urn:uuid:0B81EFD9-1BAA-4DF1-A431-FDFEF2FA14A4\","
        "\"client_timestamp\":\"2026-01-09T20:51:07.25Z\","
        "\"phase\":\"START\",\"sequence\":7,\"payload\":{\"a\":\"b\"}}",

        "{\"payload\":{\"a\":\"b\"},\"sequence\":\"7\",\"phase\":1,"
        "\"clientTimestamp\":\"2026-01-09T21:51:07.250+01:00\","
        "\"messageId\":\"0b81efd9-1baa-4df1-a431-fdfef2fa14a4\","
        "\"channelId\":\"{97f58c19-ce38-4c6b-8a5b-47f3405691f0}\"}"
    };

    memset(&b, 0, sizeof(b));
    wire_bytes(&b, 1, WIRE_CHANNEL, 36);
    wire_bytes(&b, 2, lit("0b81efd9-1baa-4df1-a431-fdfef2fa14a4"));
    wire_uint(&part, 1, 1767991867);
    wire_uint(&part, 2, 250000000);
    wire_bytes(&b, 3, part.data, part.len);
    wire_uint(&b, 4, 1);
    wire_uint(&b, 5, 7);
    conduit_buf_reset(&part);
    wire_bytes(&part, 3, "b", 1);
    wire_entry(&wire, "a", 1, &part);
    wire_bytes(&b, 6, wire.data, wire.len);

    for (i = 0; i < 2; i++) {
        good(texts[i]);
        ck_assert_uint_eq(posted.len, b.len);
        ck_assert_mem_eq(posted.data, b.data, b.len);
        ck_assert_mem_eq(posted.message_id,
                         "0b81efd9-1baa-4df1-a431-fdfef2fa14a4", 36);
        ck_assert_int_eq(posted.phase, CONDUIT_PHASE_START);
        ck_assert_int_eq(posted.has_sequence, 1);
        ck_assert_uint_eq(posted.sequence, 7);
    }

    conduit_buf_free(&b);
}
END_TEST


START_TEST(phases_are_names_or_numbers)
{
    size_t  i;
    char    text[100];
    static const struct {
        const char       *json;
        conduit_phase_e   phase;
    } phases[] = {
        { "\"PHASE_UNSPECIFIED\"", CONDUIT_PHASE_UNSPECIFIED },
        { "\"UNSPECIFIED\"", CONDUIT_PHASE_UNSPECIFIED },
        { "0", CONDUIT_PHASE_UNSPECIFIED },
        { "\"PHASE_START\"", CONDUIT_PHASE_START },
        { "\"DELTA\"", CONDUIT_PHASE_DELTA },
        { "3", CONDUIT_PHASE_END },
        { "3.0", CONDUIT_PHASE_END },
        { "\"END\"", CONDUIT_PHASE_END },
        { "\"PHASE_ERROR\"", CONDUIT_PHASE_ERROR },
        { "77", CONDUIT_PHASE_UNSPECIFIED },
        { "-1", CONDUIT_PHASE_UNSPECIFIED }
    };
    static const char  *none[] = {
        "\"PHASE_\"", "\"\"", "\"delta\"", "\"3\"", "1.5", "2147483648",
        "1e300", "true", "[]", "{}"
    };

    for (i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
        (void) snprintf(text, sizeof(text), "{\"phase\":%s}", phases[i].json);
        good(text);
        ck_assert_int_eq(posted.phase, phases[i].phase);
        ck_assert_int_eq(decode_bytes(posted.data, posted.len),
                         CONDUIT_MESSAGE_OK);
        ck_assert_int_eq(message.phase, phases[i].phase);
    }

    for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        (void) snprintf(text, sizeof(text), "{\"phase\":%s}", none[i]);
        bad(text, strlen(text), FIELD, "phase is not a known phase");
    }
}
END_TEST


START_TEST(sequences_are_whole_numbers_of_64_bits)
{
    size_t  i;
    char    text[100];
    static const struct {
        const char  *json;
        uint64_t     n;
    } numbers[] = {
        { "0", 0 },
        { "\"0\"", 0 },
        { "1.0", 1 },
        { "1e3", 1000 },
        { "9007199254740993", 9007199254740993 },
        { "9223372036854775807", INT64_MAX },
        { "9007199254740991.0", 9007199254740991 },
        { "\"18446744073709551615\"", UINT64_MAX }
    };
    static const char  *none[] = {
        "-1", "\"-1\"", "1.5", "\"\"", "\"x\"", "\"1.0\"", "1e300",
        "18446744073709551616", "\"18446744073709551616\"", "true", "[1]",

        /* 2^53 may stand for 2^53 + 1, which is not a double */

        "9007199254740993.0", "9007199254740992.0",
        "9007199254740993,\"payload\":{\"a\":100000000000000000000}"
    };

    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        (void) snprintf(text, sizeof(text), "{\"sequence\":%s}",
                        numbers[i].json);
        good(text);
        ck_assert_int_eq(posted.has_sequence, 1);
        ck_assert_uint_eq(posted.sequence, numbers[i].n);
        ck_assert_int_eq(decode_bytes(posted.data, posted.len),
                         CONDUIT_MESSAGE_OK);
        ck_assert_uint_eq(message.sequence, numbers[i].n);
    }

    for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        (void) snprintf(text, sizeof(text), "{\"sequence\":%s}", none[i]);
        bad(text, strlen(text), FIELD, "sequence is not a 64-bit integer "
            "(write large ones as strings)");
    }
}
END_TEST


START_TEST(payloads_come_back_with_sorted_keys)
{
    payload("{\"payload\":{}}", "{}");
    payload("{\"payload\":{\"n\":null,\"t\":true,\"f\":false,\"s\":\"\","
            "\"l\":[],\"o\":{}}}",
            "{\"f\":false,\"l\":[],\"n\":null,\"o\":{},\"s\":\"\",\"t\":true}");
    payload("{\"payload\":{\"a\":[1,-0.5,1e308,[{\"b\":[]}],"
            "\"\\u00e9\\ud83d\\ude00\"]}}",
            "{\"a\":[1,-0.5,1e+308,[{\"b\":[]}],"
            "\"\xc3\xa9\xf0\x9f\x98\x80\"]}");

    /* larger integers are read as doubles */

    payload("{\"payload\":{\"a\":10000000000000000000000,\"b\":4}}",
            "{\"a\":1e+22,\"b\":4}");

    /* in a payload, names of fields have no meaning */

    payload("{\"payload\":{\"phase\":1,\"sequence\":\"x\"}}",
            "{\"phase\":1,\"sequence\":\"x\"}");
}
END_TEST


START_TEST(errors_say_what_is_wrong_and_where)
{
    size_t  i;
    static const struct {
        const char                     *text;
        size_t                          len;
        conduit_message_json_status_e   status;
        const char                     *what;
    } faults[] = {
        { lit(""), SYNTAX, "line 1, column 1: unexpected end of the text" },
        { lit("{"), SYNTAX, "line 1, column 1: unexpected end of the text" },
        { lit("{\"payload\":{\n \"a\":1,\n \"b\" 2}}"), SYNTAX,
          "line 3, column 6: syntax error" },
        { lit("{'a':1}"), SYNTAX, "line 1, column 2: syntax error" },
        { lit("{} {}"), SYNTAX, "line 1, column 4: unexpected data after "
          "the object" },
        { lit("[]"), SYNTAX, "line 1, column 1: a message must be an object" },
        { lit("1"), SYNTAX, "line 1, column 1: syntax error" },
        { lit("NaN"), SYNTAX, "line 1, column 3: syntax error" },
        { lit("{\"payload\":{\"a\":1,\"a\":2}}"), SYNTAX,
          "line 1, column 21: duplicate member" },
        { lit("{\"phase\":1,\"phase\":1}"), SYNTAX,
          "line 1, column 18: duplicate member" },
        { lit("{\"payload\":{\"a\":1e999}}"), SYNTAX,
          "line 1, column 21: a number exceeds the range of a double" },
        { lit("{\"payload\":{\"a\":NaN}}"), SYNTAX,
          "line 1, column 19: syntax error" },
        { lit("{\"payload\":{\"a\":\"\xff\"}}"), SYNTAX,
          "line 1, column 17: invalid UTF-8" },
        { lit("{\"payload\":{\"a\":\"\\u0000\"}}"), SYNTAX,
          "line 1, column 24: a string contains a NUL character" },
        { lit("{\"payload\":{\"\\u0000\":1}}"), SYNTAX,
          "line 1, column 20: a string contains a NUL character" },
        { lit("{\"payload\":{\"a\":\"\\ud800\"}}"), SYNTAX,
          "line 1, column 24: syntax error" },
        { lit("{}\0"), SYNTAX, "line 1, column 3: unexpected data after "
          "the object" },

        { lit("{\"pay load\":{}}"), FIELD, "pay load is not known" },
        { lit("{\"\":1}"), FIELD, " is not known" },
        { lit("{\"a\\\"\\n\xc3\xa9\":{}}"), FIELD, "a???? is not known" },
        { lit("{\"channel_id\":\"" WIRE_CHANNEL "\",\"channelId\":null}"),
          FIELD, "channelId is given in both spellings" },
        { lit("{\"payload\":[]}"), FIELD, "payload is not an object" },
        { lit("{\"payload\":\"x\"}"), FIELD, "payload is not an object" },
        { lit("{\"client_timestamp\":1}"), FIELD,
          "client_timestamp is not an RFC 3339 timestamp" },
        { lit("{\"clientTimestamp\":\"now\"}"), FIELD,
          "clientTimestamp is not an RFC 3339 timestamp" },
        { lit("{\"channel_id\":\"x\"}"), CONDUIT_MESSAGE_JSON_CHANNEL_ID,
          "channel_id is not a UUID" },
        { lit("{\"channel_id\":1}"), CONDUIT_MESSAGE_JSON_CHANNEL_ID,
          "channel_id is not a UUID" },
        { lit("{\"channelId\":\"" WIRE_MESSAGE "\"}"),
          CONDUIT_MESSAGE_JSON_MISMATCH,
          "channelId differs from the one in the path" },
        { lit("{\"message_id\":\"\"}"), CONDUIT_MESSAGE_JSON_MESSAGE_ID,
          "message_id is not a UUID" },
        { lit("{\"messageId\":[]}"), CONDUIT_MESSAGE_JSON_MESSAGE_ID,
          "messageId is not a UUID" }
    };

    for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        bad(faults[i].text, faults[i].len, faults[i].status, faults[i].what);
    }
}
END_TEST


/* nests lists and objects alternately; the payload is the first level */

static void
nested(conduit_buf_t *b, size_t levels)
{
    size_t  i;

    conduit_buf_reset(b);
    conduit_buf_lit(b, "{\"payload\":");

    for (i = 1; i <= levels; i++) {
        if (i % 2) {
            conduit_buf_lit(b, "{\"a\":");

        } else {
            conduit_buf_lit(b, "[");
        }
    }

    conduit_buf_lit(b, "1");

    for (i = levels; i > 0; i--) {
        conduit_buf_append(b, i % 2 ? "}" : "]", 1);
    }

    conduit_buf_lit(b, "}");
}


START_TEST(nesting_has_a_limit)
{
    size_t  levels;

    nested(&wire, 100);
    ck_assert_int_eq(read_bytes(wire.data, wire.len), OK);
    ck_assert_int_eq(decode_bytes(posted.data, posted.len),
                     CONDUIT_MESSAGE_OK);

    nested(&wire, 101);
    ck_assert_int_eq(read_bytes(wire.data, wire.len), DEPTH);
    ck_assert_mem_eq(error.field, "payload.a[0].a[0]", 17);
    ck_assert_str_eq(error.text, "is nested deeper than 100 levels");

    for (levels = 102; levels < 200000; levels *= 10) {
        nested(&wire, levels);
        ck_assert_int_eq(read_bytes(wire.data, wire.len), DEPTH);
    }
}
END_TEST


START_TEST(long_names_are_cut)
{
    char    line[CONDUIT_MESSAGE_JSON_ERROR_MAX];
    size_t  i;

    conduit_buf_lit(&wire, "{\"");

    for (i = 0; i < 5000; i++) {
        conduit_buf_lit(&wire, "x");
    }

    conduit_buf_lit(&wire, "\":1}");

    ck_assert_int_eq(read_bytes(wire.data, wire.len), FIELD);
    ck_assert_uint_eq(strlen(error.field), CONDUIT_MESSAGE_JSON_FIELD_MAX);
    ck_assert_uint_eq(conduit_message_json_error_write(&error, line),
                      CONDUIT_MESSAGE_JSON_FIELD_MAX
                      + sizeof(" is not known") - 1);
}
END_TEST


/* CONDUIT_MESSAGE_JSON_MEMORY() is sufficient, whatever the text contains */

START_TEST(memory_is_bounded)
{
    size_t            i, j;
    conduit_arena_t  *all;
    static const char  *pieces[] = {
        "1,", "[],", "{},", "\"\",", "[[],[]],", "{\"\":1},", "null,"
    };

    all = arena;

    for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        conduit_buf_reset(&wire);
        conduit_buf_lit(&wire, "{\"payload\":{\"a\":[");

        for (j = 0; j < 30000; j++) {
            conduit_buf_append(&wire, pieces[i], strlen(pieces[i]));
        }

        conduit_buf_lit(&wire, "0]}}");

        arena = conduit_arena_create(CONDUIT_MESSAGE_JSON_MEMORY(wire.len));
        ck_assert_ptr_nonnull(arena);
        ck_assert_int_eq(read_bytes(wire.data, wire.len), OK);
        conduit_arena_free(arena);

        arena = conduit_arena_create(wire.len);
        ck_assert_ptr_nonnull(arena);
        ck_assert_int_eq(read_bytes(wire.data, wire.len),
                         CONDUIT_MESSAGE_JSON_NO_MEMORY);
        conduit_arena_free(arena);
    }

    arena = all;
}
END_TEST


/* the arena may reach its limit at any block */

START_TEST(an_arena_may_end_anywhere)
{
    size_t                          limit;
    conduit_arena_t                *all;
    conduit_message_json_status_e   status;
    static const char               text[] =
        "{\"payload\":{\"a\":[1,\"b\",null,true,[[],[2.5]],{}],"
        "\"c\":{\"d\":{},\"e\":[{\"f\":[3]}]}}}";

    all = arena;
    limit = 0;

    do {
        arena = conduit_arena_create(limit);
        ck_assert_ptr_nonnull(arena);
        status = read_bytes(text, sizeof(text) - 1);
        conduit_arena_free(arena);

        ck_assert_msg(status == OK || status == CONDUIT_MESSAGE_JSON_NO_MEMORY,
                      "status %d of %zu bytes", status, limit);
        limit += 8;

    } while (status != OK);

    ck_assert_uint_gt(limit, 500);

    arena = all;
}
END_TEST


/* each allocation, of chunks and of jansson, fails once */

static void
fails(const char *text, conduit_message_json_status_e status)
{
    size_t  i, n;

    memory_count(0);
    ck_assert_int_eq(read_bytes(text, strlen(text)), status);

    n = memory_calls();
    ck_assert_uint_gt(n, 0);

    for (i = 1; i <= n; i++) {
        memory_count(i);
        ck_assert_msg(read_bytes(text, strlen(text))
                      == CONDUIT_MESSAGE_JSON_NO_MEMORY,
                      "allocation %zu of %zu: %s", i, n, text);
        ck_assert_uint_ge(memory_calls(), i);
    }
}


START_TEST(memory_that_is_out_is_no_fault_of_the_text)
{
    json_set_alloc_funcs(memory_malloc, free);

    fails("{}", OK);
    fails("{\"payload\":{\"a\":[1,2.5,null,true,{}],\"b\":{\"c\":\"d\"}}}", OK);
    fails("{\"sequence\":1,\"phase\":\"END\",\"payload\":"
          "{\"abcdefghijklmnopqrst\":\"abcdefghijklmnopqrstuvwxyz\"}}", OK);

    /* out of memory is reported before a fault of the text */

    fails("{", SYNTAX);
    fails("{\"payload\":{\"a\":[1,2]},}", SYNTAX);
    fails("{\"payload\":{\"abcdefghijklmnopqrst\":[{}],true}}", SYNTAX);

    json_set_alloc_funcs(malloc, free);
}
END_TEST


START_TEST(timestamps_are_those_of_rfc_3339)
{
    size_t    i;
    int32_t   nanos;
    int64_t   seconds;
    static const struct {
        const char  *text;
        int64_t      seconds;
        int32_t      nanos;
    } times[] = {
        { "1970-01-01T00:00:00Z", 0, 0 },
        { "1969-12-31T23:59:59.999999999Z", -1, 999999999 },
        { "1972-01-01T10:00:20.021Z", 63108020, 21000000 },
        { "2000-02-29T12:00:00+00:00", 951825600, 0 },
        { "2024-03-01t00:00:00.5z", 1709251200, 500000000 },
        { "2026-01-09T20:51:07-03:30", 1768004467, 0 },
        { "0001-01-01T00:00:00Z", -62135596800, 0 },
        { "9999-12-31T23:59:59.1Z", 253402300799, 100000000 }
    };
    static const char  *none[] = {
        "", "2026", "2026-01-09", "2026-01-09T20:51:07",
        "2026-01-09 20:51:07Z", "2026-13-09T20:51:07Z", "2026-00-09T20:51:07Z",
        "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
        "2026-01-00T00:00:00Z", "2026-01-09T24:00:00Z", "2026-01-09T23:60:00Z",
        "2026-01-09T23:59:60Z", "2026-01-09T20:51:07.Z",
        "2026-01-09T20:51:07.1234567890Z", "2026-01-09T20:51:07+0100",
        "2026-01-09T20:51:07+24:00", "2026-01-09T20:51:07+01:60",
        "2026-01-09T20:51:07Zx", "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01",
        "-026-01-09T20:51:07Z", "2026-01-09T20:51: 7Z"
    };

    for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        ck_assert_int_eq(conduit_timestamp_parse(times[i].text,
                                                 strlen(times[i].text),
                                                 &seconds, &nanos), 0);
        ck_assert_int_eq(seconds, times[i].seconds);
        ck_assert_int_eq(nanos, times[i].nanos);
    }

    for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        ck_assert_msg(conduit_timestamp_parse(none[i], strlen(none[i]),
                                              &seconds, &nanos) == -1,
                      "%s is taken", none[i]);
    }
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("message_json");
    tc = tcase_create("message_json");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, everything_may_be_left_out);
    tcase_add_test(tc, every_field_is_packed);
    tcase_add_test(tc, phases_are_names_or_numbers);
    tcase_add_test(tc, sequences_are_whole_numbers_of_64_bits);
    tcase_add_test(tc, payloads_come_back_with_sorted_keys);
    tcase_add_test(tc, errors_say_what_is_wrong_and_where);
    tcase_add_test(tc, nesting_has_a_limit);
    tcase_add_test(tc, long_names_are_cut);
    tcase_add_test(tc, memory_is_bounded);
    tcase_add_test(tc, an_arena_may_end_anywhere);
    tcase_add_test(tc, memory_that_is_out_is_no_fault_of_the_text);
    tcase_add_test(tc, timestamps_are_those_of_rfc_3339);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
