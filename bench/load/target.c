/* Copyright (C) Conduit for NGINX authors */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/pem.h>

#include "http.h"
#include "target.h"
#include "token.h"

#define TARGET_LINE  4096


static int target_set(target_t *t, const char *key, const char *value);
static int target_key(target_t *t, const char *file);
static void expand(const target_t *t, const char *p, const char *end,
    const message_t *m, conduit_buf_t *out);
static void expand_name(const target_t *t, const char *name, size_t len,
    const message_t *m, conduit_buf_t *out);
static void expand_event(const message_t *m, const char *how, size_t len,
    conduit_buf_t *out);
static void expand_token(const target_t *t, uint32_t channel,
    conduit_buf_t *out);


int
target_read(target_t *t, const char *file)
{
    int    rc;
    char  *value, line[TARGET_LINE];
    FILE  *f;

    memset(t, 0, sizeof(*t));
    f = fopen(file, "r");

    if (f == NULL) {
        fprintf(stderr, "load: %s: %s\n", file, strerror(errno));
        return -1;
    }

    rc = 0;

    while (rc == 0 && fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        value = strchr(line, ' ');

        if (value != NULL) {
            *value++ = '\0';
            rc = target_set(t, line, value);
        }
    }

    fclose(f);

    if (t->body == NULL) {
        t->body = strdup("");
    }

    return t->body != NULL ? rc : -1;
}


static void
line_append(conduit_buf_t *b, const char *value, const char *end)
{
    conduit_buf_append(b, value, strlen(value));
    conduit_buf_append(b, end, strlen(end));
}


static int
target_set(target_t *t, const char *key, const char *value)
{
    if (strcmp(key, "publish_address") == 0) {
        return http_address(value, &t->publish_address);
    }

    if (strcmp(key, "events_address") == 0) {
        return http_address(value, &t->events_address);
    }

    if (strcmp(key, "publish") == 0) {
        line_append(&t->publish, value, " HTTP/1.1\r\nHost: localhost\r\n");

    } else if (strcmp(key, "publish_header") == 0) {
        line_append(&t->publish, value, "\r\n");

    } else if (strcmp(key, "publish_body") == 0) {
        t->body = strdup(value);

    } else if (strcmp(key, "events") == 0) {
        line_append(&t->events, value,
                    " HTTP/1.1\r\nHost: localhost\r\n"
                    "Accept: text/event-stream\r\n");

    } else if (strcmp(key, "events_header") == 0) {
        line_append(&t->events, value, "\r\n");

    } else if (strcmp(key, "issuer") == 0) {
        t->issuer = strdup(value);

    } else if (strcmp(key, "audience") == 0) {
        t->audience = strdup(value);

    } else if (strcmp(key, "key") == 0) {
        return target_key(t, value);

    } else {
        fprintf(stderr, "load: unknown key \"%s\"\n", key);
        return -1;
    }

    return 0;
}


static int
target_key(target_t *t, const char *file)
{
    FILE  *f;

    f = fopen(file, "r");

    if (f != NULL) {
        t->key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
        fclose(f);
    }

    if (t->key == NULL) {
        fprintf(stderr, "load: no private key in %s\n", file);
        return -1;
    }

    return 0;
}


void
target_publish(const target_t *t, const message_t *m, int close,
    conduit_buf_t *out)
{
    int                   n;
    char                  length[64];
    static conduit_buf_t  body;

    conduit_buf_reset(&body);
    expand(t, t->body, t->body + strlen(t->body), m, &body);
    expand(t, t->publish.data, t->publish.data + t->publish.len, m, out);

    n = snprintf(length, sizeof(length), "%sContent-Length: %zu\r\n\r\n",
                 close ? "Connection: close\r\n" : "", body.len);

    conduit_buf_append(out, length, (size_t) n);
    conduit_buf_append(out, body.data, body.len);
}


void
target_events(const target_t *t, uint32_t channel, conduit_buf_t *out)
{
    message_t  m;

    memset(&m, 0, sizeof(m));
    m.channel = channel;

    expand(t, t->events.data, t->events.data + t->events.len, &m, out);
}


