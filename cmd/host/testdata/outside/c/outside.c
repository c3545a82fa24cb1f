/* Outside asks the host for what a direct invocation says; see ../README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDMILL_IMPLEMENTATION
#include "shardmill.h"

/* What the function answers; the answer of the last call is thrown away. */
static char *answer;
static size_t answer_len, answer_cap;

static void say(shardmill_bytes part) {
    if (answer_len + part.len > answer_cap) {
        answer_cap = 2 * (answer_len + part.len);
        answer = realloc(answer, answer_cap);
        if (!answer) shardmill_panic(SHARDMILL_TEXT("no memory"));
    }
    if (part.len) memcpy(answer + answer_len, part.ptr, part.len);
    answer_len += part.len;
}

static shardmill_bytes text(const char *s) { return (shardmill_bytes){s, strlen(s)}; }

/* The first word of text, which becomes what is behind it. */
static shardmill_bytes word(shardmill_bytes *text) {
    const char *space = text->len ? memchr(text->ptr, ' ', text->len) : NULL;
    shardmill_bytes first = {text->ptr, space ? (size_t)(space - text->ptr) : text->len};
    text->ptr += first.len + (space != NULL);
    text->len -= first.len + (space != NULL);
    return first;
}

static int is(shardmill_bytes text, const char *word) { return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0; }

/* Says what a status means. */
static void say_status(int status) {
    static const char *const codes[] = {"done", "denied: ", "not found: ", "conflict: ", "invalid: ", "unavailable: ", "no call: "};
    say(text(codes[-status]));
    if (status != SHARDMILL_OK) say(shardmill_reason());
}

static void say_number(long long n) {
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", n);
    say(text(digits));
}

static void fetch(const shardmill_request *request) {
    shardmill_response r;
    const int status = shardmill_fetch(request, &r);
    if (status != SHARDMILL_OK) {
        say_status(status);
        return;
    }
    shardmill_bytes server;
    shardmill_header(&r, SHARDMILL_TEXT("x-server"), &server);
    say_number(r.status);
    say(SHARDMILL_TEXT(" "));
    say(server);
    say(SHARDMILL_TEXT(" "));
    say(r.body);
}

static int fill(shardmill_bytes table, shardmill_bytes prefix, shardmill_bytes count) {
    char digits[16] = "", key[64];
    memcpy(digits, count.ptr, count.len < 15 ? count.len : 15);
    for (int i = 0, n = atoi(digits); i < n; i++) {
        const int len = snprintf(key, sizeof key, "%.*s%d", (int)prefix.len, prefix.ptr, i);
        const int status = shardmill_state_put(table, (shardmill_bytes){key, (size_t)len}, SHARDMILL_TEXT("value"), SHARDMILL_ANY, NULL);
        if (status != SHARDMILL_OK) return status;
    }
    return SHARDMILL_OK;
}

static void walk(shardmill_bytes command, shardmill_bytes table, shardmill_bytes prefix) {
    shardmill_list list = {.table = table, .prefix = prefix};
    shardmill_entry e;
    int n = 0, status;
    long long size = 0;
    while ((status = shardmill_list_next(&list, &e)) == 1) {
        n++;
        size += (long long)(e.key.len + e.value.len);
        if (is(command, "list")) {
            say(e.key);
            say(SHARDMILL_TEXT("="));
            say(e.value);
            say(SHARDMILL_TEXT(" "));
        } else if (is(command, "sweep") && (status = shardmill_state_delete(table, e.key, e.revision)) != SHARDMILL_OK) {
            break;
        }
    }
    if (status != SHARDMILL_OK || is(command, "sweep")) {
        say_status(status);
    } else if (is(command, "sum")) {
        say_number(n);
        say(SHARDMILL_TEXT(" "));
        say_number(size);
    }
}

