/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of broker/conduit_redis_url.c: the parts of each form of URL, and the
 * error for each URL that is refused.
 */

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_redis_url.h"
#include "exact.h"

#define lit(s)    s, sizeof(s) - 1
#define count(a)  (sizeof(a) / sizeof(a[0]))

#define TCP       CONDUIT_REDIS_TCP
#define UNIX      CONDUIT_REDIS_UNIX
#define CLUSTER   CONDUIT_REDIS_CLUSTER
#define SENTINEL  CONDUIT_REDIS_SENTINEL

#define PATH_20   "/0123456789012345678"
#define PATH_100  PATH_20 PATH_20 PATH_20 PATH_20 PATH_20

#define HOSTS_4   "a,b,c,d"
#define HOSTS_16  HOSTS_4 "," HOSTS_4 "," HOSTS_4 "," HOSTS_4


typedef struct {
    const char  *text;
    size_t       len;
    const char  *error;
} refused_t;


/*
 * The URL is copied to memory of its exact size, so that ASan sees a read past
 * its end.  The copy is valid until the next call, as the result points into
 * it.
 */

static const char *
parse(const char *s, size_t len, conduit_redis_url_t *url)
{
    static char  *copy;

    free(copy);
    copy = NULL;

    if (s == NULL) {
        return NULL;
    }

    copy = exact_copy(s, len);
    memset(url, 0xff, sizeof(conduit_redis_url_t));

    return conduit_redis_url_parse(len ? copy : copy + 1, len, url);
}


/* expected is NULL if the part is absent */

static void
check_text(const char *url, conduit_text_t text, const char *expected)
{
    if (expected == NULL) {
        ck_assert_msg(text.data == NULL && text.len == 0, "%s", url);
        return;
    }

    ck_assert_msg(text.data != NULL && text.len == strlen(expected)
                  && memcmp(text.data, expected, text.len) == 0,
                  "%s: \"%.*s\" for \"%s\"", url, (int) text.len, text.data,
                  expected);
}


/* each URL with the expected parts */

