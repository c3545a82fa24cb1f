// What testing.mjs gives handlers: node --test.
import assert from "node:assert/strict";
import { test } from "node:test";
import { run } from "../testing.mjs";

const handlers = {
  async batch(records, ctx) {
    const seen = ctx.table("seen");
    for (const r of records) {
      const before = seen.get(r.key);
      if (before?.text === r.text) ctx.drop(r, "seen");
      else seen.put(r.key, r.text, before?.revision ?? 0n);
      if (r.text === "fail") throw new Error("as asked");
    }
    ctx.emit("out", { key: ctx.secret("token"), data: [...seen.list()].map((e) => `${e.key}=${e.text}`) });
    ctx.log("info", "done", { n: records.length });
  },
  async window(ctx) { ctx.emit("out", { key: "end", data: ctx.env.REGION }); },
  async invoke(body, ctx) {
    const r = await ctx.fetch("http://a.example", { method: "POST", body: body.json(), headers: { "X-A": "1" } });
    return { ok: r.ok, says: await r.text(), header: r.headers.get("x-b") };
  },
};

test("state, secrets and variables", async () => {
  const tables = { seen: { a: "1", "\u{1f600}": "", "\uffee": "" } };
  const f = run(handlers, { tables, secrets: { token: "s3cret" }, env: { REGION: "eu" } });
  const said = await f.batch([{ key: "a", data: "1" }, { key: "b", data: "2" }]);
  assert.deepEqual(said.outcomes, ["dropped: seen", "ok"]);
  assert.deepEqual(said.emitted, [{ stream: "out", key: "s3cret", data: '["a=1","b=2","\uffee=","\u{1f600}="]' }]);
  assert.deepEqual(said.log, [{ n: 2, level: "info", msg: "done" }]);
  await assert.rejects(f.batch([{ key: "c", data: "fail" }]), /as asked/);
  assert.deepEqual(tables.seen, { a: "1", "\u{1f600}": "", "\uffee": "", b: "2" });
  assert.deepEqual((await f.window()).emitted, [{ stream: "out", key: "end", data: "eu" }]);
});

test("requests", async () => {
  const requests = [];
  const fetch = async (r) => {
    requests.push([r.method, r.url, r.headers.get("x-a"), r.body]);
    return { status: 404, headers: { "X-B": "2" }, body: "none" };
  };
  assert.equal((await run(handlers, { fetch }).invoke("[1]")).body, '{"ok":false,"says":"none","header":"2"}');
  assert.deepEqual(requests, [["POST", "http://a.example", "1", "[1]"]]);
});

test("what came with the call is its bytes", async () => {
  const tables = { t: { k: "[1]" } };
  const f = run({
    batch([r], ctx) {
      ctx.emit("out", { key: r.key, data: r });
      ctx.setState(ctx.state);
      ctx.table("t").put("copy", ctx.table("t").get("k"));
      ctx.emit("out", { key: `${ctx.table("t").get("k")}`, data: [r] });
    },
    invoke: (body) => body,
  }, { tables });
  const said = await f.batch([{ key: "a", data: "1\n" }]);
  assert.deepEqual(said.emitted, [{ stream: "out", key: "a", data: "1\n" }, { stream: "out", key: "[1]", data: '["1\\n"]' }]);
  assert.equal(said.state, "");
  assert.equal(tables.t.copy, "[1]");
  assert.equal((await f.invoke('{"a": 1}')).body, '{"a": 1}');
});

test("transforms", async () => {
  const f = run({ transform(records, ctx) {
    ctx.drop(records[0], "empty");
    ctx.replace(records[1], { data: { a: 1 } });
    ctx.replace(1, { key: "x", data: "y" });
    ctx.replace(records[1], records[2]);
  } });
  const said = await f.transform([{ key: "a", data: "" }, { key: "b", data: "1" }, { key: "c", data: "2" }]);
  assert.deepEqual(said.outcomes, ["dropped: empty", "ok", "ok"]);
  assert.deepEqual(said.replaced, [{ index: 1, key: "b", data: '{"a":1}' }, { index: 1, key: "x", data: "y" }, { index: 1, key: "c", data: "2" }]);
  await assert.rejects(f.transform([{ key: "a", data: "" }]), RangeError);
});

test("what is refused", async () => {
  const refused = (f, granted = {}) => run({ invoke: (_, ctx) => f(ctx) }, granted).invoke("").then(() => "", (e) => [e.name, e.code]);
  const tables = { t: { k: "v" } };
  assert.deepEqual(await refused((ctx) => ctx.secret("s")), ["HostError", "denied"]);
  assert.deepEqual(await refused((ctx) => ctx.table("t")), ["HostError", "denied"]);
  assert.deepEqual(await refused((ctx) => ctx.fetch("http://a")), ["HostError", "denied"]);
  assert.deepEqual(await refused((ctx) => ctx.table("t").put("k", "", 0n), { tables }), ["HostError", "conflict"]);
  assert.deepEqual(await refused((ctx) => ctx.table("t").delete("k", 7n), { tables }), ["HostError", "conflict"]);
  assert.deepEqual(await refused((ctx) => ctx.table("t").put("", ""), { tables }), ["HostError", "invalid"]);
  assert.deepEqual(await refused((ctx) => ctx.table("t").put("k", "v".repeat((1 << 20) + 1)), { tables }), ["HostError", "invalid"]);
  assert.equal(await refused((ctx) => ctx.table("t").delete("k", ctx.table("t").put("k", "", 1n)), { tables }), "");
  assert.deepEqual(tables, { t: {} });
});
