/*
 * Makes tokens, good ones and any other: the parts and the signature are the
 * caller's.  A buffer that is given must hold TOKEN_MAX bytes.
 */

#ifndef TOKEN_H
#define TOKEN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

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


/* the two signatures over token return their length */

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
token_rs256(const char *token, size_t len, EVP_PKEY *key,
    unsigned char *signature)
{
    size_t       n;
    EVP_MD_CTX  *ctx;

    n = (size_t) EVP_PKEY_size(key);
    ctx = EVP_MD_CTX_new();

    if (ctx == NULL
        || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1
        || EVP_DigestSign(ctx, signature, &n, (const unsigned char *) token,
                          len)
           != 1)
    {
        abort();
    }

    EVP_MD_CTX_free(ctx);

    return n;
}

#endif /* TOKEN_H */
