/* Copyright (C) Conduit for NGINX authors */

/*
 * The claims of a token whose signature is good: checks them, and passes on
 * those that the caller wants.
 */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "conduit_jwt_private.h"


/* 2^53: below it, every whole number has a double of its own */
#define CONDUIT_JWT_WHOLE  9007199254740992.0


static conduit_jwt_status_e conduit_jwt_check_ids(
    const conduit_jwt_policy_t *policy, json_t *payload,
    conduit_jwt_claims_t *claims);
static int conduit_jwt_expired(const conduit_jwt_claims_t *claims,
    int64_t now);
static int conduit_jwt_not_yet(const conduit_jwt_claims_t *claims,
    int64_t now);
static int conduit_jwt_lacks(const conduit_jwt_policy_t *policy,
    const conduit_jwt_claims_t *claims);
static int conduit_jwt_number(json_t *value, char *text, size_t size);
static int conduit_jwt_time(json_t *value, int64_t *seconds);
static int conduit_jwt_audience(json_t *aud, const char *text, size_t len);


conduit_jwt_status_e
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


static conduit_jwt_status_e
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


conduit_jwt_status_e
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


conduit_jwt_status_e
conduit_jwt_pass_claims(const conduit_jwt_policy_t *policy, json_t *payload)
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


json_t *
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
