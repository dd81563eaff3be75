/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of broker/conduit_slot.c: the hash slot of a key, and redirects (MOVED,
 * ASK) of Redis Cluster.
 */

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_slot.h"
#include "exact.h"

#define lit(s)    s, sizeof(s) - 1
#define count(a)  (sizeof(a) / sizeof(a[0]))

#define NONE   CONDUIT_REDIRECT_NONE
#define MOVED  CONDUIT_REDIRECT_MOVED
#define ASK    CONDUIT_REDIRECT_ASK

#define CHANNEL  "97f58c19-ce38-4c6b-8a5b-47f3405691f0"
#define STREAM   "stream:123:" CHANNEL

#define HOST_50  "node-0123456789.0123456789.0123456789.example.com."
#define HOST_250 HOST_50 HOST_50 HOST_50 HOST_50 HOST_50


typedef struct {
    const char  *text;
    size_t       len;
} text_t;


static unsigned
slot(const char *key, size_t len)
{
    char      *text;
    unsigned   n;

    text = exact_copy(key, len);
    n = conduit_slot(text, len);
    free(text);

    return n;
}


/* keys, and the replies of Redis 7.0 to CLUSTER KEYSLOT */

START_TEST(slots_are_those_of_redis)
{
    size_t               i;
    unsigned             n;
    static const struct {
        const char  *key;
        size_t       len;
        unsigned     slot;
    } cases[] = {
        { lit(""), 0 },
        { lit("a"), 15495 },
        { lit("b"), 3300 },
        { lit("foo"), 12182 },
        { lit("bar"), 5061 },
        { lit("123456789"), 12739 },
        { lit("k596"), 0 },
        { lit("k11493"), 0 },
        { lit("k10322"), 16383 },
        { lit("k59998"), 16383 },
        { lit("a\0b"), 8383 },
        { lit("\0"), 0 },
        { lit("\xff\xfe\x80"), 11813 },
        { lit(STREAM), 14225 },
        { lit("stream:18446744073709551615:" CHANNEL), 4224 }
    };

    for (i = 0; i < count(cases); i++) {
        n = slot(cases[i].key, cases[i].len);
        ck_assert_msg(n == cases[i].slot, "%s: slot %u instead of %u",
                      cases[i].key, n, cases[i].slot);
    }
}
END_TEST


START_TEST(hash_tags_are_those_of_redis)
{
    size_t               i;
    unsigned             n;
    static const struct {
        const char  *key;
        size_t       len;
        unsigned     slot;
    } cases[] = {
        { lit("{a}"), 15495 },
        { lit("{a}b"), 15495 },
        { lit("b{a}"), 15495 },
        { lit("{a}{b}"), 15495 },
        { lit("a{b}c{"), 3300 },
        { lit("foo{bar}{zap}"), 5061 },
        { lit("foo{{bar}}zap"), 4015 },
        { lit("{bar"), 4015 },
        { lit("{{a}}"), 10276 },
        { lit("{{a}"), 10276 },
        { lit("{a"), 10276 },
        { lit("{ }"), 9314 },
        { lit("{a\0}b"), 14363 },

        /* without a tag, or if the first tag is empty, the whole key counts */

        { lit("{}"), 15257 },
        { lit("{}a"), 10875 },
        { lit("a{}{b}"), 15033 },
        { lit("foo{}{bar}"), 8363 },
        { lit("a{b"), 13340 },
        { lit("a}b"), 7866 },
        { lit("a}{b"), 11640 },
        { lit("}a{"), 11710 },
        { lit("{"), 4092 },
        { lit("}"), 12090 }
    };

    for (i = 0; i < count(cases); i++) {
        n = slot(cases[i].key, cases[i].len);
        ck_assert_msg(n == cases[i].slot, "%s: slot %u instead of %u",
                      cases[i].key, n, cases[i].slot);
    }
}
END_TEST


START_TEST(every_byte_counts)
{
    char    all[256];
    size_t  i;

    for (i = 0; i < sizeof(all); i++) {
        all[i] = (char) i;
    }

    ck_assert_uint_eq(slot(all, sizeof(all)), 16155);
}
END_TEST


START_TEST(stream_and_its_rate_share_a_slot)
{
    ck_assert_uint_eq(slot(lit("conduit:rate:{" STREAM "}")),
                      slot(lit(STREAM)));
}
END_TEST


