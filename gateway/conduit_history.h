/* Copyright (C) Conduit for NGINX authors */

/*
 * What a channel knows of its stream, and what follows from an answer of Redis:
 * all rules that say whether entries are appended, were rolled back, were lost,
 * or belong to another stream.  Pure: no NGINX type, no Redis library, no
 * clock.
 *
 * Terms:
 *
 *   entry       an entry of the Redis stream.  A message is an entry that is
 *               sent to clients: it has a frame, the bytes of its event
 *   END         an entry that says that the stream has ended; others may follow
 *   window      the newest entries read, in memory: conduit_window.h
 *   cursor      the ID of the last entry read; 0-0 before the first
 *   floor       the window has all entries after this ID, up to the cursor
 *   subscriber  a client.  Its position is the ID of the last entry it has got
 *   batch       entries read for subscribers whose position is below the floor
 *   judge       decide from an answer whether a position is in this stream, and
 *               whether entries after it are lost
 *   life        the stream from its creation until it is deleted or replaced by
 *               another one: the IDs of two lives can't be compared
 *   mark        an item of the window between two entries: GAP stands for lost
 *               entries, LIFE for the beginning of the next life
 *   ring        a notice that the key may have changed: of the doorbell (CLIENT
 *               TRACKING); of a sweep, in case such a notice was lost; or of a
 *               poll, where there is no doorbell
 *
 * The caller (the feed) sends the questions that it is given to Redis, hands in
 * the answers as data, and carries out the plan that it gets back.  At most one
 * question about the cursor is out at a time; it is of one of two kinds:
 *
 *   FAST   XREAD COUNT n+1 STREAMS key <just before the cursor>
 *          If the first entry is the cursor's own, the others follow it without
 *          a gap, and are appended.
 *   FULL   the script below: what XINFO STREAM and XRANGE say at one instant.
 *          Asked at first, after a link came up, after the key moved to another
 *          server, when the key rings while the cursor is 0-0, and whenever an
 *          answer to FAST did not start with the cursor's entry.
 *
 *                        ring / sweep / poll, conduit_history_ring() == 1
 *                     +----------------------------------------------+
 *                     |                                              v
 *   +------+      +------+  _ask()   +-------------+  _answer()  +--------+
 *   | WAIT |----->| IDLE |---------->| FAST | FULL |------------>| TAKING |
 *   +------+ retry+------+           +-------------+             +--------+
 *      ^             ^  ^              |   |  plan.next == ASK        |
 *      |             |  +--------------+   +--> _ask() at once        |
 *      |             |   plan.next == IDLE                            |
 *      |             +------------------------------------------------+
 *      +-- _failed(): a temporary error, or      _take() each, _taken()
 *          memory is out: only the retry timer
 *          asks again
 *
 * A ring while a question is out sets "dirty": another question follows.
 *
 * What an answer to FULL means, by the first rule that fits.  "added", "length"
 * and "oldest" are entries-added, the length and the ID of the first entry, as
 * XINFO STREAM gives them.  An entry is "common" if both the window, in this
 * life, and the answer have it with the same ID and bytes, and all entries of
 * the answer before it, from the window's oldest on, are common, too:
 *
 *   the cursor is only what a client said   start there; if the stream ends
 *                                           before that ID, start at 0-0, or at
 *                                           its newest entry if that is an END
 *   no such key, no entry was ever seen     wait for it
 *   no such key                             RESTART
 *   an entry is common                      go on after the newest common one.
 *                                           CUT if the window has entries after
 *                                           it, which a rollback or XDEL took,
 *                                           or last-generated-id < "ahead":
 *                                           these entries are dropped, and
 *                                           positions after it are moved back
 *   added < number                          RESTART
 *   last-generated-id < cursor, or ahead    RESTART
 *   the stream is empty                     keep the number; idle
 *   oldest > cursor, added - length <       RESTART: in the same stream, the
 *     number                                entries read would all be gone, and
 *                                           counted as such
 *   at 0-0, oldest <= ahead                 RESTART: it was empty up to "ahead"
 *   oldest > cursor, added - length ==      no entry is missing, go on
 *     number, or, when that is not known,
 *     the oldest is "next"
 *   at 0-0, the number is not known         go on: no entry was ever read
 *   oldest > cursor                         GAP, go on
 *   oldest <= cursor, the answer has no     XDEL took the cursor's entry, go on
 *     entry of the window's range, and
 *     max-deleted-entry-id is the cursor,
 *     or after it and added -
 *     (entries after it) == number
 *   oldest <= cursor                        RESTART: rolled back further than
 *                                           the window goes, or another stream
 *
 * "at 0-0" says that the cursor is 0-0.
 * "number" is the value of entries-added when the cursor was the newest entry.
 * If reading began in the middle of the stream, it is not known until FULL has
 * read to the end once.  Until then, the last entry of an answer is not taken,
 * but remembered as "next": if it is the oldest entry later, the stream was
 * trimmed just up to the cursor, and no entry after the cursor is lost.
 * "ahead" is the largest last-generated-id seen when a subscriber was judged:
 * its position may be after the cursor, as another worker may have read
 * further.
 *
 * RESTART and GAP put a mark into the window, so that each subscriber comes to
 * it at its own pace, after the frames before it: conduit_place.h.  Subscribers
 * in the window lose nothing by a restart; those below it are told "gone".
 *
 * Redis before 7 has neither entries-added nor max-deleted-entry-id.  There
 *  - if the oldest entry is after the cursor, the stream is assumed to be the
 *    same and trimmed past the cursor: clients are told "trimmed" even if no
 *    entry is missing, or if it is another stream with larger IDs;
 *  - if no entry is common and the oldest one is not after the cursor, as after
 *    XDEL of all entries of the window, the stream is read from its oldest
 *    entry again, and clients get these entries twice.  With Redis 7 that
 *    happens only if XDEL also took entries after the cursor that were not read
 *    yet;
 *  - the loss of entries that were added and trimmed before the first read of
 *    a new stream is not noticed.
 * What can't be found out with any version is listed in t/unit/model_judge.h.
 *
 * conduit_history.c has the rules, t/unit/test_history.c their table;
 * conduit_cursor.c says what is asked when, conduit_batch.c serves subscribers
 * below the window, conduit_compare.c compares the window with an answer.
 */

