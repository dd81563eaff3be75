/* Copyright (C) Conduit for NGINX authors */

/*
 * TLS to Redis.
 *
 * hiredis does the handshake with the first writes and reads; a certificate
 * that is refused ends the connection like any other failure.  hiredis reads up
 * to 16k at once, which is a whole record: no decrypted data stays in OpenSSL
 * without an event, as long as OpenSSL does not read ahead.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_tls.h"

#if (NGX_CONDUIT_HIREDIS_SSL)
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <hiredis/hiredis_ssl.h>
#endif


void
ngx_conduit_tls_conf_init(ngx_conduit_tls_conf_t *conf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     conf->trusted_certificate = { 0, NULL };
     *     conf->name = { 0, NULL };
     *     conf->certificate = { 0, NULL };
     *     conf->certificate_key = { 0, NULL };
     */

    conf->verify = NGX_CONF_UNSET;
}


ngx_uint_t
ngx_conduit_tls_conf_given(ngx_conduit_tls_conf_t *conf)
{
    return conf->trusted_certificate.len || conf->verify != NGX_CONF_UNSET
           || conf->name.len || conf->certificate.len
           || conf->certificate_key.len;
}


void
ngx_conduit_tls_conf_merge(ngx_conduit_tls_conf_t *prev,
    ngx_conduit_tls_conf_t *conf)
{
    ngx_conf_merge_str_value(conf->trusted_certificate,
                             prev->trusted_certificate, "");
    ngx_conf_merge_value(conf->verify, prev->verify, 1);
    ngx_conf_merge_str_value(conf->name, prev->name, "");
    ngx_conf_merge_str_value(conf->certificate, prev->certificate, "");
    ngx_conf_merge_str_value(conf->certificate_key, prev->certificate_key, "");
}


#if (NGX_CONDUIT_HIREDIS_SSL)


#define NGX_CONDUIT_TLS_NAME_MAX  255


struct ngx_conduit_tls_s {
    ngx_conduit_tls_conf_t   conf;     /* with full file names */
    SSL_CTX                 *ctx;
    ngx_cycle_t             *cycle;
    ngx_conduit_tls_t       *next;
};


/* the directive, for log messages of ngx_conduit_tls_get() */
typedef struct {
    ngx_log_t   *log;
    u_char      *file;
    ngx_uint_t   line;
} ngx_conduit_tls_place_t;


static ngx_uint_t ngx_conduit_tls_equal(ngx_conduit_tls_conf_t *a,
    ngx_conduit_tls_conf_t *b);
static void ngx_conduit_tls_cleanup(void *data);
static ngx_int_t ngx_conduit_tls_init(ngx_conduit_tls_t *tls,
    ngx_conduit_tls_place_t *place);
static ngx_int_t ngx_conduit_tls_certificate(ngx_conduit_tls_t *tls,
    ngx_conduit_tls_place_t *place);
static ngx_int_t ngx_conduit_tls_failed(ngx_conduit_tls_place_t *place,
    const char *what, ngx_str_t *name);
static int ngx_conduit_tls_no_password(char *buf, int size, int rwflag,
    void *data);
static ngx_int_t ngx_conduit_tls_expect(ngx_conduit_tls_t *tls, SSL *ssl,
    ngx_str_t *host);


/* the settings of all configurations in use or being read */
static ngx_conduit_tls_t  *ngx_conduit_tls_all;


ngx_conduit_tls_t *
ngx_conduit_tls_get(ngx_conf_t *cf, ngx_conduit_tls_conf_t *conf, u_char *file,
    ngx_uint_t line)
{
    ngx_uint_t                i;
    ngx_conduit_tls_t        *tls, *t;
    ngx_pool_cleanup_t       *cln;
    ngx_conduit_tls_place_t   place;

    tls = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_tls_t));
    if (tls == NULL) {
        return NULL;
    }

    tls->conf = *conf;
    tls->cycle = cf->cycle;

    ngx_str_t  *files[] = { &tls->conf.trusted_certificate,
                            &tls->conf.certificate,
                            &tls->conf.certificate_key };

    for (i = 0; i < 3; i++) {
        if (files[i]->len
            && ngx_conf_full_name(cf->cycle, files[i], 1) != NGX_OK)
        {
            return NULL;
        }
    }

    for (t = ngx_conduit_tls_all; t != NULL; t = t->next) {
        if (t->cycle == cf->cycle
            && ngx_conduit_tls_equal(&t->conf, &tls->conf))
        {
            return t;
        }
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_conduit_tls_cleanup;
    cln->data = tls;

    tls->next = ngx_conduit_tls_all;
    ngx_conduit_tls_all = tls;

    place.log = cf->log;
    place.file = file;
    place.line = line;

    return ngx_conduit_tls_init(tls, &place) == NGX_OK ? tls : NULL;
}


