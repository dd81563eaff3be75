/* Copyright (C) Conduit for NGINX authors */

/*
 * The configuration of the publish module; the table of its directives is in
 * ngx_conduit_publish_module.c.
 *
 *   publish_conf        parses directives, merges levels
 *   publish_check       refuses and warns of directives that conflict
 *   publish_variables   $conduit_publish_..., $conduit_redis_time
 */

#ifndef NGX_CONDUIT_PUBLISH_CONF_H
#define NGX_CONDUIT_PUBLISH_CONF_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_publish.h"

#pragma GCC visibility push(hidden)

/* Marks all directives of a zeroed location as not set, except for those in
   plcf->common, see ngx_conduit_conf_init(). */
void ngx_conduit_publish_conf_unset(ngx_conduit_publish_loc_conf_t *plcf);

/* Merges all directives, except for those in conf->common, see
   ngx_conduit_conf_merge(). */
void ngx_conduit_publish_conf_merge(ngx_conduit_publish_loc_conf_t *prev,
    ngx_conduit_publish_loc_conf_t *conf);

/* "conduit_publish_rate" and "conduit_publish_idempotency", parsed as the "set"
   of an ngx_command_t. */
char *ngx_conduit_publish_rate_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_publish_idempotency_slot(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);

/* The handler of an ngx_conf_post_t for a time to live, an ngx_msec_t: refuses
   zero and more than ten years. */
char *ngx_conduit_publish_check_ttl(ngx_conf_t *cf, void *post, void *data);

/*
 * Refuses "conduit_publish_org_claim on" in a merged location without tokens.
 * Returns NGX_CONF_OK; or NGX_CONF_ERROR after logging the location.
 */
char *ngx_conduit_publish_check_claim(ngx_conf_t *cf,
    ngx_conduit_publish_loc_conf_t *conf);

/* Warns if NGINX would refuse messages that a merged location would accept. */
void ngx_conduit_publish_check_size(ngx_conf_t *cf,
    ngx_conduit_publish_loc_conf_t *conf);

/* Adds the variables.  Returns NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_publish_add_variables(ngx_conf_t *cf);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PUBLISH_CONF_H */
