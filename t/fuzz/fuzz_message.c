/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as a PublishRequest.  If it is accepted, the JSON that is written
 * can be parsed, and is the same after conduit_merge(), whether that was
 * necessary or not.  Each input is decoded as it is, and with valid ids before
 * it, so that the fuzzer need not guess two UUIDs.
 */

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_merge.h"
#include "conduit_message.h"
#include "conduit_walk.h"

/* keys of jansson are C strings: it refuses a zero byte in a key */
#define json_is_zero_key(error)                                               \
    (json_error_code(error) == json_error_null_byte_in_key)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static const char  fuzz_ids[] =
    "\x0a\x24" "97f58c19-ce38-4c6b-8a5b-47f3405691f0"
    "\x12\x24" "0f8fad5b-d9cb-469f-a165-70867728950e";

static conduit_buf_t  json, merged_json;


static void
fuzz_json(const conduit_message_t *m, conduit_arena_t *arena)
{
    json_t        *parsed;
    json_error_t   error;

    conduit_buf_reset(&json);
    conduit_message_write_json(m, arena, &json);

    if (json.failed
        || memchr(json.data, '\n', json.len) != NULL
        || memchr(json.data, '\r', json.len) != NULL)
    {
        abort();
    }

    /* sequence may be above INT64_MAX, which jansson can read only as a real */

    parsed = json_loadb(json.data, json.len,
                        JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL
                        | JSON_DECODE_INT_AS_REAL, &error);

    if (parsed == NULL && !json_is_zero_key(&error)) {
        abort();
    }

    json_decref(parsed);
}


static void
fuzz_merge(const uint8_t *data, size_t size)
{
    size_t              len;
    uint8_t            *copy;
    const uint8_t      *merged;
    conduit_walk_t      w;
    conduit_arena_t    *arena;
    conduit_message_t   m;

    arena = conduit_arena_create(2 * CONDUIT_MESSAGE_MEMORY(size));
    if (arena == NULL) {
        abort();
    }

    merged = data;
    len = size;

    if (conduit_merge(&merged, &len, arena) != CONDUIT_MESSAGE_OK
        || len > size)
    {
        abort();
    }

    /* memory of the exact size, so that ASan sees a read past the end */

    copy = malloc(len);
    if (copy == NULL) {
        abort();
    }

    memcpy(copy, merged, len);

    if (conduit_walk(copy, len, &w) != CONDUIT_MESSAGE_OK || w.merge
        || conduit_message_decode(copy, len, arena, &m) != CONDUIT_MESSAGE_OK)
    {
        abort();
    }

    conduit_buf_reset(&merged_json);
    conduit_message_write_json(&m, arena, &merged_json);

    if (merged_json.failed || merged_json.len != json.len
        || memcmp(merged_json.data, json.data, json.len) != 0)
    {
        abort();
    }

    free(copy);
    conduit_arena_free(arena);
}


/* a check without decoding has the same result, without the payload */

static void
fuzz_check(const uint8_t *data, size_t size, const conduit_message_t *m,
    conduit_message_status_e status)
{
    conduit_message_t  checked;

    if (conduit_message_check(data, size, CONDUIT_MESSAGE_MEMORY(size),
                              &checked)
        != status)
    {
        abort();
    }

    if (status == CONDUIT_MESSAGE_OK
        && (memcmp(checked.channel_id, m->channel_id, CONDUIT_UUID_LEN) != 0
            || memcmp(checked.message_id, m->message_id, CONDUIT_UUID_LEN) != 0
            || checked.phase != m->phase || checked.sequence != m->sequence))
    {
        abort();
    }
}


static void
fuzz_decode(const uint8_t *data, size_t size)
{
    conduit_arena_t           *arena;
    conduit_message_t          m;
    conduit_message_status_e   status;

    arena = conduit_arena_create(CONDUIT_MESSAGE_MEMORY(size));
    if (arena == NULL) {
        abort();
    }

    status = conduit_message_decode(data, size, arena, &m);

    if (status == CONDUIT_MESSAGE_NO_MEMORY) {
        abort();
    }

    fuzz_check(data, size, &m, status);

    if (status == CONDUIT_MESSAGE_OK) {
        fuzz_json(&m, arena);
        fuzz_merge(data, size);
    }

    conduit_arena_free(arena);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t    len;
    uint8_t  *message;

    fuzz_decode(data, size);

    len = sizeof(fuzz_ids) - 1;

    message = malloc(len + size);
    if (message == NULL) {
        abort();
    }

    memcpy(message, fuzz_ids, len);

    if (size > 0) {
        memcpy(message + len, data, size);
    }

    fuzz_decode(message, len + size);

    free(message);

    return 0;
}
