/* Copyright (C) Conduit for NGINX authors */

/*
 * Any bytes as an organization, a UUID or a stream ID: if they are accepted,
 * writing the result and parsing it again returns the same.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conduit_id.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int good)
{
    if (!good) {
        abort();
    }
}


static void
fuzz_key(uint64_t org, const char *channel)
{
    char      key[CONDUIT_KEY_MAX];
    size_t    len, prefix;
    uint64_t  again;

    len = conduit_stream_key_write(org, channel, key);
    prefix = sizeof("stream:") - 1;

    fuzz_check(len <= CONDUIT_KEY_MAX);
    fuzz_check(memcmp(key, "stream:", prefix) == 0);
    fuzz_check(key[len - CONDUIT_UUID_LEN - 1] == ':');
    fuzz_check(memcmp(key + len - CONDUIT_UUID_LEN, channel, CONDUIT_UUID_LEN)
               == 0);
    fuzz_check(conduit_org_parse(key + prefix,
                                 len - CONDUIT_UUID_LEN - 1 - prefix, &again)
               == 0);
    fuzz_check(again == org);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char                 uuid[CONDUIT_UUID_LEN], again[CONDUIT_UUID_LEN];
    char                 text[CONDUIT_STREAM_ID_MAX];
    size_t               n;
    uint64_t             org;
    const char          *s;
    conduit_stream_id_t  id, copy;

    s = (const char *) data;

    if (conduit_org_parse(s, size, &org) == 0) {
        fuzz_check(size > 0 && size <= CONDUIT_ORG_MAX);
        fuzz_key(org, "97f58c19-ce38-4c6b-8a5b-47f3405691f0");
    }

    if (conduit_uuid_parse(s, size, uuid) == 0) {
        fuzz_check(size == 32 || size == 36 || size == 38 || size == 45);
        fuzz_check(conduit_uuid_parse(uuid, CONDUIT_UUID_LEN, again) == 0);
        fuzz_check(memcmp(uuid, again, CONDUIT_UUID_LEN) == 0);
        fuzz_key(size, uuid);
    }

    if (conduit_stream_id_parse(s, size, &id) == 0) {
        n = conduit_stream_id_write(&id, text);

        fuzz_check(n <= CONDUIT_STREAM_ID_MAX);
        fuzz_check(conduit_stream_id_parse(text, n, &copy) == 0);
        fuzz_check(conduit_stream_id_cmp(&id, &copy) == 0);
    }

    return 0;
}
