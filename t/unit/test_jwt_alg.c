/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of auth/conduit_jwt.c and its other files with all algorithms.  A key
 * is used with its own algorithm only (RFC 8725, 3.1), and signatures must have
 * the form that RFC 7518 and RFC 8037 define.
 */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#include "conduit_jwt.h"
#include "jwk.h"
#include "pem.h"
#include "token.h"

#define lit(s)  s, sizeof(s) - 1

#define NOW     1700000000
#define GOOD    "{\"exp\":1700000000}"
#define SECRET  "0123456789abcdef0123456789abcdef"

#define OK         CONDUIT_JWT_OK
#define ALGORITHM  CONDUIT_JWT_ALGORITHM
#define KEY        CONDUIT_JWT_KEY
#define SIGNATURE  CONDUIT_JWT_SIGNATURE

enum { HS, RS, PS, P256, P384, ED, NKINDS };


static const char *const  algs[] = {
    "HS256", "RS256", "PS256", "ES256", "ES384", "EdDSA"
};

static EVP_PKEY  *pkeys[NKINDS];    /* NULL for HS; RS and PS differ */
static char       token[TOKEN_MAX];


static conduit_jwt_status_e
verify(const conduit_jwt_keys_t *keys, const char *text, size_t len)
{
    conduit_jwt_claims_t   claims;
    conduit_jwt_status_e   status;
    conduit_jwt_policy_t   policy;

    memset(&policy, 0, sizeof(policy));
    status = conduit_jwt_verify(keys, &policy, text, len, NOW, &claims);
    ck_assert_uint_eq(ERR_peek_error(), 0);

    return status;
}


/* adds the key of a kind; more is NULL, or further members of its JWK */

static void
add(conduit_jwt_keys_t *keys, int kind, const char *more)
{
    char  members[JWK_MAX], text[JWK_MAX + 256];

    if (kind == HS) {
        ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, lit(SECRET), NULL,
                                                       0));
        return;
    }

    snprintf(text, sizeof(text), "{%s%s%s}", jwk_members(pkeys[kind], members),
             kind == PS ? ",\"alg\":\"PS256\"" : "", more ? more : "");
    ck_assert_ptr_null(conduit_jwt_keys_add_public(keys, text, strlen(text),
                                                   NULL, 0));
}


static conduit_jwt_keys_t *
set_of(int kind)
{
    conduit_jwt_keys_t  *keys;

    keys = conduit_jwt_keys_create();
    ck_assert_ptr_nonnull(keys);
    add(keys, kind, NULL);

    return keys;
}


/* signs token as a kind of algorithm does, with a key that may be of another */

static size_t
sign_with(int kind, EVP_PKEY *key, size_t n, unsigned char *signature)
{
    switch (kind) {

    case HS:
        return token_hs256(token, n, lit(SECRET), signature);

    case RS:
        return token_rs256(token, n, key, signature);

    case PS:
        return token_ps256(token, n, key, 32, signature);

    case P256:
        return token_ecdsa(token, n, key, 32, signature);

    case P384:
        return token_ecdsa(token, n, key, 48, signature);

    default:
        return token_eddsa(token, n, key, signature);
    }
}


/* makes a token with this header, and signs it with the key of a kind */

static size_t
sign(const char *header, int kind)
{
    size_t         n, len;
    unsigned char  signature[1024];

    n = token_begin(token, header, strlen(header), lit(GOOD));
    len = sign_with(kind, pkeys[kind], n, signature);

    return token_end(token, n, signature, len);
}


static size_t
sign_as(const char *alg, const char *kid, int kind)
{
    char  header[128];

    snprintf(header, sizeof(header), "{\"alg\":\"%s\"%s%s%s}", alg,
             kid ? ",\"kid\":\"" : "", kid ? kid : "", kid ? "\"" : "");

    return sign(header, kind);
}


static size_t
end(size_t n, const unsigned char *signature, size_t len)
{
    return token_end(token, n, signature, len);
}


