/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of auth/conduit_jwt_cache.c: the table, which token is replaced, and
 * that a cached token is still checked for its times and required claims.
 */

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "conduit_jwt_cache.h"
#include "memory.h"
#include "token.h"

#define lit(s)    s, sizeof(s) - 1
#define count(a)  (sizeof(a) / sizeof(a[0]))

#define NOW      1700000000
#define LEEWAY   CONDUIT_JWT_LEEWAY
#define SIZE     8
#define KEY      CONDUIT_JWT_CACHE_KEY
#define SECRET   "0123456789abcdef0123456789abcdef"
#define OTHER    "another secret of thirty-two byte"
#define HS256    "{\"alg\":\"HS256\"}"
#define CHANNEL  "97f58c19-ce38-4c6b-8a5b-47f3405691f0"

#define OK       CONDUIT_JWT_OK
#define EXPIRED  CONDUIT_JWT_EXPIRED
#define NOT_YET  CONDUIT_JWT_NOT_YET
#define CLAIM    CONDUIT_JWT_CLAIM


static const conduit_jwt_policy_t  any;

static conduit_jwt_keys_t   *keys;
static conduit_jwt_cache_t  *cache;
static char                  token[TOKEN_MAX];
static size_t                token_len;


static void
setup(void)
{
    keys = conduit_jwt_keys_create();
    ck_assert_ptr_nonnull(keys);
    ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, lit(SECRET), NULL,
                                                   0));

    cache = conduit_jwt_cache_create(SIZE);
    ck_assert_ptr_nonnull(cache);
}


static void
teardown(void)
{
    conduit_jwt_cache_free(cache);
    conduit_jwt_keys_free(keys);
    ck_assert_uint_eq(ERR_peek_error(), 0);
}


/* makes a key from a number; all keys are in one chain, as their first bytes
   are the same */

static const unsigned char *
key_of(unsigned n)
{
    static unsigned char  key[KEY];

    memset(key, 0xa5, KEY);
    memcpy(key + KEY - sizeof(n), &n, sizeof(n));

    return key;
}


static void
add(unsigned n, int64_t exp)
{
    conduit_jwt_claims_t  claims;

    memset(&claims, 0, sizeof(claims));
    claims.exp = exp;
    claims.org_id = n;
    claims.has_org = 1;

    conduit_jwt_cache_add(cache, key_of(n), &claims);
}


static int
has(unsigned n, int64_t now)
{
    const conduit_jwt_claims_t  *claims;

    claims = conduit_jwt_cache_find(cache, key_of(n), now);

    ck_assert(claims == NULL || claims->org_id == n);

    return claims != NULL;
}


static void
sign(const char *payload, const char *secret)
{
    size_t         n, len;
    unsigned char  signature[EVP_MAX_MD_SIZE];

    n = token_begin(token, lit(HS256), payload, strlen(payload));
    len = token_hs256(token, n, secret, strlen(secret), signature);
    token_len = token_end(token, n, signature, len);
}


/* the token is copied to memory of its exact size, so that ASan sees a read
   past its end */

static conduit_jwt_status_e
verify(const conduit_jwt_policy_t *policy, int64_t now,
    conduit_jwt_claims_t *claims, int *hit)
{
    char                  *copy;
    conduit_jwt_status_e   status;
    static const conduit_jwt_claims_t  none;

    copy = malloc(token_len);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, token, token_len);
    memset(claims, 0xff, sizeof(conduit_jwt_claims_t));
    *hit = -1;

    status = conduit_jwt_cache_verify(cache, keys, policy, copy, token_len,
                                      now, claims, hit);
    free(copy);

    ck_assert_uint_eq(ERR_peek_error(), 0);

    if (status != OK) {
        ck_assert_mem_eq(claims, &none, sizeof(none));
    }

    return status;
}


