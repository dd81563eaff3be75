/* Copyright (C) Conduit for NGINX authors */

/*
 * The Durable Streams protocol (PROTOCOL.md 1.0 of the project
 * durable-streams/durable-streams), as far as it concerns reading: offsets,
 * cursors, what an answer of Redis means for a reader, and what is sent of an
 * entry.  Pure: no NGINX type and no clock.
 *
 * An offset is the ID of the last entry that a reader has got.  Both halves of
 * the ID have 20 digits, so that offsets sort as text as they sort as numbers:
 *
 *   00000001736467200000-00000000000000000003
 *
 * The type of a stream says what its entries are: JSON messages, or pieces of
 * text or bytes.  A body of JSON is an array of the entries; any other body is
 * one entry after the other.  A reader with live=sse gets two events for each
 * entry: the data, and a control event with the offset:
 *
 *   event: data
 *   data:[{"k":"v"}]
 *
 *   event: control
 *   data:{"streamNextOffset":"...","streamCursor":"123","upToDate":true}
 *
 * The data event, and the control event up to and including the offset, are the
 * same for all readers, and are made once.
 */

#ifndef CONDUIT_DURABLE_H
#define CONDUIT_DURABLE_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_buf.h"
#include "conduit_history.h"
#include "conduit_id.h"

#pragma GCC visibility push(hidden)

/* bytes of an offset */
#define CONDUIT_DURABLE_OFFSET  41

/* bytes of an entity tag, at most: the quotes, two offsets, ":", ":c" */
#define CONDUIT_DURABLE_ETAG  (2 * CONDUIT_DURABLE_OFFSET + 5)

/* seconds of an interval of cursors, and time() when the first one began
   (2024-10-09T00:00:00Z), as the protocol has them */
#define CONDUIT_DURABLE_INTERVAL  20
#define CONDUIT_DURABLE_EPOCH     1728432000

/* how the entries of a stream are sent */
typedef enum {
    CONDUIT_DURABLE_JSON = 0,      /* "application/json" */
    CONDUIT_DURABLE_TEXT,          /* "text/..." */
    CONDUIT_DURABLE_BYTES          /* all other types: events have base64 */
} conduit_durable_mode_e;

typedef enum {
    CONDUIT_DURABLE_START = 0,     /* "-1": the oldest entry there is */
    CONDUIT_DURABLE_NOW,           /* "now": after the newest entry */
    CONDUIT_DURABLE_AFTER          /* after an entry */
} conduit_durable_from_e;

typedef struct {
    uint32_t              kind;    /* conduit_durable_from_e */
    conduit_stream_id_t   id;      /* of AFTER, else 0-0 */
} conduit_durable_offset_t;

/* what an answer of Redis means for a reader */
typedef enum {
    CONDUIT_DURABLE_OK = 0,
    CONDUIT_DURABLE_MISSING,       /* there is no stream: 404 */
    CONDUIT_DURABLE_GONE           /* entries after the offset are not kept any
                                      more, or the stream is another one: 410 */
} conduit_durable_verdict_e;


/* Returns how the entries of a stream of a media type are sent. */
conduit_durable_mode_e conduit_durable_mode(const char *type, size_t len);

/*
 * Whether a text is a media type that can be sent in a header: a type, a slash
 * and a subtype, perhaps with parameters (RFC 9110, 8.3.1 and 5.6.6).
 */
int conduit_durable_type_valid(const char *type, size_t len);

/*
 * Reads an offset: "-1", "now", or two numbers as in "17-3", each with up to 20
 * digits, leading zeros included.  Returns 0; or -1, with *offset unchanged.
 */
int conduit_durable_offset_parse(const char *s, size_t len,
    conduit_durable_offset_t *offset);

/* Writes the offset of an entry to out: CONDUIT_DURABLE_OFFSET bytes. */
void conduit_durable_offset_write(const conduit_stream_id_t *id, char *out);

/*
 * Writes the entity tag of a body with the entries between two offsets to out,
 * at least CONDUIT_DURABLE_ETAG bytes; closed: the stream is closed at the
 * second one.  Returns the number of bytes.
 */
size_t conduit_durable_etag_write(const conduit_durable_offset_t *from,
    const conduit_stream_id_t *to, int closed, char *out);

/*
 * Reads the cursor that a client has sent back.  Returns 0, which means no
 * cursor, if it is not a number, or is larger than any cursor.
 */
uint64_t conduit_durable_cursor_parse(const char *s, size_t len);

/*
 * Returns the cursor to send at the time now (seconds since 1970): that of the
 * present interval; or, if the client has sent this one or a later one, one
 * that is greater than the client's by a random amount.  client is 0 if it has
 * sent none.
 */
uint64_t conduit_durable_cursor(uint64_t now, uint64_t client,
    uint32_t random);

/*
 * Returns what an answer to FULL means for a reader.  The question must have
 * been asked from the offset's ID: from 0-0 for START, from the greatest ID for
 * NOW.  The result is never GONE for these two.
 */
conduit_durable_verdict_e conduit_durable_judge(
    const conduit_durable_offset_t *offset, const conduit_history_answer_t *a);

/*
 * Appends an entry to a body; first: it is the first one, before which a body
 * of JSON gets its bracket.  Returns 0; or -1 when the entry is not JSON: b is
 * unchanged then.  A failed allocation shows in b->failed.
 */
int conduit_durable_add(conduit_durable_mode_e mode, const uint8_t *data,
    size_t len, int first, conduit_buf_t *b);

/* Finishes a body; empty: it has no entry. */
void conduit_durable_finish(conduit_durable_mode_e mode, int empty,
    conduit_buf_t *b);

/* Appends the data of an event in base64 (RFC 4648, 4). */
void conduit_durable_base64(const uint8_t *data, size_t len,
    conduit_buf_t *b);

/*
 * Append a control event in two parts: control() its beginning, up to and
 * including the offset; then control_open() its rest, with the cursor and
 * whether the reader has got all entries, or control_closed() its rest when the
 * stream is closed.
 */
void conduit_durable_control(const conduit_stream_id_t *id, conduit_buf_t *b);
void conduit_durable_control_open(uint64_t cursor, int up_to_date,
    conduit_buf_t *b);
void conduit_durable_control_closed(conduit_buf_t *b);

#pragma GCC visibility pop

#endif /* CONDUIT_DURABLE_H */
