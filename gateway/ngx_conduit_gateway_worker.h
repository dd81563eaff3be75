/* Copyright (C) Conduit for NGINX authors */

/*
 * The gateway in a worker.
 */

#ifndef NGX_CONDUIT_GATEWAY_WORKER_H
#define NGX_CONDUIT_GATEWAY_WORKER_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway.h"
#include "ngx_conduit_hub.h"
#include "ngx_conduit_status.h"

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_conduit_main_conf_t          common;
    ngx_array_t                      hubs;     /* ngx_conduit_hub_t * */

    /* an idle connection, which NGINX closes when the worker is to quit */
    ngx_connection_t                *watcher;
} ngx_conduit_gateway_main_conf_t;


/* Handlers of the module: a process starts, or exits.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_gateway_init_process(ngx_cycle_t *cycle);
void ngx_conduit_gateway_exit_process(ngx_cycle_t *cycle);

/* A cleanup handler of a main configuration: closes its hubs. */
void ngx_conduit_gateway_close_hubs(void *data);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_WORKER_H */
