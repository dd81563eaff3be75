/* Copyright (C) Conduit for NGINX authors */

/*
 * The reasons of an outage: decides which are logged at error level, so that
 * each one is reported, and the log is not flooded.
 */

#ifndef NGX_CONDUIT_REASONS_H
#define NGX_CONDUIT_REASONS_H

#include <ngx_config.h>
#include <ngx_core.h>

#pragma GCC visibility push(hidden)

#define NGX_CONDUIT_REASONS  4

/* the reasons of an outage that were logged at error level */
typedef struct {
    ngx_uint_t    n;              /* set to 0 when the outage is over */
    uint32_t      hash[NGX_CONDUIT_REASONS];    /* of the text */
    ngx_msec_t    said[NGX_CONDUIT_REASONS];    /* when last logged */
} ngx_conduit_reasons_t;


/*
 * Returns 1 if the reason of an outage is to be logged at error level: it is
 * new, or was last logged a minute ago or earlier.  At most NGX_CONDUIT_REASONS
 * of them are logged in a minute.
 */
ngx_uint_t ngx_conduit_reasons_add(ngx_conduit_reasons_t *reasons,
    const char *why);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_REASONS_H */
