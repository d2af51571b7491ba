/* The steps of a WSJF document: from JSON text to the columns of four tables.

   This is the quick road of wsjf.py for the part of a document where the time goes. It reads what servers
   export and nothing else: whatever is unusual makes `parse` answer None, and the document goes the way
   through Python, which reads it or says what is wrong with it. So there are no errors to report here, and
   each rule below may be stricter than it has to be, but never laxer. No memory is "unusual", too.

   `parse` works on one document and `merge` on a few, both without the interpreter's lock. A document is
   kept as rows; its texts stay where they are in the document's bytes, which are kept alive. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* JSON within JSON; the reader calls itself, and this bounds the stack that it takes. */
#define MOST_LEVELS 200

/* columns.LARGEST_LIMIT: a limit beyond it says that there is none. */
#define LARGEST_LIMIT 1.79e308

/* ── rows ────────────────────────────────────────────────────────────────────────────────────────── */

/* Cells; all bits zero is null. */

typedef struct {
    uint32_t at; /* the place in the document, or, with the bit UNESCAPED, in what is unescaped of it */
    uint32_t size;
} Text;

#define UNESCAPED ((uint32_t)1 << 31)

typedef struct {
    double value;
    bool there;
} Number;

typedef struct {
    int32_t value;
    bool there;
} Whole;

typedef struct {
    bool value, there;
} Truth;

typedef enum { NO_LOOP, LOOP_HEADER, LOOP_ITERATION } LoopRole;

/* What most steps have comes first: that much of a row has to come into the processor's cache. */
typedef struct {
    Whole index, parent, depth;
    uint32_t path_size; /* the path itself is written when tables are */
    uint8_t loop_role;
    Truth caused_uut_failure, caused_sequence_failure;
    Text name, group, type, status;
    Number total_time;
    Whole id;
    Text start, error_message, report_text;
    Text sequence_path, sequence_name, sequence_version, response;
    Number exit_code;
    Whole error_code, loop_index, loop_count, loop_ending_index, loop_passed, loop_failed, button;
} Step;

typedef struct {
    Whole step, index;
} Place; /* every measurement begins with it */

typedef struct {
    Place place;
    Text name, unit, comp_op, status;
    Number value, low_limit, high_limit;
} NumericMeasurement;

typedef struct {
    Place place;
    Text name, value, comp_op, limit, status;
} StringMeasurement;

typedef struct {
    Place place;
    Text name, status;
} BooleanMeasurement;

enum { STEPS, NUMERIC, STRING, BOOLEAN, TABLES };

#define MOST_COLUMNS 32

typedef struct {
    char *rows;
    size_t row_size;
    uint32_t count, room;
    bool unordered;               /* measurements were not written in the order of the steps */
    uint32_t filled[MOST_COLUMNS]; /* of each column: the rows that are not null */
    uint64_t bytes[MOST_COLUMNS]; /* of each column of texts: their size together */
} Rows;

/* What few steps have stays JSON; Python reads it. */
typedef struct {
    const char *name, *at;
    uint32_t size, step;
} Part;

/* A number that only the slow way reads to the last bit. */
typedef struct {
    const char *at;
    uint32_t size, row;
    uint16_t offset;
    uint8_t table;
    bool is_limit;
} SlowNumber;

typedef struct {
    PyObject *raw;    /* kept alive */
    const char *text; /* its bytes */
    char *unescaped;  /* its texts with escapes, without them */
    Rows tables[TABLES];
    Part *parts;
    uint32_t part_count, part_room;
    SlowNumber *slow;
    uint32_t slow_count, slow_room;
    const char *root, *root_end; /* where the steps are; NULL if the document has none */
} Document;

/* ── fields ──────────────────────────────────────────────────────────────────────────────────────── */

typedef enum { TEXT, NUMBER, LIMIT, WHOLE, TRUTH, BLOCK, LIST, PART, ONLY_NULL } FieldKind;

typedef struct Shape Shape;

typedef struct {
    const char *name;
    uint8_t size;
    uint8_t kind;
    uint16_t offset;    /* where the row has its cell */
    uint8_t table;      /* LIST: where its items go */
    const Shape *inner; /* BLOCK, LIST: what is in it */
} Field;

struct Shape {
    int count; /* at most 32: what was seen is kept in 32 bits */
    const Field *fields;
};

#define NAMED(name) name, sizeof(name) - 1
#define SHAPE(fields) {(int)(sizeof(fields) / sizeof((fields)[0])), fields}

/* In the order in which servers write them: the next field is looked for behind the last one. */

static const Field LOOP_FIELDS[] = {
    {NAMED("idx"), WHOLE, offsetof(Step, loop_index), 0, NULL},
    {NAMED("num"), WHOLE, offsetof(Step, loop_count), 0, NULL},
    {NAMED("endingIndex"), WHOLE, offsetof(Step, loop_ending_index), 0, NULL},
    {NAMED("passed"), WHOLE, offsetof(Step, loop_passed), 0, NULL},
    {NAMED("failed"), WHOLE, offsetof(Step, loop_failed), 0, NULL},
};
static const Field SEQUENCE_CALL_FIELDS[] = {
    {NAMED("path"), TEXT, offsetof(Step, sequence_path), 0, NULL},
    {NAMED("name"), TEXT, offsetof(Step, sequence_name), 0, NULL},
    {NAMED("version"), TEXT, offsetof(Step, sequence_version), 0, NULL},
};
static const Field CALL_EXE_FIELDS[] = {
    {NAMED("exitCode"), NUMBER, offsetof(Step, exit_code), 0, NULL},
    {NAMED("exitCodeFormat"), ONLY_NULL, 0, 0, NULL},
};
static const Field MESSAGE_POPUP_FIELDS[] = {
    {NAMED("response"), TEXT, offsetof(Step, response), 0, NULL},
    {NAMED("button"), WHOLE, offsetof(Step, button), 0, NULL},
    {NAMED("buttonFormat"), ONLY_NULL, 0, 0, NULL},
};
static const Field NUMERIC_FIELDS[] = {
    {NAMED("compOp"), TEXT, offsetof(NumericMeasurement, comp_op), 0, NULL},
    {NAMED("name"), TEXT, offsetof(NumericMeasurement, name), 0, NULL},
    {NAMED("status"), TEXT, offsetof(NumericMeasurement, status), 0, NULL},
    {NAMED("unit"), TEXT, offsetof(NumericMeasurement, unit), 0, NULL},
    {NAMED("value"), NUMBER, offsetof(NumericMeasurement, value), 0, NULL},
    {NAMED("highLimit"), LIMIT, offsetof(NumericMeasurement, high_limit), 0, NULL},
    {NAMED("lowLimit"), LIMIT, offsetof(NumericMeasurement, low_limit), 0, NULL},
};
static const Field STRING_FIELDS[] = {
    {NAMED("compOp"), TEXT, offsetof(StringMeasurement, comp_op), 0, NULL},
    {NAMED("name"), TEXT, offsetof(StringMeasurement, name), 0, NULL},
    {NAMED("status"), TEXT, offsetof(StringMeasurement, status), 0, NULL},
    {NAMED("value"), TEXT, offsetof(StringMeasurement, value), 0, NULL},
    {NAMED("limit"), TEXT, offsetof(StringMeasurement, limit), 0, NULL},
};
static const Field BOOLEAN_FIELDS[] = {
    {NAMED("name"), TEXT, offsetof(BooleanMeasurement, name), 0, NULL},
    {NAMED("status"), TEXT, offsetof(BooleanMeasurement, status), 0, NULL},
};

