/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_place.c and conduit_place_change.c: where a
 * subscriber is served from, and what it is sent and told next.  Each test is a
 * case in which entries were once lost.
 */

#include "history.h"

#define OK       CONDUIT_HISTORY_OK
#define TRIMMED  CONDUIT_HISTORY_TRIMMED
#define GONE     CONDUIT_HISTORY_GONE
#define AGAIN    CONDUIT_HISTORY_AGAIN


/* judges a place by the answer to a batch */

static conduit_history_verdict_e
judged(conduit_place_t *p, conduit_history_t *h, const said_t *said)
{
    answer_t                    r;
    conduit_history_question_t  q;

    conduit_history_ask_batch(h, &p->pos, &q);
    answer_of(&r, said, &q);

    return conduit_place_judge(p, h, &r.a);
}


static const said_t  from_1 = {
    1, 0, 0, 5, { SAME(1), SAME(2), SAME(3), SAME(4), SAME(5) },
    5, 5, 5, 1, 0, 0
};
static const said_t  from_4 = {
    1, 0, 0, 2, { SAME(4), SAME(5) }, 2, 5, 5, 4, 0, 0
};


/* an answer does not judge a subscriber that joins after its question was sent:
   it may be older than a position that another worker has sent */

START_TEST(an_older_answer_does_not_judge)
{
    answer_t                    r;
    conduit_place_t             p;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_question_t  q;

    has_read_five(&h);
    conduit_history_unsent(&h);
    pos = id_of(_i ? 7 : 0);
    conduit_history_drop(&h, 2);
    conduit_history_ask_batch(&h, &pos, &q);
    conduit_place_join(&p, &h, &pos);
    answer_of(&r, &from_1, &q);

    ck_assert_int_eq(conduit_place_judge(&p, &h, &r.a), AGAIN);
    ck_assert_int_eq(p.where, _i ? CONDUIT_PLACE_JOINING : CONDUIT_PLACE_BELOW);
    ck_assert_int_eq(judged(&p, &h, &from_1), _i ? GONE : OK);
    conduit_history_free(&h);
}
END_TEST


/* a subscriber that wants the whole stream is served from the window if the
   window has all of it */

START_TEST(the_whole_stream_is_served_from_the_window)
{
    answer_t                    r;
    conduit_place_t             p;
    conduit_history_t           h;
    conduit_stream_id_t         zero = { 0, 0 };
    conduit_history_question_t  q;

    has_read_five(&h);
    conduit_history_unsent(&h);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &from_1, &q);
    conduit_place_join(&p, &h, &zero);

    p.where = CONDUIT_PLACE_BELOW;
    conduit_place_settle(&p, &h, &r.a);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    ck_assert_uint_eq(p.seq, h.fresh_seq);

    conduit_history_drop(&h, 2);
    p.where = CONDUIT_PLACE_BELOW;
    conduit_place_settle(&p, &h, &r.a);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_BATCH);
    conduit_history_free(&h);
}
END_TEST


/* a subscriber at the floor is in the window: it must not ask for one batch
   after another until an entry comes */

START_TEST(a_subscriber_at_the_floor_needs_no_batch)
{
    conduit_place_t        p;
    conduit_history_t      h;
    conduit_stream_id_t    pos, last;
    const conduit_item_t  *item;

    has_read_five(&h);
    conduit_history_drop(&h, 3);
    pos = id_of(1);
    conduit_place_join(&p, &h, &pos);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_JOINING);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_READ);
    ck_assert_int_eq(judged(&p, &h, &from_1), OK);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_BATCH);

    last = id_of(3);
    conduit_place_batch_done(&p, &h, &last, NULL);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 4);
    conduit_history_free(&h);
}
END_TEST


/*
 * The channel begins at the position of a client, 3-0, which the stream has.
 * All subscribers with this position, whether they join before or after the
 * answer, are served from the window without a batch.  One at the ID just
 * before it is not, as 3-0 itself would not be sent.
 */

