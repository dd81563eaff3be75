/* Copyright (C) Conduit for NGINX authors */

/*
 * Frames: an entry of a stream, decoded once in a worker, as the bytes of its
 * event.  It is written to the hub's scratch buffer, then copied once, in its
 * exact size.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_sse.h"
#include "ngx_conduit_frame.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_hub.h"


/* a scratch buffer larger than this, after a large message, is freed */
#define NGX_CONDUIT_SCRATCH_KEEP  262144

/* bytes that a joint frame has room for at first */
#define NGX_CONDUIT_JOINT_MIN     1024


static ngx_conduit_frame_t *ngx_conduit_frame_copy(conduit_buf_t *b);
static size_t ngx_conduit_frame_room(size_t len);
static void ngx_conduit_frame_entry(ngx_conduit_hub_t *hub,
    const ngx_conduit_entry_t *entry, conduit_format_entry_t *e);


ngx_int_t
ngx_conduit_frame_create(ngx_conduit_hub_t *hub, ngx_conduit_key_t *key,
    const ngx_conduit_entry_t *entry, ngx_conduit_frame_t **frame)
{
    conduit_buf_t           *b;
    ngx_conduit_frame_t     *f;
    conduit_format_entry_t   e;
    conduit_format_event_t   event;

    b = &hub->scratch;

    ngx_conduit_frame_entry(hub, entry, &e);

    conduit_arena_reset(hub->arena);
    conduit_buf_reset(b);

    hub->format->write(&e, hub->arena, b, &event);

    if (event.error != NULL) {
        ngx_conduit_frame_skipped(hub, key, entry, event.error);
    }

    f = NULL;

    if (event.sent) {
        f = ngx_conduit_frame_copy(b);
    }

    if (f != NULL) {
        f->id = entry->id;
        f->end = event.end;
        f->prompt = event.prompt;
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_FRAMES);
    }

    if (b->cap > NGX_CONDUIT_SCRATCH_KEEP) {
        conduit_buf_free(b);
    }

    if (!event.sent) {
        return NGX_DECLINED;
    }

    *frame = f;

    if (f == NULL) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "conduit: not enough memory for entry %uL-%uL of "
                      "\"%V\", it will be read again", entry->id.ms,
                      entry->id.seq, &key->label);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_conduit_frame_entry(ngx_conduit_hub_t *hub,
    const ngx_conduit_entry_t *entry, conduit_format_entry_t *e)
{
    e->id = entry->id;
    e->data = entry->data.data;
    e->len = entry->data.len;
    e->max = hub->settings.max_value;
    e->end = entry->end;
}


/*
 * The log is limited in two ways.  hub->skips limits it for all streams: a
 * client that connects again and again causes the same entry to be read each
 * time.  In a stream that other programs write, any number of entries may be
 * invalid: only the first one is logged, as long as the stream has listeners.
 */

void
ngx_conduit_frame_skipped(ngx_conduit_hub_t *hub, ngx_conduit_key_t *key,
    const ngx_conduit_entry_t *entry, const char *error)
{
    ngx_uint_t  level, unlogged;

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_SKIPPED);

    if (key->skipped && hub->settings.format != CONDUIT_FORMAT_CONDUIT) {
        return;
    }

    key->skipped = 1;

    level = ngx_conduit_http_may_log(&hub->skips, &unlogged)
            ? NGX_LOG_ERR : NGX_LOG_INFO;

    if (entry->data.data == NULL) {
        ngx_log_error(level, ngx_cycle->log, 0,
                      "conduit: redis %V: entry %uL-%uL of \"%V\" is skipped: "
                      "no field \"%V\"", &hub->redis->name, entry->id.ms,
                      entry->id.seq, &key->label, &hub->fields.data);
        return;
    }

    ngx_log_error(level, ngx_cycle->log, 0,
                  "conduit: redis %V: entry %uL-%uL of \"%V\" is skipped: "
                  "%s", &hub->redis->name, entry->id.ms, entry->id.seq,
                  &key->label, error);
}


