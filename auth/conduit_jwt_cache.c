/* Copyright (C) Conduit for NGINX authors */

/*
 * A hash table with chains, whose tokens are also in a list in the order of
 * their last use.  When it has as many tokens as it was created for, the least
 * recently used one makes room.  A set of tokens that fits is thus known as a
 * whole, as when all clients reconnect.
 */

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "conduit_jwt_cache.h"
#include "conduit_jwt_private.h"


/* tokens for each chain, if the table is full */
#define CONDUIT_JWT_CACHE_CHAIN  2


typedef struct conduit_jwt_cached_s  conduit_jwt_cached_t;

struct conduit_jwt_cached_s {
    conduit_jwt_cached_t  *next;     /* in its chain */
    conduit_jwt_cached_t  *newer;    /* used next after it */
    conduit_jwt_cached_t  *older;    /* used last before it */
    unsigned char          key[CONDUIT_JWT_CACHE_KEY];
    conduit_jwt_claims_t   claims;
};

struct conduit_jwt_cache_s {
    conduit_jwt_cached_t **chains;
    size_t                 nchains;
    size_t                 size;     /* tokens that it may have */
    size_t                 n;        /* tokens that it has */
    conduit_jwt_cached_t  *newest;   /* used last */
    conduit_jwt_cached_t  *oldest;   /* used longest ago */
    EVP_MD_CTX            *sha256;   /* initialized once, reused for all */
};


static int conduit_jwt_cache_key(conduit_jwt_cache_t *cache, const char *token,
    size_t len, unsigned char *key);
static conduit_jwt_cached_t **conduit_jwt_cache_place(
    const conduit_jwt_cache_t *cache, const unsigned char *key);
static void conduit_jwt_cache_link(conduit_jwt_cache_t *cache,
    conduit_jwt_cached_t *cached);
static void conduit_jwt_cache_unlink(conduit_jwt_cache_t *cache,
    conduit_jwt_cached_t *cached);
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

    cache->size = size;
    cache->nchains = size / CONDUIT_JWT_CACHE_CHAIN + 1;
    cache->chains = calloc(cache->nchains, sizeof(conduit_jwt_cached_t *));
    cache->sha256 = EVP_MD_CTX_new();

    if (cache->chains == NULL || cache->sha256 == NULL
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
    conduit_jwt_cached_t  *cached, *newer;

    if (cache == NULL) {
        return;
    }

    for (cached = cache->oldest; cached != NULL; cached = newer) {
        newer = cached->newer;
        free(cached);
    }

    EVP_MD_CTX_free(cache->sha256);
    free(cache->chains);
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
            conduit_jwt_cache_add(cache, key, claims);
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
    conduit_jwt_cached_t  *cached, **place;

    place = conduit_jwt_cache_place(cache, key);
    cached = *place;

    if (cached == NULL) {
        return NULL;
    }

    conduit_jwt_cache_unlink(cache, cached);

    if (conduit_jwt_cache_expired(cached, now)) {
        *place = cached->next;
        cache->n--;
        free(cached);

        return NULL;
    }

    conduit_jwt_cache_link(cache, cached);

    return &cached->claims;
}


void
conduit_jwt_cache_add(conduit_jwt_cache_t *cache, const unsigned char *key,
    const conduit_jwt_claims_t *claims)
{
    conduit_jwt_cached_t  *cached, **place;

    if (*conduit_jwt_cache_place(cache, key) != NULL) {
        return;
    }

    if (cache->n == cache->size) {
        cached = cache->oldest;
        *conduit_jwt_cache_place(cache, cached->key) = cached->next;
        conduit_jwt_cache_unlink(cache, cached);

    } else {
        cached = malloc(sizeof(conduit_jwt_cached_t));
        if (cached == NULL) {
            return;
        }

        cache->n++;
    }

    memcpy(cached->key, key, CONDUIT_JWT_CACHE_KEY);
    cached->claims = *claims;

    place = conduit_jwt_cache_place(cache, key);
    cached->next = NULL;
    *place = cached;

    conduit_jwt_cache_link(cache, cached);
}


/* Returns where the pointer to a token is, or where it is to be added: at the
   end of its chain.  All bytes of a SHA-256 are distributed evenly: the first
   ones select the chain. */

static conduit_jwt_cached_t **
conduit_jwt_cache_place(const conduit_jwt_cache_t *cache,
    const unsigned char *key)
{
    uint64_t                n;
    conduit_jwt_cached_t  **place;

    memcpy(&n, key, sizeof(n));

    for (place = &cache->chains[n % cache->nchains];
         *place != NULL;
         place = &(*place)->next)
    {
        if (memcmp((*place)->key, key, CONDUIT_JWT_CACHE_KEY) == 0) {
            break;
        }
    }

    return place;
}


static void
conduit_jwt_cache_link(conduit_jwt_cache_t *cache,
    conduit_jwt_cached_t *cached)
{
    cached->newer = NULL;
    cached->older = cache->newest;

    if (cached->older != NULL) {
        cached->older->newer = cached;

    } else {
        cache->oldest = cached;
    }

    cache->newest = cached;
}


static void
conduit_jwt_cache_unlink(conduit_jwt_cache_t *cache,
    conduit_jwt_cached_t *cached)
{
    if (cached->newer != NULL) {
        cached->newer->older = cached->older;

    } else {
        cache->newest = cached->older;
    }

    if (cached->older != NULL) {
        cached->older->newer = cached->newer;

    } else {
        cache->oldest = cached->newer;
    }
}


static int
conduit_jwt_cache_expired(const conduit_jwt_cached_t *cached, int64_t now)
{
    return cached->claims.exp + CONDUIT_JWT_LEEWAY < now;
}
