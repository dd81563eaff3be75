/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as a token or a part of one: a whole token; a header, a payload, or
 * the value of one member, in a token with a valid signature, so that the code
 * after its verification is reached; the signature of an otherwise good token.
 * Also as a key file, the content of a PEM block, and a JSON text.  The first
 * byte selects the role.  With a cache the result must be the same.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/err.h>

#include "conduit_jwt_cache.h"
#include "conduit_jwt_private.h"
#include "../unit/token.h"

#define lit(s)  s, sizeof(s) - 1

#define SECRET    "0123456789abcdef0123456789abcdef"
#define HEADER    "{\"alg\":\"HS256\"}"
#define PAYLOAD   "{\"exp\":1700000000}"
#define FUZZ_MAX  12000                     /* bytes that fit into a token */


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static conduit_jwt_keys_t  *hs, *rs;
static char                 token[TOKEN_MAX];

/* the public key of RFC 7515, A.2 */
static const char  pem[] =
    "-----BEGIN RSA PUBLIC KEY-----\n"
    "MIIBCgKCAQEAofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd/wWJcyQoTbji9k0l8W2\n"
    "6mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMs\n"
    "D1W/YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5\n"
    "z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxv\n"
    "b3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxXFvUK+DWNmoudF8NAco9/h9iaGNj8q2et\n"
    "hFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQIDAQAB\n"
    "-----END RSA PUBLIC KEY-----\n";


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


static void
fuzz_init(void)
{
    hs = conduit_jwt_keys_create();
    rs = conduit_jwt_keys_create();

    fuzz_check(hs != NULL && rs != NULL);
    fuzz_check(conduit_jwt_keys_add_secret(hs, lit(SECRET), NULL, 0) == NULL);
    fuzz_check(conduit_jwt_keys_add_public(rs, lit(pem), NULL, 0) == NULL);
}


/* verifies with an empty cache, then again: the result must be the same */

static void
fuzz_cached(const conduit_jwt_keys_t *keys, const conduit_jwt_policy_t *policy,
    const char *text, size_t len, conduit_jwt_status_e status,
    const conduit_jwt_claims_t *claims)
{
    int                   i, hit;
    conduit_jwt_cache_t  *cache;
    conduit_jwt_claims_t  cached;

    cache = conduit_jwt_cache_create(1);
    fuzz_check(cache != NULL);

    for (i = 0; i < 2; i++) {
        fuzz_check(conduit_jwt_cache_verify(cache, keys, policy, text, len,
                                            1700000000, &cached, &hit)
                   == status);
        fuzz_check(hit == (i == 1 && status == CONDUIT_JWT_OK
                           && len <= CONDUIT_JWT_CACHE_TOKEN));
        fuzz_check(memcmp(&cached, claims, sizeof(cached)) == 0);
    }

    conduit_jwt_cache_free(cache);
}


static conduit_jwt_status_e
fuzz_verify(const conduit_jwt_keys_t *keys, const char *text, size_t len,
    unsigned need)
{
    size_t                             i;
    char                              *copy;
    conduit_jwt_claims_t               claims;
    conduit_jwt_policy_t               policy;
    conduit_jwt_status_e               status;
    static const conduit_jwt_claims_t  none;

    memset(&policy, 0, sizeof(policy));
    policy.issuer = need & 1 ? "i" : NULL;
    policy.issuer_len = 1;
    policy.audience = need & 2 ? "a" : NULL;
    policy.audience_len = 1;
    policy.need_sub = need >> 2 & 1;
    policy.need_org = need >> 3 & 1;
    policy.need_channel = need >> 4 & 1;

    /* memory of the exact size, so that ASan sees a read past the end */

    copy = malloc(len ? len : 1);
    fuzz_check(copy != NULL);
    memcpy(copy, text, len);

    status = conduit_jwt_verify(keys, &policy, copy, len, 1700000000, &claims);

    fuzz_cached(keys, &policy, copy, len, status, &claims);

    free(copy);

    fuzz_check(ERR_peek_error() == 0);
    fuzz_check(strlen(conduit_jwt_status_name(status)) > 0);

    if (status != CONDUIT_JWT_OK) {
        fuzz_check(memcmp(&claims, &none, sizeof(claims)) == 0);
        return status;
    }

    fuzz_check(claims.exp + CONDUIT_JWT_LEEWAY >= 1700000000);
    fuzz_check(claims.exp <= CONDUIT_JWT_TIME_MAX);
    fuzz_check(!policy.need_org || claims.has_org);
    fuzz_check(!policy.need_channel || claims.has_channel);

    for (i = 0; claims.has_channel && i < CONDUIT_UUID_LEN; i++) {
        fuzz_check(strchr("0123456789abcdef-", claims.channel_id[i]) != NULL);
    }

    return status;
}


static void
fuzz_signed(const char *header, size_t header_len, const char *payload,
    size_t len, unsigned need)
{
    size_t                 n;
    unsigned char          mac[EVP_MAX_MD_SIZE];
    conduit_jwt_status_e   status;

    n = token_begin(token, header, header_len, payload, len);
    (void) token_hs256(token, n, lit(SECRET), mac);
    n = token_end(token, n, mac, 32);

    status = fuzz_verify(hs, token, n, need);
    fuzz_check(status != CONDUIT_JWT_SIGNATURE);

    status = fuzz_verify(rs, token, n, need);
    fuzz_check(status != CONDUIT_JWT_OK);
}


