/*
 * What a channel knows of its stream, and what follows from an answer of Redis:
 * all rules by which entries are appended, taken back, found lost or found to
 * be of another stream.  Pure: no NGINX type, no Redis library, no clock.
 *
 * The caller (the feed) asks Redis what it is told to ask, hands in the answer
 * as data, and does what the plan says.  There is one question about the cursor
 * at a time, of two kinds:
 *
 *   FAST   XREAD COUNT n+1 STREAMS key <just before the cursor>
 *          The first entry is the cursor's own: then nothing between it and the
 *          others is missing.  They are appended.
 *   FULL   the script below: what XINFO STREAM and XRANGE say at one instant.
 *          Asked at first, after a link came up, after the key moved, at 0-0,
 *          and whenever FAST did not start with the cursor's entry.
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
 *      +-- _failed(): an error that passes,      _take() each, _taken()
 *          memory is out: only the retry timer
 *          asks again (P5)
 *
 * A ring while a question is out makes it dirty: another one follows.
 *
 * What FULL decides, by the first rule that fits ("common" is an entry of the
 * window, in this life, that the answer has with the same ID and bytes; and the
 * answer has no others up to there since the window's oldest):
 *
 *   the cursor is only what a client said   start there, or at 0-0 when the
 *                                           stream has not come so far, or at
 *                                           its newest entry if that is an END
 *   no such key, nothing was seen of one    wait for it
 *   no such key                             RESTART
 *   something is common                     go on behind the newest of it; CUT
 *                                           what the window has after that (a
 *                                           rollback, XDEL), and positions
 *                                           after it when last-generated-id is
 *                                           less than "ahead"
 *   added < number                          RESTART
 *   last-generated-id < cursor, or ahead    RESTART
 *   the stream is empty                     keep the number; idle
 *   oldest > cursor, added - length <       RESTART: what was read would have
 *     number                                been removed, if it was this one
 *   at 0-0, oldest <= ahead                 RESTART: it was empty up to there
 *   oldest > cursor, added - length ==      all is there, go on
 *     number
 *   at 0-0, the number is not known         go on: nobody has seen any of it
 *   oldest > cursor                         GAP, go on
 *   oldest <= cursor, nothing else up to    XDEL took the cursor's entry, go on
 *     it, and max-deleted-entry-id is the
 *     cursor, or after it and added -
 *     (entries after it) == number
 *   oldest <= cursor                        RESTART: rolled back further than
 *                                           the window goes, or another stream
 *
 * "number" is entries-added as it was when the cursor was the newest entry.
 * "ahead" is the largest ID that the stream had given out when somebody was
 * judged: his position may be after the cursor, as another worker read on.
 *
 * RESTART and GAP put a mark into the window, so that each subscriber meets it
 * at its own pace, after the frames before it: conduit_place.h.  Those who are
 * in the window lose nothing by a restart; those below it are told "gone".
 *
 * Redis before 7 tells neither entries-added nor max-deleted-entry-id.  There
 *  - a stream whose oldest entry is after the cursor is taken for trimmed past
 *    it: clients are told "trimmed" although nothing may be missing, and when
 *    it is another stream with larger IDs;
 *  - with nothing in common and the oldest entry not after the cursor, as
 *    after XDEL of all that the window has, the stream is read from its oldest
 *    again, and clients get twice what they had of it.  On Redis 7 that is so
 *    only where XDEL also took entries after the cursor, not read yet;
 *  - entries that came and were trimmed before the first look at a new stream
 *    are not missed.
 * What nobody can tell, on any version, is listed in t/unit/model_judge.h.
 *
 * The rules are in conduit_history.c, their table is t/unit/test_history.c;
 * what is asked when is in conduit_cursor.c, those below the window are in
 * conduit_batch.c, how the window is compared with an answer is in
 * conduit_compare.c.
 */

#ifndef CONDUIT_HISTORY_H
#define CONDUIT_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "conduit_id.h"
#include "conduit_window.h"

#pragma GCC visibility push(hidden)

/*
 * The FULL question: EVALSHA_RO <sha> 1 <key> <from> <count>, EVALSHA before
 * Redis 7.  Loaded by SCRIPT LOAD; NOSCRIPT: EVAL(_RO) with the text.
 *
 * Returns one of
 *   [0]                           there is no such key
 *   [1, length, last-generated-id, oldest, added, max-deleted, entries, tail]
 *        length    integer
 *        oldest    ID of the oldest entry, or "" when there is none
 *        added     integer; -1 before Redis 7
 *        max-deleted  ID; "" before Redis 7
 *        entries   as XRANGE key from + COUNT count gives them
 *        tail      [] or, when entries is empty and length is not 0, the newest
 *                  entry
 *   an error: what XINFO or XRANGE said, with its own code in front where the
 *        server leaves it there (WRONGTYPE ...); Redis 6 puts "ERR Error
 *        running script" or an "@user_script" prefix around it
 * redis.pcall() keeps XINFO's whole first and last entry inside the server.  No
 * element is nil, as a Lua table ends at the first one.
 */
