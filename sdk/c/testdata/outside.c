/* Has a function reach for everything that tests can grant, for csdk_test.go, and has a host give what no host should. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDMILL_IMPLEMENTATION
#include "shardmill.h"
#include "shardmill_test.h"

#define EXPECT(condition) ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), exit(1)))

static shardmill_bytes text(const char *s) { return (shardmill_bytes){s, strlen(s)}; }

static int same(shardmill_bytes b, const char *want) { return b.len == strlen(want) && memcmp(b.ptr, want, b.len) == 0; }

static void revisions(void) {
    const shardmill_bytes t = SHARDMILL_TEXT("t"), k = SHARDMILL_TEXT("k"), none = {NULL, 0};
    shardmill_entry e;
    int64_t revision = 0;
    EXPECT(shardmill_state_get(t, SHARDMILL_TEXT("none"), &e) == SHARDMILL_NOT_FOUND && same(shardmill_reason(), "there is no such key"));
    EXPECT(shardmill_state_get(t, k, &e) == SHARDMILL_OK && same(e.value, "v") && same(e.key, "k") && e.revision > 0);
    EXPECT(shardmill_state_put(t, k, SHARDMILL_TEXT("w"), SHARDMILL_ABSENT, &revision) == SHARDMILL_CONFLICT && revision == 0);
    EXPECT(shardmill_state_put(t, k, SHARDMILL_TEXT("w"), e.revision, &revision) == SHARDMILL_OK && revision != e.revision);
    EXPECT(shardmill_state_delete(t, k, e.revision) == SHARDMILL_CONFLICT);
    EXPECT(shardmill_state_put(t, none, none, SHARDMILL_ANY, NULL) == SHARDMILL_INVALID);
    EXPECT(shardmill_state_put(t, SHARDMILL_TEXT("gone"), none, SHARDMILL_ABSENT, &revision) == SHARDMILL_OK);
    EXPECT(shardmill_state_delete(t, SHARDMILL_TEXT("gone"), revision) == SHARDMILL_OK && shardmill_state_delete(t, SHARDMILL_TEXT("gone"), SHARDMILL_ANY) == SHARDMILL_OK);
    EXPECT(shardmill_state_put(SHARDMILL_TEXT("u"), k, none, SHARDMILL_ANY, NULL) == SHARDMILL_DENIED && same(shardmill_reason(), "the test grants no such state table"));
    shardmill_list list = {.table = t, .prefix = SHARDMILL_TEXT("l")};
    char keys[32] = "";
    while (shardmill_list_next(&list, &e) == 1) {
        strncat(keys, e.key.ptr, e.key.len);
        EXPECT(shardmill_state_delete(t, e.key, e.revision) == SHARDMILL_OK);
    }
    EXPECT(strcmp(keys, "ll1l2") == 0 && shardmill_list_next(&list, &e) == 0);
}

static int handle(shardmill_call *c) {
    shardmill_bytes value;
    shardmill_record r;
    EXPECT(shardmill_secret(SHARDMILL_TEXT("token"), &value) == SHARDMILL_OK && same(value, "s3cret"));
    EXPECT(shardmill_secret(SHARDMILL_TEXT("other"), &value) == SHARDMILL_DENIED && value.len == 0);
    EXPECT(shardmill_env(SHARDMILL_TEXT("REGION"), &value) && same(value, "eu") && !shardmill_env(SHARDMILL_TEXT("REGIO"), &value));
    EXPECT(shardmill_now() > 0 && shardmill_remaining(c) == INT64_MAX);
    revisions();
    while (shardmill_next(c, &r)) {
        shardmill_response a;
        const shardmill_request request = {.method = SHARDMILL_TEXT("POST"), .url = r.key, .body = r.data};
        EXPECT(shardmill_fetch(&request, &a) == SHARDMILL_OK && a.status == 404 && same(a.body, "none"));
        EXPECT(shardmill_header(&a, SHARDMILL_TEXT("x-SERVER"), &value) && same(value, "here") && !shardmill_header(&a, text("x-serve"), &value));
        if (same(r.data, "fail")) return shardmill_fail(c, SHARDMILL_TEXT("as asked"));
    }
    return 0;
}

/* Requests that no host is asked for. */
static void bad_requests(void) {
    shardmill_response a;
    static char large[(6 << 20) + 1];
    shardmill_field fields[65] = {{SHARDMILL_TEXT("a"), SHARDMILL_TEXT("b")}};
    EXPECT(shardmill_fetch(&(shardmill_request){.url = {large, 8193}}, &a) == SHARDMILL_INVALID);
    EXPECT(shardmill_fetch(&(shardmill_request){.body = {large, sizeof large}}, &a) == SHARDMILL_INVALID);
    EXPECT(shardmill_fetch(&(shardmill_request){.method = {large, 33}}, &a) == SHARDMILL_INVALID);
    EXPECT(shardmill_fetch(&(shardmill_request){.fields = fields, .field_count = 65}, &a) == SHARDMILL_INVALID);
    fields[1].value = (shardmill_bytes){large, SIZE_MAX};
    EXPECT(shardmill_fetch(&(shardmill_request){.fields = fields, .field_count = 2}, &a) == SHARDMILL_INVALID);
    EXPECT(a.status == 0 && a.body.len == 0);
}

