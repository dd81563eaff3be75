/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of base/conduit_id.c: which organizations, UUIDs, stream IDs and
 * stream keys are accepted, and how they are written.
 */

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_id.h"
#include "exact.h"

#define lit(s)  s, sizeof(s) - 1

#define CHANNEL  "97f58c19-ce38-4c6b-8a5b-47f3405691f0"
#define UPPER    "97F58C19-CE38-4C6B-8A5B-47F3405691F0"
#define BARE     "97f58c19ce384c6b8a5b47f3405691f0"


typedef struct {
    const char  *text;
    size_t       len;
} text_t;


START_TEST(org_takes_every_uint64)
{
    size_t              i;
    uint64_t            org;
    static const text_t texts[] = {
        { lit("0") }, { lit("123") }, { lit("18446744073709551615") },
        { lit("007") }, { lit("00000000000000000001") }
    };
    static const uint64_t  values[] = { 0, 123, UINT64_MAX, 7, 1 };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert_int_eq(conduit_org_parse(texts[i].text, texts[i].len, &org),
                         0);
        ck_assert_uint_eq(org, values[i]);
    }
}
END_TEST


START_TEST(org_takes_nothing_else)
{
    size_t               i;
    uint64_t             org;
    static const text_t  texts[] = {
        { lit("") }, { lit("-1") }, { lit("+1") }, { lit(" 1") },
        { lit("1 ") }, { lit("1a") }, { lit("0x1") }, { lit("1.0") },
        { lit("1\0") }, { lit("/") }, { lit(":") },
        { lit("18446744073709551616") }, { lit("99999999999999999999") },
        { lit("000000000000000000001") }, { lit("\xd9\xa1") }
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        org = 42;
        ck_assert_msg(conduit_org_parse(texts[i].text, texts[i].len, &org)
                      == -1, "taken: %s", texts[i].text);
        ck_assert_uint_eq(org, 42);
    }
}
END_TEST


START_TEST(org_stops_at_its_length)
{
    uint64_t  org;

    ck_assert_int_eq(conduit_org_parse("1234", 2, &org), 0);
    ck_assert_uint_eq(org, 12);
}
END_TEST


START_TEST(uuid_takes_every_spelling)
{
    char                 out[CONDUIT_UUID_LEN + 1];
    size_t               i;
    static const text_t  texts[] = {
        { lit(CHANNEL) }, { lit(UPPER) }, { lit(BARE) },
        { lit("97F58C19CE384C6B8A5B47F3405691F0") },
        { lit("97F58C19-ce38-4C6B-8a5b-47f3405691F0") },
        { lit("{" CHANNEL "}") }, { lit("{" UPPER "}") },
        { lit("urn:uuid:" CHANNEL) }, { lit("urn:uuid:" UPPER) },
        { lit("URN:UUID:" CHANNEL) }, { lit("uRn:UuId:" UPPER) }
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        memset(out, '#', sizeof(out));
        ck_assert_msg(conduit_uuid_parse(texts[i].text, texts[i].len, out)
                      == 0, "not taken: %s", texts[i].text);
        ck_assert_mem_eq(out, CHANNEL "#", sizeof(out));
    }
}
END_TEST


