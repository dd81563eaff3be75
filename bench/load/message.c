/* Copyright (C) Conduit for NGINX authors */

#include <stdio.h>
#include <string.h>

#include "message.h"
#include "wire.h"

/* "~b", channel, ".", sequence, ".", due, "~": fixed widths */
#define MARKER         (2 + 6 + 1 + 8 + 1 + 20 + 1)
#define MARKER_FORMAT  "~b%06u.%08llu.%020llu~"


uint32_t  message_run;


void
message_channel(uint32_t channel, char *uuid)
{
    snprintf(uuid, MESSAGE_CHANNEL, "%08x-0000-4000-8000-%012x", message_run,
             channel);
}


static void
message_id(const message_t *m, char *uuid)
{
    snprintf(uuid, MESSAGE_CHANNEL, "%08x-0000-4000-8000-%012llx", m->channel,
             (unsigned long long) m->sequence & 0xffffffffffff);
}


/* the payload's text: the marker, then words */

static void
message_text(const message_t *m, conduit_buf_t *out)
{
    char               *p, marker[MARKER + 32];
    size_t              n, size;
    static const char   words[] = "a few words of an answer, as they come, ";

    snprintf(marker, sizeof(marker), MARKER_FORMAT, m->channel % 1000000,
             (unsigned long long) m->sequence % 100000000,
             (unsigned long long) m->due);

    size = m->size > MARKER ? m->size : MARKER;
    p = conduit_buf_reserve(out, size);

    if (p == NULL) {
        return;
    }

    memcpy(p, marker, MARKER);

    for (n = MARKER; n < size; n++) {
        p[n] = words[n % (sizeof(words) - 1)];
    }

    out->len += size;
}


void
message_proto(const message_t *m, conduit_buf_t *out)
{
    char           channel[MESSAGE_CHANNEL], id[MESSAGE_CHANNEL];
    conduit_buf_t  text, value, payload;

    memset(&text, 0, sizeof(text));
    memset(&value, 0, sizeof(value));
    memset(&payload, 0, sizeof(payload));

    message_channel(m->channel, channel);
    message_id(m, id);
    message_text(m, &text);

    wire_bytes(&value, 3, text.data, text.len);
    wire_entry(&payload, "value", 5, &value);

    wire_bytes(out, 1, channel, 36);
    wire_bytes(out, 2, id, 36);
    wire_uint(out, 4, m->phase);
    wire_uint(out, 5, m->sequence);
    wire_bytes(out, 6, payload.data, payload.len);

    conduit_buf_free(&text);
    conduit_buf_free(&value);
    conduit_buf_free(&payload);
}


void
message_event(const message_t *m, conduit_buf_t *out)
{
    int                 n;
    char                channel[MESSAGE_CHANNEL], id[MESSAGE_CHANNEL];
    char                head[320];
    static const char  *phases[] = { "UNSPECIFIED", "START", "DELTA", "END" };

    message_channel(m->channel, channel);
    message_id(m, id);

    n = snprintf(head, sizeof(head),
                 "{\"event_type\":\"stream\",\"message_id\":\"%s\","
                 "\"channel_id\":\"%s\",\"phase\":\"PHASE_%s\","
                 "\"sequence\":%llu,\"payload\":{\"value\":\"", id, channel,
                 phases[m->phase], (unsigned long long) m->sequence);

    conduit_buf_append(out, head, (size_t) n);
    message_text(m, out);
    conduit_buf_lit(out, "\"}}");
}


/* returns 0 if it is not a number */

static int
digits(const char *p, size_t n, uint64_t *value)
{
    *value = 0;

    for (/* void */ ; n; n--, p++) {
        if (*p < '0' || *p > '9') {
            return 0;
        }

        *value = *value * 10 + (uint64_t) (*p - '0');
    }

    return 1;
}


const char *
message_find(const char *p, const char *end, message_t *m)
{
    uint64_t  channel;

    while (end - p >= MARKER) {
        p = memchr(p, '~', (size_t) (end - p));

        if (p == NULL || end - p < MARKER) {
            return NULL;
        }

        if (p[1] == 'b' && p[8] == '.' && p[17] == '.' && p[38] == '~'
            && digits(p + 2, 6, &channel)
            && digits(p + 9, 8, &m->sequence)
            && digits(p + 18, 20, &m->due))
        {
            m->channel = (uint32_t) channel;
            return p + MARKER;
        }

        p++;
    }

    return NULL;
}
