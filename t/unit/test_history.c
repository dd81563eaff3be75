/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_history.c: what follows from an answer of Redis, row
 * by row of the table in conduit_history.h.
 */

#include "history.h"

typedef struct {
    start_e      start;
    const char  *why;               /* the rule, as it is logged */
    said_t       said;
    int          change;            /* plan.change */
    int          next;              /* plan.next */
    uint64_t     first;             /* plan.first */
    uint64_t     cursor;            /* afterwards */
    int          number;            /* afterwards; -1: not known */
} row_t;

/*
 * the state before, the rule, the answer
 *     { Redis 7, full, missing, n, { entries },
 *       length, added, last, oldest, max-deleted, tail }
 * and what follows
 */

static const row_t  rows[] = {

    /* FAST */

    { FAST, "starts at the cursor",
      { 0, 0, 0, 1, { SAME(5) }, 0, 0, 0, 0, 0, 0 },
      NOTHING, IDLE, 1, 5, 5 },
    { FAST, "starts at the cursor",
      { 0, 0, 0, 2, { SAME(5), SAME(6) }, 0, 0, 0, 0, 0, 0 },
      NOTHING, TAKE, 1, 5, 5 },
    { FAST, "does not start at the cursor",             /* other bytes */
      { 0, 0, 0, 1, { OTHER(5) }, 0, 0, 0, 0, 0, 0 },
      NOTHING, ASK, 1, 5, 5 },
    { FAST, "does not start at the cursor",             /* trimmed, deleted */
      { 0, 0, 0, 1, { SAME(6) }, 0, 0, 0, 0, 0, 0 },
      NOTHING, ASK, 1, 5, 5 },
    { FAST, "does not start at the cursor",
      { 0, 0, 0, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 },
      NOTHING, ASK, 0, 5, 5 },

    /* no such key */

    { READ, "the stream is gone",
      { 0, 0, 1, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 },
      RESTART, ASK, 0, 0, 0 },
    { NEW, "no stream yet",
      { 0, 0, 1, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 },
      NOTHING, IDLE, 0, 0, 0 },
    { NEW_AHEAD, "the stream is gone",
      { 0, 0, 1, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 },
      RESTART, ASK, 0, 0, 0 },

    /* window and answer have entries in common */

    { READ, "goes on",
      { 1, 0, 0, 2, { SAME(4), SAME(5) }, 2, 5, 5, 4, 0, 0 },
      NOTHING, IDLE, 2, 5, 5 },
    { READ, "goes on",
      { 1, 0, 0, 3, { SAME(4), SAME(5), SAME(6) }, 3, 6, 6, 4, 0, 0 },
      NOTHING, TAKE, 2, 5, 5 },
    { UNCOUNTED, "goes on",                     /* the end tells the number */
      { 1, 0, 0, 3, { SAME(4), SAME(5), SAME(6) }, 3, 9, 6, 4, 0, 0 },
      NOTHING, TAKE, 2, 5, 8 },
    { UNCOUNTED, "goes on",                     /* so does the beginning */
      { 1, 1, 0, 3, { SAME(1), SAME(2), SAME(5) }, 8, 8, 8, 1, 0, 0 },
      NOTHING, ASK, 3, 5, 3 },
    { UNCOUNTED, "goes on",                     /* not with holes */
      { 1, 1, 0, 3, { SAME(1), SAME(2), SAME(5) }, 6, 8, 8, 1, 4, 0 },
      NOTHING, ASK, 3, 5, -1 },
    { READ, "has lost its last entries",        /* rolled back, or XDEL */
      { 1, 0, 0, 3, { SAME(1), SAME(2), SAME(3) }, 3, 3, 3, 1, 0, 0 },
      CUT, IDLE, 3, 3, 3 },
    { READ, "has lost its last entries",        /* and went on */
      { 1, 0, 0, 4, { SAME(1), SAME(2), SAME(3), OTHER(4) }, 4, 4, 4, 1, 0, 0 },
      CUT, TAKE, 3, 3, 3 },
    { READ, "has lost its last entries",        /* its number comes later */
      { 1, 1, 0, 2, { SAME(1), SAME(2) }, 3, 6, 9, 1, 5, 0 },
      CUT, ASK, 2, 2, -1 },
    { READ, "has lost its last entries",        /* one is between the others */
      { 1, 0, 0, 4, { SAME(1), { 1, 5, 1 }, SAME(2), SAME(5) },
        4, 6, 5, 1, 4, 0 },
      CUT, TAKE, 1, 1, 3 },
    { READ, "has lost its last entries",        /* what looks the same is not */
      { 1, 0, 0, 3, { SAME(1), OTHER(2), SAME(5) }, 3, 6, 5, 1, 4, 0 },
      CUT, TAKE, 1, 1, 4 },
    { AHEAD, "has lost its last entries",       /* somebody's position */
      { 1, 0, 0, 2, { SAME(4), SAME(5) }, 2, 5, 8, 4, 0, 0 },
      CUT, IDLE, 2, 5, 5 },
    { AHEAD, "goes on",
      { 1, 0, 0, 2, { SAME(4), SAME(5) }, 2, 5, 9, 4, 0, 0 },
      NOTHING, IDLE, 2, 5, 5 },
    { READ, "goes on",                          /* Redis 6 */
      { 0, 0, 0, 2, { SAME(4), SAME(5) }, 2, 0, 5, 4, 0, 0 },
      NOTHING, IDLE, 2, 5, -1 },
    { READ, "has lost its last entries",        /* Redis 6 */
      { 0, 0, 0, 1, { SAME(3) }, 1, 0, 3, 3, 0, 0 },
      CUT, IDLE, 1, 3, -1 },

    /* another stream */

    { READ, "has had fewer entries",
      { 1, 0, 0, 1, { SAME(9) }, 1, 4, 9, 9, 0, 0 },
      RESTART, ASK, 1, 0, 0 },
    { READ, "ends before what was seen of it",
      { 1, 0, 0, 1, { OTHER(4) }, 1, 9, 4, 4, 0, 0 },
      RESTART, ASK, 1, 0, 0 },
    { READ, "ends before what was seen of it",  /* Redis 6 */
      { 0, 0, 0, 1, { OTHER(4) }, 1, 0, 4, 4, 0, 0 },
      RESTART, ASK, 1, 0, 0 },
    { AHEAD, "ends before what was seen of it",
      { 1, 0, 0, 1, { SAME(8) }, 1, 6, 8, 8, 0, 0 },
      RESTART, ASK, 1, 0, 0 },
    { NEW_AHEAD, "ends before what was seen of it",
      { 1, 0, 0, 1, { SAME(8) }, 1, 6, 8, 8, 0, 0 },
      RESTART, ASK, 1, 0, 0 },
    { NEW_AHEAD, "was empty up to there, and is not",
      { 1, 0, 0, 2, { SAME(9), SAME(10) }, 2, 2, 10, 9, 0, 0 },
      RESTART, ASK, 2, 0, 0 },
    { READ, "has lost fewer entries than were read",
      { 1, 0, 0, 1, { SAME(9) }, 6, 6, 9, 9, 0, 0 },
      RESTART, ASK, 1, 0, 0 },
    { READ, "has lost fewer entries than were read",
      { 1, 0, 0, 1, { SAME(9) }, 2, 6, 9, 9, 0, 0 },
      RESTART, ASK, 1, 0, 0 },
    { UNCOUNTED, "has lost fewer entries than were read",
      { 1, 0, 0, 1, { SAME(9) }, 6, 6, 9, 9, 0, 0 },
      RESTART, ASK, 1, 0, 0 },
    { READ, "has nothing in common with what was read",
      { 1, 0, 0, 1, { SAME(9) }, 2, 6, 9, 1, 0, 0 },    /* no XDEL */
      RESTART, ASK, 1, 0, 0 },
    { READ, "has nothing in common with what was read",
      { 1, 0, 0, 1, { SAME(9) }, 2, 7, 9, 1, 7, 0 },    /* the number */
      RESTART, ASK, 1, 0, 0 },
    { UNCOUNTED, "has nothing in common with what was read",
      { 1, 0, 0, 1, { SAME(9) }, 2, 6, 9, 1, 7, 0 },
      RESTART, ASK, 1, 0, 0 },
    { READ, "has nothing in common with what was read",
      { 1, 1, 0, 1, { SAME(9) }, 2, 6, 9, 1, 7, 0 },    /* there is more */
      RESTART, ASK, 1, 0, 0 },
    { READ, "has nothing in common with what was read",
      { 1, 0, 0, 1, { SAME(9) }, 2, 6, 9, 1, 4, 0 },    /* not the cursor's */
      RESTART, ASK, 1, 0, 0 },
    { READ, "has nothing in common with what was read",
      { 1, 0, 0, 1, { SAME(9) }, 2, 5, 9, 1, 5, 0 },    /* one was lost */
      RESTART, ASK, 1, 0, 0 },
    { READ, "has nothing in common with what was read",
      { 1, 0, 0, 2, { OTHER(4), SAME(9) }, 2, 6, 9, 4, 5, 0 },
      RESTART, ASK, 2, 0, 0 },
    { READ, "has nothing in common with what was read",
      { 0, 0, 0, 1, { SAME(9) }, 2, 0, 9, 1, 0, 0 },    /* Redis 6 */
      RESTART, ASK, 1, 0, 0 },

    /* the same one */

    { READ, "is empty",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 7, 7, 0, 0, 0 },
      NOTHING, IDLE, 0, 5, 5 },
    { UNCOUNTED, "is empty",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 7, 5, 0, 0, 0 },
      NOTHING, IDLE, 0, 5, 7 },
    { UNCOUNTED, "is empty",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 7, 6, 0, 0, 0 },
      NOTHING, IDLE, 0, 5, -1 },
    { READ, "is empty",                         /* Redis 6 */
      { 0, 0, 0, 0, { { 0, 0, 0 } }, 0, 0, 7, 0, 0, 0 },
      NOTHING, IDLE, 0, 5, 5 },
    { BLANK, "is empty",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 7, 7, 0, 0, 0 },
      NOTHING, IDLE, 0, 0, 7 },
    { READ, "was trimmed up to the cursor",
      { 1, 0, 0, 1, { SAME(9) }, 1, 6, 9, 9, 0, 0 },
      NOTHING, TAKE, 0, 5, 5 },
    { READ, "was trimmed past the cursor",
      { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 },
      GAP, TAKE, 0, 5, 6 },
    { READ, "was trimmed past the cursor",      /* the number comes later */
      { 1, 1, 0, 1, { SAME(9) }, 2, 8, 9, 9, 9, 0 },
      GAP, TAKE, 0, 5, -1 },
    { UNCOUNTED, "was trimmed past the cursor",
      { 1, 0, 0, 1, { SAME(9) }, 1, 6, 9, 9, 0, 0 },
      GAP, TAKE, 0, 5, 5 },
    { READ, "was trimmed past the cursor",      /* Redis 6 */
      { 0, 0, 0, 1, { SAME(9) }, 1, 0, 9, 9, 0, 0 },
      GAP, TAKE, 0, 5, -1 },
    { READ, "the entry at the cursor was deleted",
      { 1, 0, 0, 1, { SAME(9) }, 2, 6, 9, 1, 5, 0 },
      NOTHING, TAKE, 0, 5, 5 },
    { READ, "the entry at the cursor was deleted",      /* or a later one */
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 2, 5, 7, 1, 7, 0 },
      NOTHING, IDLE, 0, 5, 5 },
    { READ, "the entry at the cursor was deleted",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 2, 5, 5, 1, 5, 0 },
      NOTHING, IDLE, 0, 5, 5 },
    { READ, "the entry at the cursor was deleted",      /* there is more */
      { 1, 1, 0, 2, { SAME(8), SAME(9) }, 4, 8, 10, 1, 5, 0 },
      NOTHING, TAKE, 0, 5, 5 },
    { UNCOUNTED, "the entry at the cursor was deleted",
      { 1, 0, 0, 1, { SAME(9) }, 2, 6, 9, 1, 5, 0 },
      NOTHING, TAKE, 0, 5, 5 },
    { UNCOUNTED, "the entry at the cursor was deleted",
      { 1, 1, 0, 1, { SAME(9) }, 4, 8, 10, 1, 5, 0 },
      NOTHING, TAKE, 0, 5, -1 },

    /* at 0-0 */

    { NEW, "begins",
      { 1, 0, 0, 2, { SAME(1), SAME(2) }, 2, 2, 2, 1, 0, 0 },
      NOTHING, TAKE, 0, 0, 0 },
    { NEW, "begins after its first entries",
      { 1, 0, 0, 1, { SAME(2) }, 1, 2, 2, 2, 0, 0 },
      GAP, TAKE, 0, 0, 1 },
    { NEW, "begins",                            /* Redis 6 can't tell */
      { 0, 0, 0, 1, { SAME(2) }, 1, 0, 2, 2, 0, 0 },
      NOTHING, TAKE, 0, 0, -1 },
    { BLANK, "begins",                          /* nobody has seen any */
      { 1, 0, 0, 1, { SAME(2) }, 1, 2, 2, 2, 0, 0 },
      NOTHING, TAKE, 0, 0, 1 },

    /* a client's position */

    { CLAIMED, "no stream yet",
      { 1, 0, 1, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 },
      NOTHING, IDLE, 0, 0, 0 },
    { CLAIMED, "the position is of another stream",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 2, 2, 2, 1, 0, 2 },
      NOTHING, ASK, 0, 0, -1 },
    { CLAIMED, "starts at a position",
      { 1, 0, 0, 1, { SAME(5) }, 5, 5, 5, 1, 0, 0 },
      NOTHING, IDLE, 1, 5, 5 },
    { CLAIMED, "starts at a position",
      { 1, 0, 0, 2, { SAME(5), SAME(6) }, 6, 6, 6, 1, 0, 0 },
      NOTHING, TAKE, 1, 5, 5 },
    { CLAIMED, "starts at a position",          /* after it */
      { 1, 0, 0, 1, { SAME(7) }, 1, 7, 7, 7, 0, 0 },
      NOTHING, TAKE, 0, 5, 6 },
    { CLAIMED, "starts at a position",          /* before it */
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 3, 5, 6, 1, 6, 3 },
      NOTHING, IDLE, 0, 3, 5 },
    { CLAIMED, "starts at a position",          /* empty */
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 6, 6, 0, 0, 0 },
      NOTHING, IDLE, 0, 6, 6 },
    { CLAIMED, "starts at a position",          /* Redis 6 */
      { 0, 0, 0, 1, { SAME(5) }, 5, 0, 5, 1, 0, 0 },
      NOTHING, IDLE, 1, 5, -1 }
};