/* A host that gives bytes, cut and changed in every way. */
static uint8_t given[64];
static size_t given_len;

static size_t odd_result(void *to, size_t len) {
    shardmill__copy(to, given, len < given_len ? len : given_len);
    return given_len;
}
static int64_t odd_pair(const char *a, size_t m, const char *b, size_t n) { return (void)a, (void)m, (void)b, (void)n, (int64_t)given_len; }
static int64_t odd_list(const char *a, size_t m, const char *b, size_t n, const char *c, size_t o, uint32_t limit) { return (void)c, (void)o, (void)limit, odd_pair(a, m, b, n); }
static int64_t odd_fetch(const void *a, size_t m) { return odd_pair(a, m, NULL, 0); }

static void ask_odd(void) {
    shardmill_entry e;
    shardmill_response a;
    shardmill_bytes value;
    shardmill_list list = {.table = SHARDMILL_TEXT("t")};
    volatile char seen = 0;
    if (shardmill_state_get(SHARDMILL_TEXT("t"), SHARDMILL_TEXT("k"), &e) == SHARDMILL_OK && e.value.len) seen = e.value.ptr[e.value.len - 1];
    for (int n = 0; n < 5 && shardmill_list_next(&list, &e) == 1; n++) {
        if (e.key.len) seen = e.key.ptr[e.key.len - 1];
        if (e.value.len) seen = e.value.ptr[e.value.len - 1];
    }
    if (shardmill_fetch(&(shardmill_request){.url = SHARDMILL_TEXT("u")}, &a) == SHARDMILL_OK) {
        shardmill_header(&a, SHARDMILL_TEXT("a"), &value);
        if (a.body.len) seen = a.body.ptr[a.body.len - 1];
    }
    (void)seen;
}

static void odd_hosts(void) {
    static const shardmill_host odd = {.result = odd_result, .state_get = odd_pair, .state_list = odd_list, .http_fetch = odd_fetch};
    static const uint8_t entries[] = {2, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 'k', 'v', 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'l'};
    static const uint8_t answer[] = {200, 0, 2, 0, 2, 0, 0, 0, 1, 0, 1, 0, 'a', 'b', 1, 0, 0, 0, 'c', 'o', 'k'};
    const shardmill_host *before = shardmill_the_host;
    shardmill_the_host = &odd;
    for (int which = 0; which < 2; which++) {
        const size_t size = which ? sizeof answer : sizeof entries;
        for (given_len = 0; given_len <= size; given_len++) {
            for (size_t at = 0; at < size; at++) {
                static const uint8_t bits[] = {0, 1, 2, 0x10, 0x80, 0xff};
                for (size_t n = 0; n < sizeof bits; n++) {
                    memcpy(given, which ? answer : entries, size);
                    given[at] ^= bits[n];
                    ask_odd();
                }
            }
        }
    }
    shardmill_the_host = before;
}

