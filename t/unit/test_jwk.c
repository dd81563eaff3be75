/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of auth/conduit_jwk.c and auth/conduit_jwt_public.c: which JSON Web
 * Keys, key sets and PEM files are accepted, and the error for each that is
 * not; the DER of keys and signatures; hints about key files.
 */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "conduit_jwt_private.h"
#include "jwk.h"
#include "memory.h"
#include "pem.h"

#define lit(s)  s, sizeof(s) - 1

/* the keys of RFC 7515, A.3 and A.2, and of RFC 8037, A.2 */
#define X256  "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define Y256  "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define N2048 \
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHm" \
    "fHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_" \
    "YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5" \
    "z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uD" \
    "Zlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia" \
    "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"

/* the same with a leading zero byte */
#define ZERO \
    "AKH4Fgri48m0Zc6NLWViYzYrkn2-KeHwJHf8FiXMkKE244vZNJfFtupj3XcR" \
    "5nx0KflWsPuKjwia3EtpiTzBMz9T7dAZuHeEJS_skU_khXdpWUvqQoDTLA9V" \
    "v2KUTxMDlrxum99uvdK9o2eO7KDGaPcBs42_-zjINCzi_m0n-t5KWkh0l53U" \
    "uc-a3sTHWwWFLCwPXvilwXUDkvlE6O1kwRDGtkdgmqR4OuucbJrXVTEwUGOL" \
    "g2Zcb296gqOWcCofZBuC0-vyOSIZSR-2hocsVxb1Cvg1jZqLnRfDQHKPf4fY" \
    "mhjY_KtnrYRZDC7PdZM5NjwHA01vYG-eIeBUVsrl6aE"

#define XED  "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"

#define EC_OF(x, y)                                                           \
    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" x "\",\"y\":\"" y "\""
#define RSA_OF(n, e)  "\"kty\":\"RSA\",\"n\":\"" n "\",\"e\":\"" e "\""
#define ED_OF(x)      "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" x "\""

#define EC    EC_OF(X256, Y256)
#define RSA_  RSA_OF(N2048, "AQAB")
#define ED    ED_OF(XED)

#define OTHER_TYPE  "is not an RSA, P-256, P-384 or Ed25519 key"
#define PRIVATE     "is a private key; use the public key"
#define NONE        "has no key that can be used: RSA, P-256, P-384 or "      \
                    "Ed25519, for signatures"
#define ALG         "has an \"alg\" for another type of key"
#define XY          "has no valid \"x\" and \"y\" (base64url, 32 bytes each)"
#define INVALID     "is not a valid public key"
#define MODULUS     "has no valid \"n\" (base64url, at most 16384 bits)"
#define EXPONENT    "has no valid \"e\" (base64url)"
#define SHORT       "is an RSA key of less than 2048 bits"
#define NO_JSON     "is not JSON, or has a duplicate member"
#define NO_KEY      "is neither a public key in PEM nor a JWK"
#define OTHER_KID   "has a \"kid\" that differs from the one in the directive"
#define SAME_KID    "has the same kid as another key"
#define TOO_MANY    "exceeds the limit of 16 public keys"


static conduit_jwt_keys_t  *keys;   /* of the last add() */


static void
fixture(void)
{
    keys = NULL;
}


static void
teardown(void)
{
    conduit_jwt_keys_free(keys);
}


/* adds a file to a new key set; the memory of the file is freed */

static const char *
add_kid(const char *data, size_t len, const char *kid)
{
    char        *copy;
    const char  *err;

    conduit_jwt_keys_free(keys);
    keys = conduit_jwt_keys_create();
    copy = malloc(len ? len : 1);
    ck_assert_ptr_nonnull(keys);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, data, len);

    err = conduit_jwt_keys_add_public(keys, copy, len, kid,
                                      kid ? strlen(kid) : 0);
    memset(copy, 0, len);
    free(copy);

    ck_assert_uint_eq(ERR_peek_error(), 0);
    ck_assert((err == NULL) == (keys->first != NULL));

    return err;
}


static const char *
add(const char *text)
{
    return add_kid(text, strlen(text), NULL);
}


static size_t
count(void)
{
    size_t              n;
    conduit_jwt_key_t  *key;

    n = 0;

    for (key = keys->first; key != NULL; key = key->next) {
        n++;
    }

    return n;
}


/* members of a JWK, and the algorithm of the key or the error */