ngx_conduit_frame_t *
ngx_conduit_frame_control(ngx_conduit_hub_t *hub, const char *type,
    const char *reason, conduit_stream_id_t *pos)
{
    conduit_buf_t  *b;

    b = &hub->scratch;

    conduit_buf_reset(b);
    ngx_conduit_control_write(type, reason, pos, b);

    return ngx_conduit_frame_copy(b);
}


ngx_conduit_frame_t *
ngx_conduit_frame_position(ngx_conduit_hub_t *hub, conduit_stream_id_t *pos)
{
    conduit_buf_t  *b;

    b = &hub->scratch;

    conduit_buf_reset(b);
    conduit_sse_write_id(pos, b);

    return ngx_conduit_frame_copy(b);
}


void
ngx_conduit_control_write(const char *type, const char *reason,
    conduit_stream_id_t *pos, conduit_buf_t *b)
{
    char        uuid[CONDUIT_UUID_LEN];
    uint8_t     bytes[16];
    ngx_uint_t  i;

    for (i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t) ngx_random();
    }

    conduit_uuid_v4_write(bytes, uuid);
    conduit_sse_write_control(uuid, type, reason, pos, b);
}


static ngx_conduit_frame_t *
ngx_conduit_frame_copy(conduit_buf_t *b)
{
    ngx_conduit_frame_t  *f;

    f = b->failed ? NULL : ngx_conduit_frame_alloc(b->len);

    if (f != NULL) {
        ngx_memcpy(f->data, b->data, b->len);
    }

    return f;
}


ngx_conduit_frame_t *
ngx_conduit_frame_alloc(size_t len)
{
    ngx_conduit_frame_t  *f;

    f = ngx_alloc(offsetof(ngx_conduit_frame_t, data) + len, ngx_cycle->log);

    if (f != NULL) {
        ngx_memzero(f, offsetof(ngx_conduit_frame_t, data));

        f->refs = 1;
        f->len = len;
    }

    return f;
}


ngx_conduit_frame_t *
ngx_conduit_frame_joint(ngx_conduit_frame_t *joint, const void *data,
    size_t len)
{
    size_t                has, room;
    ngx_conduit_frame_t  *f;

    has = joint ? joint->len : 0;
    room = ngx_conduit_frame_room(has + len);

    f = joint;

    if (f == NULL || room > ngx_conduit_frame_room(has)) {

        f = ngx_conduit_frame_alloc(room);

        if (f == NULL) {
            return NULL;
        }

        f->joint = 1;

        if (joint != NULL) {
            ngx_memcpy(f->data, joint->data, has);
            ngx_conduit_frame_release(joint);
        }
    }

    ngx_memcpy(f->data + has, data, len);
    f->len = has + len;

    return f;
}


/* the bytes that a joint frame of a length has room for: twice as many each
   time it grows */

static size_t
ngx_conduit_frame_room(size_t len)
{
    size_t  room;

    for (room = NGX_CONDUIT_JOINT_MIN; room < len; room *= 2) { /* void */ }

    return room;
}


void
ngx_conduit_frame_release(ngx_conduit_frame_t *frame)
{
    if (--frame->refs == 0) {
        ngx_conduit_deflated_free(frame->deflated);
        ngx_free(frame);
    }
}


int
ngx_conduit_frame_prompt(const void *frame)
{
    const ngx_conduit_frame_t  *f = frame;

    return f->prompt;
}


int
ngx_conduit_frame_ends(const void *frame)
{
    const ngx_conduit_frame_t  *f = frame;

    return f->end;
}


ngx_uint_t
ngx_conduit_frame_is_end(ngx_conduit_hub_t *hub,
    const ngx_conduit_entry_t *entry)
{
    conduit_format_entry_t  e;

    ngx_conduit_frame_entry(hub, entry, &e);

    conduit_arena_reset(hub->arena);

    return hub->format->is_end(&e, hub->arena);
}