START_TEST(key_ends_at_its_length)
{
    ck_assert_uint_eq(conduit_slot("foobar", 3), 12182);

    /* a brace after the end of the key does not close a tag */

    ck_assert_uint_eq(conduit_slot("a{b}", 3), 13340);
}
END_TEST


static void
check_redirect(const char *s, size_t len, conduit_redirect_e kind,
    unsigned slot, const char *host, unsigned port)
{
    char                *text;
    conduit_redirect_t   r;

    text = exact_copy(s, len);
    memset(&r, 0xff, sizeof(r));

    ck_assert_msg(conduit_redirect_parse(text, len, &r) == kind, "%s", s);
    ck_assert_msg(r.kind == kind, "%s", s);
    ck_assert_msg(r.slot == slot, "%s: slot %u", s, r.slot);
    ck_assert_msg(r.port == port, "%s: port %u", s, r.port);
    ck_assert_msg(r.host_len == strlen(host)
                  && memcmp(r.host, host, r.host_len) == 0,
                  "%s: host \"%.*s\"", s, (int) r.host_len, r.host);
    ck_assert_msg(r.host >= text && r.host + r.host_len < text + len, "%s", s);

    free(text);
}


static conduit_redirect_e
kind_of(const char *s, size_t len)
{
    char                *text;
    conduit_redirect_t   r;

    text = exact_copy(s, len);
    memset(&r, 0xff, sizeof(r));

    ck_assert_int_eq(conduit_redirect_parse(text, len, &r), r.kind);
    free(text);

    return r.kind;
}


START_TEST(redirects_are_read)
{
    size_t               i;
    static const struct {
        const char          *text;
        size_t               len;
        conduit_redirect_e   kind;
        unsigned             slot;
        const char          *host;
        unsigned             port;
    } cases[] = {
        { lit("MOVED 3999 127.0.0.1:6381"), MOVED, 3999, "127.0.0.1", 6381 },
        { lit("ASK 3999 127.0.0.1:6381"), ASK, 3999, "127.0.0.1", 6381 },
        { lit("MOVED 0 h:1"), MOVED, 0, "h", 1 },
        { lit("ASK 16383 h:65535"), ASK, 16383, "h", 65535 },
        { lit("MOVED 7 redis-3.example.com:6379"), MOVED, 7,
          "redis-3.example.com", 6379 },

        /* IPv6, as Redis writes it and as others might */

        { lit("MOVED 5 ::1:6379"), MOVED, 5, "::1", 6379 },
        { lit("ASK 5 fd00::A:1:2:7000"), ASK, 5, "fd00::A:1:2", 7000 },
        { lit("MOVED 5 ::ffff:10.0.0.1:6379"), MOVED, 5, "::ffff:10.0.0.1",
          6379 },
        { lit("MOVED 5 [::1]:6379"), MOVED, 5, "::1", 6379 },
        { lit("ASK 5 [fd00::1]:6379"), ASK, 5, "fd00::1", 6379 },

        /* an empty host is the node that sent the redirect */

        { lit("MOVED 9 :6379"), MOVED, 9, "", 6379 },
        { lit("ASK 9 :6379"), ASK, 9, "", 6379 }
    };

    for (i = 0; i < count(cases); i++) {
        check_redirect(cases[i].text, cases[i].len, cases[i].kind,
                       cases[i].slot, cases[i].host, cases[i].port);
    }
}
END_TEST


