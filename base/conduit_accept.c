/* Copyright (C) Conduit for NGINX authors */

#include <string.h>
#include <strings.h>

#include "conduit_accept.h"


#define CONDUIT_ACCEPT_MOST  1000


static const char *conduit_accept_find(const char *p, const char *end, char c);
static void conduit_accept_trim(const char **p, const char **end);
static int conduit_accept_is(const char *p, const char *end, const char *text);
static int conduit_accept_weight(const char *p, const char *end);
static int conduit_accept_number(const char *p, const char *end);


int
conduit_accept_quality(const char *value, size_t len, const char *type)
{
    int          q, best;
    const char  *p, *end, *last, *start, *stop, *params;

    best = -1;
    last = value + len;

    for (p = value; p < last; p = end + 1) {

        end = conduit_accept_find(p, last, ',');
        params = conduit_accept_find(p, end, ';');

        start = p;
        stop = params;
        conduit_accept_trim(&start, &stop);

        if (!conduit_accept_is(start, stop, type)) {
            continue;
        }

        q = conduit_accept_weight(params, end);

        if (q > best) {
            best = q;
        }
    }

    return best;
}


/* returns where c is, outside of quoted strings, or the end */

static const char *
conduit_accept_find(const char *p, const char *end, char c)
{
    int  quoted;

    quoted = 0;

    for ( /* void */ ; p < end; p++) {

        if (*p == '"') {
            quoted = !quoted;

        } else if (quoted && *p == '\\' && end - p > 1) {
            p++;

        } else if (!quoted && *p == c) {
            return p;
        }
    }

    return end;
}


static void
conduit_accept_trim(const char **p, const char **end)
{
    while (*p < *end && (**p == ' ' || **p == '\t')) {
        (*p)++;
    }

    while (*end > *p && ((*end)[-1] == ' ' || (*end)[-1] == '\t')) {
        (*end)--;
    }
}


static int
conduit_accept_is(const char *p, const char *end, const char *text)
{
    size_t  len;

    len = strlen(text);

    return (size_t) (end - p) == len && strncasecmp(p, text, len) == 0;
}


/* the quality among the parameters of a type, each of which follows a ';' */

static int
conduit_accept_weight(const char *p, const char *end)
{
    const char  *start, *stop, *next;

    while (p < end) {

        start = p + 1;
        next = conduit_accept_find(start, end, ';');
        stop = next;

        p = next;
        conduit_accept_trim(&start, &stop);

        if (stop - start >= 2 && (start[0] == 'q' || start[0] == 'Q')
            && start[1] == '=')
        {
            return conduit_accept_number(start + 2, stop);
        }
    }

    return CONDUIT_ACCEPT_MOST;
}


/* a number from 0 to 1 in thousandths, rounded up so that no quality but zero
   means "not acceptable"; anything else is the most */

static int
conduit_accept_number(const char *p, const char *end)
{
    int          q, unit, rest;
    const char  *s;

    for (s = p; s < end && (*s == '0' || *s == '.'); s++) { /* void */ }

    if (s == end) {
        return 0;
    }

    if (end - p < 2 || p[0] != '0' || p[1] != '.') {
        return CONDUIT_ACCEPT_MOST;
    }

    q = 0;
    rest = 0;
    unit = CONDUIT_ACCEPT_MOST / 10;

    for (s = p + 2; s < end; s++) {

        if (*s < '0' || *s > '9') {
            return CONDUIT_ACCEPT_MOST;
        }

        q += (*s - '0') * unit;
        rest |= (unit == 0 && *s != '0');
        unit /= 10;
    }

    return q + rest;
}
