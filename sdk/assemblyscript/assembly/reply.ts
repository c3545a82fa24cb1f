/** Builds a reply (sdk/abi.md, section 3) in memory that is kept from call to call. */

import { Bytes } from "./bytes";

const REPLY_HEADER: usize = 40;
const RECORD_HEADER: usize = 24;
const MAX_NAME: i32 = 256;
const MAX_REASON: i32 = 1024;
const MAX_MESSAGE: i32 = 65536;
const MAX_STATE: i32 = 6 << 20;
const MAX_OUTPUTS: i32 = 256;
const MAX_KEY: i32 = 65535;
const MAX_DATA: i32 = (1 << 30) - 1;
const MAX_REPLY: usize = 0x7ffffff8;

/** The kinds of failure. */
export const FAILED: u16 = 1;
export const UNSUPPORTED: u16 = 3;
export const BAD_CALL: u16 = 4;

@inline
export function align(n: usize): usize {
  return (n + 7) & ~7;
}

/** Memory outside the garbage collector that only grows; it begins at a multiple of 16. */
export class Memory {
  ptr: usize = 0;
  length: usize = 0;
  capacity: usize = 0;

  /** Makes room for more bytes behind those that are there and returns where that is. */
  extend(more: usize): usize {
    if (more > MAX_REPLY - this.length) throw new RangeError("more than 2147483640 bytes in one buffer");
    const need = this.length + more;
    if (need > this.capacity) {
      this.capacity = max(align(need + need / 2), 1024);
      this.ptr = this.ptr ? heap.realloc(this.ptr, this.capacity) : heap.alloc(this.capacity);
    }
    const room = this.ptr + this.length;
    this.length = need;
    return room;
  }

  /** Has it be of that size, with any content. */
  reset(size: usize): usize {
    if (size > this.capacity) {
      if (this.ptr) heap.free(this.ptr); // so that both need not fit in memory at once
      this.ptr = 0;
      this.capacity = align(size + size / 4);
      this.ptr = heap.alloc(this.capacity);
    }
    this.length = size;
    return this.ptr;
  }
}

/** Copies bytes and pads them; returns where the next ones go. */
function padded(to: usize, from: usize, length: usize): usize {
  const end = to + align(length);
  if (end > to) store<u64>(end - 8, 0);
  memory.copy(to, from, length);
  return end;
}

/** How many of the bytes of UTF-8 fit in a limit, between characters. */
function cut(ptr: usize, length: i32, limit: i32): i32 {
  if (length <= limit) return length;
  while (limit > 0 && (load<u8>(ptr + limit) & 0xc0) == 0x80) limit--;
  return limit;
}

/** A stream that is emitted to in this call. */
class Output {
  name: string = "";
  utf8: ArrayBuffer = new ArrayBuffer(0);
  count: u32 = 0;
  size: usize = 0; // encoded bytes of its records
  to: usize = 0; // where the next of them goes in the reply

  header(): usize {
    return 16 + align(this.utf8.byteLength);
  }
}

export class Reply {
  private arena: Memory = new Memory();
  private records: Memory = new Memory(); // emitted ones, encoded, in the order in which they were emitted
  private stretches: Memory = new Memory(); // whose they are: index of the output and size, 4 bytes each
  private outputs: Output[] = []; // the first `used` are of this call
  private used: i32 = 0;
  private current: i32 = -1; // the output of the last stretch
  private inCall: i32 = 0; // records in the call
  private outcomes: Memory = new Memory(); // encoded as in the reply, in the order in which they were said
  private last: Memory = new Memory(); // 4 bytes per record, from the first outcome on: where the last word on it is, plus 1
  private outcomeCount: u32 = 0; // records that have one
  private highest: i32 = -1; // index with an outcome
  private unsorted: bool = false;
  private body: Memory = new Memory();
  private state: Memory = new Memory();
  private failed: u16 = 0; // kind of the first failure
  private message: string = "";

  /** Forgets what was said and keeps the memory. */
  reset(): void {
    this.records.length = 0;
    this.stretches.length = 0;
    this.outcomes.length = 0;
    this.last.length = 0;
    this.body.length = 0;
    this.state.length = 0;
    this.used = 0;
    this.current = -1;
    this.inCall = 0;
    this.outcomeCount = 0;
    this.highest = -1;
    this.unsorted = false;
    this.failed = 0;
    this.message = "";
  }

  recordsInCall(n: i32): void {
    this.inCall = n;
  }

  /** Notes why the call fails, unless that is known already. */
  fails(kind: u16, message: string): void {
    if (this.failed) return;
    this.failed = kind;
    this.message = message;
  }

