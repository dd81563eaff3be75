/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_format.c: the event sent for an entry in each of the
 * formats "conduit", "payload", "json", "text" and "durable", and running out
 * of memory.
 */

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_format.h"
#include "conduit_message.h"
#include "exact.h"
#include "memory.h"
#include "wire.h"

#define lit(s)    s, sizeof(s) - 1
#define count(a)  (sizeof(a) / sizeof(a[0]))

#define ID    "id: 1736467200000-3\n"
#define NONE  "no such field"

/* an entry, with or without the field, and the event sent for it */
typedef struct {
    const char  *data;       /* NULL: no field */
    size_t       len;
    size_t       max;
    int          end;
    const char  *event;      /* NULL: nothing is sent */
    size_t       event_len;
    const char  *error;
} case_t;


static conduit_arena_t  *arena;


/* copies the value to memory of its exact size, so that valgrind and ASan see a
   read past its end */

static void
check_entry(conduit_format_e format, const case_t *c, int ends)
{
    uint8_t                 *copy;
    conduit_buf_t            b;
    conduit_format_entry_t   e;
    conduit_format_event_t   event;

    memset(&b, 0, sizeof(b));
    memset(&e, 0, sizeof(e));
    memset(&event, 0xff, sizeof(event));
    copy = NULL;

    e.id.ms = 1736467200000;
    e.id.seq = 3;
    e.max = c->max;
    e.end = c->end;

    if (c->data != NULL) {
        copy = exact_copy(c->data, c->len);
        e.data = c->len ? copy : copy + 1;
        e.len = c->len;
    }

    conduit_arena_reset(arena);
    conduit_formats[format].write(&e, arena, &b, &event);

    ck_assert_int_eq(b.failed, 0);
    ck_assert_int_eq(event.sent, c->event != NULL);
    ck_assert_int_eq(event.sent && event.end, ends);
    ck_assert_uint_eq(b.len, c->event_len);

    if (c->event != NULL) {
        ck_assert_mem_eq(b.data, c->event, b.len);
    }

    if (c->error != NULL) {
        ck_assert_str_eq(event.error, c->error);

    } else {
        ck_assert_ptr_null(event.error);
    }

    conduit_arena_reset(arena);
    ck_assert_int_eq(conduit_formats[format].is_end(&e, arena), ends);

    free(copy);
    conduit_buf_free(&b);
}


static void
check_entries(conduit_format_e format, const case_t *cases, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        check_entry(format, &cases[i], cases[i].end);
    }
}


/* writes a message with a phase, and with the payload {"a":"b\nc"}, with {}, or
   without a payload */

typedef enum { ABSENT = 0, EMPTY, SOME } payload_e;

static void
write_message(conduit_buf_t *b, unsigned phase, payload_e payload)
{
    conduit_buf_t  object, value;

    memset(b, 0, sizeof(*b));
    memset(&object, 0, sizeof(object));
    memset(&value, 0, sizeof(value));

    wire_ids(b);
    wire_uint(b, 4, phase);

    if (payload == SOME) {
        wire_bytes(&value, 3, "b\nc", 3);
        wire_entry(&object, "a", 1, &value);
    }

    if (payload != ABSENT) {
        wire_bytes(b, 6, object.data ? object.data : "", object.len);
    }

    conduit_buf_free(&object);
    conduit_buf_free(&value);
}


static void
check_message(conduit_format_e format, unsigned phase, payload_e payload,
    size_t max, const char *text, const char *error)
{
    case_t         c;
    conduit_buf_t  b;

    write_message(&b, phase, payload);
    memset(&c, 0, sizeof(c));

    c.data = b.data;
    c.len = b.len;
    c.max = max;
    c.event = text;
    c.event_len = text ? strlen(text) : 0;
    c.error = error;

    check_entry(format, &c, text != NULL && phase == CONDUIT_PHASE_END);

    conduit_buf_free(&b);
}


START_TEST(conduit_writes_all_fields_of_a_message)
{
    check_message(CONDUIT_FORMAT_CONDUIT, CONDUIT_PHASE_DELTA, SOME, 1,
                  "event: stream\n" ID "data: {\"event_type\":\"stream\","
                  "\"message_id\":\"" WIRE_MESSAGE "\",\"channel_id\":\""
                  WIRE_CHANNEL "\",\"phase\":\"PHASE_DELTA\",\"sequence\":0,"
                  "\"payload\":{\"a\":\"b\\nc\"}}\n\n", NULL);
    check_message(CONDUIT_FORMAT_CONDUIT, CONDUIT_PHASE_END, ABSENT, 0,
                  "event: stream\n" ID "data: {\"event_type\":\"stream\","
                  "\"message_id\":\"" WIRE_MESSAGE "\",\"channel_id\":\""
                  WIRE_CHANNEL "\",\"phase\":\"PHASE_END\",\"sequence\":0,"
                  "\"payload\":null}\n\n", NULL);
}
END_TEST


