/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_compact.h"
#include "conduit_durable.h"
#include "conduit_format.h"
#include "conduit_message.h"
#include "conduit_sse.h"
#include "conduit_utf8.h"


static const char  conduit_format_no_field[] = "no such field";
static const char  conduit_format_too_large[] = CONDUIT_FORMAT_TOO_LARGE;


static void conduit_format_conduit(const conduit_format_entry_t *e,
    conduit_arena_t *arena, conduit_buf_t *b, conduit_format_event_t *event);
static void conduit_format_payload(const conduit_format_entry_t *e,
    conduit_arena_t *arena, conduit_buf_t *b, conduit_format_event_t *event);
static void conduit_format_json(const conduit_format_entry_t *e,
    conduit_arena_t *arena, conduit_buf_t *b, conduit_format_event_t *event);
static void conduit_format_text(const conduit_format_entry_t *e,
    conduit_arena_t *arena, conduit_buf_t *b, conduit_format_event_t *event);
static void conduit_format_durable(const conduit_format_entry_t *e,
    conduit_arena_t *arena, conduit_buf_t *b, conduit_format_event_t *event);
static void conduit_format_durable_text(const conduit_format_entry_t *e,
    conduit_arena_t *arena, conduit_buf_t *b, conduit_format_event_t *event);
static void conduit_format_durable_bytes(const conduit_format_entry_t *e,
    conduit_arena_t *arena, conduit_buf_t *b, conduit_format_event_t *event);
static void conduit_format_durable_event(const conduit_format_entry_t *e,
    conduit_durable_mode_e mode, conduit_buf_t *b,
    conduit_format_event_t *event);
static void conduit_format_durable_data(const conduit_format_entry_t *e,
    conduit_durable_mode_e mode, conduit_buf_t *b,
    conduit_format_event_t *event);
static int conduit_format_decode(const conduit_format_entry_t *e,
    conduit_arena_t *arena, conduit_message_t *m,
    conduit_format_event_t *event);
static int conduit_format_message_end(const conduit_format_entry_t *e,
    conduit_arena_t *arena);
static int conduit_format_capped_end(const conduit_format_entry_t *e,
    conduit_arena_t *arena);
static int conduit_format_field_end(const conduit_format_entry_t *e,
    conduit_arena_t *arena);
static const char *conduit_format_refused(const conduit_format_entry_t *e);
static void conduit_format_id(const conduit_format_entry_t *e,
    conduit_buf_t *b);
static void conduit_format_finish(const conduit_format_entry_t *e, size_t from,
    conduit_buf_t *b, conduit_format_event_t *event);
static void conduit_format_lines(const uint8_t *p, size_t len, int tight,
    conduit_buf_t *b);
static size_t conduit_format_line(const uint8_t *p, size_t len,
    conduit_buf_t *b);


const conduit_format_t  conduit_formats[CONDUIT_FORMATS] = {
    { conduit_format_conduit, conduit_format_message_end },
    { conduit_format_payload, conduit_format_capped_end },
    { conduit_format_json, conduit_format_field_end },
    { conduit_format_text, conduit_format_field_end },
    { conduit_format_durable, conduit_format_field_end },
    { conduit_format_durable_text, conduit_format_field_end },
    { conduit_format_durable_bytes, conduit_format_field_end }
};


static void
conduit_format_conduit(const conduit_format_entry_t *e, conduit_arena_t *arena,
    conduit_buf_t *b, conduit_format_event_t *event)
{
    conduit_message_t  m;

    memset(event, 0, sizeof(*event));

    if (!conduit_format_decode(e, arena, &m, event)) {
        return;
    }

    conduit_sse_write_stream(&m, &e->id, arena, b);

    /* the arena has no room for this entry, and would have none if it was tried
       again */

    if (b->failed && conduit_arena_full(arena)) {
        event->error = conduit_message_status_text(CONDUIT_MESSAGE_NO_MEMORY);
        return;
    }

    event->sent = 1;
    event->end = (m.phase == CONDUIT_PHASE_END);
    event->prompt = (m.phase != CONDUIT_PHASE_DELTA);
}


