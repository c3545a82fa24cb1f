// The half of the host's JavaScript that is in the function: it reads calls and writes replies (../abi.md), and gives a script what it
// can expect of its surroundings. Its value is a function from the natives of runtime/quickjs/glue.wat to
// [report, begin, handle, resume, rejected, interrupted, where]. index.d.ts says what scripts see of it.
(natives) => {
  "use strict";
  const [
    inputBuffer, replyBuffer, inputText, inputJSON, bytesText, put, putBytes, putInput, write, random, wait, sourceMap, giveUp,
    host, hostResult, environ, markBuffer, tell,
  ] = natives;

  // What scripts could replace and this file goes on using.
  const { parse, stringify } = JSON;
  const { min, max } = Math;
  const now = Date.now;

  // ---- Errors, with the places of the source ----

  let segments = null; // by line of the script: [column, source, line, column] in order
  let sources = [];

  // vlq reads the numbers of a source map's mappings (https://tc39.es/ecma426/).
  function mapLines() {
    const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const map = parse(sourceMap() || "{}");
    sources = map.sources || [];
    const at = [0, 0, 0, 0]; // column, source, line and column there
    return (map.mappings || "").split(";").map((line) => {
      at[0] = 0;
      if (line === "") return [];
      return line.split(",").map((segment) => {
        let field = 0, value = 0, shift = 0;
        for (const c of segment) {
          const digit = digits.indexOf(c);
          value |= (digit & 31) << shift;
          shift += 5;
          if (digit & 32) continue;
          if (field < 4) at[field] += value & 1 ? -(value >> 1) : value >> 1;
          field++;
          value = shift = 0;
        }
        return at.slice();
      });
    });
  }

  // place is where a place in the script was written, with lines and columns from 1.
  function place(line, column) {
    segments ??= mapLines();
    let found = null;
    for (const s of segments[line - 1] || []) {
      if (s[0] > column - 1) break;
      found = s;
    }
    return found ? `${sources[found[1]]}:${found[2] + 1}:${found[3] + 1}` : `script:${line}:${column}`;
  }

  // stackOf is the stack of an error without the frames of this file and of its natives, which have no names.
  function stackOf(error) {
    const stack = error !== null && typeof error === "object" ? error.stack : "";
    if (typeof stack !== "string") return "";
    const lines = stack.split("\n").filter((line) => line.trim() !== "" && !/\bruntime:\d+(:\d+)?\)?$| <anonymous> \(native\)$/.test(line));
    return lines.map((line) => line.replace(/\bscript:(\d+)(?::(\d+))?/g, (_, l, c) => place(+l, +(c || 1)))).join("\n");
  }

  const isError = (e) => e instanceof Error;
  const typeOf = (e) => (isError(e) ? String(e.name) : e === null ? "null" : typeof e);

  // messageOf is a message with those of the errors that it has come from, some deep.
  function messageOf(e, depth = 0) {
    if (!isError(e)) return show(e);
    const within = [], named = (x) => `${typeOf(x)}: ${messageOf(x, depth + 1)}`;
    if (e.cause !== undefined && depth < 5) within.push(`cause: ${named(e.cause)}`);
    if (Array.isArray(e.errors) && depth < 5) within.push(`errors: ${e.errors.slice(0, 10).map(named).join("; ")}`);
    return within.length ? `${e.message} (${within.join(", ")})` : String(e.message);
  }

  // outOfMemory is what the engine throws when it gets no more memory. The host knows why, when the instance ends.
  const outOfMemory = (e) => isError(e) && e.name === "InternalError" && e.message === "out of memory";

  // endIfOut ends the instance when the engine has no memory. It throws null where there is none even for an error: a script that throws null ends its
  // instance too, and says so.
  function endIfOut(e) {
    if (e === null) write(2, "panic: null was thrown\n");
    if (e === null || outOfMemory(e)) giveUp();
  }

  // report tells why the instance ends.
  function report(e) {
    if (outOfMemory(e)) return;
    const stack = stackOf(e);
    const first = /[^\s(]+:\d+:\d+/.exec(stack);
    write(2, `panic: ${typeOf(e)}: ${messageOf(e)}${first ? " at " + first[0] : ""}\n${stack}\n`);
  }

  // interrupted is called between two steps of a script that is to be stopped, and tells where that is, as the engine writes stacks. The places of the source are
  // the host's to find, for there is next to no time left. It is 0 where no function of the script is running: then it is called again soon. A function that has
  // called nothing has no place yet; the error that the engine throws when the result is 1, and that nothing catches, has one near it.
  const { apply } = Reflect, setError = (name) => Object.getOwnPropertyDescriptor(Error, name).set;
  const setPrepare = setError("prepareStackTrace"), setLimit = setError("stackTraceLimit"), EngineError = Error;
  let postponed = 0;
  function interrupted() {
    const stack = ownStack();
    if (!stack.includes("(script:") && postponed++ < 100 && !stack.includes("(missing)")) return 0;
    if (!stack.includes("(missing)")) tell(stack);
    apply(setPrepare, EngineError, [(_, sites) => {
      let text = "";
      for (let i = 0; i < sites.length; i++) {
        const s = sites[i];
        const at = s.isNative() ? "native" : `${s.getFileName()}:${s.getLineNumber()}:${s.getColumnNumber()}`;
        text += `    at ${s.getFunctionName() ?? "<anonymous>"} (${at})\n`;
      }
      tell(text);
    }]);
    return 1;
  }

  // ownStack is the stack from where it is called.
  function ownStack() {
    apply(setLimit, EngineError, [30]);
    apply(setPrepare, EngineError, [undefined]);
    return new EngineError().stack;
  }

  // where is called in the midst of anything.
  const where = () => tell(ownStack());

  // ---- console ----

  // shownInside is what JSON does not say of itself: values in an object that is shown.
  function shownInside(_, v) {
    if (typeof v === "bigint") return `${v}n`;
    if (v instanceof Map || v instanceof Set) return [...v];
    return isError(v) ? `${typeOf(v)}: ${messageOf(v)}` : v;
  }

  function show(value) {
    if (typeof value === "string") return value;
    if (isError(value)) {
      const stack = stackOf(value);
      return `${typeOf(value)}: ${messageOf(value)}${stack ? "\n" + stack : ""}`;
    }
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value === "function") return `[function ${value.name || "anonymous"}]`;
    if (value === null || typeof value !== "object") return String(value);
    if (value instanceof Map) return `Map ${show([...value])}`;
    if (value instanceof Set) return `Set ${show([...value])}`;
    try {
      return stringify(value, shownInside) ?? String(value);
    } catch {
      return Object.prototype.toString.call(value);
    }
  }

  // A line of the log that is one line and of the level that its file has anyway is written as it is (abi.md §4).
  const log = (file, level, plain) => (...values) => {
    const text = values.map(show).join(" ");
    write(file, plain && !text.includes("\n") ? text + "\n" : stringify({ level, msg: text }) + "\n");
  };
  const info = log(1, "info", true), debug = log(1, "debug", false), error = log(2, "error", true);
  globalThis.console = {
    log: info, info, debug, trace: debug, error, warn: log(1, "warn", false),
    assert: (ok, ...values) => { if (!ok) error("assertion failed:", ...values); },
  };

  // ---- What scripts expect to be there ----

  const bytesOf = (value) => {
    if (value instanceof Uint8Array) return value;
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    return null;
  };

  globalThis.TextEncoder = class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(text = "") {
      const n = append(String(text), 0); // to the reply's arena, where nothing is while scripts run
      room(n);
      return replyBytes.slice(0, n);
    }
  };
  globalThis.TextDecoder = class TextDecoder {
    constructor(label = "utf-8") {
      if (!/^\s*(utf-?8|unicode-1-1-utf-8)\s*$/i.test(label)) throw new RangeError(`the encoding ${show(label)} is not supported; it must be utf-8`);
    }
    get encoding() { return "utf-8"; }
    decode(value) {
      if (value === undefined) return "";
      const bytes = bytesOf(value);
      if (!bytes) throw new TypeError("decode takes an ArrayBuffer or a view of one");
      const text = bytes.length ? bytesText(bytes) : "";
      return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
    }
  };

  globalThis.crypto = {
    getRandomValues(array) {
      const bytes = bytesOf(array);
      if (!bytes || array instanceof DataView) throw new TypeError("getRandomValues takes an array of integers");
      if (bytes.length) random(bytes);
      return array;
    },
    randomUUID() {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      bytes[6] = (bytes[6] & 15) | 64;
      bytes[8] = (bytes[8] & 63) | 128;
      const hex = Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
      return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
    },
  };
  // The engine's own generator is seeded when it starts, and instances may be copies of one that has started.
  const numbers = new Uint32Array(64);
  let drawn = numbers.length;
  Math.random = () => {
    if (drawn === numbers.length) {
      random(new Uint8Array(numbers.buffer));
      drawn = 0;
    }
    drawn += 2;
    return ((numbers[drawn - 2] >>> 6) * 0x8000000 + (numbers[drawn - 1] >>> 5)) / 0x20000000000000;
  };

  // ---- Timers: they run while a handler's promise is not settled ----

  let timers = [], nextTimer = 1;
  const arm = (every) => (f, delay = 0, ...values) => {
    if (typeof f !== "function") throw new TypeError("a timer takes a function");
    delay = max(0, min(+delay || 0, 0x7fffffff));
    timers.push({ id: nextTimer, at: now() + delay, every: every ? max(1, delay) : 0, f, values });
    return nextTimer++;
  };
  const disarm = (id) => { timers = timers.filter((t) => t.id !== id); };
  globalThis.setTimeout = arm(false);
  globalThis.setInterval = arm(true);
  globalThis.clearTimeout = globalThis.clearInterval = disarm;
  globalThis.queueMicrotask = (f) => {
    Promise.resolve().then(f).catch((e) => error("in queueMicrotask:", e));
  };

  // fire waits for the next timer and runs it; it is false when there is none.
  function fire() {
    if (timers.length === 0) return false;
    const t = timers.reduce((a, b) => (b.at < a.at ? b : a));
    const left = t.at - now();
    if (left > 0) wait(left | 0);
    if (t.every) t.at = now() + t.every;
    else disarm(t.id);
    try {
      t.f(...t.values);
    } catch (e) {
      error("in a timer:", e);
    }
    return true;
  }

  // ---- Promises that are rejected, and nobody waits for them ----

  const rejections = new Map(); // by promise: why

  // rejected is called when a promise is rejected that nobody waits for, and when somebody waits for it after all.
  function rejected(promise, reason, handled) {
    if (handled) rejections.delete(promise);
    else rejections.set(promise, reason);
  }

  // ---- The call: views of the input area ----

  const kindBatch = 1, kindWindow = 2, kindTransform = 3, kindInvoke = 4;
  let words = new Uint32Array(0), halves, bytes; // of the input area
  let handlers = {};
  let current = null; // the call under way

  const signed64 = (word) => (words[word + 1] | 0) * 0x100000000 + words[word];
  const unsigned64 = (word) => (BigInt(words[word + 1]) << 32n) | BigInt(words[word]);
  const milliseconds = (micros) => Math.floor(micros / 1000);

  class Payload {
    #call; #at; #length;
    constructor(call, at, length) {
      this.#call = call;
      this.#at = at;
      this.#length = length;
    }
    #live() {
      if (this.#call !== current) throw new Error("it is used after its handler has ended");
    }
    get length() { return this.#length; }
    get data() {
      this.#live();
      return bytes.subarray(this.#at, this.#at + this.#length);
    }
    get text() {
      this.#live();
      return inputText(this.#at, this.#length);
    }
    json() {
      this.#live();
      return inputJSON(this.#at, this.#length);
    }
    toJSON() { return this.text; }
    toString() { return this.text; }
    static is(p) { return p !== null && typeof p === "object" && #at in p; }
  }

  // A record stands in the input area as sdk/record/doc.go draws it. It keeps no more than where: making these objects is much of what a batch costs.
  class Record {
    #call; #at;
    constructor(call, at, index) {
      this.#call = call;
      this.#at = at;
      this.index = index;
    }
    #live() {
      if (this.#call !== current) throw new Error("it is used after its handler has ended");
      return this.#at;
    }
    get length() { return words[(this.#live() >> 2) + 4]; }
    get data() {
      const at = dataAt(this.#live());
      if (marked[1] === 0) marked[0] = this.index + 1;
      return bytes.subarray(at, at + words[(this.#at >> 2) + 4]);
    }
    get text() {
      const at = this.#live();
      return inputText(dataAt(at), words[(at >> 2) + 4], this.index + 1);
    }
    json() {
      const at = this.#live();
      return inputJSON(dataAt(at), words[(at >> 2) + 4], this.index + 1);
    }
    toJSON() { return this.text; }
    toString() { return this.text; }
    get key() {
      const at = this.#live(), lengths = words[(at >> 2) + 5];
      return inputText(at + 24 + ((lengths >> 12) & 16), lengths & 0xffff, this.index + 1);
    }
    get sequence() { return unsigned64(this.#live() >> 2); }
    get arrival() { return signed64((this.#live() >> 2) + 2); }
    get time() { return new Date(milliseconds(this.arrival)); }
    get hashKey() {
      const at = this.#live();
      if (!(bytes[at + 22] & 1)) return undefined;
      let n = 0n;
      for (let i = 0; i < 16; i++) n = (n << 8n) | BigInt(bytes[at + 24 + i]);
      return n;
    }
    // at is where the record stands.
    static at(r) { return r.#live(); }
    static is(r) { return r !== null && typeof r === "object" && #at in r; }
  }
  // Behind a record's header are its hash, of 16 bytes, if it has one, its key and its data.
  const dataAt = (at) => {
    const lengths = words[(at >> 2) + 5];
    return at + 24 + ((lengths >> 12) & 16) + (lengths & 0xffff);
  };
  const recordEnd = (at) => (dataAt(at) + words[(at >> 2) + 4] + 7) & -8; // and of the zeros that follow it

  // ---- Which record is worked on, for the host, which looks now and then (abi.md §1) ----

  // Its position, from 1, 0 being none, and how many walks of Records are under way: where there is none, the record whose key or data
  // were read last is the one.
  const marked = new Uint32Array(markBuffer());
  const unmark = () => { marked[0] = marked[1] = 0; };
  // endWalk may come in a later call than the walk's begin, where that was left open.
  const endWalk = () => {
    marked[0] = 0;
    if (marked[1] > 0) marked[1]--;
  };

  // Records is a call's list of records: an array whose walks say which record they are at, and where they end that it is none.
  class Records extends Array {
    static get [Symbol.species]() { return Array; }
    *values() {
      marked[1]++;
      try {
        for (let i = 0; i < this.length; i++) {
          const r = this[i];
          marked[0] = r?.index + 1;
          yield r;
        }
      } finally {
        endWalk();
      }
    }
    *entries() {
      let i = 0;
      for (const r of this) yield [i++, r];
    }
  }
  const own = (name, value) => Object.defineProperty(Records.prototype, name, { value, writable: true, configurable: true });
  own(Symbol.iterator, Records.prototype.values);
  const asRecords = (list) => Object.setPrototypeOf(list, Records.prototype);
  for (const name of ["forEach", "map", "flatMap", "filter", "some", "every", "find", "findIndex", "findLast", "findLastIndex", "reduce", "reduceRight"]) {
    const walk = Array.prototype[name], reduces = name.startsWith("reduce"), keeps = name === "filter";
    own(name, function (f, ...more) {
      if (typeof f !== "function") return walk.call(this, f, ...more);
      const step = reduces
        ? (before, r, i, all) => ((marked[0] = r?.index + 1), f(before, r, i, all))
        : function (r, i, all) { marked[0] = r?.index + 1; return f.call(this, r, i, all); };
      marked[1]++;
      try {
        const out = walk.call(this, step, ...more);
        return keeps ? asRecords(out) : out;
      } finally {
        endWalk();
      }
    });
  }
  for (const name of ["slice", "toReversed", "toSorted"]) {
    const copy = Array.prototype[name];
    own(name, function (...args) { return asRecords(copy.apply(this, args)); });
  }

  const results = { drop: 1, retry: 2, reject: 3 };

  class Context {
    #call;
    constructor(call) { this.#call = call; }
    get deadline() { return this.#call.deadline ? new Date(this.#call.deadline) : undefined; }
    remaining() { return this.#call.deadline ? max(0, this.#call.deadline - now()) : Infinity; }
    emit(stream, record) { this.#active().emit(stream, record); }
    replace(record, by) { this.#active().replace(record, by); }
    drop(record, reason) { this.#active().settle(record, results.drop, reason); }
    retry(record, reason) { this.#active().settle(record, results.retry, reason); }
    reject(record, reason) { this.#active().settle(record, results.reject, reason); }
    get env() { return variables(); }
    secret(name) {
      const value = this.secretBytes(name);
      return bytesText(value);
    }
    secretBytes(name) {
      this.#active();
      const what = `secret ${quoted(name, "the name of a secret")}`;
      return given(answer(what, ask(doors.secret, [name])));
    }
    table(name) {
      this.#active();
      quoted(name, "the name of a state table");
      return new Table(() => this.#active(), name);
    }
    log(level, message, fields) {
      write(2, stringify({ ...fields, level: String(level), msg: String(message) }, (_, v) => (typeof v === "bigint" ? `${v}n` : v)) + "\n");
    }
    async fetch(url, options) {
      this.#active();
      return fetchNow(String(url), options ?? {});
    }
    setState(state) { this.#active().state = contentOf(state, "the window's state"); }
    #active() {
      if (this.#call !== current) throw new Error("the context is used after its handler has ended");
      return this.#call;
    }
  }

  // Call is one call: what it is about, and what the handler makes of it.
  class Call {
    outcomes = new Map(); // by index: [result, reason]
    outputs = new Map(); // by stream: payloads to encode
    count = 0; // of its records
    all = []; // of them
    state = null; // of the window, where the handler has set it
    windowed = false;
    progress = "running"; // or "done", "failed"
    value = undefined; // what it came to

    // facts reads the header (abi.md §2).
    facts() {
      const kind = bytes[6];
      const name = (at, length) => (length ? inputText(at, length) : "");
      const mappingAt = halves[4], streamAt = mappingAt + halves[5], functionAt = streamAt + halves[6];
      this.kind = kind;
      this.deadline = milliseconds(signed64(8));
      const c = new Context(this);
      c.function = name(functionAt, halves[7]);
      c.version = words[5];
      c.invocation = name(functionAt + halves[7], halves[8]);
      c.attempt = words[7];
      if (kind !== kindInvoke) {
        c.mapping = name(mappingAt, halves[5]);
        c.stream = name(streamAt, halves[6]);
        c.shard = words[6];
        const start = signed64(16), end = signed64(18);
        this.windowed = start !== end;
        if (this.windowed) c.window = { start: new Date(milliseconds(start)), end: new Date(milliseconds(end)), endedEarly: (bytes[7] & 1) !== 0 };
        c.state = new Payload(this, words[13], words[14]);
      }
      return c;
    }

    body() { return new Payload(this, words[10], words[11]); }

    records() {
      if (this.count) return this.all;
      let at = words[10] + 24;
      this.count = words[(words[10] >> 2) + 4];
      const out = asRecords(new Array(this.count));
      for (let i = 0; i < this.count; i++) {
        out[i] = new Record(this, at, i);
        at = recordEnd(at);
      }
      return (this.all = out);
    }

    emit(stream, record) {
      if (typeof stream !== "string" || stream === "") throw new TypeError(`emit to stream ${stringify(stream) ?? typeof stream}: it must be a name`);
      this.put(stream, record, "emit", -1);
    }

    // replace puts a record in the place of one of a transform; the key of that one stays where there is none.
    replace(record, by) {
      if (this.kind !== kindTransform) throw new TypeError("replace: the call is no transform");
      const index = this.index(record);
      const whole = Record.is(by) || by === null || typeof by !== "object" || by.key !== undefined ? by : { key: this.all[index].key, data: by.data };
      this.put("", whole, "replace", index);
    }

    put(stream, record, what, index) {
      let item, content = null;
      if (Record.is(record)) item = Record.at(record);
      else {
        if (record === null || typeof record !== "object") throw new TypeError(`${what}: the record must be one of the batch, or {key, data}`);
        item = record.key;
        if (typeof item !== "string") throw new TypeError(`${what}: the key is ${show(item)}; it must be text`);
        content = contentOf(record.data, `${what}: the data`);
      }
      const list = this.outputs.get(stream);
      if (list) list.push(item, content, index);
      else this.outputs.set(stream, [item, content, index]);
    }

    // index is that of a record of the call.
    index(record) {
      const index = typeof record === "number" ? record : Record.is(record) ? record.index : -1;
      if (!(Number.isInteger(index) && index >= 0 && index < this.count)) throw new RangeError(index === -1 ? "it is no record of the batch" : `record ${index} of a batch of ${this.count}`);
      return index;
    }

    settle(record, result, reason = "") {
      const index = this.index(record);
      if (this.kind === kindTransform && result === results.retry) throw new TypeError("retry: a transform cannot ask for a record again; throw, and the call is made again");
      this.outcomes.set(index, [result, cut(String(reason), 1024)]);
    }
  }

  // contentOf is text or bytes of their own: bytes as they are now, those of what came with the call or was read too; other values as JSON.
  function contentOf(value, what) {
    if (typeof value === "string") return value;
    const b = Payload.is(value) || Record.is(value) || value instanceof Content ? value.data : bytesOf(value);
    if (b) return b.slice();
    const text = value === undefined ? undefined : stringify(value);
    if (text === undefined) throw new TypeError(`${what} must be text, bytes or what JSON can say, not ${typeof value}`);
    return text;
  }

  // ---- The reply (abi.md §3) ----

  let replyWords = new Uint32Array(0), replyBytes;

  // room makes the reply arena n bytes long at least, and sees that its views are those of today.
  function room(n) {
    if (replyWords.length === 0 || replyBytes.length < n) {
      const buffer = replyBuffer(n | 0);
      replyWords = new Uint32Array(buffer);
      replyBytes = new Uint8Array(buffer);
    }
  }
  const padded = (n) => (n + 7) & -8;
  const append = (content, at) => (typeof content === "string" ? (content ? put(content, at) : 0) : content.length ? putBytes(content, at) : 0);

  function header(length, status, error, outcomes, outcomeBytes, sections, outputBytes, body) {
    room(max(length, 40));
    replyWords[0] = 0x50524d53; // SMRP
    replyWords[1] = 1 | (status << 16);
    replyWords[2] = length;
    replyWords[3] = error;
    replyWords[4] = outcomes;
    replyWords[5] = outcomeBytes;
    replyWords[6] = sections;
    replyWords[7] = outputBytes;
    replyWords[8] = 0;
    replyWords[9] = body;
    return length;
  }

  // cut keeps a text's UTF-8 below a limit. It writes to the arena to know its length, so nothing may be there yet.
  function cut(text, limit) {
    if (text.length * 3 <= limit) return text;
    text = text.slice(0, limit);
    for (let over; (over = append(text, 0) - limit) > 0; ) text = text.slice(0, text.length - Math.ceil(over / 3));
    return text.isWellFormed() ? text : text.slice(0, -1);
  }

  const errorKind = 1, unsupportedKind = 3, badCallKind = 4;

  function errorReply(kind, type, message, stack) {
    type = cut(type, 256);
    message = cut(message, 65536);
    stack = cut(stack, 262144);
    let at = 56;
    const typeLength = append(type, at), messageLength = append(message, (at += typeLength)), stackLength = append(stack, (at += messageLength));
    at = padded(at + stackLength);
    room(at + 8);
    replyBytes.fill(0, 56 + typeLength + messageLength + stackLength, at);
    replyWords[10] = kind | (typeLength << 16);
    replyWords[11] = messageLength;
    replyWords[12] = stackLength;
    replyWords[13] = 0;
    return header(at, 1, at - 40, 0, 0, 0, 0, 0);
  }

  function failure(e) {
    endIfOut(e);
    return errorReply(errorKind, typeOf(e), messageOf(e), stackOf(e));
  }

  function writeOutcomes(call, at) {
    const order = [...call.outcomes].sort((a, b) => a[0] - b[0]);
    for (const [index, [result, reason]] of order) {
      const n = append(reason, at + 8);
      room(at + 8 + n + 8);
      const word = at >> 2;
      replyWords[word] = index;
      replyWords[word + 1] = result | (n << 16);
      at = padded(at + 8 + n);
    }
    return at;
  }

  // writeRecord writes a record as sdk/record/doc.go draws it: item is its key. Or it copies the one of the batch that stands at item: data is null then.
  function writeRecord(item, data, index, at) {
    if (data === null) {
      const n = recordEnd(item) - item;
      putInput(item, n, at);
      if (index < 0) return at + n;
      room(at + n);
      replyWords.set([index, 0], at >> 2);
      return at + n;
    }
    const keyLength = put(item, at + 24), dataLength = append(data, at + 24 + keyLength);
    if (keyLength > 0xffff) throw new RangeError(`emit: the key has ${keyLength} bytes`);
    room(at + 24 + keyLength + dataLength + 8);
    const word = at >> 2;
    replyWords[word] = max(index, 0);
    replyWords[word + 1] = replyWords[word + 2] = replyWords[word + 3] = 0;
    replyWords[word + 4] = dataLength;
    replyWords[word + 5] = keyLength;
    return padded(at + 24 + keyLength + dataLength);
  }

  function writeOutputs(call, at) {
    for (const [stream, items] of call.outputs) {
      const nameLength = append(stream, at + 16);
      if (nameLength > 256) throw new RangeError(`emit: the stream's name has ${nameLength} bytes; it must be at most 256`);
      const records = padded(at + 16 + nameLength);
      let end = records;
      for (let i = 0; i < items.length; i += 3) end = writeRecord(items[i], items[i + 1], items[i + 2], end);
      room(end);
      const word = at >> 2;
      replyWords[word] = end - at;
      replyWords[word + 1] = items.length / 3;
      replyWords[word + 2] = end - records;
      replyWords[word + 3] = nameLength;
      at = end;
    }
    return at;
  }

  function writeState(call, at) {
    if (call.kind !== kindBatch || !call.windowed) return 0;
    if (call.state !== null) return append(call.state, at);
    return words[14] ? putInput(words[13], words[14], at) : 0;
  }

  function reply(call) {
    if (call.outputs.size > 256) throw new RangeError(`emit: to ${call.outputs.size} streams; it must be at most 256`);
    const hasBody = call.kind === kindInvoke && call.value !== undefined;
    const content = hasBody ? contentOf(call.value, "what invoke returns") : ""; // before the rest: it may run the script's code
    const outcomes = writeOutcomes(call, 40);
    const outputs = writeOutputs(call, outcomes);
    const state = writeState(call, outputs), bodyAt = padded(outputs + state);
    const body = append(content, bodyAt);
    const length = header(padded(bodyAt + body), 0, 0, call.outcomes.size, outcomes - 40, call.outputs.size, outputs - outcomes, body);
    replyWords[8] = state;
    return length;
  }

  // ---- What the host does for a function, as its configuration grants (abi.md §6) ----

  const doors = { secret: 0, get: 1, put: 2, delete: 3, list: 4, fetch: 5 }; // as glue.wat numbers them
  const codes = ["denied", "not found", "conflict", "invalid", "unavailable", "no call"]; // by status
  const sentences = ["not granted", "not found", "changed meanwhile", "invalid", "unavailable", "no call is under way"];

  // HostError is what the host refuses; code says why.
  class HostError extends Error {
    constructor(what, status, says) {
      const known = status < 0 && status >= -codes.length;
      super([what, known ? sentences[-1 - status] : `unavailable: status ${status}`, says].filter((part) => part).join(": "));
      this.name = "HostError";
      this.code = known ? codes[-1 - status] : "unavailable";
    }
  }
  const invalid = (what, says) => new HostError(what, -4, says);

  function quoted(name, what) {
    if (typeof name !== "string") throw new TypeError(`${what} is ${show(name)}; it must be text`);
    return stringify(name);
  }

  // ask calls a function of the host with texts and bytes, and gives its answer: what is 0 or more, or a status.
  function ask(door, args, expected = -1n) {
    const places = [];
    let at = 40;
    for (const a of args) {
      const n = append(a, at);
      places.push(at, n);
      at += n;
    }
    room(max(at, 48));
    places.forEach((n, i) => { replyWords[i] = n; });
    return pass(door, expected);
  }
  function pass(door, expected) {
    replyWords[8] = Number(expected & 0xffffffffn);
    replyWords[9] = Number((expected >> 32n) & 0xffffffffn);
    host(door);
    return BigInt(replyWords[1] | 0) * 0x100000000n + BigInt(replyWords[0]);
  }

  // answer throws where the answer is a status.
  function answer(what, n) {
    if (n >= 0n) return n;
    const says = given(1024);
    throw new HostError(what, Number(n), says.length ? bytesText(says) : "");
  }

  // given is what the host gave with its last answer, of which at most n bytes count.
  function given(n) {
    n = Number(n);
    room(n + 8);
    return replyBytes.slice(0, min(n, hostResult(n)));
  }

  // Content is bytes that belong to the script.
  class Content {
    #bytes;
    constructor(value) { this.#bytes = value; }
    get length() { return this.#bytes.length; }
    get data() { return this.#bytes; }
    get text() { return this.#bytes.length ? bytesText(this.#bytes) : ""; }
    json() { return parse(this.text); }
    toJSON() { return this.text; }
    toString() { return this.text; }
  }
  class Entry extends Content {
    constructor(key, revision, value) {
      super(value);
      this.key = key;
      this.revision = revision;
    }
  }

  class Table {
    #active; #name;
    constructor(active, name) {
      this.#active = active;
      this.#name = name;
    }
    #what(operation, key) {
      this.#active();
      return `${operation} ${quoted(key, "a key")} of state table ${stringify(this.#name)}`;
    }
    get(key) {
      const what = this.#what("get", key), n = ask(doors.get, [this.#name, key]);
      if (n === -2n) return undefined;
      const b = given(answer(what, n));
      return new Entry(key, new DataView(b.buffer).getBigInt64(0, true), b.slice(8));
    }
    put(key, value, expected = -1n) {
      const what = this.#what("put", key), content = contentOf(value, `${what}: the value`);
      return answer(what, ask(doors.put, [this.#name, key, content], BigInt(expected)));
    }
    delete(key, expected = -1n) {
      answer(this.#what("delete", key), ask(doors.delete, [this.#name, key], BigInt(expected)));
    }
    *list(prefix = "") {
      for (let after = "", more = true; more; ) {
        const what = this.#what("list", prefix), b = given(answer(what, ask(doors.list, [this.#name, prefix, after])));
        const v = new DataView(b.buffer);
        let at = 8;
        more = v.getUint32(4, true) === 1;
        for (let n = v.getUint32(0, true); n > 0; n--) {
          const keyAt = at + 16, valueAt = keyAt + v.getUint16(at + 12, true), end = valueAt + v.getUint32(at + 8, true);
          after = bytesText(b.subarray(keyAt, valueAt));
          yield new Entry(after, v.getBigInt64(at, true), b.slice(valueAt, end));
          at = padded(end);
        }
      }
    }
  }

  // fieldsOf are the header fields of a request: an object, or pairs of names and values.
  function fieldsOf(headers) {
    const list = headers === undefined ? [] : typeof headers[Symbol.iterator] === "function" ? [...headers] : Object.entries(headers);
    return list.map(([name, value]) => [String(name), String(value)]);
  }

  class Headers {
    #fields;
    constructor(fields) { this.#fields = fields; }
    get(name) {
      name = String(name).toLowerCase();
      const values = this.#fields.filter((f) => f[0].toLowerCase() === name).map((f) => f[1]);
      return values.length ? values.join(", ") : null;
    }
    has(name) { return this.get(name) !== null; }
    [Symbol.iterator]() { return this.#fields[Symbol.iterator](); }
  }

  class Response {
    #body;
    constructor(status, fields, body) {
      this.status = status;
      this.headers = new Headers(fields);
      this.#body = new Content(body);
    }
    get ok() { return this.status >= 200 && this.status < 300; }
    async text() { return this.#body.text; }
    async json() { return this.#body.json(); }
    async bytes() { return this.#body.data; }
  }

  // fetchNow makes a request, and returns when its answer is there.
  function fetchNow(url, { method = "GET", headers, body = "", timeout = 0 }) {
    const fields = fieldsOf(headers), content = contentOf(body, "fetch: the body");
    method = String(method).toUpperCase();
    let at = 40 + 16;
    const add = (part) => {
      const n = append(part, at);
      at += n;
      return n;
    };
    const methodLength = add(method), urlLength = add(url);
    if (methodLength > 32) throw invalid("fetch", `the method has ${methodLength} bytes; it must be at most 32`);
    if (urlLength > 8192) throw invalid("fetch", `the URL has ${urlLength} bytes; it must be at most 8192`);
    let fieldBytes = 0;
    for (const [name, value] of fields) {
      const lengths = at;
      at += 4;
      const nameLength = add(name), valueLength = add(value);
      room(at + 8);
      replyBytes.set([nameLength & 255, nameLength >> 8, valueLength & 255, valueLength >> 8], lengths);
      if ((fieldBytes += nameLength + valueLength) > 16384) break;
    }
    if (fields.length > 64 || fieldBytes > 16384) throw invalid("fetch", "the header has more than 64 fields, or 16384 bytes");
    const bodyLength = add(content);
    if (bodyLength > 6 << 20) throw invalid("fetch", `the body has ${bodyLength} bytes; it must be at most ${6 << 20}`);
    room(at + 8);
    replyWords.set([min(max(Number(timeout) || 0, 0), 0xffffffff), methodLength | (fields.length << 16), urlLength, bodyLength], 10);
    replyWords.set([40, at - 40]);
    return responseOf(given(answer("fetch", pass(doors.fetch, 0n))));
  }

  function responseOf(b) {
    const v = new DataView(b.buffer), fields = [];
    let at = 8;
    const text = (n) => (n ? bytesText(b.subarray(at, (at += n))) : "");
    for (let n = v.getUint16(2, true); n > 0; n--) {
      const nameLength = v.getUint16(at, true), valueLength = v.getUint16(at + 2, true);
      at += 4;
      fields.push([text(nameLength), text(valueLength)]);
    }
    return new Response(v.getUint16(0, true), fields, b.slice(at));
  }

  // variables are the environment variables of the configuration.
  let environment = null;
  function variables() {
    return (environment ??= Object.freeze(Object.fromEntries(environ().split("\0").filter((line) => line).map((line) => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    }))));
  }

  // ---- What the host calls ----

  // begin takes the script's value and returns the kinds of calls that it handles.
  function begin(script) {
    handlers = script?.default;
    if (handlers === null || typeof handlers !== "object") {
      throw new TypeError(`the default export is ${handlers === null ? "null" : typeof handlers}; it must be an object with batch(records, ctx), window(ctx), transform(records, ctx) or invoke(body, ctx)`);
    }
    let kinds = 0;
    for (const [name, kind] of [["batch", kindBatch], ["window", kindWindow], ["transform", kindTransform], ["invoke", kindInvoke]]) {
      if (handlers[name] === undefined) continue;
      if (typeof handlers[name] !== "function") throw new TypeError(`the default export's ${name} is ${show(handlers[name])}; it must be a function`);
      kinds |= 1 << kind;
    }
    if (kinds === 0) throw new TypeError("the default export has no handler; it must have batch(records, ctx), window(ctx), transform(records, ctx) or invoke(body, ctx)");
    for (const reason of rejections.values()) throw reason;
    drawn = numbers.length;
    return kinds;
  }

  function ended(call) {
    try {
      unhandled(call);
      return call.progress === "done" ? reply(call) : failure(call.value);
    } catch (e) {
      return failure(e);
    } finally {
      current = null;
      timers = [];
      unmark();
    }
  }

  // unhandled fails a call that has left rejected promises which nobody waits for. All of them are in the log.
  function unhandled(call) {
    for (const reason of rejections.values()) {
      endIfOut(reason);
      error("unhandled promise rejection:", reason);
      if (call.progress === "failed") continue;
      call.progress = "failed";
      call.value = reason;
    }
    rejections.clear();
  }

  // handle makes a call. It returns the length of the reply, or -1: then the host runs what waits and calls resume.
  function handle(kind, length) {
    if (words.length === 0) {
      const buffer = inputBuffer();
      words = new Uint32Array(buffer);
      halves = new Uint16Array(buffer);
      bytes = new Uint8Array(buffer);
    }
    if (words[0] !== 0x4c434d53 || halves[2] !== 1) return errorReply(badCallKind, "", "the call is of another version of the ABI", "");
    rejections.clear();
    const call = (current = new Call());
    try {
      const context = call.facts();
      if (kind === kindBatch && handlers.batch) call.value = handlers.batch(call.records(), context);
      else if (kind === kindTransform && handlers.transform) call.value = handlers.transform(call.records(), context);
      else if (kind === kindWindow && handlers.window) call.value = handlers.window(context);
      else if (kind === kindInvoke && handlers.invoke) call.value = handlers.invoke(call.body(), context);
      else {
        current = null;
        return errorReply(unsupportedKind, "", `there is no handler for calls of kind ${kind}`, "");
      }
    } catch (e) {
      call.progress = "failed";
      call.value = e;
      return -1;
    }
    if (typeof call.value?.then === "function") {
      const settled = (how) => (value) => { call.progress = how; call.value = value; };
      Promise.resolve(call.value).then(settled("done"), settled("failed"));
    } else call.progress = "done";
    return -1; // also when it is done: what it has begun, and waits for nothing, is to go on
  }

  // resume goes on with a call when nothing is left that could run at once.
  function resume() {
    const call = current;
    if (call.progress !== "running" || rejections.size > 0) return ended(call);
    if (fire()) return -1;
    call.progress = "failed";
    call.value = new Error("the handler's promise is never settled: nothing is left that it could wait for");
    call.value.stack = "";
    return ended(call);
  }

  return [report, begin, handle, resume, rejected, interrupted, where];
}
