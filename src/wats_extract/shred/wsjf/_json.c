#include "_json.h"

#include <float.h>
#include <stdlib.h>

/* ── strings ─────────────────────────────────────────────────────────────────────────────────────── */

const bool JSON_PLAIN[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};

/* Returns the size of the multi-byte UTF-8 sequence at `text`, or 0 if it is malformed (Unicode, table 3-7). */
static int
utf8_sequence_size(const char *text, const char *end)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xBF; /* bounds of the second byte */
    int size;
    if (at[0] >= 0xC2 && at[0] <= 0xDF) {
        size = 2;
    } else if (at[0] >= 0xE0 && at[0] <= 0xEF) {
        size = 3;
        if (at[0] == 0xE0) {
            low = 0xA0; /* no overlong encodings */
        } else if (at[0] == 0xED) {
            high = 0x9F; /* no surrogates */
        }
    } else if (at[0] >= 0xF0 && at[0] <= 0xF4) {
        size = 4;
        if (at[0] == 0xF0) {
            low = 0x90;
        } else if (at[0] == 0xF4) {
            high = 0x8F; /* nothing above U+10FFFF */
        }
    } else {
        return 0;
    }
    if (end - text < size || at[1] < low || at[1] > high) {
        return 0;
    }
    for (int index = 2; index < size; index++) {
        if (at[index] < 0x80 || at[index] > 0xBF) {
            return 0;
        }
    }
    return size;
}

/* Advances to the next quote or backslash within a string. */
static bool
scan_plain(JsonReader *reader)
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
        int size = found < 0x80 ? 1 : utf8_sequence_size(at, end);
        if (size == 0) {
            return false;
        }
        at += size;
    }
    return false;
}

static bool
read_four_hex_digits(JsonReader *reader, uint32_t *code)
{
    if (reader->end - reader->at < 4) {
        return false;
    }
    *code = 0;
    for (int index = 0; index < 4; index++) {
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

static char *
write_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xC0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *to++ = (char)(0xE0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    } else {
        *to++ = (char)(0xF0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3F));
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    }
    return to;
}

/* Reads an escape, starting behind its backslash, and writes its character to `*to`.

   A character is never longer than its escape: \uXXXX has 6 bytes and becomes at most 3, a surrogate pair
   has 12 and becomes 4, the other escapes have 2 and become 1. */
static bool
read_escape(JsonReader *reader, char **to)
{
    if (reader->at == reader->end) {
        return false;
    }
    char kind = *reader->at++;
    if (kind != 'u') {
        static const char ESCAPES[] = "\"\\/bfnrt", CHARACTERS[] = "\"\\/\b\f\n\r\t";
        const char *found = kind ? strchr(ESCAPES, kind) : NULL;
        if (found == NULL) {
            return false;
        }
        *(*to)++ = CHARACTERS[found - ESCAPES];
        return true;
    }
    uint32_t code, low;
    if (!read_four_hex_digits(reader, &code)) {
        return false;
    }
    if (code >= 0xD800 && code <= 0xDFFF) {
        if (code > 0xDBFF || !json_accept_literal(reader, LITERAL("\\u")) ||
            !read_four_hex_digits(reader, &low) || low < 0xDC00 || low > 0xDFFF) {
            return false; /* a lone surrogate */
        }
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    *to = write_utf8(*to, code);
    return true;
}

/* Reads the rest of a string that contains escapes, from the first backslash. */
static bool
read_escaped_string(JsonReader *reader, const char *begin, JsonString *string)
{
    if (reader->unescaped == NULL) {
        /* Enough for this string and all that follow, since none of them grows. */
        reader->unescaped = reader->next_unescaped = malloc((size_t)(reader->end - begin));
        if (reader->unescaped == NULL) {
            return false;
        }
    }
    char *from = reader->next_unescaped, *to = from;
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
        if (!scan_plain(reader)) {
            return false;
        }
    }
    *string = (JsonString){(uint32_t)(from - reader->unescaped) | JSON_UNESCAPED, (uint32_t)(to - from)};
    reader->next_unescaped = to;
    return true;
}

bool
json_read_rest_of_string(JsonReader *reader, const char *begin, JsonString *string)
{
    if (!scan_plain(reader)) {
        return false;
    }
    if (*reader->at == '\\') {
        return read_escaped_string(reader, begin, string);
    }
    *string = (JsonString){(uint32_t)(begin - reader->text), (uint32_t)(reader->at - begin)};
    reader->at++;
    return true;
}

/* ── numbers and booleans ────────────────────────────────────────────────────────────────────────── */

static bool
at_digit(const JsonReader *reader)
{
    return reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9';
}

