/* Copyright (C) Conduit for NGINX authors */

/*
 * Where a client starts that has no position.
 */

#include "history.h"

#include "conduit_start.h"

#define count(a)  (sizeof(a) / sizeof((a)[0]))

/* 2026-01-09T20:51:07.250Z */
#define NOW  UINT64_C(1767991867250)


START_TEST(moments_are_read)
{
    size_t           i;
    conduit_start_t  start;

    static const struct {
        const char  *text;
        uint64_t     ms;
    } cases[] = {
        { "-30s", NOW - 30000 },
        { "-0s", NOW },
        { "-500ms", NOW - 500 },
        { "-5m", NOW - 300000 },
        { "-2h", NOW - 7200000 },
        { "-1d", NOW - 86400000 },
        { "-007s", NOW - 7000 },
        { "1", 1 },
        { "1767991867250", NOW },
        { "1767991927250", NOW + CONDUIT_START_LEEWAY },
        { "2026-01-09T20:51:07.250Z", NOW },
        { "2026-01-09t20:51:07.250999z", NOW },
        { "2026-01-09T20:51:07Z", NOW - 250 },
        { "2026-01-09T21:51:07.25+01:00", NOW },
        { "2026-01-09T21:51:07.25 01:00", NOW },
        { "2026-01-09T15:51:07.25-05:00", NOW },
        { "1970-01-01T00:00:00.001Z", 1 }
    };

    for (i = 0; i < count(cases); i++) {
        ck_assert_msg(conduit_start_parse(cases[i].text,
                                          strlen(cases[i].text), NOW, &start)
                      == NULL, "%s", cases[i].text);
        ck_assert_msg(start.kind == CONDUIT_START_SINCE
                      && start.ms == cases[i].ms, "%s", cases[i].text);
    }
}
END_TEST


/* nothing is older than the epoch */

START_TEST(the_epoch_is_the_whole_stream)
{
    size_t           i;
    conduit_start_t  start;

    static const char *cases[] = {
        "0", "000", "-20463d", "-18446744073709551615d",
        "-18446744073709551615ms", "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z"
    };

    for (i = 0; i < count(cases); i++) {
        ck_assert_msg(conduit_start_parse(cases[i], strlen(cases[i]), NOW,
                                          &start)
                      == NULL, "%s", cases[i]);
        ck_assert_msg(start.kind == CONDUIT_START_OLDEST, "%s", cases[i]);
    }
}
END_TEST


START_TEST(other_values_of_since_are_refused)
{
    size_t           i;
    char            *text;
    const char      *error;
    conduit_start_t  start;

    static const struct {
        const char  *text, *error;
    } cases[] = {
        { "", "Invalid since" },
        { "-", "Invalid since" },
        { "-s", "Invalid since" },
        { "-5", "Invalid since" },
        { "-5w", "Invalid since" },
        { "-5mss", "Invalid since" },
        { "-5 s", "Invalid since" },
        { "-5.5s", "Invalid since" },
        { "--5s", "Invalid since" },
        { "-18446744073709551616s", "Invalid since" },
        { "5s", "Invalid since" },
        { "+5", "Invalid since" },
        { " 5", "Invalid since" },
        { "1-0", "Invalid since" },
        { "18446744073709551616", "Invalid since" },
        { "2026-01-09", "Invalid since" },
        { "2026-01-09T20:51:07", "Invalid since" },
        { "2026-01-09T20:51:07.Z", "Invalid since" },
        { "2026-02-29T20:51:07Z", "Invalid since" },
        { "2026-01-09T20:51:07.123456789+01:000", "Invalid since" },
        { "2026-01-09T20:51:07Z                  ", "Invalid since" },
        { "1767991927251", "since is in the future" },
        { "18446744073709551615", "since is in the future" },
        { "2026-01-09T20:53:07Z", "since is in the future" },
        { "9999-12-31T23:59:59.999999999Z", "since is in the future" }
    };

    for (i = 0; i < count(cases); i++) {

        /* no byte after the text is read */

        text = malloc(strlen(cases[i].text) + 1);
        memcpy(text, cases[i].text, strlen(cases[i].text));
        text = realloc(text, strlen(cases[i].text) + (i == 0));

        error = conduit_start_parse(text, strlen(cases[i].text), NOW, &start);

        ck_assert_ptr_nonnull(error);
        ck_assert_str_eq(error, cases[i].error);
        free(text);
    }
}
END_TEST


/* a stream as a text: a digit n is the entry n-0, "!" after it says that it is
   an END; read from the end, in steps */

