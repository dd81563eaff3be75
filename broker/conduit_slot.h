/* Copyright (C) Conduit for NGINX authors */

/*
 * Redis Cluster: computes the slot of a key, and parses the error replies that
 * redirect a client to another node.  Pure: no NGINX type, no allocation.
 */

#ifndef CONDUIT_SLOT_H
#define CONDUIT_SLOT_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define CONDUIT_SLOTS     16384
#define CONDUIT_HOST_MAX  255      /* of a node's name or address */

typedef enum {
    CONDUIT_REDIRECT_NONE = 0,
    CONDUIT_REDIRECT_MOVED,        /* the slot is now at that node */
    CONDUIT_REDIRECT_ASK           /* only this command, after ASKING */
} conduit_redirect_e;

typedef struct {
    conduit_redirect_e  kind;
    unsigned            slot;
    const char         *host;      /* points into the reply; no brackets; empty:
                                      the node that replied */
    size_t              host_len;
    uint16_t            port;
} conduit_redirect_t;


/*
 * Returns the slot of a key, 0 to 16383: CRC16 (XMODEM) of the key, or of the
 * text in its first pair of braces if that is not empty (Redis Cluster
 * specification, "Hash tags").
 */
unsigned conduit_slot(const char *key, size_t len);

/*
 * Reads the text of an error reply.  Fills *r and returns its kind, which is
 * CONDUIT_REDIRECT_NONE for any other error and for a malformed redirection.
 */
conduit_redirect_e conduit_redirect_parse(const char *text, size_t len,
    conduit_redirect_t *r);

#pragma GCC visibility pop

#endif /* CONDUIT_SLOT_H */
