// Runs a function's handlers under Node, without a host: see index.d.ts for what they get.
//
//     import { run } from "shardmill/testing.mjs";
//     import handlers from "../build/function.js"; // as `shardmill function build` made it
//
//     const said = await run(handlers).batch([{ key: "a", data: "1" }]);
//     // said.outcomes: "ok", "dropped: why", "retry", "rejected: why", one a record
//     // said.emitted: { stream, key, data } with the data as text
//
//     const tables = { seen: { a: "1" } }; // granted; a call that ends well changes it
//     await run(handlers, { tables, secrets: { token: "s3cret" }, env: {}, fetch: (request) => ({ status: 200, body: "ok" }) }).batch([]);

const encoder = new TextEncoder(), decoder = new TextDecoder();

const payloads = new WeakSet(); // what came with a call, or was read: it is its bytes wherever data is taken

const bytesOf = (data) => {
  if (payloads.has(data)) return data.data;
  return data instanceof Uint8Array ? data : encoder.encode(typeof data === "string" ? data : JSON.stringify(data));
};

const payload = (data) => {
  const bytes = bytesOf(data);
  const made = {
    length: bytes.length,
    data: bytes,
    get text() { return decoder.decode(bytes); },
    json() { return JSON.parse(this.text); },
    toJSON() { return this.text; },
    toString() { return this.text; },
  };
  payloads.add(made);
  return made;
};

class HostError extends Error {
  name = "HostError";
  constructor(what, code, says) {
    super(`${what}: ${says}`);
    this.code = code;
  }
}
const denied = (what) => new HostError(what, "denied", "not granted");

