/* A strict JSON reader for the documents that servers export (RFC 8259, UTF-8).

   Every json_* function that reads returns whether it succeeded and leaves the reader behind the value.
   A failure needs no details: Python reads the document again and reports what is wrong. So a rule may be
   stricter than JSON, but never laxer. */

#ifndef WATS_EXTRACT_JSON_H
#define WATS_EXTRACT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(_WIN32)
#define INTERNAL __attribute__((visibility("hidden"))) /* calls between the files skip the PLT */
#else
#define INTERNAL
#endif

/* Bounds the recursion, and so the stack. */
#define JSON_MAX_DEPTH 200

/* A string literal and its length, as two arguments or two initializers. */
#define LITERAL(text) text, sizeof(text) - 1

/* A string of the document. All bits zero is null: no string starts at offset 0 of a document. */
typedef struct {
    uint32_t offset; /* into the document, or with JSON_UNESCAPED set into JsonReader.unescaped */
    uint32_t size;   /* bytes */
} JsonString;

#define JSON_UNESCAPED ((uint32_t)1 << 31)

/* A number as it is written: digits × 10^exponent. */
typedef struct {
    const char *text;
    bool negative;
    bool is_integer; /* neither fraction nor exponent */
    uint64_t digits; /* valid if digit_count is at most 19 */
    int digit_count; /* without leading zeros */
    int exponent;
} JsonDecimal;

typedef struct {
    const char *text, *at, *end;
    char *unescaped;      /* strings whose escapes were replaced; the caller frees it */
    char *next_unescaped; /* where the next one goes */
    int depth;
} JsonReader;

/* Reads the rest of a string that started at `begin`, with escapes and multi-byte characters. */
INTERNAL bool json_read_rest_of_string(JsonReader *reader, const char *begin, JsonString *string);
/* Whether a byte is ASCII that stands for itself within a string. */
extern INTERNAL const bool JSON_PLAIN[256];

INTERNAL bool json_read_decimal(JsonReader *reader, JsonDecimal *decimal);
INTERNAL bool json_read_int32(JsonReader *reader, int32_t *value);
INTERNAL bool json_read_bool(JsonReader *reader, bool *value);

/* Converts a number, if double arithmetic gives the correctly rounded result. */
INTERNAL bool json_exact_double(const JsonDecimal *decimal, double *value);

/* Skips a string, starting at its opening quote. */
INTERNAL bool json_skip_string(JsonReader *reader);

/* Skips a value without validating it: finds the end of valid JSON, and of invalid JSON some end behind
   which the text is still invalid. Python decodes every value that is skipped. */
INTERNAL bool json_skip_value(JsonReader *reader);

/* Skips whitespace and returns the next character without consuming it; NUL at the end of the document. */
static inline char
json_peek(JsonReader *reader)
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

/* Consumes the next character if it is the expected one. */
static inline bool
json_accept(JsonReader *reader, char expected)
{
    if (json_peek(reader) != expected) {
        return false;
    }
    reader->at++;
    return true;
}

/* Consumes a literal such as `null`; skips no whitespace. */
static inline bool
json_accept_literal(JsonReader *reader, const char *literal, size_t size)
{
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, literal, size) != 0) {
        return false;
    }
    reader->at += size;
    return true;
}

/* Reads a string. The common case, plain ASCII, is inline. */
static inline bool
json_read_string(JsonReader *reader, JsonString *string)
{
    if (!json_accept(reader, '"')) {
        return false;
    }
    const char *begin = reader->at, *at = begin, *end = reader->end;
    while (at < end && JSON_PLAIN[(unsigned char)*at]) {
        at++;
    }
    reader->at = at;
    if (at == end || *at != '"') {
        return json_read_rest_of_string(reader, begin, string);
    }
    *string = (JsonString){(uint32_t)(begin - reader->text), (uint32_t)(at - begin)};
    reader->at++;
    return true;
}

#endif
