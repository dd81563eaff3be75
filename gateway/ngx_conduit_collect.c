/* Copyright (C) Conduit for NGINX authors */

/*
 * Collects what a subscriber is sent next.  Nothing is collected while the
 * client has not taken all that was sent before: a slow client falls behind,
 * and later goes on from its position.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_collect.h"
#include "ngx_conduit_durable_sse.h"
#include "ngx_conduit_gateway_metrics.h"


/* bytes of copied pieces after which a write has no further event.  With the
   last one they are 16 KB at most: the memory of a client that does not read */
#define NGX_CONDUIT_JOINT  12288


static ngx_uint_t ngx_conduit_sub_enough(ngx_conduit_sub_t *sub, size_t before,
    uint32_t size, ngx_conduit_out_t *last);
static ngx_int_t ngx_conduit_sub_take(ngx_conduit_sub_t *sub,
    ngx_conduit_frame_t **frame, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last);
static ngx_int_t ngx_conduit_sub_finish_control(ngx_conduit_sub_t *sub,
    ngx_uint_t owes, ngx_uint_t more, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last);
static ngx_int_t ngx_conduit_sub_push_event(ngx_conduit_sub_t *sub,
    ngx_conduit_frame_t *frame, ngx_conduit_frame_t *tail,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last);
static ngx_int_t ngx_conduit_sub_tell_position(ngx_conduit_sub_t *sub,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last);
static ngx_int_t ngx_conduit_sub_tell_lost(ngx_conduit_sub_t *sub,
    conduit_place_loss_e loss, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last);


