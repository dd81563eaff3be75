/*
 * A load of event-stream clients: opens many, reads what comes, reconnects with
 * Last-Event-ID as an EventSource does, and checks that every client got every
 * sequence number of its channel once and in order.  One thread, epoll.
 *
 *   sse_load [options]
 *     -p PORT      of 127.0.0.1 (8080)
 *     -n CLIENTS   (1000)
 *     -c CHANNELS  clients are spread over them in turn (1)
 *     -r RATE      connections opened a second (2000)
 *     -t SECONDS   how long to run (10)
 *     -e EVENTS    stop when every client has had that many (0: no)
 *     -i ID        Last-Event-ID of the first connections
 *     -k           reconnect when a response ends
 *     -q STRING    more query arguments, e.g. token=...
 *
 * Channel k is 00000000-0000-4000-8000-<k, 12 hexadecimal digits> of org 1.
 * Prints one line of JSON.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define LINE      384
#define LATENCY   10001      /* ms, the last one for all that took longer */


typedef struct {
    int       fd;
    int       channel;
    int       sent;          /* the request was */
    int       opened;        /* a response came */
    int       seen;          /* a sequence number was */
    uint64_t  sequence;      /* the last one */
    uint64_t  events;
    uint64_t  retry_at;      /* ms; 0: not waiting */
    int       len;
    char      id[48];
    char      line[LINE];
} client_t;

typedef struct {
    int         port, clients, channels, rate, seconds, reconnect;
    uint64_t    target;
    const char *id, *query;
} options_t;

typedef struct {
    uint64_t  events, bytes, opened, ended, failed, refused, gaps, repeats;
    uint64_t  drained, lost, done;
    uint64_t  latency[LATENCY];
    uint64_t  first_ms, last_ms;
} totals_t;


static options_t  opt = { 8080, 1000, 1, 2000, 10, 0, 0, "", "" };
static totals_t   total;
static int        ep;
static uint64_t   wall;