static ngx_uint_t
ngx_conduit_tls_equal(ngx_conduit_tls_conf_t *a, ngx_conduit_tls_conf_t *b)
{
#define equal(x, y)                                                           \
    ((x).len == (y).len && ngx_memcmp((x).data, (y).data, (x).len) == 0)

    return a->verify == b->verify
           && equal(a->trusted_certificate, b->trusted_certificate)
           && equal(a->name, b->name)
           && equal(a->certificate, b->certificate)
           && equal(a->certificate_key, b->certificate_key);

#undef equal
}


static void
ngx_conduit_tls_cleanup(void *data)
{
    ngx_conduit_tls_t  *tls = data, **p;

    for (p = &ngx_conduit_tls_all; *p != NULL; p = &(*p)->next) {
        if (*p == tls) {
            *p = tls->next;
            break;
        }
    }

    /* connections that still exist hold their own references */

    SSL_CTX_free(tls->ctx);
}


static ngx_int_t
ngx_conduit_tls_init(ngx_conduit_tls_t *tls, ngx_conduit_tls_place_t *place)
{
    ngx_str_t  *trusted;

    trusted = &tls->conf.trusted_certificate;

    if (tls->conf.name.len > NGX_CONDUIT_TLS_NAME_MAX) {
        return ngx_conduit_tls_failed(place, "too long name",
                                      &tls->conf.name);
    }

    ngx_conduit_tls_clear();

    tls->ctx = SSL_CTX_new(TLS_client_method());

    if (tls->ctx == NULL
        || SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION) == 0)
    {
        return ngx_conduit_tls_failed(place, "SSL_CTX_new() failed", NULL);
    }

    SSL_CTX_set_options(tls->ctx, SSL_OP_NO_COMPRESSION);
#ifdef SSL_OP_NO_RENEGOTIATION
    SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION);
#endif
    SSL_CTX_set_read_ahead(tls->ctx, 0);

    SSL_CTX_set_verify(tls->ctx, tls->conf.verify ? SSL_VERIFY_PEER
                                                  : SSL_VERIFY_NONE, NULL);

    if (trusted->len) {

        if (SSL_CTX_load_verify_locations(tls->ctx, (char *) trusted->data,
                                          NULL)
            == 0)
        {
            return ngx_conduit_tls_failed(place, "cannot load certificates of",
                                          trusted);
        }

    } else if (tls->conf.verify
               && SSL_CTX_set_default_verify_paths(tls->ctx) == 0)
    {
        return ngx_conduit_tls_failed(place, "cannot load the system's "
                                      "certificates", NULL);
    }

    /* missing system files leave errors in the queue, but are not an error */
    ngx_conduit_tls_clear();

    return ngx_conduit_tls_certificate(tls, place);
}


static ngx_int_t
ngx_conduit_tls_certificate(ngx_conduit_tls_t *tls,
    ngx_conduit_tls_place_t *place)
{
    ngx_str_t  *crt, *key;

    crt = &tls->conf.certificate;
    key = &tls->conf.certificate_key;

    if (crt->len == 0 && key->len == 0) {
        return NGX_OK;
    }

    if (key->len == 0) {
        return ngx_conduit_tls_failed(place, "no key is defined for "
                                      "certificate", crt);
    }

    if (crt->len == 0) {
        return ngx_conduit_tls_failed(place, "no certificate is defined for "
                                      "key", key);
    }

    if (SSL_CTX_use_certificate_chain_file(tls->ctx, (char *) crt->data) == 0) {
        return ngx_conduit_tls_failed(place, "cannot load certificate", crt);
    }

    /* there is nobody to type in a password */
    SSL_CTX_set_default_passwd_cb(tls->ctx, ngx_conduit_tls_no_password);

    if (SSL_CTX_use_PrivateKey_file(tls->ctx, (char *) key->data,
                                    SSL_FILETYPE_PEM)
        == 0
        || SSL_CTX_check_private_key(tls->ctx) == 0)
    {
        return ngx_conduit_tls_failed(place, "cannot load certificate key",
                                      key);
    }

    return NGX_OK;
}


static int
ngx_conduit_tls_no_password(char *buf, int size, int rwflag, void *data)
{
    return -1;
}


/* logs the failure, with OpenSSL's reason if there is one */

static ngx_int_t
ngx_conduit_tls_failed(ngx_conduit_tls_place_t *place, const char *what,
    ngx_str_t *name)
{
    u_char         text[NGX_MAX_CONF_ERRSTR], *p, *last;
    const char    *reason;
    unsigned long  err;

    p = text;
    last = text + NGX_MAX_CONF_ERRSTR;

    if (name != NULL) {
        p = ngx_slprintf(p, last, " \"%V\"", name);
    }

    /* the first error is the cause, the others were reported on the way up */

    err = ERR_peek_error();

    if (err) {
        reason = ERR_reason_error_string(err);

#ifdef ERR_SYSTEM_ERROR
        if (reason == NULL && ERR_SYSTEM_ERROR(err)) {
            reason = strerror(ERR_GET_REASON(err));
        }
#endif

        p = ngx_slprintf(p, last, " (%s)", reason ? reason : "no reason given");
    }

    ngx_conduit_tls_clear();

    ngx_log_error(NGX_LOG_EMERG, place->log, 0, "rediss: %s%*s in %s:%ui",
                  what, (size_t) (p - text), text, place->file, place->line);

    return NGX_ERROR;
}


