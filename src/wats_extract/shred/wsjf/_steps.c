/* Shreds the steps of WSJF documents: from JSON text to the Arrow columns of four tables.

   This is the fast path of shredding.py for the part of a document that takes most of the time. It reads
   what servers export and nothing else. For every other document, or if memory runs out, `parse` returns
   None; Python then reads the document or reports the error.

   A Shredder is created with the declared columns of its tables (tables.py) and matches each of them to a
   JSON field by its source, or to a computed value by its name. It raises ValueError for a column that
   matches nothing, and for a field that no column takes.

   `parse` reads one document and `merge` joins a few of them, both without the GIL. A parsed document holds
   rows of fixed size; its strings stay in the bytes of the document, which are kept alive. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdlib.h>

#include "_json.h"

/* columns.LARGEST_LIMIT: a larger limit means that none is set. */
#define LARGEST_LIMIT 1.79e308

/* ── rows ────────────────────────────────────────────────────────────────────────────────────────── */

/* The cells of a row: JsonString and these. All bits zero is null. */

typedef struct {
    double value;
    bool valid;
} Double;

typedef struct {
    int32_t value;
    bool valid;
} Int32;

typedef struct {
    bool value, valid;
} Bool;

typedef enum { NO_LOOP, LOOP_HEADER, LOOP_ITERATION } LoopRole;

/* The fields that most steps have come first, so that they share cache lines. */
typedef struct {
    Int32 index, parent, depth;
    uint32_t path_size; /* the path itself is written by `merge` */
    uint8_t loop_role;
    Bool caused_uut_failure, caused_sequence_failure;
    JsonString name, group, type, status;
    Double total_time;
    Int32 id;
    JsonString start, error_message, report_text;
    JsonString sequence_path, sequence_name, sequence_version, response;
    Double exit_code;
    Int32 error_code, loop_index, loop_count, loop_ending_index, loop_passed, loop_failed, button;
} Step;

typedef struct {
    Int32 step, index;
} MeasurementKey; /* the first member of every measurement */

typedef struct {
    MeasurementKey key;
    JsonString name, unit, comp_op, status;
    Double value, low_limit, high_limit;
} NumericMeasurement;

typedef struct {
    MeasurementKey key;
    JsonString name, value, comp_op, limit, status;
} StringMeasurement;

typedef struct {
    MeasurementKey key;
    JsonString name, status;
} BooleanMeasurement;

typedef enum { STEPS, NUMERIC, STRING, BOOLEAN, TABLE_COUNT } TableId;

#define MAX_COLUMNS 32

typedef struct {
    char *data;
    size_t row_size;
    uint32_t count, capacity;
    bool unsorted;               /* a measurement follows one of a later step */
    uint32_t valid[MAX_COLUMNS]; /* per column: rows that are not null */
    uint64_t bytes[MAX_COLUMNS]; /* per column of strings: their total size */
} Rows;

/* A value that few steps have; it stays JSON, for Python to decode. */
typedef struct {
    const char *name, *text;
    uint32_t size, step;
} RawValue;

/* A number that json_exact_double() cannot convert; PyOS_string_to_double() can, but needs the GIL. */
typedef struct {
    const char *text;
    uint32_t size, row;
    uint16_t offset;
    uint8_t table;
    bool is_limit;
} DeferredNumber;

typedef struct Shredder Shredder;

typedef struct {
    Shredder *shredder;
    PyObject *raw; /* keeps `text` alive */
    const char *text;
    char *unescaped;
    Rows tables[TABLE_COUNT];
    RawValue *raw_values;
    uint32_t raw_value_count, raw_value_capacity;
    DeferredNumber *deferred;
    uint32_t deferred_count, deferred_capacity;
    const char *root, *root_end; /* the value of the field `root`; NULL without one */
    uint64_t largest_paths;      /* the most bytes of all paths together */
} Document;

/* ── fields of the JSON ──────────────────────────────────────────────────────────────────────────── */

typedef enum {
    FIELD_STRING,
    FIELD_DOUBLE,
    FIELD_LIMIT, /* a double; beyond LARGEST_LIMIT it is null */
    FIELD_INT32,
    FIELD_BOOL,
    FIELD_CHECKED, /* an int32 without a column, which must equal another field */
    FIELD_OBJECT,  /* its fields go to the same row */
    FIELD_LIST,    /* its items are rows of a table */
    FIELD_RAW,     /* left to Python */
    FIELD_NULL,    /* must be null */
} FieldKind;

typedef struct ObjectSpec ObjectSpec;

typedef struct {
    const char *name;
    uint8_t size;
    uint8_t kind;
    uint16_t offset; /* of the cell in its row */
    uint8_t table;   /* of a list's items */
    const ObjectSpec *inner;
} Field;

struct ObjectSpec {
    int count; /* at most 32, the bits of `seen` in read_object() */
    const Field *fields;
};

#define CELL(name, kind, row, member) {LITERAL(name), kind, offsetof(row, member), 0, NULL}
#define OBJECT(name, inner) {LITERAL(name), FIELD_OBJECT, 0, 0, &inner}
#define LIST(name, table, inner) {LITERAL(name), FIELD_LIST, 0, table, &inner}
#define RAW(name) {LITERAL(name), FIELD_RAW, 0, 0, NULL}
#define MUST_BE_NULL(name) {LITERAL(name), FIELD_NULL, 0, 0, NULL}
#define SPEC(fields) {(int)(sizeof(fields) / sizeof((fields)[0])), fields}

/* In the order in which servers write them: read_name() starts behind the previous field. */

static const Field LOOP_FIELDS[] = {
    CELL("idx", FIELD_INT32, Step, loop_index),
    CELL("num", FIELD_INT32, Step, loop_count),
    CELL("endingIndex", FIELD_CHECKED, Step, loop_ending_index),
    CELL("passed", FIELD_INT32, Step, loop_passed),
    CELL("failed", FIELD_INT32, Step, loop_failed),
};
static const Field SEQUENCE_CALL_FIELDS[] = {
    CELL("path", FIELD_STRING, Step, sequence_path),
    CELL("name", FIELD_STRING, Step, sequence_name),
    CELL("version", FIELD_STRING, Step, sequence_version),
};
static const Field CALL_EXE_FIELDS[] = {
    CELL("exitCode", FIELD_DOUBLE, Step, exit_code),
    MUST_BE_NULL("exitCodeFormat"),
};
static const Field MESSAGE_POPUP_FIELDS[] = {
    CELL("response", FIELD_STRING, Step, response),
    CELL("button", FIELD_INT32, Step, button),
    MUST_BE_NULL("buttonFormat"),
};
static const Field NUMERIC_FIELDS[] = {
    CELL("compOp", FIELD_STRING, NumericMeasurement, comp_op),
    CELL("name", FIELD_STRING, NumericMeasurement, name),
    CELL("status", FIELD_STRING, NumericMeasurement, status),
    CELL("unit", FIELD_STRING, NumericMeasurement, unit),
    CELL("value", FIELD_DOUBLE, NumericMeasurement, value),
    CELL("highLimit", FIELD_LIMIT, NumericMeasurement, high_limit),
    CELL("lowLimit", FIELD_LIMIT, NumericMeasurement, low_limit),
};
static const Field STRING_FIELDS[] = {
    CELL("compOp", FIELD_STRING, StringMeasurement, comp_op),
    CELL("name", FIELD_STRING, StringMeasurement, name),
    CELL("status", FIELD_STRING, StringMeasurement, status),
    CELL("value", FIELD_STRING, StringMeasurement, value),
    CELL("limit", FIELD_STRING, StringMeasurement, limit),
};
static const Field BOOLEAN_FIELDS[] = {
    CELL("name", FIELD_STRING, BooleanMeasurement, name),
    CELL("status", FIELD_STRING, BooleanMeasurement, status),
};

