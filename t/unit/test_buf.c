/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of base/conduit_buf.c: growth, reserved space, resets, and running
 * out of memory.
 */

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_buf.h"
#include "memory.h"


/* otherwise AddressSanitizer aborts when malloc() refuses a size */

const char *__asan_default_options(void);

const char *
__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}


START_TEST(zeroed_is_ready)
{
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));

    conduit_buf_append(&b, NULL, 0);
    ck_assert_uint_eq(b.len, 0);
    ck_assert_int_eq(b.failed, 0);

    conduit_buf_lit(&b, "abc");
    conduit_buf_append(&b, "d\0e", 3);

    ck_assert_uint_eq(b.len, 6);
    ck_assert_mem_eq(b.data, "abcd\0e", 6);

    conduit_buf_free(&b);
}
END_TEST


START_TEST(content_survives_growth)
{
    size_t         i;
    unsigned char  c;
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));

    for (i = 0; i < 100000; i++) {
        c = (unsigned char) (i * 7);
        conduit_buf_append(&b, &c, 1);
        ck_assert_uint_le(b.len, b.cap);
    }

    ck_assert_int_eq(b.failed, 0);
    ck_assert_uint_eq(b.len, 100000);

    for (i = 0; i < b.len; i++) {
        ck_assert_int_eq((unsigned char) b.data[i], (unsigned char) (i * 7));
    }

    conduit_buf_free(&b);
}
END_TEST


START_TEST(reserved_room_can_be_written)
{
    char           *p;
    conduit_buf_t   b;

    memset(&b, 0, sizeof(b));

    conduit_buf_lit(&b, "x");

    p = conduit_buf_reserve(&b, 5000);
    ck_assert_ptr_eq(p, b.data + 1);
    ck_assert_uint_eq(b.len, 1);

    memset(p, 'y', 5000);
    b.len += 5000;

    ck_assert_int_eq(b.data[0], 'x');
    ck_assert_int_eq(b.data[5000], 'y');

    /* reserving 0 bytes returns an address, too */

    ck_assert_ptr_nonnull(conduit_buf_reserve(&b, 0));

    conduit_buf_free(&b);
}
END_TEST


START_TEST(reset_keeps_the_memory)
{
    char           *data;
    size_t          cap;
    conduit_buf_t   b;

    memset(&b, 0, sizeof(b));

    ck_assert_ptr_nonnull(conduit_buf_reserve(&b, 10000));
    conduit_buf_lit(&b, "abc");
    data = b.data;
    cap = b.cap;

    conduit_buf_reset(&b);
    ck_assert_uint_eq(b.len, 0);
    ck_assert_uint_eq(b.cap, cap);

    conduit_buf_lit(&b, "de");
    ck_assert_ptr_eq(b.data, data);
    ck_assert_mem_eq(b.data, "de", 2);

    conduit_buf_free(&b);
    ck_assert_ptr_null(b.data);
    ck_assert_uint_eq(b.len, 0);
    ck_assert_uint_eq(b.cap, 0);

    conduit_buf_lit(&b, "f");
    ck_assert_uint_eq(b.len, 1);

    conduit_buf_free(&b);
}
END_TEST


START_TEST(failure_stays_until_reset)
{
    size_t               i;
    conduit_buf_t        b;
    static const size_t  sizes[] = { SIZE_MAX, SIZE_MAX - 3, SIZE_MAX / 2,
                                     SIZE_MAX / 8 };

    memset(&b, 0, sizeof(b));

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        conduit_buf_lit(&b, "abc");
        ck_assert_ptr_null(conduit_buf_reserve(&b, sizes[i]));
        ck_assert_int_eq(b.failed, 1);

        /* "d" would fit, but the content would have a hole before it */

        conduit_buf_lit(&b, "d");
        ck_assert_uint_eq(b.len, 3);
        ck_assert_ptr_null(conduit_buf_reserve(&b, 1));

        conduit_buf_reset(&b);
        ck_assert_int_eq(b.failed, 0);
    }

    conduit_buf_lit(&b, "e");
    ck_assert_mem_eq(b.data, "e", 1);

    conduit_buf_free(&b);
}
END_TEST


START_TEST(memory_that_is_out_is_a_failure)
{
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));

    memory_count(1);
    ck_assert_ptr_null(conduit_buf_reserve(&b, 0));
    ck_assert_int_eq(b.failed, 1);
    conduit_buf_free(&b);
    ck_assert_int_eq(b.failed, 0);

    /* a failure does not change the content */

    conduit_buf_lit(&b, "abc");

    memory_count(1);
    ck_assert_ptr_null(conduit_buf_reserve(&b, 1000));
    ck_assert_int_eq(b.failed, 1);
    ck_assert_uint_eq(b.len, 3);
    ck_assert_mem_eq(b.data, "abc", 3);

    conduit_buf_free(&b);
}
END_TEST


START_TEST(memory_doubles_when_it_is_used_up)
{
    size_t         i;
    conduit_buf_t  b;

    memset(&b, 0, sizeof(b));

    memory_count(0);

    for (i = 0; i < 1024 * 1024; i++) {
        conduit_buf_append(&b, "x", 1);
    }

    ck_assert_uint_eq(b.cap, b.len);
    ck_assert_uint_eq(memory_calls(), 13);     /* the first has 256 bytes */

    ck_assert_ptr_nonnull(conduit_buf_reserve(&b, 0));
    ck_assert_uint_eq(memory_calls(), 13);

    ck_assert_ptr_nonnull(conduit_buf_reserve(&b, 1));
    ck_assert_uint_eq(memory_calls(), 14);
    ck_assert_uint_eq(b.cap, 2 * b.len);

    conduit_buf_free(&b);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("buf");
    tc = tcase_create("buf");
    tcase_add_test(tc, zeroed_is_ready);
    tcase_add_test(tc, content_survives_growth);
    tcase_add_test(tc, reserved_room_can_be_written);
    tcase_add_test(tc, reset_keeps_the_memory);
    tcase_add_test(tc, failure_stays_until_reset);
    tcase_add_test(tc, memory_that_is_out_is_a_failure);
    tcase_add_test(tc, memory_doubles_when_it_is_used_up);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
