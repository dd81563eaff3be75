/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of auth/conduit_jwt_claims.c: claims that are passed to a callback, for
 * "conduit_gateway_require_claim".
 */

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_jwt.h"
#include "token.h"

#define lit(s)    s, sizeof(s) - 1
#define count(a)  (sizeof(a) / sizeof(a[0]))

#define NOW     1700000000
#define SECRET  "0123456789abcdef0123456789abcdef"
#define EXP     "{\"exp\":1700000000,"

#define OK       CONDUIT_JWT_OK
#define EXPIRED  CONDUIT_JWT_EXPIRED


static conduit_jwt_keys_t  *hs;         /* has one key, SECRET, without a kid */
static char                 token[TOKEN_MAX];


/* claims passed to the callback: a line "name=value" each, or "name" if there
   is no value */

typedef struct {
    char         text[512];
    const char  *names[8];
    int          fail;
} taken_t;


static int
take_claim(void *data, size_t i, const char *text, size_t len)
{
    char     *p;
    taken_t  *taken;

    taken = data;
    p = taken->text + strlen(taken->text);

    if (text == NULL) {
        sprintf(p, "%s\n", taken->names[i]);

    } else {
        sprintf(p, "%s=%.*s\n", taken->names[i], (int) len, text);
    }

    return taken->fail ? -1 : 0;
}


static conduit_jwt_status_e
take(taken_t *taken, size_t n, const char *payload, size_t len)
{
    size_t                 end, signature_len;
    unsigned char          signature[EVP_MAX_MD_SIZE];
    conduit_jwt_claims_t   claims;
    conduit_jwt_policy_t   policy;

    memset(&policy, 0, sizeof(policy));
    taken->text[0] = '\0';

    policy.names = taken->names;
    policy.nnames = n;
    policy.claim = take_claim;
    policy.data = taken;

    end = token_begin(token, lit("{\"alg\":\"HS256\"}"), payload, len);
    signature_len = token_hs256(token, end, lit(SECRET), signature);
    end = token_end(token, end, signature, signature_len);

    return conduit_jwt_verify(hs, &policy, token, end, NOW, &claims);
}


START_TEST(claims_are_handed_on)
{
    int      len;
    char     payload[256];
    size_t   i;
    taken_t  taken;

    static const struct {
        const char  *value;
        const char  *text;
    } cases[] = {
        { "\"\"", "a=\n" }, { "\"x y\"", "a=x y\n" },
        { "\"42\"", "a=42\n" }, { "\"\\u00e9\"", "a=\xc3\xa9\n" },
        { "0", "a=0\n" }, { "-0", "a=0\n" }, { "-0.0", "a=0\n" },
        { "42", "a=42\n" }, { "-42", "a=-42\n" }, { "42.0", "a=42\n" },
        { "4.2e1", "a=42\n" },
        { "18446744073709551615", "a=18446744073709551615\n" },
        { "9223372036854775808", "a=9223372036854775808\n" },
        { "9007199254740993", "a=9007199254740993\n" },
        { "-9007199254740991", "a=-9007199254740991\n" },
        { "9007199254740991.0", "a=9007199254740991\n" },

        /* no value: another type, or a number that is not whole or not exact */

        { "4.25", "a\n" }, { "18446744073709551616", "a\n" },
        { "-9007199254740992", "a\n" }, { "-9007199254740993", "a\n" },
        { "9007199254740993.0", "a\n" }, { "1e16", "a\n" }, { "1e400", "a\n" },
        { "true", "a\n" }, { "false", "a\n" }, { "null", "a\n" },
        { "[\"x\"]", "a\n" }, { "{\"x\":1}", "a\n" }, { "[]", "a\n" },

        /* no value: strings with characters that jansson can't represent */

        { "\"x\\u0000\"", "a\n" }, { "\"\\u0001\"", "a\n" },
        { "\"\\ud800x\"", "a\n" }
    };

    memset(&taken, 0, sizeof(taken));
    taken.names[0] = "a";

    for (i = 0; i < count(cases); i++) {
        len = snprintf(payload, sizeof(payload), EXP "\"a\":%s}",
                       cases[i].value);

        ck_assert_int_eq(take(&taken, 1, payload, (size_t) len), OK);
        ck_assert_str_eq(taken.text, cases[i].text);
    }
}
END_TEST


START_TEST(claims_are_handed_on_in_order)
{
    taken_t  taken;

    memset(&taken, 0, sizeof(taken));
    taken.names[0] = "b";
    taken.names[1] = "none";
    taken.names[2] = "exp";
    taken.names[3] = "";

    ck_assert_int_eq(take(&taken, 4, lit(EXP "\"a\":1,\"b\":\"c\","
                                         "\"\":7}")), OK);
    ck_assert_str_eq(taken.text, "b=c\nnone\nexp=1700000000\n=7\n");

    /* claims of a token that is refused are not passed */

    ck_assert_int_eq(take(&taken, 4, lit("{\"exp\":1,\"b\":\"c\"}")),
                     EXPIRED);
    ck_assert_str_eq(taken.text, "");

    taken.fail = 1;
    ck_assert_int_eq(take(&taken, 4, lit(EXP "\"b\":\"c\"}")),
                     CONDUIT_JWT_NO_MEMORY);
    ck_assert_str_eq(taken.text, "b=c\n");
}
END_TEST


static void
set_up(void)
{
    hs = conduit_jwt_keys_create();
    ck_assert_ptr_nonnull(hs);
    ck_assert_ptr_null(conduit_jwt_keys_add_secret(hs, lit(SECRET), NULL, 0));
}


static void
tear_down(void)
{
    conduit_jwt_keys_free(hs);
}


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("jwt claims");
    tc = tcase_create("jwt claims");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, claims_are_handed_on);
    tcase_add_test(tc, claims_are_handed_on_in_order);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
