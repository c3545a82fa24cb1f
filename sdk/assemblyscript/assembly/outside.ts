/** What a function reaches beyond its call, as far as its configuration grants it (sdk/abi.md, section 6). */

import { Bytes } from "./bytes";
import { align } from "./reply";

@external("shardmill", "result")
declare function host_result(to: usize, length: u32): u32;

@external("shardmill", "secret")
declare function host_secret(name: usize, length: u32): i64;

@external("shardmill", "state_get")
declare function host_state_get(table: usize, tableLength: u32, key: usize, keyLength: u32): i64;

@external("shardmill", "state_put")
declare function host_state_put(table: usize, tableLength: u32, key: usize, keyLength: u32, value: usize, length: u32, expected: i64): i64;

@external("shardmill", "state_delete")
declare function host_state_delete(table: usize, tableLength: u32, key: usize, keyLength: u32, expected: i64): i64;

@external("shardmill", "state_list")
declare function host_state_list(table: usize, tableLength: u32, prefix: usize, prefixLength: u32, after: usize, afterLength: u32, limit: u32): i64;

@external("shardmill", "http_fetch")
declare function host_http_fetch(request: usize, length: u32): i64;

@external("wasi_snapshot_preview1", "environ_sizes_get")
declare function environ_sizes_get(count: usize, size: usize): i32;

@external("wasi_snapshot_preview1", "environ_get")
declare function environ_get(places: usize, to: usize): i32;

/** Why the host did not do something. */
export enum Code {
  /** It did it. */
  ok,
  /** The function's configuration does not grant it. */
  denied,
  /** There is nothing of that name. */
  notFound,
  /** It is not as expected. */
  conflict,
  /** An argument is out of its limits. */
  invalid,
  /** The host cannot do it now. It may pass. */
  unavailable,
  /** No call is under way. */
  noCall,
}

/** What became of the last thing that the host was asked for. */
export class Refusal {
  /** Code.ok when it was done. */
  code: Code = Code.ok;
  /** The host's sentence about it. */
  reason: string = "";

  set(code: Code, reason: string): void {
    this.code = code;
    this.reason = reason;
  }
}

/** What became of the last thing that the host was asked for: to be read where a call of secret, Table or Request gave nothing. */
export const refusal = new Refusal();

/** Notes what the host answered; whether that is something. */
function answered(n: i64): bool {
  refusal.set(Code.ok, "");
  if (n >= 0) return true;
  const text = new ArrayBuffer(1024);
  const length = min(host_result(changetype<usize>(text), 1024), 1024);
  refusal.set(n < -6 ? Code.unavailable : <Code>(-n), String.UTF8.decodeUnsafe(changetype<usize>(text), length));
  return false;
}

/** What the host gave that answered n; null when it is nothing. */
function given(n: i64): ArrayBuffer | null {
  if (!answered(n)) return null;
  const b = new ArrayBuffer(<i32>n);
  const length = host_result(changetype<usize>(b), <u32>n);
  if (length == <u32>n) return b;
  refusal.set(Code.unavailable, "the host gave another length than it said");
  return null;
}

/** The value of a secret as it is now; null when the host refuses it. It is not to be kept: it may be changed while the instance lives. */
export function secret(name: string): Bytes | null {
  const n = String.UTF8.encode(name);
  const b = given(host_secret(changetype<usize>(n), n.byteLength));
  return b ? Bytes.fromBuffer(b) : null;
}

/** A variable of the function's configuration; null when there is none. */
export function env(name: string): string | null {
  const sizes = new ArrayBuffer(8);
  const at = changetype<usize>(sizes);
  if (environ_sizes_get(at, at + 4) != 0) return null;
  const places = new ArrayBuffer(load<i32>(at) << 2);
  const text = new ArrayBuffer(load<i32>(at, 4));
  if (environ_get(changetype<usize>(places), changetype<usize>(text)) != 0) return null;
  const lines = String.UTF8.decode(text).split("\0");
  for (let i = 0; i < lines.length; i++) {
    if (lines[i].startsWith(name + "=")) return lines[i].substring(name.length + 1);
  }
  return null;
}

/** What a change of state can expect of an entry, besides its revision: nothing, or that it is not there. */
export const ANY: i64 = -1;
export const ABSENT: i64 = 0;

/** One entry of a state table. */
export class Entry {
  constructor(
    public key: string,
    public value: Bytes,
    /** Greater than 0, and another one after each change. That of an entry that this call has put is good in this call only. */
    public revision: i64,
  ) {}
}

/**
 * A state table: one of the function's own for each mapping and shard that it runs for, or, where the grant is shared:NAME, one that it
 * shares. What a call changes it sees at once, and others when it has succeeded: all of it or nothing, after what it emitted was put. A
 * key has 1 to 512 bytes, a value at most 1 MiB. What gives null, false or 0 was refused: refusal says why.
 */