static const ObjectSpec LOOP = SPEC(LOOP_FIELDS), SEQUENCE_CALL = SPEC(SEQUENCE_CALL_FIELDS),
                        CALL_EXE = SPEC(CALL_EXE_FIELDS), MESSAGE_POPUP = SPEC(MESSAGE_POPUP_FIELDS),
                        NUMERIC_MEASUREMENT = SPEC(NUMERIC_FIELDS), STRING_MEASUREMENT = SPEC(STRING_FIELDS),
                        BOOLEAN_MEASUREMENT = SPEC(BOOLEAN_FIELDS);

static const ObjectSpec STEP;

static const Field STEP_FIELDS[] = {
    CELL("id", FIELD_INT32, Step, id),
    CELL("group", FIELD_STRING, Step, group),
    CELL("stepType", FIELD_STRING, Step, type),
    CELL("name", FIELD_STRING, Step, name),
    CELL("start", FIELD_STRING, Step, start),
    CELL("status", FIELD_STRING, Step, status),
    CELL("errorCode", FIELD_INT32, Step, error_code),
    CELL("errorMessage", FIELD_STRING, Step, error_message),
    RAW("tsGuid"),
    CELL("totTime", FIELD_DOUBLE, Step, total_time),
    CELL("causedSeqFailure", FIELD_BOOL, Step, caused_sequence_failure),
    CELL("causedUUTFailure", FIELD_BOOL, Step, caused_uut_failure),
    CELL("reportText", FIELD_STRING, Step, report_text),
    OBJECT("loop", LOOP),
    LIST("steps", STEPS, STEP),
    LIST("numericMeas", NUMERIC, NUMERIC_MEASUREMENT),
    LIST("stringMeas", STRING, STRING_MEASUREMENT),
    LIST("booleanMeas", BOOLEAN, BOOLEAN_MEASUREMENT),
    RAW("additionalResults"),
    OBJECT("seqCall", SEQUENCE_CALL),
    OBJECT("callExe", CALL_EXE),
    OBJECT("messagePopup", MESSAGE_POPUP),
    RAW("chart"),
    RAW("attachment"),
};

static const ObjectSpec STEP = SPEC(STEP_FIELDS);

/* ── tables and columns ──────────────────────────────────────────────────────────────────────────── */

typedef enum {
    COLUMN_OWNER, /* the uuid of the report */
    COLUMN_PATH,
    COLUMN_LOOP_ROLE,
    COLUMN_STRING,
    COLUMN_STATUS, /* a string whose codes become words */
    COLUMN_DOUBLE,
    COLUMN_INT32,
    COLUMN_BOOL,
} ColumnKind;

typedef struct {
    uint8_t kind;
    uint16_t offset; /* of the cell in its row */
} Column;

/* A column that is not read from a field. */
typedef struct {
    const char *name;
    Column column;
} ComputedColumn;

static const ComputedColumn STEP_COMPUTED[] = {
    {"report_uuid", {COLUMN_OWNER, 0}},
    {"step_index", {COLUMN_INT32, offsetof(Step, index)}},
    {"parent_step_index", {COLUMN_INT32, offsetof(Step, parent)}},
    {"depth", {COLUMN_INT32, offsetof(Step, depth)}},
    {"path", {COLUMN_PATH, offsetof(Step, path_size)}},
    {"loop_role", {COLUMN_LOOP_ROLE, offsetof(Step, loop_role)}},
};
static const ComputedColumn MEASUREMENT_COMPUTED[] = {
    {"report_uuid", {COLUMN_OWNER, 0}},
    {"step_index", {COLUMN_INT32, offsetof(MeasurementKey, step)}},
    {"measurement_index", {COLUMN_INT32, offsetof(MeasurementKey, index)}},
};

typedef struct {
    const char *name;
    size_t row_size;
    const ObjectSpec *record;
    int computed_count;
    const ComputedColumn *computed;
} TableSpec;

#define COMPUTED(columns) (int)(sizeof(columns) / sizeof((columns)[0])), columns

static const TableSpec TABLES[TABLE_COUNT] = {
    [STEPS] = {"steps", sizeof(Step), &STEP, COMPUTED(STEP_COMPUTED)},
    [NUMERIC] = {"numeric_measurements", sizeof(NumericMeasurement), &NUMERIC_MEASUREMENT,
                 COMPUTED(MEASUREMENT_COMPUTED)},
    [STRING] = {"string_measurements", sizeof(StringMeasurement), &STRING_MEASUREMENT,
                COMPUTED(MEASUREMENT_COMPUTED)},
    [BOOLEAN] = {"boolean_measurements", sizeof(BooleanMeasurement), &BOOLEAN_MEASUREMENT,
                 COMPUTED(MEASUREMENT_COMPUTED)},
};

/* The columns of a table in the order of its declaration. */
typedef struct {
    int count;
    Column columns[MAX_COLUMNS];
} Layout;

struct Shredder {
    PyObject_HEAD
    Layout layouts[TABLE_COUNT];
};

/* ── matching declared columns ───────────────────────────────────────────────────────────────────── */

/* A column as tables.py declares it. */
typedef struct {
    const char *name, *source, *kind, *type;
} Declared;

static bool
equal(const char *one, const char *other)
{
    return strcmp(one, other) == 0;
}

/* The field at a source such as `name` or `loop.idx`, or NULL. */
static const Field *
find_field(const ObjectSpec *spec, const char *source)
{
    const char *dot = strchr(source, '.');
    size_t size = dot == NULL ? strlen(source) : (size_t)(dot - source);
    for (int index = 0; index < spec->count; index++) {
        const Field *field = &spec->fields[index];
        if (field->size == size && memcmp(field->name, source, size) == 0) {
            if (dot == NULL) {
                return field;
            }
            return field->kind == FIELD_OBJECT ? find_field(field->inner, dot + 1) : NULL;
        }
    }
    return NULL;
}

