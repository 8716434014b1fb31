/* Knows how text is made from values. */

#include "lib/format.h"

#include <stdbool.h>
#include <stdint.h>

#include "lib/string.h"

struct output { void (*put)(void *context, char c); void *context; };

struct conversion { bool left, zero, wide; size_t width, precision; char letter; };

enum { NO_PRECISION = SIZE_MAX, MOST_DIGITS = 20 };

static void put_repeated(struct output *out, char c, size_t count)
{
    while (count--)
        out->put(out->context, c);
}

/* `sign` comes before padding zeros and after padding spaces. */
static void put_padded(struct output *out, const struct conversion *how, const char *sign, const char *body, size_t length)
{
    size_t whole = strlen(sign) + length;
    size_t padding = how->width > whole ? how->width - whole : 0;
    if (!how->left && !how->zero)
        put_repeated(out, ' ', padding);
    for (; *sign; sign++)
        out->put(out->context, *sign);
    if (!how->left && how->zero)
        put_repeated(out, '0', padding);
    while (length--)
        out->put(out->context, *body++);
    if (how->left)
        put_repeated(out, ' ', padding);
}

static void put_number(struct output *out, const struct conversion *how, const char *sign, uint64_t value, unsigned base)
{
    char digits[MOST_DIGITS];
    size_t first = sizeof(digits);
    do {
        digits[--first] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    put_padded(out, how, sign, digits + first, sizeof(digits) - first);
}

static void put_signed(struct output *out, const struct conversion *how, int64_t value)
{
    put_number(out, how, value < 0 ? "-" : "", value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10);
}

static void put_string(struct output *out, const struct conversion *how, const char *s)
{
    size_t length = 0;
    while (length < how->precision && s[length])
        length++;
    put_padded(out, how, "", s, length);
}

static size_t read_number(const char **pattern)
{
    size_t value = 0;
    while (**pattern >= '0' && **pattern <= '9')
        value = value * 10 + (size_t)(*(*pattern)++ - '0');
    return value;
}

/* `*pattern` stands after the `%`, and after the letter when this returns. */
static struct conversion read_conversion(const char **pattern)
{
    struct conversion how = { .precision = NO_PRECISION };
    for (; **pattern == '-' || **pattern == '0'; (*pattern)++) {
        how.left |= **pattern == '-';
        how.zero |= **pattern == '0';
    }
    how.width = read_number(pattern);
    if (**pattern == '.') {
        (*pattern)++;
        how.precision = read_number(pattern);
    }
    for (; **pattern == 'l' || **pattern == 'z'; (*pattern)++)
        how.wide = true;
    how.letter = **pattern;
    if (how.letter)
        (*pattern)++;
    return how;
}

void format(void (*put)(void *context, char c), void *context, const char *pattern, va_list arguments)
{
    struct output out = { put, context };
    while (*pattern) {
        char c = *pattern++;
        if (c != '%') {
            put(context, c);
            continue;
        }
        struct conversion how = read_conversion(&pattern);
        switch (how.letter) {
        case 'c': put(context, (char)va_arg(arguments, int)); break;
        case 's': put_string(&out, &how, va_arg(arguments, const char *)); break;
        case 'd': put_signed(&out, &how, how.wide ? va_arg(arguments, int64_t) : va_arg(arguments, int)); break;
        case 'u': put_number(&out, &how, "", how.wide ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned), 10); break;
        case 'x': put_number(&out, &how, "", how.wide ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned), 16); break;
        case 'p': put_number(&out, &how, "0x", (uint64_t)va_arg(arguments, void *), 16); break;
        case '%': put(context, '%'); break;
        default: return;        /* a pattern that the compiler's own check would have refused */
        }
    }
}

struct text { char *buffer; size_t size, length; };

static void put_in_text(void *context, char c)
{
    struct text *text = context;
    if (text->length < text->size)
        text->buffer[text->length] = c;
    text->length++;
}

size_t format_text_list(char *buffer, size_t size, const char *pattern, va_list arguments)
{
    struct text text = { buffer, size, 0 };
    format(put_in_text, &text, pattern, arguments);
    if (size)
        buffer[text.length < size ? text.length : size - 1] = '\0';
    return text.length;
}

size_t format_text(char *buffer, size_t size, const char *pattern, ...)
{
    va_list arguments;
    va_start(arguments, pattern);
    size_t length = format_text_list(buffer, size, pattern, arguments);
    va_end(arguments);
    return length;
}
