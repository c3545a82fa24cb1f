/**
 * Runs a function's module under Node.js, as a host would: the calls and replies are the bytes of the ABI.
 *
 *     import { load } from "shardmill/testing.mjs";
 *     const f = await load("build/release.wasm");
 *     const said = f.batch([{ key: "a", data: "1" }, { key: "b", data: "" }]);
 *     // said.outcomes: ["ok", "rejected: no data"], said.emitted: [{ stream: "copies", key: "a", data: "1" }]
 *
 * What the function reaches beyond its call is what the second argument grants, or changes of it later on as f.granted:
 *
 *     const tables = { seen: { a: "1" } }; // a call that succeeds changes it
 *     const f = await load("build/release.wasm", { tables, secrets: { token: "s3cret" }, env: { REGION: "eu" }, fetch });
 *
 * fetch gets a request, { method, url, headers, body, timeout }, and returns its answer, { status, headers, body }, and no promise.
 */
import { readFile } from "node:fs/promises";

const utf8 = new TextEncoder();
const text = new TextDecoder();
const align = (n) => (n + 7) & ~7;
const bytes = (b) => (typeof b === "string" ? utf8.encode(b) : b);

/** Loads a module from a file. */
export async function load(file, granted = {}) {
  const module = await WebAssembly.compile(await readFile(file));
  return new Func(module, granted);
}

/** A call that failed: the message is what the host shows. */
export class Failure extends Error {}

class Func {
  #module;
  #exports;
  /** What the function wrote to stdout and stderr, by line. */
  log = [];
  /** What it may reach beyond its calls. */
  granted;
  #host;

  constructor(module, granted) {
    this.#module = module;
    this.granted = granted;
  }

  /** Handles records of { key, data }; text or bytes. What was emitted comes back as text. */
  batch(records) {
    return this.#call(1, this.#encode(records), records.length);
  }

  /** Has records of { key, data } transformed; said.replaced is what takes their place: { index, key, data }. */
  transform(records) {
    return this.#call(3, this.#encode(records), records.length);
  }

  #encode(records) {
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
    return body;
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
    this.#host = new Host(this.granted);
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
    const said = read(new DataView(reply), records);
    this.#host.commit();
    return said;
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
    const environ = () => Object.entries(this.granted.env ?? {}).map(([name, value]) => utf8.encode(`${name}=${value}\0`));
    const environ_sizes_get = (count, size) => {
      const [v, all] = [new DataView(f.memory.buffer), environ()];
      v.setUint32(count, all.length, true);
      v.setUint32(size, all.reduce((n, line) => n + line.length, 0), true);
      return 0;
    };
    const environ_get = (places, to) => {
      for (const line of environ()) {
        new DataView(f.memory.buffer).setUint32(places, to, true);
        new Uint8Array(f.memory.buffer).set(line, to);
        [places, to] = [places + 4, to + line.length];
      }
      return 0;
    };
    const wasi_snapshot_preview1 = { fd_write: write, clock_time_get, random_get, environ_sizes_get, environ_get };
    const shardmill = imports(() => new Uint8Array(f.memory.buffer), () => this.#host);
    f = new WebAssembly.Instance(this.#module, { wasi_snapshot_preview1, shardmill }).exports;
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

const [denied, notFound, conflict, invalid, noCall] = [-1, -2, -3, -4, -6];

/** The host's functions (sdk/abi.md, section 6), over those of a Host. */
function imports(memory, host) {
  let given = new Uint8Array(0);
  const at = (ptr, length) => memory().slice(ptr >>> 0, (ptr >>> 0) + (length >>> 0));
  const string = (ptr, length) => text.decode(at(ptr, length));
  const answer = (f) => {
    let n = noCall;
    given = utf8.encode("no call is under way");
    if (host()) [n, given] = f(host());
    if (typeof given === "string") given = utf8.encode(given);
    return BigInt(n ?? given.length);
  };
  return {
    result: (to, length) => {
      memory().set(given.subarray(0, length >>> 0), to >>> 0);
      return given.length;
    },
    secret: (name, n) => answer((h) => h.secret(string(name, n))),
    state_get: (t, tn, k, kn) => answer((h) => h.get(string(t, tn), string(k, kn))),
    state_put: (t, tn, k, kn, v, vn, expected) => answer((h) => h.put(string(t, tn), string(k, kn), at(v, vn), expected)),
    state_delete: (t, tn, k, kn, expected) => answer((h) => h.delete(string(t, tn), string(k, kn), expected)),
    state_list: (t, tn, p, pn, a, an) => answer((h) => h.list(string(t, tn), string(p, pn), string(a, an))),
    http_fetch: (r, n) => answer((h) => h.fetch(at(r, n))),
  };
}

const order = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** What one call reaches. Each function gives a status, or the number that it answers, or undefined for the length of what it gives; and that. */
class Host {
  #granted;
  #tables = new Map();
  #revision = 1n;

  constructor(granted) {
    this.#granted = granted;
  }

  /** Has the changes in what the test gave, values as text. */
  commit() {
    for (const [name, table] of this.#tables) {
      const to = this.#granted.tables[name];
      for (const key of Object.keys(to)) delete to[key];
      for (const [key, { value }] of table) to[key] = text.decode(value);
    }
  }

  secret(name) {
    const value = this.#granted.secrets?.[name];
    return value === undefined ? [denied, "the test grants no such secret"] : [undefined, bytes(value)];
  }

  #table(name) {
    const entries = this.#granted.tables?.[name];
    if (entries && !this.#tables.has(name)) {
      this.#tables.set(name, new Map(Object.entries(entries).map(([key, value]) => [key, { revision: 1n, value: bytes(value) }])));
    }
    return this.#tables.get(name);
  }

  #change(name, key, expected, change) {
    const table = this.#table(name);
    if (!table) return [denied, "the test grants no such state table"];
    if (expected !== -1n && expected !== (table.get(key)?.revision ?? 0n)) return [conflict, "the entry has changed"];
    const size = bytes(key).length;
    return size < 1 || size > 512 ? [invalid, "a key has 1 to 512 bytes"] : change(table);
  }

  get(name, key) {
    const table = this.#table(name);
    if (!table) return [denied, "the test grants no such state table"];
    const entry = table.get(key);
    if (!entry) return [notFound, "there is no such key"];
    const b = new Uint8Array(8 + entry.value.length);
    new DataView(b.buffer).setBigInt64(0, entry.revision, true);
    b.set(entry.value, 8);
    return [undefined, b];
  }

  put(name, key, value, expected) {
    return this.#change(name, key, expected, (table) => {
      if (value.length > 1 << 20) return [invalid, "a value has at most 1 MiB"];
      table.set(key, { revision: ++this.#revision, value });
      return [this.#revision, ""];
    });
  }

  delete(name, key, expected) {
    return this.#change(name, key, expected, (table) => {
      table.delete(key);
      return [0, ""];
    });
  }

