#include <check.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conduit_message.h"
#include "conduit_pb.h"
#include "wire.h"

#define MIB           (1024 * 1024)
#define ARENA_LIMIT   CONDUIT_MESSAGE_MEMORY(2 * MIB)

#define lit(s)        s, sizeof(s) - 1


static conduit_arena_t    *arena;
static conduit_buf_t       wire;      /* the message */
static conduit_buf_t       part;      /* a piece of it */
static conduit_buf_t       json;
static conduit_message_t   message;


static void
setup(void)
{
    arena = conduit_arena_create(ARENA_LIMIT);
    ck_assert_ptr_nonnull(arena);

    memset(&wire, 0, sizeof(wire));
    memset(&part, 0, sizeof(part));
    memset(&json, 0, sizeof(json));
}


static void
teardown(void)
{
    conduit_arena_free(arena);
    conduit_buf_free(&wire);
    conduit_buf_free(&part);
    conduit_buf_free(&json);
}


/* from memory of the exact size, gone afterwards: data must not be kept */

static conduit_message_status_t
decode_bytes(const void *data, size_t len)
{
    uint8_t                   *copy;
    conduit_message_status_t   status;

    copy = malloc(len ? len : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, data, len);

    conduit_arena_reset(arena);
    status = conduit_message_decode(copy, len, arena, &message);

    free(copy);

    return status;
}


static conduit_message_status_t
decode(void)
{
    ck_assert_int_eq(wire.failed, 0);

    return decode_bytes(wire.data ? wire.data : "", wire.len);
}


static void
write_json(void)
{
    conduit_buf_reset(&json);
    conduit_message_write_json(&message, arena, &json);
    ck_assert_int_eq(json.failed, 0);
}


static void
assert_payload(const char *text)
{
    char    *end;
    size_t   len;

    write_json();
    conduit_buf_append(&json, "", 1);

    end = strstr(json.data, "\"payload\":");
    ck_assert_ptr_nonnull(end);
    end += sizeof("\"payload\":") - 1;

    len = strlen(text);
    ck_assert_msg(strncmp(end, text, len) == 0 && strcmp(end + len, "}") == 0,
                  "payload is %s, not %s", end, text);
}


/* a message whose payload is one member with the content of a Value */

static void
build(const conduit_buf_t *value)
{
    conduit_buf_reset(&wire);
    wire_entry(&wire, "k", 1, value);
    wire_wrap(&wire, 6);
    wire_ids(&wire);
}


/*
 * The content of a Value that nests the given number of levels; which of them
 * are lists tells a pattern, e.g. "ol" for objects and lists in turn.
 */

static void
nest(conduit_buf_t *value, size_t levels, const char *pattern)
{
    size_t         i, n;
    conduit_buf_t  object;

    n = strlen(pattern);
    memset(value, 0, sizeof(conduit_buf_t));

    for (i = 0; i < levels; i++) {

        if (pattern[i % n] == 'l') {
            if (i > 0) {
                wire_wrap(value, 1);
            }

            wire_wrap(value, 6);
            continue;
        }

        memset(&object, 0, sizeof(object));

        if (i > 0) {
            wire_entry(&object, "k", 1, value);
        }

        conduit_buf_free(value);
        *value = object;
        wire_wrap(value, 5);
    }
}


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
        { lit(""), 0 },
        { lit("x"), 0 },
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

    /* neither id, then one of them */

    wire_uint(&wire, 4, 1);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_CHANNEL_ID);

    wire_bytes(&wire, 1, WIRE_CHANNEL, 36);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_MESSAGE_ID);

    /* the wire form comes before the ids */

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
        conduit_phase_t  phase;
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


