/* Copyright (C) Conduit for NGINX authors */

/*
 * Responses of "conduit_X_status" and "conduit_X_health".
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_conf.h"
#include "ngx_conduit_http.h"


#define NGX_CONDUIT_STATUS_LINKS  256


static char *ngx_conduit_status_enable(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_conduit_conf_t *conf, ngx_conduit_page_e first,
    const char * const *names, const char *form);
static void ngx_conduit_status_write(ngx_http_request_t *r, ngx_uint_t page,
    ngx_conduit_pages_t *pages, conduit_buf_t *b);
static ngx_uint_t ngx_conduit_health_write(ngx_uint_t page,
    ngx_conduit_pages_t *pages, conduit_buf_t *b);


char *
ngx_conduit_status_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_conf_t  *common = conf;

    static const char * const  names[] = { "prometheus", "json", NULL };
    static const char * const  more[] = {
        "prometheus", "json", "channels", NULL
    };

    if (common->pages->channels) {
        return ngx_conduit_status_enable(cf, cmd, conf,
                                         NGX_CONDUIT_PAGE_PROMETHEUS, more,
                                         "\"prometheus\", \"json\" or "
                                         "\"channels\"");
    }

    return ngx_conduit_status_enable(cf, cmd, conf,
                                     NGX_CONDUIT_PAGE_PROMETHEUS, names,
                                     "\"prometheus\" or \"json\"");
}


char *
ngx_conduit_health_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    static const char * const  names[] = { "live", "ready", NULL };

    return ngx_conduit_status_enable(cf, cmd, conf, NGX_CONDUIT_PAGE_LIVE,
                                     names, "\"live\" or \"ready\"");
}


static char *
ngx_conduit_status_enable(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_conduit_conf_t *conf, ngx_conduit_page_e first,
    const char * const *names, const char *form)
{
    char        *rv;
    ngx_str_t   *value;
    ngx_uint_t   i;

    /* ngx_conduit_conf_set_handler() refuses a page of another directive */

    if (conf->page && conf->directive == &cmd->name) {
        return "is duplicate";
    }

    value = cf->args->elts;
    i = 0;

    if (cf->args->nelts > 1) {

        while (names[i] && ngx_strcmp(value[1].data, names[i]) != 0) {
            i++;
        }

        if (names[i] == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", it must be %s",
                               &value[1], form);
            return NGX_CONF_ERROR;
        }
    }

    rv = ngx_conduit_conf_set_handler(cf, cmd, conf, conf->pages->handler);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    conf->page = first + i;

    if (conf->page == NGX_CONDUIT_PAGE_READY) {
        ngx_conduit_main_conf(cf, conf->pages)->watched = 1;
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_conduit_status_init(ngx_conf_t *cf, ngx_conduit_pages_t *pages)
{
    ngx_conduit_main_conf_t  *main_conf;

    main_conf = ngx_conduit_main_conf(cf, pages);

    if (!main_conf->used) {
        return NGX_OK;
    }

    main_conf->zone = ngx_conduit_stats_zone(cf, &pages->zone, pages->module);

    return main_conf->zone ? NGX_OK : NGX_ERROR;
}


void
ngx_conduit_status_log(ngx_cycle_t *cycle, ngx_conduit_pages_t *pages)
{
    ngx_conduit_main_conf_t  *main_conf;

    main_conf = ngx_http_cycle_get_module_main_conf(cycle, (*pages->module));

    if (main_conf == NULL || !main_conf->used || ngx_test_config) {
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                  "%s, built for nginx/%s with hiredis %s",
                  pages->build->name, pages->build->nginx,
                  pages->build->hiredis);
}


ngx_int_t
ngx_conduit_status_send(ngx_http_request_t *r, ngx_uint_t page,
    ngx_conduit_pages_t *pages)
{
    ngx_int_t      rc;
    ngx_uint_t     status;
    conduit_buf_t  b;

    /* content types of the pages, from NGX_CONDUIT_PAGE_PROMETHEUS on */
    static ngx_str_t  types[] = {
        ngx_string("text/plain; version=0.0.4; charset=utf-8"),
        ngx_string("application/json"),
        ngx_string("application/json"),
        ngx_string("application/json"),
        ngx_string("application/json")
    };

    if (ngx_conduit_http_cache_control(r, "no-store") != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {

        if (ngx_conduit_http_header(r, "Allow", "GET, HEAD") != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_memzero(&b, sizeof(conduit_buf_t));
    status = NGX_HTTP_OK;

    if (page == NGX_CONDUIT_PAGE_LIVE || page == NGX_CONDUIT_PAGE_READY) {
        status = ngx_conduit_health_write(page, pages, &b);

    } else if (page == NGX_CONDUIT_PAGE_CHANNELS) {
        pages->channels(r, &b);

    } else {
        ngx_conduit_status_write(r, page, pages, &b);
    }

    rc = NGX_HTTP_INTERNAL_SERVER_ERROR;

    if (!b.failed) {
        rc = ngx_conduit_http_content(r, status,
                                      &types[page - 1], b.data, b.len);
    }

    conduit_buf_free(&b);

    return rc;
}


static void
ngx_conduit_status_write(ngx_http_request_t *r, ngx_uint_t page,
    ngx_conduit_pages_t *pages, conduit_buf_t *b)
{
    size_t                     i, n;
    conduit_metrics_t          m;
    conduit_metrics_link_t    *links;
    ngx_conduit_main_conf_t   *main_conf;
    ngx_conduit_stats_link_t  *sums;
    uint64_t                   cells[NGX_CONDUIT_STATS_CELLS];
    uint64_t                   gauges[NGX_CONDUIT_STATS_GAUGES];

    sums = ngx_alloc(NGX_CONDUIT_STATUS_LINKS
                     * (sizeof(ngx_conduit_stats_link_t)
                        + sizeof(conduit_metrics_link_t)),
                     ngx_cycle->log);
    if (sums == NULL) {
        b->failed = 1;
        return;
    }

    links = (conduit_metrics_link_t *) (sums + NGX_CONDUIT_STATUS_LINKS);

    n = ngx_conduit_stats_sum(pages->stats, cells, gauges, sums,
                              NGX_CONDUIT_STATUS_LINKS);

    for (i = 0; i < n; i++) {
        links[i].node = sums[i].node;
        links[i].link = sums[i].role;
        links[i].open = sums[i].open;
        links[i].up = sums[i].up;
    }

    m.prefix = pages->prefix;
    m.table = pages->table;
    m.cells = cells;
    m.gauges = gauges;
    m.build = pages->build;

    /* Redis is not checked unless a location has "conduit_X_health ready" */

    main_conf = ngx_http_get_module_main_conf(r, (*pages->module));

    m.ready = main_conf->watched
              ? (int) ngx_conduit_stats_ready(pages->stats, pages->age) : -1;

    if (page == NGX_CONDUIT_PAGE_JSON) {
        conduit_metrics_json(&m, links, n, b);

    } else {
        conduit_metrics_prometheus(&m, links, n, b);
    }

    ngx_free(sums);
}


/* appends a response body and returns the HTTP status */

static ngx_uint_t
ngx_conduit_health_write(ngx_uint_t page, ngx_conduit_pages_t *pages,
    conduit_buf_t *b)
{
    u_char  *last;
    u_char   text[sizeof("{\"status\":\"ok\",\"uptime\":}") + NGX_TIME_T_LEN];

    if (page == NGX_CONDUIT_PAGE_LIVE) {
        last = ngx_sprintf(text, "{\"status\":\"ok\",\"uptime\":%T}",
                           ngx_conduit_stats_uptime(pages->stats));
        conduit_buf_append(b, text, last - text);

        return NGX_HTTP_OK;
    }

    if (ngx_conduit_stats_ready(pages->stats, pages->age)) {
        conduit_buf_lit(b, "{\"status\":\"ok\","
                           "\"dependencies\":{\"redis\":\"ok\"}}");
        return NGX_HTTP_OK;
    }

    conduit_buf_lit(b, "{\"status\":\"fail\","
                       "\"dependencies\":{\"redis\":\"fail\"}}");

    return NGX_HTTP_SERVICE_UNAVAILABLE;
}
