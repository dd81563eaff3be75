/* Copyright (C) Conduit for NGINX authors */

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
 *     -H STRING    more request headers, each with its line end
 *     -a NUMBER    of source addresses, from 127.0.0.1 on, in turn (1)
 *     -w CHANNELS  walk: a client that had END goes on to a channel that
 *                  nobody had yet, until so many were had
 *     -z CLIENTS   the first ones read nothing until they are told to
 *     -b BYTES     receive buffer of those (default: the system's)
 *     -x           take commands from the standard input
 *
 * Channel k is 00000000-0000-4000-8000-<k, 12 hexadecimal digits> of org 1.
 * Prints one line of JSON at the end.  After END a client does not come back;
 * "turned" counts responses that ended cleanly before any event, "drained" what
 * was told to come again: by another "retry:", or by server_draining.
 *
 * Commands are single letters; the end of the input is "q":
 *
 *     s  print the line of JSON
 *     m  mark: start the counts of events and their times anew
 *     c  cut: reset all connections; none comes back by itself
 *     g  go: connect all that are not connected, at once, each with the ID of
 *        its last event; a new mark
 *     r  read: those that read nothing begin to
 *     q  quit
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
    int       status;        /* of it */
    int       seen;          /* a sequence number was */
    int       finished;      /* END came */
    int       answered;      /* data came in this response */
    int       retries;       /* lines of "retry:" in it */
    int       stalled;       /* reads nothing */
    uint64_t  first;         /* sequence number */
    uint64_t  sequence;      /* the last one */
    uint64_t  events;
    uint64_t  retry_at;      /* ms; 0: not waiting */
    int       len;
    char      id[48];
    char      line[LINE];
} client_t;

typedef struct {
    int         port, clients, channels, rate, seconds, reconnect;
    int         addresses, walk, stalled, rcvbuf, commands;
    uint64_t    target;
    const char *id, *query, *headers;
} options_t;

typedef struct {
    uint64_t  events, bytes, opened, ended, failed, refused, gaps, repeats;
    uint64_t  drained, lost, done, broken, turned, finished;
    uint64_t  latency[LATENCY];
    uint64_t  first_ms, last_ms;
} totals_t;


