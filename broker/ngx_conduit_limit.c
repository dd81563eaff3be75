/* Copyright (C) Conduit for NGINX authors */

/*
 * Limits on what a server may send.
 *
 * The parser of hiredis creates the objects of a reply, as they come in,
 * through functions of the reader: here these functions count and check the
 * objects.  If one returns NULL, hiredis ends the connection.  A string is
 * created when it is complete in the reader's buffer, so the size of the buffer
 * is checked before each read.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_limit.h"


/* memory of an element, besides its bytes, roughly */
#define NGX_CONDUIT_LIMIT_OBJECT  64


#if (HIREDIS_MAJOR >= 1)
typedef size_t  ngx_conduit_limit_count_t;
#else
typedef int     ngx_conduit_limit_count_t;
#endif


static void *ngx_conduit_limit_string(const redisReadTask *task, char *str,
    size_t len);
static void *ngx_conduit_limit_array(const redisReadTask *task,
    ngx_conduit_limit_count_t n);
static void *ngx_conduit_limit_integer(const redisReadTask *task,
    long long value);
static void *ngx_conduit_limit_nil(const redisReadTask *task);
#if (HIREDIS_MAJOR >= 1)
static void *ngx_conduit_limit_double(const redisReadTask *task, double value,
    char *str, size_t len);
static void *ngx_conduit_limit_bool(const redisReadTask *task, int value);
#endif
static void ngx_conduit_limit_free(void *reply);
static ngx_uint_t ngx_conduit_limit_add(const redisReadTask *task, size_t n);
static ngx_uint_t ngx_conduit_limit_expected(const redisReadTask *task,
    const char *str, size_t n);
static ngx_uint_t ngx_conduit_limit_waited_for(const redisReadTask *task,
    size_t n);
static ngx_uint_t ngx_conduit_limit_is(const char *str, size_t len,
    const char *text);


/* the reply that a running handler keeps, or NULL */
static void                      *ngx_conduit_limit_kept;

static redisReplyObjectFunctions  ngx_conduit_limit_default;
static redisReplyObjectFunctions  ngx_conduit_limit_functions;


void
ngx_conduit_limit_attach(redisAsyncContext *ac, ngx_conduit_limit_t *l)
{
    redisReader  *reader;

    reader = ac->c.reader;

    if (ngx_conduit_limit_functions.createString == NULL) {
        ngx_conduit_limit_default = *reader->fn;
        ngx_conduit_limit_functions = *reader->fn;
        ngx_conduit_limit_functions.createString = ngx_conduit_limit_string;
        ngx_conduit_limit_functions.createArray = ngx_conduit_limit_array;
        ngx_conduit_limit_functions.createInteger = ngx_conduit_limit_integer;
        ngx_conduit_limit_functions.createNil = ngx_conduit_limit_nil;
        ngx_conduit_limit_functions.freeObject = ngx_conduit_limit_free;
#if (HIREDIS_MAJOR >= 1)
        ngx_conduit_limit_functions.createDouble = ngx_conduit_limit_double;
        ngx_conduit_limit_functions.createBool = ngx_conduit_limit_bool;
#endif
    }

    l->ac = ac;
    l->channel = NULL;
    l->bytes = 0;
    l->message = 0;
    l->exceeded = 0;
    l->unexpected = 0;
    l->read = ngx_current_msec;

    reader->fn = &ngx_conduit_limit_functions;
    reader->privdata = l;
}


void
ngx_conduit_limit_subscribe(ngx_conduit_limit_t *l, const char *channel)
{
    l->channel = channel;
}


void
ngx_conduit_limit_reset(ngx_conduit_limit_t *l)
{
    l->bytes = 0;
}


void
ngx_conduit_limit_read(redisAsyncContext *ac)
{
    ngx_conduit_limit_t  *l = ac->c.reader->privdata;

    l->read = ngx_current_msec;
}


ngx_uint_t
ngx_conduit_limit_exceeded(redisAsyncContext *ac)
{
    redisReader          *reader;
    ngx_conduit_limit_t  *l;

    reader = ac->c.reader;
    l = reader->privdata;

    if (reader->len - reader->pos <= NGX_CONDUIT_REPLY_MAX) {
        return 0;
    }

    l->exceeded = 1;

    return 1;
}


size_t
ngx_conduit_limit_rest(redisAsyncContext *ac)
{
    redisReader          *reader;
    ngx_conduit_limit_t  *l;

    reader = ac->c.reader;
    l = reader->privdata;

    return l->bytes + (reader->len - reader->pos);
}


void
ngx_conduit_limit_keep(redisReply *reply)
{
    ngx_conduit_limit_kept = reply;
}


