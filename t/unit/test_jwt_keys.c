/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of auth/conduit_jwt_keys.c and auth/conduit_jwt_public.c: secrets and
 * PEM files, selection of keys by kid, changed tokens and signatures, and
 * running out of memory.
 */

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "conduit_jwt.h"
#include "memory.h"
#include "pem.h"
#include "token.h"

#define lit(s)  s, sizeof(s) - 1

#define NOW     1700000000
#define SECRET  "0123456789abcdef0123456789abcdef"
#define HS256   "{\"alg\":\"HS256\"}"
#define RS256   "{\"alg\":\"RS256\"}"
#define GOOD    "{\"exp\":1700000000}"

#define OK         CONDUIT_JWT_OK
#define ALGORITHM  CONDUIT_JWT_ALGORITHM
#define KEY        CONDUIT_JWT_KEY
#define SIGNATURE  CONDUIT_JWT_SIGNATURE

#define OTHER_TYPE  "is not an RSA, P-256, P-384 or Ed25519 key"


static const conduit_jwt_policy_t  any;

static EVP_PKEY            *rsa;        /* created once, for all tests */
static char                *pem;        /* its public key */
static size_t               pem_len;
static conduit_jwt_keys_t  *hs, *rs;    /* hs has SECRET, rs has pem */
static char                 token[TOKEN_MAX];


static conduit_jwt_status_e
verify_at(const conduit_jwt_keys_t *keys, const conduit_jwt_policy_t *policy,
    const char *text, size_t len, int64_t now, conduit_jwt_claims_t *claims)
{
    conduit_jwt_status_e  status;

    status = conduit_jwt_verify(keys, policy, text, len, now, claims);

    /* NGINX would log errors that are left */

    ck_assert_uint_eq(ERR_peek_error(), 0);

    return status;
}


static conduit_jwt_status_e
verify(const conduit_jwt_keys_t *keys, const char *text, size_t len)
{
    conduit_jwt_claims_t  claims;

    return verify_at(keys, &any, text, len, NOW, &claims);
}


static size_t
sign_hs(const char *header, size_t header_len, const char *secret, size_t len)
{
    size_t         n, signature_len;
    unsigned char  signature[EVP_MAX_MD_SIZE];

    n = token_begin(token, header, header_len, lit(GOOD));
    signature_len = token_hs256(token, n, secret, len, signature);

    return token_end(token, n, signature, signature_len);
}


static size_t
sign_rs(const char *header, size_t header_len, EVP_PKEY *key)
{
    size_t         n, signature_len;
    unsigned char  signature[1024];

    n = token_begin(token, header, header_len, lit(GOOD));
    signature_len = token_rs256(token, n, key, signature);

    return token_end(token, n, signature, signature_len);
}


/* adds a file to a new key set, checks that the set verifies tokens if there is
   no error, and returns the error text or NULL */

static const char *
add(conduit_jwt_alg_e alg, const char *data, size_t len)
{
    char                *copy;
    const char          *err;
    conduit_jwt_keys_t  *keys;

    copy = malloc(len ? len : 1);
    keys = conduit_jwt_keys_create();
    ck_assert_ptr_nonnull(copy);
    ck_assert_ptr_nonnull(keys);
    memcpy(copy, data, len);

    err = (alg == CONDUIT_JWT_HS256)
          ? conduit_jwt_keys_add_secret(keys, copy, len, "k", 1)
          : conduit_jwt_keys_add_public(keys, copy, len, "k", 1);
    ck_assert_uint_eq(ERR_peek_error(), 0);

    /* the file must not be used after the call */

    memset(copy, 0, len);
    free(copy);

    len = (alg == CONDUIT_JWT_HS256) ? sign_hs(lit(HS256), lit(SECRET))
                                     : sign_rs(lit(RS256), rsa);

    ck_assert_int_eq(verify(keys, token, len), err == NULL ? OK : ALGORITHM);
    conduit_jwt_keys_free(keys);

    return err;
}


static const char *
add_free(char *data, size_t len)
{
    const char  *err;

    err = add(CONDUIT_JWT_RS256, data, len);
    free(data);

    return err;
}


