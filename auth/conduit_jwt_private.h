/* Copyright (C) Conduit for NGINX authors */

/*
 * Declarations shared by the files in auth/: the structure of a key set, and
 * functions that read keys and JSON.
 */

#ifndef CONDUIT_JWT_PRIVATE_H
#define CONDUIT_JWT_PRIVATE_H

#include <jansson.h>
#include <openssl/evp.h>

#include "conduit_buf.h"
#include "conduit_jwt.h"

#pragma GCC visibility push(hidden)

typedef struct conduit_jwt_key_s  conduit_jwt_key_t;

struct conduit_jwt_key_s {
    conduit_jwt_key_t  *next;
    conduit_jwt_alg_e   alg;
    EVP_PKEY           *pkey;       /* NULL: HS256 */
    unsigned char      *secret;     /* HS256 */
    size_t              secret_len;
    char               *kid;        /* not terminated; NULL: none */
    size_t              kid_len;
};

struct conduit_jwt_keys_s {
    conduit_jwt_key_t  *first;      /* in the order they were added */
    size_t              failed;     /* see conduit_jwt_keys_failed() */
};

/* bytes of a P-384 coordinate, and of an RSA modulus of 16384 bits, the longest
   that OpenSSL verifies signatures with */
#define CONDUIT_JWT_COORDINATE_MAX  48
#define CONDUIT_JWT_MODULUS_MAX     2048

/* a SEQUENCE of two INTEGERs, each with tag, length and a padding byte */
#define CONDUIT_JWT_DER_ECDSA_MAX   (2 * (CONDUIT_JWT_COORDINATE_MAX + 3) + 2)

/* two INTEGERs, and at most 32 bytes for everything around them */
#define CONDUIT_JWT_DER_KEY_MAX     (2 * (CONDUIT_JWT_MODULUS_MAX + 5) + 32)

/* a JWK that was read */
typedef struct {
    int                 used;       /* 0: to be ignored, not for signatures or
                                       of an unsupported type; the other fields
                                       have no meaning */
    conduit_jwt_alg_e   alg;
    const char         *kid;        /* belongs to the JSON; NULL: none */
    size_t              kid_len;
    size_t              der_len;    /* of the SubjectPublicKeyInfo in der */
    unsigned char       der[CONDUIT_JWT_DER_KEY_MAX];
} conduit_jwk_t;


/*
 * Creates a zeroed key with a copy of kid, which may be NULL.  Returns NULL
 * when memory is out.  conduit_jwt_key_free() frees a list of keys, and accepts
 * NULL; secrets are overwritten first.
 */
conduit_jwt_key_t *conduit_jwt_key_create(const char *kid, size_t kid_len);
void conduit_jwt_key_free(conduit_jwt_key_t *key);

/*
 * Verifies a signature of data with one key and its algorithm.  Returns 1 if it
 * is good, 0 if not, -1 when memory is out.  Leaves no error in OpenSSL's
 * queue.
 */
int conduit_jwt_key_verify(const conduit_jwt_key_t *key, const char *data,
    size_t len, const unsigned char *signature, size_t signature_len);

/*
 * Reads a file of public keys into a list of keys that the caller must free;
 * see conduit_jwt_keys_add_public().  Returns NULL; or a static text, with
 * *failed set as conduit_jwt_keys_failed() returns it and *keys NULL.  May
 * leave errors in OpenSSL's queue.
 */
const char *conduit_jwt_public_read(const char *data, size_t len,
    const char *kid, size_t kid_len, conduit_jwt_key_t **keys,
    size_t *failed);

/*
 * Reads the claims of a payload into *claims and checks them, from exp to
 * channel_id, see conduit_jwt_verify().
 */
conduit_jwt_status_e conduit_jwt_check_claims(
    const conduit_jwt_policy_t *policy, json_t *payload, int64_t now,
    conduit_jwt_claims_t *claims);

/*
 * Calls policy->claim() for each of policy->names.  Returns CONDUIT_JWT_OK or
 * _NO_MEMORY.
 */
conduit_jwt_status_e conduit_jwt_pass_claims(
    const conduit_jwt_policy_t *policy, json_t *payload);

