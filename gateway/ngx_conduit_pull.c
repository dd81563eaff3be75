/* Copyright (C) Conduit for NGINX authors */

/*
 * A pull: a request that gets the events of a channel in one response, at once
 * or when the next event arrives.  This file handles it up to its response,
 * which ngx_conduit_pull_answer.c sends.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_client.h"
#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_pull.h"
#include "ngx_conduit_subscriber.h"


static void ngx_conduit_pull_set_deadline(ngx_conduit_pull_t *pull,
    ngx_msec_t expires);
static ngx_int_t ngx_conduit_pull_add(ngx_conduit_pull_t *pull,
    ngx_str_t *key, ngx_str_t *label);
static void ngx_conduit_pull_remove(ngx_conduit_pull_t *pull);
static void ngx_conduit_pull_cleanup(void *data);
static void ngx_conduit_pull_release(void *data);
static void ngx_conduit_pull_caught_up(ngx_conduit_asker_t *a);
static void ngx_conduit_pull_outage(ngx_conduit_asker_t *a);
static ngx_int_t ngx_conduit_pull_start(ngx_conduit_listener_t *l);
static ngx_int_t ngx_conduit_pull_send(ngx_conduit_listener_t *l);
static ngx_int_t ngx_conduit_pull_take(ngx_conduit_pull_t *pull);
static ngx_uint_t ngx_conduit_pull_set_eager(ngx_conduit_pull_t *pull);
static void ngx_conduit_pull_listener_end(ngx_conduit_listener_t *l,
    ngx_conduit_close_e why);
static void ngx_conduit_pull_member_ping(ngx_conduit_member_t *m);
static void ngx_conduit_pull_member_end(ngx_conduit_member_t *m,
    ngx_conduit_roster_why_e why);
static ngx_uint_t ngx_conduit_pull_member_away(ngx_conduit_member_t *m);
static void ngx_conduit_pull_give_up(ngx_conduit_pull_t *pull,
    ngx_conduit_close_e why);
static void ngx_conduit_pull_finish(ngx_conduit_pull_t *pull,
    ngx_conduit_pull_e result, ngx_conduit_close_e why);
static void ngx_conduit_pull_finalize(ngx_conduit_pull_t *pull,
    ngx_conduit_close_e why, ngx_int_t rc);
static ngx_conduit_pull_t *ngx_conduit_pull_of(ngx_http_request_t *r);
static void ngx_conduit_pull_read_handler(ngx_http_request_t *r);
static void ngx_conduit_pull_write_handler(ngx_http_request_t *r);


static const ngx_conduit_listener_handlers_t  ngx_conduit_pull_listener = {
    ngx_conduit_pull_start,
    ngx_conduit_pull_send,
    ngx_conduit_pull_listener_end
};

static const ngx_conduit_member_handlers_t  ngx_conduit_pull_member = {
    ngx_conduit_pull_member_ping,
    ngx_conduit_pull_member_end,
    ngx_conduit_pull_member_away
};

static const ngx_conduit_asker_handlers_t  ngx_conduit_pull_asker = {
    ngx_conduit_pull_caught_up,
    ngx_conduit_pull_outage
};


ngx_conduit_pull_t *
ngx_conduit_pull_alloc(ngx_http_request_t *r, ngx_conduit_hub_t *hub,
    const ngx_conduit_pull_form_t *form, conduit_stream_id_t *pos)
{
    ngx_pool_cleanup_t  *cln;
    ngx_conduit_pull_t  *pull;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_conduit_pull_t));
    if (cln == NULL) {
        return NULL;
    }

    pull = cln->data;

    ngx_memzero(pull, sizeof(ngx_conduit_pull_t));

    pull->request = r;
    pull->hub = hub;
    pull->form = form;
    pull->listener.on = &ngx_conduit_pull_listener;
    pull->listener.id = *pos;
    pull->member.on = &ngx_conduit_pull_member;
    pull->asker.on = &ngx_conduit_pull_asker;

    /* HTTP/2 may send from pull->body even after the request's cleanups have
       run: the body is freed with the pool */

    cln->handler = ngx_conduit_pull_release;

    return pull;
}


static void
ngx_conduit_pull_release(void *data)
{
    ngx_conduit_pull_t  *pull = data;

    conduit_buf_free(&pull->body);
}


