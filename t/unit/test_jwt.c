/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of auth/conduit_jwt.c with HS256: the form of a token, its header and
 * its claims, and the status of each fault.
 */

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "conduit_jwt.h"
#include "exact.h"
#include "token.h"

#define lit(s)    s, sizeof(s) - 1
#define count(a)  (sizeof(a) / sizeof(a[0]))

#define NOW      1700000000
#define SECRET   "0123456789abcdef0123456789abcdef"
#define CHANNEL  "97f58c19-ce38-4c6b-8a5b-47f3405691f0"
#define HS256    "{\"alg\":\"HS256\"}"
#define GOOD     "{\"exp\":1700000000}"
#define EXP      "{\"exp\":1700000000,"

#define OK          CONDUIT_JWT_OK
#define EXPIRED     CONDUIT_JWT_EXPIRED
#define NOT_YET     CONDUIT_JWT_NOT_YET
#define MALFORMED   CONDUIT_JWT_MALFORMED
#define ALGORITHM   CONDUIT_JWT_ALGORITHM
#define ISSUER      CONDUIT_JWT_ISSUER
#define AUDIENCE    CONDUIT_JWT_AUDIENCE
#define CLAIM       CONDUIT_JWT_CLAIM


typedef struct {
    const char            *text;
    size_t                 len;
    conduit_jwt_status_e   status;
} case_t;


static const conduit_jwt_policy_t  any;
static const conduit_jwt_policy_t  org = { .need_org = 1 };

static conduit_jwt_keys_t  *hs;         /* has one key, SECRET, without a kid */
static char                 token[TOKEN_MAX];


/* the token is copied to memory of its exact size, so that ASan sees a read
   past its end */

static conduit_jwt_status_e
verify_at(const conduit_jwt_policy_t *policy, const char *text, size_t len,
    int64_t now, conduit_jwt_claims_t *claims)
{
    char                  *copy;
    conduit_jwt_status_e   status;
    static const conduit_jwt_claims_t  none;

    copy = exact_copy(text, len);
    memset(claims, 0xff, sizeof(conduit_jwt_claims_t));

    status = conduit_jwt_verify(hs, policy, len ? copy : copy + 1, len, now,
                                claims);
    free(copy);

    ck_assert_uint_eq(ERR_peek_error(), 0);

    if (status != OK) {
        ck_assert_mem_eq(claims, &none, sizeof(none));
    }

    return status;
}


static conduit_jwt_status_e
verify(const char *text, size_t len)
{
    conduit_jwt_claims_t  claims;

    return verify_at(&any, text, len, NOW, &claims);
}


static size_t
sign_hs(const char *header, size_t header_len, const char *payload, size_t len)
{
    size_t         n, signature_len;
    unsigned char  signature[EVP_MAX_MD_SIZE];

    n = token_begin(token, header, header_len, payload, len);
    signature_len = token_hs256(token, n, lit(SECRET), signature);

    return token_end(token, n, signature, signature_len);
}


/* verifies tokens with each text as the payload and a good signature */

static void
check_payloads(const conduit_jwt_policy_t *policy, const case_t *cases,
    size_t n)
{
    size_t                 i, len;
    conduit_jwt_status_e   status;
    conduit_jwt_claims_t   claims;

    for (i = 0; i < n; i++) {
        len = sign_hs(lit(HS256), cases[i].text, cases[i].len);
        status = verify_at(policy, token, len, NOW, &claims);
        ck_assert_msg(status == cases[i].status, "%s: %s", cases[i].text,
                      conduit_jwt_status_name(status));
    }
}


START_TEST(claims_are_filled)
{
    size_t                 len;
    conduit_jwt_claims_t   claims;
    conduit_jwt_policy_t   policy;
    static const char      payload[] =
        "{\"iss\":\"i\",\"aud\":\"a\",\"sub\":\"s\",\"exp\":1700000100.5,"
        "\"nbf\":1699999999,\"org_id\":9223372036854775807,"
        "\"channel_id\":\"97F58C19-CE38-4C6B-8A5B-47F3405691F0\",\"x\":[{}]}";

    memset(&policy, 0, sizeof(policy));
    policy.issuer = "i";
    policy.issuer_len = 1;
    policy.audience = "a";
    policy.audience_len = 1;
    policy.need_sub = 1;
    policy.need_org = 1;
    policy.need_channel = 1;

    len = sign_hs(lit("{\"typ\":\"JWT\",\"alg\":\"HS256\"}"), lit(payload));
    ck_assert_int_eq(verify_at(&policy, token, len, NOW, &claims), OK);
    ck_assert_int_eq(claims.exp, 1700000100);
    ck_assert_uint_eq(claims.has_org, 1);
    ck_assert_uint_eq(claims.org_id, INT64_MAX);
    ck_assert_uint_eq(claims.has_channel, 1);
    ck_assert_mem_eq(claims.channel_id, CHANNEL, CONDUIT_UUID_LEN);

    len = sign_hs(lit(HS256), lit(GOOD));
    ck_assert_int_eq(verify_at(&any, token, len, NOW, &claims), OK);
    ck_assert_uint_eq(claims.has_org, 0);
    ck_assert_uint_eq(claims.has_channel, 0);
}
END_TEST


