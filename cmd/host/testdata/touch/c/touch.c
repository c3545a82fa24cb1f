/* Touch looks at every record of a batch and does nothing else: the guest of the benchmark. */
#define SHARDMILL_IMPLEMENTATION
#include "shardmill.h"

static uint64_t sum;

static int touch(shardmill_call *c) {
    shardmill_record r;
    while (shardmill_next(c, &r)) {
        sum += r.key.len + r.data.len;
        if (r.data.len > 0) sum += (uint8_t)r.data.ptr[0] + (uint8_t)r.data.ptr[r.data.len - 1];
    }
    return 0;
}

/* The sum is asked for, so that it is not left out. */
static int answer(shardmill_call *c) {
    shardmill_answer(c, (shardmill_bytes){(const char *)&sum, sizeof sum});
    return 0;
}

SHARDMILL_FUNCTION(.batch = touch, .invoke = answer)