START_TEST(urls_are_split)
{
    size_t                i;
    const char           *err;
    conduit_redis_url_t   url;
    static const struct {
        const char              *text;
        conduit_redis_scheme_e   scheme;
        const char              *user;
        const char              *password;
        const char              *host;
        unsigned                 ipv6;
        unsigned                 port;
        const char              *service;
        unsigned                 db;
    } cases[] = {
        { "redis://h", TCP, NULL, NULL, "h", 0, 6379, NULL, 0 },
        { "redis://h/", TCP, NULL, NULL, "h", 0, 6379, NULL, 0 },
        { "redis://h:1", TCP, NULL, NULL, "h", 0, 1, NULL, 0 },
        { "redis://h:65535/15", TCP, NULL, NULL, "h", 0, 65535, NULL, 15 },
        { "redis://h/2147483647", TCP, NULL, NULL, "h", 0, 6379, NULL,
          2147483647 },
        { "redis://127.0.0.1:6380", TCP, NULL, NULL, "127.0.0.1", 0, 6380,
          NULL, 0 },
        { "redis://A-b_c.9", TCP, NULL, NULL, "A-b_c.9", 0, 6379, NULL, 0 },
        { "redis://[::1]", TCP, NULL, NULL, "::1", 1, 6379, NULL, 0 },
        { "redis://[fe80::A:1.2.3.4]:7/2", TCP, NULL, NULL,
          "fe80::A:1.2.3.4", 1, 7, NULL, 2 },
        { "redis://u@h", TCP, "u", NULL, "h", 0, 6379, NULL, 0 },
        { "redis://:p@h", TCP, NULL, "p", "h", 0, 6379, NULL, 0 },
        { "redis://u:p@h:2/3", TCP, "u", "p", "h", 0, 2, NULL, 3 },
        { "redis://u:p:q@r@h", TCP, "u", "p:q@r", "h", 0, 6379, NULL, 0 },
        { "redis://u:a,[b]?c#d e@h", TCP, "u", "a,[b]?c#d e", "h", 0, 6379,
          NULL, 0 },
        { "redis://%75:%2f%2F%25@h", TCP, "%75", "%2f%2F%25", "h", 0, 6379,
          NULL, 0 },
        { "redis://u:\xc3\xa9@h", TCP, "u", "\xc3\xa9", "h", 0, 6379, NULL, 0 },
        { "rediss://u:p@h/1", TCP, "u", "p", "h", 0, 6379, NULL, 1 },
        { "rediss+cluster://:p@h:7000", CLUSTER, NULL, "p", "h", 0, 7000, NULL,
          0 },
        { "rediss+sentinel://h/m/4", SENTINEL, NULL, NULL, "h", 0, 26379, "m",
          4 },
        { "redis+cluster://:p@h:7000", CLUSTER, NULL, "p", "h", 0, 7000, NULL,
          0 },
        { "redis+cluster://h/", CLUSTER, NULL, NULL, "h", 0, 6379, NULL, 0 },
        { "redis+sentinel://h/m", SENTINEL, NULL, NULL, "h", 0, 26379, "m", 0 },
        { "redis+sentinel://u:p@[::]:5/my-m.1_a/4", SENTINEL, "u", "p", "::", 1,
          5, "my-m.1_a", 4 }
    };

    for (i = 0; i < count(cases); i++) {
        err = parse(cases[i].text, strlen(cases[i].text), &url);

        ck_assert_msg(err == NULL, "%s: %s", cases[i].text, err);
        ck_assert_int_eq(url.scheme, cases[i].scheme);
        ck_assert_uint_eq(url.tls, cases[i].text[5] == 's');
        check_text(cases[i].text, url.user, cases[i].user);
        check_text(cases[i].text, url.password, cases[i].password);
        check_text(cases[i].text, url.path, NULL);
        check_text(cases[i].text, url.service, cases[i].service);
        ck_assert_uint_eq(url.db, cases[i].db);
        ck_assert_uint_eq(url.nhosts, 1);
        check_text(cases[i].text, url.hosts[0].name, cases[i].host);
        ck_assert_uint_eq(url.hosts[0].ipv6, cases[i].ipv6);
        ck_assert_uint_eq(url.hosts[0].port, cases[i].port);
    }

    parse(NULL, 0, NULL);
}
END_TEST


START_TEST(unix_sockets_have_a_path)
{
    size_t                i;
    const char           *err;
    conduit_redis_url_t   url;
    static const struct {
        const char  *text;
        const char  *path;
        unsigned     db;
    } cases[] = {
        { "unix:/s", "/s", 0 },
        { "unix:/run/redis/redis.sock?db=3", "/run/redis/redis.sock", 3 },
        { "unix:/a b/c@d:e,f%41", "/a b/c@d:e,f%41", 0 },
        { "unix:" PATH_100 "/012345", PATH_100 "/012345", 0 },
        { "unix:/s?db=2147483647", "/s", 2147483647 }
    };

    for (i = 0; i < count(cases); i++) {
        err = parse(cases[i].text, strlen(cases[i].text), &url);

        ck_assert_msg(err == NULL, "%s: %s", cases[i].text, err);
        ck_assert_int_eq(url.scheme, UNIX);
        ck_assert_uint_eq(url.tls, 0);
        check_text(cases[i].text, url.path, cases[i].path);
        check_text(cases[i].text, url.user, NULL);
        check_text(cases[i].text, url.password, NULL);
        check_text(cases[i].text, url.service, NULL);
        ck_assert_uint_eq(url.db, cases[i].db);
        ck_assert_uint_eq(url.nhosts, 0);
    }

    parse(NULL, 0, NULL);
}
END_TEST


