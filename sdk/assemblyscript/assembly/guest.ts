/** The guest's side of the ABI: the bytes of a call become a call of a handler, and that the bytes of a reply. */

import { Bytes } from "./bytes";
import { Batch, Call, Invocation, MARKED, Transform, WindowEnd, batchHandler, invokeHandler, mark, transformHandler, windowHandler } from "./call";
import { BAD_CALL, Memory, Reply, UNSUPPORTED } from "./reply";

const KIND_BATCH: u32 = 1;
const KIND_WINDOW: u32 = 2;
const KIND_TRANSFORM: u32 = 3;
const KIND_INVOKE: u32 = 4;

const input = new Memory();
const reply = new Reply();
const call = new Call();
const batch = new Batch(call, reply);
const transform = new Transform(batch, reply);
const windowEnd = new WindowEnd(call, reply);
const invocation = new Invocation(call, reply);
const body = new Bytes();

export function shardmill_abi_v1(): i32 {
  return 1;
}

export function shardmill_kinds(): u32 {
  const batches = (batchHandler ? 1 << KIND_BATCH : 0) | (windowHandler ? 1 << KIND_WINDOW : 0);
  return batches | (transformHandler ? 1 << KIND_TRANSFORM : 0) | (invokeHandler ? 1 << KIND_INVOKE : 0);
}

/** Where the position of the record that the handler works on stands. */
export function shardmill_record(): usize {
  return MARKED;
}

/** The input area stays where it is until a larger one is asked for. */
export function shardmill_input(size: u32): usize {
  if (size > 0x7ffffff8) return 0;
  const bytes: usize = size;
  if (bytes > input.capacity || !input.ptr) input.reset((bytes + bytes / 4 + 65536) & ~65535);
  return input.ptr;
}

export function shardmill_handle(kind: u32, ptr: usize, length: u32): u64 {
  reply.reset();
  // A call that is not in the input area is refused as a bad one.
  const within = ptr >= input.ptr && <u64>ptr + length <= <u64>input.ptr + input.capacity;
  const wrong = call.read(ptr, within ? <usize>length : 0);
  if (wrong) reply.fails(BAD_CALL, wrong);
  else if (call.kind != kind) reply.fails(BAD_CALL, "the header is of another kind of call");
  else run(kind);
  mark(0);
  return reply.finish();
}

function run(kind: u32): void {
  const onBatch = batchHandler;
  const onWindow = windowHandler;
  const onInvoke = invokeHandler;
  const onTransform = transformHandler;
  if (kind == KIND_BATCH && onBatch) {
    if (batch.read(call.body(body))) onBatch(batch);
    else reply.fails(BAD_CALL, "the body is not a record batch");
    return;
  }
  if (kind == KIND_TRANSFORM && onTransform) {
    if (batch.read(call.body(body))) onTransform(transform);
    else reply.fails(BAD_CALL, "the body is not a record batch");
    return;
  }
  if (kind == KIND_WINDOW && onWindow) {
    windowEnd.read();
    onWindow(windowEnd);
    return;
  }
  if (kind == KIND_INVOKE && onInvoke) {
    call.body(invocation.body);
    onInvoke(invocation);
    return;
  }
  reply.fails(UNSUPPORTED, "the function has no handler for a " + kindName(kind));
}

function kindName(kind: u32): string {
  switch (kind) {
    case KIND_BATCH:
      return "stream batch";
    case KIND_WINDOW:
      return "window close";
    case KIND_TRANSFORM:
      return "transform";
    case KIND_INVOKE:
      return "direct invoke";
  }
  return "call of an unknown kind";
}
