/*
 * JSON Web Tokens (RFC 7519) in the JWS compact form (RFC 7515): keys parsed
 * once at configuration, tokens verified per request.  A key has one algorithm,
 * and a token that names another is not tried with it (RFC 8725 3.1).  Pure: no
 * NGINX type.  OpenSSL checks signatures, jansson reads JSON.
 */

#ifndef CONDUIT_JWT_H
#define CONDUIT_JWT_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_id.h"

#pragma GCC visibility push(hidden)

#define CONDUIT_JWT_LEEWAY   60    /* seconds, for exp and nbf */
#define CONDUIT_JWT_MAX_LEN  16384 /* bytes; longer tokens are not read */

/* a later exp counts as this one: sums and milliseconds of it fit an int64_t */
#define CONDUIT_JWT_TIME_MAX  INT64_C(9000000000000000)

/* public keys of one set: a token without a kid is tried with each that fits */
#define CONDUIT_JWT_MAX_KEYS  16

/* the shortest secret that RFC 7518 3.2 lets HS256 have, in bytes */
#define CONDUIT_JWT_MIN_SECRET  32

typedef enum {
    CONDUIT_JWT_HS256 = 0,        /* RFC 7518 3.2 */
    CONDUIT_JWT_RS256,            /* RFC 7518 3.3 */
    CONDUIT_JWT_PS256,            /* RFC 7518 3.5 */
    CONDUIT_JWT_ES256,            /* RFC 7518 3.4 */
    CONDUIT_JWT_ES384,
    CONDUIT_JWT_EDDSA             /* RFC 8037 3.1, with Ed25519 */
} conduit_jwt_alg_t;

/* the outcome of a verification; conduit_jwt_status_name() names each */
typedef enum {
    CONDUIT_JWT_OK = 0,
    CONDUIT_JWT_EXPIRED,          /* signature good, exp passed */
    CONDUIT_JWT_NOT_YET,          /* signature good, nbf not reached */
    CONDUIT_JWT_MALFORMED,        /* not three base64url parts, no JSON object,
                                     a member given twice, nested too deeply
                                     for jansson (2048); too long */
    CONDUIT_JWT_ALGORITHM,        /* no key has the header's algorithm; crit */
    CONDUIT_JWT_KEY,              /* none of those has the token's kid */
    CONDUIT_JWT_SIGNATURE,
    CONDUIT_JWT_ISSUER,           /* iss missing, of a wrong type, another */
    CONDUIT_JWT_AUDIENCE,         /* aud likewise */
    CONDUIT_JWT_CLAIM,            /* exp, nbf, sub, org_id or channel_id
                                     missing though required, or of a wrong
                                     type */
    CONDUIT_JWT_NO_MEMORY
} conduit_jwt_status_t;

typedef struct conduit_jwt_keys_s  conduit_jwt_keys_t;

/*
 * Takes the value of claim i that was asked for by name: a string as it is, a
 * whole number in decimal ("-5", "42"); text is NULL when the token has no such
 * claim, or it is of another type.  text does not last.  Returns 0, or -1 when
 * memory is out.
 */
typedef int (*conduit_jwt_claim_pt)(void *data, size_t i, const char *text,
    size_t len);

/* what a location requires of a token; strings belong to the caller */
typedef struct {
    const char  *issuer;          /* NULL: iss is not checked */
    size_t       issuer_len;
    const char  *audience;        /* NULL: aud is not checked */
    size_t       audience_len;
    unsigned     need_sub:1;      /* sub must be a string */
    unsigned     need_org:1;      /* org_id must be an integer, 0 to 2^64-1 */
    unsigned     need_channel:1;  /* channel_id must be a UUID string */

    /* claims that are handed on, each once, when all else was found good */
    const char *const     *names;    /* zero-terminated */
    size_t                 nnames;
    conduit_jwt_claim_pt   claim;
    void                  *data;
} conduit_jwt_policy_t;

/* what was read from a token; set on CONDUIT_JWT_OK only */
typedef struct {
    int64_t      exp;             /* seconds since the epoch */
    int64_t      nbf;             /* likewise; valid when has_nbf */
    uint64_t     org_id;          /* valid when has_org */
    char         channel_id[CONDUIT_UUID_LEN];  /* valid when has_channel,
                                                   lower case */
    unsigned     has_nbf:1;
    unsigned     has_org:1;
    unsigned     has_channel:1;
} conduit_jwt_claims_t;


/*
 * Makes an empty key set.  Returns NULL when memory is out; the caller frees it
 * with conduit_jwt_keys_free(), which takes NULL too.
 */
conduit_jwt_keys_t *conduit_jwt_keys_create(void);
void conduit_jwt_keys_free(conduit_jwt_keys_t *keys);

/*
 * Adds a secret of HS256: the file as it is, but for one line end at its end.
 * data and kid are copied; kid NULL is a key without an ID.
 * Returns NULL, or a static text that says what is wrong with the secret.
 */
const char *conduit_jwt_keys_add_secret(conduit_jwt_keys_t *keys,
    const char *data, size_t len, const char *kid, size_t kid_len);

/*
 * Adds all public keys of a file, PEM (SubjectPublicKeyInfo, PKCS#1, X.509
 * certificates) or a JWK or JWK set (RFC 7517).  RSA keys of 2048 bits at least
 * are for RS256, or PS256 if the JWK says so; P-256 is for ES256, P-384 for
 * ES384, Ed25519 for EdDSA.  Of a certificate chain the first one is used; keys
 * of a JWK set that are for something else, or of another type, are not used.
 * A JWK has its own kid, all other keys have the one that is given.
 * Returns NULL, or a static text that says what is wrong with the file, or with
 * its key of the number conduit_jwt_keys_failed(); none is added then.
 */
const char *conduit_jwt_keys_add_public(conduit_jwt_keys_t *keys,
    const char *data, size_t len, const char *kid, size_t kid_len);

/* Counted from 1; 0: the file has one key, or it is not about a key. */
size_t conduit_jwt_keys_failed(const conduit_jwt_keys_t *keys);

/*
 * What may be wrong with the form of a file of a secret, or of public keys that
 * can't be read: quotes, a byte order mark and the like.  Returns a static text
 * that begins with "it", or NULL.
 */
const char *conduit_jwt_hint_secret(const char *data, size_t len);
const char *conduit_jwt_hint_public(const char *data, size_t len);

/* The bytes of a file that are its secret: all but one line end. */
size_t conduit_jwt_secret_len(const char *data, size_t len);

/*
 * Verifies a token at the time now (seconds since the epoch): form, algorithm,
 * key (of that algorithm, by kid: keys of that ID and keys without one; all of
 * them when the token has no kid), signature, then exp, nbf, iss, aud, sub,
 * org_id and channel_id; the first fault is the result.  exp is always
 * required.  A token is good while nbf - CONDUIT_JWT_LEEWAY <= now <= exp +
 * CONDUIT_JWT_LEEWAY; fractions of a second are dropped.  Fills *claims on
 * CONDUIT_JWT_OK: org_id and channel_id whenever they are well-formed, required
 * or not.  Other claims may hold any JSON value; kid, crit and nbf that are
 * null count as absent.  Does not keep the token.
 */
conduit_jwt_status_t conduit_jwt_verify(const conduit_jwt_keys_t *keys,
    const conduit_jwt_policy_t *policy, const char *token, size_t len,
    int64_t now, conduit_jwt_claims_t *claims);

/* A short lower-case name for logs and counters, e.g. "signature". */
const char *conduit_jwt_status_name(conduit_jwt_status_t status);

#pragma GCC visibility pop

#endif /* CONDUIT_JWT_H */
