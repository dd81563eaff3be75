/* Copyright (C) Conduit for NGINX authors */

/*
 * What the files of a history share; no other file includes it.
 *
 *     conduit_history.c   the rules: what follows from an answer to the cursor
 *     conduit_cursor.c    the states: what is asked, and when
 *     conduit_batch.c     subscribers whose position is below the window
 *     conduit_compare.c   what the window and an answer have in common
 */

#ifndef CONDUIT_HISTORY_CORE_H
#define CONDUIT_HISTORY_CORE_H

#include "conduit_history.h"

#pragma GCC visibility push(hidden)

/*
 * the size that an item without a frame counts for, so that the window's limit
 * applies to such items, too
 */
#define CONDUIT_HISTORY_MARK  64

static const conduit_stream_id_t  conduit_history_zero = { 0, 0 };


static inline int
conduit_history_is_zero(const conduit_stream_id_t *id)
{
    return id->ms == 0 && id->seq == 0;
}


/* Whether the number of the cursor is known. */
static inline int
conduit_history_numbered(const conduit_history_t *h)
{
    return h->number_state == CONDUIT_HISTORY_NUMBER_KNOWN;
}


/* Returns how many entries of an answer have IDs up to an ID, included: the
   index of the first entry after it. */
size_t conduit_history_index(const conduit_history_answer_t *a,
    const conduit_stream_id_t *id);

/*
 * Finds the newest entry that the window and an answer have in common: *after
 * is the sequence number of the item after it in the window, *i its index in
 * the answer.  It stops at the first entry that the window lacks, or has with
 * other bytes: what follows is of another history, even if it looks the same.
 * When the window has no entry left, it compares the answer with the cursor's
 * entry instead.  Returns whether there is one.
 */
int conduit_history_common(const conduit_history_t *h,
    const conduit_history_answer_t *a, uint64_t *after, size_t *i);

/* The sequence number of the first item of this life in the window, or the
   end. */
uint64_t conduit_history_begin(const conduit_history_t *h);

/* The sequence number of the oldest entry of this life in the window, or the
   end. */
uint64_t conduit_history_oldest(const conduit_history_t *h);

/* Whether an entry is the one at the cursor. */
int conduit_history_is_cursor(const conduit_history_t *h,
    const conduit_history_entry_t *entry);

/*
 * Returns an ID after which the window has all entries.  An answer may have
 * entries up to this ID that the window lacks: they were trimmed before the
 * window was read, and are back after a failover to a replica that had not
 * trimmed that far.
 */
conduit_stream_id_t conduit_history_below(const conduit_history_t *h);

/*
 * The position of a subscriber that has got the last message of this life;
 * entries that are no messages may follow it.  Before the first message: where
 * the window begins, or the cursor.
 */
const conduit_stream_id_t *conduit_history_last_message(
    const conduit_history_t *h);

/*
 * Whether only XDEL can explain that an answer has neither the cursor's entry
 * nor one of the window: then reading goes on after the cursor.
 */
int conduit_history_only_deleted(const conduit_history_t *h,
    const conduit_history_answer_t *a);

/*
 * Returns the reason why a stream without an entry in common with the window
 * must be another one; or NULL: it may be the same.
 */
const char *conduit_history_other(const conduit_history_t *h,
    const conduit_history_answer_t *a);

#pragma GCC visibility pop

#endif /* CONDUIT_HISTORY_CORE_H */
