/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of proto/conduit_arena.c: alignment and sizes of blocks, the limit,
 * resets, the sizes of chunks, and running out of memory.
 */

#include <check.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_arena.h"
#include "memory.h"

#define MANY  2000


/* otherwise AddressSanitizer aborts when malloc() refuses a size */

const char *__asan_default_options(void);

const char *
__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}


/* small blocks, blocks as large as a chunk, and blocks with their own chunk */

static size_t
block_size(size_t i)
{
    static const size_t  sizes[] = { 0, 1, 7, 8, 9, 40, 16, 333, 65536, 3,
                                     65000, 24, 70000, 5, 1048576, 64 };

    return sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];
}


START_TEST(blocks_are_aligned_and_apart)
{
    size_t            i, j, n;
    unsigned char    *blocks[MANY];
    conduit_arena_t  *a;

    a = conduit_arena_create(SIZE_MAX);
    ck_assert_ptr_nonnull(a);

    for (i = 0; i < MANY; i++) {
        n = block_size(i);
        blocks[i] = conduit_arena_alloc(a, n);
        ck_assert_ptr_nonnull(blocks[i]);
        ck_assert_uint_eq((uintptr_t) blocks[i] % alignof(max_align_t), 0);
        memset(blocks[i], (int) (i & 0xff), n);
    }

    for (i = 0; i < MANY; i++) {
        n = block_size(i);
        ck_assert_uint_eq(conduit_arena_size(blocks[i]), n);

        for (j = 0; j < n; j += (n > 1000) ? 997 : 1) {
            ck_assert_uint_eq(blocks[i][j], i & 0xff);
        }
    }

    conduit_arena_free(a);
}
END_TEST


START_TEST(an_arena_stays_below_its_limit)
{
    size_t            sum, limit;
    conduit_arena_t  *a;

    for (limit = 0; limit < 300000; limit += 997) {

        a = conduit_arena_create(limit);
        ck_assert_ptr_nonnull(a);

        sum = 0;

        while (conduit_arena_alloc(a, 40) != NULL) {
            sum += 40;
            ck_assert_uint_le(sum, limit);
        }

        /* at least half of the limit can be used for blocks */

        if (limit > 1000) {
            ck_assert_uint_ge(sum, limit / 2);
        }

        ck_assert_ptr_null(conduit_arena_alloc(a, limit));
        conduit_arena_free(a);
    }
}
END_TEST


START_TEST(sizes_do_not_overflow)
{
    conduit_arena_t  *a;

    a = conduit_arena_create(SIZE_MAX);
    ck_assert_ptr_nonnull(a);

    ck_assert_ptr_null(conduit_arena_alloc(a, SIZE_MAX));
    ck_assert_ptr_null(conduit_arena_alloc(a, SIZE_MAX - 8));
    ck_assert_ptr_null(conduit_arena_alloc(a, SIZE_MAX - 64));
    ck_assert_ptr_null(conduit_arena_alloc(a, SIZE_MAX / 2));
    ck_assert_ptr_null(conduit_arena_alloc(a, SIZE_MAX / 4));
    ck_assert_ptr_nonnull(conduit_arena_alloc(a, 1));

    conduit_arena_free(a);
}
END_TEST


START_TEST(reset_gives_all_back)
{
    size_t            i;
    void             *first;
    conduit_arena_t  *a;

    a = conduit_arena_create(1024 * 1024);
    ck_assert_ptr_nonnull(a);

    first = conduit_arena_alloc(a, 10);

    for (i = 0; i < 50; i++) {
        ck_assert_ptr_nonnull(conduit_arena_alloc(a, 500000));
        ck_assert_ptr_nonnull(conduit_arena_alloc(a, 300000));
        ck_assert_ptr_null(conduit_arena_alloc(a, 500000));

        conduit_arena_reset(a);

        /* the first chunk is reused */

        ck_assert_ptr_eq(conduit_arena_alloc(a, 20), first);
        ck_assert_uint_eq(conduit_arena_size(first), 20);
    }

    conduit_arena_free(a);
}
END_TEST


START_TEST(full_tells_that_the_limit_refused)
{
    size_t            i;
    conduit_arena_t  *a;

    a = conduit_arena_create(1024 * 1024);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(conduit_arena_full(a), 0);

    for (i = 0; i < 3; i++) {

        /* a block is refused as it is larger than the limit, as it needs a
           chunk of its own, or as it needs another shared chunk */

        ck_assert_ptr_nonnull(conduit_arena_alloc(a, 500000));
        ck_assert_int_eq(conduit_arena_full(a), 0);

        switch (i) {
        case 0:
            ck_assert_ptr_null(conduit_arena_alloc(a, 2 * 1024 * 1024));
            break;

        case 1:
            ck_assert_ptr_null(conduit_arena_alloc(a, 600000));
            break;

        default:
            while (conduit_arena_alloc(a, 40) != NULL) {
                ck_assert_int_eq(conduit_arena_full(a), 0);
            }
        }

        ck_assert_int_eq(!conduit_arena_full(a), 0);

        /* a smaller block may still fit, but the flag remains set */

        (void) conduit_arena_alloc(a, 1);
        ck_assert_int_eq(!conduit_arena_full(a), 0);

        conduit_arena_reset(a);
        ck_assert_int_eq(conduit_arena_full(a), 0);
    }

    conduit_arena_free(a);
}
END_TEST


