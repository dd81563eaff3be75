/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_batch.c and conduit_compare.c: what an answer says
 * about a position below the window, whether the answer and the window are of
 * the same stream, and which entries of an answer form a batch.
 */

#include "history.h"

#define OK       CONDUIT_HISTORY_OK
#define TRIMMED  CONDUIT_HISTORY_TRIMMED
#define GONE     CONDUIT_HISTORY_GONE
#define END      CONDUIT_HISTORY_END
#define AGAIN    CONDUIT_HISTORY_AGAIN

typedef struct {
    const char  *what;
    uint64_t     pos, next;         /* next 0: not known */
    int          ended;             /* the newest entry is an END */
    said_t       said;
    int          verdict;
    uint64_t     then;              /* the position afterwards */
} row_t;

/*
 * The channel has read 1-0 to 5-0.  A rollback has removed 21-0 to 29-0, after
 * 20-0.  An earlier life of the stream ended with 15-0.
 */

static const row_t  rows[] = {
    { "is there", 3, 0, 0,
      { 1, 0, 0, 2, { SAME(3), SAME(4) }, 5, 5, 5, 1, 0, 0 }, OK, 3 },
    { "is the newest", 5, 0, 0,
      { 1, 0, 0, 1, { SAME(5) }, 5, 5, 5, 1, 0, 0 }, OK, 5 },
    { "is the END", 5, 0, 1,
      { 1, 0, 0, 1, { SAME(5) }, 5, 5, 5, 1, 0, 0 }, END, 5 },
    { "is before the END", 4, 0, 1,
      { 1, 0, 0, 2, { SAME(4), SAME(5) }, 5, 5, 5, 1, 0, 0 }, OK, 4 },
    { "is after the END, which was deleted", 6, 0, 1,
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 5, 6, 6, 1, 6, 5 }, END, 6 },
    { "is further than the answer", 7, 0, 0,
      { 1, 1, 0, 2, { SAME(5), SAME(6) }, 8, 8, 8, 1, 0, 0 }, AGAIN, 7 },
    { "was deleted", 6, 0, 0,
      { 1, 0, 0, 1, { SAME(7) }, 6, 7, 7, 1, 6, 0 }, OK, 6 },
    { "is not there, nothing was deleted", 6, 0, 0,
      { 1, 0, 0, 1, { SAME(7) }, 6, 6, 7, 1, 5, 0 }, GONE, 6 },
    { "is not there, Redis 6", 6, 0, 0,
      { 0, 0, 0, 1, { SAME(7) }, 6, 0, 7, 1, 0, 0 }, OK, 6 },

    { "the stream has not come so far", 9, 0, 0,
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 5, 5, 5, 1, 0, 5 }, GONE, 0 },
    { "the stream has ended before it", 9, 0, 1,
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 5, 5, 5, 1, 0, 5 }, GONE, 5 },
    { "the stream has ended before it, in the answer", 9, 0, 1,
      { 1, 0, 0, 2, { SAME(4), SAME(5) }, 5, 5, 5, 1, 0, 0 }, GONE, 5 },
    { "had all of the life before, this one has ended", 15, 0, 1,
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 5, 5, 5, 1, 0, 5 }, OK, 0 },
    { "there is no stream", 9, 0, 0,
      { 1, 0, 1, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 }, GONE, 0 },
    { "had all of the life before", 15, 0, 0,
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 5, 5, 5, 1, 0, 5 }, OK, 0 },
    { "had all of the life before, which is inside of this", 15, 0, 0,
      { 1, 0, 0, 1, { SAME(16) }, 6, 6, 16, 1, 0, 0 }, OK, 0 },
    { "had all of the life before, which is below this", 15, 0, 0,
      { 1, 0, 0, 1, { SAME(16) }, 1, 9, 16, 16, 0, 0 }, OK, 0 },

    { "was rolled back", 25, 0, 0,
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 5, 5, 5, 1, 0, 5 }, AGAIN, 20 },
    { "was rolled back, and is inside", 25, 0, 0,
      { 1, 0, 0, 1, { SAME(31) }, 6, 6, 31, 1, 0, 0 }, AGAIN, 20 },
    { "is in front of what was rolled back", 20, 0, 0,
      { 1, 0, 0, 2, { SAME(20), SAME(31) }, 6, 6, 31, 1, 0, 0 }, OK, 20 },
    { "is after what was rolled back", 30, 0, 0,
      { 1, 0, 0, 2, { SAME(30), SAME(31) }, 6, 6, 31, 1, 0, 0 }, OK, 30 },

    { "all is after it: trimmed", 3, 0, 0,
      { 1, 0, 0, 1, { SAME(5) }, 1, 5, 5, 5, 0, 0 }, TRIMMED, 3 },
    { "all is after it: trimmed, Redis 6", 3, 0, 0,
      { 0, 0, 0, 1, { SAME(5) }, 1, 0, 5, 5, 0, 0 }, TRIMMED, 3 },
    { "all is after it, nothing was ever removed", 3, 0, 0,
      { 1, 0, 0, 1, { SAME(5) }, 1, 1, 5, 5, 0, 0 }, GONE, 3 },
    { "all is after it, only it was deleted", 4, 0, 0,
      { 1, 0, 0, 1, { SAME(5) }, 1, 2, 5, 5, 4, 0 }, OK, 4 },
    { "all is after it, another one was deleted", 3, 0, 0,
      { 1, 0, 0, 1, { SAME(5) }, 1, 2, 5, 5, 4, 0 }, TRIMMED, 3 },
    { "all is after it, two were removed", 4, 0, 0,
      { 1, 0, 0, 1, { SAME(5) }, 1, 3, 5, 5, 4, 0 }, TRIMMED, 4 },
    { "had all that was seen, then it was trimmed", 5, 0, 0,
      { 0, 0, 0, 1, { SAME(6) }, 1, 0, 6, 6, 0, 0 }, OK, 5 },
    { "empty, it was the last", 7, 0, 0,
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 9, 7, 0, 0, 0 }, OK, 7 },
    { "empty, others were after it", 3, 0, 0,
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 9, 7, 0, 0, 0 }, TRIMMED, 3 },

    { "empty, it never had an entry", 3, 0, 0,
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 0, 7, 0, 0, 0 }, GONE, 3 },

    { "what follows it is there", 3, 4, 0,
      { 1, 0, 0, 2, { SAME(4), SAME(5) }, 2, 5, 5, 4, 0, 0 }, OK, 3 },
    { "what follows it is gone", 3, 4, 0,
      { 1, 0, 0, 1, { SAME(5) }, 1, 5, 5, 5, 0, 0 }, TRIMMED, 3 },
    { "what follows it is gone, nothing is there", 3, 4, 0,
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 5, 5, 0, 0, 0 }, TRIMMED, 3 },
    { "what follows it is known, the answer does not reach so far", 3, 4, 0,
      { 1, 1, 0, 2, { SAME(1), SAME(2) }, 5, 5, 5, 1, 0, 0 }, AGAIN, 3 },
    { "what follows it is known, the answer ends before it", 3, 4, 0,
      { 1, 1, 0, 2, { SAME(2), SAME(3) }, 5, 5, 5, 1, 0, 0 }, AGAIN, 3 },
    { "what follows it is known, and all that the answer has", 3, 4, 0,
      { 1, 1, 0, 2, { SAME(3), SAME(4) }, 5, 5, 5, 1, 0, 0 }, OK, 3 },
    { "it wants all", 0, 0, 0,
      { 1, 0, 0, 1, { SAME(5) }, 1, 5, 5, 5, 0, 0 }, OK, 0 },
    { "it has waited for one that is gone", 0, 4, 0,
      { 1, 0, 0, 1, { SAME(5) }, 1, 5, 5, 5, 0, 0 }, TRIMMED, 0 }
};