START_TEST(a_subscriber_at_the_first_position_needs_no_batch)
{
    size_t                      i;
    answer_t                    r;
    conduit_place_t             before, after, below;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    const conduit_item_t       *item;
    conduit_history_question_t  q;

    static const said_t  from_3 = {
        1, 0, 0, 3, { SAME(3), SAME(4), SAME(5) }, 5, 5, 5, 1, 0, 0
    };

    pos = id_of(3);
    memset(&h, 0, sizeof(h));
    conduit_history_init(&h, &pos, NULL);
    conduit_history_ask(&h, 1, 100, &q);
    conduit_place_join(&before, &h, &pos);
    ck_assert_int_eq(before.where, CONDUIT_PLACE_JOINING);

    answer_of(&r, &from_3, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_uint_eq(plan.first, 1);

    for (i = plan.first; i < r.a.nentries; i++) {
        ck_assert_int_eq(conduit_history_take(&h, &r.e[i], &h, 10), 0);
    }

    ck_assert_int_eq(conduit_history_taken(&h, &r.a), IDLE);

    ck_assert_int_eq(conduit_place_judge(&before, &h, &r.a), OK);
    conduit_place_join(&after, &h, &pos);
    ck_assert_int_eq(before.where, CONDUIT_PLACE_WINDOW);
    ck_assert_int_eq(after.where, CONDUIT_PLACE_WINDOW);
    ck_assert_int_eq(conduit_place_next(&before, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 4);
    ck_assert_int_eq(conduit_place_next(&after, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 4);

    pos.ms = 2;
    pos.seq = 1;
    conduit_place_join(&below, &h, &pos);
    ck_assert_int_eq(below.where, CONDUIT_PLACE_JOINING);
    conduit_history_free(&h);
}
END_TEST


/* the same at the newest entry: an answer that may be older than the position
   does not show that nothing follows it, which a 204 would say */

START_TEST(an_older_answer_does_not_tell_the_end)
{
    answer_t                    r;
    conduit_place_t             p;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  from_5 = { 1, 0, 0, 1, { SAME(5) }, 5, 5, 5, 1, 0, 0 };

    pos = id_of(5);
    memset(&h, 0, sizeof(h));
    conduit_history_init(&h, &pos, NULL);
    conduit_history_ask(&h, 1, 100, &q);
    conduit_place_join(&p, &h, &pos);
    answer_of(&r, &from_5, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.next, IDLE);

    ck_assert_int_eq(conduit_place_judge(&p, &h, &r.a), AGAIN);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_JOINING);
    conduit_history_free(&h);
}
END_TEST


/* a subscriber below the window was to get 4-0 next, and all of the stream has
   been trimmed since: it does not miss what the window has */

START_TEST(what_the_window_has_is_not_lost_by_trimming)
{
    int                    has;
    conduit_place_t        p;
    conduit_history_t      h;
    const conduit_item_t  *item;

    static const said_t  nothing = { 1, 0, 0, 0, { { 0, 0, 0 } },
                                     0, 5, 5, 0, 0, 0 };

    has_read_five(&h);
    conduit_history_drop(&h, _i);
    has = (_i <= 3);

    memset(&p, 0, sizeof(p));
    p.life = 1;
    p.pos = id_of(3);
    p.where = CONDUIT_PLACE_BELOW;
    p.has_next = 1;
    p.next = id_of(4);

    ck_assert_int_eq(judged(&p, &h, &nothing), has ? OK : TRIMMED);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    ck_assert_int_eq(p.has_next, 0);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     has ? CONDUIT_PLACE_SEND : CONDUIT_PLACE_TELL);
    ck_assert_uint_eq(item->id.ms, has ? 4 : 5);
    conduit_history_free(&h);
}
END_TEST


/* a slow client has lost nothing if the stream was trimmed up to the end of its
   batch, but has if it was trimmed one entry further */

START_TEST(trimming_up_to_the_end_of_a_batch_is_no_loss)
{
    conduit_place_t        p;
    conduit_history_t      h;
    conduit_stream_id_t    pos, last, next;
    const conduit_item_t  *item;

    has_read_five(&h);
    conduit_history_drop(&h, 5);
    pos = id_of(1);
    conduit_place_join(&p, &h, &pos);
    ck_assert_int_eq(judged(&p, &h, &from_1), OK);
    last = id_of(_i ? 2 : 3);
    next = id_of(_i ? 3 : 4);
    conduit_place_batch_done(&p, &h, &last, &next);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_BELOW);

    ck_assert_int_eq(judged(&p, &h, &from_4), _i ? TRIMMED : OK);
    ck_assert_int_eq(p.loss, _i ? CONDUIT_PLACE_TRIMMED : CONDUIT_PLACE_TOLD);
    conduit_place_unserved(&p);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_READ);
    conduit_history_free(&h);
}
END_TEST


