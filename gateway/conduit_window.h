/*
 * An ordered run of what was read from a stream: entries, and marks between
 * them.  A channel's window and a batch are both of this type.  The frames are
 * opaque pointers.  Pure: no NGINX type; the array is on malloc().
 *
 *   seq      base                                  conduit_window_end()
 *            |                                       |
 *   items    entry  entry  GAP  entry  LIFE  entry   (the next one)
 *            3-0    4-0         9-0          1-0
 *
 * Every item has a sequence number, which it keeps while older ones are dropped
 * and which is given to another item only after a cut.  IDs grow from entry to
 * entry up to a LIFE mark; behind one they start again.  So whoever looks for
 * an ID says from which sequence number on: that of the life it is of.
 */

#ifndef CONDUIT_WINDOW_H
#define CONDUIT_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_id.h"

#pragma GCC visibility push(hidden)

typedef enum {
    CONDUIT_ITEM_ENTRY = 0,    /* of the stream; its frame is NULL when it is
                                  no message, and nothing is sent for it */
    CONDUIT_ITEM_GAP,          /* entries that were here are gone: who passes
                                  is told history_lost, "trimmed".  The ID is
                                  that of the entry that follows */
    CONDUIT_ITEM_LIFE          /* the stream was made anew: who passes starts
                                  at 0-0 of its next life, and is told
                                  nothing, as it had all that was seen.  id.ms
                                  is the number of that life */
} conduit_item_e;

typedef struct {
    void                 *frame;   /* of the caller; NULL: none */
    conduit_stream_id_t   id;
    uint64_t              hash;    /* of the entry's bytes, not the frame's */
    uint32_t              size;    /* bytes of the frame */
    uint32_t              kind;    /* conduit_item_e */
} conduit_item_t;

/* zeroed is empty and ready to use; release may be set before the first item */
typedef struct {
    conduit_item_t       *items;   /* the oldest one is items[head] */
    size_t                head;
    size_t                n;
    size_t                cap;
    size_t                bytes;   /* sum of the sizes */
    uint64_t              base;    /* sequence number of the oldest */
    void                (*release)(void *frame);   /* called for each frame
                                                      that is dropped; NULL:
                                                      none is */
} conduit_window_t;

/* no sequence number */
#define CONDUIT_WINDOW_NONE  UINT64_MAX


/*
 * Appends a copy of an item and takes over its frame.  Returns 0, or -1 when
 * memory is out: the window is as before, the frame still the caller's.
 */
int conduit_window_append(conduit_window_t *w, const conduit_item_t *item);

/* The number that the next item will get. */
uint64_t conduit_window_end(const conduit_window_t *w);

/* The item of a number from base up to the end, the end not included. */
conduit_item_t *conduit_window_item(const conduit_window_t *w, uint64_t seq);

/*
 * Finds the entry with an ID among the items from one number up to another,
 * that one not included, which have no LIFE mark between them (a from below the
 * base is the base).  Returns its number or CONDUIT_WINDOW_NONE.
 */
uint64_t conduit_window_find(const conduit_window_t *w, uint64_t from,
    uint64_t to, const conduit_stream_id_t *id);

/*
 * Finds, likewise, the first item that somebody whose position is id has not
 * got.  A GAP counts for all who have not got the entry behind it.  Returns its
 * number, or "to" when there is none.
 */
uint64_t conduit_window_after(const conduit_window_t *w, uint64_t from,
    uint64_t to, const conduit_stream_id_t *id);

/*
 * Whether the newest item is a GAP: the entry behind it was not read yet, as
 * memory was out, or the answer that has it is being taken.
 */
int conduit_window_open(const conduit_window_t *w);

/*
 * How many of the oldest items are to go for the rest to have so many bytes at
 * most.  A GAP stays until the entry behind it is there: without either, nobody
 * could tell that entries are missing after the cursor.  Nothing changes: those
 * who stand there must be moved first.
 */
size_t conduit_window_excess(const conduit_window_t *w, size_t bytes);

/* Drops the n oldest items. */
void conduit_window_drop(conduit_window_t *w, size_t n);

/* Drops the newest items, from a number on. */
void conduit_window_cut(conduit_window_t *w, uint64_t seq);

/* Drops all items and frees the array; numbers go on from the end. */
void conduit_window_clear(conduit_window_t *w);

#pragma GCC visibility pop

#endif /* CONDUIT_WINDOW_H */
