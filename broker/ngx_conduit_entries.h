/*
 * Publishing of what the plain script does not know: messages whose sequence
 * the stream gives, several at once, all or none, and those that are published
 * once however often they are sent.
 */

#ifndef NGX_CONDUIT_ENTRIES_H
#define NGX_CONDUIT_ENTRIES_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_script.h"

#pragma GCC visibility push(hidden)

/* one entry that was stored, now or by the request that is repeated; in the
   memory of the records */
typedef struct {
    ngx_str_t  id;
    ngx_str_t  sequence;    /* decimal */
    ngx_str_t  message_id;
} ngx_conduit_stored_t;


/*
 * Sends p->entries to Redis, which has the time of one command.  With loading
 * set the script's text is sent, else its sum.  With single set the stream's
 * key is the only one that is used: the rate is not counted, and the sequence
 * goes on from the last entry.  The result is ngx_conduit_link_command()'s.
 */
ngx_int_t ngx_conduit_entries_send(ngx_conduit_link_t *link,
    ngx_conduit_publish_t *p, ngx_uint_t single, ngx_uint_t loading,
    ngx_conduit_reply_pt handler, void *data);

/*
 * Reads the script's reply, which *result then points into.  Leaves *result for
 * one that it does not give.
 */
void ngx_conduit_entries_result(redisReply *reply,
    ngx_conduit_published_t *result);

/*
 * Takes the first record off result->records.  Returns NGX_OK; NGX_DONE when
 * there is no more.
 */
ngx_int_t ngx_conduit_entries_next(ngx_str_t *records,
    ngx_conduit_stored_t *stored);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_ENTRIES_H */
