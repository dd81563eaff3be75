/* Copyright (C) Conduit for NGINX authors */

/*
 * The last bytes of a response that ends before its stream.  An EventSource
 * reconnects by itself, with the token it has.  If the token is still accepted
 * then, no event is lost.  If the token is refused, the EventSource gets a 401
 * and gives up.  In this case the client is told in advance to get a new token:
 * conduit-client then asks the application for a stream, which may be another
 * one.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_sse.h"
#include "ngx_conduit_durable_sse.h"
#include "ngx_conduit_farewell.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_response.h"


/* ms that a client takes to connect after its "retry", including the difference
   between the servers' clocks: if the token does not last that long, a new one
   is needed */
#define NGX_CONDUIT_RECONNECT  5000


void
ngx_conduit_sub_farewell(ngx_conduit_sub_t *sub, ngx_conduit_close_e why,
    conduit_buf_t *b)
{
    ngx_msec_t  retry;

    if (ngx_conduit_durable_is(sub->hub)) {

        /* clients reconnect by themselves, at the offset they were sent last */

        if (why == NGX_CONDUIT_CLOSE_END) {
            ngx_conduit_durable_closed(&sub->listener.id, b);
        }

        return;
    }

    switch (why) {

    case NGX_CONDUIT_CLOSE_OUTAGE:
        conduit_sse_write_error(NGX_CONDUIT_OUTAGE_RETRY, b);

        if (!ngx_conduit_sub_tells_drain(sub, NGX_CONDUIT_OUTAGE_RETRY)) {
            return;
        }

        break;

    case NGX_CONDUIT_CLOSE_DRAIN:
    case NGX_CONDUIT_CLOSE_DURATION:
    case NGX_CONDUIT_CLOSE_EXPIRED:
        retry = ngx_conduit_jitter(sub->hub->settings.retry);

        if (!ngx_conduit_sub_tells_drain(sub, retry)) {
            conduit_sse_write_retry(retry, b);
            return;
        }

        break;

    default:
        return;
    }

    ngx_conduit_control_write("server_draining", NULL,
                              &sub->listener.id, b);
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_DRAININGS);
}


ngx_uint_t
ngx_conduit_sub_tells_drain(ngx_conduit_sub_t *sub, ngx_msec_t retry)
{
    switch (sub->hub->settings.drain_event) {

    case NGX_CONDUIT_DRAIN_EVENT_ON:
        return 1;

    case NGX_CONDUIT_DRAIN_EVENT_OFF:
        return 0;

    default: /* NGX_CONDUIT_DRAIN_EVENT_AUTO */
        return sub->refused
               && ngx_time() + (time_t) (retry + NGX_CONDUIT_RECONNECT) / 1000
                  >= (time_t) sub->refused;
    }
}
