/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as the frames of a stream, and any sequence of them as what a
 * client is sent: chained, alone or stored.  One inflate reads the whole as the
 * same bytes, and its trailer is valid.  Any bytes as an Accept-Encoding are
 * read within their bounds.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "conduit_buf.h"
#include "conduit_deflate.h"

#define FRAMES  8


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


typedef struct {
    const uint8_t  *data;
    size_t          len;
} frame_t;


static conduit_deflate_t  *d;
static conduit_buf_t       sent, plain, out, large[FRAMES];


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


/* the input is cut into frames; some repeat theirs up to many KB */

static size_t
fuzz_frames(const uint8_t **data, size_t *size, frame_t *frames)
{
    size_t  n, len, times;

    for (n = 0; n < FRAMES && *size > 2; n++) {
        len = (size_t) (*data)[0] % (*size - 1) + 1;
        times = (*data)[0] == 255 ? (size_t) (*data)[1] * 16 : 0;
        frames[n].data = *data + 1;
        frames[n].len = len;

        if (times) {
            conduit_buf_reset(&large[n]);

            while (times--) {
                conduit_buf_append(&large[n], frames[n].data, len);
            }

            frames[n].data = (uint8_t *) large[n].data;
            frames[n].len = large[n].len;
        }

        *data += 1 + len;
        *size -= 1 + len;
    }

    return n;
}


static void
fuzz_send(const frame_t *tail, const frame_t *f)
{
    size_t                i, n;
    unsigned char         head[CONDUIT_DEFLATE_STORED];
    const unsigned char  *piece;

    piece = conduit_deflate_piece(d, tail ? tail->data : NULL,
                                  tail ? tail->len : 0, f->data, f->len, &n);

    if (piece != NULL) {
        conduit_buf_append(&sent, piece, n);
        return;
    }

    for (i = 0; i < f->len; i += n) {
        n = f->len - i < CONDUIT_DEFLATE_BLOCK ? f->len - i
                                               : CONDUIT_DEFLATE_BLOCK;
        conduit_deflate_stored(n, head);
        conduit_buf_append(&sent, head, sizeof(head));
        conduit_buf_append(&sent, f->data + i, n);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t          i, n, at;
    z_stream        s;
    uint32_t        crc;
    frame_t         frames[FRAMES];
    const frame_t  *f, *tail;
    unsigned char   end[CONDUIT_DEFLATE_END];

    (void) conduit_deflate_accepted((const char *) data, size);

    if (d == NULL) {
        d = conduit_deflate_create();
        fuzz_check(d != NULL);
    }

    n = fuzz_frames(&data, &size, frames);

    conduit_buf_reset(&sent);
    conduit_buf_reset(&plain);
    conduit_buf_append(&sent, conduit_deflate_header, CONDUIT_DEFLATE_HEADER);

    crc = 0;
    at = 0;
    tail = NULL;

    for (i = 0; n && i < 2 * FRAMES; i++) {

        /* what is left of the input says what is sent */

        if (i < size) {
            at = data[i] % n;
            tail = data[i] & 0x80 ? NULL : tail;
        }

        f = &frames[at];
        at = (at + 1) % n;

        fuzz_send(tail, f);
        conduit_buf_append(&plain, f->data, f->len);
        crc = conduit_deflate_crc_join(crc,
                                       conduit_deflate_crc(f->data, f->len),
                                       conduit_deflate_crc_op(f->len));
        tail = f;
    }

    conduit_deflate_end(crc, (uint32_t) plain.len, end);
    conduit_buf_append(&sent, end, sizeof(end));

    conduit_buf_reset(&out);
    fuzz_check(conduit_buf_reserve(&out, plain.len + 1) != NULL);

    memset(&s, 0, sizeof(s));
    fuzz_check(inflateInit2(&s, 16 + MAX_WBITS) == Z_OK);
    s.next_in = (unsigned char *) sent.data;
    s.avail_in = (unsigned int) sent.len;
    s.next_out = (unsigned char *) out.data;
    s.avail_out = (unsigned int) plain.len + 1;

    fuzz_check(inflate(&s, Z_FINISH) == Z_STREAM_END);
    fuzz_check(s.avail_in == 0 && s.avail_out == 1);
    fuzz_check(plain.len == 0 || memcmp(out.data, plain.data, plain.len) == 0);

    inflateEnd(&s);

    return 0;
}