START_TEST(expiry_is_exact_to_the_second)
{
    static const case_t  cases[] = {
        { lit("{\"exp\":1699999940}"), OK },
        { lit("{\"exp\":1699999939}"), EXPIRED },
        { lit("{\"exp\":1699999940.9}"), OK },
        { lit("{\"exp\":1699999939.9}"), EXPIRED },
        { lit("{\"exp\":1.7e9}"), OK },
        { lit("{\"exp\":0}"), EXPIRED },
        { lit("{\"exp\":-0}"), EXPIRED },
        { lit("{\"exp\":0.0}"), EXPIRED },
        { lit("{\"exp\":1e-300}"), EXPIRED },
        { lit("{\"exp\":9223372036854775807}"), OK },
        { lit("{\"exp\":9.2e18}"), OK },
        { lit("{\"exp\":9223372036854775807.0}"), CLAIM },
        { lit("{\"exp\":1e300}"), CLAIM },
        { lit("{\"exp\":9223372036854775808}"), OK },
        { lit("{\"exp\":18446744073709551615}"), OK },
        { lit("{\"exp\":18446744073709551616}"), CLAIM },
        { lit("{\"exp\":99999999999999999999999999}"), CLAIM },
        { lit("{\"exp\":1e999}"), CLAIM },
        { lit("{\"exp\":0.1e400}"), CLAIM },
        { lit("{\"exp\":-1e999}"), CLAIM },
        { lit("{\"exp\":0e999}"), EXPIRED },
        { lit("{\"exp\":1e-999}"), EXPIRED },
        { lit("{\"exp\":170000000000000e-5}"), OK },
        { lit("{\"exp\":0.0017e12}"), OK },
        { lit("{\"exp\":-1}"), CLAIM },
        { lit("{\"exp\":-0.5}"), CLAIM },
        { lit("{\"exp\":-9223372036854775808}"), CLAIM },
        { lit("{\"exp\":-9223372036854775809}"), CLAIM },
        { lit("{\"exp\":-18446744073709551615}"), CLAIM },
        { lit("{\"exp\":-1e300}"), CLAIM },
        { lit("{\"exp\":\"1700000000\"}"), CLAIM },
        { lit("{\"exp\":null}"), CLAIM },
        { lit("{\"exp\":true}"), CLAIM },
        { lit("{\"exp\":[1700000000]}"), CLAIM },
        { lit("{\"exp\":{}}"), CLAIM },
        { lit("{\"EXP\":1700000000}"), CLAIM },
        { lit("{}"), CLAIM }
    };

    check_payloads(&any, cases, count(cases));
}
END_TEST


START_TEST(times_do_not_overflow)
{
    size_t                len;
    conduit_jwt_claims_t  claims;

    len = sign_hs(lit(HS256), lit("{\"exp\":9223372036854775807,\"nbf\":0}"));

    ck_assert_int_eq(verify_at(&any, token, len, 0, &claims), OK);
    ck_assert_int_eq(claims.exp, CONDUIT_JWT_TIME_MAX);
    ck_assert_int_eq(verify_at(&any, token, len, CONDUIT_JWT_TIME_MAX
                               + CONDUIT_JWT_LEEWAY, &claims), OK);
    ck_assert_int_eq(verify_at(&any, token, len, INT64_MAX, &claims),
                     EXPIRED);
    ck_assert_int_eq(verify_at(&any, token, len, INT64_MIN, &claims),
                     NOT_YET);
}
END_TEST


START_TEST(a_token_is_good_from_nbf_on)
{
    static const case_t  cases[] = {
        { lit(EXP "\"nbf\":1700000060}"), OK },
        { lit(EXP "\"nbf\":1700000061}"), NOT_YET },
        { lit(EXP "\"nbf\":1700000060.9}"), OK },
        { lit(EXP "\"nbf\":0}"), OK },
        { lit(EXP "\"nbf\":9223372036854775807}"), NOT_YET },
        { lit(EXP "\"nbf\":9e18}"), NOT_YET },
        { lit(EXP "\"nbf\":18446744073709551615}"), NOT_YET },
        { lit(EXP "\"nbf\":18446744073709551616}"), CLAIM },
        { lit(EXP "\"nbf\":1e300}"), CLAIM },
        { lit(EXP "\"nbf\":1e400}"), CLAIM },
        { lit(EXP "\"nbf\":-1}"), CLAIM },
        { lit(EXP "\"nbf\":\"0\"}"), CLAIM },
        { lit(EXP "\"nbf\":false}"), CLAIM },
        { lit(EXP "\"nbf\":null}"), OK }
    };

    check_payloads(&any, cases, count(cases));
}
END_TEST