SSL *
ngx_conduit_tls_connect(ngx_conduit_tls_t *tls, redisAsyncContext *ac,
    ngx_str_t *host, const char **why)
{
    SSL  *ssl;

    ngx_conduit_tls_clear();

    if (tls->conf.name.len) {
        host = &tls->conf.name;
    }

    ssl = SSL_new(tls->ctx);

    if (ssl == NULL || ngx_conduit_tls_expect(tls, ssl, host) != NGX_OK) {
        *why = ngx_conduit_tls_why(ssl, "out of memory");
        SSL_free(ssl);
        ssl = NULL;

    } else if (redisInitiateSSL(&ac->c, ssl) != REDIS_OK) {

        /* a server nearby may already have failed the handshake */

        *why = ngx_conduit_tls_why(ssl, ac->c.errstr);
        SSL_free(ssl);
        ssl = NULL;
    }

    ngx_conduit_tls_clear();

    return ssl;
}


/* sets the name or address that the certificate must have, and SNI */

static ngx_int_t
ngx_conduit_tls_expect(ngx_conduit_tls_t *tls, SSL *ssl, ngx_str_t *host)
{
    char               name[NGX_CONDUIT_TLS_NAME_MAX + 1];
    X509_VERIFY_PARAM  *param;

    if (host->len == 0 || host->len > NGX_CONDUIT_TLS_NAME_MAX) {
        return NGX_ERROR;
    }

    ngx_memcpy(name, host->data, host->len);
    name[host->len] = '\0';

    param = SSL_get0_param(ssl);

    if (X509_VERIFY_PARAM_set1_ip_asc(param, name)) {
        return NGX_OK;
    }

    /* the host is a name: drop the error of set1_ip_asc() */
    ngx_conduit_tls_clear();

    if (tls->conf.verify) {
        X509_VERIFY_PARAM_set_hostflags(param,
                                        X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);

        if (X509_VERIFY_PARAM_set1_host(param, name, host->len) == 0) {
            return NGX_ERROR;
        }
    }

    return SSL_set_tlsext_host_name(ssl, name) ? NGX_OK : NGX_ERROR;
}


const char *
ngx_conduit_tls_why(SSL *ssl, const char *why)
{
    long           result;
    const char    *reason;
    unsigned long  err;

    static char    text[128];

    if (ssl == NULL) {
        return why;
    }

    err = ERR_peek_error();

    if (err == 0) {
        return why;
    }

#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
    if (ERR_GET_LIB(err) == ERR_LIB_SSL
        && ERR_GET_REASON(err) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
    {
        return "Server closed the connection";
    }
#endif

    result = SSL_get_verify_result(ssl);

    if (ERR_GET_LIB(err) == ERR_LIB_SSL
        && ERR_GET_REASON(err) == SSL_R_CERTIFICATE_VERIFY_FAILED
        && result != X509_V_OK)
    {
        (void) ngx_snprintf((u_char *) text, sizeof(text),
                            "certificate verify failed: %s%Z",
                            X509_verify_cert_error_string(result));

    } else {
        reason = ERR_reason_error_string(err);

        (void) ngx_snprintf((u_char *) text, sizeof(text), "%s%s%Z",
                            ERR_GET_LIB(err) == ERR_LIB_SYS ? "" : "TLS: ",
                            reason ? reason : why);
    }

    text[sizeof(text) - 1] = '\0';

    return text;
}


ngx_uint_t
ngx_conduit_tls_shaking(SSL *ssl)
{
    return ssl != NULL && !SSL_is_init_finished(ssl);
}


void
ngx_conduit_tls_clear(void)
{
    ERR_clear_error();
}


#else /* !NGX_CONDUIT_HIREDIS_SSL */


ngx_conduit_tls_t *
ngx_conduit_tls_get(ngx_conf_t *cf, ngx_conduit_tls_conf_t *conf, u_char *file,
    ngx_uint_t line)
{
    return NULL;
}


SSL *
ngx_conduit_tls_connect(ngx_conduit_tls_t *tls, redisAsyncContext *ac,
    ngx_str_t *host, const char **why)
{
    *why = "no TLS";

    return NULL;
}


const char *
ngx_conduit_tls_why(SSL *ssl, const char *why)
{
    return why;
}


ngx_uint_t
ngx_conduit_tls_shaking(SSL *ssl)
{
    return 0;
}


void
ngx_conduit_tls_clear(void)
{
    /* void */
}


#endif
