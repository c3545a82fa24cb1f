//! Touch looks at every record of a batch and does nothing else: the guest of the benchmark.

use shardmill::{Batch, Invocation, Result};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static SUM: AtomicU64 = AtomicU64::new(0);

shardmill::handler!(batch: touch, invoke: answer);

fn touch(batch: &mut Batch) -> Result {
    let mut sum = 0;
    for r in batch.records() {
        sum += (r.key.len() + r.data.len()) as u64;
        if let [first, .., last] = r.data {
            sum += *first as u64 + *last as u64;
        }
    }
    SUM.fetch_add(sum, Relaxed);
    Ok(())
}

/// The sum is asked for, so that it is not left out.
fn answer(_: &mut Invocation) -> Result<Vec<u8>> {
    Ok(SUM.load(Relaxed).to_le_bytes().to_vec())
}
