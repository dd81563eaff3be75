/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_cursor.c and conduit_history.c: which question is
 * asked at which time, and what happens if items are dropped from the window
 * before the answer comes.
 */

#include "history.h"
#include "memory.h"


/* while Redis answers with errors, also before the channel has settled, only
   the timer asks again: XINFO must not be sent in a loop */

START_TEST(an_error_waits_for_the_timer)
{
    conduit_history_t           h;
    conduit_history_question_t  q;

    start(&h, _i ? CLAIMED : FAST);

    ck_assert_int_eq(conduit_history_ring(&h), 1);
    conduit_history_ask(&h, 1, 100, &q);
    conduit_history_failed(&h);
    ck_assert_int_eq(conduit_history_ring(&h), 0);
    ck_assert_int_eq(conduit_history_retry(&h), 1);
    ck_assert_int_eq(conduit_history_retry(&h), 0);
    conduit_history_ask(&h, 0, 100, &q);
    ck_assert_int_eq(q.kind, CONDUIT_HISTORY_FULL);
    ck_assert_int_eq(h.state, _i ? CONDUIT_HISTORY_CLAIMED
                                 : CONDUIT_HISTORY_SUSPECT);
    conduit_history_free(&h);
}
END_TEST


/* what happens before there is a position leaves the history without one */

START_TEST(a_position_may_come_later)
{
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_question_t  q;

    memset(&h, 0, sizeof(h));
    conduit_history_init(&h, NULL, NULL);
    conduit_history_unsent(&h);
    conduit_history_failed(&h);
    ck_assert_int_eq(conduit_history_retry(&h), 1);
    ck_assert_int_eq(h.state, CONDUIT_HISTORY_NOWHERE);
    ck_assert_int_eq(conduit_history_agrees(&h, &(conduit_history_answer_t) {
                         .missing = 1 }), 0);

    pos = id_of(5);
    conduit_history_init(&h, &pos, NULL);
    ck_assert_int_eq(h.state, CONDUIT_HISTORY_CLAIMED);
    conduit_history_ask(&h, 0, 100, &q);
    ck_assert_int_eq(q.kind, CONDUIT_HISTORY_FULL);
    ck_assert_uint_eq(q.id.ms, 5);
    ck_assert_uint_eq(h.floor.ms, 5);
    conduit_history_free(&h);
}
END_TEST


/* if the doorbell rings before a question is answered, another question must
   follow: the new entries must not wait for the sweep */

START_TEST(a_ring_in_between_asks_again)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  said = { 0, 0, 0, 1, { SAME(5) }, 0, 0, 0, 0, 0, 0 };

    start(&h, FAST);
    conduit_history_ask(&h, 1, 100, &q);
    ck_assert_uint_eq(q.id.ms, 4);
    ck_assert_int_eq(conduit_history_ring(&h), 0);
    answer_of(&r, &said, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_ASK);
    conduit_history_free(&h);
}
END_TEST


/* the link is lost while entries are appended: the others are read again */

START_TEST(entries_not_taken_are_asked_for_again)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  said = { 0, 1, 0, 3, { SAME(5), SAME(6), SAME(7) },
                                  0, 0, 0, 0, 0, 0 };

    start(&h, FAST);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &said, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_TAKE);
    ck_assert_int_eq(conduit_history_take(&h, &r.e[1], &h, 10), 0);
    conduit_history_unsent(&h);
    ck_assert_uint_eq(h.number, 6);

    /* FULL begins at the oldest entry of the window, or later if a reply could
       not hold all of them */

    conduit_history_ask(&h, 1, 100, &q);
    ck_assert_int_eq(q.kind, CONDUIT_HISTORY_FULL);
    ck_assert_uint_eq(q.id.ms, 1);
    ck_assert_uint_eq(q.extra, 6);
    conduit_history_unsent(&h);
    conduit_history_ask(&h, 1, 2, &q);
    ck_assert_uint_eq(q.id.ms, 5);
    ck_assert_uint_eq(q.extra, 2);
    conduit_history_free(&h);
}
END_TEST


/* another question follows if an answer is full, if the number of entries is
   not known, or if a greater ID was seen */