#ifndef CONDUIT_HISTORY_H
#define CONDUIT_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_id.h"
#include "conduit_window.h"

#pragma GCC visibility push(hidden)

/*
 * The FULL question: EVALSHA_RO <sha> 1 <key> <from> <count>, or EVALSHA before
 * Redis 7.  SCRIPT LOAD loads it; after NOSCRIPT, EVAL(_RO) sends its text.
 *
 * Returns one of
 *   [0, key]                      there is no such key
 *   [1, key, length, last-generated-id, oldest, added, max-deleted, entries,
 *    tail]
 *        key       KEYS[1]: whose answer it is
 *        length    integer
 *        oldest    ID of the oldest entry, or "" when there is none
 *        added     integer; -1 before Redis 7
 *        max-deleted  ID; "" before Redis 7
 *        entries   as XRANGE key from + COUNT count gives them
 *        tail      [] or, when entries is empty and length is not 0, the newest
 *                  entry
 *   an error: that of XINFO or XRANGE, starting with its own code where the
 *        server leaves it there (WRONGTYPE ...); Redis 6 puts "ERR Error
 *        running script" or an "@user_script" prefix around it
 * Calling XINFO in a script keeps its first and last entry, which may be large,
 * in the server, except for the tail.  No element is nil, as a Lua table ends
 * at the first one.
 */
#define CONDUIT_HISTORY_SCRIPT                                                \
    "local k = KEYS[1]\n"                                                     \
    "local x = redis.pcall('XINFO', 'STREAM', k)\n"                           \
    "if x.err then\n"                                                         \
    "  if string.find(x.err, 'no such key', 1, true) then\n"                  \
    "    return {0, k}\n"                                                     \
    "  end\n"                                                                 \
    "  return x\n"                                                            \
    "end\n"                                                                   \
    "local f = {}\n"                                                          \
    "for i = 1, #x, 2 do f[x[i]] = x[i + 1] end\n"                            \
    "local e = redis.pcall('XRANGE', k, ARGV[1], '+', 'COUNT', ARGV[2])\n"    \
    "if e.err then return e end\n"                                            \
    "local t = {}\n"                                                          \
    "if #e == 0 and f['length'] > 0 then t = {f['last-entry']} end\n"         \
    "local o = f['first-entry']\n"                                            \
    "return {1, k, f['length'], f['last-generated-id'], o and o[1] or '',\n"  \
    "        f['entries-added'] or -1, f['max-deleted-entry-id'] or '',\n"    \
    "        e, t}\n"

