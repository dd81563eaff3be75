/* Copyright (C) Conduit for NGINX authors */

/*
 * JSON Web Keys (RFC 7517).  Keys that are not for signatures, or of an unknown
 * type, are ignored: the sets that identity providers publish contain keys of
 * all kinds (RFC 7517, 5).  A malformed key of a supported type is an error,
 * and so is a private key.
 *
 *   kty   crv       alg (optional)    used for
 *   RSA             RS256             RS256 (also without alg)
 *   RSA             PS256             PS256
 *   EC    P-256     ES256             ES256
 *   EC    P-384     ES384             ES384
 *   OKP   Ed25519   EdDSA, Ed25519    EdDSA
 */

#include <string.h>

#include "conduit_jwt_private.h"


/* length of a modulus in base64url, with a leading zero byte */
#define CONDUIT_JWK_TEXT_MAX  (((CONDUIT_JWT_MODULUS_MAX + 1) * 4 + 2) / 3)


static const char *conduit_jwk_check_use(json_t *jwk, int *used);
static const char *conduit_jwk_check_alg(json_t *jwk, conduit_jwk_t *key,
    conduit_jwt_alg_e also);
static const char *conduit_jwk_rsa(json_t *jwk, conduit_jwk_t *key);
static const char *conduit_jwk_ec(json_t *jwk, conduit_jwk_t *key);
static const char *conduit_jwk_okp(json_t *jwk, conduit_jwk_t *key);
static int conduit_jwk_number(json_t *jwk, const char *name,
    unsigned char *number, size_t *len);
static int conduit_jwk_bytes(json_t *jwk, const char *name,
    unsigned char *bytes, size_t len);
static int conduit_jwk_is(json_t *value, const char *text);


const char *
conduit_jwk_read(json_t *jwk, conduit_jwk_t *key)
{
    size_t              i;
    json_t             *kty, *kid;
    const char         *err;

    /* private members: "d" of RSA, EC and OKP; "p" to "oth" of RSA; "k" of a
       secret; "priv" of AKP (ML-DSA) */
    static const char  *secrets[] = { "d", "p", "q", "dp", "dq", "qi", "oth",
                                      "k", "priv", NULL };

    memset(key, 0, sizeof(conduit_jwk_t));

    kty = json_object_get(jwk, "kty");

    if (!json_is_string(kty)) {
        return "has no \"kty\"";
    }

    for (i = 0; secrets[i] != NULL; i++) {
        if (json_object_get(jwk, secrets[i]) != NULL) {
            return "is a private key; use the public key";
        }
    }

    kid = json_object_get(jwk, "kid");

    if (kid != NULL) {

        if (!json_is_string(kid)) {
            return "\"kid\" is not a string";
        }

        key->kid = json_string_value(kid);
        key->kid_len = json_string_length(kid);
    }

    key->used = 1;

    err = conduit_jwk_check_use(jwk, &key->used);

    if (err != NULL || !key->used) {
        return err;
    }

    if (conduit_jwk_is(kty, "RSA")) {
        return conduit_jwk_rsa(jwk, key);
    }

    if (conduit_jwk_is(kty, "EC")) {
        return conduit_jwk_ec(jwk, key);
    }

    if (conduit_jwk_is(kty, "OKP")) {
        return conduit_jwk_okp(jwk, key);
    }

    key->used = 0;

    return NULL;
}


/* sets *used to 0 if "use" or "key_ops" does not allow to verify signatures */

static const char *
conduit_jwk_check_use(json_t *jwk, int *used)
{
    size_t   i;
    json_t  *use, *ops;

    use = json_object_get(jwk, "use");

    if (use != NULL) {

        if (!json_is_string(use)) {
            return "\"use\" is not a string";
        }

        *used = conduit_jwk_is(use, "sig");
    }

    ops = json_object_get(jwk, "key_ops");

    if (ops == NULL || !*used) {
        return NULL;
    }

    if (!json_is_array(ops)) {
        return "\"key_ops\" is not an array";
    }

    *used = 0;

    for (i = 0; i < json_array_size(ops); i++) {
        if (conduit_jwk_is(json_array_get(ops, i), "verify")) {
            *used = 1;
        }
    }

    return NULL;
}


/*
 * Applies "alg".  key->alg is the default algorithm of the key's type, "also"
 * another one that the type allows.  A key for an unknown algorithm, such as
 * RS512 or RSA-OAEP, is ignored.
 */

static const char *
conduit_jwk_check_alg(json_t *jwk, conduit_jwk_t *key, conduit_jwt_alg_e also)
{
    json_t             *name;
    conduit_jwt_alg_e   alg;

    name = json_object_get(jwk, "alg");

    if (name == NULL) {
        return NULL;
    }

    if (!json_is_string(name)) {
        return "\"alg\" is not a string";
    }

    if (conduit_jwt_alg_parse(json_string_value(name),
                              json_string_length(name), &alg)
        != 0)
    {
        key->used = 0;
        return NULL;
    }

    if (alg != key->alg && alg != also) {
        return "has an \"alg\" for another type of key";
    }

    key->alg = alg;

    return NULL;
}


