/* shardmill.h: Shardmill functions in C11, ABI version 1 (sdk/abi.md). It needs no library, only memory.
 *
 *   #define SHARDMILL_IMPLEMENTATION  // in exactly one file of the function
 *   #include "shardmill.h"
 *
 *   static int handle(shardmill_call *call) {
 *       shardmill_record r;
 *       while (shardmill_next(call, &r)) {
 *           if (r.data.len == 0)
 *               shardmill_reject(call, r.index, SHARDMILL_TEXT("no data"));
 *           else
 *               shardmill_emit(call, SHARDMILL_TEXT("copies"), r.key, r.data);
 *       }
 *       return 0;
 *   }
 *
 *   SHARDMILL_FUNCTION(.batch = handle)
 *
 * What a handler says of a record: nothing (it is ok), or drop, retry or reject. Of the call: 0, or shardmill_fail with a
 * message, which fails all of it: nothing that it emitted is put, and the batch is delivered again, as the mapping's retry
 * policy says. Delivery is at least once; call->attempt counts.
 *
 * What a function reaches beyond its call, as far as its configuration grants it: secrets, state tables, HTTP servers, variables. Each of
 * these calls returns SHARDMILL_OK or why it did not do it, about which shardmill_reason has a sentence:
 *
 *   shardmill_entry city;
 *   const int status = shardmill_state_get(SHARDMILL_TEXT("cities"), r.key, &city);
 *   if (status == SHARDMILL_NOT_FOUND) ...
 *   else if (status != SHARDMILL_OK) return shardmill_fail(call, shardmill_reason());
 *
 * A module imports what it calls, and is refused when it is uploaded where its configuration grants nothing of that kind.
 *
 * What is valid when: the call and everything in it, records too, until the handler returns. What is given to emit, answer
 * and fail is copied at once. Variables of the program last as long as the instance: any call may be served by a new one, so
 * they are a cache and not state. An instance serves one call at a time.
 *
 * C has no exceptions: a trap ends the instance and fails the call. shardmill_panic says why first. Where there is no memory
 * for what is emitted, the instance traps, and the host says that it needed more memory than its limit.
 *
 * Memory: from realloc where there is a C library, and from memory.grow where there is none (-ffreestanding; a malloc of
 * your own must not take memory that it has not grown itself). SHARDMILL_REALLOC(ptr, old_size, new_size), defined before the
 * implementation, takes the place of both; it returns NULL where there is no memory.
 *
 * Licence: Apache-2.0.
 */
#ifndef SHARDMILL_H
#define SHARDMILL_H

#include <stddef.h>
#include <stdint.h>

/* Bytes somewhere in memory; text is UTF-8 and not terminated. ptr may be NULL when len is 0. */
typedef struct shardmill_bytes {
    const char *ptr;
    size_t len;
} shardmill_bytes;

/* The bytes of a string literal. */
#define SHARDMILL_TEXT(literal) ((shardmill_bytes){"" literal, sizeof(literal) - 1})

/* One record, a view into the call. */
typedef struct shardmill_record {
    uint32_t index;                /* in the batch, from 0 */
    uint64_t sequence;             /* its sequence number */
    int64_t arrival;               /* microseconds since the Unix epoch */
    shardmill_bytes key, data;
    const uint8_t *explicit_hash;  /* 16 bytes, big-endian; NULL when the key's hash counts */
} shardmill_record;

/* One call. The members are to be read only; those that do not apply are zero. */
typedef struct shardmill_call {
    shardmill_bytes function, mapping, stream, invocation;
    uint32_t version;              /* of the function, from 1 */
    uint32_t shard;
    uint32_t attempt;              /* 1 for the first delivery of a batch */
    int64_t deadline;              /* microseconds since the Unix epoch, when the host stops the function; 0: never */
    uint32_t records;              /* how many there are in the batch */
    shardmill_bytes input;         /* of a direct invocation */

    /* The tumbling window that all records of the batch arrived in, or that has ended: microseconds since the Unix epoch, its end
     * exclusive. Both are 0 when the mapping has none. */
    int64_t window_start, window_end;
    int window_ended_early;        /* its state had become larger than 1 MiB, and the window goes on with an empty one */
    shardmill_bytes state;         /* what the window's batches before have left */

    /* Where shardmill_next is. */
    const uint8_t *first, *at, *end;
    uint32_t next;
} shardmill_call;

/* A handler returns 0 when all went well. */
typedef int (*shardmill_handler)(shardmill_call *call);

/* What the function can do; NULL is a kind of call that it does not handle. */
typedef struct shardmill_handlers {
    shardmill_handler batch;       /* records of one shard of a stream */
    shardmill_handler invoke;      /* a direct invocation: call->input, shardmill_answer */
    shardmill_handler window;      /* the end of a tumbling window: call->state. A failure has the host call it again */
    shardmill_handler transform;   /* records on their way to a destination: shardmill_next, replace, drop, reject. What it says nothing of goes on as it is */
} shardmill_handlers;

/* Defines the function's handlers, in one file of it: SHARDMILL_FUNCTION(.batch = handle) */
#define SHARDMILL_FUNCTION(...) const shardmill_handlers shardmill_the_handlers = {__VA_ARGS__};
extern const shardmill_handlers shardmill_the_handlers;

/* Reads the next record of a batch; 0 when there is none left. What the function does until it is called again is what that record costs, for
 * `shardmill function costs`. */
int shardmill_next(shardmill_call *call, shardmill_record *record);

/* Has shardmill_next begin again with the first record. */
void shardmill_rewind(shardmill_call *call);

/* Adds a record to be put to a stream when the handler has returned 0. What cannot be encoded, or a 257th stream, fails the
 * call when the handler returns. Whether the function may emit to that stream, and the limits of key and data, are the host's
 * to check. */
void shardmill_emit(shardmill_call *call, shardmill_bytes stream, shardmill_bytes key, shardmill_bytes data);

/* The same with the record's explicit hash key: of a record, key, data and explicit_hash are taken. */
void shardmill_emit_record(shardmill_call *call, shardmill_bytes stream, const shardmill_record *record);

/* In a transform: adds a record that takes the place of the one with that index. Several for one record take its place together; of a record that
 * is dropped or rejected they count for nothing. What cannot be encoded, and an index that is not in the call, fails the call. */
void shardmill_replace(shardmill_call *call, uint32_t index, shardmill_bytes key, shardmill_bytes data);
void shardmill_replace_record(shardmill_call *call, uint32_t index, const shardmill_record *record);

/* What became of the record with that index in the batch. The last word on a record counts. A reason may be empty, and is cut
 * at 1,024 bytes. An index that is not in the batch fails the call. */
void shardmill_drop(shardmill_call *call, uint32_t index, shardmill_bytes reason);   /* settled, and not wanted */
void shardmill_retry(shardmill_call *call, uint32_t index, shardmill_bytes reason);  /* to be delivered again; in a transform it fails the call */
void shardmill_reject(shardmill_call *call, uint32_t index, shardmill_bytes reason); /* no retry can help it */

/* Gives the window another state, for its next batch and its end; without it the state stays. More than 1 MiB ends the window
 * early, more than 6 MiB fails the call. It has an effect only in a batch of a mapping that has a window. */
void shardmill_set_state(shardmill_call *call, shardmill_bytes state);

/* The answer to a direct invocation; the last one counts. */
void shardmill_answer(shardmill_call *call, shardmill_bytes body);

/* Fails the call: return shardmill_fail(call, SHARDMILL_TEXT("no such airport")). It returns 1. The first message counts. */
int shardmill_fail(shardmill_call *call, shardmill_bytes message);

/* What the calls that follow return. */
enum {
    SHARDMILL_OK = 0,
    SHARDMILL_DENIED = -1,      /* the function's configuration does not grant it */
    SHARDMILL_NOT_FOUND = -2,
    SHARDMILL_CONFLICT = -3,    /* it is not as expected */
    SHARDMILL_INVALID = -4,     /* an argument is out of its limits */
    SHARDMILL_UNAVAILABLE = -5, /* the host cannot do it now; it may pass */
    SHARDMILL_NO_CALL = -6      /* no call is under way */
};