/* an entry of an answer */
typedef struct {
    conduit_stream_id_t   id;
    uint64_t              hash;      /* conduit_history_hash() of its bytes */
} conduit_history_entry_t;

/*
 * An answer as data.  FAST fills entries, nentries, full, serial, kind and
 * from; FULL fills all members.  A reply of any other form is an error and not
 * an answer: call conduit_history_failed().
 */
typedef struct {
    const conduit_history_entry_t  *entries;    /* IDs growing strictly */
    size_t                nentries;
    unsigned              full:1;       /* as many as were asked for: there may
                                           be more */
    unsigned              missing:1;    /* there is no such key; the rest is
                                           zero */
    unsigned              counted:1;    /* added and max_deleted are set */
    unsigned              has_tail:1;
    unsigned              ended:1;      /* the newest entry is an END, and the
                                           answer has it: as its last entry, or
                                           as the tail */
    uint64_t              length;       /* 0: oldest is not set */
    uint64_t              added;
    uint32_t              serial;       /* of the question */
    uint8_t               kind;         /* likewise: FAST or FULL, of
                                           conduit_history_busy_e */
    conduit_stream_id_t   from;         /* likewise: where XRANGE began */
    conduit_stream_id_t   last_id;      /* ms of UINT64_MAX: unknown, but after
                                           all entries of the answer */
    conduit_stream_id_t   oldest;
    conduit_stream_id_t   max_deleted;
    conduit_history_entry_t  tail;      /* the newest entry, when entries is
                                           empty and the stream is not */
} conduit_history_answer_t;

/* how far the cursor can be trusted, in ascending order */
typedef enum {
    CONDUIT_HISTORY_NOWHERE = 0,   /* there is none yet: ask nothing */
    CONDUIT_HISTORY_CLAIMED,       /* a client named it: ask FULL, until an
                                      entry was taken or the stream proved
                                      empty */
    CONDUIT_HISTORY_SUSPECT,       /* the stream may be another one by now: ask
                                      FULL */
    CONDUIT_HISTORY_SURE           /* its entry was read: ask FAST */
} conduit_history_state_e;

/* what is known of the number of the cursor: entries-added when the cursor was
   the newest entry */
typedef enum {
    CONDUIT_HISTORY_NUMBER_NONE = 0,   /* the server does not count entries, or
                                          did not answer yet */
    CONDUIT_HISTORY_NUMBER_UNKNOWN,    /* FULL will tell it, at the end of the
                                          stream */
    CONDUIT_HISTORY_NUMBER_KNOWN
} conduit_history_number_e;

/* what the history is doing */
typedef enum {
    CONDUIT_HISTORY_IDLE = 0,
    CONDUIT_HISTORY_FAST,          /* the question is out */
    CONDUIT_HISTORY_FULL,          /* likewise */
    CONDUIT_HISTORY_TAKING,        /* entries of the answer are being appended,
                                      perhaps in several turns */
    CONDUIT_HISTORY_WAIT           /* for the retry timer */
} conduit_history_busy_e;

/*
 * zeroed, then conduit_history_init(); the caller may read it, only the
 * functions below change it
 */