ngx_int_t
ngx_conduit_pull_create(ngx_conduit_pull_t *pull, ngx_str_t *key,
    ngx_str_t *label, ngx_msec_t expires)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;
    ngx_http_cleanup_t  *cln;

    r = pull->request;
    pull->close = NGX_CONDUIT_CLOSE_ERROR;

    if (ngx_conduit_hub_open(pull->hub) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_conduit_pull_cleanup;
    cln->data = pull;

    pull->start = pull->listener.start.kind;

    ngx_conduit_pull_set_deadline(pull, expires);

    rc = ngx_conduit_pull_add(pull, key, label);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_REQUESTS
                              + NGX_CONDUIT_REQUEST_ACCEPTED);

    if (rc == NGX_DONE) {
        pull->close = NGX_CONDUIT_CLOSE_END;
        return ngx_conduit_pull_answer(pull, NGX_CONDUIT_PULL_END);
    }

    if (!pull->caught_up && pull->wait == 0
        && !ngx_conduit_channel_answers(pull->channel))
    {
        pull->close = NGX_CONDUIT_CLOSE_OUTAGE;
        ngx_conduit_pull_remove(pull);
        return ngx_conduit_pull_answer(pull, NGX_CONDUIT_PULL_AWAY);
    }

    if (ngx_conduit_client_watch(r, ngx_conduit_pull_read_handler,
                                 ngx_conduit_pull_write_handler) != NGX_OK)
    {
        ngx_conduit_client_unwatch(r);
        ngx_conduit_pull_remove(pull);
        return NGX_ERROR;
    }

    r->main->count++;

    return NGX_DONE;
}


/*
 * Sets the deadline of the answer.  A pull that does not wait for an event
 * still waits for Redis, for as long as a subscriber waits in an outage.
 */

static void
ngx_conduit_pull_set_deadline(ngx_conduit_pull_t *pull, ngx_msec_t expires)
{
    ngx_msec_t  limit;

    limit = pull->wait ? pull->wait : ngx_conduit_hub_patience(pull->hub);

    pull->deadline_why = NGX_CONDUIT_CLOSE_ANSWERED;

    if (expires && expires < limit) {
        limit = expires;
        pull->deadline_why = NGX_CONDUIT_CLOSE_EXPIRED;
    }

    pull->member.limited = 1;
    pull->member.deadline = ngx_current_msec + limit;
}


/* adds the pull to the channel of a key; returns NGX_OK, NGX_DONE when it was
   not added because no event will come, or NGX_ERROR when memory is out */

static ngx_int_t
ngx_conduit_pull_add(ngx_conduit_pull_t *pull, ngx_str_t *key,
    ngx_str_t *label)
{
    ngx_conduit_channel_t  *ch;

    ch = ngx_conduit_channel_get(pull->hub, key, label);
    if (ch == NULL) {
        return NGX_ERROR;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, pull->request->connection->log, 0,
                   "conduit: pull of \"%V\": listener %p, member %p, waits "
                   "%Mms", key, &pull->listener, &pull->member, pull->wait);

    pull->asker.since = ngx_conduit_channel_asked(ch);

    /* if the window is up to date, Redis will report each new entry: a pull
       that waits gets it then, and no question is needed */

    pull->caught_up = (pull->wait && ngx_conduit_channel_fresh(ch));

    if (ngx_conduit_channel_add(ch, &pull->listener, &pull->member)
        == NGX_DONE)
    {
        return NGX_DONE;
    }

    pull->channel = ch;

    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_PULLS, 1);

    if (!pull->caught_up) {
        ngx_conduit_channel_ask(ch, &pull->asker);
    }

    return NGX_OK;
}


/* removes the pull from its channel; does nothing the second time */

static void
ngx_conduit_pull_remove(ngx_conduit_pull_t *pull)
{
    ngx_conduit_channel_t  *ch;

    ch = pull->channel;

    if (ch == NULL) {
        return;
    }

    pull->channel = NULL;

    ngx_conduit_gateway_gauge(NGX_CONDUIT_GATEWAY_PULLS, -1);

    ngx_conduit_channel_unask(&pull->asker);
    ngx_conduit_channel_remove(ch, &pull->listener, &pull->member);
}


static void
ngx_conduit_pull_cleanup(void *data)
{
    ngx_conduit_pull_remove(data);
}


/* Redis has answered a question that was sent after the pull came: the window
   has all entries that the stream had at that time */

static void
ngx_conduit_pull_caught_up(ngx_conduit_asker_t *a)
{
    ngx_conduit_pull_t  *pull;

    pull = ngx_queue_data(a, ngx_conduit_pull_t, asker);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "conduit: pull, listener %p: Redis has answered",
                   &pull->listener);

    pull->caught_up = 1;

    if (ngx_conduit_pull_set_eager(pull)) {
        ngx_conduit_channel_wake(pull->channel, &pull->listener);
    }
}


/* the question will not be answered soon.  If the server is down, a pull that
   does not wait for an event is answered now.  If the server is up, it has sent
   an error; the question will be sent again, and the pull stays */

