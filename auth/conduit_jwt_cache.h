/* Copyright (C) Conduit for NGINX authors */

/*
 * A cache of tokens that were verified before.  It maps the SHA-256 of a token
 * to the claims that conduit_jwt_verify() has read from it.  If the same token
 * comes again, its signature is not verified and its JSON not parsed again; its
 * times, and the presence of org_id and channel_id, are checked with each use.
 *
 * A cache belongs to one key set, one issuer and one audience.  It must not be
 * used with others, and is freed when they are.
 */

#ifndef CONDUIT_JWT_CACHE_H
#define CONDUIT_JWT_CACHE_H

#include "conduit_jwt.h"

#pragma GCC visibility push(hidden)

/* bytes of a key, which is a SHA-256 */
#define CONDUIT_JWT_CACHE_KEY  32

/* bytes; a longer token is not cached, as computing its SHA-256 would take as
   long as verifying it */
#define CONDUIT_JWT_CACHE_TOKEN  4096

typedef struct conduit_jwt_cache_s  conduit_jwt_cache_t;


/*
 * Creates a cache for size tokens (1 or more), to be freed with
 * conduit_jwt_cache_free(), which accepts NULL.  It has 4 bytes for each token
 * that it may have, and allocates 120 more when the token is added.
 * Returns NULL when memory is out.
 */
conduit_jwt_cache_t *conduit_jwt_cache_create(size_t size);
void conduit_jwt_cache_free(conduit_jwt_cache_t *cache);

/*
 * Verifies a token, with the same result as conduit_jwt_verify().  A token in
 * the cache is not verified in full, and *hit is set to 1.  Otherwise *hit is
 * set to 0, and the claims of a good token are added to the cache.
 *
 * Policies used with a cache may differ in need_org and need_channel; issuer,
 * audience and need_sub must be the same.  The cache is not used if it is NULL
 * or memory is out, for tokens of more than CONDUIT_JWT_CACHE_TOKEN bytes, and
 * for policies with claims to pass to a callback, as these are not kept.
 */
conduit_jwt_status_e conduit_jwt_cache_verify(conduit_jwt_cache_t *cache,
    const conduit_jwt_keys_t *keys, const conduit_jwt_policy_t *policy,
    const char *token, size_t len, int64_t now, conduit_jwt_claims_t *claims,
    int *hit);

/*
 * The functions of the table, for conduit_jwt_cache_verify() and for tests; key
 * is the SHA-256 of a token.  conduit_jwt_cache_find() returns the claims added
 * with a key, valid until the next call, or NULL.  It drops and does not return
 * a token that has expired at the time now, CONDUIT_JWT_LEEWAY included.
 * conduit_jwt_cache_add() copies *claims.  If the table is full, the token used
 * longest ago makes room.  Adds nothing when memory is out, or if the key is in
 * the table.
 */
const conduit_jwt_claims_t *conduit_jwt_cache_find(conduit_jwt_cache_t *cache,
    const unsigned char *key, int64_t now);
void conduit_jwt_cache_add(conduit_jwt_cache_t *cache,
    const unsigned char *key, const conduit_jwt_claims_t *claims);

#pragma GCC visibility pop

#endif /* CONDUIT_JWT_CACHE_H */