ngx_int_t
ngx_conduit_sub_collect(ngx_conduit_sub_t *sub, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last, ngx_uint_t *end)
{
    size_t                before;
    uint32_t              size;
    ngx_int_t             rc;
    ngx_uint_t            owes, durable;
    ngx_conduit_frame_t  *frame;
    conduit_place_loss_e  loss;

    durable = ngx_conduit_durable_is(sub->hub);
    before = sub->pending;
    size = sub->gzip.size;
    owes = 0;
    loss = CONDUIT_PLACE_TOLD;

    *first = NULL;
    *last = NULL;
    *end = 0;

    if (sub->listener.tells
        && ngx_conduit_sub_tell_position(sub, first, last) != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* a loss is followed by an event in any case: without it, the client could
       lose what follows, and be told again */

    while (!*end
           && (loss != CONDUIT_PLACE_TOLD
               || !ngx_conduit_sub_enough(sub, before, size, *last)))
    {
        if (!ngx_conduit_channel_next(sub->channel, &sub->listener, &frame,
                                      &loss))
        {
            return durable ? ngx_conduit_sub_finish_control(sub, owes, 0,
                                                            first, last)
                           : NGX_OK;
        }

        rc = owes ? ngx_conduit_sub_finish_control(sub, owes, 1, first, last)
                  : NGX_OK;

        if (rc == NGX_OK) {
            rc = frame ? ngx_conduit_sub_take(sub, &frame, first, last)
                       : ngx_conduit_sub_tell_lost(sub, loss, first, last);
        }

        if (rc != NGX_OK) {
            return rc;
        }

        *end = (frame != NULL && frame->end);
        owes = (durable && frame != NULL && !frame->end);
    }

    rc = (*end && sub->gzip.on) ? ngx_conduit_sub_push_end(sub, first, last)
         : owes ? ngx_conduit_sub_finish_control(sub, owes, 1, first, last)
         : NGX_OK;

    return rc == NGX_OK ? NGX_AGAIN : NGX_ERROR;
}


/* whether as much is in the chain as is sent at once; before and size are what
   "pending" and the size of the text in gzip were without it */

static ngx_uint_t
ngx_conduit_sub_enough(ngx_conduit_sub_t *sub, size_t before, uint32_t size,
    ngx_conduit_out_t *last)
{
    size_t  limit;

    limit = sub->hub->settings.buffer_size;

    if (sub->gzip.size - size >= limit) {
        return 1;
    }

    if (last != NULL && ngx_conduit_sub_joined(last)) {
        limit = ngx_min(limit, NGX_CONDUIT_JOINT);
    }

    return sub->pending - before >= limit;
}


/* appends an event and counts it; or the bundle that begins with it, and sets
   *frame to the last event of that */

static ngx_int_t
ngx_conduit_sub_take(ngx_conduit_sub_t *sub, ngx_conduit_frame_t **frame,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last)
{
    ngx_conduit_frame_t  *bundle, *tail;

    bundle = NULL;
    tail = *frame;

    /* Durable Streams has no bundles: after each event, the rest of its control
       event is sent */

    if (!ngx_conduit_durable_is(sub->hub)) {
        bundle = ngx_conduit_channel_bundle(sub->channel, &sub->listener,
                                            *frame, &tail);
    }

    if (ngx_conduit_sub_push_event(sub, bundle ? bundle : *frame, tail, first,
                                   last)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (bundle != NULL) {
        sub->events += ngx_conduit_channel_sent_bundle(sub->channel,
                                                       &sub->listener,
                                                       sub->since);
        *frame = tail;

        return NGX_OK;
    }

    sub->events++;
    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_EVENTS);

    /* an event that is older than the request is not timed */

    if (tail->id.ms >= sub->since) {
        ngx_conduit_gateway_delivered(ngx_conduit_gateway_stats.slot->cells
                                      + NGX_CONDUIT_GATEWAY_DELIVERY,
                                      tail->id.ms);
    }

    return NGX_OK;
}


/*
 * In Durable Streams: if the last frame ended with the beginning of a control
 * event (owes), appends the rest of it; else appends a whole control event if
 * the client has got all events and was not told so yet.  more: further events
 * follow; then there is nothing to do unless it owes.
 */

static ngx_int_t
ngx_conduit_sub_finish_control(ngx_conduit_sub_t *sub, ngx_uint_t owes,
    ngx_uint_t more, ngx_conduit_out_t **first, ngx_conduit_out_t **last)
{
    ngx_uint_t            all;
    ngx_conduit_frame_t  *frame;

    all = !more && sub->listener.place.loss == CONDUIT_PLACE_TOLD
          && ngx_conduit_channel_at_end(sub->channel, &sub->listener);

    if (!owes && (!all || sub->told)) {
        return NGX_OK;
    }

    frame = owes ? ngx_conduit_durable_tail(sub, all)
                 : ngx_conduit_durable_position(sub);

    if (frame == NULL) {
        return NGX_ERROR;
    }

    sub->told = all;

    return ngx_conduit_sub_push(sub, frame, first, last);
}


/* appends an event, or a bundle whose last event is tail; takes a reference */

static ngx_int_t
ngx_conduit_sub_push_event(ngx_conduit_sub_t *sub, ngx_conduit_frame_t *frame,
    ngx_conduit_frame_t *tail, ngx_conduit_out_t **first,
    ngx_conduit_out_t **last)
{
    if (sub->gzip.on) {
        return ngx_conduit_sub_push_piece(sub, frame, tail, first, last);
    }

    frame->refs++;

    return ngx_conduit_sub_push(sub, frame, first, last);
}


/* appends the frame that tells a client where it starts */

static ngx_int_t
ngx_conduit_sub_tell_position(ngx_conduit_sub_t *sub,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last)
{
    ngx_conduit_frame_t  *frame;

    frame = ngx_conduit_frame_position(sub->hub, &sub->listener.id);
    if (frame == NULL) {
        return NGX_ERROR;
    }

    sub->listener.tells = 0;

    return ngx_conduit_sub_push(sub, frame, first, last);
}


/* appends a control event about lost history; returns NGX_DECLINED if the
   format has none: the response is to end then */

static ngx_int_t
ngx_conduit_sub_tell_lost(ngx_conduit_sub_t *sub, conduit_place_loss_e loss,
    ngx_conduit_out_t **first, ngx_conduit_out_t **last)
{
    ngx_conduit_frame_t  *frame;

    frame = NULL;

    if (!ngx_conduit_durable_is(sub->hub)) {

        frame = ngx_conduit_frame_control(sub->hub, "history_lost",
                                          ngx_conduit_gateway_loss_name(loss),
                                          &sub->listener.id);
        if (frame == NULL) {
            return NGX_ERROR;
        }
    }

    ngx_conduit_gateway_count_lost(loss);

    sub->losses += (sub->losses < 255);

    return frame ? ngx_conduit_sub_push(sub, frame, first, last)
                 : NGX_DECLINED;
}