static int by_revision(shardmill_bytes command, shardmill_bytes table, shardmill_bytes key, shardmill_bytes value) {
    shardmill_entry e;
    const shardmill_bytes nothing = {NULL, 0};
    int64_t revision;
    int status = shardmill_state_get(table, key, &e);
    if (status != SHARDMILL_OK) return status;
    if (is(command, "swap")) {
        status = shardmill_state_put(table, key, value, e.revision, &revision);
        return status != SHARDMILL_OK ? status : shardmill_state_put(table, key, nothing, revision, NULL);
    }
    if (is(command, "drop")) return shardmill_state_delete(table, key, e.revision);
    status = shardmill_state_put(table, key, nothing, SHARDMILL_ANY, NULL);
    if (status != SHARDMILL_OK) return status;
    if (is(command, "late")) return shardmill_state_delete(table, key, e.revision);
    return shardmill_state_put(table, key, value, e.revision, NULL);
}

static int state(shardmill_call *c, shardmill_bytes command, shardmill_bytes table, shardmill_bytes key, shardmill_bytes value) {
    shardmill_entry e;
    if (is(command, "get")) {
        const int status = shardmill_state_get(table, key, &e);
        if (status != SHARDMILL_OK) say_status(status);
        else say(e.value);
    } else if (is(command, "put")) {
        say_status(shardmill_state_put(table, key, value, SHARDMILL_ANY, NULL));
    } else if (is(command, "add")) {
        say_status(shardmill_state_put(table, key, value, SHARDMILL_ABSENT, NULL));
    } else if (is(command, "delete")) {
        say_status(shardmill_state_delete(table, key, SHARDMILL_ANY));
    } else if (is(command, "fill")) {
        say_status(fill(table, key, value));
    } else if (is(command, "list") || is(command, "sum") || is(command, "sweep")) {
        walk(command, table, key);
    } else if (is(command, "fail")) {
        shardmill_state_put(table, key, value, SHARDMILL_ANY, NULL);
        return shardmill_fail(c, SHARDMILL_TEXT("as asked"));
    } else {
        say_status(by_revision(command, table, key, value));
    }
    return 0;
}

static int act(shardmill_call *c, shardmill_bytes rest) {
    answer_len = 0;
    const shardmill_bytes command = word(&rest), first = word(&rest), second = word(&rest);
    shardmill_bytes value;
    if (is(command, "secret")) {
        const int status = shardmill_secret(first, &value);
        if (status != SHARDMILL_OK) say_status(status);
        else say(value);
    } else if (is(command, "env")) {
        shardmill_env(first, &value);
        say(value);
    } else if (is(command, "fetch")) {
        const shardmill_field field = {SHARDMILL_TEXT("X-Guest"), SHARDMILL_TEXT("outside")};
        fetch(&(shardmill_request){.method = first, .url = second, .fields = &field, .field_count = 1, .body = rest});
    } else if (is(command, "slow")) {
        fetch(&(shardmill_request){.url = first, .timeout = 50});
    } else if (is(command, "deadline")) {
        const int64_t left = shardmill_remaining(c);
        if (left > 0 && left < INT64_MAX && shardmill_now() < c->deadline) say(SHARDMILL_TEXT("ahead"));
    } else if (is(command, "log")) {
        const shardmill_field fields[] = {{SHARDMILL_TEXT("language"), SHARDMILL_TEXT("a \"language\"")}, {SHARDMILL_TEXT("text"), SHARDMILL_TEXT("späte Flüge")}};
        shardmill_log_fields("warn", SHARDMILL_TEXT("from outside"), fields, 2);
    } else {
        return state(c, command, first, second, rest);
    }
    return 0;
}

static int invoke(shardmill_call *c) {
    const int failed = act(c, c->input);
    shardmill_answer(c, (shardmill_bytes){answer, answer_len});
    return failed;
}

static int batch(shardmill_call *c) {
    shardmill_record r;
    while (shardmill_next(c, &r)) {
        if (act(c, r.data) != 0) return 1;
        shardmill_reject(c, r.index, (shardmill_bytes){answer, answer_len});
    }
    return 0;
}

SHARDMILL_FUNCTION(.batch = batch, .invoke = invoke)
