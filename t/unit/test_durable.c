/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_durable.c: media types, offsets, entity tags and
 * cursors; what an answer of Redis means for a reader; bodies, base64 and
 * control events.
 */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_durable.h"
#include "memory.h"

#define count(a)  (sizeof(a) / sizeof(a[0]))

#define ZEROS  "00000000000000000000"


START_TEST(a_type_says_how_entries_are_sent)
{
    size_t  i;

    static const struct {
        const char              *type;
        conduit_durable_mode_e   mode;
    } cases[] = {
        { "application/json", CONDUIT_DURABLE_JSON },
        { "APPLICATION/JSON", CONDUIT_DURABLE_JSON },
        { "application/json; charset=utf-8", CONDUIT_DURABLE_JSON },
        { "application/json ;charset=utf-8", CONDUIT_DURABLE_JSON },
        { "application/json\t", CONDUIT_DURABLE_JSON },
        { "application/json-seq", CONDUIT_DURABLE_BYTES },
        { "application/jso", CONDUIT_DURABLE_BYTES },
        { "application/ndjson", CONDUIT_DURABLE_BYTES },
        { "text/plain", CONDUIT_DURABLE_TEXT },
        { "Text/html; charset=utf-8", CONDUIT_DURABLE_TEXT },
        { "text/", CONDUIT_DURABLE_BYTES },
        { "texts/plain", CONDUIT_DURABLE_BYTES },
        { "application/octet-stream", CONDUIT_DURABLE_BYTES },
        { "", CONDUIT_DURABLE_BYTES }
    };

    for (i = 0; i < count(cases); i++) {
        ck_assert_msg(conduit_durable_mode(cases[i].type,
                                           strlen(cases[i].type))
                      == cases[i].mode, "%s", cases[i].type);
    }
}
END_TEST


START_TEST(a_type_has_a_form)
{
    char    *copy;
    size_t   i, len;

    static const struct {
        const char  *type;
        int          valid;
    } cases[] = {
        { "a/b", 1 },
        { "image/svg+xml", 1 },
        { "!#$%&'*+-.^_`|~09AZ/az", 1 },
        { "a/b;c=d", 1 },
        { "a/b ; c=d", 1 },
        { "a/b; c=\"\"", 1 },
        { "a/b; c=\"d e/;\\\"\"; f=g", 1 },
        { "a/b;", 1 },
        { "a/b; ;; c=d;", 1 },
        { "", 0 },
        { "a", 0 },
        { "a/", 0 },
        { "/b", 0 },
        { "a/b/c", 0 },
        { "a/b ", 0 },
        { " a/b", 0 },
        { "a/b c", 0 },
        { "a/b,c/d", 0 },
        { "a/\xc3\xa9", 0 },
        { "a/b\x7f", 0 },
        { "a/b;\tc=d", 0 },
        { "a/b; c", 0 },
        { "a/b; c=", 0 },
        { "a/b; =d", 0 },
        { "a/b; c =d", 0 },
        { "a/b; c= d", 0 },
        { "a/b; c=d/e", 0 },
        { "a/b; c=d e", 0 },
        { "a/b; c=\"", 0 },
        { "a/b; c=\"d", 0 },
        { "a/b; c=\"d\\", 0 },
        { "a/b; c=\"d\\\"", 0 },
        { "a/b; c=\"d\"e", 0 },
        { "a/b; c=\"\t\"", 0 },
        { "a/b; c=\"\xc3\xa9\"", 0 },
        { "a/b; c=\"\\\n\"", 0 }
    };

    for (i = 0; i < count(cases); i++) {

        /* the sanitizer sees a byte that is read after the last one */

        len = strlen(cases[i].type);
        copy = malloc(len ? len : 1);
        memcpy(copy, cases[i].type, len);

        ck_assert_msg(conduit_durable_type_valid(copy, len) == cases[i].valid,
                      "%s", cases[i].type);
        free(copy);
    }
}
END_TEST