START_TEST(the_cursor_asks_until_the_end_is_known)
{
    conduit_history_t       h;
    conduit_history_plan_t  plan;

    static const said_t  more = { 0, 1, 0, 2, { SAME(5), SAME(6) },
                                  0, 0, 0, 0, 0, 0 };
    static const said_t  end = { 0, 0, 0, 2, { SAME(5), SAME(6) },
                                 0, 0, 0, 0, 0, 0 };

    start(&h, FAST);
    told_history(&h, &more, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_ASK);
    ck_assert_int_eq(h.state, CONDUIT_HISTORY_SURE);
    conduit_history_free(&h);

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    told_history(&h, &end, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_ASK);
    ck_assert_int_eq(h.state, CONDUIT_HISTORY_SUSPECT);
    conduit_history_free(&h);

    start(&h, FAST);
    h.ahead = id_of(7);
    told_history(&h, &end, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_ASK);
    ck_assert_int_eq(h.state, CONDUIT_HISTORY_SUSPECT);
    conduit_history_free(&h);

    start(&h, FAST);
    h.ahead = id_of(6);
    told_history(&h, &end, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_IDLE);
    conduit_history_free(&h);
}
END_TEST


/*
 * While the number is not known, one entry is left in the stream: it tells
 * whether entries are missing after the stream was trimmed.
 */

typedef struct {
    const char  *why;               /* of the last plan */
    said_t       said;              /* after 7-0 was left */
    int          change;
    uint64_t     first;             /* plan.first */
    int          number;            /* afterwards; -1: not known */
} left_t;

static const left_t  left[] = {

    /* the oldest entry is the one that was left */

    { "was trimmed up to the cursor",
      { 1, 0, 0, 2, { SAME(7), SAME(8) }, 2, 8, 8, 7, 0, 0 }, NOTHING, 0, 8 },
    { "was trimmed up to the cursor",                   /* Redis 6 */
      { 0, 0, 0, 2, { SAME(7), SAME(8) }, 2, 0, 8, 7, 0, 0 }, NOTHING, 0, -1 },
    { "was trimmed up to the cursor",                   /* and goes on */
      { 1, 1, 0, 3, { SAME(7), SAME(8), SAME(9) }, 9, 19, 19, 7, 0, 0 },
      NOTHING, 0, 13 },

    /* it is gone, too */

    { "was trimmed past the cursor",
      { 1, 0, 0, 1, { SAME(8) }, 1, 8, 8, 8, 0, 0 }, GAP, 0, 8 },
    { "was trimmed past the cursor",
      { 0, 0, 0, 1, { SAME(8) }, 1, 0, 8, 8, 0, 0 }, GAP, 0, -1 },

    /* another entry has its ID */

    { "was trimmed past the cursor",
      { 1, 0, 0, 1, { OTHER(7) }, 1, 8, 7, 7, 0, 0 }, GAP, 0, 8 },

    /* nothing was trimmed */

    { "goes on",
      { 1, 0, 0, 3, { SAME(6), SAME(7), SAME(8) }, 8, 8, 8, 1, 0, 0 },
      NOTHING, 1, 8 }
};


START_TEST(one_entry_is_left)
{
    const left_t           *l;
    conduit_history_t       h;
    conduit_history_plan_t  plan;

    static const said_t  three = { 0, 1, 0, 3, { SAME(5), SAME(6), SAME(7) },
                                   0, 0, 0, 0, 0, 0 };

    l = &left[_i];

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    told_history(&h, &three, &plan);

    ck_assert_uint_eq(plan.first, 1);
    ck_assert_uint_eq(plan.end, 2);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_ASK);
    ck_assert_uint_eq(h.cursor.ms, 6);
    ck_assert_uint_eq(h.next.id.ms, 7);

    h.state = CONDUIT_HISTORY_SUSPECT;
    told_history(&h, &l->said, &plan);

    ck_assert_str_eq(plan.why, l->why);
    ck_assert_int_eq(plan.change, l->change);
    ck_assert_uint_eq(plan.first, l->first);
    ck_assert_int_eq(number_of(&h), l->number);
    conduit_history_free(&h);
}
END_TEST


/*
 * Likewise where the stream ends: the number is known only when FULL was
 * answered, which follows.  A server that does not count tells none, and an
 * answer to FULL tells it.
 */

