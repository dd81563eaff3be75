/* Copyright (C) Conduit for NGINX authors */

/*
 * Origins of web pages, as browsers write them (RFC 6454, 6.2; WHATWG HTML,
 * "serialization of an origin").  Pure: no NGINX type, no allocation.
 */

#ifndef CONDUIT_ORIGIN_H
#define CONDUIT_ORIGIN_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/*
 * Checks that a text is an origin as a browser sends it in "Origin": scheme,
 * host and port, in lower case, without a path, and without the default port of
 * the scheme.  An origin written otherwise would never match.  Returns NULL, or
 * a static text that says what is wrong.
 */
const char *conduit_origin_fault(const char *text, size_t len);

#pragma GCC visibility pop

#endif /* CONDUIT_ORIGIN_H */