static const Shape LOOP = SHAPE(LOOP_FIELDS), SEQUENCE_CALL = SHAPE(SEQUENCE_CALL_FIELDS),
                   CALL_EXE = SHAPE(CALL_EXE_FIELDS), MESSAGE_POPUP = SHAPE(MESSAGE_POPUP_FIELDS),
                   NUMERIC_MEASUREMENT = SHAPE(NUMERIC_FIELDS), STRING_MEASUREMENT = SHAPE(STRING_FIELDS),
                   BOOLEAN_MEASUREMENT = SHAPE(BOOLEAN_FIELDS);

static const Shape STEP;

static const Field STEP_FIELDS[] = {
    {NAMED("id"), WHOLE, offsetof(Step, id), 0, NULL},
    {NAMED("group"), TEXT, offsetof(Step, group), 0, NULL},
    {NAMED("stepType"), TEXT, offsetof(Step, type), 0, NULL},
    {NAMED("name"), TEXT, offsetof(Step, name), 0, NULL},
    {NAMED("start"), TEXT, offsetof(Step, start), 0, NULL},
    {NAMED("status"), TEXT, offsetof(Step, status), 0, NULL},
    {NAMED("errorCode"), WHOLE, offsetof(Step, error_code), 0, NULL},
    {NAMED("errorMessage"), TEXT, offsetof(Step, error_message), 0, NULL},
    {NAMED("tsGuid"), PART, 0, 0, NULL},
    {NAMED("totTime"), NUMBER, offsetof(Step, total_time), 0, NULL},
    {NAMED("causedSeqFailure"), TRUTH, offsetof(Step, caused_sequence_failure), 0, NULL},
    {NAMED("causedUUTFailure"), TRUTH, offsetof(Step, caused_uut_failure), 0, NULL},
    {NAMED("reportText"), TEXT, offsetof(Step, report_text), 0, NULL},
    {NAMED("loop"), BLOCK, 0, 0, &LOOP},
    {NAMED("steps"), LIST, 0, STEPS, &STEP},
    {NAMED("numericMeas"), LIST, 0, NUMERIC, &NUMERIC_MEASUREMENT},
    {NAMED("stringMeas"), LIST, 0, STRING, &STRING_MEASUREMENT},
    {NAMED("booleanMeas"), LIST, 0, BOOLEAN, &BOOLEAN_MEASUREMENT},
    {NAMED("additionalResults"), PART, 0, 0, NULL},
    {NAMED("seqCall"), BLOCK, 0, 0, &SEQUENCE_CALL},
    {NAMED("callExe"), BLOCK, 0, 0, &CALL_EXE},
    {NAMED("messagePopup"), BLOCK, 0, 0, &MESSAGE_POPUP},
    {NAMED("chart"), PART, 0, 0, NULL},
    {NAMED("attachment"), PART, 0, 0, NULL},
};

static const Shape STEP = SHAPE(STEP_FIELDS);

/* ── columns ─────────────────────────────────────────────────────────────────────────────────────── */

typedef enum { OWNERS, PATHS, TEXTS, WORDS, ROLES, NUMBERS, WHOLES, TRUTHS } ColumnKind;

typedef struct {
    uint8_t kind;
    uint16_t offset;
} Column;

typedef struct {
    int count;
    size_t row_size;
    const Column *columns;
} Layout;

/* In the order of wsjf_tables; `merge` gives them in it. */

static const Column STEP_COLUMNS[] = {
    {OWNERS, 0},
    {WHOLES, offsetof(Step, index)},
    {WHOLES, offsetof(Step, id)},
    {WHOLES, offsetof(Step, parent)},
    {WHOLES, offsetof(Step, depth)},
    {PATHS, offsetof(Step, path_size)},
    {TEXTS, offsetof(Step, name)},
    {TEXTS, offsetof(Step, group)},
    {TEXTS, offsetof(Step, type)},
    {WORDS, offsetof(Step, status)},
    {TEXTS, offsetof(Step, start)},
    {NUMBERS, offsetof(Step, total_time)},
    {WHOLES, offsetof(Step, error_code)},
    {TEXTS, offsetof(Step, error_message)},
    {TEXTS, offsetof(Step, report_text)},
    {TRUTHS, offsetof(Step, caused_uut_failure)},
    {TRUTHS, offsetof(Step, caused_sequence_failure)},
    {ROLES, offsetof(Step, loop_role)},
    {WHOLES, offsetof(Step, loop_index)},
    {WHOLES, offsetof(Step, loop_count)},
    {WHOLES, offsetof(Step, loop_passed)},
    {WHOLES, offsetof(Step, loop_failed)},
    {TEXTS, offsetof(Step, sequence_path)},
    {TEXTS, offsetof(Step, sequence_name)},
    {TEXTS, offsetof(Step, sequence_version)},
    {NUMBERS, offsetof(Step, exit_code)},
    {WHOLES, offsetof(Step, button)},
    {TEXTS, offsetof(Step, response)},
};
static const Column NUMERIC_COLUMNS[] = {
    {OWNERS, 0},
    {WHOLES, offsetof(NumericMeasurement, place.step)},
    {WHOLES, offsetof(NumericMeasurement, place.index)},
    {TEXTS, offsetof(NumericMeasurement, name)},
    {NUMBERS, offsetof(NumericMeasurement, value)},
    {TEXTS, offsetof(NumericMeasurement, unit)},
    {TEXTS, offsetof(NumericMeasurement, comp_op)},
    {NUMBERS, offsetof(NumericMeasurement, low_limit)},
    {NUMBERS, offsetof(NumericMeasurement, high_limit)},
    {WORDS, offsetof(NumericMeasurement, status)},
};
static const Column STRING_COLUMNS[] = {
    {OWNERS, 0},
    {WHOLES, offsetof(StringMeasurement, place.step)},
    {WHOLES, offsetof(StringMeasurement, place.index)},
    {TEXTS, offsetof(StringMeasurement, name)},
    {TEXTS, offsetof(StringMeasurement, value)},
    {TEXTS, offsetof(StringMeasurement, comp_op)},
    {TEXTS, offsetof(StringMeasurement, limit)},
    {WORDS, offsetof(StringMeasurement, status)},
};
static const Column BOOLEAN_COLUMNS[] = {
    {OWNERS, 0},
    {WHOLES, offsetof(BooleanMeasurement, place.step)},
    {WHOLES, offsetof(BooleanMeasurement, place.index)},
    {TEXTS, offsetof(BooleanMeasurement, name)},
    {WORDS, offsetof(BooleanMeasurement, status)},
};