static void
fuzz_signature(const char *data, size_t size)
{
    int            good;
    size_t         n, len;
    unsigned char  mac[EVP_MAX_MD_SIZE];

    n = token_begin(token, lit(HEADER), lit(PAYLOAD));
    (void) token_hs256(token, n, lit(SECRET), mac);
    good = (size == 32 && memcmp(data, mac, 32) == 0);

    len = token_end(token, n, data, size);
    fuzz_check((fuzz_verify(hs, token, len, 0) == CONDUIT_JWT_OK) == good);

    n = token_begin(token, lit("{\"alg\":\"RS256\"}"), lit(PAYLOAD));
    len = token_end(token, n, data, size);
    fuzz_check(fuzz_verify(rs, token, len, 0) != CONDUIT_JWT_OK);
}


static void
fuzz_key(conduit_jwt_alg_e alg, const char *data, size_t size)
{
    conduit_jwt_keys_t  *keys;

    keys = conduit_jwt_keys_create();
    fuzz_check(keys != NULL);

    (void) (alg == CONDUIT_JWT_HS256
            ? conduit_jwt_keys_add_secret(keys, data, size, data, size)
            : conduit_jwt_keys_add_public(keys, data, size, data, size));
    fuzz_check(ERR_peek_error() == 0);

    conduit_jwt_keys_free(keys);
}


/* the bytes as a PEM block, in base64, with each of several names */

static void
fuzz_pem(const char *data, size_t size)
{
    int                 n;
    size_t              i;
    static char         text[TOKEN_MAX];
    static const char  *names[] = {
        "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE", "DSA PUBLIC KEY"
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        n = snprintf(text, sizeof(text), "-----BEGIN %s-----\n", names[i]);
        n += EVP_EncodeBlock((unsigned char *) text + n,
                             (const unsigned char *) data, (int) size);
        n += snprintf(text + n, sizeof(text) - (size_t) n,
                      "\n-----END %s-----\n", names[i]);
        fuzz_key(CONDUIT_JWT_RS256, text, (size_t) n);
    }
}


/* if jansson parses a text, it must parse the rewritten text, with the same
   number of members */

static void
fuzz_rewrite(const char *data, size_t size)
{
    size_t         members;
    json_t        *json;
    conduit_buf_t  text;

    memset(&text, 0, sizeof(text));
    json = json_loadb(data, size, JSON_REJECT_DUPLICATES|JSON_ALLOW_NUL, NULL);
    members = json_object_size(json);

    if (conduit_jwt_json_rewrite(data, size, &text) != 0) {
        fuzz_check(memchr(data, '\0', size) != NULL);

    } else {
        fuzz_check(text.len <= 2 * size);

        if (json != NULL) {
            json_decref(json);
            json = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES,
                              NULL);
            fuzz_check(json != NULL);
            fuzz_check(json_object_size(json) == members);
        }
    }

    json_decref(json);
    conduit_buf_free(&text);
}


/* the bytes as the value of a member; the other members are valid */

static void
fuzz_member(const char *data, size_t size, unsigned select)
{
    size_t       n;
    static char  json[FUZZ_MAX + 128];
    static const struct {
        const char  *before;
        unsigned     need;                  /* as fuzz_verify() takes it */
    } members[] = {
        { "{\"exp\":", 0 },
        { "{\"exp\":1700000000,\"nbf\":", 0 },
        { "{\"exp\":1700000000,\"iss\":", 1 },
        { "{\"exp\":1700000000,\"aud\":", 2 },
        { "{\"exp\":1700000000,\"sub\":", 4 },
        { "{\"exp\":1700000000,\"org_id\":", 8 },
        { "{\"exp\":1700000000,\"channel_id\":", 16 },
        { "{\"exp\":1700000000,\"x\":", 0 },
        { "{\"alg\":", 0 },
        { "{\"alg\":\"HS256\",\"kid\":", 0 },
        { "{\"alg\":\"HS256\",\"crit\":", 0 }
    };

    select %= sizeof(members) / sizeof(members[0]);

    n = strlen(members[select].before);
    memcpy(json, members[select].before, n);
    memcpy(json + n, data, size);
    n += size;
    json[n++] = '}';

    if (strstr(members[select].before, "alg") != NULL) {
        fuzz_signed(json, n, lit(PAYLOAD), 0);

    } else {
        fuzz_signed(lit(HEADER), json, n, members[select].need);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char  *s;

    if (hs == NULL) {
        fuzz_init();
    }

    if (size == 0 || size > FUZZ_MAX) {
        return 0;
    }

    s = (const char *) data + 1;
    size--;

    switch (data[0] & 7) {

    case 0:
        (void) fuzz_verify(hs, s, size, 0);
        (void) fuzz_verify(rs, s, size, 0);
        break;

    case 1:
        fuzz_signed(s, size, lit(PAYLOAD), 0);
        break;

    case 2:
        fuzz_signature(s, size);
        break;

    case 3:
        fuzz_key(CONDUIT_JWT_HS256, s, size);
        fuzz_key(CONDUIT_JWT_RS256, s, size);
        break;

    case 4:
        fuzz_pem(s, size);
        break;

    case 5:
        fuzz_signed(lit(HEADER), s, size, data[0] >> 3);
        fuzz_rewrite(s, size);
        break;

    default:
        fuzz_member(s, size, data[0] >> 3);
        break;
    }

    return 0;
}
