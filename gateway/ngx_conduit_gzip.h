/* Copyright (C) Conduit for NGINX authors */

/*
 * Responses in gzip ("conduit_gateway_gzip"): the compressed forms of a frame,
 * made once in a worker and shared by all clients; and what one client has been
 * sent.
 *
 * A client's response is a sequence of pieces (conduit_deflate.h).  An event is
 * sent "chained" to the frame before it if the last bytes that the client was
 * sent are those of that frame, else "alone".  Other bytes, such as comments
 * and control events, are sent in stored blocks, without compression, and the
 * event after them is sent alone.
 */

#ifndef NGX_CONDUIT_GZIP_H
#define NGX_CONDUIT_GZIP_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_buf.h"
#include "conduit_deflate.h"
#include "ngx_conduit_frame.h"

#pragma GCC visibility push(hidden)

/* what a client was sent in gzip; all zero if its response is not in gzip */
typedef struct {
    ngx_conduit_frame_t    *tail;          /* the frame that the bytes sent so
                                              far end with, referenced; NULL:
                                              they end with other bytes */
    uint32_t                crc;           /* of the uncompressed bytes */
    uint32_t                size;          /* their number modulo 2^32 */
    unsigned                on:1;
} ngx_conduit_gzip_t;


/*
 * Counts a frame as sent to a client.  last is the frame that its bytes end
 * with: the frame itself, or the last event of a bundle.  Returns the piece to
 * send, which lives as long as the frame; or NULL when the bytes of the frame
 * are to be sent stored.  *grown is set to the number of bytes that were
 * allocated for forms of the frame.
 */
const ngx_str_t *ngx_conduit_gzip_frame(ngx_conduit_gzip_t *gz,
    ngx_conduit_frame_t *frame, ngx_conduit_frame_t *last, size_t *grown);

/* Counts other bytes as sent to a client, stored. */
void ngx_conduit_gzip_text(ngx_conduit_gzip_t *gz, const void *data,
    size_t len);

/*
 * For the last bytes of a response: the caller calls begin() with an empty
 * buffer, appends the bytes, at most CONDUIT_DEFLATE_BLOCK, and calls finish().
 * The buffer then has the bytes stored, and the end of the gzip stream.
 */
void ngx_conduit_gzip_begin_last(conduit_buf_t *b);
void ngx_conduit_gzip_finish_last(ngx_conduit_gzip_t *gz, conduit_buf_t *b);

/* Releases the frame that a client holds. */
void ngx_conduit_gzip_release(ngx_conduit_gzip_t *gz);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GZIP_H */
