/*
 * The part of a location's configuration that both modules have, each under its
 * own prefix: Redis, ids, authentication.
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

/* tokens verified with these keys, issuer and audience, which are one for all
   locations that have the same */
struct ngx_conduit_cache_s {
    conduit_jwt_keys_t        *keys;
    ngx_str_t                  issuer;
    ngx_str_t                  audience;
    ngx_uint_t                 size;
    conduit_jwt_cache_t       *table;            /* of the worker; NULL: no
                                                    token has come yet */
    ngx_conduit_cache_t       *next;
};

/* claims that a token must have, besides those of the contract */
typedef struct {
    ngx_array_t                names;            /* of const char *, unique */
    ngx_array_t                values;           /* of
                                                    ngx_http_complex_value_t,
                                                    in the same order */
} ngx_conduit_claims_t;

/* the first member of both modules' location configurations */
struct ngx_conduit_conf_s {
    ngx_conduit_kind_e         kind;
    ngx_conduit_pages_t       *pages;            /* of the module */

    /* set by the directive that makes a location the module's; inherited by
       the "if" and "limit_except" blocks in it, not by locations below */
    ngx_str_t                 *directive;        /* its name; NULL: there is
                                                    none */
    ngx_http_handler_pt        handler;
    u_char                    *file;
    ngx_uint_t                 line;
    ngx_conduit_redis_t       *redis;            /* NULL: not turned on */
    ngx_uint_t                 page;             /* ngx_conduit_page_e */

    /* of a location of the module, set when configurations are merged */
    ngx_http_core_loc_conf_t  *clcf;
    ngx_conduit_conf_t        *next;

    ngx_str_t                  redis_user;
    ngx_str_t                  redis_password;   /* read from its file */
    ngx_conduit_tls_conf_t     redis_ssl;
    ngx_msec_t                 connect_timeout;
    ngx_msec_t                 timeout;

    ngx_http_complex_value_t  *org_id;
    ngx_http_complex_value_t  *channel_id;
    ngx_http_complex_value_t  *key;              /* of the gateway's streams;
                                                    NULL: the contract's, and
                                                    tokens name org and
                                                    channel */

    ngx_flag_t                 auth;
    conduit_jwt_keys_t        *keys;
    ngx_str_t                  issuer;           /* data NULL: not set; empty:
                                                    any is accepted */
    ngx_str_t                  audience;         /* likewise */
    ngx_conduit_claims_t      *claims;           /* NULL: none */

    ngx_uint_t                 cache_size;       /* in tokens; 0: off */
    ngx_conduit_cache_t       *cache;            /* NULL: none */
};

/* what the token of a request came to, and who asked; all zero at first */
typedef struct {
    ngx_conduit_conf_t        *conf;             /* of the location; NULL: it
                                                    was not verified */
    conduit_jwt_claims_t       claims;           /* set on CONDUIT_JWT_OK */
    ngx_str_t                 *values;           /* likewise: of conf->claims,
                                                    in the request's pool; data
                                                    NULL: there is none, or it
                                                    is neither a string nor a
                                                    whole number */
    conduit_jwt_status_t       status;
    unsigned                   need_org:1;       /* as it was asked for */
    unsigned                   busy:1;           /* ids are being looked at */
} ngx_conduit_verified_t;


/* Sets the fields to "not set"; pages are those of the module. */
void ngx_conduit_conf_init(ngx_conduit_conf_t *conf, ngx_conduit_kind_e kind,
    ngx_conduit_pages_t *pages);

/*
 * Merges the fields; completes and checks a location that was turned on.  The
 * locations that "if" and "limit_except" make are the module's if the location
 * around them is.  Returns NGX_CONF_OK or NGX_CONF_ERROR.
 */
char *ngx_conduit_conf_merge(ngx_conf_t *cf, ngx_conduit_conf_t *prev,
    ngx_conduit_conf_t *conf);

/*
 * Looks, when all is merged, whether the module's locations still have its
 * handlers: another directive of the location, or of an "if" or "limit_except"
 * block in it, may have set its own since, and would answer without a look at
 * the token.  Returns NGX_OK, or NGX_ERROR after logging where that is.
 */
ngx_int_t ngx_conduit_conf_check_handlers(ngx_conf_t *cf,
    ngx_conduit_pages_t *pages);

/*
 * Makes a location the module's: handler becomes the location's, and cmd is
 * remembered as the directive that wants it.  Returns NGX_CONF_OK or an error
 * text.
 */
char *ngx_conduit_conf_set_handler(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_conduit_conf_t *conf, ngx_http_handler_pt handler);

/*
 * Turns a location on: the URL of the directive makes conf->redis, handler
 * becomes the location's.  Returns NGX_CONF_OK, an error text, or
 * NGX_CONF_ERROR.
 */
char *ngx_conduit_conf_enable(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_conduit_conf_t *conf, ngx_http_handler_pt handler);

/* "conduit_X_redis_password_file" */
char *ngx_conduit_conf_password_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * "conduit_publish_jwt_secret_file", and "conduit_X_jwt_key_file": the keys of
 * both make one set.  A secret that works and is short, or most likely not what
 * was meant, is warned of.
 */
char *ngx_conduit_conf_secret_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_conf_key_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* "conduit_X_jwt_cache" */
char *ngx_conduit_conf_cache_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Sets conf->cache of a location whose fields are merged: one that verifies the
 * same tokens has the same cache.  NGX_OK, or NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_conf_set_cache(ngx_conf_t *cf,
    ngx_conduit_conf_t *conf);

/*
 * Verifies the token of a request as the location wants it, unless *v has the
 * result already, for this location or one with the same keys, issuer and
 * audience: a signature is checked once a request, and whether the token has
 * expired is settled then.  One that the location's cache has, from an earlier
 * request, is not checked again.  Returns the result, which is kept in *v, with
 * the claims on CONDUIT_JWT_OK.  Any other one is logged at info level, once
 * and without the token.
 */
conduit_jwt_status_t ngx_conduit_conf_verify(ngx_http_request_t *r,
    ngx_conduit_conf_t *conf, ngx_str_t *token, ngx_uint_t need_org,
    ngx_conduit_verified_t *v);

/* Whether *v has the result for such a location. */
ngx_uint_t ngx_conduit_conf_verified(ngx_conduit_conf_t *conf,
    ngx_uint_t need_org, ngx_conduit_verified_t *v);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_CONF_H */
