/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of the load generator, bench/load: its parsers of event streams and
 * responses, percentiles, and finding missing messages.  The figures of the
 * benchmark depend on them.
 */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "response.h"
#include "sse.h"
#include "stats.h"


static char  got[4096];


static void
got_text(const char *text, size_t len)
{
    size_t  n;

    n = strlen(got);
    ck_assert_uint_lt(n + len, sizeof(got));
    memcpy(got + n, text, len);
    got[n + len] = '\0';
}


/* event streams, their events as "event=data;", and the last event ID */

static const struct {
    const char  *stream;
    const char  *events;
    const char  *id;
    unsigned     retry;
} streams[] = {
    { "data: a\n\n", "message=a;", "", 0 },
    { "data: a\r\n\r\n", "message=a;", "", 0 },
    { "data: a\r\r", "message=a;", "", 0 },
    { "data: a\r\n\ndata: b\n\r\n", "message=a;message=b;", "", 0 },
    { "data:a\ndata: b\n\n", "message=a\nb;", "", 0 },
    { "data:  a\n\n", "message= a;", "", 0 },
    { "data\n\n", "message=;", "", 0 },
    { "data\ndata\n\n", "message=\n;", "", 0 },
    { "data: a\n", "", "", 0 },
    { "\xef\xbb\xbf" "data: a\n\n", "message=a;", "", 0 },
    { "\xef\xbb\xbf\xef\xbb\xbf" "data: a\n\n", "", "", 0 },
    { "event: stream\nid: 1-0\ndata: a\n\n", "stream=a;", "1-0", 0 },
    { "event: stream\n\ndata: a\n\n", "message=a;", "", 0 },
    { "id: 1-0\n\n", "", "1-0", 0 },
    { "id: 1-0\ndata: a\n\nid\ndata: b\n\n", "message=a;message=b;", "", 0 },
    { "id: 1-0\ndata: a\n\nid: 2-0\n", "message=a;", "1-0", 0 },
    { "id: 1-0\n\ndata: a\n\n", "message=a;", "1-0", 0 },
    { ": a comment\ndata: a\n\n", "message=a;", "", 0 },
    { ":\n:\n\n", "", "", 0 },
    { "retry: 500\n\n", "", "", 500 },
    { "retry: 500x\nretry:\nretry: -1\n", "", "", 0 },
    { "Data: a\ndatax: b\nother\n\n", "", "", 0 },
    { "data: a:b: c\n\n", "message=a:b: c;", "", 0 }
};


static void
got_event(void *user, const char *event, const char *data, size_t len)
{
    (void) user;

    got_text(event, strlen(event));
    got_text("=", 1);
    got_text(data, len);
    got_text(";", 1);
}


/* each stream is parsed at once, byte by byte, and split in two at each byte */

START_TEST(streams_are_parsed)
{
    size_t       i, len, cut;
    sse_t        sse;
    const char  *text;

    text = streams[_i].stream;
    len = strlen(text);

    for (cut = 0; cut <= len + 1; cut++) {
        memset(&sse, 0, sizeof(sse));
        sse.handler = got_event;
        got[0] = '\0';

        if (cut <= len) {
            sse_feed(&sse, text, cut);
            sse_feed(&sse, text + cut, len - cut);

        } else {
            for (i = 0; i < len; i++) {
                sse_feed(&sse, text + i, 1);
            }
        }

        ck_assert_str_eq(got, streams[_i].events);
        ck_assert_str_eq(sse.last_id, streams[_i].id);
        ck_assert_uint_eq(sse.retry, streams[_i].retry);
        sse_free(&sse);
    }
}
END_TEST


START_TEST(ids_with_nul_or_too_long_are_ignored)
{
    sse_t  sse;
    char   line[SSE_ID + 64];

    memset(&sse, 0, sizeof(sse));
    sse.handler = got_event;
    got[0] = '\0';

    sse_feed(&sse, "id: 1\n\n", 7);
    sse_feed(&sse, "id: a\0b\n\n", 9);
    ck_assert_str_eq(sse.last_id, "1");

    snprintf(line, sizeof(line), "id: %0*d\n\n", SSE_ID, 0);
    sse_feed(&sse, line, strlen(line));
    ck_assert_str_eq(sse.last_id, "1");

    snprintf(line, sizeof(line), "id: %0*d\n\n", SSE_ID - 1, 0);
    sse_feed(&sse, line, strlen(line));
    ck_assert_uint_eq(strlen(sse.last_id), SSE_ID - 1);

    sse_free(&sse);
}
END_TEST


START_TEST(a_restart_drops_what_was_begun)
{
    sse_t  sse;

    memset(&sse, 0, sizeof(sse));
    sse.handler = got_event;
    got[0] = '\0';

    sse_feed(&sse, "id: 1\ndata: a\n\nid: 2\ndata: b\nda", 32);
    sse_restart(&sse);
    ck_assert_str_eq(sse.last_id, "1");

    sse_feed(&sse, "\ndata: c\n\n", 10);
    ck_assert_str_eq(got, "message=a;message=c;");
    ck_assert_str_eq(sse.last_id, "1");

    sse_free(&sse);
}
END_TEST


