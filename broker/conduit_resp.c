/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_id.h"
#include "conduit_resp.h"


/* a type, a number, the end of a line */
#define CONDUIT_RESP_HEAD  (1 + CONDUIT_ORG_MAX + 2)


static char *conduit_resp_head(char *p, char type, size_t number);


size_t
conduit_resp_max(size_t n, const size_t *lengths)
{
    size_t  i, size;

    size = CONDUIT_RESP_HEAD;

    for (i = 0; i < n; i++) {
        size += CONDUIT_RESP_HEAD + lengths[i] + 2;
    }

    return size;
}


size_t
conduit_resp_write(char *p, size_t n, const char **words,
    const size_t *lengths)
{
    char    *start;
    size_t   i;

    start = p;
    p = conduit_resp_head(p, '*', n);

    for (i = 0; i < n; i++) {
        p = conduit_resp_head(p, '$', lengths[i]);

        memcpy(p, words[i], lengths[i]);
        p += lengths[i];

        *p++ = '\r';
        *p++ = '\n';
    }

    return p - start;
}


static char *
conduit_resp_head(char *p, char type, size_t number)
{
    *p++ = type;
    p += conduit_decimal_write(number, p);
    *p++ = '\r';
    *p++ = '\n';

    return p;
}