/* a subscriber that joins at a position before a gap: the entries that the
   window has before the gap are gone, so it is told, and goes on after the
   gap */

START_TEST(who_joins_before_a_gap_is_told_once)
{
    conduit_place_t         p;
    conduit_history_t       h;
    conduit_stream_id_t     pos;
    conduit_history_plan_t  plan;
    const conduit_item_t   *item;

    static const said_t  gap = { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 };

    has_read_five(&h);
    pos.ms = 2;
    pos.seq = 1;
    conduit_place_join(&p, &h, &pos);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_JOINING);
    conduit_history_unsent(&h);
    told_history(&h, &gap, &plan);
    ck_assert_int_eq(judged(&p, &h, &gap), TRIMMED);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_TELL);
    ck_assert_uint_eq(item->id.ms, 9);
    conduit_history_free(&h);
}
END_TEST


/* of two losses, "trimmed" and "gone", only "gone" is told */

START_TEST(of_two_losses_gone_is_told)
{
    conduit_place_t         p;
    conduit_history_t       h;
    conduit_stream_id_t     pos;
    conduit_history_plan_t  plan;
    const conduit_item_t   *item;

    static const said_t  gap = { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 };

    has_read_five(&h);
    pos = id_of(5);
    conduit_place_join(&p, &h, &pos);
    p.loss = CONDUIT_PLACE_GONE;
    conduit_history_unsent(&h);
    told_history(&h, &gap, &plan);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_TELL);
    ck_assert_int_eq(p.loss, CONDUIT_PLACE_GONE);
    conduit_history_free(&h);
}
END_TEST


/* the window begins with a gap: a subscriber that wants all starts after it,
   also when what was before the gap is dropped */

START_TEST(the_whole_stream_starts_after_a_gap)
{
    conduit_place_t         p;
    conduit_history_t       h;
    conduit_history_plan_t  plan;

    static const said_t  gap = { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 };

    has_read_five(&h);
    conduit_history_unsent(&h);
    told_history(&h, &gap, &plan);
    conduit_history_drop(&h, 5);
    conduit_place_join(&p, &h, NULL);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    ck_assert_uint_eq(p.seq, 6);

    /* the gap is cut off by a rollback: then it starts with the oldest entry */

    conduit_history_free(&h);
    has_read_five(&h);
    conduit_history_unsent(&h);
    told_history(&h, &gap, &plan);
    conduit_place_join(&p, &h, NULL);
    conduit_window_cut(&h.window, 5);
    h.fresh_seq = h.life_seq;
    h.cursor = id_of(5);
    conduit_place_cut(&p, &h);
    ck_assert_uint_eq(p.seq, 0);

    /* if the next entry was cut off, it is no longer known */

    p.pos = id_of(5);
    p.where = CONDUIT_PLACE_BELOW;
    p.has_next = 1;
    p.next = id_of(9);
    conduit_place_cut(&p, &h);
    ck_assert_int_eq(p.has_next, 0);
    conduit_history_free(&h);
}
END_TEST


/* a position at the cursor is in the window only while the cursor is SURE; one
   after it skips what it has got */

START_TEST(a_position_at_or_after_the_cursor)
{
    conduit_place_t         p;
    conduit_history_t       h;
    conduit_stream_id_t     pos;
    conduit_history_plan_t  plan;
    const conduit_item_t   *item;

    static const said_t  gap = { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 };

    has_read_five(&h);
    conduit_history_drop(&h, 5);
    pos = id_of(5);
    conduit_place_join(&p, &h, &pos);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    conduit_history_unsent(&h);
    conduit_place_join(&p, &h, &pos);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_JOINING);
    conduit_history_free(&h);

    has_read_five(&h);
    memset(&p, 0, sizeof(p));
    p.where = CONDUIT_PLACE_WINDOW;
    p.life = 1;
    p.pos = id_of(4);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 5);

    /* it skips a gap before it, too */

    conduit_history_unsent(&h);
    told_history(&h, &gap, &plan);
    p.pos = id_of(10);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_NONE);
    ck_assert_int_eq(p.loss, CONDUIT_PLACE_TOLD);
    conduit_history_free(&h);
}
END_TEST


