/* json.h: reads members of a flat JSON object, in place and without memory of its own. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

/* A place in JSON text. */
typedef struct json {
    const char *at, *end;
    bool bad;
} json;

/* A member of an object: its name, and its value as it is written. */
typedef struct json_member {
    const char *name, *value;
    size_t name_len, value_len; /* of a string: without its quotes, escapes as they are */
    char kind;                  /* s string, n number, l literal, o object, a array */
} json_member;

static void json_space(json *j) {
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r')) j->at++;
}

/* Takes the character c, if it is next. */
static bool json_take(json *j, char c) {
    json_space(j);
    if (j->at == j->end || *j->at != c) return false;
    j->at++;
    return true;
}

/* Reads a string; text is what stands between the quotes. */
static bool json_string(json *j, const char **text, size_t *len) {
    if (!json_take(j, '"')) return false;
    *text = j->at;
    for (; j->at < j->end && *j->at != '"'; j->at++) {
        if ((unsigned char)*j->at < 0x20) return false;
        if (*j->at == '\\' && ++j->at == j->end) return false;
    }
    *len = (size_t)(j->at - *text);
    return j->at < j->end && *j->at++ == '"';
}

static bool json_digits(json *j) {
    const char *from = j->at;
    while (j->at < j->end && *j->at >= '0' && *j->at <= '9') j->at++;
    return j->at > from;
}

static bool json_number(json *j) {
    if (*j->at == '-') j->at++;
    const bool zero = j->at < j->end && *j->at == '0';
    const char *first = j->at;
    if (!json_digits(j) || (zero && j->at - first > 1)) return false;
    if (j->at < j->end && *j->at == '.' && (j->at++, !json_digits(j))) return false;
    if (j->at < j->end && (*j->at == 'e' || *j->at == 'E')) {
        j->at++;
        if (j->at < j->end && (*j->at == '+' || *j->at == '-')) j->at++;
        return json_digits(j);
    }
    return true;
}

static bool json_word(json *j, const char *word) {
    for (; *word; word++, j->at++) {
        if (j->at == j->end || *j->at != *word) return false;
    }
    return true;
}

enum { json_deepest = 64 };

static bool json_value(json *j, json_member *m, int depth);

/* Passes over the members of an object, or the elements of an array, behind the opening bracket. */
static bool json_inside(json *j, char close, int depth) {
    if (json_take(j, close)) return true;
    if (depth == json_deepest) return false;
    do {
        json_member m;
        if (close == '}' && (!json_string(j, &m.name, &m.name_len) || !json_take(j, ':'))) return false;
        if (!json_value(j, &m, depth + 1)) return false;
    } while (json_take(j, ','));
    return json_take(j, close);
}

static bool json_value(json *j, json_member *m, int depth) {
    json_space(j);
    if (j->at == j->end) return false;
    m->value = j->at;
    bool good;
    switch (*j->at) {
    case '"': m->kind = 's'; return json_string(j, &m->value, &m->value_len);
    case '{': m->kind = 'o'; j->at++; good = json_inside(j, '}', depth); break;
    case '[': m->kind = 'a'; j->at++; good = json_inside(j, ']', depth); break;
    case 't': m->kind = 'l'; good = json_word(j, "true"); break;
    case 'f': m->kind = 'l'; good = json_word(j, "false"); break;
    case 'n': m->kind = 'l'; good = json_word(j, "null"); break;
    default: m->kind = 'n'; good = json_number(j);
    }
    m->value_len = (size_t)(j->at - m->value);
    return good;
}

/* Reads the next member of the object in j, which begins with its first; false at the end, and where the text is no JSON
 * object: j->bad says which. */
static bool json_next(json *j, json_member *m, bool *begun) {
    if (!*begun) {
        *begun = true;
        if (!json_take(j, '{')) return !(j->bad = true);
        if (json_take(j, '}')) goto end;
    } else if (!json_take(j, ',')) {
        if (json_take(j, '}')) goto end;
        return !(j->bad = true);
    }
    if (json_string(j, &m->name, &m->name_len) && json_take(j, ':') && json_value(j, m, 0)) return true;
    return !(j->bad = true);
end:
    json_space(j);
    j->bad = j->at != j->end;
    return false;
}

#endif
