/* Copyright (C) Conduit for NGINX authors */

/*
 * Combinations of directives that contradict each other in a merged location,
 * which "nginx -t" refuses or warns of.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish_conf.h"


char *
ngx_conduit_publish_check_claim(ngx_conf_t *cf,
    ngx_conduit_publish_loc_conf_t *conf)
{
    if (conf->common.redis && conf->org_claim && !conf->common.auth) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"conduit_publish_org_claim on\" requires "
                      "\"conduit_publish_auth on\" for \"conduit_publish\" in "
                      "%s:%ui", conf->common.file, conf->common.line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


void
ngx_conduit_publish_check_size(ngx_conf_t *cf,
    ngx_conduit_publish_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->client_max_body_size == 0
        || (uint64_t) clcf->client_max_body_size >= conf->max_size)
    {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                  "\"client_max_body_size\" of %O bytes is less than "
                  "\"conduit_publish_max_size\" of %uz for \"conduit_publish\" "
                  "in %s:%ui: larger messages get NGINX's own 413 page; raise "
                  "the first or lower the second",
                  clcf->client_max_body_size, conf->max_size,
                  conf->common.file, conf->common.line);
}