START_TEST(each_answer_has_its_rule)
{
    answer_t                    r;
    const row_t                *row;
    conduit_history_t           h;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    row = &rows[_i];
    start(&h, row->start);

    conduit_history_ask(&h, 1, 100, &q);
    ck_assert_int_eq(q.kind, row->start == FAST ? CONDUIT_HISTORY_FAST
                                                : CONDUIT_HISTORY_FULL);
    answer_of(&r, &row->said, &q);
    conduit_history_answer(&h, &r.a, &plan);

    ck_assert_msg(strcmp(plan.why, row->why) == 0, "row %d: \"%s\", not \"%s\"",
                  _i, plan.why, row->why);
    ck_assert_msg((int) plan.change == row->change, "row %d, %s: change %d", _i,
                  row->why, plan.change);
    ck_assert_msg((int) plan.next == row->next, "row %d, %s: next %d", _i,
                  row->why, plan.next);
    ck_assert_msg(plan.first == row->first, "row %d, %s: first %zu", _i,
                  row->why, plan.first);
    ck_assert_msg(h.cursor.ms == row->cursor, "row %d, %s: cursor %d", _i,
                  row->why, (int) h.cursor.ms);
    ck_assert_msg(number_of(&h) == row->number, "row %d, %s: number %d", _i,
                  row->why, number_of(&h));

    if (row->said.missing && row->change == NOTHING) {
        ck_assert_int_eq(h.state, CONDUIT_HISTORY_SURE);
    }

    /* the floor is not after the cursor; a SURE cursor has its entry's hash */

    ck_assert_int_le(conduit_stream_id_cmp(&h.floor, &h.cursor), 0);

    if (h.state == CONDUIT_HISTORY_SURE) {
        ck_assert(h.cursor.ms == 0 || h.cursor_hash == h.cursor.ms);
    }

    conduit_history_free(&h);
}
END_TEST


