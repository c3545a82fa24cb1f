/** A call, as handlers see it (sdk/abi.md, section 2). */

import { Bytes } from "./bytes";
import { FAILED, Reply, align } from "./reply";
import { now } from "./system";

const CALL_HEADER: usize = 80;
const BATCH_HEADER: usize = 24;
const RECORD_HEADER: usize = 24;

/** Four bytes of static memory: the position of the record that the handler works on, from 1, for the host to look at; 0 is none. */
export const MARKED: usize = memory.data(4, 4);

@inline
export function mark(record: u32): void {
  store<u32>(MARKED, record);
}

/** A handler of stream batches. */
export type BatchHandler = (batch: Batch) => void;

/** A handler of direct invocations. */
export type InvokeHandler = (invocation: Invocation) => void;

/** A handler of the end of a tumbling window; a call that fails is made again, as the mapping's retry policy says. */
export type WindowHandler = (end: WindowEnd) => void;

/** A handler of records on their way to a destination; a call that fails is made again. */
export type TransformHandler = (transform: Transform) => void;

export let batchHandler: BatchHandler | null = null;
export let invokeHandler: InvokeHandler | null = null;
export let windowHandler: WindowHandler | null = null;
export let transformHandler: TransformHandler | null = null;

/** Registers the function's handler of stream batches. Call it once, at the top level of the program. */
export function onBatch(handler: BatchHandler): void {
  if (batchHandler) throw new Error("there is a handler of stream batches already");
  batchHandler = handler;
}

/** Registers the function's handler of direct invocations. Call it once, at the top level of the program. */
export function onInvoke(handler: InvokeHandler): void {
  if (invokeHandler) throw new Error("there is a handler of direct invocations already");
  invokeHandler = handler;
}

/** Registers the function's handler of the end of tumbling windows. Call it once, at the top level of the program. */
export function onWindow(handler: WindowHandler): void {
  if (windowHandler) throw new Error("there is a handler of windows already");
  windowHandler = handler;
}

/** Registers the function's handler of records on their way to a destination. Call it once, at the top level of the program. */
export function onTransform(handler: TransformHandler): void {
  if (transformHandler) throw new Error("there is a handler of transforms already");
  transformHandler = handler;
}

/** A tumbling window: a stretch of time that the records of its batches arrived in, in microseconds since the Unix epoch. */
export class Window {
  /** When it begins. */
  start: i64 = 0;
  /** When it ends, exclusive. It is the start when there is no window. */
  end: i64 = 0;
  /** At its end: its state had become larger than 1 MiB, and the window goes on with an empty one. */
  endedEarly: bool = false;
}

/** The facts of one call. Those that do not apply (the stream of a direct invocation) are empty or 0. */
export class Call {
  private at: usize = 0;
  private bodyAt: usize = 0;
  private bodyLength: i32 = 0;

  /** Reads the header of a call; what is wrong with it, or null. What a later host may have added behind it is skipped. */
  read(at: usize, length: usize): string | null {
    this.at = at;
    if (length < CALL_HEADER) return "malformed call: it is shorter than its header";
    if (load<u32>(at) != 0x4c434d53) return "malformed call: the magic is not SMCL";
    if (load<u16>(at, 4) != 1) return "malformed call: this function reads version 1";
    let names = <usize>load<u16>(at, 8);
    if (names < CALL_HEADER) return "malformed call: its header is shorter than 80 bytes";
    for (let i: usize = 0; i < 4; i++) names += load<u16>(at + 2 * i, 10);
    if (names > length) return "malformed call: its names end behind it";
    if (!section(at + 40, names, length)) return "malformed call: the body does not lie in it";
    if (!section(at + 52, names, length)) return "malformed call: the state does not lie in it";
    this.bodyLength = load<i32>(at, 44);
    this.bodyAt = this.bodyLength ? at + load<u32>(at, 40) : at;
    return null;
  }

  private name(n: usize): string {
    let from = this.at + load<u16>(this.at, 8);
    for (let i: usize = 0; i < n; i++) from += load<u16>(this.at + 2 * i, 10);
    return String.UTF8.decodeUnsafe(from, load<u16>(this.at + 2 * n, 10));
  }

  /** Reads the window and its state. */
  window(to: Window, state: Bytes): void {
    to.start = load<i64>(this.at, 64);
    to.end = load<i64>(this.at, 72);
    to.endedEarly = (load<u8>(this.at, 7) & 1) != 0;
    const length = to.start == to.end ? 0 : load<i32>(this.at, 56);
    state.set(length ? this.at + load<u32>(this.at, 52) : this.at, length);
  }

  get kind(): u32 {
    return load<u8>(this.at, 6);
  }

  body(to: Bytes): Bytes {
    return to.set(this.bodyAt, this.bodyLength);
  }