START_TEST(rfc_7515_examples_are_taken)
{
    conduit_jwt_keys_t    *keys;
    conduit_jwt_claims_t   claims;
    static const char      payload[] =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    static const char      hs_secret[] =
        "\x03\x23\x35\x4b\x2b\x0f\xa5\xbc\x83\x7e\x06\x65\x77\x7b\xa6\x8f"
        "\x5a\xb3\x28\xe6\xf0\x54\xc9\x28\xa9\x0f\x84\xb2\xd2\x50\x2e\xbf"
        "\xd3\xfb\x5a\x92\xd2\x06\x47\xef\x96\x8a\xb4\xc3\x77\x62\x3d\x22"
        "\x3d\x2e\x21\x72\x05\x2e\x4f\x08\xc0\xcd\x9a\xf5\x67\xd0\x80\xa3";
    static const char      hs_signature[] =
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    static const char      rs_key[] =
        "-----BEGIN RSA PUBLIC KEY-----\n"
        "MIIBCgKCAQEAofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd/wWJcyQoTbji9k0l8W2\n"
        "6mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMs\n"
        "D1W/YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5\n"
        "z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxv\n"
        "b3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxXFvUK+DWNmoudF8NAco9/h9iaGNj8q2et\n"
        "hFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQIDAQAB\n"
        "-----END RSA PUBLIC KEY-----\n";
    static const char      rs_signature[] =
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7"
        "AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4"
        "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K"
        "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv"
        "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB"
        "p0igcN_IoypGlUPQGe77Rw";

    keys = conduit_jwt_keys_create();
    ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, lit(hs_secret),
                                                   NULL, 0));

    snprintf(token, sizeof(token), "%s.%s.%s",
             "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", payload,
             hs_signature);
    ck_assert_int_eq(verify_at(keys, &any, token, strlen(token), 1300819380,
                               &claims), OK);
    ck_assert_int_eq(claims.exp, 1300819380);
    conduit_jwt_keys_free(keys);

    keys = conduit_jwt_keys_create();
    ck_assert_ptr_null(conduit_jwt_keys_add_public(keys, lit(rs_key), NULL, 0));

    snprintf(token, sizeof(token), "%s.%s.%s", "eyJhbGciOiJSUzI1NiJ9", payload,
             rs_signature);
    ck_assert_int_eq(verify_at(keys, &any, token, strlen(token), 1300819380,
                               &claims), OK);
    conduit_jwt_keys_free(keys);
}
END_TEST


START_TEST(public_keys_come_in_three_forms)
{
    size_t  len;
    char   *data;

    ck_assert_ptr_null(add(CONDUIT_JWT_RS256, pem, pem_len));
    ck_assert_ptr_null(add(CONDUIT_JWT_RS256, pem, pem_len - 1));

    data = pem_pkcs1(rsa, &len);
    ck_assert_ptr_null(add_free(data, len));

    data = pem_certificate(rsa, rsa, &len);
    ck_assert_ptr_null(add_free(data, len));
}
END_TEST


START_TEST(private_keys_are_refused_without_a_question)
{
    size_t       i, len;
    char        *data;
    static char  password[] = "password";

    for (i = 0; i < 4; i++) {
        data = pem_private(rsa, i & 1 ? password : NULL, i >> 1, &len);
        ck_assert_str_eq(add_free(data, len),
                         "is a private key; use the public key");
    }
}
END_TEST


