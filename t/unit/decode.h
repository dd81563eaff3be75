/* Copyright (C) Conduit for NGINX authors */

/*
 * What tests of decoding share: an arena, a message that is written by hand,
 * and its way through conduit_message_decode() to JSON.
 */

#ifndef DECODE_H
#define DECODE_H

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_message.h"
#include "wire.h"

#define MIB           (1024 * 1024)
#define ARENA_LIMIT   CONDUIT_MESSAGE_MEMORY(2 * MIB)

#define lit(s)        s, sizeof(s) - 1


static conduit_arena_t    *arena;
static conduit_buf_t       wire;      /* the message */
static conduit_buf_t       part;      /* a piece of it */
static conduit_buf_t       json;
static conduit_message_t   message;


static inline void
setup(void)
{
    arena = conduit_arena_create(ARENA_LIMIT);
    ck_assert_ptr_nonnull(arena);

    memset(&wire, 0, sizeof(wire));
    memset(&part, 0, sizeof(part));
    memset(&json, 0, sizeof(json));
}


static inline void
teardown(void)
{
    conduit_arena_free(arena);
    conduit_buf_free(&wire);
    conduit_buf_free(&part);
    conduit_buf_free(&json);
}


/* conduit_message_check() has the same result as decoding, but no payload */

static inline void
assert_check(const uint8_t *data, size_t len, conduit_message_status_e status)
{
    conduit_message_t  m;

    ck_assert_int_eq(conduit_message_check(data, len, ARENA_LIMIT, &m),
                     status);

    if (status != CONDUIT_MESSAGE_OK) {
        return;
    }

    ck_assert_mem_eq(m.channel_id, message.channel_id, CONDUIT_UUID_LEN);
    ck_assert_mem_eq(m.message_id, message.message_id, CONDUIT_UUID_LEN);
    ck_assert_int_eq(m.phase, message.phase);
    ck_assert_uint_eq(m.sequence, message.sequence);
    ck_assert_ptr_null(m.payload);
}


/* from memory of the exact size, gone afterwards: data must not be kept */

static inline conduit_message_status_e
decode_bytes(const void *data, size_t len)
{
    uint8_t                   *copy;
    conduit_message_status_e   status;

    copy = malloc(len ? len : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, data, len);

    conduit_arena_reset(arena);
    status = conduit_message_decode(copy, len, arena, &message);
    assert_check(copy, len, status);

    free(copy);

    return status;
}


static inline conduit_message_status_e
decode(void)
{
    ck_assert_int_eq(wire.failed, 0);

    return decode_bytes(wire.data ? wire.data : "", wire.len);
}


static inline void
write_json(void)
{
    conduit_buf_reset(&json);
    conduit_message_write_json(&message, arena, &json);
    ck_assert_int_eq(json.failed, 0);
}


static inline void
assert_payload(const char *text)
{
    char    *end;
    size_t   len;

    write_json();
    conduit_buf_append(&json, "", 1);

    end = strstr(json.data, "\"payload\":");
    ck_assert_ptr_nonnull(end);
    end += sizeof("\"payload\":") - 1;

    len = strlen(text);
    ck_assert_msg(strncmp(end, text, len) == 0 && strcmp(end + len, "}") == 0,
                  "payload is %s, not %s", end, text);
}


/* a message whose payload is one member with the content of a Value */

static inline void
build(const conduit_buf_t *value)
{
    conduit_buf_reset(&wire);
    wire_entry(&wire, "k", 1, value);
    wire_wrap(&wire, 6);
    wire_ids(&wire);
}


/*
 * The content of a Value that nests the given number of levels; which of them
 * are lists tells a pattern, e.g. "ol" for objects and lists in turn.
 */

static inline void
nest(conduit_buf_t *value, size_t levels, const char *pattern)
{
    size_t         i, n;
    conduit_buf_t  object;

    n = strlen(pattern);
    memset(value, 0, sizeof(conduit_buf_t));

    for (i = 0; i < levels; i++) {

        if (pattern[i % n] == 'l') {
            if (i > 0) {
                wire_wrap(value, 1);
            }

            wire_wrap(value, 6);
            continue;
        }

        memset(&object, 0, sizeof(object));

        if (i > 0) {
            wire_entry(&object, "k", 1, value);
        }

        conduit_buf_free(value);
        *value = object;
        wire_wrap(value, 5);
    }
}

#endif /* DECODE_H */