static options_t  opt = {
    8080, 1000, 1, 2000, 10, 0, 1, 0, 0, 0, 0, 0, "", "", ""
};
static totals_t   total;
static client_t  *clients;
static int        ep;
static int        next;          /* of the clients to be opened first */
static int        walked;        /* channels that somebody has, or had */
static uint64_t   wall, marked;


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

    if (c->stalled && opt.rcvbuf) {
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &opt.rcvbuf,
                   sizeof(opt.rcvbuf));
    }

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;

    if (opt.addresses > 1) {
        sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK
                                    + (uint32_t) ((c - clients)
                                                  % opt.addresses));

        /* the port is chosen by connect(), which knows who is at the end */

        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one,
                   sizeof(one));

        if (bind(c->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
            perror("bind");
            exit(1);
        }
    }

    sin.sin_port = htons((uint16_t) opt.port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    c->sent = 0;
    c->opened = 0;
    c->status = 0;
    c->answered = 0;
    c->retries = 0;
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


/* a client that had END goes on to the next channel, or is done */

static void
client_walk(client_t *c)
{
    total.finished++;

    if (opt.walk == 0 || walked == opt.walk) {
        return;
    }

    c->channel = walked++;
    c->finished = 0;
    c->seen = 0;
    c->id[0] = '\0';

    client_open(c);
}


static void
client_close(client_t *c, int cleanly)
{
    close(c->fd);
    c->fd = -1;
    total.ended++;

    total.broken += !cleanly;
    total.turned += cleanly && !c->answered;

    if (c->finished) {
        client_walk(c);

    } else if (c->status == 204) {
        c->finished = 1;

    } else if (opt.reconnect) {
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
                 "Accept: text/event-stream\r\n%s%s%s%s\r\n",
                 c->channel, opt.query[0] ? "&" : "", opt.query, opt.headers,
                 c->id[0] ? "Last-Event-ID: " : "", c->id,
                 c->id[0] ? "\r\n" : "");

    if (write(c->fd, request, (size_t) n) != n) {
        return -1;
    }

    c->sent = 1;

    ev.events = EPOLLIN | EPOLLRDHUP;
    ev.data.ptr = c;
    epoll_ctl(ep, c->stalled ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, c->fd, &ev);

    return 0;
}


static void
client_data(client_t *c)
{
    char      *p;
    uint64_t   sequence, ms, took;

    c->answered = 1;

    p = strstr(c->line, "\"sequence\":");
    if (p == NULL) {

        total.drained += strstr(c->line, "server_draining") != NULL;
        total.lost += strstr(c->line, "history_lost") != NULL;
        return;
    }

    sequence = strtoull(p + 11, NULL, 10);

    if (c->seen) {
        if (sequence <= c->sequence) {
            total.repeats++;

        } else if (sequence != c->sequence + 1) {
            total.gaps++;
        }

    } else {
        c->first = sequence;

        if (opt.walk && sequence != 1) {
            total.gaps++;
        }
    }

    if (strstr(c->line, "\"phase\":\"PHASE_END\"")) {
        c->finished = 1;
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

    } else if (strncmp(c->line, "retry: ", 7) == 0 && c->retries++) {
        c->answered = 1;        /* the first one does not count */
        total.drained++;

    } else if (strncmp(c->line, "HTTP/1.1 ", 9) == 0) {
        c->opened = 1;
        c->status = atoi(c->line + 9);
        total.opened++;

        total.refused += c->status != 200;
    }
}


/* returns 0, 1 when the response is over, -1 when it broke off */

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

            /* the last chunk, or the end of a header without a body */

            if ((c->len == 1 && c->line[0] == '0')
                || (c->len == 0 && c->opened && c->status != 200))
            {
                over = 1;
            }

            client_line(c);
            c->len = 0;

        } else if (c->len < LINE - 1) {
            c->line[c->len++] = buf[i];
        }
    }

    return over;
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
report(void)
{
    int        i, connected;
    client_t  *c;
    uint64_t   first_min, first_max, last_min, last_max;

    connected = 0;
    first_min = last_min = UINT64_MAX;
    first_max = last_max = 0;

    for (i = 0; i < opt.clients; i++) {
        c = &clients[i];
        connected += c->fd != -1 && c->opened;

        /* 0: no event at all */

        first_min = c->first < first_min ? c->first : first_min;
        first_max = c->first > first_max ? c->first : first_max;
        last_min = c->sequence < last_min ? c->sequence : last_min;
        last_max = c->sequence > last_max ? c->sequence : last_max;
    }

#define N(name, value)  "\"" name "\":%llu,", (unsigned long long) (value)

    printf("{");
    printf(N("clients", opt.clients));
    printf(N("connected", connected));
    printf(N("opened", total.opened));
    printf(N("refused", total.refused));
    printf(N("failed", total.failed));
    printf(N("ended", total.ended));
    printf(N("broken", total.broken));
    printf(N("turned", total.turned));
    printf(N("finished", total.finished));
    printf(N("events", total.events));
    printf(N("bytes", total.bytes));
    printf(N("gaps", total.gaps));
    printf(N("repeats", total.repeats));
    printf(N("drained", total.drained));
    printf(N("history_lost", total.lost));
    printf(N("complete", total.done));
    printf(N("first_min", first_min));
    printf(N("first_max", first_max));
    printf(N("last_min", last_min));
    printf(N("last_max", last_max));
    printf(N("p50_ms", percentile(0.5)));
    printf(N("p99_ms", percentile(0.99)));
    printf(N("max_ms", percentile(0.999999)));
    printf(N("since_mark_ms", total.events ? total.last_ms - marked : 0));
    printf("\"span_ms\":%llu}\n",
           (unsigned long long) (total.last_ms - total.first_ms));

#undef N

    fflush(stdout);
}


static void
mark(void)
{
    int  i;

    total.events = 0;
    total.done = 0;
    total.first_ms = 0;
    total.last_ms = 0;
    memset(total.latency, 0, sizeof(total.latency));

    for (i = 0; i < opt.clients; i++) {
        clients[i].events = 0;
    }

    marked = now_ms(CLOCK_REALTIME);
}