/* The column that holds a field, if it has the declared kind. */
static bool
column_of_field(const Field *field, const char *kind, Column *column)
{
    column->offset = field->offset;
    switch ((FieldKind)field->kind) {
    case FIELD_STRING:
        column->kind = equal(kind, "result") ? COLUMN_STATUS : COLUMN_STRING;
        return equal(kind, "result") || equal(kind, "");
    case FIELD_DOUBLE:
        column->kind = COLUMN_DOUBLE;
        return equal(kind, "");
    case FIELD_LIMIT:
        column->kind = COLUMN_DOUBLE;
        return equal(kind, "limit");
    case FIELD_INT32:
        column->kind = COLUMN_INT32;
        return equal(kind, "");
    case FIELD_BOOL:
        column->kind = COLUMN_BOOL;
        return equal(kind, "");
    default:
        return false;
    }
}

static bool
has_type(const Column *column, const char *type)
{
    switch ((ColumnKind)column->kind) {
    case COLUMN_DOUBLE:
        return equal(type, "double");
    case COLUMN_INT32:
        return equal(type, "int32");
    case COLUMN_BOOL:
        return equal(type, "bool");
    case COLUMN_STRING:
        return equal(type, "string") || equal(type, "timestamp[us, tz=UTC]"); /* Python converts these */
    default:
        return equal(type, "string");
    }
}

static bool
match_column(const TableSpec *table, const Declared *declared, Column *column)
{
    if (declared->source[0] == '\0') {
        for (int index = 0; index < table->computed_count; index++) {
            if (equal(table->computed[index].name, declared->name)) {
                *column = table->computed[index].column;
                if (declared->kind[0] == '\0' && has_type(column, declared->type)) {
                    return true;
                }
            }
        }
    } else {
        const Field *field = find_field(table->record, declared->source);
        if (field != NULL && column_of_field(field, declared->kind, column) &&
            has_type(column, declared->type)) {
            return true;
        }
    }
    PyErr_Format(PyExc_ValueError, "_steps.c cannot fill column %s.%s (source \"%s\", kind \"%s\", type %s)",
                 table->name, declared->name, declared->source, declared->kind, declared->type);
    return false;
}

/* Returns whether a column shows the cell at an offset; the owner has no cell, and offset 0. */
static bool
has_column(const Layout *layout, bool is_owner, uint16_t offset)
{
    for (int index = 0; index < layout->count; index++) {
        const Column *column = &layout->columns[index];
        if (column->offset == offset && (column->kind == COLUMN_OWNER) == is_owner) {
            return true;
        }
    }
    return false;
}

static bool
needs_column(const Field *field)
{
    return field->kind == FIELD_STRING || field->kind == FIELD_DOUBLE || field->kind == FIELD_LIMIT ||
           field->kind == FIELD_INT32 || field->kind == FIELD_BOOL;
}

/* Checks that every field that is read has a column; its values would be lost without one. */
static bool
check_fields(const TableSpec *table, const ObjectSpec *spec, const Layout *layout)
{
    for (int index = 0; index < spec->count; index++) {
        const Field *field = &spec->fields[index];
        if (field->kind == FIELD_OBJECT) {
            if (!check_fields(table, field->inner, layout)) {
                return false;
            }
        } else if (needs_column(field) && !has_column(layout, false, field->offset)) {
            PyErr_Format(PyExc_ValueError, "_steps.c reads the field \"%s\" for table %s, but no column takes it",
                         field->name, table->name);
            return false;
        }
    }
    return true;
}

static bool
check_computed(const TableSpec *table, const Layout *layout)
{
    for (int index = 0; index < table->computed_count; index++) {
        const ComputedColumn *computed = &table->computed[index];
        if (!has_column(layout, computed->column.kind == COLUMN_OWNER, computed->column.offset)) {
            PyErr_Format(PyExc_ValueError, "_steps.c computes column %s.%s, which is not declared",
                         table->name, computed->name);
            return false;
        }
    }
    return true;
}

static bool
match_columns(const TableSpec *table, PyObject *declared_columns, Layout *layout)
{
    PyObject *columns = PySequence_Tuple(declared_columns);
    if (columns == NULL) {
        return false;
    }
    Py_ssize_t count = PyTuple_Size(columns);
    bool matched = count <= MAX_COLUMNS;
    if (!matched) {
        PyErr_Format(PyExc_ValueError, "table %s has %zd columns; raise MAX_COLUMNS in _steps.c", table->name,
                     count);
    }
    for (; matched && layout->count < count; layout->count++) {
        Declared declared;
        PyObject *column = PyTuple_GetItem(columns, layout->count);
        if (!PyTuple_Check(column)) {
            PyErr_SetString(PyExc_TypeError, "a column is a tuple (name, source, kind, type)");
            matched = false;
        } else {
            matched = PyArg_ParseTuple(column, "ssss", &declared.name, &declared.source, &declared.kind,
                                       &declared.type) &&
                      match_column(table, &declared, &layout->columns[layout->count]);
        }
    }
    Py_DECREF(columns);
    return matched && check_fields(table, table->record, layout) && check_computed(table, layout);
}

/* ── reading steps ───────────────────────────────────────────────────────────────────────────────── */

typedef struct {
    JsonReader json;
    Document *document;
} Reader;

/* Appends a zeroed item to a growing array; returns NULL if there is no memory. The array may move. */
static void *
append(void **items, uint32_t *count, uint32_t *capacity, size_t item_size)
{
    if (*count == *capacity) {
        if (*capacity > INT32_MAX / 2) {
            return NULL;
        }
        uint32_t larger = *capacity ? *capacity * 2 : 32;
        if (larger > SIZE_MAX / item_size) {
            return NULL;
        }
        void *moved = realloc(*items, larger * item_size);
        if (moved == NULL) {
            return NULL;
        }
        *items = moved;
        *capacity = larger;
    }
    char *item = (char *)*items + (size_t)(*count)++ * item_size;
    return memset(item, 0, item_size);
}

static void *
append_row(Reader *reader, int table)
{
    Rows *rows = &reader->document->tables[table];
    void *data = rows->data;
    void *row = append(&data, &rows->count, &rows->capacity, rows->row_size);
    rows->data = data;
    return row;
}

static inline void *
row_at(const Rows *rows, uint32_t row)
{
    return rows->data + (size_t)row * rows->row_size;
}

static bool
is_unset_limit(double value)
{
    return isfinite(value) && fabs(value) > LARGEST_LIMIT;
}

/* Reads the words that clients write for numbers that JSON lacks; Python reads other spellings. */
static bool
read_quoted_number(JsonReader *json, double *value)
{
    if (json_accept_literal(json, LITERAL("\"NaN\""))) {
        *value = NAN;
    } else if (json_accept_literal(json, LITERAL("\"Infinity\""))) {
        *value = INFINITY;
    } else if (json_accept_literal(json, LITERAL("\"-Infinity\""))) {
        *value = -INFINITY;
    } else {
        return false;
    }
    return true;
}