/* responses, their results as "status:body", and the parser's last result */

#define HEAD  "HTTP/1.1 200 OK\r\n"

static const struct {
    const char  *bytes;
    const char  *got;
    response_e   end;
    response_e   eof;        /* when the connection ends there */
} responses[] = {
    { HEAD "Content-Length: 3\r\n\r\nabc", "200:abc", RESPONSE_DONE,
      RESPONSE_BAD },
    { HEAD "content-length:3\r\n\r\nab", "200:ab", RESPONSE_MORE,
      RESPONSE_BAD },
    { HEAD "Content-Length: 0\r\n\r\n", "200:", RESPONSE_DONE, RESPONSE_BAD },
    { HEAD "Content-Length: 1\r\n\r\nab", "200:a", RESPONSE_BAD,
      RESPONSE_BAD },
    { HEAD "\r\nabc", "200:abc", RESPONSE_MORE, RESPONSE_DONE },
    { HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n"
      "0\r\n\r\n", "200:abc0123456789", RESPONSE_DONE, RESPONSE_BAD },
    { HEAD "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: x\r\n"
      "\r\n", "200:abc", RESPONSE_DONE, RESPONSE_BAD },
    { HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", "200:abc",
      RESPONSE_BAD, RESPONSE_BAD },
    { HEAD "Transfer-Encoding: chunked\r\n\r\nx\r\n", "200:", RESPONSE_BAD,
      RESPONSE_BAD },
    { HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "200:abc",
      RESPONSE_MORE, RESPONSE_BAD },
    { "HTTP/1.1 100 Continue\r\n\r\n" HEAD "Content-Length: 1\r\n\r\na",
      "200:a", RESPONSE_DONE, RESPONSE_BAD },
    { "HTTP/1.1 204 No Content\r\n\r\n", "204:", RESPONSE_DONE,
      RESPONSE_BAD },
    { "HTTP/1.1 503 x\nContent-Length: 1\n\na", "503:a", RESPONSE_DONE,
      RESPONSE_BAD },
    { "SSH-2.0-x\r\n", "", RESPONSE_BAD, RESPONSE_BAD },
    { "HTTP/1.1 20\r\n", "", RESPONSE_BAD, RESPONSE_BAD },
    { "", "", RESPONSE_MORE, RESPONSE_BAD }
};


static void
got_header(void *user, int status)
{
    char  text[16];

    (void) user;
    got_text(text, (size_t) snprintf(text, sizeof(text), "%d:", status));
}


static void
got_body(void *user, const char *data, size_t len)
{
    (void) user;
    got_text(data, len);
}


START_TEST(responses_are_parsed)
{
    size_t                            len, cut;
    response_e                        rc;
    response_t                        r;
    const char                       *bytes;
    static const response_handlers_t  handlers = { got_header, got_body };

    bytes = responses[_i].bytes;
    len = strlen(bytes);

    for (cut = 0; cut <= len; cut++) {
        memset(&r, 0, sizeof(r));
        got[0] = '\0';

        rc = response_feed(&r, bytes, cut, &handlers, NULL);

        if (rc != RESPONSE_BAD && cut < len) {
            rc = response_feed(&r, bytes + cut, len - cut, &handlers, NULL);
        }

        ck_assert_int_eq(rc, responses[_i].end);
        ck_assert_str_eq(got, responses[_i].got);
        ck_assert_int_eq(response_eof(&r), responses[_i].eof);
    }
}
END_TEST


START_TEST(responses_that_close_say_so)
{
    response_t                        r;
    const char                        closes[] =
        HEAD "Connection: close\r\nContent-Length: 1\r\n\r\na";
    static const response_handlers_t  handlers = { got_header, got_body };

    memset(&r, 0, sizeof(r));
    got[0] = '\0';
    ck_assert_int_eq(response_feed(&r, closes, sizeof(closes) - 1, &handlers,
                                   NULL), RESPONSE_DONE);
    ck_assert(r.close);
}
END_TEST


START_TEST(responses_in_gzip_say_so)
{
    response_t                        r;
    const char                        gzip[] =
        HEAD "content-encoding: gzip\r\nContent-Length: 1\r\n\r\na";
    const char                        plain[] =
        HEAD "Content-Encoding: identity\r\nContent-Length: 1\r\n\r\na";
    static const response_handlers_t  handlers = { got_header, got_body };

    memset(&r, 0, sizeof(r));
    ck_assert_int_eq(response_feed(&r, gzip, sizeof(gzip) - 1, &handlers,
                                   NULL), RESPONSE_DONE);
    ck_assert(r.gzip);

    memset(&r, 0, sizeof(r));
    ck_assert_int_eq(response_feed(&r, plain, sizeof(plain) - 1, &handlers,
                                   NULL), RESPONSE_DONE);
    ck_assert(!r.gzip);
}
END_TEST