/* a gap is between two frames: a subscriber before it is told in its turn, also
   if it was sent several entries at once; one that joins after it is not */

START_TEST(a_gap_is_told_in_its_turn)
{
    conduit_place_t         before, behind, fresh;
    conduit_history_t       h;
    conduit_stream_id_t     pos;
    conduit_history_plan_t  plan;
    const conduit_item_t   *item;

    static const said_t  gap = { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 };

    has_read_five(&h);
    pos = id_of(2);
    conduit_place_join(&before, &h, &pos);
    conduit_history_unsent(&h);
    told_history(&h, &gap, &plan);
    pos = id_of(9);
    conduit_place_join(&behind, &h, &pos);
    conduit_place_join(&fresh, &h, NULL);

    ck_assert_int_eq(conduit_place_next(&before, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 3);
    conduit_place_sent(&before, item);
    pos = id_of(5);
    conduit_place_sent_more(&before, before.seq + 2, &pos);
    ck_assert_uint_eq(before.pos.ms, 5);
    ck_assert_uint_eq(before.seq, conduit_window_end(&h.window) - 2);
    ck_assert_int_eq(conduit_place_next(&before, &h, NULL, &item),
                     CONDUIT_PLACE_TELL);
    ck_assert_uint_eq(item->id.ms, 9);
    ck_assert_int_eq(before.loss, CONDUIT_PLACE_TRIMMED);

    ck_assert_int_eq(conduit_place_next(&behind, &h, NULL, &item),
                     CONDUIT_PLACE_NONE);
    ck_assert_int_eq(behind.loss, CONDUIT_PLACE_TOLD);
    ck_assert_int_eq(conduit_place_next(&fresh, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 9);
    conduit_history_free(&h);
}
END_TEST


/*
 * The stream is gone and is made anew.  Subscribers that had all of it are told
 * nothing.  Those below the window are told "gone", and so is one that comes
 * back later.  None of them is told of entries trimmed in the next life.
 */

static void
next_life(conduit_history_t *h, int late)
{
    conduit_history_plan_t  plan;

    static const said_t  missing = { 1, 0, 1, 0, { { 0, 0, 0 } },
                                     0, 0, 0, 0, 0, 0 };
    static const said_t  one = { 1, 0, 0, 1, { OTHER(2) }, 1, 1, 2, 2, 0, 0 };
    static const said_t  second = { 1, 0, 0, 1, { OTHER(2) },
                                    1, 2, 2, 2, 0, 0 };

    conduit_history_unsent(h);
    told_history(h, &missing, &plan);
    ck_assert_int_eq(plan.change, CONDUIT_HISTORY_RESTART);
    told_history(h, late ? &second : &one, &plan);
    ck_assert_int_eq(plan.change, late ? CONDUIT_HISTORY_GAP
                                       : CONDUIT_HISTORY_NOTHING);
}


START_TEST(who_had_all_of_a_stream_is_told_no_loss)
{
    conduit_place_t        all, below, waiting, back;
    conduit_history_t      h;
    conduit_stream_id_t    pos;
    const conduit_item_t  *item;

    static const said_t  from_0 = { 1, 0, 0, 1, { OTHER(2) },
                                    1, 1, 2, 2, 0, 0 };

    has_read_five(&h);
    pos = id_of(5);
    conduit_place_join(&all, &h, &pos);
    pos = id_of(1);
    conduit_place_join(&below, &h, &pos);
    conduit_history_drop(&h, 3);
    conduit_place_join(&waiting, &h, NULL);
    waiting.has_next = 1;
    waiting.next = id_of(1);
    below.where = CONDUIT_PLACE_BELOW;

    next_life(&h, _i);
    conduit_place_restarted(&all, &h);
    conduit_place_restarted(&below, &h);
    conduit_place_restarted(&waiting, &h);
    pos = id_of(5);
    conduit_place_join(&back, &h, &pos);
    ck_assert_int_eq(judged(&back, &h, &from_0), OK);
    ck_assert_int_eq(back.where, CONDUIT_PLACE_WINDOW);

    all.pos.seq = 1;
    ck_assert_int_eq(conduit_place_next(&all, &h, NULL, &item),
                     _i ? CONDUIT_PLACE_TELL : CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 2);
    ck_assert_uint_eq(all.life, 2);
    ck_assert_uint_eq(all.pos.ms, 0);
    ck_assert_uint_eq(all.pos.seq, 0);
    ck_assert_int_eq(all.loss, _i ? CONDUIT_PLACE_TRIMMED : CONDUIT_PLACE_TOLD);

    ck_assert_int_eq(conduit_place_next(&back, &h, NULL, &item),
                     _i ? CONDUIT_PLACE_TELL : CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 2);
    ck_assert_int_eq(back.loss, _i ? CONDUIT_PLACE_TRIMMED
                                   : CONDUIT_PLACE_TOLD);

    ck_assert_int_eq(below.loss, CONDUIT_PLACE_GONE);
    ck_assert_int_eq(conduit_place_next(&below, &h, NULL, &item),
                     CONDUIT_PLACE_TELL);
    ck_assert_uint_eq(item->id.ms, 4);              /* of the life before */
    ck_assert_int_eq(waiting.loss, CONDUIT_PLACE_GONE);
    conduit_history_free(&h);
}
END_TEST


/* a stream is made anew while a subscriber waits for an answer that judges its
   position: it is told once, and gets all of the new stream */

START_TEST(a_stream_made_anew_moves_one_that_joins)
{
    conduit_place_t        p;
    conduit_history_t      h;
    conduit_stream_id_t    pos;
    const conduit_item_t  *item;

    static const said_t  from_1 = { 1, 0, 0, 1, { OTHER(2) },
                                    1, 1, 2, 2, 0, 0 };

    has_read_five(&h);
    conduit_history_drop(&h, 3);
    pos = id_of(1);
    conduit_place_join(&p, &h, &pos);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_JOINING);

    next_life(&h, 0);
    conduit_place_restarted(&p, &h);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_JOINING);
    ck_assert_uint_eq(p.life, 2);

    ck_assert_int_eq(judged(&p, &h, &from_1), GONE);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_TELL);
    p.loss = CONDUIT_PLACE_TOLD;
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 2);
    ck_assert_uint_eq(item->hash, 99);
    conduit_history_free(&h);
}
END_TEST