START_TEST(malformed_is_refused)
{
    size_t  i;
    static const struct {
        const char  *bytes;
        size_t       len;
    } faults[] = {
        /* field number 0, in one byte and in more */
        { lit("\x00\x00") }, { lit("\x02\x00") }, { lit("\x80\x00\x00") },
        /* groups, and wire types that are none */
        { lit("\x7b\x7c") }, { lit("\x7c") }, { lit("\x7e") }, { lit("\x7f") },
        { lit("\x33\x34") },
        /* a tag that does not end, is too long, is above 32 bits */
        { lit("\x80") }, { lit("\xff\xff\xff\xff") },
        { lit("\x88\x80\x80\x80\x80\x00\x00") },
        { lit("\xf8\xff\xff\xff\x1f\x00") },
        /* a value that does not end, is too long, is above 64 bits */
        { lit("\x28") }, { lit("\x28\x80") },
        { lit("\x28\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00") },
        { lit("\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02") },
        { lit("\x78\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f") },
        /* fixed values that are too short */
        { lit("\x79\0\0\0\0\0\0\0") }, { lit("\x7d\0\0\0") },
        /* lengths: none, past the end, too long, above 31, 32, 63 bits */
        { lit("\x7a") }, { lit("\x7a\x01") }, { lit("\x7a\x05""abcd") },
        { lit("\x7a\x81\x80\x80\x80\x80\x00x") },
        { lit("\x7a\xff\xff\xff\xff\x07") },
        { lit("\x7a\xff\xff\xff\xff\x0f") },
        { lit("\x7a\xff\xff\xff\xff\x7f") },
        { lit("\x7a\xff\xff\xff\xff\xff\xff\xff\xff\x7f") },
        /* known fields of another wire type */
        { lit("\x08\x00") }, { lit("\x09\0\0\0\0\0\0\0\0") },
        { lit("\x10\x00") }, { lit("\x18\x00") }, { lit("\x22\x01\x01") },
        { lit("\x25\0\0\0\0") }, { lit("\x2a\x01\x01") }, { lit("\x30\x00") },
        /* Timestamp: a string, a number that does not end inside */
        { lit("\x1a\x02\x0a\x00") }, { lit("\x1a\x02\x08\x80\x00") },
        /* Struct: fields is a number; an entry longer than its Struct */
        { lit("\x32\x02\x08\x00") }, { lit("\x32\x02\x0a\x01\x00") },
        /* FieldsEntry: key is a number, value is a number */
        { lit("\x32\x04\x0a\x02\x08\x00") },
        { lit("\x32\x04\x0a\x02\x10\x00") },
        /* Value, in turn: null, number, string, bool, struct, list */
        { lit("\x32\x06\x0a\x04\x12\x02\x0a\x00") },
        { lit("\x32\x06\x0a\x04\x12\x02\x10\x00") },
        { lit("\x32\x06\x0a\x04\x12\x02\x18\x00") },
        { lit("\x32\x06\x0a\x04\x12\x02\x22\x00") },
        { lit("\x32\x06\x0a\x04\x12\x02\x28\x00") },
        { lit("\x32\x06\x0a\x04\x12\x02\x30\x00") },
        /* ListValue: values is a number */
        { lit("\x32\x08\x0a\x06\x12\x04\x32\x02\x08\x00") }
    };

    for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        conduit_buf_reset(&wire);
        wire_ids(&wire);
        conduit_buf_append(&wire, faults[i].bytes, faults[i].len);

        ck_assert_msg(decode() == CONDUIT_MESSAGE_MALFORMED,
                      "fault %zu is taken", i);
    }
}
END_TEST


