/* Copyright (C) Conduit for NGINX authors */

/*
 * The part of a location's configuration that both modules have in common:
 * Redis, ids, authentication.  The directives are "conduit_X_...", where X is
 * "publish" or "gateway".
 */

#ifndef NGX_CONDUIT_CONF_H
#define NGX_CONDUIT_CONF_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_jwt_cache.h"
#include "ngx_conduit_redis.h"
#include "ngx_conduit_status.h"
#include "ngx_conduit_value.h"

#pragma GCC visibility push(hidden)

typedef enum {
    NGX_CONDUIT_PUBLISH = 0,
    NGX_CONDUIT_GATEWAY
} ngx_conduit_kind_e;

/* a cache of tokens verified with these keys, issuer and audience; shared by
   all locations of a module where these, and the size, are the same */
struct ngx_conduit_cache_s {
    conduit_jwt_keys_t        *keys;
    ngx_str_t                  issuer;
    ngx_str_t                  audience;
    ngx_uint_t                 size;             /* in tokens */
    conduit_jwt_cache_t       *table;            /* of the worker; NULL until
                                                    its first token */
    ngx_conduit_cache_t       *next;             /* of the module */
};

/* "conduit_gateway_require_claim": claims that a token must have in addition,
   with their values */
typedef struct {
    ngx_array_t                names;            /* of const char *, unique */
    ngx_array_t                values;           /* of
                                                    ngx_http_complex_value_t,
                                                    in the same order */
} ngx_conduit_claims_t;

/* must be the first member of a module's location configuration */
struct ngx_conduit_conf_s {
    ngx_conduit_kind_e         kind;
    ngx_conduit_pages_t       *pages;            /* of the module */

    /* set by the directive that sets the content handler ("conduit_X",
       "conduit_X_status", "conduit_X_health"); inherited by "if" and
       "limit_except" blocks in the location, not by nested locations */
    ngx_str_t                 *directive;        /* its name; NULL: none */
    ngx_http_handler_pt        handler;
    u_char                    *file;             /* where it is written */
    ngx_uint_t                 line;
    ngx_conduit_redis_t       *redis;            /* of "conduit_X", else NULL */
    ngx_uint_t                 page;             /* ngx_conduit_page_e */

    /* set by ngx_conduit_conf_merge() if there is such a directive */
    ngx_http_core_loc_conf_t  *clcf;
    ngx_conduit_conf_t        *next;             /* location of the module */

    ngx_str_t                  redis_user;
    ngx_str_t                  redis_password;   /* read from its file */
    ngx_conduit_tls_conf_t     redis_ssl;
    ngx_msec_t                 connect_timeout;
    ngx_msec_t                 timeout;

    ngx_http_complex_value_t  *org_id;
    ngx_http_complex_value_t  *channel_id;
    ngx_http_complex_value_t  *key;              /* "conduit_gateway_key"; NULL:
                                                    made of org and channel,
                                                    which tokens must name */

    ngx_flag_t                 auth;
    conduit_jwt_keys_t        *keys;
    ngx_str_t                  issuer;           /* empty: any is accepted; data
                                                    NULL: not set, likewise */
    ngx_str_t                  audience;         /* the same */
    ngx_conduit_claims_t      *claims;           /* NULL: none */

    ngx_uint_t                 cache_size;       /* in tokens; 0: off */
    ngx_conduit_cache_t       *cache;            /* NULL: none */
};

/* the result of verifying the token of a request; initially zero */
typedef struct {
    ngx_conduit_conf_t        *conf;             /* of the location it was
                                                    verified for; NULL: it was
                                                    not verified yet */
    conduit_jwt_claims_t       claims;           /* with CONDUIT_JWT_OK */
    ngx_str_t                 *values;           /* with CONDUIT_JWT_OK: the
                                                    claims in conf->claims, in
                                                    the request's pool; data is
                                                    NULL if a claim is missing,
                                                    or neither a string nor a
                                                    whole number */
    conduit_jwt_status_e       status;
    unsigned                   need_org:1;       /* org_id was required */
    unsigned                   busy:1;           /* the ids of the request are
                                                    being evaluated, which may
                                                    need this result */
} ngx_conduit_verified_t;


