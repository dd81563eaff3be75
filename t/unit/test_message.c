/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of proto/conduit_message.c and proto/conduit_merge.c: decoding,
 * defaults of absent fields, fields that occur several times, and limits of
 * memory and time.
 */

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conduit_message.h"
#include "conduit_pb.h"
#include "conduit_walk.h"
#include "decode.h"


START_TEST(packed_message_is_decoded)
{
    size_t                                           n;
    uint8_t                                          packed[512];
    Google__Protobuf__Value                          value;
    Google__Protobuf__Struct                         payload;
    Google__Protobuf__Timestamp                      timestamp;
    Google__Protobuf__Struct__FieldsEntry            entry, *entries[1];
    SentryProtos__Conduit__V1alpha__PublishRequest   request;

    google__protobuf__value__init(&value);
    value.kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
    value.string_value = "hello";

    google__protobuf__struct__fields_entry__init(&entry);
    entry.key = "value";
    entry.value = &value;
    entries[0] = &entry;

    google__protobuf__struct__init(&payload);
    payload.n_fields = 1;
    payload.fields = entries;

    google__protobuf__timestamp__init(&timestamp);
    timestamp.seconds = -1;
    timestamp.nanos = 999999999;

    sentry_protos__conduit__v1alpha__publish_request__init(&request);
    request.channel_id = WIRE_CHANNEL;
    request.message_id = WIRE_MESSAGE;
    request.client_timestamp = &timestamp;
    request.phase = SENTRY_PROTOS__CONDUIT__V1ALPHA__PHASE__PHASE_DELTA;
    request.sequence = UINT64_MAX;
    request.payload = &payload;

    n = sentry_protos__conduit__v1alpha__publish_request__pack(&request,
                                                               packed);

    ck_assert_uint_le(n, sizeof(packed));
    ck_assert_int_eq(decode_bytes(packed, n), CONDUIT_MESSAGE_OK);

    ck_assert_mem_eq(message.channel_id, WIRE_CHANNEL, CONDUIT_UUID_LEN);
    ck_assert_mem_eq(message.message_id, WIRE_MESSAGE, CONDUIT_UUID_LEN);
    ck_assert_int_eq(message.phase, CONDUIT_PHASE_DELTA);
    ck_assert_uint_eq(message.sequence, UINT64_MAX);
    ck_assert_ptr_nonnull(message.payload);

    write_json();
    conduit_buf_append(&json, "", 1);
    ck_assert_str_eq(json.data,
                     "{\"event_type\":\"stream\","
                     "\"message_id\":\"" WIRE_MESSAGE "\","
                     "\"channel_id\":\"" WIRE_CHANNEL "\","
                     "\"phase\":\"PHASE_DELTA\","
                     "\"sequence\":18446744073709551615,"
                     "\"payload\":{\"value\":\"hello\"}}");
}
END_TEST


START_TEST(absent_fields_have_defaults)
{
    wire_ids(&wire);

    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
    ck_assert_int_eq(message.phase, CONDUIT_PHASE_UNSPECIFIED);
    ck_assert_uint_eq(message.sequence, 0);
    ck_assert_ptr_null(message.payload);
    assert_payload("null");

    wire_bytes(&wire, 6, "", 0);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
    assert_payload("{}");
}
END_TEST