START_TEST(other_keys_are_refused)
{
    char      *data;
    size_t     i, len;
    EVP_PKEY  *key;

    key = pem_key(EVP_PKEY_RSA, 1024);
    data = pem_public(key, &len);
    ck_assert_str_eq(add_free(data, len),
                     "is an RSA key of less than 2048 bits");
    EVP_PKEY_free(key);

    key = pem_key(EVP_PKEY_EC, NID_secp521r1);
    data = pem_public(key, &len);
    ck_assert_str_eq(add_free(data, len), OTHER_TYPE);
    data = pem_certificate(key, key, &len);
    ck_assert_str_eq(add_free(data, len), OTHER_TYPE);
    EVP_PKEY_free(key);

    key = pem_key(EVP_PKEY_RSA_PSS, 2048);
    data = pem_public(key, &len);
    ck_assert_str_eq(add_free(data, len), OTHER_TYPE);
    EVP_PKEY_free(key);

    /* a file without its last bytes, of which only the line end is optional */

    for (i = 0; i < pem_len - 1; i++) {
        ck_assert_str_eq(add(CONDUIT_JWT_RS256, pem, i), i < 11
                         ? "is neither a public key in PEM nor a JWK"
                         : "is not a public key in PEM");
    }

    ck_assert_str_eq(add(CONDUIT_JWT_RS256, lit(SECRET)),
                     "is neither a public key in PEM nor a JWK");
    ck_assert_str_eq(add(CONDUIT_JWT_RS256,
                         lit("-----BEGIN PUBLIC KEY-----\nAAAA\n"
                             "-----END PUBLIC KEY-----\n")),
                     "is not a public key in PEM");
    ck_assert_str_eq(add(CONDUIT_JWT_RS256,
                         lit("-----BEGIN CERTIFICATE-----\nMAA=\n"
                             "-----END CERTIFICATE-----\n")),
                     "is not a public key in PEM");
}
END_TEST


START_TEST(a_secret_is_the_file_without_one_line_end)
{
    ck_assert_ptr_null(add(CONDUIT_JWT_HS256, lit(SECRET)));
    ck_assert_ptr_null(add(CONDUIT_JWT_HS256, lit(SECRET "\n")));
    ck_assert_ptr_null(add(CONDUIT_JWT_HS256, lit(SECRET "\r\n")));
    ck_assert_str_eq(add(CONDUIT_JWT_HS256, lit("")), "is empty");
    ck_assert_str_eq(add(CONDUIT_JWT_HS256, lit("\n")), "is empty");
    ck_assert_str_eq(add(CONDUIT_JWT_HS256, lit("\r\n")), "is empty");
}
END_TEST


START_TEST(a_secret_keeps_every_other_byte)
{
    size_t               i, len;
    conduit_jwt_keys_t  *keys;
    static const struct {
        const char  *file;
        size_t       file_len;
        const char  *secret;
        size_t       secret_len;
    } cases[] = {
        { lit("s\n\n"), lit("s\n") },
        { lit("s\r"), lit("s\r") },
        { lit(" s \n"), lit(" s ") },
        { lit("s\0t\n"), lit("s\0t") },
        { lit("\xff\xfe"), lit("\xff\xfe") }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        keys = conduit_jwt_keys_create();
        ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, cases[i].file,
                                                       cases[i].file_len,
                                                       NULL, 0));

        len = sign_hs(lit(HS256), cases[i].secret, cases[i].secret_len);
        ck_assert_int_eq(verify(keys, token, len), OK);

        len = sign_hs(lit(HS256), cases[i].file, cases[i].secret_len - 1);
        ck_assert_int_eq(verify(keys, token, len), SIGNATURE);
        conduit_jwt_keys_free(keys);
    }
}
END_TEST


START_TEST(a_public_key_is_never_a_secret)
{
    size_t  len;

    ck_assert_str_eq(add(CONDUIT_JWT_HS256, pem, pem_len),
                     "is a PEM file, not a secret");
    ck_assert_str_eq(add(CONDUIT_JWT_HS256, lit("x\n-----BEGIN X-----\n")),
                     "is a PEM file, not a secret");

    len = sign_hs(lit(HS256), pem, pem_len);
    ck_assert_int_eq(verify(rs, token, len), ALGORITHM);

    len = sign_hs(lit(RS256), pem, pem_len);
    ck_assert_int_eq(verify(rs, token, len), SIGNATURE);

    len = sign_rs(lit(HS256), rsa);
    ck_assert_int_eq(verify(rs, token, len), ALGORITHM);
    ck_assert_int_eq(verify(hs, token, len), SIGNATURE);
}
END_TEST


