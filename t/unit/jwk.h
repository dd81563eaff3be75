/* Copyright (C) Conduit for NGINX authors */

/*
 * Writes public keys as JSON Web Keys.  A buffer that is given must hold
 * JWK_MAX bytes.
 */

#ifndef JWK_H
#define JWK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "token.h"

#define JWK_MAX  8192


/* a number of a key in base64url, of len bytes; 0: of as many as it has */

static inline char *
jwk_number(EVP_PKEY *key, const char *name, int len, char *out)
{
    BIGNUM         *n;
    unsigned char   bytes[2050];

    n = NULL;

    if (EVP_PKEY_get_bn_param(key, name, &n) != 1) {
        abort();
    }

    len = len ? len : BN_num_bytes(n);

    if (BN_bn2binpad(n, bytes, len) != len) {
        abort();
    }

    BN_free(n);
    out[token_base64url(bytes, (size_t) len, out)] = '\0';

    return out;
}


/*
 * The members of a key, without the braces, so that others can follow.  Returns
 * out.
 */

static inline char *
jwk_members(EVP_PKEY *key, char *out)
{
    int             len;
    char            x[3000], y[3000];
    size_t          n;
    unsigned char   raw[32];

    switch (EVP_PKEY_base_id(key)) {

    case EVP_PKEY_RSA:
        snprintf(out, JWK_MAX, "\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"",
                 jwk_number(key, OSSL_PKEY_PARAM_RSA_N, 0, x),
                 jwk_number(key, OSSL_PKEY_PARAM_RSA_E, 0, y));
        break;

    case EVP_PKEY_EC:
        len = (EVP_PKEY_bits(key) + 7) / 8;

        snprintf(out, JWK_MAX, "\"kty\":\"EC\",\"crv\":\"P-%d\","
                 "\"x\":\"%s\",\"y\":\"%s\"", EVP_PKEY_bits(key),
                 jwk_number(key, OSSL_PKEY_PARAM_EC_PUB_X, len, x),
                 jwk_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, len, y));
        break;

    case EVP_PKEY_ED25519:
        n = sizeof(raw);

        if (EVP_PKEY_get_raw_public_key(key, raw, &n) != 1) {
            abort();
        }

        x[token_base64url(raw, n, x)] = '\0';
        snprintf(out, JWK_MAX, "\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                 "\"x\":\"%s\"", x);
        break;

    default:
        abort();
    }

    return out;
}

#endif /* JWK_H */