  /** A page has one entry, so that tests see what a call does between pages. */
  list(name, prefix, after) {
    const table = this.#table(name);
    if (!table) return [denied, "the test grants no such state table"];
    const keys = [...table.keys()].filter((key) => key.startsWith(prefix) && (after === "" || order(key, after) > 0)).sort(order);
    if (keys.length === 0) return [undefined, new Uint8Array(8)];
    const [key, { revision, value }] = [bytes(keys[0]), table.get(keys[0])];
    const b = new Uint8Array(8 + align(16 + key.length + value.length));
    const v = new DataView(b.buffer);
    v.setUint32(0, 1, true);
    v.setUint32(4, keys.length > 1 ? 1 : 0, true);
    v.setBigInt64(8, revision, true);
    v.setUint32(16, value.length, true);
    v.setUint16(20, key.length, true);
    b.set(key, 24);
    b.set(value, 24 + key.length);
    return [undefined, b];
  }

  fetch(b) {
    if (!this.#granted.fetch) return [denied, "the test answers no requests"];
    const v = new DataView(b.buffer);
    let at = 16;
    const take = (length) => text.decode(b.subarray(at, (at += length)));
    const request = { method: take(v.getUint16(4, true)), url: take(v.getUint32(8, true)), headers: {}, timeout: v.getUint32(0, true) };
    for (let n = v.getUint16(6, true); n > 0; n--) {
      const [name, value] = [v.getUint16(at, true), v.getUint16(at + 2, true)];
      at += 4;
      request.headers[take(name)] = take(value);
    }
    request.body = take(v.getUint32(12, true));
    const answer = this.#granted.fetch(request);
    const fields = Object.entries(answer.headers ?? {}).map((field) => field.map(bytes));
    const parts = [new Uint8Array(8)];
    for (const [name, value] of fields) parts.push(new Uint8Array(new Uint16Array([name.length, value.length]).buffer), name, value);
    const body = bytes(answer.body ?? "");
    const head = new DataView(parts[0].buffer);
    head.setUint16(0, answer.status, true);
    head.setUint16(2, fields.length, true);
    head.setUint32(4, body.length, true);
    return [undefined, Buffer.concat([...parts, body])];
  }
}

function read(v, records) {
  const string = (at, length) => text.decode(new Uint8Array(v.buffer, at, length));
  if (v.getUint8(6) === 1) {
    throw new Failure(string(56 + v.getUint16(42, true), v.getUint32(44, true)));
  }
  const said = { outcomes: Array(records).fill("ok"), emitted: [], replaced: [], body: "" };
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
      const record = { key: string(from, key), data: string(from + key, data) };
      if (name > 0) said.emitted.push({ stream, ...record });
      else said.replaced.push({ index: v.getUint32(at, true), ...record });
      at += align(from - at + key + data);
    }
  }
  said.body = string(at, v.getUint32(36, true));
  return said;
}