  private emitFails(stream: string, why: string): void {
    this.fails(FAILED, 'emit to stream "' + stream.substring(0, MAX_NAME) + '": ' + why);
  }

  /** The index of a stream among the outputs; -1 when the call fails for it. */
  private output(stream: string, replaces: bool): i32 {
    if (stream.length == 0 && !replaces) {
      this.emitFails(stream, "the name is empty");
      return -1;
    }
    if (this.current >= 0 && this.outputs[this.current].name == stream) return this.current; // mostly it is the last one again
    for (let i = 0; i < this.used; i++) {
      if (this.outputs[i].name == stream) return i;
    }
    const length = String.UTF8.byteLength(stream);
    if (length > MAX_NAME) {
      this.emitFails(stream, "the name is longer than 256 bytes");
      return -1;
    }
    if (this.used == MAX_OUTPUTS) {
      this.emitFails(stream, "it is the 257th stream of the call; 256 is the most");
      return -1;
    }
    if (this.used == this.outputs.length) this.outputs.push(new Output());
    const o = this.outputs[this.used];
    if (o.name != stream) {
      o.name = stream;
      o.utf8 = String.UTF8.encode(stream);
    }
    o.count = 0;
    o.size = 0;
    return this.used++;
  }

  emit(stream: string, key: Bytes, data: Bytes, hash: usize): void {
    this.put(stream, key, data, hash, -1);
  }

  /** Adds a record that takes the place of the one with that index. */
  replace(index: i32, key: Bytes, data: Bytes, hash: usize): void {
    if (<u32>index >= <u32>this.inCall) {
      throw new RangeError("replacement of record " + index.toString() + " of a batch of " + this.inCall.toString());
    }
    this.put("", key, data, hash, index);
  }

  /** replaces is an index, or -1 for a record that is emitted. */
  private put(stream: string, key: Bytes, data: Bytes, hash: usize, replaces: i32): void {
    if (key.length > MAX_KEY) return this.emitFails(stream, "the partition key is longer than 65535 bytes");
    if (data.length > MAX_DATA) return this.emitFails(stream, "the data is longer than 1073741823 bytes");
    const output = this.output(stream, replaces >= 0);
    if (output < 0) return;
    const hashLength: usize = hash ? 16 : 0;
    const size = align(RECORD_HEADER + hashLength + key.length + data.length);
    const p = this.records.extend(size);
    store<u64>(p + size - 8, 0); // the padding; the rest of these bytes is written over
    store<u64>(p, max(replaces, 0));
    store<u64>(p, 0, 8);
    store<u32>(p, data.length, 16);
    store<u16>(p, <u16>key.length, 20);
    store<u16>(p, hash ? 1 : 0, 22);
    const at = p + RECORD_HEADER;
    if (hash) memory.copy(at, hash, 16);
    memory.copy(at + hashLength, key.ptr, key.length);
    memory.copy(at + hashLength + key.length, data.ptr, data.length);
    const o = this.outputs[output];
    o.count++;
    o.size += size;
    if (output == this.current) {
      const s = this.stretches.ptr + this.stretches.length - 8;
      store<u32>(s, load<u32>(s, 4) + <u32>size, 4);
      return;
    }
    const s = this.stretches.extend(8);
    store<u32>(s, output);
    store<u32>(s, <u32>size, 4);
    this.current = output;
  }

  outcome(index: i32, result: u8, reason: string): void {
    if (<u32>index >= <u32>this.inCall) {
      throw new RangeError("outcome for record " + index.toString() + " of a batch of " + this.inCall.toString());
    }
    if (this.last.length == 0) {
      const size = (<usize>this.inCall) << 2;
      memory.fill(this.last.extend(size), 0, size);
    }
    const last = this.last.ptr + ((<usize>index) << 2);
    if (index <= this.highest) this.unsorted = true;
    else this.highest = index;
    if (load<u32>(last) == 0) this.outcomeCount++;
    store<u32>(last, <u32>this.outcomes.length + 1);
    const utf8 = String.UTF8.encode(reason);
    const text = changetype<usize>(utf8);
    const length = cut(text, utf8.byteLength, MAX_REASON);
    const p = this.outcomes.extend(8 + align(length));
    store<u32>(p, index);
    store<u16>(p, result, 4);
    store<u16>(p, <u16>length, 6);
    padded(p + 8, text, length);
  }

