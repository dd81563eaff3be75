/* Copyright (C) Conduit for NGINX authors */

/*
 * Handlers for values of directives.  They do what the ngx_conf_set_*_slot()
 * functions of NGINX do, with more precise errors: the message about an invalid
 * value names the value, the directive, and the form that the value must have.
 */

#ifndef NGX_CONDUIT_VALUE_H
#define NGX_CONDUIT_VALUE_H

#include <ngx_config.h>
#include <ngx_core.h>

#pragma GCC visibility push(hidden)

/* the least and the greatest number that a directive accepts */
typedef struct {
    ngx_int_t  low;
    ngx_int_t  high;
} ngx_conduit_bounds_t;

#define NGX_CONDUIT_TIME_FORM  "a time such as \"500ms\", \"10s\" or \"5m\""


/* post of ngx_conduit_msec_slot() and ngx_conduit_size_slot(): refuses zero */
extern ngx_conf_post_t  ngx_conduit_not_zero;

/* cmd->post is what the functions of NGINX expect */
char *ngx_conduit_msec_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_conduit_size_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_conduit_enum_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* cmd->post points to an ngx_conduit_bounds_t */
char *ngx_conduit_num_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/*
 * Logs, with file and line, 'invalid <what> "<value>" in "<directive>"
 * directive, it must be <form>'.  Returns NGX_CONF_ERROR.
 */
char *ngx_conduit_invalid(ngx_conf_t *cf, ngx_command_t *cmd, const char *what,
    ngx_str_t *value, const char *form);

/*
 * Does the same for the first argument of cmd if rv, the result of an
 * ngx_conf_set_*_slot() function, is an error text that begins with "invalid ".
 * Returns any other rv unchanged.
 */
char *ngx_conduit_named(ngx_conf_t *cf, ngx_command_t *cmd, char *rv,
    const char *what, const char *form);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_VALUE_H */