START_TEST(an_answer_judges_a_position)
{
    answer_t                    r;
    const row_t                *row;
    conduit_history_t           h;
    conduit_stream_id_t         pos, next;
    conduit_history_verdict_e   verdict;
    conduit_history_question_t  q;

    row = &rows[_i];
    has_read_five(&h);
    h.rollback_from = id_of(20);
    h.rollback_to = id_of(29);
    h.past_from = id_of(15);
    h.past_to = id_of(15);

    pos = id_of(row->pos);
    next = id_of(row->next);
    conduit_history_ask_batch(&h, &pos, &q);
    answer_of(&r, &row->said, &q);
    r.a.ended = row->ended;

    verdict = conduit_history_judge(&h, &r.a, &pos, row->next ? &next : NULL);

    ck_assert_msg((int) verdict == row->verdict, "%s: %d", row->what, verdict);
    ck_assert_msg(pos.ms == row->then, "%s: then %d", row->what, (int) pos.ms);
    conduit_history_free(&h);
}
END_TEST


typedef struct {
    const char  *what;
    said_t       said;
    int          agrees;
    uint64_t     ahead;
} agree_t;

/* the window has 3-0 to 5-0, older entries were dropped */

static const agree_t  agreements[] = {
    { "one in common",
      { 1, 0, 0, 4, { SAME(2), SAME(3), SAME(5), SAME(6) },
        4, 6, 6, 2, 4, 0 }, 1, 6 },
    { "ends below the window",
      { 1, 1, 0, 2, { SAME(1), SAME(2) }, 5, 5, 5, 1, 0, 0 }, 1, 0 },
    { "only what was trimmed before, at the end",
      { 1, 0, 0, 2, { SAME(1), SAME(2) }, 2, 2, 5, 1, 0, 0 }, 0, 0 },
    { "a part of it, and the rest is not said",
      { 0, 0, 0, 2, { SAME(1), SAME(2) }, 2, 0, 6, 1, 0, 0 }, 0, 0 },
    { "the window's oldest, changed",
      { 1, 1, 0, 1, { OTHER(3) }, 5, 5, 5, 1, 0, 0 }, 0, 0 },
    { "the last ones were deleted",
      { 1, 0, 0, 2, { SAME(1), SAME(2) }, 2, 5, 5, 1, 5, 0 }, 1, 0 },
    { "is empty",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 5, 5, 0, 0, 0 }, 1, 0 },
    { "other bytes",
      { 1, 0, 0, 2, { SAME(4), OTHER(5) }, 5, 5, 5, 1, 0, 0 }, 0, 0 },
    { "one that the window has not",
      { 1, 0, 0, 3, { SAME(4), { 4, 1, 1 }, SAME(5) },
        6, 6, 5, 1, 0, 0 }, 0, 0 },
    { "ends before the cursor",
      { 1, 0, 0, 1, { SAME(4) }, 4, 5, 4, 1, 0, 0 }, 0, 0 },
    { "has had fewer entries",
      { 1, 0, 0, 1, { SAME(5) }, 4, 4, 5, 1, 0, 0 }, 0, 0 },
    { "no such key",
      { 1, 0, 1, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 }, 0, 0 },
    { "all is after the window",
      { 1, 0, 0, 1, { SAME(6) }, 1, 6, 6, 6, 0, 0 }, 0, 0 },
    { "the newest is in the window",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 5, 6, 6, 1, 6, 5 }, 1, 6 },
    { "the newest is below the window",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 1, 5, 5, 1, 5, 1 }, 1, 0 },
    { "the last ID is not told",
      { 0, 1, 0, 2, { SAME(4), SAME(5) }, 5, 0, UINT64_MAX, 1, 0, 0 }, 1, 0 }
};