static const struct {
    const char         *members;
    const char         *err;            /* NULL: the key is used */
    conduit_jwt_alg_e   alg;
} members[] = {
    { RSA_, NULL, CONDUIT_JWT_RS256 },
    { RSA_ ",\"alg\":\"RS256\"", NULL, CONDUIT_JWT_RS256 },
    { RSA_ ",\"alg\":\"PS256\"", NULL, CONDUIT_JWT_PS256 },
    { RSA_OF(ZERO, "AAEAAQ"), NULL, CONDUIT_JWT_RS256 },
    { EC, NULL, CONDUIT_JWT_ES256 },
    { EC ",\"alg\":\"ES256\"", NULL, CONDUIT_JWT_ES256 },
    { ED, NULL, CONDUIT_JWT_EDDSA },
    { ED ",\"alg\":\"EdDSA\"", NULL, CONDUIT_JWT_EDDSA },
    { ED ",\"alg\":\"Ed25519\"", NULL, CONDUIT_JWT_EDDSA },
    { EC ",\"use\":\"sig\",\"key_ops\":[\"sign\",\"verify\"],\"kid\":\"a\","
      "\"x5t\":\"AAAA\",\"x5c\":[\"!\"],\"ext\":true,\"a\":{\"d\":1}",
      NULL, CONDUIT_JWT_ES256 },

    /* ignored: not for signatures, or of another type */

    { EC ",\"use\":\"enc\"", NONE, 0 },
    { EC ",\"use\":\"\"", NONE, 0 },
    { EC ",\"key_ops\":[]", NONE, 0 },
    { EC ",\"key_ops\":[\"deriveKey\",7]", NONE, 0 },
    { EC ",\"key_ops\":[\"sign\"]", NONE, 0 },
    { EC ",\"use\":\"enc\",\"key_ops\":[\"verify\"]", NONE, 0 },
    { EC ",\"use\":\"sig\",\"key_ops\":[\"encrypt\"]", NONE, 0 },
    { EC ",\"alg\":\"ECDH-ES\"", NONE, 0 },
    { RSA_ ",\"alg\":\"RS512\"", NONE, 0 },
    { RSA_ ",\"alg\":\"RSA-OAEP\"", NONE, 0 },
    { RSA_ ",\"alg\":\"none\"", NONE, 0 },
    { RSA_ ",\"alg\":\"rs256\"", NONE, 0 },
    { RSA_ ",\"alg\":\"\"", NONE, 0 },
    { ED ",\"alg\":\"Ed448\"", NONE, 0 },
    { "\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AA\"", NONE, 0 },
    { "\"kty\":\"EC\",\"crv\":\"secp256k1\"", NONE, 0 },
    { "\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" XED "\"", NONE, 0 },
    { "\"kty\":\"oct\"", NONE, 0 },
    { "\"kty\":\"ec\"", NONE, 0 },
    { "\"kty\":\"\"", NONE, 0 },

    /* error: an algorithm of another type */

    { RSA_ ",\"alg\":\"HS256\"", ALG, 0 },
    { RSA_ ",\"alg\":\"ES256\"", ALG, 0 },
    { EC ",\"alg\":\"HS256\"", ALG, 0 },
    { EC ",\"alg\":\"RS256\"", ALG, 0 },
    { EC ",\"alg\":\"ES384\"", ALG, 0 },
    { ED ",\"alg\":\"ES256\"", ALG, 0 },
    { ED ",\"alg\":\"HS256\"", ALG, 0 },

    /* error: private keys and secrets */

    { EC ",\"d\":\"AA\"", PRIVATE, 0 },
    { EC ",\"d\":null", PRIVATE, 0 },
    { EC ",\"use\":\"enc\",\"d\":\"AA\"", PRIVATE, 0 },
    { ED ",\"d\":\"AA\"", PRIVATE, 0 },
    { RSA_ ",\"d\":\"AA\"", PRIVATE, 0 },
    { RSA_ ",\"p\":\"AA\"", PRIVATE, 0 },
    { RSA_ ",\"q\":\"AA\"", PRIVATE, 0 },
    { RSA_ ",\"dp\":\"AA\"", PRIVATE, 0 },
    { RSA_ ",\"dq\":\"AA\"", PRIVATE, 0 },
    { RSA_ ",\"qi\":\"AA\"", PRIVATE, 0 },
    { RSA_ ",\"oth\":[]", PRIVATE, 0 },
    { "\"kty\":\"oct\",\"k\":\"AA\"", PRIVATE, 0 },
    { "\"kty\":\"AKP\",\"priv\":\"AA\"", PRIVATE, 0 },

    /* error: members of a wrong JSON type */

    { "\"kty\":7,\"kid\":\"a\"", "has no \"kty\"", 0 },
    { EC ",\"kid\":7", "\"kid\" is not a string", 0 },
    { EC ",\"kid\":null", "\"kid\" is not a string", 0 },
    { EC ",\"use\":7", "\"use\" is not a string", 0 },
    { EC ",\"key_ops\":\"verify\"", "\"key_ops\" is not an array", 0 },
    { EC ",\"alg\":7", "\"alg\" is not a string", 0 },
    { "\"kty\":\"EC\",\"crv\":7", "has no \"crv\"", 0 },
    { "\"kty\":\"EC\"", "has no \"crv\"", 0 },
    { "\"kty\":\"OKP\"", "has no \"crv\"", 0 },

    /* coordinates: missing, too short, too long, not base64url, not a point of
       the curve */

    { "\"kty\":\"EC\",\"crv\":\"P-256\",\"y\":\"" Y256 "\"", XY, 0 },
    { "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X256 "\"", XY, 0 },
    { EC_OF(X256, "\",\"z\":7,\"a\":\""), XY, 0 },
    { EC_OF("AM3OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVE", Y256), XY, 0 },
    { EC_OF(X256, "AMfxRM0bvZt-hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt"), XY, 0 },
    { EC_OF(X256 "=", Y256), XY, 0 },
    { EC_OF("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEV", Y256), XY, 0 },
    { EC_OF(X256, "x/FEzRu9m36HLN/tue659LNpXW6pCyStikYjKIWI5a0"), XY, 0 },
    { EC_OF(Y256, X256), INVALID, 0 },
    { EC_OF("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), INVALID, 0 },
    { EC_OF("__________________________________________8", Y256), INVALID, 0 },
    { "\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" X256 "\"",
      "has no valid \"x\" and \"y\" (base64url, 48 bytes each)", 0 },
    { "\"kty\":\"OKP\",\"crv\":\"Ed25519\"",
      "has no valid \"x\" (base64url, 32 bytes)", 0 },
    { ED_OF(XED "AA"), "has no valid \"x\" (base64url, 32 bytes)", 0 },

    /* RSA: missing or malformed numbers, a short or even modulus, an exponent
       that can't be used */

    { "\"kty\":\"RSA\",\"e\":\"AQAB\"", MODULUS, 0 },
    { RSA_OF("", "AQAB"), MODULUS, 0 },
    { RSA_OF(N2048 "=", "AQAB"), MODULUS, 0 },
    { "\"kty\":\"RSA\",\"n\":\"" N2048 "\"", EXPONENT, 0 },
    { "\"kty\":\"RSA\",\"n\":\"" N2048 "\",\"e\":65537", EXPONENT, 0 },
    { RSA_OF("AAAA", "AQAB"), SHORT, 0 },
    { RSA_OF(N2048, "AQ"), INVALID, 0 },
    { RSA_OF(N2048, "AA"), INVALID, 0 },
    { RSA_OF(N2048, "AQAA"), INVALID, 0 },
    { RSA_OF(N2048 "AA", "AQAB"), INVALID, 0 }
};


/* each key as a JWK, as the only key of a set, and after a good key */

START_TEST(each_member_of_a_jwk_is_checked)
{
    size_t       i;
    char         text[JWK_MAX];
    const char  *err;

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {

        snprintf(text, sizeof(text), "{%s}", members[i].members);
        err = add(text);
        ck_assert_msg((err == NULL) == (members[i].err == NULL)
                      && (err == NULL || strcmp(err, members[i].err) == 0),
                      "%s: %s", text, err);
        ck_assert_uint_eq(conduit_jwt_keys_failed(keys), 0);

        if (err == NULL) {
            ck_assert_int_eq(keys->first->alg, members[i].alg);
        }

        snprintf(text, sizeof(text), " \r\n\t{\"keys\":[{%s}]}",
                 members[i].members);
        ck_assert_ptr_eq(add(text), err);
        ck_assert_uint_eq(conduit_jwt_keys_failed(keys), 0);

        snprintf(text, sizeof(text), "{\"keys\":[{%s},{%s}]}\n", ED,
                 members[i].members);

        if (err != NULL && strcmp(err, NONE) == 0) {
            ck_assert_ptr_null(add(text));
            ck_assert_uint_eq(count(), 1);
            ck_assert_int_eq(keys->first->alg, CONDUIT_JWT_EDDSA);

        } else {
            ck_assert_ptr_eq(add(text), err);
            ck_assert_uint_eq(conduit_jwt_keys_failed(keys), err ? 2 : 0);
        }
    }
}
END_TEST


START_TEST(a_short_rsa_key_is_refused)
{
    size_t     len;
    char       members[JWK_MAX], text[JWK_MAX + 2], *data;
    EVP_PKEY  *key;

    key = pem_key(EVP_PKEY_RSA, 1024);
    snprintf(text, sizeof(text), "{%s}", jwk_members(key, members));
    ck_assert_str_eq(add(text), SHORT);
    data = pem_public(key, &len);
    ck_assert_str_eq(add_kid(data, len, NULL),
                     SHORT);
    free(data);
    EVP_PKEY_free(key);
}
END_TEST


/* moduli and exponents of about as many digits as there is room for */

START_TEST(a_long_rsa_key_is_refused)
{
    size_t       i, digits;
    char         text[16384];
    const char  *err;

    for (digits = 2728; digits <= 2740; digits++) {

        strcpy(text, "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"");
        i = strlen(text);
        memset(text + i, 'A', digits);
        text[i] = (digits < 2732) ? '_' : 'A';
        strcpy(text + i + digits, "\"}");

        err = add(text);

        /* base64url never has one digit more than a multiple of four */

        ck_assert_str_eq(err, digits > 2732 || digits % 4 == 1
                         ? MODULUS
                         : digits == 2732
                         ? SHORT : INVALID);

        strcpy(text, "{\"kty\":\"RSA\",\"n\":\"" N2048 "\",\"e\":\"");
        i = strlen(text);
        memset(text + i, 'A', digits);
        strcpy(text + i + digits, "\"}");
        ck_assert_str_eq(add(text), digits > 2732 || digits % 4 == 1
                         ? EXPONENT : INVALID);
    }

    strcpy(text, "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"");
    i = strlen(text);
    memset(text + i, '_', 2732);
    strcpy(text + i + 2732, "\"}");
    ck_assert_str_eq(add(text),
                     MODULUS);
}
END_TEST


START_TEST(what_is_no_set_of_keys_is_refused)
{
    size_t  i;

    static const struct {
        const char  *text;
        const char  *err;
    } cases[] = {
        { "{\"keys\":[]}", NONE },
        { "{\"keys\":{}}", "\"keys\" is not an array" },
        { "{\"keys\":null}", "\"keys\" is not an array" },
        { "{\"keys\":[7]}", "has no \"kty\"" },
        { "{\"keys\":[null]}", "has no \"kty\"" },
        { "{\"keys\":[[]]}", "has no \"kty\"" },
        { "{}", "has no \"kty\"" },
        { "{", NO_JSON },
        { "{\"keys\":[{" EC "}]", NO_JSON },
        { "{\"keys\":[{" EC "}]}x", NO_JSON },
        { "{\"keys\":[],\"keys\":[{" EC "}]}", NO_JSON },
        { "{" EC ",\"kty\":\"EC\"}", NO_JSON },
        { "{" EC ",\"kid\":\"a\\u0000\"}", NO_JSON },
        { "[{" EC "}]", NO_KEY },
        { "\"" EC "\"", NO_KEY },
        { "\xef\xbb\xbf{" EC "}", NO_KEY },
        { " \n", NO_KEY },
        { "", NO_KEY }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_str_eq(add(cases[i].text), cases[i].err);
        ck_assert_uint_eq(conduit_jwt_keys_failed(keys), 0);
    }
}
END_TEST


START_TEST(the_kid_of_a_jwk_is_its_own)
{
    ck_assert_ptr_null(add("{" EC ",\"kid\":\"a\"}"));
    ck_assert_uint_eq(keys->first->kid_len, 1);
    ck_assert_int_eq(keys->first->kid[0], 'a');

    ck_assert_ptr_null(add("{" EC "}"));
    ck_assert_ptr_null(keys->first->kid);

    ck_assert_ptr_null(add("{" EC ",\"kid\":\"\"}"));
    ck_assert_ptr_nonnull(keys->first->kid);
    ck_assert_uint_eq(keys->first->kid_len, 0);

    /* the kid in the directive is for keys without their own */

    ck_assert_ptr_null(add_kid(lit("{" EC "}"), "b"));
    ck_assert_int_eq(keys->first->kid[0], 'b');
    ck_assert_ptr_null(add_kid(lit("{" EC ",\"kid\":\"b\"}"), "b"));
    ck_assert_ptr_null(add_kid(lit("{\"keys\":[{" EC "},{" ED "}]}"), "b"));
    ck_assert_uint_eq(count(), 2);
    ck_assert_int_eq(keys->first->next->kid[0], 'b');

    ck_assert_str_eq(add_kid(lit("{" EC ",\"kid\":\"a\"}"), "b"),
                     OTHER_KID);
    ck_assert_str_eq(add_kid(lit("{" EC ",\"kid\":\"bc\"}"), "b"),
                     OTHER_KID);
    ck_assert_str_eq(add_kid(lit("{\"keys\":[{" EC "},"
                                 "{" ED ",\"kid\":\"c\"}]}"), "b"),
                     OTHER_KID);
    ck_assert_uint_eq(conduit_jwt_keys_failed(keys), 2);
}
END_TEST


START_TEST(a_kid_is_of_one_file)
{
    ck_assert_ptr_null(add("{\"keys\":[{" EC ",\"kid\":\"a\"},"
                           "{" ED ",\"kid\":\"a\"},{" RSA_ "}]}"));
    ck_assert_uint_eq(count(), 3);

    ck_assert_str_eq(conduit_jwt_keys_add_public(keys,
                     lit("{\"keys\":[{" EC ",\"kid\":\"b\"},"
                         "{" EC ",\"kid\":\"a\"}]}"), NULL, 0),
                     SAME_KID);
    ck_assert_uint_eq(count(), 3);
    ck_assert_str_eq(conduit_jwt_keys_add_secret(keys, lit("s"), lit("a")),
                     SAME_KID);
    ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, lit("s"), lit("b")));
    ck_assert_uint_eq(count(), 4);
}
END_TEST


START_TEST(public_keys_have_a_limit)
{
    size_t  i, n;
    char    text[JWK_MAX];

    for (n = 15; n <= 17; n++) {
        strcpy(text, "{\"keys\":[{" EC ",\"use\":\"enc\"}");

        for (i = 0; i < n; i++) {
            strcat(text, ",{" ED "}");
        }

        strcat(text, "]}");

        if (n == 17) {
            ck_assert_str_eq(add(text),
                             TOO_MANY);
        } else {
            ck_assert_ptr_null(add(text));
            ck_assert_uint_eq(count(), n);
        }
    }

    /* the limit is for the keys of all files; secrets are not counted */

    ck_assert_ptr_null(add("{" EC "}"));

    for (i = 0; i < 20; i++) {
        ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, lit("s"), NULL,
                                                       0));
    }

    for (i = 1; i < 16; i++) {
        ck_assert_ptr_null(conduit_jwt_keys_add_public(keys, lit("{" EC "}"),
                                                       NULL, 0));
    }

    ck_assert_str_eq(conduit_jwt_keys_add_public(keys, lit("{" EC "}"), NULL,
                                                 0),
                     TOO_MANY);
    ck_assert_ptr_null(conduit_jwt_keys_add_secret(keys, lit("s"), NULL, 0));
    ck_assert_uint_eq(count(), 37);
}
END_TEST


