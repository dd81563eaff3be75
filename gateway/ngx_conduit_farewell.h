/*
 * The last words of a response.
 */

#ifndef NGX_CONDUIT_FAREWELL_H
#define NGX_CONDUIT_FAREWELL_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_buf.h"
#include "ngx_conduit_output.h"

#pragma GCC visibility push(hidden)

/* Writes them, as the reason calls for. */
void ngx_conduit_sub_farewell(ngx_conduit_sub_t *sub, ngx_conduit_close_e why,
    conduit_buf_t *b);

/*
 * Whether the client is sent server_draining when its response is ended and it
 * is to come back after so many ms: by drain_event, mostly whether its token
 * would be refused then.
 */
ngx_uint_t ngx_conduit_sub_told(ngx_conduit_sub_t *sub, ngx_msec_t retry);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_FAREWELL_H */