START_TEST(offsets_are_read)
{
    int                       rc;
    char                     *copy;
    size_t                    i, len;
    conduit_durable_offset_t  o;

    static const struct {
        const char  *text;
        int          rc;
        uint32_t     kind;
        uint64_t     ms;
        uint64_t     seq;
    } cases[] = {
        { "-1", 0, CONDUIT_DURABLE_START, 0, 0 },
        { "now", 0, CONDUIT_DURABLE_NOW, 0, 0 },
        { "17-3", 0, CONDUIT_DURABLE_AFTER, 17, 3 },
        { "0-0", 0, CONDUIT_DURABLE_AFTER, 0, 0 },
        { "00000000000000000017-00000000000000000003", 0,
          CONDUIT_DURABLE_AFTER, 17, 3 },
        { "18446744073709551615-18446744073709551615", 0,
          CONDUIT_DURABLE_AFTER, UINT64_MAX, UINT64_MAX },

        { "", -1, 0, 0, 0 },
        { "17", -1, 0, 0, 0 },
        { "-", -1, 0, 0, 0 },
        { "-2", -1, 0, 0, 0 },
        { "-11", -1, 0, 0, 0 },
        { "17-", -1, 0, 0, 0 },
        { "17-3-1", -1, 0, 0, 0 },
        { "17_3", -1, 0, 0, 0 },
        { "17,3", -1, 0, 0, 0 },
        { " 17-3", -1, 0, 0, 0 },
        { "NOW", -1, 0, 0, 0 },
        { "nown", -1, 0, 0, 0 },
        { "$", -1, 0, 0, 0 },
        { "+17-3", -1, 0, 0, 0 },
        { "18446744073709551616-0", -1, 0, 0, 0 },
        { "000000000000000000017-0", -1, 0, 0, 0 }
    };

    for (i = 0; i < count(cases); i++) {
        len = strlen(cases[i].text);

        copy = malloc(len ? len : 1);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, cases[i].text, len);

        memset(&o, 0xff, sizeof(o));
        rc = conduit_durable_offset_parse(copy, len, &o);

        ck_assert_msg(rc == cases[i].rc, "%s", cases[i].text);

        if (rc == 0) {
            ck_assert_uint_eq(o.kind, cases[i].kind);
            ck_assert_uint_eq(o.id.ms, cases[i].ms);
            ck_assert_uint_eq(o.id.seq, cases[i].seq);

        } else {
            ck_assert_uint_eq(o.kind, UINT32_MAX);
        }

        free(copy);
    }
}
END_TEST


START_TEST(offsets_sort_as_the_ids_they_are_of)
{
    char    text[2][CONDUIT_DURABLE_OFFSET];
    size_t  i;

    static const conduit_stream_id_t  ids[] = {
        { 0, 0 }, { 0, 1 }, { 0, 10 }, { 9, UINT64_MAX }, { 10, 0 },
        { 1736467200000, 2 }, { 1736467200000, 10 }, { UINT64_MAX, 0 },
        { UINT64_MAX, UINT64_MAX }
    };

    for (i = 0; i < count(ids); i++) {
        conduit_durable_offset_write(&ids[i], text[i % 2]);

        if (i) {
            ck_assert_int_lt(memcmp(text[(i - 1) % 2], text[i % 2],
                                    CONDUIT_DURABLE_OFFSET), 0);
        }
    }

    conduit_durable_offset_write(&ids[5], text[0]);
    ck_assert_mem_eq(text[0], "00000001736467200000-00000000000000000002",
                     CONDUIT_DURABLE_OFFSET);
}
END_TEST


START_TEST(an_entity_tag_has_both_offsets)
{
    char                      text[CONDUIT_DURABLE_ETAG];
    size_t                    n;
    conduit_durable_offset_t  from;

    const conduit_stream_id_t  to = { 17, 3 };

    memset(&from, 0, sizeof(from));

    n = conduit_durable_etag_write(&from, &to, 0, text);
    ck_assert_uint_eq(n, sizeof("\"-1:" "00000000000000000017-"
                                "00000000000000000003\"") - 1);
    ck_assert_mem_eq(text, "\"-1:00000000000000000017-"
                           "00000000000000000003\"", n);

    from.kind = CONDUIT_DURABLE_AFTER;
    from.id.ms = 5;

    n = conduit_durable_etag_write(&from, &to, 1, text);
    ck_assert_uint_eq(n, CONDUIT_DURABLE_ETAG);
    ck_assert_mem_eq(text, "\"00000000000000000005-" ZEROS
                           ":00000000000000000017-00000000000000000003:c\"", n);
}
END_TEST


