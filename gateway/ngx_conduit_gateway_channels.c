/* Copyright (C) Conduit for NGINX authors */

/*
 * The page "conduit_gateway_status channels": the state of a worker's channels.
 * It looks at a limited number of channels and shows some of them, so that
 * other requests are not delayed.  It cannot reveal a token, because none is
 * kept.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "conduit_utf8.h"
#include "ngx_conduit_channel.h"
#include "ngx_conduit_gateway_channels.h"
#include "ngx_conduit_gateway_worker.h"


/* how many channels are looked at, and how many of them are shown */
#define NGX_CONDUIT_CHANNELS_LOOK  10000
#define NGX_CONDUIT_CHANNELS_SHOW  100

/* size of a line after the name of the server */
#define NGX_CONDUIT_CHANNELS_LINE                                             \
    (sizeof("', 'clients': , 'behind': , 'blocked': , 'position': '', "       \
            "'lag_ms': }")                                                    \
     + 4 * NGX_INT64_LEN + CONDUIT_STREAM_ID_MAX)


typedef struct {
    ngx_conduit_channel_state_t   state;
    ngx_str_t                    *redis;
} ngx_conduit_channels_row_t;

typedef struct {
    ngx_conduit_channels_row_t    rows[NGX_CONDUIT_CHANNELS_SHOW];
    ngx_uint_t                    n;          /* rows in use; the one with most
                                                 clients is the first */
    ngx_uint_t                    looked;
    ngx_uint_t                    channels;   /* of all hubs */
} ngx_conduit_channels_t;


static void ngx_conduit_channels_hub(ngx_conduit_channels_t *list,
    ngx_conduit_hub_t *hub);
static void ngx_conduit_channels_add(ngx_conduit_channels_t *list,
    ngx_conduit_channels_row_t *row);
static void ngx_conduit_channels_write(ngx_conduit_channels_t *list,
    conduit_buf_t *b);
static void ngx_conduit_channels_name(ngx_str_t *name, conduit_buf_t *b);
static void ngx_conduit_channels_row(ngx_conduit_channels_row_t *row,
    conduit_buf_t *b);


void
ngx_conduit_gateway_channels(ngx_http_request_t *r, conduit_buf_t *b)
{
    ngx_uint_t                        i;
    ngx_conduit_hub_t               **hubs;
    ngx_conduit_channels_t           *list;
    ngx_conduit_gateway_main_conf_t  *gmcf;

    r->keepalive = 0;

    gmcf = ngx_http_get_module_main_conf(r, ngx_conduit_gateway_module);

    list = ngx_alloc(sizeof(ngx_conduit_channels_t), r->connection->log);
    if (list == NULL) {
        b->failed = 1;
        return;
    }

    list->n = 0;
    list->looked = 0;
    list->channels = 0;

    hubs = gmcf->hubs.elts;

    for (i = 0; i < gmcf->hubs.nelts; i++) {
        if (hubs[i]->opened) {
            ngx_conduit_channels_hub(list, hubs[i]);
        }
    }

    ngx_conduit_channels_write(list, b);

    ngx_free(list);
}


static void
ngx_conduit_channels_hub(ngx_conduit_channels_t *list, ngx_conduit_hub_t *hub)
{
    ngx_rbtree_node_t           *node;
    ngx_conduit_key_t           *key;
    ngx_conduit_channels_row_t   row;

    list->channels += hub->nchannels;

    if (hub->keys.root == hub->keys.sentinel) {
        return;
    }

    for (node = ngx_rbtree_min(hub->keys.root, hub->keys.sentinel);
         node != NULL && list->looked < NGX_CONDUIT_CHANNELS_LOOK;
         node = ngx_rbtree_next(&hub->keys, node))
    {
        list->looked++;

        key = ngx_queue_data(node, ngx_conduit_key_t, node.node);

        ngx_conduit_channel_get_state(key, &row.state);
        row.redis = &key->shard->doorbell.redis->name;

        if (key->shard->node == NULL) {
            row.redis = &hub->redis->name;
        }

        ngx_conduit_channels_add(list, &row);
    }
}