START_TEST(key_files_have_a_limit)
{
    conduit_jwt_keys_t  *keys;

    /* a file that is too long is not read */

    keys = conduit_jwt_keys_create();
    ck_assert_str_eq(conduit_jwt_keys_add_secret(keys, "x",
                                                 (size_t) INT32_MAX + 1,
                                                 NULL, 0), "is too long");
    ck_assert_str_eq(conduit_jwt_keys_add_public(keys, "x",
                                                 (size_t) INT32_MAX + 1,
                                                 NULL, 0), "is too long");
    conduit_jwt_keys_free(keys);
    conduit_jwt_keys_free(NULL);
}
END_TEST


START_TEST(kid_selects_the_keys)
{
    size_t               i, n, len;
    char                 header[64];
    conduit_jwt_keys_t  *keys;
    static const struct {
        const char            *kid;        /* of the token; NULL: none */
        const char            *secret;
        conduit_jwt_status_e   status;
        conduit_jwt_status_e   with_default;
    } cases[] = {
        { "\"old\"", "1", OK, OK },
        { "\"new\"", "2", OK, OK },
        { "\"new\"", "1", SIGNATURE, SIGNATURE },
        { "\"new\"", "3", SIGNATURE, OK },
        { NULL, "1", OK, OK },
        { NULL, "2", OK, OK },
        { NULL, "3", SIGNATURE, OK },
        { "null", "1", OK, OK },
        { "null", "2", OK, OK },
        { "null", "3", SIGNATURE, OK },
        { "\"old\\u0000\"", "1", KEY, SIGNATURE },
        { "\"ne\"", "2", KEY, SIGNATURE },
        { "\"newer\"", "2", KEY, SIGNATURE },
        { "\"New\"", "2", KEY, SIGNATURE },
        { "\"\"", "2", KEY, SIGNATURE },
        { "\"other\"", "3", KEY, OK },
        { "7", "1", CONDUIT_JWT_MALFORMED, CONDUIT_JWT_MALFORMED }
    };

    keys = conduit_jwt_keys_create();
    len = sign_hs(lit(HS256), lit("1"));
    ck_assert_int_eq(verify(keys, token, len), ALGORITHM);

    ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, lit("1"), lit("old")));
    ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, lit("2"), lit("new")));
    ck_assert_str_eq(conduit_jwt_keys_add_secret(keys, lit("3"), lit("old")),
                     "has the same kid as another key");

    for (i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {

        if (i == sizeof(cases) / sizeof(cases[0])) {
            ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, lit("3"),
                                                           NULL, 0));
        }

        n = i % (sizeof(cases) / sizeof(cases[0]));
        snprintf(header, sizeof(header), cases[n].kid
                 ? "{\"alg\":\"HS256\",\"kid\":%s}" : "%.0s" HS256,
                 cases[n].kid ? cases[n].kid : "");
        len = sign_hs(header, strlen(header), cases[n].secret, 1);
        ck_assert_int_eq(verify(keys, token, len),
                         i == n ? cases[n].status : cases[n].with_default);
    }

    conduit_jwt_keys_free(keys);
}
END_TEST


START_TEST(kids_that_begin_with_each_other_are_others)
{
    size_t               i, k, n, order, len;
    char                 header[64];
    conduit_jwt_keys_t  *keys;
    static const char   *kids[] = { "", "a", "ab", "abc" };
    static const char   *secrets[] = { "0", "1", "2", "3" };

    n = sizeof(kids) / sizeof(kids[0]);

    for (order = 0; order < n; order++) {
        keys = conduit_jwt_keys_create();

        for (i = 0; i < n; i++) {
            k = (i + order) % n;
            ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, secrets[k], 1,
                                                           kids[k],
                                                           strlen(kids[k])));
        }

        for (i = 0; i < n * n; i++) {
            snprintf(header, sizeof(header),
                     "{\"alg\":\"HS256\",\"kid\":\"%s\"}", kids[i / n]);
            len = sign_hs(header, strlen(header), secrets[i % n], 1);
            ck_assert_int_eq(verify(keys, token, len),
                             i / n == i % n ? OK : SIGNATURE);
        }

        conduit_jwt_keys_free(keys);
    }
}
END_TEST