START_TEST(strings_are_utf8)
{
    size_t  i, place;
    static const struct {
        const char  *text;
        size_t       len;
        int          good;
    } texts[] = {
        /* the edges of each length */
        { lit("\x7f"), 1 }, { lit("\xc2\x80"), 1 }, { lit("\xdf\xbf"), 1 },
        { lit("\xe0\xa0\x80"), 1 }, { lit("\xed\x9f\xbf"), 1 },
        { lit("\xee\x80\x80"), 1 }, { lit("\xef\xbf\xbf"), 1 },
        { lit("\xf0\x90\x80\x80"), 1 }, { lit("\xf4\x8f\xbf\xbf"), 1 },
        { lit("\0"), 1 }, { lit("1234567\xc3\xa9"), 1 },
        { lit("12345678\xf0\x9f\x98\x80""12345678"), 1 },
        /* a lone byte, one cut off, one in place of a follower */
        { lit("\x80"), 0 }, { lit("\xbf"), 0 }, { lit("\xc2"), 0 },
        { lit("\xe2\x80"), 0 }, { lit("\xf0\x9f\x98"), 0 },
        { lit("\xc2\x41"), 0 }, { lit("\xe2\x80\x41"), 0 },
        { lit("\xe2\x41\x80"), 0 }, { lit("\xf0\x9f\x98\xc0"), 0 },
        { lit("12345678\x80"), 0 }, { lit("12345678""1234567\xe2"), 0 },
        /* overlong */
        { lit("\xc0\x80"), 0 }, { lit("\xc1\xbf"), 0 },
        { lit("\xe0\x80\x80"), 0 }, { lit("\xe0\x9f\xbf"), 0 },
        { lit("\xf0\x80\x80\x80"), 0 }, { lit("\xf0\x8f\xbf\xbf"), 0 },
        /* surrogates */
        { lit("\xed\xa0\x80"), 0 }, { lit("\xed\xbf\xbf"), 0 },
        /* above U+10FFFF */
        { lit("\xf4\x90\x80\x80"), 0 }, { lit("\xf5\x80\x80\x80"), 0 },
        { lit("\xf8\x88\x80\x80\x80"), 0 }, { lit("\xfe"), 0 },
        { lit("\xff"), 0 }
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        for (place = 0; place < 4; place++) {

            conduit_buf_reset(&wire);
            conduit_buf_reset(&part);

            if (place < 2) {
                /* replaced by the right id at once */
                wire_bytes(&wire, 1 + place, texts[i].text, texts[i].len);

            } else if (place == 2) {
                wire_entry(&wire, texts[i].text, texts[i].len, &part);
                wire_wrap(&wire, 6);

            } else {
                wire_bytes(&part, 3, texts[i].text, texts[i].len);
                wire_entry(&wire, "k", 1, &part);
                wire_wrap(&wire, 6);
            }

            wire_ids(&wire);

            ck_assert_msg(decode() == (texts[i].good ? CONDUIT_MESSAGE_OK
                                                     : CONDUIT_MESSAGE_UTF8),
                          "text %zu at place %zu", i, place);
        }
    }
}
END_TEST


START_TEST(depth_is_bounded)
{
    size_t              i, levels;
    static const char  *patterns[] = { "o", "l", "ol", "llo" };

    for (i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {

        for (levels = CONDUIT_MESSAGE_MAX_DEPTH - 2;
             levels <= CONDUIT_MESSAGE_MAX_DEPTH + 1;
             levels++)
        {
            /* the payload itself is a level */

            conduit_buf_free(&part);
            nest(&part, levels - 1, patterns[i]);
            build(&part);

            if (levels > CONDUIT_MESSAGE_MAX_DEPTH) {
                ck_assert_int_eq(decode(), CONDUIT_MESSAGE_DEPTH);
                continue;
            }

            ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
            write_json();
        }
    }
}
END_TEST


START_TEST(depth_is_of_nesting_alone)
{
    size_t  i;

    /* many neighbours at full depth, and another payload */

    for (i = 0; i < 50; i++) {
        conduit_buf_free(&part);
        nest(&part, CONDUIT_MESSAGE_MAX_DEPTH - 1, (i & 1) ? "lo" : "ol");
        wire_entry(&wire, "k", 1, &part);
    }

    wire_wrap(&wire, 6);
    wire_ids(&wire);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);

    conduit_buf_free(&part);
    nest(&part, CONDUIT_MESSAGE_MAX_DEPTH - 1, "l");
    wire_wrap(&part, 2);
    wire_wrap(&part, 1);
    wire_bytes(&wire, 6, part.data, part.len);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);

    /* too deep in the second payload */

    conduit_buf_free(&part);
    nest(&part, CONDUIT_MESSAGE_MAX_DEPTH, "l");
    wire_wrap(&part, 2);
    wire_wrap(&part, 1);
    wire_bytes(&wire, 6, part.data, part.len);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_DEPTH);

    /* in an unknown field nothing nests */

    conduit_buf_reset(&wire);
    wire_ids(&wire);
    wire_bytes(&wire, 7, part.data, part.len);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
}
END_TEST


/* puts the tag and the length of a field in front of what follows up to end */

static char *
prepend(char *p, const char *end, unsigned tag)
{
    char    head[8];
    size_t  n, len;

    len = 0;
    head[len++] = (char) tag;

    for (n = end - p; n > 0x7f; n >>= 7) {
        head[len++] = (char) (0x80 | (n & 0x7f));
    }

    head[len++] = (char) n;
    p -= len;
    memcpy(p, head, len);

    return p;
}


