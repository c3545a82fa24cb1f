/**
 * Runs a function's module under Node.js, as a host would: the calls and replies are the bytes of the ABI.
 *
 *     import { load } from "shardmill/testing.mjs";
 *     const f = await load("build/release.wasm");
 *     const said = f.batch([{ key: "a", data: "1" }, { key: "b", data: "" }]);
 *     // said.outcomes: ["ok", "rejected: no data"], said.emitted: [{ stream: "copies", key: "a", data: "1" }]
 */
import { readFile } from "node:fs/promises";

const utf8 = new TextEncoder();
const text = new TextDecoder();
const align = (n) => (n + 7) & ~7;
const bytes = (b) => (typeof b === "string" ? utf8.encode(b) : b);

/** Loads a module from a file. */
export async function load(file) {
  const module = await WebAssembly.compile(await readFile(file));
  return new Func(module);
}

/** A call that failed: the message is what the host shows. */
export class Failure extends Error {}

class Func {
  #module;
  #exports;
  /** What the function wrote to stdout and stderr, by line. */
  log = [];

  constructor(module) {
    this.#module = module;
  }

  /** Handles records of { key, data }; text or bytes. What was emitted comes back as text. */
  batch(records) {
    const parts = records.map((r, i) => {
      const [key, data] = [bytes(r.key ?? ""), bytes(r.data ?? "")];
      const b = new Uint8Array(align(24 + key.length + data.length));
      const v = new DataView(b.buffer);
      v.setBigUint64(0, BigInt(i + 1), true);
      v.setUint32(16, data.length, true);
      v.setUint16(20, key.length, true);
      b.set(key, 24);
      b.set(data, 24 + key.length);
      return b;
    });
    const body = new Uint8Array(24 + parts.reduce((n, p) => n + p.length, 0));
    const v = new DataView(body.buffer);
    body.set(utf8.encode("SMRB"));
    v.setUint32(8, 0x10001, true);
    v.setUint32(12, body.length, true);
    v.setUint32(16, records.length, true);
    let at = 24;
    for (const p of parts) {
      body.set(p, at);
      at += p.length;
    }
    return this.#call(1, body, records.length);
  }

  /** Answers a direct invocation; said.body is the answer. */
  invoke(body) {
    return this.#call(4, bytes(body), 0);
  }

  #call(kind, body, records) {
    const f = (this.#exports ??= this.#instantiate());
    const call = new Uint8Array(88 + align(body.length));
    const v = new DataView(call.buffer);
    call.set(utf8.encode("SMCL"));
    call.set([1, 0, kind, 0, 80], 4);
    v.setUint16(14, 4, true);
    v.setUint32(20, 1, true);
    v.setUint32(28, 1, true);
    v.setUint32(40, 88, true);
    v.setUint32(44, body.length, true);
    call.set(utf8.encode("test"), 80);
    call.set(body, 88);
    const logged = this.log.length;
    let packed;
    try {
      const input = f.shardmill_input(call.length) >>> 0;
      new Uint8Array(f.memory.buffer).set(call, input);
      packed = f.shardmill_handle(kind, input, call.length);
    } catch (trap) {
      this.#exports = undefined; // as the host does, the next call is served by a new instance
      const last = this.log.slice(logged).join("\n").split("panic: ").pop();
      throw new Failure(last || trap.message);
    }
    const at = Number(BigInt.asUintN(32, packed >> 32n));
    const reply = f.memory.buffer.slice(at, at + Number(BigInt.asUintN(32, packed)));
    return read(new DataView(reply), records);
  }

  #instantiate() {
    let f;
    const write = (fd, parts, count, written) => {
      const v = new DataView(f.memory.buffer);
      let n = 0;
      for (let i = 0; i < count; i++) {
        const length = v.getUint32(parts + 8 * i + 4, true);
        this.#write(text.decode(new Uint8Array(f.memory.buffer, v.getUint32(parts + 8 * i, true), length)));
        n += length;
      }
      v.setUint32(written, n, true);
      return 0;
    };
    const clock_time_get = (id, precision, to) => {
      new DataView(f.memory.buffer).setBigUint64(to, BigInt(Date.now()) * 1000000n, true);
      return 0;
    };
    const random_get = (to, length) => {
      crypto.getRandomValues(new Uint8Array(f.memory.buffer, to, length));
      return 0;
    };
    const wasi_snapshot_preview1 = { fd_write: write, clock_time_get, random_get };
    f = new WebAssembly.Instance(this.#module, { wasi_snapshot_preview1 }).exports;
    f._initialize?.();
    return f;
  }

  #partial = "";

  #write(part) {
    const lines = (this.#partial + part).split("\n");
    this.#partial = lines.pop();
    this.log.push(...lines);
  }
}

function read(v, records) {
  const string = (at, length) => text.decode(new Uint8Array(v.buffer, at, length));
  if (v.getUint8(6) === 1) {
    throw new Failure(string(56 + v.getUint16(42, true), v.getUint32(44, true)));
  }
  const said = { outcomes: Array(records).fill("ok"), emitted: [], body: "" };
  let at = 40;
  for (let n = v.getUint32(16, true); n > 0; n--) {
    const reason = v.getUint16(at + 6, true);
    const result = ["ok", "dropped", "retry", "rejected"][v.getUint8(at + 4)];
    said.outcomes[v.getUint32(at, true)] = reason > 0 ? `${result}: ${string(at + 8, reason)}` : result;
    at += 8 + align(reason);
  }
  for (let n = v.getUint32(24, true); n > 0; n--) {
    const end = at + v.getUint32(at, true);
    const name = v.getUint16(at + 12, true);
    const stream = string(at + 16, name);
    at += 16 + align(name);
    while (at < end) {
      const [key, data] = [v.getUint16(at + 20, true), v.getUint32(at + 16, true)];
      const from = at + 24 + (v.getUint8(at + 22) & 1) * 16;
      said.emitted.push({ stream, key: string(from, key), data: string(from + key, data) });
      at += align(from - at + key + data);
    }
  }
  said.body = string(at, v.getUint32(36, true));
  return said;
}
