/*
 * UTF-8 (RFC 3629), character by character.  Pure: no NGINX type.
 */

#ifndef CONDUIT_UTF8_H
#define CONDUIT_UTF8_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/*
 * Looks at the character at p, of which len bytes, 1 at least, are there.
 * Returns its length, 1 to 4, with *good set; or with *good not set the number
 * of bytes that a decoder replaces by one U+FFFD (WHATWG Encoding, 8.1.1, the
 * "maximal subpart" of Unicode 3.9): those that begin a character and are not
 * continued, or one byte that begins none.
 */
size_t conduit_utf8_char(const uint8_t *p, size_t len, int *good);

#pragma GCC visibility pop

#endif /* CONDUIT_UTF8_H */
