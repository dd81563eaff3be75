/* Copyright (C) Conduit for NGINX authors */

/*
 * The pieces of a response in gzip.
 */

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <zlib.h>

#include "conduit_buf.h"
#include "conduit_deflate.h"


/* after large bytes were compressed, an output buffer larger than this is
   freed */
#define CONDUIT_DEFLATE_KEEP  262144

/* the polynomial of CRC-32; the highest bit stands for x^0 */
#define CONDUIT_DEFLATE_POLY  0xedb88320U
#define CONDUIT_DEFLATE_ONE   0x80000000U


struct conduit_deflate_s {
    z_stream       stream;
    conduit_buf_t  out;
};


/* the file's name and time are not set, and the operating system is unknown */

const unsigned char  conduit_deflate_header[CONDUIT_DEFLATE_HEADER] = {
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255
};


static void *conduit_deflate_alloc(void *opaque, unsigned int items,
    unsigned int size);
static void conduit_deflate_free(void *opaque, void *p);
static size_t conduit_deflate_run(conduit_deflate_t *d, const void *dict,
    size_t dict_len, const void *data, size_t len);
static uint32_t conduit_deflate_multiply(uint32_t a, uint32_t b);
static const char *conduit_deflate_skip(const char *p, const char *end);
static int conduit_deflate_weight(const char *p, const char *end);


conduit_deflate_t *
conduit_deflate_create(void)
{
    conduit_deflate_t  *d;

    d = calloc(1, sizeof(conduit_deflate_t));
    if (d == NULL) {
        return NULL;
    }

    d->stream.zalloc = conduit_deflate_alloc;
    d->stream.zfree = conduit_deflate_free;

    /* a negative number of bits: blocks only, without zlib's header */

    if (deflateInit2(&d->stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS,
                     8, Z_DEFAULT_STRATEGY)
        != Z_OK)
    {
        free(d);
        return NULL;
    }

    return d;
}


static void *
conduit_deflate_alloc(void *opaque, unsigned int items, unsigned int size)
{
    (void) opaque;

    return calloc(items, size);
}


static void
conduit_deflate_free(void *opaque, void *p)
{
    (void) opaque;

    free(p);
}


void
conduit_deflate_destroy(conduit_deflate_t *d)
{
    if (d == NULL) {
        return;
    }

    (void) deflateEnd(&d->stream);
    conduit_buf_free(&d->out);
    free(d);
}


const unsigned char *
conduit_deflate_piece(conduit_deflate_t *d, const void *dict, size_t dict_len,
    const void *data, size_t len, size_t *piece_len)
{
    size_t  n;

    if (d->out.cap > CONDUIT_DEFLATE_KEEP) {
        conduit_buf_free(&d->out);
    }

    conduit_buf_reset(&d->out);

    n = conduit_deflate_run(d, dict, dict_len, data, len);

    *piece_len = n;

    return n ? (const unsigned char *) d->out.data : NULL;
}


/* returns the length of the piece in d->out, or 0 */

static size_t
conduit_deflate_run(conduit_deflate_t *d, const void *dict, size_t dict_len,
    const void *data, size_t len)
{
    char      *out;
    size_t     room;
    z_stream  *s;

    s = &d->stream;

    /* room for the bytes of the stored form, as a piece that fills it would be
       of no use; zlib counts in unsigned int */

    room = len + (len / CONDUIT_DEFLATE_BLOCK + 1) * CONDUIT_DEFLATE_STORED;

    if (len == 0 || room > INT_MAX) {
        return 0;
    }

    out = conduit_buf_reserve(&d->out, room);

    if (out == NULL || deflateReset(s) != Z_OK) {
        return 0;
    }

    if (dict_len > 1U << MAX_WBITS) {
        dict = (const char *) dict + dict_len - (1U << MAX_WBITS);
        dict_len = 1U << MAX_WBITS;
    }

    if (dict_len
        && deflateSetDictionary(s, dict, (unsigned int) dict_len) != Z_OK)
    {
        return 0;
    }

    s->next_in = (unsigned char *) (uintptr_t) data;
    s->avail_in = (unsigned int) len;
    s->next_out = (unsigned char *) out;
    s->avail_out = (unsigned int) room;

    /* if the buffer is full, the piece may have more bytes that did not fit */

    if (deflate(s, Z_SYNC_FLUSH) != Z_OK || s->avail_out == 0) {
        return 0;
    }

    return room - s->avail_out;
}


