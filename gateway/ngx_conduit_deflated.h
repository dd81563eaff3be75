/* Copyright (C) Conduit for NGINX authors */

/*
 * The compressed forms of a frame's bytes.  Each is made when the first client
 * needs it, and kept as long as the frame.
 */

#ifndef NGX_CONDUIT_DEFLATED_H
#define NGX_CONDUIT_DEFLATED_H

#include <ngx_config.h>
#include <ngx_core.h>

#pragma GCC visibility push(hidden)

/* a form; its piece has no data if the bytes are to be sent uncompressed, in a
   stored block (RFC 1951, 3.2.4) */
typedef struct {
    ngx_str_t               piece;
    unsigned                made:1;
} ngx_conduit_form_t;

typedef struct {
    uint32_t                crc;           /* of the uncompressed bytes */
    uint32_t                op;            /* conduit_deflate_crc_op() */
    ngx_conduit_form_t      alone;
    ngx_conduit_form_t      chained;
    uint64_t                after;         /* serial number of the frame that
                                              chained refers to */
} ngx_conduit_deflated_t;


/*
 * Allocates the forms of a frame with len bytes; ngx_conduit_deflated_make()
 * makes each of them later.  Returns NULL when memory is out.
 */
ngx_conduit_deflated_t *ngx_conduit_deflated_create(const u_char *data,
    size_t len);

/*
 * Compresses a form, with a dictionary if dict_len is not 0; does nothing if
 * that was done before.  A form that would not be shorter than the bytes, or
 * that there is no memory for, stays without data.  Returns how many bytes of
 * memory were allocated.
 */
size_t ngx_conduit_deflated_make(ngx_conduit_form_t *form, const u_char *dict,
    size_t dict_len, const u_char *data, size_t len);

/* Frees the forms; d may be NULL. */
void ngx_conduit_deflated_free(ngx_conduit_deflated_t *d);

/* The worker exits: frees the state of zlib. */
void ngx_conduit_deflated_close(void);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_DEFLATED_H */