START_TEST(uuid_takes_nothing_else)
{
    char                 *copy, out[CONDUIT_UUID_LEN];
    size_t                i;
    static const text_t   texts[] = {
        { lit("") }, { lit("97f58c19") }, { lit(BARE "0") },
        { lit(CHANNEL "0") }, { lit(CHANNEL "\0") },
        { lit("97f58c19-ce38-4c6b-8a5b-47f3405691f") },
        { lit("97f58c19-ce38-4c6b-8a5b-47f3405691fg") },
        { lit("97f58c19-ce38-4c6b-8a5b-47f3405691fG") },
        { lit("97f58c19-ce38-4c6b-8a5b-47f3405691f\0") },
        { lit("97f58c19-ce38-4c6b-8a5b047f3405691f0") },
        { lit("97f58c1-9ce38-4c6b-8a5b-47f3405691f0") },
        { lit("97f58c19_ce38_4c6b_8a5b_47f3405691f0") },
        { lit("-7f58c19-ce38-4c6b-8a5b-47f3405691f0") },
        { lit("97f58c19-ce38-4c6b-8a5b-47f34056@1f0") },
        { lit("97f58c19-ce38-4c6b-8a5b-47f34056`1f0") },
        /* hyphens or digits are missing */
        { lit("97f58c19ce384c6b8a5b47f3405691f") },
        { lit("97f58c19ce384c6b8a5b47f3405691f-") },
        { lit("97f58c19ce384c6b8a5b47f3405691\0f") },
        { lit("97f58c19-ce384c6b-8a5b-47f3405691f0") },
        { lit("97f58c19-ce38-4c6b-8a5b47f34056") },
        /* braces: a pair is required, and hyphens between them */
        { lit("{" BARE "}") }, { lit("{" CHANNEL) }, { lit(CHANNEL "}") },
        { lit("{" CHANNEL "0") }, { lit("0" CHANNEL "}") },
        { lit("}" CHANNEL "{") }, { lit("(" CHANNEL ")") },
        { lit("{{" CHANNEL "}}") }, { lit("{" CHANNEL " }") },
        { lit("{urn:uuid:" CHANNEL "}") },
        { lit("{97f58c19-ce38-4c6b-8a5b-47f3405691f}0") },
        /* another URN, or an incomplete one */
        { lit("urn:uuid:" BARE) }, { lit("urn:uuid:" BARE "0000") },
        { lit("uuid:" CHANNEL) }, { lit("urn:" CHANNEL) },
        { lit("urn:uuid:{" CHANNEL "}") }, { lit("urn:guid:" CHANNEL) },
        { lit("urn.uuid." CHANNEL) }, { lit("urn\x1auuid\x1a" CHANNEL) },
        { lit("urn:uuid;" CHANNEL) }, { lit("u\x52n:uuid:" CHANNEL "0") },
        { lit("         " CHANNEL) }, { lit(CHANNEL "         ") }
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {

        /* memory of the exact size, so that ASan sees a read past the end */

        copy = exact_copy(texts[i].text, texts[i].len);

        ck_assert_msg(conduit_uuid_parse(copy, texts[i].len, out) == -1,
                      "taken: %s", texts[i].text);
        free(copy);
    }
}
END_TEST


START_TEST(stream_id_is_read)
{
    conduit_stream_id_t  id;

    ck_assert_int_eq(conduit_stream_id_parse(lit("1736467200000-7"), &id), 0);
    ck_assert_uint_eq(id.ms, 1736467200000);
    ck_assert_uint_eq(id.seq, 7);

    ck_assert_int_eq(conduit_stream_id_parse(lit("5"), &id), 0);
    ck_assert_uint_eq(id.ms, 5);
    ck_assert_uint_eq(id.seq, 0);

    ck_assert_int_eq(conduit_stream_id_parse(
                         lit("18446744073709551615-18446744073709551615"),
                         &id),
                     0);
    ck_assert_uint_eq(id.ms, UINT64_MAX);
    ck_assert_uint_eq(id.seq, UINT64_MAX);
}
END_TEST


START_TEST(stream_id_takes_nothing_else)
{
    size_t               i;
    conduit_stream_id_t  id;
    static const text_t  texts[] = {
        { lit("") }, { lit("-") }, { lit("1-") }, { lit("-1") },
        { lit("$") }, { lit("+") }, { lit("*") }, { lit("1-*") },
        { lit("1-2-3") }, { lit("1--2") }, { lit(" 1-2") }, { lit("1-2 ") },
        { lit("1-2\n") }, { lit("1\0-2") }, { lit("a-b") }, { lit("1-b") },
        { lit("18446744073709551616-0") }, { lit("0-18446744073709551616") }
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        id.ms = 42;
        id.seq = 43;
        ck_assert_msg(conduit_stream_id_parse(texts[i].text, texts[i].len, &id)
                      == -1, "taken: %s", texts[i].text);
        ck_assert_uint_eq(id.ms, 42);
        ck_assert_uint_eq(id.seq, 43);
    }
}
END_TEST


START_TEST(stream_id_is_written)
{
    char                 buf[CONDUIT_STREAM_ID_MAX + 1];
    size_t               n;
    conduit_stream_id_t  id;

    id.ms = 0;
    id.seq = 0;
    ck_assert_uint_eq(conduit_stream_id_write(&id, buf), 3);
    ck_assert_mem_eq(buf, "0-0", 3);

    id.ms = 1736467200000;
    id.seq = 10;
    n = conduit_stream_id_write(&id, buf);
    ck_assert_uint_eq(n, sizeof("1736467200000-10") - 1);
    ck_assert_mem_eq(buf, "1736467200000-10", n);

    id.ms = UINT64_MAX;
    id.seq = UINT64_MAX;
    memset(buf, '#', sizeof(buf));
    n = conduit_stream_id_write(&id, buf);
    ck_assert_uint_eq(n, CONDUIT_STREAM_ID_MAX);
    ck_assert_mem_eq(buf, "18446744073709551615-18446744073709551615#", n + 1);
}
END_TEST


START_TEST(stream_ids_are_ordered)
{
    size_t                            i, j, n;
    int                               rc;
    static const conduit_stream_id_t  ids[] = {
        { 0, 0 }, { 0, 1 }, { 0, UINT64_MAX }, { 1, 0 },
        { 1, 1 }, { UINT64_MAX, 0 }, { UINT64_MAX, UINT64_MAX }
    };

    n = sizeof(ids) / sizeof(ids[0]);

    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) {
            rc = conduit_stream_id_cmp(&ids[i], &ids[j]);
            ck_assert_int_eq(rc < 0, i < j);
            ck_assert_int_eq(rc > 0, i > j);
        }
    }
}
END_TEST


