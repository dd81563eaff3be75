/* Copyright (C) Conduit for NGINX authors */

/*
 * Publishing: the script for what the plain one (ngx_conduit_script.c) can't
 * do.  Plain messages keep their own script, which is cheaper.
 *
 * The last sequence of a stream is kept in a key of its own, with the stream's
 * expiry.  It is the greatest one that this script has published, or that of
 * the stream's last entry if that is greater: another publisher may have added
 * the entry, so its field 5 is read.  A sequence that is assigned here is
 * appended to the serialized message as field 5, of which protobuf takes the
 * last one.
 *
 * Numbers in Redis' scripts are doubles.  Sequences of 2^53 - 1 and more are
 * stored as they are given, but do not become the last sequence.
 *
 * Each command that could end the script with an error is called once before
 * the first XADD, in a way that does no harm if the script ends there: a user
 * who may not call one of them is refused before anything is stored.  Access to
 * the keys is checked by Redis when the script is called.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_conduit_entries.h"
#include "ngx_conduit_lua.h"


/* arguments before the first entry: EVALSHA, the SHA1, the number of keys, four
   keys, six numbers, the fingerprint */
#define NGX_CONDUIT_ENTRIES_HEAD  14

/* the message, its sequence, its message_id */
#define NGX_CONDUIT_ENTRIES_ARGS  3

#define NGX_CONDUIT_ENTRIES_CONFLICT   -1
#define NGX_CONDUIT_ENTRIES_EXHAUSTED  -2

typedef struct {
    const char  **argv;
    size_t       *len;
    ngx_uint_t    n;
    u_char       *last;          /* end of the used memory */
} ngx_conduit_entries_args_t;


static ngx_uint_t ngx_conduit_entries_keys(ngx_conduit_entries_args_t *args,
    ngx_conduit_publish_t *p, ngx_uint_t single);
static void ngx_conduit_entries_key(ngx_conduit_entries_args_t *args,
    const char *prefix, ngx_str_t *key, ngx_str_t *suffix);
static void ngx_conduit_entries_number(ngx_conduit_entries_args_t *args,
    uint64_t number);
static void ngx_conduit_entries_push(ngx_conduit_entries_args_t *args,
    const void *data, size_t len);
static ngx_int_t ngx_conduit_entries_word(u_char **p, u_char *end, u_char stop,
    ngx_str_t *word);


/*
 * KEYS: the stream; then, if they are used, its rate key, its sequence key, the
 * key of the request.
 * ARGV: the rate (0: none), its window in ms, the stream's length, the stream's
 * expiry in ms, whether the sequence is kept, how long the request is
 * remembered in ms (0: it is not), its fingerprint; then for each message its
 * bytes, its sequence (empty: assign the next one), its message_id.
 * Returns the number of ms to wait if the rate is exceeded; or -1 if the
 * request is remembered with another fingerprint; or -2 if no next sequence is
 * left; or a list: 1 if an earlier request stored the messages (else 0), how
 * many messages the rate still allows (-1: no limit), for how many ms, the
 * error of setting the stream's expiry, and for each message a line with ID,
 * sequence and message_id.
 */