START_TEST(a_key_is_found_by_all_of_its_bytes)
{
    size_t         i;
    unsigned char  key[KEY];

    memcpy(key, key_of(1), KEY);
    add(1, NOW);

    ck_assert_int_eq(has(1, NOW), 1);

    for (i = 0; i < KEY; i++) {
        key[i] ^= 1;
        ck_assert_ptr_null(conduit_jwt_cache_find(cache, key, NOW));
        key[i] ^= 1;
    }

    ck_assert_ptr_nonnull(conduit_jwt_cache_find(cache, key, NOW));
}
END_TEST


START_TEST(an_entry_dies_at_exp)
{
    size_t  i;
    static const struct {
        int64_t  exp;
        int64_t  now;
        int      there;
    } cases[] = {
        { NOW, NOW, 1 },
        { NOW, NOW + LEEWAY, 1 },
        { NOW, NOW + LEEWAY + 1, 0 },
        { NOW, INT64_MAX, 0 },
        { NOW, 0, 1 },
        { 0, LEEWAY, 1 },
        { 0, LEEWAY + 1, 0 },
        { CONDUIT_JWT_TIME_MAX, CONDUIT_JWT_TIME_MAX + LEEWAY, 1 },
        { CONDUIT_JWT_TIME_MAX, CONDUIT_JWT_TIME_MAX + LEEWAY + 1, 0 }
    };

    for (i = 0; i < count(cases); i++) {
        add(i, cases[i].exp);
        ck_assert_int_eq(has(i, cases[i].now), cases[i].there);

        /* an expired token does not come back if the clock is set back */

        ck_assert_int_eq(has(i, 0), cases[i].there);
    }
}
END_TEST


START_TEST(the_one_used_longest_ago_makes_room)
{
    unsigned  n, i;

    for (n = 0; n < SIZE; n++) {
        add(n, NOW);
    }

    for (n = 0; n < SIZE; n++) {
        ck_assert_int_eq(has(n, NOW), 1);
    }

    /* token 0 is used, so that first 1 and then 2 are replaced */

    ck_assert_int_eq(has(0, NOW), 1);
    add(100, NOW);
    add(101, NOW);

    for (i = 0; i < SIZE; i++) {
        ck_assert_int_eq(has(i, NOW), i != 1 && i != 2);
    }

    ck_assert_int_eq(has(100, NOW), 1);
    ck_assert_int_eq(has(101, NOW), 1);
}
END_TEST


START_TEST(one_that_has_expired_leaves_room)
{
    unsigned  n;

    for (n = 0; n < SIZE; n++) {
        add(n, n == 3 ? NOW - LEEWAY - 1 : NOW);
    }

    ck_assert_int_eq(has(3, NOW), 0);
    add(100, NOW);

    for (n = 0; n < SIZE; n++) {
        ck_assert_int_eq(has(n, NOW), n != 3);
    }

    ck_assert_int_eq(has(100, NOW), 1);

    /* used longest ago is 0, then 1, 2, 4 and so on */

    for (n = 101; n < 104; n++) {
        add(n, NOW);
    }

    for (n = 0; n < SIZE; n++) {
        ck_assert_int_eq(has(n, NOW), n > 3);
    }

    for (n = 100; n < 104; n++) {
        ck_assert_int_eq(has(n, NOW), 1);
    }
}
END_TEST


START_TEST(a_key_is_added_once)
{
    unsigned  n;

    for (n = 0; n < SIZE - 1; n++) {
        add(n, NOW);
        add(n, NOW + 1);
    }

    add(100, NOW);

    for (n = 0; n < SIZE - 1; n++) {
        ck_assert_int_eq(has(n, NOW), 1);
        ck_assert_int_eq(has(n, NOW + LEEWAY + 1), 0);
    }

    ck_assert_int_eq(has(100, NOW), 1);
}
END_TEST


/* of 20000 tokens, each cache has the last ones, as many as its size */