/* what is said of the newest entry is so, and is said at once, or another
   question follows.  The second half of the rows: the newest entry is an END */

START_TEST(the_newest_entry_is_known)
{
    int                         n, end, none;
    size_t                      i;
    answer_t                    r;
    const row_t                *row;
    conduit_history_t           h;
    conduit_stream_id_t         last;
    conduit_history_plan_t      plan;
    conduit_history_newest_e    newest, wanted;
    conduit_history_question_t  q;

    n = sizeof(rows) / sizeof(rows[0]);
    row = &rows[_i % n];
    end = (_i >= n);

    start(&h, row->start);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &row->said, &q);

    none = (r.a.missing || (q.kind == CONDUIT_HISTORY_FULL
                            && r.a.length == 0));
    r.a.ended = (end && !none && !r.a.full);

    if (q.kind == CONDUIT_HISTORY_FULL && r.a.length && r.a.nentries == 0
        && !r.a.has_tail)
    {
        /* the table leaves the tail out where it decides nothing */

        r.a.has_tail = 1;
        r.a.tail.id = r.a.oldest;
    }

    conduit_history_answer(&h, &r.a, &plan);

    if (plan.next == CONDUIT_HISTORY_NEXT_TAKE) {
        for (i = plan.first; i < r.a.nentries; i++) {
            ck_assert_int_eq(conduit_history_take(&h, &r.e[i], NULL, 0), 0);
        }

        plan.next = conduit_history_taken(&h, &r.a);
    }

    newest = conduit_history_newest(&h, &r.a, end);
    wanted = (end || none) ? CONDUIT_HISTORY_RESTING : CONDUIT_HISTORY_RUNNING;

    if (newest == CONDUIT_HISTORY_UNKNOWN) {
        ck_assert_msg(plan.next == CONDUIT_HISTORY_NEXT_ASK,
                      "row %d, %s: next %d", _i, row->why, plan.next);

    } else {
        ck_assert_msg(newest == wanted, "row %d, %s: newest %d", _i, row->why,
                      newest);
    }

    /* what FULL says to its end needs no other question, but where a server
       may have entries before the position, and where another stream is to be
       read from 0-0 on */

    last = r.a.nentries ? r.e[r.a.nentries - 1].id : r.a.tail.id;

    if (q.kind == CONDUIT_HISTORY_FULL && !r.a.full
        && (r.a.nentries || r.a.has_tail || r.a.missing
            || conduit_stream_id_cmp(&r.a.last_id, &r.a.from) >= 0))
    {
        if (conduit_stream_id_cmp(&last, &h.cursor) > 0) {
            wanted = CONDUIT_HISTORY_UNKNOWN;
        }

        ck_assert_msg(newest == wanted, "row %d, %s: newest %d", _i, row->why,
                      newest);
    }

    conduit_history_free(&h);
}
END_TEST


