/*
 * Frames: an entry of a stream, decoded once in a worker, as the bytes of its
 * event.  Made in the hub's scratch buffer and copied once, in the exact size.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_message.h"
#include "conduit_sse.h"
#include "ngx_conduit_frame.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_hub.h"


/* a scratch buffer that one large message left behind is not kept */
#define NGX_CONDUIT_SCRATCH_KEEP  262144


static ngx_conduit_frame_t *ngx_conduit_frame_copy(conduit_buf_t *b);
static conduit_message_status_t ngx_conduit_frame_decode(
    ngx_conduit_hub_t *hub, ngx_str_t *data, conduit_message_t *message);


ngx_int_t
ngx_conduit_frame_create(ngx_conduit_hub_t *hub, ngx_str_t *key,
    conduit_stream_id_t *id, ngx_str_t *data, ngx_conduit_frame_t **frame)
{
    ngx_uint_t                 level, unlogged;
    conduit_buf_t             *b;
    conduit_message_t          message;
    ngx_conduit_frame_t       *f;
    conduit_message_status_t   status;

    b = &hub->scratch;
    status = ngx_conduit_frame_decode(hub, data, &message);

    if (status == CONDUIT_MESSAGE_OK) {

        conduit_buf_reset(b);
        conduit_sse_write_stream(&message, id, hub->arena, b);

        /* no other try would do better */

        if (b->failed && conduit_arena_full(hub->arena)) {
            status = CONDUIT_MESSAGE_NO_MEMORY;
        }
    }

    if (status != CONDUIT_MESSAGE_OK) {

        /* who listens again and again has it read as often */

        level = ngx_conduit_http_may_log(&hub->skips, &unlogged)
                ? NGX_LOG_ERR : NGX_LOG_INFO;

        ngx_log_error(level, ngx_cycle->log, 0,
                      "conduit: redis %V: entry %uL-%uL of \"%V\" is skipped: "
                      "%s", &hub->redis->name, id->ms, id->seq, key,
                      data->data == NULL
                      ? "no field \"data\""
                      : conduit_message_status_text(status));
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_SKIPPED);
        return NGX_DECLINED;
    }

    f = ngx_conduit_frame_copy(b);

    if (f != NULL) {
        f->id = *id;
        f->end = (message.phase == CONDUIT_PHASE_END);
        f->prompt = (message.phase != CONDUIT_PHASE_DELTA);
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_FRAMES);
    }

    if (b->cap > NGX_CONDUIT_SCRATCH_KEEP) {
        conduit_buf_free(b);
    }

    *frame = f;

    if (f == NULL) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "conduit: no memory for entry %uL-%uL of \"%V\", it is "
                      "read again", id->ms, id->seq, key);
        return NGX_ERROR;
    }

    return NGX_OK;
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


void
ngx_conduit_frame_release(ngx_conduit_frame_t *frame)
{
    if (--frame->refs == 0) {
        ngx_free(frame);
    }
}


int
ngx_conduit_frame_prompt(const void *frame)
{
    const ngx_conduit_frame_t  *f = frame;

    return f->prompt;
}


ngx_uint_t
ngx_conduit_frame_is_end(ngx_conduit_hub_t *hub, ngx_str_t *data)
{
    conduit_message_t  message;

    return ngx_conduit_frame_decode(hub, data, &message) == CONDUIT_MESSAGE_OK
           && message.phase == CONDUIT_PHASE_END;
}


static conduit_message_status_t
ngx_conduit_frame_decode(ngx_conduit_hub_t *hub, ngx_str_t *data,
    conduit_message_t *message)
{
    if (data->data == NULL) {
        return CONDUIT_MESSAGE_MALFORMED;
    }

    conduit_arena_reset(hub->arena);

    return conduit_message_decode(data->data, data->len,
                                  hub->arena, message);
}