START_TEST(keys_without_a_kid_are_all_tried)
{
    size_t               len;
    char                *data;
    EVP_PKEY            *key;
    conduit_jwt_keys_t  *keys;

    key = pem_key(EVP_PKEY_RSA, 3072);
    data = pem_public(key, &len);

    keys = conduit_jwt_keys_create();
    ck_assert_ptr_null(conduit_jwt_keys_add_public(keys, data, len, NULL, 0));
    free(data);

    len = sign_rs(lit(RS256), rsa);
    ck_assert_int_eq(verify(keys, token, len), SIGNATURE);

    ck_assert_ptr_null(conduit_jwt_keys_add_public(keys, pem, pem_len,
                                                   NULL, 0));
    ck_assert_int_eq(verify(keys, token, len), OK);

    len = sign_rs(lit(RS256), key);
    ck_assert_int_eq(verify(keys, token, len), OK);
    ck_assert_int_eq(verify(rs, token, len), SIGNATURE);

    conduit_jwt_keys_free(keys);
    EVP_PKEY_free(key);
}
END_TEST


START_TEST(signatures_have_their_size)
{
    size_t         i, n, len;
    unsigned char  good[1024], other[1024];

    n = token_begin(token, lit(HS256), lit(GOOD));
    memset(good, 0, sizeof(good));
    ck_assert_uint_eq(token_hs256(token, n, lit(SECRET), good), 32);

    for (i = 1; i <= 64; i++) {
        len = token_end(token, n, good, i);
        ck_assert_int_eq(verify(hs, token, len), i == 32 ? OK : SIGNATURE);
    }

    n = token_begin(token, lit(RS256), lit(GOOD));
    memset(good, 0, sizeof(good));
    ck_assert_uint_eq(token_rs256(token, n, rsa, good), 256);

    for (i = 1; i <= 520; i++) {
        len = token_end(token, n, good, i);
        ck_assert_int_eq(verify(rs, token, len), i == 256 ? OK : SIGNATURE);
    }

    /* RSA signatures: a leading zero byte, zero, one, the largest number */

    other[0] = 0;
    memcpy(other + 1, good, 256);
    len = token_end(token, n, other, 257);
    ck_assert_int_eq(verify(rs, token, len), SIGNATURE);

    memset(other, 0, 256);
    len = token_end(token, n, other, 256);
    ck_assert_int_eq(verify(rs, token, len), SIGNATURE);

    other[255] = 1;
    len = token_end(token, n, other, 256);
    ck_assert_int_eq(verify(rs, token, len), SIGNATURE);

    memset(other, 0xff, 256);
    len = token_end(token, n, other, 256);
    ck_assert_int_eq(verify(rs, token, len), SIGNATURE);
}
END_TEST


START_TEST(no_part_of_a_token_is_a_token)
{
    size_t  n, len;

    len = sign_rs(lit(RS256), rsa);
    ck_assert_int_eq(verify(rs, token, len), OK);

    for (n = 0; n < len; n++) {
        ck_assert_int_ne(verify(rs, token, n), OK);
    }
}
END_TEST


START_TEST(no_byte_of_a_token_can_be_changed)
{
    char    was;
    size_t  i, j, len;
    static const char  bytes[] = { 'A', 'B', '_', '.', '=', '\0', '\x80' };

    len = sign_hs(lit(HS256), lit(SECRET));

    for (i = 0; i < len; i++) {
        was = token[i];

        for (j = 0; j < sizeof(bytes); j++) {
            token[i] = bytes[j];
            ck_assert_msg((verify(hs, token, len) == OK) == (bytes[j] == was),
                          "byte %zu as 0x%02x", i, (unsigned char) bytes[j]);
        }

        /* a neighbour in the alphabet; it is refused even if it differs only in
           unused bits */

        token[i] = (char) (was ^ 1);
        ck_assert_int_ne(verify(hs, token, len), OK);
        token[i] = was;
    }
}
END_TEST