START_TEST(ids_are_uuids)
{
    size_t  i;
    static const struct {
        const char                *id;
        size_t                     len;
        int                        good;
    } ids[] = {
        { lit(WIRE_CHANNEL), 1 },
        { lit("97F58C19-CE38-4C6B-8A5B-47F3405691F0"), 1 },
        { lit("97f58c19ce384c6b8a5b47f3405691f0"), 1 },
        { lit("{" WIRE_CHANNEL "}"), 1 },
        { lit("{97F58C19-CE38-4C6B-8A5B-47F3405691F0}"), 1 },
        { lit("urn:uuid:" WIRE_CHANNEL), 1 },
        { lit("URN:UUID:97F58C19-CE38-4C6B-8A5B-47F3405691F0"), 1 },
        { lit(""), 0 },
        { lit("x"), 0 },
        { lit("{97f58c19ce384c6b8a5b47f3405691f0}"), 0 },
        { lit("urn:uuid:97f58c19ce384c6b8a5b47f3405691f0"), 0 },
        { lit("{" WIRE_CHANNEL "\0"), 0 },
        { lit(WIRE_CHANNEL "\0"), 0 },
        { lit(WIRE_CHANNEL "\0x"), 0 },
        { lit("97f58c19ce384c6b8a5b47f3405691f0\0"), 0 },
        { lit("97f58c19ce384c6b8a5b47f3405691f0\0abc"), 0 },
        { lit("\0" WIRE_CHANNEL), 0 },
        { lit("97f58c19-ce38-4c6b-8a5b-47f3405691f\0"), 0 },
        { lit(" " WIRE_CHANNEL), 0 }
    };

    for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {

        conduit_buf_reset(&wire);
        wire_bytes(&wire, 1, ids[i].id, ids[i].len);
        wire_bytes(&wire, 2, WIRE_MESSAGE, 36);
        ck_assert_int_eq(decode(), ids[i].good ? CONDUIT_MESSAGE_OK
                                               : CONDUIT_MESSAGE_CHANNEL_ID);

        if (ids[i].good) {
            ck_assert_mem_eq(message.channel_id, WIRE_CHANNEL,
                             CONDUIT_UUID_LEN);
        }

        conduit_buf_reset(&wire);
        wire_bytes(&wire, 1, WIRE_MESSAGE, 36);
        wire_bytes(&wire, 2, ids[i].id, ids[i].len);
        ck_assert_int_eq(decode(), ids[i].good ? CONDUIT_MESSAGE_OK
                                               : CONDUIT_MESSAGE_MESSAGE_ID);

        if (ids[i].good) {
            ck_assert_mem_eq(message.message_id, WIRE_CHANNEL,
                             CONDUIT_UUID_LEN);
        }
    }
}
END_TEST


START_TEST(faults_are_told_in_order)
{
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_CHANNEL_ID);

    /* without ids, then with channel_id only */

    wire_uint(&wire, 4, 1);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_CHANNEL_ID);

    wire_bytes(&wire, 1, WIRE_CHANNEL, 36);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_MESSAGE_ID);

    /* a fault of the form is found before the ids are checked */

    conduit_buf_reset(&wire);
    wire_bytes(&wire, 1, "\xff", 1);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_UTF8);

    conduit_buf_reset(&wire);
    wire_bytes(&wire, 1, "x", 1);
    wire_byte(&wire, 0x80);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_MALFORMED);
}
END_TEST


START_TEST(unknown_phases_are_unspecified)
{
    size_t  i;
    static const struct {
        uint64_t         number;
        conduit_phase_e  phase;
    } phases[] = {
        { 0, CONDUIT_PHASE_UNSPECIFIED },
        { 1, CONDUIT_PHASE_START },
        { 2, CONDUIT_PHASE_DELTA },
        { 3, CONDUIT_PHASE_END },
        { 4, CONDUIT_PHASE_ERROR },
        { 5, CONDUIT_PHASE_UNSPECIFIED },
        { INT32_MAX, CONDUIT_PHASE_UNSPECIFIED },
        { (uint64_t) -1, CONDUIT_PHASE_UNSPECIFIED },
        { (uint64_t) INT32_MIN, CONDUIT_PHASE_UNSPECIFIED },
        { (uint64_t) INT64_MIN + 7, CONDUIT_PHASE_UNSPECIFIED }
    };

    for (i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
        conduit_buf_reset(&wire);
        wire_ids(&wire);
        wire_uint(&wire, 4, phases[i].number);

        ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
        ck_assert_int_eq(message.phase, phases[i].phase);
        write_json();
    }

    ck_assert_str_eq(conduit_phase_name(CONDUIT_PHASE_UNSPECIFIED),
                     "PHASE_UNSPECIFIED");
    ck_assert_str_eq(conduit_phase_name(CONDUIT_PHASE_START), "PHASE_START");
    ck_assert_str_eq(conduit_phase_name(CONDUIT_PHASE_DELTA), "PHASE_DELTA");
    ck_assert_str_eq(conduit_phase_name(CONDUIT_PHASE_END), "PHASE_END");
    ck_assert_str_eq(conduit_phase_name(CONDUIT_PHASE_ERROR), "PHASE_ERROR");
}
END_TEST


