/* Copyright (C) Conduit for NGINX authors */

/*
 * Converts a payload, parsed by jansson, to the Struct that protobuf-c
 * serializes.  The recursion is limited by CONDUIT_MESSAGE_MAX_DEPTH.
 */

#include <stdio.h>
#include <string.h>

#include "conduit_message.h"
#include "conduit_struct_json.h"


static conduit_message_json_status_e conduit_struct_json_object(
    conduit_json_reader_t *reader, json_t *object, unsigned depth,
    Google__Protobuf__Struct **result);
static conduit_message_json_status_e conduit_struct_json_list(
    conduit_json_reader_t *reader, json_t *array, unsigned depth,
    Google__Protobuf__ListValue **result);
static conduit_message_json_status_e conduit_struct_json_value(
    conduit_json_reader_t *reader, json_t *json, unsigned depth,
    Google__Protobuf__Value **result);
static conduit_message_json_status_e conduit_struct_json_too_deep(
    conduit_json_reader_t *reader);
static void conduit_json_append(conduit_json_reader_t *reader,
    const char *text);


conduit_message_json_status_e
conduit_struct_json_read(conduit_json_reader_t *reader, json_t *object,
    Google__Protobuf__Struct **result)
{
    return conduit_struct_json_object(reader, object, 1, result);
}


static conduit_message_json_status_e
conduit_struct_json_object(conduit_json_reader_t *reader, json_t *object,
    unsigned depth, Google__Protobuf__Struct **result)
{
    void                                   *iter;
    size_t                                  n, place;
    Google__Protobuf__Struct               *s;
    conduit_message_json_status_e           status;
    Google__Protobuf__Struct__FieldsEntry  *entry;

    if (depth > CONDUIT_MESSAGE_MAX_DEPTH) {
        return conduit_struct_json_too_deep(reader);
    }

    s = conduit_arena_alloc(reader->arena, sizeof(Google__Protobuf__Struct));
    if (s == NULL) {
        return CONDUIT_MESSAGE_JSON_NO_MEMORY;
    }

    google__protobuf__struct__init(s);
    *result = s;
    n = json_object_size(object);

    if (n == 0) {
        return CONDUIT_MESSAGE_JSON_OK;
    }

    s->fields = conduit_arena_alloc(reader->arena, n
                           * sizeof(Google__Protobuf__Struct__FieldsEntry *));
    if (s->fields == NULL) {
        return CONDUIT_MESSAGE_JSON_NO_MEMORY;
    }

    for (iter = json_object_iter(object); iter != NULL;
         iter = json_object_iter_next(object, iter))
    {
        entry = conduit_arena_alloc(reader->arena,
                                sizeof(Google__Protobuf__Struct__FieldsEntry));
        if (entry == NULL) {
            return CONDUIT_MESSAGE_JSON_NO_MEMORY;
        }

        google__protobuf__struct__fields_entry__init(entry);
        entry->key = (char *) json_object_iter_key(iter);
        s->fields[s->n_fields++] = entry;

        place = conduit_json_enter(reader, entry->key);

        status = conduit_struct_json_value(reader,
                                           json_object_iter_value(iter), depth,
                                           &entry->value);
        if (status != CONDUIT_MESSAGE_JSON_OK) {
            return status;
        }

        conduit_json_leave(reader, place);
    }

    return CONDUIT_MESSAGE_JSON_OK;
}