START_TEST(a_cache_holds_as_many_as_it_is_made_for)
{
    size_t                i, n, k;
    unsigned char         key[KEY];
    conduit_jwt_claims_t  claims;
    static const size_t   sizes[] = { 1, 2, 9, 1000, 10000, 20000 };

    memset(&claims, 0, sizeof(claims));
    claims.exp = NOW;

    for (i = 0; i < count(sizes); i++) {
        conduit_jwt_cache_free(cache);
        cache = conduit_jwt_cache_create(sizes[i]);
        ck_assert_ptr_nonnull(cache);

        for (k = 0; k < 2; k++) {
            for (n = 0; n < 20000; n++) {
                ck_assert_int_eq(EVP_Digest(&n, sizeof(n), key, NULL,
                                            EVP_sha256(), NULL), 1);

                if (k == 0) {
                    conduit_jwt_cache_add(cache, key, &claims);

                } else {
                    ck_assert_int_eq(conduit_jwt_cache_find(cache, key, NOW)
                                     != NULL, n >= 20000 - sizes[i]);
                }
            }
        }
    }
}
END_TEST


/* a cache is full, and a client of each token comes again, in some order */

START_TEST(all_who_fit_are_known_when_they_come_again)
{
    size_t                n, k;
    unsigned char         key[KEY];
    conduit_jwt_claims_t  claims;

    memset(&claims, 0, sizeof(claims));
    claims.exp = NOW;

    conduit_jwt_cache_free(cache);
    cache = conduit_jwt_cache_create(10000);
    ck_assert_ptr_nonnull(cache);

    for (n = 0; n < 30000; n++) {

        /* added in order, looked up in order, then in another one: 7919 is a
           prime, and no divisor of 10000 */

        k = n < 20000 ? n % 10000 : n * 7919 % 10000;

        ck_assert_int_eq(EVP_Digest(&k, sizeof(k), key, NULL, EVP_sha256(),
                                    NULL), 1);

        if (n < 10000) {
            conduit_jwt_cache_add(cache, key, &claims);

        } else {
            ck_assert_ptr_nonnull(conduit_jwt_cache_find(cache, key, NOW));
        }
    }
}
END_TEST


START_TEST(a_good_token_is_verified_once)
{
    int                   hit;
    conduit_jwt_claims_t  first, second;

    sign("{\"exp\":1700000010,\"nbf\":1700000001,\"org_id\":7,"
         "\"channel_id\":\"" CHANNEL "\"}", SECRET);

    ck_assert_int_eq(verify(&any, NOW, &first, &hit), OK);
    ck_assert_int_eq(hit, 0);
    ck_assert_int_eq(verify(&any, NOW, &second, &hit), OK);
    ck_assert_int_eq(hit, 1);

    ck_assert_int_eq(second.exp, 1700000010);
    ck_assert_int_eq(second.nbf, 1700000001);
    ck_assert_uint_eq(second.org_id, 7);
    ck_assert_uint_eq(second.has_org, 1);
    ck_assert_mem_eq(second.channel_id, CHANNEL, CONDUIT_UUID_LEN);
    ck_assert_uint_eq(second.has_channel, 1);
    ck_assert_int_eq(first.exp, second.exp);
    ck_assert_int_eq(first.nbf, second.nbf);

    /* a token with another signature, or another payload, is not cached */

    token[token_len - 2] = token[token_len - 2] == 'A' ? 'B' : 'A';
    ck_assert_int_eq(verify(&any, NOW, &second, &hit), CONDUIT_JWT_SIGNATURE);
    ck_assert_int_eq(hit, 0);
}
END_TEST


/* at any time the result is the same as that of conduit_jwt_verify() */

