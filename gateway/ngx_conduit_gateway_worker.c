/* Copyright (C) Conduit for NGINX authors */

/*
 * The gateway in a worker: opens when the worker starts, is drained when the
 * worker is told to quit, and closes when it exits.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include <sys/eventfd.h>

#include "ngx_conduit_canary.h"
#include "ngx_conduit_deflated.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_gateway_worker.h"
#include "ngx_conduit_time.h"


static ngx_int_t ngx_conduit_gateway_start_canaries(
    ngx_conduit_gateway_main_conf_t *gmcf);
static void ngx_conduit_gateway_on_ready(void *data);
static void ngx_conduit_gateway_watcher_handler(ngx_event_t *ev);


ngx_int_t
ngx_conduit_gateway_init_process(ngx_cycle_t *cycle)
{
    ngx_fd_t                          fd;
    ngx_connection_t                 *c;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    /* the cache manager and loader processes call this, too */

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    gmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_conduit_gateway_module);

    if (gmcf == NULL || !gmcf->common.used) {
        return NGX_OK;
    }

    ngx_conduit_stats_open(&ngx_conduit_gateway_stats, gmcf->common.zone);

    if (ngx_conduit_gateway_start_canaries(gmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

    c = (fd == -1) ? NULL : ngx_get_connection(fd, cycle->log);

    if (c == NULL) {

        /* the worker serves requests nevertheless, but will end all its
           responses at once when it quits */

        ngx_log_error(NGX_LOG_ERR, cycle->log, ngx_errno,
                      "conduit: could not watch for worker exit, clients will "
                      "not be drained");

        if (fd != -1) {
            (void) close(fd);
        }

        return NGX_OK;
    }

    c->data = gmcf;
    c->log = cycle->log;
    c->idle = 1;
    c->read->log = cycle->log;
    c->read->handler = ngx_conduit_gateway_watcher_handler;
    c->write->log = cycle->log;

    gmcf->watcher = c;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_gateway_start_canaries(ngx_conduit_gateway_main_conf_t *gmcf)
{
    ngx_uint_t           i;
    ngx_conduit_hub_t  **hubs;

    hubs = gmcf->hubs.elts;

    for (i = 0; gmcf->common.watched && i < gmcf->hubs.nelts; i++) {
        if (ngx_conduit_canary_start(hubs[i], ngx_conduit_gateway_on_ready,
                                     gmcf)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* sets when the worker was last known to be ready: the oldest of the times of
   its deployments */

static void
ngx_conduit_gateway_on_ready(void *data)
{
    ngx_uint_t                        i;
    ngx_msec_t                        ready;
    ngx_conduit_hub_t               **hubs;
    ngx_conduit_gateway_main_conf_t  *gmcf = data;

    hubs = gmcf->hubs.elts;
    ready = ngx_conduit_moment(ngx_current_msec);

    for (i = 0; i < gmcf->hubs.nelts; i++) {

        if (hubs[i]->sick) {
            ready = 0;
            break;
        }

        if (hubs[i]->ready == 0) {
            return;
        }

        if ((ngx_msec_int_t) (hubs[i]->ready - ready) < 0) {
            ready = hubs[i]->ready;
        }
    }

    ngx_conduit_gateway_stats.slot->ready = ready;
}


/* called when the worker is to quit: NGINX then closes idle connections by
   calling their read handlers */

static void
ngx_conduit_gateway_watcher_handler(ngx_event_t *ev)
{
    ngx_uint_t                        i;
    ngx_connection_t                 *c;
    ngx_conduit_hub_t               **hubs;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    c = ev->data;
    gmcf = c->data;

    gmcf->watcher = NULL;
    ngx_close_connection(c);

    ngx_conduit_gateway_stats.slot->leaving = 1;

    hubs = gmcf->hubs.elts;

    for (i = 0; i < gmcf->hubs.nelts; i++) {
        ngx_conduit_hub_drain(hubs[i]);
    }
}


void
ngx_conduit_gateway_close_hubs(void *data)
{
    ngx_uint_t                        i;
    ngx_conduit_hub_t               **hubs;
    ngx_conduit_gateway_main_conf_t  *gmcf = data;

    if (gmcf->watcher != NULL) {
        ngx_close_connection(gmcf->watcher);
        gmcf->watcher = NULL;
    }

    hubs = gmcf->hubs.elts;

    for (i = 0; i < gmcf->hubs.nelts; i++) {
        ngx_conduit_hub_end(hubs[i]);
    }

    for (i = 0; i < gmcf->hubs.nelts; i++) {
        ngx_conduit_hub_close(hubs[i]);
    }
}


void
ngx_conduit_gateway_exit_process(ngx_cycle_t *cycle)
{
    ngx_conduit_gateway_main_conf_t  *gmcf;

    gmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_conduit_gateway_module);

    if (gmcf != NULL && gmcf->common.used) {
        ngx_conduit_gateway_close_hubs(gmcf);
        ngx_conduit_deflated_close();
        ngx_conduit_stats_close(&ngx_conduit_gateway_stats);
    }
}