START_TEST(payload_is_the_payload_alone)
{
    unsigned  phase;

    static const unsigned  phases[] = {
        CONDUIT_PHASE_UNSPECIFIED, CONDUIT_PHASE_START, CONDUIT_PHASE_DELTA,
        CONDUIT_PHASE_ERROR, 77
    };

    for (phase = 0; phase < count(phases); phase++) {
        check_message(CONDUIT_FORMAT_PAYLOAD, phases[phase], SOME, 0,
                      ID "data: {\"a\":\"b\\nc\"}\n\n", NULL);
        check_message(CONDUIT_FORMAT_PAYLOAD, phases[phase], EMPTY, 0,
                      ID "data: {}\n\n", NULL);
        check_message(CONDUIT_FORMAT_PAYLOAD, phases[phase], ABSENT, 0, NULL,
                      NULL);
    }

    check_message(CONDUIT_FORMAT_PAYLOAD, CONDUIT_PHASE_END, ABSENT, 0,
                  ID "data: [DONE]\n\n", NULL);
    check_message(CONDUIT_FORMAT_PAYLOAD, CONDUIT_PHASE_END, SOME, 0,
                  ID "data: [DONE]\n\n", NULL);
}
END_TEST


START_TEST(messages_are_checked)
{
    conduit_format_e  f;

    static const case_t  cases[] = {
        { NULL, 0, 0, 0, NULL, 0, NONE },
        { lit("hello"), 0, 0, NULL, 0, "not a PublishRequest" },
        { lit(""), 0, 0, NULL, 0, "channel_id is not a UUID" }
    };

    for (f = CONDUIT_FORMAT_CONDUIT; f <= CONDUIT_FORMAT_PAYLOAD; f++) {
        check_entries(f, cases, count(cases));
    }
}
END_TEST


START_TEST(payload_has_a_limit)
{
    size_t         len;
    conduit_buf_t  b;

    static const char  large[] = "larger than \"conduit_gateway_max_size\"";

    write_message(&b, CONDUIT_PHASE_END, SOME);
    len = b.len;
    conduit_buf_free(&b);

    check_message(CONDUIT_FORMAT_PAYLOAD, CONDUIT_PHASE_END, SOME, len,
                  ID "data: [DONE]\n\n", NULL);
    check_message(CONDUIT_FORMAT_PAYLOAD, CONDUIT_PHASE_END, SOME, len - 1,
                  NULL, large);
}
END_TEST


START_TEST(json_is_one_line)
{
    static const case_t  cases[] = {
        { lit("{ \"a\":\r\n [1, 2] }"), 0, 0,
          lit(ID "data: {\"a\":[1,2]}\n\n"), NULL },
        { lit("\"a\\nb\""), 0, 0, lit(ID "data: \"a\\nb\"\n\n"), NULL },
        { lit("null"), 4, 0, lit(ID "data: null\n\n"), NULL },
        { lit("[1]"), 0, 1, lit(ID "data: [1]\n\n"), NULL },

        { NULL, 0, 0, 0, NULL, 0, NONE },
        { lit(""), 0, 0, NULL, 0, "not JSON" },
        { lit("{"), 0, 0, NULL, 0, "not JSON" },
        { lit("null "), 4, 0, NULL, 0,
          "larger than \"conduit_gateway_max_size\"" },

        /* the end of the stream is detected, whatever the value is */

        { NULL, 0, 0, 1, lit(ID "\n"), NULL },
        { lit("x"), 0, 1, lit(ID "\n"), "not JSON" },
        { lit("1234"), 3, 1, lit(ID "\n"),
          "larger than \"conduit_gateway_max_size\"" }
    };

    check_entries(CONDUIT_FORMAT_JSON, cases, count(cases));
}
END_TEST


