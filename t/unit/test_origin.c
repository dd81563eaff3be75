/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_origin.c: which origins "conduit_gateway_cors"
 * accepts, and the error for each that is refused.
 */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_origin.h"
#include "exact.h"

#define count(a)  (sizeof(a) / sizeof(a[0]))


/* the text is copied to memory of its exact size, so that valgrind and ASan see
   a read past its end */

static const char *
fault(const char *s, size_t len)
{
    char        *text;
    const char  *found;

    text = exact_copy(s, len);

    found = conduit_origin_fault(text, len);
    free(text);

    return found;
}


START_TEST(origins_of_browsers_are_taken)
{
    size_t  i;

    static const char  *cases[] = {
        "https://app.example.com", "http://a", "https://1.2.3.4",
        "http://127.0.0.1:8080", "https://app.example.com:8443",
        "http://app.example.com:443", "https://app.example.com:80",
        "http://[::1]", "http://[::1]:8080", "https://[2001:db8::a]:1",
        "http://[::ffff:1.2.3.4]", "https://xn--mnchen-3ya.example",
        "https://a_b.example", "capacitor://localhost",
        "chrome-extension://abcdefgh", "a+b.c1://x", "https://a:1",
        "https://a:65535"
    };

    for (i = 0; i < count(cases); i++) {
        ck_assert_msg(fault(cases[i], strlen(cases[i])) == NULL, "%s: %s",
                      cases[i], fault(cases[i], strlen(cases[i])));
    }
}
END_TEST


START_TEST(other_origins_have_their_fault_told)
{
    size_t       i;
    const char  *found;

    static const struct {
        const char  *text;
        const char  *fault;
    } cases[] = {
        { "", "no scheme" },
        { "a", "no scheme" },
        { "null", "\"null\"" },
        { "app.example.com", "no scheme" },
        { "app.example.com:8080", "no scheme" },
        { "https:", "no scheme" },
        { "https:/", "no scheme" },
        { "https:a", "no scheme" },
        { "://a", "the scheme" },
        { "Https://a", "the scheme" },
        { "ht tp://a", "the scheme" },
        { "*://a", "the scheme" },
        { "https://", "no host" },
        { "https://:8080", "no host" },
        { "https://a/", "a path" },
        { "https://a/b", "a path" },
        { "https:///", "a path" },
        { "https://a@b", "a user" },
        { "https://a:b@c", "a user" },
        { "https://*", "\"*\"" },
        { "https://*.example.com", "\"*\"" },
        { "https://App.example.com", "the host" },
        { "https://a b", "the host" },
        { "https://a?b", "the host" },
        { "https://m\xc3\xbcnchen.example", "the host" },
        { "https://[", "IPv6" },
        { "https://[]", "IPv6" },
        { "https://[::1", "IPv6" },
        { "https://[::1]a", "IPv6" },
        { "https://[::A]", "IPv6" },
        { "https://::1", "no host" },
        { "https://a:", "the port" },
        { "https://a:b", "the port" },
        { "https://a:0", "the port" },
        { "https://a:08", "the port" },
        { "https://a:123456", "the port" },
        { "https://a:1:2", "the port" },
        { "http://a:80", "omit" },
        { "https://a:443", "omit" },
        { "https://[::1]:443", "omit" }
    };

    for (i = 0; i < count(cases); i++) {
        found = fault(cases[i].text, strlen(cases[i].text));

        ck_assert_msg(found != NULL && strstr(found, cases[i].fault), "%s: %s",
                      cases[i].text, found ? found : "taken");
    }

    ck_assert_ptr_nonnull(fault("https://a\0", sizeof("https://a\0") - 1));
    ck_assert_ptr_nonnull(fault("\0://a", sizeof("\0://a") - 1));
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("origin");
    tc = tcase_create("origin");
    tcase_add_test(tc, origins_of_browsers_are_taken);
    tcase_add_test(tc, other_origins_have_their_fault_told);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