static void
ngx_conduit_channels_add(ngx_conduit_channels_t *list,
    ngx_conduit_channels_row_t *row)
{
    ngx_uint_t  i;

    if (list->n == NGX_CONDUIT_CHANNELS_SHOW) {

        if (list->rows[list->n - 1].state.clients >= row->state.clients) {
            return;
        }

        list->n--;
    }

    for (i = list->n;
         i > 0 && list->rows[i - 1].state.clients < row->state.clients;
         i--)
    {
        list->rows[i] = list->rows[i - 1];
    }

    list->rows[i] = *row;
    list->n++;
}


static void
ngx_conduit_channels_write(ngx_conduit_channels_t *list, conduit_buf_t *b)
{
    u_char           *last;
    ngx_uint_t        i;
    ngx_core_conf_t  *ccf;
    u_char            text[sizeof("{\n  \"worker\": ,\n  \"workers\": ,\n"
                                  "  \"pid\": ,\n  \"time\": ,\n"
                                  "  \"channels\": ,\n"
                                  "  \"shown\": [\n")
                           + 5 * NGX_INT64_LEN];

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);

    last = ngx_sprintf(text, "{\n  \"worker\": %ui,\n  \"workers\": %i,\n"
                       "  \"pid\": %P,\n  \"time\": %T,\n"
                       "  \"channels\": %ui,\n"
                       "  \"shown\": [%s", ngx_worker, ccf->worker_processes,
                       ngx_pid, ngx_time(), list->channels,
                       list->n ? "\n" : "");

    conduit_buf_append(b, text, last - text);

    for (i = 0; i < list->n; i++) {
        ngx_conduit_channels_row(&list->rows[i], b);

        if (i + 1 < list->n) {
            conduit_buf_lit(b, ",");
        }

        conduit_buf_lit(b, "\n");
    }

    if (list->n) {
        conduit_buf_lit(b, "  ");
    }

    conduit_buf_lit(b, "]\n}\n");
}


static void
ngx_conduit_channels_row(ngx_conduit_channels_row_t *row, conduit_buf_t *b)
{
    size_t                        id_len;
    u_char                       *last;
    uint64_t                      lag;
    ngx_conduit_channel_state_t  *s;
    char                          id[CONDUIT_STREAM_ID_MAX];
    u_char                        text[NGX_CONDUIT_CHANNELS_LINE];

    s = &row->state;

    id_len = conduit_stream_id_write(&s->last, id);
    lag = s->last.ms > s->slowest.ms ? s->last.ms - s->slowest.ms : 0;

    conduit_buf_lit(b, "    {\"stream\": \"");
    ngx_conduit_channels_name(s->stream, b);
    conduit_buf_lit(b, "\", \"redis\": \"");
    ngx_conduit_channels_name(row->redis, b);

    last = ngx_snprintf(text, sizeof(text),
                        "\", \"clients\": %ui, \"behind\": %ui, "
                        "\"blocked\": %ui, \"position\": \"%*s\", "
                        "\"lag_ms\": %uL}", s->clients, s->behind, s->blocked,
                        id_len, id, lag);

    conduit_buf_append(b, text, last - text);
}


/* parts of a key may come from a client: it may have any bytes except control
   characters */

static void
ngx_conduit_channels_name(ngx_str_t *name, conduit_buf_t *b)
{
    int      good;
    size_t   n;
    u_char  *p, *end;

    end = name->data + name->len;

    for (p = name->data; p < end; p += n) {

        n = conduit_utf8_char(p, end - p, &good);

        if (!good) {
            conduit_buf_lit(b, "\xef\xbf\xbd");
            continue;
        }

        if (*p == '"' || *p == '\\') {
            conduit_buf_lit(b, "\\");
        }

        conduit_buf_append(b, p, n);
    }
}