static conduit_stream_id_t
searched(const char *stream, uint32_t kind, uint64_t ms, size_t step)
{
    int                     end, full;
    size_t                  n, i;
    conduit_start_t         start;
    conduit_stream_id_t     id;
    conduit_start_search_t  s;

    start.kind = kind;
    start.ms = ms;
    conduit_start_begin(&s, &start);

    for (n = 0; n < 100; n++) {

        full = 0;

        for (i = strlen(stream); i > 0; i--) {

            end = (stream[i - 1] == '!');
            i -= end;
            id = id_of(stream[i - 1] - '0');

            if (conduit_stream_id_cmp(&id, &s.from) > 0) {
                continue;
            }

            if (conduit_start_look(&s, &id,
                                   conduit_start_asks(&s) && end))
            {
                return s.pos;
            }

            if (++full == (int) step) {
                break;
            }
        }

        if (!conduit_start_more(&s, full == (int) step)) {
            return s.pos;
        }
    }

    ck_abort_msg("no end of the search");
}


START_TEST(starts_are_found)
{
    size_t               i, step;
    conduit_stream_id_t  pos;

    static const struct {
        const char  *stream;
        uint32_t     kind;
        uint64_t     ms, pos;
    } cases[] = {
        { "", CONDUIT_START_TURN, 0, 0 },
        { "1", CONDUIT_START_TURN, 0, 0 },
        { "12", CONDUIT_START_TURN, 0, 0 },
        { "1!", CONDUIT_START_TURN, 0, 0 },
        { "12!", CONDUIT_START_TURN, 0, 0 },
        { "12!3", CONDUIT_START_TURN, 0, 2 },
        { "12!34", CONDUIT_START_TURN, 0, 2 },
        { "12!34!", CONDUIT_START_TURN, 0, 2 },
        { "12!34!5", CONDUIT_START_TURN, 0, 4 },
        { "1!2!3!", CONDUIT_START_TURN, 0, 2 },
        { "1!2345678", CONDUIT_START_TURN, 0, 1 },
        { "", CONDUIT_START_LATEST, 0, 0 },
        { "1", CONDUIT_START_LATEST, 0, 1 },
        { "12!3", CONDUIT_START_LATEST, 0, 3 },
        { "123!", CONDUIT_START_LATEST, 0, 3 },
        { "", CONDUIT_START_SINCE, 3, 0 },
        { "2468", CONDUIT_START_SINCE, 1, 0 },
        { "2468", CONDUIT_START_SINCE, 2, 0 },
        { "2468", CONDUIT_START_SINCE, 3, 2 },
        { "2468", CONDUIT_START_SINCE, 4, 2 },
        { "24!68", CONDUIT_START_SINCE, 8, 6 },
        { "2468", CONDUIT_START_SINCE, 9, 8 },
    };

    for (i = 0; i < count(cases); i++) {
        for (step = 1; step < 10; step++) {

            pos = searched(cases[i].stream, cases[i].kind, cases[i].ms, step);

            ck_assert_msg(pos.ms == cases[i].pos && pos.seq == 0,
                          "%s, %u, %d: %d", cases[i].stream,
                          cases[i].kind, (int) cases[i].ms, (int) pos.ms);
        }
    }
}
END_TEST


START_TEST(all_entries_of_a_millisecond_are_since_it)
{
    conduit_start_t         start = { 7, CONDUIT_START_SINCE };
    conduit_stream_id_t     id = { 7, 0 };
    conduit_start_search_t  s;

    conduit_start_begin(&s, &start);
    ck_assert_int_eq(conduit_start_look(&s, &id, 0), 0);
    id.ms = 6;
    id.seq = UINT64_MAX;
    ck_assert_int_eq(conduit_start_look(&s, &id, 0), 1);
    ck_assert_uint_eq(s.pos.ms, 6);
    ck_assert_uint_eq(s.pos.seq, UINT64_MAX);
}
END_TEST


START_TEST(a_search_has_a_bound)
{
    size_t                  i;
    conduit_start_t         start = { 0, CONDUIT_START_TURN };
    conduit_stream_id_t     id;
    conduit_start_search_t  s;

    conduit_start_begin(&s, &start);

    for (i = 0; i < CONDUIT_START_MAX; i++) {
        id = id_of(20000 - i);
        ck_assert_int_eq(conduit_start_look(&s, &id, 0), 0);
    }

    id = id_of(20000 - i);
    ck_assert_int_eq(conduit_start_look(&s, &id, 0), 1);
    ck_assert_uint_eq(s.pos.ms, 20000 - CONDUIT_START_MAX);
}
END_TEST


START_TEST(starts_differ_by_kind_and_time)
{
    conduit_start_t  a = { 7, CONDUIT_START_SINCE };
    conduit_start_t  b = { 8, CONDUIT_START_SINCE };
    conduit_start_t  c = { 0, CONDUIT_START_TURN };
    conduit_start_t  d = { 0, CONDUIT_START_LATEST };

    ck_assert(conduit_start_same(&a, &a));
    ck_assert(!conduit_start_same(&a, &b));
    ck_assert(!conduit_start_same(&c, &d));
}
END_TEST