/* The host's sentence about the last call that did not return SHARDMILL_OK; valid until the next one that does not, or the handler returns. */
shardmill_bytes shardmill_reason(void);

/* The value of a secret as it is now, valid until the next shardmill_secret, shardmill_state_get or shardmill_fetch. It is not to be kept longer than
 * the call: it may be changed while the instance lives. */
int shardmill_secret(shardmill_bytes name, shardmill_bytes *value);

/* The value of a variable of the function's configuration; 0 when there is none. It is valid for ever. */
int shardmill_env(shardmill_bytes name, shardmill_bytes *value);

/* What a change of state can expect of an entry, besides its revision. */
#define SHARDMILL_ANY ((int64_t)-1)
#define SHARDMILL_ABSENT ((int64_t)0)

/* An entry of a state table. The revision is greater than 0, and another one after each change; that of an entry which this call has put is good
 * in this call only. */
typedef struct shardmill_entry {
    shardmill_bytes key, value;
    int64_t revision;
} shardmill_entry;

/* The entry with a key; its value is valid until the next shardmill_secret, shardmill_state_get or shardmill_fetch. A table is one of the function's own
 * for each mapping and shard, or, where the grant is shared:NAME, one that it shares. What a call changes it sees at once, and others when it
 * has succeeded: all of it or nothing, after its outputs. A key has 1 to 512 bytes, a value at most 1 MiB. */
int shardmill_state_get(shardmill_bytes table, shardmill_bytes key, shardmill_entry *entry);

/* Makes or changes an entry that is as expected: SHARDMILL_ANY, SHARDMILL_ABSENT or a revision. revision, which may be NULL, is then its new one. */
int shardmill_state_put(shardmill_bytes table, shardmill_bytes key, shardmill_bytes value, int64_t expected, int64_t *revision);

/* Removes an entry that is as expected, if there is one. */
int shardmill_state_delete(shardmill_bytes table, shardmill_bytes key, int64_t expected);

/* A walk over the entries whose keys begin with a prefix, by the order of their bytes: {.table = ..., .prefix = ...}. There can be one at a time. The
 * table may be changed meanwhile, and other calls made. */
typedef struct shardmill_list {
    shardmill_bytes table, prefix; /* the prefix may be empty */

    /* Where the walk is. */
    int begun, more;
    uint32_t left;
    size_t at, after_len;
    char after[512];
} shardmill_list;

/* Goes on to the next entry, which is valid until the next one: 1, 0 when there is none left, or why it did not. */
int shardmill_list_next(shardmill_list *list, shardmill_entry *entry);

/* One field of an HTTP header. */
typedef struct shardmill_field {
    shardmill_bytes name, value;
} shardmill_field;

/* An HTTP request: {.url = ...} is a GET. */
typedef struct shardmill_request {
    shardmill_bytes method;        /* empty: GET */
    shardmill_bytes url;           /* at most 8 KiB */
    const shardmill_field *fields; /* at most 64, and 16 KiB */
    size_t field_count;
    shardmill_bytes body;          /* at most 6 MiB */
    uint32_t timeout;              /* milliseconds; 0: as long as the call may run */
} shardmill_request;

/* The answer, valid until the next shardmill_secret, shardmill_state_get or shardmill_fetch. */
typedef struct shardmill_response {
    int status;
    shardmill_bytes body;

    /* For shardmill_header. */
    const uint8_t *fields;
    uint32_t field_count;
} shardmill_response;

/* Makes an HTTP request to a server that is granted, and returns when all of the answer is there; whatever its status, that is SHARDMILL_OK. Redirects are
 * followed to servers that are granted. Nothing is tried twice, and what is sent counts even when the call fails. */
int shardmill_fetch(const shardmill_request *request, shardmill_response *response);

/* The first header field of a name, in whatever case; 0 when there is none. */
int shardmill_header(const shardmill_response *response, shardmill_bytes name, shardmill_bytes *value);

/* The time, in microseconds since the Unix epoch. */
int64_t shardmill_now(void);

/* How many microseconds are left of a call; INT64_MAX when it has no deadline. */
int64_t shardmill_remaining(const shardmill_call *call);

#ifdef __wasm__
/* shardmill_log with fields beside its message. */
void shardmill_log_fields(const char *level, shardmill_bytes message, const shardmill_field *fields, size_t count);

/* Writes a line to the function's log; level is debug, info, warn or error. What printf writes to stdout is of level info. */
void shardmill_log(const char *level, shardmill_bytes message);

/* Ends the instance. The call fails with this message. */
_Noreturn void shardmill_panic(shardmill_bytes message);
#endif

#ifndef __wasm__
/* What stands in for the host's functions (sdk/abi.md, section 6) where there is none: in tests. While it is NULL everything is denied. */
typedef struct shardmill_host {
    size_t (*result)(void *to, size_t len);
    int64_t (*secret)(const char *name, size_t name_len);
    int64_t (*state_get)(const char *table, size_t table_len, const char *key, size_t key_len);
    int64_t (*state_put)(const char *table, size_t table_len, const char *key, size_t key_len, const char *value, size_t len, int64_t expected);
    int64_t (*state_delete)(const char *table, size_t table_len, const char *key, size_t key_len, int64_t expected);
    int64_t (*state_list)(const char *table, size_t table_len, const char *prefix, size_t prefix_len, const char *after, size_t after_len, uint32_t limit);
    int64_t (*http_fetch)(const void *request, size_t len);
} shardmill_host;
extern const shardmill_host *shardmill_the_host;
#endif

/* What the host calls. Only tests that play the host's part call these themselves. */
uint8_t *shardmill_input_area(size_t size); /* NULL when there is no memory */
const uint8_t *shardmill_serve(uint32_t kind, const uint8_t *call, size_t len, size_t *reply_len);
uint32_t shardmill_kinds_mask(void);

#endif /* SHARDMILL_H */

#if defined(SHARDMILL_IMPLEMENTATION) && !defined(SHARDMILL_IMPLEMENTED)
#define SHARDMILL_IMPLEMENTED

/* Results, failure kinds, and limits of the ABI in bytes. */
enum {
    shardmill__dropped = 1, shardmill__retry = 2, shardmill__rejected = 3,
    shardmill__error = 1, shardmill__panicked = 2, shardmill__unsupported = 3, shardmill__bad_call = 4,
    shardmill__batch = 1, shardmill__window = 2, shardmill__transform = 3, shardmill__invoke = 4, shardmill__max_state = 6 << 20,
    shardmill__max_name = 256, shardmill__max_reason = 1024, shardmill__max_message = 65536, shardmill__max_outputs = 256,
    shardmill__max_key = 65535, shardmill__max_data = (1 << 30) - 1,
    shardmill__call_header = 80, shardmill__reply_header = 40, shardmill__batch_header = 24, shardmill__record_header = 24,
};

#define SHARDMILL__MAX_SIZE 0x7ffffff8u /* of an input area, and of a reply */

/* WebAssembly is little-endian; elsewhere this header is only tested. */
static uint16_t shardmill__u16(const uint8_t *p) { uint16_t v; __builtin_memcpy(&v, p, 2); return v; }
static uint32_t shardmill__u32(const uint8_t *p) { uint32_t v; __builtin_memcpy(&v, p, 4); return v; }
static uint64_t shardmill__u64(const uint8_t *p) { uint64_t v; __builtin_memcpy(&v, p, 8); return v; }
static void shardmill__put16(uint8_t *p, uint16_t v) { __builtin_memcpy(p, &v, 2); }
static void shardmill__put32(uint8_t *p, uint32_t v) { __builtin_memcpy(p, &v, 4); }
static void shardmill__put64(uint8_t *p, uint64_t v) { __builtin_memcpy(p, &v, 8); }