START_TEST(clusters_and_sentinels_have_several_hosts)
{
    size_t               i;
    char                 name[2];
    conduit_redis_url_t  url;

    ck_assert_ptr_null(parse(lit("redis+cluster://u:p,q@a:1,[::2]:2,c"),
                             &url));
    check_text("password", url.password, "p,q");
    ck_assert_uint_eq(url.nhosts, 3);
    check_text("first", url.hosts[0].name, "a");
    ck_assert_uint_eq(url.hosts[0].port, 1);
    ck_assert_uint_eq(url.hosts[0].ipv6, 0);
    check_text("second", url.hosts[1].name, "::2");
    ck_assert_uint_eq(url.hosts[1].port, 2);
    ck_assert_uint_eq(url.hosts[1].ipv6, 1);
    check_text("third", url.hosts[2].name, "c");
    ck_assert_uint_eq(url.hosts[2].port, CONDUIT_REDIS_PORT);
    ck_assert_uint_eq(url.hosts[2].ipv6, 0);

    ck_assert_ptr_null(parse(lit("redis+sentinel://" HOSTS_16 "/m/9"), &url));
    ck_assert_uint_eq(url.nhosts, CONDUIT_REDIS_HOSTS);
    check_text("name", url.service, "m");
    ck_assert_uint_eq(url.db, 9);

    for (i = 0; i < CONDUIT_REDIS_HOSTS; i++) {
        name[0] = (char) ('a' + i % 4);
        name[1] = '\0';
        check_text("host", url.hosts[i].name, name);
        ck_assert_uint_eq(url.hosts[i].port, CONDUIT_SENTINEL_PORT);
    }

    parse(NULL, 0, NULL);
}
END_TEST


static void
check_refused(const refused_t *cases, size_t n)
{
    size_t                i;
    const char           *err;
    conduit_redis_url_t   url;

    for (i = 0; i < n; i++) {
        err = parse(cases[i].text, cases[i].len, &url);

        ck_assert_msg(err != NULL && strcmp(err, cases[i].error) == 0,
                      "%s: %s", cases[i].text, err ? err : "taken");
    }

    parse(NULL, 0, NULL);
}


#define SCHEME                                                                \
    "unknown scheme, it must be \"redis://\", \"rediss://\", "                 \
    "\"redis+cluster://\", \"rediss+cluster://\", "                            \
    "\"redis+sentinel://\", \"rediss+sentinel://\" or \"unix:/\""

#define BRACKETS  "an IPv6 address needs brackets, as in redis://[::1]:6379"


START_TEST(schemes_are_refused)
{
    static const refused_t  cases[] = {
        { lit(""), SCHEME },
        { lit("redis"), SCHEME },
        { lit("redis:"), SCHEME },
        { lit("redis:/"), SCHEME },
        { lit("redis:h"), SCHEME },
        { lit("127.0.0.1:6379"), SCHEME },
        { lit("http://h"), SCHEME },
        { lit("Redis://h"), SCHEME },
        { lit(" redis://h"), SCHEME },
        { lit("redisss://h"), SCHEME },
        { lit("redis+tls://h"), SCHEME },
        { lit("rediss+unix://h"), SCHEME },
        { lit("rediss:h"), SCHEME },
        { lit("unix"), SCHEME },
        { lit("\0redis://h"), "control character" },
        { lit("redis://h\0"), "control character" },
        { lit("redis://h\n"), "control character" },
        { lit("redis://u:p\tq@h"), "control character" },
        { lit("redis://u:p\x7f@h"), "control character" },
        { lit("unix:/a\0b"), "control character" }
    };

    check_refused(cases, count(cases));
}
END_TEST


