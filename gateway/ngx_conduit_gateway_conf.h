/* Copyright (C) Conduit for NGINX authors */

/*
 * The configuration of the gateway module; the table of its directives is in
 * ngx_conduit_gateway_module.c.
 *
 *   gateway_conf        parses directives, merges levels
 *   gateway_check       refuses and warns of directives that conflict
 *   gateway_variables   $conduit_gateway_...
 */

#ifndef NGX_CONDUIT_GATEWAY_CONF_H
#define NGX_CONDUIT_GATEWAY_CONF_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_request.h"

#pragma GCC visibility push(hidden)

/* what is set on a level itself, before it is merged with the outer one */
typedef struct {
    unsigned                 ids:1;
    unsigned                 end_field:1;
    unsigned                 max_size:1;
    unsigned                 after_end:1;
    unsigned                 durable_type:1;
    unsigned                 durable_wait:1;
} ngx_conduit_gateway_given_t;


/* Marks all directives of a zeroed location as not set, except for those in
   glcf->common, see ngx_conduit_conf_init(). */
void ngx_conduit_gateway_conf_unset(ngx_conduit_gateway_loc_conf_t *glcf);

/*
 * Merges all directives, except for those of ngx_conduit_gateway_cors_merge()
 * and those in conf->common, which ngx_conduit_conf_merge() merges; it must be
 * called before the latter.
 */
void ngx_conduit_gateway_conf_merge(ngx_conduit_gateway_loc_conf_t *prev,
    ngx_conduit_gateway_loc_conf_t *conf);

/* Returns whether entries are Conduit's messages, which themselves say when
   a stream ends, so that no "end" field is needed. */
ngx_uint_t ngx_conduit_gateway_has_messages(
    ngx_conduit_gateway_loc_conf_t *glcf);

/*
 * Sets the hub of a merged location: locations with the same Redis, settings
 * and fields share one.  Returns NGX_CONF_OK; or NGX_CONF_ERROR when memory is
 * out.
 */
char *ngx_conduit_gateway_set_hub(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf);

/*
 * Parse directives, as the "set" of an ngx_command_t: "_claim_slot" is that of
 * "conduit_gateway_require_claim", "_time_slot" takes a time or "off", the
 * others are named like their directive.
 */
char *ngx_conduit_gateway_claim_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_gateway_field_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_gateway_end_field_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_gateway_durable_type_slot(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
char *ngx_conduit_gateway_resume_only_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_gateway_wakeup_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_gateway_time_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_conduit_gateway_coalesce_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* Finds out, before a location is merged, which directives are set in it. */
void ngx_conduit_gateway_given(ngx_conduit_gateway_loc_conf_t *glcf,
    ngx_conduit_gateway_given_t *given);

/*
 * Refuses directives that conflict in a merged location.  Returns NGX_CONF_OK;
 * or NGX_CONF_ERROR after logging the location.
 */
char *ngx_conduit_gateway_check_stream(ngx_conf_t *cf,
    ngx_conduit_gateway_loc_conf_t *glcf, ngx_conduit_gateway_given_t *given);

/* Warns of each location whose clients "worker_shutdown_timeout" would
   disconnect before "conduit_gateway_drain" is over. */
void ngx_conduit_gateway_check_drain(ngx_cycle_t *cycle);

/* Adds the variables.  Returns NGX_OK or NGX_ERROR. */
ngx_int_t ngx_conduit_gateway_add_variables(ngx_conf_t *cf);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_CONF_H */
