/* Copyright (C) Conduit for NGINX authors */

/*
 * Collects what a subscriber is sent next: the frames after its position, and
 * the control events that the format has between them.
 */

#ifndef NGX_CONDUIT_COLLECT_H
#define NGX_CONDUIT_COLLECT_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_output.h"

#pragma GCC visibility push(hidden)

/*
 * Makes a chain of the next frames, up to as many bytes as a subscriber may
 * have unsent, counted before gzip.  *first is NULL when there is no frame;
 * *end is set to 1 when the last frame ends the stream, else to 0.  Returns
 * NGX_OK when no frame is left; NGX_AGAIN when there may be more; NGX_DECLINED
 * when history was lost after these frames, and the response is to end because
 * the format can't tell the client; or NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_sub_collect(ngx_conduit_sub_t *sub,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last, ngx_uint_t *end);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_COLLECT_H */