static size_t shardmill__align(size_t n) { return (n + 7) & ~(size_t)7; }

static void shardmill__copy(void *to, const void *from, size_t n) {
    if (n > 0) __builtin_memcpy(to, from, n); /* from may be NULL when n is 0 */
}

static int shardmill__equal(const uint8_t *a, const char *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (a[i] != (uint8_t)b[i]) return 0;
    }
    return 1;
}

/* Copies part and pads it with zeros; returns how many bytes that took. */
static size_t shardmill__put_padded(uint8_t *to, const void *part, size_t len) {
    size_t end = shardmill__align(len);
    for (size_t i = len; i < end; i++) to[i] = 0;
    shardmill__copy(to, part, len);
    return end;
}

/* Shortens text to at most limit bytes, between characters. */
static size_t shardmill__cut(shardmill_bytes text, size_t limit) {
    if (text.len <= limit) return text.len;
    while (limit > 0 && ((uint8_t)text.ptr[limit] & 0xC0) == 0x80) limit--;
    return limit;
}

#if !defined(SHARDMILL_REALLOC) && __STDC_HOSTED__
#include <stdlib.h>
#define SHARDMILL_REALLOC(ptr, old_size, new_size) realloc(ptr, new_size)
#elif !defined(SHARDMILL_REALLOC)
/* Memory for a handful of buffers that only grow: blocks are cut from pages that memory.grow gave, and blocks that were left
 * behind serve smaller buffers. */
typedef struct shardmill__block {
    struct shardmill__block *next;
    size_t size;
} shardmill__block;

static shardmill__block *shardmill__free_blocks;
static uint8_t *shardmill__pages, *shardmill__pages_end;

static void *shardmill__take(size_t size) {
    for (shardmill__block **b = &shardmill__free_blocks; *b; b = &(*b)->next) {
        if ((*b)->size >= size) {
            shardmill__block *found = *b;
            *b = found->next;
            return found;
        }
    }
    if ((size_t)(shardmill__pages_end - shardmill__pages) < size) {
        size_t pages = (size + 65535) / 65536;
        size_t was = __builtin_wasm_memory_grow(0, pages);
        if (was == (size_t)-1) return NULL;
        uint8_t *at = (uint8_t *)(was * 65536);
        if (at != shardmill__pages_end) shardmill__pages = at; /* others grow the memory too */
        shardmill__pages_end = at + pages * 65536;
    }
    void *p = shardmill__pages;
    shardmill__pages += size;
    return p;
}

static void *shardmill__realloc(void *ptr, size_t old_size, size_t new_size) {
    void *p = shardmill__take(new_size);
    if (p && ptr) {
        __builtin_memcpy(p, ptr, old_size);
        shardmill__block *b = (shardmill__block *)ptr;
        b->next = shardmill__free_blocks;
        b->size = old_size;
        shardmill__free_blocks = b;
    }
    return p;
}
#define SHARDMILL_REALLOC(ptr, old_size, new_size) shardmill__realloc(ptr, old_size, new_size)
#endif

/* A buffer keeps its memory from call to call. */
typedef struct shardmill__buffer {
    uint8_t *ptr;
    size_t len, cap;
} shardmill__buffer;

/* Makes room for more bytes behind those that are there and returns that room; the instance ends when there is no memory. */
static uint8_t *shardmill__extend(shardmill__buffer *b, size_t more) {
    if (more > SHARDMILL__MAX_SIZE - b->len) __builtin_trap();
    size_t need = b->len + more;
    if (need > b->cap) {
        size_t cap = need + need / 2;
        cap = cap < 1024 ? 1024 : shardmill__align(cap);
        uint8_t *p = (uint8_t *)SHARDMILL_REALLOC(b->ptr, b->cap, cap);
        if (!p) { /* perhaps there is memory for just what is needed */
            cap = shardmill__align(need);
            p = (uint8_t *)SHARDMILL_REALLOC(b->ptr, b->cap, cap);
        }
        if (!p) __builtin_trap();
        b->ptr = p, b->cap = cap;
    }
    uint8_t *room = b->ptr + b->len;
    b->len = need;
    return room;
}

/* A stream that is emitted to in this call. */
typedef struct shardmill__output {
    uint8_t name[shardmill__max_name];
    uint32_t name_len;
    uint32_t count;  /* records */
    size_t size;     /* their encoded bytes */
    size_t to;       /* where the next of them goes in the reply */
} shardmill__output;

/* A stretch of staged records that go to one stream. */
typedef struct shardmill__stretch {
    uint32_t output;
    uint32_t size;
} shardmill__stretch;

static struct {
    shardmill__buffer input, reply;
    shardmill__buffer records;    /* emitted ones, encoded, in the order in which they were emitted */
    shardmill__buffer stretches;  /* shardmill__stretch: whose they are */
    shardmill__buffer outputs;    /* shardmill__output */
    shardmill__buffer outcomes;   /* encoded as in the reply, in the order in which they were said */
    shardmill__buffer last;       /* uint32_t per record, from its first outcome on: where the last word on it is in outcomes, plus 1 */
    uint32_t outcome_count;       /* of records that have one */
    int64_t highest;              /* index with an outcome, -1: none */
    int unsorted;                 /* outcomes are not what the reply needs as they are */
    shardmill__buffer body, state, message;
    shardmill__buffer result;     /* of the host's functions, but for state_list */
    shardmill__buffer page;       /* of state_list */
    shardmill__buffer request;    /* of http_fetch */
    shardmill__buffer environ;    /* NAME=VALUE and a zero byte each, once environ_read is set */
    int environ_read;
    char reason[1024];
    size_t reason_len;
    shardmill_bytes kept_state;   /* the reply's state: the call's, or what is in state */
    int transforms;               /* the call is a transform */
    uint16_t failed;              /* the kind of the first failure; 0: none */
} shardmill__g;

static void shardmill__reset(void) {
    shardmill__g.reason_len = 0;
    shardmill__g.records.len = shardmill__g.stretches.len = shardmill__g.outputs.len = 0;
    shardmill__g.outcomes.len = shardmill__g.last.len = shardmill__g.body.len = shardmill__g.message.len = 0;
    shardmill__g.outcome_count = 0;
    shardmill__g.highest = -1;
    shardmill__g.unsorted = 0;
    shardmill__g.kept_state = (shardmill_bytes){NULL, 0};
    shardmill__g.failed = 0;
}

/* Notes why the call fails, unless that is known already: the parts of the message, to the first that is NULL. */
static void shardmill__fails(uint16_t kind, shardmill_bytes a, shardmill_bytes b, shardmill_bytes c) {
    if (shardmill__g.failed) return;
    shardmill__g.failed = kind;
    const shardmill_bytes parts[3] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        if (parts[i].len > 0) shardmill__copy(shardmill__extend(&shardmill__g.message, parts[i].len), parts[i].ptr, parts[i].len);
    }
}

static const shardmill_bytes shardmill__nothing = {"", 0};

static void shardmill__fails_with(uint16_t kind, shardmill_bytes message) {
    shardmill__fails(kind, message, shardmill__nothing, shardmill__nothing);
}

int shardmill_fail(shardmill_call *call, shardmill_bytes message) {
    (void)call;
    shardmill__fails_with(shardmill__error, message);
    return 1;
}

/* n in decimal, in to, which has room for 10 digits. */
static shardmill_bytes shardmill__decimal(char *to, uint32_t n) {
    char *end = to + 10, *p = end;
    do *--p = (char)('0' + n % 10); while (n /= 10);
    return (shardmill_bytes){p, (size_t)(end - p)};
}

/* The position of the record that the handler works on, from 1, for the host to look at; 0: none. Volatile, because the host looks while the program runs. */
static volatile uint32_t shardmill__marked;