START_TEST(issuer_is_the_policys)
{
    conduit_jwt_policy_t  policy;
    static const case_t   cases[] = {
        { lit(EXP "\"iss\":\"me\"}"), OK },
        { lit(EXP "\"iss\":\"m\\u0065\"}"), OK },
        { lit(EXP "\"iss\":\"m\"}"), ISSUER },
        { lit(EXP "\"iss\":\"me \"}"), ISSUER },
        { lit(EXP "\"iss\":\"Me\"}"), ISSUER },
        { lit(EXP "\"iss\":\"\"}"), ISSUER },
        { lit(EXP "\"iss\":[\"me\"]}"), ISSUER },
        { lit(EXP "\"iss\":null}"), ISSUER },
        { lit(EXP "\"iss\":1}"), ISSUER },
        { lit(GOOD), ISSUER },
        { lit(EXP "\"iss\":\"me\\u0000\"}"), ISSUER },
        { lit(EXP "\"iss\":\"\\u0000me\"}"), ISSUER },
        { lit(EXP "\"iss\":\"me\\ud800\"}"), ISSUER },
        { lit(EXP "\"iss\":\"me\0\"}"), MALFORMED },
        { lit("{\"exp\":0,\"iss\":\"you\"}"), EXPIRED }
    };

    policy = any;
    policy.issuer = "me";
    policy.issuer_len = 2;

    check_payloads(&policy, cases, count(cases));
}
END_TEST


START_TEST(audience_holds_the_policys)
{
    conduit_jwt_policy_t  policy;
    static const case_t   cases[] = {
        { lit(EXP "\"aud\":\"it\"}"), OK },
        { lit(EXP "\"aud\":[\"it\"]}"), OK },
        { lit(EXP "\"aud\":[null,1,{},[],\"\",\"i\",\"it\",true]}"), OK },
        { lit(EXP "\"aud\":[]}"), AUDIENCE },
        { lit(EXP "\"aud\":[[\"it\"]]}"), AUDIENCE },
        { lit(EXP "\"aud\":[\"i\",\"t\",\"IT\",\"its\"]}"), AUDIENCE },
        { lit(EXP "\"aud\":{\"it\":\"it\"}}"), AUDIENCE },
        { lit(EXP "\"aud\":\"i\"}"), AUDIENCE },
        { lit(EXP "\"aud\":\"it,\"}"), AUDIENCE },
        { lit(EXP "\"aud\":7}"), AUDIENCE },
        { lit(EXP "\"aud\":null}"), AUDIENCE },
        { lit(GOOD), AUDIENCE },
        { lit("{\"exp\":0,\"aud\":\"i\"}"), EXPIRED }
    };

    policy = any;
    policy.audience = "it";
    policy.audience_len = 2;

    check_payloads(&policy, cases, count(cases));
}
END_TEST


START_TEST(faults_are_told_in_order)
{
    conduit_jwt_policy_t  policy;
    static const case_t   cases[] = {
        { lit("{\"exp\":0,\"nbf\":\"\",\"iss\":0,\"aud\":0}"), EXPIRED },
        { lit(EXP "\"nbf\":1800000000,\"iss\":0,\"aud\":0}"), NOT_YET },
        { lit(EXP "\"iss\":0,\"aud\":0}"), ISSUER },
        { lit(EXP "\"iss\":\"me\",\"aud\":0}"), AUDIENCE },
        { lit(EXP "\"iss\":\"me\",\"aud\":\"it\"}"), CLAIM },
        { lit(EXP "\"iss\":\"me\",\"aud\":\"it\",\"sub\":\"\"}"), OK }
    };

    policy = any;
    policy.issuer = "me";
    policy.issuer_len = 2;
    policy.audience = "it";
    policy.audience_len = 2;
    policy.need_sub = 1;

    check_payloads(&policy, cases, count(cases));
}
END_TEST


START_TEST(needed_claims_have_their_type)
{
    conduit_jwt_policy_t  policy;
    static const case_t   sub[] = {
        { lit(EXP "\"sub\":\"s\"}"), OK },
        { lit(EXP "\"sub\":1}"), CLAIM },
        { lit(EXP "\"sub\":null}"), CLAIM },
        { lit(GOOD), CLAIM }
    };
    static const case_t   orgs[] = {
        { lit(EXP "\"org_id\":0}"), OK },
        { lit(EXP "\"org_id\":9223372036854775807}"), OK },
        { lit(EXP "\"org_id\":9223372036854775808}"), OK },
        { lit(EXP "\"org_id\":18446744073709551615}"), OK },
        { lit(EXP "\"org_id\":18446744073709551616}"), CLAIM },
        { lit(EXP "\"org_id\":36893488147419103232}"), CLAIM },
        { lit(EXP "\"org_id\":1e400}"), CLAIM },
        { lit(EXP "\"org_id\":-0}"), CLAIM },
        { lit(EXP "\"org_id\":-1}"), CLAIM },
        { lit(EXP "\"org_id\":-9223372036854775808}"), CLAIM },
        { lit(EXP "\"org_id\":-9223372036854775809}"), CLAIM },
        { lit(EXP "\"org_id\":1.0}"), CLAIM },
        { lit(EXP "\"org_id\":1e0}"), CLAIM },
        { lit(EXP "\"org_id\":18446744073709551615.0}"), CLAIM },
        { lit(EXP "\"org_id\":[1]}"), CLAIM },
        { lit(EXP "\"org_id\":1,\"org_id\":1}"), MALFORMED },
        { lit(EXP "\"org_id\":1,\"org\\u005fid\":2}"), MALFORMED },
        { lit(EXP "\"org_id\":01}"), MALFORMED },
        { lit(EXP "\"org_id\":+1}"), MALFORMED },
        { lit(EXP "\"org_id\":\"1\"}"), CLAIM },
        { lit(EXP "\"org_id\":null}"), CLAIM },
        { lit(GOOD), CLAIM }
    };
    static const case_t   channel[] = {
        { lit(EXP "\"channel_id\":\"" CHANNEL "\"}"), OK },
        { lit(EXP "\"channel_id\":\"{" CHANNEL "}\"}"), OK },
        { lit(EXP "\"channel_id\":\"urn:uuid:" CHANNEL "\"}"), OK },
        { lit(EXP "\"channel_id\":\"97F58C19CE384C6B8A5B47F3405691F0\"}"),
          OK },
        { lit(EXP "\"channel_id\":\"" CHANNEL " \"}"), CLAIM },
        { lit(EXP "\"channel_id\":\"" CHANNEL "\\u0000\"}"), CLAIM },
        { lit(EXP "\"channel_id\":\"97f58c19\"}"), CLAIM },
        { lit(EXP "\"channel_id\":\"\"}"), CLAIM },
        { lit(EXP "\"channel_id\":[\"" CHANNEL "\"]}"), CLAIM },
        { lit(EXP "\"channel_id\":1}"), CLAIM },
        { lit(GOOD), CLAIM }
    };

    policy = any;
    policy.need_sub = 1;
    check_payloads(&policy, sub, count(sub));

    policy = any;
    policy.need_org = 1;
    check_payloads(&policy, orgs, count(orgs));

    policy = any;
    policy.need_channel = 1;
    check_payloads(&policy, channel, count(channel));
}
END_TEST