  /** The event source mapping. */
  get mapping(): string {
    return this.name(0);
  }
  /** The stream that the records are from. */
  get stream(): string {
    return this.name(1);
  }
  /** The function's name. */
  get functionName(): string {
    return this.name(2);
  }
  /** What identifies this call in the logs. */
  get invocation(): string {
    return this.name(3);
  }
  /** The function's version, from 1. */
  get version(): u32 {
    return load<u32>(this.at, 20);
  }
  /** The shard that the records are from. */
  get shard(): u32 {
    return load<u32>(this.at, 24);
  }
  /** 1 for the first delivery of a batch. */
  get attempt(): u32 {
    return load<u32>(this.at, 28);
  }
  /** When the host stops the function, in microseconds since the Unix epoch; 0: never. */
  get deadline(): i64 {
    return load<i64>(this.at, 32);
  }
  /** How many microseconds are left until then; i64.MAX_VALUE without a deadline. */
  get remaining(): i64 {
    return this.deadline ? max(this.deadline - now(), 0) : i64.MAX_VALUE;
  }
}

/** Whether the part of a call that the offset and length at p speak of lies in it; an empty one does wherever it is said to be. */
function section(p: usize, low: usize, length: usize): bool {
  const at = <u64>load<u32>(p);
  const size = <u64>load<u32>(p, 4);
  return size == 0 || (at >= low && at % 8 == 0 && at + size <= length);
}

/** One record. */
export class Record {
  /** Where it is in the batch, from 0. */
  index: i32 = -1;
  /** Its sequence number. */
  sequence: u64 = 0;
  /** When it arrived, in microseconds since the Unix epoch. */
  arrival: i64 = 0;
  /** The partition key. */
  key: Bytes = new Bytes();
  /** What the record holds. */
  data: Bytes = new Bytes();
  /** Where 16 bytes are, big-endian, that take the place of the key's hash; 0 when the record has none. */
  explicitHash: usize = 0;
}

/** The records of one call, and what the handler says about them. */
export class Batch {
  /** The record that next came to. It is the same object each time. */
  record: Record = new Record();
  /** How many records there are. */
  length: i32 = 0;
  /** The tumbling window that all records of the batch are in. */
  window: Window = new Window();
  /** What the window's batches before this one have left; empty in the first. */
  state: Bytes = new Bytes();
  private first: usize = 0;
  private at: usize = 0;
  private end: usize = 0;

  constructor(
    /** What this call is about: mapping, stream, shard, attempt. */
    public call: Call,
    private reply: Reply,
  ) {}

  /** Has it be the batch in body; false when that is none. */
  read(body: Bytes): bool {
    if (<usize>body.length < BATCH_HEADER || load<u32>(body.ptr) != 0x42524d53) return false;
    const length = load<u32>(body.ptr, 16);
    if (length > (<u32>body.length - <u32>BATCH_HEADER) / <u32>RECORD_HEADER) return false;
    this.length = length;
    this.first = body.ptr + BATCH_HEADER;
    this.end = body.ptr + body.length;
    this.reply.recordsInCall(length);
    this.call.window(this.window, this.state);
    this.reply.setState(this.state); // it stays, unless the handler sets another one
    this.rewind();
    return true;
  }

  /**
   * Goes on to the next record; false when there is none left. What the function does until it is called again is what that record costs,
   * for `shardmill function costs`.
   */
  next(): bool {
    const p = this.at;
    const left = this.end - p;
    if (left < RECORD_HEADER) {
      mark(0);
      return false;
    }
    const data = <usize>load<u32>(p, 16);
    const key = <usize>load<u16>(p, 20);
    const hash: usize = load<u8>(p, 22) & 1 ? 16 : 0;
    // The host has just made this batch; were it wrong, nothing behind it is read.
    if (data > left || RECORD_HEADER + hash + key + data > left) throw new RangeError("a record ends behind its batch");
    const r = this.record;
    mark(++r.index + 1);
    r.sequence = load<u64>(p);
    r.arrival = load<i64>(p, 8);
    r.explicitHash = hash ? p + RECORD_HEADER : 0;
    const at = p + RECORD_HEADER + hash;
    r.key.set(at, <i32>key);
    r.data.set(at + key, <i32>data);
    this.at = p + min(align(RECORD_HEADER + hash + key + data), left);
    return true;
  }

  /** Has next begin again with the first record. */
  rewind(): void {
    this.at = this.first;
    this.record.index = -1;
  }

  /**
   * Gives the window another state, for its next batch and its end; without it the state stays. More than 1 MiB ends the window
   * early, more than 6 MiB fails the call. It has an effect only when the mapping has a window.
   */
  setState(state: Bytes): void {
    if (this.window.start != this.window.end) this.reply.setState(state);
  }

  /** setState for text. */
  setStateText(state: string): void {
    this.setState(Bytes.fromString(state));
  }

  /**
   * Adds a record to be put to a stream when the handler has returned. A record that cannot be encoded, or a 257th stream, fails
   * the call when the handler returns. Whether the function may emit to that stream, and the limits of key and data, are the
   * host's to check.
   */
  emit(stream: string, key: Bytes, data: Bytes): void {
    this.reply.emit(stream, key, data, 0);
  }

  /** emit for text. */
  emitText(stream: string, key: string, data: string): void {
    this.reply.emit(stream, Bytes.fromString(key), Bytes.fromString(data), 0);
  }