static bool
read_double(Reader *reader, int table, uint32_t row, const Field *field)
{
    Document *document = reader->document;
    Double *cell = (Double *)((char *)row_at(&document->tables[table], row) + field->offset);
    cell->valid = true;
    if (json_peek(&reader->json) == '"') {
        return read_quoted_number(&reader->json, &cell->value);
    }
    JsonDecimal decimal;
    if (!json_read_decimal(&reader->json, &decimal)) {
        return false;
    }
    if (json_exact_double(&decimal, &cell->value)) {
        return true;
    }
    void *items = document->deferred;
    DeferredNumber *deferred =
        append(&items, &document->deferred_count, &document->deferred_capacity, sizeof(DeferredNumber));
    document->deferred = items;
    if (deferred == NULL) {
        return false;
    }
    *deferred = (DeferredNumber){.text = decimal.text,
                                 .size = (uint32_t)(reader->json.at - decimal.text),
                                 .row = row,
                                 .offset = field->offset,
                                 .table = (uint8_t)table,
                                 .is_limit = field->kind == FIELD_LIMIT};
    return true;
}

static bool
read_raw(Reader *reader, const Field *field, uint32_t step)
{
    json_peek(&reader->json);
    const char *begin = reader->json.at;
    if (!json_skip_value(&reader->json)) {
        return false;
    }
    Document *document = reader->document;
    void *items = document->raw_values;
    RawValue *value =
        append(&items, &document->raw_value_count, &document->raw_value_capacity, sizeof(RawValue));
    document->raw_values = items;
    if (value == NULL) {
        return false;
    }
    *value = (RawValue){field->name, begin, (uint32_t)(reader->json.at - begin), step};
    return true;
}

static bool
read_object(Reader *reader, const ObjectSpec *spec, int table, uint32_t row);

static bool
read_step(Reader *reader, const Step *parent)
{
    Int32 parent_index = {0}, depth = {0, true};
    if (parent != NULL) {
        parent_index = parent->index;
        depth.value = parent->depth.value + 1;
    }
    Step *step = append_row(reader, STEPS); /* `parent` may dangle from here on */
    if (step == NULL) {
        return false;
    }
    uint32_t row = reader->document->tables[STEPS].count - 1;
    step->index = (Int32){(int32_t)row, true};
    step->parent = parent_index;
    step->depth = depth;
    return read_object(reader, &STEP, STEPS, row);
}

static bool
read_measurement(Reader *reader, const Field *field, uint32_t step, int32_t index)
{
    Rows *rows = &reader->document->tables[field->table];
    MeasurementKey *key = append_row(reader, field->table);
    if (key == NULL) {
        return false;
    }
    uint32_t row = rows->count - 1;
    *key = (MeasurementKey){{(int32_t)step, true}, {index, true}};
    if (row > 0 && ((MeasurementKey *)row_at(rows, row - 1))->step.value > (int32_t)step) {
        rows->unsorted = true;
    }
    return read_object(reader, field->inner, field->table, row);
}

static bool
read_item(Reader *reader, const Field *field, uint32_t step, int32_t index)
{
    if (field->table == STEPS) {
        return read_step(reader, row_at(&reader->document->tables[STEPS], step));
    }
    return read_measurement(reader, field, step, index);
}

static bool
read_list(Reader *reader, const Field *field, uint32_t step)
{
    JsonReader *json = &reader->json;
    if (!json_accept(json, '[') || json->depth == JSON_MAX_DEPTH) {
        return false;
    }
    if (json_accept(json, ']')) {
        return true;
    }
    json->depth++;
    int32_t index = 0;
    do {
        if (!read_item(reader, field, step, index++)) {
            return false;
        }
    } while (json_accept(json, ','));
    json->depth--;
    return json_accept(json, ']');
}

static bool
read_inner_object(Reader *reader, const Field *field, uint32_t row)
{
    if (!read_object(reader, field->inner, STEPS, row)) {
        return false;
    }
    if (field->inner == &LOOP) {
        Step *step = row_at(&reader->document->tables[STEPS], row);
        step->loop_role = step->loop_index.valid ? LOOP_ITERATION : LOOP_HEADER;
        Int32 count = step->loop_count, ending = step->loop_ending_index;
        return !ending.valid || (count.valid && count.value == ending.value);
    }
    return true;
}

static bool
read_value(Reader *reader, const Field *field, int table, uint32_t row)
{
    JsonReader *json = &reader->json;
    if (json_peek(json) == 'n') {
        return json_accept_literal(json, LITERAL("null"));
    }
    void *cell = (char *)row_at(&reader->document->tables[table], row) + field->offset;
    switch ((FieldKind)field->kind) {
    case FIELD_STRING:
        return json_read_string(json, cell);
    case FIELD_DOUBLE:
        return read_double(reader, table, row, field);
    case FIELD_LIMIT:
        if (!read_double(reader, table, row, field)) {
            return false;
        }
        if (is_unset_limit(((Double *)cell)->value)) {
            ((Double *)cell)->valid = false;
        }
        return true;
    case FIELD_INT32:
    case FIELD_CHECKED:
        ((Int32 *)cell)->valid = true;
        return json_read_int32(json, &((Int32 *)cell)->value);
    case FIELD_BOOL:
        ((Bool *)cell)->valid = true;
        return json_read_bool(json, &((Bool *)cell)->value);
    case FIELD_OBJECT:
        return read_inner_object(reader, field, row);
    case FIELD_LIST:
        return read_list(reader, field, row);
    case FIELD_RAW:
        return read_raw(reader, field, row);
    case FIELD_NULL:
        return false;
    }
    return false;
}

static inline uint64_t
eight_bytes(const char *at)
{
    uint64_t bytes;
    memcpy(&bytes, at, 8);
    return bytes;
}

/* memcmp() == 0 without a call: a document has thousands of names, and most are short. */
static inline bool
same_bytes(const char *one, const char *other, size_t size)
{
    if (size >= 8 && size <= 16) {
        return eight_bytes(one) == eight_bytes(other) &&
               eight_bytes(one + size - 8) == eight_bytes(other + size - 8);
    }
    for (size_t index = 0; index < size; index++) {
        if (one[index] != other[index]) {
            return false;
        }
    }
    return true;
}

/* Reads a name and returns the index of its field, or -1; the search starts behind the previous field. */
static int
read_name(JsonReader *json, const ObjectSpec *spec, int previous)
{
    if (!json_accept(json, '"')) {
        return -1;
    }
    size_t left = (size_t)(json->end - json->at);
    int index = previous;
    for (int tried = 0; tried < spec->count; tried++) {
        index = index + 1 < spec->count ? index + 1 : 0;
        const Field *field = &spec->fields[index];
        if (field->size < left && json->at[field->size] == '"' &&
            same_bytes(json->at, field->name, field->size)) {
            json->at += field->size + 1;
            return index;
        }
    }
    return -1;
}

