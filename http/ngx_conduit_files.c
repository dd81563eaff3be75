/* Copyright (C) Conduit for NGINX authors */

/*
 * Files that directives of both modules name: Redis passwords, and keys that
 * verify tokens.  They are read while the configuration is read, before worker
 * processes start.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_conf.h"


#define NGX_CONDUIT_MAX_KEY_FILE  65536


static char *ngx_conduit_conf_add_keys(ngx_conf_t *cf,
    ngx_conduit_conf_t *conf, ngx_uint_t secret);
static ngx_int_t ngx_conduit_conf_create_keys(ngx_conf_t *cf,
    ngx_conduit_conf_t *conf);
static void ngx_conduit_conf_free_keys(void *data);
static void ngx_conduit_conf_key_error(ngx_conf_t *cf,
    conduit_jwt_keys_t *keys, ngx_str_t *name, const char *err,
    const char *hint);
static void ngx_conduit_conf_warn_secret(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *content);
static ngx_int_t ngx_conduit_conf_read(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *content);
static ngx_int_t ngx_conduit_conf_read_fd(ngx_conf_t *cf, ngx_fd_t fd,
    ngx_str_t *name, ngx_str_t *content);


char *
ngx_conduit_conf_password_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t           *value, content;
    ngx_conduit_conf_t  *cnf = conf;

    if (cnf->redis_password.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_conduit_conf_read(cf, &value[1], &content) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    while (content.len && (content.data[content.len - 1] == LF
                           || content.data[content.len - 1] == CR))
    {
        content.len--;
    }

    if (content.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "password file \"%V\" is empty", &value[1]);
        return NGX_CONF_ERROR;
    }

    cnf->redis_password = content;

    return NGX_CONF_OK;
}


char *
ngx_conduit_conf_secret_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_conduit_conf_add_keys(cf, conf, 1);
}


char *
ngx_conduit_conf_key_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_conduit_conf_add_keys(cf, conf, 0);
}


static char *
ngx_conduit_conf_add_keys(ngx_conf_t *cf, ngx_conduit_conf_t *conf,
    ngx_uint_t secret)
{
    size_t       len;
    ngx_str_t   *value, content, kid;
    const char  *err;

    value = cf->args->elts;

    ngx_str_null(&kid);

    if (cf->args->nelts == 3) {

        len = sizeof("kid=") - 1;

        if (value[2].len <= len
            || ngx_strncmp(value[2].data, "kid=", len) != 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        kid.data = value[2].data + len;
        kid.len = value[2].len - len;
    }

    if (conf->keys == NULL
        && ngx_conduit_conf_create_keys(cf, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (ngx_conduit_conf_read(cf, &value[1], &content) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (secret) {
        err = conduit_jwt_keys_add_secret(conf->keys, (char *) content.data,
                                          content.len, (char *) kid.data,
                                          kid.len);
    } else {
        err = conduit_jwt_keys_add_public(conf->keys, (char *) content.data,
                                          content.len, (char *) kid.data,
                                          kid.len);
    }

    if (err != NULL) {
        ngx_conduit_conf_key_error(cf, conf->keys, &value[1], err,
                                   secret ? NULL
                                   : conduit_jwt_hint_public(
                                         (char *) content.data, content.len));

    } else if (secret) {
        ngx_conduit_conf_warn_secret(cf, &value[1], &content);
    }

    ngx_explicit_memzero(content.data, content.len);

    return (err == NULL) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_conduit_conf_create_keys(ngx_conf_t *cf, ngx_conduit_conf_t *conf)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    conf->keys = conduit_jwt_keys_create();
    if (conf->keys == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_conduit_conf_free_keys;
    cln->data = conf->keys;

    return NGX_OK;
}


static void
ngx_conduit_conf_free_keys(void *data)
{
    conduit_jwt_keys_free(data);
}


static void
ngx_conduit_conf_key_error(ngx_conf_t *cf, conduit_jwt_keys_t *keys,
    ngx_str_t *name, const char *err, const char *hint)
{
    size_t   number;
    u_char  *p, text[sizeof(", key ") + NGX_SIZE_T_LEN];

    p = text;
    number = conduit_jwt_keys_failed(keys);

    if (number) {
        p = ngx_sprintf(p, ", key %uz", number);
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "key file \"%V\"%*s: %s%s%s",
                       name, (size_t) (p - text), text, err,
                       hint ? "; " : "", hint ? hint : "");
}


static void
ngx_conduit_conf_warn_secret(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *content)
{
    size_t       len;
    const char  *hint;

    hint = conduit_jwt_hint_secret((char *) content->data, content->len);

    if (hint != NULL) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "the secret in \"%V\" probably contains a mistake: "
                           "%s", name, hint);
    }

    len = conduit_jwt_secret_len((char *) content->data, content->len);

    if (len < CONDUIT_JWT_MIN_SECRET) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "the secret in \"%V\" has %uz bytes, HS256 needs "
                           "%d or more (\"openssl rand -hex 32\" makes one)",
                           name, len, CONDUIT_JWT_MIN_SECRET);
    }
}


/* content is allocated from cf->pool; callers overwrite secrets not kept */

static ngx_int_t
ngx_conduit_conf_read(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *content)
{
    ngx_fd_t   fd;
    ngx_int_t  rc;

    if (ngx_conf_full_name(cf->cycle, name, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    /* without NGX_FILE_NONBLOCK, opening a FIFO would wait for a writer */

    fd = ngx_open_file(name->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    rc = ngx_conduit_conf_read_fd(cf, fd, name, content);

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", name);
    }

    return rc;
}


static ngx_int_t
ngx_conduit_conf_read_fd(ngx_conf_t *cf, ngx_fd_t fd, ngx_str_t *name,
    ngx_str_t *content)
{
    off_t            size;
    ssize_t          n;
    ngx_file_info_t  fi;

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_fd_info_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    size = ngx_file_size(&fi);

    if (!ngx_is_file(&fi) || size == 0 || size > NGX_CONDUIT_MAX_KEY_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must be a file of 1 to %d bytes", name,
                           NGX_CONDUIT_MAX_KEY_FILE);
        return NGX_ERROR;
    }

    content->data = ngx_pnalloc(cf->pool, size);
    if (content->data == NULL) {
        return NGX_ERROR;
    }

    n = ngx_read_fd(fd, content->data, size);

    if (n != (ssize_t) size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, n == -1 ? ngx_errno : 0,
                           ngx_read_fd_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    content->len = size;

    return NGX_OK;
}