/* a percentile is not below the true value, at most 1/64 above it, and never
   above the largest value */

START_TEST(percentiles_are_near)
{
    size_t                i;
    uint64_t              n, true_value, value;
    static stats_times_t  t;
    static const double   shares[] = { 0.001, 0.1, 0.5, 0.9, 0.99, 1 };

    memset(&t, 0, sizeof(t));
    ck_assert_uint_eq(stats_percentile(&t, 0.5), 0);

    for (n = 1; n <= 100000; n++) {
        stats_time(&t, n * 1000);
    }

    for (i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        true_value = (uint64_t) (shares[i] * 100000 + 0.5) * 1000;
        value = stats_percentile(&t, shares[i]);
        ck_assert_uint_ge(value, true_value);
        ck_assert_uint_le(value, true_value + true_value / 64 + 1);
    }

    ck_assert_uint_eq(stats_percentile(&t, 1), 100000000);
}
END_TEST


START_TEST(small_and_extreme_times_are_exact)
{
    static stats_times_t  t;

    memset(&t, 0, sizeof(t));
    stats_time(&t, 0);
    ck_assert_uint_eq(stats_percentile(&t, 1), 0);
    stats_time(&t, 63);
    stats_time(&t, 64);
    ck_assert_uint_eq(stats_percentile(&t, 0.34), 63);
    stats_time(&t, UINT64_MAX);
    ck_assert_uint_eq(stats_percentile(&t, 0.75), 64);
    ck_assert_uint_eq(stats_percentile(&t, 1), UINT64_MAX);
}
END_TEST


START_TEST(sets_tell_what_is_missing)
{
    uint64_t     n;
    stats_set_t  stored, seen;

    memset(&stored, 0, sizeof(stored));
    memset(&seen, 0, sizeof(seen));

    ck_assert_uint_eq(stats_set_without(&stored, &seen, 0), 0);

    for (n = 1; n <= 1000; n++) {
        ck_assert_int_eq(stats_set_add(&stored, n), 1);

        if (n % 100 != 0) {
            ck_assert_int_eq(stats_set_add(&seen, n), 1);
        }
    }

    ck_assert_int_eq(stats_set_add(&seen, 999), 0);

    ck_assert_uint_eq(stats_set_without(&stored, &seen, 0), 10);
    ck_assert_uint_eq(stats_set_without(&stored, &seen, 100), 10);
    ck_assert_uint_eq(stats_set_without(&stored, &seen, 101), 9);
    ck_assert_uint_eq(stats_set_without(&stored, &seen, 1001), 0);
    ck_assert_uint_eq(stats_set_without(&seen, &stored, 0), 0);

    stats_set_free(&stored);
    ck_assert_uint_eq(stats_set_without(&seen, &stored, 1), 990);
    stats_set_free(&seen);
}
END_TEST


/* the marker of a message is found in each form of the message */

START_TEST(markers_are_found)
{
    message_t      m, found;
    const char    *p, *end;
    conduit_buf_t  out;

    memset(&out, 0, sizeof(out));
    m.channel = 345;
    m.sequence = 67;
    m.due = 1234567890123456789;
    m.phase = MESSAGE_DELTA;
    m.size = 100;

    conduit_buf_lit(&out, "~b000001.~~b");
    message_event(&m, &out);
    m.sequence = 68;
    message_proto(&m, &out);
    conduit_buf_lit(&out, "~b000345.00000069.");
    end = out.data + out.len;

    p = message_find(out.data, end, &found);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq(found.channel, 345);
    ck_assert_uint_eq(found.sequence, 67);
    ck_assert_uint_eq(found.due, m.due);

    p = message_find(p, end, &found);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq(found.sequence, 68);
    ck_assert_ptr_null(message_find(p, end, &found));

    conduit_buf_free(&out);
}
END_TEST


int
main(void)
{
    int       failed;
    Suite    *suite;
    TCase    *tcase;
    SRunner  *runner;

    suite = suite_create("bench");
    tcase = tcase_create("all");
    suite_add_tcase(suite, tcase);

#define COUNT(table)  (int) (sizeof(table) / sizeof(table[0]))

    tcase_add_loop_test(tcase, streams_are_parsed, 0, COUNT(streams));
    tcase_add_test(tcase, ids_with_nul_or_too_long_are_ignored);
    tcase_add_test(tcase, a_restart_drops_what_was_begun);
    tcase_add_loop_test(tcase, responses_are_parsed, 0, COUNT(responses));
    tcase_add_test(tcase, responses_that_close_say_so);
    tcase_add_test(tcase, responses_in_gzip_say_so);
    tcase_add_test(tcase, percentiles_are_near);
    tcase_add_test(tcase, small_and_extreme_times_are_exact);
    tcase_add_test(tcase, sets_tell_what_is_missing);
    tcase_add_test(tcase, markers_are_found);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