START_TEST(no_bit_of_a_signature_can_be_changed)
{
    size_t         i, n, len, signature_len;
    unsigned char  signature[1024];

    n = token_begin(token, lit(HS256), lit(GOOD));
    signature_len = token_hs256(token, n, lit(SECRET), signature);

    for (i = 0; i < signature_len * 8; i++) {
        signature[i / 8] ^= (unsigned char) (1 << i % 8);
        len = token_end(token, n, signature, signature_len);
        ck_assert_int_eq(verify(hs, token, len), SIGNATURE);
        signature[i / 8] ^= (unsigned char) (1 << i % 8);
    }

    n = token_begin(token, lit(RS256), lit(GOOD));
    signature_len = token_rs256(token, n, rsa, signature);

    for (i = 0; i < signature_len; i++) {
        signature[i] ^= (unsigned char) (1 << i % 8);
        len = token_end(token, n, signature, signature_len);
        ck_assert_int_eq(verify(rs, token, len), SIGNATURE);
        signature[i] ^= (unsigned char) (1 << i % 8);
    }

    len = token_end(token, n, signature, signature_len);
    ck_assert_int_eq(verify(rs, token, len), OK);
}
END_TEST


/* number of allocations of jansson that are not freed */

static size_t  live;


static void *
jansson_malloc(size_t size)
{
    void  *p;

    p = memory_malloc(size);
    live += (p != NULL);

    return p;
}


static void
jansson_free(void *p)
{
    live -= (p != NULL);
    free(p);
}


/* each allocation fails once; the result must be CONDUIT_JWT_NO_MEMORY */

static void
fails(const char *claims, size_t len)
{
    size_t         i, n, signature_len;
    unsigned char  signature[EVP_MAX_MD_SIZE];

    n = token_begin(token, lit("{\"alg\":\"HS256\",\"kid\":\"k\","
                               "\"x\":[1,2.5,{}],"
                               "\"abcdefghijklmnopqrstuvwxyz\":true}"),
                    claims, len);
    signature_len = token_hs256(token, n, lit(SECRET), signature);
    len = token_end(token, n, signature, signature_len);

    memory_count(0);
    ck_assert_int_eq(verify(hs, token, len), OK);
    ck_assert_uint_eq(live, 0);

    n = memory_calls();
    ck_assert_uint_gt(n, 20);

    for (i = 1; i <= n; i++) {
        memory_count(i);
        ck_assert_msg(verify(hs, token, len) == CONDUIT_JWT_NO_MEMORY,
                      "allocation %zu of %zu", i, n);
        ck_assert_uint_ge(memory_calls(), i);
        ck_assert_uint_eq(live, 0);
    }
}


START_TEST(memory_that_is_out_is_no_fault_of_a_token)
{
    json_set_alloc_funcs(jansson_malloc, jansson_free);

    fails(lit(GOOD));
    fails(lit("{\"exp\":1700000000,\"a\":{\"b\":[true,null,1e1]},"
              "\"sub\":\"abcdefghijklmnopqrstuvwxyz\"}"));

    /* numbers that are rewritten for jansson */

    fails(lit("{\"a\":18446744073709,\"b\":-1,\"exp\":1700000000}"));
}
END_TEST


/* allocations of OpenSSL; many are only made by its first call */

static int  openssl_counted;


static void *
openssl_malloc(size_t size, const char *file, int line)
{
    (void) file;
    (void) line;

    return openssl_counted ? memory_malloc(size) : malloc(size);
}


static void *
openssl_realloc(void *p, size_t size, const char *file, int line)
{
    (void) file;
    (void) line;

    return openssl_counted ? memory_realloc(p, size) : realloc(p, size);
}


static void
openssl_free(void *p, const char *file, int line)
{
    (void) file;
    (void) line;

    free(p);
}


static void
signature_fails(const conduit_jwt_keys_t *keys, size_t len,
    conduit_jwt_status_e expected)
{
    size_t                i, n, out;
    conduit_jwt_status_e  status;

    ck_assert_int_eq(verify(keys, token, len), expected);

    openssl_counted = 1;

    memory_count(0);
    ck_assert_int_eq(verify(keys, token, len), expected);

    n = memory_calls();
    out = 0;

    for (i = 1; i <= n; i++) {
        memory_count(i);
        status = verify(keys, token, len);

        if (status == CONDUIT_JWT_NO_MEMORY) {
            out++;

        } else {
            ck_assert_msg(status == expected, "allocation %zu of %zu: %s", i, n,
                          conduit_jwt_status_name(status));
        }
    }

    openssl_counted = 0;

    /* the buffer of the token, those of its two parts, and at least one of
       OpenSSL */

    ck_assert_uint_gt(out, 3);
    ck_assert_int_eq(verify(keys, token, len), expected);
}


