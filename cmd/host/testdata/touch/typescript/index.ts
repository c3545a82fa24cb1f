// Touch looks at each record, and no more.
import type { Handlers } from "shardmill";

let sum = 0;

export default {
  batch(records) {
    for (const r of records) sum = (sum + r.data[0] + r.key.length) | 0;
  },
} satisfies Handlers;
