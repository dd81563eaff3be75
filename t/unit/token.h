/* Copyright (C) Conduit for NGINX authors */

/*
 * Makes tokens, valid or not: the caller chooses the parts and the signature.
 * A buffer that is given must hold TOKEN_MAX bytes.
 */

#ifndef TOKEN_H
#define TOKEN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#define TOKEN_MAX  65536


/* base64url without padding; returns the number of bytes written */

static inline size_t
token_base64url(const void *data, size_t len, char *out)
{
    size_t                i, n;
    unsigned              bits, nbits;
    const unsigned char  *p;
    static const char     digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    p = data;
    n = 0;
    bits = 0;
    nbits = 0;

    for (i = 0; i < len; i++) {
        bits = (bits << 8 | p[i]) & 0xffff;

        for (nbits += 8; nbits >= 6; nbits -= 6) {
            out[n++] = digits[bits >> (nbits - 6) & 0x3f];
        }
    }

    if (nbits) {
        out[n++] = digits[bits << (6 - nbits) & 0x3f];
    }

    return n;
}


/* "header.payload", what a signature is made of */

static inline size_t
token_begin(char *token, const void *header, size_t header_len,
    const void *payload, size_t payload_len)
{
    size_t  n;

    n = token_base64url(header, header_len, token);
    token[n++] = '.';

    return n + token_base64url(payload, payload_len, token + n);
}


static inline size_t
token_end(char *token, size_t len, const void *signature, size_t signature_len)
{
    token[len++] = '.';

    return len + token_base64url(signature, signature_len, token + len);
}


/* each function below writes a signature of token, and returns its length */

static inline size_t
token_hs256(const char *token, size_t len, const void *secret,
    size_t secret_len, unsigned char *signature)
{
    unsigned  n;

    if (HMAC(EVP_sha256(), secret, (int) secret_len,
             (const unsigned char *) token, len, signature, &n)
        == NULL)
    {
        abort();
    }

    return n;
}


static inline size_t
token_signed(const char *token, size_t len, EVP_PKEY *key, const EVP_MD *md,
    int pss, unsigned char *signature, size_t size)
{
    EVP_MD_CTX    *ctx;
    EVP_PKEY_CTX  *pctx;

    ctx = EVP_MD_CTX_new();

    if (ctx == NULL
        || EVP_DigestSignInit(ctx, &pctx, md, NULL, key) != 1
        || (pss
            && (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) != 1
                || EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, pss) != 1))
        || EVP_DigestSign(ctx, signature, &size, (const unsigned char *) token,
                          len)
           != 1)
    {
        abort();
    }

    EVP_MD_CTX_free(ctx);

    return size;
}


static inline size_t
token_rs256(const char *token, size_t len, EVP_PKEY *key,
    unsigned char *signature)
{
    return token_signed(token, len, key, EVP_sha256(), 0, signature,
                        (size_t) EVP_PKEY_size(key));
}


/* salt is its length in bytes; RFC 7518 requires 32 */

static inline size_t
token_ps256(const char *token, size_t len, EVP_PKEY *key, int salt,
    unsigned char *signature)
{
    return token_signed(token, len, key, EVP_sha256(), salt, signature,
                        (size_t) EVP_PKEY_size(key));
}


static inline size_t
token_eddsa(const char *token, size_t len, EVP_PKEY *key,
    unsigned char *signature)
{
    return token_signed(token, len, key, NULL, 0, signature,
                        (size_t) EVP_PKEY_size(key));
}


/* r and s have half bytes each: 32 for ES256, 48 for ES384 */

static inline size_t
token_ecdsa(const char *token, size_t len, EVP_PKEY *key, int half,
    unsigned char *signature)
{
    size_t                n;
    ECDSA_SIG            *sig;
    unsigned char         der[256];
    const unsigned char  *p;

    n = token_signed(token, len, key, half == 32 ? EVP_sha256() : EVP_sha384(),
                     0, der, sizeof(der));

    p = der;
    sig = d2i_ECDSA_SIG(NULL, &p, (long) n);

    if (sig == NULL
        || BN_bn2binpad(ECDSA_SIG_get0_r(sig), signature, half) != half
        || BN_bn2binpad(ECDSA_SIG_get0_s(sig), signature + half, half) != half)
    {
        abort();
    }

    ECDSA_SIG_free(sig);

    return 2 * (size_t) half;
}

#endif /* TOKEN_H */
