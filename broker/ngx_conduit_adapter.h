/* Copyright (C) Conduit for NGINX authors */

/*
 * hiredis' asynchronous API on NGINX's event loop.
 */

#ifndef NGX_CONDUIT_ADAPTER_H
#define NGX_CONDUIT_ADAPTER_H

#include <ngx_config.h>
#include <ngx_core.h>

#include <hiredis/hiredis.h>
#include <hiredis/async.h>

#pragma GCC visibility push(hidden)

/* called when NGINX wants the connection closed (worker_shutdown_timeout);
   never from within a hiredis callback */
typedef void (*ngx_conduit_adapter_close_pt)(redisAsyncContext *ac);


/*
 * Attaches a connecting context to the event loop; ngx_conduit_limit_attach()
 * must have been called before.  tls: the context has to do a TLS handshake,
 * and reads and writes through OpenSSL.  The socket then belongs to an NGINX
 * connection, which lives until hiredis frees the context.  Returns NGX_OK, or
 * NGX_ERROR if no worker connection or memory is left: the caller then frees
 * the context.
 */
ngx_int_t ngx_conduit_adapter_attach(redisAsyncContext *ac,
    ngx_conduit_adapter_close_pt close, ngx_uint_t tls, ngx_log_t *log);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_ADAPTER_H */