START_TEST(repeated_fields_merge)
{
    conduit_buf_t  value;

    memset(&value, 0, sizeof(value));

    /* of numbers and strings, the last one counts */

    wire_bytes(&wire, 1, "x", 1);
    wire_bytes(&wire, 2, "", 0);
    wire_uint(&wire, 4, 1);
    wire_uint(&wire, 5, 1);

    /* payloads are merged in their order, whatever is between them */

    wire_uint(&value, 4, 1);
    wire_entry(&part, "a", 1, &value);
    wire_entry(&part, "b", 1, &value);
    wire_bytes(&wire, 6, part.data, part.len);

    wire_ids(&wire);
    wire_bytes(&wire, 3, "\x08\x01", 2);
    wire_bytes(&wire, 6, "", 0);
    wire_uint(&wire, 9, 1);
    wire_bytes(&wire, 3, "\x10\x01", 2);

    conduit_buf_reset(&part);
    conduit_buf_reset(&value);
    wire_uint(&value, 1, 0);
    wire_entry(&part, "b", 1, &value);
    wire_entry(&part, "c", 1, &value);
    wire_bytes(&wire, 6, part.data, part.len);

    wire_uint(&wire, 4, 2);
    wire_uint(&wire, 5, 2);

    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
    ck_assert_int_eq(message.phase, CONDUIT_PHASE_DELTA);
    ck_assert_uint_eq(message.sequence, 2);
    assert_payload("{\"a\":true,\"b\":null,\"c\":null}");

    conduit_buf_free(&value);
}
END_TEST


START_TEST(no_payload_is_none_when_others_merge)
{
    wire_ids(&wire);
    wire_bytes(&wire, 3, "\x08\x01", 2);
    wire_bytes(&wire, 3, "\x10\x01", 2);

    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
    ck_assert_ptr_null(message.payload);
    assert_payload("null");
}
END_TEST


START_TEST(joined_payloads_have_every_length)
{
    char               text[500];
    size_t             i, head;
    static const char  start[] = "\"payload\":{\"\":\"";

    memset(text, 'x', sizeof(text));
    head = sizeof(start) - 1;

    for (i = 0; i < sizeof(text); i++) {
        conduit_buf_reset(&wire);
        conduit_buf_reset(&part);

        wire_bytes(&part, 3, text, i);
        wire_bytes(&wire, 6, "", 0);
        wire_ids(&wire);
        wire_wrap(&part, 2);
        wire_wrap(&part, 1);
        wire_bytes(&wire, 6, part.data, part.len);

        ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
        write_json();
        ck_assert_mem_eq(json.data + json.len - 3 - i - head, start, head);
        ck_assert_mem_eq(json.data + json.len - 3 - i, text, i);
        ck_assert_mem_eq(json.data + json.len - 3, "\"}}", 3);
    }
}
END_TEST


