/* Copyright (C) Conduit for NGINX authors */

/*
 * The answer to a question: the replies of Redis as the data of
 * conduit_history.h.  Replies are not trusted: one whose parts can't all be of
 * one stream is refused.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_hub.h"
#include "ngx_conduit_question.h"


/* elements of the script's reply */
#define NGX_CONDUIT_FULL_ELEMENTS  9


static ngx_int_t ngx_conduit_answer_reverse(ngx_conduit_question_t *q);
static ngx_int_t ngx_conduit_answer_script(ngx_conduit_question_t *q,
    redisReply *r);
static ngx_int_t ngx_conduit_answer_tail(ngx_conduit_question_t *q,
    redisReply *list);
static ngx_int_t ngx_conduit_answer_possible(conduit_history_answer_t *a);
static ngx_int_t ngx_conduit_answer_read_and_info(ngx_conduit_question_t *q,
    redisReply *r, ngx_uint_t *changed);
static ngx_int_t ngx_conduit_answer_read_only(ngx_conduit_question_t *q);
static ngx_int_t ngx_conduit_answer_xread(ngx_conduit_question_t *q,
    redisReply *r);
static ngx_int_t ngx_conduit_answer_entries(ngx_conduit_question_t *q,
    redisReply *list);
static ngx_int_t ngx_conduit_answer_entry(ngx_conduit_question_t *q,
    redisReply *r, conduit_history_entry_t *entry);
static size_t ngx_conduit_answer_size(redisReply *list);
static uint64_t ngx_conduit_answer_hash(ngx_conduit_entry_t *e);
static const ngx_conduit_fields_t *ngx_conduit_answer_fields(
    ngx_conduit_question_t *q);
static ngx_int_t ngx_conduit_answer_id(redisReply *r,
    conduit_stream_id_t *id);


/* A reply of an unexpected form counts as an error reply. */

ngx_conduit_question_e
ngx_conduit_answer_parse(ngx_conduit_question_t *q)
{
    ngx_int_t   rc;
    ngx_uint_t  changed;

    changed = 0;

    q->answer.from = q->ask.id;
    q->answer.serial = q->ask.serial;
    q->answer.kind = q->ask.kind;

    switch (q->form) {

    case NGX_CONDUIT_FORM_FAST:
        rc = ngx_conduit_answer_xread(q, q->reply);
        break;

    case NGX_CONDUIT_FORM_REVERSE:
        rc = ngx_conduit_answer_reverse(q);
        break;

    case NGX_CONDUIT_FORM_INFO:
        rc = ngx_conduit_answer_read_and_info(q, q->reply, &changed);
        break;

    case NGX_CONDUIT_FORM_ENTRIES:
        rc = ngx_conduit_answer_read_only(q);
        break;

    default:
        rc = ngx_conduit_answer_script(q, q->reply);
    }

    if (rc == NGX_ABORT) {
        q->stray = 1;
        return NGX_CONDUIT_QUESTION_LOST;
    }

    if (rc != NGX_OK) {
        return NGX_CONDUIT_QUESTION_REFUSED;
    }

    if (changed) {
        return NGX_CONDUIT_QUESTION_LOST;
    }

    if (q->form != NGX_CONDUIT_FORM_FAST && q->form != NGX_CONDUIT_FORM_REVERSE
        && ngx_conduit_answer_possible(&q->answer) != NGX_OK)
    {
        return NGX_CONDUIT_QUESTION_REFUSED;
    }

    q->key->redirects = 0;

    return NGX_CONDUIT_QUESTION_ANSWERED;
}


/* makes the answer from the reply to XREVRANGE, where each ID is smaller than
   the one before */

static ngx_int_t
ngx_conduit_answer_reverse(ngx_conduit_question_t *q)
{
    size_t                i;
    redisReply           *r;
    conduit_stream_id_t   above;
    ngx_conduit_entry_t   e;

    r = q->reply;

    if (r->type != REDIS_REPLY_ARRAY || r->elements > q->count) {
        return NGX_ERROR;
    }

    above = q->ask.id;

    for (i = 0; i < r->elements; i++) {

        if (ngx_conduit_stream_entry(r->element[i], NULL, &e) != NGX_OK
            || (e.id.ms == 0 && e.id.seq == 0)
            || conduit_stream_id_cmp(&e.id, &above) > 0)
        {
            return NGX_ERROR;
        }

        above = e.id;
        conduit_stream_id_before(&above);
        q->bytes += ngx_conduit_answer_size(r->element[i]->element[1]);
    }

    q->list = r;
    q->answer.nentries = r->elements;
    q->answer.full = (r->elements == q->count);

    return NGX_OK;
}


/* makes the answer from the reply of CONDUIT_HISTORY_SCRIPT; returns NGX_ABORT
   when it is of another key */

