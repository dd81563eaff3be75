/*
 * conduit_publish: takes a PublishRequest by POST, checks who sends it and what
 * it holds, and adds it to a Redis stream.
 *
 *   handler: method, ids, token, announced size
 *     -> body handler: size, content (proto/)
 *       -> script (broker/) -> the entry's ID, or why not
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_arena.h"
#include "conduit_message.h"
#include "ngx_conduit_conf.h"
#include "ngx_conduit_http.h"
#include "ngx_conduit_script.h"


/* memory that decoding one message may take, a byte of it */
#define NGX_CONDUIT_PUBLISH_ARENA  128


typedef struct {
    ngx_conduit_conf_t        common;

    ngx_flag_t                org_claim;
    size_t                    max_size;
    ngx_uint_t                rate;         /* messages per rate_window */
    ngx_msec_t                rate_window;
    ngx_uint_t                max_len;
    ngx_msec_t                idle_ttl;
    ngx_msec_t                end_ttl;

    ngx_conduit_publisher_t  *publisher;    /* one for equal servers */
} ngx_conduit_publish_loc_conf_t;


typedef struct {
    ngx_array_t               publishers;   /* ngx_conduit_publisher_t * */
} ngx_conduit_publish_main_conf_t;


typedef struct {
    ngx_http_request_t       *request;
    ngx_conduit_ids_t         ids;
    ngx_conduit_publish_t     publish;
    ngx_conduit_script_op_t  *op;           /* under way */
    ngx_str_t                 id;
    conduit_phase_t           phase;
    ngx_msec_t                started;
    ngx_msec_t                redis_time;
    unsigned                  decoded:1;
    unsigned                  answered:1;   /* Redis has */
    u_char                    key[CONDUIT_KEY_MAX];
} ngx_conduit_publish_ctx_t;


static ngx_int_t ngx_conduit_publish_handler(ngx_http_request_t *r);
static ngx_int_t ngx_conduit_publish_authenticate(ngx_http_request_t *r,
    ngx_conduit_publish_loc_conf_t *plcf, ngx_conduit_publish_ctx_t *ctx);
static ngx_int_t ngx_conduit_publish_refuse(ngx_http_request_t *r,
    ngx_uint_t status, const char *text);
static ngx_int_t ngx_conduit_publish_too_large(ngx_http_request_t *r,
    off_t size, size_t limit);
static void ngx_conduit_publish_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_conduit_publish_body(ngx_http_request_t *r,
    ngx_str_t *body);
static off_t ngx_conduit_publish_body_size(ngx_http_request_t *r);
static ngx_int_t ngx_conduit_publish_check(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body);
static ngx_int_t ngx_conduit_publish_send(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body);
static void ngx_conduit_publish_done(void *data,
    ngx_conduit_published_t *result);
static ngx_int_t ngx_conduit_publish_answer(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result);
static ngx_int_t ngx_conduit_publish_limited(ngx_http_request_t *r,
    ngx_conduit_published_t *result);
static ngx_int_t ngx_conduit_publish_failed(ngx_http_request_t *r,
    ngx_conduit_published_e status);
static void ngx_conduit_publish_cleanup(void *data);

static ngx_conduit_conf_t *ngx_conduit_publish_common_conf(
    ngx_http_request_t *r);