/* an answer to FAST at 0-0, as a sweep asks it */

START_TEST(an_empty_stream_is_resting)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  nothing = { 0, 0, 0, 0, { { 0, 0, 0 } },
                                     0, 0, 0, 0, 0, 0 };
    static const said_t  one = { 0, 0, 0, 1, { SAME(1) }, 0, 0, 0, 0, 0, 0 };

    start(&h, NEW);
    conduit_history_ask(&h, 0, 100, &q);
    ck_assert_int_eq(q.kind, CONDUIT_HISTORY_FAST);
    answer_of(&r, _i ? &one : &nothing, &q);
    conduit_history_answer(&h, &r.a, &plan);

    ck_assert_int_eq(plan.next, _i ? ASK : IDLE);
    ck_assert_int_eq(conduit_history_newest(&h, &r.a, 0),
                     _i ? CONDUIT_HISTORY_UNKNOWN : CONDUIT_HISTORY_RESTING);
    conduit_history_free(&h);
}
END_TEST


/*
 * "ahead", an ID that a subscriber was judged by, is kept until the channel has
 * read that far.  Here memory runs out before that, and then the stream is
 * rolled back or gone.
 */

START_TEST(the_largest_id_seen_is_kept)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  more = { 1, 0, 0, 2, { SAME(5), SAME(9) },
                                  6, 6, 9, 1, 0, 0 };
    static const said_t  back = { 1, 0, 0, 1, { SAME(5) }, 5, 5, 5, 1, 0, 0 };
    static const said_t  gap = { 1, 0, 0, 1, { SAME(10) }, 1, 2, 10, 10, 0, 0 };
    static const said_t  missing = { 1, 0, 1, 0, { { 0, 0, 0 } },
                                     0, 0, 0, 0, 0, 0 };

    start(&h, _i ? NEW_AHEAD : AHEAD);
    conduit_history_ask(&h, 1, 1, &q);
    answer_of(&r, _i ? &gap : &more, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_TAKE);
    conduit_history_failed(&h);
    ck_assert_uint_eq(h.ahead.ms, 9);

    ck_assert_int_eq(conduit_history_retry(&h), 1);
    told_history(&h, _i ? &missing : &back, &plan);
    ck_assert_int_eq(plan.change, _i ? RESTART : CUT);
    ck_assert_uint_eq(h.ahead.ms, 0);
    ck_assert_uint_eq(h.rollback_to.ms, _i ? 0 : 9);
    conduit_history_free(&h);
}
END_TEST