#define LAYOUT(row, columns) {(int)(sizeof(columns) / sizeof((columns)[0])), sizeof(row), columns}

_Static_assert(sizeof(STEP_COLUMNS) / sizeof(STEP_COLUMNS[0]) <= MOST_COLUMNS, "raise MOST_COLUMNS");

static const Layout LAYOUTS[TABLES] = {
    LAYOUT(Step, STEP_COLUMNS),
    LAYOUT(NumericMeasurement, NUMERIC_COLUMNS),
    LAYOUT(StringMeasurement, STRING_COLUMNS),
    LAYOUT(BooleanMeasurement, BOOLEAN_COLUMNS),
};

/* ── reading JSON ────────────────────────────────────────────────────────────────────────────────── */

/* Every function that reads says whether it could, and leaves the reader behind what it read. */

typedef struct {
    const char *at, *end;
    Document *document;
    char *unescaped; /* where the next text without its escapes goes */
    int levels;
} Reader;

/* A growing array: room for one more item, or NULL. */
static void *
one_more(void **items, uint32_t *count, uint32_t *room, size_t item_size)
{
    if (*count == *room) {
        if (*room > INT32_MAX / 2) {
            return NULL;
        }
        uint32_t more = *room ? *room * 2 : 32;
        if (more > SIZE_MAX / item_size) {
            return NULL;
        }
        void *grown = realloc(*items, more * item_size);
        if (grown == NULL) {
            return NULL;
        }
        *items = grown;
        *room = more;
    }
    char *item = (char *)*items + (size_t)(*count)++ * item_size;
    return memset(item, 0, item_size);
}

/* A new row, all null; it moves when the next one is added. */
static void *
new_row(Reader *reader, int table)
{
    Rows *rows = &reader->document->tables[table];
    void *all = rows->rows;
    void *row = one_more(&all, &rows->count, &rows->room, rows->row_size);
    rows->rows = all;
    return row;
}

static void *
row_of(const Rows *rows, uint32_t row)
{
    return rows->rows + (size_t)row * rows->row_size;
}

/* The next character that is no blank, which stays; or NUL at the end (no rule accepts a NUL). */
static char
next(Reader *reader)
{
    while (reader->at < reader->end) {
        char found = *reader->at;
        if (found != ' ' && found != '\n' && found != '\r' && found != '\t') {
            return found;
        }
        reader->at++;
    }
    return '\0';
}

static bool
take(Reader *reader, char wanted)
{
    if (next(reader) != wanted) {
        return false;
    }
    reader->at++;
    return true;
}

static bool
take_word(Reader *reader, const char *word, size_t size)
{
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, word, size) != 0) {
        return false;
    }
    reader->at += size;
    return true;
}

/* The size of the UTF-8 character of several bytes that begins here, or 0 if there is none (Unicode 3.9). */
static int
character_size(const char *text, const char *end)
{
    const unsigned char *at = (const unsigned char *)text;
    ptrdiff_t left = end - text;
    unsigned char low = 0x80, high = 0xBF; /* what the second byte may be */
    int size;
    if (at[0] >= 0xC2 && at[0] <= 0xDF) {
        size = 2;
    } else if (at[0] >= 0xE0 && at[0] <= 0xEF) {
        size = 3;
        if (at[0] == 0xE0) {
            low = 0xA0; /* shorter ways to write the same are not allowed */
        } else if (at[0] == 0xED) {
            high = 0x9F; /* surrogates are no characters */
        }
    } else if (at[0] >= 0xF0 && at[0] <= 0xF4) {
        size = 4;
        if (at[0] == 0xF0) {
            low = 0x90;
        } else if (at[0] == 0xF4) {
            high = 0x8F; /* the last one is U+10FFFF */
        }
    } else {
        return 0;
    }
    if (left < size || at[1] < low || at[1] > high) {
        return 0;
    }
    for (int place = 2; place < size; place++) {
        if (at[place] < 0x80 || at[place] > 0xBF) {
            return 0;
        }
    }
    return size;
}

/* Go on to the next quote or backslash within a text. */
static bool
to_sign(Reader *reader)
{
    const char *at = reader->at, *end = reader->end;
    while (at < end) {
        unsigned char found = (unsigned char)*at;
        if (found == '"' || found == '\\') {
            reader->at = at;
            return true;
        }
        if (found < 0x20) {
            return false;
        }
        int size = found < 0x80 ? 1 : character_size(at, end);
        if (size == 0) {
            return false;
        }
        at += size;
    }
    return false;
}