START_TEST(cursors_are_read)
{
    size_t  i;

    static const struct {
        const char  *text;
        uint64_t     value;
    } cases[] = {
        { "1", 1 }, { "4000000", 4000000 }, { "4294967295", UINT32_MAX },
        { "", 0 }, { "abc", 0 }, { "-1", 0 }, { "1 ", 0 }, { "0", 0 },
        { "4294967296", 0 }, { "18446744073709551615", 0 },
        { "99999999999999999999", 0 }
    };

    for (i = 0; i < count(cases); i++) {
        ck_assert_uint_eq(conduit_durable_cursor_parse(cases[i].text,
                                                       strlen(cases[i].text)),
                          cases[i].value);
    }
}
END_TEST


START_TEST(cursors_grow_with_the_clock)
{
    uint64_t  now, cursor;

    now = CONDUIT_DURABLE_EPOCH + 1000 * CONDUIT_DURABLE_INTERVAL;

    ck_assert_uint_eq(conduit_durable_cursor(now, 0, 7), 1000);
    ck_assert_uint_eq(conduit_durable_cursor(now + 19, 0, 7), 1000);
    ck_assert_uint_eq(conduit_durable_cursor(now + 20, 0, 7), 1001);
    ck_assert_uint_eq(conduit_durable_cursor(now - 1, 0, 7), 999);

    /* a client that is behind gets the cursor of the time */

    ck_assert_uint_eq(conduit_durable_cursor(now, 999, 7), 1000);

    /* one that is not gets a greater one than it has, by an hour at most */

    ck_assert_uint_eq(conduit_durable_cursor(now, 1000, 0), 1001);
    ck_assert_uint_eq(conduit_durable_cursor(now, 1000, 179), 1180);
    ck_assert_uint_eq(conduit_durable_cursor(now, 1000, 180), 1001);
    ck_assert_uint_eq(conduit_durable_cursor(now, 1100, UINT32_MAX),
                      1101 + UINT32_MAX % 180);

    /* a cursor that nobody can have sent does not count */

    cursor = 1000 + 365 * 24 * 3600 / 20;
    ck_assert_uint_eq(conduit_durable_cursor(now, cursor, 0), cursor + 1);
    ck_assert_uint_eq(conduit_durable_cursor(now, cursor + 1, 0), 1000);

    /* a clock that is not set */

    ck_assert_uint_eq(conduit_durable_cursor(0, 0, 7), 0);
}
END_TEST


/* a stream with entries from oldest to last, of which removed were deleted or
   trimmed */

typedef struct {
    const char                 *what;
    conduit_durable_offset_t    offset;
    int                         missing;
    uint64_t                    length;
    conduit_stream_id_t         oldest;
    conduit_stream_id_t         last;
    uint64_t                    added;     /* 0: not counted */
    conduit_durable_verdict_e   verdict;
} judged_t;

#define AFTER(ms, seq)  { CONDUIT_DURABLE_AFTER, { ms, seq } }
#define START           { CONDUIT_DURABLE_START, { 0, 0 } }
#define NOW             { CONDUIT_DURABLE_NOW, { 0, 0 } }
#define OK              CONDUIT_DURABLE_OK
#define GONE            CONDUIT_DURABLE_GONE