int shardmill_next(shardmill_call *call, shardmill_record *record) {
    const uint8_t *p = call->at;
    size_t left = (size_t)(call->end - p);
    if (left < shardmill__record_header) {
        shardmill__marked = 0;
        return 0;
    }
    size_t data = shardmill__u32(p + 16), key = shardmill__u16(p + 20), hash = p[22] & 1 ? 16 : 0;
    /* The host has just made this batch; were it wrong, nothing behind it is read. */
    if (data > left || shardmill__record_header + hash + key + data > left) {
        shardmill__fails_with(shardmill__bad_call, SHARDMILL_TEXT("a record ends behind its batch"));
        call->at = call->end;
        return 0;
    }
    record->index = call->next++;
    shardmill__marked = call->next;
    record->sequence = shardmill__u64(p);
    record->arrival = (int64_t)shardmill__u64(p + 8);
    record->explicit_hash = hash ? p + shardmill__record_header : NULL;
    const char *at = (const char *)p + shardmill__record_header + hash;
    record->key.ptr = at, record->key.len = key;
    record->data.ptr = at + key, record->data.len = data;
    size_t size = shardmill__align(shardmill__record_header + hash + key + data);
    call->at = size < left ? p + size : call->end;
    return 1;
}

void shardmill_rewind(shardmill_call *call) {
    call->at = call->first;
    call->next = 0;
}

static void shardmill__emit_fails(shardmill_bytes stream, shardmill_bytes why) {
    stream.len = shardmill__cut(stream, shardmill__max_name);
    shardmill__fails(shardmill__error, SHARDMILL_TEXT("emit to stream \""), stream, why);
}

static int shardmill__same(const shardmill__output *o, shardmill_bytes name) {
    return o->name_len == name.len && shardmill__equal(o->name, name.ptr, name.len);
}

/* The index of a stream among the outputs, -1 when the call fails for it. */
static int64_t shardmill__output_of(shardmill_bytes stream, int replaces) {
    if (stream.len == 0 && !replaces) {
        shardmill__emit_fails(stream, SHARDMILL_TEXT("\": the name is empty"));
        return -1;
    }
    const size_t n = shardmill__g.outputs.len / sizeof(shardmill__output);
    const shardmill__output *all = (const shardmill__output *)shardmill__g.outputs.ptr;
    if (shardmill__g.stretches.len > 0) { /* mostly it is the last one again */
        const uint8_t *end = shardmill__g.stretches.ptr + shardmill__g.stretches.len;
        const uint32_t last = ((const shardmill__stretch *)end)[-1].output;
        if (shardmill__same(&all[last], stream)) return last;
    }
    for (size_t i = 0; i < n; i++) {
        if (shardmill__same(&all[i], stream)) return (int64_t)i;
    }
    if (stream.len > shardmill__max_name) {
        shardmill__emit_fails(stream, SHARDMILL_TEXT("…\": the name is longer than 256 bytes"));
        return -1;
    }
    if (n == shardmill__max_outputs) {
        shardmill__emit_fails(stream, SHARDMILL_TEXT("\": it is the 257th stream of the call; 256 is the most"));
        return -1;
    }
    shardmill__output *o = (shardmill__output *)shardmill__extend(&shardmill__g.outputs, sizeof *o);
    shardmill__copy(o->name, stream.ptr, stream.len);
    o->name_len = (uint32_t)stream.len;
    o->count = 0;
    o->size = 0;
    return (int64_t)n;
}

/* Has the output's stretch, the last one or a new one, grow by size bytes. */
static void shardmill__stretch_by(uint32_t output, size_t size) {
    shardmill__stretch *s = (shardmill__stretch *)(shardmill__g.stretches.ptr + shardmill__g.stretches.len);
    if (shardmill__g.stretches.len == 0 || s[-1].output != output) {
        s = (shardmill__stretch *)shardmill__extend(&shardmill__g.stretches, sizeof *s);
        *s++ = (shardmill__stretch){output, 0};
    }
    s[-1].size += (uint32_t)size;
}

/* Adds a record to the output for a stream, or, without one, to what replaces records; sequence is then the index of the one that it replaces. */
static void shardmill__put_record(shardmill_bytes stream, const shardmill_record *record, int replaces, uint64_t sequence) {
    if (record->key.len > shardmill__max_key) {
        shardmill__emit_fails(stream, SHARDMILL_TEXT("\": the partition key is longer than 65535 bytes"));
        return;
    }
    if (record->data.len > shardmill__max_data) {
        shardmill__emit_fails(stream, SHARDMILL_TEXT("\": the data is longer than 1073741823 bytes"));
        return;
    }
    const int64_t output = shardmill__output_of(stream, replaces);
    if (output < 0) return;
    const size_t hash = record->explicit_hash ? 16 : 0;
    const size_t used = shardmill__record_header + hash + record->key.len + record->data.len;
    const size_t size = shardmill__align(used);
    uint8_t *p = shardmill__extend(&shardmill__g.records, size);
    shardmill__put64(p + size - 8, 0); /* the padding; the rest of these bytes is written over */
    shardmill__put64(p, sequence);
    shardmill__put64(p + 8, 0);
    shardmill__put32(p + 16, (uint32_t)record->data.len);
    shardmill__put16(p + 20, (uint16_t)record->key.len);
    p[22] = hash ? 1 : 0;
    p[23] = 0;
    uint8_t *at = p + shardmill__record_header;
    shardmill__copy(at, record->explicit_hash, hash);
    shardmill__copy(at + hash, record->key.ptr, record->key.len);
    shardmill__copy(at + hash + record->key.len, record->data.ptr, record->data.len);
    shardmill__output *o = (shardmill__output *)shardmill__g.outputs.ptr + output;
    o->count++;
    o->size += size;
    shardmill__stretch_by((uint32_t)output, size);
}

void shardmill_emit_record(shardmill_call *call, shardmill_bytes stream, const shardmill_record *record) {
    (void)call;
    shardmill__put_record(stream, record, 0, 0);
}

void shardmill_emit(shardmill_call *call, shardmill_bytes stream, shardmill_bytes key, shardmill_bytes data) {
    const shardmill_record r = {.key = key, .data = data};
    shardmill_emit_record(call, stream, &r);
}

/* The table of last words, which is there from the first outcome on. */
static uint32_t *shardmill__last_words(uint32_t records) {
    if (shardmill__g.last.len == 0) {
        uint32_t *last = (uint32_t *)shardmill__extend(&shardmill__g.last, (size_t)records * 4);
        __builtin_memset(last, 0, (size_t)records * 4);
    }
    return (uint32_t *)shardmill__g.last.ptr;
}

/* Whether the record is in the call; otherwise the call fails. */
static int shardmill__within(const shardmill_call *call, uint32_t index, shardmill_bytes what) {
    if (index < call->records) return 1;
    char a[10], b[10];
    shardmill__fails(shardmill__panicked, what, shardmill__decimal(a, index), SHARDMILL_TEXT(" of a batch of "));
    if (shardmill__g.failed == shardmill__panicked) {
        const shardmill_bytes n = shardmill__decimal(b, call->records);
        shardmill__copy(shardmill__extend(&shardmill__g.message, n.len), n.ptr, n.len);
    }
    return 0;
}

void shardmill_replace_record(shardmill_call *call, uint32_t index, const shardmill_record *record) {
    if (!shardmill__g.transforms) {
        shardmill__fails_with(shardmill__error, SHARDMILL_TEXT("a record is replaced in a call that is no transform"));
        return;
    }
    if (shardmill__within(call, index, SHARDMILL_TEXT("replacement of record "))) shardmill__put_record((shardmill_bytes){"", 0}, record, 1, index);
}

void shardmill_replace(shardmill_call *call, uint32_t index, shardmill_bytes key, shardmill_bytes data) {
    const shardmill_record r = {.key = key, .data = data};
    shardmill_replace_record(call, index, &r);
}