static bool
read_four_digits(Reader *reader, uint32_t *code)
{
    if (reader->end - reader->at < 4) {
        return false;
    }
    *code = 0;
    for (int place = 0; place < 4; place++) {
        char digit = *reader->at++;
        uint32_t value;
        if (digit >= '0' && digit <= '9') {
            value = (uint32_t)(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            value = (uint32_t)(digit - 'a') + 10;
        } else if (digit >= 'A' && digit <= 'F') {
            value = (uint32_t)(digit - 'A') + 10;
        } else {
            return false;
        }
        *code = *code << 4 | value;
    }
    return true;
}

/* One escape, of which the backslash has been read; its character is written to `to`.

   What is written never is longer than what is read: \uXXXX has 6 bytes and becomes at most 3, a pair of
   them has 12 and becomes 4, the others have 2 and become 1. */
static bool
read_escape(Reader *reader, char **to)
{
    if (reader->at == reader->end) {
        return false;
    }
    char kind = *reader->at++;
    if (kind != 'u') {
        static const char KINDS[] = "\"\\/bfnrt", MEANT[] = "\"\\/\b\f\n\r\t";
        const char *found = kind ? strchr(KINDS, kind) : NULL;
        if (found == NULL) {
            return false;
        }
        *(*to)++ = MEANT[found - KINDS];
        return true;
    }
    uint32_t code, second;
    if (!read_four_digits(reader, &code)) {
        return false;
    }
    if (code >= 0xD800 && code <= 0xDFFF) {
        if (code > 0xDBFF || !take_word(reader, "\\u", 2) || !read_four_digits(reader, &second) ||
            second < 0xDC00 || second > 0xDFFF) {
            return false; /* half a pair */
        }
        code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
    }
    if (code < 0x80) {
        *(*to)++ = (char)code;
    } else if (code < 0x800) {
        *(*to)++ = (char)(0xC0 | code >> 6);
        *(*to)++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *(*to)++ = (char)(0xE0 | code >> 12);
        *(*to)++ = (char)(0x80 | (code >> 6 & 0x3F));
        *(*to)++ = (char)(0x80 | (code & 0x3F));
    } else {
        *(*to)++ = (char)(0xF0 | code >> 18);
        *(*to)++ = (char)(0x80 | (code >> 12 & 0x3F));
        *(*to)++ = (char)(0x80 | (code >> 6 & 0x3F));
        *(*to)++ = (char)(0x80 | (code & 0x3F));
    }
    return true;
}

/* The rest of a text with escapes, without them. */
static bool
read_escaped(Reader *reader, const char *begin, Text *text)
{
    Document *document = reader->document;
    if (document->unescaped == NULL) {
        /* Room for this text and all that follow, for none of them grows. */
        document->unescaped = malloc((size_t)(reader->end - begin));
        reader->unescaped = document->unescaped;
        if (document->unescaped == NULL) {
            return false;
        }
    }
    char *from = reader->unescaped, *to = from;
    for (;;) {
        size_t plain = (size_t)(reader->at - begin);
        memcpy(to, begin, plain);
        to += plain;
        if (*reader->at++ == '"') {
            break;
        }
        if (!read_escape(reader, &to)) {
            return false;
        }
        begin = reader->at;
        if (!to_sign(reader)) {
            return false;
        }
    }
    *text = (Text){(uint32_t)(from - document->unescaped) | UNESCAPED, (uint32_t)(to - from)};
    reader->unescaped = to;
    return true;
}

static bool
read_text(Reader *reader, Text *text)
{
    if (!take(reader, '"')) {
        return false;
    }
    const char *begin = reader->at;
    if (!to_sign(reader)) {
        return false;
    }
    if (*reader->at == '\\') {
        return read_escaped(reader, begin, text);
    }
    *text = (Text){(uint32_t)(begin - reader->document->text), (uint32_t)(reader->at - begin)};
    reader->at++;
    return true;
}

static bool
is_digit(const Reader *reader)
{
    return reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9';
}

typedef struct {
    const char *at;
    bool negative, is_whole;
    uint64_t digits; /* as far as there are at most 19 of them */
    int digit_count, exponent;
} Decimal;

/* A number as JSON writes it. */
static bool
read_decimal(Reader *reader, Decimal *found)
{
    next(reader);
    *found = (Decimal){.at = reader->at, .is_whole = true};
    if (reader->at < reader->end && *reader->at == '-') {
        found->negative = true;
        reader->at++;
    }
    if (!is_digit(reader)) {
        return false;
    }
    const char *first = reader->at;
    for (; is_digit(reader); reader->at++) {
        if (found->digit_count || *reader->at != '0') {
            found->digit_count++;
            found->digits = found->digits * 10 + (uint64_t)(*reader->at - '0'); /* may wrap: see digit_count */
        }
    }
    if (*first == '0' && reader->at - first > 1) {
        return false;
    }
    if (reader->at < reader->end && *reader->at == '.') {
        found->is_whole = false;
        first = ++reader->at;
        for (; is_digit(reader); reader->at++) {
            if (found->digit_count || *reader->at != '0') {
                found->digit_count++;
                found->digits = found->digits * 10 + (uint64_t)(*reader->at - '0');
            }
        }
        if (reader->at == first) {
            return false;
        }
        if (reader->at - first > 100) {
            return false; /* so that the exponent cannot overflow, either */
        }
        found->exponent = -(int)(reader->at - first);
    }
    if (reader->at < reader->end && (*reader->at == 'e' || *reader->at == 'E')) {
        found->is_whole = false;
        reader->at++;
        bool negative = false;
        if (reader->at < reader->end && (*reader->at == '+' || *reader->at == '-')) {
            negative = *reader->at++ == '-';
        }
        int power = 0;
        first = reader->at;
        for (; is_digit(reader); reader->at++) {
            power = power * 10 + (*reader->at - '0');
            if (power > 400) {
                return false;
            }
        }
        if (reader->at == first) {
            return false;
        }
        found->exponent += negative ? -power : power;
    }
    return true;
}

static bool
read_whole(Reader *reader, Whole *whole)
{
    Decimal found;
    if (!read_decimal(reader, &found) || !found.is_whole || found.digit_count > 10) {
        return false;
    }
    int64_t value = found.negative ? -(int64_t)found.digits : (int64_t)found.digits;
    if (value < INT32_MIN || value > INT32_MAX) {
        return false;
    }
    whole->value = (int32_t)value;
    whole->there = true;
    return true;
}

/* The number that digits and exponent are, if this way is exact to the last bit.

   Both the digits and the power of ten are doubles without error, and one operation rounds once; it must
   not be done with more precision than doubles have, though, for that would round twice. */
static bool
exactly(const Decimal *decimal, double *value)
{
    static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (decimal->digit_count == 0) {
        *value = decimal->negative && !decimal->is_whole ? -0.0 : 0.0; /* the whole number -0 is 0 */
        return true;
    }
    if (FLT_EVAL_METHOD != 0 || decimal->digit_count > 19 || decimal->digits > (uint64_t)1 << 53 ||
        decimal->exponent < -22 || decimal->exponent > 22) {
        return false;
    }
    double found = (double)decimal->digits;
    found = decimal->exponent < 0 ? found / POWERS[-decimal->exponent] : found * POWERS[decimal->exponent];
    *value = decimal->negative ? -found : found;
    return true;
}

static bool
is_no_limit(double value)
{
    return isfinite(value) && fabs(value) > LARGEST_LIMIT;
}

/* Words for numbers in quotes, as clients write them; in other spellings they are Python's to read. */
static bool
read_quoted_number(Reader *reader, double *value)
{
    if (take_word(reader, NAMED("\"NaN\""))) {
        *value = Py_NAN;
    } else if (take_word(reader, NAMED("\"Infinity\""))) {
        *value = Py_HUGE_VAL;
    } else if (take_word(reader, NAMED("\"-Infinity\""))) {
        *value = -Py_HUGE_VAL;
    } else {
        return false;
    }
    return true;
}

static bool
read_number(Reader *reader, int table, uint32_t row, const Field *field)
{
    Document *document = reader->document;
    Number *number = (Number *)((char *)row_of(&document->tables[table], row) + field->offset);
    number->there = true;
    if (next(reader) == '"') {
        return read_quoted_number(reader, &number->value);
    }
    Decimal found;
    if (!read_decimal(reader, &found)) {
        return false;
    }
    if (exactly(&found, &number->value)) {
        return true;
    }
    void *all = document->slow;
    SlowNumber *slow = one_more(&all, &document->slow_count, &document->slow_room, sizeof(SlowNumber));
    document->slow = all;
    if (slow == NULL) {
        return false;
    }
    *slow = (SlowNumber){.at = found.at,
                         .size = (uint32_t)(reader->at - found.at),
                         .row = row,
                         .offset = field->offset,
                         .table = (uint8_t)table,
                         .is_limit = field->kind == LIMIT};
    return true;
}

static bool
read_truth(Reader *reader, Truth *truth)
{
    truth->there = true;
    truth->value = next(reader) == 't';
    return truth->value ? take_word(reader, NAMED("true")) : take_word(reader, NAMED("false"));
}

/* Go behind the text that begins here, whatever is in it. */
static bool
skip_text(Reader *reader)
{
    const char *begin = ++reader->at;
    for (;;) {
        const char *quote = memchr(reader->at, '"', (size_t)(reader->end - reader->at));
        if (quote == NULL) {
            return false;
        }
        const char *escapes = quote;
        while (escapes > begin && escapes[-1] == '\\') {
            escapes--;
        }
        reader->at = quote + 1;
        if ((quote - escapes) % 2 == 0) {
            return true;
        }
        begin = reader->at;
    }
}

/* Go behind a value. Whoever takes it reads it with the rigour that is missing here: of JSON that is valid
   this finds the end, and of other it finds something that is not valid, either. */
static bool
skip_value(Reader *reader)
{
    int levels = reader->levels;
    do {
        switch (next(reader)) {
        case '\0':
            return false;
        case '"':
            if (!skip_text(reader)) {
                return false;
            }
            break;
        case '{':
        case '[':
            if (++levels > MOST_LEVELS) {
                return false;
            }
            reader->at++;
            break;
        case '}':
        case ']':
            if (--levels < reader->levels) {
                return false;
            }
            reader->at++;
            break;
        case ',':
        case ':':
            if (levels == reader->levels) {
                return false;
            }
            reader->at++;
            break;
        default:
            while (reader->at < reader->end && strchr(" \n\r\t,:{}[]\"", *reader->at) == NULL) {
                reader->at++;
            }
        }
    } while (levels > reader->levels);
    return true;
}

static bool
read_part(Reader *reader, const Field *field, uint32_t step)
{
    next(reader);
    const char *begin = reader->at;
    if (!skip_value(reader)) {
        return false;
    }
    Document *document = reader->document;
    void *all = document->parts;
    Part *part = one_more(&all, &document->part_count, &document->part_room, sizeof(Part));
    document->parts = all;
    if (part == NULL) {
        return false;
    }
    *part = (Part){field->name, begin, (uint32_t)(reader->at - begin), step};
    return true;
}

/* ── reading steps ───────────────────────────────────────────────────────────────────────────────── */

static bool
read_object(Reader *reader, const Shape *shape, int table, uint32_t row);

static bool
read_step(Reader *reader, const Step *parent)
{
    Whole above = {0}, depth = {0, true};
    if (parent != NULL) {
        above = parent->index;
        depth.value = parent->depth.value + 1;
    }
    Step *step = new_row(reader, STEPS); /* from here on `parent` may have moved */
    if (step == NULL) {
        return false;
    }
    uint32_t row = reader->document->tables[STEPS].count - 1;
    step->index = (Whole){(int32_t)row, true};
    step->parent = above;
    step->depth = depth;
    return read_object(reader, &STEP, STEPS, row);
}

static bool
read_measurement(Reader *reader, const Field *field, uint32_t step, int32_t index)
{
    Rows *rows = &reader->document->tables[field->table];
    Place *place = new_row(reader, field->table);
    if (place == NULL) {
        return false;
    }
    uint32_t row = rows->count - 1;
    *place = (Place){{(int32_t)step, true}, {index, true}};
    if (row > 0 && ((Place *)row_of(rows, row - 1))->step.value > (int32_t)step) {
        rows->unordered = true;
    }
    return read_object(reader, field->inner, field->table, row);
}

static bool
read_list(Reader *reader, const Field *field, uint32_t step)
{
    if (!take(reader, '[') || ++reader->levels > MOST_LEVELS) {
        return false;
    }
    reader->levels--; /* for each of the ways out */
    if (take(reader, ']')) {
        return true;
    }
    reader->levels++;
    for (int32_t index = 0;; index++) {
        bool read = field->table == STEPS
                        ? read_step(reader, row_of(&reader->document->tables[STEPS], step))
                        : read_measurement(reader, field, step, index);
        if (!read) {
            return false;
        }
        if (take(reader, ']')) {
            reader->levels--;
            return true;
        }
        if (!take(reader, ',')) {
            return false;
        }
    }
}

static bool
read_block(Reader *reader, const Field *field, uint32_t row)
{
    if (!read_object(reader, field->inner, STEPS, row)) {
        return false;
    }
    if (field->inner == &LOOP) {
        Step *step = row_of(&reader->document->tables[STEPS], row);
        step->loop_role = step->loop_index.there ? LOOP_ITERATION : LOOP_HEADER;
        Whole count = step->loop_count, ending = step->loop_ending_index;
        return !ending.there || (count.there && count.value == ending.value);
    }
    return true;
}

static bool
read_value(Reader *reader, const Field *field, int table, uint32_t row)
{
    if (next(reader) == 'n') {
        return take_word(reader, NAMED("null"));
    }
    char *cell = (char *)row_of(&reader->document->tables[table], row) + field->offset;
    switch ((FieldKind)field->kind) {
    case TEXT:
        return read_text(reader, (Text *)cell);
    case NUMBER:
        return read_number(reader, table, row, field);
    case LIMIT:
        if (!read_number(reader, table, row, field)) {
            return false;
        }
        if (is_no_limit(((Number *)cell)->value)) {
            ((Number *)cell)->there = false;
        }
        return true;
    case WHOLE:
        return read_whole(reader, (Whole *)cell);
    case TRUTH:
        return read_truth(reader, (Truth *)cell);
    case BLOCK:
        return read_block(reader, field, row);
    case LIST:
        return read_list(reader, field, row);
    case PART:
        return read_part(reader, field, row);
    case ONLY_NULL:
        return false;
    }
    return false;
}

/* memcmp() == 0, without a call: names are short, and there are thousands of them in a document. */
static inline bool
same(const char *one, const char *other, size_t size)
{
    if (size >= 8 && size <= 16) {
        uint64_t first[2], last[2];
        memcpy(&first[0], one, 8);
        memcpy(&first[1], other, 8);
        memcpy(&last[0], one + size - 8, 8);
        memcpy(&last[1], other + size - 8, 8);
        return first[0] == first[1] && last[0] == last[1];
    }
    for (size_t place = 0; place < size; place++) {
        if (one[place] != other[place]) {
            return false;
        }
    }
    return true;
}

/* Which field the name is that begins here; looked for behind the last one, and around. */
static int
read_name(Reader *reader, const Shape *shape, int last)
{
    if (!take(reader, '"')) {
        return -1;
    }
    size_t left = (size_t)(reader->end - reader->at);
    int place = last;
    for (int tried = 0; tried < shape->count; tried++) {
        place = place + 1 < shape->count ? place + 1 : 0;
        const Field *field = &shape->fields[place];
        if (field->size < left && reader->at[field->size] == '"' &&
            same(reader->at, field->name, field->size)) {
            reader->at += field->size + 1;
            return place;
        }
    }
    return -1;
}

/* An object whose fields go to one row; each of them may stand in it once. */
static bool
read_object(Reader *reader, const Shape *shape, int table, uint32_t row)
{
    if (!take(reader, '{')) {
        return false;
    }
    if (take(reader, '}')) {
        return true;
    }
    if (++reader->levels > MOST_LEVELS) {
        return false;
    }
    uint32_t seen = 0;
    int place = -1;
    do {
        place = read_name(reader, shape, place);
        if (place < 0 || seen >> place & 1) {
            return false;
        }
        seen |= (uint32_t)1 << place;
        if (!take(reader, ':') || !read_value(reader, &shape->fields[place], table, row)) {
            return false;
        }
    } while (take(reader, ','));
    reader->levels--;
    return take(reader, '}');
}

static bool
read_root(Reader *reader)
{
    Document *document = reader->document;
    if (document->root != NULL) {
        return false; /* a second one */
    }
    bool is_null = next(reader) == 'n';
    document->root = reader->at;
    if (!(is_null ? take_word(reader, NAMED("null")) : read_step(reader, NULL))) {
        return false;
    }
    document->root_end = reader->at;
    return true;
}

/* The document, of which only the root is read; the rest is Python's, and is only skipped. */
static bool
read_document(Reader *reader)
{
    if (!take(reader, '{')) {
        return false;
    }
    reader->levels = 1;
    do {
        if (next(reader) != '"') {
            return false;
        }
        const char *name = reader->at;
        if (!skip_text(reader)) {
            return false;
        }
        size_t size = (size_t)(reader->at - name);
        if (memchr(name, '\\', size) != NULL) {
            return false; /* it may mean the root, too */
        }
        bool is_root = size == sizeof("\"root\"") - 1 && memcmp(name, "\"root\"", size) == 0;
        if (!take(reader, ':') || !(is_root ? read_root(reader) : skip_value(reader))) {
            return false;
        }
    } while (take(reader, ','));
    return take(reader, '}');
}

/* ── finishing a document ────────────────────────────────────────────────────────────────────────── */

static int
compare_places(const void *one, const void *other)
{
    const Place *a = one, *b = other;
    if (a->step.value != b->step.value) {
        return a->step.value < b->step.value ? -1 : 1;
    }
    return (a->index.value > b->index.value) - (a->index.value < b->index.value);
}

/* A text as it is written to a column; `at` is NULL for null. */
typedef struct {
    const char *at;
    uint32_t size;
} Span;

static Span
span_of(const Document *document, Text text)
{
    if (text.at == 0) { /* no text is at the very beginning of a document */
        return (Span){NULL, 0};
    }
    if (text.at & UNESCAPED) {
        return (Span){document->unescaped + (text.at & ~UNESCAPED), text.size};
    }
    return (Span){document->text + text.at, text.size};
}

/* columns.RESULTS: codes become words, others stay. */
static Span
word_of(Span code)
{
    if (code.size != 1) {
        return code;
    }
    switch (code.at[0]) {
    case 'P':
        return (Span){NAMED("Passed")};
    case 'F':
        return (Span){NAMED("Failed")};
    case 'E':
        return (Span){NAMED("Error")};
    case 'T':
        return (Span){NAMED("Terminated")};
    case 'D':
        return (Span){NAMED("Done")};
    case 'S':
        return (Span){NAMED("Skipped")};
    case 'U':
        return (Span){NAMED("Unknown")};
    default:
        return code;
    }
}

static Span
role_name(uint8_t role)
{
    switch ((LoopRole)role) {
    case LOOP_HEADER:
        return (Span){NAMED("header")};
    case LOOP_ITERATION:
        return (Span){NAMED("iteration")};
    default:
        return (Span){NAMED("none")};
    }
}

/* What a column of kind TEXTS, WORDS or ROLES has for a cell. */
static inline Span
read_cell(const Document *document, ColumnKind kind, const void *cell)
{
    if (kind == ROLES) {
        return role_name(*(const uint8_t *)cell);
    }
    Span found = span_of(document, *(const Text *)cell);
    return kind == WORDS ? word_of(found) : found;
}

/* How long the path of each step is: the one above it, a slash, the name with its slashes doubled. */
static bool
measure_paths(const Document *document)
{
    const Rows *rows = &document->tables[STEPS];
    for (uint32_t row = 0; row < rows->count; row++) {
        Step *step = row_of(rows, row);
        Span name = span_of(document, step->name);
        uint64_t size = name.size;
        for (uint32_t place = 0; place < name.size; place++) {
            size += name.at[place] == '/';
        }
        if (step->parent.there) {
            size += 1 + (uint64_t)((Step *)row_of(rows, (uint32_t)step->parent.value))->path_size;
        }
        if (size > INT32_MAX) {
            return false;
        }
        step->path_size = (uint32_t)size;
    }
    return true;
}

static void
measure_column(const Document *document, int table, const Column *column, uint32_t *filled, uint64_t *bytes)
{
    const Rows *rows = &document->tables[table];
    const char *cell = rows->rows + column->offset, *end = cell + rows->count * rows->row_size;
    ColumnKind kind = (ColumnKind)column->kind;
    uint32_t there = 0;
    uint64_t size = 0;
    switch (kind) {
    case OWNERS:
        there = rows->count;
        break;
    case PATHS:
        there = rows->count;
        for (; cell < end; cell += rows->row_size) {
            size += *(const uint32_t *)cell;
        }
        break;
    case TEXTS:
        for (; cell < end; cell += rows->row_size) {
            there += ((const Text *)cell)->at != 0;
            size += ((const Text *)cell)->size;
        }
        break;
    case WORDS:
    case ROLES:
        for (; cell < end; cell += rows->row_size) {
            Span text = read_cell(document, kind, cell);
            there += text.at != NULL;
            size += text.size;
        }
        break;
    case NUMBERS:
        for (; cell < end; cell += rows->row_size) {
            there += ((const Number *)cell)->there;
        }
        break;
    case WHOLES:
        for (; cell < end; cell += rows->row_size) {
            there += ((const Whole *)cell)->there;
        }
        break;
    case TRUTHS:
        for (; cell < end; cell += rows->row_size) {
            there += ((const Truth *)cell)->there;
        }
        break;
    }
    *filled = there;
    *bytes = size;
}

/* Put the rows in order, and measure what their columns will take. */
static bool
finish(Document *document)
{
    if (!measure_paths(document)) {
        return false;
    }
    for (int table = 0; table < TABLES; table++) {
        Rows *rows = &document->tables[table];
        const Layout *layout = &LAYOUTS[table];
        if (rows->unordered) {
            qsort(rows->rows, rows->count, rows->row_size, compare_places);
        }
        if (rows->count == 0) {
            continue;
        }
        for (int place = 0; place < layout->count; place++) {
            measure_column(document, table, &layout->columns[place], &rows->filled[place], &rows->bytes[place]);
        }
    }
    return true;
}

/* Numbers that are not exact the quick way, as Python reads them. */
static bool
read_slow_numbers(Document *document)
{
    for (uint32_t place = 0; place < document->slow_count; place++) {
        const SlowNumber *slow = &document->slow[place];
        char text[400]; /* with its NUL, which texts in the document do not have */
        if (slow->size >= sizeof(text)) {
            return false;
        }
        memcpy(text, slow->at, slow->size);
        text[slow->size] = '\0';
        char *end;
        double value = PyOS_string_to_double(text, &end, NULL);
        if (PyErr_Occurred()) {
            PyErr_Clear();
            return false;
        }
        if (end != text + slow->size || !isfinite(value)) {
            return false;
        }
        Number *number = (Number *)((char *)row_of(&document->tables[slow->table], slow->row) + slow->offset);
        number->value = value;
        number->there = !(slow->is_limit && is_no_limit(value));
    }
    return true;
}

/* ── for Python: parse ───────────────────────────────────────────────────────────────────────────── */

#define CAPSULE "wats_extract.shred.wsjf._steps.Document"

static void
free_document(Document *document)
{
    if (document == NULL) {
        return;
    }
    for (int table = 0; table < TABLES; table++) {
        free(document->tables[table].rows);
    }
    free(document->parts);
    free(document->slow);
    free(document->unescaped);
    Py_XDECREF(document->raw);
    free(document);
}

static void
free_capsule(PyObject *capsule)
{
    free_document(PyCapsule_GetPointer(capsule, CAPSULE));
}

static PyObject *
list_parts(const Document *document)
{
    PyObject *parts = PyList_New(0);
    for (uint32_t place = 0; parts != NULL && place < document->part_count; place++) {
        const Part *part = &document->parts[place];
        PyObject *item =
            Py_BuildValue("Isy#", (unsigned int)part->step, part->name, part->at, (Py_ssize_t)part->size);
        if (item == NULL || PyList_Append(parts, item) < 0) {
            Py_CLEAR(parts);
        }
        Py_XDECREF(item);
    }
    return parts;
}

PyDoc_STRVAR(parse_doc, "parse(raw)\n--\n\nThe steps of a document, or None where Python has to read them.");

static PyObject *
parse(PyObject *module, PyObject *raw)
{
    (void)module;
    char *text;
    Py_ssize_t size;
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
    document->raw = Py_NewRef(raw);
    document->text = text;
    for (int table = 0; table < TABLES; table++) {
        document->tables[table].row_size = LAYOUTS[table].row_size;
    }
    bool read;
    Py_BEGIN_ALLOW_THREADS
    Reader reader = {.at = text, .end = text + size, .document = document};
    read = read_document(&reader) && (document->slow_count > 0 || finish(document));
    Py_END_ALLOW_THREADS
    if (read && document->slow_count > 0) {
        read = read_slow_numbers(document) && finish(document);
    }
    if (!read) {
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
                         list_parts(document));
}

/* ── for Python: merge ───────────────────────────────────────────────────────────────────────────── */

typedef struct {
    const Document **documents;
    Span *owners;
    Py_ssize_t count;
} Group;

/* A column of several documents; what it does not need is NULL. */
typedef struct {
    uint32_t rows, filled;
    uint64_t bytes;
    PyObject *validity, *offsets, *data;
    unsigned char *valid_bits;
    char *values;
    int32_t *ends;    /* where texts end; the first one is where they begin */
    uint32_t written; /* rows so far, and behind the last text */
    char *to;
} Target;

static void
set_bit(unsigned char *bits, uint32_t place)
{
    bits[place / 8] |= (unsigned char)(1 << place % 8);
}

/* A text behind the others of its column; most are short, and a call costs more than they do. */
static inline char *
write_text(char *to, Span text)
{
    if (text.size >= 8 && text.size <= 16) {
        memcpy(to, text.at, 8);
        memcpy(to + text.size - 8, text.at + text.size - 8, 8);
    } else if (text.size < 8) {
        for (uint32_t place = 0; place < text.size; place++) {
            to[place] = text.at[place];
        }
    } else {
        memcpy(to, text.at, text.size);
    }
    return to + text.size;
}

/* The path of a step, behind those of the steps before it. */
static char *
write_path(const Document *document, uint32_t row, const int32_t *ends, const char *values, char *to)
{
    const Rows *rows = &document->tables[STEPS];
    const Step *step = row_of(rows, row);
    if (step->parent.there) {
        const Step *parent = row_of(rows, (uint32_t)step->parent.value);
        memcpy(to, values + ends[step->parent.value], parent->path_size);
        to += parent->path_size;
        *to++ = '/';
    }
    Span name = span_of(document, step->name);
    for (uint32_t place = 0; place < name.size; place++) {
        *to++ = name.at[place];
        if (name.at[place] == '/') {
            *to++ = '/';
        }
    }
    return to;
}

static void
write_texts(const Document *document, int table, const Column *column, Span owner, Target *target)
{
    const Rows *rows = &document->tables[table];
    ColumnKind kind = (ColumnKind)column->kind;
    const int32_t *begins = target->ends + target->written;
    int32_t *ends = target->ends + target->written + 1;
    char *to = target->to;
    for (uint32_t row = 0; row < rows->count; row++) {
        if (kind == OWNERS) {
            to = write_text(to, owner);
        } else if (kind == PATHS) {
            to = write_path(document, row, begins, target->values, to);
        } else {
            Span text = read_cell(document, kind, (const char *)row_of(rows, row) + column->offset);
            if (text.at != NULL) {
                to = write_text(to, text);
                if (target->valid_bits != NULL) {
                    set_bit(target->valid_bits, target->written + row);
                }
            }
        }
        ends[row] = (int32_t)(to - target->values);
    }
    target->to = to;
}

/* Numbers, whole numbers and truths; what is null stays zero. */
static void
write_numbers(const Rows *rows, const Column *column, Target *target)
{
    for (uint32_t row = 0; row < rows->count; row++) {
        const void *cell = (const char *)row_of(rows, row) + column->offset;
        uint32_t place = target->written + row;
        bool there;
        if (column->kind == NUMBERS) {
            there = ((const Number *)cell)->there;
            ((double *)target->values)[place] = there ? ((const Number *)cell)->value : 0.0;
        } else if (column->kind == WHOLES) {
            there = ((const Whole *)cell)->there;
            ((int32_t *)target->values)[place] = there ? ((const Whole *)cell)->value : 0;
        } else {
            there = ((const Truth *)cell)->there;
            if (there && ((const Truth *)cell)->value) {
                set_bit((unsigned char *)target->values, place);
            }
        }
        if (there && target->valid_bits != NULL) {
            set_bit(target->valid_bits, place);
        }
    }
}

/* The rows of a document behind those that the columns have. */
static void
write_document(const Document *document, Span owner, int table, Target *targets)
{
    const Rows *rows = &document->tables[table];
    for (int place = 0; place < LAYOUTS[table].count; place++) {
        const Column *column = &LAYOUTS[table].columns[place];
        Target *target = &targets[place];
        if (target->filled == 0) {
            continue; /* there is no memory for it, either */
        }
        if (column->kind == NUMBERS || column->kind == WHOLES || column->kind == TRUTHS) {
            write_numbers(rows, column, target);
        } else {
            write_texts(document, table, column, owner, target);
        }
        target->written += rows->count;
    }
}

/* What a column of the group takes, as it was measured document by document. */
static bool
measure_target(const Group *group, int table, int place, Target *target)
{
    bool is_owner = LAYOUTS[table].columns[place].kind == OWNERS;
    uint64_t rows = 0;
    *target = (Target){0};
    for (Py_ssize_t each = 0; each < group->count; each++) {
        const Rows *found = &group->documents[each]->tables[table];
        rows += found->count;
        target->filled += found->filled[place];
        target->bytes += is_owner ? (uint64_t)group->owners[each].size * found->count : found->bytes[place];
        if (rows > INT32_MAX || target->bytes > INT32_MAX) {
            PyErr_SetString(PyExc_OverflowError, "more than a column of a batch can hold");
            return false;
        }
    }
    target->rows = (uint32_t)rows;
    return true;
}

/* Memory for a column; one without values needs none, and one without nulls no validity. */
static bool
allocate_target(ColumnKind kind, Target *target)
{
    Py_ssize_t rows = (Py_ssize_t)target->rows, bits = (rows + 7) / 8, size = bits;
    if (target->filled == 0) {
        return true;
    }
    if (target->filled < target->rows) {
        target->validity = PyBytes_FromStringAndSize(NULL, bits);
        if (target->validity == NULL) {
            return false;
        }
        target->valid_bits = (unsigned char *)PyBytes_AsString(target->validity);
        memset(target->valid_bits, 0, (size_t)bits);
    }
    if (kind != NUMBERS && kind != WHOLES && kind != TRUTHS) {
        target->offsets = PyBytes_FromStringAndSize(NULL, (rows + 1) * (Py_ssize_t)sizeof(int32_t));
        if (target->offsets == NULL) {
            return false;
        }
        target->ends = (int32_t *)PyBytes_AsString(target->offsets);
        target->ends[0] = 0;
        size = (Py_ssize_t)target->bytes;
    } else if (kind == NUMBERS) {
        size = rows * (Py_ssize_t)sizeof(double);
    } else if (kind == WHOLES) {
        size = rows * (Py_ssize_t)sizeof(int32_t);
    }
    target->data = PyBytes_FromStringAndSize(NULL, size);
    if (target->data == NULL) {
        return false;
    }
    target->values = target->to = PyBytes_AsString(target->data);
    if (kind == TRUTHS) {
        memset(target->values, 0, (size_t)size);
    }
    return true;
}

static void
free_target(Target *target)
{
    Py_CLEAR(target->validity);
    Py_CLEAR(target->offsets);
    Py_CLEAR(target->data);
}

/* The columns of one table, or NULL with an exception. */
static PyObject *
merge_table(const Group *group, int table)
{
    const Layout *layout = &LAYOUTS[table];
    Target targets[MOST_COLUMNS] = {{0}};
    PyObject *columns = NULL;
    for (int place = 0; place < layout->count; place++) {
        if (!measure_target(group, table, place, &targets[place]) ||
            !allocate_target((ColumnKind)layout->columns[place].kind, &targets[place])) {
            goto done;
        }
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t each = 0; each < group->count; each++) {
        write_document(group->documents[each], group->owners[each], table, targets);
    }
    Py_END_ALLOW_THREADS
    columns = PyList_New(0);
    for (int place = 0; columns != NULL && place < layout->count; place++) {
        const Target *target = &targets[place];
        PyObject *column = Py_BuildValue("IOOO", (unsigned int)(target->rows - target->filled),
                                         target->validity == NULL ? Py_None : target->validity,
                                         target->offsets == NULL ? Py_None : target->offsets,
                                         target->data == NULL ? Py_None : target->data);
        if (column == NULL || PyList_Append(columns, column) < 0) {
            Py_CLEAR(columns);
        }
        Py_XDECREF(column);
    }
done:;
    uint32_t rows = targets[0].rows;
    for (int place = 0; place < layout->count; place++) {
        free_target(&targets[place]);
    }
    return columns == NULL ? NULL : Py_BuildValue("IN", (unsigned int)rows, columns);
}

/* The documents and their owners; both stay alive with the tuples that they are taken from. */
static bool
gather(PyObject *owners, PyObject *capsules, Group *group)
{
    if (PyTuple_Size(owners) != group->count) {
        PyErr_SetString(PyExc_ValueError, "each document has one owner");
        return false;
    }
    for (Py_ssize_t each = 0; each < group->count; each++) {
        Py_ssize_t size;
        group->owners[each].at = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(owners, each), &size);
        group->documents[each] = PyCapsule_GetPointer(PyTuple_GetItem(capsules, each), CAPSULE);
        if (group->owners[each].at == NULL || group->documents[each] == NULL) {
            return false;
        }
        if (size > INT32_MAX) {
            PyErr_SetString(PyExc_OverflowError, "more than a column of a batch can hold");
            return false;
        }
        group->owners[each].size = (uint32_t)size;
    }
    return true;
}

