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
 * What a function reaches beyond its call is what the test has granted it:
 *
 *       shardmill_test_secret("token", "s3cret");
 *       shardmill_test_table("cities");                              // may be used, and is empty
 *       shardmill_test_entry("cities", "DFW", "Dallas");
 *       shardmill_test_answer(200, "Content-Type: text/plain", "ok"); // to every request
 *       shardmill_test_batch();
 *       SHARDMILL_EXPECT(shardmill_test_state("cities", "DFW"), "Dallas");
 *       SHARDMILL_EXPECT(shardmill_test_request(0), "POST https://a.example/x some body");
 *
 * Variables are those of the program (setenv). What they return is valid until the next call of one of them. Build it with -fsanitize=address,undefined where the compiler has that.
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

/* ---- The host's functions ---- */

/* A secret; a table, whose key is NULL; an entry of a table. */
typedef struct shardmill_test__item {
    char *name, *key, *value;
    size_t len;
    int64_t revision;
} shardmill_test__item;

typedef struct shardmill_test__items {
    shardmill_test__item *all;
    size_t count;
} shardmill_test__items;

static shardmill_test__items shardmill_test__secrets, shardmill_test__tables, shardmill_test__before, shardmill_test__requests;
static shardmill__buffer shardmill_test__given;
static int64_t shardmill_test__revision;
static const char *shardmill_test__header, *shardmill_test__body;
static int shardmill_test__status;

static char *shardmill_test__clone(const void *p, size_t len) {
    char *copy = malloc(len + 1);
    if (!copy) abort();
    if (len) memcpy(copy, p, len);
    copy[len] = 0;
    return copy;
}

static shardmill_test__item *shardmill_test__add(shardmill_test__items *to, const char *name, size_t name_len, const char *key, size_t key_len, const char *value, size_t len) {
    to->all = realloc(to->all, (to->count + 1) * sizeof *to->all);
    if (!to->all) abort();
    shardmill_test__item *i = &to->all[to->count++];
    *i = (shardmill_test__item){shardmill_test__clone(name, name_len), key ? shardmill_test__clone(key, key_len) : NULL, shardmill_test__clone(value, len), len, ++shardmill_test__revision};
    return i;
}

static void shardmill_test__remove(shardmill_test__items *from, shardmill_test__item *i) {
    free(i->name), free(i->key), free(i->value);
    *i = from->all[--from->count];
}

static void shardmill_test__clear(shardmill_test__items *items) {
    while (items->count > 0) shardmill_test__remove(items, &items->all[items->count - 1]);
}

static shardmill_test__item *shardmill_test__find(shardmill_test__items *in, const char *name, size_t name_len, const char *key, size_t key_len) {
    for (size_t n = 0; n < in->count; n++) {
        shardmill_test__item *i = &in->all[n];
        if (strlen(i->name) != name_len || memcmp(i->name, name, name_len) != 0 || !key != !i->key) continue;
        if (!key || (strlen(i->key) == key_len && memcmp(i->key, key, key_len) == 0)) return i;
    }
    return NULL;
}

static void shardmill_test__copy_items(shardmill_test__items *to, const shardmill_test__items *from) {
    shardmill_test__clear(to);
    for (size_t n = 0; n < from->count; n++) {
        const shardmill_test__item *i = &from->all[n];
        shardmill_test__add(to, i->name, strlen(i->name), i->key, i->key ? strlen(i->key) : 0, i->value, i->len)->revision = i->revision;
    }
}

static int64_t shardmill_test__gives(const void *p, size_t len) {
    shardmill_test__given.len = 0;
    shardmill__copy(shardmill__extend(&shardmill_test__given, len), p, len);
    return (int64_t)len;
}

static int64_t shardmill_test__says(int64_t status, const char *why) {
    shardmill_test__gives(why, strlen(why));
    return status;
}

static size_t shardmill_test__result(void *to, size_t len) {
    shardmill__copy(to, shardmill_test__given.ptr, len < shardmill_test__given.len ? len : shardmill_test__given.len);
    return shardmill_test__given.len;
}

