/* Copyright (C) Conduit for NGINX authors */

/*
 * The pieces of a response in gzip (RFC 1952), compressed so that many clients
 * can share them.  Pure: no NGINX type; zlib compresses.
 *
 *   header   piece  piece  piece ...  end
 *
 * A piece is a run of whole blocks of deflate (RFC 1951), none of which is the
 * last, and it ends at a byte.  So pieces that were made separately can be sent
 * one after the other:
 *
 *   alone     refers to nothing before it: fits after any bytes
 *   chained   refers to the bytes of a dictionary: fits only if a client's
 *             uncompressed bytes so far end with that dictionary
 *   stored    not compressed: fits after any bytes
 */

#ifndef CONDUIT_DEFLATE_H
#define CONDUIT_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define CONDUIT_DEFLATE_HEADER  10       /* bytes of the header */
#define CONDUIT_DEFLATE_STORED  5        /* bytes before a stored block */
#define CONDUIT_DEFLATE_END     10       /* bytes of the end */

/* bytes that a stored block can have */
#define CONDUIT_DEFLATE_BLOCK   65535

/* the state of zlib, used for any number of pieces */
typedef struct conduit_deflate_s  conduit_deflate_t;

extern const unsigned char  conduit_deflate_header[CONDUIT_DEFLATE_HEADER];


/* Takes about 270 KB.  Returns NULL when memory is out. */
conduit_deflate_t *conduit_deflate_create(void);

/* d may be NULL. */
void conduit_deflate_destroy(conduit_deflate_t *d);

/*
 * Compresses len bytes, with the dictionary if dict_len is not 0: alone without
 * it, chained with it; only its last 32 KB count.  Returns the piece, valid
 * until the next call, and sets *piece_len; or returns NULL when the piece
 * would not be shorter than stored, or memory is out: the bytes are then to be
 * sent stored.
 */
const unsigned char *conduit_deflate_piece(conduit_deflate_t *d,
    const void *dict, size_t dict_len, const void *data, size_t len,
    size_t *piece_len);

/*
 * Writes the CONDUIT_DEFLATE_STORED bytes that come before len bytes, at most
 * CONDUIT_DEFLATE_BLOCK, that are not compressed.
 */
void conduit_deflate_stored(size_t len, unsigned char *out);

/*
 * Writes the CONDUIT_DEFLATE_END bytes after the last piece: the last block,
 * which is empty; the CRC-32 of the uncompressed bytes, and their number modulo
 * 2^32.
 */
void conduit_deflate_end(uint32_t crc, uint32_t size, unsigned char *out);

/* Returns the CRC-32 of bytes. */
uint32_t conduit_deflate_crc(const void *data, size_t len);

/*
 * Returns what conduit_deflate_crc_join() needs to know of the second run: its
 * number of bytes, as a power of x modulo the CRC's polynomial.
 */
uint32_t conduit_deflate_crc_op(size_t len);

/*
 * Returns the CRC-32 of two runs of bytes, one after the other, from the CRC-32
 * of each; op is conduit_deflate_crc_op() of the length of the second.  The
 * CRC-32 of no bytes is 0.
 */
uint32_t conduit_deflate_crc_join(uint32_t first, uint32_t second,
    uint32_t op);

/*
 * Whether a value of Accept-Encoding (RFC 9110 12.5.3) names gzip with a weight
 * over 0.  "*" does not count, as in NGINX's own gzip module.
 */
int conduit_deflate_accepted(const char *value, size_t len);

#pragma GCC visibility pop

#endif /* CONDUIT_DEFLATE_H */