START_TEST(claims_that_are_not_needed_may_be_anything)
{
    size_t                 i, len;
    conduit_jwt_claims_t   claims;
    static const case_t    cases[] = {
        { lit(EXP "\"org_id\":-1,\"channel_id\":1}"), OK },
        { lit(EXP "\"org_id\":\"1\",\"channel_id\":\"\"}"), OK },
        { lit(EXP "\"org_id\":1.5,\"channel_id\":null,\"sub\":0}"), OK },
        { lit(EXP "\"iss\":0,\"aud\":0}"), OK }
    };

    for (i = 0; i < count(cases); i++) {
        len = sign_hs(lit(HS256), cases[i].text, cases[i].len);
        ck_assert_int_eq(verify_at(&any, token, len, NOW, &claims), OK);
        ck_assert_uint_eq(claims.has_org, 0);
        ck_assert_uint_eq(claims.has_channel, 0);
    }
}
END_TEST


START_TEST(org_has_64_bits)
{
    size_t                 i, len;
    conduit_jwt_claims_t   claims;
    static const struct {
        const char  *text;
        size_t       len;
        uint64_t     org;
    } cases[] = {
        { lit(EXP "\"org_id\":0}"), 0 },
        { lit(EXP "\"org_id\":1 }"), 1 },
        { lit(EXP "\"org_id\":9223372036854775807}"), INT64_MAX },
        { lit(EXP "\"org_id\":9223372036854775808}"), 1ull << 63 },
        { lit(EXP "\"org_id\":9223372036854775809}"), (1ull << 63) + 1 },
        { lit(EXP "\"org_id\":18446744073709551614}"), UINT64_MAX - 1 },
        { lit(EXP "\"org_id\":18446744073709551615}"), UINT64_MAX },
        { lit("{\"org_id\":18446744073709551615,\"exp\":1700000000}"),
          UINT64_MAX }
    };

    for (i = 0; i < count(cases); i++) {
        len = sign_hs(lit(HS256), cases[i].text, cases[i].len);
        ck_assert_int_eq(verify_at(&any, token, len, NOW, &claims), OK);
        ck_assert_uint_eq(claims.has_org, 1);
        ck_assert_uint_eq(claims.org_id, cases[i].org);
    }
}
END_TEST