static int64_t shardmill_test__host_secret(const char *name, size_t len) {
    const shardmill_test__item *i = shardmill_test__find(&shardmill_test__secrets, name, len, NULL, 0);
    return i ? shardmill_test__gives(i->value, i->len) : shardmill_test__says(SHARDMILL_DENIED, "the test grants no such secret");
}

/* Finds an entry; a status that is not 0 says why there can be none. */
static int64_t shardmill_test__entry_of(const char *table, size_t table_len, const char *key, size_t key_len, shardmill_test__item **entry) {
    if (!shardmill_test__find(&shardmill_test__tables, table, table_len, NULL, 0)) return shardmill_test__says(SHARDMILL_DENIED, "the test grants no such state table");
    if (key_len < 1 || key_len > 512) return shardmill_test__says(SHARDMILL_INVALID, "a key has 1 to 512 bytes");
    *entry = shardmill_test__find(&shardmill_test__tables, table, table_len, key, key_len);
    return 0;
}

static int64_t shardmill_test__state_get(const char *table, size_t table_len, const char *key, size_t key_len) {
    shardmill_test__item *i;
    const int64_t status = shardmill_test__entry_of(table, table_len, key, key_len, &i);
    if (status != 0) return status;
    if (!i) return shardmill_test__says(SHARDMILL_NOT_FOUND, "there is no such key");
    shardmill_test__given.len = 0;
    shardmill__put64(shardmill__extend(&shardmill_test__given, 8), (uint64_t)i->revision);
    shardmill__copy(shardmill__extend(&shardmill_test__given, i->len), i->value, i->len);
    return (int64_t)shardmill_test__given.len;
}

/* Finds an entry that is to be changed, as expected. */
static int64_t shardmill_test__expect_entry(const char *table, size_t table_len, const char *key, size_t key_len, int64_t expected, shardmill_test__item **entry) {
    const int64_t status = shardmill_test__entry_of(table, table_len, key, key_len, entry);
    if (status == 0 && expected != SHARDMILL_ANY && expected != (*entry ? (*entry)->revision : SHARDMILL_ABSENT)) return shardmill_test__says(SHARDMILL_CONFLICT, "the entry has changed");
    return status;
}

static int64_t shardmill_test__state_put(const char *table, size_t table_len, const char *key, size_t key_len, const char *value, size_t len, int64_t expected) {
    shardmill_test__item *i;
    const int64_t status = shardmill_test__expect_entry(table, table_len, key, key_len, expected, &i);
    if (status != 0) return status;
    if (len > 1 << 20) return shardmill_test__says(SHARDMILL_INVALID, "a value has at most 1 MiB");
    if (i) shardmill_test__remove(&shardmill_test__tables, i);
    return shardmill_test__add(&shardmill_test__tables, table, table_len, key, key_len, value, len)->revision;
}

static int64_t shardmill_test__state_delete(const char *table, size_t table_len, const char *key, size_t key_len, int64_t expected) {
    shardmill_test__item *i;
    const int64_t status = shardmill_test__expect_entry(table, table_len, key, key_len, expected, &i);
    if (status == 0 && i) shardmill_test__remove(&shardmill_test__tables, i);
    return status;
}