/* Reads an object into a row; fails if a name is unknown or appears twice. */
static bool
read_object(Reader *reader, const ObjectSpec *spec, int table, uint32_t row)
{
    JsonReader *json = &reader->json;
    if (!json_accept(json, '{')) {
        return false;
    }
    if (json_accept(json, '}')) {
        return true;
    }
    if (++json->depth > JSON_MAX_DEPTH) {
        return false;
    }
    uint32_t seen = 0;
    int index = -1;
    do {
        index = read_name(json, spec, index);
        if (index < 0 || seen >> index & 1) {
            return false;
        }
        seen |= (uint32_t)1 << index;
        if (!json_accept(json, ':') || !read_value(reader, &spec->fields[index], table, row)) {
            return false;
        }
    } while (json_accept(json, ','));
    json->depth--;
    return json_accept(json, '}');
}

static bool
read_root(Reader *reader)
{
    Document *document = reader->document;
    if (document->root != NULL) {
        return false; /* a second one */
    }
    bool is_null = json_peek(&reader->json) == 'n';
    document->root = reader->json.at;
    if (!(is_null ? json_accept_literal(&reader->json, LITERAL("null")) : read_step(reader, NULL))) {
        return false;
    }
    document->root_end = reader->json.at;
    return true;
}

/* Reads the field `root` and skips the others, which Python reads. */
static bool
read_document(Reader *reader)
{
    JsonReader *json = &reader->json;
    if (!json_accept(json, '{')) {
        return false;
    }
    json->depth = 1;
    do {
        if (json_peek(json) != '"') {
            return false;
        }
        const char *name = json->at;
        if (!json_skip_string(json)) {
            return false;
        }
        size_t size = (size_t)(json->at - name);
        if (memchr(name, '\\', size) != NULL) {
            return false; /* it could spell `root` */
        }
        bool is_root = size == sizeof("\"root\"") - 1 && memcmp(name, "\"root\"", size) == 0;
        if (!json_accept(json, ':') || !(is_root ? read_root(reader) : json_skip_value(json))) {
            return false;
        }
    } while (json_accept(json, ','));
    return json_accept(json, '}');
}

/* ── strings of columns ──────────────────────────────────────────────────────────────────────────── */

/* `at` is NULL for null. */
typedef struct {
    const char *at;
    uint32_t size;
} Span;

static inline Span
span_of(const Document *document, JsonString string)
{
    if (string.offset == 0) {
        return (Span){NULL, 0};
    }
    if (string.offset & JSON_UNESCAPED) {
        return (Span){document->unescaped + (string.offset & ~JSON_UNESCAPED), string.size};
    }
    return (Span){document->text + string.offset, string.size};
}

/* columns.RESULTS: known codes become words. */
static Span
status_word(Span code)
{
    if (code.size != 1) {
        return code;
    }
    switch (code.at[0]) {
    case 'P':
        return (Span){LITERAL("Passed")};
    case 'F':
        return (Span){LITERAL("Failed")};
    case 'E':
        return (Span){LITERAL("Error")};
    case 'T':
        return (Span){LITERAL("Terminated")};
    case 'D':
        return (Span){LITERAL("Done")};
    case 'S':
        return (Span){LITERAL("Skipped")};
    case 'U':
        return (Span){LITERAL("Unknown")};
    default:
        return code;
    }
}

static Span
loop_role_name(uint8_t role)
{
    switch ((LoopRole)role) {
    case LOOP_HEADER:
        return (Span){LITERAL("header")};
    case LOOP_ITERATION:
        return (Span){LITERAL("iteration")};
    default:
        return (Span){LITERAL("none")};
    }
}

/* The string of a cell in a column of kind STRING, STATUS or LOOP_ROLE. */
static inline Span
cell_string(const Document *document, ColumnKind kind, const void *cell)
{
    if (kind == COLUMN_LOOP_ROLE) {
        return loop_role_name(*(const uint8_t *)cell);
    }
    Span found = span_of(document, *(const JsonString *)cell);
    return kind == COLUMN_STATUS ? status_word(found) : found;
}

/* ── finishing a document: order and sizes ───────────────────────────────────────────────────────── */

static int
compare_keys(const void *one, const void *other)
{
    const MeasurementKey *a = one, *b = other;
    if (a->step.value != b->step.value) {
        return a->step.value < b->step.value ? -1 : 1;
    }
    return (a->index.value > b->index.value) - (a->index.value < b->index.value);
}

/* Computes the size of each step's path: parent path, slash, and the name with its slashes doubled. */
static bool
measure_paths(const Document *document)
{
    const Rows *rows = &document->tables[STEPS];
    uint64_t total = 0;
    for (uint32_t row = 0; row < rows->count; row++) {
        Step *step = row_at(rows, row);
        Span name = span_of(document, step->name);
        uint64_t size = name.size;
        for (uint32_t index = 0; index < name.size; index++) {
            size += name.at[index] == '/';
        }
        if (step->parent.valid) {
            size += 1 + (uint64_t)((Step *)row_at(rows, (uint32_t)step->parent.value))->path_size;
        }
        total += size;
        if (size > INT32_MAX || total > document->largest_paths) {
            return false;
        }
        step->path_size = (uint32_t)size;
    }
    return true;
}

static void
measure_column(const Document *document, int table, const Column *column, uint32_t *valid, uint64_t *bytes)
{
    const Rows *rows = &document->tables[table];
    const char *cell = rows->data + column->offset, *end = cell + rows->count * rows->row_size;
    ColumnKind kind = (ColumnKind)column->kind;
    uint32_t count = 0;
    uint64_t size = 0;
    switch (kind) {
    case COLUMN_OWNER:
        count = rows->count;
        break;
    case COLUMN_PATH:
        count = rows->count;
        for (; cell < end; cell += rows->row_size) {
            size += *(const uint32_t *)cell;
        }
        break;
    case COLUMN_STRING:
        for (; cell < end; cell += rows->row_size) {
            count += ((const JsonString *)cell)->offset != 0;
            size += ((const JsonString *)cell)->size;
        }
        break;
    case COLUMN_STATUS:
    case COLUMN_LOOP_ROLE:
        for (; cell < end; cell += rows->row_size) {
            Span text = cell_string(document, kind, cell);
            count += text.at != NULL;
            size += text.size;
        }
        break;
    case COLUMN_DOUBLE:
        for (; cell < end; cell += rows->row_size) {
            count += ((const Double *)cell)->valid;
        }
        break;
    case COLUMN_INT32:
        for (; cell < end; cell += rows->row_size) {
            count += ((const Int32 *)cell)->valid;
        }
        break;
    case COLUMN_BOOL:
        for (; cell < end; cell += rows->row_size) {
            count += ((const Bool *)cell)->valid;
        }
        break;
    }
    *valid = count;
    *bytes = size;
}

