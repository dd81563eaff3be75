/* Copyright (C) Conduit for NGINX authors */

#include <string.h>
#include <strings.h>

#include "conduit_redis_error.h"


#define CONDUIT_REDIS_SCRIPT  "ERR Error running script "
#define CONDUIT_REDIS_INNER   ": -"


const char * const  conduit_redis_error_names[] = {
    "other", "oom", "readonly", "loading", "busy", "cluster", "masterdown",
    "noreplicas", "misconf", NULL
};


static const struct {
    const char             *code;
    conduit_redis_error_e   kind;
} conduit_redis_errors[] = {
    { "OOM", CONDUIT_REDIS_ERROR_OOM },
    { "READONLY", CONDUIT_REDIS_ERROR_READONLY },
    { "LOADING", CONDUIT_REDIS_ERROR_LOADING },
    { "BUSY", CONDUIT_REDIS_ERROR_BUSY },
    { "CLUSTERDOWN", CONDUIT_REDIS_ERROR_CLUSTER },
    { "TRYAGAIN", CONDUIT_REDIS_ERROR_CLUSTER },
    { "MOVED", CONDUIT_REDIS_ERROR_CLUSTER },
    { "ASK", CONDUIT_REDIS_ERROR_CLUSTER },
    { "MASTERDOWN", CONDUIT_REDIS_ERROR_MASTERDOWN },
    { "NOREPLICAS", CONDUIT_REDIS_ERROR_NOREPLICAS },
    { "MISCONF", CONDUIT_REDIS_ERROR_MISCONF }
};


static const char *conduit_redis_error_in_script(const char *text,
    size_t len);
static size_t conduit_redis_error_word(const char *s, const char *end);


const char *
conduit_redis_error_code(const char *text, size_t text_len, size_t *len)
{
    const char  *code;

    code = conduit_redis_error_in_script(text, text_len);

    if (code == NULL) {
        code = text;
    }

    *len = conduit_redis_error_word(code, text + text_len);

    return code;
}


conduit_redis_error_e
conduit_redis_error_kind(const char *text, size_t len)
{
    size_t       i, n;
    const char  *code;

    code = conduit_redis_error_code(text, len, &n);

    for (i = 0;
         i < sizeof(conduit_redis_errors) / sizeof(conduit_redis_errors[0]);
         i++)
    {
        if (strlen(conduit_redis_errors[i].code) == n
            && memcmp(conduit_redis_errors[i].code, code, n) == 0)
        {
            return conduit_redis_errors[i].kind;
        }
    }

    return CONDUIT_REDIS_ERROR_OTHER;
}


int
conduit_redis_error_is(const char *text, const char *word)
{
    return strncmp(text, word, strlen(word)) == 0;
}


int
conduit_redis_error_has(const char *text, const char *word)
{
    size_t  n;

    n = strlen(word);

    for (; *text != '\0'; text++) {
        if (strncasecmp(text, word, n) == 0) {
            return 1;
        }
    }

    return 0;
}


/*
 * Redis 6 wraps the error of a command in a script.  Returns where the
 * command's error begins, behind the first ": -", or NULL if the text is not
 * wrapped.  Nothing that the command says can precede that ": -".
 */

static const char *
conduit_redis_error_in_script(const char *text, size_t len)
{
    size_t  i, n;

    if (len < sizeof(CONDUIT_REDIS_SCRIPT) - 1
        || memcmp(text, CONDUIT_REDIS_SCRIPT, sizeof(CONDUIT_REDIS_SCRIPT) - 1)
           != 0)
    {
        return NULL;
    }

    n = sizeof(CONDUIT_REDIS_INNER) - 1;

    for (i = sizeof(CONDUIT_REDIS_SCRIPT) - 1; i + n < len; i++) {
        if (memcmp(text + i, CONDUIT_REDIS_INNER, n) == 0) {
            return text + i + n;
        }
    }

    return NULL;
}


/* returns the length of the word at s */

static size_t
conduit_redis_error_word(const char *s, const char *end)
{
    const char  *p;

    for (p = s; p < end && *p != ' '; p++) { /* void */ }

    return p - s;
}