START_TEST(another_kind_replaces)
{
    /* every kind after every other: the last one counts, and nothing leaks */

    size_t  i, j;
    static const struct {
        const char  *bytes;
        size_t       len;
        const char  *json;
    } kinds[] = {
        { lit("\x08\x00"), "{\"k\":null}" },
        { lit("\x11\0\0\0\0\0\0\xf8\x3f"), "{\"k\":1.5}" },
        { lit("\x1a\x01x"), "{\"k\":\"x\"}" },
        { lit("\x20\x01"), "{\"k\":true}" },
        { lit("\x20\x00"), "{\"k\":false}" },
        { lit("\x1a\x00"), "{\"k\":\"\"}" },
        { lit("\x2a\x05\x0a\x03\x0a\x01z"), "{\"k\":{\"z\":null}}" },
        { lit("\x32\x02\x0a\x00"), "{\"k\":[null]}" },
        { lit("\x2a\x00"), "{\"k\":{}}" },
        { lit("\x32\x00"), "{\"k\":[]}" }
    };

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        for (j = 0; j < sizeof(kinds) / sizeof(kinds[0]); j++) {

            /* two objects and two lists are merged: see the next test */

            if (i >= 6 && j >= 6 && (i & 1) == (j & 1)) {
                continue;
            }

            conduit_buf_reset(&part);
            conduit_buf_append(&part, kinds[i].bytes, kinds[i].len);
            conduit_buf_append(&part, kinds[j].bytes, kinds[j].len);
            build(&part);

            ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
            assert_payload(kinds[j].json);

            /* the last kind also occurs first: the other kind discarded that */

            conduit_buf_reset(&part);
            conduit_buf_append(&part, kinds[j].bytes, kinds[j].len);
            conduit_buf_append(&part, kinds[i].bytes, kinds[i].len);
            conduit_buf_append(&part, kinds[j].bytes, kinds[j].len);
            build(&part);

            ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);

            if (i != j) {
                assert_payload(kinds[j].json);
            }
        }
    }
}
END_TEST


/* checks that the payload is an object with one member, "k", with this value */

static void
assert_member(const char *text)
{
    conduit_buf_t  payload;

    memset(&payload, 0, sizeof(payload));
    conduit_buf_lit(&payload, "{\"k\":");
    conduit_buf_append(&payload, text, strlen(text));
    conduit_buf_append(&payload, "}", 2);
    assert_payload(payload.data);
    conduit_buf_free(&payload);
}


/* the content of a Value, and the JSON that protobuf's own decoders return */

