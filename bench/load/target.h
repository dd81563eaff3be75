/* Copyright (C) Conduit for NGINX authors */

/*
 * A server to be measured, as a file describes it: lines of a key and a value.
 *
 *     publish_address  host:port
 *     events_address   host:port
 *     publish          method and path, e.g. POST /pub/{channel}
 *     publish_header   any number of them
 *     publish_body     the body
 *     events           method and path
 *     events_header    any number of them
 *     key              PEM file that signs {token}: RS256, for one channel
 *     issuer, audience claims of it
 *
 * In values: {channel} is the channel's UUID, {token} a client's token, and in
 * the body {proto} a serialized PublishRequest, {event} the event's JSON,
 * {event_string} that within a string of JSON, {event_form} that within a form.
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
    conduit_buf_t        publish;      /* line and header, each with its end */
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
