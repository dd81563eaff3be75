/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_pull.c: events as objects of a JSON array.
 */

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_arena.h"
#include "conduit_format.h"
#include "conduit_pull.h"
#include "conduit_sse.h"
#include "exact.h"

#define count(a)  (sizeof(a) / sizeof(a[0]))
#define UUID      "97f58c19-ce38-4c6b-8a5b-47f3405691f0"


typedef struct {
    const char  *sse;
    int          text;
    const char  *object;     /* "": none */
} pull_case_t;


static const pull_case_t  cases[] = {
    { "event: stream\nid: 1-0\ndata: {\"a\":[1]}\n\n", 0,
      "{\"id\":\"1-0\",\"event\":\"stream\",\"data\":{\"a\":[1]}}" },
    { "id: 1-0\ndata: null\n\n", 0, "{\"id\":\"1-0\",\"data\":null}" },
    { "id: 1-0\ndata: [DONE]\n\n", 1, "{\"id\":\"1-0\",\"data\":\"[DONE]\"}" },

    /* without a member */
    { "data: 1\n\n", 0, "{\"data\":1}" },
    { "event: x\ndata: 1\n\n", 0, "{\"event\":\"x\",\"data\":1}" },
    { "id: 1-0\n\n", 0, "" },
    { "id: 1-0\nevent: x\n\n", 1, "" },
    { "retry: 500\n\n", 0, "" },
    { ":\n", 0, "" },
    { "\n", 0, "" },
    { "", 0, "" },
    { "data\n\n", 1, "" },

    /* text */
    { "id: 1-0\ndata: \n\n", 1, "{\"id\":\"1-0\",\"data\":\"\"}" },
    { "data: a\ndata: \ndata: b\ndata: \n\n", 1,
      "{\"data\":\"a\\n\\nb\\n\"}" },
    { "data: \"\\/\t\b\x01\x1f\x7f\n\n", 1,
      "{\"data\":\"\\\"\\\\/\\u0009\\u0008\\u0001\\u001f\x7f\"}" },
    { "data: \xc3\xa9\xf0\x9f\x98\x80\n\n", 1,
      "{\"data\":\"\xc3\xa9\xf0\x9f\x98\x80\"}" },
    { "data: data: id: 7\n\n", 1, "{\"data\":\"data: id: 7\"}" },
    { "data: x", 1, "{\"data\":\"x\"}" }
};


/* what is made of an event, terminated by a zero; to be freed */

static char *
object_of(const char *sse, size_t len, int text, int *appended)
{
    char           *copy, *object;
    conduit_buf_t   b;

    /* of its exact size, so that ASan sees an access past its end */

    copy = exact_copy(sse, len);

    memset(&b, 0, sizeof(b));
    conduit_buf_lit(&b, "[");

    *appended = conduit_pull_write(copy, len, text, &b);

    conduit_buf_append(&b, "", 1);
    ck_assert_int_eq(b.failed, 0);
    ck_assert_int_eq(b.data[0], '[');

    object = strdup(b.data + 1);
    ck_assert_ptr_nonnull(object);

    conduit_buf_free(&b);
    free(copy);

    return object;
}


START_TEST(an_event_becomes_an_object)
{
    int                 appended;
    char               *object;
    const pull_case_t  *c;

    c = &cases[_i];

    object = object_of(c->sse, strlen(c->sse), c->text, &appended);

    ck_assert_str_eq(object, c->object);
    ck_assert_int_eq(appended, c->object[0] != '\0');

    free(object);
}
END_TEST


/* a value with a NUL is no string of C */

START_TEST(a_nul_is_escaped)
{
    int                appended;
    char              *object;
    static const char  sse[] = "data: a\0b\n\n";

    object = object_of(sse, sizeof(sse) - 1, 1, &appended);

    ck_assert_str_eq(object, "{\"data\":\"a\\u0000b\"}");
    free(object);
}
END_TEST


START_TEST(a_control_event_becomes_an_object)
{
    int                  appended;
    char                *object;
    conduit_buf_t        b;
    conduit_stream_id_t  pos = { 5, 1 };

    memset(&b, 0, sizeof(b));
    conduit_sse_write_control(UUID, "history_lost", "gone", &pos, &b);

    object = object_of(b.data, b.len, 0, &appended);

    ck_assert_str_eq(object,
                     "{\"id\":\"5-1\",\"event\":\"control\",\"data\":"
                     "{\"event_type\":\"control\",\"message_id\":\"" UUID "\","
                     "\"control_type\":\"history_lost\","
                     "\"reason\":\"gone\"}}");
    free(object);
    conduit_buf_free(&b);
}
END_TEST


/* any value in the format text becomes a string; t/fuzz/fuzz_format.c compares
   it */

START_TEST(any_text_becomes_a_string)
{
    int                      appended;
    char                    *object;
    size_t                   i;
    json_t                  *json;
    uint8_t                  value[256];
    conduit_buf_t            b;
    conduit_arena_t         *arena;
    conduit_format_entry_t   e;
    conduit_format_event_t   event;

    for (i = 0; i < sizeof(value); i++) {
        value[i] = (i * 7 + _i * 13) & (_i % 2 ? 0xff : 0x7f);
    }

    memset(&e, 0, sizeof(e));
    memset(&b, 0, sizeof(b));
    e.id.ms = 1;
    e.data = value;
    e.len = sizeof(value) - _i;
    arena = NULL;

    conduit_formats[CONDUIT_FORMAT_TEXT].write(&e, arena, &b, &event);
    ck_assert_int_eq(event.sent, 1);

    object = object_of(b.data, b.len, 1, &appended);
    ck_assert_int_eq(appended, 1);

    json = json_loads(object, JSON_ALLOW_NUL, NULL);
    ck_assert_ptr_nonnull(json);
    ck_assert(json_is_string(json_object_get(json, "data")));

    json_decref(json);
    free(object);
    conduit_buf_free(&b);
}
END_TEST


int
main(void)
{
    int       failed;
    Suite    *s;
    TCase    *tc;
    SRunner  *sr;

    s = suite_create("pull");
    tc = tcase_create("write");
    tcase_add_loop_test(tc, an_event_becomes_an_object, 0, count(cases));
    tcase_add_test(tc, a_nul_is_escaped);
    tcase_add_test(tc, a_control_event_becomes_an_object);
    tcase_add_loop_test(tc, any_text_becomes_a_string, 0, 64);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
