/* Copyright (C) Conduit for NGINX authors */

/*
 * Reads a PublishRequest from JSON.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conduit_jansson.h"
#include "conduit_message_json.h"
#include "conduit_pb.h"
#include "conduit_struct_json.h"
#include "conduit_timestamp.h"


/* 2^53: from here on, a double may stand for several integers */
#define CONDUIT_JSON_EXACT  9007199254740992.0


typedef SentryProtos__Conduit__V1alpha__PublishRequest  conduit_pb_request_t;

/* a message while it is converted */
typedef struct {
    conduit_json_reader_t         reader;
    const char                   *channel;
    conduit_message_json_t       *m;
    conduit_pb_request_t          request;
    Google__Protobuf__Timestamp   timestamp;
    char                          channel_id[CONDUIT_UUID_LEN + 1];
    char                          message_id[CONDUIT_UUID_LEN + 1];
} conduit_json_message_t;

typedef conduit_message_json_status_e (*conduit_json_field_pt)(
    conduit_json_message_t *j, json_t *value);

typedef struct {
    const char             *name;
    const char             *camel;
    conduit_json_field_pt   read;
} conduit_json_field_t;


static json_t *conduit_json_parse(const char *text, size_t len,
    json_error_t *error);
static conduit_message_json_status_e conduit_json_syntax(
    const json_error_t *jansson, conduit_message_json_error_t *error);
static conduit_message_json_status_e conduit_json_fields(
    conduit_json_message_t *j, json_t *object);
static conduit_message_json_status_e conduit_json_pack(
    conduit_json_message_t *j);
static conduit_message_json_status_e conduit_json_fault(
    conduit_json_message_t *j, conduit_message_json_status_e status,
    const char *text);

static conduit_message_json_status_e conduit_json_channel_id(
    conduit_json_message_t *j, json_t *value);
static conduit_message_json_status_e conduit_json_message_id(
    conduit_json_message_t *j, json_t *value);
static conduit_message_json_status_e conduit_json_client_timestamp(
    conduit_json_message_t *j, json_t *value);
static conduit_message_json_status_e conduit_json_phase(
    conduit_json_message_t *j, json_t *value);
static int conduit_json_phase_number(json_t *value, int32_t *number);
static conduit_message_json_status_e conduit_json_sequence(
    conduit_json_message_t *j, json_t *value);
static conduit_message_json_status_e conduit_json_payload(
    conduit_json_message_t *j, json_t *value);


static const conduit_json_field_t  conduit_json_field_table[] = {
    { "channel_id", "channelId", conduit_json_channel_id },
    { "message_id", "messageId", conduit_json_message_id },
    { "client_timestamp", "clientTimestamp", conduit_json_client_timestamp },
    { "phase", "phase", conduit_json_phase },
    { "sequence", "sequence", conduit_json_sequence },
    { "payload", "payload", conduit_json_payload }
};

#define CONDUIT_JSON_FIELDS                                                   \
    (sizeof(conduit_json_field_table) / sizeof(conduit_json_field_table[0]))


conduit_message_json_status_e
conduit_message_json_read(const char *text, size_t len, const char *channel,
    conduit_arena_t *arena, conduit_message_json_t *m,
    conduit_message_json_error_t *error)
{
    json_t                         *object;
    json_error_t                    jansson;
    conduit_json_message_t          j;
    conduit_message_json_status_e   status;

    memset(error, 0, sizeof(conduit_message_json_error_t));

    object = conduit_json_parse(text, len, &jansson);

    if (object == NULL) {
        return conduit_json_syntax(&jansson, error);
    }

    memset(&j, 0, sizeof(conduit_json_message_t));

    j.reader.arena = arena;
    j.reader.error = error;
    j.channel = channel;
    j.m = m;

    m->phase = CONDUIT_PHASE_DELTA;
    m->has_sequence = 0;
    m->sequence = 0;

    memcpy(j.channel_id, channel, CONDUIT_UUID_LEN);

    sentry_protos__conduit__v1alpha__publish_request__init(&j.request);
    google__protobuf__timestamp__init(&j.timestamp);

    j.request.channel_id = j.channel_id;
    j.request.message_id = j.message_id;
    j.request.phase = SENTRY_PROTOS__CONDUIT__V1ALPHA__PHASE__PHASE_DELTA;

    status = conduit_json_fields(&j, object);

    if (status == CONDUIT_MESSAGE_JSON_OK) {
        status = conduit_json_pack(&j);
    }

    json_decref(object);

    return status;
}


/*
 * Integers that fit into an int64_t are read exactly, as "sequence" needs it.
 * If a text contains a larger one, all its integers are read as doubles, which
 * is what a payload consists of in any case.
 */

static json_t *
conduit_json_parse(const char *text, size_t len, json_error_t *error)
{
    json_t  *json;

    json = conduit_jansson_load(text, len, JSON_REJECT_DUPLICATES, error);

    if (json == NULL && json_error_code(error) == json_error_numeric_overflow) {
        json = conduit_jansson_load(text, len,
                                    JSON_REJECT_DUPLICATES
                                    | JSON_DECODE_INT_AS_REAL,
                                    error);
    }

    return json;
}


