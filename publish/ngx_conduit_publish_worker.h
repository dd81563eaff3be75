/* Copyright (C) Conduit for NGINX authors */

/*
 * The publish module in a worker process.
 */

#ifndef NGX_CONDUIT_PUBLISH_WORKER_H
#define NGX_CONDUIT_PUBLISH_WORKER_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish.h"
#include "ngx_conduit_status.h"

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_conduit_main_conf_t   common;
    ngx_array_t               publishers;   /* ngx_conduit_publisher_t * */
} ngx_conduit_publish_main_conf_t;


/* The handlers init_process and exit_process of the module. */
ngx_int_t ngx_conduit_publish_init_process(ngx_cycle_t *cycle);
void ngx_conduit_publish_exit_process(ngx_cycle_t *cycle);

/*
 * A pool cleanup handler that closes all publishers; data is an
 * ngx_conduit_publish_main_conf_t.
 */
void ngx_conduit_publish_close_publishers(void *data);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PUBLISH_WORKER_H */
