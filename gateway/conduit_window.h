/* Copyright (C) Conduit for NGINX authors */

/*
 * An ordered run of what was read from a stream: entries, and marks between
 * them.  A channel's window and a batch are both of this type.  The frames are
 * opaque pointers.  Pure: no NGINX type; malloc() provides the array.
 *
 *   seq      base                                  conduit_window_end()
 *            |                                       |
 *   items    entry  entry  GAP  entry  LIFE  entry   (the next one)
 *            3-0    4-0         9-0          1-0
 *
 * Every item has a sequence number, which it keeps while older ones are dropped
 * and which is given to another item only after a cut.  IDs grow from entry to
 * entry up to a LIFE mark; after it they start again.  So a search for an ID
 * starts from the sequence number where the life of that ID begins.
 */

#ifndef CONDUIT_WINDOW_H
#define CONDUIT_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_id.h"

#pragma GCC visibility push(hidden)

typedef enum {
    CONDUIT_ITEM_ENTRY = 0,    /* an entry; its frame is NULL when it is no
                                  message, and is not sent */
    CONDUIT_ITEM_GAP,          /* entries between the two neighbours are lost: a
                                  subscriber that passes is told history_lost,
                                  "trimmed".  The ID is that of the entry that
                                  follows */
    CONDUIT_ITEM_LIFE          /* the stream was deleted and created again: a
                                  subscriber that passes goes on at 0-0 of the
                                  next life.  It is told nothing, as it has got
                                  all that was read of this one.  id.ms is the
                                  number of the next life */
} conduit_item_e;

typedef struct {
    void                 *frame;   /* the caller's; NULL: none */
    conduit_stream_id_t   id;
    uint64_t              hash;    /* of the entry's bytes, not the frame's */
    uint32_t              size;    /* bytes of the frame, with those of its
                                      compressed forms */
    uint32_t              kind;    /* conduit_item_e */
} conduit_item_t;

/*
 * a zeroed window is empty and ready to use; release may be set before the
 * first item
 */
typedef struct {
    conduit_item_t       *items;   /* the oldest one is items[head] */
    size_t                head;
    size_t                n;
    size_t                cap;
    size_t                bytes;   /* sum of the sizes */
    uint64_t              base;    /* sequence number of the oldest */
    void                (*release)(void *frame);   /* called for each frame that
                                                      is dropped; NULL: not
                                                      called */
} conduit_window_t;

/* no sequence number */
#define CONDUIT_WINDOW_NONE  UINT64_MAX


/*
 * Appends a copy of an item and takes over its frame.  Returns 0; or -1 when
 * memory is out: then the window is unchanged, and the frame still the
 * caller's.
 */
int conduit_window_append(conduit_window_t *w, const conduit_item_t *item);

/* Returns the sequence number that the next item will get. */
uint64_t conduit_window_end(const conduit_window_t *w);

/*
 * Returns the item with a sequence number, which must be from base up to the
 * end, the end not included.
 */
conduit_item_t *conduit_window_item(const conduit_window_t *w, uint64_t seq);

/* Adds to the size of an item, whose frame takes so many more bytes than
   before. */
void conduit_window_grow(conduit_window_t *w, uint64_t seq, size_t bytes);

/*
 * Finds the entry with an ID among the items with sequence numbers from "from"
 * up to "to", "to" not included.  There must be no LIFE mark among them; a from
 * below the base counts as the base.  Returns the sequence number or
 * CONDUIT_WINDOW_NONE.
 */
uint64_t conduit_window_find(const conduit_window_t *w, uint64_t from,
    uint64_t to, const conduit_stream_id_t *id);

/*
 * Finds, in the same range, the first item that a subscriber at the position id
 * has not got.  A GAP counts as got by those that have got the entry after it.
 * Returns the sequence number, or "to" when there is none.
 */
uint64_t conduit_window_after(const conduit_window_t *w, uint64_t from,
    uint64_t to, const conduit_stream_id_t *id);

/*
 * Whether the newest item is a GAP: the entry after it is not appended yet, as
 * memory was out, or as the answer with it is still being taken.
 */
int conduit_window_open(const conduit_window_t *w);

/*
 * Returns how many of the oldest items must be dropped for the rest to have at
 * most so many bytes.  A GAP stays until the entry after it is there: nothing
 * else shows that entries after the cursor are lost.  Changes nothing: the
 * caller must move subscribers away from those items first.
 */
size_t conduit_window_excess(const conduit_window_t *w, size_t bytes);

/* Drops the n oldest items. */
void conduit_window_drop(conduit_window_t *w, size_t n);

/* Drops the newest items, from a sequence number on. */
void conduit_window_cut(conduit_window_t *w, uint64_t seq);

/* Drops all items and frees the array; the next item still gets the next
   sequence number. */
void conduit_window_clear(conduit_window_t *w);

#pragma GCC visibility pop

#endif /* CONDUIT_WINDOW_H */