/* the first entries of this life were dropped from the window: a subscriber
   from the life before waits for the first one */

START_TEST(who_had_the_last_life_waits_for_the_first)
{
    conduit_place_t      p;
    conduit_history_t    h;
    conduit_stream_id_t  pos;

    static const said_t  empty = { 1, 0, 0, 0, { { 0, 0, 0 } },
                                   0, 1, 2, 0, 0, 0 };

    has_read_five(&h);
    next_life(&h, _i);
    conduit_history_drop(&h, h.window.n);
    pos = id_of(5);
    conduit_place_join(&p, &h, &pos);
    ck_assert_int_eq(judged(&p, &h, &empty), OK);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_BELOW);
    ck_assert_int_eq(p.has_next, 1);
    ck_assert_uint_eq(p.next.ms, 2);
    ck_assert_int_eq(p.loss, _i ? CONDUIT_PLACE_TRIMMED : CONDUIT_PLACE_TOLD);
    ck_assert_int_eq(judged(&p, &h, &empty), TRIMMED);
    conduit_history_free(&h);
}
END_TEST


/* the window is dropped past a subscriber: its next entry is known; entries of
   an earlier life that it has not got are gone */

START_TEST(the_window_is_dropped_past_a_reader)
{
    conduit_place_t         p, old, all;
    conduit_history_t       h;
    conduit_stream_id_t     pos;
    conduit_history_plan_t  plan;

    static const said_t  missing = { 1, 0, 1, 0, { { 0, 0, 0 } },
                                     0, 0, 0, 0, 0, 0 };

    has_read_five(&h);
    pos = id_of(2);
    conduit_place_join(&p, &h, &pos);
    conduit_place_leave(&p, &h, 2);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    conduit_place_leave(&p, &h, 3);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_BELOW);
    ck_assert_int_eq(p.has_next, 1);
    ck_assert_uint_eq(p.next.ms, 3);

    /* entries that are no messages are skipped, and not missed */

    conduit_place_join(&p, &h, &pos);
    conduit_window_item(&h.window, 2)->frame = NULL;
    conduit_place_leave(&p, &h, 3);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    ck_assert_int_eq(p.has_next, 0);
    ck_assert_uint_eq(p.pos.ms, 3);
    ck_assert_uint_eq(p.seq, 3);
    conduit_place_leave(&p, &h, 4);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_BELOW);
    ck_assert_uint_eq(p.next.ms, 4);

    conduit_place_join(&old, &h, &pos);
    pos = id_of(5);
    conduit_place_join(&all, &h, &pos);
    next_life(&h, 0);
    conduit_place_leave(&old, &h, 6);
    conduit_place_leave(&all, &h, 6);
    ck_assert_int_eq(old.loss, CONDUIT_PLACE_GONE);
    ck_assert_int_eq(old.where, CONDUIT_PLACE_WINDOW);
    ck_assert_uint_eq(old.seq, 6);
    ck_assert_int_eq(all.loss, CONDUIT_PLACE_TOLD);
    ck_assert_uint_eq(all.seq, 6);
    conduit_history_free(&h);

    /* a life without an entry is between the two: nothing is missed */

    has_read_five(&h);
    pos = id_of(5);
    conduit_place_join(&all, &h, &pos);
    conduit_history_unsent(&h);
    told_history(&h, &missing, &plan);
    h.ahead = id_of(9);
    next_life(&h, 0);
    ck_assert_uint_eq(h.life, 3);
    conduit_place_leave(&all, &h, 7);
    ck_assert_int_eq(all.loss, CONDUIT_PLACE_TOLD);
    ck_assert_uint_eq(all.life, 3);
    conduit_history_free(&h);
}
END_TEST