START_TEST(one_entry_is_left_at_the_end)
{
    conduit_history_t       h;
    conduit_history_plan_t  plan;

    static const said_t  end = { 0, 0, 0, 3, { SAME(5), SAME(6), SAME(7) },
                                 0, 0, 0, 0, 0, 0 };
    static const said_t  one = { 0, 0, 0, 2, { SAME(5), SAME(6) },
                                 0, 0, 0, 0, 0, 0 };
    static const said_t  left = { 1, 0, 0, 1, { SAME(6) }, 1, 6, 6, 6, 0, 0 };

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    told_history(&h, &end, &plan);
    ck_assert_uint_eq(plan.first, 1);
    ck_assert_uint_eq(plan.end, 2);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_ASK);
    ck_assert_int_eq(h.state, CONDUIT_HISTORY_SUSPECT);
    ck_assert_uint_eq(h.cursor.ms, 6);
    ck_assert_uint_eq(h.next.id.ms, 7);
    conduit_history_free(&h);

    /* the only one, too */

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    told_history(&h, &one, &plan);
    ck_assert_uint_eq(plan.first, 1);
    ck_assert_uint_eq(plan.end, 1);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_ASK);
    ck_assert_int_eq(h.state, CONDUIT_HISTORY_SUSPECT);
    ck_assert_int_eq(h.busy, CONDUIT_HISTORY_IDLE);
    ck_assert_uint_eq(h.cursor.ms, 5);
    ck_assert_uint_eq(h.next.id.ms, 6);

    /* the stream was trimmed up to the cursor */

    told_history(&h, &left, &plan);
    ck_assert_str_eq(plan.why, "was trimmed up to the cursor");
    ck_assert_int_eq(plan.change, CONDUIT_HISTORY_NOTHING);
    ck_assert_uint_eq(h.cursor.ms, 6);
    conduit_history_free(&h);
}
END_TEST


/* an entry that was left is not taken for read, and is taken by the next
   answer, even if the key rings all the time; a server that does not count
   tells no number later, so all are taken */

START_TEST(what_is_left_at_the_end_is_taken_next)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  end = { 0, 0, 0, 3, { SAME(5), SAME(6), SAME(7) },
                                 0, 0, 0, 0, 0, 0 };
    static const said_t  one = { 0, 0, 0, 2, { SAME(5), SAME(6) },
                                 0, 0, 0, 0, 0, 0 };
    static const said_t  more = { 1, 0, 0, 2, { SAME(5), SAME(6) },
                                  6, 6, 6, 1, 0, 0 };

    /* FULL reaches the end */

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    told_history(&h, &one, &plan);
    told_history(&h, &more, &plan);
    ck_assert_uint_eq(plan.first, 1);
    ck_assert_uint_eq(plan.end, 2);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_IDLE);
    ck_assert_uint_eq(h.cursor.ms, 6);
    ck_assert_int_eq((int) h.number, 6);
    conduit_history_free(&h);

    /* the key rings meanwhile */

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    conduit_history_ask(&h, 1, 100, &q);
    conduit_history_ring(&h);
    answer_of(&r, &one, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_ASK);
    ck_assert_uint_eq(h.cursor.ms, 5);
    ck_assert_int_eq(conduit_history_newest(&h, &r.a, 0),
                     CONDUIT_HISTORY_UNKNOWN);
    conduit_history_ask(&h, 1, 100, &q);
    ck_assert_int_eq(q.kind, CONDUIT_HISTORY_FULL);
    conduit_history_ring(&h);
    answer_of(&r, &more, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_TAKE);
    ck_assert_uint_eq(plan.end, 2);
    conduit_history_free(&h);

    /* Redis 6: no FULL follows */

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_NONE;
    told_history(&h, &end, &plan);
    ck_assert_uint_eq(plan.end, 3);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_IDLE);
    ck_assert_uint_eq(h.cursor.ms, 7);
    conduit_history_free(&h);
}
END_TEST


/* an entry is left only where the number does not tell, and where another one
   is taken or asked for */

