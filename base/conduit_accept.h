/* Copyright (C) Conduit for NGINX authors */

/*
 * Reads the header "Accept" (RFC 9110, 12.5.1).  Pure: no NGINX type, no
 * allocation.
 */

#ifndef CONDUIT_ACCEPT_H
#define CONDUIT_ACCEPT_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/*
 * Returns how much a header wants a media type that it names: its quality in
 * thousandths, 0 ("not acceptable") to 1000; or -1 if it does not name the
 * type.  Ranges such as "*" "/" "*" name no type.  Types are compared without
 * regard to case, and their parameters other than q are ignored.  If a type is
 * named more than once, its highest quality counts.  A quality that is no
 * number from 0 to 1 counts as none, which means 1000.
 */
int conduit_accept_quality(const char *value, size_t len, const char *type);

#pragma GCC visibility pop

#endif /* CONDUIT_ACCEPT_H */
