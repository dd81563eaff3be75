/*
 * Pages about a module: "conduit_X_status" and "conduit_X_health".
 */

#ifndef NGX_CONDUIT_STATUS_H
#define NGX_CONDUIT_STATUS_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_stats.h"

#pragma GCC visibility push(hidden)

typedef enum {
    NGX_CONDUIT_PAGE_NONE = 0,
    NGX_CONDUIT_PAGE_PROMETHEUS,
    NGX_CONDUIT_PAGE_JSON,
    NGX_CONDUIT_PAGE_LIVE,
    NGX_CONDUIT_PAGE_READY
} ngx_conduit_page_e;

/* what a module's pages are made of */
typedef struct {
    ngx_conduit_stats_t     *stats;
    const char              *prefix;     /* "conduit_publish_" */
    const conduit_metric_t  *table;
    ngx_msec_t               age;        /* of what shows that it is ready */
} ngx_conduit_pages_t;


/*
 * Reads the parameter of "conduit_X_status [prometheus | json]" or
 * "conduit_X_health live | ready" and makes handler the location's.  Returns
 * NGX_CONF_OK, an error text, or NGX_CONF_ERROR.
 */
char *ngx_conduit_status_enable(ngx_conf_t *cf, ngx_uint_t *page,
    ngx_http_handler_pt handler);
char *ngx_conduit_health_enable(ngx_conf_t *cf, ngx_uint_t *page,
    ngx_http_handler_pt handler);

/* Answers with the page.  Returns what the content handler returns. */
ngx_int_t ngx_conduit_status_send(ngx_http_request_t *r, ngx_uint_t page,
    ngx_conduit_pages_t *pages);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_STATUS_H */
