/* Copyright (C) Conduit for NGINX authors */

#include <string.h>

#include "conduit_place.h"
#include "conduit_start.h"
#include "conduit_timestamp.h"


static int conduit_start_ago(const char *s, size_t len, uint64_t now,
    uint64_t *ms);
static int conduit_start_moment(const char *s, size_t len, uint64_t *ms);
static int conduit_start_found(conduit_start_search_t *s,
    const conduit_stream_id_t *pos);


static const char  conduit_start_malformed[] = "Invalid since";
static const char  conduit_start_future[] = "since is in the future";


const char *
conduit_start_parse(const char *s, size_t len, uint64_t now,
    conduit_start_t *start)
{
    int       rc;
    uint64_t  ms;

    if (len && s[0] == '-') {
        rc = conduit_start_ago(s + 1, len - 1, now, &ms);

    } else {
        rc = conduit_org_parse(s, len, &ms);

        if (rc != 0) {
            rc = conduit_start_moment(s, len, &ms);
        }
    }

    if (rc != 0) {
        return conduit_start_malformed;
    }

    if (ms > now && ms - now > CONDUIT_START_LEEWAY) {
        return conduit_start_future;
    }

    /* no entry is before the epoch */

    start->kind = ms ? CONDUIT_START_SINCE : CONDUIT_START_OLDEST;
    start->ms = ms;

    return NULL;
}


/* reads a number and its unit; a time before the epoch becomes the epoch */

static int
conduit_start_ago(const char *s, size_t len, uint64_t now, uint64_t *ms)
{
    size_t    i, digits, n;
    uint64_t  number;

    static const struct {
        const char  *name;
        uint64_t     ms;
    } units[] = {
        { "ms", 1 },
        { "s", 1000 },
        { "m", 60 * 1000 },
        { "h", 60 * 60 * 1000 },
        { "d", 24 * 60 * 60 * 1000 }
    };

    for (digits = 0; digits < len; digits++) {
        if (s[digits] < '0' || s[digits] > '9') {
            break;
        }
    }

    if (conduit_org_parse(s, digits, &number) != 0) {
        return -1;
    }

    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {

        n = strlen(units[i].name);

        if (len - digits == n && memcmp(s + digits, units[i].name, n) == 0) {
            *ms = number < now / units[i].ms ? now - number * units[i].ms : 0;
            return 0;
        }
    }

    return -1;
}


static int
conduit_start_moment(const char *s, size_t len, uint64_t *ms)
{
    char     text[sizeof("2026-01-09T20:51:07.123456789+01:00")];
    int32_t  nanos;
    int64_t  seconds;

    if (len >= sizeof(text)) {
        return -1;
    }

    memcpy(text, s, len);

    if (len > sizeof("+01:00") - 1 && text[len - 6] == ' ') {
        text[len - 6] = '+';
    }

    if (conduit_timestamp_parse(text, len, &seconds, &nanos) != 0) {
        return -1;
    }

    *ms = seconds < 0 ? 0 : (uint64_t) seconds * 1000 + nanos / 1000000;

    return 0;
}


int
conduit_start_same(const conduit_start_t *a, const conduit_start_t *b)
{
    return a->kind == b->kind && a->ms == b->ms;
}


void
conduit_start_begin(conduit_start_search_t *s, const conduit_start_t *start)
{
    memset(s, 0, sizeof(*s));

    s->start = *start;
    s->from.ms = UINT64_MAX;
    s->from.seq = UINT64_MAX;

    if (start->kind == CONDUIT_START_SINCE) {
        s->from.ms = start->ms;
        s->from.seq = 0;

        conduit_stream_id_before(&s->from);
    }
}


int
conduit_start_asks(const conduit_start_search_t *s)
{
    return s->start.kind == CONDUIT_START_TURN && s->looked != 0;
}


int
conduit_start_look(conduit_start_search_t *s, const conduit_stream_id_t *id,
    int end)
{
    /* an END counts only if it is not the newest entry, which is looked at
       first */

    if (s->start.kind == CONDUIT_START_LATEST
        || (s->start.kind == CONDUIT_START_SINCE
            && conduit_stream_id_cmp(id, &s->from) <= 0)
        || (s->start.kind == CONDUIT_START_TURN
            && ((end && s->looked) || s->looked == CONDUIT_START_MAX)))
    {
        return conduit_start_found(s, id);
    }

    if (s->start.kind == CONDUIT_START_TURN) {
        s->looked++;
        s->from = *id;
        conduit_stream_id_before(&s->from);
    }

    return 0;
}


static int
conduit_start_found(conduit_start_search_t *s, const conduit_stream_id_t *pos)
{
    s->pos = *pos;

    return 1;
}


int
conduit_start_more(conduit_start_search_t *s, int full)
{
    static const conduit_stream_id_t  oldest = { 0, 0 };

    if (full) {
        return 1;
    }

    (void) conduit_start_found(s, &oldest);

    return 0;
}


int
conduit_start_window(conduit_start_search_t *s, const conduit_history_t *h,
    int (*is_end)(const void *frame), const conduit_stream_id_t *turn)
{
    int                    end;
    uint64_t               seq, first;
    const conduit_item_t  *item;

    /* entries before the newest mark are not in the stream any more */

    first = h->fresh_seq > h->window.base ? h->fresh_seq : h->window.base;

    if (s->start.kind == CONDUIT_START_LATEST) {
        return conduit_start_found(s, &h->cursor);
    }

    for (seq = conduit_window_end(&h->window); seq > first; seq--) {

        item = conduit_window_item(&h->window, seq - 1);

        if (item->kind != CONDUIT_ITEM_ENTRY) {
            continue;
        }

        end = conduit_start_asks(s)
              && (item->frame != NULL
                  ? is_end(item->frame)
                  : conduit_stream_id_cmp(&item->id, turn) == 0);

        if (conduit_start_look(s, &item->id, end)) {
            return 1;
        }
    }

    return conduit_place_has_all(h) && !conduit_start_more(s, 0);
}
