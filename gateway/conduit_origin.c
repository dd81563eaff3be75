/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_origin.h"


#define CONDUIT_ORIGIN_LOWER   "abcdefghijklmnopqrstuvwxyz"
#define CONDUIT_ORIGIN_DIGITS  "0123456789"


static const char *conduit_origin_host(const char *p, const char *end);
static const char *conduit_origin_port(const char *scheme, size_t scheme_len,
    const char *p, const char *end);
static int conduit_origin_only(const char *p, const char *end,
    const char *chars);
static const char *conduit_origin_find(const char *p, const char *end, char c);
static int conduit_origin_is(const char *text, size_t len, const char *other);


const char *
conduit_origin_fault(const char *text, size_t len)
{
    size_t       n, scheme;
    const char  *p, *end, *port, *fault;

    end = text + len;

    if (conduit_origin_is(text, len, "null")) {
        return "any page can have the origin \"null\"";
    }

    p = conduit_origin_find(text, end, ':');

    n = sizeof("://") - 1;

    if (p == NULL || (size_t) (end - p) < n || memcmp(p, "://", n) != 0) {
        return "there is no scheme";
    }

    scheme = (size_t) (p - text);

    if (scheme == 0
        || !conduit_origin_only(text, p, CONDUIT_ORIGIN_LOWER
                                         CONDUIT_ORIGIN_DIGITS "+-."))
    {
        return "the scheme is not in lower case";
    }

    p += n;

    if (conduit_origin_find(p, end, '/') != NULL) {
        return "there is a path, or a \"/\" at the end";
    }

    if (conduit_origin_find(p, end, '@') != NULL) {
        return "there is a user";
    }

    /* an IPv6 address has its colons in brackets: the port comes after them */

    port = conduit_origin_find(p, end, ']');
    port = conduit_origin_find(port ? port : p, end, ':');

    fault = conduit_origin_host(p, port ? port : end);

    if (fault == NULL && port != NULL) {
        fault = conduit_origin_port(text, scheme, port + 1, end);
    }

    return fault;
}


static const char *
conduit_origin_host(const char *p, const char *end)
{
    if (p == end) {
        return "there is no host";
    }

    if (conduit_origin_find(p, end, '*') != NULL) {
        return "the host must not contain \"*\"";
    }

    if (*p == '[') {
        return end[-1] == ']' && end - p > 2
               && conduit_origin_only(p + 1, end - 1,
                                      CONDUIT_ORIGIN_DIGITS "abcdef:.")
               ? NULL : "the IPv6 address is not as browsers send it";
    }

    return conduit_origin_only(p, end, CONDUIT_ORIGIN_LOWER
                                       CONDUIT_ORIGIN_DIGITS "-._")
           ? NULL : "the host is not in lower case, or has characters that "
                    "browsers encode";
}


static const char *
conduit_origin_port(const char *scheme, size_t scheme_len, const char *p,
    const char *end)
{
    size_t  len;

    len = (size_t) (end - p);

    if (len == 0 || len > 5 || *p == '0'
        || !conduit_origin_only(p, end, CONDUIT_ORIGIN_DIGITS))
    {
        return "the port is not a number";
    }

    if ((conduit_origin_is(scheme, scheme_len, "http")
         && conduit_origin_is(p, len, "80"))
        || (conduit_origin_is(scheme, scheme_len, "https")
            && conduit_origin_is(p, len, "443")))
    {
        return "browsers omit the default port of a scheme";
    }

    return NULL;
}


static int
conduit_origin_only(const char *p, const char *end, const char *chars)
{
    for ( /* void */ ; p < end; p++) {
        if (*p == '\0' || strchr(chars, *p) == NULL) {
            return 0;
        }
    }

    return 1;
}


static const char *
conduit_origin_find(const char *p, const char *end, char c)
{
    return memchr(p, c, (size_t) (end - p));
}


static int
conduit_origin_is(const char *text, size_t len, const char *other)
{
    return len == strlen(other) && memcmp(text, other, len) == 0;
}
