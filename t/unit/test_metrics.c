/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of base/conduit_metrics.c: histograms, and metrics written as
 * Prometheus text and as JSON.
 */

#include <check.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_metrics.h"

#define count(a)  (sizeof(a) / sizeof(a[0]))


static const char * const  colours[] = { "red", "green", NULL };

static const uint32_t  bounds[] = { 1000, 2500000, 0 };

static const conduit_metric_t  table[] = {
    { "here", "Things that are here.", CONDUIT_GAUGE, 1, NULL, NULL, NULL },
    { "things_total", "Things, by colour.", CONDUIT_COUNTER, 0, "colour",
      colours, NULL },
    { "bytes_total", "Bytes.", CONDUIT_COUNTER, 2, NULL, NULL, NULL },
    { "wait_seconds", "Time.", CONDUIT_HISTOGRAM, 3, NULL, NULL, bounds },
    { NULL, NULL, CONDUIT_COUNTER, 0, NULL, NULL, NULL }
};

static const uint64_t  cells[] = { 7, 0, 1234567890123, 4, 2, 1, 9000042 };
static const uint64_t  gauges[] = { 99, 5 };

static const conduit_metrics_t  metrics = {
    "m_", table, cells, gauges, NULL, -1
};

static const conduit_metrics_link_t  links[] = {
    { "127.0.0.1:6379", "bell", 2, 1 },
    { "redis:1", "reader", 3, 3 }
};

/* the expected text of the table, without links */
static const char  text[] =
    "# HELP m_here Things that are here.\n"
    "# TYPE m_here gauge\n"
    "m_here 5\n"
    "# HELP m_things_total Things, by colour.\n"
    "# TYPE m_things_total counter\n"
    "m_things_total{colour=\"red\"} 7\n"
    "m_things_total{colour=\"green\"} 0\n"
    "# HELP m_bytes_total Bytes.\n"
    "# TYPE m_bytes_total counter\n"
    "m_bytes_total 1234567890123\n"
    "# HELP m_wait_seconds Time.\n"
    "# TYPE m_wait_seconds histogram\n"
    "m_wait_seconds_bucket{le=\"0.001\"} 4\n"
    "m_wait_seconds_bucket{le=\"2.5\"} 6\n"
    "m_wait_seconds_bucket{le=\"+Inf\"} 7\n"
    "m_wait_seconds_sum 9.000042\n"
    "m_wait_seconds_count 7\n";


typedef void (*writer_t)(const conduit_metrics_t *m,
    const conduit_metrics_link_t *links, size_t nlinks, conduit_buf_t *b);

static const writer_t  writers[] = {
    conduit_metrics_prometheus, conduit_metrics_json
};


/* returns what is written, zero-terminated, to be freed by the caller */

static char *
written(writer_t writer, const conduit_metrics_t *m,
    const conduit_metrics_link_t *l, size_t n)
{
    conduit_buf_t  b = { 0 };

    writer(m, l, n, &b);
    conduit_buf_append(&b, "", 1);

    ck_assert_int_eq(b.failed, 0);
    ck_assert_uint_eq(strlen(b.data), b.len - 1);

    return b.data;
}