START_TEST(nesting_of_a_megabyte_is_refused_fast)
{
    char    *p, *end;
    clock_t  begin;

    /* nothing but lists in lists, written from the end to the front */

    p = conduit_buf_reserve(&part, MIB);
    ck_assert_ptr_nonnull(p);

    end = p + MIB;

    for (p = end; p - part.data > 16; /* void */ ) {
        p = prepend(p, end, 1 << 3 | 2);    /* ListValue.values */
        p = prepend(p, end, 6 << 3 | 2);    /* Value.list_value */
    }

    wire_bytes(&wire, 2, p, end - p);
    wire_wrap(&wire, 1);
    wire_wrap(&wire, 6);

    ck_assert_uint_gt(wire.len, MIB - 16);

    begin = clock();
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_DEPTH);
    ck_assert_int_lt((clock() - begin) / (CLOCKS_PER_SEC / 1000), 200);
}
END_TEST


START_TEST(unknown_fields_are_skipped)
{
    size_t         i;
    conduit_buf_t  junk;

    memset(&junk, 0, sizeof(junk));

    wire_uint(&junk, 7, UINT64_MAX);
    wire_double(&junk, 8, 1.5);
    wire_bytes(&junk, 9, "\xff\xfe", 2);
    wire_tag(&junk, 10, 5);
    conduit_buf_append(&junk, "abcd", 4);
    wire_bytes(&junk, 536870911, "", 0);

    /* a number of a known field with more bits is another number */

    wire_bytes(&junk, 6 + 256, "\xff", 1);
    wire_uint(&junk, 1 + 65536, 1);

    /* in the request, a Timestamp, Struct, FieldsEntry, Value, ListValue */

    wire_bytes(&part, 3, "x", 1);
    conduit_buf_append(&part, junk.data, junk.len);
    wire_wrap(&part, 1);
    conduit_buf_append(&part, junk.data, junk.len);
    wire_wrap(&part, 6);
    wire_wrap(&part, 2);
    wire_bytes(&part, 1, "k", 1);
    conduit_buf_append(&part, junk.data, junk.len);
    wire_wrap(&part, 1);
    conduit_buf_append(&part, junk.data, junk.len);

    conduit_buf_append(&wire, junk.data, junk.len);
    wire_bytes(&wire, 6, part.data, part.len);
    wire_bytes(&wire, 3, junk.data, junk.len);
    wire_ids(&wire);

    for (i = 0; i < 2; i++) {
        ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
        assert_payload("{\"k\":[\"x\"]}");
        conduit_buf_append(&wire, junk.data, junk.len);
    }

    conduit_buf_free(&junk);
}
END_TEST


START_TEST(long_tags_and_lengths_are_taken)
{
    /* sequence and an id with all the bytes that a varint may have */

    wire_ids(&wire);
    conduit_buf_append(&wire, "\xa8\x80\x80\x80\x00\x87\x80\x00", 8);
    conduit_buf_append(&wire, "\x92\x80\x80\x80\x00\xa4\x80\x80\x80\x00", 10);
    conduit_buf_append(&wire, WIRE_CHANNEL, 36);

    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
    ck_assert_uint_eq(message.sequence, 7);
    ck_assert_mem_eq(message.message_id, WIRE_CHANNEL, CONDUIT_UUID_LEN);
}
END_TEST


START_TEST(every_cut_is_refused)
{
    size_t  i;

    nest(&part, 5, "ol");
    wire_entry(&wire, "a", 1, &part);
    wire_entry(&wire, "\xe2\x82\xac", 3, &part);
    wire_wrap(&wire, 6);
    wire_uint(&wire, 5, 300);
    wire_uint(&wire, 4, (uint64_t) -1);

    /* the ids come last, so that no shorter message is good */

    wire_ids(&wire);

    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);

    for (i = 0; i < wire.len; i++) {
        ck_assert_int_ne(decode_bytes(wire.data, i), CONDUIT_MESSAGE_OK);
    }
}
END_TEST