void
conduit_deflate_stored(size_t len, unsigned char *out)
{
    out[0] = 0;
    out[1] = (unsigned char) (len & 0xff);
    out[2] = (unsigned char) (len >> 8);
    out[3] = (unsigned char) ~out[1];
    out[4] = (unsigned char) ~out[2];
}


void
conduit_deflate_end(uint32_t crc, uint32_t size, unsigned char *out)
{
    int  i;

    /* the last block: fixed codes, nothing but the end of the block */

    out[0] = 3;
    out[1] = 0;

    for (i = 0; i < 4; i++) {
        out[2 + i] = (unsigned char) (crc >> 8 * i);
        out[6 + i] = (unsigned char) (size >> 8 * i);
    }
}


uint32_t
conduit_deflate_crc(const void *data, size_t len)
{
    return (uint32_t) crc32_z(0, data, len);
}


/*
 * The CRC of bytes a, followed by n bytes b, is crc(a) * x^(8n) + crc(b),
 * modulo the polynomial.  zlib has crc32_combine_op() only since 1.2.12, and
 * nothing as fast before.
 */

uint32_t
conduit_deflate_crc_op(size_t len)
{
    uint32_t  op, power;

    op = CONDUIT_DEFLATE_ONE;
    power = CONDUIT_DEFLATE_ONE >> 8;

    for ( /* void */ ; len; len >>= 1) {

        if (len & 1) {
            op = conduit_deflate_multiply(op, power);
        }

        power = conduit_deflate_multiply(power, power);
    }

    return op;
}


uint32_t
conduit_deflate_crc_join(uint32_t first, uint32_t second, uint32_t op)
{
    return conduit_deflate_multiply(first, op) ^ second;
}


/* a * b modulo the polynomial */

static uint32_t
conduit_deflate_multiply(uint32_t a, uint32_t b)
{
    int       i;
    uint32_t  product;

    product = 0;

    for (i = 31; i >= 0; i--) {
        product ^= b & (0 - (a >> i & 1));
        b = (b >> 1) ^ (CONDUIT_DEFLATE_POLY & (0 - (b & 1)));
    }

    return product;
}


int
conduit_deflate_accepted(const char *value, size_t len)
{
    const char       *p, *end, *next;
    const ptrdiff_t   n = sizeof("gzip") - 1;

    end = value + len;

    for (p = value; p < end; p = next + 1) {

        next = memchr(p, ',', (size_t) (end - p));

        if (next == NULL) {
            next = end;
        }

        p = conduit_deflate_skip(p, next);

        if (next - p >= n && strncasecmp(p, "gzip", (size_t) n) == 0) {

            p = conduit_deflate_skip(p + n, next);

            if (p == next) {
                return 1;
            }

            if (*p == ';') {
                return conduit_deflate_weight(p + 1, next);
            }
        }
    }

    return 0;
}


static const char *
conduit_deflate_skip(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }

    return p;
}


/* whether "q=0.5" and the like, from p up to end, is over 0; a weight of
   another form counts as 0 */

static int
conduit_deflate_weight(const char *p, const char *end)
{
    int  digits, weight;

    p = conduit_deflate_skip(p, end);

    if (end - p < 3 || (*p != 'q' && *p != 'Q') || p[1] != '='
        || (p[2] != '0' && p[2] != '1'))
    {
        return 0;
    }

    weight = p[2] - '0';
    p += 3;

    if (p < end && *p == '.') {
        p++;

        for (digits = 0; p < end && *p >= '0' && *p <= '9'; digits++) {
            weight |= *p++ - '0';
        }

        if (digits > 3) {
            return 0;
        }
    }

    return conduit_deflate_skip(p, end) == end && weight != 0;
}