static void
ngx_conduit_pull_outage(ngx_conduit_asker_t *a)
{
    ngx_msec_t           away;
    ngx_conduit_pull_t  *pull;

    pull = ngx_queue_data(a, ngx_conduit_pull_t, asker);

    if (pull->wait == 0 && ngx_conduit_channel_away(pull->channel, &away)) {
        ngx_conduit_pull_give_up(pull, NGX_CONDUIT_CLOSE_OUTAGE);
    }
}


/* does nothing: the only response is sent when it is complete */

static ngx_int_t
ngx_conduit_pull_start(ngx_conduit_listener_t *l)
{
    return NGX_OK;
}


static ngx_int_t
ngx_conduit_pull_send(ngx_conduit_listener_t *l)
{
    ngx_int_t            rc;
    ngx_uint_t           all;
    ngx_conduit_pull_t  *pull;

    pull = ngx_queue_data(l, ngx_conduit_pull_t, listener);

    l->tells = 0;

    rc = ngx_conduit_pull_take(pull);

    if (rc == NGX_ERROR) {
        ngx_conduit_pull_finalize(pull, NGX_CONDUIT_CLOSE_ERROR,
                                  NGX_HTTP_INTERNAL_SERVER_ERROR);
        return NGX_DONE;
    }

    /* a pull that has got all events of a batch of older entries has not got
       all of the stream: it goes on in the window */

    all = ngx_conduit_pull_set_eager(pull)
          && ngx_conduit_channel_has_all(pull->channel, l);

    if (rc == NGX_OK && !all) {
        return NGX_OK;
    }

    /* it is answered now, but the stream may have entries that the worker has
       not read yet */

    all = all && ngx_conduit_channel_at_end(pull->channel, l);

    ngx_conduit_pull_finish(pull,
                            all ? NGX_CONDUIT_PULL_ALL : NGX_CONDUIT_PULL_PART,
                            pull->ended ? NGX_CONDUIT_CLOSE_END
                                        : NGX_CONDUIT_CLOSE_ANSWERED);
    return NGX_DONE;
}


/*
 * Appends events to the body.  Returns NGX_OK when all that are in memory were
 * taken; NGX_AGAIN when the body is full or the stream has ended, so that the
 * response is sent; or NGX_ERROR when memory is out.
 *
 * After a loss of history, one more event is appended even if the body is full:
 * without it the client would come back with its old position, and be told of
 * the same loss again.
 */

static ngx_int_t
ngx_conduit_pull_take(ngx_conduit_pull_t *pull)
{
    size_t                limit;
    ngx_conduit_frame_t  *frame;
    conduit_place_loss_e  loss;

    limit = pull->hub->settings.buffer_size;
    loss = CONDUIT_PLACE_TOLD;

    while (!pull->ended
           && (loss != CONDUIT_PLACE_TOLD || pull->body.len < limit))
    {

        if (!ngx_conduit_channel_next(pull->channel, &pull->listener, &frame,
                                      &loss))
        {
            return NGX_OK;
        }

        if (frame == NULL) {
            ngx_conduit_gateway_count_lost(loss);
            pull->losses += (pull->losses < 255);
            pull->form->lost(pull, loss);

        } else {
            ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_EVENTS);
            pull->events++;
            pull->ended = frame->end;
            pull->form->event(pull, frame);
        }

        if (pull->body.failed) {
            return NGX_ERROR;
        }
    }

    return NGX_AGAIN;
}


/* whether the pull is answered as soon as it has got all of the window; if so,
   sets "eager": its send handler is then called even if no event is left */

static ngx_uint_t
ngx_conduit_pull_set_eager(ngx_conduit_pull_t *pull)
{
    pull->listener.eager = (pull->caught_up
                            && (pull->events || pull->wait == 0));

    return pull->listener.eager;
}


static void
ngx_conduit_pull_listener_end(ngx_conduit_listener_t *l,
    ngx_conduit_close_e why)
{
    ngx_conduit_pull_t  *pull;

    pull = ngx_queue_data(l, ngx_conduit_pull_t, listener);

    if (why == NGX_CONDUIT_CLOSE_END && pull->events == 0) {
        ngx_conduit_pull_finish(pull, NGX_CONDUIT_PULL_END, why);
        return;
    }

    ngx_conduit_pull_give_up(pull, why);
}


static void
ngx_conduit_pull_member_ping(ngx_conduit_member_t *m)
{
    /* nothing is sent before the response */
}