START_TEST(times_are_checked_at_each_use)
{
    int                   hit;
    size_t                i;
    conduit_jwt_claims_t  claims, plain;
    static const struct {
        int64_t                now;
        conduit_jwt_status_e   status;
        int                    hit;
    } cases[] = {
        { NOW, OK, 0 },
        { NOW + 10 + LEEWAY, OK, 1 },
        { NOW + 5 - LEEWAY, OK, 1 },
        { NOW + 4 - LEEWAY, NOT_YET, 1 },
        { 0, NOT_YET, 1 },
        { NOW, OK, 1 },
        { NOW + 11 + LEEWAY, EXPIRED, 0 },
        { NOW + 11 + LEEWAY, EXPIRED, 0 },
        { NOW, OK, 0 },
        { NOW, OK, 1 }
    };

    sign("{\"exp\":1700000010,\"nbf\":1700000005}", SECRET);

    for (i = 0; i < count(cases); i++) {
        ck_assert_msg(verify(&any, cases[i].now, &claims, &hit)
                      == cases[i].status, "case %zu", i);
        ck_assert_msg(hit == cases[i].hit, "case %zu", i);
        ck_assert_int_eq(conduit_jwt_verify(keys, &any, token, token_len,
                                            cases[i].now, &plain),
                         cases[i].status);
    }
}
END_TEST


START_TEST(needed_claims_are_checked_at_each_use)
{
    int                                hit;
    size_t                             i;
    conduit_jwt_claims_t               claims;
    static const conduit_jwt_policy_t  org = { .need_org = 1 };
    static const conduit_jwt_policy_t  channel = { .need_channel = 1 };
    static const struct {
        const char                  *payload;
        const conduit_jwt_policy_t  *policy;
        conduit_jwt_status_e         status;
    } cases[] = {
        { "{\"exp\":1700000000}", &org, CLAIM },
        { "{\"exp\":1700000000}", &channel, CLAIM },
        { "{\"exp\":1700000000,\"org_id\":1}", &org, OK },
        { "{\"exp\":1700000000,\"org_id\":1}", &channel, CLAIM },
        { "{\"exp\":1700000001,\"channel_id\":\"" CHANNEL "\"}", &channel,
          OK },
        { "{\"exp\":1700000001,\"channel_id\":\"" CHANNEL "\"}", &org, CLAIM }
    };

    for (i = 0; i < count(cases); i++) {
        sign(cases[i].payload, SECRET);
        (void) verify(&any, NOW, &claims, &hit);
        ck_assert_int_eq(verify(cases[i].policy, NOW, &claims, &hit),
                         cases[i].status);
        ck_assert_int_eq(hit, 1);
    }
}
END_TEST


START_TEST(a_token_that_is_refused_is_not_kept)
{
    int                    hit;
    size_t                 i, k;
    conduit_jwt_claims_t   claims;
    conduit_jwt_policy_t   policy;
    static const struct {
        const char            *payload;
        const char            *secret;
        conduit_jwt_status_e   status;
    } cases[] = {
        { "{\"exp\":1699999939}", SECRET, EXPIRED },
        { "{\"exp\":1700000000,\"nbf\":1700000061}", SECRET, NOT_YET },
        { "{\"exp\":1700000000}", SECRET, CONDUIT_JWT_ISSUER },
        { "{\"exp\":1700000000,\"iss\":\"i\"}", SECRET,
          CONDUIT_JWT_AUDIENCE },
        { "{\"exp\":1700000000,\"iss\":\"i\",\"aud\":\"a\"}", SECRET, CLAIM },
        { "{\"exp\":1700000000}", OTHER, CONDUIT_JWT_SIGNATURE },
        { "[]", SECRET, CONDUIT_JWT_MALFORMED },
        { "{\"iss\":\"i\"}", SECRET, CLAIM }
    };

    memset(&policy, 0, sizeof(policy));
    policy.issuer = "i";
    policy.issuer_len = 1;
    policy.audience = "a";
    policy.audience_len = 1;
    policy.need_sub = 1;

    for (i = 0; i < count(cases); i++) {
        sign(cases[i].payload, cases[i].secret);

        for (k = 0; k < 2; k++) {
            ck_assert_int_eq(verify(&policy, NOW, &claims, &hit),
                             cases[i].status);
            ck_assert_int_eq(hit, 0);
        }
    }
}
END_TEST