START_TEST(other_claims_hold_any_json)
{
    char                   header[1000], payload[1000];
    size_t                 i, j, n, len;
    conduit_jwt_claims_t   claims;
    static const char     *places[] = {
        "\"x\":%s,", "\"x\":[%s],", "\"x\":{\"y\":%s},", "\"x\":[0,%s,{}],"
    };
    static const char     *values[] = {
        "0", "-0", "-1", "9223372036854775808", "18446744073709551615",
        "18446744073709551616", "-9223372036854775809",
        "123456789012345678901234567890", "1e400", "-1e400", "1E+400",
        "1.5e400", "0.1e400", "0e400", "1e-400", "1e99999999999999999999",
        "1e-99999999999999999999", "true", "null", "[]", "{}", "\"\"",
        "\"a\\u0000b\"", "\"\\u0000\"", "\"\\u0001\"", "{\"\\u0000\":1}",
        "{\"\\u0000\":1,\"\\u0000\\u0000\":1,\"\":1,\"\\u0001\":1}",
        "{\"\\u0000\":1,\"\\u0001\\u0001\":1}", "\"\\ud800\"",
        "\"\\uDFFF\"", "\"\\ud83d\\ude00\"", "\"\\ude00\\ud83d\"",
        "\"\\ud83d\\ud83d\\ude00\"", "\"\\ud83d\\u0000\"", "\"\\ud83d\\n\"",
        "\"\\ud83dude00\"", "{\"\\ud800\":1,\"\\ud801\":2,\"\\ue800\":3}",
        "\"\\\\u0000\"", "\"\\\"18446744073709551616\"", "\"1e400\"",
        "[18446744073709551616,\"\\\\\",1e400]"
    };

    for (i = 0; i < count(values); i++) {
        for (j = 0; j < count(places); j++) {
            n = snprintf(payload, sizeof(payload), "{");
            n += snprintf(payload + n, sizeof(payload) - n, places[j],
                          values[i]);
            n += snprintf(payload + n, sizeof(payload) - n,
                          "\"exp\":1700000000,\"org_id\":7}");

            len = sign_hs(lit(HS256), payload, n);
            ck_assert_msg(verify_at(&any, token, len, NOW, &claims) == OK,
                          "refused: %s", payload);
            ck_assert_int_eq(claims.exp, 1700000000);
            ck_assert_uint_eq(claims.org_id, 7);

            /* the same in a header */

            n = snprintf(header, sizeof(header), "{");
            n += snprintf(header + n, sizeof(header) - n, places[j],
                          values[i]);
            n += snprintf(header + n, sizeof(header) - n,
                          "\"alg\":\"HS256\"}");

            len = sign_hs(header, n, lit(GOOD));
            ck_assert_msg(verify(token, len) == OK, "refused: %s", header);
        }
    }
}
END_TEST


/* texts that look like numbers, also like those that are rewritten for jansson,
   but are not */

START_TEST(what_is_no_number_makes_a_token_malformed)
{
    char    payload[1000];
    size_t  i, n, len;
    static const char  *values[] = {
        "-", "+1", "01", "-01", "00", "1.", ".5", "-.5", "1e", "1e+", "1e-",
        "1.e1", "1.5.5", "1e5e5", "1e5.5", "1-1", "1+", "--1", "-e400",
        "-.5e400", "00.5e400", "-00.5e400", "1.e400", "1.5.5e400",
        "1e400e400", "1e400.5", "1e400-", "1e400+1", "--1e400",
        "018446744073709551616", "18446744073709551616-",
        "-018446744073709551615", "9223372036854775808."
    };

    for (i = 0; i < count(values); i++) {
        n = (size_t) snprintf(payload, sizeof(payload),
                              "{\"exp\":1700000000,\"x\":%s}", values[i]);
        len = sign_hs(lit(HS256), payload, n);
        ck_assert_msg(verify(token, len) == MALFORMED, "taken: %s", payload);

        n = (size_t) snprintf(payload, sizeof(payload),
                              "{\"alg\":\"HS256\",\"x\":%s}", values[i]);
        len = sign_hs(payload, n, lit(GOOD));
        ck_assert_msg(verify(token, len) == MALFORMED, "taken: %s", payload);
    }
}
END_TEST


/* a number with as many digits as fit into a token */

START_TEST(long_numbers_are_read)
{
    char       *payload;
    size_t      i, n, len;
    conduit_jwt_claims_t  claims;
    static const struct {
        const char            *before;
        char                   digit;
        const char            *after;
        conduit_jwt_status_e   status;
    } cases[] = {
        { "{\"exp\":1700000000,\"x\":1", '9', "}", OK },
        { "{\"exp\":1700000000,\"x\":-1", '9', "}", OK },
        { "{\"exp\":1700000000,\"x\":0.", '0', "1}", OK },
        { "{\"exp\":1700000000,\"x\":1e", '9', "}", OK },
        { "{\"exp\":1700000000,\"x\":1e-", '9', "}", OK },
        { "{\"exp\":1700000000,\"org_id\":1", '0', "}", CLAIM },
        { "{\"org_id\":1,\"exp\":1700000000.", '0', "}", OK },
        { "{\"org_id\":1,\"exp\":1700000000.", '9', "}", OK },
        { "{\"org_id\":1,\"exp\":0.", '0', "17e9900}", OK },
        { "{\"org_id\":1,\"exp\":17", '0', "e-9882}", OK },
        { "{\"org_id\":1,\"exp\":0", '0', "}", MALFORMED },
        { "{\"exp\":1700000000,\"x\":1", '9', ".}", MALFORMED },
        { "{\"exp\":1700000000,\"x\":1", '9', "e}", MALFORMED },
        { "{\"exp\":1700000000,\"x\":1", '9', "-1}", MALFORMED },
        { "{\"exp\":1700000000,\"x\":.", '9', "}", MALFORMED },
        { "{\"exp\":1700000000,\"x\":+", '9', "}", MALFORMED },
        { "{\"exp\":1700000000,\"x\":e", '9', "}", MALFORMED },
        { "{\"exp\":1700000000,\"x\":1", '9', "", MALFORMED }
    };

    payload = malloc(CONDUIT_JWT_MAX_LEN);
    ck_assert_ptr_nonnull(payload);

    for (i = 0; i < count(cases); i++) {
        n = strlen(cases[i].before);
        memcpy(payload, cases[i].before, n);
        memset(payload + n, cases[i].digit, 9890);
        n += 9890;
        memcpy(payload + n, cases[i].after, strlen(cases[i].after));
        n += strlen(cases[i].after);

        len = sign_hs(lit(HS256), payload, n);
        ck_assert_msg(verify_at((cases[i].status == CLAIM) ? &org : &any,
                                token, len, NOW, &claims)
                      == cases[i].status, "case %zu", i);
    }

    free(payload);
}
END_TEST


