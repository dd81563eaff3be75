/*
 * Tokens that were verified before.  What conduit_jwt_verify() has read from a
 * good token is kept under the SHA-256 of the token: who shows the same token
 * again is spared the signature and the JSON, and nothing else.  The times of
 * the token and the claims that it must have are looked at with each use.
 *
 * A cache is for one key set, one issuer and one audience, and must not be used
 * with others: it is thrown away with them.
 */

#ifndef CONDUIT_JWT_CACHE_H
#define CONDUIT_JWT_CACHE_H

#include "conduit_jwt.h"

#pragma GCC visibility push(hidden)

/* bytes of a key: a SHA-256 */
#define CONDUIT_JWT_CACHE_KEY  32

/* bytes; a longer token is verified each time, as its SHA-256 costs as much */
#define CONDUIT_JWT_CACHE_TOKEN  4096

/* tokens of one set: where a set is full, the one used longest ago goes */
#define CONDUIT_JWT_CACHE_SET  8

typedef struct conduit_jwt_cache_s  conduit_jwt_cache_t;


/*
 * Makes a cache of so many tokens (1 or more; rounded up to whole sets).  It
 * begins with a pointer for each set; the memory of a set is taken when its
 * first token comes, about 110 bytes a token.  Returns NULL when memory is out;
 * the caller frees it with conduit_jwt_cache_free(), which takes NULL too.
 */
conduit_jwt_cache_t *conduit_jwt_cache_create(size_t size);
void conduit_jwt_cache_free(conduit_jwt_cache_t *cache);

/*
 * Does what conduit_jwt_verify() does, with the same result: by what the cache
 * has of the token, or else in full, and a good token is kept then.  *hit tells
 * which.  policy may differ from that of other calls in what is needed, not in
 * issuer and audience.  Where it names claims that are handed on, the token is
 * verified in full, as those are not kept; cache NULL, or memory that is out:
 * likewise.
 */
conduit_jwt_status_t conduit_jwt_cache_verify(conduit_jwt_cache_t *cache,
    const conduit_jwt_keys_t *keys, const conduit_jwt_policy_t *policy,
    const char *token, size_t len, int64_t now, conduit_jwt_claims_t *claims,
    int *hit);

/*
 * The table alone; key is the SHA-256 of a token.  conduit_jwt_cache_find()
 * returns what is kept under it, valid until the next call, or NULL: one whose
 * exp has passed at the time now, with CONDUIT_JWT_LEEWAY, is dropped and not
 * returned.  conduit_jwt_cache_add() copies *claims, which must not be there
 * yet; in a full set one that has expired goes first.
 */
const conduit_jwt_claims_t *conduit_jwt_cache_find(conduit_jwt_cache_t *cache,
    const unsigned char *key, int64_t now);
void conduit_jwt_cache_add(conduit_jwt_cache_t *cache,
    const unsigned char *key, const conduit_jwt_claims_t *claims, int64_t now);

#pragma GCC visibility pop

#endif /* CONDUIT_JWT_CACHE_H */
