/* Copyright (C) Conduit for NGINX authors */

/*
 * What the files of a subscriber share; no other file includes it.
 *
 *     ngx_conduit_subscriber_create.c   makes a request a subscriber
 *     ngx_conduit_subscriber.c          serves and ends it
 */

#ifndef NGX_CONDUIT_SUBSCRIBER_CORE_H
#define NGX_CONDUIT_SUBSCRIBER_CORE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_subscriber.h"

#pragma GCC visibility push(hidden)

/* what the channel and the roster call */
extern const ngx_conduit_listener_handlers_t  ngx_conduit_sub_listener;
extern const ngx_conduit_member_handlers_t  ngx_conduit_sub_member;

/*
 * Sends the header and the first line.  Returns NGX_OK, or the code to finalize
 * the request with.
 */
ngx_int_t ngx_conduit_sub_begin(ngx_conduit_sub_t *sub);

/* Removes the subscriber from its channel; does nothing the second time. */
void ngx_conduit_sub_remove(ngx_conduit_sub_t *sub);

/* The handlers of the request, for the events of its connection. */
void ngx_conduit_sub_read_handler(ngx_http_request_t *r);
void ngx_conduit_sub_write_handler(ngx_http_request_t *r);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_SUBSCRIBER_CORE_H */