START_TEST(text_is_split_into_lines)
{
    static const case_t  cases[] = {
        { lit("hello"), 0, 0, lit(ID "data: hello\n\n"), NULL },
        { lit(" a: b"), 0, 0, lit(ID "data:  a: b\n\n"), NULL },
        { lit(""), 0, 0, lit(ID "data: \n\n"), NULL },
        { lit("\n"), 0, 0, lit(ID "data: \ndata: \n\n"), NULL },
        { lit("a\nb"), 0, 0, lit(ID "data: a\ndata: b\n\n"), NULL },
        { lit("a\rb"), 0, 0, lit(ID "data: a\ndata: b\n\n"), NULL },
        { lit("a\r\nb"), 0, 0, lit(ID "data: a\ndata: b\n\n"), NULL },
        { lit("a\n\rb"), 0, 0, lit(ID "data: a\ndata: \ndata: b\n\n"), NULL },
        { lit("a\r\n"), 0, 0, lit(ID "data: a\ndata: \n\n"), NULL },
        { lit("a\r"), 0, 0, lit(ID "data: a\ndata: \n\n"), NULL },
        { lit("\r\r\n"), 0, 0, lit(ID "data: \ndata: \ndata: \n\n"), NULL },
        { lit("\n\ndata: x\n\n"), 0, 0,
          lit(ID "data: \ndata: \ndata: data: x\ndata: \ndata: \n\n"), NULL },
        { lit("a\0b"), 0, 0, lit(ID "data: a\0b\n\n"), NULL },
        { lit("abc"), 3, 1, lit(ID "data: abc\n\n"), NULL },

        /* invalid UTF-8 is replaced as browsers do */

        { lit("\xc3\xa9\xf0\x9f\x98\x80"), 0, 0,
          lit(ID "data: \xc3\xa9\xf0\x9f\x98\x80\n\n"), NULL },
        { lit("a\xff" "b"), 0, 0, lit(ID "data: a\xef\xbf\xbd" "b\n\n"), NULL },
        { lit("\xf0\x9f\x98"), 0, 0, lit(ID "data: \xef\xbf\xbd\n\n"), NULL },
        { lit("\xe1\x80\nb\x80\x80"), 0, 0,
          lit(ID "data: \xef\xbf\xbd\ndata: b\xef\xbf\xbd\xef\xbf\xbd\n\n"),
          NULL },

        { NULL, 0, 0, 0, NULL, 0, NONE },
        { NULL, 0, 0, 1, lit(ID "\n"), NULL },
        { lit("abcd"), 3, 0, NULL, 0,
          "larger than \"conduit_gateway_max_size\"" },
        { lit("abcd"), 3, 1, lit(ID "\n"),
          "larger than \"conduit_gateway_max_size\"" }
    };

    check_entries(CONDUIT_FORMAT_TEXT, cases, count(cases));
}
END_TEST


#define CONTROL  "event: control\ndata:{\"streamNextOffset\":"                 \
                 "\"00000001736467200000-00000000000000000003\""
#define CLOSED   CONTROL ",\"upToDate\":true,\"streamClosed\":true}\n\n"
#define DATA     "event: data\n"
#define LARGE    "larger than \"conduit_gateway_max_size\""

START_TEST(durable_has_an_event_and_the_begin_of_another)
{
    static const case_t  json[] = {
        { lit("{ \"a\":\r\n [1] }"), 0, 0,
          lit(DATA "data:[{\"a\":[1]}]\n\n" CONTROL), NULL },
        { lit("null"), 4, 1, lit(DATA "data:[null]\n\n" CLOSED), NULL },

        { NULL, 0, 0, 0, NULL, 0, NONE },
        { lit("{"), 0, 0, NULL, 0, "not JSON" },
        { lit("12345"), 4, 0, NULL, 0, LARGE },

        /* the stream is closed, whatever the value is */

        { NULL, 0, 0, 1, lit(CLOSED), NULL },
        { lit("x"), 0, 1, lit(CLOSED), "not JSON" },
        { lit("12345"), 4, 1, lit(CLOSED), LARGE }
    };

    static const case_t  text[] = {
        { lit("a\r\n b\n"), 0, 0,
          lit(DATA "data:a\ndata:  b\ndata:\n\n" CONTROL), NULL },
        { lit(""), 0, 0, lit(DATA "data:\n\n" CONTROL), NULL },
        { lit(" "), 0, 0, lit(DATA "data:  \n\n" CONTROL), NULL },
        { lit("a\xff"), 0, 1, lit(DATA "data:a\xef\xbf\xbd\n\n" CLOSED), NULL },
        { NULL, 0, 0, 0, NULL, 0, NONE },
        { NULL, 0, 0, 1, lit(CLOSED), NULL }
    };

    static const case_t  bytes[] = {
        { lit("\xff\0\n"), 0, 0, lit(DATA "data:/wAK\n\n" CONTROL), NULL },
        { lit(""), 0, 0, lit(DATA "data:\n\n" CONTROL), NULL },
        { lit("f"), 0, 1, lit(DATA "data:Zg==\n\n" CLOSED), NULL },
        { lit("12345"), 4, 0, NULL, 0, LARGE }
    };

    check_entries(CONDUIT_FORMAT_DURABLE, json, count(json));
    check_entries(CONDUIT_FORMAT_DURABLE_TEXT, text, count(text));
    check_entries(CONDUIT_FORMAT_DURABLE_BYTES, bytes, count(bytes));
}
END_TEST