/* Sorts the measurements by step and measures the columns. */
static bool
finish(Document *document, const Layout *layouts)
{
    if (!measure_paths(document)) {
        return false;
    }
    for (int table = 0; table < TABLE_COUNT; table++) {
        Rows *rows = &document->tables[table];
        if (rows->unsorted) {
            qsort(rows->data, rows->count, rows->row_size, compare_keys);
        }
        for (int index = 0; rows->count > 0 && index < layouts[table].count; index++) {
            measure_column(document, table, &layouts[table].columns[index], &rows->valid[index],
                           &rows->bytes[index]);
        }
    }
    return true;
}

static bool
read_deferred_numbers(Document *document)
{
    for (uint32_t index = 0; index < document->deferred_count; index++) {
        const DeferredNumber *deferred = &document->deferred[index];
        char text[400];
        if (deferred->size >= sizeof(text)) {
            return false;
        }
        memcpy(text, deferred->text, deferred->size);
        text[deferred->size] = '\0';
        char *end;
        double value = PyOS_string_to_double(text, &end, NULL);
        if (PyErr_Occurred()) {
            PyErr_Clear();
            return false;
        }
        if (end != text + deferred->size || !isfinite(value)) {
            return false;
        }
        char *row = row_at(&document->tables[deferred->table], deferred->row);
        *(Double *)(row + deferred->offset) =
            (Double){value, !(deferred->is_limit && is_unset_limit(value))};
    }
    return true;
}

/* ── Shredder.parse ──────────────────────────────────────────────────────────────────────────────── */

#define CAPSULE "wats_extract.shred.wsjf._steps.Document"

static void
free_document(Document *document)
{
    for (int table = 0; table < TABLE_COUNT; table++) {
        free(document->tables[table].data);
    }
    free(document->raw_values);
    free(document->deferred);
    free(document->unescaped);
    Py_XDECREF(document->raw);
    Py_XDECREF((PyObject *)document->shredder);
    free(document);
}

static void
free_capsule(PyObject *capsule)
{
    free_document(PyCapsule_GetPointer(capsule, CAPSULE));
}

static PyObject *
list_raw_values(const Document *document)
{
    PyObject *values = PyList_New(0);
    for (uint32_t index = 0; values != NULL && index < document->raw_value_count; index++) {
        const RawValue *value = &document->raw_values[index];
        PyObject *item =
            Py_BuildValue("Isy#", (unsigned int)value->step, value->name, value->text, (Py_ssize_t)value->size);
        if (item == NULL || PyList_Append(values, item) < 0) {
            Py_CLEAR(values);
        }
        Py_XDECREF(item);
    }
    return values;
}

static bool
parse_document(Document *document, const char *end, const Layout *layouts)
{
    bool parsed;
    Py_BEGIN_ALLOW_THREADS
    Reader reader = {.json = {.text = document->text, .at = document->text, .end = end}, .document = document};
    parsed = read_document(&reader);
    document->unescaped = reader.json.unescaped;
    if (parsed && document->deferred_count == 0) {
        parsed = finish(document, layouts);
    }
    Py_END_ALLOW_THREADS
    if (parsed && document->deferred_count > 0) {
        parsed = read_deferred_numbers(document) && finish(document, layouts);
    }
    return parsed;
}

PyDoc_STRVAR(parse_doc,
             "parse($self, raw, largest_paths=2**31 - 1, /)\n--\n\n"
             "Parse the steps of a document: (document, step count, begin and end of the root in `raw` or\n"
             "-1, raw values as (step, field, JSON)); or None if Python has to read the document, for example\n"
             "because the paths of its steps take more than `largest_paths` bytes together.");

static PyObject *
parse(PyObject *self, PyObject *args)
{
    Shredder *shredder = (Shredder *)self;
    PyObject *raw;
    char *text;
    Py_ssize_t size, largest_paths = INT32_MAX;
    if (!PyArg_ParseTuple(args, "O|n", &raw, &largest_paths)) {
        return NULL;
    }
    if (PyBytes_AsStringAndSize(raw, &text, &size) < 0) {
        return NULL;
    }
    if (size > INT32_MAX) {
        Py_RETURN_NONE;
    }
    Document *document = calloc(1, sizeof(Document));
    if (document == NULL) {
        return PyErr_NoMemory();
    }
    document->shredder = (Shredder *)Py_NewRef(self);
    document->raw = Py_NewRef(raw);
    document->text = text;
    document->largest_paths = largest_paths < 0 ? 0 : (uint64_t)largest_paths;
    for (int table = 0; table < TABLE_COUNT; table++) {
        document->tables[table].row_size = TABLES[table].row_size;
    }
    if (!parse_document(document, text + size, shredder->layouts)) {
        free_document(document);
        Py_RETURN_NONE;
    }
    PyObject *capsule = PyCapsule_New(document, CAPSULE, free_capsule);
    if (capsule == NULL) {
        free_document(document);
        return NULL;
    }
    Py_ssize_t root = document->root == NULL ? -1 : document->root - text;
    Py_ssize_t root_end = document->root == NULL ? -1 : document->root_end - text;
    return Py_BuildValue("NInnN", capsule, (unsigned int)document->tables[STEPS].count, root, root_end,
                         list_raw_values(document));
}

/* ── Shredder.merge ──────────────────────────────────────────────────────────────────────────────── */

typedef struct {
    const Document **documents;
    Span *owners;
    Py_ssize_t count;
} Batch;

/* A column of a batch while it is written. A buffer that it does not need is NULL. */
typedef struct {
    uint32_t rows, valid;
    uint64_t bytes;
    PyObject *validity, *offsets, *data; /* the Arrow buffers, as bytes */
    unsigned char *valid_bits;
    int32_t *ends; /* of strings; ends[0] is the beginning of the first one */
    char *values;
    uint32_t written; /* rows so far */
    char *to;         /* where the next string goes */
} ColumnWriter;

static bool
is_fixed_size(ColumnKind kind)
{
    return kind == COLUMN_DOUBLE || kind == COLUMN_INT32 || kind == COLUMN_BOOL;
}

static void
set_bit(unsigned char *bits, uint32_t index)
{
    bits[index / 8] |= (unsigned char)(1 << index % 8);
}

/* memcpy() without a call for short strings. */
static inline char *
write_string(char *to, Span text)
{
    if (text.size >= 8 && text.size <= 16) {
        memcpy(to, text.at, 8);
        memcpy(to + text.size - 8, text.at + text.size - 8, 8);
    } else if (text.size < 8) {
        for (uint32_t index = 0; index < text.size; index++) {
            to[index] = text.at[index];
        }
    } else {
        memcpy(to, text.at, text.size);
    }
    return to + text.size;
}

