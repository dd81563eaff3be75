/* Copyright (C) Conduit for NGINX authors */

/*
 * Identifiers: organization (a 64-bit number), channel (a UUID), Redis stream
 * entry ID, and the Redis keys of streams.  Pure: no NGINX type, no allocation.
 */

#ifndef CONDUIT_ID_H
#define CONDUIT_ID_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define CONDUIT_ORG_MAX        20    /* digits of a uint64_t */
#define CONDUIT_UUID_LEN       36    /* hyphenated text form, RFC 9562, 4 */
#define CONDUIT_STREAM_ID_MAX  41    /* 20 digits, '-', 20 digits */
/* bytes of a key that conduit_stream_key_check() accepts */
#define CONDUIT_STREAM_KEY_MAX  1024

/* bytes of a key that conduit_stream_key_write() writes */
#define CONDUIT_KEY_MAX  (sizeof("stream:") - 1 + CONDUIT_ORG_MAX + 1         \
                          + CONDUIT_UUID_LEN)

/* a Redis stream entry ID; 0-0 stands for "before the oldest entry" */
typedef struct {
    uint64_t  ms;
    uint64_t  seq;
} conduit_stream_id_t;


/*
 * Reads an unsigned decimal number that fits into a uint64_t: 1 to 20 digits
 * and nothing else.  Returns 0; or -1, with *org unchanged.
 */
int conduit_org_parse(const char *s, size_t len, uint64_t *org);

/*
 * Reads a UUID (RFC 9562), in upper or lower case, in one of the forms that
 * upstream's parser accepts (Uuid::parse_str() of the Rust crate "uuid"):
 * hyphenated, 32 hexadecimal digits, hyphenated in braces ("{...}"), or a URN
 * ("urn:uuid:...").  Writes it hyphenated and in lower case to out
 * (CONDUIT_UUID_LEN bytes, no terminating zero), which must not overlap s.
 * Returns 0; or -1, with out undefined.
 */
int conduit_uuid_parse(const char *s, size_t len, char *out);

/*
 * Reads "ms" or "ms-seq", each 1 to 20 digits that fit into a uint64_t.  A
 * missing seq is 0, as in XREAD.  The special IDs of Redis commands ("$", "+",
 * "-") are refused.  Returns 0; or -1, with *id unchanged.
 */
int conduit_stream_id_parse(const char *s, size_t len, conduit_stream_id_t *id);

/*
 * Writes "ms-seq" to buf (at least CONDUIT_STREAM_ID_MAX bytes), without a
 * terminating zero.  Returns the number of bytes written.
 */
size_t conduit_stream_id_write(const conduit_stream_id_t *id, char *buf);

/* Changes an ID to the greatest one below it; 0-0 remains unchanged. */
void conduit_stream_id_before(conduit_stream_id_t *id);

/* Returns a negative number, 0 or a positive number, as memcmp() does. */
int conduit_stream_id_cmp(const conduit_stream_id_t *a,
    const conduit_stream_id_t *b);

/*
 * Writes the Redis key of a channel's stream, "stream:<org>:<channel>", to buf
 * (at least CONDUIT_KEY_MAX bytes), without a terminating zero; channel is a
 * lower-case UUID of CONDUIT_UUID_LEN bytes.  Returns the length of the key.
 */
size_t conduit_stream_key_write(uint64_t org, const char *channel, char *buf);

/*
 * Writes a number in decimal to buf (at least CONDUIT_ORG_MAX bytes), without a
 * terminating zero.  Returns the number of digits.
 */
size_t conduit_decimal_write(uint64_t value, char *buf);

/*
 * Checks the key of a stream that "conduit_gateway_key" names: it must have 1
 * to CONDUIT_STREAM_KEY_MAX bytes and no ASCII control characters.  Returns
 * NULL, or a static text that says what is wrong, for a response.
 */
const char *conduit_stream_key_check(const char *key, size_t len);

#pragma GCC visibility pop

#endif /* CONDUIT_ID_H */
