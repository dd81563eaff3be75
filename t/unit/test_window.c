/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_window.c: sequence numbers, searches, dropping
 * items, and releasing frames.
 */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_window.h"

static int  released;


static void
release(void *frame)
{
    released += *(int *) frame;
}


static conduit_stream_id_t
id_of(uint64_t ms)
{
    conduit_stream_id_t  id;

    id.ms = ms;
    id.seq = 0;

    return id;
}


static void
append(conduit_window_t *w, conduit_item_e kind, uint64_t ms, void *frame)
{
    conduit_item_t  item;

    memset(&item, 0, sizeof(item));
    item.kind = kind;
    item.id = id_of(ms);
    item.frame = frame;
    item.size = 10;

    ck_assert_int_eq(conduit_window_append(w, &item), 0);
}


/* items keep their numbers while the array grows, moves and loses items */

START_TEST(items_keep_their_numbers)
{
    uint64_t             i;
    conduit_window_t     w;
    conduit_stream_id_t  id;

    memset(&w, 0, sizeof(w));

    for (i = 0; i < 100; i++) {
        append(&w, CONDUIT_ITEM_ENTRY, 2 * i, NULL);

        if (i == 50 || i == 70) {
            conduit_window_drop(&w, 20);
        }
    }

    ck_assert_uint_eq(w.base, 40);
    ck_assert_uint_eq(conduit_window_end(&w), 100);
    ck_assert_uint_eq(w.bytes, 600);

    for (i = 40; i < 100; i++) {
        id = id_of(2 * i);
        ck_assert_uint_eq(conduit_window_item(&w, i)->id.ms, 2 * i);
        ck_assert_uint_eq(conduit_window_find(&w, 0, 100, &id), i);
    }

    conduit_window_clear(&w);
    ck_assert_uint_eq(w.base, 100);
    ck_assert_uint_eq(conduit_window_end(&w), 100);
}
END_TEST


typedef struct {
    uint64_t  from, to, ms;
    uint64_t  found, after;
} look_t;

/* the items: 0: 3   1: 5   2: GAP before 9   3: 9   4: LIFE   5: 1   6: 5 */

static const look_t  looks[] = {
    { 0, 4, 1, CONDUIT_WINDOW_NONE, 0 },
    { 0, 4, 3, 0, 1 },
    { 0, 4, 4, CONDUIT_WINDOW_NONE, 1 },
    { 0, 4, 5, 1, 2 },                          /* before the gap */
    { 0, 4, 8, CONDUIT_WINDOW_NONE, 2 },
    { 0, 4, 9, 3, 4 },                          /* after the gap */
    { 0, 4, 99, CONDUIT_WINDOW_NONE, 4 },
    { 2, 4, 5, CONDUIT_WINDOW_NONE, 2 },        /* 5 is before "from" */
    { 5, 7, 5, 6, 7 },                          /* in the next life */
    { 5, 7, 3, CONDUIT_WINDOW_NONE, 6 },
    { 5, 7, 0, CONDUIT_WINDOW_NONE, 5 },
    { 5, 6, 5, CONDUIT_WINDOW_NONE, 6 },
    { 5, 5, 5, CONDUIT_WINDOW_NONE, 5 }
};


START_TEST(an_id_is_looked_for_in_one_life)
{
    const look_t         *look;
    conduit_window_t      w;
    conduit_stream_id_t   id;

    memset(&w, 0, sizeof(w));
    append(&w, CONDUIT_ITEM_ENTRY, 3, NULL);
    append(&w, CONDUIT_ITEM_ENTRY, 5, NULL);
    append(&w, CONDUIT_ITEM_GAP, 9, NULL);
    append(&w, CONDUIT_ITEM_ENTRY, 9, NULL);
    append(&w, CONDUIT_ITEM_LIFE, 2, NULL);
    append(&w, CONDUIT_ITEM_ENTRY, 1, NULL);
    append(&w, CONDUIT_ITEM_ENTRY, 5, NULL);

    look = &looks[_i];
    id = id_of(look->ms);

    ck_assert_uint_eq(conduit_window_find(&w, look->from, look->to, &id),
                      look->found);
    ck_assert_uint_eq(conduit_window_after(&w, look->from, look->to, &id),
                      look->after);
    conduit_window_clear(&w);
}
END_TEST


START_TEST(a_number_below_the_base_is_the_base)
{
    conduit_window_t     w;
    conduit_stream_id_t  id;

    memset(&w, 0, sizeof(w));
    append(&w, CONDUIT_ITEM_ENTRY, 3, NULL);
    append(&w, CONDUIT_ITEM_ENTRY, 5, NULL);
    conduit_window_drop(&w, 1);

    id = id_of(3);
    ck_assert_uint_eq(conduit_window_find(&w, 0, 2, &id), CONDUIT_WINDOW_NONE);
    ck_assert_uint_eq(conduit_window_after(&w, 0, 2, &id), 1);
    id = id_of(5);
    ck_assert_uint_eq(conduit_window_find(&w, 0, 2, &id), 1);
    conduit_window_clear(&w);
}
END_TEST


