/* Copyright (C) Conduit for NGINX authors */

/*
 * Reading Redis streams: the commands and their replies.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_conduit_stream.h"


static ngx_str_t ngx_conduit_stream_id(conduit_stream_id_t *id, char *text);
static ngx_str_t ngx_conduit_stream_number(ngx_uint_t number, u_char *text);
static void ngx_conduit_stream_loaded(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome);
static void ngx_conduit_stream_fields(redisReply *list,
    const ngx_conduit_fields_t *fields, ngx_conduit_entry_t *entry);
static ngx_uint_t ngx_conduit_stream_is(redisReply *reply, const char *text);


ngx_int_t
ngx_conduit_stream_read(ngx_conduit_link_t *link, ngx_str_t *key,
    conduit_stream_id_t *after, ngx_uint_t count, ngx_conduit_reply_pt handler,
    void *data)
{
    char    id[CONDUIT_STREAM_ID_MAX];
    u_char  number[NGX_INT_T_LEN];

    ngx_str_t  args[] = {
        ngx_string("XREAD"), ngx_string("COUNT"),
        ngx_conduit_stream_number(count, number), ngx_string("STREAMS"), *key,
        ngx_conduit_stream_id(after, id)
    };

    return ngx_conduit_link_send(link, handler, data, args, 6);
}


ngx_int_t
ngx_conduit_stream_back(ngx_conduit_link_t *link, ngx_str_t *key,
    conduit_stream_id_t *from, ngx_uint_t count, ngx_conduit_reply_pt handler,
    void *data)
{
    char    id[CONDUIT_STREAM_ID_MAX];
    u_char  number[NGX_INT_T_LEN];

    ngx_str_t  args[] = {
        ngx_string("XREVRANGE"), *key, ngx_conduit_stream_id(from, id),
        ngx_string("-"), ngx_string("COUNT"),
        ngx_conduit_stream_number(count, number)
    };

    return ngx_conduit_link_send(link, handler, data, args, 6);
}


ngx_int_t
ngx_conduit_stream_info(ngx_conduit_link_t *link, ngx_str_t *key,
    ngx_conduit_reply_pt handler, void *data)
{
    ngx_str_t  args[] = { ngx_string("XINFO"), ngx_string("STREAM"), *key };

    return ngx_conduit_link_send(link, handler, data, args, 3);
}


ngx_int_t
ngx_conduit_stream_eval(ngx_conduit_link_t *link, const char *command,
    ngx_str_t *script, ngx_str_t *key, conduit_stream_id_t *from,
    ngx_uint_t count, ngx_conduit_reply_pt handler, void *data)
{
    char    id[CONDUIT_STREAM_ID_MAX];
    u_char  number[NGX_INT_T_LEN];

    ngx_str_t  args[] = {
        { ngx_strlen(command), (u_char *) command }, *script, ngx_string("1"),
        *key, ngx_conduit_stream_id(from, id),
        ngx_conduit_stream_number(count, number)
    };

    return ngx_conduit_link_send(link, handler, data, args, 6);
}


void
ngx_conduit_stream_load(ngx_conduit_link_t *link, ngx_str_t *text)
{
    ngx_str_t  args[] = { ngx_string("SCRIPT"), ngx_string("LOAD"), *text };

    (void) ngx_conduit_link_send(link, ngx_conduit_stream_loaded, link, args,
                                 3);
}


/* write an argument to memory of the caller */

static ngx_str_t
ngx_conduit_stream_id(conduit_stream_id_t *id, char *text)
{
    ngx_str_t  arg;

    arg.data = (u_char *) text;
    arg.len = conduit_stream_id_write(id, text);

    return arg;
}


static ngx_str_t
ngx_conduit_stream_number(ngx_uint_t number, u_char *text)
{
    ngx_str_t  arg;

    arg.data = text;
    arg.len = ngx_sprintf(text, "%ui", number) - text;

    return arg;
}


/* a failure needs no handling: a missing script is sent with its text later */

static void
ngx_conduit_stream_loaded(void *data, redisReply *reply,
    ngx_conduit_outcome_e outcome)
{
#if (NGX_DEBUG)
    ngx_conduit_link_t  *link = data;

    if (outcome == NGX_CONDUIT_REPLIED && reply->type == REDIS_REPLY_ERROR) {
        ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                       "conduit: redis %V: SCRIPT LOAD: %s",
                       &link->redis->name, reply->str);
    }
#endif
}


/* [[key, [entry, ...]]], or nil */