START_TEST(all_keys_of_a_pem_file_are_used)
{
    size_t     i, len, n;
    char      *data, text[16384];
    EVP_PKEY  *key[4];

    key[0] = pem_key(EVP_PKEY_RSA, 2048);
    key[1] = pem_key(EVP_PKEY_EC, NID_X9_62_prime256v1);
    key[2] = pem_key(EVP_PKEY_ED25519, 0);
    key[3] = pem_key(EVP_PKEY_EC, NID_secp521r1);

    n = (size_t) snprintf(text, sizeof(text), "some words\n\n");

    for (i = 0; i < 4; i++) {
        data = (i == 1) ? pem_certificate(key[i], key[i], &len)
                        : pem_public(key[i], &len);
        memcpy(text + n, data, len);
        n += len;
        free(data);

        if (i == 3) {
            ck_assert_str_eq(add_kid(text, n, "a"), OTHER_TYPE);
            ck_assert_uint_eq(conduit_jwt_keys_failed(keys), 4);
            break;
        }

        ck_assert_ptr_null(add_kid(text, n, "a"));
        ck_assert_uint_eq(count(), i + 1);
        ck_assert_int_eq(keys->first->alg, CONDUIT_JWT_RS256);
        ck_assert_int_eq(keys->first->kid[0], 'a');

        text[n++] = '\n';
    }

    ck_assert_ptr_null(add_kid(text, n - len, NULL));
    ck_assert_int_eq(keys->first->next->alg, CONDUIT_JWT_ES256);
    ck_assert_int_eq(keys->first->next->next->alg, CONDUIT_JWT_EDDSA);

    /* an incomplete block at the end is an error */

    ck_assert_str_eq(add_kid(text, n - len - 5, NULL),
                     "is not a public key in PEM");
    ck_assert_uint_eq(conduit_jwt_keys_failed(keys), 3);

    /* a private key is an error, wherever it is */

    n -= len;
    data = pem_private(key[0], NULL, 0, &len);
    memcpy(text + n, data, len);
    free(data);
    ck_assert_str_eq(add_kid(text, n + len, NULL), PRIVATE);

    /* an error is in the first of several keys */

    data = pem_public(key[3], &len);
    memcpy(text, data, len);
    ck_assert_str_eq(add_kid(text, len, NULL), OTHER_TYPE);
    ck_assert_uint_eq(conduit_jwt_keys_failed(keys), 0);
    memcpy(text + len, data, len);
    ck_assert_str_eq(add_kid(text, 2 * len, NULL), OTHER_TYPE);
    ck_assert_uint_eq(conduit_jwt_keys_failed(keys), 1);
    free(data);

    for (i = 0; i < 4; i++) {
        EVP_PKEY_free(key[i]);
    }
}
END_TEST