  /** emit for a whole record: key, data and explicit hash are taken. */
  emitRecord(stream: string, record: Record): void {
    this.reply.emit(stream, record.key, record.data, record.explicitHash);
  }

  /**
   * Settles a record as not wanted: it counts as dropped, not as handled. The reason may be empty. As with the other outcomes, the
   * last word on a record counts, a reason is cut at 1,024 bytes, and an index that is not in the batch throws.
   */
  drop(index: i32, reason: string = ""): void {
    this.reply.outcome(index, 1, reason);
  }

  /** Asks for a record to be delivered again, later, as the mapping's retry policy says. */
  retry(index: i32, reason: string = ""): void {
    this.reply.outcome(index, 2, reason);
  }

  /** Settles a record as one that no retry can help: it goes to the mapping's on-failure destination, with the reason. */
  reject(index: i32, reason: string = ""): void {
    this.reply.outcome(index, 3, reason);
  }

  /** Fails the call; the first message counts. The handler is to return then. */
  fail(message: string): void {
    this.reply.fails(FAILED, message);
  }
}

/** A direct invocation. */
export class Invocation {
  /** What the caller sent. */
  body: Bytes = new Bytes();

  constructor(
    /** What this call is about. */
    public call: Call,
    private reply: Reply,
  ) {}

  /** The answer; the last one counts. */
  answer(body: Bytes): void {
    this.reply.answer(body);
  }

  /** answer for text. */
  answerText(body: string): void {
    this.reply.answer(Bytes.fromString(body));
  }

  /** Batch.emit for direct invocations. */
  emit(stream: string, key: Bytes, data: Bytes): void {
    this.reply.emit(stream, key, data, 0);
  }

  /** Batch.emitText for direct invocations. */
  emitText(stream: string, key: string, data: string): void {
    this.reply.emit(stream, Bytes.fromString(key), Bytes.fromString(data), 0);
  }

  /** Fails the call; the first message counts. The handler is to return then. */
  fail(message: string): void {
    this.reply.fails(FAILED, message);
  }
}

/** The end of a tumbling window of one shard. */
export class WindowEnd {
  /** Which window has ended. */
  window: Window = new Window();
  /** What the last batch of the window has set; empty when none has. */
  state: Bytes = new Bytes();

  constructor(
    /** What this call is about. */
    public call: Call,
    private reply: Reply,
  ) {}

  read(): void {
    this.call.window(this.window, this.state);
  }

  /** Batch.emit at the end of a window. */
  emit(stream: string, key: Bytes, data: Bytes): void {
    this.reply.emit(stream, key, data, 0);
  }

  /** Batch.emitText at the end of a window. */
  emitText(stream: string, key: string, data: string): void {
    this.reply.emit(stream, Bytes.fromString(key), Bytes.fromString(data), 0);
  }

  /** Fails the call; the first message counts. The handler is to return then. */
  fail(message: string): void {
    this.reply.fails(FAILED, message);
  }
}

/** Records on their way to a destination, and what the handler makes of them. One of which it says nothing goes on as it is. */
export class Transform {
  constructor(
    private batch: Batch,
    private reply: Reply,
  ) {}

  /** What this call is about. */
  get call(): Call {
    return this.batch.call;
  }
  /** How many records there are. */
  get length(): i32 {
    return this.batch.length;
  }
  /** The record that next came to. It is the same object each time. */
  get record(): Record {
    return this.batch.record;
  }

  /** Goes on to the next record; false when there is none left. */
  next(): bool {
    return this.batch.next();
  }

  /** Has next begin again with the first record. */
  rewind(): void {
    this.batch.rewind();
  }

  /**
   * Puts a record in the place of the one with that index. Several for one take its place one after the other; of a record that is dropped or
   * rejected they count for nothing. One that cannot be encoded fails the call; an index that is not in the call throws.
   */
  replace(index: i32, key: Bytes, data: Bytes): void {
    this.reply.replace(index, key, data, 0);
  }

  /** replace for data that is text. */
  replaceText(index: i32, key: Bytes, data: string): void {
    this.reply.replace(index, key, Bytes.fromString(data), 0);
  }

  /** replace for a whole record: key, data and explicit hash are taken. */
  replaceRecord(index: i32, record: Record): void {
    this.reply.replace(index, record.key, record.data, record.explicitHash);
  }

  /** Has a record not go on. The reason may be empty. */
  drop(index: i32, reason: string = ""): void {
    this.batch.drop(index, reason);
  }

  /** Has a record count as failed: it goes, as it came, to where the delivery stream stores what could not be transformed. */
  reject(index: i32, reason: string = ""): void {
    this.batch.reject(index, reason);
  }

  /** Batch.emit: puts a record to a stream beside what the transform hands on. */
  emit(stream: string, key: Bytes, data: Bytes): void {
    this.reply.emit(stream, key, data, 0);
  }

  /** Batch.emitText. */
  emitText(stream: string, key: string, data: string): void {
    this.batch.emitText(stream, key, data);
  }

  /** Fails the call; the first message counts. The handler is to return then. */
  fail(message: string): void {
    this.reply.fails(FAILED, message);
  }
}
