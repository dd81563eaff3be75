/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "sse.h"


static void sse_line(sse_t *sse, const char *line, size_t len);
static void sse_field(sse_t *sse, const char *name, size_t name_len,
    const char *value, size_t len);
static void sse_retry(sse_t *sse, const char *value, size_t len);
static void sse_dispatch(sse_t *sse);


void
sse_feed(sse_t *sse, const char *p, size_t len)
{
    const char  *end, *eol, *lf, *cr;

    end = p + len;

    while (p < end) {

        if (sse->cr && *p == '\n') {
            sse->cr = 0;
            p++;
            continue;
        }

        sse->cr = 0;

        lf = memchr(p, '\n', (size_t) (end - p));
        cr = memchr(p, '\r', (size_t) ((lf != NULL ? lf : end) - p));
        eol = cr != NULL ? cr : lf;

        if (eol == NULL) {
            conduit_buf_append(&sse->line, p, (size_t) (end - p));
            return;
        }

        sse->cr = cr != NULL;

        if (sse->line.len) {
            conduit_buf_append(&sse->line, p, (size_t) (eol - p));
            sse_line(sse, sse->line.data, sse->line.len);
            conduit_buf_reset(&sse->line);

        } else {
            sse_line(sse, p, (size_t) (eol - p));
        }

        p = eol + 1;
    }
}


static void
sse_line(sse_t *sse, const char *line, size_t len)
{
    const char  *colon, *value, *end;

    if (!sse->started) {
        sse->started = 1;

        if (len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
            line += 3;
            len -= 3;
        }
    }

    if (len == 0) {
        sse_dispatch(sse);
        return;
    }

    if (line[0] == ':') {       /* a comment */
        return;
    }

    end = line + len;
    colon = memchr(line, ':', len);

    if (colon == NULL) {
        sse_field(sse, line, len, "", 0);
        return;
    }

    value = colon + 1;

    if (value < end && *value == ' ') {
        value++;
    }

    sse_field(sse, line, (size_t) (colon - line), value,
              (size_t) (end - value));
}


static void
sse_field(sse_t *sse, const char *name, size_t name_len, const char *value,
    size_t len)
{
    if (name_len == 4 && memcmp(name, "data", 4) == 0) {
        conduit_buf_append(&sse->data, value, len);
        conduit_buf_lit(&sse->data, "\n");

    } else if (name_len == 2 && memcmp(name, "id", 2) == 0) {

        if (len < SSE_ID && memchr(value, '\0', len) == NULL) {
            memcpy(sse->id, value, len);
            sse->id[len] = '\0';
        }

    } else if (name_len == 5 && memcmp(name, "event", 5) == 0) {
        len = len < SSE_EVENT ? len : SSE_EVENT - 1;
        memcpy(sse->event, value, len);
        sse->event[len] = '\0';

    } else if (name_len == 5 && memcmp(name, "retry", 5) == 0) {
        sse_retry(sse, value, len);
    }
}


static void
sse_retry(sse_t *sse, const char *value, size_t len)
{
    size_t    i;
    uint64_t  ms;

    ms = 0;

    for (i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9' || i == 12) {
            return;
        }

        ms = ms * 10 + (uint64_t) (value[i] - '0');
    }

    if (len) {
        sse->retry = ms;
        sse->retries++;
    }
}


static void
sse_dispatch(sse_t *sse)
{
    memcpy(sse->last_id, sse->id, SSE_ID);

    /* the LF after the last line is not part of the data */

    if (sse->data.len) {
        sse->handler(sse->user, sse->event[0] ? sse->event : "message",
                     sse->data.data, sse->data.len - 1);
        conduit_buf_reset(&sse->data);
    }

    sse->event[0] = '\0';
}


void
sse_restart(sse_t *sse)
{
    memcpy(sse->id, sse->last_id, SSE_ID);
    sse->event[0] = '\0';
    sse->started = 0;
    sse->cr = 0;
    conduit_buf_reset(&sse->data);
    conduit_buf_reset(&sse->line);
}


void
sse_free(sse_t *sse)
{
    conduit_buf_free(&sse->data);
    conduit_buf_free(&sse->line);
}