START_TEST(payload_is_one_json_object)
{
    static const case_t  cases[] = {
        { lit(" \r\n\t{ \"exp\" : 1700000000 }\n"), OK },
        { lit("[{\"exp\":1700000000}]"), MALFORMED },
        { lit("\"exp\""), MALFORMED },
        { lit("1700000000"), MALFORMED },
        { lit("null"), MALFORMED },
        { lit(" "), MALFORMED },
        { lit("{"), MALFORMED },
        { lit("{\"exp\":1700000000"), MALFORMED },
        { lit("{\"exp\":1700000000,}"), MALFORMED },
        { lit("{'exp':1700000000}"), MALFORMED },
        { lit("{\"exp\":01700000000}"), MALFORMED },
        { lit("{\"exp\":NaN}"), MALFORMED },
        { lit("{\"exp\":Infinity}"), MALFORMED },
        { lit("{\"exp\":0x7fffffff}"), MALFORMED },
        { lit(GOOD GOOD), MALFORMED },
        { lit(GOOD "]"), MALFORMED },
        { lit(GOOD "\0"), MALFORMED },
        { lit("\0" GOOD), MALFORMED },
        { lit("\xef\xbb\xbf" GOOD), MALFORMED },
        { lit(EXP "\"x\":\"\xff\"}"), MALFORMED },
        { lit(EXP "\"x\":\"\\ud80\"}"), MALFORMED },
        { lit(EXP "\"x\":\"\\u000g\"}"), MALFORMED },
        { lit(EXP "\"x\":\"\\u\"}"), MALFORMED },
        { lit(EXP "\"x\":\"\\x\"}"), MALFORMED },
        { lit(EXP "\"x\":\"\\"), MALFORMED },
        { lit(EXP "\"x\":\"\\u0000"), MALFORMED },
        { lit(EXP "\"x\":\"\\ud800\\u"), MALFORMED },
        { lit(EXP "\"x\":\"\x01\"}"), MALFORMED },
        { lit(EXP "\"x\":1\0}"), MALFORMED },
        { lit("{\"exp\":1700000000\0}"), MALFORMED },
        { lit("{\"exp\":\0001700000000}"), MALFORMED },
        { lit(EXP "\"x\\u0000\":1}"), OK },
        { lit(EXP "\"exp\\u0000\":1}"), OK },
        { lit(EXP "\"x\\u0000\":1,\"x\\u0000\":1}"), MALFORMED },
        { lit(EXP "\"x\":18446744073709551616 18446744073709551616}"),
          MALFORMED },
        { lit(EXP "\"x\":true18446744073709551616}"), MALFORMED },
        { lit(EXP "18446744073709551616:1}"), MALFORMED },
        { lit(EXP "\"exp\":1800000000}"), MALFORMED },
        { lit(EXP "\"e\\u0078p\":1800000000}"), MALFORMED },
        { lit(EXP "\"x\":{\"y\":1,\"y\":2}}"), MALFORMED }
    };

    check_payloads(&any, cases, count(cases));
}
END_TEST


START_TEST(header_names_the_sets_algorithm)
{
    size_t                 i, len;
    conduit_jwt_status_e   status;
    static const case_t    cases[] = {
        { lit("{\"alg\":\"HS256\",\"typ\":7,\"x\":[]}"), OK },
        { lit("{\"alg\":\"none\"}"), ALGORITHM },
        { lit("{\"alg\":\"None\"}"), ALGORITHM },
        { lit("{\"alg\":\"hs256\"}"), ALGORITHM },
        { lit("{\"alg\":\"HS256 \"}"), ALGORITHM },
        { lit("{\"alg\":\"HS384\"}"), ALGORITHM },
        { lit("{\"alg\":\"HS2560\"}"), ALGORITHM },
        { lit("{\"alg\":\"HS25\"}"), ALGORITHM },
        { lit("{\"alg\":\"RS256\"}"), ALGORITHM },
        { lit("{\"alg\":\"\"}"), ALGORITHM },
        { lit("{\"alg\":null}"), ALGORITHM },
        { lit("{\"alg\":256}"), ALGORITHM },
        { lit("{\"alg\":[\"HS256\"]}"), ALGORITHM },
        { lit("{\"ALG\":\"HS256\"}"), ALGORITHM },
        { lit("{}"), ALGORITHM },
        { lit("{\"alg\":\"HS256\",\"crit\":[\"exp\"]}"), ALGORITHM },
        { lit("{\"alg\":\"HS256\",\"crit\":[]}"), ALGORITHM },
        { lit("{\"alg\":\"HS256\",\"crit\":false}"), ALGORITHM },
        { lit("{\"alg\":\"HS256\",\"crit\":null}"), OK },
        { lit("{\"alg\":\"HS256\",\"kid\":\"x\"}"), OK },
        { lit("{\"alg\":\"HS256\",\"kid\":\"\"}"), OK },
        { lit("{\"alg\":\"HS256\",\"kid\":null}"), OK },
        { lit("{\"alg\":\"HS256\",\"kid\":1}"), MALFORMED },
        { lit("{\"alg\":\"HS256\",\"kid\":[\"x\"]}"), MALFORMED },
        { lit("{\"alg\":\"HS256\",\"kid\":\"x\\u0000\"}"), OK },
        { lit("{\"alg\":null}"), ALGORITHM },
        { lit("{\"alg\":\"HS256\",\"crit\":null,\"crit\":[\"x\"]}"),
          MALFORMED },
        { lit("{\"alg\":\"none\",\"alg\":\"HS256\"}"), MALFORMED },
        { lit("{\"alg\":\"HS256\\u0000\"}"), ALGORITHM },
        { lit("[\"HS256\"]"), MALFORMED },
        { lit("\"HS256\""), MALFORMED },
        { lit(HS256 "x"), MALFORMED },
        { lit(HS256 "\0"), MALFORMED }
    };

    for (i = 0; i < count(cases); i++) {
        len = sign_hs(cases[i].text, cases[i].len, lit(GOOD));
        status = verify(token, len);
        ck_assert_msg(status == cases[i].status, "%s: %s", cases[i].text,
                      conduit_jwt_status_name(status));
    }
}
END_TEST


