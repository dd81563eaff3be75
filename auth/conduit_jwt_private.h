/*
 * What the files of this room share: the inside of a key set, and JSON.
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
    conduit_jwt_alg_t   alg;
    EVP_PKEY           *pkey;       /* NULL: HS256 */
    unsigned char      *secret;     /* HS256 */
    size_t              secret_len;
    char               *kid;        /* NULL: none */
    size_t              kid_len;
};

struct conduit_jwt_keys_s {
    conduit_jwt_key_t  *first;      /* in the order they were added */
    size_t              failed;     /* see conduit_jwt_keys_failed() */
};

/* a coordinate of P-384, and an RSA modulus of 16384 bits, which is the longest
   that OpenSSL verifies with */
#define CONDUIT_JWT_COORDINATE_MAX  48
#define CONDUIT_JWT_MODULUS_MAX     2048

/* two INTEGERs and a SEQUENCE */
#define CONDUIT_JWT_DER_ECDSA_MAX   (2 * (CONDUIT_JWT_COORDINATE_MAX + 3) + 2)

/* two INTEGERs, and 32 bytes for what is around them */
#define CONDUIT_JWT_DER_KEY_MAX     (2 * (CONDUIT_JWT_MODULUS_MAX + 5) + 32)

/* what a JWK says */
typedef struct {
    int                 used;       /* 0: not for signatures, or of a type that
                                       is not known: the rest is not set */
    conduit_jwt_alg_t   alg;
    const char         *kid;        /* NULL: none; part of the JSON */
    size_t              kid_len;
    size_t              der_len;    /* of the SubjectPublicKeyInfo */
    unsigned char       der[CONDUIT_JWT_DER_KEY_MAX];
} conduit_jwk_t;


/*
 * Makes a key; kid is copied, NULL: none.  Returns NULL when memory is out.
 * conduit_jwt_key_free() frees a chain of keys, and takes NULL.
 */
conduit_jwt_key_t *conduit_jwt_key_create(const char *kid, size_t kid_len);
void conduit_jwt_key_free(conduit_jwt_key_t *key);

/*
 * Verifies a signature over data with one key, by the key's algorithm.  Returns
 * 1 if it is good, 0 if not, -1 when memory is out.  Leaves no error in
 * OpenSSL's queue.
 */
int conduit_jwt_key_verify(const conduit_jwt_key_t *key, const char *data,
    size_t len, const unsigned char *signature, size_t signature_len);

/*
 * Reads a file of public keys into a chain of keys, for the caller to free, as
 * conduit_jwt_keys_add_public() says.  Returns NULL, or a text and in *failed
 * the number of the key.  May leave errors in OpenSSL's queue.
 */
const char *conduit_jwt_public_read(const char *data, size_t len,
    const char *kid, size_t kid_len, conduit_jwt_key_t **keys,
    size_t *failed);

/*
 * Whether claims that were read before are still good at the time now, and have
 * what a policy needs: exp, nbf, org_id and channel_id, in this order.  Returns
 * CONDUIT_JWT_OK, _EXPIRED, _NOT_YET or _CLAIM.
 */
conduit_jwt_status_t conduit_jwt_check_again(
    const conduit_jwt_policy_t *policy, const conduit_jwt_claims_t *claims,
    int64_t now);

/* Whether data, of len bytes, has text in it. */
int conduit_jwt_contains(const char *data, size_t len, const char *text);

/* Whether the first byte that is no space begins a JSON object. */
int conduit_jwk_begins(const char *data, size_t len);

/*
 * Reads a JWK (RFC 7517; RFC 7518 6, RFC 8037 2).  *key borrows from jwk.
 * Returns NULL, or a static text that says what is wrong with it.  Whether the
 * numbers are a key is for OpenSSL to say.
 */
const char *conduit_jwk_read(json_t *jwk, conduit_jwk_t *key);

/* The algorithm of a name as in "alg".  Returns 0, or -1 for an unknown one. */
int conduit_jwt_alg_parse(const char *name, size_t len,
    conduit_jwt_alg_t *alg);

/* Whether a value, which may be NULL, is a string of these bytes. */
int conduit_jwt_is(json_t *value, const char *text, size_t len);

/* Bytes of a coordinate, of r and of s; 0: no algorithm with a curve's. */
size_t conduit_jwt_coordinate(conduit_jwt_alg_t alg);

/*
 * base64url without padding (RFC 7515 2), strictly.  out has room for three
 * bytes for each four of in.  Returns 0, or -1.
 */
int conduit_jwt_base64url(const char *in, size_t len, unsigned char *out,
    size_t *out_len);

/*
 * A signature r || s (RFC 7518 3.4) of two numbers of n bytes as the DER that
 * OpenSSL takes.  Returns the length of der, or 0 if r or s is zero.
 */
size_t conduit_jwt_der_ecdsa(const unsigned char *signature, size_t n,
    unsigned char *der);

/*
 * Public keys as a SubjectPublicKeyInfo, in der of CONDUIT_JWT_DER_KEY_MAX
 * bytes: of RSA (RFC 8017 A.1), of P-256 and P-384 (RFC 5480) for ES256 and
 * ES384, of Ed25519 (RFC 8410).  n and e are unsigned, of
 * CONDUIT_JWT_MODULUS_MAX bytes at most; x and y have the bytes that
 * conduit_jwt_coordinate() says, x of Ed25519 has 32.  They return the length
 * of der.
 */
size_t conduit_jwt_der_rsa(const unsigned char *n, size_t n_len,
    const unsigned char *e, size_t e_len, unsigned char *der);
size_t conduit_jwt_der_ec(conduit_jwt_alg_t alg, const unsigned char *x,
    const unsigned char *y, unsigned char *der);
size_t conduit_jwt_der_ed25519(const unsigned char *x, unsigned char *der);

/*
 * Appends a JSON text to out with what jansson can't hold replaced, as
 * conduit_jwt_json.c says.  Of what jansson then reads, each integer is the
 * bits of a uint64_t.  Does not judge the form of the text: jansson refuses the
 * result if the text is no JSON.  Returns 0, or -1 when the text has a zero
 * byte or memory is out (out->failed).
 */
int conduit_jwt_json_rewrite(const char *text, size_t len,
    conduit_buf_t *out);

#pragma GCC visibility pop

#endif /* CONDUIT_JWT_PRIVATE_H */
