/* Copyright (C) Conduit for NGINX authors */

/*
 * The page "conduit_gateway_status channels".
 */

#ifndef NGX_CONDUIT_GATEWAY_CHANNELS_H
#define NGX_CONDUIT_GATEWAY_CHANNELS_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_buf.h"

#pragma GCC visibility push(hidden)

/*
 * Writes the channels of this worker that have the most clients, as JSON.
 * Turns off keepalive for the connection, so that the next request may reach
 * another worker.  A failed allocation shows in b->failed.
 */
void ngx_conduit_gateway_channels(ngx_http_request_t *r, conduit_buf_t *b);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_CHANNELS_H */