/* after DEL the stream gets small IDs, then large ones, as when polling misses
   the DEL: it is read from its oldest entry again, whatever the IDs are */

START_TEST(a_stream_made_anew_is_read_from_its_oldest)
{
    conduit_history_t       h;
    conduit_history_plan_t  plan;

    static const said_t  fast = { 0, 0, 0, 1, { SAME(9) }, 0, 0, 0, 0, 0, 0 };
    static const said_t  other = { 1, 0, 0, 1, { SAME(9) }, 3, 3, 9, 1, 0, 0 };
    static const said_t  all = { 1, 0, 0, 3, { OTHER(1), OTHER(2), SAME(9) },
                                 3, 3, 9, 1, 0, 0 };

    start(&h, FAST);
    told_history(&h, &fast, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_ASK);
    told_history(&h, &other, &plan);
    ck_assert_int_eq(plan.change, CONDUIT_HISTORY_RESTART);
    told_history(&h, &all, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_IDLE);

    /* the window has the frames of both lives, with a mark between them */

    ck_assert_uint_eq(conduit_window_end(&h.window), 9);
    ck_assert_int_eq(conduit_window_item(&h.window, 5)->kind,
                     CONDUIT_ITEM_LIFE);
    ck_assert_ptr_null(conduit_window_item(&h.window, 5)->frame);
    ck_assert_uint_eq(h.life_seq, 6);
    ck_assert_uint_eq(h.life, 2);
    ck_assert_uint_eq(h.past_to.ms, 5);
    ck_assert_uint_eq(h.cursor.ms, 9);
    conduit_history_free(&h);
}
END_TEST