/* the window is empty, all entries were dropped */

static const agree_t  bare[] = {
    { "the newest is the cursor's",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 5, 5, 5, 1, 0, 5 }, 1, 0 },
    { "likewise, after it others were deleted",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 5, 7, 7, 1, 7, 5 }, 1, 7 },
    { "the newest is another one",
      { 1, 0, 0, 0, { { 0, 0, 0 } }, 4, 5, 5, 1, 4, 4 }, 0, 0 },
    { "the cursor's is in the answer",
      { 1, 0, 0, 2, { SAME(4), SAME(5) }, 5, 5, 5, 1, 0, 0 }, 1, 0 },
    { "with other bytes",
      { 1, 0, 0, 2, { SAME(4), OTHER(5) }, 5, 5, 5, 1, 0, 0 }, 0, 0 }
};


static void
agrees(const agree_t *row, size_t dropped, uint64_t from)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_question_t  q;

    has_read_five(&h);
    conduit_history_drop(&h, dropped);
    pos = id_of(from);
    conduit_history_ask_batch(&h, &pos, &q);
    answer_of(&r, &row->said, &q);

    ck_assert_msg(conduit_history_agrees(&h, &r.a) == row->agrees, "%s",
                  row->what);
    ck_assert_msg(h.ahead.ms == row->ahead, "%s: ahead %d", row->what,
                  (int) h.ahead.ms);
    ck_assert_int_eq(h.state, row->agrees ? CONDUIT_HISTORY_SURE
                                          : CONDUIT_HISTORY_SUSPECT);
    conduit_history_free(&h);
}


