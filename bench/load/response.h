/* Copyright (C) Conduit for NGINX authors */

/*
 * The parser of an HTTP/1.1 response: status, header, and a body that is
 * chunked, has a length, or lasts until the connection ends.  It has no input
 * or output of its own, and takes pieces of any size.
 */

#ifndef RESPONSE_H
#define RESPONSE_H

#include <stddef.h>
#include <stdint.h>

#define RESPONSE_LINE  512    /* a longer line is truncated */


typedef enum {
    RESPONSE_BAD = -1,
    RESPONSE_MORE,
    RESPONSE_DONE
} response_e;

typedef struct {
    void (*header)(void *user, int status);
    void (*body)(void *user, const char *data, size_t len);
} response_handlers_t;

/* ready for use when it is zeroed */
typedef struct {
    enum {
        RESPONSE_STATUS,
        RESPONSE_HEADER,
        RESPONSE_LENGTH,        /* "left" bytes of body follow */
        RESPONSE_EOF,           /* body, until the end */
        RESPONSE_SIZE,          /* line with a chunk's size */
        RESPONSE_CHUNK,         /* "left" bytes of it follow */
        RESPONSE_CHUNK_END,     /* its line end */
        RESPONSE_TRAILER,
        RESPONSE_OVER
    }         state;
    int       status;
    uint64_t  left;
    unsigned  chunked:1;
    unsigned  sized:1;          /* has Content-Length */
    unsigned  close:1;          /* the connection can't be used again */
    unsigned  gzip:1;           /* has Content-Encoding: gzip; the parser does
                                   not decompress the body */
    size_t    len;
    char      line[RESPONSE_LINE];
} response_t;


/* Parses the next bytes.  Bytes after the end of the response are RESPONSE_BAD,
   because requests are not pipelined. */
response_e response_feed(response_t *r, const char *data, size_t len,
    const response_handlers_t *handlers, void *user);

/* To be called when the connection was closed: returns RESPONSE_DONE if that is
   a proper end of the response. */
response_e response_eof(response_t *r);

#endif /* RESPONSE_H */