static void
expand(const target_t *t, const char *p, const char *end, const message_t *m,
    conduit_buf_t *out)
{
    size_t       n;
    const char  *brace, *name;

    while (p < end) {
        brace = memchr(p, '{', (size_t) (end - p));

        if (brace == NULL) {
            brace = end;
        }

        conduit_buf_append(out, p, (size_t) (brace - p));

        if (brace == end) {
            return;
        }

        /* a brace that does not enclose a name, as in JSON, is copied */

        name = brace + 1;
        n = 0;

        while (name + n < end
               && ((name[n] >= 'a' && name[n] <= 'z') || name[n] == '_'))
        {
            n++;
        }

        if (n && name + n < end && name[n] == '}') {
            expand_name(t, name, n, m, out);
            p = name + n + 1;

        } else {
            conduit_buf_lit(out, "{");
            p = name;
        }
    }
}


static void
expand_name(const target_t *t, const char *name, size_t len,
    const message_t *m, conduit_buf_t *out)
{
    char  channel[MESSAGE_CHANNEL];

    if (len == 7 && memcmp(name, "channel", 7) == 0) {
        message_channel(m->channel, channel);
        conduit_buf_append(out, channel, MESSAGE_CHANNEL - 1);

    } else if (len == 5 && memcmp(name, "token", 5) == 0) {
        expand_token(t, m->channel, out);

    } else if (len == 5 && memcmp(name, "proto", 5) == 0) {
        message_proto(m, out);

    } else if (len >= 5 && memcmp(name, "event", 5) == 0) {
        expand_event(m, name + 5, len - 5, out);
    }
}


/* appends the JSON of an event; how, "", "_string" or "_form", says how it is
   escaped */

static void
expand_event(const message_t *m, const char *how, size_t len,
    conduit_buf_t *out)
{
    size_t                i;
    char                  c, hex[4];
    static conduit_buf_t  event;

    conduit_buf_reset(&event);
    message_event(m, &event);

    for (i = 0; i < event.len; i++) {
        c = event.data[i];

        if (len == 7 && (c == '"' || c == '\\')) {
            conduit_buf_lit(out, "\\");
            conduit_buf_append(out, &c, 1);

        } else if (len == 5 && strchr("{}\":, ", c) != NULL) {
            snprintf(hex, sizeof(hex), "%%%02X", (unsigned char) c);
            conduit_buf_append(out, hex, 3);

        } else {
            conduit_buf_append(out, &c, 1);
        }
    }
}


static void
expand_token(const target_t *t, uint32_t channel, conduit_buf_t *out)
{
    int                 n;
    char                uuid[MESSAGE_CHANNEL], claims[1024];
    size_t              len;
    long long           now;
    unsigned char       signature[1024];
    static char         token[TOKEN_MAX];
    static const char   header[] = "{\"alg\":\"RS256\",\"typ\":\"JWT\"}";

    if (t->key == NULL || EVP_PKEY_size(t->key) > (int) sizeof(signature)) {
        return;
    }

    message_channel(channel, uuid);

    now = (long long) time(NULL);

    /* the claims that tokens of an application typically have: the token takes
       about 700 bytes */

    n = snprintf(claims, sizeof(claims),
                 "{\"org_id\":1,\"channel_id\":\"%s\",\"iss\":\"%s\","
                 "\"aud\":\"%s\",\"iat\":%lld,\"nbf\":%lld,\"exp\":%lld,"
                 "\"jti\":\"%s\",\"sub\":\"user:%010u\"}", uuid,
                 t->issuer != NULL ? t->issuer : "bench",
                 t->audience != NULL ? t->audience : "conduit",
                 now, now, now + 86400, uuid, channel);

    if (n >= (int) sizeof(claims)) {
        return;
    }

    len = token_begin(token, header, sizeof(header) - 1, claims, (size_t) n);
    len = token_end(token, len, signature,
                    token_rs256(token, len, t->key, signature));

    conduit_buf_append(out, token, len);
}