/* an entry that is not sent is never missed, not even one of an earlier life */

START_TEST(an_entry_without_a_frame_is_not_missed)
{
    answer_t                    r;
    conduit_place_t             p;
    conduit_history_t           h;
    conduit_stream_id_t         pos = { 0, 0 };
    conduit_history_plan_t      plan;
    conduit_history_question_t  q;

    static const said_t  two = { 1, 0, 0, 2, { SAME(1), SAME(2) },
                                 2, 2, 2, 1, 0, 0 };

    memset(&h, 0, sizeof(h));
    conduit_history_init(&h, &pos, NULL);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &two, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_TAKE);
    ck_assert_int_eq(conduit_history_take(&h, &r.e[0], &h, 10), 0);
    ck_assert_int_eq(conduit_history_take(&h, &r.e[1], NULL, 0), 0);
    (void) conduit_history_taken(&h, &r.a);

    pos = id_of(1);
    conduit_place_join(&p, &h, &pos);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    next_life(&h, 0);
    conduit_place_leave(&p, &h, 2);
    ck_assert_int_eq(p.loss, CONDUIT_PLACE_TOLD);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    ck_assert_uint_eq(p.seq, 2);
    conduit_history_free(&h);
}
END_TEST


/* a rollback: subscribers past it go on after the last entry left, and so do
   those that come back later */

