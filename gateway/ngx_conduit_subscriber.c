/*
 * A subscriber: one response of Server-Sent Events, from its header to its last
 * chunk.  How frames get out is in ngx_conduit_output.c, what the connection
 * tells of its client in ngx_conduit_client.c.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "conduit_sse.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_subscriber.h"


/* ms that a client's connecting takes after its "retry", clocks of servers that
   differ included: when the token does not last so long, a new one is needed */
#define NGX_CONDUIT_RECONNECT  5000


static void ngx_conduit_sub_limit(ngx_conduit_sub_t *sub,
    ngx_msec_t max_duration, ngx_msec_t expires);
static ngx_int_t ngx_conduit_sub_init(ngx_conduit_sub_t *sub);
static ngx_int_t ngx_conduit_sub_header(ngx_http_request_t *r);
static ngx_int_t ngx_conduit_sub_begin(ngx_conduit_sub_t *sub);
static ngx_int_t ngx_conduit_sub_text(ngx_http_request_t *r, conduit_buf_t *b,
    ngx_uint_t last);
static void ngx_conduit_sub_farewell(ngx_conduit_sub_t *sub,
    ngx_conduit_close_e why, conduit_buf_t *b);
static void ngx_conduit_sub_cleanup(void *data);
static ngx_msec_t ngx_conduit_jitter(ngx_msec_t msec);
static void ngx_conduit_sub_member_ping(ngx_conduit_member_t *m);
static void ngx_conduit_sub_member_end(ngx_conduit_member_t *m,
    ngx_conduit_roster_why_e why);
static ngx_uint_t ngx_conduit_sub_member_away(ngx_conduit_member_t *m);


static const ngx_conduit_member_handlers_t  ngx_conduit_sub_member = {
    ngx_conduit_sub_member_ping,
    ngx_conduit_sub_member_end,
    ngx_conduit_sub_member_away
};