static void
cut(void)
{
    int            i;
    struct linger  reset;

    reset.l_onoff = 1;
    reset.l_linger = 0;

    for (i = 0; i < next; i++) {
        clients[i].retry_at = 0;

        if (clients[i].fd != -1) {
            setsockopt(clients[i].fd, SOL_SOCKET, SO_LINGER, &reset,
                       sizeof(reset));
            close(clients[i].fd);
            clients[i].fd = -1;
        }
    }
}


static void
go(void)
{
    int  i;

    mark();

    for (i = 0; i < opt.clients; i++) {
        if (clients[i].fd == -1 && !clients[i].finished) {
            client_open(&clients[i]);
        }
    }

    next = opt.clients;
}


static void
unstall(void)
{
    int                 i;
    struct epoll_event  ev;

    for (i = 0; i < opt.stalled; i++) {
        clients[i].stalled = 0;

        if (clients[i].fd != -1 && clients[i].sent) {
            ev.events = EPOLLIN | EPOLLRDHUP;
            ev.data.ptr = &clients[i];
            epoll_ctl(ep, EPOLL_CTL_ADD, clients[i].fd, &ev);
        }
    }
}


/* returns 0 when there are no more commands */

static int
command(void)
{
    char  c;

    if (read(0, &c, 1) != 1) {
        return 0;
    }

    switch (c) {
    case 's': report(); break;
    case 'm': mark(); break;
    case 'c': cut(); break;
    case 'g': go(); break;
    case 'r': unstall(); break;
    case 'q': return 0;
    }

    return 1;
}


static void
client_event(client_t *c, uint32_t events)
{
    int  rc;

    if (!c->sent && (events & EPOLLOUT) && client_send(c) != 0) {
        client_close(c, 0);
        return;
    }

    if (!c->stalled && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        rc = client_read(c);

        if (rc != 0) {
            client_close(c, rc == 1);
        }
    }
}


static void
run(void)
{
    int                 i, n, told;
    uint64_t            start, end, now;
    struct epoll_event  events[512];

    start = now_ms(CLOCK_MONOTONIC);
    end = start + (uint64_t) opt.seconds * 1000;

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

        if (!opt.commands
            && ((opt.target && total.done == (uint64_t) opt.clients)
                || (opt.walk && total.finished == (uint64_t) opt.walk)))
        {
            break;
        }

        n = epoll_wait(ep, events, 512, 10);
        wall = now_ms(CLOCK_REALTIME);
        told = 0;

        for (i = 0; i < n; i++) {
            if (events[i].data.ptr != NULL) {
                client_event(events[i].data.ptr, events[i].events);

            } else {
                told = 1;
            }
        }

        /* a command opens and closes: after the events of this turn */

        if (told && !command()) {
            return;
        }
    }
}


int
main(int argc, char **argv)
{
    int                 i, o;
    struct rlimit       rl;
    struct epoll_event  ev;

    while ((o = getopt(argc, argv, "p:n:c:r:t:e:i:kq:H:a:w:z:b:x")) != -1) {
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
        case 'H': opt.headers = optarg; break;
        case 'a': opt.addresses = atoi(optarg); break;
        case 'w': opt.walk = atoi(optarg); break;
        case 'z': opt.stalled = atoi(optarg); break;
        case 'b': opt.rcvbuf = atoi(optarg); break;
        case 'x': opt.commands = 1; break;
        default: return 2;
        }
    }

    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);

    clients = calloc((size_t) opt.clients, sizeof(client_t));
    ep = epoll_create1(EPOLL_CLOEXEC);

    if (clients == NULL || ep == -1) {
        perror("sse_load");
        return 1;
    }

    if (opt.walk) {
        opt.channels = walked = opt.clients;
    }

    for (i = 0; i < opt.clients; i++) {
        clients[i].fd = -1;
        clients[i].channel = i % opt.channels;
        clients[i].stalled = i < opt.stalled;
        snprintf(clients[i].id, sizeof(clients[i].id), "%.47s", opt.id);
    }

    if (opt.commands) {
        ev.events = EPOLLIN;
        ev.data.ptr = NULL;
        epoll_ctl(ep, EPOLL_CTL_ADD, 0, &ev);
    }

    run();
    report();

    return 0;
}