#define CONDUIT_HISTORY_SCRIPT                                                \
    "local k = KEYS[1]\n"                                                     \
    "local x = redis.pcall('XINFO', 'STREAM', k)\n"                           \
    "if x.err then\n"                                                         \
    "  if string.find(x.err, 'no such key', 1, true) then return {0} end\n"   \
    "  return x\n"                                                            \
    "end\n"                                                                   \
    "local f = {}\n"                                                          \
    "for i = 1, #x, 2 do f[x[i]] = x[i + 1] end\n"                            \
    "local e = redis.pcall('XRANGE', k, ARGV[1], '+', 'COUNT', ARGV[2])\n"    \
    "if e.err then return e end\n"                                            \
    "local t = {}\n"                                                          \
    "if #e == 0 and f['length'] > 0 then t = {f['last-entry']} end\n"         \
    "local o = f['first-entry']\n"                                            \
    "return {1, f['length'], f['last-generated-id'], o and o[1] or '',\n"     \
    "        f['entries-added'] or -1, f['max-deleted-entry-id'] or '',\n"    \
    "        e, t}\n"

/* an entry of an answer */
typedef struct {
    conduit_stream_id_t   id;
    uint64_t              hash;      /* conduit_history_hash() of its bytes */
} conduit_history_entry_t;

/*
 * An answer as data.  FAST fills entries, nentries and full; FULL all of it.
 * Whatever is of another form is no answer, but an error: _failed().
 */
typedef struct {
    const conduit_history_entry_t  *entries;    /* IDs growing strictly */
    size_t                nentries;
    unsigned              full:1;       /* as many as were asked for: there may
                                           be more */
    unsigned              missing:1;    /* no such key; the rest is zero */
    unsigned              counted:1;    /* added and max_deleted are told */
    unsigned              has_tail:1;
    unsigned              ended:1;      /* the newest entry is an END, and the
                                           answer has it: as its last entry, or
                                           as the tail */
    uint64_t              length;       /* 0: there is no oldest one */
    uint64_t              added;
    uint32_t              serial;       /* of the question */
    conduit_stream_id_t   from;         /* likewise: the XRANGE's */
    conduit_stream_id_t   last_id;      /* ms of UINT64_MAX: not told, and after
                                           all entries of the answer */
    conduit_stream_id_t   oldest;
    conduit_stream_id_t   max_deleted;
    conduit_history_entry_t  tail;      /* the newest entry, where entries has
                                           none and the stream has */
} conduit_history_answer_t;

/* what the cursor is worth */
typedef enum {
    CONDUIT_HISTORY_CLAIMED = 0,   /* a client said so: ask FULL; until the
                                      first entry is taken, or there is none */
    CONDUIT_HISTORY_SUSPECT,       /* the stream may be another by now: FULL */
    CONDUIT_HISTORY_SURE           /* it was there: ask FAST */
} conduit_history_state_e;

/* what it is doing */
typedef enum {
    CONDUIT_HISTORY_IDLE = 0,
    CONDUIT_HISTORY_FAST,          /* the question is out */
    CONDUIT_HISTORY_FULL,          /* likewise */
    CONDUIT_HISTORY_TAKING,        /* entries of the answer are appended; it may
                                      take several turns */
    CONDUIT_HISTORY_WAIT           /* for the retry timer */
} conduit_history_busy_e;

/*
 * zeroed, then conduit_history_init().  To be read by the caller, and changed
 * by the functions below only.
 */