static ngx_int_t
ngx_conduit_answer_script(ngx_conduit_question_t *q, redisReply *r)
{
    redisReply                **e;
    conduit_history_answer_t   *a;

    a = &q->answer;
    e = r->element;

    if (r->type != REDIS_REPLY_ARRAY || r->elements < 2
        || e[0]->type != REDIS_REPLY_INTEGER
        || e[1]->type != REDIS_REPLY_STRING)
    {
        return NGX_ERROR;
    }

    if (!ngx_conduit_stream_names(e[1], &q->key->node.str)) {
        return NGX_ABORT;
    }

    if (e[0]->integer == 0) {
        a->missing = 1;
        return NGX_OK;
    }

    if (r->elements != NGX_CONDUIT_FULL_ELEMENTS
        || e[2]->type != REDIS_REPLY_INTEGER || e[2]->integer < 0
        || ngx_conduit_answer_id(e[3], &a->last_id) != NGX_OK
        || e[5]->type != REDIS_REPLY_INTEGER
        || e[6]->type != REDIS_REPLY_STRING
        || e[7]->type != REDIS_REPLY_ARRAY
        || e[8]->type != REDIS_REPLY_ARRAY
        || ngx_conduit_answer_entries(q, e[7]) != NGX_OK)
    {
        return NGX_ERROR;
    }

    a->length = e[2]->integer;

    if (a->length
        && ngx_conduit_answer_id(e[4], &a->oldest) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (e[5]->integer >= 0) {
        a->counted = 1;
        a->added = e[5]->integer;

        if (e[6]->len
            && ngx_conduit_answer_id(e[6], &a->max_deleted) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (a->length && a->nentries == 0
        && ngx_conduit_answer_tail(q, e[8]) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* reads the newest entry, which is the only one in the array */

static ngx_int_t
ngx_conduit_answer_tail(ngx_conduit_question_t *q, redisReply *list)
{
    if (list->elements != 1
        || ngx_conduit_answer_entry(q, list->element[0], &q->answer.tail)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    q->answer.has_tail = 1;
    q->list = list;

    return NGX_OK;
}


/* whether the parts of an answer can be of one stream */

static ngx_int_t
ngx_conduit_answer_possible(conduit_history_answer_t *a)
{
    const conduit_stream_id_t  *first, *last;

    if (a->length == 0) {
        return a->nentries ? NGX_ERROR : NGX_OK;
    }

    first = a->has_tail ? &a->tail.id : &a->entries[0].id;
    last = a->has_tail ? first : &a->entries[a->nentries - 1].id;

    if (conduit_stream_id_cmp(&a->oldest, first) > 0
        || conduit_stream_id_cmp(last, &a->last_id) > 0
        || (a->has_tail && conduit_stream_id_cmp(last, &a->from) >= 0))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Makes the answer from the replies to XREAD and to XINFO after it.  *changed:
 * the stream has changed between the two, so that they must be sent again.
 */

static ngx_int_t
ngx_conduit_answer_read_and_info(ngx_conduit_question_t *q, redisReply *r,
    ngx_uint_t *changed)
{
    ngx_int_t                   rc;
    conduit_stream_id_t        *first, *last;
    conduit_history_answer_t   *a;
    ngx_conduit_stream_info_t   info;

    a = &q->answer;

    rc = ngx_conduit_answer_xread(q, q->read);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_conduit_stream_parse_info(r, ngx_conduit_answer_fields(q), &info)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!info.exists || info.length == 0) {
        *changed = (a->nentries != 0);
    }

    if (!info.exists) {
        a->missing = 1;
        return NGX_OK;
    }

    a->length = info.length;
    a->last_id = info.last_id;
    a->oldest = info.first.id;
    a->counted = info.counted;
    a->added = info.added;
    a->max_deleted = info.deleted;

    if (*changed || info.length == 0) {
        return NGX_OK;
    }

    if (a->nentries == 0) {
        *changed = (conduit_stream_id_cmp(&info.last.id, &a->from) >= 0);

        a->has_tail = 1;
        a->tail.id = info.last.id;
        a->tail.hash = ngx_conduit_answer_hash(&info.last);
        return NGX_OK;
    }

    first = &q->entries[0].id;
    last = &q->entries[a->nentries - 1].id;

    *changed = (conduit_stream_id_cmp(first, &info.first.id) < 0
                || conduit_stream_id_cmp(last, &info.last.id) > 0
                || (!a->full
                    && conduit_stream_id_cmp(last, &info.last.id) != 0));

    return NGX_OK;
}


/* makes the answer from the reply to XREAD alone: its entries are taken for
   the whole stream */

static ngx_int_t
ngx_conduit_answer_read_only(ngx_conduit_question_t *q)
{
    ngx_int_t                  rc;
    conduit_history_answer_t  *a;

    a = &q->answer;

    rc = ngx_conduit_answer_xread(q, q->read);

    if (rc != NGX_OK) {
        return rc;
    }

    /* without an entry at or after the position, this makes the stream end
       before it, so that the position counts as one of another stream */

    a->last_id = a->from;
    conduit_stream_id_before(&a->last_id);

    if (a->nentries) {
        a->length = a->nentries;
        a->oldest = q->entries[0].id;
        a->last_id = q->entries[a->nentries - 1].id;
    }

    if (a->full) {
        a->last_id.ms = UINT64_MAX;      /* not known, but after all these */
    }

    return NGX_OK;
}


/* takes the entries from the reply to XREAD; returns NGX_ABORT when they are of
   another key */

static ngx_int_t
ngx_conduit_answer_xread(ngx_conduit_question_t *q, redisReply *r)
{
    ngx_int_t    rc;
    redisReply  *list;

    rc = ngx_conduit_stream_entries(r, &q->key->node.str, &list);

    if (rc != NGX_OK || list == NULL) {
        return rc;
    }

    return ngx_conduit_answer_entries(q, list);
}


static ngx_int_t
ngx_conduit_answer_entries(ngx_conduit_question_t *q, redisReply *list)
{
    size_t                     i;
    conduit_history_entry_t   *entry;
    conduit_history_answer_t  *a;

    a = &q->answer;

    if (list->elements > q->count) {
        return NGX_ERROR;
    }

    a->full = (list->elements == q->count);

    if (list->elements == 0) {
        return NGX_OK;
    }

    q->entries = ngx_alloc(list->elements * sizeof(conduit_history_entry_t),
                           ngx_cycle->log);
    if (q->entries == NULL) {
        return NGX_ERROR;
    }

    q->list = list;

    for (i = 0; i < list->elements; i++) {
        entry = &q->entries[i];

        if (ngx_conduit_answer_entry(q, list->element[i], entry) != NGX_OK
            || conduit_stream_id_cmp(&entry->id, i ? &entry[-1].id : &a->from)
               < (i ? 1 : 0))
        {
            return NGX_ERROR;
        }
    }

    a->entries = q->entries;
    a->nentries = list->elements;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_answer_entry(ngx_conduit_question_t *q, redisReply *r,
    conduit_history_entry_t *entry)
{
    ngx_conduit_entry_t  e;

    if (ngx_conduit_stream_entry(r, ngx_conduit_answer_fields(q), &e) != NGX_OK
        || (e.id.ms == 0 && e.id.seq == 0))
    {
        return NGX_ERROR;
    }

    q->bytes += ngx_conduit_answer_size(r->element[1]);

    entry->id = e.id;
    entry->hash = ngx_conduit_answer_hash(&e);

    return NGX_OK;
}


/* bytes of the names and values of an entry */

static size_t
ngx_conduit_answer_size(redisReply *list)
{
    size_t  i, size;

    size = 0;

    if (list->type == REDIS_REPLY_ARRAY) {
        for (i = 0; i < list->elements; i++) {
            size += list->element[i]->len;
        }
    }

    return size;
}


/* the hash tells apart two entries of which only one ends the stream */

static uint64_t
ngx_conduit_answer_hash(ngx_conduit_entry_t *e)
{
    return conduit_history_hash(e->data.data, e->data.len) ^ e->end;
}


static const ngx_conduit_fields_t *
ngx_conduit_answer_fields(ngx_conduit_question_t *q)
{
    return &q->key->shard->hub->fields;
}


static ngx_int_t
ngx_conduit_answer_id(redisReply *r, conduit_stream_id_t *id)
{
    if (r->type != REDIS_REPLY_STRING
        || conduit_stream_id_parse(r->str, r->len, id) != 0)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_conduit_answer_read(ngx_conduit_question_t *q, size_t i,
    ngx_conduit_entry_t *e)
{
    /* this can't fail, as the entry was read before */

    (void) ngx_conduit_stream_entry(q->list->element[i],
                                    ngx_conduit_answer_fields(q), e);
}


ngx_uint_t
ngx_conduit_answer_newest(ngx_conduit_question_t *q, ngx_conduit_entry_t *e)
{
    conduit_history_answer_t   *a;
    ngx_conduit_stream_info_t   info;

    a = &q->answer;

    if (a->nentries && !a->full) {
        ngx_conduit_answer_read(q, a->nentries - 1, e);
        return 1;
    }

    if (!a->has_tail) {
        return 0;
    }

    if (q->form == NGX_CONDUIT_FORM_INFO) {
        (void) ngx_conduit_stream_parse_info(q->reply,
                                             ngx_conduit_answer_fields(q),
                                             &info);
        *e = info.last;
        return 1;
    }

    ngx_conduit_answer_read(q, 0, e);

    return 1;
}
