/* Copyright (C) Conduit for NGINX authors */

/*
 * Reads a file of public keys, in PEM or as JSON Web Keys.
 */

#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "conduit_jansson.h"
#include "conduit_jwt_private.h"


#define CONDUIT_JWT_MIN_RSA_BITS  2048
#define CONDUIT_JWT_MAX_RSA_BITS  (8 * CONDUIT_JWT_MODULUS_MAX)


/* a block of a PEM file */
typedef struct {
    EVP_PKEY  *pkey;        /* NULL: it contains no valid public key */
    X509      *x509;        /* NULL: it is not a certificate */
} conduit_jwt_block_t;

/* state of reading a file */
typedef struct {
    const char          *kid;       /* of keys without a kid of their own */
    size_t               kid_len;
    conduit_jwt_key_t  **last;      /* where to append the next key */
    size_t               number;    /* PEM: of the current key, from 1 */
} conduit_jwt_reader_t;


static const char *conduit_jwt_public_pem(const char *data, size_t len,
    conduit_jwt_reader_t *reader, size_t *failed);
static const char *conduit_jwt_public_blocks(BIO *bio,
    conduit_jwt_reader_t *reader);
static int conduit_jwt_public_block(BIO *bio, conduit_jwt_block_t *block);
static void conduit_jwt_public_decode(const char *name,
    const unsigned char *der, long len, conduit_jwt_block_t *block);
static const char *conduit_jwt_public_json(const char *data, size_t len,
    conduit_jwt_reader_t *reader, size_t *failed);
static const char *conduit_jwt_public_set(json_t *set,
    conduit_jwt_reader_t *reader, size_t *failed);
static const char *conduit_jwt_public_jwk(json_t *jwk,
    conduit_jwt_reader_t *reader);
static const char *conduit_jwt_public_add(conduit_jwt_reader_t *reader,
    EVP_PKEY *pkey, const conduit_jwk_t *jwk);
static const char *conduit_jwt_public_check(EVP_PKEY *pkey,
    conduit_jwt_alg_e *alg);
static const char *conduit_jwt_public_check_curve(EVP_PKEY *pkey,
    conduit_jwt_alg_e *alg);


const char *
conduit_jwt_public_read(const char *data, size_t len, const char *kid,
    size_t kid_len, conduit_jwt_key_t **keys, size_t *failed)
{
    const char            *err;
    conduit_jwt_reader_t   reader;

    *keys = NULL;
    *failed = 0;

    reader.kid = kid;
    reader.kid_len = kid_len;
    reader.last = keys;
    reader.number = 0;

    if (conduit_jwk_begins(data, len)) {
        err = conduit_jwt_public_json(data, len, &reader, failed);

    } else {
        err = conduit_jwt_public_pem(data, len, &reader, failed);
    }

    if (err != NULL) {
        conduit_jwt_key_free(*keys);
        *keys = NULL;
    }

    return err;
}


static const char *
conduit_jwt_public_pem(const char *data, size_t len,
    conduit_jwt_reader_t *reader, size_t *failed)
{
    BIO         *bio;
    char        *rest;
    long         rest_len;
    const char  *err;

    if (conduit_jwt_contains(data, len, "PRIVATE KEY-----")) {
        return "is a private key; use the public key";
    }

    if (!conduit_jwt_contains(data, len, "-----BEGIN ")) {
        return "is neither a public key in PEM nor a JWK";
    }

    bio = BIO_new_mem_buf(data, (int) len);
    if (bio == NULL) {
        return "out of memory";
    }

    err = conduit_jwt_public_blocks(bio, reader);

    if (err != NULL) {
        rest_len = BIO_get_mem_data(bio, &rest);

        if (reader->number > 1
            || (rest_len > 0
                && conduit_jwt_contains(rest, (size_t) rest_len,
                                        "-----BEGIN ")))
        {
            *failed = reader->number;
        }
    }

    BIO_free(bio);

    return err;
}