typedef struct {
    conduit_window_t      window;       /* every entry after the floor up to
                                           the cursor, and marks; the entry at
                                           the floor, too, when the channel
                                           began with that */
    conduit_stream_id_t   cursor;       /* read up to here; 0-0: nothing yet */
    uint64_t              cursor_hash;  /* of the entry there, valid when
                                           state is SURE and it is not 0-0 */
    conduit_stream_id_t   floor;
    conduit_stream_id_t   ahead;        /* the stream had given out this ID when
                                           somebody was judged; of no use once
                                           the cursor is there; 0-0: none */
    conduit_stream_id_t   compared;     /* where the last answer to FULL began:
                                           what the window has before that was
                                           not compared */
    conduit_stream_id_t   message;      /* the last one taken, with no gap after
                                           it; 0-0: none */
    uint64_t              number;       /* valid when numbered */

    uint32_t              life;         /* of the stream, from 1 on */
    uint32_t              base_life;    /* that the oldest item is of */
    uint64_t              life_seq;     /* of the first item of this life */
    uint64_t              fresh_seq;    /* where one starts that has no position
                                           and wants what the stream has: after
                                           the newest mark */

    conduit_stream_id_t   first;        /* the first entry read of this life;
                                           0-0: none yet */

    /* the life before this one, for who was there: */
    uint64_t              past_seq;     /* its first item */
    conduit_stream_id_t   past_floor;
    conduit_stream_id_t   past_from;    /* who has this position (of the last
                                           message) */
    conduit_stream_id_t   past_to;      /* or this (the cursor) had all of it */

    /* what was rolled back: entries after "back", up to "lead", were seen and
       are not in the stream any more; a lead of 0-0: none */
    conduit_stream_id_t   back;
    conduit_stream_id_t   lead;

    uint32_t              asked;        /* questions so far, batches too */
    uint8_t               state;        /* conduit_history_state_e */
    uint8_t               busy;         /* conduit_history_busy_e */
    unsigned              numbered:1;
    unsigned              late:1;       /* entries before "first" were gone */
    unsigned              counts:1;     /* the server tells entries-added */
    unsigned              dirty:1;      /* rang since the question was sent */
    unsigned              facts:1;      /* it was one to FULL */
} conduit_history_t;

/* what to ask */
typedef struct {
    conduit_history_busy_e  kind;       /* FAST or FULL */
    conduit_stream_id_t     id;         /* XREAD's (exclusive: just before the
                                           cursor), or the script's from */
    size_t                  extra;      /* entries to ask for besides those
                                           that may be new: those known */
    uint32_t                serial;     /* goes into the answer */
} conduit_history_question_t;

/* what an answer has changed, before its entries are taken */
typedef enum {
    CONDUIT_HISTORY_NOTHING = 0,
    CONDUIT_HISTORY_GAP,           /* a mark was appended */
    CONDUIT_HISTORY_CUT,           /* conduit_place_cut() for everybody */
    CONDUIT_HISTORY_RESTART        /* a mark was appended;
                                      conduit_place_restarted() for everybody */
} conduit_history_change_e;

typedef enum {
    CONDUIT_HISTORY_NEXT_IDLE = 0, /* armed; wait for a ring */
    CONDUIT_HISTORY_NEXT_ASK,      /* call conduit_history_ask() now */
    CONDUIT_HISTORY_NEXT_TAKE,     /* conduit_history_take() entries[first] and
                                      all after it, then _taken() */
    CONDUIT_HISTORY_NEXT_WAIT      /* memory is out: by the retry timer */
} conduit_history_next_e;

typedef struct {
    conduit_history_change_e  change;
    conduit_history_next_e    next;
    size_t                    first;    /* of the entries to take */
    const char               *why;      /* the rule, for the log; never NULL */
} conduit_history_plan_t;

/* what an answer says of a position in the stream */
typedef enum {
    CONDUIT_HISTORY_OK = 0,        /* go on from there */
    CONDUIT_HISTORY_TRIMMED,       /* likewise, and tell "trimmed" */
    CONDUIT_HISTORY_GONE,          /* likewise, and tell "gone" */
    CONDUIT_HISTORY_END,           /* it has seen the END that is the newest
                                      entry: 204 where after_end is stop, else
                                      as OK */
    CONDUIT_HISTORY_AGAIN          /* the answer does not reach so far, or the
                                      position was moved: ask again from it */
} conduit_history_verdict_e;


/*
 * A hash of an entry's bytes, whatever the caller takes for them (the field
 * "data", "" when there is none), to tell two entries of one ID apart.  Not
 * for tables, nor against an attacker: who could forge one writes the stream.
 */
uint64_t conduit_history_hash(const void *data, size_t len);

/*
 * Starts at a client's position, or at 0-0, with the first question to be
 * asked.  release is the window's.
 */
void conduit_history_init(conduit_history_t *h, const conduit_stream_id_t *pos,
    void (*release)(void *frame));

void conduit_history_free(conduit_history_t *h);

/*
 * The key rang, or is to be read for another reason.  Returns 1: call _ask()
 * now; 0: a question is out, or waits for the timer, and another one follows.
 */
int conduit_history_ring(conduit_history_t *h);

/*
 * Says what to ask and takes it for asked.  Only when idle, or told to.  rung:
 * something is expected to be there; it decides nothing but the cheaper way to
 * find it (at 0-0, FAST can only see that there is nothing).  known: how many
 * entries that the window has FULL may ask for again, 1 at least; the whole
 * window, unless such a reply was too large.  When the question can't be sent:
 * _failed(), or _unsent() when the link will be back by itself.
 */
void conduit_history_ask(conduit_history_t *h, int rung, size_t known,
    conduit_history_question_t *q);

