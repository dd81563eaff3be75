/* Copyright (C) Conduit for NGINX authors */

/*
 * Durable Streams, live=sse: the control events, which tell a client where it
 * is, and the headers of an event stream.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_durable.h"
#include "ngx_conduit_durable_sse.h"
#include "ngx_conduit_hub.h"


/* the headers of a response that pages of other origins may read */
#define NGX_CONDUIT_DURABLE_EXPOSED                                           \
    "Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, "   \
    "ETag, Stream-SSE-Data-Encoding"


static uint64_t ngx_conduit_durable_sub_cursor(ngx_conduit_sub_t *sub);
static ngx_conduit_frame_t *ngx_conduit_durable_frame(conduit_buf_t *b);


ngx_uint_t
ngx_conduit_durable_is(ngx_conduit_hub_t *hub)
{
    return hub->settings.format >= CONDUIT_FORMAT_DURABLE;
}


ngx_conduit_frame_t *
ngx_conduit_durable_tail(ngx_conduit_sub_t *sub, ngx_uint_t all)
{
    uint64_t               cursor;
    ngx_uint_t             i;
    ngx_conduit_hub_t     *hub;
    ngx_conduit_frame_t  **tail, *frame;

    hub = sub->hub;
    cursor = ngx_conduit_durable_sub_cursor(sub);
    tail = &hub->tails[all];

    if (*tail != NULL && hub->tails_cursor == cursor) {
        (*tail)->refs++;
        return *tail;
    }

    conduit_buf_reset(&hub->scratch);
    conduit_durable_control_open(cursor, all, &hub->scratch);

    frame = ngx_conduit_durable_frame(&hub->scratch);

    /* the cursor comes from the client's request, as it is not behind the
       clock: the frame is for this client alone, and is not kept for others */

    if (frame == NULL || cursor == sub->cursor) {
        return frame;
    }

    for (i = 0; i < 2 && hub->tails_cursor != cursor; i++) {
        if (hub->tails[i] != NULL) {
            ngx_conduit_frame_release(hub->tails[i]);
            hub->tails[i] = NULL;
        }
    }

    hub->tails_cursor = cursor;

    frame->refs++;
    *tail = frame;

    return frame;
}


/* returns the cursor of the present time, or that of the request if it is
   larger, because a client must not get a smaller cursor than before */

static uint64_t
ngx_conduit_durable_sub_cursor(ngx_conduit_sub_t *sub)
{
    uint64_t  now;

    now = conduit_durable_cursor(ngx_time(), 0, 0);

    return ngx_max(now, sub->cursor);
}


ngx_conduit_frame_t *
ngx_conduit_durable_position(ngx_conduit_sub_t *sub)
{
    conduit_buf_t  *b;

    b = &sub->hub->scratch;

    conduit_buf_reset(b);
    conduit_durable_control(&sub->listener.id, b);
    conduit_durable_control_open(ngx_conduit_durable_sub_cursor(sub), 1, b);

    return ngx_conduit_durable_frame(b);
}


static ngx_conduit_frame_t *
ngx_conduit_durable_frame(conduit_buf_t *b)
{
    ngx_conduit_frame_t  *frame;

    frame = b->failed ? NULL : ngx_conduit_frame_alloc(b->len);

    if (frame != NULL) {
        ngx_memcpy(frame->data, b->data, b->len);
    }

    return frame;
}


void
ngx_conduit_durable_closed(const conduit_stream_id_t *id, conduit_buf_t *b)
{
    conduit_durable_control(id, b);
    conduit_durable_control_closed(b);
}


ngx_int_t
ngx_conduit_durable_headers(ngx_http_request_t *r)
{
    ngx_uint_t  i;

    static const char * const  headers[][2] = {
        { "X-Content-Type-Options", "nosniff" },
        { "Cross-Origin-Resource-Policy", "cross-origin" },
        { "Access-Control-Expose-Headers", NGX_CONDUIT_DURABLE_EXPOSED }
    };

    for (i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {

        (void) ngx_conduit_http_drop(r, headers[i][0]);

        if (ngx_conduit_http_header(r, headers[i][0], headers[i][1])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_conduit_durable_sse_headers(ngx_http_request_t *r, ngx_conduit_hub_t *hub)
{
    if (hub->settings.format != CONDUIT_FORMAT_DURABLE_BYTES) {
        return NGX_OK;
    }

    return ngx_conduit_http_header(r, "Stream-SSE-Data-Encoding", "base64");
}
