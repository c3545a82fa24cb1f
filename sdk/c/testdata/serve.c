/* Serves calls from standard input with a handler that is named by the function in the call, for csdk_test.go: a frame is the
 * kind and the length, 4 bytes each, and the call; the answer is the length and the reply. It is built for this machine, with
 * the compiler's checks on every access. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDMILL_IMPLEMENTATION
#include "shardmill.h"

static int named(const shardmill_call *c, const char *name) {
    return c->function.len == strlen(name) && memcmp(c->function.ptr, name, c->function.len) == 0;
}

static const shardmill_bytes none = {NULL, 0};

static void replies(shardmill_call *c) {
    if (named(c, "reply-outcomes")) {
        shardmill_reject(c, 2, SHARDMILL_TEXT("not a flight"));
        shardmill_drop(c, 0, none);
        shardmill_retry(c, 1, SHARDMILL_TEXT("later"));
    } else if (named(c, "reply-state")) {
        shardmill_set_state(c, SHARDMILL_TEXT("not this"));
        shardmill_set_state(c, SHARDMILL_TEXT("count=4"));
        shardmill_emit(c, SHARDMILL_TEXT("s"), SHARDMILL_TEXT("k"), SHARDMILL_TEXT("v"));
        shardmill_drop(c, 0, SHARDMILL_TEXT("x"));
    } else if (named(c, "reply-outputs")) {
        shardmill_emit(c, SHARDMILL_TEXT("delays"), SHARDMILL_TEXT("DFW"), SHARDMILL_TEXT("{\"flights\":12}"));
        shardmill_emit(c, SHARDMILL_TEXT("späte-flüge"), none, none);
        shardmill_emit(c, SHARDMILL_TEXT("delays"), SHARDMILL_TEXT("JFK"), SHARDMILL_TEXT("{\"flights\":1}"));
    }
}

/* Everything that the call says comes back in emitted records, those of the batch twice. */
static void copy(shardmill_call *c) {
    char numbers[128];
    const int n = snprintf(numbers, sizeof numbers, "%u %u %u %lld %u", c->version, c->shard, c->attempt, (long long)c->deadline, c->records);
    shardmill_emit(c, SHARDMILL_TEXT("facts"), c->function, (shardmill_bytes){numbers, (size_t)n});
    shardmill_emit(c, SHARDMILL_TEXT("facts"), c->mapping, c->stream);
    shardmill_emit(c, SHARDMILL_TEXT("facts"), c->invocation, c->input);
    shardmill_record r;
    for (int pass = 0; pass < 2; pass++) {
        for (shardmill_rewind(c); shardmill_next(c, &r);) shardmill_emit_record(c, SHARDMILL_TEXT("records"), &r);
    }
}

static int handle(shardmill_call *c) {
    if (named(c, "fail")) {
        shardmill_drop(c, 0, none);
        return shardmill_fail(c, SHARDMILL_TEXT("boom"));
    }
    if (named(c, "mute")) return -1;
    if (named(c, "reply-body")) shardmill_answer(c, SHARDMILL_TEXT("not this")), shardmill_answer(c, SHARDMILL_TEXT("pong!"));
    else if (c->function.len > 6 && memcmp(c->function.ptr, "reply-", 6) == 0) replies(c);
    else copy(c);
    return 0;
}

static int window(shardmill_call *c) {
    char numbers[96];
    const int n = snprintf(numbers, sizeof numbers, "%lld %lld %d", (long long)c->window_start, (long long)c->window_end, c->window_ended_early);
    shardmill_set_state(c, SHARDMILL_TEXT("of no use"));
    shardmill_emit(c, SHARDMILL_TEXT("windows"), (shardmill_bytes){numbers, (size_t)n}, c->state);
    return 0;
}

SHARDMILL_FUNCTION(.batch = handle, .window = window, .invoke = handle)

int main(void) {
    uint32_t frame[2];
    while (fread(frame, sizeof frame, 1, stdin) == 1) {
        uint8_t *call = malloc(frame[1] ? frame[1] : 1); /* of its exact size, so that reading behind it is seen */
        if (!call || fread(call, 1, frame[1], stdin) != frame[1]) return 1;
        size_t len;
        const uint8_t *reply = shardmill_serve(frame[0], call, frame[1], &len);
        const uint32_t size = (uint32_t)len;
        if (fwrite(&size, sizeof size, 1, stdout) != 1 || fwrite(reply, 1, len, stdout) != len || fflush(stdout) != 0) return 1;
        free(call);
    }
    return 0;
}