/* makes a certificate of key, signed with ca */

static size_t
certify(EVP_PKEY *key, EVP_PKEY *ca, char *out)
{
    char    *data;
    size_t   len;

    data = pem_certificate(key, ca, &len);
    memcpy(out, data, len);
    free(data);

    return len;
}


START_TEST(the_first_certificate_of_a_chain_is_used)
{
    size_t     i, n;
    char       text[16384];
    EVP_PKEY  *key[4];

    for (i = 0; i < 4; i++) {
        key[i] = pem_key(EVP_PKEY_EC, NID_X9_62_prime256v1);
    }

    n = certify(key[0], key[1], text);
    n += certify(key[1], key[2], text + n);
    n += certify(key[2], key[2], text + n);
    ck_assert_ptr_null(add_kid(text, n, NULL));
    ck_assert_uint_eq(count(), 1);
    ck_assert_int_eq(EVP_PKEY_eq(keys->first->pkey, key[0]), 1);

    /* a self-signed certificate is another key; and certificates in the wrong
       order are not a chain */

    n += certify(key[3], key[3], text + n);
    ck_assert_ptr_null(add_kid(text, n, NULL));
    ck_assert_uint_eq(count(), 2);
    ck_assert_int_eq(EVP_PKEY_eq(keys->first->next->pkey, key[3]), 1);

    n = certify(key[1], key[1], text);
    n += certify(key[0], key[1], text + n);
    ck_assert_ptr_null(add_kid(text, n, NULL));
    ck_assert_uint_eq(count(), 2);

    for (i = 0; i < 4; i++) {
        EVP_PKEY_free(key[i]);
    }
}
END_TEST


