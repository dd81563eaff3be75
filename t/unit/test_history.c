#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_history.h"
#include "conduit_window.h"


/* a history that has read entries 1-0 .. 5-0 (hash 1 .. 5), number 5 */

static void
seen(conduit_history_t *h)
{
    uint64_t                    i;
    conduit_stream_id_t         zero = { 0, 0 };
    conduit_history_entry_t     e[5];
    conduit_history_plan_t      plan;
    conduit_history_answer_t    a;
    conduit_history_question_t  q;

    memset(h, 0, sizeof(*h));
    memset(&a, 0, sizeof(a));
    conduit_history_init(h, &zero, NULL);
    conduit_history_ask(h, 1, 100, &q);

    for (i = 0; i < 5; i++) {
        e[i].id.ms = i + 1;
        e[i].id.seq = 0;
        e[i].hash = i + 1;
    }

    a.entries = e;
    a.nentries = 5;
    a.counted = 1;
    a.length = 5;
    a.added = 5;
    a.last_id.ms = 5;
    a.oldest.ms = 1;
    conduit_history_answer(h, &a, &plan);
    ck_assert_int_eq(plan.next, CONDUIT_HISTORY_NEXT_TAKE);

    for (i = plan.first; i < 5; i++) {
        ck_assert_int_eq(conduit_history_take(h, &e[i], h, 10), 0);
    }

    ck_assert_int_eq(conduit_history_taken(h), CONDUIT_HISTORY_NEXT_IDLE);
    ck_assert_uint_eq(h->number, 5);
}


typedef struct {
    const char  *rule;
    int          full;           /* the question */
    int          missing, counted;
    uint64_t     n;              /* entries */
    struct { uint64_t ms, hash; }  e[4];
    uint64_t     length, added, last, oldest, deleted;
    int          change, next;
    uint64_t     first, cursor;
} row_t;

static const row_t  rows[] = {
    { "FAST, the cursor alone: idle", 0, 0, 0, 1, { { 5, 5 } },
      0, 0, 0, 0, 0, CONDUIT_HISTORY_NOTHING, CONDUIT_HISTORY_NEXT_IDLE, 1, 5 },
    { "FAST, the cursor and more: append", 0, 0, 0, 2, { { 5, 5 }, { 6, 6 } },
      0, 0, 0, 0, 0, CONDUIT_HISTORY_NOTHING, CONDUIT_HISTORY_NEXT_TAKE, 1, 5 },
    { "FAST, another entry at the cursor: FULL", 0, 0, 0, 1, { { 5, 9 } },
      0, 0, 0, 0, 0, CONDUIT_HISTORY_NOTHING, CONDUIT_HISTORY_NEXT_ASK, 1, 5 },
    { "FAST, nothing: FULL", 0, 0, 0, 0, { { 0, 0 } },
      0, 0, 0, 0, 0, CONDUIT_HISTORY_NOTHING, CONDUIT_HISTORY_NEXT_ASK, 0, 5 },
    { "no such key: restart", 1, 1, 0, 0, { { 0, 0 } },
      0, 0, 0, 0, 0, CONDUIT_HISTORY_RESTART, CONDUIT_HISTORY_NEXT_ASK, 0, 0 },
    { "a frame in common: cut behind it", 1, 0, 1, 2, { { 2, 2 }, { 3, 3 } },
      3, 3, 3, 1, 0, CONDUIT_HISTORY_CUT, CONDUIT_HISTORY_NEXT_IDLE, 2, 3 },
    { "in common, and new ones with smaller IDs", 1, 0, 1, 3,
      { { 2, 2 }, { 3, 3 }, { 4, 9 } },
      4, 4, 4, 1, 0, CONDUIT_HISTORY_CUT, CONDUIT_HISTORY_NEXT_TAKE, 2, 3 },
    { "ends before the cursor, nothing in common: restart", 1, 0, 1, 1,
      { { 4, 9 } },
      1, 9, 4, 4, 0, CONDUIT_HISTORY_RESTART, CONDUIT_HISTORY_NEXT_ASK, 1, 0 },
    { "has had fewer entries: restart", 1, 0, 1, 1, { { 9, 9 } },
      1, 4, 9, 9, 0, CONDUIT_HISTORY_RESTART, CONDUIT_HISTORY_NEXT_ASK, 1, 0 },
    { "empty: idle, the number is kept", 1, 0, 1, 0, { { 0, 0 } },
      0, 7, 7, 0, 0, CONDUIT_HISTORY_NOTHING, CONDUIT_HISTORY_NEXT_IDLE, 0, 5 },
    { "after the cursor, never trimmed: restart", 1, 0, 1, 1, { { 9, 9 } },
      6, 6, 9, 9, 0, CONDUIT_HISTORY_RESTART, CONDUIT_HISTORY_NEXT_ASK, 1, 0 },
    { "trimmed up to the cursor: go on", 1, 0, 1, 1, { { 9, 9 } },
      1, 6, 9, 9, 0, CONDUIT_HISTORY_NOTHING, CONDUIT_HISTORY_NEXT_TAKE, 0, 5 },
    { "trimmed past the cursor: gap", 1, 0, 1, 1, { { 9, 9 } },
      1, 7, 9, 9, 0, CONDUIT_HISTORY_GAP, CONDUIT_HISTORY_NEXT_TAKE, 0, 5 },
    { "Redis 6, after the cursor: gap", 1, 0, 0, 1, { { 9, 9 } },
      1, 0, 9, 9, 0, CONDUIT_HISTORY_GAP, CONDUIT_HISTORY_NEXT_TAKE, 0, 5 },
    { "XDEL of all in the window: go on", 1, 0, 1, 1, { { 9, 9 } },
      2, 6, 9, 1, 5, CONDUIT_HISTORY_NOTHING, CONDUIT_HISTORY_NEXT_TAKE, 0, 5 },
    { "nothing in common, nothing deleted: restart", 1, 0, 1, 1, { { 9, 9 } },
      2, 6, 9, 1, 0, CONDUIT_HISTORY_RESTART, CONDUIT_HISTORY_NEXT_ASK, 1, 0 },
    { "nothing in common, Redis 6: restart", 1, 0, 0, 1, { { 9, 9 } },
      2, 0, 9, 1, 0, CONDUIT_HISTORY_RESTART, CONDUIT_HISTORY_NEXT_ASK, 1, 0 }
};


