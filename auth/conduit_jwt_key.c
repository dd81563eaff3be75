/* Copyright (C) Conduit for NGINX authors */

/*
 * One key of a set: its memory, and the check of a signature with it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "conduit_jwt_private.h"


static int conduit_jwt_key_verify_public(const conduit_jwt_key_t *key,
    EVP_MD_CTX *ctx, const char *data, size_t len,
    const unsigned char *signature, size_t signature_len);


conduit_jwt_key_t *
conduit_jwt_key_create(const char *kid, size_t kid_len)
{
    conduit_jwt_key_t  *key;

    key = calloc(1, sizeof(conduit_jwt_key_t));

    if (key == NULL || kid == NULL) {
        return key;
    }

    key->kid = malloc(kid_len ? kid_len : 1);

    if (key->kid == NULL) {
        free(key);
        return NULL;
    }

    memcpy(key->kid, kid, kid_len);
    key->kid_len = kid_len;

    return key;
}


void
conduit_jwt_key_free(conduit_jwt_key_t *key)
{
    conduit_jwt_key_t  *next;

    for ( /* void */ ; key != NULL; key = next) {
        next = key->next;

        if (key->secret != NULL) {
            OPENSSL_cleanse(key->secret, key->secret_len);
            free(key->secret);
        }

        EVP_PKEY_free(key->pkey);
        free(key->kid);
        free(key);
    }
}


int
conduit_jwt_key_verify(const conduit_jwt_key_t *key, const char *data,
    size_t len, const unsigned char *signature, size_t signature_len)
{
    int             good;
    unsigned int    mac_len;
    EVP_MD_CTX     *ctx;
    unsigned char   mac[EVP_MAX_MD_SIZE];

    /* OpenSSL does not report all failed allocations; malloc() sets errno */

    errno = 0;

    if (key->alg == CONDUIT_JWT_HS256) {

        good = HMAC(EVP_sha256(), key->secret, (int) key->secret_len,
                    (const unsigned char *) data, len, mac, &mac_len) != NULL
               && mac_len == signature_len
               && CRYPTO_memcmp(mac, signature, mac_len) == 0;

    } else {
        ctx = EVP_MD_CTX_new();

        good = ctx != NULL
               && conduit_jwt_key_verify_public(key, ctx, data, len, signature,
                                                signature_len);

        EVP_MD_CTX_free(ctx);
    }

    if (!good && errno == ENOMEM) {
        good = -1;
    }

    ERR_clear_error();

    return good;
}


static int
conduit_jwt_key_verify_public(const conduit_jwt_key_t *key, EVP_MD_CTX *ctx,
    const char *data, size_t len, const unsigned char *signature,
    size_t signature_len)
{
    size_t         n;
    EVP_PKEY_CTX  *pctx;
    const EVP_MD  *md;
    unsigned char  der[CONDUIT_JWT_DER_ECDSA_MAX];

    md = (key->alg == CONDUIT_JWT_EDDSA) ? NULL
         : (key->alg == CONDUIT_JWT_ES384) ? EVP_sha384() : EVP_sha256();

    if (EVP_DigestVerifyInit(ctx, &pctx, md, NULL, key->pkey) != 1) {
        return 0;
    }

    if (key->alg == CONDUIT_JWT_PS256
        && (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) != 1
            || EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST)
               != 1))
    {
        return 0;
    }

    n = conduit_jwt_coordinate(key->alg);

    if (n != 0) {

        if (signature_len != 2 * n) {
            return 0;
        }

        signature_len = conduit_jwt_der_ecdsa(signature, n, der);
        signature = der;

        if (signature_len == 0) {
            return 0;
        }
    }

    return EVP_DigestVerify(ctx, signature, signature_len,
                            (const unsigned char *) data, len)
           == 1;
}
