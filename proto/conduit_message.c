/* Copyright (C) Conduit for NGINX authors */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conduit_json.h"
#include "conduit_merge.h"
#include "conduit_message.h"
#include "conduit_pb.h"
#include "conduit_walk.h"


typedef SentryProtos__Conduit__V1alpha__PublishRequest  conduit_pb_request_t;

/* the arena as an allocator of protobuf-c */
typedef struct {
    conduit_arena_t     *arena;
    int                  failed;   /* an allocation has failed */
    ProtobufCAllocator   allocator;
} conduit_message_memory_t;


static conduit_message_status_e conduit_message_merge(const uint8_t *data,
    size_t len, size_t memory, conduit_message_t *m);
static conduit_message_status_e conduit_message_found(const conduit_walk_t *w,
    conduit_message_t *m);
static conduit_message_status_e conduit_message_ids(const void *channel_id,
    size_t channel_id_len, const void *message_id, size_t message_id_len,
    conduit_message_t *m);
static conduit_message_status_e conduit_message_unpack(const uint8_t *data,
    size_t len, conduit_arena_t *arena, conduit_pb_request_t **request);
static void *conduit_message_alloc(void *data, size_t size);
static void conduit_message_release(void *data, void *block);
static conduit_phase_e conduit_message_phase(int32_t number);


static const ProtobufCMessageDescriptor  *conduit_pb_request =
    &sentry_protos__conduit__v1alpha__publish_request__descriptor;

static const char  *conduit_phase_names[] = {
    "PHASE_UNSPECIFIED",
    "PHASE_START",
    "PHASE_DELTA",
    "PHASE_END",
    "PHASE_ERROR"
};


conduit_message_status_e
conduit_message_decode(const uint8_t *data, size_t len,
    conduit_arena_t *arena, conduit_message_t *m)
{
    conduit_walk_t             w;
    conduit_pb_request_t      *request;
    conduit_message_status_e   status;

    status = conduit_walk(data, len, &w);
    if (status != CONDUIT_MESSAGE_OK) {
        return status;
    }

    if (w.merge) {
        status = conduit_merge(&data, &len, arena);
        if (status != CONDUIT_MESSAGE_OK) {
            return status;
        }
    }

    status = conduit_message_unpack(data, len, arena, &request);
    if (status != CONDUIT_MESSAGE_OK) {
        return status;
    }

    status = conduit_message_ids(request->channel_id,
                                 conduit_pb_strlen(request->channel_id),
                                 request->message_id,
                                 conduit_pb_strlen(request->message_id), m);
    if (status != CONDUIT_MESSAGE_OK) {
        return status;
    }

    m->phase = conduit_message_phase((int32_t) request->phase);
    m->sequence = request->sequence;
    m->payload = request->payload;

    return CONDUIT_MESSAGE_OK;
}


conduit_message_status_e
conduit_message_check(const uint8_t *data, size_t len, size_t memory,
    conduit_message_t *m)
{
    conduit_walk_t             w;
    conduit_message_status_e   status;

    status = conduit_walk(data, len, &w);
    if (status != CONDUIT_MESSAGE_OK) {
        return status;
    }

    return w.merge ? conduit_message_merge(data, len, memory, m)
                   : conduit_message_found(&w, m);
}


static conduit_message_status_e
conduit_message_merge(const uint8_t *data, size_t len, size_t memory,
    conduit_message_t *m)
{
    conduit_walk_t             w;
    conduit_arena_t           *arena;
    conduit_message_status_e   status;

    arena = conduit_arena_create(memory);
    if (arena == NULL) {
        return CONDUIT_MESSAGE_NO_MEMORY;
    }

    status = conduit_merge(&data, &len, arena);

    if (status == CONDUIT_MESSAGE_OK) {
        status = conduit_walk(data, len, &w);
    }

    /* w points into the merged message, which is in the arena */

    if (status == CONDUIT_MESSAGE_OK) {
        status = conduit_message_found(&w, m);
    }

    conduit_arena_free(arena);

    return status;
}


static conduit_message_status_e
conduit_message_found(const conduit_walk_t *w, conduit_message_t *m)
{
    m->phase = conduit_message_phase(w->phase);
    m->sequence = w->sequence;
    m->payload = NULL;

    return conduit_message_ids(w->channel_id, w->channel_id_len,
                               w->message_id, w->message_id_len, m);
}