static bool
at_either(const JsonReader *reader, char one, char other)
{
    return reader->at < reader->end && (*reader->at == one || *reader->at == other);
}

/* Reads a run of digits and returns how many characters it has. */
static ptrdiff_t
read_digits(JsonReader *reader, JsonDecimal *decimal)
{
    const char *first = reader->at;
    for (; at_digit(reader); reader->at++) {
        if (decimal->digit_count || *reader->at != '0') {
            decimal->digit_count++;
            decimal->digits = decimal->digits * 10 + (uint64_t)(*reader->at - '0'); /* wraps behind the 19th */
        }
    }
    return reader->at - first;
}

static bool
read_exponent(JsonReader *reader, JsonDecimal *decimal)
{
    bool negative = false;
    if (at_either(reader, '+', '-')) {
        negative = *reader->at++ == '-';
    }
    int exponent = 0;
    const char *first = reader->at;
    for (; at_digit(reader); reader->at++) {
        exponent = exponent * 10 + (*reader->at - '0');
        if (exponent > 400) {
            return false;
        }
    }
    if (reader->at == first) {
        return false;
    }
    decimal->exponent += negative ? -exponent : exponent;
    return true;
}

bool
json_read_decimal(JsonReader *reader, JsonDecimal *decimal)
{
    json_peek(reader);
    *decimal = (JsonDecimal){.text = reader->at, .is_integer = true};
    if (at_either(reader, '-', '-')) {
        decimal->negative = true;
        reader->at++;
    }
    const char *first = reader->at;
    ptrdiff_t size = read_digits(reader, decimal);
    if (size == 0 || (*first == '0' && size > 1)) {
        return false;
    }
    if (at_either(reader, '.', '.')) {
        decimal->is_integer = false;
        reader->at++;
        size = read_digits(reader, decimal);
        if (size == 0 || size > 100) {
            return false; /* the limit keeps the exponent from overflowing */
        }
        decimal->exponent = -(int)size;
    }
    if (at_either(reader, 'e', 'E')) {
        decimal->is_integer = false;
        reader->at++;
        return read_exponent(reader, decimal);
    }
    return true;
}

bool
json_read_int32(JsonReader *reader, int32_t *value)
{
    JsonDecimal decimal;
    if (!json_read_decimal(reader, &decimal) || !decimal.is_integer || decimal.digit_count > 10) {
        return false;
    }
    int64_t found = decimal.negative ? -(int64_t)decimal.digits : (int64_t)decimal.digits;
    if (found < INT32_MIN || found > INT32_MAX) {
        return false;
    }
    *value = (int32_t)found;
    return true;
}

bool
json_read_bool(JsonReader *reader, bool *value)
{
    *value = json_peek(reader) == 't';
    return *value ? json_accept_literal(reader, LITERAL("true"))
                  : json_accept_literal(reader, LITERAL("false"));
}

/* Clinger's fast path: digits and power of ten are both exact doubles, so that a single operation rounds
   once. It must not run at a higher precision (FLT_EVAL_METHOD), which would round twice. */
bool
json_exact_double(const JsonDecimal *decimal, double *value)
{
    static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (decimal->digit_count == 0) {
        *value = decimal->negative && !decimal->is_integer ? -0.0 : 0.0; /* the integer -0 is 0 in Python */
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

/* ── skipping ────────────────────────────────────────────────────────────────────────────────────── */

bool
json_skip_string(JsonReader *reader)
{
    const char *begin = ++reader->at;
    for (;;) {
        const char *quote = memchr(reader->at, '"', (size_t)(reader->end - reader->at));
        if (quote == NULL) {
            return false;
        }
        const char *backslashes = quote;
        while (backslashes > begin && backslashes[-1] == '\\') {
            backslashes--;
        }
        reader->at = quote + 1;
        if ((quote - backslashes) % 2 == 0) {
            return true;
        }
        begin = reader->at;
    }
}

bool
json_skip_value(JsonReader *reader)
{
    int depth = reader->depth;
    do {
        switch (json_peek(reader)) {
        case '\0':
            return false;
        case '"':
            if (!json_skip_string(reader)) {
                return false;
            }
            break;
        case '{':
        case '[':
            if (++depth > JSON_MAX_DEPTH) {
                return false;
            }
            reader->at++;
            break;
        case '}':
        case ']':
            if (--depth < reader->depth) {
                return false;
            }
            reader->at++;
            break;
        case ',':
        case ':':
            if (depth == reader->depth) {
                return false;
            }
            reader->at++;
            break;
        default:
            while (reader->at < reader->end && strchr(" \n\r\t,:{}[]\"", *reader->at) == NULL) {
                reader->at++;
            }
        }
    } while (depth > reader->depth);
    return true;
}