/*
 * Each block must contain a key, which is added.  The exception is a
 * certificate that has signed the one before it: it only completes a chain, and
 * an authority that signs certificates must not be able to sign tokens.
 */

static const char *
conduit_jwt_public_blocks(BIO *bio, conduit_jwt_reader_t *reader)
{
    int                   rc;
    X509                 *previous;
    const char           *err;
    conduit_jwt_block_t   block;

    err = NULL;
    previous = NULL;

    do {
        rc = conduit_jwt_public_block(bio, &block);

        if (rc == 0 && reader->number) {
            break;
        }

        reader->number++;

        if (block.pkey == NULL) {
            err = "is not a public key in PEM";

        } else if (previous != NULL && block.x509 != NULL
                   && X509_verify(previous, block.pkey) == 1)
        {
            EVP_PKEY_free(block.pkey);

        } else {
            err = conduit_jwt_public_add(reader, block.pkey, NULL);
        }

        X509_free(previous);
        previous = block.x509;

    } while (err == NULL);

    X509_free(previous);

    return err;
}


/* returns 1 for a block, 0 if there is none left, -1 if it is malformed */

static int
conduit_jwt_public_block(BIO *bio, conduit_jwt_block_t *block)
{
    char           *name, *header;
    long            len;
    unsigned char  *der;

    block->pkey = NULL;
    block->x509 = NULL;

    ERR_clear_error();

    if (PEM_read_bio(bio, &name, &header, &der, &len) != 1) {
        return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE
               ? 0 : -1;
    }

    conduit_jwt_public_decode(name, der, len, block);

    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);

    return 1;
}


static void
conduit_jwt_public_decode(const char *name, const unsigned char *der, long len,
    conduit_jwt_block_t *block)
{
    if (strcmp(name, PEM_STRING_PUBLIC) == 0) {
        block->pkey = d2i_PUBKEY(NULL, &der, len);

    } else if (strcmp(name, PEM_STRING_RSA_PUBLIC) == 0) {
        block->pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &der, len);

    } else if (strcmp(name, PEM_STRING_X509) == 0) {
        block->x509 = d2i_X509(NULL, &der, len);

        if (block->x509 != NULL) {
            block->pkey = X509_get_pubkey(block->x509);
        }
    }
}


/* reads a JWK or a JWK set */

static const char *
conduit_jwt_public_json(const char *data, size_t len,
    conduit_jwt_reader_t *reader, size_t *failed)
{
    json_t             *json, *set;
    const char         *err;
    json_error_t        error;
    conduit_jwt_key_t **first;

    json = conduit_jansson_load(data, len, JSON_REJECT_DUPLICATES, &error);

    if (json == NULL) {
        return json_error_code(&error) == json_error_out_of_memory
               ? "out of memory" : "is not JSON, or has a duplicate member";
    }

    first = reader->last;
    set = json_object_get(json, "keys");

    if (set == NULL) {
        err = conduit_jwt_public_jwk(json, reader);

    } else {
        err = conduit_jwt_public_set(set, reader, failed);
    }

    if (err == NULL && *first == NULL) {
        err = "has no key that can be used: RSA, P-256, P-384 or Ed25519, for "
              "signatures";
    }

    json_decref(json);

    return err;
}


static const char *
conduit_jwt_public_set(json_t *set, conduit_jwt_reader_t *reader,
    size_t *failed)
{
    size_t       i, n;
    const char  *err;

    if (!json_is_array(set)) {
        return "\"keys\" is not an array";
    }

    n = json_array_size(set);

    for (i = 0; i < n; i++) {
        err = conduit_jwt_public_jwk(json_array_get(set, i), reader);

        if (err != NULL) {
            *failed = (n > 1) ? i + 1 : 0;
            return err;
        }
    }

    return NULL;
}