START_TEST(the_same_kind_is_merged)
{
    size_t  i;
    static const struct {
        const char  *bytes;
        size_t       len;
        const char  *json;
    } values[] = {
        /* objects: all keys, with the last value, which is not merged */
        { lit("\x2a\x05\x0a\x03\x0a\x01""a\x2a\x05\x0a\x03\x0a\x01""b"),
          "{\"a\":null,\"b\":null}" },
        { lit("\x2a\x00\x2a\x05\x0a\x03\x0a\x01""b"), "{\"b\":null}" },
        { lit("\x2a\x05\x0a\x03\x0a\x01""b\x2a\x00"), "{\"b\":null}" },
        { lit("\x2a\x00\x2a\x00\x2a\x00"), "{}" },
        { lit("\x2a\x09\x0a\x07\x0a\x01""a\x12\x02\x20\x01"
              "\x2a\x09\x0a\x07\x0a\x01""a\x12\x02\x20\x00"),
          "{\"a\":false}" },
        { lit("\x2a\x0e\x0a\x0c\x0a\x01""a\x12\x07\x2a\x05\x0a\x03\x0a\x01x"
              "\x2a\x0e\x0a\x0c\x0a\x01""a\x12\x07\x2a\x05\x0a\x03\x0a\x01y"),
          "{\"a\":{\"y\":null}}" },
        /* lists are concatenated */
        { lit("\x32\x04\x0a\x02\x20\x01\x32\x04\x0a\x02\x20\x00"),
          "[true,false]" },
        { lit("\x32\x00\x32\x02\x0a\x00\x32\x04\x0a\x00\x0a\x00\x32\x00"),
          "[null,null,null]" },
        { lit("\x32\x00\x32\x00"), "[]" },
        /* another kind between them, and unknown fields, which are not kinds */
        { lit("\x32\x02\x0a\x00\x08\x00\x32\x02\x0a\x00"), "[null]" },
        { lit("\x32\x02\x0a\x00\x2a\x00\x32\x04\x0a\x00\x0a\x00"),
          "[null,null]" },
        { lit("\x32\x02\x0a\x00\x2a\x00\x2a\x00"), "{}" },
        { lit("\x2a\x05\x0a\x03\x0a\x01""a\x20\x01"
              "\x2a\x05\x0a\x03\x0a\x01""b\x2a\x05\x0a\x03\x0a\x01""c"),
          "{\"b\":null,\"c\":null}" },
        { lit("\x2a\x00\x2a\x00\x20\x01"), "true" },
        { lit("\x20\x01\x32\x00\x32\x02\x0a\x00\x1a\x01x"), "\"x\"" },
        { lit("\x32\x02\x0a\x00\x3a\x02\x2a\x00\x32\x02\x0a\x00"),
          "[null,null]" },
        { lit("\x32\x02\x0a\x00\x3b\x2a\x00\x3c\x32\x02\x0a\x00"),
          "[null,null]" },
        /* merging within merged fields; neighbours are not merged */
        { lit("\x32\x0a\x0a\x08\x32\x02\x0a\x00\x32\x02\x0a\x00"
              "\x32\x06\x0a\x04\x32\x02\x0a\x00"),
          "[[null,null],[null]]" },
        { lit("\x32\x0c\x0a\x04\x2a\x00\x2a\x00\x0a\x04\x32\x00\x32\x00"),
          "[{},[]]" },
        { lit("\x2a\x0f\x0a\x0d\x0a\x01""a\x12\x08"
              "\x32\x02\x0a\x00\x32\x02\x0a\x00\x2a\x00"),
          "{\"a\":[null,null]}" }
    };

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        conduit_buf_reset(&part);
        conduit_buf_append(&part, values[i].bytes, values[i].len);
        build(&part);

        ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
        assert_member(values[i].json);
    }
}
END_TEST


/* the same with the content of an entry, whose key is "k" */

START_TEST(values_of_an_entry_are_merged)
{
    size_t  i;
    static const struct {
        const char  *bytes;
        size_t       len;
        const char  *json;
    } entries[] = {
        { lit("\x0a\x01k\x12\x00\x12\x00"), "null" },
        { lit("\x12\x02\x20\x01\x0a\x01k\x12\x00"), "true" },
        { lit("\x0a\x01k\x12\x02\x20\x01\x12\x03\x1a\x01x"), "\"x\"" },
        { lit("\x0a\x01k\x12\x03\x1a\x01x\x12\x02\x20\x01"), "true" },
        { lit("\x0a\x01k\x12\x04\x32\x02\x0a\x00\x12\x04\x32\x02\x0a\x00"),
          "[null,null]" },
        { lit("\x12\x04\x32\x02\x0a\x00\x0a\x01k\x12\x04\x32\x02\x0a\x00"),
          "[null,null]" },
        { lit("\x0a\x01k\x12\x04\x32\x02\x0a\x00\x12\x00"
              "\x12\x04\x32\x02\x0a\x00"), "[null,null]" },
        { lit("\x0a\x01k\x12\x04\x32\x02\x0a\x00\x12\x02\x08\x00"
              "\x12\x04\x32\x02\x0a\x00"), "[null]" },
        { lit("\x0a\x01k\x12\x06\x20\x01\x32\x02\x0a\x00"
              "\x12\x06\x32\x02\x0a\x00\x08\x00"), "null" },
        { lit("\x0a\x01k\x12\x06\x20\x01\x32\x02\x0a\x00"
              "\x12\x04\x32\x02\x0a\x00"), "[null,null]" },
        { lit("\x0a\x01k\x12\x07\x2a\x05\x0a\x03\x0a\x01""a"
              "\x12\x07\x2a\x05\x0a\x03\x0a\x01""b"),
          "{\"a\":null,\"b\":null}" },
        /* the last key counts; unknown fields are ignored */
        { lit("\x0a\x01x\x0a\x01k\x12\x02\x20\x01\x12\x00"), "true" },
        { lit("\x0a\x01k\x1a\x00\x12\x02\x20\x01\x1b\x12\x00\x1c\x12\x00"),
          "true" }
    };

    for (i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        conduit_buf_reset(&wire);
        conduit_buf_append(&wire, entries[i].bytes, entries[i].len);
        wire_wrap(&wire, 1);
        wire_wrap(&wire, 6);
        wire_ids(&wire);

        ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
        assert_member(entries[i].json);
    }
}
END_TEST