START_TEST(a_rollback_moves_those_past_it)
{
    conduit_place_t         past, before, back;
    conduit_history_t       h;
    conduit_stream_id_t     pos;
    conduit_history_plan_t  plan;
    const conduit_item_t   *item;

    static const said_t  said = {
        1, 0, 0, 4, { SAME(1), SAME(2), SAME(3), OTHER(4) },
        4, 4, 4, 1, 0, 0
    };

    has_read_five(&h);
    pos = id_of(5);
    conduit_place_join(&past, &h, &pos);
    pos = id_of(1);
    conduit_place_join(&before, &h, &pos);
    conduit_history_unsent(&h);
    told_history(&h, &said, &plan);
    ck_assert_int_eq(plan.change, CONDUIT_HISTORY_CUT);

    /* the caller does so before it appends the entries */

    h.cursor = id_of(3);
    conduit_place_cut(&past, &h);
    conduit_place_cut(&before, &h);
    h.cursor = id_of(4);

    ck_assert_int_eq(conduit_place_next(&past, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 4);
    ck_assert_uint_eq(item->hash, 99);
    ck_assert_int_eq(conduit_place_next(&before, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 2);

    pos = id_of(5);
    conduit_place_join(&back, &h, &pos);
    ck_assert_uint_eq(back.pos.ms, 3);
    ck_assert_int_eq(back.where, CONDUIT_PLACE_WINDOW);
    pos = id_of(4);
    conduit_place_join(&back, &h, &pos);
    ck_assert_uint_eq(back.pos.ms, 4);

    /* for a position below the window, Redis is asked for that entry again */

    conduit_history_drop(&h, 4);
    h.floor = id_of(6);
    pos = id_of(5);
    conduit_place_join(&back, &h, &pos);
    ck_assert_uint_eq(back.pos.ms, 5);
    conduit_history_free(&h);
}
END_TEST


/* a gap is rolled back that a subscriber has passed, but got nothing after it:
   it gets the entry that comes instead */

START_TEST(a_rollback_moves_one_behind_a_gap)
{
    answer_t                    r;
    conduit_place_t             p;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    const conduit_item_t       *item;
    conduit_history_question_t  q;

    static const said_t  gap = { 1, 0, 0, 1, { SAME(9) }, 1, 7, 9, 9, 0, 0 };
    static const said_t  back = { 1, 0, 0, 3, { SAME(4), SAME(5), SAME(8) },
                                  3, 6, 8, 4, 0, 0 };

    start(&h, READ);
    pos = id_of(5);
    conduit_place_join(&p, &h, &pos);
    told_history(&h, &gap, &plan);
    ck_assert_int_eq(plan.change, GAP);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_TELL);
    ck_assert_uint_eq(item->id.ms, 9);

    conduit_history_unsent(&h);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &back, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.change, CUT);
    conduit_place_cut(&p, &h);
    ck_assert_int_eq(conduit_history_take(&h, &r.e[2], &h, 10), 0);

    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_TELL);
    ck_assert_uint_eq(item->id.ms, 8);
    conduit_history_free(&h);
}
END_TEST


/*
 * With "conduit_gateway_after_end stop", a subscriber whose position is the END
 * at the cursor waits for an answer.  The answer says that the stream was
 * rolled back and has reached the same ID again: the subscriber gets the new
 * entries, as one in the window does.
 */

START_TEST(a_rollback_moves_one_that_joins)
{
    size_t                      i;
    answer_t                    r;
    conduit_place_t             p;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    const conduit_item_t       *item;
    conduit_history_question_t  q;

    static const said_t  back = {
        1, 0, 0, 6, { SAME(1), SAME(2), SAME(3), OTHER(4), OTHER(5), SAME(6) },
        6, 6, 6, 1, 0, 0
    };

    start(&h, READ);
    conduit_history_ask(&h, 1, 100, &q);
    pos = id_of(5);
    conduit_place_join(&p, &h, &pos);
    p.where = CONDUIT_PLACE_JOINING;

    answer_of(&r, &back, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.change, CUT);
    conduit_place_cut(&p, &h);

    for (i = plan.first; i < r.a.nentries; i++) {
        ck_assert_int_eq(conduit_history_take(&h, &r.e[i], &h, 10), 0);
    }

    ck_assert_int_eq(conduit_place_judge(&p, &h, &r.a), OK);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 4);
    conduit_history_free(&h);
}
END_TEST


/* the stream was rolled back to 3-0 and has reached 4-0 again: a subscriber at
   the new 4-0 is at the cursor, whether the window has this entry or not */

