/* Copyright (C) Conduit for NGINX authors */

/*
 * The publish module in a worker process.  A worker closes its publishers when
 * it exits.  With "conduit_publish_health ready" it starts to watch them when
 * it starts; otherwise the first request opens them.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish_worker.h"
#include "ngx_conduit_time.h"


static void ngx_conduit_publish_on_ready(void *data);
static void ngx_conduit_publish_refusal(conduit_redis_error_e kind);


ngx_int_t
ngx_conduit_publish_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                        i;
    ngx_conduit_publisher_t         **pubs;
    ngx_conduit_publish_main_conf_t  *pmcf;

    /* cache manager and cache loader processes call this, too */

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    pmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_conduit_publish_module);

    if (pmcf == NULL || !pmcf->common.used) {
        return NGX_OK;
    }

    ngx_conduit_stats_open(&ngx_conduit_publish_stats, pmcf->common.zone);

    pubs = pmcf->publishers.elts;

    for (i = 0; pmcf->common.watched && i < pmcf->publishers.nelts; i++) {
        pubs[i]->refusal = ngx_conduit_publish_refusal;

        if (ngx_conduit_publisher_watch(pubs[i], ngx_conduit_publish_on_ready,
                                        pmcf)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * Called when a Redis deployment has accepted a check.  The worker counts as
 * ready since the oldest of the last successful checks of all its deployments.
 */

static void
ngx_conduit_publish_on_ready(void *data)
{
    ngx_uint_t                        i;
    ngx_msec_t                        ready;
    ngx_conduit_publisher_t         **pubs;
    ngx_conduit_publish_main_conf_t  *pmcf = data;

    pubs = pmcf->publishers.elts;
    ready = ngx_conduit_moment(ngx_current_msec);

    for (i = 0; i < pmcf->publishers.nelts; i++) {

        if (pubs[i]->ready == 0) {
            return;
        }

        if ((ngx_msec_int_t) (pubs[i]->ready - ready) < 0) {
            ready = pubs[i]->ready;
        }
    }

    ngx_conduit_publish_stats.slot->ready = ready;
}


static void
ngx_conduit_publish_refusal(conduit_redis_error_e kind)
{
    ngx_conduit_stats_count(&ngx_conduit_publish_stats,
                            NGX_CONDUIT_PUBLISH_CHECKS + kind);
}


void
ngx_conduit_publish_exit_process(ngx_cycle_t *cycle)
{
    ngx_conduit_publish_main_conf_t  *pmcf;

    pmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_conduit_publish_module);

    if (pmcf != NULL && pmcf->common.used) {
        ngx_conduit_publish_close_publishers(pmcf);
        ngx_conduit_stats_close(&ngx_conduit_publish_stats);
    }
}


void
ngx_conduit_publish_close_publishers(void *data)
{
    ngx_uint_t                        i;
    ngx_conduit_publisher_t         **pubs;
    ngx_conduit_publish_main_conf_t  *pmcf = data;

    pubs = pmcf->publishers.elts;

    for (i = 0; i < pmcf->publishers.nelts; i++) {
        ngx_conduit_publisher_close(pubs[i]);
    }
}
