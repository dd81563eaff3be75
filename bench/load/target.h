/* Copyright (C) Conduit for NGINX authors */

/*
 * A server to be measured.  A file describes it, by lines of a key and a value:
 *
 *     publish_address  host:port
 *     events_address   host:port
 *     publish          method and path, e.g. POST /pub/{channel}
 *     publish_header   any number of them
 *     publish_body     the body
 *     events           method and path
 *     events_header    any number of them
 *     key              PEM file of the key that signs {token} (RS256)
 *     issuer, audience claims of {token}
 *
 * Values may contain {channel}, the channel's UUID, and {token}, a client's
 * token, which is for one channel.  The body may also contain {proto}, a
 * serialized PublishRequest; {event}, the JSON of an event; {event_string}, the
 * same, escaped for a JSON string; {event_form}, the same, escaped for a form.
 */

#ifndef TARGET_H
#define TARGET_H

#include <netinet/in.h>
#include <openssl/evp.h>

#include "conduit_buf.h"
#include "message.h"


typedef struct {
    struct sockaddr_in   publish_address;
    struct sockaddr_in   events_address;
    conduit_buf_t        publish;      /* request line and header lines, each
                                          with its line end */
    conduit_buf_t        events;
    char                *body;
    char                *issuer;       /* of {token}; NULL: "bench" */
    char                *audience;     /* NULL: "conduit" */
    EVP_PKEY            *key;
} target_t;


/* Returns 0, or -1 and prints why. */
int target_read(target_t *t, const char *file);

/* Appends the request that publishes a message. */
void target_publish(const target_t *t, const message_t *m, int close,
    conduit_buf_t *out);

/* Appends a client's request, without the empty line at its end. */
void target_events(const target_t *t, uint32_t channel, conduit_buf_t *out);

#endif /* TARGET_H */
