// What a function reaches beyond its calls, granted by testing.mjs, and by a host that gives what it should not: the module is in OUTSIDE_WASM.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { load } from "../testing.mjs";

test("state", async () => {
  const tables = { t: { a: "1", b: "2", bb: "3" } };
  const f = await load(process.env.OUTSIDE_WASM, { tables });
  assert.throws(() => f.batch([]), /as asked/);
  assert.deepEqual(tables.t, { a: "1", b: "2", bb: "3" });
  f.batch([{ key: "k", data: "v" }]);
  assert.deepEqual(tables.t, { a: "z", c: "" });
});

test("secrets, variables and requests", async () => {
  const requests = [];
  const fetch = (r) => requests.push(r) && { status: 404, headers: { "X-Server": "here" }, body: "néant" };
  const f = await load(process.env.OUTSIDE_WASM, { secrets: { token: "s3cret" }, env: { REGION: "eu=1" }, fetch });
  assert.equal(f.invoke("secret").body, "s3cret");
  assert.equal(f.invoke("env").body, "eu=1 true true");
  assert.equal(f.invoke("fetch").body, "404 here true néant");
  assert.deepEqual(requests, [{ method: "POST", url: "http://a.example", headers: { "X-A": "1" }, body: "späte Flüge", timeout: 1000 }]);
  assert.equal(f.invoke("invalid").body, "5");
  f.granted = {};
  assert.equal(f.invoke("secret").body, "refused: the test grants no such secret");
  assert.equal(f.invoke("env").body, "none true true");
  assert.equal(f.invoke("fetch").body, "refused: the test answers no requests");
});

test("transforms", async () => {
  const f = await load(process.env.OUTSIDE_WASM);
  const transform = (...data) => f.transform(data.map((d, i) => ({ key: "abcd"[i], data: d })));
  const said = transform("drop", "as it is", "twice", "reject");
  assert.deepEqual(said.outcomes, ["dropped: empty", "ok", "ok", "rejected: wrong"]);
  assert.deepEqual(said.emitted, [{ stream: "seen", key: "c", data: "" }]);
  assert.deepEqual(said.replaced, [{ index: 2, key: "c", data: "1" }, { index: 2, key: "c", data: "twice" }]);
  assert.throws(() => transform("twice", "none"), /^Error: emit to stream "": the name is empty$/);
  assert.throws(() => transform("beyond"), /replacement of record 1 of a batch of 1/);
  assert.throws(() => transform("fail"), /as asked/);
});

// Whatever a host gives, it is answered, or ends the instance; it is never read beyond its length.
test("an odd host", () => {
  const module = new WebAssembly.Module(readFileSync(process.env.OUTSIDE_WASM));
  let given = new Uint8Array(0), f;
  const wasi_snapshot_preview1 = { fd_write: () => 8, random_get: () => 0, clock_time_get: () => 0, environ_get: () => 0, environ_sizes_get: () => 0 };
  const length = () => BigInt(given.length);
  const shardmill = {
    secret: length, state_get: length, state_put: length, state_delete: length, state_list: length, http_fetch: length,
    result: (to, n) => {
      new Uint8Array(f.memory.buffer).set(given.subarray(0, n), to);
      return given.length;
    },
  };
  f = new WebAssembly.Instance(module, { wasi_snapshot_preview1, shardmill }).exports;
  f._initialize();
  const call = Buffer.alloc(88);
  call.write("SMCL");
  call.set([1, 0, 4, 0, 80], 4);
  call.set([80, 0, 0, 0, 3], 40);
  call.write("odd", 80);
  const ask = () => {
    const at = f.shardmill_input(call.length);
    new Uint8Array(f.memory.buffer).set(call, at);
    const reply = Number(BigInt.asUintN(64, f.shardmill_handle(4, at, call.length)) >> 32n);
    assert.equal(new DataView(f.memory.buffer).getUint8(reply + 6), 0);
  };
  const entries = [2, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 107, 118, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 108];
  const answer = [200, 0, 2, 0, 2, 0, 0, 0, 1, 0, 1, 0, 97, 98, 1, 0, 0, 0, 99, 111, 107];
  for (const good of [entries, answer]) {
    for (let n = 0; n <= good.length; n++) {
      for (const bit of [0, 1, 2, 0x10, 0x80, 0xff]) {
        given = Uint8Array.from(good.slice(0, n));
        if (n > 0) given[n - 1] ^= bit;
        ask();
        given = Uint8Array.from(good);
        if (n < good.length) given[n] ^= bit;
        ask();
      }
    }
  }
});
