#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "conduit_jwt_private.h"


#define CONDUIT_JWT_MIN_RSA_BITS  2048


static const char *conduit_jwt_key_read(conduit_jwt_alg_t alg,
    conduit_jwt_key_t *key, const char *data, size_t len);
static const char *conduit_jwt_key_secret(conduit_jwt_key_t *key,
    const char *data, size_t len);
static const char *conduit_jwt_key_public(conduit_jwt_key_t *key,
    const char *data, size_t len);
static EVP_PKEY *conduit_jwt_key_pem(const char *data, size_t len);
static EVP_PKEY *conduit_jwt_key_pkcs1(const unsigned char *der, long len);
static EVP_PKEY *conduit_jwt_key_certificate(const unsigned char *der,
    long len);
static void conduit_jwt_key_free(conduit_jwt_key_t *key);
static int conduit_jwt_contains(const char *data, size_t len,
    const char *text);


conduit_jwt_keys_t *
conduit_jwt_keys_create(conduit_jwt_alg_t alg)
{
    conduit_jwt_keys_t  *keys;

    keys = calloc(1, sizeof(conduit_jwt_keys_t));

    if (keys != NULL) {
        keys->alg = alg;
    }

    return keys;
}


void
conduit_jwt_keys_free(conduit_jwt_keys_t *keys)
{
    conduit_jwt_key_t  *key, *next;

    if (keys == NULL) {
        return;
    }

    for (key = keys->first; key != NULL; key = next) {
        next = key->next;
        conduit_jwt_key_free(key);
    }

    free(keys);
}


static void
conduit_jwt_key_free(conduit_jwt_key_t *key)
{
    if (key->secret != NULL) {
        OPENSSL_cleanse(key->secret, key->secret_len);
        free(key->secret);
    }

    EVP_PKEY_free(key->pkey);
    free(key->kid);
    free(key);
}


const char *
conduit_jwt_keys_add(conduit_jwt_keys_t *keys, const char *data, size_t len,
    const char *kid, size_t kid_len)
{
    const char          *err;
    conduit_jwt_key_t   *key, **last;

    for (last = &keys->first; *last != NULL; last = &(*last)->next) {
        if (kid != NULL && (*last)->kid != NULL
            && (*last)->kid_len == kid_len
            && memcmp((*last)->kid, kid, kid_len) == 0)
        {
            return "has the kid of another key";
        }
    }

    key = calloc(1, sizeof(conduit_jwt_key_t));
    if (key == NULL) {
        return "out of memory";
    }

    if (kid != NULL) {
        key->kid = malloc(kid_len ? kid_len : 1);

        if (key->kid == NULL) {
            conduit_jwt_key_free(key);
            return "out of memory";
        }

        memcpy(key->kid, kid, kid_len);
        key->kid_len = kid_len;
    }

    err = conduit_jwt_key_read(keys->alg, key, data, len);

    if (err != NULL) {
        conduit_jwt_key_free(key);
        return err;
    }

    *last = key;

    return NULL;
}


static const char *
conduit_jwt_key_read(conduit_jwt_alg_t alg, conduit_jwt_key_t *key,
    const char *data, size_t len)
{
    const char  *err;

    /* OpenSSL takes lengths as an int */

    if (len > INT_MAX) {
        return "is too long";
    }

    if (alg == CONDUIT_JWT_HS256) {
        return conduit_jwt_key_secret(key, data, len);
    }

    err = conduit_jwt_key_public(key, data, len);

    /* NGINX logs what is left in the queue as its own failure */

    ERR_clear_error();

    return err;
}


static const char *
conduit_jwt_key_secret(conduit_jwt_key_t *key, const char *data, size_t len)
{
    if (conduit_jwt_contains(data, len, "-----BEGIN ")) {
        return "is a PEM file, not a secret";
    }

    if (len && data[len - 1] == '\n') {
        len--;

        if (len && data[len - 1] == '\r') {
            len--;
        }
    }

    if (len == 0) {
        return "is empty";
    }

    key->secret = malloc(len);
    if (key->secret == NULL) {
        return "out of memory";
    }

    memcpy(key->secret, data, len);
    key->secret_len = len;

    return NULL;
}


