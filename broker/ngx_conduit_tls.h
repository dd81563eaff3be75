/* Copyright (C) Conduit for NGINX authors */

/*
 * TLS to Redis ("rediss"): settings and certificates are read with the
 * configuration, and each connection does a handshake.  Needs hiredis 1.0; with
 * an older one ngx_conduit_tls_supported is 0 and nothing else is called.
 */

#ifndef NGX_CONDUIT_TLS_H
#define NGX_CONDUIT_TLS_H

#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/ssl.h>
#include <hiredis/hiredis.h>
#include <hiredis/async.h>

#pragma GCC visibility push(hidden)

#if (NGX_CONDUIT_HIREDIS_SSL)
#define ngx_conduit_tls_supported  1
#else
#define ngx_conduit_tls_supported  0
#endif

/* the values of the directives */
typedef struct {
    ngx_str_t     trusted_certificate;   /* a file; empty: the system's */
    ngx_flag_t    verify;
    ngx_str_t     name;                  /* empty: the host's */
    ngx_str_t     certificate;           /* a file, or empty */
    ngx_str_t     certificate_key;       /* a file, or empty */
} ngx_conduit_tls_conf_t;

typedef struct ngx_conduit_tls_s  ngx_conduit_tls_t;


/* Sets the fields to "not set". */
void ngx_conduit_tls_conf_init(ngx_conduit_tls_conf_t *conf);

/* Whether any field was set; to be called before the fields are merged. */
ngx_uint_t ngx_conduit_tls_conf_given(ngx_conduit_tls_conf_t *conf);

/* Merges the fields. */
void ngx_conduit_tls_conf_merge(ngx_conduit_tls_conf_t *prev,
    ngx_conduit_tls_conf_t *conf);

/*
 * Returns the object that connections with these settings use; equal settings
 * of a configuration share one, so that pointers may be compared.  It lives as
 * long as cf->cycle.  Relative file names count from the configuration.
 * Returns NULL after logging what is wrong at emerg level, with file and line
 * of the directive that wants TLS.
 */
ngx_conduit_tls_t *ngx_conduit_tls_get(ngx_conf_t *cf,
    ngx_conduit_tls_conf_t *conf, u_char *file, ngx_uint_t line);

/*
 * Starts the handshake on a context that has just begun to connect, before it
 * is given its events.  host is the name or address that the certificate must
 * have, unless a name is set in the configuration.  Returns the SSL object,
 * which belongs to the context from now on; or NULL with the reason in *why,
 * see ngx_conduit_tls_why().
 */
SSL *ngx_conduit_tls_connect(ngx_conduit_tls_t *tls, redisAsyncContext *ac,
    ngx_str_t *host, const char **why);

/*
 * Returns why a connection failed; to be called in the callback in which
 * hiredis reports it, as hiredis itself knows an errno at best.  why is the
 * reason known so far: returns it, or a text that is valid until the next call.
 */
const char *ngx_conduit_tls_why(SSL *ssl, const char *why);

/* Whether the handshake is not yet complete; ssl may be NULL. */
ngx_uint_t ngx_conduit_tls_shaking(SSL *ssl);

/*
 * To be called before and after hiredis reads or writes: OpenSSL has one queue
 * of errors for all connections, NGINX's included.
 */
void ngx_conduit_tls_clear(void);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_TLS_H */
