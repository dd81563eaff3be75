/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of gateway/conduit_deflate.c: zlib reads what clients are sent who join
 * a stream at each event, lose events, get others in between or several at
 * once; what can't be compressed; memory that is out; Accept-Encoding.
 */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "conduit_deflate.h"
#include "memory.h"

#define FRAMES  60
#define MOST    200000        /* bytes of a frame */


typedef struct {
    unsigned char  *data;
    size_t          len;
} frame_t;

/* a client: what it was sent, and what that has to be when it is read */

typedef struct {
    unsigned char  *sent;
    size_t          nsent;
    unsigned char  *plain;
    size_t          nplain;
    uint32_t        crc;
    const frame_t  *tail;     /* its bytes end with those of this frame */
} client_t;


static frame_t             frames[FRAMES];
static conduit_deflate_t  *d;


static void
set_frame(frame_t *f, const void *data, size_t len)
{
    free(f->data);
    f->data = malloc(len);
    f->len = len;
    memcpy(f->data, data, len);
}


/* an event of a stream of tokens, as Conduit writes it */

static void
token(frame_t *f, int n)
{
    char  text[400];

    snprintf(text, sizeof(text),
             "event: stream\nid: %d-0\ndata: {\"event_type\":\"stream\","
             "\"message_id\":\"%08x-%04x-4%03x-8%03x-%06x%06x\","
             "\"channel_id\":\"97f58c19-ce38-4c6b-8a5b-47f3405691f0\","
             "\"phase\":\"PHASE_DELTA\",\"sequence\":%d,"
             "\"payload\":{\"value\":\" word%d\"}}\n\n",
             1736467200 + n * 37, (unsigned) rand(), rand() & 0xffff,
             rand() & 0xfff, rand() & 0xfff, rand() & 0xffffff,
             rand() & 0xffffff, n, rand() % 100);

    set_frame(f, text, strlen(text));
}


/* random bytes, or such that repeat ones of another frame */

static void
bytes(frame_t *f, size_t len, const frame_t *other)
{
    size_t                 i;
    static unsigned char   data[MOST];

    for (i = 0; i < len; i++) {
        data[i] = other && rand() % 50 ? other->data[i % other->len]
                                       : (unsigned char) rand();
    }

    set_frame(f, data, len);
}


static void
setup(void)
{
    srand(1);
    d = conduit_deflate_create();
    ck_assert_ptr_nonnull(d);
}


static void
teardown(void)
{
    int  i;

    for (i = 0; i < FRAMES; i++) {
        free(frames[i].data);
        frames[i].data = NULL;
    }

    conduit_deflate_destroy(d);
}


static void
grow(unsigned char **to, size_t *n, const void *data, size_t len)
{
    *to = realloc(*to, *n + len);
    memcpy(*to + *n, data, len);
    *n += len;
}


static void
put(client_t *c, const void *data, size_t len)
{
    grow(&c->sent, &c->nsent, data, len);
}


static void
begin(client_t *c)
{
    memset(c, 0, sizeof(client_t));
    put(c, conduit_deflate_header, CONDUIT_DEFLATE_HEADER);
}


static void
stored(client_t *c, const unsigned char *data, size_t len)
{
    size_t         n;
    unsigned char  head[CONDUIT_DEFLATE_STORED];

    for ( /* void */ ; len; data += n, len -= n) {
        n = len < CONDUIT_DEFLATE_BLOCK ? len : CONDUIT_DEFLATE_BLOCK;
        conduit_deflate_stored(n, head);
        put(c, head, sizeof(head));
        put(c, data, n);
    }
}


static void
count(client_t *c, const void *data, size_t len)
{
    grow(&c->plain, &c->nplain, data, len);
    c->crc = conduit_deflate_crc_join(c->crc, conduit_deflate_crc(data, len),
                                      conduit_deflate_crc_op(len));
}


static void
text(client_t *c, const char *s)
{
    stored(c, (const unsigned char *) s, strlen(s));
    count(c, s, strlen(s));
    c->tail = NULL;
}