START_TEST(no_entry_is_left)
{
    conduit_history_t           h;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  two = { 0, 1, 0, 2, { SAME(5), SAME(6) },
                                 0, 0, 0, 0, 0, 0 };
    static const said_t  three = { 0, 1, 0, 3, { SAME(5), SAME(6), SAME(7) },
                                   0, 0, 0, 0, 0, 0 };
    static const said_t  end = { 0, 0, 0, 3, { SAME(5), SAME(6), SAME(7) },
                                 0, 0, 0, 0, 0, 0 };
    static const said_t  later = { 0, 0, 0, 2, { SAME(6), SAME(7) },
                                   0, 0, 0, 0, 0, 0 };
    static const said_t  last = { 1, 0, 0, 2, { SAME(6), SAME(7) },
                                  7, 7, 7, 1, 0, 0 };

    start(&h, FAST);
    told_history(&h, &three, &plan);
    ck_assert_uint_eq(h.cursor.ms, 7);
    ck_assert_uint_eq(h.next.id.ms, 0);
    conduit_history_ask(&h, 1, 100, &q);
    ck_assert_uint_eq(q.overlap, 1);
    ck_assert_uint_eq(q.extra, 1);
    conduit_history_free(&h);

    start(&h, FAST);
    told_history(&h, &end, &plan);
    ck_assert_uint_eq(h.cursor.ms, 7);
    ck_assert_uint_eq(h.next.id.ms, 0);
    conduit_history_free(&h);

    /* so one more is asked for */

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    conduit_history_ask(&h, 1, 100, &q);
    ck_assert_uint_eq(q.overlap, 1);
    ck_assert_uint_eq(q.extra, 2);
    conduit_history_unsent(&h);
    conduit_history_ask(&h, 1, 100, &q);
    ck_assert_uint_eq(q.overlap, 5);
    ck_assert_uint_eq(q.extra, 6);
    conduit_history_free(&h);

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    told_history(&h, &two, &plan);
    ck_assert_uint_eq(h.cursor.ms, 6);
    ck_assert_uint_eq(h.next.id.ms, 0);
    conduit_history_free(&h);

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    told_history(&h, &three, &plan);
    ck_assert_uint_eq(h.next.id.ms, 7);
    told_history(&h, &later, &plan);
    ck_assert_uint_eq(h.cursor.ms, 6);
    ck_assert_uint_eq(h.next.id.ms, 7);
    told_history(&h, &last, &plan);
    ck_assert_uint_eq(h.cursor.ms, 7);
    ck_assert_uint_eq(h.next.id.ms, 0);
    conduit_history_free(&h);
}
END_TEST


/* what is left is not kept for another cursor: the stream is rolled back, or
   another one */

START_TEST(the_next_entry_is_dropped_with_its_cursor)
{
    conduit_history_t       h;
    conduit_history_plan_t  plan;

    static const said_t  three = { 0, 1, 0, 3, { SAME(5), SAME(6), SAME(7) },
                                   0, 0, 0, 0, 0, 0 };
    static const said_t  back = { 1, 0, 0, 1, { SAME(2) }, 2, 2, 2, 1, 0, 0 };
    static const said_t  anew = { 1, 0, 0, 1, { SAME(1) }, 1, 1, 1, 1, 0, 0 };

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    told_history(&h, &three, &plan);
    h.state = CONDUIT_HISTORY_SUSPECT;
    told_history(&h, &back, &plan);
    ck_assert_int_eq(plan.change, CONDUIT_HISTORY_CUT);
    ck_assert_uint_eq(h.next.id.ms, 0);
    conduit_history_free(&h);

    start(&h, FAST);
    h.number_state = CONDUIT_HISTORY_NUMBER_UNKNOWN;
    told_history(&h, &three, &plan);
    h.state = CONDUIT_HISTORY_SUSPECT;
    h.compared = id_of(3);
    conduit_history_drop(&h, h.window.n);
    told_history(&h, &anew, &plan);
    ck_assert_int_eq(plan.change, CONDUIT_HISTORY_RESTART);
    ck_assert_uint_eq(h.next.id.ms, 0);
    conduit_history_free(&h);
}
END_TEST


/* the entry at "ahead" was deleted: each FAST is followed by one FULL, which is
   not followed by another */