START_TEST(examples_of_the_rfcs_are_taken)
{
    conduit_jwt_keys_t    *keys;
    conduit_jwt_claims_t   claims;
    conduit_jwt_policy_t   policy;

    /* RFC 7515, A.3 */

    static const char      ec[] = "{\"kty\":\"EC\",\"crv\":\"P-256\","
        "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
        "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}";
    static const char      es[] =
        "eyJhbGciOiJFUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"
        "pmWQxfKTUJqPP3-Kg6NU1Q";

    /* RFC 8037, A.4: the payload is not JSON, which is an error only after the
       signature was verified */

    static const char      okp[] = "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
        "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";
    static const char      ed[] =
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5B"
        "hVsPt9g7sVvpAr_MuM0KAg";

    memset(&policy, 0, sizeof(policy));

    keys = conduit_jwt_keys_create();
    ck_assert_ptr_null(conduit_jwt_keys_add_public(keys, lit(ec), NULL, 0));
    ck_assert_int_eq(conduit_jwt_verify(keys, &policy, lit(es), 1300819380,
                                        &claims), OK);
    conduit_jwt_keys_free(keys);

    keys = conduit_jwt_keys_create();
    ck_assert_ptr_null(conduit_jwt_keys_add_public(keys, lit(okp), NULL, 0));
    ck_assert_int_eq(verify(keys, lit(ed)), CONDUIT_JWT_MALFORMED);
    conduit_jwt_keys_free(keys);
}
END_TEST


/* tokens with each algorithm in the header, signed with each algorithm, are
   verified with key sets of one key, and with a set of all keys */

START_TEST(a_key_has_one_algorithm)
{
    int                  key, said, made;
    size_t               len;
    conduit_jwt_keys_t  *keys, *all;

    all = conduit_jwt_keys_create();

    for (key = 0; key < NKINDS; key++) {
        add(all, key, NULL);
    }

    for (key = 0; key < NKINDS; key++) {
        keys = set_of(key);

        for (said = 0; said < NKINDS; said++) {
            for (made = 0; made < NKINDS; made++) {

                len = sign_as(algs[said], NULL, made);

                ck_assert_msg(verify(keys, token, len)
                              == (said != key ? ALGORITHM
                                  : made != key ? SIGNATURE : OK),
                              "key %s, header %s, signed as %s", algs[key],
                              algs[said], algs[made]);
                ck_assert_int_eq(verify(all, token, len),
                                 said == made ? OK : SIGNATURE);
            }
        }

        conduit_jwt_keys_free(keys);
    }

    conduit_jwt_keys_free(all);
}
END_TEST


/* an RSA key can sign with both paddings, but only one is accepted */

START_TEST(an_rsa_key_is_for_one_padding)
{
    int                  key, made;
    size_t               n, len;
    unsigned char        signature[1024];
    conduit_jwt_keys_t  *keys;

    for (key = RS; key <= PS; key++) {
        keys = set_of(key);

        for (made = RS; made <= PS; made++) {
            n = token_begin(token, algs[made] == algs[RS]
                            ? "{\"alg\":\"RS256\"}" : "{\"alg\":\"PS256\"}",
                            15, lit(GOOD));
            len = sign_with(made, pkeys[key], n, signature);
            len = end(n, signature, len);
            ck_assert_int_eq(verify(keys, token, len),
                             made == key ? OK : ALGORITHM);
        }

        conduit_jwt_keys_free(keys);
    }
}
END_TEST


START_TEST(the_salt_of_pss_is_as_long_as_the_hash)
{
    int                  salt;
    size_t               n, len;
    unsigned char        signature[1024];
    conduit_jwt_keys_t  *keys;

    keys = set_of(PS);

    for (salt = 8; salt <= 64; salt += 8) {
        n = token_begin(token, lit("{\"alg\":\"PS256\"}"), lit(GOOD));
        len = token_ps256(token, n, pkeys[PS], salt, signature);
        ck_assert_int_eq(verify(keys, token, end(n, signature, len)),
                         salt == 32 ? OK : SIGNATURE);
    }

    conduit_jwt_keys_free(keys);
}
END_TEST