/* Writes the path of a step. Its parent's path was written before and starts at `begins[parent]`. */
static char *
write_path(const Document *document, uint32_t row, const int32_t *begins, const char *values, char *to)
{
    const Rows *rows = &document->tables[STEPS];
    const Step *step = row_at(rows, row);
    if (step->parent.valid) {
        const Step *parent = row_at(rows, (uint32_t)step->parent.value);
        memcpy(to, values + begins[step->parent.value], parent->path_size);
        to += parent->path_size;
        *to++ = '/';
    }
    Span name = span_of(document, step->name);
    for (uint32_t index = 0; index < name.size; index++) {
        *to++ = name.at[index];
        if (name.at[index] == '/') {
            *to++ = '/';
        }
    }
    return to;
}

static void
write_owners(const Rows *rows, Span owner, ColumnWriter *writer)
{
    int32_t *ends = writer->ends + writer->written + 1;
    char *values = writer->values, *to = writer->to;
    for (uint32_t row = 0; row < rows->count; row++) {
        to = write_string(to, owner);
        ends[row] = (int32_t)(to - values);
    }
    writer->to = to;
}

static void
write_paths(const Document *document, ColumnWriter *writer)
{
    const Rows *rows = &document->tables[STEPS];
    int32_t *ends = writer->ends + writer->written + 1;
    char *values = writer->values, *to = writer->to;
    for (uint32_t row = 0; row < rows->count; row++) {
        to = write_path(document, row, ends - 1, values, to);
        ends[row] = (int32_t)(to - values);
    }
    writer->to = to;
}

static void
write_strings(const Document *document, const Rows *rows, const Column *column, ColumnWriter *writer)
{
    ColumnKind kind = (ColumnKind)column->kind;
    int32_t *ends = writer->ends + writer->written + 1;
    unsigned char *valid_bits = writer->valid_bits;
    uint32_t written = writer->written;
    char *values = writer->values, *to = writer->to;
    for (uint32_t row = 0; row < rows->count; row++) {
        Span text = cell_string(document, kind, (const char *)row_at(rows, row) + column->offset);
        if (text.at != NULL) {
            to = write_string(to, text);
            if (valid_bits != NULL) {
                set_bit(valid_bits, written + row);
            }
        }
        ends[row] = (int32_t)(to - values);
    }
    writer->to = to;
}

/* Writes doubles, int32 or bools; null is written as zero. */
static void
write_fixed_size(const Rows *rows, const Column *column, ColumnWriter *writer)
{
    unsigned char *valid_bits = writer->valid_bits;
    uint32_t written = writer->written;
    char *values = writer->values;
    for (uint32_t row = 0; row < rows->count; row++) {
        const void *cell = (const char *)row_at(rows, row) + column->offset;
        uint32_t index = written + row;
        bool valid;
        if (column->kind == COLUMN_DOUBLE) {
            valid = ((const Double *)cell)->valid;
            ((double *)values)[index] = valid ? ((const Double *)cell)->value : 0.0;
        } else if (column->kind == COLUMN_INT32) {
            valid = ((const Int32 *)cell)->valid;
            ((int32_t *)values)[index] = valid ? ((const Int32 *)cell)->value : 0;
        } else {
            valid = ((const Bool *)cell)->valid;
            if (valid && ((const Bool *)cell)->value) {
                set_bit((unsigned char *)values, index);
            }
        }
        if (valid && valid_bits != NULL) {
            set_bit(valid_bits, index);
        }
    }
}

static void
write_document(const Document *document, Span owner, int table, const Layout *layout, ColumnWriter *writers)
{
    const Rows *rows = &document->tables[table];
    for (int index = 0; index < layout->count; index++) {
        const Column *column = &layout->columns[index];
        ColumnWriter *writer = &writers[index];
        if (writer->valid == 0) {
            continue; /* all null: it has no buffers */
        }
        if (is_fixed_size((ColumnKind)column->kind)) {
            write_fixed_size(rows, column, writer);
        } else if (column->kind == COLUMN_OWNER) {
            write_owners(rows, owner, writer);
        } else if (column->kind == COLUMN_PATH) {
            write_paths(document, writer);
        } else {
            write_strings(document, rows, column, writer);
        }
        writer->written += rows->count;
    }
}

/* Adds up what `finish` measured per document. Arrow's string offsets are signed 32-bit integers. */
static bool
measure_batch(const Batch *batch, int table, int index, const Layout *layout, ColumnWriter *writer)
{
    bool is_owner = layout->columns[index].kind == COLUMN_OWNER;
    uint64_t rows = 0;
    for (Py_ssize_t each = 0; each < batch->count; each++) {
        const Rows *found = &batch->documents[each]->tables[table];
        rows += found->count;
        writer->valid += found->valid[index];
        writer->bytes += is_owner ? (uint64_t)batch->owners[each].size * found->count : found->bytes[index];
        if (rows > INT32_MAX || writer->bytes > INT32_MAX) {
            PyErr_Format(PyExc_OverflowError, "a column of table %s would exceed 2 GiB", TABLES[table].name);
            return false;
        }
    }
    writer->rows = (uint32_t)rows;
    return true;
}

/* Allocates the buffers of a column: none if all rows are null, and a validity bitmap only if some are. */
static bool
allocate_buffers(ColumnKind kind, ColumnWriter *writer)
{
    Py_ssize_t rows = (Py_ssize_t)writer->rows, bitmap_size = (rows + 7) / 8, size = bitmap_size;
    if (writer->valid == 0) {
        return true;
    }
    if (writer->valid < writer->rows) {
        writer->validity = PyBytes_FromStringAndSize(NULL, bitmap_size);
        if (writer->validity == NULL) {
            return false;
        }
        writer->valid_bits = (unsigned char *)PyBytes_AsString(writer->validity);
        memset(writer->valid_bits, 0, (size_t)bitmap_size);
    }
    if (!is_fixed_size(kind)) {
        writer->offsets = PyBytes_FromStringAndSize(NULL, (rows + 1) * (Py_ssize_t)sizeof(int32_t));
        if (writer->offsets == NULL) {
            return false;
        }
        writer->ends = (int32_t *)PyBytes_AsString(writer->offsets);
        writer->ends[0] = 0;
        size = (Py_ssize_t)writer->bytes;
    } else if (kind == COLUMN_DOUBLE) {
        size = rows * (Py_ssize_t)sizeof(double);
    } else if (kind == COLUMN_INT32) {
        size = rows * (Py_ssize_t)sizeof(int32_t);
    }
    writer->data = PyBytes_FromStringAndSize(NULL, size);
    if (writer->data == NULL) {
        return false;
    }
    writer->values = writer->to = PyBytes_AsString(writer->data);
    if (kind == COLUMN_BOOL) {
        memset(writer->values, 0, (size_t)size);
    }
    return true;
}

static PyObject *
or_none(PyObject *buffer)
{
    return buffer == NULL ? Py_None : buffer;
}