/* an object in two parts; its length, and those inside, take 1 to 3 bytes */

START_TEST(merged_kinds_have_every_length)
{
    char            key[16];
    size_t          i, n, half;
    conduit_buf_t   value, none, expected;

    memset(&value, 0, sizeof(value));
    memset(&none, 0, sizeof(none));
    memset(&expected, 0, sizeof(expected));

    for (n = 0; n < 3000; n = n * 5 / 4 + 1) {

        conduit_buf_reset(&value);

        for (half = 0; half < 2; half++) {
            conduit_buf_reset(&part);

            for (i = half; i < n; i += 2) {
                snprintf(key, sizeof(key), "%05u", (unsigned) i);
                wire_bytes(&part, 3, "not known, left out", 19);
                wire_entry(&part, key, 5, &none);
            }

            wire_bytes(&value, 5, part.data, part.len);
        }

        conduit_buf_reset(&expected);
        conduit_buf_lit(&expected, "{");

        for (i = 0; i < n; i++) {
            snprintf(key, sizeof(key), "%s\"%05u\"", i ? "," : "",
                     (unsigned) i);
            conduit_buf_append(&expected, key, strlen(key));
            conduit_buf_lit(&expected, ":null");
        }

        conduit_buf_append(&expected, "}", 2);

        build(&value);
        ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
        assert_member(expected.data);
    }

    conduit_buf_free(&value);
    conduit_buf_free(&expected);
}
END_TEST


START_TEST(kinds_without_end_are_merged_fast)
{
    size_t   i, j;
    clock_t  begin;
    static const struct {
        const char  *piece;
        size_t       len;
    } pieces[] = {
        { lit("\x2a\x00") }, { lit("\x32\x00") }, { lit("\x32\x02\x0a\x00") },
        { lit("\x2a\x02\x0a\x00") }, { lit("\x2a\x00\x32\x00") },
        { lit("\x3b\x3b\x3c\x3c\x2a\x00") }
    };

    for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        for (j = 0; j < 2; j++) {

            /* kinds in one Value, or each in another Value of the same entry */

            conduit_buf_reset(&part);
            conduit_buf_reset(&wire);

            while (part.len < MIB && wire.len < MIB) {
                conduit_buf_append(&part, pieces[i].piece, pieces[i].len);

                if (j) {
                    wire_bytes(&wire, 2, part.data, part.len);
                    conduit_buf_reset(&part);
                }
            }

            if (j) {
                wire_wrap(&wire, 1);
                wire_wrap(&wire, 6);
                wire_ids(&wire);

            } else {
                build(&part);
            }

            begin = clock();
            ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
            write_json();
            ck_assert_int_lt((clock() - begin) / CLOCKS_PER_SEC, 3);
        }
    }
}
END_TEST