/* sends a frame, chained if the client has one before; returns the bytes */

static size_t
send_frame(client_t *c, const frame_t *f)
{
    size_t                n, before;
    const unsigned char  *piece;

    before = c->nsent;

    piece = conduit_deflate_piece(d, c->tail ? c->tail->data : NULL,
                                  c->tail ? c->tail->len : 0, f->data, f->len,
                                  &n);

    if (piece != NULL) {
        put(c, piece, n);

    } else {
        stored(c, f->data, f->len);
    }

    count(c, f->data, f->len);
    c->tail = f;

    return c->nsent - before;
}


/* reads all as a browser does: by one inflate, which checks the trailer */

static int
read_back(const unsigned char *sent, size_t nsent, unsigned char *out,
    size_t *len, int *rest)
{
    int       rc;
    z_stream  s;

    memset(&s, 0, sizeof(s));
    ck_assert_int_eq(inflateInit2(&s, 16 + MAX_WBITS), Z_OK);

    s.next_in = (unsigned char *) (uintptr_t) sent;
    s.avail_in = (unsigned int) nsent;
    s.next_out = out;
    s.avail_out = (unsigned int) *len;

    rc = inflate(&s, Z_SYNC_FLUSH);

    *len -= s.avail_out;
    *rest = (int) s.avail_in;

    inflateEnd(&s);

    return rc;
}


/* what was sent so far is complete: an event waits for no byte after it */

static void
check_so_far(client_t *c)
{
    int             rc, rest;
    size_t          len;
    unsigned char  *out;

    len = c->nplain + 1;
    out = malloc(len);

    rc = read_back(c->sent, c->nsent, out, &len, &rest);

    ck_assert(rc == Z_OK || rc == Z_BUF_ERROR);
    ck_assert_int_eq(rest, 0);
    ck_assert_uint_eq(len, c->nplain);
    ck_assert(len == 0 || memcmp(out, c->plain, len) == 0);

    free(out);
}


static void
check_end(client_t *c)
{
    int             rc, rest;
    size_t          len;
    unsigned char  *out, end[CONDUIT_DEFLATE_END];

    conduit_deflate_end(c->crc, (uint32_t) c->nplain, end);
    put(c, end, sizeof(end));

    len = c->nplain + 1;
    out = malloc(len);

    rc = read_back(c->sent, c->nsent, out, &len, &rest);

    ck_assert_int_eq(rc, Z_STREAM_END);
    ck_assert_int_eq(rest, 0);
    ck_assert_uint_eq(len, c->nplain);
    ck_assert(len == 0 || memcmp(out, c->plain, len) == 0);

    free(out);
    free(c->sent);
    free(c->plain);
}


START_TEST(a_client_joins_at_any_event)
{
    int       i, from;
    client_t  c;

    for (i = 0; i < FRAMES; i++) {
        token(&frames[i], i);
    }

    for (from = 0; from < FRAMES; from++) {
        begin(&c);
        text(&c, "retry: 500\n\n");

        for (i = from; i < FRAMES; i++) {
            send_frame(&c, &frames[i]);
            check_so_far(&c);
        }

        check_end(&c);
    }
}
END_TEST


START_TEST(clients_at_different_places_share_the_pieces)
{
    int                   i, from, skip;
    size_t                n, alone[FRAMES], chained[FRAMES];
    client_t              c;
    unsigned char        *a[FRAMES], *b[FRAMES];
    const unsigned char  *piece;

    for (i = 0; i < FRAMES; i++) {
        token(&frames[i], i);
    }

    for (i = 0; i < FRAMES; i++) {
        piece = conduit_deflate_piece(d, NULL, 0, frames[i].data,
                                      frames[i].len, &n);
        ck_assert_ptr_nonnull(piece);
        a[i] = NULL;
        alone[i] = 0;
        grow(&a[i], &alone[i], piece, n);

        b[i] = NULL;
        chained[i] = 0;

        if (i) {
            piece = conduit_deflate_piece(d, frames[i - 1].data,
                                          frames[i - 1].len, frames[i].data,
                                          frames[i].len, &n);
            ck_assert_ptr_nonnull(piece);
            grow(&b[i], &chained[i], piece, n);
        }
    }

    for (from = 0; from < FRAMES; from++) {
        for (skip = from + 1; skip < FRAMES; skip++) {
            begin(&c);

            for (i = from; i < FRAMES; i++) {

                /* the event of number skip is lost to this client */

                if (i == skip) {
                    continue;
                }

                if (i == from || i == skip + 1) {
                    put(&c, a[i], alone[i]);

                } else {
                    put(&c, b[i], chained[i]);
                }

                count(&c, frames[i].data, frames[i].len);
            }

            check_end(&c);
        }
    }

    for (i = 0; i < FRAMES; i++) {
        free(a[i]);
        free(b[i]);
    }
}
END_TEST


