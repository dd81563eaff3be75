/*
 * Any bytes as the field of an entry, in each format: what is sent is one event
 * in UTF-8 that reads back as the value, as a browser reads it, and JSON is
 * what jansson takes for it.
 */

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_compact.h"
#include "conduit_format.h"
#include "conduit_message.h"
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


/* the lines "data: ..." behind the id, joined; the event ends the buffer */

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


/* line ends become LF, what is no UTF-8 one U+FFFD after the other */

static void
fuzz_text(const uint8_t *data, size_t size)
{
    int                      good;
    size_t                   i, n;
    conduit_format_event_t   event;

    fuzz_write(CONDUIT_FORMAT_TEXT, data, size, 0, &event);
    fuzz_check(event.sent && event.error == NULL && !event.end);
    fuzz_read();

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

        /* deeper than we go; jansson skips a zero byte behind a number */

        fuzz_check(before == NULL || size > 2 * CONDUIT_COMPACT_DEPTH
                   || memchr(data, '\0', size) != NULL);
        json_decref(before);
        return;
    }

    fuzz_read();

    /* jansson has no number beyond a double, and no half of a surrogate pair,
       and no zero byte in a key */

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
