/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_sse.c: the bytes of an event, and random UUIDs.
 */

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_sse.h"
#include "wire.h"

#define assert_text(b, s)                                                     \
    ck_assert_int_eq((b)->failed, 0);                                         \
    ck_assert_uint_eq((b)->len, sizeof(s) - 1);                               \
    ck_assert_mem_eq((b)->data, s, sizeof(s) - 1)


START_TEST(a_message_becomes_an_event)
{
    conduit_buf_t        wire, out, value;
    conduit_arena_t     *arena;
    conduit_message_t    m;
    conduit_stream_id_t  id;

    memset(&wire, 0, sizeof(wire));
    memset(&out, 0, sizeof(out));
    memset(&value, 0, sizeof(value));

    arena = conduit_arena_create(100000);

    /* a line break in the payload must not end the "data" line */

    wire_bytes(&value, 3, "a\nb\r\n\ndata: c", 13);
    wire_entry(&wire, "value", 5, &value);
    wire_wrap(&wire, 6);
    wire_ids(&wire);
    wire_uint(&wire, 4, 2);
    wire_uint(&wire, 5, 7);

    ck_assert_int_eq(conduit_message_decode((uint8_t *) wire.data, wire.len,
                                            arena, &m),
                     CONDUIT_MESSAGE_OK);

    id.ms = 1736467200000;
    id.seq = 3;

    conduit_sse_write_stream(&m, &id, arena, &out);

    assert_text(&out, "event: stream\n"
                      "id: 1736467200000-3\n"
                      "data: {\"event_type\":\"stream\","
                      "\"message_id\":\"" WIRE_MESSAGE "\","
                      "\"channel_id\":\"" WIRE_CHANNEL "\","
                      "\"phase\":\"PHASE_DELTA\",\"sequence\":7,"
                      "\"payload\":{\"value\":"
                      "\"a\\nb\\r\\n\\ndata: c\"}}\n\n");

    conduit_arena_free(arena);
    conduit_buf_free(&wire);
    conduit_buf_free(&out);
    conduit_buf_free(&value);
}
END_TEST


START_TEST(events_follow_each_other)
{
    conduit_buf_t              b;
    const conduit_stream_id_t  none = { 0, 0 }, pos = { 1736467200000, 7 };

    memset(&b, 0, sizeof(b));

    conduit_sse_write_retry(500, &b);
    conduit_sse_write_id(&pos, &b);
    conduit_sse_write_id(&none, &b);
    conduit_sse_write_control(WIRE_MESSAGE, "server_draining", NULL, &none,
                              &b);
    conduit_sse_write_control(WIRE_MESSAGE, "history_lost", "trimmed", &pos,
                              &b);
    conduit_sse_write_error(3000, &b);
    conduit_buf_lit(&b, CONDUIT_SSE_KEEPALIVE);

    assert_text(&b, "retry: 500\n\n"
                    "id: 1736467200000-7\n\n"
                    "id: 0-0\n\n"
                    "event: control\n"
                    "data: {\"event_type\":\"control\","
                    "\"message_id\":\"" WIRE_MESSAGE "\","
                    "\"control_type\":\"server_draining\"}\n\n"
                    "event: control\n"
                    "id: 1736467200000-7\n"
                    "data: {\"event_type\":\"control\","
                    "\"message_id\":\"" WIRE_MESSAGE "\","
                    "\"control_type\":\"history_lost\","
                    "\"reason\":\"trimmed\"}\n\n"
                    "event: error\n"
                    "retry: 3000\n"
                    "data: Too many errors, closing stream\n\n"
                    ":\n");

    conduit_buf_free(&b);
}
END_TEST


START_TEST(the_longest_numbers_are_written)
{
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));

    conduit_sse_write_retry(UINT64_MAX, &b);
    conduit_sse_write_retry(0, &b);

    assert_text(&b, "retry: 18446744073709551615\n\nretry: 0\n\n");

    conduit_buf_free(&b);
}
END_TEST


START_TEST(uuid_has_version_and_variant)
{
    char     out[CONDUIT_UUID_LEN + 1], parsed[CONDUIT_UUID_LEN];
    size_t   i;
    uint8_t  random[16];

    out[CONDUIT_UUID_LEN] = '\0';

    memset(random, 0xff, sizeof(random));
    conduit_uuid_v4_write(random, out);
    ck_assert_str_eq(out, "ffffffff-ffff-4fff-bfff-ffffffffffff");

    memset(random, 0, sizeof(random));
    conduit_uuid_v4_write(random, out);
    ck_assert_str_eq(out, "00000000-0000-4000-8000-000000000000");

    for (i = 0; i < sizeof(random); i++) {
        random[i] = (uint8_t) (i * 0x11);
    }

    conduit_uuid_v4_write(random, out);
    ck_assert_str_eq(out, "00112233-4455-4677-8899-aabbccddeeff");
    ck_assert_int_eq(conduit_uuid_parse(out, CONDUIT_UUID_LEN, parsed), 0);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("sse");
    tc = tcase_create("sse");
    tcase_add_test(tc, a_message_becomes_an_event);
    tcase_add_test(tc, events_follow_each_other);
    tcase_add_test(tc, the_longest_numbers_are_written);
    tcase_add_test(tc, uuid_has_version_and_variant);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
