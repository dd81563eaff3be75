/* Copyright (C) Conduit for NGINX authors */

/*
 * What the files of a place share; no other file includes it.
 *
 *     conduit_place.c          joins, is judged, is sent to
 *     conduit_place_change.c   follows what happens to the window
 */

#ifndef CONDUIT_PLACE_CORE_H
#define CONDUIT_PLACE_CORE_H

#include "conduit_place.h"

#pragma GCC visibility push(hidden)

/* Whether an ID is 0-0. */
int conduit_place_is_zero(const conduit_stream_id_t *id);

/* Whether the window has all entries after a position. */
int conduit_place_within(const conduit_history_t *h,
    const conduit_stream_id_t *pos);

/* Places a subscriber in the window, after its position. */
void conduit_place_enter(conduit_place_t *p, const conduit_history_t *h);

/*
 * Places a subscriber that wants all entries there are: in the window, if that
 * begins with the oldest one, else BELOW.
 */
void conduit_place_fresh(conduit_place_t *p, const conduit_history_t *h);

/*
 * Moves a subscriber to the next life of the stream, of which mark is the LIFE
 * mark.  message: it has not got all messages of its present life, which it is
 * to be told.
 */
void conduit_place_next_life(conduit_place_t *p, const conduit_item_t *mark,
    int message);

/* Notes a loss that a subscriber is to be told.  Of two losses only "gone" is
   told, which includes "trimmed". */
void conduit_place_lose(conduit_place_t *p, conduit_place_loss_e loss);

#pragma GCC visibility pop

#endif /* CONDUIT_PLACE_CORE_H */