static conduit_message_json_status_e
conduit_struct_json_list(conduit_json_reader_t *reader, json_t *array,
    unsigned depth, Google__Protobuf__ListValue **result)
{
    char                            index[sizeof("[18446744073709551615]")];
    size_t                          i, n, place;
    Google__Protobuf__ListValue    *list;
    conduit_message_json_status_e   status;

    if (depth > CONDUIT_MESSAGE_MAX_DEPTH) {
        return conduit_struct_json_too_deep(reader);
    }

    list = conduit_arena_alloc(reader->arena,
                               sizeof(Google__Protobuf__ListValue));
    if (list == NULL) {
        return CONDUIT_MESSAGE_JSON_NO_MEMORY;
    }

    google__protobuf__list_value__init(list);
    *result = list;
    n = json_array_size(array);

    if (n == 0) {
        return CONDUIT_MESSAGE_JSON_OK;
    }

    list->values = conduit_arena_alloc(reader->arena,
                                       n * sizeof(Google__Protobuf__Value *));
    if (list->values == NULL) {
        return CONDUIT_MESSAGE_JSON_NO_MEMORY;
    }

    for (i = 0; i < n; i++) {
        place = reader->len;
        (void) snprintf(index, sizeof(index), "[%zu]", i);
        conduit_json_append(reader, index);

        status = conduit_struct_json_value(reader, json_array_get(array, i),
                                           depth, &list->values[i]);
        if (status != CONDUIT_MESSAGE_JSON_OK) {
            return status;
        }

        list->n_values++;
        conduit_json_leave(reader, place);
    }

    return CONDUIT_MESSAGE_JSON_OK;
}


/* depth is that of the object or list that contains the value */

static conduit_message_json_status_e
conduit_struct_json_value(conduit_json_reader_t *reader, json_t *json,
    unsigned depth, Google__Protobuf__Value **result)
{
    Google__Protobuf__Value  *v;

    v = conduit_arena_alloc(reader->arena, sizeof(Google__Protobuf__Value));
    if (v == NULL) {
        return CONDUIT_MESSAGE_JSON_NO_MEMORY;
    }

    google__protobuf__value__init(v);
    *result = v;

    switch (json_typeof(json)) {

    case JSON_OBJECT:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
        return conduit_struct_json_object(reader, json, depth + 1,
                                          &v->struct_value);

    case JSON_ARRAY:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
        return conduit_struct_json_list(reader, json, depth + 1,
                                        &v->list_value);

    case JSON_STRING:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
        v->string_value = (char *) json_string_value(json);
        break;

    case JSON_INTEGER:
    case JSON_REAL:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
        v->number_value = json_number_value(json);
        break;

    case JSON_TRUE:
    case JSON_FALSE:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE;
        v->bool_value = json_is_true(json);
        break;

    default: /* JSON_NULL */
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE;
        v->null_value = GOOGLE__PROTOBUF__NULL_VALUE__NULL_VALUE;
        break;
    }

    return CONDUIT_MESSAGE_JSON_OK;
}


static conduit_message_json_status_e
conduit_struct_json_too_deep(conduit_json_reader_t *reader)
{
    reader->error->text = CONDUIT_MESSAGE_JSON_TOO_DEEP;

    return CONDUIT_MESSAGE_JSON_DEPTH;
}


size_t
conduit_json_enter(conduit_json_reader_t *reader, const char *key)
{
    size_t  place;

    place = reader->len;

    if (place > 0) {
        conduit_json_append(reader, ".");
    }

    conduit_json_append(reader, key);

    return place;
}


void
conduit_json_leave(conduit_json_reader_t *reader, size_t len)
{
    reader->len = len;
    reader->error->field[len] = '\0';
}


/*
 * Appends text to the path.  Keys come from the client: characters that are not
 * printable ASCII, or would need escaping in JSON, are replaced with "?".  What
 * does not fit is left out.
 */

static void
conduit_json_append(conduit_json_reader_t *reader, const char *text)
{
    char         *field;
    const char   *p;

    field = reader->error->field;

    for (p = text; *p; p++) {

        if (reader->len == CONDUIT_MESSAGE_JSON_FIELD_MAX) {
            break;
        }

        field[reader->len++] = (*p < ' ' || *p > '~' || *p == '"'
                                || *p == '\\')
                               ? '?' : *p;
    }

    field[reader->len] = '\0';
}
