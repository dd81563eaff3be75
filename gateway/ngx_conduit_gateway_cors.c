/* Copyright (C) Conduit for NGINX authors */

/*
 * CORS: which pages of other origins may read the gateway's answers.
 *
 * By default pages of all origins may, and browsers send no cookies.  With a
 * list of origins the answer depends on the request's "Origin", which "Vary"
 * says to caches.  If the origin is not in the list, the answer lacks the CORS
 * headers, so that the browser does not let the page read it.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_origin.h"
#include "ngx_conduit_gateway_cors.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_response.h"


/* which headers a page may send: any, because tracing libraries add their own
   to every fetch(); "*" does not include "Authorization" (WHATWG Fetch,
   2.2.2) */
#define NGX_CONDUIT_GATEWAY_HEADERS  "*, Authorization"

#define NGX_CONDUIT_GATEWAY_ALLOW    "Access-Control-Allow-"
#define NGX_CONDUIT_GATEWAY_MAX_AGE  "Access-Control-Max-Age"


static ngx_conduit_gateway_loc_conf_t *ngx_conduit_gateway_cors_conf(
    ngx_http_request_t *r);
static void ngx_conduit_gateway_cors_clear(ngx_http_request_t *r);
static const char *ngx_conduit_gateway_cors_origin(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf);
static ngx_int_t ngx_conduit_gateway_cors_preflight(ngx_http_request_t *r);
static ngx_int_t ngx_conduit_gateway_cors_headers(ngx_http_request_t *r);


char *
ngx_conduit_gateway_cors_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_gateway_loc_conf_t  *glcf = conf;

    ngx_str_t   *value, *origin;
    ngx_uint_t   i;
    const char  *fault;

    if (glcf->origins != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "*") == 0) {
        glcf->origins = NULL;
        return NGX_CONF_OK;
    }

    glcf->origins = ngx_array_create(cf->pool, cf->args->nelts,
                                     sizeof(ngx_str_t));
    if (glcf->origins == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        fault = conduit_origin_fault((char *) value[i].data, value[i].len);

        if (fault != NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid origin \"%V\" in \"%V\" directive: "
                               "%s; it must be as in "
                               "\"https://app.example.com\" or "
                               "\"http://127.0.0.1:8080\", or \"*\" or \"off\" "
                               "alone", &value[i], &cmd->name, fault);
            return NGX_CONF_ERROR;
        }

        origin = ngx_array_push(glcf->origins);
        if (origin == NULL) {
            return NGX_CONF_ERROR;
        }

        *origin = value[i];
    }

    return NGX_CONF_OK;
}


char *
ngx_conduit_gateway_cors_merge(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *prev, ngx_conduit_gateway_loc_conf_t *conf)
{
    ngx_conf_merge_ptr_value(conf->origins, prev->origins, NULL);
    ngx_conf_merge_value(conf->credentials, prev->credentials, 0);

    if (conf->common.redis == NULL || !conf->credentials
        || conf->origins != NULL)
    {
        return NGX_CONF_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "\"conduit_gateway_cors_credentials on\" needs a list of "
                  "origins in \"conduit_gateway_cors\", not \"*\", for "
                  "\"conduit_gateway\" in %s:%ui: otherwise any page could "
                  "read with the cookies of its visitors",
                  conf->common.file, conf->common.line);

    return NGX_CONF_ERROR;
}


static ngx_conduit_gateway_loc_conf_t *
ngx_conduit_gateway_cors_conf(ngx_http_request_t *r)
{
    return ngx_http_get_module_loc_conf(r, ngx_conduit_gateway_module);
}


