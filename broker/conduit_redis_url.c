/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_redis_url.h"


static const char *conduit_redis_url_scheme(conduit_text_t *rest,
    conduit_redis_url_t *url);
static int conduit_redis_url_prefix(conduit_text_t *rest, const char *prefix);
static const char *conduit_redis_url_unix(conduit_text_t rest,
    conduit_redis_url_t *url);
static const char *conduit_redis_url_credentials(conduit_text_t *rest,
    conduit_redis_url_t *url);
static const char *conduit_redis_url_hosts(conduit_text_t rest,
    conduit_redis_url_t *url);
static const char *conduit_redis_url_host(conduit_text_t text,
    conduit_redis_url_t *url);
static const char *conduit_redis_url_host_name(conduit_text_t *rest,
    conduit_redis_host_t *host);
static const char *conduit_redis_url_tail(conduit_text_t tail,
    conduit_redis_url_t *url);
static int conduit_redis_url_bare_ipv6(conduit_text_t text);
static int conduit_redis_url_name(conduit_text_t text, int ipv6);
static int conduit_redis_url_number(conduit_text_t text, uint64_t max,
    uint64_t *number);
static int conduit_redis_url_encoded(conduit_text_t text);
static int conduit_redis_url_hex(char c);


static const struct {
    const char              *prefix;
    conduit_redis_scheme_e   scheme;
    unsigned                 tls;
} conduit_redis_schemes[] = {
    { "redis://", CONDUIT_REDIS_TCP, 0 },
    { "redis+cluster://", CONDUIT_REDIS_CLUSTER, 0 },
    { "redis+sentinel://", CONDUIT_REDIS_SENTINEL, 0 },
    { "rediss://", CONDUIT_REDIS_TCP, 1 },
    { "rediss+cluster://", CONDUIT_REDIS_CLUSTER, 1 },
    { "rediss+sentinel://", CONDUIT_REDIS_SENTINEL, 1 },
    { "unix:", CONDUIT_REDIS_UNIX, 0 },
    { NULL, CONDUIT_REDIS_TCP, 0 }
};


const char *
conduit_redis_url_parse(const char *s, size_t len, conduit_redis_url_t *url)
{
    const char      *err, *slash;
    conduit_text_t   rest, tail;

    memset(url, 0, sizeof(conduit_redis_url_t));

    rest.data = s;
    rest.len = len;

    err = conduit_redis_url_scheme(&rest, url);
    if (err != NULL) {
        return err;
    }

    if (url->scheme == CONDUIT_REDIS_UNIX) {
        return conduit_redis_url_unix(rest, url);
    }

    tail.data = NULL;
    tail.len = 0;

    slash = rest.len ? memchr(rest.data, '/', rest.len) : NULL;

    if (slash != NULL) {
        tail.data = slash + 1;
        tail.len = rest.len - (size_t) (slash + 1 - rest.data);
        rest.len = (size_t) (slash - rest.data);

        if (memchr(tail.data, '@', tail.len) != NULL) {
            return "\"/\" in the user or password must be written as %2F";
        }
    }

    err = conduit_redis_url_credentials(&rest, url);
    if (err != NULL) {
        return err;
    }

    err = conduit_redis_url_hosts(rest, url);
    if (err != NULL) {
        return err;
    }

    return conduit_redis_url_tail(tail, url);
}


static const char *
conduit_redis_url_scheme(conduit_text_t *rest, conduit_redis_url_t *url)
{
    size_t  i;

    for (i = 0; i < rest->len; i++) {
        if ((unsigned char) rest->data[i] < ' ' || rest->data[i] == '\x7f') {
            return "control character";
        }
    }

    for (i = 0; conduit_redis_schemes[i].prefix != NULL; i++) {

        if (conduit_redis_url_prefix(rest, conduit_redis_schemes[i].prefix)) {
            url->scheme = conduit_redis_schemes[i].scheme;
            url->tls = conduit_redis_schemes[i].tls & 1;
            return NULL;
        }
    }

    return "unknown scheme, it must be \"redis://\", \"rediss://\", "
           "\"redis+cluster://\", \"rediss+cluster://\", "
           "\"redis+sentinel://\", \"rediss+sentinel://\" or \"unix:/\"";
}


static int
conduit_redis_url_prefix(conduit_text_t *rest, const char *prefix)
{
    size_t  len;

    len = strlen(prefix);

    if (rest->len < len || memcmp(rest->data, prefix, len) != 0) {
        return 0;
    }

    rest->data += len;
    rest->len -= len;

    return 1;
}


/* path[?db=n] */

