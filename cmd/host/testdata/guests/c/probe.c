/* Probe does what its records say; see ../README.md. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDMILL_IMPLEMENTATION
#include "shardmill.h"

/* The first word of text, which becomes what is behind it. */
static shardmill_bytes word(shardmill_bytes *text) {
    const char *space = text->len ? memchr(text->ptr, ' ', text->len) : NULL;
    shardmill_bytes first = {text->ptr, space ? (size_t)(space - text->ptr) : text->len};
    text->ptr += first.len + (space != NULL);
    text->len -= first.len + (space != NULL);
    return first;
}

static bool is(shardmill_bytes text, const char *word) {
    return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

static unsigned long number(shardmill_bytes text) {
    char digits[24] = "";
    memcpy(digits, text.ptr, text.len < 23 ? text.len : 23);
    return strtoul(digits, NULL, 10);
}

#define SHOW(b) (int)(b).len, (b).len ? (b).ptr : ""

static int facts(const shardmill_call *c, char *to, size_t size) {
    return snprintf(to, size, "function=%.*s mapping=%.*s stream=%.*s invocation=%.*s version=%" PRIu32 " shard=%" PRIu32 " attempt=%" PRIu32 " deadline=%s",
                    SHOW(c->function), SHOW(c->mapping), SHOW(c->stream), SHOW(c->invocation), c->version, c->shard, c->attempt,
                    c->deadline ? "true" : "false");
}

static void emit_facts(shardmill_call *c, const shardmill_record *r) {
    char text[2048];
    int n = facts(c, text, sizeof text);
    n += snprintf(text + n, sizeof text - (size_t)n, " index=%" PRIu32 " sequence=%" PRIu64 " arrival=%" PRId64 " hash=%s records=%" PRIu32,
                  r->index, r->sequence, r->arrival, r->explicit_hash ? "true" : "false", c->records);
    shardmill_emit(c, SHARDMILL_TEXT("facts"), r->key, (shardmill_bytes){text, (size_t)n});
}

static void emit_size(shardmill_call *c, shardmill_bytes stream, shardmill_bytes key, size_t size) {
    char *data = malloc(size + 1);
    if (!data) shardmill_panic(SHARDMILL_TEXT("no memory"));
    memset(data, 'x', size);
    shardmill_emit(c, stream, key, (shardmill_bytes){data, size});
    free(data);
}

static void emit_many(shardmill_call *c, shardmill_bytes key, unsigned long n) {
    for (unsigned long i = 0; i < n; i++) {
        char name[24];
        const int len = snprintf(name, sizeof name, "s%lu", i);
        shardmill_emit(c, (shardmill_bytes){name, (size_t)len}, key, (shardmill_bytes){NULL, 0});
    }
}

static void emit_window(shardmill_call *c, shardmill_bytes key) {
    char text[2048] = "no window";
    int n = (int)strlen(text);
    if (c->window_start != c->window_end)
        n = snprintf(text, sizeof text, "start=%" PRId64 " end=%" PRId64 " early=%s state=%.*s", c->window_start, c->window_end,
                     c->window_ended_early ? "true" : "false", SHOW(c->state));
    shardmill_emit(c, SHARDMILL_TEXT("facts"), key, (shardmill_bytes){text, (size_t)n});
}

static int window(shardmill_call *c) {
    if (is(c->state, "fail")) return shardmill_fail(c, SHARDMILL_TEXT("not yet"));
    emit_window(c, SHARDMILL_TEXT("end"));
    return 0;
}

/* What a loop of so many turns comes to. */
static volatile uint32_t spun = 1;

static void spin(unsigned long turns) {
    uint32_t x = spun;
    for (; turns > 0; turns--) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
    }
    spun = x;
}

static unsigned long later;

static int record(shardmill_call *c, const shardmill_record *r) {
    shardmill_bytes rest = r->data;
    const shardmill_bytes command = word(&rest);
    shardmill_bytes second = rest;
    const shardmill_bytes first = word(&second);
    if (is(command, "drop")) {
        shardmill_drop(c, r->index, rest);
    } else if (is(command, "retry")) {
        shardmill_retry(c, r->index, rest);
    } else if (is(command, "reject")) {
        shardmill_reject(c, r->index, rest);
    } else if (is(command, "twice")) {
        shardmill_reject(c, r->index, rest);
        shardmill_drop(c, r->index, rest);
    } else if (is(command, "first")) {
        shardmill_reject(c, 0, rest);
    } else if (is(command, "beyond")) {
        shardmill_retry(c, c->records, (shardmill_bytes){NULL, 0});
    } else if (is(command, "emit")) {
        shardmill_emit(c, first, r->key, second);
    } else if (is(command, "whole")) {
        shardmill_emit_record(c, first, r);
    } else if (is(command, "size")) {
        emit_size(c, first, r->key, number(second));
    } else if (is(command, "many")) {
        emit_many(c, r->key, number(first));
    } else if (is(command, "facts")) {
        emit_facts(c, r);
    } else if (is(command, "state")) {
        shardmill_set_state(c, rest);
    } else if (is(command, "window")) {
        emit_window(c, r->key);
    } else if (is(command, "spin")) {
        spin(number(rest));
    } else if (is(command, "later")) {
        later = number(rest);
    } else if (is(command, "fail")) {
        return shardmill_fail(c, rest);
#ifdef __wasm__
    } else if (is(command, "log")) {
        char level[16] = "";
        memcpy(level, first.ptr, first.len < 15 ? first.len : 15);
        shardmill_log(level, second);
    } else if (is(command, "panic")) {
        shardmill_panic(rest);
#endif
    }
    return 0;
}

static int batch(shardmill_call *c) {
    shardmill_record r;
    while (shardmill_next(c, &r)) {
        if (record(c, &r) != 0) return 1;
    }
    spin(later);
    later = 0;
    return 0;
}

static int invoke(shardmill_call *c) {
    shardmill_bytes rest = c->input;
    const shardmill_bytes command = word(&rest);
    shardmill_bytes second = rest;
    const shardmill_bytes first = word(&second);
    if (is(command, "facts")) {
        char text[2048];
        const int n = facts(c, text, sizeof text);
        shardmill_answer(c, (shardmill_bytes){text, (size_t)n});
        return 0;
    }
    if (is(command, "emit")) shardmill_emit(c, first, SHARDMILL_TEXT("k"), second);
    if (is(command, "fail")) return shardmill_fail(c, rest);
#ifdef __wasm__
    if (is(command, "panic")) shardmill_panic(rest);
#endif
    shardmill_answer(c, c->input);
    return 0;
}

/* Drops, rejects and replaces as the records say. */
static int transform(shardmill_call *c) {
    shardmill_record r;
    while (shardmill_next(c, &r)) {
        shardmill_bytes rest = r.data;
        const shardmill_bytes command = word(&rest);
        if (is(command, "drop")) shardmill_drop(c, r.index, rest);
        else if (is(command, "reject")) shardmill_reject(c, r.index, rest);
        else if (is(command, "emit") || is(command, "spin")) record(c, &r);
        else if (is(command, "twice")) {
            char text[256];
            const int n = snprintf(text, sizeof text, "%.*s of %.*s", SHOW(rest), SHOW(r.key));
            shardmill_replace(c, r.index, r.key, (shardmill_bytes){text, (size_t)n});
            shardmill_replace_record(c, r.index, &r);
        }
    }
    return 0;
}

SHARDMILL_FUNCTION(.batch = batch, .window = window, .invoke = invoke, .transform = transform)