START_TEST(the_oldest_go_when_it_is_too_large)
{
    conduit_window_t  w;

    memset(&w, 0, sizeof(w));
    append(&w, CONDUIT_ITEM_ENTRY, 1, NULL);
    append(&w, CONDUIT_ITEM_ENTRY, 2, NULL);
    append(&w, CONDUIT_ITEM_ENTRY, 3, NULL);

    ck_assert_uint_eq(conduit_window_excess(&w, 30), 0);
    ck_assert_uint_eq(conduit_window_excess(&w, 29), 1);
    ck_assert_uint_eq(conduit_window_excess(&w, 20), 1);
    ck_assert_uint_eq(conduit_window_excess(&w, 0), 3);
    ck_assert_uint_eq(w.n, 3);
    ck_assert_int_eq(conduit_window_open(&w), 0);

    /* a GAP stays until the entry after it is there; of two GAPs, the last one
       stays */

    append(&w, CONDUIT_ITEM_GAP, 5, NULL);
    append(&w, CONDUIT_ITEM_GAP, 7, NULL);
    ck_assert_int_eq(conduit_window_open(&w), 1);
    ck_assert_uint_eq(conduit_window_excess(&w, 0), 4);
    ck_assert_uint_eq(conduit_window_excess(&w, 20), 3);
    append(&w, CONDUIT_ITEM_ENTRY, 7, NULL);
    ck_assert_uint_eq(conduit_window_excess(&w, 0), 6);
    conduit_window_clear(&w);
    ck_assert_int_eq(conduit_window_open(&w), 0);
    ck_assert_uint_eq(conduit_window_excess(&w, 0), 0);

    /* the window is still usable after its array was freed */

    append(&w, CONDUIT_ITEM_ENTRY, 8, NULL);
    ck_assert_uint_eq(w.base, 6);
    conduit_window_clear(&w);
}
END_TEST


START_TEST(a_frame_is_released_once)
{
    int               one = 1, ten = 10, hundred = 100;
    conduit_window_t  w;

    released = 0;
    memset(&w, 0, sizeof(w));
    w.release = release;
    append(&w, CONDUIT_ITEM_ENTRY, 1, &one);
    append(&w, CONDUIT_ITEM_ENTRY, 2, NULL);
    append(&w, CONDUIT_ITEM_ENTRY, 3, &ten);
    append(&w, CONDUIT_ITEM_ENTRY, 4, &hundred);

    conduit_window_drop(&w, 2);
    ck_assert_int_eq(released, 1);
    ck_assert_uint_eq(w.bytes, 20);
    conduit_window_cut(&w, 3);
    ck_assert_int_eq(released, 101);
    ck_assert_uint_eq(w.bytes, 10);
    ck_assert_uint_eq(conduit_window_end(&w), 3);
    conduit_window_clear(&w);
    ck_assert_int_eq(released, 111);
    ck_assert_uint_eq(w.bytes, 0);
    ck_assert_uint_eq(conduit_window_end(&w), 3);
}
END_TEST


/* what a frame takes more counts for the limit, and is given back with it */

START_TEST(an_item_grows)
{
    size_t            most;
    conduit_window_t  w;

    memset(&w, 0, sizeof(w));

    append(&w, CONDUIT_ITEM_ENTRY, 1, NULL);
    append(&w, CONDUIT_ITEM_ENTRY, 2, NULL);
    append(&w, CONDUIT_ITEM_ENTRY, 3, NULL);

    conduit_window_grow(&w, 1, 5);
    conduit_window_grow(&w, 1, 7);
    ck_assert_uint_eq(w.bytes, 42);
    ck_assert_uint_eq(conduit_window_excess(&w, 32), 1);
    ck_assert_uint_eq(conduit_window_excess(&w, 31), 2);

    conduit_window_drop(&w, 1);
    ck_assert_uint_eq(w.bytes, 32);
    conduit_window_grow(&w, 2, 1);
    conduit_window_drop(&w, 1);
    ck_assert_uint_eq(w.bytes, 11);

    /* a size has 32 bits */

    most = UINT32_MAX;
    conduit_window_grow(&w, 2, most);
    ck_assert_uint_eq(w.bytes, most);
    conduit_window_cut(&w, 2);
    ck_assert_uint_eq(w.bytes, 0);

    conduit_window_clear(&w);
}
END_TEST


int
main(void)
{
    int       failed;
    Suite    *s;
    TCase    *t;
    SRunner  *r;

    s = suite_create("window");
    t = tcase_create("window");
    tcase_add_test(t, items_keep_their_numbers);
    tcase_add_test(t, an_item_grows);
    tcase_add_loop_test(t, an_id_is_looked_for_in_one_life, 0,
                        sizeof(looks) / sizeof(looks[0]));
    tcase_add_test(t, a_number_below_the_base_is_the_base);
    tcase_add_test(t, the_oldest_go_when_it_is_too_large);
    tcase_add_test(t, a_frame_is_released_once);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);

    return failed != 0;
}