static const char *
conduit_redis_url_unix(conduit_text_t rest, conduit_redis_url_t *url)
{
    const char      *mark;
    uint64_t         db;
    conduit_text_t   query;

    url->path = rest;

    mark = rest.len ? memchr(rest.data, '?', rest.len) : NULL;

    if (mark != NULL) {
        url->path.len = (size_t) (mark - rest.data);

        query.data = mark + 1;
        query.len = rest.len - url->path.len - 1;

        if (!conduit_redis_url_prefix(&query, "db=")
            || !conduit_redis_url_number(query, 0x7fffffff, &db))
        {
            return "invalid database number";
        }

        url->db = (unsigned) db;
    }

    if (url->path.len < 2 || url->path.data[0] != '/') {
        return "the unix socket path is not absolute";
    }

    /* sun_path of a struct sockaddr_un has 108 bytes, the zero byte included */

    if (url->path.len > 107) {
        return "the unix socket path is too long";
    }

    return NULL;
}


/* [user[:password]@]; ends at the last "@", since a password may contain "@" */

static const char *
conduit_redis_url_credentials(conduit_text_t *rest, conduit_redis_url_t *url)
{
    size_t       at;
    const char  *colon;

    for (at = rest->len; at > 0 && rest->data[at - 1] != '@'; at--) {
        /* void */
    }

    if (at == 0) {
        return NULL;
    }

    url->user.data = rest->data;
    url->user.len = at - 1;

    rest->data += at;
    rest->len -= at;

    colon = url->user.len ? memchr(url->user.data, ':', url->user.len) : NULL;

    if (colon != NULL) {
        url->password.data = colon + 1;
        url->password.len = url->user.len
                            - (size_t) (colon + 1 - url->user.data);
        url->user.len = (size_t) (colon - url->user.data);

        if (url->password.len == 0) {
            return "empty password";
        }

    } else if (url->user.len == 0) {
        return "empty user";
    }

    if (url->user.len == 0) {
        url->user.data = NULL;
    }

    if (!conduit_redis_url_encoded(url->user)
        || !conduit_redis_url_encoded(url->password))
    {
        return "invalid percent-encoding";
    }

    return NULL;
}


static const char *
conduit_redis_url_hosts(conduit_text_t rest, conduit_redis_url_t *url)
{
    const char      *comma, *err;
    conduit_text_t   host;

    for ( ;; ) {

        comma = rest.len ? memchr(rest.data, ',', rest.len) : NULL;

        host.data = rest.data;
        host.len = comma ? (size_t) (comma - rest.data) : rest.len;

        if (url->nhosts == CONDUIT_REDIS_HOSTS) {
            return "too many hosts";
        }

        err = conduit_redis_url_host(host, url);
        if (err != NULL) {
            return err;
        }

        if (comma == NULL) {
            break;
        }

        rest.len -= host.len + 1;
        rest.data = comma + 1;
    }

    if (url->nhosts > 1 && url->scheme != CONDUIT_REDIS_CLUSTER
        && url->scheme != CONDUIT_REDIS_SENTINEL)
    {
        return "more than one host";
    }

    return NULL;
}


/* name[:port], [ipv6][:port] */

static const char *
conduit_redis_url_host(conduit_text_t text, conduit_redis_url_t *url)
{
    uint64_t               port;
    const char            *err;
    conduit_text_t         rest;
    conduit_redis_host_t  *host;

    host = &url->hosts[url->nhosts++];

    host->port = (url->scheme == CONDUIT_REDIS_SENTINEL)
                 ? CONDUIT_SENTINEL_PORT : CONDUIT_REDIS_PORT;

    rest = text;

    err = conduit_redis_url_host_name(&rest, host);
    if (err != NULL) {
        return err;
    }

    if (rest.len == 0) {
        return NULL;
    }

    if (!conduit_redis_url_prefix(&rest, ":")
        || !conduit_redis_url_number(rest, 65535, &port) || port == 0)
    {
        return "invalid port";
    }

    host->port = (uint16_t) port;

    return NULL;
}


/* moves *rest behind the name */