START_TEST(full_without_any_chunk)
{
    conduit_arena_t  *a;

    a = conduit_arena_create(0);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(conduit_arena_full(a), 0);

    ck_assert_ptr_null(conduit_arena_alloc(a, 0));
    ck_assert_int_eq(!conduit_arena_full(a), 0);

    conduit_arena_reset(a);
    ck_assert_int_eq(conduit_arena_full(a), 0);

    conduit_arena_free(a);
}
END_TEST


/* malloc() fails although the limit is not reached */

START_TEST(a_failed_malloc_does_not_count_as_full)
{
    conduit_arena_t  *a;

    a = conduit_arena_create(SIZE_MAX);
    ck_assert_ptr_nonnull(a);

    ck_assert_ptr_null(conduit_arena_alloc(a, SIZE_MAX / 4));
    ck_assert_int_eq(conduit_arena_full(a), 0);

    ck_assert_ptr_null(conduit_arena_alloc(a, SIZE_MAX));
    ck_assert_int_eq(!conduit_arena_full(a), 0);

    conduit_arena_free(a);
}
END_TEST


START_TEST(free_takes_null)
{
    conduit_arena_free(NULL);
}
END_TEST


START_TEST(memory_that_is_out_is_no_block)
{
    void             *first, *block;
    conduit_arena_t  *a;

    memory_count(1);
    ck_assert_ptr_null(conduit_arena_create(SIZE_MAX));
    memory_count(2);
    ck_assert_ptr_null(conduit_arena_create(SIZE_MAX));

    a = conduit_arena_create(SIZE_MAX);
    ck_assert_ptr_nonnull(a);
    first = conduit_arena_alloc(a, 1000);
    memset(first, 'x', 1000);

    /* no memory for a block's own chunk, then for a shared one */

    memory_count(1);
    ck_assert_ptr_null(conduit_arena_alloc(a, 1000000));
    ck_assert_uint_eq(memory_calls(), 1);

    memory_count(1);
    while (conduit_arena_alloc(a, 1000) != NULL) { /* void */ }
    ck_assert_uint_eq(memory_calls(), 1);

    ck_assert_int_eq(conduit_arena_full(a), 0);

    /* when memory is available again, the arena still works */

    block = conduit_arena_alloc(a, 1000);
    ck_assert_ptr_nonnull(block);
    memset(block, 'y', 1000);
    ck_assert_uint_eq(conduit_arena_size(first), 1000);
    ck_assert_mem_eq(first, "xxxx", 4);

    conduit_arena_free(a);
}
END_TEST


/* chunks grow from 64k to 1M; all of them do not exceed the limit */

START_TEST(chunks_double)
{
    size_t            i, n;
    conduit_arena_t  *a;

    memory_count(0);
    a = conduit_arena_create(SIZE_MAX);
    ck_assert_ptr_nonnull(a);
    ck_assert_uint_eq(memory_calls(), 2);
    ck_assert_uint_ge(memory_bytes(), 64 * 1024);
    ck_assert_uint_lt(memory_bytes(), 65 * 1024);

    /* 64k + 128k + 256k + 512k + 1M + 1M hold 3,000 blocks of 1,000 bytes */

    for (i = 0, n = 0; i < 3000; i++) {
        memory_count(0);
        ck_assert_ptr_nonnull(conduit_arena_alloc(a, 1000));

        if (memory_calls()) {
            n++;
            ck_assert_uint_eq(memory_bytes(),
                              (n < 4) ? (64u * 1024) << n : 1024 * 1024);
        }
    }

    ck_assert_uint_eq(n, 5);

    /* after a large block, the next ones still come from the shared chunk */

    memory_count(0);
    ck_assert_ptr_nonnull(conduit_arena_alloc(a, 1024 * 1024));
    ck_assert_uint_eq(memory_calls(), 1);
    ck_assert_uint_lt(memory_bytes(), 1024 * 1024 + 100);

    ck_assert_ptr_nonnull(conduit_arena_alloc(a, 1000));
    ck_assert_uint_eq(memory_calls(), 1);

    conduit_arena_free(a);

    /* the last chunk is as large as the limit permits */

    memory_count(0);
    a = conduit_arena_create(100 * 1024);
    ck_assert_ptr_nonnull(a);

    for (i = 0; conduit_arena_alloc(a, 1000) != NULL; i++) { /* void */ }

    ck_assert_uint_ge(i, 98);
    ck_assert_uint_eq(memory_calls(), 3);
    conduit_arena_free(a);

    memory_count(0);
    a = conduit_arena_create(10 * 1024);
    ck_assert_ptr_nonnull(a);

    /* the arena itself takes six words */

    ck_assert_uint_le(memory_bytes(), 10 * 1024 + 8 * sizeof(void *));
    conduit_arena_free(a);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("arena");
    tc = tcase_create("arena");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, blocks_are_aligned_and_apart);
    tcase_add_test(tc, an_arena_stays_below_its_limit);
    tcase_add_test(tc, sizes_do_not_overflow);
    tcase_add_test(tc, reset_gives_all_back);
    tcase_add_test(tc, full_tells_that_the_limit_refused);
    tcase_add_test(tc, full_without_any_chunk);
    tcase_add_test(tc, a_failed_malloc_does_not_count_as_full);
    tcase_add_test(tc, free_takes_null);
    tcase_add_test(tc, memory_that_is_out_is_no_block);
    tcase_add_test(tc, chunks_double);
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