// Table is a state table as one call sees it: the entries that were there have the revision 1.
class Table {
  #entries; #revision = 1n;
  constructor(name, entries) {
    this.name = name;
    this.#entries = new Map(Object.entries(entries).map(([key, value]) => [key, { revision: 1n, value: bytesOf(value) }]));
  }
  #entry(key, { revision, value }) { return Object.assign(payload(value), { key, revision }); }
  #change(what, key, expected) {
    const size = encoder.encode(key).length, now = this.#entries.get(key)?.revision ?? 0n;
    if (expected !== undefined && expected !== -1n && expected !== now) throw new HostError(what, "conflict", "changed meanwhile");
    if (size < 1 || size > 512) throw new HostError(what, "invalid", `invalid: the key has ${size} bytes; it must be 1 to 512`);
  }
  get(key) { return this.#entries.has(key) ? this.#entry(key, this.#entries.get(key)) : undefined; }
  put(key, value, expected) {
    const what = `put ${JSON.stringify(key)} of state table ${JSON.stringify(this.name)}`, bytes = bytesOf(value).slice();
    this.#change(what, key, expected);
    if (bytes.length > 1 << 20) throw new HostError(what, "invalid", `invalid: value is ${bytes.length} bytes; it must be at most ${1 << 20} bytes`);
    this.#entries.set(key, { revision: ++this.#revision, value: bytes });
    return this.#revision;
  }
  delete(key, expected) {
    this.#change(`delete ${JSON.stringify(key)} of state table ${JSON.stringify(this.name)}`, key, expected);
    this.#entries.delete(key);
  }
  *list(prefix = "") {
    const order = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
    for (const key of [...this.#entries.keys()].filter((key) => key.startsWith(prefix)).sort(order)) {
      if (this.#entries.has(key)) yield this.#entry(key, this.#entries.get(key));
    }
  }
  // commit has the changes in what the test gave, values as text.
  commit(to) {
    for (const key of Object.keys(to)) delete to[key];
    for (const [key, { value }] of this.#entries) to[key] = decoder.decode(value);
  }
}

class Outside {
  #granted; #tables = new Map();
  constructor(granted) { this.#granted = granted; }
  secret(name) {
    const value = this.#granted.secrets?.[name];
    if (value === undefined) throw denied(`secret ${JSON.stringify(name)}`);
    return value;
  }
  table(name) {
    const entries = this.#granted.tables?.[name];
    if (!entries) throw denied(`state table ${JSON.stringify(name)}`);
    if (!this.#tables.has(name)) this.#tables.set(name, new Table(name, entries));
    return this.#tables.get(name);
  }
  async fetch(url, { method = "GET", headers = [], body = "", timeout } = {}) {
    if (!this.#granted.fetch) throw denied("fetch");
    const request = { url: String(url), method, headers: new Headers(headers), body: decoder.decode(bytesOf(body)), timeout };
    const answer = await this.#granted.fetch(request), bytes = bytesOf(answer.body ?? "");
    return {
      status: answer.status, ok: answer.status >= 200 && answer.status < 300, headers: new Headers(answer.headers),
      text: async () => decoder.decode(bytes), json: async () => JSON.parse(decoder.decode(bytes)), bytes: async () => bytes,
    };
  }
  commit() { for (const [name, table] of this.#tables) table.commit(this.#granted.tables[name]); }
}

class Call {
  emitted = [];
  replaced = [];
  log = [];
  outcomes;
  outside;
  constructor(records, facts, granted) {
    const outside = (this.outside = new Outside(granted));
    this.outcomes = records.map(() => "ok");
    const settle = (what) => (record, reason = "") => {
      const index = typeof record === "number" ? record : record?.index;
      if (!(index in this.outcomes)) throw new RangeError(`record ${index} of a batch of ${records.length}`);
      this.outcomes[index] = reason ? `${what}: ${reason}` : what;
    };
    this.context = {
      function: "test", version: 1, invocation: "test", attempt: 1, mapping: "test", stream: "test", shard: 0, state: payload(""),
      remaining: () => Infinity,
      emit: (stream, { key, data }) => this.emitted.push({ stream, key, data: decoder.decode(bytesOf(data)) }),
      replace: (record, by) => {
        const index = typeof record === "number" ? record : record?.index;
        if (!(index in this.outcomes)) throw new RangeError(`record ${index} of a batch of ${records.length}`);
        this.replaced.push({ index, key: by.key ?? records[index].key, data: decoder.decode(bytesOf(by.data)) });
      },
      drop: settle("dropped"), retry: settle("retry"), reject: settle("rejected"),
      env: Object.freeze({ ...granted.env }), secret: (name) => decoder.decode(bytesOf(outside.secret(name))),
      secretBytes: (name) => bytesOf(outside.secret(name)), table: (name) => outside.table(name),
      fetch: (url, options) => outside.fetch(url, options),
      log: (level, message, fields) => this.log.push({ ...fields, level, msg: message }),
      setState: (state) => { this.state = decoder.decode(bytesOf(state)); },
      ...facts,
    };
  }
}

const recordsOf = (records) => records.map((r, index) => Object.assign(payload(r.data), {
  index, key: r.key, sequence: r.sequence ?? BigInt(index + 1), time: r.time ?? new Date(0), hashKey: r.hashKey,
}));

/**
 * The handlers of a function, to be called with records {key, data, sequence?, time?} and with facts that ctx is to have. What they reach beyond the
 * call is what granted has: secrets and env by name, tables by name as objects of keys and values, and fetch, which answers requests. What was
 * written with ctx.log is said.log.
 */
export function run(handlers, granted = {}) {
  return {
    async batch(records, facts = {}) {
      const all = recordsOf(records);
      const call = new Call(all, facts, granted);
      await handlers.batch(all, call.context);
      call.outside.commit();
      return { outcomes: call.outcomes, emitted: call.emitted, state: call.state, log: call.log };
    },
    async transform(records, facts = {}) {
      const all = recordsOf(records);
      const call = new Call(all, facts, granted);
      await handlers.transform(all, call.context);
      call.outside.commit();
      return { outcomes: call.outcomes, replaced: call.replaced, emitted: call.emitted, log: call.log };
    },
    async window(facts = {}) {
      const call = new Call([], facts, granted);
      await handlers.window(call.context);
      call.outside.commit();
      return { emitted: call.emitted, log: call.log };
    },
    async invoke(body, facts = {}) {
      const call = new Call([], facts, granted);
      const answer = await handlers.invoke(payload(body), call.context);
      call.outside.commit();
      return { body: answer === undefined ? "" : decoder.decode(bytesOf(answer)), emitted: call.emitted, log: call.log };
    },
  };
}
