/* Copyright (C) Conduit for NGINX authors */

/*
 * Reading Redis streams: the commands and their replies.
 */

#ifndef NGX_CONDUIT_STREAM_H
#define NGX_CONDUIT_STREAM_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_id.h"
#include "ngx_conduit_link.h"

#pragma GCC visibility push(hidden)

/* names of the fields of an entry that are read */
typedef struct {
    ngx_str_t             data;
    ngx_str_t             end;      /* len 0: none */
} ngx_conduit_fields_t;

typedef struct {
    conduit_stream_id_t   id;
    ngx_str_t             data;     /* value of the first such field; data.data
                                       is NULL without one */
    unsigned              end:1;    /* it has the field end */
} ngx_conduit_entry_t;

/* what XINFO STREAM tells of a stream */
typedef struct {
    conduit_stream_id_t   last_id;  /* last-generated-id */
    ngx_conduit_entry_t   first;    /* valid when length is not 0 */
    ngx_conduit_entry_t   last;     /* likewise */
    ngx_uint_t            length;
    uint64_t              added;    /* entries ever, valid when counted */
    conduit_stream_id_t   deleted;  /* the largest ID removed by XDEL, valid
                                       when counted; not set by trimming */
    ngx_uint_t            counted;  /* never before Redis 7 */
    ngx_uint_t            exists;
    ngx_uint_t            trimmed;  /* entries were removed, or the server does
                                       not tell */
} ngx_conduit_stream_info_t;


/*
 * Sends XREAD COUNT count STREAMS key after, without BLOCK.  Returns what
 * ngx_conduit_link_command() does.
 */
ngx_int_t ngx_conduit_stream_read(ngx_conduit_link_t *link, ngx_str_t *key,
    conduit_stream_id_t *after, ngx_uint_t count, ngx_conduit_reply_pt handler,
    void *data);

/* Sends XREVRANGE key from - COUNT count, from included; likewise. */
ngx_int_t ngx_conduit_stream_back(ngx_conduit_link_t *link, ngx_str_t *key,
    conduit_stream_id_t *from, ngx_uint_t count, ngx_conduit_reply_pt handler,
    void *data);

/* Sends XINFO STREAM key; likewise. */
ngx_int_t ngx_conduit_stream_info(ngx_conduit_link_t *link, ngx_str_t *key,
    ngx_conduit_reply_pt handler, void *data);

/*
 * Runs a script that reads: command is EVALSHA or EVAL, with or without _RO,
 * script is its SHA1 or its text; KEYS[1] is key, ARGV are from and count;
 * likewise.
 */
ngx_int_t ngx_conduit_stream_eval(ngx_conduit_link_t *link,
    const char *command, ngx_str_t *script, ngx_str_t *key,
    conduit_stream_id_t *from, ngx_uint_t count, ngx_conduit_reply_pt handler,
    void *data);

/* Sends SCRIPT LOAD; a failure is ignored. */
void ngx_conduit_stream_load(ngx_conduit_link_t *link, ngx_str_t *text);

/*
 * Takes the list of entries out of a reply to XREAD of the key: *list is NULL
 * when there are none.  Returns NGX_OK, NGX_ABORT when the reply is of another
 * key (not looked at when key is NULL), or NGX_ERROR for an error reply and for
 * any other form.  The list belongs to the reply.
 */
ngx_int_t ngx_conduit_stream_entries(redisReply *reply, const ngx_str_t *key,
    redisReply **list);

/* Whether a reply is a string that equals the name of a key or of a field. */
ngx_uint_t ngx_conduit_stream_names(redisReply *reply, const ngx_str_t *name);

/*
 * Reads one entry of such a list; its data belongs to the reply.  Without
 * fields (NULL) the ID alone is read.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_conduit_stream_entry(redisReply *reply,
    const ngx_conduit_fields_t *fields, ngx_conduit_entry_t *entry);

/*
 * Reads a reply to XINFO STREAM.  A missing key is a stream that does not
 * exist, with all fields zero.  Returns NGX_OK, or NGX_ERROR for another error
 * or form.
 */
ngx_int_t ngx_conduit_stream_parse_info(redisReply *reply,
    const ngx_conduit_fields_t *fields, ngx_conduit_stream_info_t *info);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_STREAM_H */
