/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as a file of public keys, as a member of an otherwise valid JWK,
 * and as an ECDSA signature, whose DER form OpenSSL must parse.  The first byte
 * selects the role.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "conduit_jwt_private.h"

#define FUZZ_MAX  12000                     /* bytes */


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


static size_t
fuzz_count(const conduit_jwt_keys_t *keys)
{
    size_t              n;
    conduit_jwt_key_t  *key;

    n = 0;

    for (key = keys->first; key != NULL; key = key->next) {
        fuzz_check(key->alg != CONDUIT_JWT_HS256 && key->pkey != NULL);
        n++;
    }

    return n;
}


/* the file is copied to memory of its exact size, so that ASan sees a read past
   its end */

static void
fuzz_file(const char *data, size_t size)
{
    char                *copy;
    size_t               failed;
    const char          *err, *hint;
    conduit_jwt_keys_t  *keys;

    copy = malloc(size ? size : 1);
    keys = conduit_jwt_keys_create();
    fuzz_check(copy != NULL && keys != NULL);
    memcpy(copy, data, size);

    err = conduit_jwt_keys_add_public(keys, copy, size, "k", 1);
    failed = conduit_jwt_keys_failed(keys);

    fuzz_check(ERR_peek_error() == 0);
    fuzz_check((err == NULL) == (fuzz_count(keys) > 0));
    fuzz_check(fuzz_count(keys) <= CONDUIT_JWT_MAX_KEYS);
    fuzz_check(err != NULL || failed == 0);

    hint = conduit_jwt_hint_public(copy, size);
    fuzz_check(hint == NULL || strncmp(hint, "it ", 3) == 0);
    hint = conduit_jwt_hint_secret(copy, size);
    fuzz_check(hint == NULL || strncmp(hint, "it ", 3) == 0);

    conduit_jwt_keys_free(keys);
    free(copy);
}


/*
 * The DER of a key that is used must be well-formed: OpenSSL parses all of it.
 * It may refuse the key only if this is a point that is not on the curve.
 */

static void
fuzz_jwk(const char *text, size_t len)
{
    json_t               *json;
    EVP_PKEY             *pkey;
    const char           *err;
    conduit_jwk_t         key;
    const unsigned char  *p;

    json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    err = conduit_jwk_read(json, &key);

    if (err == NULL && key.used) {
        fuzz_check(key.der_len > 0 && key.der_len <= sizeof(key.der));

        p = key.der;
        pkey = d2i_PUBKEY(NULL, &p, (long) key.der_len);

        if (pkey != NULL) {
            fuzz_check(p == key.der + key.der_len);

        } else {
            fuzz_check(key.alg == CONDUIT_JWT_ES256
                       || key.alg == CONDUIT_JWT_ES384);
        }

        EVP_PKEY_free(pkey);
        ERR_clear_error();
    }

    json_decref(json);
}


static void
fuzz_members(const char *data, size_t size, unsigned select)
{
    size_t              n;
    static char         text[FUZZ_MAX + 256];
    static const char  *members[] = {
        "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":",
        "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":",
        "{\"kty\":\"EC\",\"crv\":\"P-256\","
            "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":",
        "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
            "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\",\"alg\":",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
            "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\",\"kid\":",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
            "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\",\"use\":"
    };

    select %= sizeof(members) / sizeof(members[0]);

    n = (size_t) snprintf(text, sizeof(text), "%s", members[select]);
    memcpy(text + n, data, size);
    n += size;
    text[n++] = '}';

    fuzz_jwk(text, n);
    fuzz_file(text, n);
}


static void
fuzz_ecdsa(const unsigned char *data, size_t size)
{
    size_t                len, n;
    ECDSA_SIG            *sig;
    unsigned char         der[CONDUIT_JWT_DER_ECDSA_MAX];
    unsigned char         back[2 * CONDUIT_JWT_COORDINATE_MAX];
    const unsigned char  *p;

    n = size / 2;

    if (n == 0 || n > CONDUIT_JWT_COORDINATE_MAX) {
        return;
    }

    len = conduit_jwt_der_ecdsa(data, n, der);
    fuzz_check(len <= sizeof(der));

    if (len == 0) {
        return;
    }

    p = der;
    sig = d2i_ECDSA_SIG(NULL, &p, (long) len);
    fuzz_check(sig != NULL && p == der + len);
    fuzz_check(!BN_is_negative(ECDSA_SIG_get0_r(sig)));
    fuzz_check(!BN_is_negative(ECDSA_SIG_get0_s(sig)));
    fuzz_check(BN_bn2binpad(ECDSA_SIG_get0_r(sig), back, (int) n) == (int) n);
    fuzz_check(BN_bn2binpad(ECDSA_SIG_get0_s(sig), back + n, (int) n)
               == (int) n);
    fuzz_check(memcmp(back, data, 2 * n) == 0);
    ECDSA_SIG_free(sig);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char  *s;

    if (size == 0 || size > FUZZ_MAX) {
        return 0;
    }

    s = (const char *) data + 1;
    size--;

    switch (data[0] & 3) {

    case 0:
        fuzz_file(s, size);
        fuzz_jwk(s, size);
        break;

    case 1:
        fuzz_ecdsa(data + 1, size);
        break;

    default:
        fuzz_members(s, size, data[0] >> 2);
        break;
    }

    return 0;
}
