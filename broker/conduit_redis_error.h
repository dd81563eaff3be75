/* Copyright (C) Conduit for NGINX authors */

/*
 * Error replies of Redis: finds the error code, and tells what kind of error it
 * is.  Pure: no NGINX type, no allocation.
 */

#ifndef CONDUIT_REDIS_ERROR_H
#define CONDUIT_REDIS_ERROR_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* in the order of conduit_redis_error_names */
typedef enum {
    CONDUIT_REDIS_ERROR_OTHER = 0,    /* a retry would fail, too */
    CONDUIT_REDIS_ERROR_OOM,          /* maxmemory is reached */
    CONDUIT_REDIS_ERROR_READONLY,     /* the server is a replica */
    CONDUIT_REDIS_ERROR_LOADING,      /* the server is loading its data set */
    CONDUIT_REDIS_ERROR_BUSY,         /* the server runs a slow script */
    CONDUIT_REDIS_ERROR_CLUSTER,      /* CLUSTERDOWN, TRYAGAIN, MOVED, ASK */
    CONDUIT_REDIS_ERROR_MASTERDOWN,
    CONDUIT_REDIS_ERROR_NOREPLICAS,   /* fewer than min-replicas-to-write */
    CONDUIT_REDIS_ERROR_MISCONF,      /* it can't save and refuses writes */
    CONDUIT_REDIS_ERRORS
} conduit_redis_error_e;

/* "other", "oom", "readonly" and so on; NULL at the end */
extern const char * const  conduit_redis_error_names[];


/*
 * Finds the code of an error, "OOM" in "OOM command not allowed".  The error of
 * a command in a script is unwrapped, Redis 6 writes it as
 *     ERR Error running script (call to f_<sha>): @user_script:7:
 *     @user_script: 7: -OOM command not allowed
 * Returns where the code starts in text, and sets *len to its length.
 */
const char *conduit_redis_error_code(const char *text, size_t text_len,
    size_t *len);

/* Returns the kind of an error; all kinds but OTHER are temporary. */
conduit_redis_error_e conduit_redis_error_kind(const char *text, size_t len);

/*
 * Look at an error reply, a zero-terminated text: whether it begins with a word
 * ("MOVED "), and whether a word is anywhere in it, in any case.  Return 1 or
 * 0.
 */
int conduit_redis_error_is(const char *text, const char *word);
int conduit_redis_error_has(const char *text, const char *word);

#pragma GCC visibility pop

#endif /* CONDUIT_REDIS_ERROR_H */
