// A function that reaches for everything that tests can grant; outside.test.mjs calls it.

import { ABSENT, Batch, Bytes, Code, Invocation, Request, Table, Transform, env, onBatch, onInvoke, onTransform, refusal, secret } from "shardmill";
export * from "shardmill/exports";

let wrong = "";

function expect(ok: bool, what: string): void {
  if (!ok && wrong == "") wrong = what + ": " + refusal.reason;
}

/** What an invocation does is its body's first word. */
onInvoke((i: Invocation): void => {
  const word = i.body.toString();
  if (word == "secret") {
    const value = secret("token");
    i.answerText(value ? value.toString() : "refused: " + refusal.reason);
  } else if (word == "env") {
    const value = env("REGION");
    i.answerText(`${value ? value : "none"} ${env("REGIO") == null} ${i.call.remaining == i64.MAX_VALUE}`);
  } else if (word == "fetch") {
    const request = new Request("POST", "http://a.example").header("X-A", "1").text("späte Flüge");
    request.timeout = 1000;
    const a = request.send();
    if (!a) return i.answerText("refused: " + refusal.reason);
    const header = a.header("X-SERVER");
    i.answerText(`${a.status} ${header ? header : ""} ${a.header("x-serve") == null} ${a.body.toString()}`);
  } else if (word == "invalid") {
    const large = new Request("POST", "u");
    large.body = Bytes.fromArray(new Uint8Array((6 << 20) + 1));
    const many = new Request("GET", "u");
    for (let n = 0; n < 65; n++) many.header("a", "b");
    const all = [new Request("GET", "u".repeat(8193)), new Request("G".repeat(33), "u"), new Request("GET", "u").header("a", "b".repeat(16384)), many, large];
    let n = 0;
    for (let r = 0; r < all.length; r++) if (!all[r].send() && refusal.code == Code.invalid) n++;
    i.answerText(n.toString());
  } else if (word == "odd") {
    let n = 0;
    if (new Table("t").get("k")) n++;
    const list = new Table("t").list();
    for (let turns = 0; turns < 5 && list.next(); turns++) n += list.entry.key.length + list.entry.value.length;
    const a = new Request("GET", "u").send();
    if (a && !a.header("a")) n++;
    i.answerText(n.toString());
  }
});

onBatch((b: Batch): void => {
  wrong = "";
  const t = new Table("t");
  expect(!t.get("none") && refusal.code == Code.notFound, "none");
  const a = t.get("a")!;
  expect(a.key == "a" && a.value.is("1") && a.revision > 0 && refusal.code == Code.ok, "a");
  const x = Bytes.fromString("x");
  const revision = t.cas("a", x, a.revision);
  expect(revision > 0, "cas");
  expect(t.cas("a", x, a.revision) == 0 && refusal.code == Code.conflict, "an old revision");
  expect(t.cas("a", x, ABSENT) == 0 && refusal.code == Code.conflict, "absent");
  expect(!t.casDelete("a", a.revision) && refusal.code == Code.conflict, "delete by an old revision");
  expect(!t.put("", x) && refusal.code == Code.invalid, "an empty key");
  expect(t.cas("a", Bytes.fromString("z"), revision) > 0, "cas again");
  let keys = "";
  const list = t.list("b");
  while (list.next()) {
    keys += list.entry.key + "=" + list.entry.value.toString() + " ";
    expect(t.casDelete(list.entry.key, list.entry.revision), "sweep");
  }
  expect(refusal.code == Code.ok && keys == "b=2 bb=3 ", "list " + keys);
  expect(t.delete("none") && t.putText("c", ""), "delete, put");
  const other = new Table("u");
  expect(!other.list().next() && refusal.code == Code.denied && !other.get("k") && refusal.code == Code.denied, "another table");
  if (wrong != "") b.fail(wrong);
  else if (b.length == 0) b.fail("as asked");
});

onTransform((t: Transform): void => {
  while (t.next()) {
    const r = t.record;
    if (r.data.is("drop")) t.drop(r.index, "empty");
    else if (r.data.is("reject")) t.reject(r.index, "wrong");
    else if (r.data.is("none")) t.emitText("", "", "");
    else if (r.data.is("beyond")) t.replaceText(t.length, r.key, "");
    else if (r.data.is("fail")) return t.fail("as asked");
    else if (r.data.is("twice")) {
      t.replaceText(r.index, r.key, "1");
      t.emitText("seen", r.key.toString(), "");
      t.replaceRecord(r.index, r);
    }
  }
});