START_TEST(stream_id_before_is_the_one_before)
{
    size_t               i;
    conduit_stream_id_t  id;
    static const struct {
        conduit_stream_id_t  id;
        conduit_stream_id_t  before;
    } cases[] = {
        { { 1736467200000, 7 }, { 1736467200000, 6 } },
        { { 1736467200000, 1 }, { 1736467200000, 0 } },
        { { 1736467200000, 0 }, { 1736467199999, UINT64_MAX } },
        { { 0, 1 }, { 0, 0 } },
        { { 1, 0 }, { 0, UINT64_MAX } },
        { { 0, UINT64_MAX }, { 0, UINT64_MAX - 1 } },
        { { UINT64_MAX, 0 }, { UINT64_MAX - 1, UINT64_MAX } },
        { { UINT64_MAX, UINT64_MAX }, { UINT64_MAX, UINT64_MAX - 1 } }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        id = cases[i].id;
        conduit_stream_id_before(&id);
        ck_assert_uint_eq(id.ms, cases[i].before.ms);
        ck_assert_uint_eq(id.seq, cases[i].before.seq);
        ck_assert_int_lt(conduit_stream_id_cmp(&id, &cases[i].id), 0);
    }
}
END_TEST


START_TEST(nothing_is_before_the_first_stream_id)
{
    conduit_stream_id_t  id;

    id.ms = 0;
    id.seq = 0;
    conduit_stream_id_before(&id);
    ck_assert_uint_eq(id.ms, 0);
    ck_assert_uint_eq(id.seq, 0);
}
END_TEST


START_TEST(stream_key_is_written)
{
    char    buf[CONDUIT_KEY_MAX + 1];
    size_t  n;

    n = conduit_stream_key_write(123, CHANNEL, buf);
    ck_assert_uint_eq(n, sizeof("stream:123:" CHANNEL) - 1);
    ck_assert_mem_eq(buf, "stream:123:" CHANNEL, n);

    memset(buf, '#', sizeof(buf));
    n = conduit_stream_key_write(UINT64_MAX, CHANNEL, buf);
    ck_assert_uint_eq(n, CONDUIT_KEY_MAX);
    ck_assert_mem_eq(buf, "stream:18446744073709551615:" CHANNEL "#", n + 1);
}
END_TEST


START_TEST(other_keys_are_bounded)
{
    int   c;
    char  key[CONDUIT_STREAM_KEY_MAX + 1];

    memset(key, 'k', sizeof(key));

    ck_assert_ptr_null(conduit_stream_key_check(key, CONDUIT_STREAM_KEY_MAX));
    ck_assert_ptr_null(conduit_stream_key_check(key, 1));
    ck_assert_ptr_null(conduit_stream_key_check("run:{a} \xff/%00", 13));
    ck_assert_str_eq(conduit_stream_key_check(key, 0), "Missing stream key");
    ck_assert_str_eq(conduit_stream_key_check(key, sizeof(key)),
                     "Stream key too long");

    for (c = 0; c < 256; c++) {
        key[CONDUIT_STREAM_KEY_MAX - 1] = (char) c;

        if (c < 0x20 || c == 0x7f) {
            ck_assert_str_eq(conduit_stream_key_check(key,
                                                      CONDUIT_STREAM_KEY_MAX),
                             "Invalid stream key");

        } else {
            ck_assert_ptr_null(conduit_stream_key_check(key,
                                                    CONDUIT_STREAM_KEY_MAX));
        }
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

    s = suite_create("id");
    tc = tcase_create("id");
    tcase_add_test(tc, org_takes_every_uint64);
    tcase_add_test(tc, org_takes_nothing_else);
    tcase_add_test(tc, org_stops_at_its_length);
    tcase_add_test(tc, uuid_takes_every_spelling);
    tcase_add_test(tc, uuid_takes_nothing_else);
    tcase_add_test(tc, stream_id_is_read);
    tcase_add_test(tc, stream_id_takes_nothing_else);
    tcase_add_test(tc, stream_id_is_written);
    tcase_add_test(tc, stream_ids_are_ordered);
    tcase_add_test(tc, stream_id_before_is_the_one_before);
    tcase_add_test(tc, nothing_is_before_the_first_stream_id);
    tcase_add_test(tc, stream_key_is_written);
    tcase_add_test(tc, other_keys_are_bounded);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
