/* Copyright (C) Conduit for NGINX authors */

/*
 * The compressed forms of a frame's bytes.  A worker makes all of them with one
 * state of zlib, which it allocates on first use.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_deflate.h"
#include "ngx_conduit_deflated.h"
#include "ngx_conduit_gateway_metrics.h"


static const u_char *ngx_conduit_deflated_piece(const u_char *dict,
    size_t dict_len, const u_char *data, size_t len, size_t *piece_len);


/* the worker's state of zlib; NULL until it is needed */
static conduit_deflate_t  *ngx_conduit_deflater;


ngx_conduit_deflated_t *
ngx_conduit_deflated_create(const u_char *data, size_t len)
{
    ngx_conduit_deflated_t  *d;

    d = ngx_calloc(sizeof(ngx_conduit_deflated_t), ngx_cycle->log);

    if (d != NULL) {
        d->crc = conduit_deflate_crc(data, len);
        d->op = conduit_deflate_crc_op(len);
    }

    return d;
}


size_t
ngx_conduit_deflated_make(ngx_conduit_form_t *form, const u_char *dict,
    size_t dict_len, const u_char *data, size_t len)
{
    size_t         n;
    u_char        *p;
    const u_char  *piece;

    if (form->made) {
        return 0;
    }

    form->made = 1;

    piece = ngx_conduit_deflated_piece(dict, dict_len, data, len, &n);

    p = piece != NULL ? ngx_alloc(n, ngx_cycle->log) : NULL;

    if (p == NULL) {
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_DEFLATED
                                  + NGX_CONDUIT_DEFLATED_STORED);
        return 0;
    }

    ngx_memcpy(p, piece, n);

    form->piece.data = p;
    form->piece.len = n;

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_DEFLATED
                              + (dict_len ? NGX_CONDUIT_DEFLATED_CHAINED
                                          : NGX_CONDUIT_DEFLATED_ALONE));

    return n;
}


static const u_char *
ngx_conduit_deflated_piece(const u_char *dict, size_t dict_len,
    const u_char *data, size_t len, size_t *piece_len)
{
    if (ngx_conduit_deflater == NULL) {

        ngx_conduit_deflater = conduit_deflate_create();

        if (ngx_conduit_deflater == NULL) {
            ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                          "conduit: not enough memory to compress an event, "
                          "it is sent uncompressed");
            return NULL;
        }
    }

    return conduit_deflate_piece(ngx_conduit_deflater, dict, dict_len, data,
                                 len, piece_len);
}


void
ngx_conduit_deflated_free(ngx_conduit_deflated_t *d)
{
    if (d == NULL) {
        return;
    }

    if (d->alone.piece.data != NULL) {
        ngx_free(d->alone.piece.data);
    }

    if (d->chained.piece.data != NULL) {
        ngx_free(d->chained.piece.data);
    }

    ngx_free(d);
}


void
ngx_conduit_deflated_close(void)
{
    conduit_deflate_destroy(ngx_conduit_deflater);
    ngx_conduit_deflater = NULL;
}