/* The columns of a table, each as (nulls, validity, offsets, data). */
static PyObject *
list_columns(const ColumnWriter *writers, int count)
{
    PyObject *columns = PyList_New(0);
    for (int index = 0; columns != NULL && index < count; index++) {
        const ColumnWriter *writer = &writers[index];
        PyObject *column = Py_BuildValue("IOOO", (unsigned int)(writer->rows - writer->valid),
                                         or_none(writer->validity), or_none(writer->offsets),
                                         or_none(writer->data));
        if (column == NULL || PyList_Append(columns, column) < 0) {
            Py_CLEAR(columns);
        }
        Py_XDECREF(column);
    }
    return columns;
}

static PyObject *
merge_table(const Batch *batch, int table, const Layout *layout)
{
    ColumnWriter writers[MAX_COLUMNS] = {{0}};
    PyObject *columns = NULL;
    bool allocated = true;
    for (int index = 0; allocated && index < layout->count; index++) {
        allocated = measure_batch(batch, table, index, layout, &writers[index]) &&
                    allocate_buffers((ColumnKind)layout->columns[index].kind, &writers[index]);
    }
    if (allocated) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t each = 0; each < batch->count; each++) {
            write_document(batch->documents[each], batch->owners[each], table, layout, writers);
        }
        Py_END_ALLOW_THREADS
        columns = list_columns(writers, layout->count);
    }
    unsigned int rows = writers[0].rows;
    for (int index = 0; index < layout->count; index++) {
        Py_XDECREF(writers[index].validity);
        Py_XDECREF(writers[index].offsets);
        Py_XDECREF(writers[index].data);
    }
    return columns == NULL ? NULL : Py_BuildValue("IN", rows, columns);
}

/* Fills a batch with pointers that are valid as long as the two tuples are. */
static bool
fill_batch(Batch *batch, const Shredder *shredder, PyObject *owners, PyObject *capsules)
{
    if (PyTuple_Size(owners) != batch->count) {
        PyErr_SetString(PyExc_ValueError, "expected one owner per document");
        return false;
    }
    for (Py_ssize_t each = 0; each < batch->count; each++) {
        Py_ssize_t size;
        batch->owners[each].at = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(owners, each), &size);
        if (batch->owners[each].at == NULL) {
            return false;
        }
        if (size > INT32_MAX) {
            PyErr_SetString(PyExc_OverflowError, "an owner would exceed 2 GiB");
            return false;
        }
        batch->owners[each].size = (uint32_t)size;
        batch->documents[each] = PyCapsule_GetPointer(PyTuple_GetItem(capsules, each), CAPSULE);
        if (batch->documents[each] == NULL) {
            return false;
        }
        if (batch->documents[each]->shredder != shredder) {
            PyErr_SetString(PyExc_ValueError, "the document was parsed by another Shredder");
            return false;
        }
    }
    return true;
}

static PyObject *
merge_tables(const Batch *batch, const Shredder *shredder)
{
    PyObject *tables = PyDict_New();
    for (int table = 0; tables != NULL && table < TABLE_COUNT; table++) {
        PyObject *found = merge_table(batch, table, &shredder->layouts[table]);
        if (found == NULL || PyDict_SetItemString(tables, TABLES[table].name, found) < 0) {
            Py_CLEAR(tables);
        }
        Py_XDECREF(found);
    }
    return tables;
}

PyDoc_STRVAR(merge_doc,
             "merge($self, owners, documents, /)\n--\n\n"
             "Join documents into tables, by name: (rows, columns in the declared order), each column as\n"
             "(nulls, validity, offsets, data) in the layout of Arrow. `owners` are the reports' uuids.");

static PyObject *
merge(PyObject *self, PyObject *args)
{
    PyObject *owner_sequence, *document_sequence, *tables = NULL;
    if (!PyArg_ParseTuple(args, "OO", &owner_sequence, &document_sequence)) {
        return NULL;
    }
    PyObject *owners = PySequence_Tuple(owner_sequence);
    PyObject *capsules = owners == NULL ? NULL : PySequence_Tuple(document_sequence);
    if (capsules != NULL) {
        Batch batch = {.count = PyTuple_Size(capsules)};
        batch.documents = calloc((size_t)batch.count + 1, sizeof(batch.documents[0]));
        batch.owners = calloc((size_t)batch.count + 1, sizeof(batch.owners[0]));
        if (batch.documents == NULL || batch.owners == NULL) {
            PyErr_NoMemory();
        } else if (fill_batch(&batch, (Shredder *)self, owners, capsules)) {
            tables = merge_tables(&batch, (Shredder *)self);
        }
        free(batch.documents);
        free(batch.owners);
    }
    Py_XDECREF(owners);
    Py_XDECREF(capsules);
    return tables;
}

/* ── the type and the module ─────────────────────────────────────────────────────────────────────── */

PyDoc_STRVAR(shredder_doc,
             "Shredder(tables)\n--\n\n"
             "Shreds the steps of WSJF documents. `tables`: per table name, a sequence of columns as\n"
             "(name, source, kind, type). Raises ValueError if they do not fit the fields of a step.");

static PyObject *
shredder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"tables", NULL};
    PyObject *tables;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O", names, &tables)) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Shredder *shredder = (Shredder *)allocate(type, 0);
    if (shredder == NULL) {
        return NULL;
    }
    for (int table = 0; table < TABLE_COUNT; table++) {
        PyObject *columns = PyMapping_GetItemString(tables, TABLES[table].name);
        bool matched = columns != NULL && match_columns(&TABLES[table], columns, &shredder->layouts[table]);
        Py_XDECREF(columns);
        if (!matched) {
            Py_DECREF((PyObject *)shredder);
            return NULL;
        }
    }
    return (PyObject *)shredder;
}

static void
shredder_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF((PyObject *)type);
}

static PyMethodDef METHODS[] = {
    {"parse", parse, METH_VARARGS, parse_doc},
    {"merge", merge, METH_VARARGS, merge_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot SHREDDER_SLOTS[] = {
    {Py_tp_doc, (void *)shredder_doc},
    {Py_tp_new, (void *)shredder_new},
    {Py_tp_dealloc, (void *)shredder_dealloc},
    {Py_tp_methods, METHODS},
    {0, NULL},
};

static PyType_Spec SHREDDER = {
    .name = "wats_extract.shred.wsjf._steps.Shredder",
    .basicsize = sizeof(Shredder),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = SHREDDER_SLOTS,
};

static int
add_shredder(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&SHREDDER);
    if (type == NULL) {
        return -1;
    }
    int added = PyModule_AddObjectRef(module, "Shredder", type);
    Py_DECREF(type);
    return added;
}

static PyModuleDef_Slot MODULE_SLOTS[] = {
    {Py_mod_exec, (void *)add_shredder},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED}, /* documents and shredders are immutable, and there is no global state */
#endif
    {0, NULL},
};

static struct PyModuleDef MODULE = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "wats_extract.shred.wsjf._steps",
    .m_doc = "The steps of WSJF documents, shredded natively.",
    .m_slots = MODULE_SLOTS,
};

PyMODINIT_FUNC
PyInit__steps(void)
{
    return PyModuleDef_Init(&MODULE);
}