static void
conduit_format_payload(const conduit_format_entry_t *e, conduit_arena_t *arena,
    conduit_buf_t *b, conduit_format_event_t *event)
{
    conduit_message_t  m;

    memset(event, 0, sizeof(*event));

    event->error = conduit_format_refused(e);

    if (event->error != NULL || !conduit_format_decode(e, arena, &m, event)) {
        return;
    }

    event->end = (m.phase == CONDUIT_PHASE_END);
    event->prompt = (m.phase != CONDUIT_PHASE_DELTA);

    if (!event->end && m.payload == NULL) {
        return;
    }

    conduit_format_id(e, b);
    conduit_buf_lit(b, "data: ");

    if (event->end) {
        conduit_buf_lit(b, "[DONE]");

    } else {
        conduit_message_write_payload(&m, arena, b);
    }

    conduit_buf_lit(b, "\n\n");

    if (b->failed && conduit_arena_full(arena)) {
        event->error = conduit_message_status_text(CONDUIT_MESSAGE_NO_MEMORY);
        return;
    }

    event->sent = 1;
}


static void
conduit_format_json(const conduit_format_entry_t *e, conduit_arena_t *arena,
    conduit_buf_t *b, conduit_format_event_t *event)
{
    size_t  from;

    (void) arena;

    memset(event, 0, sizeof(*event));

    from = b->len;
    event->error = conduit_format_refused(e);

    conduit_format_id(e, b);

    if (event->error == NULL) {
        conduit_buf_lit(b, "data: ");

        if (conduit_compact(e->data, e->len, b) == 0) {
            conduit_buf_lit(b, "\n");
            event->sent = 1;

        } else {
            event->error = "not JSON";
        }
    }

    conduit_format_finish(e, from, b, event);
}


static void
conduit_format_text(const conduit_format_entry_t *e, conduit_arena_t *arena,
    conduit_buf_t *b, conduit_format_event_t *event)
{
    size_t  from;

    (void) arena;

    memset(event, 0, sizeof(*event));

    from = b->len;
    event->error = conduit_format_refused(e);

    conduit_format_id(e, b);

    if (event->error == NULL) {
        conduit_format_lines(e->data, e->len, 0, b);
        event->sent = 1;
    }

    conduit_format_finish(e, from, b, event);
}


static void
conduit_format_durable(const conduit_format_entry_t *e, conduit_arena_t *arena,
    conduit_buf_t *b, conduit_format_event_t *event)
{
    (void) arena;

    conduit_format_durable_event(e, CONDUIT_DURABLE_JSON, b, event);
}


static void
conduit_format_durable_text(const conduit_format_entry_t *e,
    conduit_arena_t *arena, conduit_buf_t *b, conduit_format_event_t *event)
{
    (void) arena;

    conduit_format_durable_event(e, CONDUIT_DURABLE_TEXT, b, event);
}


static void
conduit_format_durable_bytes(const conduit_format_entry_t *e,
    conduit_arena_t *arena, conduit_buf_t *b, conduit_format_event_t *event)
{
    (void) arena;

    conduit_format_durable_event(e, CONDUIT_DURABLE_BYTES, b, event);
}


/* appends the event of the value, if it can be sent, and a control event */

static void
conduit_format_durable_event(const conduit_format_entry_t *e,
    conduit_durable_mode_e mode, conduit_buf_t *b,
    conduit_format_event_t *event)
{
    memset(event, 0, sizeof(*event));

    event->error = conduit_format_refused(e);

    if (event->error == NULL) {
        conduit_format_durable_data(e, mode, b, event);
    }

    if (!event->sent && !e->end) {
        return;
    }

    conduit_durable_control(&e->id, b);

    if (e->end) {
        conduit_durable_control_closed(b);

        if (e->data == NULL) {
            event->error = NULL;
        }
    }

    event->sent = 1;
    event->end = e->end;
    event->prompt = e->end;
}


/* appends the event of a value, and sets event->sent; or event->error */

static void
conduit_format_durable_data(const conduit_format_entry_t *e,
    conduit_durable_mode_e mode, conduit_buf_t *b,
    conduit_format_event_t *event)
{
    size_t  from;

    from = b->len;

    conduit_buf_lit(b, "event: data\n");

    switch (mode) {

    case CONDUIT_DURABLE_JSON:
        conduit_buf_lit(b, "data:");

        if (conduit_durable_add(mode, e->data, e->len, 1, b) != 0) {
            event->error = "not JSON";
            b->len = from;
            return;
        }

        conduit_durable_finish(mode, 0, b);
        conduit_buf_lit(b, "\n");
        break;

    case CONDUIT_DURABLE_TEXT:
        conduit_format_lines(e->data, e->len, 1, b);
        break;

    default: /* CONDUIT_DURABLE_BYTES */
        conduit_buf_lit(b, "data:");
        conduit_durable_base64(e->data, e->len, b);
        conduit_buf_lit(b, "\n");
    }

    conduit_buf_lit(b, "\n");

    event->sent = 1;
}


