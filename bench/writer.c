/* Copyright (C) Conduit for NGINX authors */

/*
 * The floor of fan-out, that is, what it costs at least: an event loop in one
 * thread that only writes.  It takes the requests that the benchmark makes,
 * stores nothing and verifies nothing.  It writes each posted body, as an
 * event, to all clients that have asked for its channel, by one send() each.
 *
 *     writer PORT [MS]
 *
 * The channel is the hexadecimal number at the end of the path.  With MS, the
 * events of that many milliseconds are written together; this is meant for one
 * channel, as events of another one end the wait.
 */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHANNELS  65536
#define REQUEST   20480
#define HELD      (4 * REQUEST)


typedef struct conn_s  conn_t;

struct conn_s {
    int      fd;
    int      channel;        /* -1: none */
    conn_t  *next;           /* next client of the channel */
    conn_t **link;           /* the pointer that points to this */
    size_t   len;
    char     request[];
};


static int      ep;
static conn_t  *channels[CHANNELS];
static int      wait_ms;            /* 0: events are sent at once */
static char     held[HELD];         /* events that wait, of one channel */
static size_t   held_len;
static int      held_channel;
static long     held_since;


static void
conn_close(conn_t *c)
{
    if (c->channel != -1) {
        *c->link = c->next;

        if (c->next != NULL) {
            c->next->link = c->link;
        }
    }

    close(c->fd);
    free(c);
}


static void
conn_accept(int listener)
{
    int                 fd, one;
    conn_t             *c;
    struct epoll_event  ev;

    one = 1;
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

    if (fd == -1) {
        return;
    }

    c = malloc(sizeof(conn_t) + REQUEST);

    if (c == NULL) {
        close(fd);
        return;
    }

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->fd = fd;
    c->channel = -1;
    c->len = 0;
    ev.events = EPOLLIN | EPOLLRDHUP;
    ev.data.ptr = c;
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}


static long
now_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


/* sends events; a client whose socket is full misses them or the rest of them,
   because they are not stored */

static void
deliver(int channel, const char *events, size_t len)
{
    conn_t  *c;

    for (c = channels[channel]; c != NULL; c = c->next) {
        (void) send(c->fd, events, len, MSG_NOSIGNAL);
    }
}


static void
deliver_held(void)
{
    deliver(held_channel, held, held_len);
    held_len = 0;
}


/* makes an event, and sends it now or with later ones */

static void
publish(int channel, const char *body, size_t len)
{
    int      n;
    size_t   size;
    char     event[REQUEST + 64];
    char     data[] = "event: stream\nid: 1736467200000-0\ndata: ";

    size = sizeof(data) - 1 + len + 2;
    n = snprintf(event, sizeof(event), "%zx\r\n%s", size, data);
    memcpy(event + n, body, len);
    memcpy(event + n + len, "\n\n\r\n", 4);
    size = (size_t) n + len + 4;

    if (wait_ms == 0) {
        deliver(channel, event, size);
        return;
    }

    if (held_len && (held_channel != channel || held_len + size > HELD)) {
        deliver_held();
    }

    if (held_len == 0) {
        held_channel = channel;
        held_since = now_ms();
    }

    memcpy(held + held_len, event, size);
    held_len += size;
}


/* ms until events that wait are to be sent; -1: none wait */

static int
held_left(void)
{
    long  left;

    if (held_len == 0) {
        return -1;
    }

    left = held_since + wait_ms - now_ms();

    return left > 0 ? (int) left : 0;
}


static int
channel_of(const char *request)
{
    const char  *space, *p;

    space = strchr(request, ' ');
    space = space != NULL ? strchr(space + 1, ' ') : NULL;
    p = space != NULL && space - request > 12 ? space - 8 : "0";

    return (int) (strtoul(p, NULL, 16) % CHANNELS);
}


/* handles one request; returns 0 if it is not complete yet */

static int
conn_request(conn_t *c)
{
    size_t             size, whole;
    char              *body;
    const char        *length;
    static const char  opened[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        "Transfer-Encoding: chunked\r\n\r\n";
    static const char  stored[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    c->request[c->len] = '\0';
    body = strstr(c->request, "\r\n\r\n");

    if (body == NULL) {
        return 0;
    }

    body += 4;
    length = strstr(c->request, "Content-Length: ");
    size = length != NULL && length < body ? strtoul(length + 16, NULL, 10)
                                           : 0;
    whole = (size_t) (body - c->request) + size;

    if (c->len < whole) {
        return 0;
    }

    if (c->request[0] == 'P') {
        (void) send(c->fd, stored, sizeof(stored) - 1, MSG_NOSIGNAL);
        publish(channel_of(c->request), body, size);

    } else if (c->channel == -1) {
        (void) send(c->fd, opened, sizeof(opened) - 1, MSG_NOSIGNAL);
        c->channel = channel_of(c->request);
        c->link = &channels[c->channel];
        c->next = *c->link;
        *c->link = c;

        if (c->next != NULL) {
            c->next->link = &c->next;
        }
    }

    c->len = 0;

    return 1;
}


static void
conn_read(conn_t *c)
{
    ssize_t  n;

    n = recv(c->fd, c->request + c->len, REQUEST - 1 - c->len, 0);

    if (n <= 0) {
        conn_close(c);
        return;
    }

    c->len += (size_t) n;

    if (!conn_request(c) && c->len == REQUEST - 1) {
        conn_close(c);
    }
}


static int
listener_open(const char *port)
{
    int                 fd, one;
    struct sockaddr_in  sin;

    one = 1;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sin.sin_port = htons((uint16_t) atoi(port));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));

    if (bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || listen(fd, 4096) == -1)
    {
        perror("writer");
        exit(1);
    }

    return fd;
}


int
main(int argc, char **argv)
{
    int                 i, n, listener;
    struct rlimit       rl;
    struct epoll_event  ev, events[256];

    wait_ms = argc == 3 ? atoi(argv[2]) : 0;

    if ((argc != 2 && argc != 3) || (argc == 3 && wait_ms <= 0)) {
        fprintf(stderr, "usage: writer PORT [MS]\n");
        return 2;
    }

    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);

    listener = listener_open(argv[1]);
    ep = epoll_create1(0);
    ev.events = EPOLLIN;
    ev.data.ptr = NULL;
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);

    for ( ;; ) {
        n = epoll_wait(ep, events, 256, held_left());

        if (held_left() == 0) {
            deliver_held();
        }

        for (i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL) {
                conn_accept(listener);

            } else {
                conn_read(events[i].data.ptr);
            }
        }
    }
}