START_TEST(an_answer_decides)
{
    uint64_t                    i;
    const row_t                *row;
    conduit_history_t           h;
    conduit_history_entry_t     e[4];
    conduit_history_plan_t      plan;
    conduit_history_answer_t    a;
    conduit_history_question_t  q;

    row = &rows[_i];
    seen(&h);

    if (row->full) {
        conduit_history_unsent(&h);
    }

    conduit_history_ask(&h, 0, 100, &q);
    ck_assert_int_eq(q.kind, row->full ? CONDUIT_HISTORY_FULL
                                       : CONDUIT_HISTORY_FAST);
    memset(&a, 0, sizeof(a));

    for (i = 0; i < row->n; i++) {
        e[i].id.ms = row->e[i].ms;
        e[i].id.seq = 0;
        e[i].hash = row->e[i].hash;
    }

    a.entries = e;
    a.nentries = row->n;
    a.missing = row->missing;
    a.counted = row->counted;
    a.from = q.id;
    a.length = row->length;
    a.added = row->added;
    a.last_id.ms = row->last;
    a.oldest.ms = row->oldest;
    a.max_deleted.ms = row->deleted;

    conduit_history_answer(&h, &a, &plan);

    ck_assert_msg(plan.change == (conduit_history_change_e) row->change,
                  "%s: change %d (%s)", row->rule, plan.change, plan.why);
    ck_assert_msg(plan.next == (conduit_history_next_e) row->next,
                  "%s: next %d (%s)", row->rule, plan.next, plan.why);
    ck_assert_msg(plan.first == row->first, "%s: first %zu", row->rule,
                  plan.first);
    ck_assert_msg(h.cursor.ms == row->cursor, "%s: cursor", row->rule);

    conduit_history_free(&h);
}
END_TEST


START_TEST(an_error_waits_for_the_timer)
{
    conduit_history_t           h;
    conduit_history_question_t  q;

    seen(&h);
    ck_assert_int_eq(conduit_history_ring(&h), 1);
    conduit_history_ask(&h, 1, 100, &q);
    ck_assert_int_eq(conduit_history_ring(&h), 0);
    conduit_history_failed(&h);
    ck_assert_int_eq(conduit_history_ring(&h), 0);
    ck_assert_int_eq(conduit_history_retry(&h), 1);
    ck_assert_int_eq(conduit_history_retry(&h), 0);
    conduit_history_ask(&h, 0, 100, &q);
    ck_assert_int_eq(q.kind, CONDUIT_HISTORY_FULL);
    conduit_history_free(&h);
}
END_TEST


START_TEST(window_keeps_its_numbers)
{
    uint64_t             i;
    conduit_item_t       item;
    conduit_window_t     w;
    conduit_stream_id_t  id;

    memset(&w, 0, sizeof(w));
    memset(&item, 0, sizeof(item));
    memset(&id, 0, sizeof(id));

    for (i = 0; i < 100; i++) {
        item.id.ms = 2 * i;
        item.size = 10;
        ck_assert_int_eq(conduit_window_append(&w, &item), 0);

        if (i == 50) {
            conduit_window_drop(&w, 40);
        }
    }

    ck_assert_uint_eq(w.base, 40);
    ck_assert_uint_eq(conduit_window_end(&w), 100);
    ck_assert_uint_eq(w.bytes, 600);
    id.ms = 120;
    ck_assert_uint_eq(conduit_window_find(&w, 0, 100, &id), 60);
    ck_assert_uint_eq(conduit_window_after(&w, 0, 100, &id), 61);
    id.ms = 121;
    ck_assert_uint_eq(conduit_window_find(&w, 0, 100, &id),
                      CONDUIT_WINDOW_NONE);
    ck_assert_uint_eq(conduit_window_excess(&w, 95), 51);
    conduit_window_cut(&w, 60);
    ck_assert_uint_eq(conduit_window_end(&w), 60);
    ck_assert_uint_eq(w.bytes, 200);
    conduit_window_clear(&w);
    ck_assert_uint_eq(w.base, 60);
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
    tcase_add_loop_test(t, an_answer_decides, 0,
                        sizeof(rows) / sizeof(rows[0]));
    tcase_add_test(t, an_error_waits_for_the_timer);
    tcase_add_test(t, window_keeps_its_numbers);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);

    return failed != 0;
}