static ngx_int_t ngx_conduit_publish_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_conduit_publish_phase_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_conduit_publish_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static char *ngx_conduit_publish(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_conduit_publish_rate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_conduit_publish_add_variables(ngx_conf_t *cf);
static void *ngx_conduit_publish_create_main_conf(ngx_conf_t *cf);
static void *ngx_conduit_publish_create_loc_conf(ngx_conf_t *cf);
static char *ngx_conduit_publish_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_conduit_publisher_t *ngx_conduit_publish_publisher(ngx_conf_t *cf,
    ngx_conduit_redis_t *redis);
static void ngx_conduit_publish_close(void *data);
static void ngx_conduit_publish_exit_process(ngx_cycle_t *cycle);


static ngx_conf_num_bounds_t  ngx_conduit_publish_max_len_bounds = {
    ngx_conf_check_num_bounds, 1, NGX_MAX_INT_T_VALUE
};


static ngx_command_t  ngx_conduit_publish_commands[] = {

    { ngx_string("conduit_publish"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_publish,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_redis_user"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.redis_user),
      NULL },

    { ngx_string("conduit_publish_redis_password_file"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_conf_password_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_redis_ssl_trusted_certificate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t,
               common.redis_ssl.trusted_certificate),
      NULL },

    { ngx_string("conduit_publish_redis_ssl_verify"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.redis_ssl.verify),
      NULL },

    { ngx_string("conduit_publish_redis_ssl_name"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.redis_ssl.name),
      NULL },

    { ngx_string("conduit_publish_redis_ssl_certificate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.redis_ssl.certificate),
      NULL },

    { ngx_string("conduit_publish_redis_ssl_certificate_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t,
               common.redis_ssl.certificate_key),
      NULL },

    { ngx_string("conduit_publish_connect_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.connect_timeout),
      &ngx_conduit_conf_not_zero },

    { ngx_string("conduit_publish_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.timeout),
      &ngx_conduit_conf_not_zero },

    { ngx_string("conduit_publish_org_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.org_id),
      NULL },

    { ngx_string("conduit_publish_channel_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.channel_id),
      NULL },

    { ngx_string("conduit_publish_org_claim"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, org_claim),
      NULL },

    { ngx_string("conduit_publish_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.auth),
      NULL },

    { ngx_string("conduit_publish_jwt_secret_file"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_conduit_conf_key_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_jwt_issuer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.issuer),
      NULL },

    { ngx_string("conduit_publish_jwt_audience"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, common.audience),
      NULL },

    { ngx_string("conduit_publish_max_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, max_size),
      NULL },

    { ngx_string("conduit_publish_rate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conduit_publish_rate,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("conduit_publish_max_len"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, max_len),
      &ngx_conduit_publish_max_len_bounds },

    { ngx_string("conduit_publish_idle_ttl"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, idle_ttl),
      &ngx_conduit_conf_not_zero },

    { ngx_string("conduit_publish_end_ttl"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_conduit_publish_loc_conf_t, end_ttl),
      &ngx_conduit_conf_not_zero },

      ngx_null_command
};


static ngx_http_module_t  ngx_conduit_publish_module_ctx = {
    ngx_conduit_publish_add_variables,     /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_conduit_publish_create_main_conf,  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_conduit_publish_create_loc_conf,   /* create location configuration */
    ngx_conduit_publish_merge_loc_conf     /* merge location configuration */
};


ngx_module_t  ngx_conduit_publish_module = {
    NGX_MODULE_V1,
    &ngx_conduit_publish_module_ctx,       /* module context */
    ngx_conduit_publish_commands,          /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_conduit_publish_exit_process,      /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_variable_t  ngx_conduit_publish_vars[] = {

    { ngx_string("conduit_publish_id"), NULL,
      ngx_conduit_publish_id_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("conduit_publish_phase"), NULL,
      ngx_conduit_publish_phase_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("conduit_redis_time"), NULL,
      ngx_conduit_publish_time_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


static ngx_int_t
ngx_conduit_publish_handler(ngx_http_request_t *r)
{
    ngx_int_t                        rc;
    const char                      *err;
    ngx_http_cleanup_t              *cln;
    ngx_conduit_publish_ctx_t       *ctx;
    ngx_conduit_publish_loc_conf_t  *plcf;

    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "conduit: \"conduit_publish\" in a subrequest");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->method != NGX_HTTP_POST) {

        if (ngx_conduit_http_header(r, "Allow", "POST") != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_conduit_publish_refuse(r, NGX_HTTP_NOT_ALLOWED,
                                          "Method not allowed");
    }

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_conduit_publish_ctx_t));
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->request = r;

    err = ngx_conduit_http_ids(r, &plcf->common, &ctx->ids);
    if (err != NULL) {
        return ngx_conduit_publish_refuse(r, NGX_HTTP_BAD_REQUEST, err);
    }

    rc = ngx_conduit_publish_authenticate(r, plcf, ctx);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (r->headers_in.content_length_n > (off_t) plcf->max_size) {
        return ngx_conduit_publish_too_large(r, r->headers_in.content_length_n,
                                             plcf->max_size);
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_conduit_publish_cleanup;
    cln->data = ctx;

    ngx_http_set_ctx(r, ctx, ngx_conduit_publish_module);

    rc = ngx_http_read_client_request_body(r, ngx_conduit_publish_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


/* returns NGX_DECLINED to go on, or the result of an answer */

static ngx_int_t
ngx_conduit_publish_authenticate(ngx_http_request_t *r,
    ngx_conduit_publish_loc_conf_t *plcf, ngx_conduit_publish_ctx_t *ctx)
{
    ngx_int_t              rc;
    ngx_str_t              token;
    conduit_jwt_claims_t   claims;
    conduit_jwt_status_t   status;

    if (!plcf->common.auth) {
        return NGX_DECLINED;
    }

    rc = ngx_conduit_http_bearer(r, &token);

    if (rc != NGX_OK) {
        return ngx_conduit_publish_refuse(r, NGX_HTTP_UNAUTHORIZED,
                                          rc == NGX_DECLINED
                                          ? "Missing authorization header"
                                          : "Invalid authorization format");
    }

    status = ngx_conduit_conf_verify(r, &plcf->common, &token,
                                     plcf->org_claim, &claims);

    if (status != CONDUIT_JWT_OK) {
        return ngx_conduit_publish_refuse(r, NGX_HTTP_UNAUTHORIZED,
                                          status == CONDUIT_JWT_EXPIRED
                                          ? "Token expired"
                                          : "Token validation failed");
    }

    if (plcf->org_claim && claims.org_id != ctx->ids.org) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "conduit: client sent a token of org %uL for org %uL",
                      claims.org_id, ctx->ids.org);
        return ngx_conduit_publish_refuse(r, NGX_HTTP_FORBIDDEN,
                                          "Invalid token claims");
    }

    return NGX_DECLINED;
}


/* answers before the body is read */

static ngx_int_t
ngx_conduit_publish_refuse(ngx_http_request_t *r, ngx_uint_t status,
    const char *text)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (status == NGX_HTTP_UNAUTHORIZED
        && ngx_conduit_http_header(r, "WWW-Authenticate", "Bearer") != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_conduit_http_text(r, status, text, ngx_strlen(text));
}


static ngx_int_t
ngx_conduit_publish_too_large(ngx_http_request_t *r, off_t size, size_t limit)
{
    u_char     *last;
    u_char      text[sizeof("Message of  bytes is over the limit of  bytes")
                     + NGX_OFF_T_LEN + NGX_SIZE_T_LEN];
    ngx_int_t   rc;

    last = ngx_sprintf(text, "Message of %O bytes is over the limit of %uz "
                       "bytes", size, limit);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "conduit: client sent a message of %O bytes, the limit is "
                  "%uz", size, limit);

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_conduit_http_text(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                 (char *) text, last - text);
}


static void
ngx_conduit_publish_body_handler(ngx_http_request_t *r)
{
    off_t                            size;
    ngx_int_t                        rc;
    ngx_str_t                        body;
    ngx_conduit_publish_ctx_t       *ctx;
    ngx_conduit_publish_loc_conf_t  *plcf;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_publish_module);
    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    size = ngx_conduit_publish_body_size(r);

    if (size > (off_t) plcf->max_size) {
        rc = ngx_conduit_publish_too_large(r, size, plcf->max_size);
        ngx_http_finalize_request(r, rc);
        return;
    }

    rc = ngx_conduit_publish_body(r, &body);

    if (rc == NGX_OK) {
        rc = ngx_conduit_publish_check(r, ctx, &body);
    }

    if (rc == NGX_DECLINED) {
        rc = ngx_conduit_publish_send(r, ctx, &body);
    }

    /* NGX_DONE: the answer comes with Redis' reply */

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


static off_t
ngx_conduit_publish_body_size(ngx_http_request_t *r)
{
    off_t         size;
    ngx_chain_t  *cl;

    size = 0;

    if (r->request_body) {
        for (cl = r->request_body->bufs; cl; cl = cl->next) {
            if (!ngx_buf_special(cl->buf)) {
                size += ngx_buf_size(cl->buf);
            }
        }
    }

    return size;
}


/* makes one piece of the body: bufs in memory, or in a temporary file */

static ngx_int_t
ngx_conduit_publish_body(ngx_http_request_t *r, ngx_str_t *body)
{
    u_char       *p;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    body->len = ngx_conduit_publish_body_size(r);

    if (body->len == 0) {
        body->data = (u_char *) "";
        return NGX_OK;
    }

    cl = r->request_body->bufs;

    if (cl->next == NULL && ngx_buf_in_memory(cl->buf)) {
        body->data = cl->buf->pos;
        return NGX_OK;
    }

    body->data = ngx_pnalloc(r->pool, body->len);
    if (body->data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = body->data;

    for ( /* void */ ; cl; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)) {
            p = ngx_cpymem(p, b->pos, b->last - b->pos);
            continue;
        }

        /* the end of a body in chunks is a buffer of neither kind */

        if (!b->in_file) {
            continue;
        }

        n = ngx_read_file(b->file, p, b->file_last - b->file_pos, b->file_pos);

        if (n != (ssize_t) (b->file_last - b->file_pos)) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "conduit: reading the request body's temporary file "
                          "failed");
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        p += n;
    }

    return NGX_OK;
}


/* returns NGX_DECLINED to go on, or the result of an answer */

static ngx_int_t
ngx_conduit_publish_check(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body)
{
    const char                      *text;
    conduit_arena_t                 *arena;
    conduit_message_t                message;
    conduit_message_status_t         status;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    arena = conduit_arena_create(65536
                                 + plcf->max_size * NGX_CONDUIT_PUBLISH_ARENA);
    if (arena == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    status = conduit_message_decode(body->data, body->len, arena, &message);

    conduit_arena_free(arena);

    switch (status) {

    case CONDUIT_MESSAGE_OK:

        ctx->phase = message.phase;
        ctx->decoded = 1;

        if (ngx_memcmp(message.channel_id, ctx->ids.channel, CONDUIT_UUID_LEN)
            == 0)
        {
            return NGX_DECLINED;
        }

        text = "Channel_id of the message is not the one of the path";
        break;

    case CONDUIT_MESSAGE_CHANNEL_ID:
        text = "Invalid channel_id in the message";
        break;

    case CONDUIT_MESSAGE_MESSAGE_ID:
        text = "Invalid message_id in the message";
        break;

    case CONDUIT_MESSAGE_NO_MEMORY:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;

    default:
        text = "Invalid protobuf";
        break;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "conduit: client sent an invalid message: %s",
                  status == CONDUIT_MESSAGE_OK
                  ? "channel_id differs from the path"
                  : conduit_message_status_text(status));

    return ngx_conduit_http_text(r, NGX_HTTP_BAD_REQUEST, text,
                                 ngx_strlen(text));
}


/* returns NGX_DONE when the answer is to come, or the result of an answer */

static ngx_int_t
ngx_conduit_publish_send(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_str_t *body)
{
    ngx_conduit_publish_t           *p;
    ngx_conduit_published_e          status;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    p = &ctx->publish;

    p->key.data = ctx->key;
    p->key.len = conduit_stream_key_write(ctx->ids.org, ctx->ids.channel,
                                          (char *) ctx->key);
    p->message = *body;
    p->rate = plcf->rate;
    p->window = plcf->rate_window;
    p->max_len = plcf->max_len;
    p->ttl = (ctx->phase == CONDUIT_PHASE_END) ? plcf->end_ttl
                                               : plcf->idle_ttl;
    p->handler = ngx_conduit_publish_done;
    p->data = ctx;

    ctx->started = ngx_current_msec;
    ctx->op = ngx_conduit_script_publish(plcf->publisher, p, &status);

    if (ctx->op != NULL) {
        return NGX_DONE;
    }

    return ngx_conduit_publish_failed(r, status);
}


static void
ngx_conduit_publish_done(void *data, ngx_conduit_published_t *result)
{
    ngx_int_t                   rc;
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_conduit_publish_ctx_t  *ctx = data;

    ctx->op = NULL;
    ctx->answered = 1;
    ctx->redis_time = ngx_current_msec - ctx->started;

    r = ctx->request;
    c = r->connection;

    rc = ngx_conduit_publish_answer(r, ctx, result);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_conduit_publish_answer(ngx_http_request_t *r,
    ngx_conduit_publish_ctx_t *ctx, ngx_conduit_published_t *result)
{
    ngx_log_t                       *log;
    ngx_uint_t                       level;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);
    log = r->connection->log;

    switch (result->status) {

    case NGX_CONDUIT_PUBLISHED:

        ctx->id.data = ngx_pstrdup(r->pool, &result->id);
        if (ctx->id.data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx->id.len = result->id.len;

        return ngx_conduit_http_text(r, NGX_HTTP_OK, (char *) ctx->id.data,
                                     ctx->id.len);

    case NGX_CONDUIT_RATE_LIMITED:
        return ngx_conduit_publish_limited(r, result);

    case NGX_CONDUIT_REDIS_BUSY:
    case NGX_CONDUIT_REDIS_FULL:
    case NGX_CONDUIT_REDIS_REFUSED:
        level = ngx_conduit_publisher_level(plcf->publisher);

        ngx_log_error(level, log, 0,
                      "conduit: redis refused to publish to \"%V\": %V",
                      &ctx->publish.key, &result->error);
        break;

    case NGX_CONDUIT_REDIS_LOST:
    case NGX_CONDUIT_REDIS_TIMED_OUT:
        level = ngx_conduit_publisher_level(plcf->publisher);

        ngx_log_error(level, log, 0,
                      "conduit: no reply of redis on publishing to \"%V\" "
                      "in %Mms, the message may have been stored",
                      &ctx->publish.key, ctx->redis_time);
        break;

    default:
        break;
    }

    return ngx_conduit_publish_failed(r, result->status);
}


static ngx_int_t
ngx_conduit_publish_limited(ngx_http_request_t *r,
    ngx_conduit_published_t *result)
{
    u_char                          *last, *after;
    u_char                           text[sizeof("Rate limit of  messages per"
                                                 "  seconds exceeded")
                                          + 2 * NGX_INT_T_LEN];
    ngx_msec_t                       seconds;
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    seconds = (result->wait + 999) / 1000;

    after = ngx_pnalloc(r->pool, NGX_INT_T_LEN + 1);
    if (after == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    *ngx_sprintf(after, "%M", ngx_max(seconds, 1)) = '\0';

    if (ngx_conduit_http_header(r, "Retry-After", (char *) after) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    last = ngx_sprintf(text, "Rate limit of %ui messages per %M second%s "
                       "exceeded", plcf->rate, plcf->rate_window / 1000,
                       plcf->rate_window == 1000 ? "" : "s");

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "conduit: publishing is limited to %ui messages in %Mms a "
                  "channel", plcf->rate, plcf->rate_window);

    return ngx_conduit_http_text(r, NGX_HTTP_TOO_MANY_REQUESTS,
                                 (char *) text, last - text);
}


static ngx_int_t
ngx_conduit_publish_failed(ngx_http_request_t *r,
    ngx_conduit_published_e status)
{
    ngx_uint_t   code;
    const char  *text;

    code = NGX_HTTP_SERVICE_UNAVAILABLE;

    switch (status) {

    case NGX_CONDUIT_NO_REDIS:
        text = "Redis is not reachable, the message was not stored";
        break;

    case NGX_CONDUIT_REDIS_LOST:
        text = "Connection to Redis lost, the message may have been stored";
        break;

    case NGX_CONDUIT_REDIS_TIMED_OUT:
        code = NGX_HTTP_GATEWAY_TIME_OUT;
        text = "Redis did not answer in time, the message may have been "
               "stored";
        break;

    case NGX_CONDUIT_REDIS_BUSY:
        text = "Redis is busy, the message was not stored";
        break;

    case NGX_CONDUIT_REDIS_FULL:
        text = "Redis is out of memory, the message was not stored";
        break;

    default:
        code = NGX_HTTP_INTERNAL_SERVER_ERROR;
        text = "Redis refused the message";
        break;
    }

    if (code == NGX_HTTP_SERVICE_UNAVAILABLE
        && ngx_conduit_http_header(r, "Retry-After", "1") != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_conduit_http_text(r, code, text, ngx_strlen(text));
}


/* the request goes before Redis has answered */

static void
ngx_conduit_publish_cleanup(void *data)
{
    ngx_conduit_publish_ctx_t  *ctx = data;

    if (ctx->op != NULL) {
        ngx_conduit_script_cancel(ctx->op);
        ctx->op = NULL;
    }
}


static ngx_conduit_conf_t *
ngx_conduit_publish_common_conf(ngx_http_request_t *r)
{
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_conduit_publish_module);

    return &plcf->common;
}


static ngx_int_t
ngx_conduit_publish_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_conduit_publish_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_publish_module);

    if (ctx == NULL || ctx->id.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = ctx->id.len;
    v->data = ctx->id.data;

    return NGX_OK;
}


static ngx_int_t
ngx_conduit_publish_phase_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_conduit_publish_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_publish_module);

    if (ctx == NULL || !ctx->decoded) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = (u_char *) conduit_phase_name(ctx->phase);
    v->len = ngx_strlen(v->data);

    return NGX_OK;
}


/* in seconds, with milliseconds, as NGINX's own times */

static ngx_int_t
ngx_conduit_publish_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                     *p;
    ngx_conduit_publish_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_conduit_publish_module);

    if (ctx == NULL || !ctx->answered) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(p, "%T.%03M", (time_t) ctx->redis_time / 1000,
                         ctx->redis_time % 1000)
             - p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = p;

    return NGX_OK;
}


static char *
ngx_conduit_publish(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_publish_loc_conf_t  *plcf = conf;

    return ngx_conduit_conf_enable(cf, &plcf->common,
                                   ngx_conduit_publish_handler);
}


/* "20r/s", "100r/m", "off" */

static char *
ngx_conduit_publish_rate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_conduit_publish_loc_conf_t  *plcf = conf;

    size_t      len;
    ngx_int_t   rate;
    ngx_str_t  *value;

    if (plcf->rate != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;
    len = value[1].len;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        plcf->rate = 0;
        plcf->rate_window = 1000;
        return NGX_CONF_OK;
    }

    if (len > 3 && ngx_strncmp(value[1].data + len - 3, "r/s", 3) == 0) {
        plcf->rate_window = 1000;

    } else if (len > 3 && ngx_strncmp(value[1].data + len - 3, "r/m", 3) == 0)
    {
        plcf->rate_window = 60000;

    } else {
        goto invalid;
    }

    rate = ngx_atoi(value[1].data, len - 3);

    if (rate == NGX_ERROR || rate == 0) {
        goto invalid;
    }

    plcf->rate = rate;

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid rate \"%V\"", &value[1]);

    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_conduit_publish_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_conduit_publish_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return ngx_conduit_http_variables(cf, ngx_conduit_publish_common_conf);
}


static void *
ngx_conduit_publish_create_main_conf(ngx_conf_t *cf)
{
    ngx_pool_cleanup_t               *cln;
    ngx_conduit_publish_main_conf_t  *pmcf;

    pmcf = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_publish_main_conf_t));
    if (pmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&pmcf->publishers, cf->pool, 4,
                       sizeof(ngx_conduit_publisher_t *))
        != NGX_OK)
    {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_conduit_publish_close;
    cln->data = pmcf;

    return pmcf;
}


static void *
ngx_conduit_publish_create_loc_conf(ngx_conf_t *cf)
{
    ngx_conduit_publish_loc_conf_t  *plcf;

    plcf = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_publish_loc_conf_t));
    if (plcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     plcf->rate_window = 0;
     *     plcf->publisher = NULL;
     */

    ngx_conduit_conf_init(&plcf->common, NGX_CONDUIT_PUBLISH);

    plcf->org_claim = NGX_CONF_UNSET;
    plcf->max_size = NGX_CONF_UNSET_SIZE;
    plcf->rate = NGX_CONF_UNSET_UINT;
    plcf->max_len = NGX_CONF_UNSET_UINT;
    plcf->idle_ttl = NGX_CONF_UNSET_MSEC;
    plcf->end_ttl = NGX_CONF_UNSET_MSEC;

    return plcf;
}


static char *
ngx_conduit_publish_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_conduit_publish_loc_conf_t  *prev = parent;
    ngx_conduit_publish_loc_conf_t  *conf = child;

    ngx_conf_merge_value(conf->org_claim, prev->org_claim, 0);
    ngx_conf_merge_size_value(conf->max_size, prev->max_size, 16384);
    ngx_conf_merge_uint_value(conf->max_len, prev->max_len, 1200);
    ngx_conf_merge_msec_value(conf->idle_ttl, prev->idle_ttl, 120000);
    ngx_conf_merge_msec_value(conf->end_ttl, prev->end_ttl, 120000);

    if (conf->rate == NGX_CONF_UNSET_UINT) {
        conf->rate = (prev->rate == NGX_CONF_UNSET_UINT) ? 20 : prev->rate;
        conf->rate_window = prev->rate_window ? prev->rate_window : 1000;
    }

    if (ngx_conduit_conf_merge(cf, &prev->common, &conf->common)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->common.redis) {
        conf->publisher = ngx_conduit_publish_publisher(cf,
                                                        conf->common.redis);
        if (conf->publisher == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* locations with the same deployment have one publisher a worker */

static ngx_conduit_publisher_t *
ngx_conduit_publish_publisher(ngx_conf_t *cf, ngx_conduit_redis_t *redis)
{
    ngx_uint_t                        i;
    ngx_conduit_publisher_t          *pub, **pubs;
    ngx_conduit_publish_main_conf_t  *pmcf;

    pmcf = ngx_http_conf_get_module_main_conf(cf, ngx_conduit_publish_module);

    pubs = pmcf->publishers.elts;

    for (i = 0; i < pmcf->publishers.nelts; i++) {
        if (ngx_conduit_redis_equal(pubs[i]->redis, redis)) {
            return pubs[i];
        }
    }

    pub = ngx_pcalloc(cf->pool, sizeof(ngx_conduit_publisher_t));
    if (pub == NULL) {
        return NULL;
    }

    pub->redis = redis;

    pubs = ngx_array_push(&pmcf->publishers);
    if (pubs == NULL) {
        return NULL;
    }

    *pubs = pub;

    return pub;
}


static void
ngx_conduit_publish_close(void *data)
{
    ngx_uint_t                        i;
    ngx_conduit_publisher_t         **pubs;
    ngx_conduit_publish_main_conf_t  *pmcf = data;

    pubs = pmcf->publishers.elts;

    for (i = 0; i < pmcf->publishers.nelts; i++) {
        ngx_conduit_publisher_close(pubs[i]);
    }
}


static void
ngx_conduit_publish_exit_process(ngx_cycle_t *cycle)
{
    ngx_conduit_publish_main_conf_t  *pmcf;

    pmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_conduit_publish_module);

    if (pmcf != NULL) {
        ngx_conduit_publish_close(pmcf);
    }
}
