/* Copyright (C) Conduit for NGINX authors */

/*
 * Which stream a location sends, and who may read it: the key, the fields and
 * the format of its entries, the claims that a token must have.
 */

#ifndef NGX_CONDUIT_GATEWAY_STREAM_H
#define NGX_CONDUIT_GATEWAY_STREAM_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_request.h"

#pragma GCC visibility push(hidden)

/* the stream of a request */
typedef struct {
    ngx_str_t                key;
    ngx_str_t               *label;        /* NULL: the contract defines the
                                              key */
    ngx_conduit_ids_t        ids;          /* valid without a label */
    char                     text[CONDUIT_KEY_MAX];   /* the text of such a
                                                         key */
} ngx_conduit_name_t;


/*
 * Finds out which stream a request is for.  Returns NGX_OK, or NGX_ERROR when
 * memory is out; *err is NULL, or a static text for the reply, which says what
 * is missing or malformed.
 */
ngx_int_t ngx_conduit_gateway_name(ngx_http_request_t *r,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_name_t *name,
    const char **err);

/*
 * Compares the claims of a valid token with those that the location requires.
 * Returns NGX_OK; NGX_DECLINED, logged, when a claim is missing, or has another
 * value or type; NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_gateway_required(ngx_http_request_t *r,
    ngx_conduit_conf_t *conf, ngx_conduit_verified_t *v);


/* "conduit_gateway_resume_only" */
char *ngx_conduit_gateway_resume_only_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* "conduit_gateway_require_claim", "conduit_gateway_field", "..._end_field" */
char *ngx_conduit_gateway_claim_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_gateway_field_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_gateway_end_field_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* "conduit_gateway_durable_type" */
char *ngx_conduit_gateway_durable_type_slot(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);

/* what is set on a level itself, before it is merged with the outer one */
typedef struct {
    unsigned                 ids:1;
    unsigned                 end_field:1;
    unsigned                 max_size:1;
    unsigned                 after_end:1;
    unsigned                 durable_type:1;
    unsigned                 durable_wait:1;
} ngx_conduit_gateway_given_t;

void ngx_conduit_gateway_given(ngx_conduit_gateway_loc_conf_t *glcf,
    ngx_conduit_gateway_given_t *given);

/*
 * Finds out, before the levels are merged, whether "conduit_gateway_auth off"
 * is set on a level inside the one that requires claims: there it may waive
 * them.  On the same level, or an outer one, it contradicts them.
 */
void ngx_conduit_gateway_waive(ngx_conduit_gateway_loc_conf_t *prev,
    ngx_conduit_gateway_loc_conf_t *conf);

/* Merges "conduit_gateway_durable_type". */
void ngx_conduit_gateway_merge_type(ngx_str_t *prev, ngx_str_t *conf);

/* Merges the fields. */
void ngx_conduit_gateway_merge_fields(ngx_conduit_fields_t *prev,
    ngx_conduit_fields_t *conf);

/*
 * Refuses directives that conflict in a merged location.  Returns NGX_CONF_OK
 * or NGX_CONF_ERROR.
 */
char *ngx_conduit_gateway_check_stream(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_given_t *given);

/*
 * Returns the settings and fields of a location without those that its format
 * does not use.
 */
void ngx_conduit_gateway_effective(ngx_conduit_gateway_loc_conf_t *glcf,
    ngx_conduit_gateway_settings_t *settings, ngx_conduit_fields_t *fields);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_STREAM_H */
