/*
 * The publish module in a worker.
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


/* Of the module: a process starts, or quits.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_publish_init_process(ngx_cycle_t *cycle);
void ngx_conduit_publish_exit_process(ngx_cycle_t *cycle);

/* A cleanup of a main configuration: ends all that its publishers have open. */
void ngx_conduit_publish_close_publishers(void *data);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PUBLISH_WORKER_H */