ngx_int_t
ngx_conduit_sub_create(ngx_conduit_hub_t *hub, ngx_http_request_t *r,
    ngx_conduit_sub_t *sub, ngx_conduit_ids_t *ids, conduit_stream_id_t *pos,
    ngx_msec_t expires)
{
    char                    name[CONDUIT_KEY_MAX];
    ngx_int_t               rc;
    ngx_str_t               key;
    ngx_conduit_channel_t  *ch;

    if (ngx_conduit_hub_open(hub) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    sub->request = r;
    sub->busy_last = &sub->busy;
    sub->member.on = &ngx_conduit_sub_member;

    if (pos != NULL) {
        sub->pos = *pos;
        sub->resumed = (pos->ms != 0 || pos->seq != 0);
    }

    ngx_conduit_sub_limit(sub, hub->settings.max_duration, expires);

    if (ngx_conduit_sub_init(sub) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    key.data = (u_char *) name;
    key.len = conduit_stream_key_write(ids->org, ids->channel, name);

    ch = ngx_conduit_channel_get(hub, &key, &sub->pos);
    if (ch == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_conduit_channel_add(ch, sub);

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
            ngx_conduit_channel_remove(sub);
            return rc;
        }
    }

    if (ngx_conduit_sub_watch(r) != NGX_OK) {
        ngx_conduit_sub_unwatch(r);
        sub->close = NGX_CONDUIT_CLOSE_ERROR;
        ngx_conduit_channel_remove(sub);
        return NGX_ERROR;
    }

    r->main->count++;

    return NGX_DONE;
}


/* sets when the response is to end at the latest, by which of two reasons */

static void
ngx_conduit_sub_limit(ngx_conduit_sub_t *sub, ngx_msec_t max_duration,
    ngx_msec_t expires)
{
    if (max_duration) {
        max_duration = ngx_conduit_jitter(max_duration);

        sub->member.limited = 1;
        sub->limit = NGX_CONDUIT_CLOSE_DURATION;
        sub->member.deadline = ngx_current_msec + max_duration;
    }

    if (expires && (max_duration == 0 || expires < max_duration)) {
        sub->member.limited = 1;
        sub->limit = NGX_CONDUIT_CLOSE_EXPIRED;
        sub->member.deadline = ngx_current_msec + expires;
    }
}


static ngx_int_t
ngx_conduit_sub_init(ngx_conduit_sub_t *sub)
{
    ngx_http_cleanup_t        *cln;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = sub->request;

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


static ngx_int_t
ngx_conduit_sub_header(ngx_http_request_t *r)
{
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = -1;
    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    /* a charset is not to be added: event streams are UTF-8 */

    r->headers_out.override_charset = NULL;

    /* nor is there a version that "If-Match" and the like could ask for */

    r->disable_not_modified = 1;

    if (ngx_conduit_http_cache_control(r, "no-cache, no-transform") != NGX_OK
        || ngx_conduit_http_header(r, "X-Accel-Buffering", "no") != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_send_header(r);
}


/*
 * Sends the header and the first line.  Returns NGX_OK, or what to finalize the
 * request with.
 */

static ngx_int_t
ngx_conduit_sub_begin(ngx_conduit_sub_t *sub)
{
    ngx_int_t           rc;
    ngx_conduit_hub_t  *hub;
    ngx_conduit_out_t  *out;

    hub = sub->channel->hub;

    sub->started = 1;

    rc = ngx_conduit_sub_header(sub->request);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        return rc;
    }

    /* the first data, flushed, takes the header with it */

    out = ngx_conduit_sub_out(sub, (u_char *) hub->hello.data, hub->hello.len);

    if (out == NULL
        || ngx_conduit_sub_output(sub, out, out, 0) == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    if (ngx_conduit_sub_blocked(sub)) {
        return ngx_conduit_sub_block(sub);
    }

    return NGX_OK;
}


ngx_int_t
ngx_conduit_sub_start(ngx_conduit_sub_t *sub)
{
    ngx_int_t  rc;

    if (sub->started) {
        return NGX_OK;
    }

    rc = ngx_conduit_sub_begin(sub);

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_ERROR, rc);

    return NGX_ERROR;
}


/* sends a text of its own, copied to the request's pool */

static ngx_int_t
ngx_conduit_sub_text(ngx_http_request_t *r, conduit_buf_t *b, ngx_uint_t last)
{
    ngx_buf_t    *buf;
    ngx_chain_t   out;

    if (b->failed) {
        return NGX_ERROR;
    }

    if (b->len == 0) {
        return last ? ngx_http_send_special(r, NGX_HTTP_LAST) : NGX_OK;
    }

    buf = ngx_create_temp_buf(r->pool, b->len);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    buf->last = ngx_cpymem(buf->last, b->data, b->len);
    buf->flush = 1;
    buf->last_buf = last;
    buf->last_in_chain = last;

    out.buf = buf;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


void
ngx_conduit_sub_refuse(ngx_conduit_sub_t *sub)
{
    if (!sub->started) {
        ngx_conduit_sub_finish(sub, NGX_CONDUIT_CLOSE_END,
                               NGX_HTTP_NO_CONTENT);
        return;
    }

    ngx_conduit_sub_end(sub, NGX_CONDUIT_CLOSE_END);
}


void
ngx_conduit_sub_end(ngx_conduit_sub_t *sub, ngx_conduit_close_e why)
{
    ngx_int_t       rc;
    conduit_buf_t  *b;

    if (ngx_conduit_sub_start(sub) != NGX_OK) {
        return;
    }

    b = &sub->channel->hub->scratch;

    conduit_buf_reset(b);
    ngx_conduit_sub_farewell(sub, why, b);

    /* what is still buffered goes first, the filters keep the order */

    rc = ngx_conduit_sub_text(sub->request, b, 1);

    ngx_conduit_sub_finish(sub, why, rc == NGX_ERROR ? NGX_ERROR : NGX_OK);
}


/*
 * The last words of a response that ends before its stream.  An EventSource
 * comes back by itself, with the token it has: where that is good, it loses
 * nothing.  Where it would be refused the EventSource would get 401 and be gone
 * for good, so that the client is told to ask for a new one: conduit-client
 * asks the application for a stream then, which may be another one.
 */

static void
ngx_conduit_sub_farewell(ngx_conduit_sub_t *sub, ngx_conduit_close_e why,
    conduit_buf_t *b)
{
    ngx_msec_t  retry;

    switch (why) {

    case NGX_CONDUIT_CLOSE_OUTAGE:
        conduit_sse_write_error(NGX_CONDUIT_OUTAGE_RETRY, b);

        if (!ngx_conduit_sub_told(sub, NGX_CONDUIT_OUTAGE_RETRY)) {
            return;
        }

        break;

    case NGX_CONDUIT_CLOSE_DRAIN:
    case NGX_CONDUIT_CLOSE_DURATION:
    case NGX_CONDUIT_CLOSE_EXPIRED:
        retry = ngx_conduit_jitter(sub->channel->hub->settings.retry);

        if (!ngx_conduit_sub_told(sub, retry)) {
            conduit_sse_write_retry(retry, b);
            return;
        }

        break;

    default:
        return;
    }

    ngx_conduit_control_write("server_draining", NULL,
                              ngx_conduit_sub_position(sub), b);
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_DRAININGS);
}


ngx_uint_t
ngx_conduit_sub_told(ngx_conduit_sub_t *sub, ngx_msec_t retry)
{
    switch (sub->channel->hub->settings.drain_event) {

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


void
ngx_conduit_sub_finish(ngx_conduit_sub_t *sub, ngx_conduit_close_e why,
    ngx_int_t rc)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = sub->request;
    c = r->connection;

    sub->close = why;

    ngx_conduit_channel_remove(sub);
    ngx_conduit_sub_unwatch(r);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static void
ngx_conduit_sub_member_ping(ngx_conduit_member_t *m)
{
    ngx_conduit_sub_ping(ngx_queue_data(m, ngx_conduit_sub_t, member));
}


static void
ngx_conduit_sub_member_end(ngx_conduit_member_t *m,
    ngx_conduit_roster_why_e why)
{
    ngx_conduit_sub_t  *sub;

    sub = ngx_queue_data(m, ngx_conduit_sub_t, member);

    switch (why) {

    case NGX_CONDUIT_ROSTER_DRAIN:
        ngx_conduit_sub_end(sub, NGX_CONDUIT_CLOSE_DRAIN);
        return;

    case NGX_CONDUIT_ROSTER_AWAY:
        ngx_conduit_sub_end(sub, NGX_CONDUIT_CLOSE_OUTAGE);
        return;

    default: /* NGX_CONDUIT_ROSTER_DEADLINE */
        ngx_conduit_sub_end(sub, sub->limit);
    }
}


/*
 * Whether a subscriber's server was away for too long.  Those who are told to
 * ask the application for a new token go over the time of a drain, each at a
 * moment of its own, as not all may ask at once.
 */

static ngx_uint_t
ngx_conduit_sub_member_away(ngx_conduit_member_t *m)
{
    uintptr_t                        address;
    ngx_msec_t                       away, moment;
    ngx_conduit_sub_t               *sub;
    ngx_conduit_gateway_settings_t  *settings;

    sub = ngx_queue_data(m, ngx_conduit_sub_t, member);
    settings = &sub->channel->hub->settings;

    if (!ngx_conduit_channel_away(sub->channel, &away)
        || away < settings->outage)
    {
        return 0;
    }

    if (settings->drain == 0
        || !ngx_conduit_sub_told(sub, NGX_CONDUIT_OUTAGE_RETRY))
    {
        return 1;
    }

    address = (uintptr_t) sub;
    moment = ngx_murmur_hash2((u_char *) &address, sizeof(uintptr_t))
             % settings->drain;

    return away - settings->outage >= moment;
}


static void
ngx_conduit_sub_cleanup(void *data)
{
    ngx_conduit_channel_remove(data);
}


void
ngx_conduit_sub_release(ngx_conduit_sub_t *sub)
{
    ngx_conduit_out_t  *out;

    for (out = sub->busy; out; out = out->next) {
        if (out->frame != NULL) {
            ngx_conduit_frame_release(out->frame);
        }
    }

    sub->busy = NULL;
}


ngx_int_t
ngx_conduit_sub_turn_away(ngx_http_request_t *r, ngx_msec_t retry)
{
    ngx_int_t      rc;
    conduit_buf_t  b;

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_REQUESTS
                              + NGX_CONDUIT_REQUEST_TURNED_AWAY);

    rc = ngx_conduit_sub_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    ngx_memzero(&b, sizeof(conduit_buf_t));

    conduit_sse_write_retry(ngx_conduit_jitter(retry), &b);

    rc = ngx_conduit_sub_text(r, &b, 1);

    conduit_buf_free(&b);

    return rc;
}


/* from three quarters of it to five */

static ngx_msec_t
ngx_conduit_jitter(ngx_msec_t msec)
{
    return msec - msec / 4 + ngx_random() % (msec / 2 + 1);
}


const char *
ngx_conduit_close_name(ngx_conduit_close_e why)
{
    static const char  *names[] = {
        "client", "end", "drain", "outage", "expired", "duration", "timeout",
        "error"
    };

    return names[why];
}