/* the frame of an END is the text "end" */

static int
is_end(const void *frame)
{
    return strcmp(frame, "end") == 0;
}


/* appends the entries of a text to a history, as above; "?" after a digit says
   that the entry has no frame */

static void
taken(conduit_history_t *h, const char *stream)
{
    const char               *p;
    conduit_history_entry_t   entry;

    for (p = stream; *p; p++) {

        if (*p == '!' || *p == '?') {
            continue;
        }

        entry.id = id_of(*p - '0');
        entry.hash = *p - '0';

        ck_assert_int_eq(conduit_history_take(h, &entry,
                                              p[1] == '?' ? NULL
                                              : p[1] == '!' ? "end" : "more",
                                              10), 0);
    }
}


START_TEST(windows_are_searched)
{
    int                     found;
    size_t                  i;
    conduit_start_t         start;
    conduit_history_t       h;
    conduit_stream_id_t     pos, turn;
    conduit_start_search_t  s;

    static const struct {
        const char  *stream;
        uint64_t     began;          /* the channel's first position */
        size_t       drop;
        uint32_t     kind;
        uint64_t     ms, turn;
        int          found;
        uint64_t     pos;
    } cases[] = {
        { "", 0, 0, CONDUIT_START_TURN, 0, 0, 1, 0 },
        { "12", 0, 0, CONDUIT_START_TURN, 0, 0, 1, 0 },
        { "12!3", 0, 0, CONDUIT_START_TURN, 0, 0, 1, 2 },
        { "12!3!", 0, 0, CONDUIT_START_TURN, 0, 0, 1, 2 },
        { "12!3?", 0, 0, CONDUIT_START_TURN, 0, 0, 1, 2 },

        /* the END was dropped, or was never read: Redis knows */

        { "12!34", 0, 2, CONDUIT_START_TURN, 0, 0, 0, 0 },
        { "12!34", 0, 1, CONDUIT_START_TURN, 0, 0, 1, 2 },
        { "34", 2, 0, CONDUIT_START_TURN, 0, 0, 0, 0 },
        { "2?34", 2, 0, CONDUIT_START_TURN, 0, 0, 0, 0 },
        { "2?34", 2, 0, CONDUIT_START_TURN, 0, 2, 1, 2 },
        { "2?34!5", 2, 0, CONDUIT_START_TURN, 0, 2, 1, 4 },

        { "", 0, 0, CONDUIT_START_LATEST, 0, 0, 1, 0 },
        { "123", 0, 0, CONDUIT_START_LATEST, 0, 0, 1, 3 },
        { "123", 0, 3, CONDUIT_START_LATEST, 0, 0, 1, 3 },
        { "2468", 0, 0, CONDUIT_START_SINCE, 5, 0, 1, 4 },
        { "2468", 0, 0, CONDUIT_START_SINCE, 2, 0, 1, 0 },
        { "2468", 0, 1, CONDUIT_START_SINCE, 2, 0, 0, 0 },
        { "2468", 0, 1, CONDUIT_START_SINCE, 3, 0, 0, 0 },
        { "2468", 0, 1, CONDUIT_START_SINCE, 5, 0, 1, 4 },
        { "2468", 0, 0, CONDUIT_START_SINCE, 9, 0, 1, 8 }
    };

    for (i = 0; i < count(cases); i++) {

        memset(&h, 0, sizeof(h));
        pos = id_of(cases[i].began);
        conduit_history_init(&h, &pos, NULL);
        taken(&h, cases[i].stream);
        conduit_history_drop(&h, cases[i].drop);

        start.kind = cases[i].kind;
        start.ms = cases[i].ms;
        turn = id_of(cases[i].turn);
        conduit_start_begin(&s, &start);

        found = conduit_start_window(&s, &h, is_end, &turn);

        ck_assert_msg(found == cases[i].found, "case %d", (int) i);
        ck_assert_msg(!found || s.pos.ms == cases[i].pos, "case %d: %d",
                      (int) i, (int) s.pos.ms);
        conduit_history_free(&h);
    }
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("start");
    tc = tcase_create("start");
    tcase_add_test(tc, moments_are_read);
    tcase_add_test(tc, the_epoch_is_the_whole_stream);
    tcase_add_test(tc, other_values_of_since_are_refused);
    tcase_add_test(tc, starts_are_found);
    tcase_add_test(tc, all_entries_of_a_millisecond_are_since_it);
    tcase_add_test(tc, a_search_has_a_bound);
    tcase_add_test(tc, starts_differ_by_kind_and_time);
    tcase_add_test(tc, windows_are_searched);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
