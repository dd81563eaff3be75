/* Copyright (C) Conduit for NGINX authors */

/*
 * A token: it is split into its parts, and its header, its signature and its
 * claims are checked, in this order.
 */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_jansson.h"
#include "conduit_jwt_private.h"


/* 2^53: below it, every whole number has a double of its own */
#define CONDUIT_JWT_WHOLE  9007199254740992.0


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
static conduit_jwt_status_t conduit_jwt_check(const conduit_jwt_keys_t *keys,
    const conduit_jwt_policy_t *policy, conduit_jwt_token_t *t, int64_t now,
    conduit_jwt_claims_t *claims);
static conduit_jwt_status_t conduit_jwt_check_header(
    const conduit_jwt_keys_t *keys, json_t *header, conduit_jwt_alg_t *alg,
    json_t **kid);
static int conduit_jwt_have(const conduit_jwt_keys_t *keys,
    conduit_jwt_alg_t alg);
static conduit_jwt_status_t conduit_jwt_check_signature(
    const conduit_jwt_keys_t *keys, const conduit_jwt_token_t *t,
    conduit_jwt_alg_t alg, json_t *kid, size_t signature_len);
static conduit_jwt_status_t conduit_jwt_check_claims(
    const conduit_jwt_policy_t *policy, json_t *payload, int64_t now,
    conduit_jwt_claims_t *claims);
static conduit_jwt_status_t conduit_jwt_check_ids(
    const conduit_jwt_policy_t *policy, json_t *payload,
    conduit_jwt_claims_t *claims);
static int conduit_jwt_expired(const conduit_jwt_claims_t *claims,
    int64_t now);
static int conduit_jwt_not_yet(const conduit_jwt_claims_t *claims,
    int64_t now);
static int conduit_jwt_lacks(const conduit_jwt_policy_t *policy,
    const conduit_jwt_claims_t *claims);
static conduit_jwt_status_t conduit_jwt_hand_on(
    const conduit_jwt_policy_t *policy, json_t *payload);
static int conduit_jwt_number(json_t *value, char *text, size_t size);
static json_t *conduit_jwt_get(json_t *object, const char *name);
static int conduit_jwt_time(json_t *value, int64_t *seconds);
static int conduit_jwt_audience(json_t *aud, const char *text, size_t len);
static conduit_jwt_status_t conduit_jwt_json(const conduit_jwt_token_t *t,
    const char *part, size_t len, json_t **object);


conduit_jwt_status_t
conduit_jwt_verify(const conduit_jwt_keys_t *keys,
    const conduit_jwt_policy_t *policy, const char *token, size_t len,
    int64_t now, conduit_jwt_claims_t *claims)
{
    conduit_jwt_token_t   t;
    conduit_jwt_status_t  status;

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


static conduit_jwt_status_t
conduit_jwt_check(const conduit_jwt_keys_t *keys,
    const conduit_jwt_policy_t *policy, conduit_jwt_token_t *t, int64_t now,
    conduit_jwt_claims_t *claims)
{
    json_t                *header, *payload, *kid;
    size_t                 signature_len;
    conduit_jwt_alg_t      alg;
    conduit_jwt_status_t   status;

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
        status = conduit_jwt_hand_on(policy, payload);
    }

    json_decref(payload);

    return status;
}


static conduit_jwt_status_t
conduit_jwt_check_header(const conduit_jwt_keys_t *keys, json_t *header,
    conduit_jwt_alg_t *alg, json_t **kid)
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
conduit_jwt_have(const conduit_jwt_keys_t *keys, conduit_jwt_alg_t alg)
{
    const conduit_jwt_key_t  *key;

    for (key = keys->first; key != NULL; key = key->next) {
        if (key->alg == alg) {
            return 1;
        }
    }

    return 0;
}