START_TEST(memory_that_is_out_is_no_wrong_signature)
{
    size_t  len;

    signature_fails(hs, sign_hs(lit(HS256), lit(SECRET)), OK);
    signature_fails(hs, sign_hs(lit(HS256), lit("another")), SIGNATURE);

    len = sign_rs(lit(RS256), rsa);
    signature_fails(rs, len, OK);
    token[len - 40] = token[len - 40] == 'A' ? 'B' : 'A';
    signature_fails(rs, len, SIGNATURE);
}
END_TEST


START_TEST(memory_that_is_out_is_no_key)
{
    size_t                i, len;
    conduit_jwt_keys_t   *keys;
    conduit_jwt_claims_t  claims;

    memory_count(1);
    ck_assert_ptr_null(conduit_jwt_keys_create());

    keys = conduit_jwt_keys_create();
    len = sign_hs(lit(HS256), lit(SECRET));

    /* allocations: the key, its kid, its secret */

    for (i = 1; i <= 3; i++) {
        memory_count(i);
        ck_assert_str_eq(conduit_jwt_keys_add_secret(keys, lit(SECRET),
                                                     lit("k")),
                         "out of memory");
        ck_assert_uint_eq(memory_calls(), i);
        ck_assert_int_eq(verify(keys, token, len), ALGORITHM);
    }

    memory_count(0);
    ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, lit(SECRET),
                                                   lit("k")));
    ck_assert_uint_eq(memory_calls(), 3);

    memory_count(1);
    ck_assert_int_eq(verify_at(keys, &any, token, len, NOW, &claims),
                     CONDUIT_JWT_NO_MEMORY);
    ck_assert_int_eq(verify_at(keys, &any, token, len, NOW, &claims), OK);

    conduit_jwt_keys_free(keys);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free)
        != 1)
    {
        fputs("OpenSSL has allocated before\n", stderr);
        return EXIT_FAILURE;
    }

    rsa = pem_key(EVP_PKEY_RSA, 2048);
    pem = pem_public(rsa, &pem_len);
    hs = conduit_jwt_keys_create();
    rs = conduit_jwt_keys_create();

    if (hs == NULL || rs == NULL
        || conduit_jwt_keys_add_secret(hs, lit(SECRET), NULL, 0) != NULL
        || conduit_jwt_keys_add_public(rs, pem, pem_len, NULL, 0) != NULL)
    {
        fputs("no keys\n", stderr);
        return EXIT_FAILURE;
    }

    s = suite_create("jwt keys");
    tc = tcase_create("jwt keys");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, rfc_7515_examples_are_taken);
    tcase_add_test(tc, public_keys_come_in_three_forms);
    tcase_add_test(tc, private_keys_are_refused_without_a_question);
    tcase_add_test(tc, other_keys_are_refused);
    tcase_add_test(tc, a_secret_is_the_file_without_one_line_end);
    tcase_add_test(tc, a_secret_keeps_every_other_byte);
    tcase_add_test(tc, a_public_key_is_never_a_secret);
    tcase_add_test(tc, key_files_have_a_limit);
    tcase_add_test(tc, kid_selects_the_keys);
    tcase_add_test(tc, kids_that_begin_with_each_other_are_others);
    tcase_add_test(tc, keys_without_a_kid_are_all_tried);
    tcase_add_test(tc, signatures_have_their_size);
    tcase_add_test(tc, no_part_of_a_token_is_a_token);
    tcase_add_test(tc, no_byte_of_a_token_can_be_changed);
    tcase_add_test(tc, no_bit_of_a_signature_can_be_changed);
    tcase_add_test(tc, memory_that_is_out_is_no_fault_of_a_token);
    tcase_add_test(tc, memory_that_is_out_is_no_wrong_signature);
    tcase_add_test(tc, memory_that_is_out_is_no_key);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    conduit_jwt_keys_free(hs);
    conduit_jwt_keys_free(rs);
    EVP_PKEY_free(rsa);
    free(pem);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