static const char *
conduit_jwk_rsa(json_t *jwk, conduit_jwk_t *key)
{
    size_t          n_len, e_len;
    const char     *err;
    unsigned char   n[CONDUIT_JWT_MODULUS_MAX + 1];
    unsigned char   e[CONDUIT_JWT_MODULUS_MAX + 1];

    key->alg = CONDUIT_JWT_RS256;

    err = conduit_jwk_check_alg(jwk, key, CONDUIT_JWT_PS256);

    if (err != NULL || !key->used) {
        return err;
    }

    if (conduit_jwk_number(jwk, "n", n, &n_len) != 0) {
        return "has no valid \"n\" (base64url, at most 16384 bits)";
    }

    if (conduit_jwk_number(jwk, "e", e, &e_len) != 0) {
        return "has no valid \"e\" (base64url)";
    }

    key->der_len = conduit_jwt_der_rsa(n, n_len, e, e_len, key->der);

    return NULL;
}


static const char *
conduit_jwk_ec(json_t *jwk, conduit_jwk_t *key)
{
    json_t         *crv;
    size_t          len;
    const char     *err;
    unsigned char   x[CONDUIT_JWT_COORDINATE_MAX];
    unsigned char   y[CONDUIT_JWT_COORDINATE_MAX];

    crv = json_object_get(jwk, "crv");

    if (!json_is_string(crv)) {
        return "has no \"crv\"";
    }

    if (conduit_jwk_is(crv, "P-256")) {
        key->alg = CONDUIT_JWT_ES256;

    } else if (conduit_jwk_is(crv, "P-384")) {
        key->alg = CONDUIT_JWT_ES384;

    } else {
        key->used = 0;
        return NULL;
    }

    err = conduit_jwk_check_alg(jwk, key, key->alg);

    if (err != NULL || !key->used) {
        return err;
    }

    len = conduit_jwt_coordinate(key->alg);

    if (conduit_jwk_bytes(jwk, "x", x, len) != 0
        || conduit_jwk_bytes(jwk, "y", y, len) != 0)
    {
        return (len == 32)
               ? "has no valid \"x\" and \"y\" (base64url, 32 bytes each)"
               : "has no valid \"x\" and \"y\" (base64url, 48 bytes each)";
    }

    key->der_len = conduit_jwt_der_ec(key->alg, x, y, key->der);

    return NULL;
}


static const char *
conduit_jwk_okp(json_t *jwk, conduit_jwk_t *key)
{
    json_t         *crv;
    const char     *err;
    unsigned char   x[32];

    crv = json_object_get(jwk, "crv");

    if (!json_is_string(crv)) {
        return "has no \"crv\"";
    }

    if (!conduit_jwk_is(crv, "Ed25519")) {
        key->used = 0;
        return NULL;
    }

    key->alg = CONDUIT_JWT_EDDSA;

    err = conduit_jwk_check_alg(jwk, key, key->alg);

    if (err != NULL || !key->used) {
        return err;
    }

    if (conduit_jwk_bytes(jwk, "x", x, sizeof(x)) != 0) {
        return "has no valid \"x\" (base64url, 32 bytes)";
    }

    key->der_len = conduit_jwt_der_ed25519(x, key->der);

    return NULL;
}


/*
 * Reads an unsigned number of at most CONDUIT_JWT_MODULUS_MAX bytes.  One
 * leading zero byte is accepted, as some libraries write it (RFC 7518,
 * 6.3.1.1).
 */

static int
conduit_jwk_number(json_t *jwk, const char *name, unsigned char *number,
    size_t *len)
{
    json_t  *value;

    value = json_object_get(jwk, name);

    if (!json_is_string(value)
        || json_string_length(value) == 0
        || json_string_length(value) > CONDUIT_JWK_TEXT_MAX
        || conduit_jwt_base64url(json_string_value(value),
                                 json_string_length(value), number, len)
           != 0)
    {
        return -1;
    }

    return (*len <= CONDUIT_JWT_MODULUS_MAX || number[0] == 0) ? 0 : -1;
}


/* reads a value that must have exactly len bytes */

static int
conduit_jwk_bytes(json_t *jwk, const char *name, unsigned char *bytes,
    size_t len)
{
    size_t   n;
    json_t  *value;

    value = json_object_get(jwk, name);

    if (!json_is_string(value)
        || json_string_length(value) != (len * 4 + 2) / 3)
    {
        return -1;
    }

    return conduit_jwt_base64url(json_string_value(value),
                                 json_string_length(value), bytes, &n);
}


static int
conduit_jwk_is(json_t *value, const char *text)
{
    return conduit_jwt_is(value, text, strlen(text));
}
