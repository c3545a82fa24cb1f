// Probe does what its records say; see ../../README.md.

import { Batch, Bytes, Call, Invocation, LogLevel, Record, Transform, Window, WindowEnd, log, onBatch, onInvoke, onTransform, onWindow } from "shardmill";
export * from "shardmill/exports";

let later: i32 = 0;
let x: u32 = 1;

onBatch((b: Batch): void => {
  while (b.next()) {
    if (!record(b, b.record)) return;
  }
  spin(later);
  later = 0;
});

/** Works for so many turns. */
function spin(turns: i32): void {
  for (; turns > 0; turns--) {
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
  }
}

/** The text before the first space; behind is the text behind it. */
class Word {
  first: string;
  behind: string;
  constructor(text: string) {
    const space = text.indexOf(" ");
    this.first = space < 0 ? text : text.substring(0, space);
    this.behind = space < 0 ? "" : text.substring(space + 1);
  }
}

function record(b: Batch, r: Record): bool {
  if (r.data.length > 64 && r.data.indexOf(0x20) < 0) return true; // no command
  if (r.data.length > 100_000) { // text would be twice as long
    b.emitRecord("b", r);
    return true;
  }
  const command = new Word(r.data.toString());
  const rest = command.behind;
  const argument = new Word(rest);
  const name = command.first;
  const first = argument.first;
  if (name == "drop") b.drop(r.index, rest);
  else if (name == "retry") b.retry(r.index, rest);
  else if (name == "reject") b.reject(r.index, rest);
  else if (name == "twice") {
    b.reject(r.index, rest);
    b.drop(r.index, rest);
  } else if (name == "first") b.reject(0, rest);
  else if (name == "beyond") b.retry(b.length);
  else if (name == "emit") b.emit(first, r.key, Bytes.fromString(argument.behind));
  else if (name == "whole") b.emitRecord(first, r);
  else if (name == "size") {
    const data = new Uint8Array(<i32>parseInt(argument.behind));
    data.fill(0x78);
    b.emit(first, r.key, Bytes.fromArray(data));
  } else if (name == "many") {
    const n = <i32>parseInt(first);
    for (let s = 0; s < n; s++) b.emit("s" + s.toString(), r.key, new Bytes());
  } else if (name == "facts") {
    const text = `${facts(b.call)} index=${r.index} sequence=${r.sequence} arrival=${r.arrival} hash=${r.explicitHash != 0} records=${b.length}`;
    b.emit("facts", r.key, Bytes.fromString(text));
  } else if (name == "state") b.setStateText(rest);
  else if (name == "window") b.emit("facts", r.key, window(b.window, b.state));
  else if (name == "spin") spin(<i32>parseInt(rest));
  else if (name == "later") later = <i32>parseInt(rest);
  else if (name == "log") {
    if (first == "error") console.error(argument.behind);
    else log(LogLevel.debug, argument.behind);
  } else if (name == "fail") {
    b.fail(rest);
    return false;
  } else if (name == "panic") throw new Error(rest);
  return true;
}

function window(w: Window, state: Bytes): Bytes {
  if (w.start == w.end) return Bytes.fromString("no window");
  return Bytes.fromString(`start=${w.start} end=${w.end} early=${w.endedEarly} state=${state.toString()}`);
}

onWindow((end: WindowEnd): void => {
  if (end.state.is("fail")) return end.fail("not yet");
  end.emit("facts", Bytes.fromString("end"), window(end.window, end.state));
});

function facts(c: Call): string {
  const names = `function=${c.functionName} mapping=${c.mapping} stream=${c.stream} invocation=${c.invocation}`;
  return `${names} version=${c.version} shard=${c.shard} attempt=${c.attempt} deadline=${c.deadline != 0}`;
}

onInvoke((i: Invocation): void => {
  const text = i.body.length < 100_000 ? i.body.toString() : "";
  const command = new Word(text);
  const argument = new Word(command.behind);
  if (command.first == "facts") return i.answerText(facts(i.call));
  if (command.first == "emit") i.emitText(argument.first, "k", argument.behind);
  if (command.first == "fail") return i.fail(command.behind);
  if (command.first == "panic") throw new Error(command.behind);
  i.answer(i.body);
});

onTransform((t: Transform): void => {
  while (t.next()) {
    const r = t.record;
    const command = new Word(r.data.toString());
    const argument = new Word(command.behind);
    if (command.first == "drop") t.drop(r.index, command.behind);
    else if (command.first == "reject") t.reject(r.index, command.behind);
    else if (command.first == "emit") t.emit(argument.first, r.key, Bytes.fromString(argument.behind));
    else if (command.first == "spin") spin(<i32>parseInt(command.behind));
    else if (command.first == "twice") {
      t.replaceText(r.index, r.key, command.behind + " of " + r.key.toString());
      t.replaceRecord(r.index, r);
    }
  }
});
