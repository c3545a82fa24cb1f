/* Csv is a Shardmill function: a record is a row of comma-separated values, or several; each row becomes a JSON object, under the
 * record's key. What is no row of these columns is rejected, with the reason; a record of their names is dropped. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDMILL_IMPLEMENTATION
#include "shardmill.h"

/* The columns, in their order. A number that is left empty is null. */
typedef struct column {
    const char *name;
    enum { text, number } kind;
} column;

static const column columns[] = {{"date", text}, {"delay", number}, {"distance", number}, {"origin", text}, {"destination", text}};

enum { width = sizeof columns / sizeof *columns };

/* The object under construction; the memory is kept from call to call. */
static char *out;
static size_t used, room;

static void put(const char *bytes, size_t n) {
    if (used + n > room) {
        room = 2 * (used + n);
        out = realloc(out, room);
        if (!out) shardmill_panic(SHARDMILL_TEXT("no memory for a row"));
    }
    memcpy(out + used, bytes, n);
    used += n;
}

static void put_text(const char *s) { put(s, strlen(s)); }

/* Puts a character as the inside of a JSON string. */
static void put_escaped(char c) {
    char escape[8];
    if (c == '"' || c == '\\') put((const char[]){'\\', c}, 2);
    else if ((unsigned char)c >= 0x20) put(&c, 1);
    else put(escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c));
}

/* The rows that are still to be read. */
typedef struct rows {
    const char *at, *end;
} rows;

static bool at_end(const rows *r) { return r->at == r->end || *r->at == '\n' || (*r->at == '\r' && r->at + 1 < r->end && r->at[1] == '\n'); }

/* Puts a field of text as a JSON string; a quoted one may have commas, quotes (doubled) and line ends in it. */
static const char *text_field(rows *r) {
    put_text("\"");
    if (r->at < r->end && *r->at == '"') {
        for (r->at++;; r->at++) {
            if (r->at == r->end) return "a quoted field does not end";
            if (*r->at != '"') put_escaped(*r->at);
            else if (r->at + 1 < r->end && r->at[1] == '"') put_escaped(*r->at++);
            else break;
        }
        r->at++;
    } else {
        for (; !at_end(r) && *r->at != ','; r->at++) {
            if (*r->at == '"') return "a quote stands inside a field";
            put_escaped(*r->at);
        }
    }
    put_text("\"");
    return NULL;
}

static size_t digits(rows *r) {
    const char *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
    return (size_t)(r->at - from);
}

/* Puts a field as a JSON number. */
static const char *number_field(rows *r) {
    const char *from = r->at;
    if (at_end(r) || *r->at == ',') {
        put_text("null");
        return NULL;
    }
    if (*r->at == '-') r->at++;
    const bool zero = r->at < r->end && *r->at == '0';
    const size_t whole = digits(r);
    bool good = whole > 0 && !(zero && whole > 1);
    if (good && r->at < r->end && *r->at == '.') {
        r->at++;
        good = digits(r) > 0;
    }
    if (!good || !(at_end(r) || *r->at == ',')) return "a number is none";
    put(from, (size_t)(r->at - from));
    return NULL;
}

/* Puts the next row as a JSON object, and passes its line end; NULL, or what is wrong with it. */
static const char *row(rows *r) {
    used = 0;
    for (int i = 0; i < width; i++) {
        if (i > 0 && (r->at == r->end || *r->at++ != ',')) return "there are too few fields";
        put_text(i > 0 ? ",\"" : "{\"");
        put_text(columns[i].name);
        put_text("\":");
        const char *wrong = columns[i].kind == text ? text_field(r) : number_field(r);
        if (wrong) return wrong;
    }
    if (!at_end(r)) return *r->at == ',' ? "there are too many fields" : "something stands behind a quoted field";
    put_text("}");
    if (r->at < r->end && *r->at == '\r') r->at++;
    if (r->at < r->end) r->at++;
    return NULL;
}

/* Whether a record is the line that many files begin with: the columns' names. */
static bool is_header(const shardmill_record *r) {
    const char *at = r->data.ptr, *end = at + r->data.len;
    for (int i = 0; i < width; i++) {
        const size_t n = strlen(columns[i].name);
        if (i > 0 && (at == end || *at++ != ',')) return false;
        if ((size_t)(end - at) < n || memcmp(at, columns[i].name, n) != 0) return false;
        at += n;
    }
    while (at < end && (*at == '\r' || *at == '\n')) at++;
    return at == end;
}

/* Goes on to the next record that is no header. */
static bool next(shardmill_call *call, shardmill_record *r) {
    while (shardmill_next(call, r)) {
        if (!is_header(r)) return true;
        shardmill_drop(call, r->index, SHARDMILL_TEXT("header"));
    }
    return false;
}

static void reject(shardmill_call *call, const shardmill_record *r, const char *why) {
    shardmill_reject(call, r->index, (shardmill_bytes){why, strlen(why)});
}

/* On the way to a destination, the objects take the record's place; for one that is rejected they count for nothing. */
static int transform(shardmill_call *call) {
    shardmill_record r;
    while (next(call, &r)) {
        rows rest = {r.data.ptr, r.data.ptr + r.data.len};
        const char *wrong;
        do {
            wrong = row(&rest);
            if (wrong) reject(call, &r, wrong);
            else shardmill_replace(call, r.index, r.key, (shardmill_bytes){out, used});
        } while (!wrong && rest.at < rest.end);
    }
    return 0;
}

/* Emits all rows of a record of a stream, or none: what a rejected record has emitted before could not be told from the next try of it. */
static void emit(shardmill_call *call, const shardmill_record *r) {
    for (int pass = 0; pass < 2; pass++) {
        rows rest = {r->data.ptr, r->data.ptr + r->data.len};
        do {
            const char *wrong = row(&rest);
            if (wrong) {
                reject(call, r, wrong);
                return;
            }
            if (pass == 1) shardmill_emit(call, SHARDMILL_TEXT("json"), r->key, (shardmill_bytes){out, used});
        } while (rest.at < rest.end);
    }
}

static int batch(shardmill_call *call) {
    shardmill_record r;
    while (next(call, &r)) emit(call, &r);
    return 0;
}

SHARDMILL_FUNCTION(.batch = batch, .transform = transform)