static const char *
conduit_jwt_public_jwk(json_t *jwk, conduit_jwt_reader_t *reader)
{
    EVP_PKEY             *pkey;
    const char           *err;
    conduit_jwk_t         key;
    const unsigned char  *der;

    err = conduit_jwk_read(jwk, &key);

    if (err != NULL || !key.used) {
        return err;
    }

    if (reader->kid != NULL && key.kid != NULL
        && (reader->kid_len != key.kid_len
            || memcmp(reader->kid, key.kid, key.kid_len) != 0))
    {
        return "has a \"kid\" that differs from the one in the directive";
    }

    der = key.der;
    pkey = d2i_PUBKEY(NULL, &der, (long) key.der_len);

    if (pkey == NULL) {
        return "is not a valid public key";
    }

    return conduit_jwt_public_add(reader, pkey, &key);
}


/* takes ownership of pkey; jwk is NULL for a key in PEM */

static const char *
conduit_jwt_public_add(conduit_jwt_reader_t *reader, EVP_PKEY *pkey,
    const conduit_jwk_t *jwk)
{
    const char         *err;
    conduit_jwt_alg_e   alg;
    conduit_jwt_key_t  *key;

    err = conduit_jwt_public_check(pkey, &alg);

    if (err != NULL) {
        EVP_PKEY_free(pkey);
        return err;
    }

    key = (jwk != NULL && jwk->kid != NULL)
          ? conduit_jwt_key_create(jwk->kid, jwk->kid_len)
          : conduit_jwt_key_create(reader->kid, reader->kid_len);

    if (key == NULL) {
        EVP_PKEY_free(pkey);
        return "out of memory";
    }

    key->pkey = pkey;
    key->alg = jwk ? jwk->alg : alg;

    *reader->last = key;
    reader->last = &key->next;

    return NULL;
}


/* sets the algorithm by the type of the key; OpenSSL checks that it is valid */

static const char *
conduit_jwt_public_check(EVP_PKEY *pkey, conduit_jwt_alg_e *alg)
{
    int            valid;
    const char    *err;
    EVP_PKEY_CTX  *ctx;

    err = NULL;

    switch (EVP_PKEY_base_id(pkey)) {

    case EVP_PKEY_RSA:
        *alg = CONDUIT_JWT_RS256;

        if (EVP_PKEY_bits(pkey) < CONDUIT_JWT_MIN_RSA_BITS) {
            err = "is an RSA key of less than 2048 bits";

        } else if (EVP_PKEY_bits(pkey) > CONDUIT_JWT_MAX_RSA_BITS) {
            err = "is an RSA key of more than 16384 bits";
        }

        break;

    case EVP_PKEY_EC:
        err = conduit_jwt_public_check_curve(pkey, alg);
        break;

    case EVP_PKEY_ED25519:
        *alg = CONDUIT_JWT_EDDSA;
        break;

    default:
        err = "is not an RSA, P-256, P-384 or Ed25519 key";
    }

    if (err != NULL) {
        return err;
    }

    ctx = EVP_PKEY_CTX_new(pkey, NULL);
    valid = (ctx != NULL && EVP_PKEY_public_check(ctx) == 1);

    EVP_PKEY_CTX_free(ctx);

    return valid ? NULL : "is not a valid public key";
}


static const char *
conduit_jwt_public_check_curve(EVP_PKEY *pkey, conduit_jwt_alg_e *alg)
{
    char    name[32];
    size_t  len;

    if (EVP_PKEY_get_group_name(pkey, name, sizeof(name), &len) == 1) {

        if (strcmp(name, "prime256v1") == 0) {
            *alg = CONDUIT_JWT_ES256;
            return NULL;
        }

        if (strcmp(name, "secp384r1") == 0) {
            *alg = CONDUIT_JWT_ES384;
            return NULL;
        }
    }

    return "is not an RSA, P-256, P-384 or Ed25519 key";
}
