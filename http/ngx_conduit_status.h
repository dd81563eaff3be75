/* Copyright (C) Conduit for NGINX authors */

/*
 * Pages about a module: "conduit_X_status" (metrics) and "conduit_X_health"
 * (whether NGINX runs, and whether Redis works), where X is "publish" or
 * "gateway".
 */

#ifndef NGX_CONDUIT_STATUS_H
#define NGX_CONDUIT_STATUS_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <hiredis/hiredis.h>

#include "ngx_conduit_stats.h"
#include "ngx_conduit_version.h"

#pragma GCC visibility push(hidden)

#define ngx_conduit_text(number)   ngx_conduit_text_(number)
#define ngx_conduit_text_(number)  #number

/* version of hiredis, by the headers that the module was compiled with */
#define NGX_CONDUIT_HIREDIS                                                   \
    ngx_conduit_text(HIREDIS_MAJOR) "." ngx_conduit_text(HIREDIS_MINOR) "."   \
    ngx_conduit_text(HIREDIS_PATCH)

typedef enum {
    NGX_CONDUIT_PAGE_NONE = 0,
    NGX_CONDUIT_PAGE_PROMETHEUS,
    NGX_CONDUIT_PAGE_JSON,
    NGX_CONDUIT_PAGE_CHANNELS,
    NGX_CONDUIT_PAGE_LIVE,
    NGX_CONDUIT_PAGE_READY
} ngx_conduit_page_e;

typedef struct ngx_conduit_conf_s   ngx_conduit_conf_t;
typedef struct ngx_conduit_cache_s  ngx_conduit_cache_t;

/* must be the first member of a module's main configuration */
typedef struct {
    ngx_shm_zone_t          *zone;       /* counters; NULL if not used */
    ngx_conduit_conf_t      *locations;  /* that use the module, linked by
                                            "next" */
    ngx_conduit_cache_t     *caches;     /* of tokens, linked by "next" */
    unsigned                 used:1;     /* some location uses the module */
    unsigned                 watched:1;  /* some location has "conduit_X_health
                                            ready": workers check Redis */
} ngx_conduit_main_conf_t;

/* what the pages of a module show; static, one in each module */
typedef struct {
    ngx_module_t            *module;
    ngx_str_t                zone;       /* name of the shared memory zone */
    ngx_conduit_stats_t     *stats;
    const char              *prefix;     /* "conduit_publish_" */
    const conduit_metric_t  *table;      /* of the metrics */
    ngx_msec_t               age;        /* "ready": Redis must have been found
                                            to work within that time */
    ngx_http_handler_pt      handler;    /* content handler of the pages */
    const conduit_metrics_build_t  *build;

    /* appends the page "channels"; NULL if the module has no such page */
    void                   (*channels)(ngx_http_request_t *r,
                                       conduit_buf_t *b);
} ngx_conduit_pages_t;

/* initializer of pages->build, module being "publish" or "gateway"; the first
   text lets strings(1) find the version in the .so */
#define NGX_CONDUIT_BUILD(module)                                             \
    { "conduit_" module "/" NGX_CONDUIT_VERSION, module, NGX_CONDUIT_VERSION, \
      NGINX_VERSION, NGX_CONDUIT_HIREDIS }


/* "conduit_X_status [prometheus | json | channels]" */
char *ngx_conduit_status_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* "conduit_X_health live | ready" */
char *ngx_conduit_health_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* While a configuration is read: the main one of the module with the pages. */
#define ngx_conduit_main_conf(cf, pages)                                      \
    ((ngx_conduit_main_conf_t *)                                              \
     ngx_http_conf_get_module_main_conf(cf, (*(pages)->module)))

/*
 * Postconfiguration: adds the shared memory zone of the counters if the module
 * is used.  Returns NGX_OK; or NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_status_init(ngx_conf_t *cf, ngx_conduit_pages_t *pages);

/*
 * Logs the versions of a module that is used, at level "notice" as NGINX does.
 * To be called from init_module: at the start and at each reload.
 */
void ngx_conduit_status_log(ngx_cycle_t *cycle, ngx_conduit_pages_t *pages);

/* Sends the page.  Returns what a content handler must return. */
ngx_int_t ngx_conduit_status_send(ngx_http_request_t *r, ngx_uint_t page,
    ngx_conduit_pages_t *pages);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_STATUS_H */
