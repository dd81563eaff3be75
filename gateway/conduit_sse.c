/* Copyright (C) Conduit for NGINX authors */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conduit_sse.h"


static void conduit_sse_write_delay(uint64_t ms, conduit_buf_t *b);


void
conduit_sse_write_stream(const conduit_message_t *m,
    const conduit_stream_id_t *id, conduit_arena_t *arena, conduit_buf_t *b)
{
    char    text[CONDUIT_STREAM_ID_MAX];
    size_t  n;

    n = conduit_stream_id_write(id, text);

    conduit_buf_lit(b, "event: stream\nid: ");
    conduit_buf_append(b, text, n);
    conduit_buf_lit(b, "\ndata: ");
    conduit_message_write_json(m, arena, b);
    conduit_buf_lit(b, "\n\n");
}


void
conduit_sse_write_control(const char *uuid, const char *type,
    const char *reason, const conduit_stream_id_t *pos, conduit_buf_t *b)
{
    char    text[CONDUIT_STREAM_ID_MAX];
    size_t  n;

    conduit_buf_lit(b, "event: control\n");

    if (pos->ms != 0 || pos->seq != 0) {
        n = conduit_stream_id_write(pos, text);

        conduit_buf_lit(b, "id: ");
        conduit_buf_append(b, text, n);
        conduit_buf_lit(b, "\n");
    }

    conduit_buf_lit(b, "data: {\"event_type\":\"control\",\"message_id\":\"");
    conduit_buf_append(b, uuid, CONDUIT_UUID_LEN);
    conduit_buf_lit(b, "\",\"control_type\":\"");
    conduit_buf_append(b, type, strlen(type));

    if (reason != NULL) {
        conduit_buf_lit(b, "\",\"reason\":\"");
        conduit_buf_append(b, reason, strlen(reason));
    }

    conduit_buf_lit(b, "\"}\n\n");
}


void
conduit_sse_write_id(const conduit_stream_id_t *id, conduit_buf_t *b)
{
    char    text[CONDUIT_STREAM_ID_MAX];
    size_t  n;

    n = conduit_stream_id_write(id, text);

    conduit_buf_lit(b, "id: ");
    conduit_buf_append(b, text, n);
    conduit_buf_lit(b, "\n\n");
}


void
conduit_sse_write_retry(uint64_t ms, conduit_buf_t *b)
{
    conduit_sse_write_delay(ms, b);
    conduit_buf_lit(b, "\n");
}


void
conduit_sse_write_error(uint64_t ms, conduit_buf_t *b)
{
    conduit_buf_lit(b, "event: error\n");
    conduit_sse_write_delay(ms, b);
    conduit_buf_lit(b, "data: Too many errors, closing stream\n\n");
}


void
conduit_uuid_v4_write(const uint8_t *random, char *out)
{
    size_t             i;
    uint8_t            byte;
    static const char  hex[] = "0123456789abcdef";

    for (i = 0; i < 16; i++) {
        byte = random[i];

        if (i == 6) {
            byte = (byte & 0x0f) | 0x40;    /* the version */

        } else if (i == 8) {
            byte = (byte & 0x3f) | 0x80;    /* the variant */
        }

        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *out++ = '-';
        }

        *out++ = hex[byte >> 4];
        *out++ = hex[byte & 0xf];
    }
}


static void
conduit_sse_write_delay(uint64_t ms, conduit_buf_t *b)
{
    int   n;
    char  text[sizeof("retry: 18446744073709551615\n")];

    n = snprintf(text, sizeof(text), "retry: %" PRIu64 "\n", ms);
    conduit_buf_append(b, text, n);
}