START_TEST(eddsa_has_two_names)
{
    conduit_jwt_keys_t  *keys;

    keys = set_of(ED);
    ck_assert_int_eq(verify(keys, token, sign_as("EdDSA", NULL, ED)), OK);
    ck_assert_int_eq(verify(keys, token, sign_as("Ed25519", NULL, ED)), OK);
    ck_assert_int_eq(verify(keys, token, sign_as("Ed448", NULL, ED)),
                     ALGORITHM);
    ck_assert_int_eq(verify(keys, token, sign_as("none", NULL, ED)), ALGORITHM);
    conduit_jwt_keys_free(keys);
}
END_TEST


/* an attacker signs an HS256 token with a public key as the secret */

START_TEST(a_public_key_is_never_a_secret)
{
    int                  kind, form;
    char                *data, text[JWK_MAX + 2], members[JWK_MAX];
    size_t               n, len;
    unsigned char        mac[EVP_MAX_MD_SIZE], *der;
    conduit_jwt_keys_t  *keys, *all;

    all = conduit_jwt_keys_create();

    for (kind = 0; kind < NKINDS; kind++) {
        add(all, kind, NULL);
    }

    for (kind = RS; kind < NKINDS; kind++) {
        keys = set_of(kind);

        for (form = 0; form < 3; form++) {

            if (form == 0) {
                data = pem_public(pkeys[kind], &len);

            } else if (form == 1) {
                der = NULL;
                len = (size_t) i2d_PUBKEY(pkeys[kind], &der);
                data = malloc(len);
                ck_assert_ptr_nonnull(data);
                memcpy(data, der, len);
                OPENSSL_free(der);

            } else {
                snprintf(text, sizeof(text), "{%s}",
                         jwk_members(pkeys[kind], members));
                data = strdup(text);
                len = strlen(text);
            }

            n = token_begin(token, lit("{\"alg\":\"HS256\"}"), lit(GOOD));
            (void) token_hs256(token, n, data, len, mac);
            len = end(n, mac, 32);
            free(data);

            ck_assert_int_eq(verify(keys, token, len), ALGORITHM);
            ck_assert_int_eq(verify(all, token, len), SIGNATURE);

            n = token_begin(token, lit("{\"alg\":\"RS256\"}"), lit(GOOD));
            len = end(n, mac, 32);
            ck_assert_int_eq(verify(keys, token, len),
                             kind == RS ? SIGNATURE : ALGORITHM);
        }

        conduit_jwt_keys_free(keys);
    }

    conduit_jwt_keys_free(all);
}
END_TEST


/* writes the order of the curve, plus add, as r or s of an ECDSA signature */

static void
number(unsigned char *out, int half, const char *curve_order, int add)
{
    BIGNUM  *n;

    n = NULL;

    if (BN_hex2bn(&n, curve_order) == 0
        || BN_add_word(n, (BN_ULONG) add) != 1
        || BN_bn2binpad(n, out, half) != half)
    {
        abort();
    }

    BN_free(n);
}