/* Returns an optional member; null counts as absent, as it does upstream. */
json_t *conduit_jwt_get(json_t *object, const char *name);

/*
 * Checks claims that were read from a token before: exp and nbf at the time
 * now, then whether org_id and channel_id are there if the policy requires
 * them.  Nothing else in the policy is checked.  Returns CONDUIT_JWT_OK,
 * _EXPIRED, _NOT_YET or _CLAIM.
 */
conduit_jwt_status_e conduit_jwt_check_again(
    const conduit_jwt_policy_t *policy, const conduit_jwt_claims_t *claims,
    int64_t now);

/* Returns whether the len bytes of data contain text. */
int conduit_jwt_contains(const char *data, size_t len, const char *text);

/* Returns whether the first byte that is not white space is "{". */
int conduit_jwk_begins(const char *data, size_t len);

/*
 * Reads a JWK (RFC 7517; RFC 7518, 6; RFC 8037, 2).  key->kid points into jwk.
 * Returns NULL; or a static text that says what is wrong with the JWK.  Does
 * not check that the numbers form a valid key, which OpenSSL can do.
 */
const char *conduit_jwk_read(json_t *jwk, conduit_jwk_t *key);

/* Finds an algorithm by its name in "alg".  Returns 0; or -1 if unknown. */
int conduit_jwt_alg_parse(const char *name, size_t len,
    conduit_jwt_alg_e *alg);

/* Returns whether value, which may be NULL, is a string equal to text. */
int conduit_jwt_is(json_t *value, const char *text, size_t len);

/*
 * Returns the bytes of a coordinate of the curve, and of r and s in a
 * signature; 0 if the algorithm is not ECDSA.
 */
size_t conduit_jwt_coordinate(conduit_jwt_alg_e alg);

/*
 * Decodes base64url without padding (RFC 7515, 2); other characters, and unused
 * bits that are not zero, are errors.  out has room for len * 3 / 4 bytes.
 * Returns 0 and sets *out_len; or -1.
 */
int conduit_jwt_base64url(const char *in, size_t len, unsigned char *out,
    size_t *out_len);

/*
 * Converts a signature r || s (RFC 7518, 3.4), where r and s have n bytes each,
 * to the DER form that OpenSSL expects, in der of CONDUIT_JWT_DER_ECDSA_MAX
 * bytes.  Returns its length; or 0 if r or s is zero, which is invalid.
 */
size_t conduit_jwt_der_ecdsa(const unsigned char *signature, size_t n,
    unsigned char *der);

/*
 * Write a public key as a SubjectPublicKeyInfo to der, which has
 * CONDUIT_JWT_DER_KEY_MAX bytes, and return its length.  Keys are RSA (RFC
 * 8017, A.1), P-256 for ES256 and P-384 for ES384 (RFC 5480), or Ed25519 (RFC
 * 8410).  n and e are unsigned, of at most CONDUIT_JWT_MODULUS_MAX bytes
 * without leading zeros; x and y have conduit_jwt_coordinate() bytes, x of
 * Ed25519 has 32.
 */
size_t conduit_jwt_der_rsa(const unsigned char *n, size_t n_len,
    const unsigned char *e, size_t e_len, unsigned char *der);
size_t conduit_jwt_der_ec(conduit_jwt_alg_e alg, const unsigned char *x,
    const unsigned char *y, unsigned char *der);
size_t conduit_jwt_der_ed25519(const unsigned char *x, unsigned char *der);

/*
 * Appends a JSON text to out, with numbers and characters replaced that jansson
 * can't represent, see conduit_jwt_json.c.  In the result, the value of each
 * json_integer_t has the bits of a uint64_t.  Does not check that the text is
 * JSON: if it is not, jansson refuses the result.  Returns 0; or -1 when the
 * text contains a zero byte, or memory is out (with out->failed set).
 */
int conduit_jwt_json_rewrite(const char *text, size_t len,
    conduit_buf_t *out);

#pragma GCC visibility pop

#endif /* CONDUIT_JWT_PRIVATE_H */
