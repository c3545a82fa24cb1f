// Probe does what its records say; see ../README.md.
import type { BatchContext, Context, Handlers, Record, WindowContext } from "shardmill";

/** The text before the first space, and what is behind it. */
function cut(text: string): [string, string] {
  const at = text.indexOf(" ");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function handle(r: Record, count: number, ctx: BatchContext): void {
  const [command, rest] = cut(r.length < 1000 || r.data[0] !== 0x77 ? r.text : "whole b");
  const [first, second] = cut(rest);
  switch (command) {
    case "drop":
      return ctx.drop(r, rest);
    case "retry":
      return ctx.retry(r, rest);
    case "reject":
      return ctx.reject(r, rest);
    case "twice":
      ctx.reject(r, rest);
      return ctx.drop(r, rest);
    case "first":
      return ctx.reject(0, rest);
    case "beyond":
      return ctx.retry(count);
    case "emit":
      return ctx.emit(first, { key: r.key, data: second });
    case "whole":
      return ctx.emit(first, r);
    case "size":
      return ctx.emit(first, { key: r.key, data: new Uint8Array(+second).fill(0x78) });
    case "many":
      for (let s = 0; s < +first; s++) ctx.emit(`s${s}`, { key: r.key, data: "" });
      return;
    case "facts": {
      const data = `${facts(ctx)} index=${r.index} sequence=${r.sequence} arrival=${r.arrival} hash=${r.hashKey !== undefined} records=${count}`;
      return ctx.emit("facts", { key: r.key, data });
    }
    case "state":
      return ctx.setState(rest);
    case "window":
      return ctx.emit("facts", { key: r.key, data: window(ctx) });
    case "log":
      return console.log(JSON.stringify({ level: first, msg: second }));
    case "spin":
      return spin(+rest);
    case "later":
      later = +rest;
      return;
    case "fail":
    case "panic":
      throw new Error(rest);
  }
}

let later = 0, x = 1;

/** Works for so many turns. */
function spin(turns: number): void {
  for (; turns > 0; turns--) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
  }
}

const micros = (d: Date): number => d.getTime() * 1000;

const window = (c: WindowContext): string =>
  c.window
    ? `start=${micros(c.window.start)} end=${micros(c.window.end)} early=${c.window.endedEarly} state=${c.state.text}`
    : "no window";

const facts = (c: Context & Partial<BatchContext>): string =>
  `function=${c.function} mapping=${c.mapping ?? ""} stream=${c.stream ?? ""} invocation=${c.invocation} ` +
  `version=${c.version} shard=${c.shard ?? 0} attempt=${c.attempt} deadline=${c.deadline !== undefined}`;

export default {
  batch(records, ctx) {
    for (const r of records) handle(r, records.length, ctx);
    spin(later);
    later = 0;
  },
  window(ctx) {
    if (ctx.state.text === "fail") throw new Error("not yet");
    ctx.emit("facts", { key: "end", data: window(ctx) });
  },
  transform(records, ctx) {
    for (const r of records) {
      const [command, rest] = cut(r.text);
      const [first, second] = cut(rest);
      if (command === "drop") ctx.drop(r, rest);
      else if (command === "reject") ctx.reject(r.index, rest);
      else if (command === "emit") ctx.emit(first, { key: r.key, data: second });
      else if (command === "spin") spin(+rest);
      else if (command === "twice") {
        ctx.replace(r, { data: `${rest} of ${r.key}` });
        ctx.replace(r, r);
      }
    }
  },
  invoke(body, ctx) {
    const [command, rest] = cut(body.text);
    const [first, second] = cut(rest);
    switch (command) {
      case "facts":
        return facts(ctx);
      case "emit":
        ctx.emit(first, { key: "k", data: second });
        break;
      case "fail":
      case "panic":
        throw new Error(rest);
    }
    return body.data;
  },
} satisfies Handlers;