/* a rollback is kept with the largest ID that was seen, unless that is there
   still; those that overlap are merged; a new life has none */

START_TEST(a_rollback_is_remembered)
{
    conduit_history_t       h;
    conduit_history_plan_t  plan;

    static const said_t  to_4 = { 1, 0, 0, 2, { SAME(3), SAME(4) },
                                  4, 4, 4, 1, 0, 0 };
    static const said_t  to_3 = { 1, 0, 0, 2, { SAME(2), SAME(3) },
                                  3, 3, 3, 1, 0, 0 };
    static const said_t  to_6 = { 1, 0, 0, 3, { SAME(3), OTHER(5), SAME(6) },
                                  5, 5, 6, 1, 0, 0 };
    static const said_t  to_5 = { 1, 0, 0, 2, { SAME(3), OTHER(5) },
                                  4, 4, 5, 1, 0, 0 };
    static const said_t  holes = { 1, 0, 0, 3, { SAME(3), SAME(9), SAME(10) },
                                   4, 6, 10, 1, 5, 0 };
    static const said_t  missing = { 1, 0, 1, 0, { { 0, 0, 0 } },
                                     0, 0, 0, 0, 0, 0 };

    start(&h, AHEAD);
    told_history(&h, &holes, &plan);
    ck_assert_int_eq(plan.change, CUT);
    ck_assert_uint_eq(h.rollback_from.ms, 3);
    ck_assert_uint_eq(h.rollback_to.ms, 5);
    conduit_history_free(&h);

    start(&h, AHEAD);
    told_history(&h, &to_4, &plan);
    ck_assert_uint_eq(h.rollback_from.ms, 4);
    ck_assert_uint_eq(h.rollback_to.ms, 9);
    conduit_history_unsent(&h);
    told_history(&h, &to_3, &plan);
    ck_assert_uint_eq(h.rollback_from.ms, 3);
    ck_assert_uint_eq(h.rollback_to.ms, 9);

    /* the stream has reached 6-0 again, and is rolled back to an ID within the
       range of an earlier rollback */

    conduit_history_unsent(&h);
    told_history(&h, &to_6, &plan);
    ck_assert_uint_eq(h.cursor.ms, 6);
    conduit_history_unsent(&h);
    told_history(&h, &to_5, &plan);
    ck_assert_int_eq(plan.change, CUT);
    ck_assert_uint_eq(h.cursor.ms, 5);
    ck_assert_uint_eq(h.rollback_from.ms, 3);
    ck_assert_uint_eq(h.rollback_to.ms, 9);
    conduit_history_unsent(&h);
    told_history(&h, &missing, &plan);
    ck_assert_uint_eq(h.rollback_from.ms, 0);
    ck_assert_uint_eq(h.rollback_to.ms, 0);
    conduit_history_free(&h);
}
END_TEST