static ngx_conduit_lua_t  ngx_conduit_entries_script =
    ngx_conduit_lua(

    "local used = 1\n"
    "local function key(wanted)\n"
    "  if wanted then used = used + 1 return KEYS[used] end\n"
    "end\n"
    "local rate = tonumber(ARGV[1])\n"
    "local rate_key = key(rate > 0)\n"
    "local sequence_key = key(ARGV[5] == '1')\n"
    "local request_key = key(ARGV[6] ~= '0')\n"
    "local count = (#ARGV - 7) / 3\n"
    "if request_key then\n"
    "  local kept = redis.call('GET', request_key)\n"
    "  if kept then\n"
    "    if string.sub(kept, 1, #ARGV[7]) ~= ARGV[7] then return -1 end\n"
    "    return {1, -1, 0, '', string.sub(kept, #ARGV[7] + 1)}\n"
    "  end\n"
    "end\n"

    /*
     * returns the sequence of the stream's last entry: its last field 5; a
     * message has six fields, and no more than 100 are read, as each takes a
     * microsecond and a message of thousands must not hold up Redis
     */

    "local function last_sequence()\n"
    "  local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]\n"
    "  if not last then return 0 end\n"
    "  local m, i, found = last[2][2], 1, 0\n"
    "  local function varint()\n"
    "    local v, unit = 0, 1\n"
    "    for _ = 1, 10 do\n"
    "      local b = string.byte(m, i)\n"
    "      if not b then return nil end\n"
    "      i = i + 1\n"
    "      v = v + b % 128 * unit\n"
    "      if b < 128 then return v end\n"
    "      unit = unit * 128\n"
    "    end\n"
    "  end\n"
    "  for _ = 1, 100 do\n"
    "    if i > #m then break end\n"
    "    local tag = varint()\n"
    "    if not tag then break end\n"
    "    local kind = tag % 8\n"
    "    if kind == 0 then\n"
    "      local v = varint()\n"
    "      if v and tag == 40 then found = v end\n"
    "    elseif kind == 1 then i = i + 8\n"
    "    elseif kind == 2 then\n"
    "      local length = varint()\n"
    "      if not length then break end\n"
    "      i = i + length\n"
    "    elseif kind == 5 then i = i + 4\n"
    "    else break end\n"
    "  end\n"
    "  return found\n"
    "end\n"

    "local limit = 9007199254740991\n"
    "local sequence = 0\n"
    "if sequence_key then\n"
    "  sequence = tonumber(redis.call('GET', sequence_key) or 0) or 0\n"
    "end\n"
    "local before = last_sequence()\n"
    "if before > sequence and before < limit then sequence = before end\n"

    "local messages, sequences = {}, {}\n"
    "for i = 1, count do\n"
    "  local m, s = ARGV[5 + 3 * i], ARGV[6 + 3 * i]\n"
    "  if s == '' then\n"
    "    if sequence >= limit then return -2 end\n"
    "    sequence = sequence + 1\n"
    "    s = string.format('%.0f', sequence)\n"
    "    m = m .. '\\40'\n"
    "    local v = sequence\n"
    "    while v > 127 do\n"
    "      m = m .. string.char(v % 128 + 128)\n"
    "      v = math.floor(v / 128)\n"
    "    end\n"
    "    m = m .. string.char(v)\n"
    "  else\n"
    "    local v = tonumber(s)\n"
    "    if v > sequence and v < limit then sequence = v end\n"
    "  end\n"
    "  messages[i], sequences[i] = m, s\n"
    "end\n"

    "local left, wait = -1, 0\n"
    "if rate_key then\n"
    "  local n = redis.call('INCRBY', rate_key, count)\n"
    "  wait = n == count and -1 or redis.call('PTTL', rate_key)\n"
    "  if wait < 0 then\n"
    "    redis.call('PEXPIRE', rate_key, ARGV[2])\n"
    "    wait = tonumber(ARGV[2])\n"
    "  end\n"
    "  if n > rate then\n"
    "    redis.call('INCRBY', rate_key, -count)\n"
    "    return wait\n"
    "  end\n"
    "  left = rate - n\n"
    "end\n"

    "if sequence_key then\n"
    "  redis.call('SET', sequence_key, string.format('%.0f', sequence), 'PX',"
    " ARGV[4])\n"
    "end\n"
    "local records = {}\n"
    "for i = 1, count do\n"
    "  local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*',"
    " 'data', messages[i])\n"
    "  records[i] = id .. ' ' .. sequences[i] .. ' ' .. ARGV[7 + 3 * i]"
    " .. '\\n'\n"
    "end\n"
    "local stored = table.concat(records)\n"
    "local expiry = redis.pcall('PEXPIRE', KEYS[1], ARGV[4])\n"
    "local err = type(expiry) == 'table' and expiry.err or ''\n"
    "if request_key then\n"
    "  redis.call('SET', request_key, ARGV[7] .. stored, 'PX', ARGV[6])\n"
    "end\n"
    "return {0, left, wait, err, stored}\n");


ngx_int_t
ngx_conduit_entries_send(ngx_conduit_link_t *link, ngx_conduit_publish_t *p,
    ngx_uint_t single, ngx_uint_t loading, ngx_conduit_reply_pt handler,
    void *data)
{
    void                        *memory;
    ngx_int_t                    rc;
    ngx_uint_t                   i, max, nkeys;
    ngx_conduit_entry_t         *entry;
    ngx_conduit_entries_t       *entries;
    ngx_conduit_entries_args_t   args;

    entries = p->entries;
    max = NGX_CONDUIT_ENTRIES_HEAD + entries->n * NGX_CONDUIT_ENTRIES_ARGS;

    memory = ngx_alloc(max * (sizeof(char *) + sizeof(size_t))
                       + 3 * (NGX_CONDUIT_KEY_PREFIX_MAX + CONDUIT_KEY_MAX)
                       + entries->request.len
                       + NGX_CONDUIT_ENTRIES_HEAD * NGX_INT64_LEN,
                       ngx_cycle->log);
    if (memory == NULL) {
        return NGX_ERROR;
    }

    args.argv = memory;
    args.len = (size_t *) (args.argv + max);
    args.last = (u_char *) (args.len + max);
    args.n = 3;

    nkeys = ngx_conduit_entries_keys(&args, p, single);

    ngx_conduit_lua_call(&ngx_conduit_entries_script, loading, nkeys,
                         args.argv, args.len);

    ngx_conduit_entries_number(&args, single ? 0 : p->rate);
    ngx_conduit_entries_number(&args, p->window);
    ngx_conduit_entries_number(&args, p->max_len);
    ngx_conduit_entries_number(&args, p->ttl);
    ngx_conduit_entries_number(&args, !single);
    ngx_conduit_entries_number(&args, entries->request.len
                                      ? entries->remember : 0);
    ngx_conduit_entries_push(&args, entries->fingerprint.data,
                             entries->fingerprint.len);

    for (i = 0; i < entries->n; i++) {
        entry = &entries->elts[i];

        ngx_conduit_entries_push(&args, entry->message.data,
                                 entry->message.len);
        ngx_conduit_entries_push(&args, entry->sequence, entry->sequence_len);
        ngx_conduit_entries_push(&args, entry->message_id, CONDUIT_UUID_LEN);
    }

    rc = ngx_conduit_link_command(link, handler, data, args.n, args.argv,
                                  args.len);
    ngx_free(memory);

    return rc;
}