typedef struct {
    conduit_window_t      window;       /* every entry after the floor up to the
                                           cursor, and marks; also the entry at
                                           the floor, when the channel began
                                           with it */
    conduit_stream_id_t   cursor;       /* read up to here; 0-0: nothing yet */
    uint64_t              cursor_hash;  /* of the cursor's entry, valid when
                                           state is SURE and cursor is not
                                           0-0 */
    conduit_history_entry_t  next;      /* the entry after the cursor, which was
                                           read but left in the stream; ID 0-0:
                                           not known */
    conduit_stream_id_t   floor;
    conduit_stream_id_t   ahead;        /* largest last-generated-id seen when a
                                           subscriber was judged; unused once
                                           the cursor is there; 0-0: none */
    conduit_stream_id_t   compared;     /* where the last answer to FULL began:
                                           older entries of the window were not
                                           compared with it */
    conduit_stream_id_t   message;      /* of the last message taken; 0-0: none,
                                           or a gap came after it */
    uint64_t              number;       /* entries-added at the cursor, valid
                                           when number_state is KNOWN */

    uint32_t              life;         /* of the stream, from 1: each RESTART
                                           begins the next one */
    uint32_t              base_life;    /* of the oldest item */
    uint64_t              life_seq;     /* of the first item of this life */
    uint64_t              fresh_seq;    /* where a subscriber without a position
                                           starts, which wants all the stream
                                           has: after the newest mark */

    conduit_stream_id_t   first;        /* the first entry read of this life;
                                           0-0: none yet */

    /* the life before this one, for its subscribers: */
    uint64_t              past_seq;     /* its first item */
    conduit_stream_id_t   past_floor;
    conduit_stream_id_t   past_from;    /* a subscriber at this position (of the
                                           last message) */
    conduit_stream_id_t   past_to;      /* or this one (the cursor) had all of
                                           it */

    /* a rollback: entries after "rollback_from", up to "rollback_to", were seen
       and are not in the stream any more; rollback_to is 0-0: none */
    conduit_stream_id_t   rollback_from;
    conduit_stream_id_t   rollback_to;

    uint32_t              asked;        /* questions so far, those for batches
                                           included */
    uint8_t               state;        /* conduit_history_state_e */
    uint8_t               busy;         /* conduit_history_busy_e */
    uint8_t               number_state; /* conduit_history_number_e */
    unsigned              late:1;       /* entries before "first" were trimmed
                                           before they were read */
    unsigned              dirty:1;      /* the key rang after the question was
                                           sent */
} conduit_history_t;

/* what to ask */
typedef struct {
    conduit_history_busy_e  kind;       /* FAST or FULL */
    conduit_stream_id_t     id;         /* XREAD's (exclusive: just before the
                                           cursor), or the script's from */
    size_t                  overlap;    /* how many entries that were read
                                           before it asks for again, at least
                                           1 */
    size_t                  extra;      /* entries to ask for in addition to the
                                           new ones that the caller wants: the
                                           overlap, and one that may not be
                                           taken */
    uint32_t                serial;     /* to be copied to the answer */
} conduit_history_question_t;

/* what an answer has changed, before its entries are taken */
typedef enum {
    CONDUIT_HISTORY_NOTHING = 0,
    CONDUIT_HISTORY_GAP,           /* a mark was appended */
    CONDUIT_HISTORY_CUT,           /* call conduit_place_cut() for all
                                      subscribers */
    CONDUIT_HISTORY_RESTART        /* a mark was appended; call
                                      conduit_place_restarted() for all
                                      subscribers */
} conduit_history_change_e;

typedef enum {
    CONDUIT_HISTORY_NEXT_IDLE = 0, /* nothing to do until a ring */
    CONDUIT_HISTORY_NEXT_ASK,      /* call conduit_history_ask() now */
    CONDUIT_HISTORY_NEXT_TAKE,     /* conduit_history_take() for entries[first]
                                      and all up to entries[end - 1], then
                                      _taken() */
    CONDUIT_HISTORY_NEXT_WAIT      /* memory is out: the retry timer asks */
} conduit_history_next_e;

typedef struct {
    conduit_history_change_e  change;
    conduit_history_next_e    next;
    size_t                    first;    /* index of the first entry to take */
    size_t                    end;      /* index after the last one */
    const char               *why;      /* the rule, for the log; never NULL */
} conduit_history_plan_t;

/* what an answer about the cursor says of the stream's newest entry */
typedef enum {
    CONDUIT_HISTORY_UNKNOWN = 0,   /* the answer does not tell; another question
                                      follows */
    CONDUIT_HISTORY_RUNNING,       /* there is one, and it is no END */
    CONDUIT_HISTORY_RESTING        /* it is an END, or the stream has no
                                      entry */
} conduit_history_newest_e;