START_TEST(a_batch_is_of_the_same_stream)
{
    agrees(&agreements[_i], 2, 1);
}
END_TEST


START_TEST(a_batch_is_of_the_stream_of_the_cursor)
{
    agrees(&bare[_i], 5, bare[_i].said.n ? 4 : 9);
}
END_TEST


/* the cursor is 5-0 */

START_TEST(an_answer_has_later_entries)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_question_t  q;

    static const struct {
        said_t  said;
        int     later;
    } rows[] = {
        { { 1, 0, 1, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 }, 0 },
        { { 1, 0, 0, 1, { SAME(4) }, 4, 4, 5, 1, 0, 0 }, 0 },
        { { 1, 0, 0, 2, { SAME(4), SAME(5) }, 5, 5, 5, 1, 0, 0 }, 0 },
        { { 1, 0, 0, 2, { SAME(5), SAME(6) }, 6, 6, 6, 1, 0, 0 }, 1 },
        { { 1, 0, 0, 0, { { 0, 0, 0 } }, 5, 5, 5, 1, 0, 5 }, 0 },
        { { 1, 0, 0, 0, { { 0, 0, 0 } }, 6, 6, 6, 1, 0, 6 }, 1 }
    };

    has_read_five(&h);
    pos = id_of(3);
    conduit_history_ask_batch(&h, &pos, &q);
    answer_of(&r, &rows[_i].said, &q);

    ck_assert_int_eq(conduit_history_has_later(&h, &r.a), rows[_i].later);
    conduit_history_free(&h);
}
END_TEST


/* an entry is between those of the window: FULL finds it, and cuts the window,
   unless FULL had to begin after it, as a larger reply was refused: then a
   batch must not wait for FULL to find it */

START_TEST(a_batch_with_entries_not_compared_agrees)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  full = { 1, 0, 0, 2, { SAME(4), SAME(5) },
                                  6, 6, 5, 1, 2, 0 };
    static const said_t  batch = { 1, 0, 0, 4,
                                   { SAME(2), { 2, 5, 1 }, SAME(4), SAME(5) },
                                   6, 6, 5, 1, 2, 0 };

    has_read_five(&h);
    conduit_history_unsent(&h);
    conduit_history_ask(&h, 1, _i ? 2 : 3, &q);
    ck_assert_uint_eq(q.id.ms, _i ? 4 : 3);
    answer_of(&r, &full, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_str_eq(plan.why, "goes on");

    pos = id_of(2);
    conduit_history_ask_batch(&h, &pos, &q);
    answer_of(&r, &batch, &q);
    r.e[1].id = h.compared;
    conduit_stream_id_before(&r.e[1].id);
    ck_assert_int_eq(conduit_history_agrees(&h, &r.a), 1);
    r.e[1].id.ms = 3;
    r.e[1].id.seq = 5;
    ck_assert_int_eq(conduit_history_agrees(&h, &r.a), _i);
    conduit_history_free(&h);
}
END_TEST