START_TEST(a_deleted_newest_entry_is_asked_for_once)
{
    conduit_history_t       h;
    conduit_history_plan_t  plan;

    static const said_t  fast = { 0, 0, 0, 1, { SAME(5) }, 0, 0, 0, 0, 0, 0 };
    static const said_t  full = { 1, 0, 0, 1, { SAME(5) }, 5, 6, 9, 1, 9, 0 };

    start(&h, FAST);
    h.ahead = id_of(9);
    told_history(&h, &fast, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_ASK);
    ck_assert_int_eq(h.state, CONDUIT_HISTORY_SUSPECT);
    told_history(&h, &full, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_IDLE);
    ck_assert_int_eq(h.state, CONDUIT_HISTORY_SURE);
    ck_assert_uint_eq(h.ahead.ms, 9);
    conduit_history_free(&h);
}
END_TEST


/* the window has all entries after the floor */

START_TEST(the_floor_follows_what_is_dropped)
{
    conduit_history_t       h;
    conduit_history_plan_t  plan;
    conduit_stream_id_t     pos;

    static const said_t  gap = { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 };

    start(&h, READ);
    told_history(&h, &gap, &plan);
    ck_assert_int_eq(plan.change, CONDUIT_HISTORY_GAP);
    conduit_history_drop(&h, 2);
    ck_assert_uint_eq(h.floor.ms, 2);
    conduit_history_drop(&h, 4);
    ck_assert_uint_eq(h.floor.ms, 8);
    ck_assert_uint_eq(h.floor.seq, UINT64_MAX);
    conduit_history_free(&h);

    /* after a claimed position the floor is just before the first entry */

    pos = id_of(5);
    memset(&h, 0, sizeof(h));
    conduit_history_init(&h, &pos, NULL);
    told_history(&h, &gap, &plan);
    ck_assert_uint_eq(h.floor.ms, 8);
    conduit_history_free(&h);
}
END_TEST


/* memory runs out before the entry after a gap is taken, and the window is
   dropped: the mark stays, so that a subscriber before it is told, whatever the
   next answer is */

typedef struct {
    const char  *what;
    said_t       said;              /* the next answer */
    const char  *why;
    int          change;
    uint64_t     marks;             /* after it */
    int          loss;              /* of a subscriber at 5-0, after it */
} open_t;

static const open_t  opens[] = {
    { "as before",
      { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 },
      "was trimmed up to the cursor", NOTHING, 1, CONDUIT_PLACE_TRIMMED },
    { "trimmed further: another mark",
      { 1, 0, 0, 1, { SAME(11) }, 1, 9, 11, 11, 0, 0 },
      "was trimmed past the cursor", GAP, 2, CONDUIT_PLACE_TRIMMED },
    { "from a replica that had not trimmed: no gap",
      { 1, 0, 0, 2, { SAME(5), SAME(9) }, 5, 7, 9, 1, 0, 0 },
      "has lost its last entries", CUT, 0, CONDUIT_PLACE_TOLD },
    { "the stream is gone",
      { 1, 0, 1, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 },
      "the stream is gone", RESTART, 1, CONDUIT_PLACE_TRIMMED }
};


/* how many GAPs the window has */

static uint64_t
marks(const conduit_history_t *h)
{
    uint64_t  seq, n;

    n = 0;

    for (seq = h->window.base; seq < conduit_window_end(&h->window); seq++) {
        n += conduit_window_item(&h->window, seq)->kind == CONDUIT_ITEM_GAP;
    }

    return n;
}


START_TEST(a_gap_stays_until_the_entry_behind_it_is_there)
{
    answer_t                    r;
    const open_t               *row;
    conduit_place_t             p;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    const conduit_item_t       *item;
    conduit_history_question_t  q;

    static const said_t  gap = { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 };

    row = &opens[_i];
    start(&h, READ);
    pos = id_of(5);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &gap, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.change, GAP);
    conduit_history_failed(&h);

    ck_assert_uint_eq(conduit_window_excess(&h.window, 0), 5);
    conduit_history_drop(&h, 5);
    ck_assert_uint_eq(h.floor.ms, 5);
    ck_assert_uint_eq(marks(&h), 1);

    memset(&p, 0, sizeof(p));
    p.life = 1;
    p.pos = pos;
    p.where = CONDUIT_PLACE_WINDOW;
    p.seq = 5;

    ck_assert_int_eq(conduit_history_retry(&h), 1);
    conduit_history_ask(&h, 1, 100, &q);
    ck_assert_uint_eq(q.id.ms, 5);
    answer_of(&r, &row->said, &q);
    conduit_history_answer(&h, &r.a, &plan);

    ck_assert_str_eq(plan.why, row->why);
    ck_assert_int_eq(plan.change, row->change);
    ck_assert_uint_eq(marks(&h), row->marks);

    if (row->marks == 2) {

        /* the first gap can go, as the second one says the same */

        ck_assert_uint_eq(conduit_window_excess(&h.window, 0), 1);
        conduit_place_leave(&p, &h, 1);
        conduit_history_drop(&h, 1);
        ck_assert_uint_eq(h.floor.ms, 5);
    }

    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_NONE);
    ck_assert_msg(p.loss == row->loss, "%s: %d", row->what, p.loss);
    conduit_history_free(&h);
}
END_TEST


