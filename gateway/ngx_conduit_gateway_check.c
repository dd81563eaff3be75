/* Copyright (C) Conduit for NGINX authors */

/*
 * Combinations of directives that contradict each other in a merged location,
 * which "nginx -t" refuses or warns of.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_conf.h"
#include "ngx_conduit_gateway_worker.h"


static char *ngx_conduit_gateway_check_key(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_given_t *given);
static char *ngx_conduit_gateway_check_format(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_given_t *given);
static char *ngx_conduit_gateway_conflict(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, const char *directive,
    const char *other);


void
ngx_conduit_gateway_given(ngx_conduit_gateway_loc_conf_t *glcf,
    ngx_conduit_gateway_given_t *given)
{
    given->ids = glcf->common.org_id != NGX_CONF_UNSET_PTR
                 || glcf->common.channel_id != NGX_CONF_UNSET_PTR;
    given->end_field = glcf->fields.end.data != NULL;
    given->max_size = glcf->settings.max_value != NGX_CONF_UNSET_SIZE;
    given->after_end = glcf->settings.after_end != NGX_CONF_UNSET_UINT;
    given->durable_type = glcf->durable_type.data != NULL;
    given->durable_wait = glcf->durable_wait != NGX_CONF_UNSET_MSEC;
}


char *
ngx_conduit_gateway_check_stream(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_given_t *given)
{
    if (ngx_conduit_gateway_check_key(cf, glcf, given) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_conduit_gateway_check_format(cf, glcf, given);
}


static char *
ngx_conduit_gateway_check_key(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_given_t *given)
{
    const char          *err;
    ngx_conduit_conf_t  *conf;

    conf = &glcf->common;

    if (conf->claims != NULL && !conf->auth && !glcf->waived) {
        return ngx_conduit_gateway_conflict(cf, glcf,
                                            "conduit_gateway_require_claim",
                                            "conduit_gateway_auth off");
    }

    if (conf->key == NULL) {
        return NGX_CONF_OK;
    }

    if (given->ids) {
        return ngx_conduit_gateway_conflict(cf, glcf, "conduit_gateway_org_id\""
                                            " or \"conduit_gateway_channel_id",
                                            "conduit_gateway_key");
    }

    if (conf->auth && conf->claims == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"conduit_gateway_key\" of \"conduit_gateway\" in "
                      "%s:%ui does not limit who may read the stream: set "
                      "\"conduit_gateway_require_claim\", or "
                      "\"conduit_gateway_auth off\" if the location is "
                      "protected by other means", conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (conf->key->lengths != NULL) {
        return NGX_CONF_OK;
    }

    err = conduit_stream_key_check((char *) conf->key->value.data,
                                   conf->key->value.len);

    if (err != NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"conduit_gateway_key\" of \"conduit_gateway\" in "
                      "%s:%ui must have 1 to %d bytes and no control "
                      "characters", conf->file, conf->line,
                      CONDUIT_STREAM_KEY_MAX);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_conduit_gateway_check_format(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_given_t *given)
{
    ngx_str_t  *data, *end;

    data = &glcf->fields.data;
    end = &glcf->fields.end;

    if (given->max_size && glcf->settings.format == CONDUIT_FORMAT_CONDUIT) {
        return ngx_conduit_gateway_conflict(cf, glcf,
                                            "conduit_gateway_max_size",
                                            "conduit_gateway_format conduit");
    }

    if (glcf->settings.format != CONDUIT_FORMAT_DURABLE
        && (given->durable_type || given->durable_wait))
    {
        return ngx_conduit_gateway_conflict(cf, glcf, given->durable_type
                                            ? "conduit_gateway_durable_type"
                                            : "conduit_gateway_durable_wait",
                                            "conduit_gateway_format\" other "
                                            "than \"durable");
    }

    if (ngx_conduit_gateway_has_messages(glcf)) {

        if (given->end_field) {
            return ngx_conduit_gateway_conflict(cf, glcf,
                                                "conduit_gateway_end_field",
                                                "conduit_gateway_format "
                                                "conduit\" or \"payload");
        }

        return NGX_CONF_OK;
    }

    if (end->len == 0
        && glcf->settings.after_end == NGX_CONDUIT_AFTER_END_STOP
        && (given->end_field || given->after_end))
    {
        return ngx_conduit_gateway_conflict(cf, glcf,
                                            "conduit_gateway_after_end stop",
                                            "conduit_gateway_end_field off");
    }

    if (data->len == end->len
        && ngx_memcmp(data->data, end->data, end->len) == 0)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"conduit_gateway_field\" and "
                      "\"conduit_gateway_end_field\" are both \"%V\" for "
                      "\"conduit_gateway\" in %s:%ui: each entry would end its "
                      "stream", data, glcf->common.file, glcf->common.line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_conduit_gateway_conflict(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, const char *directive,
    const char *other)
{
    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "\"%s\" is incompatible with \"%s\", in the location of "
                  "\"conduit_gateway\" in %s:%ui", directive, other,
                  glcf->common.file, glcf->common.line);

    return NGX_CONF_ERROR;
}


/*
 * Warns of a "worker_shutdown_timeout" that is too short.  The directive may be
 * below the http block, so its value is known only when the whole configuration
 * was read.  The warning goes to the log of the old cycle, as all messages
 * about the configuration do; the level of the new log might suppress it.
 */

void
ngx_conduit_gateway_check_drain(ngx_cycle_t *cycle)
{
    ngx_core_conf_t                  *ccf;
    ngx_conduit_conf_t               *conf;
    ngx_conduit_gateway_loc_conf_t   *glcf;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);
    gmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_conduit_gateway_module);

    if (gmcf == NULL || ccf->shutdown_timeout == 0) {
        return;
    }

    for (conf = gmcf->common.locations; conf != NULL; conf = conf->next) {

        glcf = (ngx_conduit_gateway_loc_conf_t *) conf;

        if (conf->redis == NULL || conf->clcf->noname
            || glcf->settings.drain <= ccf->shutdown_timeout)
        {
            continue;
        }

        ngx_log_error(NGX_LOG_WARN, cycle->old_cycle->log, 0,
                      "\"worker_shutdown_timeout\" of %Mms is less than "
                      "\"conduit_gateway_drain\" of %Mms for "
                      "\"conduit_gateway\" in %s:%ui: clients would be "
                      "disconnected before they are drained; raise the first "
                      "or lower the second",
                      ccf->shutdown_timeout, glcf->settings.drain, conf->file,
                      conf->line);
    }
}