/* what an answer says about a position in the stream */
typedef enum {
    CONDUIT_HISTORY_OK = 0,        /* go on from there */
    CONDUIT_HISTORY_TRIMMED,       /* go on, and tell "trimmed" */
    CONDUIT_HISTORY_GONE,          /* go on, and tell "gone" */
    CONDUIT_HISTORY_END,           /* it is that of an END, which is the newest
                                      entry: reply 204 if after_end is stop,
                                      else as OK */
    CONDUIT_HISTORY_AGAIN          /* the answer does not reach that far, or the
                                      position was moved: ask again from it */
} conduit_history_verdict_e;


/*
 * Hashes an entry's bytes, to tell apart two entries with the same ID.  The
 * caller chooses the bytes: those of the field "data", none when there is no
 * such field.  Not for hash tables, and not safe against forgery: who could
 * forge an entry can write to the stream anyway.
 */
uint64_t conduit_history_hash(const void *data, size_t len);

/*
 * Starts at a client's position, or at 0-0; no question is sent yet.  pos may
 * be NULL: then call it again with the position, before conduit_history_ask().
 * release is called for each frame that the window drops.
 */
void conduit_history_init(conduit_history_t *h, const conduit_stream_id_t *pos,
    void (*release)(void *frame));

void conduit_history_free(conduit_history_t *h);

/*
 * The key rang, or is to be read for another reason.  Returns 1: call
 * conduit_history_ask() now; or 0: a question is out, after whose answer
 * another one will be asked, or the retry timer will ask.
 */
int conduit_history_ring(conduit_history_t *h);

/*
 * Fills in a question about the cursor and counts it as sent.  Call it only
 * when idle, or when a function or a plan says so.  rung: the doorbell said
 * that the key has changed.  This matters only at 0-0: then FULL is asked, as
 * the first entries can't be taken from an answer to FAST, which starts with
 * the cursor's entry.  max_overlap: how many of the window's newest entries
 * FULL may ask for again, at least 1; the caller lowers it after a reply that
 * was too large.  If the question can't be sent, call conduit_history_failed(),
 * or conduit_history_unsent() when the link reconnects by itself.
 */
void conduit_history_ask(conduit_history_t *h, int rung, size_t max_overlap,
    conduit_history_question_t *q);

/*
 * Whether an answer to FULL lacks the cursor's entry and does not reach the end
 * of the stream, so that the entries after the cursor can't be counted, and it
 * can't be told whether XDEL removed the cursor's entry.  The caller may ask
 * the same question again, for as many entries as the stream has.  If it hands
 * in this answer instead, the stream may be taken for another one, or for
 * rolled back.
 */
int conduit_history_is_short(const conduit_history_t *h,
    const conduit_history_answer_t *a);

/*
 * Processes the answer to the question that is out, and fills in the plan.
 * When it returns, the plan's change has been made to the window and the
 * cursor.  If the plan says TAKE, the answer must live until
 * conduit_history_taken().
 */
void conduit_history_answer(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);

/*
 * Appends one entry of the answer, in order; frame is NULL (size 0) when the
 * entry is no message.  Returns 0, and the window owns the frame from then on;
 * or -1 when memory is out: then call conduit_history_failed(), the rest is
 * asked for again.
 */
int conduit_history_take(conduit_history_t *h,
    const conduit_history_entry_t *entry, void *frame, uint32_t size);

/* All of an answer was taken, up to the plan's end.  Returns NEXT_IDLE or
   NEXT_ASK. */
conduit_history_next_e conduit_history_taken(conduit_history_t *h,
    const conduit_history_answer_t *a);

/* Whether an answer has an entry after the cursor. */
int conduit_history_has_later(const conduit_history_t *h,
    const conduit_history_answer_t *a);

/*
 * Returns what an answer says of the entry that was the newest one when it was
 * given.  Call it after conduit_history_answer() and, where entries were taken,
 * conduit_history_taken().  ended: the entry at the cursor is an END.
 */
conduit_history_newest_e conduit_history_newest(const conduit_history_t *h,
    const conduit_history_answer_t *a, int ended);

