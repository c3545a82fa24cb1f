// Touch looks at every record of a batch and does nothing else: the guest of the benchmark.

import { Batch, Invocation, onBatch, onInvoke } from "shardmill";
export * from "shardmill/exports";

let sum: u64 = 0;

onBatch((b: Batch): void => {
  while (b.next()) {
    const data = b.record.data;
    sum += b.record.key.length + data.length;
    if (data.length > 0) sum += <u64>data[0] + <u64>data[data.length - 1];
  }
});

// The sum is asked for, so that it is not left out.
onInvoke((i: Invocation): void => i.answerText(sum.toString()));
