/* Copyright (C) Conduit for NGINX authors */

/*
 * The response of a pull.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_conduit_gateway_metrics.h"
#include "ngx_conduit_pull.h"


static ngx_int_t ngx_conduit_pull_output(ngx_conduit_pull_t *pull);


#if (NGX_DEBUG)

/* ngx_conduit_pull_e */

static const char  *ngx_conduit_pull_results[] = {
    "all there is", "a part", "nothing", "Redis is away", "the end"
};

#endif


ngx_int_t
ngx_conduit_pull_turn_away(ngx_conduit_pull_t *pull)
{
    pull->start = pull->listener.start.kind;
    pull->close = NGX_CONDUIT_CLOSE_DRAIN;

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_REQUESTS
                              + NGX_CONDUIT_REQUEST_TURNED_AWAY);

    return ngx_conduit_pull_answer(pull, NGX_CONDUIT_PULL_NOTHING);
}


ngx_uint_t
ngx_conduit_pull_position(ngx_conduit_pull_t *pull, conduit_stream_id_t *pos)
{
    ngx_conduit_listener_t  *l;

    l = &pull->listener;

    *pos = l->id;

    if (pos->ms || pos->seq) {
        return 1;
    }

    /* it is not known yet where the pull starts, or whether the stream that it
       is to resume is running */

    if (l->start.kind != CONDUIT_START_OLDEST || l->seeking
        || (l->resumes && !pull->caught_up))
    {
        return 0;
    }

    /* a pull that starts with the running turn (CONDUIT_START_TURN) skips the
       turns before it: so must the next request, which must not begin with the
       oldest entry */

    if (pull->start == CONDUIT_START_TURN) {
        *pos = l->place.pos;
    }

    return 1;
}


ngx_int_t
ngx_conduit_pull_answer(ngx_conduit_pull_t *pull, ngx_conduit_pull_e result)
{
    ngx_int_t  rc;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, pull->request->connection->log, 0,
                   "conduit: pull, listener %p is answered: %s, %uD events",
                   &pull->listener, ngx_conduit_pull_results[result],
                   pull->events);

    ngx_conduit_gateway_count(NGX_CONDUIT_GATEWAY_PULLED
                  + (pull->events ? NGX_CONDUIT_PULLED_EVENTS
                     : result == NGX_CONDUIT_PULL_END ? NGX_CONDUIT_PULLED_END
                     : result == NGX_CONDUIT_PULL_AWAY
                       ? NGX_CONDUIT_PULLED_AWAY : NGX_CONDUIT_PULLED_EMPTY));

    rc = pull->form->answer(pull, result);

    if (rc != NGX_OK) {
        return rc;
    }

    return pull->body.failed ? NGX_HTTP_INTERNAL_SERVER_ERROR
                             : ngx_conduit_pull_output(pull);
}


static ngx_int_t
ngx_conduit_pull_output(ngx_conduit_pull_t *pull)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_chain_t          out;
    ngx_http_request_t  *r;

    r = pull->request;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.content_length_n = pull->body.len;
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    /* "If-Match" and the like must not be applied: a stream has no version */

    r->disable_not_modified = 1;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    pull->bytes = pull->body.len;
    ngx_conduit_gateway_add(NGX_CONDUIT_GATEWAY_BYTES, pull->bytes);

    b->pos = (u_char *) pull->body.data;
    b->last = b->pos + pull->body.len;
    b->memory = (pull->body.len != 0);
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}
