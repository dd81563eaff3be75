/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as a message in JSON.  An error is one line of printable ASCII.  If
 * the message is accepted, the serialized message can be decoded, and its
 * payload, written as JSON and read again, is the same.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_message_json.h"


#define FUZZ_CHANNEL  "97f58c19-ce38-4c6b-8a5b-47f3405691f0"
#define FUZZ_MESSAGE  "0f8fad5b-d9cb-469f-a165-70867728950e"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static conduit_buf_t  json, again;


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


static void
fuzz_error(const conduit_message_json_error_t *error)
{
    char    line[CONDUIT_MESSAGE_JSON_ERROR_MAX];
    size_t  i, n;

    fuzz_check(error->text != NULL);

    n = conduit_message_json_error_write(error, line);
    fuzz_check(n < sizeof(line) && line[n] == '\0');

    for (i = 0; i < n; i++) {
        fuzz_check(line[i] >= ' ' && line[i] <= '~' && line[i] != '"'
                   && line[i] != '\\');
    }
}


/* reads a text, decodes the message, and writes {"payload":...} to b */

static conduit_message_json_status_e
fuzz_read(const char *text, size_t len, conduit_buf_t *b)
{
    char                           *payload;
    size_t                          head;
    conduit_arena_t                *arena;
    conduit_message_t               decoded;
    conduit_message_json_t          m;
    conduit_message_json_error_t    error;
    conduit_message_json_status_e   status;

    arena = conduit_arena_create(CONDUIT_MESSAGE_JSON_MEMORY(len));
    fuzz_check(arena != NULL);

    memcpy(m.message_id, FUZZ_MESSAGE, CONDUIT_UUID_LEN);

    status = conduit_message_json_read(text, len, FUZZ_CHANNEL, arena, &m,
                                       &error);

    fuzz_check(status != CONDUIT_MESSAGE_JSON_NO_MEMORY);

    if (status != CONDUIT_MESSAGE_JSON_OK) {
        fuzz_error(&error);
        conduit_arena_free(arena);
        return status;
    }

    /* the message may be larger than the text: it needs an arena of its own */

    conduit_buf_reset(b);
    conduit_buf_append(b, m.data, m.len);
    len = m.len;
    conduit_arena_free(arena);

    arena = conduit_arena_create(CONDUIT_MESSAGE_MEMORY(len));
    fuzz_check(arena != NULL);
    fuzz_check(conduit_message_decode((uint8_t *) b->data, len, arena,
                                      &decoded)
               == CONDUIT_MESSAGE_OK);
    fuzz_check(memcmp(decoded.channel_id, FUZZ_CHANNEL, CONDUIT_UUID_LEN)
               == 0);
    fuzz_check(memcmp(decoded.message_id, m.message_id, CONDUIT_UUID_LEN)
               == 0);
    fuzz_check(decoded.phase == m.phase);
    fuzz_check(decoded.sequence == (m.has_sequence ? m.sequence : 0));

    conduit_buf_reset(b);
    conduit_message_write_json(&decoded, arena, b);
    conduit_buf_append(b, "", 1);
    fuzz_check(!b->failed);
    conduit_arena_free(arena);

    /* keep only {"payload":...} */

    payload = strstr(b->data, "\"payload\":");
    fuzz_check(payload != NULL);
    head = payload - b->data;
    b->len -= head + 1;
    memmove(b->data + 1, payload, b->len);
    b->data[0] = '{';
    b->len++;

    return status;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char  *text;

    text = malloc(size ? size : 1);
    fuzz_check(text != NULL);

    if (size) {
        memcpy(text, data, size);
    }

    if (fuzz_read(text, size, &json) == CONDUIT_MESSAGE_JSON_OK) {
        fuzz_check(fuzz_read(json.data, json.len, &again)
                   == CONDUIT_MESSAGE_JSON_OK);
        fuzz_check(again.len == json.len
                   && memcmp(again.data, json.data, json.len) == 0);
    }

    free(text);

    return 0;
}
