/* Copyright (C) Conduit for NGINX authors */

/*
 * A set-associative table.  The key of a token selects a set, which is searched
 * from end to end; when it is full, the least recently used token is replaced.
 * Tokens are never moved and sets do not grow, so that the table has a bound
 * without further bookkeeping.  The SHA-256 distributes tokens evenly over the
 * sets: with as many tokens as the cache was created for, about one in seven
 * finds its set full.
 */

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "conduit_jwt_cache.h"
#include "conduit_jwt_private.h"


typedef struct {
    unsigned char          key[CONDUIT_JWT_CACHE_KEY];
    conduit_jwt_claims_t   claims;
    uint64_t               used;    /* cache->uses at its last use; 0: free */
} conduit_jwt_cached_t;

struct conduit_jwt_cache_s {
    conduit_jwt_cached_t **sets;    /* a set is NULL until its first token */
    size_t                 n;       /* number of sets */
    uint64_t               uses;    /* of tokens: found or added */
    EVP_MD_CTX            *sha256;  /* initialized once, reused for all */
};


static int conduit_jwt_cache_key(conduit_jwt_cache_t *cache, const char *token,
    size_t len, unsigned char *key);
static size_t conduit_jwt_cache_set(const conduit_jwt_cache_t *cache,
    const unsigned char *key);
static int conduit_jwt_cache_expired(const conduit_jwt_cached_t *cached,
    int64_t now);


conduit_jwt_cache_t *
conduit_jwt_cache_create(size_t size)
{
    conduit_jwt_cache_t  *cache;

    cache = calloc(1, sizeof(conduit_jwt_cache_t));
    if (cache == NULL) {
        return NULL;
    }

    cache->n = size / CONDUIT_JWT_CACHE_SET
               + (size % CONDUIT_JWT_CACHE_SET != 0);
    cache->sets = calloc(cache->n, sizeof(conduit_jwt_cached_t *));
    cache->sha256 = EVP_MD_CTX_new();

    if (cache->sets == NULL || cache->sha256 == NULL
        || EVP_DigestInit_ex(cache->sha256, EVP_sha256(), NULL) != 1)
    {
        ERR_clear_error();
        conduit_jwt_cache_free(cache);
        return NULL;
    }

    return cache;
}


void
conduit_jwt_cache_free(conduit_jwt_cache_t *cache)
{
    size_t  i;

    if (cache == NULL) {
        return;
    }

    for (i = 0; cache->sets != NULL && i < cache->n; i++) {
        free(cache->sets[i]);
    }

    EVP_MD_CTX_free(cache->sha256);
    free(cache->sets);
    free(cache);
}


conduit_jwt_status_e
conduit_jwt_cache_verify(conduit_jwt_cache_t *cache,
    const conduit_jwt_keys_t *keys, const conduit_jwt_policy_t *policy,
    const char *token, size_t len, int64_t now, conduit_jwt_claims_t *claims,
    int *hit)
{
    unsigned char                key[CONDUIT_JWT_CACHE_KEY];
    conduit_jwt_status_e         status;
    const conduit_jwt_claims_t  *found;

    *hit = 0;

    if (cache == NULL || policy->nnames != 0
        || len > CONDUIT_JWT_CACHE_TOKEN
        || conduit_jwt_cache_key(cache, token, len, key) != 0)
    {
        return conduit_jwt_verify(keys, policy, token, len, now, claims);
    }

    found = conduit_jwt_cache_find(cache, key, now);

    if (found == NULL) {
        status = conduit_jwt_verify(keys, policy, token, len, now, claims);

        if (status == CONDUIT_JWT_OK) {
            conduit_jwt_cache_add(cache, key, claims, now);
        }

        return status;
    }

    *hit = 1;

    status = conduit_jwt_check_again(policy, found, now);

    if (status == CONDUIT_JWT_OK) {
        *claims = *found;

    } else {
        memset(claims, 0, sizeof(conduit_jwt_claims_t));
    }

    return status;
}


static int
conduit_jwt_cache_key(conduit_jwt_cache_t *cache, const char *token,
    size_t len, unsigned char *key)
{
    if (EVP_DigestInit_ex(cache->sha256, NULL, NULL) == 1
        && EVP_DigestUpdate(cache->sha256, token, len) == 1
        && EVP_DigestFinal_ex(cache->sha256, key, NULL) == 1)
    {
        return 0;
    }

    ERR_clear_error();

    return -1;
}


const conduit_jwt_claims_t *
conduit_jwt_cache_find(conduit_jwt_cache_t *cache, const unsigned char *key,
    int64_t now)
{
    size_t                 i;
    conduit_jwt_cached_t  *set;

    set = cache->sets[conduit_jwt_cache_set(cache, key)];

    for (i = 0; set != NULL && i < CONDUIT_JWT_CACHE_SET; i++) {

        if (set[i].used == 0
            || memcmp(set[i].key, key, CONDUIT_JWT_CACHE_KEY) != 0)
        {
            continue;
        }

        if (conduit_jwt_cache_expired(&set[i], now)) {
            set[i].used = 0;
            return NULL;
        }

        set[i].used = ++cache->uses;

        return &set[i].claims;
    }

    return NULL;
}


void
conduit_jwt_cache_add(conduit_jwt_cache_t *cache, const unsigned char *key,
    const conduit_jwt_claims_t *claims, int64_t now)
{
    size_t                 i, n;
    conduit_jwt_cached_t  *set, *place;

    n = conduit_jwt_cache_set(cache, key);
    set = cache->sets[n];

    if (set == NULL) {
        set = calloc(CONDUIT_JWT_CACHE_SET, sizeof(conduit_jwt_cached_t));
        if (set == NULL) {
            return;
        }

        cache->sets[n] = set;
    }

    place = set;

    for (i = 0; i < CONDUIT_JWT_CACHE_SET; i++) {

        if (set[i].used != 0 && conduit_jwt_cache_expired(&set[i], now)) {
            set[i].used = 0;
        }

        if (set[i].used < place->used) {
            place = &set[i];
        }
    }

    memcpy(place->key, key, CONDUIT_JWT_CACHE_KEY);
    place->claims = *claims;
    place->used = ++cache->uses;
}


/* all bytes of a SHA-256 are distributed evenly: the first ones will do */

static size_t
conduit_jwt_cache_set(const conduit_jwt_cache_t *cache,
    const unsigned char *key)
{
    uint64_t  n;

    memcpy(&n, key, sizeof(n));

    return (size_t) (n % cache->n);
}


static int
conduit_jwt_cache_expired(const conduit_jwt_cached_t *cached, int64_t now)
{
    return cached->claims.exp + CONDUIT_JWT_LEEWAY < now;
}
