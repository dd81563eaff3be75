/* Copyright (C) Conduit for NGINX authors */

/*
 * Frames: an entry of a stream as the bytes of its event, made once in a worker
 * and shared by all subscribers that are sent it.
 */

#ifndef NGX_CONDUIT_FRAME_H
#define NGX_CONDUIT_FRAME_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "conduit_buf.h"
#include "conduit_id.h"
#include "ngx_conduit_deflated.h"
#include "ngx_conduit_gateway.h"
#include "ngx_conduit_shard.h"
#include "ngx_conduit_stream.h"

#pragma GCC visibility push(hidden)

typedef struct {
    ngx_uint_t              refs;          /* number of references; the frame is
                                              freed with the last one */
    conduit_stream_id_t     id;
    unsigned                end:1;         /* the message ends its stream */
    unsigned                prompt:1;      /* it is not a delta, and therefore
                                              never held back */
    unsigned                joint:1;       /* made by ngx_conduit_frame_joint()
                                            */
    ngx_conduit_deflated_t *deflated;      /* NULL: not needed so far */
    uint64_t                serial;        /* a number that no other frame has;
                                              0: not needed so far.  Both are
                                              set by ngx_conduit_gzip_frame() */
    size_t                  len;
    u_char                  data[1];
} ngx_conduit_frame_t;


/*
 * Makes the frame of an "event: control", with one reference, to be sent once
 * and not kept; the arguments are those of conduit_sse_write_control().
 * Returns NULL when memory is out.
 */
ngx_conduit_frame_t *ngx_conduit_frame_control(ngx_conduit_hub_t *hub,
    const char *type, const char *reason, conduit_stream_id_t *pos);

/*
 * Makes the frame that tells a client its position, likewise, by
 * conduit_sse_write_id().
 */
ngx_conduit_frame_t *ngx_conduit_frame_position(ngx_conduit_hub_t *hub,
    conduit_stream_id_t *pos);

/* Writes an "event: control", with a random message_id. */
void ngx_conduit_control_write(const char *type, const char *reason,
    conduit_stream_id_t *pos, conduit_buf_t *b);

/*
 * Makes the frame of an entry of the stream key, in the hub's format, with one
 * reference.  Returns NGX_OK; NGX_DECLINED when nothing is to be sent for it
 * (logged, if it is not valid); NGX_ERROR when memory is out.
 */
ngx_int_t ngx_conduit_frame_create(ngx_conduit_hub_t *hub,
    ngx_conduit_key_t *key, const ngx_conduit_entry_t *entry,
    ngx_conduit_frame_t **frame);

/* Counts and logs an entry, or a value, that is not sent: error says why. */
void ngx_conduit_frame_skipped(ngx_conduit_hub_t *hub, ngx_conduit_key_t *key,
    const ngx_conduit_entry_t *entry, const char *error);

/* Makes a frame for len bytes that the caller sets, with one reference. */
ngx_conduit_frame_t *ngx_conduit_frame_alloc(size_t len);

/*
 * Appends bytes to a frame that this function has made and that has one
 * reference; NULL: makes one.  Returns the frame, which may have moved; or NULL
 * when memory is out: the one that was given is then as before.
 */
ngx_conduit_frame_t *ngx_conduit_frame_joint(ngx_conduit_frame_t *joint,
    const void *data, size_t len);

void ngx_conduit_frame_release(ngx_conduit_frame_t *frame);

/* The "prompt" callback of conduit_coalesce_look(). */
int ngx_conduit_frame_prompt(const void *frame);

/* The "is_end" callback of conduit_start_window(). */
int ngx_conduit_frame_ends(const void *frame);

/* Whether a stream ends with the entry. */
ngx_uint_t ngx_conduit_frame_is_end(ngx_conduit_hub_t *hub,
    const ngx_conduit_entry_t *entry);

#pragma GCC visibility pop

#endif /* NGX_CONDUIT_FRAME_H */