/* returns whether the entry is a message; if not, event->error says why */

static int
conduit_format_decode(const conduit_format_entry_t *e, conduit_arena_t *arena,
    conduit_message_t *m, conduit_format_event_t *event)
{
    conduit_message_status_e  status;

    if (e->data == NULL) {
        event->error = conduit_format_no_field;
        return 0;
    }

    status = conduit_message_decode(e->data, e->len, arena, m);

    if (status != CONDUIT_MESSAGE_OK) {
        event->error = conduit_message_status_text(status);
        return 0;
    }

    return 1;
}


static int
conduit_format_message_end(const conduit_format_entry_t *e,
    conduit_arena_t *arena)
{
    conduit_message_t       m;
    conduit_format_event_t  event;

    return conduit_format_decode(e, arena, &m, &event)
           && m.phase == CONDUIT_PHASE_END;
}


static int
conduit_format_capped_end(const conduit_format_entry_t *e,
    conduit_arena_t *arena)
{
    return conduit_format_refused(e) == NULL
           && conduit_format_message_end(e, arena);
}


static int
conduit_format_field_end(const conduit_format_entry_t *e,
    conduit_arena_t *arena)
{
    (void) arena;

    return e->end;
}


/* why a value is refused before it is read; NULL: it is not refused.  An entry
   that ends the stream needs no value */

static const char *
conduit_format_refused(const conduit_format_entry_t *e)
{
    if (e->data == NULL) {
        return conduit_format_no_field;
    }

    return (e->max && e->len > e->max) ? conduit_format_too_large : NULL;
}


static void
conduit_format_id(const conduit_format_entry_t *e, conduit_buf_t *b)
{
    char    text[CONDUIT_STREAM_ID_MAX];
    size_t  n;

    n = conduit_stream_id_write(&e->id, text);

    conduit_buf_lit(b, "id: ");
    conduit_buf_append(b, text, n);
    conduit_buf_lit(b, "\n");
}


/*
 * Finishes an event that began at from.  If it has no data, it is removed from
 * the buffer; if the stream ends with it, its id is written instead.
 */

static void
conduit_format_finish(const conduit_format_entry_t *e, size_t from,
    conduit_buf_t *b, conduit_format_event_t *event)
{
    if (!event->sent) {
        b->len = from;

        if (!e->end) {
            return;
        }

        conduit_format_id(e, b);

        /* an end without a data field is no error: there was nothing to send */

        if (e->data == NULL) {
            event->error = NULL;
        }
    }

    conduit_buf_lit(b, "\n");

    event->sent = 1;
    event->end = e->end;
    event->prompt = e->end;
}


/*
 * Writes a "data:" line for each line of the value.  Lines end with LF, CR LF
 * or CR, as they do in an event stream.  A value that ends with a line end gets
 * an empty line after it, so that the value that clients read ends with LF,
 * too.  Clients drop one space after the colon; tight: none is written, unless
 * the line begins with a space.
 */

static void
conduit_format_lines(const uint8_t *p, size_t len, int tight,
    conduit_buf_t *b)
{
    size_t  n;

    for ( ;; ) {
        conduit_buf_lit(b, "data:");

        if (!tight || (len && *p == ' ')) {
            conduit_buf_lit(b, " ");
        }

        n = conduit_format_line(p, len, b);

        conduit_buf_lit(b, "\n");

        if (n == len) {
            return;
        }

        n += (p[n] == '\r' && len - n > 1 && p[n + 1] == '\n') ? 2 : 1;

        p += n;
        len -= n;
    }
}


/* appends the bytes up to a line end, with invalid UTF-8 replaced by U+FFFD;
   returns how many bytes it took */

static size_t
conduit_format_line(const uint8_t *p, size_t len, conduit_buf_t *b)
{
    int     good;
    size_t  i, n, from;

    from = 0;

    for (i = 0; i < len && p[i] != '\n' && p[i] != '\r'; i += n) {

        n = conduit_utf8_char(p + i, len - i, &good);

        if (!good) {
            conduit_buf_append(b, p + from, i - from);
            conduit_buf_lit(b, "\xef\xbf\xbd");
            from = i + n;
        }
    }

    conduit_buf_append(b, p + from, i - from);

    return i;
}
