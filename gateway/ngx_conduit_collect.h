/* Copyright (C) Conduit for NGINX authors */

/*
 * What a subscriber is sent next: the frames after its position, and what the
 * format tells between them.
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
 * have unsent, counted before gzip; *first is NULL when there is none.  *end:
 * the last frame ends the stream.  NGX_OK: that is all; NGX_AGAIN: there may be
 * more; NGX_DECLINED: history was lost after these, and the response is to end
 * there, as the format can't tell; or NGX_ERROR.
 */
ngx_int_t ngx_conduit_sub_collect(ngx_conduit_sub_t *sub,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last, ngx_uint_t *end);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_COLLECT_H */
