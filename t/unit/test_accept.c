/* Copyright (C) Conduit for NGINX authors */

/*
 * Tests of base/conduit_accept.c: the quality of a media type in "Accept".
 */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_accept.h"
#include "exact.h"

#define count(a)  (sizeof(a) / sizeof(a[0]))

#define JSON  "application/json"
#define NAMED  1000
#define NOT   -1


typedef struct {
    const char  *value;
    int          quality;    /* of application/json */
} accept_case_t;


static const accept_case_t  cases[] = {
    { JSON, NAMED },
    { "APPLICATION/Json", NAMED },
    { " \tapplication/json\t ", NAMED },
    { "text/html," JSON, NAMED },
    { "text/html , " JSON " ;q=0.5, */*", 500 },
    { ",," JSON ",", NAMED },

    /* other types */
    { "", NOT },
    { ",", NOT },
    { ";q=1", NOT },
    { "*/*", NOT },
    { "application/*", NOT },
    { "application/jso", NOT },
    { "application/jsonl", NOT },
    { "application/ json", NOT },
    { "text/html;x=application/json", NOT },
    { "text/html;x=\"," JSON ",\"", NOT },
    { "text/html;x=\"\\\"," JSON, NOT },
    { "text/html;x=\"" JSON, NOT },

    /* the quality */
    { JSON ";q=1", NAMED },
    { JSON ";q=1.000", NAMED },
    { JSON "; Q=0.25", 250 },
    { JSON ";q=0.001", 1 },
    { JSON ";q=0.0001", 1 },
    { JSON ";q=0.9999", 1000 },
    { JSON ";q=0.12", 120 },
    { JSON ";charset=utf-8;q=0.7", 700 },
    { JSON ";x=\";q=0\";q=0.7", 700 },
    { JSON ";q=0", 0 },
    { JSON ";q=0.", 0 },
    { JSON ";q=0.000", 0 },
    { JSON ";q=", 0 },
    { JSON " ; q=0 ; x=1", 0 },

    /* several of them */
    { JSON ";q=0.2, " JSON ";q=0.6, " JSON ";q=0.4", 600 },
    { JSON ";q=0, " JSON, NAMED },
    { "text/html;q=0.1, " JSON, NAMED },

    /* no quality */
    { JSON ";", NAMED },
    { JSON ";;", NAMED },
    { JSON ";q", NAMED },
    { JSON ";q=x", NAMED },
    { JSON ";q=0.x", NAMED },
    { JSON ";q=0.5x", NAMED },
    { JSON ";q=-1", NAMED },
    { JSON ";q=2", NAMED },
    { JSON ";q =0", NAMED },
    { JSON ";qq=0", NAMED },
    { JSON ";x=0", NAMED }
};


START_TEST(a_media_type_has_its_quality)
{
    int                   quality;
    char                 *text;
    size_t                len;
    const accept_case_t  *c;

    c = &cases[_i];
    len = strlen(c->value);

    /* of its exact size, so that ASan sees an access past its end */

    text = exact_copy(c->value, len);

    quality = conduit_accept_quality(text, len, JSON);

    ck_assert_msg(quality == c->quality, "\"%s\": %d, not %d", c->value,
                  quality, c->quality);

    free(text);
}
END_TEST


int
main(void)
{
    int       failed;
    Suite    *s;
    TCase    *tc;
    SRunner  *sr;

    s = suite_create("accept");
    tc = tcase_create("quality");
    tcase_add_loop_test(tc, a_media_type_has_its_quality, 0, count(cases));
    suite_add_tcase(s, tc);

    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);

    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