/* the error texts of jansson quote the input, which must not be logged */

static conduit_message_json_status_e
conduit_json_syntax(const json_error_t *jansson,
    conduit_message_json_error_t *error)
{
    /* for an empty text jansson reports column 0 */

    error->line = jansson->line > 0 ? jansson->line : 1;
    error->column = jansson->column > 0 ? jansson->column : 1;

    switch (json_error_code(jansson)) {

    case json_error_out_of_memory:
        return CONDUIT_MESSAGE_JSON_NO_MEMORY;

    case json_error_stack_overflow:
        error->text = CONDUIT_MESSAGE_JSON_TOO_DEEP;
        return CONDUIT_MESSAGE_JSON_DEPTH;

    case json_error_premature_end_of_input:
        error->text = "unexpected end of the text";
        break;

    case json_error_end_of_input_expected:
        error->text = "unexpected data after the object";
        break;

    case json_error_invalid_utf8:
        error->text = "invalid UTF-8";
        break;

    case json_error_null_character:
    case json_error_null_byte_in_key:
        error->text = "a string contains a NUL character";
        break;

    case json_error_duplicate_key:
        error->text = "duplicate member";
        break;

    case json_error_numeric_overflow:
        error->text = "a number exceeds the range of a double";
        break;

    default:
        error->text = "syntax error";
        break;
    }

    return CONDUIT_MESSAGE_JSON_SYNTAX;
}


static conduit_message_json_status_e
conduit_json_fields(conduit_json_message_t *j, json_t *object)
{
    void                           *iter;
    size_t                          i, place;
    json_t                         *value;
    unsigned                        given;
    const char                     *key;
    conduit_message_json_status_e   status;

    if (!json_is_object(object)) {
        j->reader.error->line = 1;
        j->reader.error->column = 1;
        return conduit_json_fault(j, CONDUIT_MESSAGE_JSON_SYNTAX,
                                  "a message must be an object");
    }

    given = 0;

    for (iter = json_object_iter(object); iter != NULL;
         iter = json_object_iter_next(object, iter))
    {
        key = json_object_iter_key(iter);
        value = json_object_iter_value(iter);
        place = conduit_json_enter(&j->reader, key);

        for (i = 0; i < CONDUIT_JSON_FIELDS; i++) {
            if (strcmp(key, conduit_json_field_table[i].name) == 0
                || strcmp(key, conduit_json_field_table[i].camel) == 0)
            {
                break;
            }
        }

        if (i == CONDUIT_JSON_FIELDS) {
            return conduit_json_fault(j, CONDUIT_MESSAGE_JSON_FIELD,
                                      "is not known");
        }

        if (given & 1u << i) {
            return conduit_json_fault(j, CONDUIT_MESSAGE_JSON_FIELD,
                                      "is given in both spellings");
        }

        given |= 1u << i;

        if (!json_is_null(value)) {
            status = conduit_json_field_table[i].read(j, value);
            if (status != CONDUIT_MESSAGE_JSON_OK) {
                return status;
            }
        }

        conduit_json_leave(&j->reader, place);
    }

    return CONDUIT_MESSAGE_JSON_OK;
}


static conduit_message_json_status_e
conduit_json_pack(conduit_json_message_t *j)
{
    conduit_message_json_t  *m;

    m = j->m;

    memcpy(j->message_id, m->message_id, CONDUIT_UUID_LEN);

    m->len = sentry_protos__conduit__v1alpha__publish_request__get_packed_size(
                                                                  &j->request);

    m->data = conduit_arena_alloc(j->reader.arena, m->len);
    if (m->data == NULL) {
        return CONDUIT_MESSAGE_JSON_NO_MEMORY;
    }

    (void) sentry_protos__conduit__v1alpha__publish_request__pack(&j->request,
                                                                  m->data);

    return CONDUIT_MESSAGE_JSON_OK;
}


static conduit_message_json_status_e
conduit_json_fault(conduit_json_message_t *j,
    conduit_message_json_status_e status, const char *text)
{
    j->reader.error->text = text;

    return status;
}


static conduit_message_json_status_e
conduit_json_channel_id(conduit_json_message_t *j, json_t *value)
{
    char  id[CONDUIT_UUID_LEN];

    if (!json_is_string(value)
        || conduit_uuid_parse(json_string_value(value),
                              json_string_length(value), id)
           != 0)
    {
        return conduit_json_fault(j, CONDUIT_MESSAGE_JSON_CHANNEL_ID,
                                  "is not a UUID");
    }

    if (memcmp(id, j->channel, CONDUIT_UUID_LEN) != 0) {
        return conduit_json_fault(j, CONDUIT_MESSAGE_JSON_MISMATCH,
                                  "differs from the one in the path");
    }

    return CONDUIT_MESSAGE_JSON_OK;
}


