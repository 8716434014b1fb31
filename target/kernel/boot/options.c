/* Knows how the command line falls into words. */

#include "boot/options.h"

#include "boot/boot_info.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"

/* Copies the next word to `word`, cut to OPTION_MAX. Returns what follows it, or NULL when there is no word left. */
static const char *next_word(const char *line, char *word)
{
    while (*line == ' ')
        line++;
    if (!*line)
        return NULL;
    size_t length = 0;
    for (; *line && *line != ' '; line++)
        if (length < OPTION_MAX - 1)
            word[length++] = *line;
    word[length] = '\0';
    return line;
}

/* What follows `key=` in the word, or NULL. */
static const char *value_in(const char *word, const char *key)
{
    return starts_with(word, key) && word[strlen(key)] == '=' ? word + strlen(key) + 1 : NULL;
}

bool option_at(const char *key, unsigned index, char value[OPTION_MAX])
{
    char word[OPTION_MAX];
    for (const char *line = boot_info.command_line; (line = next_word(line, word));) {
        const char *found = value_in(word, key);
        if (found && index-- == 0) {
            memcpy(value, found, strlen(found) + 1);
            return true;
        }
    }
    return false;
}

bool option(const char *key, char value[OPTION_MAX])
{
    unsigned count = 0;
    while (option_at(key, count, value))
        count++;
    return count > 0;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

uint64_t read_number(const char **text)
{
    const char *start = *text;
    int base = starts_with(start, "0x") ? 16 : 10;
    const char *at = base == 16 ? start + 2 : start;
    uint64_t value = 0;
    const char *first = at;
    for (; digit(*at) < base; at++)
        value = value * (uint64_t)base + (uint64_t)digit(*at);
    if (at == first)
        panic("\"%s\" is not a number", start);
    *text = at;
    return value;
}

uint64_t option_number(const char *key, uint64_t otherwise)
{
    char value[OPTION_MAX];
    if (!option(key, value))
        return otherwise;
    const char *at = value;
    uint64_t number = read_number(&at);
    if (*at)
        panic("\"%s\" is not a number", value);
    return number;
}

static bool is_known(const char *word, const char *const *keys)
{
    for (; *keys; keys++)
        if (value_in(word, *keys))
            return true;
    return false;
}

static bool contains(const char *word, char c)
{
    while (*word && *word != c)
        word++;
    return *word;
}

/* Multiboot 1 loaders put the kernel's file name in front. */
static bool is_file_name(const char *first_word)
{
    return strcmp(boot_info.protocol, "multiboot1") == 0 && !contains(first_word, '=');
}

void options_complain(const char *const *keys)
{
    char word[OPTION_MAX];
    bool first = true;
    for (const char *line = boot_info.command_line; (line = next_word(line, word)); first = false)
        if (!is_known(word, keys) && !(first && is_file_name(word)))
            print("command line: \"%s\" means nothing here, ignored\n", word);
}