static const char *
conduit_redis_url_host_name(conduit_text_t *rest, conduit_redis_host_t *host)
{
    const char      *end;
    conduit_text_t   text;

    text = *rest;

    if (text.len == 0) {
        return "no host";
    }

    if (text.data[0] == '[') {

        end = memchr(text.data, ']', text.len);
        if (end == NULL) {
            return "invalid host";
        }

        host->ipv6 = 1;
        host->name.data = text.data + 1;
        host->name.len = (size_t) (end - host->name.data);
        rest->data = end + 1;

    } else {

        if (conduit_redis_url_bare_ipv6(text)) {
            return "an IPv6 address needs brackets, as in redis://[::1]:6379";
        }

        end = memchr(text.data, ':', text.len);

        host->name.data = text.data;
        host->name.len = end ? (size_t) (end - text.data) : text.len;
        rest->data = text.data + host->name.len;
    }

    rest->len = text.len - (size_t) (rest->data - text.data);

    if (host->name.len == 0) {
        return "no host";
    }

    if (!conduit_redis_url_name(host->name, host->ipv6)) {
        return "invalid host";
    }

    return NULL;
}


/* the part behind the hosts and "/": a database, a Sentinel master's name, or
   both */

static const char *
conduit_redis_url_tail(conduit_text_t tail, conduit_redis_url_t *url)
{
    const char     *slash;
    uint64_t        db;

    if (url->scheme == CONDUIT_REDIS_CLUSTER) {
        return tail.len ? "a cluster has only database 0" : NULL;
    }

    if (url->scheme == CONDUIT_REDIS_SENTINEL) {

        slash = tail.len ? memchr(tail.data, '/', tail.len) : NULL;

        url->service = tail;

        if (slash != NULL) {
            url->service.len = (size_t) (slash - tail.data);
        }

        if (url->service.len == 0) {
            return "no Sentinel master name";
        }

        if (!conduit_redis_url_name(url->service, 0)) {
            return "invalid Sentinel master name";
        }

        if (slash == NULL) {
            return NULL;
        }

        tail.len -= url->service.len + 1;
        tail.data = slash + 1;

    } else if (tail.len == 0) {
        return NULL;
    }

    if (!conduit_redis_url_number(tail, 0x7fffffff, &db)) {
        return "invalid database number";
    }

    url->db = (unsigned) db;

    return NULL;
}


/* an IPv6 address without brackets: several colons, and nothing that is foreign
   to one */

static int
conduit_redis_url_bare_ipv6(conduit_text_t text)
{
    size_t  i, colons;

    colons = 0;

    for (i = 0; i < text.len; i++) {
        colons += (text.data[i] == ':');
    }

    return colons > 1 && conduit_redis_url_name(text, 1);
}


static int
conduit_redis_url_name(conduit_text_t text, int ipv6)
{
    char    c;
    size_t  i;

    for (i = 0; i < text.len; i++) {

        c = text.data[i];

        if (c >= '0' && c <= '9') {
            continue;
        }

        if (ipv6) {
            if (c == ':' || c == '.' || ((c | 0x20) >= 'a'
                                         && (c | 0x20) <= 'f'))
            {
                continue;
            }

            return 0;
        }

        if (((c | 0x20) < 'a' || (c | 0x20) > 'z')
            && c != '-' && c != '_' && c != '.')
        {
            return 0;
        }
    }

    return 1;
}


static int
conduit_redis_url_number(conduit_text_t text, uint64_t max,
    uint64_t *number)
{
    size_t    i;
    uint64_t  n;

    if (text.len == 0 || text.len > 10) {
        return 0;
    }

    n = 0;

    for (i = 0; i < text.len; i++) {

        if (text.data[i] < '0' || text.data[i] > '9') {
            return 0;
        }

        n = n * 10 + (uint64_t) (text.data[i] - '0');
    }

    *number = n;

    return n <= max;
}


/* whether every "%" starts a sequence that conduit_redis_url_decode() takes */

static int
conduit_redis_url_encoded(conduit_text_t text)
{
    int     high, low;
    size_t  i;

    for (i = 0; i < text.len; i++) {

        if (text.data[i] != '%') {
            continue;
        }

        if (text.len - i < 3) {
            return 0;
        }

        high = conduit_redis_url_hex(text.data[i + 1]);
        low = conduit_redis_url_hex(text.data[i + 2]);

        if (high < 0 || low < 0 || high + low == 0) {
            return 0;
        }

        i += 2;
    }

    return 1;
}


long
conduit_redis_url_decode(conduit_text_t text, char *out)
{
    long    n;
    size_t  i;

    if (!conduit_redis_url_encoded(text)) {
        return -1;
    }

    n = 0;

    for (i = 0; i < text.len; i++) {

        if (text.data[i] == '%') {
            out[n++] = (char) (conduit_redis_url_hex(text.data[i + 1]) * 16
                               + conduit_redis_url_hex(text.data[i + 2]));
            i += 2;

        } else {
            out[n++] = text.data[i];
        }
    }

    return n;
}


static int
conduit_redis_url_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}
