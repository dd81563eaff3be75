/* Copyright (C) Conduit for NGINX authors */

/*
 * Where a client starts that comes without a position: conduit_gateway_start,
 * or the argument "since".  Pure: no NGINX type and no clock.
 *
 *   OLDEST   with the oldest entry there is
 *   TURN     after the last END that something follows; a stream without one is
 *            one turn, from its oldest entry on
 *   LATEST   after the newest entry
 *   SINCE    after the last entry before a moment, by the entries' IDs
 *
 * All but OLDEST are the position of an entry that is in the stream.  So a
 * search is over before the engine hears of the client: from then on the client
 * is one that resumes after this entry.  The entries are looked at from the
 * newest one back, first those in the window, and if that has not enough of
 * them, those in Redis, in steps:
 *
 *   conduit_start_begin()
 *     conduit_start_look() for each entry -> 1: found
 *     conduit_start_more()                -> 0: found, or 1: the next step,
 *                                            from search.from back
 *
 * The first look at the newest entry is the moment from which on nothing is
 * missed.
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
    size_t                looked;      /* how many entries were looked at, of
                                          TURN */
} conduit_start_search_t;


/*
 * Reads the argument "since":
 *   -30s                       so long before now (ms); units ms, s, m, h, d
 *   2026-01-09T20:51:07.250Z   RFC 3339; a "+" of the offset may be a space, as
 *                              it is decoded in a query
 *   1736455867250              ms since the epoch
 * Returns NULL and sets *start; or a static text for the reply, when it is
 * none of these, or in the future by more than the leeway.
 */
const char *conduit_start_parse(const char *s, size_t len, uint64_t now,
    conduit_start_t *start);

/* Whether two clients start at the same place. */
int conduit_start_same(const conduit_start_t *a, const conduit_start_t *b);

/* Begins a search; not for OLDEST. */
void conduit_start_begin(conduit_start_search_t *s,
    const conduit_start_t *start);

/* Whether it matters for the next entry if the stream ends with it. */
int conduit_start_asks(const conduit_start_search_t *s);

/*
 * Looks at the next entry; end: the stream ends with it.  Returns whether the
 * position is found.
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
 * a frame, never NULL, ends the stream; turn is the ID of an entry that was
 * found to do so, as the window may have it without its frame.  Returns whether
 * the position is found; if not, Redis is to be asked.
 */
int conduit_start_window(conduit_start_search_t *s, const conduit_history_t *h,
    int (*is_end)(const void *frame), const conduit_stream_id_t *turn);

#pragma GCC visibility pop

#endif /* CONDUIT_START_H */
