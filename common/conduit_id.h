/*
 * The identifiers of the contract: organization, channel (a UUID) and Redis
 * stream entry ID.  Pure: no NGINX type, no allocation.
 */

#ifndef CONDUIT_ID_H
#define CONDUIT_ID_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define CONDUIT_ORG_MAX        20    /* digits of a uint64_t */
#define CONDUIT_UUID_LEN       36    /* hyphenated text form, RFC 9562 4 */
#define CONDUIT_STREAM_ID_MAX  41    /* 20 digits, '-', 20 digits */
/* bytes of any other stream's key */
#define CONDUIT_STREAM_KEY_MAX  1024

#define CONDUIT_KEY_MAX  (sizeof("stream:") - 1 + CONDUIT_ORG_MAX + 1         \
                          + CONDUIT_UUID_LEN)

/* a Redis stream entry ID; 0-0 stands for "before the oldest entry" */
typedef struct {
    uint64_t  ms;
    uint64_t  seq;
} conduit_stream_id_t;


/*
 * Reads an unsigned decimal number that fits a uint64_t: 1 to 20 digits and
 * nothing else.  Returns 0, or -1 and leaves *org as it was.
 */
int conduit_org_parse(const char *s, size_t len, uint64_t *org);

/*
 * Reads a UUID in any case, hyphenated, as 32 hexadecimal digits, in braces
 * ("{...}") or as a URN ("urn:uuid:..."), the last two with hyphens: the forms
 * that upstream takes, Uuid::parse_str() of Rust.  Writes it hyphenated and in
 * lower case to out (36 bytes, no terminating zero), which is not s.  Returns
 * 0, or -1 and leaves out undefined.
 */
int conduit_uuid_parse(const char *s, size_t len, char *out);

/*
 * Reads "ms" or "ms-seq", each 1 to 20 digits that fit a uint64_t.  A missing
 * seq is 0, as in Redis' XREAD.  Nothing else that Redis would take ("$", "+",
 * "-") is an ID here.  Returns 0, or -1 and leaves *id as it was.
 */
int conduit_stream_id_parse(const char *s, size_t len, conduit_stream_id_t *id);

/*
 * Writes "ms-seq" to buf (CONDUIT_STREAM_ID_MAX bytes at least, no terminating
 * zero).  Returns the number of bytes written.
 */
size_t conduit_stream_id_write(const conduit_stream_id_t *id, char *buf);

/* Makes an ID the one just before it; 0-0 stays. */
void conduit_stream_id_before(conduit_stream_id_t *id);

/* Returns a negative number, 0 or a positive number, as memcmp() does. */
int conduit_stream_id_cmp(const conduit_stream_id_t *a,
    const conduit_stream_id_t *b);

/*
 * Writes the Redis key of a channel, "stream:{org}:{channel}" with the braces
 * replaced, to buf (CONDUIT_KEY_MAX bytes at least, no terminating zero);
 * channel is CONDUIT_UUID_LEN bytes of a lower-case UUID.  Returns its length.
 */
size_t conduit_stream_key_write(uint64_t org, const char *channel, char *buf);

/*
 * Writes a number in decimal digits, CONDUIT_ORG_MAX at most, without a zero
 * byte.  Returns their number.
 */
size_t conduit_decimal_write(uint64_t value, char *buf);

/*
 * Checks a key of another stream, whatever made it: 1 to
 * CONDUIT_STREAM_KEY_MAX bytes without ASCII control characters.  Returns NULL,
 * or a static text that says what is wrong, for a reply.
 */
const char *conduit_stream_key_check(const char *key, size_t len);

#pragma GCC visibility pop

#endif /* CONDUIT_ID_H */
