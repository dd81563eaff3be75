/* Copyright (C) Conduit for NGINX authors */

/*
 * Where a client without a position starts: conduit_gateway_start, or the
 * argument "since".  Pure: no NGINX type and no clock.
 *
 *   OLDEST   with the oldest entry there is
 *   TURN     with the current turn: after the newest END that another entry
 *            follows; without such an END, with the oldest entry
 *   LATEST   after the newest entry
 *   SINCE    after the last entry before a point in time, by the time in the
 *            entries' IDs
 *
 * All but OLDEST need a search, whose result is the ID of an entry, or 0-0 for
 * the whole stream.  The client gets its place (conduit_place.h) only after the
 * search, as if it had come with this ID as its position.  A search looks at
 * entries from the newest one back: first at those of the window and, if these
 * do not suffice, at those in Redis, in steps:
 *
 *   conduit_start_begin()
 *     conduit_start_look() for each entry -> 1: found
 *     conduit_start_more()                -> 0: found, or 1: the next step,
 *                                            from search.from back
 *
 * Entries that are added after the first look come after the position found, so
 * the client gets them.
 */

#ifndef CONDUIT_START_H
#define CONDUIT_START_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_history.h"
#include "conduit_id.h"

#pragma GCC visibility push(hidden)

/* how many entries are looked at, at most: more than Conduit keeps of a
   stream */
#define CONDUIT_START_MAX  10000

/* ms by which "since" may be in the future, as clocks differ */
#define CONDUIT_START_LEEWAY  60000

typedef enum {
    CONDUIT_START_OLDEST = 0,
    CONDUIT_START_TURN,
    CONDUIT_START_LATEST,
    CONDUIT_START_SINCE
} conduit_start_e;

typedef struct {
    uint64_t              ms;          /* of SINCE, else 0 */
    uint32_t              kind;        /* conduit_start_e */
} conduit_start_t;

typedef struct {
    conduit_start_t       start;
    conduit_stream_id_t   from;        /* entries up to this ID, included, are
                                          looked at next */
    conduit_stream_id_t   pos;         /* the client starts after it; 0-0: with
                                          the oldest entry.  Valid when found */
    size_t                looked;      /* how many entries were looked at; only
                                          counted for TURN */
} conduit_start_search_t;


/*
 * Reads the argument "since":
 *   -30s                       this long before now; units ms, s, m, h, d
 *   2026-01-09T20:51:07.250Z   RFC 3339; a "+" of the offset may be a space, as
 *                              it is decoded in a query
 *   1736455867250              ms since the epoch
 * now is in ms since the epoch.  Returns NULL and sets *start; or a static text
 * for the reply, when it is none of these, or in the future by more than the
 * leeway.
 */
const char *conduit_start_parse(const char *s, size_t len, uint64_t now,
    conduit_start_t *start);

/* Whether two clients start at the same place. */
int conduit_start_same(const conduit_start_t *a, const conduit_start_t *b);

/* Begins a search; not for OLDEST. */
void conduit_start_begin(conduit_start_search_t *s,
    const conduit_start_t *start);

/* Whether conduit_start_look() will use end for the next entry; otherwise the
   caller need not find it out. */
int conduit_start_asks(const conduit_start_search_t *s);

/*
 * Looks at the next entry; end: it is an END.  Returns whether the position is
 * found.
 */
int conduit_start_look(conduit_start_search_t *s,
    const conduit_stream_id_t *id, int end);

/*
 * All entries of a step were looked at; full: there may be more.  Returns 1:
 * take the next step; 0: found.  After CONDUIT_START_MAX entries, the client
 * starts after the last one that was looked at.
 */
int conduit_start_more(conduit_start_search_t *s, int full);

/*
 * Looks at the entries of a window that is up to date: the cursor's entry is
 * the newest one of the stream, or there is no stream yet.  is_end says whether
 * a frame, never NULL, is that of an END; turn is the ID of an END found
 * before, whose entry the window may have without its frame.  Returns whether
 * the position is found; if not, Redis is to be asked.
 */
int conduit_start_window(conduit_start_search_t *s, const conduit_history_t *h,
    int (*is_end)(const void *frame), const conduit_stream_id_t *turn);

#pragma GCC visibility pop

#endif /* CONDUIT_START_H */
