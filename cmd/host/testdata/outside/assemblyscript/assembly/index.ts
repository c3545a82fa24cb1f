// Outside asks the host for what a direct invocation says; see ../../README.md.

import { ABSENT, Batch, Bytes, Call, Code, Invocation, LogLevel, Request, Table, env, log, now, onBatch, onInvoke, refusal, secret } from "shardmill";
export * from "shardmill/exports";

let said: Bytes = new Bytes(); // what the function answers

onBatch((b: Batch): void => {
  while (b.next()) {
    if (!act(b.record.data, b.call)) return b.fail("as asked");
    b.reject(b.record.index, said.toString());
  }
});

onInvoke((i: Invocation): void => {
  if (!act(i.body, i.call)) return i.fail("as asked");
  i.answer(said);
});

function say(text: string): bool {
  said = Bytes.fromString(text);
  return true;
}

/** Says what was refused, or that nothing was. */
function sayDone(): bool {
  const code = refusal.code;
  if (code == Code.ok) return say("done");
  const name = code == Code.denied ? "denied" : code == Code.notFound ? "not found" : code == Code.conflict ? "conflict" : code == Code.invalid ? "invalid" : "unavailable";
  return say(name + ": " + refusal.reason);
}

/** False when the call is to fail. */
function act(body: Bytes, call: Call): bool {
  // The last word may be large, and need not be text.
  let at = 0;
  const words: string[] = [];
  for (let n = 0; n < 3; n++) {
    const space = body.indexOf(0x20, at);
    const end = space < 0 ? body.length : space;
    words.push(body.slice(at, end).toString());
    at = min(end + 1, body.length);
  }
  const rest = body.slice(at);
  const command = words[0];
  const first = words[1];
  if (command == "secret") {
    const value = secret(first);
    if (!value) return sayDone();
    said = value;
    return true;
  }
  if (command == "env") {
    const value = env(first);
    return say(value ? value : "");
  }
  if (command == "fetch") {
    const r = new Request(first, words[2]).header("X-Guest", "outside");
    r.body = rest;
    return fetch(r);
  }
  if (command == "slow") {
    const r = new Request("GET", first);
    r.timeout = 50;
    return fetch(r);
  }
  if (command == "deadline") return say(call.deadline > now() && call.remaining > 0 && call.remaining < i64.MAX_VALUE ? "ahead" : "");
  if (command == "log") {
    log(LogLevel.warn, "from outside", ["language", 'a "language"', "text", "späte Flüge"]);
    return say("");
  }
  return state(new Table(first), command, words[2], rest);
}

function fetch(r: Request): bool {
  const a = r.send();
  if (!a) return sayDone();
  const server = a.header("x-server");
  return say(`${a.status} ${server ? server : ""} ${a.body.toString()}`);
}

function state(t: Table, command: string, key: string, value: Bytes): bool {
  if (command == "get") {
    const e = t.get(key);
    if (!e) return sayDone();
    said = e.value;
    return true;
  }
  if (command == "put") t.put(key, value);
  else if (command == "add") t.cas(key, value, ABSENT);
  else if (command == "delete") t.delete(key);
  else if (command == "fill") {
    const n = <i32>parseInt(value.toString());
    for (let i = 0; i < n && t.putText(key + i.toString(), "value"); i++);
  } else if (command == "fail") {
    t.put(key, value);
    return false;
  } else if (command == "list" || command == "sum" || command == "sweep") return list(t, command, key);
  else byRevision(t, command, key, value);
  return sayDone();
}

function byRevision(t: Table, command: string, key: string, value: Bytes): void {
  const e = t.get(key);
  if (!e) return;
  if (command == "swap") {
    const revision = t.cas(key, value, e.revision);
    if (revision) t.cas(key, new Bytes(), revision);
  } else if (command == "drop") t.casDelete(key, e.revision);
  else if (!t.put(key, new Bytes())) return;
  else if (command == "late") t.casDelete(key, e.revision);
  else t.cas(key, value, e.revision);
}

function list(t: Table, command: string, prefix: string): bool {
  let text = "";
  let n = 0;
  let size = 0;
  for (const all = t.list(prefix); all.next(); ) {
    const e = all.entry;
    n++;
    size += e.key.length + e.value.length;
    if (command == "list") text += e.key + "=" + e.value.toString() + " ";
    else if (command == "sweep") t.casDelete(e.key, e.revision);
  }
  if (refusal.code != Code.ok || command == "sweep") return sayDone();
  return say(command == "sum" ? `${n} ${size}` : text);
}