START_TEST(a_piece_chained_to_other_bytes_is_wrong)
{
    int             rc, rest;
    size_t          n, len;
    client_t        c;
    unsigned char   out[1000];

    /* the second one is longer than the first */

    token(&frames[0], 0);
    token(&frames[1], 10000);
    token(&frames[2], 10001);

    begin(&c);
    send_frame(&c, &frames[0]);
    c.tail = &frames[1];
    send_frame(&c, &frames[2]);

    len = sizeof(out);
    rc = read_back(c.sent, c.nsent, out, &len, &rest);
    n = frames[0].len;

    ck_assert(rc == Z_DATA_ERROR || len != c.nplain
              || memcmp(out + n, frames[2].data, len - n) != 0);

    free(c.sent);
    free(c.plain);
}
END_TEST


START_TEST(a_stream_of_tokens_is_a_third_or_less)
{
    int       i;
    size_t    first, chained, plain;
    client_t  c;

    begin(&c);
    first = 0;
    chained = 0;
    plain = 0;

    for (i = 0; i < FRAMES; i++) {
        token(&frames[i], i);

        if (i == 0) {
            first = send_frame(&c, &frames[i]);

        } else {
            chained += send_frame(&c, &frames[i]);
            plain += frames[i].len;
        }
    }

    ck_assert_uint_lt(first, frames[0].len);
    ck_assert_uint_lt(chained * 3, plain);
    check_end(&c);
}
END_TEST


/* any events in any order: large ones, such that can't be compressed, lost
   ones, bundles, other bytes */

START_TEST(any_sequence_is_read_back)
{
    int       i, n, step, from, to;
    size_t    len;
    client_t  c;
    frame_t   bundle;

    srand(_i);

    for (i = 0; i < FRAMES; i++) {

        switch (rand() % 8) {

        case 0:
            bytes(&frames[i], (size_t) (1 + rand() % 400), NULL);
            break;

        case 1:
            bytes(&frames[i], (size_t) (30000 + rand() % 40000),
                  i ? &frames[i - 1] : NULL);
            break;

        case 2:
            bytes(&frames[i], (size_t) (1 + rand() % MOST), NULL);
            break;

        default:
            token(&frames[i], i);
        }
    }

    for (n = 0; n < 4; n++) {
        begin(&c);
        text(&c, "retry: 500\n\n");

        for (step = 0, i = rand() % FRAMES; step < 30; step++) {

            switch (rand() % 10) {

            case 0:
                text(&c, ":\n");
                break;

            case 1:
                text(&c, "event: control\ndata: {}\n\n");
                i = rand() % FRAMES;
                break;

            case 2:
                i = rand() % FRAMES;
                break;

            case 3:

                /* a bundle; the next event is chained to its last */

                from = i;
                to = from + rand() % 5 < FRAMES ? from + rand() % 5 : from;
                to = to < FRAMES ? to : FRAMES - 1;
                bundle.data = NULL;
                len = 0;

                for (i = from; i <= to; i++) {
                    grow(&bundle.data, &len, frames[i].data, frames[i].len);
                }

                bundle.len = len;
                send_frame(&c, &bundle);
                c.tail = &frames[to];
                free(bundle.data);
                i = (to + 1) % FRAMES;
                break;

            default:
                send_frame(&c, &frames[i]);
                i = (i + 1) % FRAMES;
            }
        }

        check_so_far(&c);
        check_end(&c);
    }
}
END_TEST


