/* Copyright (C) Conduit for NGINX authors */

/*
 * The configuration of a location: directives that NGINX's own functions do not
 * parse, the values of directives that are not set, and their defaults.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish_conf.h"


/* ms: the longest time to live that a directive accepts, ten years */
#define NGX_CONDUIT_PUBLISH_TTL_MAX                                           \
    ((int64_t) 3650 * 24 * 3600 * 1000)


void
ngx_conduit_publish_conf_unset(ngx_conduit_publish_loc_conf_t *plcf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     plcf->rate_window = 0;
     *     plcf->publisher = NULL;
     *     plcf->limited = NULL;
     */

    plcf->org_claim = NGX_CONF_UNSET;
    plcf->max_size = NGX_CONF_UNSET_SIZE;
    plcf->rate = NGX_CONF_UNSET_UINT;
    plcf->max_len = NGX_CONF_UNSET_UINT;
    plcf->batch = NGX_CONF_UNSET_UINT;
    plcf->idempotency = NGX_CONF_UNSET_MSEC;
    plcf->idle_ttl = NGX_CONF_UNSET_MSEC;
    plcf->end_ttl = NGX_CONF_UNSET_MSEC;
}


void
ngx_conduit_publish_conf_merge(ngx_conduit_publish_loc_conf_t *prev,
    ngx_conduit_publish_loc_conf_t *conf)
{
    ngx_conf_merge_value(conf->org_claim, prev->org_claim, 0);
    ngx_conf_merge_size_value(conf->max_size, prev->max_size, 16384);
    ngx_conf_merge_uint_value(conf->max_len, prev->max_len, 1200);
    ngx_conf_merge_uint_value(conf->batch, prev->batch, 100);
    ngx_conf_merge_msec_value(conf->idempotency, prev->idempotency, 0);
    ngx_conf_merge_msec_value(conf->idle_ttl, prev->idle_ttl, 120000);
    ngx_conf_merge_msec_value(conf->end_ttl, prev->end_ttl, 120000);

    if (conf->rate == NGX_CONF_UNSET_UINT) {
        conf->rate = (prev->rate == NGX_CONF_UNSET_UINT) ? 20 : prev->rate;
        conf->rate_window = prev->rate_window ? prev->rate_window : 1000;
    }
}


/* a rate as in "20r/s" or "100r/m", or "off" */

char *
ngx_conduit_publish_rate_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_publish_loc_conf_t  *plcf = conf;

    char       *unit;
    size_t      len;
    ngx_int_t   rate;
    ngx_str_t  *value;

    if (plcf->rate != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;
    len = value[1].len;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        plcf->rate = 0;
        plcf->rate_window = 1000;
        return NGX_CONF_OK;
    }

    if (len <= sizeof("r/s") - 1) {
        goto invalid;
    }

    len -= sizeof("r/s") - 1;
    unit = (char *) value[1].data + len;

    if (ngx_strcmp(unit, "r/s") == 0) {
        plcf->rate_window = 1000;

    } else if (ngx_strcmp(unit, "r/m") == 0) {
        plcf->rate_window = 60000;

    } else {
        goto invalid;
    }

    rate = ngx_atoi(value[1].data, len);

    if (rate == NGX_ERROR || rate == 0) {
        goto invalid;
    }

    plcf->rate = rate;

    return NGX_CONF_OK;

invalid:

    return ngx_conduit_invalid(cf, cmd, "rate", &value[1],
                               "a number with \"r/s\" or \"r/m\", as in "
                               "\"20r/s\", or \"off\"");
}


/* a time, or "off", which is stored as 0 */

char *
ngx_conduit_publish_idempotency_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_conduit_publish_loc_conf_t  *plcf = conf;

    ngx_int_t   time;
    ngx_str_t  *value;

    if (plcf->idempotency != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        plcf->idempotency = 0;
        return NGX_CONF_OK;
    }

    time = ngx_parse_time(&value[1], 0);

    if (time == NGX_ERROR) {
        return ngx_conduit_invalid(cf, cmd, "time", &value[1],
                                   NGX_CONDUIT_TIME_FORM ", or \"off\"");
    }

    plcf->idempotency = time;

    return ngx_conduit_publish_check_ttl(cf, NULL, &plcf->idempotency);
}


/* Redis refuses an expiry so large that adding it to its clock overflows */

char *
ngx_conduit_publish_check_ttl(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *ttl = data;

    if (*ttl == 0) {
        return "must not be zero";
    }

    if ((int64_t) *ttl > NGX_CONDUIT_PUBLISH_TTL_MAX) {
        return "must not be more than 3650d";
    }

    return NGX_CONF_OK;
}