PyDoc_STRVAR(merge_doc, "merge(owners, documents)\n--\n\n"
                        "The four tables of a few documents: rows, and of each column the number of nulls,\n"
                        "validity, offsets and data, as Arrow lays them out.");

static PyObject *
merge(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *given_owners, *given_documents, *tables = NULL;
    if (!PyArg_ParseTuple(args, "OO", &given_owners, &given_documents)) {
        return NULL;
    }
    PyObject *owners = PySequence_Tuple(given_owners);
    PyObject *capsules = owners == NULL ? NULL : PySequence_Tuple(given_documents);
    Group group = {0};
    if (capsules == NULL) {
        goto done;
    }
    group.count = PyTuple_Size(capsules);
    group.documents = calloc((size_t)group.count + 1, sizeof(group.documents[0]));
    group.owners = calloc((size_t)group.count + 1, sizeof(group.owners[0]));
    if (group.documents == NULL || group.owners == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    if (!gather(owners, capsules, &group)) {
        goto done;
    }
    tables = PyList_New(0);
    for (int table = 0; tables != NULL && table < TABLES; table++) {
        PyObject *found = merge_table(&group, table);
        if (found == NULL || PyList_Append(tables, found) < 0) {
            Py_CLEAR(tables);
        }
        Py_XDECREF(found);
    }
done:
    free(group.documents);
    free(group.owners);
    Py_XDECREF(owners);
    Py_XDECREF(capsules);
    return tables;
}

/* ── the module ──────────────────────────────────────────────────────────────────────────────────── */

static PyMethodDef METHODS[] = {
    {"parse", parse, METH_O, parse_doc},
    {"merge", merge, METH_VARARGS, merge_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static struct PyModuleDef MODULE = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "wats_extract.shred.wsjf._steps",
    .m_doc = "The steps of WSJF documents, natively.",
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC
PyInit__steps(void)
{
    return PyModuleDef_Init(&MODULE);
}