export class Table {
  private name: ArrayBuffer;

  constructor(name: string) {
    this.name = String.UTF8.encode(name);
  }

  /** The entry with a key; null when there is none, refusal.code being Code.notFound, or when the host refuses it. */
  get(key: string): Entry | null {
    const k = String.UTF8.encode(key);
    const b = given(host_state_get(changetype<usize>(this.name), this.name.byteLength, changetype<usize>(k), k.byteLength));
    if (!b) return null;
    if (b.byteLength >= 8) return new Entry(key, Bytes.fromBuffer(b).slice(8), load<i64>(changetype<usize>(b)));
    refusal.set(Code.unavailable, "the host gave no entry");
    return null;
  }

  /** Makes or changes an entry, whatever it was. */
  put(key: string, value: Bytes): bool {
    return this.cas(key, value, ANY) > 0;
  }

  /** put for text. */
  putText(key: string, value: string): bool {
    return this.put(key, Bytes.fromString(value));
  }

  /**
   * Makes or changes an entry that is as expected: ANY, ABSENT or a revision; its new revision, as this call sees it. One that another call
   * changes before this one has succeeded fails this call.
   */
  cas(key: string, value: Bytes, expected: i64): i64 {
    const k = String.UTF8.encode(key);
    const revision = host_state_put(
      changetype<usize>(this.name), this.name.byteLength, changetype<usize>(k), k.byteLength, value.ptr, value.length, expected,
    );
    return answered(revision) ? revision : 0;
  }

  /** Removes an entry, if there is one. */
  delete(key: string): bool {
    return this.casDelete(key, ANY);
  }

  /** Removes an entry that is as expected. */
  casDelete(key: string, expected: i64): bool {
    const k = String.UTF8.encode(key);
    return answered(host_state_delete(changetype<usize>(this.name), this.name.byteLength, changetype<usize>(k), k.byteLength, expected));
  }

  /** The entries whose keys begin with a prefix, by the order of their bytes. The table may be changed meanwhile. */
  list(prefix: string = ""): Entries {
    return new Entries(this.name, String.UTF8.encode(prefix));
  }
}

/** The entries of a table, in order: for (const e = table.list(); e.next(); ) use(e.entry). */
export class Entries {
  /** The entry that next came to. */
  entry: Entry = new Entry("", new Bytes(), 0);
  private page: Bytes = new Bytes();
  private at: i32 = 0;
  private left: u32 = 0;
  private more: bool = true;
  private after: ArrayBuffer = new ArrayBuffer(0);

  constructor(
    private table: ArrayBuffer,
    private prefix: ArrayBuffer,
  ) {}

  /** Goes on to the next entry; false when there is none left, or when the host refuses it: then refusal.code is not Code.ok. */
  next(): bool {
    refusal.set(Code.ok, "");
    if (this.left == 0 && !(this.more && this.turn())) return false;
    if (this.left == 0) return false;
    const p = this.page.ptr + this.at;
    const room = this.page.length - this.at;
    const key = room < 16 ? 0 : <i32>load<u16>(p, 12);
    const value = room < 16 ? 0 : load<i32>(p, 8);
    if (room < 16 || value < 0 || value > room || 16 + key + value > room) {
      this.left = 0;
      this.more = false;
      refusal.set(Code.unavailable, "an entry ends behind its list");
      return false;
    }
    const from = this.at + 16;
    const k = this.page.slice(from, from + key);
    this.entry = new Entry(k.toString(), this.page.slice(from + key, from + key + value), load<i64>(p));
    this.after = k.toArray().buffer;
    this.at += <i32>align(16 + key + value);
    this.left--;
    return true;
  }

  /** Gets the next page; false when the host refuses it. */
  private turn(): bool {
    this.more = false;
    const b = given(
      host_state_list(
        changetype<usize>(this.table), this.table.byteLength, changetype<usize>(this.prefix), this.prefix.byteLength,
        changetype<usize>(this.after), this.after.byteLength, 0,
      ),
    );
    if (!b) return false;
    if (b.byteLength < 8) {
      refusal.set(Code.unavailable, "the host gave no list");
      return false;
    }
    this.page = Bytes.fromBuffer(b);
    this.left = load<u32>(this.page.ptr);
    this.more = load<u32>(this.page.ptr, 4) == 1 && this.left > 0;
    this.at = 8;
    return true;
  }
}

/** One field of an HTTP header. */
class Field {
  constructor(
    public name: ArrayBuffer,
    public value: ArrayBuffer,
  ) {}
}

