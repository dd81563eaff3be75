/* Copyright (C) Conduit for NGINX authors */

/*
 * The bytes of Server-Sent Events (WHATWG HTML, 9.2.5 "Parsing an event
 * stream") as the contract has them.  Pure: no NGINX type.
 */

#ifndef CONDUIT_SSE_H
#define CONDUIT_SSE_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_arena.h"
#include "conduit_buf.h"
#include "conduit_id.h"
#include "conduit_message.h"

#pragma GCC visibility push(hidden)

/*
 * a comment line that keeps a connection alive; it has no empty line after it,
 * as lax parsers would take that for an event without data
 */
#define CONDUIT_SSE_KEEPALIVE  ":\n"


/*
 * Appends the event of a message:
 *   event: stream LF id: <id> LF data: <json> LF LF
 * A failed allocation shows in b->failed.
 */
void conduit_sse_write_stream(const conduit_message_t *m,
    const conduit_stream_id_t *id, conduit_arena_t *arena, conduit_buf_t *b);

/*
 * Appends an "event: control" with the client's position as its id:
 *   data: {"event_type":"control","message_id":"<uuid>","control_type":"<t>"}
 * conduit-client takes its position from the last event, and would forget it
 * if that had no id; for a client without a position (0-0) there is no id.
 * uuid has CONDUIT_UUID_LEN bytes; type and reason are plain words, such as
 * history_lost and trimmed.  reason is the member "reason", or NULL for none.
 */
void conduit_sse_write_control(const char *uuid, const char *type,
    const char *reason, const conduit_stream_id_t *pos, conduit_buf_t *b);

/*
 * Appends "id: <id>" and an empty line: an event without data, which sets the
 * position of an EventSource, and is not dispatched.
 */
void conduit_sse_write_id(const conduit_stream_id_t *id, conduit_buf_t *b);

/* Appends "retry: <ms>" and an empty line. */
void conduit_sse_write_retry(uint64_t ms, conduit_buf_t *b);

/*
 * Appends the error event of the contract: event: error, retry: <ms>, data: Too
 * many errors, closing stream.
 */
void conduit_sse_write_error(uint64_t ms, conduit_buf_t *b);

/* Writes a random UUID (version 4, RFC 9562 5.4) of 16 random bytes to out. */
void conduit_uuid_v4_write(const uint8_t *random, char *out);

#pragma GCC visibility pop

#endif /* CONDUIT_SSE_H */