/* The list has one entry at a time, so that every entry is a page. */
static int64_t shardmill_test__state_list(const char *table, size_t table_len, const char *prefix, size_t prefix_len, const char *after, size_t after_len, uint32_t limit) {
    (void)limit;
    if (!shardmill_test__find(&shardmill_test__tables, table, table_len, NULL, 0)) return shardmill_test__says(SHARDMILL_DENIED, "the test grants no such state table");
    char *from = shardmill_test__clone(after, after_len);
    const shardmill_test__item *next = NULL;
    uint32_t left = 0;
    for (size_t n = 0; n < shardmill_test__tables.count; n++) {
        const shardmill_test__item *i = &shardmill_test__tables.all[n];
        if (!i->key || strlen(i->name) != table_len || memcmp(i->name, table, table_len) != 0) continue;
        if (strlen(i->key) < prefix_len || memcmp(i->key, prefix, prefix_len) != 0 || strcmp(i->key, from) <= 0) continue;
        left++;
        if (!next || strcmp(i->key, next->key) < 0) next = i;
    }
    free(from);
    shardmill_test__given.len = 0;
    uint8_t *head = shardmill__extend(&shardmill_test__given, 8);
    memset(head, 0, 8);
    shardmill__put32(head, left > 0);
    shardmill__put32(head + 4, left > 1);
    if (next) {
        const size_t key_len = strlen(next->key), size = shardmill__align(16 + key_len + next->len);
        uint8_t *p = shardmill__extend(&shardmill_test__given, size);
        memset(p, 0, size);
        shardmill__put64(p, (uint64_t)next->revision);
        shardmill__put32(p + 8, (uint32_t)next->len);
        shardmill__put16(p + 12, (uint16_t)key_len);
        memcpy(p + 16, next->key, key_len);
        memcpy(p + 16 + key_len, next->value, next->len);
    }
    return (int64_t)shardmill_test__given.len;
}

/* Notes the request as text and gives the test's answer. */
static int64_t shardmill_test__http_fetch(const void *request, size_t len) {
    const uint8_t *r = request;
    const size_t method = shardmill__u16(r + 4), url = shardmill__u32(r + 8), body = shardmill__u32(r + 12);
    if (shardmill_test__status == 0) return shardmill_test__says(SHARDMILL_DENIED, "the test answers no requests");
    char *text = malloc(method + url + body + 3);
    if (!text) abort();
    memcpy(text, r + 16, method);
    text[method] = ' ';
    memcpy(text + method + 1, r + 16 + method, url);
    text[method + 1 + url] = ' ';
    if (body) memcpy(text + method + url + 2, r + len - body, body);
    shardmill_test__add(&shardmill_test__requests, text, method + url + 2 + body, NULL, 0, "", 0);
    free(text);
    const char *colon = strstr(shardmill_test__header, ": ");
    const size_t name = colon ? (size_t)(colon - shardmill_test__header) : 0, value = colon ? strlen(colon + 2) : 0, answer = strlen(shardmill_test__body);
    shardmill_test__given.len = 0;
    uint8_t *p = shardmill__extend(&shardmill_test__given, 8 + (colon ? 4 + name + value : 0) + answer);
    shardmill__put16(p, (uint16_t)shardmill_test__status);
    shardmill__put16(p + 2, colon != NULL);
    shardmill__put32(p + 4, (uint32_t)answer);
    p += 8;
    if (colon) {
        shardmill__put16(p, (uint16_t)name);
        shardmill__put16(p + 2, (uint16_t)value);
        memcpy(p + 4, shardmill_test__header, name);
        memcpy(p + 4 + name, colon + 2, value);
        p += 4 + name + value;
    }
    memcpy(p, shardmill_test__body, answer);
    return (int64_t)shardmill_test__given.len;
}

static const shardmill_host shardmill_test__host = {
    .result = shardmill_test__result, .secret = shardmill_test__host_secret, .state_get = shardmill_test__state_get, .state_put = shardmill_test__state_put,
    .state_delete = shardmill_test__state_delete, .state_list = shardmill_test__state_list, .http_fetch = shardmill_test__http_fetch,
};

/* Grants a secret. */
static inline void shardmill_test_secret(const char *name, const char *value) {
    shardmill_test__add(&shardmill_test__secrets, name, strlen(name), NULL, 0, value, strlen(value));
}

/* Grants a state table. */
static inline void shardmill_test_table(const char *table) { shardmill_test__add(&shardmill_test__tables, table, strlen(table), NULL, 0, "", 0); }