static void shardmill__outcome(shardmill_call *call, uint32_t index, uint8_t result, shardmill_bytes reason) {
    if (!shardmill__within(call, index, SHARDMILL_TEXT("outcome for record "))) return;
    uint32_t *last = shardmill__last_words(call->records);
    if ((int64_t)index <= shardmill__g.highest) shardmill__g.unsorted = 1;
    else shardmill__g.highest = index;
    if (!last[index]) shardmill__g.outcome_count++;
    last[index] = (uint32_t)shardmill__g.outcomes.len + 1;
    const size_t len = shardmill__cut(reason, shardmill__max_reason);
    uint8_t *p = shardmill__extend(&shardmill__g.outcomes, 8 + shardmill__align(len));
    shardmill__put32(p, index);
    p[4] = result;
    p[5] = 0;
    shardmill__put16(p + 6, (uint16_t)len);
    shardmill__put_padded(p + 8, reason.ptr, len);
}

void shardmill_drop(shardmill_call *call, uint32_t index, shardmill_bytes reason) {
    shardmill__outcome(call, index, shardmill__dropped, reason);
}

void shardmill_retry(shardmill_call *call, uint32_t index, shardmill_bytes reason) {
    if (shardmill__g.transforms) shardmill__fails_with(shardmill__error, SHARDMILL_TEXT("a transform cannot ask for a record again; fail the call"));
    else shardmill__outcome(call, index, shardmill__retry, reason);
}

void shardmill_reject(shardmill_call *call, uint32_t index, shardmill_bytes reason) {
    shardmill__outcome(call, index, shardmill__rejected, reason);
}

void shardmill_answer(shardmill_call *call, shardmill_bytes body) {
    (void)call;
    shardmill__g.body.len = 0;
    shardmill__copy(shardmill__extend(&shardmill__g.body, body.len), body.ptr, body.len);
}

void shardmill_set_state(shardmill_call *call, shardmill_bytes state) {
    if (call->window_start == call->window_end || !call->first) return;
    if (state.len > shardmill__max_state) {
        shardmill__fails_with(shardmill__error, SHARDMILL_TEXT("the state is longer than 6291456 bytes"));
        return;
    }
    shardmill__g.state.len = 0;
    char *to = (char *)shardmill__extend(&shardmill__g.state, state.len);
    shardmill__copy(to, state.ptr, state.len);
    shardmill__g.kept_state = (shardmill_bytes){to, state.len};
}

/* Begins the reply of that size and writes the fixed part of its header; the rest of the header is zero. */
static uint8_t *shardmill__begin(size_t size) {
    shardmill__g.reply.len = 0; /* nothing of the last one is kept */
    uint8_t *p = shardmill__extend(&shardmill__g.reply, size);
    __builtin_memset(p, 0, shardmill__reply_header);
    __builtin_memcpy(p, "SMRP", 4);
    p[4] = 1;
    shardmill__put32(p + 8, (uint32_t)size);
    return p;
}

static void shardmill__reply_failure(void) {
    const shardmill__buffer m = shardmill__g.message;
    const size_t len = shardmill__cut((shardmill_bytes){(const char *)m.ptr, m.len}, shardmill__max_message);
    const size_t section = 16 + shardmill__align(len);
    uint8_t *p = shardmill__begin(shardmill__reply_header + section);
    p[6] = 1;
    shardmill__put32(p + 12, (uint32_t)section);
    p += shardmill__reply_header;
    __builtin_memset(p, 0, 16);
    shardmill__put16(p, shardmill__g.failed);
    shardmill__put32(p + 4, (uint32_t)len);
    shardmill__put_padded(p + 16, m.ptr, len);
}

static size_t shardmill__outcome_size(const uint8_t *p) { return 8 + shardmill__align(shardmill__u16(p + 6)); }

/* How long the outcomes section is: the last word on each record. */
static size_t shardmill__outcomes_size(void) {
    if (!shardmill__g.unsorted) return shardmill__g.outcomes.len;
    const uint32_t *last = (const uint32_t *)shardmill__g.last.ptr;
    size_t size = 0;
    for (int64_t i = 0; i <= shardmill__g.highest; i++) {
        if (last[i]) size += shardmill__outcome_size(shardmill__g.outcomes.ptr + last[i] - 1);
    }
    return size;
}

static uint8_t *shardmill__put_outcomes(uint8_t *to) {
    if (!shardmill__g.unsorted) {
        shardmill__copy(to, shardmill__g.outcomes.ptr, shardmill__g.outcomes.len);
        return to + shardmill__g.outcomes.len;
    }
    const uint32_t *last = (const uint32_t *)shardmill__g.last.ptr;
    for (int64_t i = 0; i <= shardmill__g.highest; i++) {
        if (!last[i]) continue;
        const uint8_t *p = shardmill__g.outcomes.ptr + last[i] - 1;
        const size_t size = shardmill__outcome_size(p);
        __builtin_memcpy(to, p, size);
        to += size;
    }
    return to;
}

static size_t shardmill__section_header(const shardmill__output *o) { return 16 + shardmill__align(o->name_len); }

/* Writes the sections' headers, and then each stretch of records to where its stream's are. */
static uint8_t *shardmill__put_outputs(uint8_t *to) {
    uint8_t *const begin = to;
    const size_t n = shardmill__g.outputs.len / sizeof(shardmill__output);
    shardmill__output *all = (shardmill__output *)shardmill__g.outputs.ptr;
    for (size_t i = 0; i < n; i++) {
        const size_t header = shardmill__section_header(&all[i]);
        shardmill__put32(to, (uint32_t)(header + all[i].size));
        shardmill__put32(to + 4, all[i].count);
        shardmill__put32(to + 8, (uint32_t)all[i].size);
        shardmill__put16(to + 12, (uint16_t)all[i].name_len);
        shardmill__put16(to + 14, 0);
        shardmill__put_padded(to + 16, all[i].name, all[i].name_len);
        all[i].to = (size_t)(to - begin) + header;
        to += header + all[i].size;
    }
    const shardmill__stretch *s = (const shardmill__stretch *)shardmill__g.stretches.ptr;
    const uint8_t *from = shardmill__g.records.ptr;
    for (size_t i = 0; i < shardmill__g.stretches.len / sizeof *s; i++) {
        shardmill__output *o = &all[s[i].output];
        __builtin_memcpy(begin + o->to, from, s[i].size);
        o->to += s[i].size;
        from += s[i].size;
    }
    return to;
}

static void shardmill__reply_ok(void) {
    const size_t outcomes = shardmill__outcomes_size(), n = shardmill__g.outputs.len / sizeof(shardmill__output);
    const shardmill__buffer body = shardmill__g.body;
    const shardmill_bytes state = shardmill__g.kept_state;
    uint64_t outputs = 0;
    for (size_t i = 0; i < n; i++) {
        const shardmill__output *o = (const shardmill__output *)shardmill__g.outputs.ptr + i;
        outputs += shardmill__section_header(o) + o->size;
    }
    const uint64_t size = shardmill__reply_header + (uint64_t)outcomes + outputs + shardmill__align(state.len) + shardmill__align(body.len);
    if (size > SHARDMILL__MAX_SIZE) {
        shardmill__fails_with(shardmill__error, SHARDMILL_TEXT("the reply is longer than 2147483640 bytes"));
        shardmill__reply_failure();
        return;
    }
    uint8_t *p = shardmill__begin((size_t)size);
    shardmill__put32(p + 16, shardmill__g.outcome_count);
    shardmill__put32(p + 20, (uint32_t)outcomes);
    shardmill__put32(p + 24, (uint32_t)n);
    shardmill__put32(p + 28, (uint32_t)outputs);
    shardmill__put32(p + 32, (uint32_t)state.len);
    shardmill__put32(p + 36, (uint32_t)body.len);
    p = shardmill__put_outcomes(p + shardmill__reply_header);
    p = shardmill__put_outputs(p);
    p += shardmill__put_padded(p, state.ptr, state.len);
    shardmill__put_padded(p, body.ptr, body.len);
}

