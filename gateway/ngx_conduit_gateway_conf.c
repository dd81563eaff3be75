/* Copyright (C) Conduit for NGINX authors */

/*
 * The configuration of a location: directives that NGINX's own functions do not
 * parse, the values of directives that are not set, and their defaults.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_durable.h"
#include "ngx_conduit_gateway_conf.h"
#include "ngx_conduit_gateway_worker.h"


#define NGX_CONDUIT_GATEWAY_FIELD  "data"
#define NGX_CONDUIT_GATEWAY_END    "end"
#define NGX_CONDUIT_GATEWAY_TYPE   "application/json"

/* ms: the greatest "conduit_gateway_coalesce" */
#define NGX_CONDUIT_GATEWAY_COALESCE  1000

#define NGX_CONDUIT_GATEWAY_WAKEUP_FORM                                       \
    "\"tracking\", \"poll\", or \"poll\" and a time, as in \"poll 100ms\""


static ngx_uint_t ngx_conduit_gateway_has_claim(ngx_conduit_claims_t *claims,
    const char *name);
static void ngx_conduit_gateway_waive(ngx_conduit_gateway_loc_conf_t *prev,
    ngx_conduit_gateway_loc_conf_t *conf);
static void ngx_conduit_gateway_merge_settings(
    ngx_conduit_gateway_settings_t *prev,
    ngx_conduit_gateway_settings_t *conf);
static void ngx_conduit_gateway_merge_type(ngx_str_t *prev, ngx_str_t *conf);
static void ngx_conduit_gateway_merge_fields(ngx_conduit_fields_t *prev,
    ngx_conduit_fields_t *conf);
static void ngx_conduit_gateway_effective(ngx_conduit_gateway_loc_conf_t *glcf,
    ngx_conduit_gateway_settings_t *settings, ngx_conduit_fields_t *fields);


void
ngx_conduit_gateway_conf_unset(ngx_conduit_gateway_loc_conf_t *glcf)
{
    ngx_conduit_gateway_settings_t  *s;

    s = &glcf->settings;

    s->poll = NGX_CONF_UNSET_MSEC;
    s->read_count = NGX_CONF_UNSET_UINT;
    s->window = NGX_CONF_UNSET_SIZE;
    s->buffer_size = NGX_CONF_UNSET_SIZE;
    s->retry = NGX_CONF_UNSET_MSEC;
    s->coalesce = NGX_CONF_UNSET_MSEC;
    s->keepalive = NGX_CONF_UNSET_MSEC;
    s->outage = NGX_CONF_UNSET_MSEC;
    s->drain = NGX_CONF_UNSET_MSEC;
    s->max_duration = NGX_CONF_UNSET_MSEC;
    s->after_end = NGX_CONF_UNSET_UINT;
    s->drain_event = NGX_CONF_UNSET_UINT;
    s->format = NGX_CONF_UNSET_UINT;
    s->max_value = NGX_CONF_UNSET_SIZE;

    glcf->expire = NGX_CONF_UNSET;
    glcf->gzip = NGX_CONF_UNSET;
    glcf->max_wait = NGX_CONF_UNSET_MSEC;
    glcf->start = NGX_CONF_UNSET_UINT;
    glcf->token = NGX_CONF_UNSET_PTR;
    glcf->resume_only = NGX_CONF_UNSET_PTR;
    glcf->waived = NGX_CONF_UNSET;
    glcf->origins = NGX_CONF_UNSET_PTR;
    glcf->credentials = NGX_CONF_UNSET;
    glcf->durable_wait = NGX_CONF_UNSET_MSEC;
}