ngx_int_t
ngx_conduit_gateway_cors(ngx_http_request_t *r)
{
    const char                      *origin;
    ngx_conduit_gateway_loc_conf_t  *glcf;

    glcf = ngx_conduit_gateway_cors_conf(r);

    /* removes headers set in an earlier phase, or in a location before a
       redirect */

    ngx_conduit_gateway_cors_clear(r);

    if (glcf->origins == NULL) {
        origin = "*";

    } else if (glcf->origins->nelts == 0) {
        return NGX_OK;

    } else {
        if (ngx_conduit_response_vary(r, "Origin") != NGX_OK) {
            return NGX_ERROR;
        }

        origin = ngx_conduit_gateway_cors_origin(r, glcf);

        if (origin == NULL) {
            return NGX_OK;
        }
    }

    if (ngx_conduit_http_header(r, NGX_CONDUIT_GATEWAY_ALLOW "Origin", origin)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (glcf->credentials
        && ngx_conduit_http_header(r, NGX_CONDUIT_GATEWAY_ALLOW "Credentials",
                                   "true")
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return r->method == NGX_HTTP_OPTIONS
           ? ngx_conduit_gateway_cors_preflight(r) : NGX_OK;
}


ngx_int_t
ngx_conduit_gateway_cors_early(ngx_http_request_t *r)
{
    if (ngx_conduit_gateway_cors_conf(r)->origins == NULL) {

        /* removes headers that a location has set before a redirect */

        ngx_conduit_gateway_cors_clear(r);
        return NGX_OK;
    }

    return ngx_conduit_gateway_cors(r);
}


static void
ngx_conduit_gateway_cors_clear(ngx_http_request_t *r)
{
    ngx_uint_t  i;

    static const char * const  names[] = {
        NGX_CONDUIT_GATEWAY_ALLOW "Origin",
        NGX_CONDUIT_GATEWAY_ALLOW "Credentials",
        NGX_CONDUIT_GATEWAY_ALLOW "Methods",
        NGX_CONDUIT_GATEWAY_ALLOW "Headers",
        NGX_CONDUIT_GATEWAY_MAX_AGE
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void) ngx_conduit_http_drop(r, names[i]);
    }
}


/* returns the entry of the list that equals the request's origin, or NULL; it
   is zero-terminated, as all strings of the configuration are */

static const char *
ngx_conduit_gateway_cors_origin(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf)
{
    ngx_str_t        *origins;
    ngx_uint_t        i;
    ngx_table_elt_t  *h;

    h = ngx_conduit_http_find(&r->headers_in.headers, "Origin", NULL);

    if (h == NULL) {
        return NULL;
    }

    origins = glcf->origins->elts;

    for (i = 0; i < glcf->origins->nelts; i++) {

        if (origins[i].len == h->value.len
            && ngx_memcmp(origins[i].data, h->value.data, h->value.len) == 0)
        {
            return (char *) origins[i].data;
        }
    }

    return NULL;
}


static ngx_int_t
ngx_conduit_gateway_cors_preflight(ngx_http_request_t *r)
{
    if (ngx_conduit_http_header(r, NGX_CONDUIT_GATEWAY_ALLOW "Methods",
                                "GET, HEAD")
        != NGX_OK
        || ngx_conduit_http_header(r, NGX_CONDUIT_GATEWAY_MAX_AGE, "86400")
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_conduit_gateway_cors_headers(r);
}


/*
 * In answers to requests with credentials, browsers take "*" for the name of a
 * header, not for all of them: such an answer lists the headers that the
 * preflight has asked for.
 */

static ngx_int_t
ngx_conduit_gateway_cors_headers(ngx_http_request_t *r)
{
    u_char           *text;
    ngx_table_elt_t  *h;

    if (!ngx_conduit_gateway_cors_conf(r)->credentials) {
        return ngx_conduit_http_header(r, NGX_CONDUIT_GATEWAY_ALLOW "Headers",
                                       NGX_CONDUIT_GATEWAY_HEADERS);
    }

    h = ngx_conduit_http_find(&r->headers_in.headers,
                              "Access-Control-Request-Headers", NULL);

    if (h == NULL) {
        return NGX_OK;
    }

    text = ngx_pnalloc(r->pool, h->value.len + 1);
    if (text == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn(text, h->value.data, h->value.len + 1);

    return ngx_conduit_http_header(r, NGX_CONDUIT_GATEWAY_ALLOW "Headers",
                                   (char *) text);
}