/* a good token with characters added, changed or missing in and around parts */

START_TEST(form_is_strict)
{
    char                  *text, *dot1, *dot2;
    size_t                 i, len;
    conduit_jwt_status_e   status;
    static const char     *formats[] = {
        "", ".", "..", "...", "%1$s", "%1$s.%2$s", "%1$s..%3$s", ".%2$s.%3$s",
        "%1$s.%2$s.", "%1$s.%2$s.%3$s.", ".%1$s.%2$s.%3$s", "%1$s.%2$s..%3$s",
        "%1$s.%2$s.%3$s.%3$s", "%1$s.%2$s.%3$s=", "%1$s=.%2$s.%3$s",
        " %1$s.%2$s.%3$s", "%1$s.%2$s.%3$s ", "%1$s.%2$s.%3$s\n",
        "%1$s.%2$s.%3$sAA", "%1$s.%2$s.%3$s+", "%1$s.%2$s.%3$s/",
        "%1$s.%2$s.%3$s\xff", "Bearer %1$s.%2$s.%3$s",
        "%1$s,%2$s,%3$s", "%1$s.%2$s.A", "%1$s.%2$s.Zh", "%1$s.%2$s.Zm9=",
        "%1$s.%2$s.Zm9", "A.%2$s.%3$s", "e31.%2$s.%3$s",
        "eyJhbGciOiJub25lIn0.%2$s.%3$s.%3$s"
    };

    len = sign_hs(lit(HS256), lit(GOOD));
    ck_assert_int_eq(verify(token, len), OK);

    token[len] = '\0';
    dot1 = strchr(token, '.');
    dot2 = strchr(dot1 + 1, '.');
    *dot1 = '\0';
    *dot2 = '\0';

    text = malloc(TOKEN_MAX);
    ck_assert_ptr_nonnull(text);

    for (i = 0; i < count(formats); i++) {
        snprintf(text, TOKEN_MAX, formats[i], token, dot1 + 1, dot2 + 1);
        status = verify(text, strlen(text));
        ck_assert_msg(status == MALFORMED, "%s: %s", formats[i],
                      conduit_jwt_status_name(status));
    }

    /* a zero byte does not end the token */

    *dot1 = '.';
    *dot2 = '.';
    ck_assert_int_eq(verify(token, len), OK);
    ck_assert_int_eq(verify(token, len + 1), MALFORMED);

    free(text);
}
END_TEST


/* other spellings of the payload in base64url are refused, even if signed */

START_TEST(payload_is_spelled_in_one_way)
{
    size_t                 i, n, len, signature_len;
    unsigned char          signature[EVP_MAX_MD_SIZE];
    conduit_jwt_status_e   status;
    static const case_t    cases[] = {
        { lit("eyJleHAiOjE3MDAwMDAwMDB9"), OK },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9IA"), OK },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9ICA"), OK },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9IA=="), MALFORMED },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9ICA="), MALFORMED },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9IB"), MALFORMED },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9IP"), MALFORMED },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9ICB"), MALFORMED },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9ICD"), MALFORMED },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9I"), MALFORMED },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9\n"), MALFORMED },
        { lit(" eyJleHAiOjE3MDAwMDAwMDB9"), MALFORMED },
        { lit("eyJleHAi OjE3MDAwMDAwMDB9"), MALFORMED },
        { lit("eyJleHAiOjE3MDAwMDAwMDB9\0"), MALFORMED },
        { lit("eyJleHAiOjE3MDAwMDAwMDAsIng_IjoiPj4_In0"), OK },
        { lit("eyJleHAiOjE3MDAwMDAwMDAsIng/IjoiPj4/In0"), MALFORMED },
        { lit("eyJleHAiOjE3MDAwMDAwMDAsIng-IjoifiJ9"), OK },
        { lit("eyJleHAiOjE3MDAwMDAwMDAsIng+IjoifiJ9"), MALFORMED }
    };

    for (i = 0; i < count(cases); i++) {
        n = token_base64url(lit(HS256), token);
        token[n++] = '.';
        memcpy(token + n, cases[i].text, cases[i].len);
        n += cases[i].len;

        signature_len = token_hs256(token, n, lit(SECRET), signature);
        len = token_end(token, n, signature, signature_len);
        status = verify(token, len);
        ck_assert_msg(status == cases[i].status, "%s: %s", cases[i].text,
                      conduit_jwt_status_name(status));
    }
}
END_TEST