/* the same, and XDEL took the cursor's entry */

START_TEST(a_batch_agrees_without_the_deleted_cursor)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  full = { 1, 0, 0, 0, { { 0, 0, 0 } },
                                  4, 5, 5, 1, 5, 4 };
    static const said_t  batch = { 1, 0, 0, 3, { SAME(2), SAME(3), SAME(4) },
                                   4, 5, 5, 1, 5, 0 };

    has_read_five(&h);
    conduit_history_unsent(&h);
    conduit_history_ask(&h, 1, 1, &q);
    ck_assert_uint_eq(q.id.ms, 5);
    answer_of(&r, &full, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_str_eq(plan.why, "the entry at the cursor was deleted");

    pos = id_of(2);
    conduit_history_ask_batch(&h, &pos, &q);
    answer_of(&r, &batch, &q);
    ck_assert_int_eq(conduit_history_agrees(&h, &r.a), 1);
    conduit_history_free(&h);
}
END_TEST


/* while no entry was read, only an empty stream is the same */

START_TEST(only_an_empty_stream_agrees_before_the_first)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  missing = { 1, 0, 1, 0, { { 0, 0, 0 } },
                                     0, 0, 0, 0, 0, 0 };
    static const said_t  empty = { 1, 0, 0, 0, { { 0, 0, 0 } },
                                   0, 7, 7, 0, 0, 0 };
    static const said_t  one = { 1, 0, 0, 1, { SAME(9) }, 1, 8, 9, 9, 0, 0 };

    pos = id_of(0);
    memset(&h, 0, sizeof(h));
    conduit_history_init(&h, &pos, NULL);
    conduit_history_ask_batch(&h, &pos, &q);
    answer_of(&r, &empty, &q);
    ck_assert_int_eq(conduit_history_agrees(&h, &r.a), 0);      /* CLAIMED */
    told_history(&h, &missing, &plan);

    ck_assert_int_eq(conduit_history_agrees(&h, &r.a), 1);
    ck_assert_uint_eq(h.ahead.ms, 7);
    ck_assert_uint_eq(h.number, 0);
    answer_of(&r, &missing, &q);
    ck_assert_int_eq(conduit_history_agrees(&h, &r.a), 1);
    answer_of(&r, &one, &q);
    ck_assert_int_eq(conduit_history_agrees(&h, &r.a), 0);
    conduit_history_free(&h);
}
END_TEST


/* a subscriber is judged by an empty stream before the channel has read it: it
   misses entries that are added and trimmed from then on */

typedef struct {
    said_t  said;
    int     number;                 /* -1: none */
} number_t;

static const number_t  numbers[] = {
    { { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 7, 7, 0, 0, 0 }, 7 },
    { { 1, 0, 1, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 }, 0 },
    { { 0, 0, 1, 0, { { 0, 0, 0 } }, 0, 0, 0, 0, 0, 0 }, 0 },
    { { 0, 0, 0, 0, { { 0, 0, 0 } }, 0, 0, 7, 0, 0, 0 }, -1 }    /* Redis 6 */
};


START_TEST(a_batch_of_an_empty_stream_tells_its_number)
{
    answer_t                    r;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  shorter = { 1, 0, 0, 0, { { 0, 0, 0 } },
                                     0, 2, 2, 0, 0, 0 };

    pos = id_of(5);
    memset(&h, 0, sizeof(h));
    conduit_history_init(&h, &pos, NULL);
    told_history(&h, &shorter, &plan);
    ck_assert_str_eq(plan.why, "the position is of another stream");
    ck_assert_int_eq(number_of(&h), -1);

    conduit_history_ask_batch(&h, &pos, &q);
    answer_of(&r, &numbers[_i].said, &q);
    ck_assert_int_eq(conduit_history_agrees(&h, &r.a), 1);
    ck_assert_int_eq(number_of(&h), numbers[_i].number);
    conduit_history_free(&h);
}
END_TEST


