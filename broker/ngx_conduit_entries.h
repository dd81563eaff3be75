/* Copyright (C) Conduit for NGINX authors */

/*
 * Publishes what the plain script can't: messages that get their sequence from
 * the stream, several messages at once (all or none), and requests that are
 * published once however often they are sent.
 */

#ifndef NGX_CONDUIT_ENTRIES_H
#define NGX_CONDUIT_ENTRIES_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_script.h"

#pragma GCC visibility push(hidden)

/* an entry that was stored, by this request or by the one it repeats; points
   into the records */
typedef struct {
    ngx_str_t  id;
    ngx_str_t  sequence;    /* decimal */
    ngx_str_t  message_id;
} ngx_conduit_stored_t;


/*
 * Sends p->entries to Redis as one command.  With loading set the text of the
 * script is sent, else its SHA1.  With single set only the stream's key is
 * used: the rate is not counted, and the sequence follows that of the last
 * entry.  Returns what ngx_conduit_link_command() does.
 */
ngx_int_t ngx_conduit_entries_send(ngx_conduit_link_t *link,
    ngx_conduit_publish_t *p, ngx_uint_t single, ngx_uint_t loading,
    ngx_conduit_reply_pt handler, void *data);

/*
 * Reads the script's reply, which *result then points into.  Leaves *result as
 * it is if the script does not give such a reply.
 */
void ngx_conduit_entries_result(redisReply *reply,
    ngx_conduit_published_t *result);

/*
 * Takes the first record off records.  Returns NGX_OK; NGX_DONE when there is
 * no more.
 */
ngx_int_t ngx_conduit_entries_next(ngx_str_t *records,
    ngx_conduit_stored_t *stored);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_ENTRIES_H */