START_TEST(an_id_given_again_is_at_the_cursor)
{
    conduit_place_t         p;
    conduit_history_t       h;
    conduit_stream_id_t     pos;
    conduit_history_plan_t  plan;

    static const said_t  back = {
        1, 0, 0, 4, { SAME(1), SAME(2), SAME(3), OTHER(4) }, 4, 4, 4, 1, 0, 0
    };

    start(&h, READ);
    told_history(&h, &back, &plan);
    ck_assert_int_eq(plan.change, CUT);
    ck_assert_int_eq(plan.next, IDLE);
    conduit_history_drop(&h, 3 + _i);
    pos = id_of(4);
    conduit_place_join(&p, &h, &pos);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    ck_assert_uint_eq(p.pos.ms, 4);
    conduit_history_free(&h);
}
END_TEST


/* memory runs out after a gap before 8-0, and the next answer is of a server
   that has trimmed less: the gap is before 7-0 then */

START_TEST(a_gap_is_in_front_of_what_follows)
{
    size_t                      i;
    answer_t                    r;
    conduit_place_t             p;
    conduit_history_t           h;
    conduit_stream_id_t         pos;
    conduit_history_plan_t      plan;
    const conduit_item_t       *item;
    conduit_history_question_t  q;

    static const said_t  gap = { 0, 0, 0, 2, { SAME(8), SAME(9) },
                                 2, 9, 9, 8, 0, 0 };
    static const said_t  less = { 0, 0, 0, 3, { SAME(7), SAME(8), SAME(9) },
                                  3, 9, 9, 7, 0, 0 };

    start(&h, UNCOUNTED);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &gap, &q);
    conduit_history_answer(&h, &r.a, &plan);
    ck_assert_int_eq(plan.change, GAP);

    conduit_history_failed(&h);
    ck_assert_int_eq(conduit_history_retry(&h), 1);
    conduit_history_ask(&h, 1, 100, &q);
    answer_of(&r, &less, &q);
    conduit_history_answer(&h, &r.a, &plan);

    for (i = plan.first; i < r.a.nentries; i++) {
        ck_assert_int_eq(conduit_history_take(&h, &r.e[i], &h, 10), 0);
    }

    pos = id_of(7);
    conduit_place_join(&p, &h, &pos);
    ck_assert_int_eq(p.where, CONDUIT_PLACE_WINDOW);
    ck_assert_int_eq(conduit_place_next(&p, &h, NULL, &item),
                     CONDUIT_PLACE_SEND);
    ck_assert_uint_eq(item->id.ms, 8);
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

    s = suite_create("place");
    t = tcase_create("place");
    tcase_add_loop_test(t, an_older_answer_does_not_judge, 0, 2);
    tcase_add_test(t, the_whole_stream_is_served_from_the_window);
    tcase_add_test(t, a_subscriber_at_the_floor_needs_no_batch);
    tcase_add_test(t, a_subscriber_at_the_first_position_needs_no_batch);
    tcase_add_test(t, an_older_answer_does_not_tell_the_end);
    tcase_add_loop_test(t, what_the_window_has_is_not_lost_by_trimming, 2, 5);
    tcase_add_loop_test(t, trimming_up_to_the_end_of_a_batch_is_no_loss, 0, 2);
    tcase_add_test(t, who_joins_before_a_gap_is_told_once);
    tcase_add_test(t, of_two_losses_gone_is_told);
    tcase_add_test(t, the_whole_stream_starts_after_a_gap);
    tcase_add_test(t, a_position_at_or_after_the_cursor);
    tcase_add_test(t, a_gap_is_told_in_its_turn);
    tcase_add_loop_test(t, who_had_all_of_a_stream_is_told_no_loss, 0, 2);
    tcase_add_test(t, a_stream_made_anew_moves_one_that_joins);
    tcase_add_loop_test(t, who_had_the_last_life_waits_for_the_first, 0, 2);
    tcase_add_test(t, the_window_is_dropped_past_a_reader);
    tcase_add_test(t, an_entry_without_a_frame_is_not_missed);
    tcase_add_test(t, a_rollback_moves_those_past_it);
    tcase_add_test(t, a_rollback_moves_one_behind_a_gap);
    tcase_add_test(t, a_rollback_moves_one_that_joins);
    tcase_add_loop_test(t, an_id_given_again_is_at_the_cursor, 0, 2);
    tcase_add_test(t, a_gap_is_in_front_of_what_follows);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);

    return failed != 0;
}