START_TEST(length_has_a_limit)
{
    char    *payload;
    size_t   len;

    payload = malloc(CONDUIT_JWT_MAX_LEN);
    ck_assert_ptr_nonnull(payload);
    memset(payload, ' ', CONDUIT_JWT_MAX_LEN);
    memcpy(payload, lit(GOOD));

    /* the header has 20 bytes, the signature 43, and there are two dots */

    len = sign_hs(lit(HS256), payload, 12239);
    ck_assert_uint_eq(len, CONDUIT_JWT_MAX_LEN);
    ck_assert_int_eq(verify(token, len), OK);

    len = sign_hs(lit(HS256), payload, 12240);
    ck_assert_uint_eq(len, CONDUIT_JWT_MAX_LEN + 1);
    ck_assert_int_eq(verify(token, len), MALFORMED);

    free(payload);
}
END_TEST


START_TEST(nesting_has_a_limit)
{
    size_t       i, n, len;
    char         json[12000];
    static const struct {
        size_t                 depth;
        conduit_jwt_status_e   status;
    } cases[] = {
        { 1000, OK }, { 2100, MALFORMED }, { 5000, MALFORMED }
    };

    for (i = 0; i < count(cases); i++) {
        n = (size_t) snprintf(json, sizeof(json), "%s",
                              EXP "\"alg\":\"HS256\",\"x\":");
        memset(json + n, '[', cases[i].depth);
        n += cases[i].depth;
        memset(json + n, ']', cases[i].depth);
        n += cases[i].depth;
        json[n++] = '}';

        len = sign_hs(lit(HS256), json, n);
        ck_assert_int_eq(verify(token, len), cases[i].status);

        len = sign_hs(json, n, lit(GOOD));
        ck_assert_int_eq(verify(token, len), cases[i].status);

        /* the same text without its end */

        len = sign_hs(json, n - cases[i].depth, lit(GOOD));
        ck_assert_int_eq(verify(token, len), MALFORMED);
    }
}
END_TEST


START_TEST(no_part_of_a_token_is_a_token)
{
    size_t  n, len;

    len = sign_hs(lit(HS256), lit(GOOD));

    for (n = 0; n < len; n++) {
        ck_assert_int_ne(verify(token, n), OK);
        ck_assert_int_ne(verify(token + len - n, n), OK);
    }
}
END_TEST


START_TEST(every_status_has_a_name)
{
    int          i, j;
    const char  *name;

    for (i = CONDUIT_JWT_OK; i <= CONDUIT_JWT_NO_MEMORY; i++) {
        name = conduit_jwt_status_name((conduit_jwt_status_e) i);
        ck_assert_uint_gt(strlen(name), 0);
        ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz "),
                          strlen(name));

        for (j = CONDUIT_JWT_OK; j < i; j++) {
            ck_assert_str_ne(name,
                             conduit_jwt_status_name((conduit_jwt_status_e) j));
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

    hs = conduit_jwt_keys_create();

    if (hs == NULL
        || conduit_jwt_keys_add_secret(hs, lit(SECRET), NULL, 0) != NULL)
    {
        fputs("no key\n", stderr);
        return EXIT_FAILURE;
    }

    s = suite_create("jwt");
    tc = tcase_create("jwt");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, claims_are_filled);
    tcase_add_test(tc, expiry_is_exact_to_the_second);
    tcase_add_test(tc, times_do_not_overflow);
    tcase_add_test(tc, a_token_is_good_from_nbf_on);
    tcase_add_test(tc, issuer_is_the_policys);
    tcase_add_test(tc, audience_holds_the_policys);
    tcase_add_test(tc, faults_are_told_in_order);
    tcase_add_test(tc, needed_claims_have_their_type);
    tcase_add_test(tc, claims_that_are_not_needed_may_be_anything);
    tcase_add_test(tc, org_has_64_bits);
    tcase_add_test(tc, other_claims_hold_any_json);
    tcase_add_test(tc, what_is_no_number_makes_a_token_malformed);
    tcase_add_test(tc, long_numbers_are_read);
    tcase_add_test(tc, payload_is_one_json_object);
    tcase_add_test(tc, header_names_the_sets_algorithm);
    tcase_add_test(tc, form_is_strict);
    tcase_add_test(tc, payload_is_spelled_in_one_way);
    tcase_add_test(tc, length_has_a_limit);
    tcase_add_test(tc, nesting_has_a_limit);
    tcase_add_test(tc, no_part_of_a_token_is_a_token);
    tcase_add_test(tc, every_status_has_a_name);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    conduit_jwt_keys_free(hs);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
