/* Copyright (C) Conduit for NGINX authors */

/*
 * Writes DER (X.690).  OpenSSL accepts ECDSA signatures in no other form; and
 * for public keys DER works in all of its versions, whose functions that make a
 * key from numbers differ.
 */

#include <string.h>

#include "conduit_jwt_private.h"


#define CONDUIT_JWT_DER_INTEGER     0x02
#define CONDUIT_JWT_DER_BIT_STRING  0x03
#define CONDUIT_JWT_DER_SEQUENCE    0x30


/* an unsigned big-endian number without leading zeros */
typedef struct {
    const unsigned char  *data;
    size_t                len;
    size_t                pad;      /* 1: a zero byte keeps it positive */
} conduit_jwt_der_number_t;


static conduit_jwt_der_number_t conduit_jwt_der_number(
    const unsigned char *data, size_t len);
static size_t conduit_jwt_der_size(size_t content);
static size_t conduit_jwt_der_integer_size(conduit_jwt_der_number_t number);
static unsigned char *conduit_jwt_der_head(unsigned char *p, unsigned char tag,
    size_t content);
static unsigned char *conduit_jwt_der_integer(unsigned char *p,
    conduit_jwt_der_number_t number);
static unsigned char *conduit_jwt_der_copy(unsigned char *p,
    const unsigned char *data, size_t len);


/* SEQUENCE { OBJECT rsaEncryption, NULL } */
static const unsigned char  conduit_jwt_der_rsa_type[] = {
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
    0x01, 0x05, 0x00
};

/* everything before x; the last byte says that x and y follow (uncompressed) */
static const unsigned char  conduit_jwt_der_p256[] = {
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03,
    0x42, 0x00, 0x04
};

static const unsigned char  conduit_jwt_der_p384[] = {
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04
};

static const unsigned char  conduit_jwt_der_ed25519_type[] = {
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00
};


size_t
conduit_jwt_coordinate(conduit_jwt_alg_e alg)
{
    switch (alg) {

    case CONDUIT_JWT_ES256:
        return 32;

    case CONDUIT_JWT_ES384:
        return 48;

    default:
        return 0;
    }
}


size_t
conduit_jwt_der_ecdsa(const unsigned char *signature, size_t n,
    unsigned char *der)
{
    size_t                     content;
    unsigned char             *p;
    conduit_jwt_der_number_t   r, s;

    r = conduit_jwt_der_number(signature, n);
    s = conduit_jwt_der_number(signature + n, n);

    if (r.len == 0 || s.len == 0) {
        return 0;
    }

    content = conduit_jwt_der_integer_size(r) + conduit_jwt_der_integer_size(s);

    p = conduit_jwt_der_head(der, CONDUIT_JWT_DER_SEQUENCE, content);
    p = conduit_jwt_der_integer(p, r);
    p = conduit_jwt_der_integer(p, s);

    return (size_t) (p - der);
}


size_t
conduit_jwt_der_rsa(const unsigned char *n, size_t n_len,
    const unsigned char *e, size_t e_len, unsigned char *der)
{
    size_t                     numbers, key;
    unsigned char             *p;
    conduit_jwt_der_number_t   modulus, exponent;

    modulus = conduit_jwt_der_number(n, n_len);
    exponent = conduit_jwt_der_number(e, e_len);

    numbers = conduit_jwt_der_integer_size(modulus)
              + conduit_jwt_der_integer_size(exponent);

    /* a BIT STRING begins with the number of its unused bits, here 0 */

    key = 1 + conduit_jwt_der_size(numbers);

    p = conduit_jwt_der_head(der, CONDUIT_JWT_DER_SEQUENCE,
                             sizeof(conduit_jwt_der_rsa_type)
                             + conduit_jwt_der_size(key));
    p = conduit_jwt_der_copy(p, conduit_jwt_der_rsa_type,
                             sizeof(conduit_jwt_der_rsa_type));
    p = conduit_jwt_der_head(p, CONDUIT_JWT_DER_BIT_STRING, key);
    *p++ = 0;
    p = conduit_jwt_der_head(p, CONDUIT_JWT_DER_SEQUENCE, numbers);
    p = conduit_jwt_der_integer(p, modulus);
    p = conduit_jwt_der_integer(p, exponent);

    return (size_t) (p - der);
}


size_t
conduit_jwt_der_ec(conduit_jwt_alg_e alg, const unsigned char *x,
    const unsigned char *y, unsigned char *der)
{
    size_t          n;
    unsigned char  *p;

    n = conduit_jwt_coordinate(alg);

    if (alg == CONDUIT_JWT_ES256) {
        p = conduit_jwt_der_copy(der, conduit_jwt_der_p256,
                                 sizeof(conduit_jwt_der_p256));

    } else {
        p = conduit_jwt_der_copy(der, conduit_jwt_der_p384,
                                 sizeof(conduit_jwt_der_p384));
    }

    p = conduit_jwt_der_copy(p, x, n);
    p = conduit_jwt_der_copy(p, y, n);

    return (size_t) (p - der);
}


size_t
conduit_jwt_der_ed25519(const unsigned char *x, unsigned char *der)
{
    unsigned char  *p;

    p = conduit_jwt_der_copy(der, conduit_jwt_der_ed25519_type,
                             sizeof(conduit_jwt_der_ed25519_type));
    p = conduit_jwt_der_copy(p, x, 32);

    return (size_t) (p - der);
}


static conduit_jwt_der_number_t
conduit_jwt_der_number(const unsigned char *data, size_t len)
{
    conduit_jwt_der_number_t  number;

    while (len && *data == 0) {
        data++;
        len--;
    }

    number.data = data;
    number.len = len;

    /* the highest bit is the sign; the number zero is one zero byte */

    number.pad = (len == 0 || (*data & 0x80)) ? 1 : 0;

    return number;
}


/* returns the size of a value with tag and length; content is 65535 at most */

static size_t
conduit_jwt_der_size(size_t content)
{
    return content + (content < 0x80 ? 2 : content < 0x100 ? 3 : 4);
}


static size_t
conduit_jwt_der_integer_size(conduit_jwt_der_number_t number)
{
    return conduit_jwt_der_size(number.pad + number.len);
}


static unsigned char *
conduit_jwt_der_head(unsigned char *p, unsigned char tag, size_t content)
{
    *p++ = tag;

    if (content >= 0x100) {
        *p++ = 0x82;
        *p++ = (unsigned char) (content >> 8);

    } else if (content >= 0x80) {
        *p++ = 0x81;
    }

    *p++ = (unsigned char) (content & 0xff);

    return p;
}


static unsigned char *
conduit_jwt_der_integer(unsigned char *p, conduit_jwt_der_number_t number)
{
    p = conduit_jwt_der_head(p, CONDUIT_JWT_DER_INTEGER,
                             number.pad + number.len);

    if (number.pad) {
        *p++ = 0;
    }

    return conduit_jwt_der_copy(p, number.data, number.len);
}


static unsigned char *
conduit_jwt_der_copy(unsigned char *p, const unsigned char *data, size_t len)
{
    memcpy(p, data, len);

    return p + len;
}