/* The part of a call that its header says is at an offset; 0 when it is not behind low and in the call. */
static int shardmill__section(const uint8_t *call, size_t len, size_t low, size_t header, shardmill_bytes *to) {
    const uint64_t at = shardmill__u32(call + header), size = shardmill__u32(call + header + 4);
    *to = shardmill__nothing;
    if (size == 0) return 1;
    if (at < low || at % 8 != 0 || at + size > len) return 0;
    *to = (shardmill_bytes){(const char *)call + at, (size_t)size};
    return 1;
}

/* Reads the header of a call; NULL when all is well, else what is wrong with it. What a later host may have added behind the
 * known header is skipped. */
static const char *shardmill__read_call(shardmill_call *c, const uint8_t *b, size_t len, shardmill_bytes *body) {
    if (!b || len < shardmill__call_header) return "malformed call: it is shorter than its header";
    if (!shardmill__equal(b, "SMCL", 4)) return "malformed call: the magic is not SMCL";
    if (shardmill__u16(b + 4) != 1) return "malformed call: this function reads version 1";
    size_t names = shardmill__u16(b + 8);
    if (names < shardmill__call_header) return "malformed call: its header is shorter than 80 bytes";
    shardmill_bytes *const into[4] = {&c->mapping, &c->stream, &c->function, &c->invocation};
    for (int i = 0; i < 4; i++) {
        const size_t n = shardmill__u16(b + 10 + 2 * i);
        if (names + n > len) return "malformed call: its names end behind it";
        *into[i] = (shardmill_bytes){(const char *)b + names, n};
        names += n;
    }
    c->version = shardmill__u32(b + 20);
    c->shard = shardmill__u32(b + 24);
    c->attempt = shardmill__u32(b + 28);
    c->deadline = (int64_t)shardmill__u64(b + 32);
    c->window_start = (int64_t)shardmill__u64(b + 64);
    c->window_end = (int64_t)shardmill__u64(b + 72);
    c->window_ended_early = b[7] & 1;
    if (!shardmill__section(b, len, names, 40, body)) return "malformed call: the body does not lie in it";
    if (!shardmill__section(b, len, names, 52, &c->state)) return "malformed call: the state does not lie in it";
    return NULL;
}

/* Has the call begin with the records of the batch in body; 0 when it is none. */
static int shardmill__read_batch(shardmill_call *c, shardmill_bytes body) {
    const uint8_t *b = (const uint8_t *)body.ptr;
    if (body.len < shardmill__batch_header || !shardmill__equal(b, "SMRB", 4)) return 0;
    c->records = shardmill__u32(b + 16);
    if (c->records > (body.len - shardmill__batch_header) / shardmill__record_header) return 0;
    c->first = c->at = b + shardmill__batch_header;
    c->end = b + body.len;
    return 1;
}

uint32_t shardmill_kinds_mask(void) {
    return (shardmill_the_handlers.batch ? 1u << shardmill__batch : 0) |
           (shardmill_the_handlers.window ? 1u << shardmill__window : 0) |
           (shardmill_the_handlers.transform ? 1u << shardmill__transform : 0) |
           (shardmill_the_handlers.invoke ? 1u << shardmill__invoke : 0);
}

uint8_t *shardmill_input_area(size_t size) {
    shardmill__buffer *in = &shardmill__g.input;
    if (size > SHARDMILL__MAX_SIZE) return NULL;
    if (size > in->cap || !in->ptr) {
        const size_t cap = (size + size / 4 + 65536) & ~(size_t)65535;
        uint8_t *p = (uint8_t *)SHARDMILL_REALLOC(in->ptr, in->cap, cap);
        if (!p) return NULL;
        in->ptr = p, in->cap = cap;
    }
    return in->ptr;
}

static const char *shardmill__kind_name(uint32_t kind) {
    switch (kind) {
    case 1: return "the function has no handler for a stream batch";
    case 2: return "the function has no handler for a window close";
    case 3: return "the function has no handler for a transform";
    case 4: return "the function has no handler for a direct invoke";
    }
    return "the function has no handler for this kind of call";
}

static shardmill_bytes shardmill__text(const char *s) {
    shardmill_bytes text = {s, 0};
    while (s[text.len]) text.len++;
    return text;
}

/* ---- What the host does for functions, as their configuration grants (sdk/abi.md, section 6) ---- */

#ifdef __wasm__
#define SHARDMILL__IMPORT(name) __attribute__((import_module("shardmill"), import_name(name)))
SHARDMILL__IMPORT("result") size_t shardmill__host_result(void *to, size_t len);
SHARDMILL__IMPORT("secret") int64_t shardmill__host_secret(const char *name, size_t name_len);
SHARDMILL__IMPORT("state_get") int64_t shardmill__host_state_get(const char *table, size_t table_len, const char *key, size_t key_len);
SHARDMILL__IMPORT("state_put") int64_t shardmill__host_state_put(const char *table, size_t table_len, const char *key, size_t key_len, const char *value, size_t len, int64_t expected);
SHARDMILL__IMPORT("state_delete") int64_t shardmill__host_state_delete(const char *table, size_t table_len, const char *key, size_t key_len, int64_t expected);
SHARDMILL__IMPORT("state_list") int64_t shardmill__host_state_list(const char *table, size_t table_len, const char *prefix, size_t prefix_len, const char *after, size_t after_len, uint32_t limit);
SHARDMILL__IMPORT("http_fetch") int64_t shardmill__host_http_fetch(const void *request, size_t len);
#define SHARDMILL__HOST(name, ...) shardmill__host_##name(__VA_ARGS__)
#define SHARDMILL__HOST_RESULT(to, len) shardmill__host_result(to, len)

#define SHARDMILL__WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))
SHARDMILL__WASI("environ_sizes_get") int32_t shardmill__environ_sizes_get(uint32_t *count, uint32_t *size);
SHARDMILL__WASI("environ_get") int32_t shardmill__environ_get(void *places, void *to);
SHARDMILL__WASI("clock_time_get") int32_t shardmill__clock_time_get(int32_t clock, int64_t precision, uint64_t *to);
#else
#include <stdlib.h>
#include <time.h>
const shardmill_host *shardmill_the_host;
#define SHARDMILL__HOST(name, ...) (shardmill_the_host ? shardmill_the_host->name(__VA_ARGS__) : (int64_t)SHARDMILL_DENIED)
#define SHARDMILL__HOST_RESULT(to, len) (shardmill_the_host ? shardmill_the_host->result(to, len) : 0)
#endif

/* Keeps the host's sentence about a status, and gives the status back. */
static int shardmill__refused(int64_t status) {
    const size_t len = SHARDMILL__HOST_RESULT(shardmill__g.reason, sizeof shardmill__g.reason);
    shardmill__g.reason_len = len < sizeof shardmill__g.reason ? len : sizeof shardmill__g.reason;
    return status < SHARDMILL_NO_CALL ? SHARDMILL_UNAVAILABLE : (int)status;
}

/* A status that the SDK finds itself, and the sentence about it. */
static int shardmill__refuses(int status, shardmill_bytes why) {
    shardmill__copy(shardmill__g.reason, why.ptr, why.len);
    shardmill__g.reason_len = why.len;
    return status;
}

shardmill_bytes shardmill_reason(void) { return (shardmill_bytes){shardmill__g.reason, shardmill__g.reason_len}; }

/* Has b be what a function of the host gave that answered n. */
static int shardmill__given(shardmill__buffer *b, int64_t n) {
    b->len = 0;
    if (n < 0) return shardmill__refused(n);
    uint8_t *to = shardmill__extend(b, (size_t)n);
    const size_t len = SHARDMILL__HOST_RESULT(to, (size_t)n);
    return len == (size_t)n ? SHARDMILL_OK : shardmill__refuses(SHARDMILL_UNAVAILABLE, SHARDMILL_TEXT("the host gave another length than it said"));
}