  setState(state: Bytes): void {
    if (state.length > MAX_STATE) return this.fails(FAILED, "the state is longer than 6291456 bytes");
    this.state.length = 0;
    memory.copy(this.state.extend(state.length), state.ptr, state.length);
  }

  answer(body: Bytes): void {
    this.body.length = 0;
    memory.copy(this.body.extend(body.length), body.ptr, body.length);
  }

  /** Writes the reply; returns where it is and how long, as the host wants it. */
  finish(): u64 {
    if (!this.failed) this.write();
    if (this.failed) this.writeFailure();
    return ((<u64>this.arena.ptr) << 32) | <u64>this.arena.length;
  }

  /** Begins a reply of that size and writes the fixed part of its header; the rest of the header is zero. */
  private begin(size: usize): usize {
    const p = this.arena.reset(size);
    memory.fill(p, 0, REPLY_HEADER);
    store<u32>(p, 0x50524d53); // SMRP
    store<u16>(p, 1, 4);
    store<u32>(p, <u32>size, 8);
    return p;
  }

  private writeFailure(): void {
    const utf8 = String.UTF8.encode(this.message);
    const text = changetype<usize>(utf8);
    const length = cut(text, utf8.byteLength, MAX_MESSAGE);
    const section: usize = 16 + align(length);
    const p = this.begin(REPLY_HEADER + section);
    store<u8>(p, 1, 6);
    store<u32>(p, <u32>section, 12);
    const e = p + REPLY_HEADER;
    memory.fill(e, 0, 16);
    store<u16>(e, this.failed);
    store<u32>(e, length, 4);
    padded(e + 16, text, length);
  }

  private write(): void {
    const outcomes = this.outcomesSize();
    let outputs: u64 = 0;
    for (let i = 0; i < this.used; i++) outputs += this.outputs[i].header() + this.outputs[i].size;
    const size = <u64>REPLY_HEADER + outcomes + outputs + align(this.state.length) + align(this.body.length);
    if (size > MAX_REPLY) return this.fails(FAILED, "the reply is longer than 2147483640 bytes");
    const p = this.begin(<usize>size);
    store<u32>(p, this.outcomeCount, 16);
    store<u32>(p, <u32>outcomes, 20);
    store<u32>(p, this.used, 24);
    store<u32>(p, <u32>outputs, 28);
    store<u32>(p, <u32>this.state.length, 32);
    store<u32>(p, <u32>this.body.length, 36);
    const state = this.writeOutputs(this.writeOutcomes(p + REPLY_HEADER));
    padded(padded(state, this.state.ptr, this.state.length), this.body.ptr, this.body.length);
  }

  /** How long the outcome at p is. */
  private static outcomeSize(p: usize): usize {
    return 8 + align(load<u16>(p, 6));
  }

  private outcomesSize(): usize {
    if (!this.unsorted) return this.outcomes.length;
    let size: usize = 0;
    for (let i = 0; i <= this.highest; i++) {
      const at = load<u32>(this.last.ptr + ((<usize>i) << 2));
      if (at) size += Reply.outcomeSize(this.outcomes.ptr + at - 1);
    }
    return size;
  }

  /** Writes the last word on each record, in their order. */
  private writeOutcomes(to: usize): usize {
    if (!this.unsorted) {
      memory.copy(to, this.outcomes.ptr, this.outcomes.length);
      return to + this.outcomes.length;
    }
    for (let i = 0; i <= this.highest; i++) {
      const at = load<u32>(this.last.ptr + ((<usize>i) << 2));
      if (!at) continue;
      const p = this.outcomes.ptr + at - 1;
      const size = Reply.outcomeSize(p);
      memory.copy(to, p, size);
      to += size;
    }
    return to;
  }

  /** Writes the sections' headers, and then each stretch of records to where its stream's are. */
  private writeOutputs(to: usize): usize {
    for (let i = 0; i < this.used; i++) {
      const o = this.outputs[i];
      const header = o.header();
      store<u32>(to, <u32>(header + o.size));
      store<u32>(to, o.count, 4);
      store<u32>(to, <u32>o.size, 8);
      store<u32>(to, o.utf8.byteLength, 12);
      padded(to + 16, changetype<usize>(o.utf8), o.utf8.byteLength);
      o.to = to + header;
      to += header + o.size;
    }
    let from = this.records.ptr;
    for (let s: usize = 0; s < this.stretches.length; s += 8) {
      const o = this.outputs[load<u32>(this.stretches.ptr + s)];
      const size = load<u32>(this.stretches.ptr + s, 4);
      memory.copy(o.to, from, size);
      o.to += size;
      from += size;
    }
    return to;
  }
}