/* a subscriber at the last message had all of a life: entries that are no
   messages may follow that */

START_TEST(a_subscriber_at_the_last_message_had_all)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  more = { 0, 0, 0, 2, { SAME(5), SAME(6) },
                                  0, 0, 0, 0, 0, 0 };
    static const said_t  missing = { 1, 0, 1, 0, { { 0, 0, 0 } },
                                     0, 0, 0, 0, 0, 0 };

    start(&h, FAST);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &more, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(conduit_history_take(&h, &r.e[1], NULL, 0), 0);
    ck_assert_int_eq(conduit_history_taken(&h, &r.a),
                     CONDUIT_HISTORY_NEXT_IDLE);

    /* all messages are dropped, with the entries after them: the position is
       kept */

    if (_i) {
        conduit_history_drop(&h, 4 + _i);
    }

    conduit_history_unsent(&h);
    told_history(&h, &missing, &plan);
    ck_assert_uint_eq(h.past_from.ms, 5);
    ck_assert_uint_eq(h.past_to.ms, 6);
    ck_assert_uint_eq(h.past_seq, 0);
    conduit_history_unsent(&h);
    h.cursor = id_of(1);
    told_history(&h, &missing, &plan);
    ck_assert_uint_eq(h.past_seq, 7);
    conduit_history_free(&h);
}
END_TEST


/* entries dropped from the window while the question is out are in the answer,
   which is still of the same stream */

START_TEST(the_window_is_dropped_before_the_answer)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  all = {
        1, 0, 0, 6,
        { SAME(1), SAME(2), SAME(3), SAME(4), SAME(5), SAME(6) },
        6, 6, 6, 1, 0, 0
    };

    has_read_five(&h);
    conduit_history_unsent(&h);
    conduit_history_ask(&h, 1, 100, &q);
    ck_assert_int_eq(q.kind, CONDUIT_HISTORY_FULL);
    ck_assert_uint_eq(q.id.ms, 1);
    answer_of(&r, &all, &q);
    conduit_history_drop(&h, 2);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_str_eq(plan.why, "goes on");
    ck_assert_int_eq(plan.change, NOTHING);
    ck_assert_int_eq(plan.next, TAKE);
    ck_assert_uint_eq(plan.first, 5);
    conduit_history_free(&h);
}
END_TEST


/* a position after the end of a stream that has ended: it waits for what
   follows */

START_TEST(a_position_after_the_end_waits_for_more)
{
    answer_t                    r;
    conduit_place_t             p;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  ended = { 1, 0, 0, 0, { { 0, 0, 0 } },
                                   5, 5, 5, 1, 0, 5 };

    memset(&h, 0, sizeof(h));
    pos = id_of(9);
    conduit_history_init(&h, &pos, NULL);
    conduit_place_join(&p, &h, &pos);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &ended, &q);
    r.a.ended = 1;
    conduit_history_answer(&h, &r.a, &plan);

    ck_assert_str_eq(plan.why, "the position is after the END");
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_IDLE);
    ck_assert_int_eq(h.state, CONDUIT_HISTORY_SURE);
    ck_assert_uint_eq(h.cursor.ms, 5);
    ck_assert_uint_eq(h.cursor_hash, 5);
    ck_assert_uint_eq(h.floor.ms, 5);
    ck_assert_uint_eq(h.compared.ms, 5);
    ck_assert_uint_eq(h.number, 5);
    ck_assert_int_eq(conduit_place_judge(&p, &h, &r.a), CONDUIT_HISTORY_GONE);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    ck_assert_uint_eq(p.pos.ms, 5);
    ck_assert_int_eq(p.loss, CONDUIT_PLACE_GONE);
    conduit_history_free(&h);
}
END_TEST