START_TEST(merging_is_needed_for_what_protobuf_c_does_not_do)
{
    size_t          i;
    conduit_walk_t  w;
    static const struct {
        const char  *bytes;
        size_t       len;
        int          merge;
    } messages[] = {
        { lit(""), 0 },
        { lit("\x20\x01\x20\x02\x0a\x00\x0a\x00"), 0 },
        { lit("\x32\x00"), 0 },
        { lit("\x32\x00\x32\x00"), 1 },
        { lit("\x1a\x00\x32\x00"), 0 },
        { lit("\x1a\x00\x1a\x00"), 1 },
        { lit("\x7a\x00\x7a\x00"), 0 },
        { lit("\x7b\x7c"), 1 },
        { lit("\x1a\x02\x7b\x7c"), 1 },
        { lit("\x32\x04\x0a\x02\x7b\x7c"), 1 },
        { lit("\x32\x04\x0a\x00\x0a\x00"), 0 },
        { lit("\x32\x08\x0a\x02\x12\x00\x0a\x02\x12\x00"), 0 },
        { lit("\x32\x06\x0a\x04\x12\x00\x12\x00"), 1 },
        { lit("\x32\x08\x0a\x06\x12\x04\x2a\x00\x32\x00"), 0 },
        { lit("\x32\x08\x0a\x06\x12\x04\x2a\x00\x2a\x00"), 1 },
        { lit("\x32\x08\x0a\x06\x12\x04\x32\x00\x32\x00"), 1 },
        { lit("\x32\x0a\x0a\x08\x12\x06\x32\x04\x0a\x00\x0a\x00"), 0 }
    };

    for (i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        ck_assert_int_eq(conduit_walk((const uint8_t *) messages[i].bytes,
                                      messages[i].len, &w),
                         CONDUIT_MESSAGE_OK);
        ck_assert_msg(w.merge == messages[i].merge, "message %zu", i);
    }
}
END_TEST


/* fills a message with repetitions of a piece */

static void
fill(size_t size, const char *piece, size_t len, int in_payload)
{
    conduit_buf_reset(&wire);
    conduit_buf_reset(&part);

    while (part.len + len + 80 <= size) {
        conduit_buf_append(&part, piece, len);
    }

    if (in_payload) {
        wire_bytes(&wire, 6, part.data, part.len);

    } else {
        conduit_buf_append(&wire, part.data, part.len);
    }

    wire_ids(&wire);
}


