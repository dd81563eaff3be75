/* Copyright (C) Conduit for NGINX authors */

/*
 * JSON Web Tokens (RFC 7519) in JWS compact serialization (RFC 7515).  Keys are
 * parsed once, while the configuration is read; tokens are verified for each
 * request.  A key has one algorithm, and is not used for a token that names
 * another one (RFC 8725, 3.1).  Pure: no NGINX type.  OpenSSL verifies
 * signatures, jansson parses JSON.
 */

#ifndef CONDUIT_JWT_H
#define CONDUIT_JWT_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_id.h"

#pragma GCC visibility push(hidden)

#define CONDUIT_JWT_LEEWAY   60    /* seconds, for exp and nbf */
#define CONDUIT_JWT_MAX_LEN  16384 /* bytes; a longer token is malformed */

/* greater values of exp and nbf are reduced to this, in seconds, so that sums,
   and the time in milliseconds, fit into an int64_t */
#define CONDUIT_JWT_TIME_MAX  INT64_C(9000000000000000)

/* public keys in a key set; limited, as a token without a kid is verified with
   each key of its algorithm */
#define CONDUIT_JWT_MAX_KEYS  16

/* bytes of the shortest secret that RFC 7518, 3.2 allows for HS256 */
#define CONDUIT_JWT_MIN_SECRET  32

typedef enum {
    CONDUIT_JWT_HS256 = 0,        /* RFC 7518, 3.2 */
    CONDUIT_JWT_RS256,            /* RFC 7518, 3.3 */
    CONDUIT_JWT_PS256,            /* RFC 7518, 3.5 */
    CONDUIT_JWT_ES256,            /* RFC 7518, 3.4 */
    CONDUIT_JWT_ES384,
    CONDUIT_JWT_EDDSA             /* RFC 8037, 3.1, with Ed25519 */
} conduit_jwt_alg_e;

/* the result of a verification; see conduit_jwt_status_name() */
typedef enum {
    CONDUIT_JWT_OK = 0,
    CONDUIT_JWT_EXPIRED,          /* exp has passed; the signature is good */
    CONDUIT_JWT_NOT_YET,          /* nbf is in the future; likewise */
    CONDUIT_JWT_MALFORMED,        /* too long; not three parts in base64url;
                                     header or payload is not a JSON object,
                                     has a duplicate member, or is nested more
                                     deeply than jansson accepts (2048); kid is
                                     not a string */
    CONDUIT_JWT_ALGORITHM,        /* no key has the algorithm of the header, or
                                     the header has crit */
    CONDUIT_JWT_KEY,              /* no key of that algorithm has the kid */
    CONDUIT_JWT_SIGNATURE,
    CONDUIT_JWT_ISSUER,           /* iss is missing, not a string, or does not
                                     match */
    CONDUIT_JWT_AUDIENCE,         /* the same for aud */
    CONDUIT_JWT_CLAIM,            /* exp, nbf, sub, org_id or channel_id is
                                     required and missing, or of a wrong
                                     type */
    CONDUIT_JWT_NO_MEMORY
} conduit_jwt_status_e;

typedef struct conduit_jwt_keys_s  conduit_jwt_keys_t;

/*
 * Called with the value of the claim policy->names[i]: a string as it is, or a
 * whole number in decimal ("-5", "42").  text is NULL if the token has no such
 * claim, if it is of another type, or if jansson can't represent its value
 * exactly.  text has len bytes and is valid until the return.  Returns 0; or -1
 * when memory is out.
 */
typedef int (*conduit_jwt_claim_pt)(void *data, size_t i, const char *text,
    size_t len);

/* what a token must have; strings belong to the caller and are not kept */
typedef struct {
    const char  *issuer;          /* NULL: iss is not checked */
    size_t       issuer_len;
    const char  *audience;        /* NULL: aud is not checked */
    size_t       audience_len;
    unsigned     need_sub:1;      /* sub must be a string */
    unsigned     need_org:1;      /* org_id must be an integer, 0 to 2^64-1 */
    unsigned     need_channel:1;  /* channel_id must be a UUID string */

    /* claims to pass to claim(), once each, after all checks have succeeded */
    const char *const     *names;    /* zero-terminated strings */
    size_t                 nnames;
    conduit_jwt_claim_pt   claim;
    void                  *data;     /* of claim() */
} conduit_jwt_policy_t;