int shardmill_secret(shardmill_bytes name, shardmill_bytes *value) {
    shardmill__buffer *b = &shardmill__g.result;
    const int status = shardmill__given(b, SHARDMILL__HOST(secret, name.ptr, name.len));
    *value = (shardmill_bytes){(const char *)b->ptr, b->len};
    return status;
}

int shardmill_state_get(shardmill_bytes table, shardmill_bytes key, shardmill_entry *entry) {
    shardmill__buffer *b = &shardmill__g.result;
    __builtin_memset(entry, 0, sizeof *entry);
    int status = shardmill__given(b, SHARDMILL__HOST(state_get, table.ptr, table.len, key.ptr, key.len));
    if (status != SHARDMILL_OK) return status;
    if (b->len < 8) return shardmill__refuses(SHARDMILL_UNAVAILABLE, SHARDMILL_TEXT("the host gave no entry"));
    *entry = (shardmill_entry){key, {(const char *)b->ptr + 8, b->len - 8}, (int64_t)shardmill__u64(b->ptr)};
    return SHARDMILL_OK;
}

int shardmill_state_put(shardmill_bytes table, shardmill_bytes key, shardmill_bytes value, int64_t expected, int64_t *revision) {
    const int64_t n = SHARDMILL__HOST(state_put, table.ptr, table.len, key.ptr, key.len, value.ptr, value.len, expected);
    if (n < 0) return shardmill__refused(n);
    if (revision) *revision = n;
    return SHARDMILL_OK;
}

int shardmill_state_delete(shardmill_bytes table, shardmill_bytes key, int64_t expected) {
    const int64_t n = SHARDMILL__HOST(state_delete, table.ptr, table.len, key.ptr, key.len, expected);
    return n < 0 ? shardmill__refused(n) : SHARDMILL_OK;
}

/* Gets the next entries of a walk. */
static int shardmill__list_page(shardmill_list *list) {
    shardmill__buffer *b = &shardmill__g.page;
    const int status = shardmill__given(b, SHARDMILL__HOST(state_list, list->table.ptr, list->table.len, list->prefix.ptr, list->prefix.len, list->after, list->after_len, 0));
    if (status != SHARDMILL_OK) return status;
    if (b->len < 8) return shardmill__refuses(SHARDMILL_UNAVAILABLE, SHARDMILL_TEXT("the host gave no list"));
    list->begun = 1;
    list->left = shardmill__u32(b->ptr);
    list->more = shardmill__u32(b->ptr + 4) == 1;
    list->at = 8;
    return SHARDMILL_OK;
}

int shardmill_list_next(shardmill_list *list, shardmill_entry *entry) {
    __builtin_memset(entry, 0, sizeof *entry);
    if (!list->begun || (list->left == 0 && list->more)) {
        const int status = shardmill__list_page(list);
        if (status != SHARDMILL_OK) return status;
    }
    if (list->left == 0) return 0;
    const uint8_t *p = shardmill__g.page.ptr + list->at;
    const size_t room = shardmill__g.page.len < list->at ? 0 : shardmill__g.page.len - list->at;
    const size_t value = room < 16 ? 0 : shardmill__u32(p + 8), key = room < 16 ? 0 : shardmill__u16(p + 12);
    if (room < 16 || value > room || key > sizeof list->after || 16 + key + value > room)
        return shardmill__refuses(SHARDMILL_UNAVAILABLE, SHARDMILL_TEXT("an entry ends behind its list"));
    entry->revision = (int64_t)shardmill__u64(p);
    entry->key = (shardmill_bytes){(const char *)p + 16, key};
    entry->value = (shardmill_bytes){(const char *)p + 16 + key, value};
    shardmill__copy(list->after, p + 16, key);
    list->after_len = key;
    list->left--;
    list->at += shardmill__align(16 + key + value);
    return 1;
}

static void shardmill__request_part(shardmill_bytes part) { shardmill__copy(shardmill__extend(&shardmill__g.request, part.len), part.ptr, part.len); }

/* Writes the request as the host reads it. */
static int shardmill__encode_request(const shardmill_request *r, shardmill_bytes method) {
    size_t left = 16384;
    int fits = r->field_count <= 64;
    for (size_t i = 0; fits && i < r->field_count; i++) {
        const size_t name = r->fields[i].name.len, value = r->fields[i].value.len;
        fits = name <= left && value <= left - name;
        left -= fits ? name + value : 0;
    }
    if (!fits) return shardmill__refuses(SHARDMILL_INVALID, SHARDMILL_TEXT("the header has more than 64 fields, or 16384 bytes"));
    if (method.len > 32) return shardmill__refuses(SHARDMILL_INVALID, SHARDMILL_TEXT("the method has more than 32 bytes"));
    if (r->url.len > 8192) return shardmill__refuses(SHARDMILL_INVALID, SHARDMILL_TEXT("the URL has more than 8192 bytes"));
    if (r->body.len > 6 << 20) return shardmill__refuses(SHARDMILL_INVALID, SHARDMILL_TEXT("the body has more than 6291456 bytes"));
    shardmill__g.request.len = 0;
    uint8_t *head = shardmill__extend(&shardmill__g.request, 16);
    shardmill__put32(head, r->timeout);
    shardmill__put16(head + 4, (uint16_t)method.len);
    shardmill__put16(head + 6, (uint16_t)r->field_count);
    shardmill__put32(head + 8, (uint32_t)r->url.len);
    shardmill__put32(head + 12, (uint32_t)r->body.len);
    shardmill__request_part(method);
    shardmill__request_part(r->url);
    for (size_t i = 0; i < r->field_count; i++) {
        uint8_t *lengths = shardmill__extend(&shardmill__g.request, 4);
        shardmill__put16(lengths, (uint16_t)r->fields[i].name.len);
        shardmill__put16(lengths + 2, (uint16_t)r->fields[i].value.len);
        shardmill__request_part(r->fields[i].name);
        shardmill__request_part(r->fields[i].value);
    }
    shardmill__request_part(r->body);
    return SHARDMILL_OK;
}

int shardmill_fetch(const shardmill_request *request, shardmill_response *response) {
    __builtin_memset(response, 0, sizeof *response);
    int status = shardmill__encode_request(request, request->method.len ? request->method : SHARDMILL_TEXT("GET"));
    if (status != SHARDMILL_OK) return status;
    shardmill__buffer *b = &shardmill__g.result;
    status = shardmill__given(b, SHARDMILL__HOST(http_fetch, shardmill__g.request.ptr, shardmill__g.request.len));
    if (status != SHARDMILL_OK) return status;
    const shardmill_bytes wrong = SHARDMILL_TEXT("the host gave an answer that cannot be read");
    if (b->len < 8) return shardmill__refuses(SHARDMILL_UNAVAILABLE, wrong);
    const size_t body = shardmill__u32(b->ptr + 4);
    const uint32_t fields = shardmill__u16(b->ptr + 2);
    size_t at = 8;
    for (uint32_t i = 0; i < fields; i++) {
        if (b->len - at < 4) return shardmill__refuses(SHARDMILL_UNAVAILABLE, wrong);
        at += 4 + (size_t)shardmill__u16(b->ptr + at) + shardmill__u16(b->ptr + at + 2);
        if (at > b->len) return shardmill__refuses(SHARDMILL_UNAVAILABLE, wrong);
    }
    if (body != b->len - at) return shardmill__refuses(SHARDMILL_UNAVAILABLE, wrong);
    *response = (shardmill_response){shardmill__u16(b->ptr), {(const char *)b->ptr + at, body}, b->ptr + 8, fields};
    return SHARDMILL_OK;
}

static char shardmill__lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

int shardmill_header(const shardmill_response *response, shardmill_bytes name, shardmill_bytes *value) {
    const uint8_t *p = response->fields;
    for (uint32_t n = response->field_count; n > 0; n--) {
        const size_t name_len = shardmill__u16(p), value_len = shardmill__u16(p + 2);
        size_t same = 0;
        while (name_len == name.len && same < name.len && shardmill__lower((char)p[4 + same]) == shardmill__lower(name.ptr[same])) same++;
        *value = (shardmill_bytes){(const char *)p + 4 + name_len, value_len};
        if (name_len == name.len && same == name.len) return 1;
        p += 4 + name_len + value_len;
    }
    *value = shardmill__nothing;
    return 0;
}