/*
 * Whether an answer to FULL ends too early to tell what happened to the entry
 * at the cursor, which it has not: with the end of the stream one can count
 * whether it was deleted.  The question that is out may be asked again then,
 * for as many entries as the stream has; an answer that is taken as it is may
 * count as one of another stream, or after a rollback.
 */
int conduit_history_is_short(const conduit_history_t *h,
    const conduit_history_answer_t *a);

/*
 * The question that is out has been answered.  When the plan says TAKE, the
 * answer must live until _taken(); window, cursor and marks are as the plan
 * says from here on.
 */
void conduit_history_answer(conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_history_plan_t *plan);

/*
 * Appends one entry, in order; its frame is NULL (size 0) when it is no
 * message, and belongs to the window from here on.  Returns 0, or -1 when
 * memory is out: then call _failed(), the rest is asked for again.
 */
int conduit_history_take(conduit_history_t *h,
    const conduit_history_entry_t *entry, void *frame, uint32_t size);

/* All of an answer was taken.  Returns NEXT_IDLE or NEXT_ASK. */
conduit_history_next_e conduit_history_taken(conduit_history_t *h,
    const conduit_history_answer_t *a);

/*
 * An error that passes, or memory is out: the question is asked again by the
 * timer only, rings do not.  Then call _retry(), and _ask().
 */
void conduit_history_failed(conduit_history_t *h);

/* The timer: returns 1 when _ask() is to be called now. */
int conduit_history_retry(conduit_history_t *h);

/*
 * The link is gone, and the question with it; or the reply is a redirect, or of
 * the server before.  Nothing is out any more; the next question will be FULL,
 * by _ask() when the key can be read (a link comes up, at the new place).
 */
void conduit_history_unsent(conduit_history_t *h);

/*
 * Drops the n oldest items of the window (conduit_window_excess() says how
 * many), after conduit_place_leave() for everybody in it.
 */
void conduit_history_drop(conduit_history_t *h, size_t n);


/* --- batches: FULL from the position of one who is below the window --- */

/*
 * Says what to ask for a batch from a position; not before the first answer to
 * the cursor (CLAIMED).
 */
void conduit_history_ask_batch(conduit_history_t *h,
    const conduit_stream_id_t *pos, conduit_history_question_t *q);

/*
 * Whether an answer to a batch and the window are of the same stream, so that
 * one who has read the batch may go on in the window: they have an entry in
 * common, and no other one up to the cursor.  Returns 1; or 0: nobody
 * may be served from it, the cursor's question goes first.  Ask that when
 * conduit_history_ring() says so, then the batch again; a second 0 in a row:
 * the batch waits for the retry timer (P5).
 */
int conduit_history_agrees(conduit_history_t *h,
    const conduit_history_answer_t *a);

/*
 * What a batch is made of, given an answer that agrees: the first *n entries of
 * it.  Who has got those is at *last.  Returns whether *next is the entry after
 * that: when the answer is full its last entry is kept out, so that one who is
 * at the batch's end can tell whether trimming has gone past it.
 */
int conduit_history_batch(const conduit_history_t *h,
    const conduit_history_answer_t *a, size_t *n, conduit_stream_id_t *last,
    conduit_stream_id_t *next);

/*
 * After CONDUIT_HISTORY_CUT: the batch's items behind the cursor go, *last is
 * not behind it, and an entry behind it is not *next any more, which becomes
 * 0-0.
 */
void conduit_history_batch_cut(const conduit_history_t *h,
    conduit_window_t *batch, conduit_stream_id_t *last,
    conduit_stream_id_t *next);

/*
 * Before conduit_history_drop(), while somebody is in a batch without a next:
 * when the n items have what follows *last, so that the batch's readers will
 * be below the window, *next becomes that.  Returns whether it did.
 */
int conduit_history_batch_leave(const conduit_history_t *h, size_t n,
    const conduit_stream_id_t *last, conduit_stream_id_t *next);

/*
 * What an answer that agrees says of a position that is not below its from.
 * next is the entry that was known to follow, or NULL.  *pos becomes where to
 * go on: 0-0 when the position is of an earlier life and this one is to be read
 * from its oldest: OK when it had all of the life before, GONE otherwise; that
 * of the END, and GONE, when it is after all of a stream that has ended.
 */
conduit_history_verdict_e conduit_history_judge(const conduit_history_t *h,
    const conduit_history_answer_t *a, conduit_stream_id_t *pos,
    const conduit_stream_id_t *next);

/*
 * A position in what was rolled back becomes the one before that, unless the
 * window has an entry there.  Returns whether it was.
 */
int conduit_history_resume(const conduit_history_t *h,
    conduit_stream_id_t *pos);

#pragma GCC visibility pop

#endif /* CONDUIT_HISTORY_H */
