/*
 * Pages about a module: "conduit_X_status" and "conduit_X_health".
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

/* of the library that is linked in, as its headers say */
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

/* the first member of both modules' main configurations */
typedef struct {
    ngx_shm_zone_t          *zone;       /* of the counters; NULL: not in use */
    ngx_conduit_conf_t      *locations;  /* of the module, linked by "next" */
    ngx_conduit_cache_t     *caches;     /* of tokens, likewise */
    unsigned                 used:1;     /* some location is of the module */
    unsigned                 watched:1;  /* and one tells whether Redis works */
} ngx_conduit_main_conf_t;

/* what a module's pages are made of */
typedef struct {
    ngx_module_t            *module;
    ngx_str_t                zone;       /* its name */
    ngx_conduit_stats_t     *stats;
    const char              *prefix;     /* "conduit_publish_" */
    const conduit_metric_t  *table;
    ngx_msec_t               age;        /* of what shows that it is ready */
    ngx_http_handler_pt      handler;    /* of locations with a page */
    const conduit_metrics_build_t  *build;

    /* writes the page "channels"; NULL: the module has none */
    void                   (*channels)(ngx_http_request_t *r,
                                       conduit_buf_t *b);
} ngx_conduit_pages_t;

/* what pages->build points to, of "publish" or "gateway"; "strings" finds the
   name in the .so */
#define NGX_CONDUIT_BUILD(module)                                             \
    { "conduit_" module "/" NGX_CONDUIT_VERSION, module, NGX_CONDUIT_VERSION, \
      NGINX_VERSION, NGX_CONDUIT_HIREDIS }


/* "conduit_X_status [prometheus | json | channels]" */
char *ngx_conduit_status_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* "conduit_X_health live | ready" */
char *ngx_conduit_health_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* The module's main configuration, while one is read. */
ngx_conduit_main_conf_t *ngx_conduit_status_main_conf(ngx_conf_t *cf,
    ngx_conduit_pages_t *pages);

/* Adds the memory of a module that is used.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_status_init(ngx_conf_t *cf, ngx_conduit_pages_t *pages);

/*
 * Logs the versions of a module that is used, as NGINX logs its own: for
 * init_module, which is called at the start and with each new configuration.
 */
void ngx_conduit_status_log(ngx_cycle_t *cycle, ngx_conduit_pages_t *pages);

/* Answers with the page.  Returns what the content handler returns. */
ngx_int_t ngx_conduit_status_send(ngx_http_request_t *r, ngx_uint_t page,
    ngx_conduit_pages_t *pages);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_STATUS_H */
