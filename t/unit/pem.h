/* Copyright (C) Conduit for NGINX authors */

/*
 * Makes keys and writes them in PEM.  The caller frees each text.
 */

#ifndef PEM_H
#define PEM_H

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>


/* param is the bits of an RSA key, the curve of an EC key; others have none */

static inline EVP_PKEY *
pem_key(int type, int param)
{
    EVP_PKEY      *key;
    EVP_PKEY_CTX  *ctx;

    key = NULL;
    ctx = EVP_PKEY_CTX_new_id(type, NULL);

    if (ctx == NULL || EVP_PKEY_keygen_init(ctx) != 1
        || (type == EVP_PKEY_EC
            && EVP_PKEY_CTX_set_ec_paramgen_curve_nid(ctx, param) != 1)
        || ((type == EVP_PKEY_RSA || type == EVP_PKEY_RSA_PSS)
            && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, param) != 1)
        || EVP_PKEY_keygen(ctx, &key) != 1)
    {
        abort();
    }

    EVP_PKEY_CTX_free(ctx);

    return key;
}


/* returns a copy of what was written to bio, and frees bio */

static inline char *
pem_content(BIO *bio, size_t *len)
{
    char  *data, *copy;

    *len = (size_t) BIO_get_mem_data(bio, &data);

    copy = malloc(*len);
    if (copy == NULL) {
        abort();
    }

    memcpy(copy, data, *len);
    BIO_free(bio);

    return copy;
}


static inline char *
pem_public(EVP_PKEY *key, size_t *len)
{
    BIO  *bio;

    bio = BIO_new(BIO_s_mem());

    if (bio == NULL || PEM_write_bio_PUBKEY(bio, key) != 1) {
        abort();
    }

    return pem_content(bio, len);
}


static inline char *
pem_private(EVP_PKEY *key, const char *password, int traditional, size_t *len)
{
    int                rc;
    BIO               *bio;
    const EVP_CIPHER  *cipher;

    bio = BIO_new(BIO_s_mem());
    cipher = password ? EVP_aes_128_cbc() : NULL;

    rc = traditional
         ? PEM_write_bio_PrivateKey_traditional(bio, key, cipher, NULL, 0, NULL,
                                                (void *) password)
         : PEM_write_bio_PKCS8PrivateKey(bio, key, cipher, NULL, 0, NULL,
                                         (void *) password);
    if (rc != 1) {
        abort();
    }

    return pem_content(bio, len);
}


/* a certificate of key, signed by ca; self-signed if ca is key */

static inline char *
pem_certificate(EVP_PKEY *key, EVP_PKEY *ca, size_t *len)
{
    BIO   *bio;
    X509  *x509;

    x509 = X509_new();
    bio = BIO_new(BIO_s_mem());

    if (x509 == NULL || bio == NULL
        || ASN1_INTEGER_set(X509_get_serialNumber(x509), 1) != 1
        || X509_gmtime_adj(X509_getm_notBefore(x509), 0) == NULL
        || X509_gmtime_adj(X509_getm_notAfter(x509), 60) == NULL
        || X509_set_pubkey(x509, key) != 1
        || X509_sign(x509, ca, EVP_sha256()) == 0
        || PEM_write_bio_X509(bio, x509) != 1)
    {
        abort();
    }

    X509_free(x509);

    return pem_content(bio, len);
}


static inline char *
pem_pkcs1(EVP_PKEY *key, size_t *len)
{
    int             n;
    BIO            *bio;
    unsigned char  *der;

    der = NULL;
    n = i2d_PublicKey(key, &der);
    bio = BIO_new(BIO_s_mem());

    if (n <= 0 || bio == NULL
        || PEM_write_bio(bio, PEM_STRING_RSA_PUBLIC, "", der, n) <= 0)
    {
        abort();
    }

    OPENSSL_free(der);

    return pem_content(bio, len);
}

#endif /* PEM_H */