/* adds the keys, returns their number */

static ngx_uint_t
ngx_conduit_entries_keys(ngx_conduit_entries_args_t *args,
    ngx_conduit_publish_t *p, ngx_uint_t single)
{
    ngx_uint_t  first;
    ngx_str_t   none = ngx_null_string;

    first = args->n;

    ngx_conduit_entries_push(args, p->key.data, p->key.len);

    if (!single && p->rate) {
        ngx_conduit_entries_key(args, NGX_CONDUIT_RATE_PREFIX, &p->key, &none);
    }

    if (!single) {
        ngx_conduit_entries_key(args, "conduit:sequence:{", &p->key, &none);
    }

    if (p->entries->request.len) {
        ngx_conduit_entries_key(args, "conduit:request:{", &p->key,
                                &p->entries->request);
    }

    return args->n - first;
}


/* the stream's key is the hash tag of all keys, so they share its slot */

static void
ngx_conduit_entries_key(ngx_conduit_entries_args_t *args, const char *prefix,
    ngx_str_t *key, ngx_str_t *suffix)
{
    u_char  *start;

    start = args->last;

    args->last = ngx_cpymem(args->last, prefix, ngx_strlen(prefix));
    args->last = ngx_cpymem(args->last, key->data, key->len);
    *args->last++ = '}';

    if (suffix->len) {
        *args->last++ = ':';
        args->last = ngx_cpymem(args->last, suffix->data, suffix->len);
    }

    ngx_conduit_entries_push(args, start, args->last - start);
}


static void
ngx_conduit_entries_number(ngx_conduit_entries_args_t *args, uint64_t number)
{
    u_char  *start;

    start = args->last;
    args->last = ngx_sprintf(start, "%uL", number);

    ngx_conduit_entries_push(args, start, args->last - start);
}


static void
ngx_conduit_entries_push(ngx_conduit_entries_args_t *args, const void *data,
    size_t len)
{
    /* the data of an empty ngx_str_t may be NULL, which hiredis can't copy */

    args->argv[args->n] = len ? data : "";
    args->len[args->n++] = len;
}


void
ngx_conduit_entries_result(redisReply *reply, ngx_conduit_published_t *result)
{
    ngx_str_t              records;
    redisReply           **e;
    conduit_stream_id_t    id;
    ngx_conduit_stored_t   stored;

    if (reply->type == REDIS_REPLY_INTEGER) {

        if (reply->integer >= 0) {
            result->status = NGX_CONDUIT_RATE_LIMITED;
            result->wait = reply->integer;
            return;
        }

        result->status = (reply->integer == NGX_CONDUIT_ENTRIES_CONFLICT)
                         ? NGX_CONDUIT_REQUEST_DIFFERS
                         : NGX_CONDUIT_NO_SEQUENCE;
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 5) {
        return;
    }

    e = reply->element;

    if (e[0]->type != REDIS_REPLY_INTEGER || e[1]->type != REDIS_REPLY_INTEGER
        || e[2]->type != REDIS_REPLY_INTEGER
        || e[3]->type != REDIS_REPLY_STRING
        || e[4]->type != REDIS_REPLY_STRING)
    {
        return;
    }

    result->records.data = (u_char *) e[4]->str;
    result->records.len = e[4]->len;

    records = result->records;

    if (ngx_conduit_entries_next(&records, &stored) != NGX_OK
        || conduit_stream_id_parse((char *) stored.id.data, stored.id.len, &id)
           != 0)
    {
        return;
    }

    result->status = NGX_CONDUIT_PUBLISHED;
    result->id = stored.id;
    result->replayed = (e[0]->integer == 1);
    result->counted = (e[1]->integer >= 0);
    result->left = e[1]->integer;
    result->wait = e[2]->integer;
    result->error.data = (u_char *) e[3]->str;
    result->error.len = e[3]->len;
}


ngx_int_t
ngx_conduit_entries_next(ngx_str_t *records, ngx_conduit_stored_t *stored)
{
    u_char  *p, *end;

    p = records->data;
    end = p + records->len;

    if (ngx_conduit_entries_word(&p, end, ' ', &stored->id) != NGX_OK
        || ngx_conduit_entries_word(&p, end, ' ', &stored->sequence) != NGX_OK
        || ngx_conduit_entries_word(&p, end, '\n', &stored->message_id)
           != NGX_OK)
    {
        return NGX_DONE;
    }

    records->data = p;
    records->len = end - p;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_entries_word(u_char **p, u_char *end, u_char stop,
    ngx_str_t *word)
{
    u_char  *last;

    last = ngx_strlchr(*p, end, stop);

    if (last == NULL) {
        return NGX_DONE;
    }

    word->data = *p;
    word->len = last - *p;
    *p = last + 1;

    return NGX_OK;
}