/* the DER of a key is the same as OpenSSL writes it */

START_TEST(keys_are_written_as_openssl_writes_them)
{
    int             n;
    size_t          i;
    char            members[JWK_MAX], text[JWK_MAX + 2];
    json_t         *json;
    EVP_PKEY       *key;
    conduit_jwk_t   jwk;
    unsigned char  *der;

    static const struct {
        int  type, param;
    } cases[] = {
        { EVP_PKEY_RSA, 2048 }, { EVP_PKEY_RSA, 2050 }, { EVP_PKEY_RSA, 512 },
        { EVP_PKEY_EC, NID_X9_62_prime256v1 }, { EVP_PKEY_EC, NID_secp384r1 },
        { EVP_PKEY_ED25519, 0 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        key = pem_key(cases[i].type, cases[i].param);
        snprintf(text, sizeof(text), "{%s}", jwk_members(key, members));
        json = json_loads(text, 0, NULL);
        ck_assert_ptr_null(conduit_jwk_read(json, &jwk));
        ck_assert_int_eq(jwk.used, 1);

        der = NULL;
        n = i2d_PUBKEY(key, &der);
        ck_assert_int_gt(n, 0);
        ck_assert_mem_eq(jwk.der, der, (size_t) n);
        ck_assert_uint_eq(jwk.der_len, (size_t) n);

        OPENSSL_free(der);
        EVP_PKEY_free(key);
        json_decref(json);
    }
}
END_TEST


START_TEST(ecdsa_signatures_are_written_as_der)
{
    size_t         i;
    unsigned char  der[CONDUIT_JWT_DER_ECDSA_MAX + 1], full[96];

    static const struct {
        const char  *raw;
        size_t       n;
        const char  *der;
        size_t       len;
    } cases[] = {
        { "\1\2", 1, lit("\x30\6\2\1\1\2\1\2") },
        { "\x7f\x80", 1, lit("\x30\7\2\1\x7f\2\2\0\x80") },
        { "\0\1\0\xff", 2, lit("\x30\7\2\1\1\2\2\0\xff") },
        { "\1\0\x80\0", 2, lit("\x30\x9\2\2\1\0\2\3\0\x80\0") },
        { "\0\0\0\1", 2, lit("") },
        { "\0\1\0\0", 2, lit("") },
        { "\0\0\0\0", 2, lit("") }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_uint_eq(conduit_jwt_der_ecdsa((const unsigned char *)
                                                cases[i].raw, cases[i].n, der),
                          cases[i].len);
        ck_assert_mem_eq(der, cases[i].der, cases[i].len);
    }

    memset(full, 0xff, sizeof(full));
    der[CONDUIT_JWT_DER_ECDSA_MAX] = 'x';
    ck_assert_uint_eq(conduit_jwt_der_ecdsa(full, 48, der), 104);
    ck_assert_int_eq(der[CONDUIT_JWT_DER_ECDSA_MAX], 'x');
    ck_assert_mem_eq(der, "\x30\x66\2\x31\0\xff", 6);
}
END_TEST


START_TEST(der_has_the_shortest_form_of_a_length)
{
    size_t         i, len;
    unsigned char  n[CONDUIT_JWT_MODULUS_MAX], e[CONDUIT_JWT_MODULUS_MAX];
    unsigned char  der[CONDUIT_JWT_DER_KEY_MAX];

    /* up to the longest number that there is room for */

    memset(n, 0xff, sizeof(n));
    memset(e, 0xff, sizeof(e));

    for (i = 1; i <= sizeof(n); i += (i < 300 ? 1 : 17)) {

        const unsigned char  *p = der;
        EVP_PKEY             *key;

        len = conduit_jwt_der_rsa(n, i, e, i, der);
        ck_assert_uint_le(len, sizeof(der));

        key = d2i_PUBKEY(NULL, &p, (long) len);
        ck_assert_ptr_nonnull(key);
        ck_assert_uint_eq((size_t) (p - der), len);
        ck_assert_int_eq(EVP_PKEY_bits(key), (int) i * 8);
        EVP_PKEY_free(key);
    }

    ck_assert_uint_le(conduit_jwt_der_rsa(n, sizeof(n), e, sizeof(e), der),
                      sizeof(der));
}
END_TEST


START_TEST(algorithms_have_the_names_of_jws)
{
    size_t             i;
    conduit_jwt_alg_e  alg;

    static const struct {
        const char  *name;
        int          alg;       /* -1: none */
    } cases[] = {
        { "HS256", CONDUIT_JWT_HS256 }, { "RS256", CONDUIT_JWT_RS256 },
        { "PS256", CONDUIT_JWT_PS256 }, { "ES256", CONDUIT_JWT_ES256 },
        { "ES384", CONDUIT_JWT_ES384 }, { "EdDSA", CONDUIT_JWT_EDDSA },
        { "Ed25519", CONDUIT_JWT_EDDSA }, { "", -1 }, { "none", -1 },
        { "None", -1 }, { "hs256", -1 }, { "HS25", -1 }, { "HS2566", -1 },
        { "HS512", -1 }, { "ES512", -1 }, { "ES256K", -1 }, { "EdDSa", -1 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        alg = CONDUIT_JWT_HS256;
        ck_assert_int_eq(conduit_jwt_alg_parse(cases[i].name,
                                               strlen(cases[i].name), &alg),
                         cases[i].alg < 0 ? -1 : 0);

        if (cases[i].alg >= 0) {
            ck_assert_int_eq((int) alg, cases[i].alg);
        }
    }

    ck_assert_int_eq(conduit_jwt_alg_parse(lit("RS256\0"), &alg), -1);
}
END_TEST


START_TEST(hints_name_mistakes_in_key_files)
{
    size_t       i;
    const char  *hint;

    static const char  bom[] =
        "it begins with a byte order mark, which is part of it";
    static const char  quotes[] = "it is in quotes, which are part of it";
    static const char  ends[] =
        "it ends with several line ends, only the last one is ignored";
    static const char  backslash[] =
        "it ends with a backslash and an \"n\", which are part of it";
    static const char  lines[] =
        "it has a backslash and an \"n\" where a line should end";

    static const struct {
        const char  *text;
        size_t       len;
        const char  *secret;
        const char  *public;
    } cases[] = {
        { lit("secret"), NULL, NULL },
        { lit("secret\n"), NULL, NULL },
        { lit("secret\r\n"), NULL, NULL },
        { lit(""), NULL, NULL },
        { lit("\n"), NULL, NULL },
        { lit("\""), NULL, NULL },
        { lit("\"secret"), NULL, NULL },
        { lit("secret\""), NULL, NULL },
        { lit("\"secret'"), NULL, NULL },
        { lit("xsecretx"), NULL, NULL },
        { lit("\\nsecret"), NULL, NULL },
        { lit("\"secret\""), quotes, quotes },
        { lit("'secret'\r\n"), quotes, quotes },
        { lit("\"\""), quotes, quotes },
        { lit("\xef\xbb\xbf"), bom, bom },
        { lit("\xef\xbb\xbfsecret\n"), bom, bom },
        { lit("\xef\xbbsecret\n"), NULL, NULL },
        { lit("\xff\xfes\0\n\0"), bom, bom },
        { lit("\xfe\xff\0s\0\n"), bom, bom },
        { lit("\xff"), NULL, NULL },
        { lit("secret\n\n"), ends, NULL },
        { lit("secret\r\n\r\n"), ends, NULL },
        { lit("\n\n"), ends, NULL },
        { lit("secret\\n"), backslash, NULL },
        { lit("secret\\n\n"), backslash, NULL },
        { lit("-----BEGIN PUBLIC KEY-----\\nMIIB"), NULL, lines },
        { lit("-----BEGIN PUBLIC KEY-----\nMIIB"), NULL, NULL },
        { lit("\"-----BEGIN PUBLIC KEY-----\nMIIB\"\n"), quotes, quotes }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hint = conduit_jwt_hint_secret(cases[i].text, cases[i].len);
        ck_assert_pstr_eq(hint, cases[i].secret);
        hint = conduit_jwt_hint_public(cases[i].text, cases[i].len);
        ck_assert_pstr_eq(hint, cases[i].public);
    }
}
END_TEST


START_TEST(a_secret_is_no_jwk)
{
    conduit_jwt_keys_t  *set;

    set = conduit_jwt_keys_create();

    ck_assert_str_eq(conduit_jwt_keys_add_secret(set, lit("{" EC "}"), NULL, 0),
                     "is a JWK, not a secret");
    ck_assert_str_eq(conduit_jwt_keys_add_secret(set, lit(" {\"keys\":[{" ED
                                                          "}]}\n"), NULL, 0),
                     "is a JWK, not a secret");
    ck_assert_ptr_null(conduit_jwt_keys_add_secret(set, lit("{secret}"), NULL,
                                                   0));
    ck_assert_ptr_null(conduit_jwt_keys_add_secret(set, lit("\"kty\""), NULL,
                                                   0));
    conduit_jwt_keys_free(set);
}
END_TEST


static size_t  live, made, fail_at;


static void *
counted_malloc(size_t size)
{
    void  *p;

    p = (++made == fail_at) ? NULL : malloc(size);
    live += (p != NULL);

    return p;
}


static void
counted_free(void *p)
{
    live -= (p != NULL);
    free(p);
}


START_TEST(nothing_leaks_when_memory_is_out)
{
    size_t       i, n;
    const char  *err;

    static const char  text[] = "{\"keys\":[{" EC ",\"kid\":\"a\"},"
                                "{" RSA_ ",\"kid\":\"b\"}]}";

    /* allocations: the key set (1), then two keys and their kids */

    for (i = 2; i <= 5; i++) {
        conduit_jwt_keys_free(keys);
        keys = NULL;
        memory_count(i);
        ck_assert_str_eq(add(text), "out of memory");
        ck_assert_uint_eq(memory_calls(), i);
    }

    memory_count(0);
    json_set_alloc_funcs(counted_malloc, counted_free);

    fail_at = 0;
    ck_assert_ptr_null(add(text));
    ck_assert_uint_eq(live, 0);
    n = made;
    ck_assert_uint_gt(n, 10);

    for (fail_at = 1; fail_at <= n; fail_at++) {
        made = 0;
        err = add(text);
        ck_assert_uint_eq(live, 0);
        ck_assert(err != NULL || count() == 2);
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

    s = suite_create("jwk");
    tc = tcase_create("jwk");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, fixture, teardown);
    tcase_add_test(tc, each_member_of_a_jwk_is_checked);
    tcase_add_test(tc, a_short_rsa_key_is_refused);
    tcase_add_test(tc, a_long_rsa_key_is_refused);
    tcase_add_test(tc, what_is_no_set_of_keys_is_refused);
    tcase_add_test(tc, the_kid_of_a_jwk_is_its_own);
    tcase_add_test(tc, a_kid_is_of_one_file);
    tcase_add_test(tc, public_keys_have_a_limit);
    tcase_add_test(tc, all_keys_of_a_pem_file_are_used);
    tcase_add_test(tc, the_first_certificate_of_a_chain_is_used);
    tcase_add_test(tc, keys_are_written_as_openssl_writes_them);
    tcase_add_test(tc, ecdsa_signatures_are_written_as_der);
    tcase_add_test(tc, der_has_the_shortest_form_of_a_length);
    tcase_add_test(tc, algorithms_have_the_names_of_jws);
    tcase_add_test(tc, hints_name_mistakes_in_key_files);
    tcase_add_test(tc, a_secret_is_no_jwk);
    tcase_add_test(tc, nothing_leaks_when_memory_is_out);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