void
ngx_conduit_gateway_conf_merge(ngx_conduit_gateway_loc_conf_t *prev,
    ngx_conduit_gateway_loc_conf_t *conf)
{
    ngx_conduit_gateway_waive(prev, conf);

    ngx_conf_merge_value(conf->expire, prev->expire, 0);
    ngx_conf_merge_value(conf->gzip, prev->gzip, 0);
    ngx_conf_merge_msec_value(conf->max_wait, prev->max_wait, 60000);
    ngx_conf_merge_uint_value(conf->start, prev->start, CONDUIT_START_OLDEST);
    ngx_conf_merge_ptr_value(conf->token, prev->token, NULL);
    ngx_conf_merge_ptr_value(conf->resume_only, prev->resume_only, NULL);

    ngx_conduit_gateway_merge_type(&prev->durable_type, &conf->durable_type);
    ngx_conf_merge_msec_value(conf->durable_wait, prev->durable_wait, 20000);

    ngx_conduit_gateway_merge_settings(&prev->settings, &conf->settings);
    ngx_conduit_gateway_merge_fields(&prev->fields, &conf->fields);
}


/*
 * Finds out, before the levels are merged, whether "conduit_gateway_auth off"
 * is set on a level inside the one that requires claims: there it cancels the
 * requirement.  On the same level, or an outer one, it contradicts it.
 */

static void
ngx_conduit_gateway_waive(ngx_conduit_gateway_loc_conf_t *prev,
    ngx_conduit_gateway_loc_conf_t *conf)
{
    /* prev is the "http" level, which was not merged with an outer one */

    if (prev->waived == NGX_CONF_UNSET) {
        prev->waived = prev->common.auth == 0
                       && prev->common.claims == NGX_CONF_UNSET_PTR;
    }

    if (conf->common.claims != NGX_CONF_UNSET_PTR) {
        conf->waived = 0;

    } else if (conf->common.auth == 0) {
        conf->waived = 1;

    } else {
        conf->waived = prev->waived;
    }
}


static void
ngx_conduit_gateway_merge_settings(ngx_conduit_gateway_settings_t *prev,
    ngx_conduit_gateway_settings_t *conf)
{
    ngx_conf_merge_msec_value(conf->poll, prev->poll, 0);
    ngx_conf_merge_uint_value(conf->read_count, prev->read_count, 100);
    ngx_conf_merge_size_value(conf->window, prev->window, 256 * 1024);
    ngx_conf_merge_size_value(conf->buffer_size, prev->buffer_size, 64 * 1024);
    ngx_conf_merge_msec_value(conf->retry, prev->retry, 500);
    ngx_conf_merge_msec_value(conf->coalesce, prev->coalesce, 0);
    ngx_conf_merge_msec_value(conf->keepalive, prev->keepalive, 15000);
    ngx_conf_merge_msec_value(conf->outage, prev->outage, 10000);
    ngx_conf_merge_msec_value(conf->drain, prev->drain, 5000);
    ngx_conf_merge_msec_value(conf->max_duration, prev->max_duration, 0);
    ngx_conf_merge_uint_value(conf->after_end, prev->after_end,
                              NGX_CONDUIT_AFTER_END_WAIT);
    ngx_conf_merge_uint_value(conf->drain_event, prev->drain_event,
                              NGX_CONDUIT_DRAIN_EVENT_AUTO);
    ngx_conf_merge_uint_value(conf->format, prev->format,
                              CONDUIT_FORMAT_CONDUIT);
    ngx_conf_merge_size_value(conf->max_value, prev->max_value, 1024 * 1024);
}


static void
ngx_conduit_gateway_merge_type(ngx_str_t *prev, ngx_str_t *conf)
{
    if (conf->data == NULL) {
        *conf = *prev;
    }

    if (conf->data == NULL) {
        ngx_str_set(conf, NGX_CONDUIT_GATEWAY_TYPE);
    }
}


static void
ngx_conduit_gateway_merge_fields(ngx_conduit_fields_t *prev,
    ngx_conduit_fields_t *conf)
{
    if (conf->data.data == NULL) {
        conf->data = prev->data;
    }

    if (conf->data.data == NULL) {
        ngx_str_set(&conf->data, NGX_CONDUIT_GATEWAY_FIELD);
    }

    if (conf->end.data == NULL) {
        conf->end = prev->end;
    }

    if (conf->end.data == NULL) {
        ngx_str_set(&conf->end, NGX_CONDUIT_GATEWAY_END);
    }
}


