/* Copyright (C) Conduit for NGINX authors */

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http.h"

#define HTTP_READ  262144


static void http_open(http_t *c);
static void http_event(loop_io_t *io, uint32_t events);
static int http_write(http_t *c);
static void http_read(http_t *c);
static void http_over(http_t *c, int clean);
static void http_header(void *user, int status);
static void http_body(void *user, const char *data, size_t len);

static const response_handlers_t  http_response = { http_header, http_body };


void
http_send(http_t *c, const char *data, size_t len)
{
    c->busy = 1;
    c->sent = 0;
    memset(&c->response, 0, sizeof(c->response));

    conduit_buf_reset(&c->out);
    conduit_buf_append(&c->out, data, len);

    if (c->io.fd == -1) {
        http_open(c);

    } else if (!http_write(c)) {

        /* the server has just closed the kept-alive connection: opens a new
           one */

        http_close(c);
        c->busy = 1;
        c->sent = 0;
        memset(&c->response, 0, sizeof(c->response));
        http_open(c);
    }
}


static void
http_open(http_t *c)
{
    int  fd, one;

    one = 1;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1) {
        perror("socket");
        exit(1);
    }

    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

    if (c->rcvbuf) {
        (void) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &c->rcvbuf,
                          sizeof(c->rcvbuf));
    }

    if (c->mss) {
        (void) setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &c->mss,
                          sizeof(c->mss));
    }

    c->io.fd = fd;
    c->io.handler = http_event;
    c->connected = 0;

    /* errors that connect() returns at once are also reported as an event */

    (void) connect(fd, (const struct sockaddr *) c->address,
                   sizeof(*c->address));

    loop_watch(&c->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
}


static void
http_event(loop_io_t *io, uint32_t events)
{
    http_t  *c;

    c = (http_t *) io;

    if (!c->connected && !(events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        return;
    }

    if ((events & EPOLLOUT) && c->sent < c->out.len) {
        c->connected = 1;

        if (!http_write(c)) {
            http_over(c, 0);
            return;
        }

        if (c->sent == c->out.len) {
            loop_change(io, c->stalled ? 0 : EPOLLIN | EPOLLRDHUP);
        }
    }

    if (!c->stalled
        && (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)))
    {
        http_read(c);
    }
}


/* returns 0 if the connection is broken */

static int
http_write(http_t *c)
{
    ssize_t  n;

    n = send(c->io.fd, c->out.data + c->sent, c->out.len - c->sent,
             MSG_NOSIGNAL);

    if (n == -1) {
        return errno == EAGAIN;
    }

    c->sent += (size_t) n;

    if (c->sent < c->out.len) {
        loop_change(&c->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    }

    return 1;
}


static void
http_read(http_t *c)
{
    ssize_t      n;
    response_e   rc;
    static char  buf[HTTP_READ];

    n = recv(c->io.fd, buf, sizeof(buf), 0);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (!c->busy) {
        http_close(c);
        return;
    }

    if (n <= 0) {
        http_over(c, n == 0 && response_eof(&c->response) == RESPONSE_DONE);
        return;
    }

    rc = response_feed(&c->response, buf, (size_t) n, &http_response, c);

    if (c->io.fd != -1 && rc != RESPONSE_MORE) {
        http_over(c, rc == RESPONSE_DONE);
    }
}


static void
http_over(http_t *c, int clean)
{
    c->busy = 0;

    if (!clean || c->response.close) {
        http_close(c);
    }

    c->handlers->end(c, clean);
}


static void
http_header(void *user, int status)
{
    http_t  *c;

    c = user;
    c->handlers->header(c, status);
}


static void
http_body(void *user, const char *data, size_t len)
{
    http_t  *c;

    c = user;

    if (c->io.fd != -1) {
        c->handlers->body(c, data, len);
    }
}


void
http_close(http_t *c)
{
    if (c->io.fd != -1) {
        (void) close(c->io.fd);
        c->io.fd = -1;
    }

    c->busy = 0;
}


void
http_unstall(http_t *c)
{
    if (c->stalled && c->io.fd != -1 && c->sent == c->out.len) {
        loop_watch(&c->io, EPOLLIN | EPOLLRDHUP);
    }

    c->stalled = 0;
}


int
http_address(const char *name, struct sockaddr_in *address)
{
    int               rc;
    char              host[256];
    const char       *colon;
    struct addrinfo   hints, *found;

    colon = strrchr(name, ':');

    if (colon == NULL || (size_t) (colon - name) >= sizeof(host)) {
        fprintf(stderr, "load: %s is not host:port\n", name);
        return -1;
    }

    memcpy(host, name, (size_t) (colon - name));
    host[colon - name] = '\0';

    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;

    rc = getaddrinfo(host, colon + 1, &hints, &found);

    if (rc != 0) {
        fprintf(stderr, "load: %s: %s\n", name, gai_strerror(rc));
        return -1;
    }

    memcpy(address, found->ai_addr, sizeof(*address));
    freeaddrinfo(found);

    return 0;
}
