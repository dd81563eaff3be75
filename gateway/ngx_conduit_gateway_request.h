/* Copyright (C) Conduit for NGINX authors */

/*
 * A request to the gateway, up to where it becomes a subscriber.
 */

#ifndef NGX_CONDUIT_GATEWAY_REQUEST_H
#define NGX_CONDUIT_GATEWAY_REQUEST_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_conf.h"
#include "ngx_conduit_subscriber.h"

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_conduit_conf_t               common;
    ngx_conduit_gateway_settings_t   settings;
    ngx_flag_t                       expire;
    ngx_msec_t                       max_wait;     /* of a pull */
    ngx_uint_t                       start;        /* conduit_start_e */
    ngx_http_complex_value_t        *token;        /* NULL: not set */
    ngx_http_complex_value_t        *resume_only;  /* likewise */
    ngx_array_t                     *origins;      /* of ngx_str_t, origins
                                                      whose pages may read;
                                                      NULL: all */
    ngx_flag_t                       credentials;  /* pages may also send
                                                      cookies */
    ngx_conduit_fields_t             fields;    /* data NULL: not set */
    ngx_flag_t                       waived;    /* "conduit_gateway_auth off" is
                                                   set on a level inside that of
                                                   the claims, if any */
    ngx_flag_t                       gzip;
    ngx_str_t                        durable_type;   /* data NULL: not set */
    ngx_msec_t                       durable_wait;
    ngx_conduit_hub_t               *hub;
} ngx_conduit_gateway_loc_conf_t;


/*
 * The content handler of "conduit_gateway".
 */
ngx_int_t ngx_conduit_gateway_handler(ngx_http_request_t *r);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_GATEWAY_REQUEST_H */