ngx_uint_t
ngx_conduit_gateway_has_messages(ngx_conduit_gateway_loc_conf_t *glcf)
{
    return glcf->settings.format == CONDUIT_FORMAT_CONDUIT
           || glcf->settings.format == CONDUIT_FORMAT_PAYLOAD;
}


char *
ngx_conduit_gateway_set_hub(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf)
{
    ngx_conduit_fields_t              fields;
    ngx_conduit_gateway_settings_t    settings;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    ngx_conduit_gateway_effective(glcf, &settings, &fields);

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_conduit_gateway_module);

    glcf->hub = ngx_conduit_hub_get(cf, &gmcf->hubs, glcf->common.redis,
                                    &settings, &fields);

    return glcf->hub ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* returns the settings and fields of a location without those that its format
   does not use */

static void
ngx_conduit_gateway_effective(ngx_conduit_gateway_loc_conf_t *glcf,
    ngx_conduit_gateway_settings_t *settings, ngx_conduit_fields_t *fields)
{
    *settings = glcf->settings;
    *fields = glcf->fields;

    if (settings->format == CONDUIT_FORMAT_CONDUIT) {
        settings->max_value = 0;
    }

    if (ngx_conduit_gateway_has_messages(glcf)) {
        fields->end.len = 0;
    }

    /* Durable Streams: nothing can follow the end of a stream */

    if (settings->format == CONDUIT_FORMAT_DURABLE) {
        settings->format += conduit_durable_mode(
                                          (char *) glcf->durable_type.data,
                                          glcf->durable_type.len);
        settings->after_end = NGX_CONDUIT_AFTER_END_STOP;
    }
}


char *
ngx_conduit_gateway_claim_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_gateway_loc_conf_t  *glcf = conf;

    ngx_str_t                          *value;
    const char                        **name;
    ngx_conduit_claims_t               *claims;
    ngx_http_complex_value_t           *cv;
    ngx_http_compile_complex_value_t    ccv;

    value = cf->args->elts;
    claims = glcf->common.claims;

    if (claims == NGX_CONF_UNSET_PTR) {

        claims = ngx_palloc(cf->pool, sizeof(ngx_conduit_claims_t));
        if (claims == NULL) {
            return NGX_CONF_ERROR;
        }

        if (ngx_array_init(&claims->names, cf->pool, 2, sizeof(char *))
            != NGX_OK
            || ngx_array_init(&claims->values, cf->pool, 2,
                              sizeof(ngx_http_complex_value_t))
               != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }

        glcf->common.claims = claims;
    }

    if (value[1].len == 0 || value[2].len == 0) {
        return "requires a name and a value that are not empty";
    }

    if (ngx_conduit_gateway_has_claim(claims, (char *) value[1].data)) {
        return "names a claim that another directive of this level names";
    }

    name = ngx_array_push(&claims->names);
    cv = ngx_array_push(&claims->values);

    if (name == NULL || cv == NULL) {
        return NGX_CONF_ERROR;
    }

    *name = (char *) value[1].data;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[2];
    ccv.complex_value = cv;

    return ngx_http_compile_complex_value(&ccv) == NGX_OK ? NGX_CONF_OK
                                                          : NGX_CONF_ERROR;
}


static ngx_uint_t
ngx_conduit_gateway_has_claim(ngx_conduit_claims_t *claims, const char *name)
{
    ngx_uint_t    i;
    const char  **names;

    names = claims->names.elts;

    for (i = 0; i < claims->names.nelts; i++) {
        if (ngx_strcmp(names[i], name) == 0) {
            return 1;
        }
    }

    return 0;
}


char *
ngx_conduit_gateway_field_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t  *value, *field;

    field = (ngx_str_t *) (p + cmd->offset);

    if (field->data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs a name";
    }

    *field = value[1];

    return NGX_CONF_OK;
}


/* a name, or "off", which is stored with data but a length of 0 */