/* Puts an entry into a state table that is granted. */
static inline void shardmill_test_entry(const char *table, const char *key, const char *value) {
    shardmill_test__state_put(table, strlen(table), key, strlen(key), value, strlen(value), SHARDMILL_ANY);
}

/* The value of an entry after the last call, up to its first zero byte; "" when there is none. */
static inline const char *shardmill_test_state(const char *table, const char *key) {
    const shardmill_test__item *i = shardmill_test__find(&shardmill_test__tables, table, strlen(table), key, strlen(key));
    return i ? i->value : "";
}

/* Answers requests from now on; the header is one field, "Name: value", or "". */
static inline void shardmill_test_answer(int status, const char *header, const char *body) {
    shardmill_test__status = status;
    shardmill_test__header = header;
    shardmill_test__body = body;
}

/* The n-th request, from 0: method, URL and body with spaces between them. "" when there are no more. */
static inline const char *shardmill_test_request(size_t n) { return n < shardmill_test__requests.count ? shardmill_test__requests.all[n].name : ""; }

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
    if (!shardmill_the_host) shardmill_the_host = &shardmill_test__host;
    shardmill_test__copy_items(&shardmill_test__before, &shardmill_test__tables);
    shardmill_test__reply = shardmill_serve(kind, call, size, &reply_len);
    if (shardmill_test__reply[6] != 0) shardmill_test__copy_items(&shardmill_test__tables, &shardmill_test__before); /* it has changed nothing */
}

static inline void shardmill_test__records_call(uint32_t kind) {
    uint8_t head[24] = "SMRB\0\0\0\0\1\0\1";
    shardmill__put32(head + 12, (uint32_t)(24 + shardmill_test__records.len));
    shardmill__put32(head + 16, shardmill_test__count);
    shardmill_test__call(kind, head, sizeof head, shardmill_test__records.ptr, shardmill_test__records.len);
    shardmill_test__records.len = 0;
    shardmill_test__count = 0;
}

/* Has the function handle a batch of the records that were added; outcomes and emitted records are then to be asked for. */
static inline void shardmill_test_batch(void) { shardmill_test__records_call(1); }

/* The same for a transform; shardmill_test_replaced is then to be asked for. */
static inline void shardmill_test_transform(void) { shardmill_test__records_call(3); }

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

/* The n-th record in the sections of the last reply that have a stream's name, or of those that have none: "name key data", or "index key data". */
static const char *shardmill_test__output(uint32_t n, int named) {
    const uint8_t *r = shardmill_test__reply, *s = r + 40 + shardmill__u32(r + 12) + shardmill__u32(r + 20);
    for (uint32_t sections = shardmill__u32(r + 24); sections > 0; sections--, s += shardmill__u32(s)) {
        const size_t name = shardmill__u16(s + 12);
        shardmill_call c = {.at = s + 16 + shardmill__align(name), .end = s + shardmill__u32(s)};
        shardmill_record record;
        while ((name > 0) == named && shardmill_next(&c, &record)) {
            if (n-- > 0) continue;
            char *text = malloc(name + record.key.len + 32);
            if (!text) abort();
            memcpy(text, s + 16, name);
            const size_t at = named ? name : (size_t)sprintf(text, "%u", (unsigned)record.sequence);
            text[at] = ' ';
            shardmill__copy(text + at + 1, record.key.ptr, record.key.len);
            memcpy(text + at + 1 + record.key.len, " ", 2);
            const char *all = shardmill_test__keep(text, "", record.data.ptr, record.data.len);
            free(text);
            return all;
        }
    }
    return "";
}

/* The n-th emitted record of the last call, from 0, in the order of the reply: stream, key and data with spaces between them. "" when
 * there are no more. */
static inline const char *shardmill_test_emitted(uint32_t n) { return shardmill_test__output(n, 1); }

/* The n-th record that a transform puts in the place of another, likewise: that one's index, key and data. */
static inline const char *shardmill_test_replaced(uint32_t n) { return shardmill_test__output(n, 0); }
#endif /* SHARDMILL_TEST_H */