static conduit_jwt_status_t
conduit_jwt_check_signature(const conduit_jwt_keys_t *keys,
    const conduit_jwt_token_t *t, conduit_jwt_alg_t alg, json_t *kid,
    size_t signature_len)
{
    int                    good;
    conduit_jwt_key_t     *key;
    conduit_jwt_status_t   status;

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


static conduit_jwt_status_t
conduit_jwt_check_claims(const conduit_jwt_policy_t *policy, json_t *payload,
    int64_t now, conduit_jwt_claims_t *claims)
{
    json_t  *nbf;

    if (conduit_jwt_time(json_object_get(payload, "exp"), &claims->exp) != 0) {
        return CONDUIT_JWT_CLAIM;
    }

    if (conduit_jwt_expired(claims, now)) {
        return CONDUIT_JWT_EXPIRED;
    }

    nbf = conduit_jwt_get(payload, "nbf");

    if (nbf != NULL) {

        if (conduit_jwt_time(nbf, &claims->nbf) != 0) {
            return CONDUIT_JWT_CLAIM;
        }

        claims->has_nbf = 1;
    }

    if (conduit_jwt_not_yet(claims, now)) {
        return CONDUIT_JWT_NOT_YET;
    }

    if (policy->issuer != NULL
        && !conduit_jwt_is(json_object_get(payload, "iss"), policy->issuer,
                           policy->issuer_len))
    {
        return CONDUIT_JWT_ISSUER;
    }

    if (policy->audience != NULL
        && !conduit_jwt_audience(json_object_get(payload, "aud"),
                                 policy->audience, policy->audience_len))
    {
        return CONDUIT_JWT_AUDIENCE;
    }

    return conduit_jwt_check_ids(policy, payload, claims);
}


static conduit_jwt_status_t
conduit_jwt_check_ids(const conduit_jwt_policy_t *policy, json_t *payload,
    conduit_jwt_claims_t *claims)
{
    json_t  *org, *channel;

    if (policy->need_sub
        && !json_is_string(json_object_get(payload, "sub")))
    {
        return CONDUIT_JWT_CLAIM;
    }

    org = json_object_get(payload, "org_id");

    /* it has the bits of a uint64_t, see conduit_jwt_json_rewrite() */

    if (json_is_integer(org)) {
        claims->org_id = (uint64_t) json_integer_value(org);
        claims->has_org = 1;
    }

    channel = json_object_get(payload, "channel_id");

    if (json_is_string(channel)
        && conduit_uuid_parse(json_string_value(channel),
                              json_string_length(channel),
                              claims->channel_id)
           == 0)
    {
        claims->has_channel = 1;
    }

    return conduit_jwt_lacks(policy, claims) ? CONDUIT_JWT_CLAIM
                                             : CONDUIT_JWT_OK;
}


conduit_jwt_status_t
conduit_jwt_check_again(const conduit_jwt_policy_t *policy,
    const conduit_jwt_claims_t *claims, int64_t now)
{
    if (conduit_jwt_expired(claims, now)) {
        return CONDUIT_JWT_EXPIRED;
    }

    if (conduit_jwt_not_yet(claims, now)) {
        return CONDUIT_JWT_NOT_YET;
    }

    return conduit_jwt_lacks(policy, claims) ? CONDUIT_JWT_CLAIM
                                             : CONDUIT_JWT_OK;
}


static int
conduit_jwt_expired(const conduit_jwt_claims_t *claims, int64_t now)
{
    return claims->exp + CONDUIT_JWT_LEEWAY < now;
}


static int
conduit_jwt_not_yet(const conduit_jwt_claims_t *claims, int64_t now)
{
    return claims->has_nbf && claims->nbf - CONDUIT_JWT_LEEWAY > now;
}


static int
conduit_jwt_lacks(const conduit_jwt_policy_t *policy,
    const conduit_jwt_claims_t *claims)
{
    return (policy->need_org && !claims->has_org)
           || (policy->need_channel && !claims->has_channel);
}


static conduit_jwt_status_t
conduit_jwt_hand_on(const conduit_jwt_policy_t *policy, json_t *payload)
{
    int          n;
    char         number[sizeof("-18446744073709551615")];
    size_t       i, len;
    json_t      *value;
    const char  *text;

    for (i = 0; i < policy->nnames; i++) {

        value = json_object_get(payload, policy->names[i]);
        text = NULL;
        len = 0;

        if (json_is_string(value)) {
            text = json_string_value(value);
            len = json_string_length(value);

            /* U+0001: conduit_jwt_json_rewrite() has replaced a character */

            if (memchr(text, '\1', len) != NULL) {
                text = NULL;
                len = 0;
            }

        } else {
            n = conduit_jwt_number(value, number, sizeof(number));

            if (n > 0) {
                text = number;
                len = (size_t) n;
            }
        }

        if (policy->claim(policy->data, i, text, len) != 0) {
            return CONDUIT_JWT_NO_MEMORY;
        }
    }

    return CONDUIT_JWT_OK;
}


/*
 * Writes a whole number in decimal, in whatever form JSON has it ("4.2e1"), and
 * returns the length.  Returns 0 if it is not a whole number, or a double so
 * large that it may stand for another number.
 */

static int
conduit_jwt_number(json_t *value, char *text, size_t size)
{
    double  real;

    /* it has the bits of a uint64_t */

    if (json_is_integer(value)) {
        return snprintf(text, size, "%" PRIu64,
                        (uint64_t) json_integer_value(value));
    }

    if (!json_is_real(value)) {
        return 0;
    }

    real = json_real_value(value);

    if (!(fabs(real) < CONDUIT_JWT_WHOLE) || floor(real) != real) {
        return 0;
    }

    /* minus zero is written as "0" */

    return snprintf(text, size, "%.0f", real == 0 ? 0.0 : real);
}


/* returns an optional member; null counts as absent, as it does upstream */

static json_t *
conduit_jwt_get(json_t *object, const char *name)
{
    json_t  *value;

    value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}


/*
 * Reads a NumericDate (RFC 7519, 2): seconds, with or without a fraction.  A
 * later time is reduced to CONDUIT_JWT_TIME_MAX, so that sums do not overflow.
 */

static int
conduit_jwt_time(json_t *value, int64_t *seconds)
{
    double    real;
    uint64_t  whole;

    if (json_is_integer(value)) {

        whole = (uint64_t) json_integer_value(value);

    } else if (json_is_real(value)) {

        real = json_real_value(value);

        /* 2^63; also refuses a NaN */

        if (!(real >= 0 && real < 9223372036854775808.0)) {
            return -1;
        }

        whole = (uint64_t) real;

    } else {
        return -1;
    }

    *seconds = (whole < CONDUIT_JWT_TIME_MAX) ? (int64_t) whole
                                              : CONDUIT_JWT_TIME_MAX;

    return 0;
}


static int
conduit_jwt_audience(json_t *aud, const char *text, size_t len)
{
    size_t  i;

    if (!json_is_array(aud)) {
        return conduit_jwt_is(aud, text, len);
    }

    for (i = 0; i < json_array_size(aud); i++) {
        if (conduit_jwt_is(json_array_get(aud, i), text, len)) {
            return 1;
        }
    }

    return 0;
}


/*
 * Decodes and parses the header or the payload, which must be a JSON object
 * without duplicate members.  On CONDUIT_JWT_OK, sets *object to a reference
 * that the caller must release.
 */

static conduit_jwt_status_t
conduit_jwt_json(const conduit_jwt_token_t *t, const char *part, size_t len,
    json_t **object)
{
    size_t                n;
    json_t               *json;
    json_error_t          error;
    conduit_buf_t         text;
    conduit_jwt_status_t  status;

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
conduit_jwt_status_name(conduit_jwt_status_t status)
{
    static const char *const  names[] = {
        "ok", "expired", "not yet valid", "malformed", "algorithm", "kid",
        "signature", "issuer", "audience", "claim", "out of memory"
    };

    return names[status];
}
