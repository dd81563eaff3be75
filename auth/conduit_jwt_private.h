/*
 * What the files of this room share: the inside of a key set, and JSON.
 */

#ifndef CONDUIT_JWT_PRIVATE_H
#define CONDUIT_JWT_PRIVATE_H

#include <openssl/evp.h>

#include "conduit_buf.h"
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
 * Verifies a signature over data with one key.  Returns 1 if it is good, 0 if
 * not, -1 when memory is out.  Leaves no error in OpenSSL's queue.
 */
int conduit_jwt_key_verify(const conduit_jwt_keys_t *keys,
    const conduit_jwt_key_t *key, const char *data, size_t len,
    const unsigned char *signature, size_t signature_len);

/*
 * Appends a JSON text to out with what jansson can't hold replaced, as
 * conduit_jwt_json.c says.  Of what jansson then reads, each integer is the
 * bits of a uint64_t.  Does not judge the form of the text: jansson refuses the
 * result if the text is no JSON.  Returns 0, or -1 when the text has a zero
 * byte or memory is out (out->failed).
 */
int conduit_jwt_json_rewrite(const char *text, size_t len,
    conduit_buf_t *out);

#pragma GCC visibility pop

#endif /* CONDUIT_JWT_PRIVATE_H */
