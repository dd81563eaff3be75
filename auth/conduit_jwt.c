/* Copyright (C) Conduit for NGINX authors */

/*
 * A token: it is split into its parts, and its header, its signature and its
 * claims are checked, in this order.
 */

#include <stdlib.h>
#include <string.h>

#include "conduit_jansson.h"
#include "conduit_jwt_private.h"


/* a token in its three parts, still encoded */
typedef struct {
    const char     *header;
    size_t          header_len;
    const char     *payload;
    size_t          payload_len;
    const char     *signature;
    size_t          signature_len;
    size_t          signed_len;     /* of header, dot and payload */

    unsigned char  *buf;            /* the part that was decoded last */
} conduit_jwt_token_t;


static int conduit_jwt_split(const char *token, size_t len,
    conduit_jwt_token_t *t);
static conduit_jwt_status_e conduit_jwt_check(const conduit_jwt_keys_t *keys,
    const conduit_jwt_policy_t *policy, conduit_jwt_token_t *t, int64_t now,
    conduit_jwt_claims_t *claims);
static conduit_jwt_status_e conduit_jwt_check_header(
    const conduit_jwt_keys_t *keys, json_t *header, conduit_jwt_alg_e *alg,
    json_t **kid);
static int conduit_jwt_have(const conduit_jwt_keys_t *keys,
    conduit_jwt_alg_e alg);
static conduit_jwt_status_e conduit_jwt_check_signature(
    const conduit_jwt_keys_t *keys, const conduit_jwt_token_t *t,
    conduit_jwt_alg_e alg, json_t *kid, size_t signature_len);
static conduit_jwt_status_e conduit_jwt_json(const conduit_jwt_token_t *t,
    const char *part, size_t len, json_t **object);


conduit_jwt_status_e
conduit_jwt_verify(const conduit_jwt_keys_t *keys,
    const conduit_jwt_policy_t *policy, const char *token, size_t len,
    int64_t now, conduit_jwt_claims_t *claims)
{
    conduit_jwt_token_t   t;
    conduit_jwt_status_e  status;

    memset(claims, 0, sizeof(conduit_jwt_claims_t));

    if (len == 0 || len > CONDUIT_JWT_MAX_LEN
        || conduit_jwt_split(token, len, &t) != 0)
    {
        return CONDUIT_JWT_MALFORMED;
    }

    t.buf = malloc(len);
    if (t.buf == NULL) {
        return CONDUIT_JWT_NO_MEMORY;
    }

    status = conduit_jwt_check(keys, policy, &t, now, claims);

    free(t.buf);

    if (status != CONDUIT_JWT_OK) {
        memset(claims, 0, sizeof(conduit_jwt_claims_t));
    }

    return status;
}


static int
conduit_jwt_split(const char *token, size_t len, conduit_jwt_token_t *t)
{
    const char  *first, *second;

    first = memchr(token, '.', len);
    if (first == NULL) {
        return -1;
    }

    second = memchr(first + 1, '.', len - (size_t) (first + 1 - token));
    if (second == NULL) {
        return -1;
    }

    t->header = token;
    t->header_len = (size_t) (first - token);
    t->payload = first + 1;
    t->payload_len = (size_t) (second - t->payload);
    t->signature = second + 1;
    t->signature_len = len - (size_t) (t->signature - token);
    t->signed_len = (size_t) (second - token);

    if (t->header_len == 0 || t->payload_len == 0 || t->signature_len == 0) {
        return -1;
    }

    return (memchr(t->signature, '.', t->signature_len) == NULL) ? 0 : -1;
}


static conduit_jwt_status_e
conduit_jwt_check(const conduit_jwt_keys_t *keys,
    const conduit_jwt_policy_t *policy, conduit_jwt_token_t *t, int64_t now,
    conduit_jwt_claims_t *claims)
{
    json_t                *header, *payload, *kid;
    size_t                 signature_len;
    conduit_jwt_alg_e      alg;
    conduit_jwt_status_e   status;

    status = conduit_jwt_json(t, t->header, t->header_len, &header);
    if (status != CONDUIT_JWT_OK) {
        return status;
    }

    status = conduit_jwt_check_header(keys, header, &alg, &kid);

    if (status == CONDUIT_JWT_OK) {

        if (conduit_jwt_base64url(t->signature, t->signature_len, t->buf,
                                  &signature_len)
            == 0)
        {
            status = conduit_jwt_check_signature(keys, t, alg, kid,
                                                 signature_len);

        } else {
            status = CONDUIT_JWT_MALFORMED;
        }
    }

    json_decref(header);

    if (status != CONDUIT_JWT_OK) {
        return status;
    }

    status = conduit_jwt_json(t, t->payload, t->payload_len, &payload);
    if (status != CONDUIT_JWT_OK) {
        return status;
    }

    status = conduit_jwt_check_claims(policy, payload, now, claims);

    if (status == CONDUIT_JWT_OK) {
        status = conduit_jwt_pass_claims(policy, payload);
    }

    json_decref(payload);

    return status;
}