static void
ngx_conduit_pull_member_end(ngx_conduit_member_t *m,
    ngx_conduit_roster_why_e why)
{
    ngx_conduit_pull_t  *pull;

    pull = ngx_queue_data(m, ngx_conduit_pull_t, member);

    switch (why) {

    case NGX_CONDUIT_ROSTER_DRAIN:
        ngx_conduit_pull_give_up(pull, NGX_CONDUIT_CLOSE_DRAIN);
        return;

    case NGX_CONDUIT_ROSTER_AWAY:
        ngx_conduit_pull_give_up(pull, NGX_CONDUIT_CLOSE_OUTAGE);
        return;

    default: /* NGX_CONDUIT_ROSTER_DEADLINE */
        ngx_conduit_pull_give_up(pull, pull->deadline_why);
    }
}


static ngx_uint_t
ngx_conduit_pull_member_away(ngx_conduit_member_t *m)
{
    ngx_msec_t           away;
    ngx_conduit_pull_t  *pull;

    pull = ngx_queue_data(m, ngx_conduit_pull_t, member);

    return ngx_conduit_channel_away(pull->channel, &away)
           && away >= pull->hub->settings.outage;
}


/*
 * Answers a pull that may not wait any longer with what it has:
 *
 *   PART      some events
 *   ALL       no events: Redis has said so, and is still up at the deadline
 *   NOTHING   no events: the worker quits; or Redis had said so, but then the
 *             token expired, Redis went down, or events came that are held back
 *   AWAY      no events: Redis has not answered whether there are any
 */

static void
ngx_conduit_pull_give_up(ngx_conduit_pull_t *pull, ngx_conduit_close_e why)
{
    ngx_msec_t  away;

    if (pull->events) {
        ngx_conduit_pull_finish(pull, NGX_CONDUIT_PULL_PART, why);
        return;
    }

    if (pull->caught_up && why == NGX_CONDUIT_CLOSE_ANSWERED
        && !ngx_conduit_channel_away(pull->channel, &away)
        && ngx_conduit_channel_at_end(pull->channel, &pull->listener))
    {
        ngx_conduit_pull_finish(pull, NGX_CONDUIT_PULL_ALL, why);
        return;
    }

    if (pull->caught_up || why == NGX_CONDUIT_CLOSE_DRAIN) {
        ngx_conduit_pull_finish(pull, NGX_CONDUIT_PULL_NOTHING, why);
        return;
    }

    ngx_conduit_pull_finish(pull, NGX_CONDUIT_PULL_AWAY,
                            why == NGX_CONDUIT_CLOSE_ANSWERED
                            ? NGX_CONDUIT_CLOSE_OUTAGE : why);
}


/* removes the pull, answers it and ends the request; the caller must use
   neither of them afterwards */

static void
ngx_conduit_pull_finish(ngx_conduit_pull_t *pull, ngx_conduit_pull_e result,
    ngx_conduit_close_e why)
{
    pull->close = why;

    ngx_conduit_pull_remove(pull);

    ngx_conduit_pull_finalize(pull, why,
                              ngx_conduit_pull_answer(pull, result));
}


static void
ngx_conduit_pull_finalize(ngx_conduit_pull_t *pull, ngx_conduit_close_e why,
    ngx_int_t rc)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = pull->request;
    c = r->connection;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "conduit: pull, listener %p ends: %s, code %i",
                   &pull->listener, ngx_conduit_close_name(why), rc);

    pull->close = why;

    ngx_conduit_pull_remove(pull);
    ngx_conduit_client_unwatch(r);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* returns NULL if the request is not a pull, or not any more */

static ngx_conduit_pull_t *
ngx_conduit_pull_of(ngx_http_request_t *r)
{
    ngx_conduit_gateway_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_gateway_module);

    return (ctx && ctx->pull && ctx->pull->channel) ? ctx->pull : NULL;
}


/* see ngx_conduit_sub_read_handler() */

static void
ngx_conduit_pull_read_handler(ngx_http_request_t *r)
{
    ngx_conduit_pull_t  *pull;

    pull = ngx_conduit_pull_of(r);

    if (pull != NULL && ngx_conduit_client_left(r)) {
        ngx_conduit_pull_finalize(pull, NGX_CONDUIT_CLOSE_CLIENT,
                                  NGX_HTTP_CLIENT_CLOSED_REQUEST);
    }
}


static void
ngx_conduit_pull_write_handler(ngx_http_request_t *r)
{
    ngx_conduit_pull_t  *pull;

    pull = ngx_conduit_pull_of(r);

    if (pull != NULL && ngx_conduit_client_gone(r->connection)) {
        ngx_conduit_pull_finalize(pull, NGX_CONDUIT_CLOSE_CLIENT, NGX_ERROR);
    }
}