/* without memory for its mark, nothing follows from a gap or another stream:
   the question is asked again later, and the rules then find the same */

START_TEST(a_mark_waits_for_memory)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const struct {
        said_t  said;
        int     change;
    } marks[] = {
        { { 1, 0, 0, 2, { SAME(9), SAME(10) }, 2, 10, 10, 9, 0, 0 }, GAP },
        { { 1, 0, 0, 1, { SAME(1) }, 1, 1, 1, 1, 0, 0 }, RESTART }
    };

    pos = id_of(5);
    memset(&h, 0, sizeof(h));
    conduit_history_init(&h, &pos, NULL);
    h.state = CONDUIT_HISTORY_SUSPECT;
    h.number_state = CONDUIT_HISTORY_NUMBER_KNOWN;
    h.number = 5;

    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &marks[_i].said, &q);
    memory_count(1);
    conduit_history_answer(&h, &r.a, &plan);
    memory_count(0);

    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_WAIT);
    ck_assert_int_eq(plan.change, CONDUIT_HISTORY_NOTHING);
    ck_assert_int_eq(h.busy, CONDUIT_HISTORY_WAIT);
    ck_assert_int_eq(h.number_state, CONDUIT_HISTORY_NUMBER_KNOWN);
    ck_assert_uint_eq(h.number, 5);
    ck_assert_uint_eq(h.fresh_seq, 0);
    ck_assert_uint_eq(h.cursor.ms, 5);
    ck_assert_uint_eq(h.life, 1);
    ck_assert_uint_eq(h.window.n, 0);

    ck_assert_int_eq(conduit_history_retry(&h), 1);
    conduit_history_ask(&h, 0, 100, &q);
    ck_assert_int_eq(q.kind, CONDUIT_HISTORY_FULL);
    answer_of(&r, &marks[_i].said, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.change, marks[_i].change);
    ck_assert_uint_eq(h.window.n, 1);
    conduit_history_free(&h);
}
END_TEST


int
main(void)
{
    int       failed;
    Suite    *s;
    TCase    *t;
    SRunner  *r;

    s = suite_create("cursor");
    t = tcase_create("cursor");
    tcase_add_loop_test(t, an_error_waits_for_the_timer, 0, 2);
    tcase_add_test(t, a_position_may_come_later);
    tcase_add_test(t, a_ring_in_between_asks_again);
    tcase_add_test(t, entries_not_taken_are_asked_for_again);
    tcase_add_test(t, the_cursor_asks_until_the_end_is_known);
    tcase_add_loop_test(t, one_entry_is_left, 0,
                        sizeof(left) / sizeof(left[0]));
    tcase_add_test(t, one_entry_is_left_at_the_end);
    tcase_add_test(t, what_is_left_at_the_end_is_taken_next);
    tcase_add_loop_test(t, a_mark_waits_for_memory, 0, 2);
    tcase_add_test(t, no_entry_is_left);
    tcase_add_test(t, the_next_entry_is_dropped_with_its_cursor);
    tcase_add_test(t, a_deleted_newest_entry_is_asked_for_once);
    tcase_add_test(t, the_floor_follows_what_is_dropped);
    tcase_add_loop_test(t, a_gap_stays_until_the_entry_behind_it_is_there, 0,
                        sizeof(opens) / sizeof(opens[0]));
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);

    return failed != 0;
}
