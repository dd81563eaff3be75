/* Copyright (C) Conduit for NGINX authors */

/*
 * Responses in gzip: chooses the compressed form of a frame for a client, and
 * keeps the checksum and the size of all its bytes, which end the gzip stream.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_gzip.h"


/* bytes of the largest frame that is chained to the one before: for a larger
   one a dictionary saves little, and it would have to be compressed twice, once
   for each form */
#define NGX_CONDUIT_GZIP_CHAINED  32768


static ngx_conduit_form_t *ngx_conduit_gzip_form(ngx_conduit_gzip_t *gz,
    ngx_conduit_frame_t *frame, size_t *grown);
static void ngx_conduit_gzip_count(ngx_conduit_gzip_t *gz, uint32_t crc,
    uint32_t op, size_t len);
static uint64_t ngx_conduit_gzip_serial(ngx_conduit_frame_t *frame);


const ngx_str_t *
ngx_conduit_gzip_frame(ngx_conduit_gzip_t *gz, ngx_conduit_frame_t *frame,
    ngx_conduit_frame_t *last, size_t *grown)
{
    ngx_conduit_form_t      *form;
    ngx_conduit_deflated_t  *d;

    *grown = 0;

    if (frame->deflated == NULL) {
        frame->deflated = ngx_conduit_deflated_create(frame->data, frame->len);
        *grown = frame->deflated ? sizeof(ngx_conduit_deflated_t) : 0;
    }

    d = frame->deflated;

    if (d == NULL) {
        ngx_conduit_gzip_text(gz, frame->data, frame->len);
        form = NULL;

    } else {
        form = ngx_conduit_gzip_form(gz, frame, grown);
        ngx_conduit_gzip_count(gz, d->crc, d->op, frame->len);
    }

    last->refs++;
    ngx_conduit_gzip_release(gz);
    gz->tail = last;

    if (form == NULL || form->piece.data == NULL) {
        return NULL;
    }

    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_GZIP_SAVED,
                            frame->len > form->piece.len
                            ? frame->len - form->piece.len : 0);

    return &form->piece;
}


/*
 * Returns the form of a frame that a client can decompress, and makes it if
 * needed: chained, if the client was last sent the frame that it is chained to,
 * else alone.  That frame is recognized by its serial number, not by its
 * address, because it may be freed while the form is kept, and another frame
 * may then have its address.
 */

static ngx_conduit_form_t *
ngx_conduit_gzip_form(ngx_conduit_gzip_t *gz, ngx_conduit_frame_t *frame,
    size_t *grown)
{
    ngx_conduit_frame_t     *tail;
    ngx_conduit_deflated_t  *d;

    d = frame->deflated;
    tail = gz->tail;

    if (tail != NULL && frame->len <= NGX_CONDUIT_GZIP_CHAINED) {

        if (!d->chained.made) {
            d->after = ngx_conduit_gzip_serial(tail);
            *grown += ngx_conduit_deflated_make(&d->chained, tail->data,
                                                tail->len, frame->data,
                                                frame->len);
        }

        if (d->after == ngx_conduit_gzip_serial(tail)) {
            return &d->chained;
        }
    }

    *grown += ngx_conduit_deflated_make(&d->alone, NULL, 0, frame->data,
                                        frame->len);

    return &d->alone;
}


static uint64_t
ngx_conduit_gzip_serial(ngx_conduit_frame_t *frame)
{
    static uint64_t  serial;

    if (frame->serial == 0) {
        frame->serial = ++serial;
    }

    return frame->serial;
}


/* adds len bytes to the checksum and the size of all bytes sent to a client;
   crc is their checksum, op is conduit_deflate_crc_op() of len */

static void
ngx_conduit_gzip_count(ngx_conduit_gzip_t *gz, uint32_t crc, uint32_t op,
    size_t len)
{
    gz->crc = conduit_deflate_crc_join(gz->crc, crc, op);
    gz->size += (uint32_t) len;
}


void
ngx_conduit_gzip_text(ngx_conduit_gzip_t *gz, const void *data, size_t len)
{
    ngx_conduit_gzip_count(gz, conduit_deflate_crc(data, len),
                           conduit_deflate_crc_op(len), len);
    ngx_conduit_gzip_release(gz);
}


void
ngx_conduit_gzip_begin_last(conduit_buf_t *b)
{
    static const u_char  head[CONDUIT_DEFLATE_STORED];

    conduit_buf_append(b, head, sizeof(head));
}


void
ngx_conduit_gzip_finish_last(ngx_conduit_gzip_t *gz, conduit_buf_t *b)
{
    char    *end;
    size_t   len;

    end = conduit_buf_reserve(b, CONDUIT_DEFLATE_END);

    if (end == NULL) {
        return;
    }

    len = b->len - CONDUIT_DEFLATE_STORED;

    conduit_deflate_stored(len, (u_char *) b->data);
    ngx_conduit_gzip_text(gz, b->data + CONDUIT_DEFLATE_STORED, len);

    conduit_deflate_end(gz->crc, gz->size, (u_char *) end);
    b->len += CONDUIT_DEFLATE_END;
}


void
ngx_conduit_gzip_release(ngx_conduit_gzip_t *gz)
{
    if (gz->tail != NULL) {
        ngx_conduit_frame_release(gz->tail);
        gz->tail = NULL;
    }
}