START_TEST(events_follow_each_other)
{
    size_t                   i;
    conduit_buf_t            b;
    conduit_format_entry_t   e;
    conduit_format_event_t   event;

    static const char *const  values[] = { "1", "x", "2" };

    memset(&b, 0, sizeof(b));
    memset(&e, 0, sizeof(e));

    for (i = 0; i < count(values); i++) {
        e.id.seq = i;
        e.data = (const uint8_t *) values[i];
        e.len = 1;
        conduit_formats[CONDUIT_FORMAT_JSON].write(&e, arena, &b, &event);
    }

    ck_assert_uint_eq(b.len, sizeof("id: 0-0\ndata: 1\n\n"
                                    "id: 0-2\ndata: 2\n\n") - 1);
    ck_assert_mem_eq(b.data, "id: 0-0\ndata: 1\n\nid: 0-2\ndata: 2\n\n", b.len);

    conduit_buf_free(&b);
}
END_TEST


START_TEST(memory_may_be_out)
{
    conduit_buf_t            b, message;
    conduit_format_e         f;
    conduit_format_entry_t   e;
    conduit_format_event_t   event;

    write_message(&message, CONDUIT_PHASE_DELTA, SOME);

    for (f = CONDUIT_FORMAT_CONDUIT; f < CONDUIT_FORMATS; f++) {
        memset(&b, 0, sizeof(b));
        memset(&e, 0, sizeof(e));

        if (f < CONDUIT_FORMAT_JSON) {
            e.data = (uint8_t *) message.data;
            e.len = message.len;

        } else {
            e.data = (const uint8_t *) "1";
            e.len = 1;
        }

        /* the arena needs no memory, as it has its first chunk */

        conduit_arena_reset(arena);
        memory_count(1);
        conduit_formats[f].write(&e, arena, &b, &event);
        memory_count(0);

        ck_assert_int_eq(b.failed, 1);
        ck_assert_int_eq(event.sent, 1);
        ck_assert_ptr_null(event.error);

        conduit_buf_free(&b);
    }

    conduit_buf_free(&message);
}
END_TEST


/* a message that needs more than the limit of the arena is skipped as an error:
   a retry, as when memory is out, would fail again */

START_TEST(an_arena_may_be_full)
{
    size_t                   i;
    conduit_buf_t            b, wire, object, value;
    conduit_arena_t         *small;
    conduit_format_entry_t   e;
    conduit_format_event_t   event;

    memset(&wire, 0, sizeof(wire));
    memset(&object, 0, sizeof(object));
    memset(&value, 0, sizeof(value));

    wire_bytes(&value, 3, "b", 1);

    for (i = 0; i < 1000; i++) {
        wire_entry(&object, "a", 1, &value);
    }

    wire_ids(&wire);
    wire_bytes(&wire, 6, object.data, object.len);

    memset(&e, 0, sizeof(e));
    e.data = (uint8_t *) wire.data;
    e.len = wire.len;

    /* from limits too small to decode the message to one that is sufficient */

    for (i = 1000; i < 200000; i += 1000) {
        memset(&b, 0, sizeof(b));
        small = conduit_arena_create(i);
        ck_assert_ptr_nonnull(small);

        conduit_formats[CONDUIT_FORMAT_PAYLOAD].write(&e, small, &b, &event);

        ck_assert_int_eq(event.sent, event.error == NULL);
        ck_assert_int_eq(event.sent && b.failed, 0);

        conduit_arena_free(small);
        conduit_buf_free(&b);
    }

    ck_assert_int_eq(event.sent, 1);

    conduit_buf_free(&wire);
    conduit_buf_free(&object);
    conduit_buf_free(&value);
}
END_TEST


static void
set_up(void)
{
    arena = conduit_arena_create(100000);
    ck_assert_ptr_nonnull(arena);
    ck_assert_ptr_nonnull(conduit_arena_alloc(arena, 1));
}


static void
tear_down(void)
{
    conduit_arena_free(arena);
}


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("format");
    tc = tcase_create("format");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, conduit_writes_all_fields_of_a_message);
    tcase_add_test(tc, payload_is_the_payload_alone);
    tcase_add_test(tc, messages_are_checked);
    tcase_add_test(tc, payload_has_a_limit);
    tcase_add_test(tc, json_is_one_line);
    tcase_add_test(tc, text_is_split_into_lines);
    tcase_add_test(tc, durable_has_an_event_and_the_begin_of_another);
    tcase_add_test(tc, events_follow_each_other);
    tcase_add_test(tc, memory_may_be_out);
    tcase_add_test(tc, an_arena_may_be_full);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
