/* Copyright (C) Conduit for NGINX authors */

/*
 * Which stream a location sends, and who may read it.  Without directives, it
 * is the stream that the contract defines: that of an organization's channel,
 * for clients with a token for it.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_stream.h"


static ngx_int_t ngx_conduit_gateway_claim_matches(ngx_http_request_t *r,
    ngx_http_complex_value_t *cv, ngx_str_t *value);


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

        rc = ngx_conduit_gateway_claim_matches(r, &values[i], &v->values[i]);

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


/* whether a claim has the required value; an empty value, such as that of a
   variable whose argument is missing, never matches */

static ngx_int_t
ngx_conduit_gateway_claim_matches(ngx_http_request_t *r,
    ngx_http_complex_value_t *cv, ngx_str_t *value)
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
