/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as the field of an entry, in each format.  If an event is sent, it
 * is a single event in UTF-8, and parsing it as a browser does returns the
 * value, as does parsing its object of JSON.  With format "json", jansson reads
 * the same from it as from the input.
 */

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_compact.h"
#include "conduit_format.h"
#include "conduit_message.h"
#include "conduit_pull.h"
#include "conduit_utf8.h"

#define ID  "id: 7-8\n"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static conduit_buf_t     out, value, wanted;
static conduit_arena_t  *arena;


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


/* joins the "data" lines after the id in value; nothing may follow the event */

static void
fuzz_read(void)
{
    const char  *p, *end, *line;

    fuzz_check(out.len >= sizeof(ID)
               && memcmp(out.data, ID, sizeof(ID) - 1) == 0);

    p = out.data + sizeof(ID) - 1;
    end = out.data + out.len;

    conduit_buf_reset(&value);
    fuzz_check(memchr(out.data, '\r', out.len) == NULL);

    for ( ;; ) {
        line = memchr(p, '\n', (size_t) (end - p));
        fuzz_check(line != NULL);

        if (line == p) {
            fuzz_check(p + 1 == end);
            return;
        }

        fuzz_check(line - p >= 6 && memcmp(p, "data: ", 6) == 0);

        if (p != out.data + sizeof(ID) - 1) {
            conduit_buf_lit(&value, "\n");
        }

        conduit_buf_append(&value, p + 6, (size_t) (line - p) - 6);
        p = line + 1;
    }
}


static void
fuzz_write(conduit_format_e format, const uint8_t *data, size_t size, int end,
    conduit_format_event_t *event)
{
    conduit_format_entry_t  e;

    memset(&e, 0, sizeof(e));

    e.id.ms = 7;
    e.id.seq = 8;
    e.data = data;
    e.len = size;
    e.end = end;

    conduit_arena_reset(arena);
    conduit_buf_reset(&out);

    conduit_formats[format].write(&e, arena, &out, event);

    fuzz_check(!out.failed);
    fuzz_check(event->sent || (event->end == 0 && out.len == 0)
               || format == CONDUIT_FORMAT_PAYLOAD);

    conduit_arena_reset(arena);
    fuzz_check(conduit_formats[format].is_end(&e, arena)
               == (event->sent && event->end));
}


/* the string in the object of an event is the value */

static void
fuzz_object(void)
{
    json_t         *json, *data;
    conduit_buf_t   object;

    memset(&object, 0, sizeof(object));

    fuzz_check(conduit_pull_write(out.data, out.len, 1, &object));
    fuzz_check(!object.failed);

    json = json_loadb(object.data, object.len, JSON_ALLOW_NUL, NULL);
    fuzz_check(json != NULL);

    data = json_object_get(json, "data");
    fuzz_check(json_is_string(data)
               && json_string_length(data) == value.len
               && (value.len == 0
                   || memcmp(json_string_value(data), value.data, value.len)
                      == 0));

    json_decref(json);
    conduit_buf_free(&object);
}


/* line ends become LF; each invalid part of UTF-8 becomes one U+FFFD */

static void
fuzz_text(const uint8_t *data, size_t size)
{
    int                      good;
    size_t                   i, n;
    conduit_format_event_t   event;

    fuzz_write(CONDUIT_FORMAT_TEXT, data, size, 0, &event);
    fuzz_check(event.sent && event.error == NULL && !event.end);
    fuzz_read();
    fuzz_object();

    conduit_buf_reset(&wanted);

    for (i = 0; i < size; i += n) {
        n = conduit_utf8_char(data + i, size - i, &good);
        fuzz_check(n >= 1 && n <= 4 && n <= size - i);

        if (data[i] == '\r') {
            n += (size - i > 1 && data[i + 1] == '\n');
            conduit_buf_lit(&wanted, "\n");

        } else if (good) {
            conduit_buf_append(&wanted, data + i, n);

        } else {
            conduit_buf_lit(&wanted, "\xef\xbf\xbd");
        }
    }

    fuzz_check(value.len == wanted.len
               && (value.len == 0
                   || memcmp(value.data, wanted.data, value.len) == 0));
}


static void
fuzz_json(const uint8_t *data, size_t size)
{
    json_t                  *before, *after;
    json_error_t             error;
    conduit_format_event_t   event;

    const size_t  flags = JSON_DECODE_ANY | JSON_ALLOW_NUL
                          | JSON_DECODE_INT_AS_REAL;

    before = json_loadb((const char *) data, size, flags, &error);

    fuzz_write(CONDUIT_FORMAT_JSON, data, size, 0, &event);
    fuzz_check(event.sent == (event.error == NULL) && !event.end);

    if (!event.sent) {

        /* jansson accepts deeper nesting, and a zero byte after a number */

        fuzz_check(before == NULL || size > 2 * CONDUIT_COMPACT_DEPTH
                   || memchr(data, '\0', size) != NULL);
        json_decref(before);
        return;
    }

    fuzz_read();

    /* jansson refuses numbers beyond a double, half of a surrogate pair, and
       zero bytes in keys: then it must refuse both texts */

    after = json_loadb(value.data, value.len, flags, &error);
    fuzz_check((before == NULL) == (after == NULL));
    fuzz_check(before == NULL || json_equal(before, after));
    fuzz_check(value.len <= size);
    fuzz_check(memchr(value.data, '\n', value.len) == NULL);

    json_decref(before);
    json_decref(after);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    conduit_format_e         f;
    conduit_format_event_t   event;

    if (arena == NULL) {
        arena = conduit_arena_create(CONDUIT_MESSAGE_MEMORY(size) + 1000000);
        fuzz_check(arena != NULL);
    }

    fuzz_text(data, size);
    fuzz_json(data, size);

    for (f = CONDUIT_FORMAT_CONDUIT; f < CONDUIT_FORMATS; f++) {
        fuzz_write(f, data, size, 1, &event);

        fuzz_check(f <= CONDUIT_FORMAT_PAYLOAD || (event.sent && event.end));
    }

    return 0;
}
