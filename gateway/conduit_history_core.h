/*
 * What the files of a history have in common; nobody else includes it.
 *
 *     conduit_history.c   the rules: what follows from an answer to the cursor
 *     conduit_cursor.c    the states: what is asked, and when
 *     conduit_batch.c     those whose position is below the window
 *     conduit_compare.c   what the window and an answer have in common
 */

#ifndef CONDUIT_HISTORY_CORE_H
#define CONDUIT_HISTORY_CORE_H

#include "conduit_history.h"

#pragma GCC visibility push(hidden)

/* what the window's size counts for an item without a frame, so that they are
   dropped like others */
#define CONDUIT_HISTORY_MARK  64

static const conduit_stream_id_t  conduit_history_zero = { 0, 0 };


static inline int
conduit_history_is_zero(const conduit_stream_id_t *id)
{
    return id->ms == 0 && id->seq == 0;
}


/* How many entries are not after an ID: the index of the first one that is. */
size_t conduit_history_index(const conduit_history_answer_t *a,
    const conduit_stream_id_t *id);

/*
 * Finds the newest entry that the window and an answer have in common: the
 * number of what comes after it there, its index here.  What comes after an
 * entry that the window has not, or has with other bytes, is of another
 * history, even where it looks the same.  When the window has no entries any
 * more, the cursor's is looked for, as if it was the last one.
 */
int conduit_history_common(const conduit_history_t *h,
    const conduit_history_answer_t *a, uint64_t *after, size_t *i);

/* The number of the first item of this life in the window, or the end. */
uint64_t conduit_history_begin(const conduit_history_t *h);

/* The number of the oldest entry of this life in the window, or the end. */
uint64_t conduit_history_oldest(const conduit_history_t *h);

/* Whether an entry is the one at the cursor. */
int conduit_history_is_cursor(const conduit_history_t *h,
    const conduit_history_entry_t *entry);

/*
 * The window has what comes after this ID.  What was trimmed when it was read
 * may be back, by a replica that had not trimmed so far: that is below it.
 */
conduit_stream_id_t conduit_history_below(const conduit_history_t *h);

/*
 * The position of one who has got the last message of this life; entries that
 * are no messages may follow it.  Before the first one: where the window
 * begins, or the cursor.
 */
const conduit_stream_id_t *conduit_history_last_message(
    const conduit_history_t *h);

/*
 * Whether an answer has neither the cursor's entry nor one of the window, and
 * nothing but XDEL has changed: it goes on after the cursor.
 */
int conduit_history_only_deleted(const conduit_history_t *h,
    const conduit_history_answer_t *a);

#pragma GCC visibility pop

#endif /* CONDUIT_HISTORY_CORE_H */