static uint64_t
now_ms(clockid_t clock)
{
    struct timespec  ts;

    clock_gettime(clock, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


static void
client_open(client_t *c)
{
    int                 one;
    struct epoll_event  ev;
    struct sockaddr_in  sin;

    one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (c->fd == -1) {
        perror("socket");
        exit(1);
    }

    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons((uint16_t) opt.port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    c->sent = 0;
    c->opened = 0;
    c->len = 0;
    c->retry_at = 0;

    if (connect(c->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        && errno != EINPROGRESS)
    {
        close(c->fd);
        c->fd = -1;
        c->retry_at = now_ms(CLOCK_MONOTONIC) + 500;
        total.failed++;
        return;
    }

    ev.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP;
    ev.data.ptr = c;
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
}


static void
client_close(client_t *c)
{
    close(c->fd);
    c->fd = -1;
    total.ended++;

    if (opt.reconnect) {
        c->retry_at = now_ms(CLOCK_MONOTONIC) + 400 + (uint64_t) rand() % 200;
    }
}


static int
client_send(client_t *c)
{
    int                 n;
    char                request[4096];
    struct epoll_event  ev;

    n = snprintf(request, sizeof(request),
                 "GET /events/1?channel_id=00000000-0000-4000-8000-%012x%s%s "
                 "HTTP/1.1\r\nHost: localhost\r\n"
                 "Accept: text/event-stream\r\n%s%s%s\r\n",
                 c->channel, opt.query[0] ? "&" : "", opt.query,
                 c->id[0] ? "Last-Event-ID: " : "", c->id,
                 c->id[0] ? "\r\n" : "");

    if (write(c->fd, request, (size_t) n) != n) {
        return -1;
    }

    c->sent = 1;

    ev.events = EPOLLIN | EPOLLRDHUP;
    ev.data.ptr = c;
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);

    return 0;
}


static void
client_data(client_t *c)
{
    char      *p;
    uint64_t   sequence, ms, took;

    p = strstr(c->line, "\"sequence\":");
    if (p == NULL) {

        if (strstr(c->line, "server_draining")) {
            total.drained++;
        }

        if (strstr(c->line, "history_lost")) {
            total.lost++;
        }

        return;
    }

    sequence = strtoull(p + 11, NULL, 10);

    if (c->seen) {
        if (sequence <= c->sequence) {
            total.repeats++;

        } else if (sequence != c->sequence + 1) {
            total.gaps++;
        }
    }

    c->seen = 1;
    c->sequence = sequence;
    total.events++;

    if (++c->events == opt.target) {
        total.done++;
    }

    ms = strtoull(c->id, NULL, 10);
    took = wall > ms ? wall - ms : 0;
    total.latency[took < LATENCY ? took : LATENCY - 1]++;

    if (total.first_ms == 0) {
        total.first_ms = wall;
    }

    total.last_ms = wall;
}


static void
client_line(client_t *c)
{
    c->line[c->len] = '\0';

    if (strncmp(c->line, "id: ", 4) == 0) {
        snprintf(c->id, sizeof(c->id), "%.47s", c->line + 4);

    } else if (strncmp(c->line, "data: ", 6) == 0) {
        client_data(c);

    } else if (strncmp(c->line, "HTTP/1.1 ", 9) == 0) {
        c->opened = 1;
        total.opened++;

        if (strncmp(c->line + 9, "200", 3) != 0) {
            total.refused++;
        }
    }
}


/* returns 0, or -1 when the response is over */

static int
client_read(client_t *c)
{
    int             over;
    ssize_t         n, i;
    static char     buf[262144];

    n = read(c->fd, buf, sizeof(buf));

    if (n <= 0) {
        return (n == -1 && errno == EAGAIN) ? 0 : -1;
    }

    total.bytes += (uint64_t) n;
    over = 0;

    for (i = 0; i < n; i++) {

        if (buf[i] == '\n') {

            if (c->len && c->line[c->len - 1] == '\r') {
                c->len--;
            }

            /* the last chunk */

            if (c->len == 1 && c->line[0] == '0') {
                over = 1;
            }

            client_line(c);
            c->len = 0;

        } else if (c->len < LINE - 1) {
            c->line[c->len++] = buf[i];
        }
    }

    return over ? -1 : 0;
}


static uint64_t
percentile(double share)
{
    uint64_t  sum, want, i;

    want = (uint64_t) ((double) total.events * share);
    sum = 0;

    for (i = 0; i < LATENCY; i++) {
        sum += total.latency[i];

        if (sum > want) {
            return i;
        }
    }

    return LATENCY - 1;
}


static void
run(client_t *clients)
{
    int                 i, n, next;
    client_t           *c;
    uint64_t            start, end, now;
    struct epoll_event  events[512];

    start = now_ms(CLOCK_MONOTONIC);
    end = start + (uint64_t) opt.seconds * 1000;
    next = 0;

    for (now = start; now < end; now = now_ms(CLOCK_MONOTONIC)) {

        while (next < opt.clients
               && (uint64_t) next
                  <= (now - start) * (uint64_t) opt.rate / 1000)
        {
            client_open(&clients[next++]);
        }

        if (opt.reconnect) {
            for (i = 0; i < next; i++) {
                if (clients[i].retry_at && clients[i].retry_at <= now) {
                    client_open(&clients[i]);
                }
            }
        }

        if (opt.target && total.done == (uint64_t) opt.clients) {
            break;
        }

        n = epoll_wait(ep, events, 512, 10);
        wall = now_ms(CLOCK_REALTIME);

        for (i = 0; i < n; i++) {
            c = events[i].data.ptr;

            if (!c->sent && (events[i].events & EPOLLOUT)
                && client_send(c) != 0)
            {
                client_close(c);
                continue;
            }

            if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                && client_read(c) != 0)
            {
                client_close(c);
            }
        }
    }
}


int
main(int argc, char **argv)
{
    int             i, o;
    client_t       *clients;
    struct rlimit   rl;

    while ((o = getopt(argc, argv, "p:n:c:r:t:e:i:kq:")) != -1) {
        switch (o) {
        case 'p': opt.port = atoi(optarg); break;
        case 'n': opt.clients = atoi(optarg); break;
        case 'c': opt.channels = atoi(optarg); break;
        case 'r': opt.rate = atoi(optarg); break;
        case 't': opt.seconds = atoi(optarg); break;
        case 'e': opt.target = strtoull(optarg, NULL, 10); break;
        case 'i': opt.id = optarg; break;
        case 'k': opt.reconnect = 1; break;
        case 'q': opt.query = optarg; break;
        default: return 2;
        }
    }

    rl.rlim_cur = rl.rlim_max = (rlim_t) opt.clients + 1024;

    if (setrlimit(RLIMIT_NOFILE, &rl) == -1) {
        perror("setrlimit");
    }

    clients = calloc((size_t) opt.clients, sizeof(client_t));
    ep = epoll_create1(EPOLL_CLOEXEC);

    if (clients == NULL || ep == -1) {
        perror("sse_load");
        return 1;
    }

    for (i = 0; i < opt.clients; i++) {
        clients[i].fd = -1;
        clients[i].channel = i % opt.channels;
        snprintf(clients[i].id, sizeof(clients[i].id), "%.47s", opt.id);
    }

    run(clients);

    printf("{\"clients\":%d,\"opened\":%llu,\"refused\":%llu,\"failed\":%llu,"
           "\"ended\":%llu,\"events\":%llu,\"bytes\":%llu,\"gaps\":%llu,"
           "\"repeats\":%llu,\"drained\":%llu,\"history_lost\":%llu,"
           "\"complete\":%llu,\"p50_ms\":%llu,\"p99_ms\":%llu,"
           "\"max_ms\":%llu,\"span_ms\":%llu}\n",
           opt.clients, (unsigned long long) total.opened,
           (unsigned long long) total.refused,
           (unsigned long long) total.failed,
           (unsigned long long) total.ended,
           (unsigned long long) total.events,
           (unsigned long long) total.bytes, (unsigned long long) total.gaps,
           (unsigned long long) total.repeats,
           (unsigned long long) total.drained,
           (unsigned long long) total.lost,
           (unsigned long long) total.done,
           (unsigned long long) percentile(0.5),
           (unsigned long long) percentile(0.99),
           (unsigned long long) percentile(0.999999),
           (unsigned long long) (total.last_ms - total.first_ms));

    return 0;
}
