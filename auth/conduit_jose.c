/* Copyright (C) Conduit for NGINX authors */

/*
 * What tokens and keys have in common: the names of algorithms (RFC 7518 3.1),
 * base64url, and strings that are compared.
 */

#include <string.h>

#include "conduit_jwt_private.h"


static const struct {
    const char         *name;
    conduit_jwt_alg_e   alg;
} conduit_jwt_algs[] = {
    { "HS256", CONDUIT_JWT_HS256 },
    { "RS256", CONDUIT_JWT_RS256 },
    { "PS256", CONDUIT_JWT_PS256 },
    { "ES256", CONDUIT_JWT_ES256 },
    { "ES384", CONDUIT_JWT_ES384 },
    { "EdDSA", CONDUIT_JWT_EDDSA },

    /* the name that RFC 9864 gives to EdDSA with Ed25519 */
    { "Ed25519", CONDUIT_JWT_EDDSA },

    { NULL, CONDUIT_JWT_HS256 }
};


int
conduit_jwt_alg_parse(const char *name, size_t len, conduit_jwt_alg_e *alg)
{
    size_t  i;

    for (i = 0; conduit_jwt_algs[i].name != NULL; i++) {

        if (strlen(conduit_jwt_algs[i].name) == len
            && memcmp(conduit_jwt_algs[i].name, name, len) == 0)
        {
            *alg = conduit_jwt_algs[i].alg;
            return 0;
        }
    }

    return -1;
}


/*
 * Strict, so that each value has exactly one spelling: otherwise a token could
 * be altered without making its signature invalid.
 */

int
conduit_jwt_base64url(const char *in, size_t len, unsigned char *out,
    size_t *out_len)
{
    int       v;
    char      c;
    size_t    i;
    uint32_t  bits, nbits;

    bits = 0;
    nbits = 0;
    *out_len = 0;

    for (i = 0; i < len; i++) {

        c = in[i];

        if (c >= 'A' && c <= 'Z') {
            v = c - 'A';

        } else if (c >= 'a' && c <= 'z') {
            v = c - 'a' + 26;

        } else if (c >= '0' && c <= '9') {
            v = c - '0' + 52;

        } else if (c == '-') {
            v = 62;

        } else if (c == '_') {
            v = 63;

        } else {
            return -1;
        }

        bits = (bits << 6 | (uint32_t) v) & 0xfff;
        nbits += 6;

        if (nbits >= 8) {
            nbits -= 8;
            out[(*out_len)++] = (unsigned char) (bits >> nbits);
        }
    }

    return (nbits < 6 && (bits & ((1u << nbits) - 1)) == 0) ? 0 : -1;
}


int
conduit_jwt_is(json_t *value, const char *text, size_t len)
{
    return json_is_string(value) && json_string_length(value) == len
           && memcmp(json_string_value(value), text, len) == 0;
}


int
conduit_jwk_begins(const char *data, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (data[i] != ' ' && data[i] != '\t' && data[i] != '\r'
            && data[i] != '\n')
        {
            return data[i] == '{';
        }
    }

    return 0;
}


int
conduit_jwt_contains(const char *data, size_t len, const char *text)
{
    size_t  i, n;

    n = strlen(text);

    for (i = 0; i + n <= len; i++) {
        if (memcmp(data + i, text, n) == 0) {
            return 1;
        }
    }

    return 0;
}