static conduit_jwt_status_e
conduit_jwt_check_header(const conduit_jwt_keys_t *keys, json_t *header,
    conduit_jwt_alg_e *alg, json_t **kid)
{
    json_t  *name;

    name = json_object_get(header, "alg");

    /* "crit" lists extensions that must be understood (RFC 7515, 4.1.11), and
       none is supported */

    if (!json_is_string(name)
        || conduit_jwt_alg_parse(json_string_value(name),
                                 json_string_length(name), alg)
           != 0
        || !conduit_jwt_have(keys, *alg)
        || conduit_jwt_get(header, "crit") != NULL)
    {
        return CONDUIT_JWT_ALGORITHM;
    }

    *kid = conduit_jwt_get(header, "kid");

    if (*kid != NULL && !json_is_string(*kid)) {
        return CONDUIT_JWT_MALFORMED;
    }

    return CONDUIT_JWT_OK;
}


static int
conduit_jwt_have(const conduit_jwt_keys_t *keys, conduit_jwt_alg_e alg)
{
    const conduit_jwt_key_t  *key;

    for (key = keys->first; key != NULL; key = key->next) {
        if (key->alg == alg) {
            return 1;
        }
    }

    return 0;
}


static conduit_jwt_status_e
conduit_jwt_check_signature(const conduit_jwt_keys_t *keys,
    const conduit_jwt_token_t *t, conduit_jwt_alg_e alg, json_t *kid,
    size_t signature_len)
{
    int                    good;
    conduit_jwt_key_t     *key;
    conduit_jwt_status_e   status;

    status = CONDUIT_JWT_KEY;

    for (key = keys->first; key != NULL; key = key->next) {

        /* a token only selects keys; the algorithm is always that of the key */

        if (key->alg != alg) {
            continue;
        }

        if (kid != NULL && key->kid != NULL
            && !conduit_jwt_is(kid, key->kid, key->kid_len))
        {
            continue;
        }

        good = conduit_jwt_key_verify(key, t->header, t->signed_len, t->buf,
                                      signature_len);

        if (good != 0) {
            return good > 0 ? CONDUIT_JWT_OK : CONDUIT_JWT_NO_MEMORY;
        }

        status = CONDUIT_JWT_SIGNATURE;
    }

    return status;
}


/*
 * Decodes and parses the header or the payload, which must be a JSON object
 * without duplicate members.  On CONDUIT_JWT_OK, sets *object to a reference
 * that the caller must release.
 */

static conduit_jwt_status_e
conduit_jwt_json(const conduit_jwt_token_t *t, const char *part, size_t len,
    json_t **object)
{
    size_t                n;
    json_t               *json;
    json_error_t          error;
    conduit_buf_t         text;
    conduit_jwt_status_e  status;

    if (conduit_jwt_base64url(part, len, t->buf, &n) != 0) {
        return CONDUIT_JWT_MALFORMED;
    }

    memset(&text, 0, sizeof(text));
    json = NULL;
    status = CONDUIT_JWT_MALFORMED;

    if (conduit_jwt_json_rewrite((char *) t->buf, n, &text) == 0) {
        json = conduit_jansson_load(text.data, text.len, JSON_REJECT_DUPLICATES,
                                    &error);

        if (json == NULL && json_error_code(&error) == json_error_out_of_memory)
        {
            status = CONDUIT_JWT_NO_MEMORY;
        }

    } else if (text.failed) {
        status = CONDUIT_JWT_NO_MEMORY;
    }

    conduit_buf_free(&text);

    if (!json_is_object(json)) {
        json_decref(json);
        return status;
    }

    *object = json;

    return CONDUIT_JWT_OK;
}


const char *
conduit_jwt_status_name(conduit_jwt_status_e status)
{
    static const char *const  names[] = {
        "ok", "expired", "not yet valid", "malformed", "algorithm", "kid",
        "signature", "issuer", "audience", "claim", "out of memory"
    };

    return names[status];
}
