/* Copyright (C) Conduit for NGINX authors */

/*
 * The last bytes of a response that ends before its stream.
 */

#ifndef NGX_CONDUIT_FAREWELL_H
#define NGX_CONDUIT_FAREWELL_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_buf.h"
#include "ngx_conduit_output.h"

#pragma GCC visibility push(hidden)

/* Writes the last bytes of a response, by the reason for its end. */
void ngx_conduit_sub_farewell(ngx_conduit_sub_t *sub, ngx_conduit_close_e why,
    conduit_buf_t *b);

/*
 * Whether the client is to be sent server_draining when its response ends and
 * it is to reconnect after retry ms.  drain_event decides; by default, whether
 * the client's token would be refused then.
 */
ngx_uint_t ngx_conduit_sub_tells_drain(ngx_conduit_sub_t *sub,
    ngx_msec_t retry);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_FAREWELL_H */