START_TEST(what_does_not_get_shorter_is_stored)
{
    size_t    n;
    client_t  c;

    bytes(&frames[0], 500, NULL);
    ck_assert_ptr_null(conduit_deflate_piece(d, NULL, 0, frames[0].data, 500,
                                             &n));

    bytes(&frames[1], MOST, NULL);
    ck_assert_ptr_null(conduit_deflate_piece(d, NULL, 0, frames[1].data, MOST,
                                             &n));

    ck_assert_ptr_null(conduit_deflate_piece(d, NULL, 0, "", 0, &n));
    ck_assert_ptr_null(conduit_deflate_piece(d, "abc", 3, "a", 1, &n));

    /* the state can be used after a piece that was given up */

    token(&frames[2], 2);

    begin(&c);
    send_frame(&c, &frames[1]);
    ck_assert_uint_lt(send_frame(&c, &frames[2]), frames[2].len);
    check_so_far(&c);
    check_end(&c);
}
END_TEST


START_TEST(the_last_32k_of_a_dictionary_count)
{
    size_t                n, first;
    unsigned char        *copy;
    const unsigned char  *piece;

    bytes(&frames[0], 100000, NULL);
    set_frame(&frames[1], frames[0].data + 99000, 1000);

    piece = conduit_deflate_piece(d, frames[0].data, 100000, frames[1].data,
                                  1000, &first);
    ck_assert_ptr_nonnull(piece);
    ck_assert_uint_lt(first, 50);

    copy = malloc(first);
    memcpy(copy, piece, first);

    piece = conduit_deflate_piece(d, frames[0].data + 100000 - 32768, 32768,
                                  frames[1].data, 1000, &n);

    ck_assert_uint_eq(n, first);
    ck_assert_mem_eq(piece, copy, n);

    free(copy);
}
END_TEST


START_TEST(crcs_are_joined)
{
    int       i;
    size_t    a, b;
    uint32_t  crc;

    bytes(&frames[0], MOST, NULL);

    ck_assert_uint_eq(conduit_deflate_crc("123456789", 9), 0xcbf43926U);

    for (i = 0; i < 300; i++) {
        a = i < 20 ? (size_t) i : (size_t) rand() % (MOST / 2);
        b = i % 20 ? (size_t) rand() % (MOST / 2) : (size_t) i / 20;

        crc = conduit_deflate_crc_join(
                  a ? conduit_deflate_crc(frames[0].data, a) : 0,
                  conduit_deflate_crc(frames[0].data + a, b),
                  conduit_deflate_crc_op(b));

        ck_assert_uint_eq(crc, crc32(0, frames[0].data, (unsigned) (a + b)));
    }

    /* as many bytes as no test has: by zlib's own */

    crc = conduit_deflate_crc_join(1, 2, conduit_deflate_crc_op(1L << 40));
    ck_assert_uint_eq(crc, crc32_combine(1, 2, 1L << 40));
}
END_TEST


START_TEST(stored_blocks_and_trailers_have_their_bytes)
{
    unsigned char  out[CONDUIT_DEFLATE_END];

    conduit_deflate_stored(0, out);
    ck_assert_mem_eq(out, "\0\0\0\377\377", 5);
    conduit_deflate_stored(2, out);
    ck_assert_mem_eq(out, "\0\2\0\375\377", 5);
    conduit_deflate_stored(CONDUIT_DEFLATE_BLOCK, out);
    ck_assert_mem_eq(out, "\0\377\377\0\0", 5);

    conduit_deflate_end(0x01020304, 0xf1f2f3f4, out);
    ck_assert_mem_eq(out, "\3\0\4\3\2\1\364\363\362\361", 10);
}
END_TEST


