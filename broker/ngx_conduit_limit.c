/*
 * A limit to the size of one reply.
 *
 * The parser of hiredis makes the objects of a reply as its parts come in, by
 * functions of the reader: they are counted there.  A string is made when all
 * of it is in the reader's buffer, which is looked at before each read.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_limit.h"


/* what an element takes beside its bytes, roughly */
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
static ngx_uint_t ngx_conduit_limit_add(const redisReadTask *task, size_t n);


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
    }

    l->bytes = 0;
    l->exceeded = 0;

    reader->fn = &ngx_conduit_limit_functions;
    reader->privdata = l;
}


void
ngx_conduit_limit_reset(ngx_conduit_limit_t *l)
{
    l->bytes = 0;
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


static void *
ngx_conduit_limit_string(const redisReadTask *task, char *str, size_t len)
{
    if (!ngx_conduit_limit_add(task, len + NGX_CONDUIT_LIMIT_OBJECT)) {
        return NULL;
    }

    return ngx_conduit_limit_default.createString(task, str, len);
}


static void *
ngx_conduit_limit_array(const redisReadTask *task, ngx_conduit_limit_count_t n)
{
    if (!ngx_conduit_limit_add(task, (size_t) n * NGX_CONDUIT_LIMIT_OBJECT)) {
        return NULL;
    }

    return ngx_conduit_limit_default.createArray(task, n);
}


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
