/* Copyright (C) Conduit for NGINX authors */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "response.h"


static int response_line(response_t *r,
    const response_handlers_t *handlers, void *user);
static int response_status(response_t *r);
static void response_field(response_t *r);
static void response_begin(response_t *r,
    const response_handlers_t *handlers, void *user);
static int response_size(response_t *r);
static size_t response_body(response_t *r, const char *data, size_t len,
    const response_handlers_t *handlers, void *user);


response_e
response_feed(response_t *r, const char *p, size_t len,
    const response_handlers_t *handlers, void *user)
{
    size_t       n, room;
    const char  *lf;

    while (len) {

        if (r->state == RESPONSE_OVER) {
            return RESPONSE_BAD;
        }

        if (r->state == RESPONSE_LENGTH || r->state == RESPONSE_EOF
            || r->state == RESPONSE_CHUNK)
        {
            n = response_body(r, p, len, handlers, user);
            p += n;
            len -= n;
            continue;
        }

        lf = memchr(p, '\n', len);
        n = lf != NULL ? (size_t) (lf - p) : len;
        room = RESPONSE_LINE - 1 - r->len;
        memcpy(r->line + r->len, p, n < room ? n : room);
        r->len += n < room ? n : room;

        if (lf == NULL) {
            break;
        }

        p = lf + 1;
        len -= n + 1;

        if (r->len && r->line[r->len - 1] == '\r') {
            r->len--;
        }

        r->line[r->len] = '\0';

        if (!response_line(r, handlers, user)) {
            return RESPONSE_BAD;
        }

        r->len = 0;
    }

    return r->state == RESPONSE_OVER ? RESPONSE_DONE : RESPONSE_MORE;
}


/* handles a line; returns 0 if it is not valid in this state */

static int
response_line(response_t *r, const response_handlers_t *handlers, void *user)
{
    switch (r->state) {

    case RESPONSE_STATUS:
        return response_status(r);

    case RESPONSE_HEADER:
        if (r->len) {
            response_field(r);

        } else {
            response_begin(r, handlers, user);
        }

        return 1;

    case RESPONSE_SIZE:
        return response_size(r);

    case RESPONSE_CHUNK_END:
        r->state = RESPONSE_SIZE;
        return r->len == 0;

    default: /* RESPONSE_TRAILER */
        if (r->len == 0) {
            r->state = RESPONSE_OVER;
        }

        return 1;
    }
}


static int
response_status(response_t *r)
{
    if (strncmp(r->line, "HTTP/1.", 7) != 0 || r->len < 12) {
        return 0;
    }

    r->close = r->line[7] == '0';
    r->status = atoi(r->line + 9);
    r->state = RESPONSE_HEADER;

    return r->status >= 100 && r->status <= 999;
}


static void
response_field(response_t *r)
{
    char  *value;

    value = strchr(r->line, ':');

    if (value == NULL) {
        return;
    }

    *value++ = '\0';
    value += strspn(value, " \t");

    if (strcasecmp(r->line, "Content-Length") == 0) {
        r->left = strtoull(value, NULL, 10);
        r->sized = 1;

    } else if (strcasecmp(r->line, "Transfer-Encoding") == 0) {
        r->chunked = strcasecmp(value, "chunked") == 0;

    } else if (strcasecmp(r->line, "Content-Encoding") == 0) {
        r->gzip = strcasecmp(value, "gzip") == 0;

    } else if (strcasecmp(r->line, "Connection") == 0) {
        r->close = strcasecmp(value, "close") == 0;
    }
}


static void
response_begin(response_t *r, const response_handlers_t *handlers, void *user)
{
    int  status;

    status = r->status;

    if (status < 200) {
        memset(r, 0, sizeof(*r));
        return;
    }

    if (status == 204 || status == 304) {
        r->state = RESPONSE_OVER;

    } else if (r->chunked) {
        r->state = RESPONSE_SIZE;

    } else if (r->sized) {
        r->state = r->left ? RESPONSE_LENGTH : RESPONSE_OVER;

    } else {
        r->state = RESPONSE_EOF;
        r->close = 1;
    }

    handlers->header(user, status);
}


static int
response_size(response_t *r)
{
    char  *end;

    r->left = strtoull(r->line, &end, 16);
    r->state = r->left ? RESPONSE_CHUNK : RESPONSE_TRAILER;

    return end != r->line;
}


/* returns how many of the bytes belong to the body */

static size_t
response_body(response_t *r, const char *data, size_t len,
    const response_handlers_t *handlers, void *user)
{
    size_t  n;

    n = len;

    if (r->state != RESPONSE_EOF) {
        n = r->left < len ? (size_t) r->left : len;
        r->left -= n;

        if (r->left == 0) {
            r->state = r->state == RESPONSE_CHUNK ? RESPONSE_CHUNK_END
                                                  : RESPONSE_OVER;
        }
    }

    handlers->body(user, data, n);

    return n;
}


response_e
response_eof(response_t *r)
{
    return r->state == RESPONSE_EOF ? RESPONSE_DONE : RESPONSE_BAD;
}