/** An HTTP request: new Request("POST", url).header("X-A", "1").text("body").send(). */
export class Request {
  /** At most 6 MiB. */
  body: Bytes = new Bytes();
  /** In milliseconds; 0: as long as the call may run. */
  timeout: u32 = 0;
  private fields: Field[] = [];

  constructor(
    public method: string,
    public url: string,
  ) {}

  /** Adds a header field; at most 64, and 16,384 bytes. */
  header(name: string, value: string): Request {
    this.fields.push(new Field(String.UTF8.encode(name), String.UTF8.encode(value)));
    return this;
  }

  /** Gives it text as its body. */
  text(body: string): Request {
    this.body = Bytes.fromString(body);
    return this;
  }

  /**
   * Makes the request to a server that is granted, and returns when all of the answer is there, whatever its status; null when the host
   * refuses it or there is no answer. Redirects are followed to servers that are granted. Nothing is tried twice, and what is sent counts
   * even when the call fails.
   */
  send(): Response | null {
    const method = String.UTF8.encode(this.method);
    const url = String.UTF8.encode(this.url);
    const wrong = this.problem(method, url);
    if (wrong) {
      refusal.set(Code.invalid, wrong);
      return null;
    }
    const request = this.encode(method, url);
    const b = given(host_http_fetch(changetype<usize>(request), request.byteLength));
    if (!b) return null;
    const response = new Response(Bytes.fromBuffer(b));
    if (response.read()) return response;
    refusal.set(Code.unavailable, "the host gave an answer that cannot be read");
    return null;
  }

  private fieldBytes(): i32 {
    let size = 0;
    for (let i = 0; i < this.fields.length; i++) size += this.fields[i].name.byteLength + this.fields[i].value.byteLength;
    return size;
  }

  private problem(method: ArrayBuffer, url: ArrayBuffer): string | null {
    if (method.byteLength > 32) return "the method has more than 32 bytes";
    if (url.byteLength > 8192) return "the URL has more than 8192 bytes";
    if (this.fields.length > 64 || this.fieldBytes() > 16384) return "the header has more than 64 fields, or 16384 bytes";
    if (this.body.length > 6 << 20) return "the body has more than 6291456 bytes";
    return null;
  }

  private encode(method: ArrayBuffer, url: ArrayBuffer): ArrayBuffer {
    const fields = this.fields;
    const b = new ArrayBuffer(16 + method.byteLength + url.byteLength + 4 * fields.length + this.fieldBytes() + this.body.length);
    let p = changetype<usize>(b);
    store<u32>(p, this.timeout);
    store<u16>(p, <u16>method.byteLength, 4);
    store<u16>(p, <u16>fields.length, 6);
    store<u32>(p, url.byteLength, 8);
    store<u32>(p, this.body.length, 12);
    p = copied(copied(p + 16, method), url);
    for (let i = 0; i < fields.length; i++) {
      store<u16>(p, <u16>fields[i].name.byteLength);
      store<u16>(p, <u16>fields[i].value.byteLength, 2);
      p = copied(copied(p + 4, fields[i].name), fields[i].value);
    }
    memory.copy(p, this.body.ptr, this.body.length);
    return b;
  }
}

/** Copies a buffer; returns what is behind it. */
function copied(to: usize, from: ArrayBuffer): usize {
  memory.copy(to, changetype<usize>(from), from.byteLength);
  return to + from.byteLength;
}

/** The answer to a request. */
export class Response {
  status: i32 = 0;
  body: Bytes = new Bytes();

  constructor(private raw: Bytes) {}

  /** Whether the raw bytes are an answer. */
  read(): bool {
    const raw = this.raw;
    if (raw.length < 8) return false;
    this.status = load<u16>(raw.ptr);
    let at = 8;
    for (let n = <i32>load<u16>(raw.ptr, 2); n > 0; n--) {
      if (raw.length - at < 4) return false;
      at += 4 + <i32>load<u16>(raw.ptr + at) + <i32>load<u16>(raw.ptr + at, 2);
      if (at > raw.length) return false;
    }
    this.body = raw.slice(at);
    return this.body.length == load<i32>(raw.ptr, 4);
  }

  /** The first header field of a name, in whatever case; null when there is none. */
  header(name: string): string | null {
    const wanted = name.toLowerCase();
    let at = 8;
    for (let n = <i32>load<u16>(this.raw.ptr, 2); n > 0; n--) {
      const nameEnd = at + 4 + <i32>load<u16>(this.raw.ptr + at);
      const end = nameEnd + <i32>load<u16>(this.raw.ptr + at, 2);
      if (this.raw.slice(at + 4, nameEnd).toString().toLowerCase() == wanted) return this.raw.slice(nameEnd, end).toString();
      at = end;
    }
    return null;
  }
}
