/* Copyright (C) Conduit for NGINX authors */

/*
 * Times, as values of ngx_current_msec, in fields where 0 means "none".
 */

#ifndef NGX_CONDUIT_TIME_H
#define NGX_CONDUIT_TIME_H

#include <ngx_config.h>
#include <ngx_core.h>

#pragma GCC visibility push(hidden)

/*
 * Returns msec, a value of ngx_current_msec, unless it is 0: then 1 ms earlier,
 * so that the result is neither 0 nor in the future.
 */
#define ngx_conduit_moment(msec)  ((msec) ? (msec) : (ngx_msec_t) -1)

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_TIME_H */