START_TEST(other_and_broken_errors_are_no_redirects)
{
    size_t               i;
    static const text_t  texts[] = {
        { lit("") }, { lit("M") }, { lit("MOVED") }, { lit("MOVED ") },
        { lit("ASK") }, { lit("ASK ") }, { lit("ERR unknown command") },
        { lit("NOSCRIPT No matching script.") },
        { lit("CLUSTERDOWN Hash slot not served") },
        { lit("TRYAGAIN Multiple keys request during rehashing of slot") },
        { lit("moved 1 h:1") }, { lit("ask 1 h:1") }, { lit(" MOVED 1 h:1") },
        { lit("MOVED1 h:1") }, { lit("MOVEDX 1 h:1") }, { lit("ASKING 1 h:1") },
        { lit("MOVED\0001 h:1") },

        /* malformed slot */

        { lit("MOVED h:1") }, { lit("MOVED  1 h:1") }, { lit("MOVED -1 h:1") },
        { lit("MOVED +1 h:1") }, { lit("MOVED 1x h:1") },
        { lit("MOVED 0x1 h:1") }, { lit("MOVED 16384 h:1") },
        { lit("MOVED 65536 h:1") }, { lit("MOVED 4294967296 h:1") },
        { lit("MOVED 18446744073709551616 h:1") },
        { lit("ASK 16384 h:1") }, { lit("MOVED 1,h:1") },
        { lit("MOVED 1\th:1") },

        /* malformed port */

        { lit("MOVED 1 h") }, { lit("MOVED 1 h:") }, { lit("MOVED 1 h:0") },
        { lit("MOVED 1 h:65536") }, { lit("MOVED 1 h:100000") },
        { lit("MOVED 1 h:4294967297") },
        { lit("MOVED 1 h:18446744073709551617") },
        { lit("MOVED 1 h:-1") }, { lit("MOVED 1 h:+1") },
        { lit("MOVED 1 h:1 ") }, { lit("MOVED 1 h:1\r\n") },
        { lit("MOVED 1 h:1\0") }, { lit("MOVED 1 h: 1") },
        { lit("MOVED 1 h:0x1") }, { lit("MOVED 1 h:1x") },
        { lit("MOVED 1 h:http") }, { lit("MOVED 1 [::1]") },
        { lit("MOVED 1 :") }, { lit("MOVED 1 ") }, { lit("MOVED 1") }
    };

    for (i = 0; i < count(texts); i++) {
        ck_assert_msg(kind_of(texts[i].text, texts[i].len) == NONE,
                      "taken: %s", texts[i].text);
    }
}
END_TEST


/* a redirect that is cut within the port is valid, a shorter one is not */

START_TEST(truncated_redirects_are_none)
{
    size_t               i, n, colon;
    static const text_t  texts[] = {
        { lit("MOVED 3999 127.0.0.1:6381") },
        { lit("ASK 16383 redis.example.com:65535") },
        { lit("MOVED 0 :7") }
    };

    for (i = 0; i < count(texts); i++) {
        colon = (size_t) (strchr(texts[i].text, ':') - texts[i].text);

        for (n = 0; n <= texts[i].len; n++) {
            ck_assert_msg((kind_of(texts[i].text, n) != NONE)
                          == (n > colon + 1),
                          "%.*s", (int) n, texts[i].text);
        }
    }
}
END_TEST


START_TEST(numbers_end_at_the_length)
{
    conduit_redirect_t  r;

    ck_assert_int_eq(conduit_redirect_parse("MOVED 1 h:63799", 14, &r), MOVED);
    ck_assert_uint_eq(r.port, 6379);
    ck_assert_int_eq(conduit_redirect_parse("MOVED 16383 h:1", 11, &r), NONE);
}
END_TEST


START_TEST(hosts_have_a_limit)
{
    check_redirect(lit("MOVED 1 " HOST_250 "12345:6379"), MOVED, 1,
                   HOST_250 "12345", 6379);
    check_redirect(lit("MOVED 1 [" HOST_250 "12345]:6379"), MOVED, 1,
                   HOST_250 "12345", 6379);

    ck_assert_int_eq(kind_of(lit("MOVED 1 " HOST_250 "123456:6379")), NONE);
    ck_assert_int_eq(kind_of(lit("ASK 1 [" HOST_250 "123456]:6379")), NONE);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("slot");
    tc = tcase_create("slot");
    tcase_add_test(tc, slots_are_those_of_redis);
    tcase_add_test(tc, hash_tags_are_those_of_redis);
    tcase_add_test(tc, every_byte_counts);
    tcase_add_test(tc, stream_and_its_rate_share_a_slot);
    tcase_add_test(tc, key_ends_at_its_length);
    tcase_add_test(tc, redirects_are_read);
    tcase_add_test(tc, other_and_broken_errors_are_no_redirects);
    tcase_add_test(tc, truncated_redirects_are_none);
    tcase_add_test(tc, numbers_end_at_the_length);
    tcase_add_test(tc, hosts_have_a_limit);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
