/* Copyright (C) Conduit for NGINX authors */

/*
 * Key sets of secrets and public keys, and verifying signatures with a key.
 */

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "conduit_jwt_private.h"


static const char *conduit_jwt_key_secret(conduit_jwt_key_t *key,
    const char *data, size_t len);
static const char *conduit_jwt_keys_append(conduit_jwt_keys_t *keys,
    conduit_jwt_key_t *added);
static int conduit_jwt_keys_have_kid(const conduit_jwt_keys_t *keys,
    const char *kid, size_t kid_len);


conduit_jwt_keys_t *
conduit_jwt_keys_create(void)
{
    return calloc(1, sizeof(conduit_jwt_keys_t));
}


void
conduit_jwt_keys_free(conduit_jwt_keys_t *keys)
{
    if (keys == NULL) {
        return;
    }

    conduit_jwt_key_free(keys->first);
    free(keys);
}


const char *
conduit_jwt_keys_add_secret(conduit_jwt_keys_t *keys, const char *data,
    size_t len, const char *kid, size_t kid_len)
{
    const char         *err;
    conduit_jwt_key_t  *key;

    keys->failed = 0;

    key = conduit_jwt_key_create(kid, kid_len);
    if (key == NULL) {
        return "out of memory";
    }

    err = conduit_jwt_key_secret(key, data, len);

    if (err == NULL) {
        err = conduit_jwt_keys_append(keys, key);
    }

    if (err != NULL) {
        conduit_jwt_key_free(key);
    }

    return err;
}


static const char *
conduit_jwt_key_secret(conduit_jwt_key_t *key, const char *data, size_t len)
{
    /* OpenSSL expects the length as an int */

    if (len > INT_MAX) {
        return "is too long";
    }

    if (conduit_jwt_contains(data, len, "-----BEGIN ")) {
        return "is a PEM file, not a secret";
    }

    if (conduit_jwk_begins(data, len)
        && conduit_jwt_contains(data, len, "\"kty\""))
    {
        return "is a JWK, not a secret";
    }

    len = conduit_jwt_secret_len(data, len);

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


size_t
conduit_jwt_secret_len(const char *data, size_t len)
{
    if (len && data[len - 1] == '\n') {
        len--;

        if (len && data[len - 1] == '\r') {
            len--;
        }
    }

    return len;
}


const char *
conduit_jwt_keys_add_public(conduit_jwt_keys_t *keys, const char *data,
    size_t len, const char *kid, size_t kid_len)
{
    const char         *err;
    conduit_jwt_key_t  *added;

    keys->failed = 0;

    if (len > INT_MAX) {
        return "is too long";
    }

    err = conduit_jwt_public_read(data, len, kid, kid_len, &added,
                                  &keys->failed);

    /* NGINX would log errors that are left in OpenSSL's queue as its own */

    ERR_clear_error();

    if (err != NULL) {
        return err;
    }

    err = conduit_jwt_keys_append(keys, added);

    if (err != NULL) {
        conduit_jwt_key_free(added);
    }

    return err;
}


size_t
conduit_jwt_keys_failed(const conduit_jwt_keys_t *keys)
{
    return keys->failed;
}


/*
 * Appends a list of keys to the set.  Keys of the same file may share a kid.
 * Keys of different files may not: most likely, one file was named twice.
 */

static const char *
conduit_jwt_keys_append(conduit_jwt_keys_t *keys, conduit_jwt_key_t *added)
{
    size_t              n;
    conduit_jwt_key_t  *key, **last;

    for (key = added; key != NULL; key = key->next) {
        if (key->kid != NULL
            && conduit_jwt_keys_have_kid(keys, key->kid, key->kid_len))
        {
            return "has the same kid as another key";
        }
    }

    n = 0;

    for (last = &keys->first; *last != NULL; last = &(*last)->next) {
        n += ((*last)->pkey != NULL);
    }

    for (key = added; key != NULL; key = key->next) {
        n += (key->pkey != NULL);
    }

    if (added->pkey != NULL && n > CONDUIT_JWT_MAX_KEYS) {
        return "exceeds the limit of 16 public keys";
    }

    *last = added;

    return NULL;
}


static int
conduit_jwt_keys_have_kid(const conduit_jwt_keys_t *keys, const char *kid,
    size_t kid_len)
{
    const conduit_jwt_key_t  *key;

    for (key = keys->first; key != NULL; key = key->next) {
        if (key->kid != NULL && key->kid_len == kid_len
            && memcmp(key->kid, kid, kid_len) == 0)
        {
            return 1;
        }
    }

    return 0;
}
