/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of proto/conduit_walk.c: malformed messages, UTF-8, limits of nesting,
 * unknown fields and groups.
 */

#include <check.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conduit_message.h"
#include "conduit_walk.h"
#include "decode.h"


START_TEST(malformed_is_refused)
{
    size_t  i;
    static const struct {
        const char  *bytes;
        size_t       len;
    } faults[] = {
        /* field number 0, in one byte and in more */
        { lit("\x00\x00") }, { lit("\x02\x00") }, { lit("\x80\x00\x00") },
        /* wire types that do not exist, also in a group */
        { lit("\x7e") }, { lit("\x7f") }, { lit("\x7b\x7e\x7c") },
        { lit("\x7b\x7f\x7c") },
        /* groups: without a start, without an end, with the end of another */
        { lit("\x7c") }, { lit("\x7b") }, { lit("\x7b\x08\x01") },
        { lit("\x7b\x84\x01") }, { lit("\x7b\x83\x01\x7c\x84\x01") },
        { lit("\x7b\x83\x01\x84\x01") }, { lit("\x7b\x7b\x7c") },
        { lit("\x7b\x7c\x7c") },
        /* fields in a group: number 0, incomplete, longer than the group */
        { lit("\x7b\x00\x00\x7c") }, { lit("\x7b\x03\x04\x7c") },
        { lit("\x7b\x08\x80\x7c") }, { lit("\x7b\x09\0\0\0\0\x7c") },
        { lit("\x7b\x0a\x02\x7c") },
        { lit("\x7b\x80\x80\x80\x80\x80\x00\x7c") },
        /* a group that goes beyond the end of the message that contains it */
        { lit("\x32\x01\x7b\x7c") }, { lit("\x1a\x02\x7b\x08\x01\x7c") },
        { lit("\x32\x06\x0a\x04\x12\x02\x7b\x08") },
        /* known fields as groups, in each message */
        { lit("\x33\x34") }, { lit("\x0b\x0c") }, { lit("\x1a\x02\x0b\x0c") },
        { lit("\x32\x02\x0b\x0c") }, { lit("\x32\x04\x0a\x02\x13\x14") },
        { lit("\x32\x06\x0a\x04\x12\x02\x2b\x2c") },
        { lit("\x32\x08\x0a\x06\x12\x04\x32\x02\x0b\x0c") },
        /* a tag that is incomplete, too long, above 32 bits */
        { lit("\x80") }, { lit("\xff\xff\xff\xff") },
        { lit("\x88\x80\x80\x80\x80\x00\x00") },
        { lit("\xf8\xff\xff\xff\x1f\x00") },
        /* a value that is incomplete, too long, above 64 bits */
        { lit("\x28") }, { lit("\x28\x80") },
        { lit("\x28\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00") },
        { lit("\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02") },
        { lit("\x78\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f") },
        /* fixed values that are too short */
        { lit("\x79\0\0\0\0\0\0\0") }, { lit("\x7d\0\0\0") },
        /* lengths: missing, past the end, too long, above 31, 32, 63 bits */
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
        /* Timestamp: a string, an incomplete number */
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
        /* the first and last character of each length */
        { lit("\x7f"), 1 }, { lit("\xc2\x80"), 1 }, { lit("\xdf\xbf"), 1 },
        { lit("\xe0\xa0\x80"), 1 }, { lit("\xed\x9f\xbf"), 1 },
        { lit("\xee\x80\x80"), 1 }, { lit("\xef\xbf\xbf"), 1 },
        { lit("\xf0\x90\x80\x80"), 1 }, { lit("\xf4\x8f\xbf\xbf"), 1 },
        { lit("\0"), 1 }, { lit("1234567\xc3\xa9"), 1 },
        { lit("12345678\xf0\x9f\x98\x80""12345678"), 1 },
        /* a continuation byte alone, an incomplete character, another byte
           instead of a continuation byte */
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
                /* a valid id follows, but this one is checked, too */
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
            /* the payload itself is one level */

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

    /* many members of the full depth, and another payload */

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

    /* the second payload is nested too deeply */

    conduit_buf_free(&part);
    nest(&part, CONDUIT_MESSAGE_MAX_DEPTH, "l");
    wire_wrap(&part, 2);
    wire_wrap(&part, 1);
    wire_bytes(&wire, 6, part.data, part.len);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_DEPTH);

    /* the content of an unknown field does not count */

    conduit_buf_reset(&wire);
    wire_ids(&wire);
    wire_bytes(&wire, 7, part.data, part.len);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);
}
END_TEST