static const char *
conduit_jwt_key_public(conduit_jwt_key_t *key, const char *data, size_t len)
{
    if (conduit_jwt_contains(data, len, "PRIVATE KEY-----")) {
        return "is a private key; give the public one";
    }

    key->pkey = conduit_jwt_key_pem(data, len);

    if (key->pkey == NULL) {
        return "is no public key in PEM";
    }

    if (EVP_PKEY_base_id(key->pkey) != EVP_PKEY_RSA) {
        return "is no RSA key";
    }

    if (EVP_PKEY_bits(key->pkey) < CONDUIT_JWT_MIN_RSA_BITS) {
        return "is an RSA key of less than 2048 bits";
    }

    return NULL;
}


/* the first PEM block; its name tells its form */

static EVP_PKEY *
conduit_jwt_key_pem(const char *data, size_t len)
{
    BIO                  *bio;
    char                 *name, *header;
    long                  der_len;
    EVP_PKEY             *pkey;
    unsigned char        *der;
    const unsigned char  *p;

    bio = BIO_new_mem_buf(data, (int) len);
    if (bio == NULL) {
        return NULL;
    }

    if (PEM_read_bio(bio, &name, &header, &der, &der_len) != 1) {
        BIO_free(bio);
        return NULL;
    }

    BIO_free(bio);

    p = der;

    if (strcmp(name, PEM_STRING_PUBLIC) == 0) {
        pkey = d2i_PUBKEY(NULL, &p, der_len);

    } else if (strcmp(name, PEM_STRING_RSA_PUBLIC) == 0) {
        pkey = conduit_jwt_key_pkcs1(der, der_len);

    } else if (strcmp(name, PEM_STRING_X509) == 0) {
        pkey = conduit_jwt_key_certificate(der, der_len);

    } else {
        pkey = NULL;
    }

    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);

    return pkey;
}


static EVP_PKEY *
conduit_jwt_key_pkcs1(const unsigned char *der, long len)
{
    return d2i_PublicKey(EVP_PKEY_RSA, NULL, &der, len);
}


static EVP_PKEY *
conduit_jwt_key_certificate(const unsigned char *der, long len)
{
    X509      *x509;
    EVP_PKEY  *pkey;

    x509 = d2i_X509(NULL, &der, len);
    if (x509 == NULL) {
        return NULL;
    }

    pkey = X509_get_pubkey(x509);
    X509_free(x509);

    return pkey;
}


static int
conduit_jwt_contains(const char *data, size_t len, const char *text)
{
    size_t  i, n;

    n = strlen(text);

    for (i = 0; i + n <= len; i++) {
        if (memcmp(data + i, text, n) == 0) {
            return 1;
        }
    }

    return 0;
}


int
conduit_jwt_key_verify(const conduit_jwt_keys_t *keys,
    const conduit_jwt_key_t *key, const char *data, size_t len,
    const unsigned char *signature, size_t signature_len)
{
    int             good;
    unsigned int    mac_len;
    EVP_MD_CTX     *ctx;
    unsigned char   mac[EVP_MAX_MD_SIZE];

    /* not each failed allocation is in OpenSSL's queue; malloc() sets errno */

    errno = 0;

    if (keys->alg == CONDUIT_JWT_HS256) {

        good = HMAC(EVP_sha256(), key->secret, (int) key->secret_len,
                    (const unsigned char *) data, len, mac, &mac_len) != NULL
               && mac_len == signature_len
               && CRYPTO_memcmp(mac, signature, mac_len) == 0;

    } else {
        ctx = EVP_MD_CTX_new();

        good = ctx != NULL
               && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->pkey)
                  == 1
               && EVP_DigestVerify(ctx, signature, signature_len,
                                   (const unsigned char *) data, len)
                  == 1;

        EVP_MD_CTX_free(ctx);
    }

    if (!good && errno == ENOMEM) {
        good = -1;
    }

    ERR_clear_error();

    return good;
}