START_TEST(ecdsa_signatures_are_two_numbers)
{
    int                   kind, half;
    size_t                i, n, len;
    char                  header[32];
    const char           *order;
    ECDSA_SIG            *sig;
    unsigned char         good[256], other[256], *p;
    conduit_jwt_keys_t   *keys;

    static const char     order256[] =
        "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
    static const char     order384[] =
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF"
        "581A0DB248B0A77AECEC196ACCC52973";

    for (kind = P256; kind <= P384; kind++) {
        keys = set_of(kind);
        half = (kind == P256) ? 32 : 48;
        order = (kind == P256) ? order256 : order384;

        snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", algs[kind]);
        n = token_begin(token, header, strlen(header), lit(GOOD));
        memset(good, 0, sizeof(good));
        len = token_ecdsa(token, n, pkeys[kind], half, good);
        ck_assert_uint_eq(len, (size_t) (2 * half));
        ck_assert_int_eq(verify(keys, token, end(n, good, len)), OK);

        /* signatures of another length */

        for (i = 1; i <= 200; i++) {
            ck_assert_int_eq(verify(keys, token, end(n, good, i)),
                             i == len ? OK : SIGNATURE);
        }

        /* in DER, as it is and cut to the correct length */

        sig = ECDSA_SIG_new();
        ck_assert_int_eq(ECDSA_SIG_set0(sig, BN_bin2bn(good, half, NULL),
                                        BN_bin2bn(good + half, half, NULL)), 1);
        memset(other, 0, sizeof(other));
        p = other;
        i = (size_t) i2d_ECDSA_SIG(sig, &p);
        ECDSA_SIG_free(sig);
        ck_assert_int_eq(verify(keys, token, end(n, other, i)), SIGNATURE);
        ck_assert_int_eq(verify(keys, token, end(n, other, len)), SIGNATURE);

        /* r or s is zero, one, the order of the curve, or more */

        for (i = 0; i < 12; i++) {
            memcpy(other, good, len);
            p = other + (i & 1 ? half : 0);

            if (i < 4) {
                memset(p, 0, (size_t) half);
                p[half - 1] = (unsigned char) (i >> 1);

            } else if (i < 10) {
                number(p, half, order, (int) (i >> 1) - 2);

            } else {
                memset(p, 0xff, (size_t) half);
            }

            ck_assert_int_eq(verify(keys, token, end(n, other, len)),
                             SIGNATURE);
        }

        memset(other, 0, sizeof(other));
        ck_assert_int_eq(verify(keys, token, end(n, other, len)), SIGNATURE);

        /* r and s are exchanged */

        memcpy(other, good + half, (size_t) half);
        memcpy(other + half, good, (size_t) half);
        ck_assert_int_eq(verify(keys, token, end(n, other, len)), SIGNATURE);

        conduit_jwt_keys_free(keys);
    }
}
END_TEST


START_TEST(no_bit_of_a_signature_can_be_changed)
{
    int                  kind;
    size_t               i, n, len;
    char                 header[32];
    unsigned char        signature[1024];
    conduit_jwt_keys_t  *keys;

    for (kind = PS; kind < NKINDS; kind++) {
        keys = set_of(kind);
        snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", algs[kind]);
        n = token_begin(token, header, strlen(header), lit(GOOD));
        len = sign_with(kind, pkeys[kind], n, signature);

        for (i = 0; i < len; i++) {
            signature[i] ^= (unsigned char) (1 << i % 8);
            ck_assert_int_eq(verify(keys, token, end(n, signature, len)),
                             SIGNATURE);
            signature[i] ^= (unsigned char) (1 << i % 8);
        }

        for (i = 1; i < len; i++) {
            ck_assert_int_eq(verify(keys, token, end(n, signature, i)),
                             SIGNATURE);
        }

        ck_assert_int_eq(verify(keys, token, end(n, signature, len)), OK);
        conduit_jwt_keys_free(keys);
    }
}
END_TEST


START_TEST(kid_and_algorithm_select_together)
{
    char                   text[2 * JWK_MAX + 64], ec[JWK_MAX], ed[JWK_MAX];
    size_t                 i, len;
    conduit_jwt_keys_t    *keys;
    conduit_jwt_status_e   status;

    static const struct {
        const char            *alg;
        const char            *kid;
        int                    made;
        conduit_jwt_status_e   status;
    } cases[] = {
        { "ES256", "a", P256, OK },
        { "EdDSA", "a", ED, OK },
        { "EdDSA", "a", P256, SIGNATURE },
        { "RS256", "b", RS, OK },
        { "RS256", "a", RS, KEY },
        { "ES256", "b", P256, KEY },
        { "ES384", "a", P384, OK },
        { "ES384", "c", P384, OK },
        { "ES384", NULL, P384, OK },
        { "ES256", NULL, P256, OK },
        { "RS256", NULL, RS, OK },
        { "PS256", "b", PS, ALGORITHM },
        { "HS256", "a", HS, ALGORITHM },
        { "ES256", "A", P256, KEY },
        { "ES256", "", P256, KEY }
    };

    /* two keys with the same kid, one of another type, one without a kid */

    keys = conduit_jwt_keys_create();
    add(keys, RS, ",\"kid\":\"b\"");
    add(keys, P384, NULL);

    snprintf(text, sizeof(text),
             "{\"keys\":[{%s,\"kid\":\"a\"},{%s,\"kid\":\"a\"}]}",
             jwk_members(pkeys[P256], ec), jwk_members(pkeys[ED], ed));
    ck_assert_ptr_null(conduit_jwt_keys_add_public(keys, text, strlen(text),
                                                   NULL, 0));

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        len = sign_as(cases[i].alg, cases[i].kid, cases[i].made);
        status = verify(keys, token, len);
        ck_assert_msg(status == cases[i].status, "case %zu: %s", i,
                      conduit_jwt_status_name(status));
    }

    conduit_jwt_keys_free(keys);
}
END_TEST