/* Sets the fields of a zeroed conf to NGX_CONF_UNSET and the like. */
void ngx_conduit_conf_init(ngx_conduit_conf_t *conf, ngx_conduit_kind_e kind,
    ngx_conduit_pages_t *pages);

/*
 * Merges the fields.  For a location with "conduit_X", also completes
 * conf->redis and conf->cache, and checks the settings.  "if" and
 * "limit_except" blocks inherit the content handler of the location that they
 * are in.  Returns NGX_CONF_OK; or NGX_CONF_ERROR after logging the error.
 */
char *ngx_conduit_conf_merge(ngx_conf_t *cf, ngx_conduit_conf_t *prev,
    ngx_conduit_conf_t *conf);

/*
 * Checks, after all configurations are merged, that the content handlers set by
 * the module are still there.  Another directive in the location, or in an "if"
 * or "limit_except" block in it, may have replaced one with a handler that
 * would respond without verifying the token.  Returns NGX_OK; or NGX_ERROR
 * after logging the location.
 */
ngx_int_t ngx_conduit_conf_check_handlers(ngx_conf_t *cf,
    ngx_conduit_pages_t *pages);

/*
 * Sets the content handler of a location for the directive cmd.  Returns
 * NGX_CONF_OK; or an error text if the location has a content handler already.
 */
char *ngx_conduit_conf_set_handler(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_conduit_conf_t *conf, ngx_http_handler_pt handler);

/*
 * "conduit_X": sets the content handler of the location, and creates
 * conf->redis from the URL in the directive.  Returns NGX_CONF_OK, an error
 * text, or NGX_CONF_ERROR after logging the error.
 */
char *ngx_conduit_conf_enable(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_conduit_conf_t *conf, ngx_http_handler_pt handler);

/* "conduit_X_redis_password_file"; line ends at the end of the file are not
   part of the password */
char *ngx_conduit_conf_password_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * "conduit_publish_jwt_secret_file" and "conduit_X_jwt_key_file": both add keys
 * to conf->keys.  A secret that is short, or that probably contains a mistake
 * (quotes, for example), is accepted with a warning.
 */
char *ngx_conduit_conf_secret_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_conf_key_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* "conduit_X_jwt_cache" */
char *ngx_conduit_conf_cache_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Sets conf->cache after the other fields are merged.  Locations of a module
 * with the same keys, issuer, audience and cache size share a cache.  Returns
 * NGX_OK; or NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_conf_set_cache(ngx_conf_t *cf,
    ngx_conduit_conf_t *conf);

/*
 * Verifies the token of a request by the settings of a location.  A signature
 * is verified, and the expiry checked, once in a request: if *v already has a
 * result that applies, see ngx_conduit_conf_verified(), that one is returned.
 * A token found in the cache of the location is not verified again, only its
 * times and required claims are checked.
 *
 * Returns the result and keeps it in *v, with the claims on CONDUIT_JWT_OK.  A
 * new result other than CONDUIT_JWT_OK is logged, without the token: at level
 * "error" when memory is out, else "info".
 */
conduit_jwt_status_e ngx_conduit_conf_verify(ngx_http_request_t *r,
    ngx_conduit_conf_t *conf, ngx_str_t *token, ngx_uint_t need_org,
    ngx_conduit_verified_t *v);

/*
 * Returns whether *v has a result that applies to a location: that of the same
 * location, or of one with the same keys, issuer, audience and required claims.
 */
ngx_uint_t ngx_conduit_conf_verified(ngx_conduit_conf_t *conf,
    ngx_uint_t need_org, ngx_conduit_verified_t *v);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_CONF_H */