START_TEST(hosts_are_refused)
{
    static const refused_t  cases[] = {
        { lit("redis://"), "no host" },
        { lit("redis:///0"), "no host" },
        { lit("redis://:1"), "no host" },
        { lit("redis://u:p@"), "no host" },
        { lit("redis://u:p@/0"), "no host" },
        { lit("redis://u:p@:1"), "no host" },
        { lit("redis://[]"), "no host" },
        { lit("redis+cluster://a,"), "no host" },
        { lit("redis+cluster://,a"), "no host" },
        { lit("redis+cluster://a,,b"), "no host" },
        { lit("redis+sentinel:///m"), "no host" },
        { lit("redis://h h"), "invalid host" },
        { lit("redis://h%41"), "invalid host" },
        { lit("redis://h?db=1"), "invalid host" },
        { lit("redis://h#1"), "invalid host" },
        { lit("redis://\xc3\xa9"), "invalid host" },
        { lit("redis://h]"), "invalid host" },
        { lit("redis://[::1"), "invalid host" },
        { lit("redis://::1:6379"), BRACKETS },
        { lit("redis://::1"), BRACKETS },
        { lit("redis://::"), BRACKETS },
        { lit("redis://u:p@fe80::1/2"), BRACKETS },
        { lit("redis://fe80::1"), BRACKETS },
        { lit("redis://2001:DB8::1.2.3.4"), BRACKETS },
        { lit("redis+cluster://a,::1:7000"), BRACKETS },
        { lit("redis+sentinel://::1/m"), BRACKETS },
        { lit("redis://h:1:2"), "invalid port" },
        { lit("redis://[::g]"), "invalid host" },
        { lit("redis://[fe80::1%eth0]"), "invalid host" },
        { lit("redis://h:"), "invalid port" },
        { lit("redis://h:0"), "invalid port" },
        { lit("redis://h:65536"), "invalid port" },
        { lit("redis://h:4294967297"), "invalid port" },
        { lit("redis://h:18446744073709551617"), "invalid port" },
        { lit("redis://h:-1"), "invalid port" },
        { lit("redis://h:+1"), "invalid port" },
        { lit("redis://h:1 "), "invalid port" },
        { lit("redis://h:1x"), "invalid port" },
        { lit("redis://h:1:2"), "invalid port" },
        { lit("redis://[::1]1"), "invalid port" },
        { lit("redis://[::1]]"), "invalid port" },
        { lit("redis://a,b"), "more than one host" },
        { lit("rediss://a:1,b:2"), "more than one host" },
        { lit("redis+cluster://" HOSTS_16 ",e"), "too many hosts" },
        { lit("redis://" HOSTS_16 ",e"), "too many hosts" }
    };

    check_refused(cases, count(cases));
}
END_TEST


START_TEST(credentials_are_refused)
{
    static const refused_t  cases[] = {
        { lit("redis://@h"), "empty user" },
        { lit("redis://:@h"), "empty password" },
        { lit("redis://u:@h"), "empty password" },
        { lit("redis://u:%@h"), "invalid percent-encoding" },
        { lit("redis://u:%4@h"), "invalid percent-encoding" },
        { lit("redis://u:%4g@h"), "invalid percent-encoding" },
        { lit("redis://u:%g4@h"), "invalid percent-encoding" },
        { lit("redis://u:%%41@h"), "invalid percent-encoding" },
        { lit("redis://u:a%00b@h"), "invalid percent-encoding" },
        { lit("redis://%:p@h"), "invalid percent-encoding" },
        { lit("redis://%0:p@h"), "invalid percent-encoding" },
        { lit("redis://u:a/b@h"),
          "\"/\" in the user or password must be written as %2F" },
        { lit("redis://h/0@x"),
          "\"/\" in the user or password must be written as %2F" }
    };

    check_refused(cases, count(cases));
}
END_TEST