typedef struct {
    said_t    said;
    uint64_t  n, last, next;
} batch_t;

static const batch_t  batches[] = {
    { { 1, 0, 0, 3, { SAME(1), SAME(2), SAME(3) }, 5, 5, 5, 1, 0, 0 },
      3, 3, 0 },
    { { 1, 1, 0, 3, { SAME(1), SAME(2), SAME(3) }, 5, 5, 5, 1, 0, 0 },
      2, 2, 3 },                                /* the last one is left out */
    { { 1, 1, 0, 1, { SAME(1) }, 5, 5, 5, 1, 0, 0 },
      1, 1, 0 },                                /* but not if it is the only
                                                   one */
    { { 1, 0, 0, 3, { SAME(4), SAME(5), SAME(6) }, 6, 6, 6, 1, 0, 0 },
      2, 5, 6 },                                /* not past the cursor */
    { { 1, 0, 0, 0, { { 0, 0, 0 } }, 0, 5, 5, 0, 0, 0 },
      0, 2, 0 }                                 /* none: the window is next */
};


START_TEST(a_batch_ends_where_it_can_be_judged)
{
    size_t                      n;
    answer_t                    r;
    const batch_t              *row;
    conduit_history_t           h;
    conduit_stream_id_t         pos, last, next;
    conduit_history_question_t  q;

    row = &batches[_i];
    has_read_five(&h);
    conduit_history_drop(&h, 2);
    pos = id_of(1);
    next = id_of(0);
    conduit_history_ask_batch(&h, &pos, &q);
    answer_of(&r, &row->said, &q);

    ck_assert_int_eq(conduit_history_batch(&h, &r.a, &n, &last, &next),
                     row->next != 0);
    ck_assert_uint_eq(n, row->n);
    ck_assert_uint_eq(last.ms, row->last);
    ck_assert_uint_eq(next.ms, row->next);
    conduit_history_free(&h);
}
END_TEST


/*
 * n items are dropped from the window while a batch is read, among them, maybe,
 * the entry after the batch.  The window has 3-0 to 5-0, a gap and 9-0; with
 * next_life set also 2-0 of the next life.
 */

typedef struct {
    const char  *what;
    int          next_life;
    size_t       n;
    entry_t      last;
    entry_t      next;              /* 0-0: it does not become known */
} leave_t;

static const leave_t  leaves[] = {
    { "it stays", 0, 1, { 3, 0, 0 }, { 0, 0, 0 } },
    { "it goes", 0, 2, { 3, 0, 0 }, { 4, 0, 0 } },
    { "it goes, the batch ends at the floor", 0, 2, { 2, 0, 0 }, { 3, 0, 0 } },
    { "it is below the window", 0, 2, { 1, 0, 0 }, { 0, 0, 0 } },
    { "the gap goes: one that is missing", 0, 5, { 5, 0, 0 }, { 5, 1, 0 } },
    { "likewise, the last one of its ms", 0, 5,
      { 5, UINT64_MAX, 0 }, { 6, 0, 0 } },
    { "all have been read", 0, 5, { 9, 0, 0 }, { 0, 0, 0 } },
    { "what goes is of the life before", 1, 6, { 1, 0, 0 }, { 0, 0, 0 } },
    { "it goes, of the next life", 1, 7, { 1, 0, 0 }, { 2, 0, 0 } }
};


START_TEST(a_batch_is_read_and_the_window_dropped)
{
    const leave_t          *row;
    conduit_history_t       h;
    conduit_stream_id_t     last, next;
    conduit_history_plan_t  plan;

    static const said_t  gap = { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 };
    static const said_t  missing = { 1, 0, 1, 0, { { 0, 0, 0 } },
                                     0, 0, 0, 0, 0, 0 };
    static const said_t  one = { 1, 0, 0, 1, { OTHER(2) }, 1, 1, 2, 2, 0, 0 };

    row = &leaves[_i];
    has_read_five(&h);
    conduit_history_drop(&h, 2);
    conduit_history_unsent(&h);
    told_history(&h, &gap, &plan);

    if (row->next_life) {
        conduit_history_unsent(&h);
        told_history(&h, &missing, &plan);
        told_history(&h, &one, &plan);
    }

    last.ms = row->last.ms;
    last.seq = row->last.seq;
    next = id_of(0);

    ck_assert_msg(conduit_history_batch_leave(&h, row->n, &last, &next)
                  == (row->next.ms != 0), "%s", row->what);
    ck_assert_msg(next.ms == row->next.ms && next.seq == row->next.seq,
                  "%s: %d-%d", row->what, (int) next.ms, (int) next.seq);
    conduit_history_free(&h);
}
END_TEST


