/* Copyright (C) Conduit for NGINX authors */

/*
 * Reads values of directives; errors say what a value must look like.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_value.h"


static char *ngx_conduit_check_not_zero(ngx_conf_t *cf, void *post,
    void *data);


ngx_conf_post_t  ngx_conduit_not_zero = {
    ngx_conduit_check_not_zero
};


char *
ngx_conduit_msec_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_conduit_named(cf, cmd, ngx_conf_set_msec_slot(cf, cmd, conf),
                             "time", NGX_CONDUIT_TIME_FORM);
}


char *
ngx_conduit_size_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_conduit_named(cf, cmd, ngx_conf_set_size_slot(cf, cmd, conf),
                             "size", "a number of bytes such as \"500\", "
                             "\"16k\" or \"1m\"");
}


char *
ngx_conduit_num_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    char                  *rv;
    u_char                 form[128];
    ngx_int_t             *number;
    ngx_command_t          plain;
    ngx_conduit_bounds_t  *bounds = cmd->post;

    number = (ngx_int_t *) (p + cmd->offset);

    plain = *cmd;
    plain.post = NULL;

    rv = ngx_conf_set_num_slot(cf, &plain, conf);

    if (rv == NGX_CONF_OK
        && (*number < bounds->low || *number > bounds->high))
    {
        rv = "invalid number";
    }

    ngx_sprintf(form, bounds->high == NGX_MAX_INT_T_VALUE
                      ? "a number, %i or more%Z" : "a number from %i to %i%Z",
                bounds->low, bounds->high);

    return ngx_conduit_named(cf, cmd, rv, "number", (char *) form);
}


char *
ngx_conduit_enum_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char           *p, *last, form[NGX_MAX_CONF_ERRSTR];
    ngx_str_t        *value;
    ngx_uint_t        i;
    ngx_conf_enum_t  *e = cmd->post;

    value = cf->args->elts;

    p = form;
    last = form + sizeof(form) - 1;

    for (i = 0; e[i].name.len; i++) {

        if (e[i].name.len == value[1].len
            && ngx_strcasecmp(e[i].name.data, value[1].data) == 0)
        {
            return ngx_conf_set_enum_slot(cf, cmd, conf);
        }

        p = ngx_slprintf(p, last, "%s\"%V\"",
                         i == 0 ? "" : e[i + 1].name.len ? ", " : " or ",
                         &e[i].name);
    }

    *p = '\0';

    return ngx_conduit_invalid(cf, cmd, "value", &value[1], (char *) form);
}


char *
ngx_conduit_named(ngx_conf_t *cf, ngx_command_t *cmd, char *rv,
    const char *what, const char *form)
{
    ngx_str_t  *value;

    if (rv == NGX_CONF_OK || rv == NGX_CONF_ERROR
        || ngx_strncmp(rv, "invalid ", sizeof("invalid ") - 1) != 0)
    {
        return rv;
    }

    value = cf->args->elts;

    return ngx_conduit_invalid(cf, cmd, what, &value[1], form);
}


char *
ngx_conduit_invalid(ngx_conf_t *cf, ngx_command_t *cmd, const char *what,
    ngx_str_t *value, const char *form)
{
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid %s \"%V\" in \"%V\" directive, it must be %s",
                       what, value, &cmd->name, form);

    return NGX_CONF_ERROR;
}


static char *
ngx_conduit_check_not_zero(ngx_conf_t *cf, void *post, void *data)
{
    ngx_uint_t  *value = data;    /* or ngx_msec_t, or size_t */

    return *value ? NGX_CONF_OK : "must not be zero";
}