/* several keys of one type, with the same kid or without one */

START_TEST(all_keys_that_fit_are_tried)
{
    size_t               i, n, len;
    char                 text[16384], members[JWK_MAX];
    EVP_PKEY            *own, *key[8];
    const char          *kid;
    conduit_jwt_keys_t  *keys;

    own = pkeys[P256];

    for (i = 0; i < 8; i++) {
        key[i] = pem_key(EVP_PKEY_EC, NID_X9_62_prime256v1);
    }

    for (kid = "k"; kid != NULL; kid = (kid[0] == 'k') ? "" : NULL) {

        n = (size_t) snprintf(text, sizeof(text), "{\"keys\":[");

        for (i = 0; i < 8; i++) {
            n += (size_t) snprintf(text + n, sizeof(text) - n, "%s{%s%s}",
                                   i ? "," : "", jwk_members(key[i], members),
                                   kid[0] ? ",\"kid\":\"k\"" : "");
        }

        snprintf(text + n, sizeof(text) - n, "]}");

        keys = conduit_jwt_keys_create();
        ck_assert_ptr_null(conduit_jwt_keys_add_public(keys, text, strlen(text),
                                                       NULL, 0));

        for (i = 0; i < 8; i++) {
            pkeys[P256] = key[i];
            len = sign_as("ES256", "k", P256);
            ck_assert_int_eq(verify(keys, token, len), OK);
            len = sign_as("ES256", NULL, P256);
            ck_assert_int_eq(verify(keys, token, len), OK);
        }

        pkeys[P256] = own;
        len = sign_as("ES256", "k", P256);
        ck_assert_int_eq(verify(keys, token, len), SIGNATURE);
        conduit_jwt_keys_free(keys);
    }

    for (i = 0; i < 8; i++) {
        EVP_PKEY_free(key[i]);
    }
}
END_TEST


int
main(void)
{
    int       i, failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    pkeys[RS] = pem_key(EVP_PKEY_RSA, 2048);
    pkeys[PS] = pem_key(EVP_PKEY_RSA, 2048);
    pkeys[P256] = pem_key(EVP_PKEY_EC, NID_X9_62_prime256v1);
    pkeys[P384] = pem_key(EVP_PKEY_EC, NID_secp384r1);
    pkeys[ED] = pem_key(EVP_PKEY_ED25519, 0);

    s = suite_create("jwt algorithms");
    tc = tcase_create("jwt algorithms");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, examples_of_the_rfcs_are_taken);
    tcase_add_test(tc, a_key_has_one_algorithm);
    tcase_add_test(tc, an_rsa_key_is_for_one_padding);
    tcase_add_test(tc, the_salt_of_pss_is_as_long_as_the_hash);
    tcase_add_test(tc, eddsa_has_two_names);
    tcase_add_test(tc, a_public_key_is_never_a_secret);
    tcase_add_test(tc, ecdsa_signatures_are_two_numbers);
    tcase_add_test(tc, no_bit_of_a_signature_can_be_changed);
    tcase_add_test(tc, kid_and_algorithm_select_together);
    tcase_add_test(tc, all_keys_that_fit_are_tried);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    for (i = 0; i < NKINDS; i++) {
        EVP_PKEY_free(pkeys[i]);
    }

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
