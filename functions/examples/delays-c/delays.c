/* Delays is a Shardmill function: for every batch of flights it emits, per origin airport, how many flights left and by how
 * many minutes they were late together. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDMILL_IMPLEMENTATION
#include "shardmill.h"

#include "json.h"

enum { longest_origin = 64 };

typedef struct total {
    char origin[longest_origin];
    size_t len;
    long flights, delay; /* minutes; less than 0 when they left early */
} total;

/* Totals in the order in which the airports appear; the memory is kept from call to call. */
static total *totals;
static size_t used, room;

static total *total_of(const char *origin, size_t len) {
    for (size_t i = 0; i < used; i++) {
        if (totals[i].len == len && memcmp(totals[i].origin, origin, len) == 0) return &totals[i];
    }
    if (used == room) {
        room = room ? 2 * room : 256;
        totals = realloc(totals, room * sizeof *totals);
        if (!totals) shardmill_panic(SHARDMILL_TEXT("no memory for the airports"));
    }
    total *t = &totals[used++];
    memcpy(t->origin, origin, len);
    t->len = len;
    t->flights = t->delay = 0;
    return t;
}

/* The whole number that a JSON number is; false when it is none that fits. */
static bool whole(const json_member *m, long *n) {
    long v = 0;
    const bool negative = m->value[0] == '-';
    if (m->kind != 'n' || m->value_len - negative > 9) return false;
    for (size_t i = negative; i < m->value_len; i++) {
        if (m->value[i] < '0' || m->value[i] > '9') return false;
        v = 10 * v + (m->value[i] - '0');
    }
    *n = negative ? -v : v;
    return true;
}

static bool named(const json_member *m, const char *name) {
    return m->name_len == strlen(name) && memcmp(m->name, name, m->name_len) == 0;
}

/* Adds one flight; false when the data is none. */
static bool add(shardmill_bytes data) {
    json j = {data.ptr, data.ptr + data.len, false};
    json_member m, origin = {0};
    long delay = 0;
    for (bool begun = false; json_next(&j, &m, &begun);) {
        if (named(&m, "origin")) {
            if (m.kind != 's') return false;
            origin = m;
        } else if (named(&m, "delay") && !whole(&m, &delay)) {
            return false;
        }
    }
    /* An airport's code has no character that JSON escapes. */
    if (j.bad || origin.value_len == 0 || origin.value_len > longest_origin || memchr(origin.value, '\\', origin.value_len)) return false;
    total *t = total_of(origin.value, origin.value_len);
    t->flights++;
    t->delay += delay;
    return true;
}

static int delays(shardmill_call *call) {
    shardmill_record r;
    used = 0;
    while (shardmill_next(call, &r)) {
        if (!add(r.data)) shardmill_reject(call, r.index, SHARDMILL_TEXT("not a flight"));
    }
    for (size_t i = 0; i < used; i++) {
        const total *t = &totals[i];
        char data[longest_origin + 96];
        const int len = snprintf(data, sizeof data, "{\"origin\":\"%.*s\",\"flights\":%ld,\"delayMinutes\":%ld}",
                                 (int)t->len, t->origin, t->flights, t->delay);
        shardmill_emit(call, SHARDMILL_TEXT("delays"), (shardmill_bytes){t->origin, t->len}, (shardmill_bytes){data, (size_t)len});
    }
    return 0;
}

SHARDMILL_FUNCTION(.batch = delays)