char *
ngx_conduit_gateway_end_field_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    char       *rv;
    ngx_str_t  *field;

    rv = ngx_conduit_gateway_field_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    field = (ngx_str_t *) ((char *) conf + cmd->offset);

    if (ngx_strcmp(field->data, "off") == 0) {
        field->len = 0;
    }

    return NGX_CONF_OK;
}


char *
ngx_conduit_gateway_durable_type_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    char       *rv;
    ngx_str_t  *type;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    type = (ngx_str_t *) ((char *) conf + cmd->offset);

    if (!conduit_durable_type_valid((char *) type->data, type->len)) {
        return ngx_conduit_invalid(cf, cmd, "media type", type,
                                   "as in \"application/json\"");
    }

    return NGX_CONF_OK;
}


char *
ngx_conduit_gateway_resume_only_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    char                            *rv;
    ngx_str_t                       *value;
    ngx_conduit_gateway_loc_conf_t  *glcf = conf;

    rv = ngx_http_set_complex_value_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK || glcf->resume_only->lengths != NULL) {
        return rv;
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "on") != 0
        && ngx_strcmp(value[1].data, "off") != 0)
    {
        return "must be \"on\", \"off\" or a value with variables";
    }

    return NGX_CONF_OK;
}


/* "tracking", which sets settings.poll to 0; or "poll" with an optional time */

char *
ngx_conduit_gateway_wakeup_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_gateway_loc_conf_t  *glcf = conf;

    ngx_str_t   *value;
    ngx_msec_t  *poll;

    poll = &glcf->settings.poll;

    if (*poll != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "tracking") == 0 && cf->args->nelts == 2) {
        *poll = 0;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "poll") != 0) {
        return ngx_conduit_invalid(cf, cmd, "parameter",
                                   ngx_strcmp(value[1].data, "tracking") == 0
                                   ? &value[2] : &value[1],
                                   NGX_CONDUIT_GATEWAY_WAKEUP_FORM);
    }

    *poll = 100;

    if (cf->args->nelts == 3) {
        *poll = ngx_parse_time(&value[2], 0);

        if (*poll == (ngx_msec_t) NGX_ERROR || *poll == 0) {
            return ngx_conduit_invalid(cf, cmd, "time", &value[2],
                                       NGX_CONDUIT_GATEWAY_WAKEUP_FORM);
        }
    }

    return NGX_CONF_OK;
}


/* a time, or "off", which is stored as 0 */

char *
ngx_conduit_gateway_time_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t   *value;
    ngx_msec_t  *msec;

    msec = (ngx_msec_t *) (p + cmd->offset);
    value = cf->args->elts;

    if (*msec == NGX_CONF_UNSET_MSEC && ngx_strcmp(value[1].data, "off") == 0)
    {
        *msec = 0;
        return NGX_CONF_OK;
    }

    return ngx_conduit_named(cf, cmd, ngx_conf_set_msec_slot(cf, cmd, conf),
                             "time", NGX_CONDUIT_TIME_FORM ", or \"off\"");
}


/* a time up to NGX_CONDUIT_GATEWAY_COALESCE, or "off", which is stored as 0 */

char *
ngx_conduit_gateway_coalesce_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    char  *p = conf;

    char        *rv;
    ngx_str_t   *value;
    ngx_msec_t  *msec;

    msec = (ngx_msec_t *) (p + cmd->offset);
    value = cf->args->elts;

    if (*msec == NGX_CONF_UNSET_MSEC && ngx_strcmp(value[1].data, "off") == 0)
    {
        *msec = 0;
        return NGX_CONF_OK;
    }

    rv = ngx_conf_set_msec_slot(cf, cmd, conf);

    if (rv == NGX_CONF_OK && *msec > NGX_CONDUIT_GATEWAY_COALESCE) {
        rv = "invalid value";
    }

    return ngx_conduit_named(cf, cmd, rv, "time",
                             "a time from \"1ms\" to \"1s\", or \"off\"");
}
