/* Copyright (C) Conduit for NGINX authors */

/*
 * Variables that both modules have.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_http.h"


/* a variable that both modules add: "next" is the handler of the first one */
typedef struct {
    ngx_conduit_http_conf_pt        conf;
    ngx_conduit_http_verified_pt    verified;
    ngx_http_get_variable_pt        next;
    uintptr_t                       next_data;
    ngx_uint_t                      channel;  /* 0: the organization */
} ngx_conduit_http_variable_t;


static ngx_int_t ngx_conduit_http_add_shared(ngx_conf_t *cf,
    ngx_conduit_http_conf_pt conf, ngx_conduit_http_verified_pt verified);
static ngx_int_t ngx_conduit_http_get_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_conduit_http_get_verified(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static void ngx_conduit_http_set_empty(ngx_http_variable_value_t *v,
    ngx_uint_t not_found);
static ngx_int_t ngx_conduit_http_set_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, ngx_conduit_ids_t *ids, ngx_uint_t channel);


ngx_int_t
ngx_conduit_http_variables(ngx_conf_t *cf, ngx_http_variable_t *own,
    ngx_conduit_http_conf_pt conf, ngx_conduit_http_verified_pt verified)
{
    ngx_http_variable_t  *v;

    for ( /* void */ ; own->name.len; own++) {
        v = ngx_http_add_variable(cf, &own->name, own->flags);
        if (v == NULL) {
            return NGX_ERROR;
        }

        v->get_handler = own->get_handler;
        v->data = own->data;
    }

    return ngx_conduit_http_add_shared(cf, conf, verified);
}


static ngx_int_t
ngx_conduit_http_add_shared(ngx_conf_t *cf, ngx_conduit_http_conf_pt conf,
    ngx_conduit_http_verified_pt verified)
{
    ngx_uint_t                    i;
    ngx_http_variable_t          *v;
    ngx_conduit_http_variable_t  *own;

    /*
     * not cacheable: which ids a token is valid for depends on the location,
     * and an internal redirect may lead to another one
     */

    static ngx_http_variable_t  vars[] = {

        { ngx_string("conduit_org_id"), NULL,
          ngx_conduit_http_get_variable, 0, NGX_HTTP_VAR_CHANGEABLE, 0 },

        { ngx_string("conduit_channel_id"), NULL,
          ngx_conduit_http_get_variable, 1, NGX_HTTP_VAR_CHANGEABLE, 0 },

        { ngx_string("conduit_verified_org_id"), NULL,
          ngx_conduit_http_get_verified, 0,
          NGX_HTTP_VAR_CHANGEABLE|NGX_HTTP_VAR_NOCACHEABLE, 0 },

        { ngx_string("conduit_verified_channel_id"), NULL,
          ngx_conduit_http_get_verified, 1,
          NGX_HTTP_VAR_CHANGEABLE|NGX_HTTP_VAR_NOCACHEABLE, 0 },

          ngx_http_null_variable
    };

    for (i = 0; vars[i].name.len; i++) {

        own = ngx_palloc(cf->pool, sizeof(ngx_conduit_http_variable_t));
        if (own == NULL) {
            return NGX_ERROR;
        }

        v = ngx_http_add_variable(cf, &vars[i].name, vars[i].flags);
        if (v == NULL) {
            return NGX_ERROR;
        }

        own->conf = conf;
        own->verified = verified;
        own->channel = vars[i].data;
        own->next = v->get_handler;
        own->next_data = v->data;

        v->get_handler = vars[i].get_handler;
        v->data = (uintptr_t) own;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_http_get_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    int                           invalid;
    ngx_str_t                     org, channel;
    ngx_conduit_ids_t             ids;
    ngx_conduit_conf_t           *conf;
    ngx_conduit_http_variable_t  *own;

    own = (ngx_conduit_http_variable_t *) data;
    conf = own->conf(r);

    if (conf->redis == NULL) {

        if (own->next) {
            return own->next(r, v, own->next_data);
        }

        /*
         * not a location of the module; NGINX caches "not found", so it is not
         * set while a rewrite may still lead to such a location
         */

        ngx_conduit_http_set_empty(v, r->headers_out.status != 0);

        return NGX_OK;
    }

    if (ngx_conduit_http_raw_ids(r, conf, &org, &channel) != NGX_OK) {
        return NGX_ERROR;
    }

    invalid = own->channel ? conduit_uuid_parse((char *) channel.data,
                                                channel.len, ids.channel)
                           : conduit_org_parse((char *) org.data, org.len,
                                               &ids.org);

    if (invalid) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_conduit_http_set_id(r, v, &ids, own->channel);
}


/*
 * A subrequest uses the token of its main request.  After the header was sent,
 * or when the request has ended and is logged, no token is verified.
 */

static ngx_int_t
ngx_conduit_http_get_verified(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_int_t                     rc;
    ngx_uint_t                    verify;
    ngx_conduit_ids_t             ids;
    ngx_http_request_t           *main;
    ngx_conduit_conf_t           *conf;
    ngx_conduit_http_variable_t  *own;

    own = (ngx_conduit_http_variable_t *) data;
    main = r->main;
    conf = own->conf(main);

    if (conf->redis == NULL && own->next) {
        return own->next(r, v, own->next_data);
    }

    verify = (main->count != 0 && !main->header_sent);

    /* as above: empty, and "not found" only when that can't change any more */

    ngx_conduit_http_set_empty(v, !verify);

    if (conf->redis == NULL || !conf->auth) {
        return NGX_OK;
    }

    rc = own->verified(main, &ids, own->channel, verify);

    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_OK : NGX_ERROR;
    }

    return ngx_conduit_http_set_id(r, v, &ids, own->channel);
}


static void
ngx_conduit_http_set_empty(ngx_http_variable_value_t *v, ngx_uint_t not_found)
{
    ngx_memzero(v, sizeof(ngx_http_variable_value_t));
    v->data = (u_char *) "";
    v->not_found = not_found & 1;
}


/* one spelling for each organization and channel: it may be the key of a
   limit */

static ngx_int_t
ngx_conduit_http_set_id(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    ngx_conduit_ids_t *ids, ngx_uint_t channel)
{
    u_char     *p, org[NGX_INT64_LEN];
    ngx_str_t   value;

    if (channel) {
        value.data = (u_char *) ids->channel;
        value.len = CONDUIT_UUID_LEN;

    } else {
        value.data = org;
        value.len = ngx_sprintf(org, "%uL", ids->org) - org;
    }

    /* the exact size: the memory is kept for as long as a stream lasts */

    p = ngx_pnalloc(r->pool, value.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, value.data, value.len);

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = value.len;
    v->data = p;

    return NGX_OK;
}