START_TEST(memory_that_is_out)
{
    size_t                n, i, calls;
    conduit_deflate_t    *other;

    memory_count(0);
    other = conduit_deflate_create();
    calls = memory_calls();
    conduit_deflate_destroy(other);

    ck_assert_uint_gt(calls, 1);

    for (i = 1; i <= calls; i++) {
        memory_count(i);
        ck_assert_ptr_null(conduit_deflate_create());
    }

    memory_count(0);
    token(&frames[0], 0);

    memory_count(1);
    ck_assert_ptr_null(conduit_deflate_piece(d, NULL, 0, frames[0].data,
                                             frames[0].len, &n));
    memory_count(0);
    ck_assert_ptr_nonnull(conduit_deflate_piece(d, NULL, 0, frames[0].data,
                                                frames[0].len, &n));

    /* a buffer that was large once is not kept */

    bytes(&frames[1], 40000, &frames[0]);

    for (i = 0; i < 8; i++) {
        set_frame(&frames[2], frames[1].data, 40000);
        ck_assert_ptr_nonnull(conduit_deflate_piece(d, NULL, 0, frames[2].data,
                                                    frames[2].len, &n));
    }

    conduit_deflate_destroy(NULL);
}
END_TEST


typedef struct {
    const char  *value;
    int          accepted;
} accept_t;

static const accept_t  accepts[] = {
    { "gzip", 1 },
    { "gzip, deflate, br", 1 },
    { "br, deflate,GZIP", 1 },
    { "deflate , \t gzip ;q=1", 1 },
    { "gzip;q=0.001", 1 },
    { "gzip;q=1.000", 1 },
    { "gzip; Q=0.5, identity", 1 },
    { "identity, gzip;q=0.8\t", 1 },
    { ",gzip,", 1 },
    { "", 0 },
    { ",", 0 },
    { "gzi", 0 },
    { "gzipp", 0 },
    { "x-gzip", 0 },
    { "agzip", 0 },
    { "*", 0 },
    { "identity", 0 },
    { "br;q=1.0, deflate", 0 },
    { "gzip;q=0", 0 },
    { "gzip;q=0.", 0 },
    { "gzip;q=0.000", 0 },
    { "gzip ; q=0, *", 0 },
    { "gzip;q=0.0001", 0 },
    { "gzip;q=.5", 0 },
    { "gzip;q=2", 0 },
    { "gzip;q=1x", 0 },
    { "gzip;q", 0 },
    { "gzip;q=", 0 },
    { "gzip;", 0 },
    { "gzip;p=1", 0 },
    { "gzip q=1", 0 }
};


START_TEST(accept_encoding_decides_about_gzip)
{
    size_t           len;
    char            *copy;
    const accept_t  *row;

    row = &accepts[_i];

    /* of its exact size, so that a read past the end is seen */

    len = strlen(row->value);
    copy = malloc(len + 1);
    memcpy(copy + 1, row->value, len);

    ck_assert_msg(conduit_deflate_accepted(copy + 1, len) == row->accepted,
                  "\"%s\"", row->value);

    free(copy);
}
END_TEST


int
main(void)
{
    int       failed;
    TCase    *tc;
    Suite    *s;
    SRunner  *sr;

    s = suite_create("deflate");
    tc = tcase_create("deflate");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_client_joins_at_any_event);
    tcase_add_test(tc, clients_at_different_places_share_the_pieces);
    tcase_add_test(tc, a_piece_chained_to_other_bytes_is_wrong);
    tcase_add_test(tc, a_stream_of_tokens_is_a_third_or_less);
    tcase_add_loop_test(tc, any_sequence_is_read_back, 0, 12);
    tcase_add_test(tc, what_does_not_get_shorter_is_stored);
    tcase_add_test(tc, the_last_32k_of_a_dictionary_count);
    tcase_add_test(tc, crcs_are_joined);
    tcase_add_test(tc, stored_blocks_and_trailers_have_their_bytes);
    tcase_add_test(tc, memory_that_is_out);
    tcase_add_loop_test(tc, accept_encoding_decides_about_gzip, 0,
                        sizeof(accepts) / sizeof(accepts[0]));
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