static conduit_message_status_e
conduit_message_ids(const void *channel_id, size_t channel_id_len,
    const void *message_id, size_t message_id_len, conduit_message_t *m)
{
    if (conduit_uuid_parse(channel_id, channel_id_len, m->channel_id) != 0) {
        return CONDUIT_MESSAGE_CHANNEL_ID;
    }

    if (conduit_uuid_parse(message_id, message_id_len, m->message_id) != 0) {
        return CONDUIT_MESSAGE_MESSAGE_ID;
    }

    return CONDUIT_MESSAGE_OK;
}


const char *
conduit_message_status_text(conduit_message_status_e status)
{
    switch (status) {
    case CONDUIT_MESSAGE_OK:
        return "ok";
    case CONDUIT_MESSAGE_MALFORMED:
        return "not a PublishRequest";
    case CONDUIT_MESSAGE_DEPTH:
        return "payload is nested too deeply";
    case CONDUIT_MESSAGE_UTF8:
        return "a string is not UTF-8";
    case CONDUIT_MESSAGE_CHANNEL_ID:
        return "channel_id is not a UUID";
    case CONDUIT_MESSAGE_MESSAGE_ID:
        return "message_id is not a UUID";
    case CONDUIT_MESSAGE_NO_MEMORY:
        return "not enough memory";
    }

    return "unknown status";
}


const char *
conduit_phase_name(conduit_phase_e phase)
{
    return conduit_phase_names[conduit_message_phase((int32_t) phase)];
}


void
conduit_message_write_json(const conduit_message_t *m, conduit_arena_t *arena,
    conduit_buf_t *b)
{
    int          n;
    char         sequence[sizeof("18446744073709551615")];
    const char  *phase;

    phase = conduit_phase_name(m->phase);
    n = snprintf(sequence, sizeof(sequence), "%" PRIu64, m->sequence);

    conduit_buf_lit(b, "{\"event_type\":\"stream\",\"message_id\":\"");
    conduit_buf_append(b, m->message_id, CONDUIT_UUID_LEN);
    conduit_buf_lit(b, "\",\"channel_id\":\"");
    conduit_buf_append(b, m->channel_id, CONDUIT_UUID_LEN);
    conduit_buf_lit(b, "\",\"phase\":\"");
    conduit_buf_append(b, phase, strlen(phase));
    conduit_buf_lit(b, "\",\"sequence\":");
    conduit_buf_append(b, sequence, n);
    conduit_buf_lit(b, ",\"payload\":");
    conduit_message_write_payload(m, arena, b);
    conduit_buf_lit(b, "}");
}


void
conduit_message_write_payload(const conduit_message_t *m,
    conduit_arena_t *arena, conduit_buf_t *b)
{
    if (m->payload != NULL) {
        conduit_json_write_struct(m->payload, arena, b);

    } else {
        conduit_buf_lit(b, "null");
    }
}


static conduit_message_status_e
conduit_message_unpack(const uint8_t *data, size_t len,
    conduit_arena_t *arena, conduit_pb_request_t **request)
{
    ProtobufCMessage          *message;
    conduit_message_memory_t   memory;

    memory.arena = arena;
    memory.failed = 0;
    memory.allocator.alloc = conduit_message_alloc;
    memory.allocator.free = conduit_message_release;
    memory.allocator.allocator_data = &memory;

    message = protobuf_c_message_unpack(conduit_pb_request, &memory.allocator,
                                        len, data);

    if (message == NULL) {
        return memory.failed ? CONDUIT_MESSAGE_NO_MEMORY
                             : CONDUIT_MESSAGE_MALFORMED;
    }

    *request = (conduit_pb_request_t *) message;

    return CONDUIT_MESSAGE_OK;
}


static void *
conduit_message_alloc(void *data, size_t size)
{
    void                      *block;
    conduit_message_memory_t  *memory;

    memory = data;

    block = conduit_arena_alloc(memory->arena, size);
    if (block == NULL) {
        memory->failed = 1;
    }

    return block;
}


/* an arena does not free single blocks */

static void
conduit_message_release(void *data, void *block)
{
    (void) data;
    (void) block;
}


static conduit_phase_e
conduit_message_phase(int32_t number)
{
    if (number < CONDUIT_PHASE_UNSPECIFIED || number > CONDUIT_PHASE_ERROR) {
        return CONDUIT_PHASE_UNSPECIFIED;
    }

    return (conduit_phase_e) number;
}
