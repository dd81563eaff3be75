/* Copyright (C) Conduit for NGINX authors */

/*
 * Which stream a location sends, and who may read it.  Without directives, it
 * is the stream that the contract defines: that of an organization's channel,
 * for clients with a token for it.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_durable.h"
#include "ngx_conduit_gateway_stream.h"
#include "ngx_conduit_hub.h"


#define NGX_CONDUIT_GATEWAY_FIELD  "data"
#define NGX_CONDUIT_GATEWAY_END    "end"
#define NGX_CONDUIT_GATEWAY_TYPE   "application/json"


static ngx_int_t ngx_conduit_gateway_holds(ngx_http_request_t *r,
    ngx_http_complex_value_t *cv, ngx_str_t *value);
static ngx_uint_t ngx_conduit_gateway_has_claim(ngx_conduit_claims_t *claims,
    const char *name);
static char *ngx_conduit_gateway_check_key(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_given_t *given);
static char *ngx_conduit_gateway_check_format(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_given_t *given);
static char *ngx_conduit_gateway_conflict(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, const char *directive,
    const char *other);
static ngx_uint_t ngx_conduit_gateway_messages(
    ngx_conduit_gateway_loc_conf_t *glcf);


ngx_int_t
ngx_conduit_gateway_name(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_name_t *name,
    const char **err)
{
    ngx_http_complex_value_t  *cv;

    cv = glcf->common.key;

    if (cv == NULL) {
        name->label = NULL;

        *err = ngx_conduit_http_ids(r, &glcf->common, &name->ids);

        if (*err == NULL) {
            name->key.data = (u_char *) name->text;
            name->key.len = conduit_stream_key_write(name->ids.org,
                                                     name->ids.channel,
                                                     name->text);
        }

        return NGX_OK;
    }

    if (ngx_http_complex_value(r, cv, &name->key) != NGX_OK) {
        return NGX_ERROR;
    }

    name->label = &cv->value;

    *err = conduit_stream_key_check((char *) name->key.data, name->key.len);

    return NGX_OK;
}


ngx_int_t
ngx_conduit_gateway_required(ngx_http_request_t *r, ngx_conduit_conf_t *conf,
    ngx_conduit_verified_t *v)
{
    ngx_int_t                   rc;
    ngx_uint_t                  i;
    const char                **names;
    ngx_http_complex_value_t   *values;

    if (conf->claims == NULL) {
        return NGX_OK;
    }

    names = conf->claims->names.elts;
    values = conf->claims->values.elts;

    for (i = 0; i < conf->claims->names.nelts; i++) {

        rc = ngx_conduit_gateway_holds(r, &values[i], &v->values[i]);

        if (rc == NGX_DECLINED) {
            ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                          "conduit: client sent a token whose claim \"%s\" is "
                          "missing or does not match", names[i]);
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


/* whether a claim has the required value; an empty value, as that of a missing
   argument, never matches */

static ngx_int_t
ngx_conduit_gateway_holds(ngx_http_request_t *r, ngx_http_complex_value_t *cv,
    ngx_str_t *value)
{
    ngx_str_t  wanted;

    if (ngx_http_complex_value(r, cv, &wanted) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value->data == NULL || wanted.len == 0 || wanted.len != value->len
        || ngx_memcmp(wanted.data, value->data, wanted.len) != 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
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


/* a field with data but without length is "off" */

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


/* a type, a slash and a subtype, perhaps with parameters (RFC 9110, 8.3.1), and
   nothing that can't be in a header; the two are tokens, see 5.6.2 */

char *
ngx_conduit_gateway_durable_type_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    char        *rv;
    u_char      *slash, *end, *p;
    ngx_str_t   *type;
    ngx_uint_t   i;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    type = (ngx_str_t *) ((char *) conf + cmd->offset);
    end = ngx_strlchr(type->data, type->data + type->len, ';');

    if (end == NULL) {
        end = type->data + type->len;
    }

    while (end > type->data && end[-1] == ' ') {
        end--;
    }

    slash = ngx_strlchr(type->data, end, '/');

    for (p = type->data; p < end; p++) {
        if (p != slash && ngx_strchr(" \"(),/:<=>?@[\\]{}", *p)) {
            slash = NULL;
            break;
        }
    }

    for (i = 0; i < type->len; i++) {
        if (type->data[i] < 0x20 || type->data[i] > 0x7e) {
            break;
        }
    }

    if (i < type->len || slash == NULL || slash == type->data
        || slash == end - 1)
    {
        return ngx_conduit_invalid(cf, cmd, "media type", type,
                                   "as in \"application/json\"");
    }

    return NGX_CONF_OK;
}


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


void
ngx_conduit_gateway_waive(ngx_conduit_gateway_loc_conf_t *prev,
    ngx_conduit_gateway_loc_conf_t *conf)
{
    /* the "http" level has no outer level to be merged with */

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


void
ngx_conduit_gateway_merge_type(ngx_str_t *prev, ngx_str_t *conf)
{
    if (conf->data == NULL) {
        *conf = *prev;
    }

    if (conf->data == NULL) {
        ngx_str_set(conf, NGX_CONDUIT_GATEWAY_TYPE);
    }
}


void
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

    if (ngx_conduit_gateway_messages(glcf)) {

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


/* whether entries are messages: these say themselves when a stream ends */

static ngx_uint_t
ngx_conduit_gateway_messages(ngx_conduit_gateway_loc_conf_t *glcf)
{
    return glcf->settings.format == CONDUIT_FORMAT_CONDUIT
           || glcf->settings.format == CONDUIT_FORMAT_PAYLOAD;
}


void
ngx_conduit_gateway_effective(ngx_conduit_gateway_loc_conf_t *glcf,
    ngx_conduit_gateway_settings_t *settings, ngx_conduit_fields_t *fields)
{
    *settings = glcf->settings;
    *fields = glcf->fields;

    if (settings->format == CONDUIT_FORMAT_CONDUIT) {
        settings->max_value = 0;
    }

    if (ngx_conduit_gateway_messages(glcf)) {
        fields->end.len = 0;
    }

    /* a stream that is closed stays so */

    if (settings->format == CONDUIT_FORMAT_DURABLE) {
        settings->format += conduit_durable_mode(
                                          (char *) glcf->durable_type.data,
                                          glcf->durable_type.len);
        settings->after_end = NGX_CONDUIT_AFTER_END_STOP;
    }
}