/* an answer without the cursor's entry, which ends before the stream does */

typedef struct {
    const char  *what;
    start_e      start;
    said_t       said;
    int          is_short;
} short_t;

static const short_t  shorts[] = {
    { "something was deleted, there is more", READ,
      { 1, 1, 0, 2, { SAME(4), SAME(9) }, 9, 14, 20, 1, 5, 0 }, 1 },
    { "likewise, with nothing up to the cursor", READ,
      { 1, 1, 0, 1, { SAME(9) }, 9, 14, 20, 1, 7, 0 }, 1 },
    { "it reaches the end", READ,
      { 1, 0, 0, 2, { SAME(4), SAME(9) }, 5, 6, 9, 1, 5, 0 }, 0 },
    { "nothing was deleted after the cursor", READ,
      { 1, 1, 0, 2, { SAME(4), SAME(9) }, 9, 14, 20, 1, 4, 0 }, 0 },
    { "the cursor's entry is there", READ,
      { 1, 1, 0, 2, { SAME(5), SAME(9) }, 9, 14, 20, 1, 7, 0 }, 0 },
    { "it is another one", READ,
      { 1, 1, 0, 2, { OTHER(5), SAME(9) }, 9, 14, 20, 1, 7, 0 }, 1 },
    { "it was trimmed", READ,
      { 1, 1, 0, 2, { SAME(8), SAME(9) }, 9, 14, 20, 8, 7, 0 }, 0 },
    { "the server does not count", READ,
      { 0, 1, 0, 2, { SAME(4), SAME(9) }, 9, 0, 20, 1, 0, 0 }, 0 },
    { "nobody has seen anything", CLAIMED,
      { 1, 1, 0, 2, { SAME(4), SAME(9) }, 9, 14, 20, 1, 5, 0 }, 0 },
    { "nothing was read", NEW,
      { 1, 1, 0, 2, { SAME(4), SAME(9) }, 9, 14, 20, 1, 5, 0 }, 0 }
};


START_TEST(an_answer_that_ends_too_early)
{
    answer_t                    r;
    const short_t              *row;
    conduit_history_t           h;
    conduit_history_question_t  q;

    row = &shorts[_i];
    start(&h, row->start);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &row->said, &q);
    ck_assert_msg(conduit_history_is_short(&h, &r.a) == row->is_short,
                  "%s", row->what);
    conduit_history_free(&h);
}
END_TEST


START_TEST(a_hash_is_of_all_bytes)
{
    size_t    i;
    char      text[40];
    uint64_t  hash;

    memset(text, 'a', sizeof(text));
    hash = conduit_history_hash(text, sizeof(text));

    for (i = 0; i < sizeof(text); i++) {
        text[i] = 'b';
        ck_assert(conduit_history_hash(text, sizeof(text)) != hash);
        ck_assert(conduit_history_hash(text, i) != hash);
        text[i] = 'a';
    }

    ck_assert(conduit_history_hash(text, sizeof(text)) == hash);
    ck_assert(conduit_history_hash("", 0) != conduit_history_hash("\0", 1));
}
END_TEST


int
main(void)
{
    int       failed;
    Suite    *s;
    TCase    *t;
    SRunner  *r;

    s = suite_create("history");
    t = tcase_create("history");
    tcase_add_loop_test(t, each_answer_has_its_rule, 0,
                        sizeof(rows) / sizeof(rows[0]));
    tcase_add_loop_test(t, the_newest_entry_is_known, 0,
                        2 * sizeof(rows) / sizeof(rows[0]));
    tcase_add_loop_test(t, an_empty_stream_is_resting, 0, 2);
    tcase_add_loop_test(t, the_largest_id_seen_is_kept, 0, 2);
    tcase_add_test(t, a_stream_made_anew_is_read_from_its_oldest);
    tcase_add_test(t, a_rollback_is_remembered);
    tcase_add_loop_test(t, a_subscriber_at_the_last_message_had_all, 0, 3);
    tcase_add_test(t, the_window_is_dropped_before_the_answer);
    tcase_add_test(t, a_position_after_the_end_waits_for_more);
    tcase_add_loop_test(t, an_answer_that_ends_too_early, 0,
                        sizeof(shorts) / sizeof(shorts[0]));
    tcase_add_test(t, a_hash_is_of_all_bytes);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);

    return failed != 0;
}