START_TEST(flipped_bits_do_no_harm)
{
    size_t        i, good;
    unsigned      bit;
    json_t       *parsed;
    json_error_t  error;

    nest(&part, 4, "lo");
    wire_double(&part, 7, 0.5);
    wire_entry(&wire, "abc", 3, &part);
    conduit_buf_reset(&part);
    wire_double(&part, 2, 0.1);
    wire_entry(&wire, "number", 6, &part);
    conduit_buf_reset(&part);
    wire_bytes(&part, 3, "te\"xt\n", 6);
    wire_entry(&wire, "string", 6, &part);
    wire_wrap(&wire, 6);
    wire_uint(&wire, 5, 300);
    wire_uint(&wire, 4, 2);
    wire_ids(&wire);

    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);

    good = 0;

    for (i = 0; i < wire.len; i++) {
        for (bit = 0; bit < 8; bit++) {

            wire.data[i] ^= (char) (1u << bit);

            if (decode() == CONDUIT_MESSAGE_OK) {
                good++;
                write_json();
                ck_assert_ptr_null(memchr(json.data, '\n', json.len));

                parsed = json_loadb(json.data, json.len,
                                    JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                                    &error);

                ck_assert_msg(parsed != NULL
                              || json_error_code(&error)
                                 == json_error_null_byte_in_key,
                              "%s: %.*s", error.text, (int) json.len,
                              json.data);
                json_decref(parsed);
            }

            wire.data[i] ^= (char) (1u << bit);
        }
    }

    ck_assert_uint_gt(good, 100);
}
END_TEST


START_TEST(repeated_fields_merge)
{
    conduit_buf_t  value;

    memset(&value, 0, sizeof(value));

    /* of numbers and strings the last is taken */

    wire_bytes(&wire, 1, "x", 1);
    wire_bytes(&wire, 2, "", 0);
    wire_uint(&wire, 4, 1);
    wire_uint(&wire, 5, 1);

    /* payloads are put together, in their order, whatever is between */

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


START_TEST(repeated_kinds_are_replaced)
{
    /* every kind over every other: the last one counts, nothing leaks */

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
        { lit("\x2a\x05\x0a\x03\x0a\x01z"), "{\"k\":{\"z\":null}}" },
        { lit("\x32\x02\x0a\x00"), "{\"k\":[null]}" },
        { lit("\x1a\x00"), "{\"k\":\"\"}" },
        { lit("\x2a\x00"), "{\"k\":{}}" },
        { lit("\x32\x00"), "{\"k\":[]}" }
    };

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        for (j = 0; j < sizeof(kinds) / sizeof(kinds[0]); j++) {
            conduit_buf_reset(&part);
            conduit_buf_append(&part, kinds[i].bytes, kinds[i].len);
            conduit_buf_append(&part, kinds[j].bytes, kinds[j].len);
            build(&part);

            ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
            assert_payload(kinds[j].json);
        }
    }
}
END_TEST


/* fills a message with a piece again and again */

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

            /* far more than it takes, far less than anything quadratic */

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
    conduit_message_status_t   status;

    /* unsorted keys: writing takes memory too; two payloads: so does joining */

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
    int          i;
    const char  *text;

    for (i = CONDUIT_MESSAGE_OK; i <= CONDUIT_MESSAGE_NO_MEMORY; i++) {
        text = conduit_message_status_text(i);
        ck_assert_str_ne(text, "unknown status");
        ck_assert_uint_gt(strlen(text), 1);
    }

    ck_assert_str_eq(conduit_message_status_text(CONDUIT_MESSAGE_CHANNEL_ID),
                     "channel_id is no UUID");
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
    tcase_add_test(tc, malformed_is_refused);
    tcase_add_test(tc, strings_are_utf8);
    tcase_add_test(tc, depth_is_bounded);
    tcase_add_test(tc, depth_is_of_nesting_alone);
    tcase_add_test(tc, nesting_of_a_megabyte_is_refused_fast);
    tcase_add_test(tc, unknown_fields_are_skipped);
    tcase_add_test(tc, long_tags_and_lengths_are_taken);
    tcase_add_test(tc, every_cut_is_refused);
    tcase_add_test(tc, flipped_bits_do_no_harm);
    tcase_add_test(tc, repeated_fields_merge);
    tcase_add_test(tc, joined_payloads_have_every_length);
    tcase_add_test(tc, repeated_kinds_are_replaced);
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