static int transform(shardmill_call *c) {
    shardmill_record r;
    while (shardmill_next(c, &r)) {
        if (same(r.data, "drop")) shardmill_drop(c, r.index, SHARDMILL_TEXT("empty"));
        if (same(r.data, "retry")) shardmill_retry(c, r.index, SHARDMILL_TEXT("later"));
        if (same(r.data, "none")) shardmill_emit(c, SHARDMILL_TEXT(""), r.key, r.data);
        if (same(r.data, "beyond")) shardmill_replace(c, c->records, r.key, r.data);
        if (!same(r.data, "twice")) continue;
        shardmill_replace(c, r.index, r.key, SHARDMILL_TEXT("1"));
        shardmill_emit(c, SHARDMILL_TEXT("seen"), r.key, SHARDMILL_TEXT(""));
        shardmill_replace_record(c, r.index, &r);
    }
    return 0;
}

static void transforms(void) {
    static const char *const failures[][2] = {
        {"retry", "a transform cannot ask for a record again; fail the call"}, {"none", "emit to stream \"\": the name is empty"}, {"beyond", "replacement of record 2 of a batch of 2"}};
    shardmill_test_record("a", "drop");
    shardmill_test_record("b", "as it is");
    shardmill_test_record("c", "twice");
    shardmill_test_transform();
    SHARDMILL_EXPECT(shardmill_test_failure(), "");
    SHARDMILL_EXPECT(shardmill_test_outcome(0), "dropped: empty");
    SHARDMILL_EXPECT(shardmill_test_replaced(0), "2 c 1");
    SHARDMILL_EXPECT(shardmill_test_replaced(1), "2 c twice");
    SHARDMILL_EXPECT(shardmill_test_replaced(2), "");
    SHARDMILL_EXPECT(shardmill_test_emitted(0), "seen c ");
    SHARDMILL_EXPECT(shardmill_test_emitted(1), "");
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        shardmill_test_record("a", "twice");
        shardmill_test_record("b", failures[i][0]);
        shardmill_test_transform();
        SHARDMILL_EXPECT(shardmill_test_failure(), failures[i][1]);
    }
}

SHARDMILL_FUNCTION(.batch = handle, .transform = transform)

int main(void) {
    shardmill_bytes value;
    EXPECT(shardmill_secret(SHARDMILL_TEXT("token"), &value) == SHARDMILL_DENIED && shardmill_reason().len == 0);
    shardmill_test_secret("token", "s3cret");
    shardmill_test_table("t");
    shardmill_test_entry("t", "k", "v");
    shardmill_test_entry("t", "l1", "");
    shardmill_test_entry("t", "l", "");
    shardmill_test_entry("t", "l2", "");
    shardmill_test_answer(404, "X-Server: here", "none");
    shardmill_test_record("http://a.example/x", "fail");
    shardmill_test_batch();
    SHARDMILL_EXPECT(shardmill_test_failure(), "as asked");
    SHARDMILL_EXPECT(shardmill_test_state("t", "k"), "v");
    shardmill_test_record("http://a.example/y", "ok");
    shardmill_test_batch();
    SHARDMILL_EXPECT(shardmill_test_failure(), "");
    SHARDMILL_EXPECT(shardmill_test_state("t", "k"), "w");
    SHARDMILL_EXPECT(shardmill_test_request(0), "POST http://a.example/x fail");
    SHARDMILL_EXPECT(shardmill_test_request(1), "POST http://a.example/y ok");
    SHARDMILL_EXPECT(shardmill_test_request(2), "");
    transforms();
    bad_requests();
    odd_hosts();
    return 0;
}