START_TEST(what_follows_the_hosts_is_refused)
{
    static const refused_t  cases[] = {
        { lit("redis://h/x"), "invalid database number" },
        { lit("redis://h/-1"), "invalid database number" },
        { lit("redis://h/+1"), "invalid database number" },
        { lit("redis://h/1/"), "invalid database number" },
        { lit("redis://h/1?x"), "invalid database number" },
        { lit("redis://h//"), "invalid database number" },
        { lit("redis://h/ 1"), "invalid database number" },
        { lit("redis://h/0x1"), "invalid database number" },
        { lit("redis://h/2147483648"), "invalid database number" },
        { lit("redis://h/4294967296"), "invalid database number" },
        { lit("redis://h/18446744073709551616"), "invalid database number" },
        { lit("redis+cluster://h/0"), "a cluster has only database 0" },
        { lit("redis+sentinel://h"), "no Sentinel master name" },
        { lit("redis+sentinel://h/"), "no Sentinel master name" },
        { lit("redis+sentinel://h//0"), "no Sentinel master name" },
        { lit("redis+sentinel://h/a b"), "invalid Sentinel master name" },
        { lit("redis+sentinel://h/m?x"), "invalid Sentinel master name" },
        { lit("redis+sentinel://h/m/"), "invalid database number" },
        { lit("redis+sentinel://h/m/x"), "invalid database number" },
        { lit("redis+sentinel://h/m/1/2"), "invalid database number" },
        { lit("unix:"), "the unix socket path is not absolute" },
        { lit("unix:/"), "the unix socket path is not absolute" },
        { lit("unix:s"), "the unix socket path is not absolute" },
        { lit("unix:?db=1"), "the unix socket path is not absolute" },
        { lit("unix:/s?"), "invalid database number" },
        { lit("unix:/s?db"), "invalid database number" },
        { lit("unix:/s?db="), "invalid database number" },
        { lit("unix:/s?db=x"), "invalid database number" },
        { lit("unix:/s?db=1&db=2"), "invalid database number" },
        { lit("unix:/s?DB=1"), "invalid database number" },
        { lit("unix:/s?db=2147483648"), "invalid database number" },
        { lit("unix:" PATH_100 "/0123456"), "the unix socket path is too long" }
    };

    check_refused(cases, count(cases));
}
END_TEST


START_TEST(pieces_are_decoded)
{
    char            out[32];
    size_t          i;
    long            n;
    conduit_text_t  text;
    static const struct {
        const char  *text;
        size_t       len;
        const char  *decoded;        /* NULL: refused */
        size_t       decoded_len;
    } cases[] = {
        { lit(""), lit("") },
        { lit("abc"), lit("abc") },
        { lit("%41%6a%4A%2F%25"), lit("AjJ/%") },
        { lit("a%20b+c"), lit("a b+c") },
        { lit("%01%fF%0a%10"), lit("\x01\xff\n\x10") },
        { lit("%2541"), lit("%41") },
        { lit("%"), NULL, 0 },
        { lit("a%4"), NULL, 0 },
        { lit("%4:"), NULL, 0 },
        { lit("%:4"), NULL, 0 },
        { lit("%@1"), NULL, 0 },
        { lit("%`1"), NULL, 0 },
        { lit("%G1"), NULL, 0 },
        { lit("%/1"), NULL, 0 },
        { lit("%\xe1" "1"), NULL, 0 },
        { lit("%00"), NULL, 0 },
        { lit("abc%00"), NULL, 0 }
    };

    for (i = 0; i < count(cases); i++) {
        text.data = cases[i].text;
        text.len = cases[i].len;
        memset(out, '#', sizeof(out));

        n = conduit_redis_url_decode(text, out);

        if (cases[i].decoded == NULL) {
            ck_assert_msg(n == -1, "%s: taken", cases[i].text);
            continue;
        }

        ck_assert_int_eq(n, (long) cases[i].decoded_len);
        ck_assert_mem_eq(out, cases[i].decoded, cases[i].decoded_len);
        ck_assert_int_eq(out[text.len], '#');
    }

    /* bytes after the end of the text are not read */

    text.data = "%41";
    text.len = 2;
    ck_assert_int_eq(conduit_redis_url_decode(text, out), -1);
    text.len = 1;
    ck_assert_int_eq(conduit_redis_url_decode(text, out), -1);

    text.data = NULL;
    text.len = 0;
    ck_assert_int_eq(conduit_redis_url_decode(text, out), 0);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("redis url");
    tc = tcase_create("redis url");
    tcase_add_test(tc, urls_are_split);
    tcase_add_test(tc, unix_sockets_have_a_path);
    tcase_add_test(tc, clusters_and_sentinels_have_several_hosts);
    tcase_add_test(tc, schemes_are_refused);
    tcase_add_test(tc, hosts_are_refused);
    tcase_add_test(tc, credentials_are_refused);
    tcase_add_test(tc, what_follows_the_hosts_is_refused);
    tcase_add_test(tc, pieces_are_decoded);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
