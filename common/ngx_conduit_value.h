/*
 * Values of directives.  These are NGINX's own functions but for what they log:
 * a value that is refused is named with its directive and the form that it must
 * have.
 */

#ifndef NGX_CONDUIT_VALUE_H
#define NGX_CONDUIT_VALUE_H

#include <ngx_config.h>
#include <ngx_core.h>

#pragma GCC visibility push(hidden)

/* post of a number: the least and the greatest one */
typedef struct {
    ngx_int_t  low;
    ngx_int_t  high;
} ngx_conduit_bounds_t;

#define NGX_CONDUIT_TIME_FORM  "a time such as \"500ms\", \"10s\" or \"5m\""


/* for ngx_conduit_msec_slot and ngx_conduit_size_slot: zero is refused */
extern ngx_conf_post_t  ngx_conduit_not_zero;

/* post of these is that of NGINX's functions */
char *ngx_conduit_msec_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_conduit_size_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_conduit_enum_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* post is an ngx_conduit_bounds_t */
char *ngx_conduit_num_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/*
 * Logs, with file and line, that a value of cmd is no such thing ("time",
 * "rate"), and what it must be.  Returns NGX_CONF_ERROR.
 */
char *ngx_conduit_invalid(ngx_conf_t *cf, ngx_command_t *cmd, const char *what,
    ngx_str_t *value, const char *form);

/*
 * Does that for what one of NGINX's functions returned, if this says that the
 * value is invalid; returns anything else as it is.
 */
char *ngx_conduit_named(ngx_conf_t *cf, ngx_command_t *cmd, char *rv,
    const char *what, const char *form);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_VALUE_H */