int64_t shardmill_now(void) {
#ifdef __wasm__
    uint64_t nanoseconds = 0;
    shardmill__clock_time_get(0, 1000, &nanoseconds);
    return (int64_t)(nanoseconds / 1000);
#else
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
#endif
}

int64_t shardmill_remaining(const shardmill_call *call) {
    if (call->deadline == 0) return INT64_MAX;
    const int64_t now = shardmill_now();
    return now < call->deadline ? call->deadline - now : 0;
}

#ifdef __wasm__
static void shardmill__read_environ(void) {
    uint32_t count = 0, size = 0;
    if (shardmill__environ_sizes_get(&count, &size) != 0) return;
    shardmill__g.request.len = 0; /* lends its memory for where the lines begin, which is of no use here */
    uint8_t *places = shardmill__extend(&shardmill__g.request, count * sizeof(uint32_t));
    if (shardmill__environ_get(places, shardmill__extend(&shardmill__g.environ, size)) != 0) shardmill__g.environ.len = 0;
}
#endif

int shardmill_env(shardmill_bytes name, shardmill_bytes *value) {
    *value = shardmill__nothing;
#ifdef __wasm__
    if (!shardmill__g.environ_read) shardmill__read_environ();
    shardmill__g.environ_read = 1;
    const char *p = (const char *)shardmill__g.environ.ptr, *end = p + shardmill__g.environ.len;
    for (; p < end; p++) {
        shardmill_bytes line = shardmill__text(p);
        if (line.len > name.len && line.ptr[name.len] == '=' && shardmill__equal((const uint8_t *)p, name.ptr, name.len)) {
            *value = (shardmill_bytes){p + name.len + 1, line.len - name.len - 1};
            return 1;
        }
        p += line.len;
    }
    return 0;
#else
    char copy[129];
    if (name.len >= sizeof copy) return 0;
    shardmill__copy(copy, name.ptr, name.len);
    copy[name.len] = 0;
    const char *found = getenv(copy);
    if (found) *value = shardmill__text(found);
    return found != NULL;
#endif
}

static void shardmill__run(uint32_t kind, const uint8_t *b, size_t len) {
    shardmill_call c;
    __builtin_memset(&c, 0, sizeof c);
    shardmill_bytes body;
    const char *wrong = shardmill__read_call(&c, b, len, &body);
    if (!wrong && b[6] != kind) wrong = "the header is of another kind of call";
    if (wrong) {
        shardmill__fails_with(shardmill__bad_call, shardmill__text(wrong));
        return;
    }
    if (kind > 31 || !(shardmill_kinds_mask() >> kind & 1)) {
        shardmill__fails_with(shardmill__unsupported, shardmill__text(shardmill__kind_name(kind)));
        return;
    }
    shardmill__g.transforms = kind == shardmill__transform;
    if ((kind == shardmill__batch || kind == shardmill__transform) && !shardmill__read_batch(&c, body)) {
        shardmill__fails_with(shardmill__bad_call, SHARDMILL_TEXT("the body is not a record batch"));
        return;
    }
    if (kind == shardmill__invoke) c.input = body;
    if (c.window_start == c.window_end) c.state = shardmill__nothing;
    if (kind == shardmill__batch) shardmill__g.kept_state = c.state; /* it stays, unless the handler sets another one */
    const shardmill_handler handler = kind == shardmill__batch    ? shardmill_the_handlers.batch
                                      : kind == shardmill__window ? shardmill_the_handlers.window
                                      : kind == shardmill__transform ? shardmill_the_handlers.transform
                                                                  : shardmill_the_handlers.invoke;
    const int status = handler(&c);
    shardmill__marked = 0;
    if (status != 0) shardmill__fails_with(shardmill__error, SHARDMILL_TEXT("the handler failed without saying why"));
}

const uint8_t *shardmill_serve(uint32_t kind, const uint8_t *call, size_t len, size_t *reply_len) {
    shardmill__reset();
    shardmill__run(kind, call, len);
    if (shardmill__g.failed) shardmill__reply_failure();
    else shardmill__reply_ok();
    *reply_len = shardmill__g.reply.len;
    return shardmill__g.reply.ptr;
}

#ifdef __wasm__
__attribute__((export_name("shardmill_abi_v1"))) int32_t shardmill__export_version(void) { return 1; }

__attribute__((export_name("shardmill_kinds"))) uint32_t shardmill__export_kinds(void) { return shardmill_kinds_mask(); }

__attribute__((export_name("shardmill_record"))) uint32_t shardmill__export_record(void) { return (uint32_t)(uintptr_t)&shardmill__marked; }

__attribute__((export_name("shardmill_input"))) uint32_t shardmill__export_input(uint32_t size) {
    return (uint32_t)(uintptr_t)shardmill_input_area(size);
}

__attribute__((export_name("shardmill_handle"))) uint64_t shardmill__export_handle(uint32_t kind, uint32_t ptr, uint32_t len) {
    const shardmill__buffer in = shardmill__g.input;
    const uint64_t base = (uint64_t)(uintptr_t)in.ptr;
    /* A call that is not in the input area is refused as a bad one. */
    const int within = in.ptr && ptr >= base && (uint64_t)ptr + len <= base + in.cap;
    size_t reply_len;
    const uint8_t *reply = shardmill_serve(kind, within ? (const uint8_t *)(uintptr_t)ptr : NULL, within ? len : 0, &reply_len);
    return (uint64_t)(uintptr_t)reply << 32 | reply_len;
}

__attribute__((import_module("wasi_snapshot_preview1"), import_name("fd_write"))) int32_t
shardmill__fd_write(int32_t fd, const void *parts, int32_t count, size_t *written);

static void shardmill__stderr(shardmill_bytes text) {
    while (text.len > 0) {
        size_t written = 0;
        if (shardmill__fd_write(2, &text, 1, &written) != 0 || written == 0 || written > text.len) return;
        text.ptr += written;
        text.len -= written;
    }
}

/* Writes text as the inside of a JSON string. */
static void shardmill__stderr_quoted(shardmill_bytes text) {
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t c = (uint8_t)text.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        const char escape[6] = {'\\', 'u', '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
        shardmill__stderr((shardmill_bytes){text.ptr + from, i - from});
        shardmill__stderr((shardmill_bytes){escape, 6});
        from = i + 1;
    }
    shardmill__stderr((shardmill_bytes){text.ptr + from, text.len - from});
}

void shardmill_log(const char *level, shardmill_bytes message) { shardmill_log_fields(level, message, NULL, 0); }

void shardmill_log_fields(const char *level, shardmill_bytes message, const shardmill_field *fields, size_t count) {
    shardmill__stderr(SHARDMILL_TEXT("{\"level\":\""));
    shardmill__stderr_quoted(shardmill__text(level));
    shardmill__stderr(SHARDMILL_TEXT("\",\"msg\":\""));
    shardmill__stderr_quoted(message);
    for (size_t i = 0; i < count; i++) {
        shardmill__stderr(SHARDMILL_TEXT("\",\""));
        shardmill__stderr_quoted(fields[i].name);
        shardmill__stderr(SHARDMILL_TEXT("\":\""));
        shardmill__stderr_quoted(fields[i].value);
    }
    shardmill__stderr(SHARDMILL_TEXT("\"}\n"));
}

_Noreturn void shardmill_panic(shardmill_bytes message) {
    shardmill__stderr(SHARDMILL_TEXT("panic: "));
    shardmill__stderr(message);
    shardmill__stderr(SHARDMILL_TEXT("\n"));
    __builtin_trap();
}
#endif /* __wasm__ */
#endif /* SHARDMILL_IMPLEMENTATION */