/* hiredis frees each reply when its callback returns; before 1.1 this is the
   only way to prevent that */

static void
ngx_conduit_limit_free(void *reply)
{
    if (reply != NULL && reply == ngx_conduit_limit_kept) {
        ngx_conduit_limit_kept = NULL;
        return;
    }

    ngx_conduit_limit_default.freeObject(reply);
}


static void *
ngx_conduit_limit_string(const redisReadTask *task, char *str, size_t len)
{
    if (!ngx_conduit_limit_expected(task, str, len)
        || !ngx_conduit_limit_add(task, len + NGX_CONDUIT_LIMIT_OBJECT))
    {
        return NULL;
    }

    return ngx_conduit_limit_default.createString(task, str, len);
}


static void *
ngx_conduit_limit_array(const redisReadTask *task, ngx_conduit_limit_count_t n)
{
    if (!ngx_conduit_limit_expected(task, NULL, n)
        || !ngx_conduit_limit_add(task, (size_t) n * NGX_CONDUIT_LIMIT_OBJECT))
    {
        return NULL;
    }

    return ngx_conduit_limit_default.createArray(task, n);
}


static void *
ngx_conduit_limit_integer(const redisReadTask *task, long long value)
{
    if (!ngx_conduit_limit_expected(task, NULL, 0)) {
        return NULL;
    }

    return ngx_conduit_limit_default.createInteger(task, value);
}


static void *
ngx_conduit_limit_nil(const redisReadTask *task)
{
    if (!ngx_conduit_limit_expected(task, NULL, 0)) {
        return NULL;
    }

    return ngx_conduit_limit_default.createNil(task);
}


#if (HIREDIS_MAJOR >= 1)

static void *
ngx_conduit_limit_double(const redisReadTask *task, double value, char *str,
    size_t len)
{
    if (!ngx_conduit_limit_expected(task, NULL, 0)) {
        return NULL;
    }

    return ngx_conduit_limit_default.createDouble(task, value, str, len);
}


static void *
ngx_conduit_limit_bool(const redisReadTask *task, int value)
{
    if (!ngx_conduit_limit_expected(task, NULL, 0)) {
        return NULL;
    }

    return ngx_conduit_limit_default.createBool(task, value);
}

#endif


static ngx_uint_t
ngx_conduit_limit_add(const redisReadTask *task, size_t n)
{
    ngx_conduit_limit_t  *l = task->privdata;

    if (n > NGX_CONDUIT_REPLY_MAX - l->bytes) {
        l->exceeded = 1;
        return 0;
    }

    l->bytes += n;

    return 1;
}


/*
 * Whether an object is part of an expected reply.  str is NULL unless the
 * object is a string; n is the length, or the number of elements.
 */

static ngx_uint_t
ngx_conduit_limit_expected(const redisReadTask *task, const char *str,
    size_t n)
{
    ngx_conduit_limit_t  *l = task->privdata;

    if (task->parent == NULL) {

        if (ngx_conduit_limit_waited_for(task, n)) {
            return 1;
        }

        l->unexpected = 1;
        return 0;
    }

    if (!l->message || task->parent->parent != NULL || task->idx > 1) {
        return 1;
    }

    /* ["message", channel, ...] or ["subscribe", channel, ...]: hiredis looks
       up the channel, and would act on an "unsubscribe" */

    if (str != NULL && task->type == REDIS_REPLY_STRING
        && (task->idx ? ngx_conduit_limit_is(str, n, l->channel)
                      : ngx_conduit_limit_is(str, n, "message")
                        || ngx_conduit_limit_is(str, n, "subscribe")))
    {
        return 1;
    }

    l->unexpected = 1;

    return 0;
}


static ngx_uint_t
ngx_conduit_limit_waited_for(const redisReadTask *task, size_t n)
{
    ngx_conduit_limit_t  *l = task->privdata;

    l->message = 0;

#if (HIREDIS_MAJOR >= 1)
    if (task->type == REDIS_REPLY_PUSH) {
        /* RESP3, which was never requested */
        return 0;
    }
#endif

    if (l->ac->replies.head != NULL) {
        return 1;
    }

    if (task->type == REDIS_REPLY_ERROR) {

        /* this is how a server says that it has too many clients: hiredis
           closes the connection, with the text as the reason */

        return 1;
    }

    l->message = (l->channel != NULL && task->type == REDIS_REPLY_ARRAY
                  && n == 3);

    return l->message;
}


static ngx_uint_t
ngx_conduit_limit_is(const char *str, size_t len, const char *text)
{
    return len == ngx_strlen(text) && ngx_memcmp(str, text, len) == 0;
}