START_TEST(memory_is_bounded)
{
    size_t            i, j, size;
    clock_t           begin;
    conduit_arena_t  *small;
    static const struct {
        const char  *piece;
        size_t       len;
        int          in_payload;
    } fillings[] = {
        { lit("\x0a\x00"), 1 },                     /* empty entries */
        { lit("\x7a\x00"), 1 },                     /* unknown fields */
        { lit("\x78\x00"), 0 },
        { lit("\x1a\x00"), 0 },                     /* timestamps */
        { lit("\x0a\x00"), 0 },                     /* channel ids */
        { lit("\x32\x00"), 0 },                     /* payloads */
        { lit("\x32\x02\x0a\x00"), 0 },
        { lit("\x0a\x02\x12\x00"), 1 },             /* entries with values */
        { lit("\x0a\x04\x12\x02\x2a\x00"), 1 },
        { lit("\x0a\x06\x12\x04\x32\x02\x0a\x00"), 1 },
        { lit("\x0a\x04\x0a\x02z\x00"), 1 },        /* keys */
        { lit("\x7b\x7c"), 0 },                     /* groups */
        { lit("\x7b\x7c"), 1 },
        { lit("\x0a\x04\x12\x00\x12\x00"), 1 },     /* merged values */
        { lit("\x0a\x06\x12\x04\x2a\x00\x2a\x00"), 1 },
        { lit("\x0a\x0a\x12\x08\x32\x02\x0a\x00\x32\x02\x0a\x00"), 1 },
        { lit("\x0a\x03\x0a\x01z\x0a\x03\x0a\x01""a"), 1 }
    };
    static const size_t  sizes[] = { 200, 1100, 2200, 16384, 17000, 66000,
                                     140000, MIB, 2 * MIB };

    for (i = 0; i < sizeof(fillings) / sizeof(fillings[0]); i++) {
        for (j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {

            fill(sizes[j], fillings[i].piece, fillings[i].len,
                 fillings[i].in_payload);

            size = wire.len;
            small = conduit_arena_create(CONDUIT_MESSAGE_MEMORY(size));
            ck_assert_ptr_nonnull(small);

            begin = clock();

            ck_assert_int_eq(conduit_message_decode((uint8_t *) wire.data,
                                                    size, small, &message),
                             CONDUIT_MESSAGE_OK);

            conduit_buf_reset(&json);
            conduit_message_write_json(&message, small, &json);
            ck_assert_int_eq(json.failed, 0);

            /* seconds: much more than needed, much less than quadratic time */

            ck_assert_int_lt((clock() - begin) / CLOCKS_PER_SEC, 3);

            conduit_arena_free(small);
        }
    }
}
END_TEST


START_TEST(memory_that_runs_out_is_told)
{
    size_t                     i, limit, seen[3];
    conduit_arena_t           *small;
    conduit_message_status_e   status;

    /* sorting keys needs memory, and so does merging two payloads */

    for (i = 0; i < 200; i++) {
        wire_entry(&wire, (i & 1) ? "b" : "a", 1, &part);
    }

    wire_wrap(&wire, 6);
    wire_bytes(&wire, 6, "", 0);
    wire_ids(&wire);

    memset(seen, 0, sizeof(seen));

    for (limit = 0; limit < 65000; limit += 61) {

        small = conduit_arena_create(limit);
        ck_assert_ptr_nonnull(small);

        status = conduit_message_decode((uint8_t *) wire.data, wire.len,
                                        small, &message);

        if (status != CONDUIT_MESSAGE_OK) {
            ck_assert_int_eq(status, CONDUIT_MESSAGE_NO_MEMORY);
            seen[0]++;

        } else {
            conduit_buf_reset(&json);
            conduit_message_write_json(&message, small, &json);
            seen[json.failed ? 1 : 2]++;
        }

        conduit_arena_free(small);
    }

    ck_assert_uint_gt(seen[0], 0);
    ck_assert_uint_gt(seen[1], 0);
    ck_assert_uint_gt(seen[2], 0);
}
END_TEST


START_TEST(statuses_have_texts)
{
    int          i, j;
    const char  *text;

    for (i = CONDUIT_MESSAGE_OK; i <= CONDUIT_MESSAGE_NO_MEMORY; i++) {
        text = conduit_message_status_text(i);
        ck_assert_str_ne(text, "unknown status");
        ck_assert_uint_gt(strlen(text), 1);

        for (j = CONDUIT_MESSAGE_OK; j < i; j++) {
            ck_assert_str_ne(text, conduit_message_status_text(j));
        }
    }

    ck_assert_str_eq(conduit_message_status_text(CONDUIT_MESSAGE_CHANNEL_ID),
                     "channel_id is not a UUID");
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("message");
    tc = tcase_create("message");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, packed_message_is_decoded);
    tcase_add_test(tc, absent_fields_have_defaults);
    tcase_add_test(tc, ids_are_uuids);
    tcase_add_test(tc, faults_are_told_in_order);
    tcase_add_test(tc, unknown_phases_are_unspecified);
    tcase_add_test(tc, repeated_fields_merge);
    tcase_add_test(tc, no_payload_is_none_when_others_merge);
    tcase_add_test(tc, joined_payloads_have_every_length);
    tcase_add_test(tc, another_kind_replaces);
    tcase_add_test(tc, the_same_kind_is_merged);
    tcase_add_test(tc, values_of_an_entry_are_merged);
    tcase_add_test(tc, merged_kinds_have_every_length);
    tcase_add_test(tc, merging_is_needed_for_what_protobuf_c_does_not_do);
    tcase_add_test(tc, kinds_without_end_are_merged_fast);
    tcase_add_test(tc, memory_is_bounded);
    tcase_add_test(tc, memory_that_runs_out_is_told);
    tcase_add_test(tc, statuses_have_texts);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