/* what was read from a token; zeroed unless the result is CONDUIT_JWT_OK */
typedef struct {
    int64_t      exp;             /* seconds since the epoch */
    int64_t      nbf;             /* the same; set if has_nbf */
    uint64_t     org_id;          /* set if has_org */
    char         channel_id[CONDUIT_UUID_LEN];  /* lower case; set if
                                                   has_channel */
    unsigned     has_nbf:1;
    unsigned     has_org:1;
    unsigned     has_channel:1;
} conduit_jwt_claims_t;


/*
 * Creates an empty key set, to be freed with conduit_jwt_keys_free(), which
 * accepts NULL.  Returns NULL when memory is out.
 */
conduit_jwt_keys_t *conduit_jwt_keys_create(void);
void conduit_jwt_keys_free(conduit_jwt_keys_t *keys);

/*
 * Adds an HS256 secret: the content of a file, without one line end ("\n" or
 * "\r\n") at its end.  data and kid are copied; if kid is NULL, the key has no
 * ID.  Returns NULL; or a static text that says what is wrong, such as "is
 * empty", and adds nothing.
 */
const char *conduit_jwt_keys_add_secret(conduit_jwt_keys_t *keys,
    const char *data, size_t len, const char *kid, size_t kid_len);

/*
 * Adds all public keys of a file, which is in PEM (SubjectPublicKeyInfo,
 * PKCS#1, X.509 certificates), a JWK, or a JWK set (RFC 7517).
 *
 * RSA keys, of at least 2048 bits, are used for RS256, or for PS256 if the JWK
 * says so; P-256 keys for ES256, P-384 keys for ES384, Ed25519 keys for EdDSA.
 * Of a certificate chain, the first certificate is used.  Keys in a JWK set
 * that are of another type, or not for signatures, are ignored.  The argument
 * kid, unless NULL, becomes the ID of all keys, and is copied; a JWK with
 * another ID is an error.  If it is NULL, a JWK may have an ID of its own.
 *
 * Returns NULL; or a static text that says what is wrong with the file, or with
 * one of its keys, see conduit_jwt_keys_failed(), and adds nothing.
 */
const char *conduit_jwt_keys_add_public(conduit_jwt_keys_t *keys,
    const char *data, size_t len, const char *kid, size_t kid_len);

/*
 * Returns which key of the file, counted from 1, the last error is about; 0 if
 * the file has only one key, or the error is about the file.
 */
size_t conduit_jwt_keys_failed(const conduit_jwt_keys_t *keys);

/*
 * Look for a common mistake in a file with a secret, or with public keys that
 * can't be read: the content is in quotes, has a byte order mark, and so on.
 * Return a static text that begins with "it"; or NULL if none is found.
 */
const char *conduit_jwt_hint_secret(const char *data, size_t len);
const char *conduit_jwt_hint_public(const char *data, size_t len);

/* Returns the length of a secret in a file: without one line end at its end. */
size_t conduit_jwt_secret_len(const char *data, size_t len);

/*
 * Verifies a token at the time now (seconds since the epoch).  Checks its form,
 * algorithm, key and signature, then exp, nbf, iss, aud, sub, org_id and
 * channel_id, in this order; the first fault is the result.
 *
 * The token is verified with the keys of its algorithm.  If it has a kid, only
 * keys with this ID and keys without an ID are used.
 *
 * exp is always required.  A token is valid while nbf - CONDUIT_JWT_LEEWAY <=
 * now <= exp + CONDUIT_JWT_LEEWAY; fractions of a second in exp and nbf are
 * dropped.  kid, crit and nbf that are null count as absent.  Claims not named
 * here may have any JSON value.
 *
 * On CONDUIT_JWT_OK, fills *claims: org_id and channel_id whenever they are
 * well-formed, required or not.  The token is not kept.
 */
conduit_jwt_status_e conduit_jwt_verify(const conduit_jwt_keys_t *keys,
    const conduit_jwt_policy_t *policy, const char *token, size_t len,
    int64_t now, conduit_jwt_claims_t *claims);

/* Returns a short lower-case name for logs, e.g. "signature". */
const char *conduit_jwt_status_name(conduit_jwt_status_e status);

#pragma GCC visibility pop

#endif /* CONDUIT_JWT_H */
