/* Copyright (C) Conduit for NGINX authors */

/*
 * The version of the modules; tools/check-docs checks that debian/changelog has
 * the same.
 */

#ifndef NGX_CONDUIT_VERSION_H
#define NGX_CONDUIT_VERSION_H

#pragma GCC visibility push(hidden)

#define NGX_CONDUIT_VERSION  "0.1.0"

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_VERSION_H */
