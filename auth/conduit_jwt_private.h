/*
 * The inside of a key set, shared by its two files.
 */

#ifndef CONDUIT_JWT_PRIVATE_H
#define CONDUIT_JWT_PRIVATE_H

#include <openssl/evp.h>

#include "conduit_jwt.h"

#pragma GCC visibility push(hidden)

typedef struct conduit_jwt_key_s  conduit_jwt_key_t;

struct conduit_jwt_key_s {
    conduit_jwt_key_t  *next;
    EVP_PKEY           *pkey;       /* RS256 */
    unsigned char      *secret;     /* HS256 */
    size_t              secret_len;
    char               *kid;        /* NULL: none */
    size_t              kid_len;
};

struct conduit_jwt_keys_s {
    conduit_jwt_alg_t   alg;
    conduit_jwt_key_t  *first;      /* in the order they were added */
};


/*
 * Verifies a signature over data with one key.  Returns 1 if it is good, 0
 * otherwise.  Leaves no error in OpenSSL's queue.
 */
int conduit_jwt_key_verify(const conduit_jwt_keys_t *keys,
    const conduit_jwt_key_t *key, const char *data, size_t len,
    const unsigned char *signature, size_t signature_len);

#pragma GCC visibility pop

#endif /* CONDUIT_JWT_PRIVATE_H */