START_TEST(answers_are_judged)
{
    size_t                      i;
    conduit_history_answer_t    a;
    conduit_durable_verdict_e   verdict;

    static const judged_t  cases[] = {
        { "no stream", START, 1, 0, { 0, 0 }, { 0, 0 }, 0,
          CONDUIT_DURABLE_MISSING },
        { "no stream, an offset", AFTER(5, 0), 1, 0, { 0, 0 }, { 0, 0 }, 0,
          CONDUIT_DURABLE_MISSING },
        { "the start", START, 0, 2, { 5, 0 }, { 9, 0 }, 7, OK },
        { "the end", NOW, 0, 2, { 5, 0 }, { 9, 0 }, 7, OK },
        { "an empty stream", START, 0, 0, { 0, 0 }, { 0, 0 }, 0, OK },

        { "an entry", AFTER(7, 0), 0, 3, { 5, 0 }, { 9, 0 }, 3, OK },
        { "the oldest", AFTER(5, 0), 0, 3, { 5, 0 }, { 9, 0 }, 9, OK },
        { "before it, all kept", AFTER(4, 0), 0, 3, { 5, 0 }, { 9, 0 }, 3, OK },
        { "before it, some trimmed", AFTER(4, 0), 0, 3, { 5, 0 }, { 9, 0 }, 4,
          GONE },
        { "before it, not counted", AFTER(4, 0), 0, 3, { 5, 0 }, { 9, 0 }, 0,
          GONE },
        { "the newest", AFTER(9, 0), 0, 3, { 5, 0 }, { 9, 0 }, 9, OK },
        { "after it", AFTER(9, 1), 0, 3, { 5, 0 }, { 9, 0 }, 9, GONE },

        { "of an empty stream, still empty", AFTER(0, 0), 0, 0, { 0, 0 },
          { 0, 0 }, 0, OK },
        { "of an empty stream, all kept", AFTER(0, 0), 0, 3, { 5, 0 },
          { 9, 0 }, 3, OK },
        { "of an empty stream, not counted", AFTER(0, 0), 0, 3, { 5, 0 },
          { 9, 0 }, 0, OK },
        { "of an empty stream, some trimmed", AFTER(0, 0), 0, 3, { 5, 0 },
          { 9, 0 }, 4, GONE },

        { "all removed, at the end", AFTER(9, 0), 0, 0, { 0, 0 }, { 9, 0 }, 3,
          OK },
        { "all removed, before it", AFTER(8, 0), 0, 0, { 0, 0 }, { 9, 0 }, 3,
          GONE },
        { "all removed, not counted", AFTER(0, 0), 0, 0, { 0, 0 }, { 9, 0 }, 0,
          GONE }
    };

    for (i = 0; i < count(cases); i++) {
        memset(&a, 0, sizeof(a));

        a.missing = cases[i].missing;
        a.length = cases[i].length;
        a.oldest = cases[i].oldest;
        a.last_id = cases[i].last;
        a.counted = (cases[i].added != 0);
        a.added = cases[i].added;

        verdict = conduit_durable_judge(&cases[i].offset, &a);

        ck_assert_msg(verdict == cases[i].verdict, "%s: %d", cases[i].what,
                      (int) verdict);
    }
}
END_TEST


/* makes a body of up to three values; NULL: there are no more */

static void
check_body(conduit_durable_mode_e mode, const char *const *values,
    const char *wanted)
{
    int            n;
    size_t         i;
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));
    n = 0;

    for (i = 0; i < 3 && values[i] != NULL; i++) {
        n += (conduit_durable_add(mode, (const uint8_t *) values[i],
                                  strlen(values[i]), n == 0, &b)
              == 0);
    }

    conduit_durable_finish(mode, n == 0, &b);

    ck_assert_uint_eq(b.len, strlen(wanted));
    ck_assert(b.len == 0 || memcmp(b.data, wanted, b.len) == 0);

    conduit_buf_free(&b);
}


START_TEST(bodies_are_arrays_or_all_bytes)
{
    size_t  i;

    static const struct {
        conduit_durable_mode_e   mode;
        const char              *values[3];
        const char              *body;
    } cases[] = {
        { CONDUIT_DURABLE_JSON, { NULL }, "[]" },
        { CONDUIT_DURABLE_JSON, { "1" }, "[1]" },
        { CONDUIT_DURABLE_JSON, { "{ }", "[ 1 ]", "\"a\"" },
          "[{},[1],\"a\"]" },
        { CONDUIT_DURABLE_JSON, { "x", "1", "{" }, "[1]" },
        { CONDUIT_DURABLE_JSON, { "x", "", "{" }, "[]" },
        { CONDUIT_DURABLE_TEXT, { NULL }, "" },
        { CONDUIT_DURABLE_TEXT, { "a\r\n", "", " b" }, "a\r\n b" },
        { CONDUIT_DURABLE_BYTES, { "\xff", "x", "\x01" }, "\xffx\x01" }
    };

    for (i = 0; i < count(cases); i++) {
        check_body(cases[i].mode, cases[i].values, cases[i].body);
    }
}
END_TEST


