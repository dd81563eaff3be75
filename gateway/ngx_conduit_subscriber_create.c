/* Copyright (C) Conduit for NGINX authors */

/*
 * Makes a request a subscriber.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_client.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_response.h"
#include "ngx_conduit_subscriber_core.h"


static void ngx_conduit_sub_set_deadline(ngx_conduit_sub_t *sub,
    ngx_msec_t max_duration, ngx_msec_t expires);
static ngx_int_t ngx_conduit_sub_init(ngx_conduit_sub_t *sub,
    ngx_conduit_hub_t *hub, ngx_http_request_t *r, conduit_stream_id_t *pos);
static void ngx_conduit_sub_cleanup(void *data);
static ngx_int_t ngx_conduit_sub_add(ngx_conduit_sub_t *sub,
    ngx_conduit_channel_t *ch);


ngx_int_t
ngx_conduit_sub_create(ngx_conduit_hub_t *hub, ngx_http_request_t *r,
    ngx_conduit_sub_t *sub, ngx_str_t *key, ngx_str_t *label,
    conduit_stream_id_t *pos, ngx_msec_t expires)
{
    ngx_int_t               rc;
    ngx_conduit_channel_t  *ch;

    if (ngx_conduit_hub_open(hub) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_conduit_sub_init(sub, hub, r, pos) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_conduit_sub_set_deadline(sub, hub->settings.max_duration, expires);

    ch = ngx_conduit_channel_get(hub, key, label);
    if (ch == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "conduit: subscriber of \"%V\": listener %p, member %p",
                   key, &sub->listener, &sub->member);

    rc = ngx_conduit_sub_add(sub, ch);

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_REQUESTS
                              + NGX_CONDUIT_REQUEST_ACCEPTED);

    if (rc == NGX_DONE) {
        sub->close = NGX_CONDUIT_CLOSE_END;
        ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_CLOSED
                                  + NGX_CONDUIT_CLOSE_END);
        return NGX_HTTP_NO_CONTENT;
    }

    if (rc == NGX_OK) {
        rc = ngx_conduit_sub_begin(sub);

        if (rc != NGX_OK) {
            sub->close = NGX_CONDUIT_CLOSE_ERROR;
            ngx_conduit_sub_remove(sub);
            return rc;
        }
    }

    if (ngx_conduit_client_watch(r, ngx_conduit_sub_read_handler,
                                 ngx_conduit_sub_write_handler) != NGX_OK) {
        ngx_conduit_client_unwatch(r);
        sub->close = NGX_CONDUIT_CLOSE_ERROR;
        ngx_conduit_sub_remove(sub);
        return NGX_ERROR;
    }

    r->main->count++;

    return NGX_DONE;
}


/* sets the deadline of the response, the earlier one of two limits, and the
   reason for it */

static void
ngx_conduit_sub_set_deadline(ngx_conduit_sub_t *sub, ngx_msec_t max_duration,
    ngx_msec_t expires)
{
    if (max_duration) {
        max_duration = ngx_conduit_jitter(max_duration);

        sub->member.limited = 1;
        sub->deadline_why = NGX_CONDUIT_CLOSE_DURATION;
        sub->member.deadline = ngx_current_msec + max_duration;
    }

    if (expires && (max_duration == 0 || expires < max_duration)) {
        sub->member.limited = 1;
        sub->deadline_why = NGX_CONDUIT_CLOSE_EXPIRED;
        sub->member.deadline = ngx_current_msec + expires;
    }
}


static ngx_int_t
ngx_conduit_sub_init(ngx_conduit_sub_t *sub, ngx_conduit_hub_t *hub,
    ngx_http_request_t *r, conduit_stream_id_t *pos)
{
    ngx_http_cleanup_t        *cln;
    ngx_http_core_loc_conf_t  *clcf;

    sub->request = r;
    sub->hub = hub;
    sub->busy_last = &sub->busy;
    sub->since = (uint64_t) r->start_sec * 1000 + r->start_msec;
    sub->member.on = &ngx_conduit_sub_member;
    sub->listener.on = &ngx_conduit_sub_listener;
    sub->listener.id = *pos;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_conduit_sub_cleanup;
    cln->data = sub;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->tcp_nodelay) {
        return ngx_tcp_nodelay(r->connection);
    }

    return NGX_OK;
}


static void
ngx_conduit_sub_cleanup(void *data)
{
    ngx_conduit_sub_remove(data);
}


static ngx_int_t
ngx_conduit_sub_add(ngx_conduit_sub_t *sub, ngx_conduit_channel_t *ch)
{
    ngx_int_t  rc;

    rc = ngx_conduit_channel_add(ch, &sub->listener, &sub->member);

    if (rc != NGX_DONE) {
        sub->channel = ch;
        ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_SUBSCRIBERS, 1);
    }

    return rc;
}
