/* Copyright (C) Conduit for NGINX authors */

/*
 * Checks UTF-8 (RFC 3629), character by character.  Pure: no NGINX type.
 */

#ifndef CONDUIT_UTF8_H
#define CONDUIT_UTF8_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/*
 * Checks the character at p, where len bytes are available, at least 1.  If it
 * is valid, sets *good to 1 and returns its length, 1 to 4.  Otherwise sets
 * *good to 0 and returns the number of bytes that a decoder replaces with one
 * U+FFFD (WHATWG Encoding, 8.1.1; "maximal subpart" in Unicode, 3.9): the
 * beginning of a character that is not completed, or one byte that can't begin
 * a character.
 */
size_t conduit_utf8_char(const uint8_t *p, size_t len, int *good);

#pragma GCC visibility pop

#endif /* CONDUIT_UTF8_H */
