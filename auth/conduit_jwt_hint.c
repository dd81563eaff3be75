/* Copyright (C) Conduit for NGINX authors */

/*
 * Common mistakes in files with secrets and public keys, made by hand or by the
 * tools that write them.
 */

#include <string.h>

#include "conduit_jwt_private.h"


static const char *conduit_jwt_hint_around(const char *data, size_t len);
static int conduit_jwt_begins(const char *data, size_t len, const char *text);
static int conduit_jwt_ends(const char *data, size_t len, const char *text);


const char *
conduit_jwt_hint_secret(const char *data, size_t len)
{
    const char  *hint;

    len = conduit_jwt_secret_len(data, len);

    hint = conduit_jwt_hint_around(data, len);

    if (hint != NULL) {
        return hint;
    }

    if (conduit_jwt_ends(data, len, "\n")) {
        return "it ends with several line ends, only the last one is ignored";
    }

    if (conduit_jwt_ends(data, len, "\\n")) {
        return "it ends with a backslash and an \"n\", which are part of it";
    }

    return NULL;
}


const char *
conduit_jwt_hint_public(const char *data, size_t len)
{
    const char  *hint;

    hint = conduit_jwt_hint_around(data, conduit_jwt_secret_len(data, len));

    if (hint != NULL) {
        return hint;
    }

    if (conduit_jwt_contains(data, len, "-----\\n")) {
        return "it has a backslash and an \"n\" where a line should end";
    }

    return NULL;
}


static const char *
conduit_jwt_hint_around(const char *data, size_t len)
{
    /* byte order marks of UTF-8, and of UTF-16 in both byte orders */

    if (conduit_jwt_begins(data, len, "\xef\xbb\xbf")
        || conduit_jwt_begins(data, len, "\xff\xfe")
        || conduit_jwt_begins(data, len, "\xfe\xff"))
    {
        return "it begins with a byte order mark, which is part of it";
    }

    if (len >= 2 && data[0] == data[len - 1]
        && (data[0] == '"' || data[0] == '\''))
    {
        return "it is in quotes, which are part of it";
    }

    return NULL;
}


static int
conduit_jwt_begins(const char *data, size_t len, const char *text)
{
    return len >= strlen(text) && memcmp(data, text, strlen(text)) == 0;
}


static int
conduit_jwt_ends(const char *data, size_t len, const char *text)
{
    size_t  n;

    n = strlen(text);

    return len >= n && memcmp(data + len - n, text, n) == 0;
}