/*
 * A temporary error, or memory is out: only the retry timer asks again, rings
 * do not.  When it expires, call conduit_history_retry(), then
 * conduit_history_ask().
 */
void conduit_history_failed(conduit_history_t *h);

/* The retry timer expired.  Returns 1 when conduit_history_ask() is to be
   called now. */
int conduit_history_retry(conduit_history_t *h);

/*
 * The question was lost with its link; or its reply is a redirect, or comes
 * from the server that had the key before.  No question is out any more.  Call
 * conduit_history_ask() when the key can be read again, as a link is up or the
 * new server is known: it will ask FULL.
 */
void conduit_history_unsent(conduit_history_t *h);

/*
 * Drops the n oldest items of the window (conduit_window_excess() says how
 * many), after conduit_place_leave() for all subscribers in it.
 */
void conduit_history_drop(conduit_history_t *h, size_t n);


/* --- batches: FULL from a position that is below the window --- */

/*
 * Fills in the question for a batch from a position.  It is not to be called
 * before the first answer to the cursor's question, while the state is CLAIMED.
 */
void conduit_history_ask_batch(conduit_history_t *h,
    const conduit_stream_id_t *pos, conduit_history_question_t *q);

/*
 * Whether an answer to FULL, of a batch or about the cursor, is of the same
 * stream as the window, so that a subscriber may go on in the window after it.
 * It is not if its last-generated-id or entries-added is less than what was
 * seen before.  Else, two conditions must hold: every entry of the answer from
 * the window's oldest one up to the cursor is in the window, too; and there is
 * such an entry, or the answer ends below the window, or only XDEL explains
 * that there is none.
 *
 * Returns 1; or 0: no subscriber may be served from the answer.  If it is that
 * of a batch, ask about the cursor first (when conduit_history_ring() returns
 * 1), and then for the batch again; after a second 0 in a row the batch waits
 * for the retry timer.
 */
int conduit_history_agrees(conduit_history_t *h,
    const conduit_history_answer_t *a);

/*
 * Makes a batch of the first *n entries of an answer that agrees.  A subscriber
 * that has got them is at *last.  Returns 1 when *next is the entry after that,
 * else 0.  If the answer is full, its last entry is not part of the batch, but
 * becomes *next: a subscriber at the end of the batch can tell by it whether
 * the stream was trimmed past its position.
 */
int conduit_history_batch(const conduit_history_t *h,
    const conduit_history_answer_t *a, size_t *n, conduit_stream_id_t *last,
    conduit_stream_id_t *next);

/*
 * After CONDUIT_HISTORY_CUT: drops the batch's items after the cursor, moves
 * *last back to the cursor when it is after it, and makes *next 0-0 (none) when
 * it is after it.
 */
void conduit_history_batch_cut(const conduit_history_t *h,
    conduit_window_t *batch, conduit_stream_id_t *last,
    conduit_stream_id_t *next);

/*
 * Call it before conduit_history_drop() while the entry after the batch is not
 * known.  If that entry is one of the n items, the readers of the batch will be
 * below the window after it: *next becomes the entry's ID.  Returns whether it
 * did.
 */
int conduit_history_batch_leave(const conduit_history_t *h, size_t n,
    const conduit_stream_id_t *last, conduit_stream_id_t *next);

/*
 * Judges a position by an answer that agrees and whose "from" is not after it.
 * next is the entry known to follow the position, or NULL.  *pos becomes where
 * to go on: 0-0 when the position is of an earlier life and this one is to be
 * read from its oldest entry (OK when the subscriber had all of the earlier
 * life, else GONE); the position of the END when it is after the end of a
 * stream that has ended (GONE); the last one before a rollback when its entry
 * was rolled back (AGAIN).
 */
conduit_history_verdict_e conduit_history_judge(const conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_stream_id_t *pos,
    const conduit_stream_id_t *next);

/*
 * Moves a position whose entry was rolled back to the last one before the
 * rollback, unless the window has an entry with that ID again, or the position
 * is below the window.  Returns whether it was moved.
 */
int conduit_history_resume(const conduit_history_t *h,
    conduit_stream_id_t *pos);

#pragma GCC visibility pop

#endif /* CONDUIT_HISTORY_H */