/* RFC 4648, 10; and all digits */

START_TEST(bytes_become_base64)
{
    size_t         i;
    conduit_buf_t  b;

    static const char *const  cases[][2] = {
        { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
        { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
        { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xbf", "+/+/" },
        { "\xff\xff\xff\xff", "/////w==" }
    };

    for (i = 0; i < count(cases); i++) {
        memset(&b, 0, sizeof(b));

        conduit_buf_lit(&b, "x");
        conduit_durable_base64((const uint8_t *) cases[i][0],
                               strlen(cases[i][0]), &b);

        ck_assert_int_eq(b.failed, 0);
        ck_assert_uint_eq(b.len, 1 + strlen(cases[i][1]));
        ck_assert_mem_eq(b.data + 1, cases[i][1], b.len - 1);

        conduit_buf_free(&b);
    }
}
END_TEST


START_TEST(control_events_say_where_a_reader_is)
{
    size_t         i;
    conduit_buf_t  b;

    const conduit_stream_id_t  id = { 17, 3 };

#define CONTROL  "event: control\ndata:{\"streamNextOffset\":"                 \
                 "\"00000000000000000017-00000000000000000003\","

    static const char *const  wanted[] = {
        CONTROL "\"streamCursor\":\"42\"}\n\n",
        CONTROL "\"streamCursor\":\"42\",\"upToDate\":true}\n\n",
        CONTROL "\"upToDate\":true,\"streamClosed\":true}\n\n"
    };

    for (i = 0; i < count(wanted); i++) {
        memset(&b, 0, sizeof(b));

        conduit_durable_control(&id, &b);

        if (i < 2) {
            conduit_durable_control_open(42, i == 1, &b);

        } else {
            conduit_durable_control_closed(&b);
        }

        ck_assert_uint_eq(b.len, strlen(wanted[i]));
        ck_assert_mem_eq(b.data, wanted[i], b.len);

        conduit_buf_free(&b);
    }
}
END_TEST


START_TEST(memory_may_be_out)
{
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));
    memory_count(1);
    conduit_durable_base64((const uint8_t *) "abc", 3, &b);
    memory_count(0);
    ck_assert_int_eq(b.failed, 1);
    conduit_buf_free(&b);

    memset(&b, 0, sizeof(b));
    memory_count(1);
    ck_assert_int_eq(conduit_durable_add(CONDUIT_DURABLE_JSON,
                                         (const uint8_t *) "1", 1, 1, &b), 0);
    memory_count(0);
    ck_assert_int_eq(b.failed, 1);
    conduit_buf_free(&b);
}
END_TEST


int
main(void)
{
    int       failed;
    Suite    *suite;
    TCase    *tc;
    SRunner  *runner;

    suite = suite_create("durable");
    tc = tcase_create("durable");

    tcase_add_test(tc, a_type_says_how_entries_are_sent);
    tcase_add_test(tc, a_type_has_a_form);
    tcase_add_test(tc, offsets_are_read);
    tcase_add_test(tc, offsets_sort_as_the_ids_they_are_of);
    tcase_add_test(tc, an_entity_tag_has_both_offsets);
    tcase_add_test(tc, cursors_are_read);
    tcase_add_test(tc, cursors_grow_with_the_clock);
    tcase_add_test(tc, answers_are_judged);
    tcase_add_test(tc, bodies_are_arrays_or_all_bytes);
    tcase_add_test(tc, bytes_become_base64);
    tcase_add_test(tc, control_events_say_where_a_reader_is);
    tcase_add_test(tc, memory_may_be_out);

    suite_add_tcase(suite, tc);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
