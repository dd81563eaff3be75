/* Copyright (C) Conduit for NGINX authors */

/*
 * A subscriber: one response of Server-Sent Events, a listener of its channel
 * and a member of the roster.
 *
 *   create         makes a request a subscriber, after its token was checked
 *   end            is caused by its channel, the roster, or the client
 *   release        frees its frames when the request's pool is destroyed
 */

#ifndef NGX_CONDUIT_SUBSCRIBER_H
#define NGX_CONDUIT_SUBSCRIBER_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_hub.h"
#include "ngx_conduit_output.h"

#pragma GCC visibility push(hidden)

/*
 * the context of a request to a gateway's location, in its pool, for as long as
 * the pool lasts, internal redirects included
 */
typedef struct {
    ngx_conduit_sub_t       sub;           /* sub.request is NULL before the
                                              request is a subscriber */
    struct ngx_conduit_pull_s  *pull;      /* NULL: the request is no pull */
    ngx_str_t               token;         /* from the query or "value"; memory
                                              of malloc(), freed when the
                                              request becomes a subscriber */
    ngx_http_complex_value_t  *value;      /* the "conduit_gateway_token" that
                                              gave the token, or NULL */
    int                     taken;         /* the result of taking the token,
                                              valid when looked */
    unsigned                looked:1;
    ngx_conduit_verified_t  verified;
    ngx_conduit_durable_t  *durable;       /* NULL: the request is not, or not
                                              yet, one of Durable Streams */
} ngx_conduit_gateway_ctx_t;


/*
 * Makes a GET request a subscriber of the channel of a key, after the key and
 * the token were checked; label is that of ngx_conduit_channel_get().  sub is
 * the one in the request's context, whose cleanup calls
 * ngx_conduit_sub_release().  Its members "refused", "listener.start" and
 * "listener.resumes" may be set before, the rest of it is zero.  pos is the
 * client's position, or 0-0.  expires is the remaining life of the token in ms,
 * or 0 when the response may outlive it.  Returns what the content handler
 * returns.
 */
ngx_int_t ngx_conduit_sub_create(ngx_conduit_hub_t *hub,
    ngx_http_request_t *r, ngx_conduit_sub_t *sub, ngx_str_t *key,
    ngx_str_t *label, conduit_stream_id_t *pos, ngx_msec_t expires);

/* "end", "client" and so on, for $conduit_gateway_close. */
const char *ngx_conduit_close_name(ngx_conduit_close_e why);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_SUBSCRIBER_H */
