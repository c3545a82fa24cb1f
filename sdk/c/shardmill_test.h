/* shardmill_test.h: runs a function on this machine, without WebAssembly. It plays the host's part: the calls and replies are the
 * bytes that a host would exchange with the function, and what only a broken SDK can cause aborts.
 *
 *   #include "function.c"        // defines SHARDMILL_IMPLEMENTATION and includes shardmill.h
 *   #include "shardmill_test.h"
 *
 *   int main(void) {
 *       shardmill_test_record("a", "1");
 *       shardmill_test_batch();
 *       SHARDMILL_EXPECT(shardmill_test_outcome(0), "ok");
 *       SHARDMILL_EXPECT(shardmill_test_emitted(0), "copies a 1");
 *       return 0;
 *   }
 *
 * What they return is valid until the next call of one of them. Build it with -fsanitize=address,undefined where the compiler has that.
 *
 * Licence: Apache-2.0.
 */
#ifndef SHARDMILL_TEST_H
#define SHARDMILL_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program when two texts are not the same, and says where. */
#define SHARDMILL_EXPECT(got, want) shardmill_test__expect(__FILE__, __LINE__, #got, got, want)

static shardmill__buffer shardmill_test__records, shardmill_test__text;
static uint32_t shardmill_test__count;
static const uint8_t *shardmill_test__reply;

static void shardmill_test__expect(const char *file, int line, const char *what, const char *got, const char *want) {
    if (strcmp(got, want) == 0) return;
    fprintf(stderr, "%s:%d: %s is \"%s\", want \"%s\"\n", file, line, what, got, want);
    exit(1);
}

/* Adds a record to the next batch. */
static inline void shardmill_test_record(const char *key, const char *data) {
    const size_t key_len = strlen(key), data_len = strlen(data), size = shardmill__align(24 + key_len + data_len);
    uint8_t *p = shardmill__extend(&shardmill_test__records, size);
    memset(p, 0, size);
    shardmill__put64(p, ++shardmill_test__count);
    shardmill__put32(p + 16, (uint32_t)data_len);
    shardmill__put16(p + 20, (uint16_t)key_len);
    memcpy(p + 24, key, key_len);
    memcpy(p + 24 + key_len, data, data_len);
}

static void shardmill_test__call(uint32_t kind, const void *head, size_t head_len, const void *body, size_t len) {
    const size_t size = 88 + shardmill__align(head_len + len);
    uint8_t *call = shardmill_input_area(size);
    if (!call) abort();
    memset(call, 0, size);
    memcpy(call, "SMCL\1", 5);
    call[6] = (uint8_t)kind;
    call[8] = 80;
    call[14] = 4;
    call[20] = call[28] = 1;
    shardmill__put32(call + 40, 88);
    shardmill__put32(call + 44, (uint32_t)(head_len + len));
    memcpy(call + 80, "test", 4);
    shardmill__copy(call + 88, head, head_len);
    shardmill__copy(call + 88 + head_len, body, len);
    size_t reply_len;
    shardmill_test__reply = shardmill_serve(kind, call, size, &reply_len);
}

/* Has the function handle a batch of the records that were added; outcomes and emitted records are then to be asked for. */
static inline void shardmill_test_batch(void) {
    uint8_t head[24] = "SMRB\0\0\0\0\1\0\1";
    shardmill__put32(head + 12, (uint32_t)(24 + shardmill_test__records.len));
    shardmill__put32(head + 16, shardmill_test__count);
    shardmill_test__call(1, head, sizeof head, shardmill_test__records.ptr, shardmill_test__records.len);
    shardmill_test__records.len = 0;
    shardmill_test__count = 0;
}

static const char *shardmill_test__keep(const char *a, const char *separator, const void *b, size_t len) {
    const size_t n = strlen(a), m = strlen(separator);
    shardmill_test__text.len = 0;
    char *to = (char *)shardmill__extend(&shardmill_test__text, n + m + len + 1);
    memcpy(to, a, n);
    memcpy(to + n, separator, m);
    shardmill__copy(to + n + m, b, len);
    to[n + m + len] = 0;
    return to;
}

/* Why the last call failed; "" when it went well. */
static inline const char *shardmill_test_failure(void) {
    const uint8_t *e = shardmill_test__reply + 40;
    if (shardmill_test__reply[6] == 0) return "";
    return shardmill_test__keep("", "", e + 16 + shardmill__u16(e + 2), shardmill__u32(e + 4));
}

/* Has the function answer a direct invocation; what is returned is the answer, up to its first zero byte. */
static inline const char *shardmill_test_invoke(const char *body) {
    shardmill_test__call(4, NULL, 0, body, strlen(body));
    const uint8_t *r = shardmill_test__reply;
    return shardmill_test__keep("", "", r + 40 + shardmill__u32(r + 12) + shardmill__u32(r + 20) + shardmill__u32(r + 28), shardmill__u32(r + 36));
}

/* What became of a record of the last batch: "ok", or "dropped", "retry" or "rejected" and, behind a colon, the reason. */
static inline const char *shardmill_test_outcome(uint32_t index) {
    static const char *const names[] = {"ok", "dropped", "retry", "rejected"};
    const uint8_t *p = shardmill_test__reply + 40 + shardmill__u32(shardmill_test__reply + 12);
    for (uint32_t n = shardmill__u32(shardmill_test__reply + 16); n > 0; n--, p += shardmill__outcome_size(p)) {
        const uint16_t reason = shardmill__u16(p + 6);
        if (shardmill__u32(p) == index) return shardmill_test__keep(names[p[4]], reason ? ": " : "", p + 8, reason);
    }
    return names[0];
}

/* The n-th emitted record of the last call, from 0, in the order of the reply: stream, key and data with spaces between them. "" when
 * there are no more. */
static inline const char *shardmill_test_emitted(uint32_t n) {
    const uint8_t *r = shardmill_test__reply, *s = r + 40 + shardmill__u32(r + 12) + shardmill__u32(r + 20);
    for (uint32_t sections = shardmill__u32(r + 24); sections > 0; sections--, s += shardmill__u32(s)) {
        const size_t name = shardmill__u16(s + 12);
        shardmill_call c = {.at = s + 16 + shardmill__align(name), .end = s + shardmill__u32(s)};
        shardmill_record record;
        while (shardmill_next(&c, &record)) {
            if (n-- > 0) continue;
            char *text = malloc(name + record.key.len + 3);
            if (!text) abort();
            memcpy(text, s + 16, name);
            text[name] = ' ';
            shardmill__copy(text + name + 1, record.key.ptr, record.key.len);
            memcpy(text + name + 1 + record.key.len, " ", 2);
            const char *all = shardmill_test__keep(text, "", record.data.ptr, record.data.len);
            free(text);
            return all;
        }
    }
    return "";
}
#endif /* SHARDMILL_TEST_H */