static conduit_message_json_status_e
conduit_json_message_id(conduit_json_message_t *j, json_t *value)
{
    if (!json_is_string(value)
        || conduit_uuid_parse(json_string_value(value),
                              json_string_length(value), j->m->message_id)
           != 0)
    {
        return conduit_json_fault(j, CONDUIT_MESSAGE_JSON_MESSAGE_ID,
                                  "is not a UUID");
    }

    return CONDUIT_MESSAGE_JSON_OK;
}


static conduit_message_json_status_e
conduit_json_client_timestamp(conduit_json_message_t *j, json_t *value)
{
    if (!json_is_string(value)
        || conduit_timestamp_parse(json_string_value(value),
                                   json_string_length(value),
                                   &j->timestamp.seconds, &j->timestamp.nanos)
           != 0)
    {
        return conduit_json_fault(j, CONDUIT_MESSAGE_JSON_FIELD,
                                  "is not an RFC 3339 timestamp");
    }

    j->request.client_timestamp = &j->timestamp;

    return CONDUIT_MESSAGE_JSON_OK;
}


static conduit_message_json_status_e
conduit_json_phase(conduit_json_message_t *j, json_t *value)
{
    int32_t  number;

    if (conduit_json_phase_number(value, &number) != 0) {
        return conduit_json_fault(j, CONDUIT_MESSAGE_JSON_FIELD,
                                  "is not a known phase");
    }

    /* an unknown number is kept in the message, as protobuf does with enums */

    j->request.phase = (SentryProtos__Conduit__V1alpha__Phase) number;
    j->m->phase = (number < CONDUIT_PHASE_UNSPECIFIED
                   || number > CONDUIT_PHASE_ERROR)
                  ? CONDUIT_PHASE_UNSPECIFIED : (conduit_phase_e) number;

    return CONDUIT_MESSAGE_JSON_OK;
}


/* reads "PHASE_START", "START", or a number that fits into an int32_t */

static int
conduit_json_phase_number(json_t *value, int32_t *number)
{
    double       real;
    int          phase;
    const char  *name, *text;

    if (json_is_number(value)) {
        real = json_number_value(value);

        if (!(real >= INT32_MIN && real <= INT32_MAX)
            || real != (double) (int32_t) real)
        {
            return -1;
        }

        *number = (int32_t) real;
        return 0;
    }

    text = json_string_value(value);

    if (text == NULL) {
        return -1;
    }

    for (phase = CONDUIT_PHASE_UNSPECIFIED; phase <= CONDUIT_PHASE_ERROR;
         phase++)
    {
        name = conduit_phase_name((conduit_phase_e) phase);

        if (strcmp(text, name) == 0
            || strcmp(text, name + sizeof("PHASE_") - 1) == 0)
        {
            *number = phase;
            return 0;
        }
    }

    return -1;
}


static conduit_message_json_status_e
conduit_json_sequence(conduit_json_message_t *j, json_t *value)
{
    double     real;
    uint64_t   n;

    switch (json_typeof(value)) {

    case JSON_STRING:
        if (conduit_org_parse(json_string_value(value),
                              json_string_length(value), &n)
            == 0)
        {
            break;
        }

        goto invalid;

    case JSON_INTEGER:
        if (json_integer_value(value) < 0) {
            goto invalid;
        }

        n = (uint64_t) json_integer_value(value);
        break;

    case JSON_REAL:
        real = json_real_value(value);

        if (!(real >= 0 && real < CONDUIT_JSON_EXACT)
            || real != (double) (uint64_t) real)
        {
            goto invalid;
        }

        n = (uint64_t) real;
        break;

    default:
        goto invalid;
    }

    j->request.sequence = n;
    j->m->sequence = n;
    j->m->has_sequence = 1;

    return CONDUIT_MESSAGE_JSON_OK;

invalid:

    return conduit_json_fault(j, CONDUIT_MESSAGE_JSON_FIELD,
                              "is not a 64-bit integer (write large ones as "
                              "strings)");
}


static conduit_message_json_status_e
conduit_json_payload(conduit_json_message_t *j, json_t *value)
{
    if (!json_is_object(value)) {
        return conduit_json_fault(j, CONDUIT_MESSAGE_JSON_FIELD,
                                  "is not an object");
    }

    return conduit_struct_json_read(&j->reader, value, &j->request.payload);
}


size_t
conduit_message_json_error_write(const conduit_message_json_error_t *error,
    char *out)
{
    int  n;

    if (error->line > 0) {
        n = snprintf(out, CONDUIT_MESSAGE_JSON_ERROR_MAX,
                     "line %d, column %d: %s", error->line, error->column,
                     error->text);

    } else {
        n = snprintf(out, CONDUIT_MESSAGE_JSON_ERROR_MAX, "%s %s",
                     error->field, error->text);
    }

    return n > 0 ? (size_t) n : 0;
}
