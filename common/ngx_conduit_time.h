/*
 * Moments, of which 0 means none.
 */

#ifndef NGX_CONDUIT_TIME_H
#define NGX_CONDUIT_TIME_H

#include <ngx_config.h>
#include <ngx_core.h>

#pragma GCC visibility push(hidden)

/* Makes a moment of ngx_current_msec, never 0, and never in the future. */
#define ngx_conduit_moment(msec)  ((msec) ? (msec) : (ngx_msec_t) -1)

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_TIME_H */
