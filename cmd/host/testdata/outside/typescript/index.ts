// Outside asks the host for what a direct invocation says; see ../README.md.
import type { Context, FetchOptions, Handlers, HostError, Table } from "shardmill";

const asked = new Error("as asked");

async function answer(body: string, ctx: Context): Promise<string> {
  try {
    return await act(body, ctx);
  } catch (e) {
    const { name, code, message } = e as HostError;
    if (name !== "HostError") throw e;
    const words = { denied: "not granted", "not found": "not found", conflict: "changed meanwhile", invalid: "invalid", unavailable: "unavailable", "no call": "" }[code];
    return `${code}: ${message.slice(message.indexOf(words) + words.length + 2)}`;
  }
}

async function act(body: string, ctx: Context): Promise<string> {
  const words = body.split(" ");
  const [command, first = "", second = ""] = words;
  const third = words.slice(3).join(" ");
  switch (command) {
    case "secret":
      return ctx.secret(first);
    case "env":
      return ctx.env[first] ?? "";
    case "fetch":
      return fetched(ctx, second, { method: first, headers: { "X-Guest": "outside" }, body: third });
    case "slow":
      return fetched(ctx, first, { timeout: 50 });
    case "deadline":
      return ctx.deadline! > new Date() && ctx.remaining() > 0 ? "ahead" : "";
    case "log":
      ctx.log("warn", "from outside", { language: 'a "language"', text: "späte Flüge" });
      return "";
  }
  return state(ctx.table(first), command, second, third);
}

async function fetched(ctx: Context, url: string, options: FetchOptions): Promise<string> {
  const r = await ctx.fetch(url, options);
  return `${r.status} ${r.headers.get("x-server")} ${await r.text()}`;
}

function state(t: Table, command: string, key: string, value: string): string {
  switch (command) {
    case "get":
      return t.get(key)?.text ?? `not found: there is no key "${key}" in state table own`;
    case "put":
      t.put(key, value);
      return "done";
    case "delete":
      t.delete(key);
      return "done";
    case "add":
      t.put(key, value, 0n);
      return "done";
    case "fill":
      for (let i = 0; i < +value; i++) t.put(key + i, new Uint8Array([0x76, 0x61, 0x6c, 0x75, 0x65]));
      return "done";
    case "list":
      return [...t.list(key)].map((e) => `${e.key}=${e.text} `).join("");
    case "sum": {
      let n = 0, size = 0;
      for (const e of t.list(key)) n++, size += e.key.length + e.length;
      return `${n} ${size}`;
    }
    case "sweep":
      for (const e of t.list(key)) t.delete(e.key, e.revision);
      return "done";
    case "fail":
      t.put(key, value);
      throw asked;
  }
  return byRevision(t, command, key, value);
}

function byRevision(t: Table, command: string, key: string, value: string): string {
  const e = t.get(key);
  if (!e) return `not found: there is no key "${key}" in state table own`;
  if (command === "swap") t.put(key, "", t.put(key, value, e.revision));
  else if (command === "drop") t.delete(key, e.revision);
  else {
    t.put(key, "");
    if (command === "late") t.delete(key, e.revision);
    else t.put(key, value, e.revision);
  }
  return "done";
}

export default {
  invoke: (body, ctx) => answer(body.text, ctx),
  async batch(records, ctx) {
    for (const r of records) ctx.reject(r, await answer(r.text, ctx));
  },
} satisfies Handlers;
