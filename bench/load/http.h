/* Copyright (C) Conduit for NGINX authors */

/*
 * An HTTP/1.1 client connection for one request at a time.  It is kept alive,
 * and reopened when needed.
 */

#ifndef HTTP_H
#define HTTP_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "conduit_buf.h"
#include "loop.h"
#include "response.h"


typedef struct http_s  http_t;

/*
 * A handler may close its connection; only "end" may send the next request.
 * "end" is called with clean set when the response is complete, and with clean
 * 0 when the connection broke or could not be opened; c->response.status is 0
 * if no status was received.
 */
typedef struct {
    void (*header)(http_t *c, int status);
    void (*body)(http_t *c, const char *data, size_t len);
    void (*end)(http_t *c, int clean);
} http_handlers_t;

/*
 * A closed connection is zeroed, except for io.fd (-1), handlers and address.
 * The memory must not be freed, see loop.h.
 */
struct http_s {
    loop_io_t                  io;       /* first: handlers get this */
    const http_handlers_t     *handlers;
    const struct sockaddr_in  *address;
    void                      *user;
    int                        rcvbuf;   /* bytes; 0: the system's */
    int                        mss;      /* of TCP; 0: the system's */
    unsigned                   busy:1;   /* a request is under way */
    unsigned                   stalled:1;    /* do not read, until
                                                http_unstall() */
    unsigned                   connected:1;
    response_t                 response;
    conduit_buf_t              out;
    size_t                     sent;
};


/* Sends a request, opening the connection if it is closed. */
void http_send(http_t *c, const char *data, size_t len);

/* Closes the connection without calling a handler. */
void http_close(http_t *c);

/* Begins to read again. */
void http_unstall(http_t *c);

/* Finds the address of "host:port"; returns 0, or -1 and prints why. */
int http_address(const char *name, struct sockaddr_in *address);

#endif /* HTTP_H */
