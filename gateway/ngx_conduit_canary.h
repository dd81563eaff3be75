/* Copyright (C) Conduit for NGINX authors */

/*
 * The canary: a test entry which shows that writing to a server, its doorbell,
 * and reading from it work.
 */

#ifndef NGX_CONDUIT_CANARY_H
#define NGX_CONDUIT_CANARY_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_hub.h"

#pragma GCC visibility push(hidden)

/*
 * Opens the hub and updates hub->ready from now on; on_ready() is called after
 * each update.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_canary_start(ngx_conduit_hub_t *hub,
    void (*on_ready)(void *data), void *data);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_CANARY_H */