static json_t *
parsed(const conduit_metrics_t *m, const conduit_metrics_link_t *l, size_t n)
{
    char          *s;
    json_t        *json;
    json_error_t   error;

    s = written(conduit_metrics_json, m, l, n);
    json = json_loads(s, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(json != NULL, "%s in: %s", error.text, s);
    free(s);

    return json;
}


/* returns the integer at a path of member names */

static json_int_t
number(json_t *json, const char *name, const char *below)
{
    json = json_object_get(json, name);

    if (below != NULL) {
        json = json_object_get(json, below);
    }

    ck_assert_msg(json_is_integer(json), "%s %s", name, below ? below : "");

    return json_integer_value(json);
}


static void
writes(writer_t writer, const conduit_metrics_link_t *l, size_t n,
    const char *part)
{
    char  *s;

    s = written(writer, &metrics, l, n);
    ck_assert_msg(strstr(s, part) != NULL, "no %s in: %s", part, s);
    free(s);
}


/* --- histograms */


START_TEST(a_bound_is_the_last_value_of_its_bucket)
{
    size_t               i, k;
    uint64_t             seen[5];
    static const struct {
        uint64_t  usec;
        size_t    cell;
    } cases[] = {
        { 0, 0 },
        { 1, 0 },
        { 999, 0 },
        { 1000, 0 },
        { 1001, 1 },
        { 2499999, 1 },
        { 2500000, 1 },
        { 2500001, 2 },
        { UINT32_MAX, 2 },
        { (uint64_t) UINT32_MAX + 1, 2 },
        { (uint64_t) UINT32_MAX + 1001, 2 },
        { UINT64_MAX, 2 }
    };

    for (i = 0; i < count(cases); i++) {

        memset(seen, 0, sizeof(seen));
        conduit_metrics_observe(seen, bounds, 2, cases[i].usec);

        for (k = 0; k < 3; k++) {
            ck_assert_msg(seen[k] == (k == cases[i].cell),
                          "%" PRIu64 " in cell %zu: %" PRIu64,
                          cases[i].usec, k, seen[k]);
        }

        ck_assert_uint_eq(seen[3], cases[i].usec);
        ck_assert_uint_eq(seen[4], 0);
    }
}
END_TEST


START_TEST(values_add_up)
{
    uint64_t  seen[] = { 10, 20, 30, 40 };

    conduit_metrics_observe(seen, bounds, 2, 5);
    conduit_metrics_observe(seen, bounds, 2, 7);
    conduit_metrics_observe(seen, bounds, 2, 3000000);

    ck_assert_uint_eq(seen[0], 12);
    ck_assert_uint_eq(seen[1], 20);
    ck_assert_uint_eq(seen[2], 31);
    ck_assert_uint_eq(seen[3], 3000052);
}
END_TEST


START_TEST(without_a_bound_there_is_one_bucket)
{
    uint64_t               seen[3] = { 0, 0, 0 };
    static const uint32_t  none[] = { 0 };

    conduit_metrics_observe(seen, none, 0, 0);
    conduit_metrics_observe(seen, none, 0, 3);

    ck_assert_uint_eq(seen[0], 2);
    ck_assert_uint_eq(seen[1], 3);
    ck_assert_uint_eq(seen[2], 0);
}
END_TEST


/* --- text */


START_TEST(text_is_what_prometheus_reads)
{
    char  *s;

    s = written(conduit_metrics_prometheus, &metrics, NULL, 0);
    ck_assert_str_eq(s, text);
    free(s);
}
END_TEST


START_TEST(links_follow_as_two_gauges)
{
    char               *s;
    static const char   tail[] =
        "# HELP m_redis_links Connections to Redis that workers try to keep "
        "open.\n"
        "# TYPE m_redis_links gauge\n"
        "m_redis_links{node=\"127.0.0.1:6379\",link=\"bell\"} 2\n"
        "m_redis_links{node=\"redis:1\",link=\"reader\"} 3\n"
        "# HELP m_redis_links_up Connections to Redis that work.\n"
        "# TYPE m_redis_links_up gauge\n"
        "m_redis_links_up{node=\"127.0.0.1:6379\",link=\"bell\"} 1\n"
        "m_redis_links_up{node=\"redis:1\",link=\"reader\"} 3\n";

    s = written(conduit_metrics_prometheus, &metrics, links, count(links));
    ck_assert_int_eq(strncmp(s, text, sizeof(text) - 1), 0);
    ck_assert_str_eq(s + sizeof(text) - 1, tail);
    free(s);
}
END_TEST


START_TEST(text_is_appended)
{
    conduit_buf_t  b = { 0 };

    conduit_buf_lit(&b, "before\n");
    conduit_metrics_prometheus(&metrics, NULL, 0, &b);

    ck_assert_int_eq(b.failed, 0);
    ck_assert_uint_eq(b.len, sizeof("before\n") - 1 + sizeof(text) - 1);
    ck_assert_int_eq(memcmp(b.data, "before\n# HELP", 13), 0);

    conduit_buf_free(&b);
}
END_TEST


START_TEST(numbers_are_whole)
{
    char                    *s;
    conduit_metrics_t        m = metrics;
    static const uint64_t    most[] = {
        UINT64_MAX, 0, UINT64_MAX, 0, 0, UINT64_MAX, UINT64_MAX
    };

    m.cells = most;

    s = written(conduit_metrics_prometheus, &m, NULL, 0);

    ck_assert_ptr_nonnull(strstr(s, "\nm_bytes_total 18446744073709551615\n"));
    ck_assert_ptr_nonnull(strstr(s, "{colour=\"red\"} 18446744073709551615\n"));
    ck_assert_ptr_nonnull(strstr(s, "\nm_wait_seconds_sum "
                                    "18446744073709.551615\n"));
    ck_assert_ptr_nonnull(strstr(s, "\nm_wait_seconds_count "
                                    "18446744073709551615\n"));
    free(s);
}
END_TEST


START_TEST(bounds_are_short_seconds)
{
    size_t                        i;
    char                         *s, want[64];
    conduit_metrics_t             m;
    uint32_t                      own[] = { 0, 0 };
    static const uint64_t         none[3] = { 0, 0, 0 };
    static const struct {
        uint32_t     usec;
        const char  *seconds;
    } cases[] = {
        { 1, "0.000001" },
        { 10, "0.00001" },
        { 500, "0.0005" },
        { 999999, "0.999999" },
        { 100000, "0.1" },
        { 1000000, "1" },
        { 1000001, "1.000001" },
        { 1010000, "1.01" },
        { 10000000, "10" },
        { 30500000, "30.5" },
        { UINT32_MAX, "4294.967295" }
    };

    const conduit_metric_t  one[] = {
        { "h_seconds", "Time.", CONDUIT_HISTOGRAM, 0, NULL, NULL, own },
        { NULL, NULL, CONDUIT_COUNTER, 0, NULL, NULL, NULL }
    };

    m.prefix = "";
    m.table = one;
    m.cells = none;
    m.gauges = NULL;
    m.build = NULL;
    m.ready = -1;

    for (i = 0; i < count(cases); i++) {

        own[0] = cases[i].usec;

        s = written(conduit_metrics_prometheus, &m, NULL, 0);
        snprintf(want, sizeof(want), "\nh_seconds_bucket{le=\"%s\"} 0\n",
                 cases[i].seconds);
        ck_assert_msg(strstr(s, want) != NULL, "no %s in: %s", want, s);
        ck_assert_ptr_nonnull(strstr(s, "\nh_seconds_sum 0.000000\n"));
        free(s);

        s = written(conduit_metrics_json, &m, NULL, 0);
        snprintf(want, sizeof(want), "{\"%s\": 0, \"+Inf\": 0}",
                 cases[i].seconds);
        ck_assert_msg(strstr(s, want) != NULL, "no %s in: %s", want, s);
        free(s);
    }
}
END_TEST


START_TEST(bounds_of_commands_are_half_a_millisecond_to_10_seconds)
{
    size_t             i, n;
    char              *s, *p, want[64];
    conduit_metrics_t  m;
    uint64_t           each[16];
    static const char *seconds[] = {
        "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1",
        "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"
    };

    static const conduit_metric_t  one[] = {
        { "h", "Time.", CONDUIT_HISTOGRAM, 0, NULL, NULL,
          conduit_metrics_seconds },
        { NULL, NULL, CONDUIT_COUNTER, 0, NULL, NULL, NULL }
    };

    for (i = 0; i < 15; i++) {
        each[i] = i + 1;
    }

    each[15] = 1;

    m.prefix = "";
    m.table = one;
    m.cells = each;
    m.gauges = NULL;
    m.build = NULL;
    m.ready = -1;

    s = written(conduit_metrics_prometheus, &m, NULL, 0);
    p = s;
    n = 0;

    /* buckets are cumulative, and in this order */

    for (i = 0; i < count(seconds); i++) {
        n += i + 1;
        snprintf(want, sizeof(want), "h_bucket{le=\"%s\"} %zu\n", seconds[i],
                 n);
        p = strstr(p, want);
        ck_assert_msg(p != NULL, "no %s in: %s", want, s);
    }

    ck_assert_ptr_nonnull(strstr(p, "h_sum 0.000001\nh_count 120\n"));
    free(s);
}
END_TEST


/* --- versions, and whether Redis works */


START_TEST(versions_and_readiness_come_first)
{
    int                i;
    char              *s, want[512];
    conduit_metrics_t  m;

    static const conduit_metrics_build_t  build = {
        "conduit_x/1.2.3", "x", "1.2.3", "1.31.5", "1.2.0"
    };

    m = metrics;
    m.build = &build;

    for (i = 0; i < 2; i++) {
        m.ready = i;

        snprintf(want, sizeof(want),
                 "# HELP conduit_build_info Versions of the module, and of "
                 "NGINX and hiredis that it was built with.\n"
                 "# TYPE conduit_build_info gauge\n"
                 "conduit_build_info{module=\"x\",version=\"1.2.3\","
                 "nginx=\"1.31.5\",hiredis=\"1.2.0\"} 1\n"
                 "# HELP m_ready Whether Redis works, as reported by the page "
                 "\"ready\".\n"
                 "# TYPE m_ready gauge\n"
                 "m_ready %d\n"
                 "# HELP m_here ", i);
        s = written(conduit_metrics_prometheus, &m, NULL, 0);
        ck_assert_msg(strncmp(s, want, strlen(want)) == 0, "%s", s);
        free(s);

        snprintf(want, sizeof(want),
                 "{\n  \"build_info\": {\"module\": \"x\", \"version\": "
                 "\"1.2.3\", \"nginx\": \"1.31.5\", \"hiredis\": "
                 "\"1.2.0\"},\n  \"ready\": %d,\n  \"here\": 5,\n", i);
        s = written(conduit_metrics_json, &m, NULL, 0);
        ck_assert_msg(strncmp(s, want, strlen(want)) == 0, "%s", s);
        free(s);

        json_decref(parsed(&m, links, count(links)));
    }
}
END_TEST


/* --- JSON */


START_TEST(json_has_the_same_numbers)
{
    json_t  *json, *h;

    json = parsed(&metrics, NULL, 0);

    ck_assert_uint_eq(json_object_size(json), 5);
    ck_assert_int_eq(number(json, "here", NULL), 5);
    ck_assert_int_eq(number(json, "things_total", "red"), 7);
    ck_assert_int_eq(number(json, "things_total", "green"), 0);
    ck_assert_uint_eq(json_object_size(json_object_get(json, "things_total")),
                      2);
    ck_assert_int_eq(number(json, "bytes_total", NULL), 1234567890123);

    h = json_object_get(json, "wait_seconds");
    ck_assert_uint_eq(json_object_size(h), 3);
    ck_assert_int_eq(number(h, "buckets", "0.001"), 4);
    ck_assert_int_eq(number(h, "buckets", "2.5"), 6);
    ck_assert_int_eq(number(h, "buckets", "+Inf"), 7);
    ck_assert_uint_eq(json_object_size(json_object_get(h, "buckets")), 3);
    ck_assert_int_eq(number(h, "count", NULL), 7);
    ck_assert_double_eq(json_real_value(json_object_get(h, "sum")), 9.000042);

    ck_assert(json_is_array(json_object_get(json, "redis_links")));
    ck_assert_uint_eq(json_array_size(json_object_get(json, "redis_links")),
                      0);
    json_decref(json);
}
END_TEST


START_TEST(json_has_a_member_for_each_link)
{
    size_t   i;
    json_t  *json, *list, *link;

    json = parsed(&metrics, links, count(links));
    list = json_object_get(json, "redis_links");

    ck_assert_uint_eq(json_array_size(list), count(links));

    for (i = 0; i < count(links); i++) {
        link = json_array_get(list, i);

        ck_assert_uint_eq(json_object_size(link), 4);
        ck_assert_str_eq(json_string_value(json_object_get(link, "node")),
                         links[i].node);
        ck_assert_str_eq(json_string_value(json_object_get(link, "link")),
                         links[i].link);
        ck_assert_int_eq(number(link, "open", NULL), links[i].open);
        ck_assert_int_eq(number(link, "up", NULL), links[i].up);
    }

    json_decref(json);
}
END_TEST


START_TEST(json_of_nothing_is_an_object)
{
    json_t                         *json;
    static const conduit_metric_t   none[] = {
        { NULL, NULL, CONDUIT_COUNTER, 0, NULL, NULL, NULL }
    };
    static const conduit_metrics_t  m = { "m_", none, NULL, NULL, NULL, -1 };

    json = parsed(&m, NULL, 0);
    ck_assert_uint_eq(json_object_size(json), 1);
    json_decref(json);
}
END_TEST


/* --- names */


START_TEST(names_of_servers_are_escaped)
{
    json_t                              *json, *link;
    static const conduit_metrics_link_t  odd[] = {
        { "a\"b\\c\nd\te\x7f", "unix:/r\xc3\xa9""d\"is", 1, 0 }
    };

    writes(conduit_metrics_prometheus, odd, 1,
           "m_redis_links_up{node=\"a\\\"b\\\\c?d?e?\","
           "link=\"unix:/r\xc3\xa9""d\\\"is\"} 0\n");

    json = parsed(&metrics, odd, 1);
    link = json_array_get(json_object_get(json, "redis_links"), 0);

    ck_assert_str_eq(json_string_value(json_object_get(link, "node")),
                     "a\"b\\c?d?e?");
    ck_assert_str_eq(json_string_value(json_object_get(link, "link")),
                     "unix:/r\xc3\xa9""d\"is");
    json_decref(json);
}
END_TEST


START_TEST(names_of_any_length_are_written)
{
    char                     long_name[1001];
    json_t                  *json, *link;
    conduit_metrics_link_t   l = { long_name, "", UINT32_MAX, 0 };

    memset(long_name, '"', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';

    json = parsed(&metrics, &l, 1);
    link = json_array_get(json_object_get(json, "redis_links"), 0);

    ck_assert_str_eq(json_string_value(json_object_get(link, "node")),
                     long_name);
    ck_assert_int_eq(number(link, "open", NULL), UINT32_MAX);
    json_decref(json);

    writes(conduit_metrics_prometheus, &l, 1,
           "\\\"\",link=\"\"} 4294967295\n");
}
END_TEST


/* --- failures */


START_TEST(memory_that_is_out_is_told)
{
    size_t  i;

    for (i = 0; i < count(writers); i++) {

        /* no more bytes can be appended to a buffer of this length */

        conduit_buf_t  b = { NULL, SIZE_MAX / 4, 0, 0 };

        writers[i](&metrics, links, count(links), &b);

        ck_assert_int_eq(b.failed, 1);
        ck_assert_ptr_null(b.data);
        ck_assert_uint_eq(b.len, SIZE_MAX / 4);
    }
}
END_TEST


START_TEST(a_failure_stays)
{
    size_t         i;
    conduit_buf_t  b = { 0 };

    b.failed = 1;

    for (i = 0; i < count(writers); i++) {
        writers[i](&metrics, links, count(links), &b);

        ck_assert_int_eq(b.failed, 1);
        ck_assert_uint_eq(b.len, 0);
    }

    conduit_buf_free(&b);
}
END_TEST


START_TEST(a_value_that_is_too_long_is_not_cut)
{
    char                    *s, value[123];
    conduit_buf_t            b = { 0 };
    conduit_metrics_t        m = metrics;
    const char              *values[] = { value, NULL };
    const conduit_metric_t   one[] = {
        { "a_total", "A.", CONDUIT_COUNTER, 0, "l", values, NULL },
        { NULL, NULL, CONDUIT_COUNTER, 0, NULL, NULL, NULL }
    };

    m.table = one;

    memset(value, 'x', sizeof(value));
    value[121] = '\0';

    s = written(conduit_metrics_prometheus, &m, NULL, 0);
    ck_assert_ptr_nonnull(strstr(s, "xx\"} 7\n"));
    free(s);

    value[121] = 'x';
    value[122] = '\0';

    conduit_metrics_prometheus(&m, NULL, 0, &b);
    ck_assert_int_eq(b.failed, 1);
    conduit_buf_free(&b);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("metrics");
    tc = tcase_create("metrics");
    tcase_add_test(tc, versions_and_readiness_come_first);
    tcase_add_test(tc, a_bound_is_the_last_value_of_its_bucket);
    tcase_add_test(tc, values_add_up);
    tcase_add_test(tc, without_a_bound_there_is_one_bucket);
    tcase_add_test(tc, text_is_what_prometheus_reads);
    tcase_add_test(tc, links_follow_as_two_gauges);
    tcase_add_test(tc, text_is_appended);
    tcase_add_test(tc, numbers_are_whole);
    tcase_add_test(tc, bounds_are_short_seconds);
    tcase_add_test(tc, bounds_of_commands_are_half_a_millisecond_to_10_seconds);
    tcase_add_test(tc, json_has_the_same_numbers);
    tcase_add_test(tc, json_has_a_member_for_each_link);
    tcase_add_test(tc, json_of_nothing_is_an_object);
    tcase_add_test(tc, names_of_servers_are_escaped);
    tcase_add_test(tc, names_of_any_length_are_written);
    tcase_add_test(tc, memory_that_is_out_is_told);
    tcase_add_test(tc, a_failure_stays);
    tcase_add_test(tc, a_value_that_is_too_long_is_not_cut);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