/* the stream is rolled back to 5-0 while a batch is read; the batch has the
   first n entries of 1-0, 2-0 and so on */

static const struct {
    const char  *what;
    uint64_t     n;
    uint64_t     last, next;           /* before; 0: not known */
    uint64_t     left, last_then, next_then;
} cuts[] = {
    { "the batch is before the cursor", 3, 3, 4, 3, 3, 4 },
    { "it ends at the cursor, and what was next is gone", 5, 5, 9, 5, 5, 0 },
    { "it ends at the cursor, nothing was next", 5, 5, 0, 5, 5, 0 },
    { "it ends after the cursor", 7, 7, 9, 5, 5, 0 },
    { "it ends before the cursor, and what was next is gone", 3, 3, 9, 3, 3, 0 }
};


START_TEST(a_batch_is_read_and_the_stream_goes_back)
{
    uint64_t             i;
    conduit_item_t       item;
    conduit_window_t     batch;
    conduit_history_t    h;
    conduit_stream_id_t  last, next;

    memset(&batch, 0, sizeof(batch));
    memset(&item, 0, sizeof(item));
    has_read_five(&h);

    for (i = 1; i <= cuts[_i].n; i++) {
        item.id = id_of(i);
        item.frame = &h;
        ck_assert_int_eq(conduit_window_append(&batch, &item), 0);
    }

    last = id_of(cuts[_i].last);
    next = id_of(cuts[_i].next);
    conduit_history_batch_cut(&h, &batch, &last, &next);

    ck_assert_msg(conduit_window_end(&batch) - batch.base == cuts[_i].left,
                  "%s", cuts[_i].what);
    ck_assert_msg(last.ms == cuts[_i].last_then, "%s", cuts[_i].what);
    ck_assert_msg(next.ms == cuts[_i].next_then, "%s", cuts[_i].what);

    conduit_window_clear(&batch);
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

    s = suite_create("batch");
    t = tcase_create("batch");
    tcase_add_loop_test(t, an_answer_judges_a_position, 0,
                        sizeof(rows) / sizeof(rows[0]));
    tcase_add_loop_test(t, a_batch_is_of_the_same_stream, 0,
                        sizeof(agreements) / sizeof(agreements[0]));
    tcase_add_loop_test(t, an_answer_has_later_entries, 0, 6);
    tcase_add_loop_test(t, a_batch_is_of_the_stream_of_the_cursor, 0,
                        sizeof(bare) / sizeof(bare[0]));
    tcase_add_loop_test(t, a_batch_with_entries_not_compared_agrees, 0, 2);
    tcase_add_test(t, a_batch_agrees_without_the_deleted_cursor);
    tcase_add_test(t, only_an_empty_stream_agrees_before_the_first);
    tcase_add_loop_test(t, a_batch_of_an_empty_stream_tells_its_number, 0,
                        sizeof(numbers) / sizeof(numbers[0]));
    tcase_add_loop_test(t, a_batch_is_read_and_the_stream_goes_back, 0,
                        sizeof(cuts) / sizeof(cuts[0]));
    tcase_add_loop_test(t, a_batch_ends_where_it_can_be_judged, 0,
                        sizeof(batches) / sizeof(batches[0]));
    tcase_add_loop_test(t, a_batch_is_read_and_the_window_dropped, 0,
                        sizeof(leaves) / sizeof(leaves[0]));
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);

    return failed != 0;
}
