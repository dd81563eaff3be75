/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as a URL of Redis.  If it is accepted, all parts are inside of the
 * text and within their limits, and can be decoded.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_redis_url.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


static void
fuzz_text(conduit_text_t text, const char *s, size_t size)
{
    if (text.data == NULL) {
        fuzz_check(text.len == 0);
        return;
    }

    fuzz_check(text.data >= s && text.len <= size
               && (size_t) (text.data - s) <= size - text.len);
}


static void
fuzz_decode(conduit_text_t text, int good)
{
    long   n;
    char  *out;

    out = malloc(text.len + 1);
    fuzz_check(out != NULL);
    out[text.len] = '#';

    n = conduit_redis_url_decode(text, out);

    fuzz_check(out[text.len] == '#');
    fuzz_check(n <= (long) text.len && n >= -1);

    if (good) {
        fuzz_check(n >= 0 && memchr(out, '\0', (size_t) n) == NULL);
    }

    free(out);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                i;
    const char           *s, *err;
    conduit_text_t        all;
    conduit_redis_url_t   url;

    s = (const char *) data;

    all.data = s;
    all.len = size;
    fuzz_decode(all, 0);

    err = conduit_redis_url_parse(s, size, &url);

    if (err != NULL) {
        fuzz_check(strlen(err) > 0);
        return 0;
    }

    fuzz_text(url.user, s, size);
    fuzz_text(url.password, s, size);
    fuzz_text(url.path, s, size);
    fuzz_text(url.service, s, size);
    fuzz_decode(url.user, 1);
    fuzz_decode(url.password, 1);

    fuzz_check(url.db <= 0x7fffffff);
    fuzz_check(url.nhosts <= CONDUIT_REDIS_HOSTS);
    fuzz_check((url.nhosts == 0) == (url.scheme == CONDUIT_REDIS_UNIX));
    fuzz_check((url.path.len != 0) == (url.scheme == CONDUIT_REDIS_UNIX));
    fuzz_check((url.service.len != 0) == (url.scheme
                                          == CONDUIT_REDIS_SENTINEL));

    for (i = 0; i < url.nhosts; i++) {
        fuzz_text(url.hosts[i].name, s, size);
        fuzz_check(url.hosts[i].name.len > 0);
        fuzz_check(url.hosts[i].port > 0);
    }

    return 0;
}
