/* Copyright (C) Conduit for NGINX authors */

/*
 * The answer to "Accept: application/json": a pull whose events are a JSON
 * array.
 */

#ifndef NGX_CONDUIT_PULL_JSON_H
#define NGX_CONDUIT_PULL_JSON_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_pull.h"

#pragma GCC visibility push(hidden)

extern const ngx_conduit_pull_form_t  ngx_conduit_pull_json;

/*
 * Whether a request wants JSON: "Accept" names application/json, and does not
 * name text/event-stream with the same or a higher quality.
 */
ngx_uint_t ngx_conduit_pull_json_wanted(ngx_http_request_t *r);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_PULL_JSON_H */
