// The bytes of calls and replies are those of sdk/abi/testdata, which every SDK is tested on: node --test, with the module in GOLDEN_WASM.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Failure, load } from "../testing.mjs";

const module = new WebAssembly.Module(readFileSync(process.env.GOLDEN_WASM));
const golden = (name) => new Uint8Array(readFileSync(new URL(`../../abi/testdata/${name}.bin`, import.meta.url)));
const text = (b) => Buffer.from(b).toString();

function instance() {
  const wasi_snapshot_preview1 = { fd_write: (fd, parts, n, written) => 8, random_get: () => 0 };
  const f = new WebAssembly.Instance(module, { wasi_snapshot_preview1 }).exports;
  f._initialize();
  return (kind, call, size = call.length) => {
    const at = f.shardmill_input(size) >>> 0;
    assert.equal(at % 8, 0);
    new Uint8Array(f.memory.buffer).set(call, at);
    const packed = BigInt.asUintN(64, f.shardmill_handle(kind, at, call.length));
    return new Uint8Array(f.memory.buffer.slice(Number(packed >> 32n), Number((packed >> 32n) + (packed & 0xffffffffn))));
  };
}

/** A call of a function, with n small records when it is a batch. */
function encode(kind, name, n) {
  const names = (name.length + 7) & ~7;
  const body = kind === 1 ? 24 + 32 * n : 0;
  const b = Buffer.alloc(80 + names + body);
  b.write("SMCL");
  b.set([1, 0, kind, 0, 80], 4);
  b[14] = name.length;
  b.writeUInt32LE(80 + names, 40);
  b.writeUInt32LE(body, 44);
  b.write(name, 80);
  if (name === "reply-state") b[72] = 1; // the end of a window
  if (!body) return b;
  b.write("SMRB", 80 + names);
  b.set([1, 0, 1, 0], 88 + names);
  b.writeUInt32LE(body, 92 + names);
  b.writeUInt32LE(n, 96 + names);
  for (let i = 0; i < n; i++) b.set([1, 0, 0, 0, 1, 0, 0, 0, 107, 100], 80 + names + 24 + 32 * i + 16);
  return b;
}

test("replies", () => {
  const call = instance();
  for (const name of ["reply-ok", "reply-outcomes", "reply-outputs", "reply-state", "reply-ok"]) {
    assert.deepEqual(call(1, encode(1, name, 3)), golden(name), name);
  }
  assert.deepEqual(call(4, encode(4, "reply-body", 0)), golden("reply-body"));
});

test("calls", () => {
  const call = instance();
  const reply = text(call(1, golden("call-batch")));
  for (const part of ["delays7 3 2 1700000003000000 2", "flights-to-delaysflights", 'DFW{"delay":5}']) assert.ok(reply.includes(part), part);
  assert.equal(reply.split("JFK").length, 3);
  assert.ok(text(call(4, golden("call-invoke"))).includes("ping"));
  assert.ok(text(call(2, golden("call-window"))).includes("1700000000000000 1700000060000000 true count=3"));
  assert.equal(call(3, encode(3, "f", 0))[40], 3);
});

// Whatever is wrong with a call, it is answered, or ends the instance; it is never read beyond its length.
test("bad calls", () => {
  for (const name of ["call-batch", "call-invoke", "call-window"]) {
    const good = golden(name);
    let call = instance();
    const answer = (bad) => {
      try {
        const reply = call(good[6], bad, 4096);
        assert.equal(text(reply.slice(0, 4)), "SMRP");
        return reply;
      } catch (e) {
        assert.ok(e instanceof WebAssembly.RuntimeError, e);
        call = instance();
        return null;
      }
    };
    for (let n = 0; n < good.length; n++) {
      const cut = answer(good.slice(0, n));
      if (n < 80) assert.equal(cut[40], 4, `${name} cut to ${n}`);
      for (const bit of [1, 2, 0x10, 0x80, 0xff]) {
        const bad = good.slice();
        bad[n] ^= bit;
        answer(bad);
      }
    }
  }
  assert.equal(instance()(4, golden("call-batch"))[40], 4);
});

test("testing.mjs", async () => {
  const f = await load(process.env.GOLDEN_WASM);
  const said = f.batch([{ key: "a", data: "1" }, { key: "bc", data: new Uint8Array([50]) }]);
  assert.deepEqual(said.outcomes, ["ok", "ok"]);
  assert.deepEqual(said.emitted.slice(2), [
    { stream: "records", key: "a", data: "1" }, { stream: "records", key: "bc", data: "2" },
    { stream: "records", key: "a", data: "1" }, { stream: "records", key: "bc", data: "2" },
  ]);
  assert.equal(f.invoke("ping").body, "ping");
  assert.throws(() => f.batch([{ data: "fail" }, { data: "throw" }]), (e) => e instanceof Failure && e.message === "failed");
  assert.throws(() => f.batch([{ data: "throw" }]), (e) => e instanceof Failure && /^thrown \(/.test(e.message));
  assert.equal(f.log.length, 1);
  assert.equal(f.invoke("and again").body, "and again");
});

test("what is thrown", () => {
  const log = [];
  let f;
  const wasi_snapshot_preview1 = {
    random_get: () => 0,
    fd_write: (fd, parts, n, written) => {
      const v = new DataView(f.memory.buffer);
      log.push(text(new Uint8Array(f.memory.buffer, v.getUint32(parts, true), v.getUint32(parts + 4, true))));
      v.setUint32(written, v.getUint32(parts + 4, true), true);
      return 0;
    },
  };
  f = new WebAssembly.Instance(module, { wasi_snapshot_preview1 }).exports;
  f._initialize();
  const bad = encode(1, "throw", 1);
  const at = f.shardmill_input(bad.length);
  new Uint8Array(f.memory.buffer).set(bad, at);
  assert.throws(() => f.shardmill_handle(1, at, bad.length), WebAssembly.RuntimeError);
  const lines = log.join("").split("\n");
  assert.deepEqual(lines.slice(0, 2).map((l) => JSON.parse(l)), [
    { level: "debug", msg: "numbers 1.5 0.0" }, { level: "warn", msg: 'odd "text"' },
  ]);
  assert.match(lines[2], /^panic: thrown \(.*golden\.ts:\d+:\d+\)$/);
});