/* writes the tag and the length of a field before its content, p to end */

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

    /* lists in lists, written from the end to the beginning */

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

    /* groups may contain any fields, which are not checked */

    wire_tag(&junk, 15, 3);
    wire_tag(&junk, 15, 4);
    wire_tag(&junk, 7, 3);
    wire_bytes(&junk, 1, "\xff", 1);
    wire_uint(&junk, 6, 1);
    wire_tag(&junk, 6, 3);
    wire_double(&junk, 5, 0);
    wire_tag(&junk, 6, 3);
    wire_tag(&junk, 6, 4);
    wire_bytes(&junk, 6, "\x34\x3c", 2);
    wire_tag(&junk, 6, 4);
    wire_tag(&junk, 100, 5);
    conduit_buf_append(&junk, "\x3c\x3c\x3c\x3c", 4);
    wire_tag(&junk, 7, 4);
    wire_tag(&junk, 536870911, 3);
    wire_tag(&junk, 536870911, 4);

    /* field numbers whose low bits are those of a known field */

    wire_bytes(&junk, 6 + 256, "\xff", 1);
    wire_uint(&junk, 1 + 65536, 1);

    /* unknown fields in each kind of message */

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


START_TEST(groups_nest_to_a_limit)
{
    size_t  i, depth;

    for (depth = CONDUIT_WIRE_MAX_GROUPS - 1;
         depth <= CONDUIT_WIRE_MAX_GROUPS + 1;
         depth++)
    {
        conduit_buf_reset(&wire);

        for (i = 0; i < depth; i++) {
            wire_tag(&wire, 15 + i, 3);
        }

        for (i = depth; i > 0; i--) {
            wire_tag(&wire, 14 + i, 4);
        }

        wire_ids(&wire);
        ck_assert_int_eq(decode(), depth <= CONDUIT_WIRE_MAX_GROUPS
                                   ? CONDUIT_MESSAGE_OK
                                   : CONDUIT_MESSAGE_MALFORMED);
    }

    /* a megabyte of group starts, of empty groups, and these in a group */

    conduit_buf_reset(&wire);
    memset(conduit_buf_reserve(&wire, MIB), 0x7b, MIB);
    wire.len = MIB;
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_MALFORMED);

    for (i = 1; i < MIB; i += 2) {
        wire.data[i] = 0x7c;
    }

    wire_ids(&wire);
    ck_assert_int_eq(decode(), CONDUIT_MESSAGE_OK);

    wire_tag(&wire, 16, 4);
    conduit_buf_reset(&part);
    wire_tag(&part, 16, 3);
    conduit_buf_append(&part, wire.data, wire.len);
    wire_ids(&part);
    ck_assert_int_eq(decode_bytes(part.data, part.len), CONDUIT_MESSAGE_OK);
}
END_TEST


START_TEST(long_tags_and_lengths_are_taken)
{
    /* padded varints: a tag and a length may have up to 5 bytes */

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

    /* the ids come last, so that no shorter message is valid */

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


/* reads one field after the other, and checks where each value is */

START_TEST(fields_tell_their_value)
{
    size_t                  i;
    const uint8_t          *p, *end;
    conduit_wire_field_t    f;
    static const char       bytes[] =
        "\x28\x96\x01"                        /* 5: a number of two bytes */
        "\x79" "12345678"
        "\x82\x01\x03" "abc"                  /* 16 */
        "\x7d" "1234"
        "\x7b\x08\x01\x0a\x01x\x7c"          /* a group with its end */
        "\x32\x00";
    static const struct {
        uint32_t     number;
        unsigned     type;
        const char  *value;
        size_t       len;
    } fields[] = {
        { 5, CONDUIT_WIRE_VARINT, lit("\x96\x01") },
        { 15, CONDUIT_WIRE_FIXED64, lit("12345678") },
        { 16, CONDUIT_WIRE_BYTES, lit("abc") },
        { 15, CONDUIT_WIRE_FIXED32, lit("1234") },
        { 15, CONDUIT_WIRE_GROUP, lit("\x08\x01\x0a\x01x\x7c") },
        { 6, CONDUIT_WIRE_BYTES, lit("") }
    };

    p = (const uint8_t *) bytes;
    end = p + sizeof(bytes) - 1;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        memset(&f, 0xff, sizeof(f));
        ck_assert_int_eq(conduit_wire_field(&p, end, &f), 0);
        ck_assert_uint_eq(f.number, fields[i].number);
        ck_assert_uint_eq(f.type, fields[i].type);
        ck_assert_uint_eq(f.len, fields[i].len);
        ck_assert_mem_eq(f.data, fields[i].value, f.len);
        ck_assert_ptr_eq(p, f.data + f.len);
    }

    ck_assert_ptr_eq(p, end);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("walk");
    tc = tcase_create("walk");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, malformed_is_refused);
    tcase_add_test(tc, fields_tell_their_value);
    tcase_add_test(tc, strings_are_utf8);
    tcase_add_test(tc, depth_is_bounded);
    tcase_add_test(tc, depth_is_of_nesting_alone);
    tcase_add_test(tc, nesting_of_a_megabyte_is_refused_fast);
    tcase_add_test(tc, unknown_fields_are_skipped);
    tcase_add_test(tc, groups_nest_to_a_limit);
    tcase_add_test(tc, long_tags_and_lengths_are_taken);
    tcase_add_test(tc, every_cut_is_refused);
    tcase_add_test(tc, flipped_bits_do_no_harm);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
