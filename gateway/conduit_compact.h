/* Copyright (C) Conduit for NGINX authors */

/*
 * Writes JSON (RFC 8259) of any origin on one line.  The text is checked and
 * copied, never parsed into values: numbers of any size, the order of members
 * and repeated members stay as they are.  Pure: no NGINX type.
 */

#ifndef CONDUIT_COMPACT_H
#define CONDUIT_COMPACT_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_buf.h"

#pragma GCC visibility push(hidden)

/*
 * how deep objects and arrays may be nested: a deeper text is refused, as
 * clients' parsers may fail on it
 */
#define CONDUIT_COMPACT_DEPTH  512


/*
 * Appends a text without the whitespace between its tokens, so that it has no
 * line end.  Returns 0, or -1 when the text is no JSON, is not UTF-8, or is
 * nested too deeply: then nothing is appended.  A failed allocation shows in
 * b->failed.
 */
int conduit_compact(const uint8_t *text, size_t len, conduit_buf_t *b);

#pragma GCC visibility pop

#endif /* CONDUIT_COMPACT_H */