START_TEST(long_tokens_are_not_kept)
{
    int                   hit;
    size_t                i, k, n;
    conduit_jwt_claims_t  claims;
    char                  payload[CONDUIT_JWT_CACHE_TOKEN];

    /* payloads that make tokens of about CONDUIT_JWT_CACHE_TOKEN bytes */

    for (i = 2900; i < 3100; i++) {
        n = (size_t) snprintf(payload, sizeof(payload),
                              "{\"exp\":1700000000,\"x\":\"");
        memset(payload + n, 'x', i - n);
        memcpy(payload + i, "\"}", 3);

        sign(payload, SECRET);

        for (k = 0; k < 2; k++) {
            ck_assert_int_eq(verify(&any, NOW, &claims, &hit), OK);
            ck_assert_int_eq(hit, k == 1
                                  && token_len <= CONDUIT_JWT_CACHE_TOKEN);
        }
    }
}
END_TEST


START_TEST(without_a_cache_tokens_are_verified)
{
    int                   hit;
    size_t                k;
    conduit_jwt_claims_t  claims;

    conduit_jwt_cache_free(cache);
    cache = NULL;

    sign("{\"exp\":1700000000}", SECRET);

    for (k = 0; k < 2; k++) {
        ck_assert_int_eq(verify(&any, NOW, &claims, &hit), OK);
        ck_assert_int_eq(hit, 0);
    }
}
END_TEST


/* each allocation of the table fails in turn: tokens are verified in full */

START_TEST(memory_that_is_out_means_no_cache)
{
    int                   hit;
    size_t                fail, k;
    conduit_jwt_claims_t  claims;
    conduit_jwt_status_e  status;

    sign("{\"exp\":1700000000}", SECRET);

    for (fail = 1; fail <= 2; fail++) {
        memory_count(fail);
        ck_assert_ptr_null(conduit_jwt_cache_create(SIZE));
    }

    memory_count(3);
    conduit_jwt_cache_free(cache);
    cache = conduit_jwt_cache_create(SIZE);
    memory_count(0);
    ck_assert_ptr_nonnull(cache);

    /* the allocation after those of a verification is that of the token */

    (void) conduit_jwt_verify(keys, &any, token, token_len, NOW, &claims);
    fail = memory_calls() + 1;

    memory_count(fail);
    status = verify(&any, NOW, &claims, &hit);
    ck_assert_uint_eq(memory_calls(), fail);
    memory_count(0);

    ck_assert_int_eq(status, OK);
    ck_assert_int_eq(hit, 0);

    for (k = 0; k < 2; k++) {
        ck_assert_int_eq(verify(&any, NOW, &claims, &hit), OK);
        ck_assert_uint_eq(hit, k);
    }
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *suite;
    SRunner  *runner;

    suite = suite_create("jwt cache");
    tc = tcase_create("core");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);

    tcase_add_test(tc, a_key_is_found_by_all_of_its_bytes);
    tcase_add_test(tc, an_entry_dies_at_exp);
    tcase_add_test(tc, the_one_used_longest_ago_makes_room);
    tcase_add_test(tc, one_that_has_expired_leaves_room);
    tcase_add_test(tc, a_key_is_added_once);
    tcase_add_test(tc, a_cache_holds_as_many_as_it_is_made_for);
    tcase_add_test(tc, all_who_fit_are_known_when_they_come_again);
    tcase_add_test(tc, a_good_token_is_verified_once);
    tcase_add_test(tc, times_are_checked_at_each_use);
    tcase_add_test(tc, needed_claims_are_checked_at_each_use);
    tcase_add_test(tc, a_token_that_is_refused_is_not_kept);
    tcase_add_test(tc, long_tokens_are_not_kept);
    tcase_add_test(tc, without_a_cache_tokens_are_verified);
    tcase_add_test(tc, memory_that_is_out_means_no_cache);

    suite_add_tcase(suite, tc);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