ngx_int_t
ngx_conduit_stream_entries(redisReply *reply, const ngx_str_t *key,
    redisReply **list)
{
    redisReply  *stream;

    *list = NULL;

    if (reply->type == REDIS_REPLY_NIL) {
        return NGX_OK;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1) {
        return NGX_ERROR;
    }

    stream = reply->element[0];

    if (stream->type != REDIS_REPLY_ARRAY || stream->elements != 2
        || stream->element[1]->type != REDIS_REPLY_ARRAY)
    {
        return NGX_ERROR;
    }

    if (key != NULL && !ngx_conduit_stream_names(stream->element[0], key)) {
        return NGX_ABORT;
    }

    if (stream->element[1]->elements) {
        *list = stream->element[1];
    }

    return NGX_OK;
}


/* [id, [field, value, ...]] */

ngx_int_t
ngx_conduit_stream_entry(redisReply *reply, const ngx_conduit_fields_t *fields,
    ngx_conduit_entry_t *entry)
{
    redisReply  *id, *list;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        return NGX_ERROR;
    }

    id = reply->element[0];
    list = reply->element[1];

    if (id->type != REDIS_REPLY_STRING
        || conduit_stream_id_parse(id->str, id->len, &entry->id) != 0)
    {
        return NGX_ERROR;
    }

    ngx_str_null(&entry->data);
    entry->end = 0;

    if (list->type == REDIS_REPLY_ARRAY && fields != NULL) {
        ngx_conduit_stream_fields(list, fields, entry);
    }

    return NGX_OK;
}


static void
ngx_conduit_stream_fields(redisReply *list, const ngx_conduit_fields_t *fields,
    ngx_conduit_entry_t *entry)
{
    size_t       i;
    redisReply  *name, *value;

    for (i = 0; i + 1 < list->elements; i += 2) {
        name = list->element[i];
        value = list->element[i + 1];

        if (entry->data.data == NULL
            && ngx_conduit_stream_names(name, &fields->data)
            && value->type == REDIS_REPLY_STRING)
        {
            entry->data.data = (u_char *) value->str;
            entry->data.len = value->len;

            if (fields->end.len == 0) {
                return;
            }

        } else if (fields->end.len
                   && ngx_conduit_stream_names(name, &fields->end))
        {
            entry->end = 1;
        }
    }
}


ngx_int_t
ngx_conduit_stream_parse_info(redisReply *reply,
    const ngx_conduit_fields_t *fields, ngx_conduit_stream_info_t *info)
{
    size_t       i;
    redisReply  *name, *value;

    ngx_memzero(info, sizeof(ngx_conduit_stream_info_t));

    if (reply->type == REDIS_REPLY_ERROR) {
        return ngx_strstr(reply->str, "no such key") ? NGX_OK : NGX_ERROR;
    }

    if (reply->type != REDIS_REPLY_ARRAY) {
        return NGX_ERROR;
    }

    for (i = 0; i + 1 < reply->elements; i += 2) {
        name = reply->element[i];
        value = reply->element[i + 1];

        if (ngx_conduit_stream_is(name, "length")) {

            if (value->type == REDIS_REPLY_INTEGER && value->integer > 0) {
                info->length = value->integer;
            }

        } else if (ngx_conduit_stream_is(name, "last-generated-id")) {

            if (value->type != REDIS_REPLY_STRING
                || conduit_stream_id_parse(value->str, value->len,
                                           &info->last_id)
                   != 0)
            {
                return NGX_ERROR;
            }

            info->exists = 1;

        } else if (ngx_conduit_stream_is(name, "entries-added")) {

            if (value->type == REDIS_REPLY_INTEGER && value->integer >= 0) {
                info->added = value->integer;
                info->counted = 1;
            }

        } else if (ngx_conduit_stream_is(name, "max-deleted-entry-id")) {

            if (value->type == REDIS_REPLY_STRING) {
                (void) conduit_stream_id_parse(value->str, value->len,
                                               &info->deleted);
            }

        } else if (ngx_conduit_stream_is(name, "first-entry")) {
            (void) ngx_conduit_stream_entry(value, fields, &info->first);

        } else if (ngx_conduit_stream_is(name, "last-entry")) {
            (void) ngx_conduit_stream_entry(value, fields, &info->last);
        }
    }

    info->trimmed = !info->counted || info->added != info->length;

    return info->exists ? NGX_OK : NGX_ERROR;
}


static ngx_uint_t
ngx_conduit_stream_is(redisReply *reply, const char *text)
{
    return (reply->type == REDIS_REPLY_STRING
            || reply->type == REDIS_REPLY_STATUS)
           && reply->len == ngx_strlen(text)
           && ngx_memcmp(reply->str, text, reply->len) == 0;
}


ngx_uint_t
ngx_conduit_stream_names(redisReply *reply, const ngx_str_t *name)
{
    return reply->type == REDIS_REPLY_STRING && reply->len == name->len
           && ngx_memcmp(reply->str, name->data, reply->len) == 0;
}
