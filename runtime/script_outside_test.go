package runtime

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/state"
)

// Rejected promises that nobody waits for fail the call, and are in the log; the next call is well.
func TestScriptUnhandledRejections(t *testing.T) {
	w := open(t)
	w.deployScript(t, "f", `
const later = (ms: number) => new Promise((yes) => setTimeout(yes, ms));
async function broken(): Promise<void> { await null; throw new TypeError("nobody waits") }
export default { invoke(body: any): unknown {
	switch (body.text) {
	case "sync": Promise.reject(new Error("at once")); return "not this";
	case "forgotten": broken(); return "not this";
	case "async": return (async () => { broken(); await later(60_000); return "not this" })();
	case "text": Promise.reject("just text"); return "not this";
	case "two": Promise.reject(new Error("first")); Promise.reject(new Error("second")); return "not this";
	case "thrown": Promise.reject(new Error("left behind")); throw new Error("the handler's own");
	case "null": throw null;
	case "handled": { const p = Promise.reject(new Error("handled")); p.catch(() => {}); return "well" }
	case "awaited": return (async () => { const p = broken(); await Promise.resolve(); try { await p } catch { return "well" } })();
	case "all": return Promise.allSettled([broken(), Promise.reject(1)]).then(() => "well");
	}
	return "well";
} };
`, Config{Timeout: time.Minute})
	for _, tt := range []struct{ ask, typ, message, stack string }{
		{"sync", "Error", "at once", "function.ts:6:"},
		{"forgotten", "TypeError", "nobody waits", "at broken (function.ts:3:"},
		{"async", "TypeError", "nobody waits", "function.ts:3:"},
		{"text", "string", "just text", ""},
		{"two", "Error", "first", ""},
		{"thrown", "Error", "the handler's own", ""},
	} {
		_, err := w.ask(t.Context(), "f", tt.ask)
		if f := failure(t, err, FailError); f.Type != tt.typ || f.Message != tt.message || !strings.Contains(f.Stack, tt.stack) {
			t.Errorf("%s: %s: %s\n%s", tt.ask, f.Type, f.Message, f.Stack)
		}
		if got := w.mustAsk(t, "f", ""); got != "well" {
			t.Errorf("the call after %s is answered with %q", tt.ask, got)
		}
	}
	for _, ask := range []string{"handled", "awaited", "all"} {
		if got := w.mustAsk(t, "f", ask); got != "well" {
			t.Errorf("%s is %q", ask, got)
		}
	}
	_, err := w.ask(t.Context(), "f", "null")
	if f := failure(t, err, FailTrap); !strings.Contains(f.Message, "null was thrown") {
		t.Errorf("null: %s", f.Message)
	}
	var logged []string
	for _, line := range w.logsOf(t, "f") {
		if _, text, ok := strings.Cut(line, "unhandled promise rejection: "); ok {
			if !strings.HasPrefix(line, "error ") {
				t.Error(line)
			}
			text, _, _ = strings.Cut(text, `\n`)
			logged = append(logged, strings.TrimSuffix(text, `"}`))
		}
	}
	want := []string{"Error: at once", "TypeError: nobody waits", "TypeError: nobody waits", "just text", "Error: first", "Error: second", "Error: left behind"}
	if !slices.Equal(logged, want) {
		t.Errorf("logged %q", logged)
	}
	_, err = w.DeployProven(t.Context(), "g", []byte("Promise.reject(new Error('at the start')); export default { invoke() {} }"), Config{}, Proof{Language: TypeScript})
	if err == nil || !strings.Contains(err.Error(), "at the start") {
		t.Errorf("a source that leaves one: %v", err)
	}
}

// What a script may not do, is told to it, whatever it gives; what it kept of a call is of no use after it.
func TestScriptOutside(t *testing.T) {
	s, err := state.Open(state.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	w := open(t, func(o *Options) { o.Doors = Doors{State: s, HTTP: web{}} })
	const source = `
let kept: any;
const checks: { [name: string]: (ctx: any) => any } = {
	denied: (ctx) => ctx.table("none").get("k"),
	method: (ctx) => ctx.fetch("https://a.example/", { method: "X".repeat(33) }),
	url: (ctx) => ctx.fetch("x".repeat(8193)),
	fields: (ctx) => ctx.fetch("https://a.example/", { headers: Array.from({ length: 65 }, () => ["a", "b"]) }),
	field: (ctx) => ctx.fetch("https://a.example/", { headers: { a: "b".repeat(70000) } }),
	breaks: (ctx) => ctx.fetch("https://a.example/", { headers: { "x-a": "a\r\nx-b: c" } }),
	space: (ctx) => ctx.fetch("https://a.example/", { headers: { "x a": "b" } }),
	body: (ctx) => ctx.fetch("https://a.example/", { body: new Uint8Array((6 << 20) + 1) }),
	key: (ctx) => ctx.table("t").get(1),
	table: (ctx) => ctx.table(undefined),
	value: (ctx) => ctx.table("t").put("k", () => 1),
	secret: (ctx) => ctx.secret("s"),
	keep: (ctx) => { kept = { ctx, table: ctx.table("t"), list: ctx.table("t").list() }; return "" },
	lateContext: () => kept.ctx.secret("s"),
	lateTable: () => kept.table.put("k", 1),
	lateList: () => [...kept.list],
	values: (ctx) => {
		const t = ctx.table("t");
		t.put("json", { a: [1] }); t.put("bytes", new Uint8Array([0, 255]).buffer); t.put("text", "é");
		return [t.get("json").json(), [...t.get("bytes").data], t.get("text"), t.get("text").length, t.get("json").revision > 0n, t.get("none") === undefined];
	},
	entry: (ctx) => { ctx.table("t").put("copy", ctx.table("t").get("json")); return ctx.table("t").get("copy") },
	answer: async (ctx) => {
		const r = await ctx.fetch(new String("https://a.example/x"), { method: "post", headers: new Map([["x-a", "é"]]), body: { b: 1 }, timeout: 1e12 });
		return [r.status, r.ok, r.headers.get("x-B"), r.headers.has("none"), [...r.headers], await r.text(), (await r.bytes()).length, await r.json().catch((e: any) => e.name)];
	},
	env: (ctx) => [ctx.env.A, ctx.env.B, Object.keys(ctx.env).length, Object.isFrozen(ctx.env)],
};
export default { invoke: (body: any, ctx: any) => checks[body.text](ctx) };
`
	w.deployScript(t, "f", source, Config{Timeout: time.Minute, Concurrency: 1, State: []string{"t"}, HTTP: []string{"POST,GET https://a.example"}, Env: map[string]string{"A": "1=2", "B": ""}})
	for _, tt := range [][2]string{
		{"values", `[{"a":[1]},[0,255],"é",2,true,true]`},
		{"entry", `{"a":[1]}`},
		{"answer", `[201,true,"é",false,[["X-B","é"]],"POST {\"b\":1}",12,"SyntaxError"]`},
		{"env", `["1=2","",2,true]`},
		{"keep", ""},
	} {
		if got := w.mustAsk(t, "f", tt[0]); got != tt[1] {
			t.Errorf("%s is %s, want %s", tt[0], got, tt[1])
		}
	}
	for _, tt := range [][2]string{
		{"denied", `HostError: get "k" of state table "none": not granted: it asked for state table "none", which`},
		{"method", "HostError: fetch: invalid: the method has 33 bytes"}, {"url", "HostError: fetch: invalid: the URL has 8193 bytes"},
		{"fields", "HostError: fetch: invalid: the header has more than 64 fields"}, {"field", "HostError: fetch: invalid: the header has more"},
		{"breaks", `HostError: fetch: invalid: the header field "x-a" has a value with a line break`}, {"space", `HostError: fetch: invalid: "x a" is no name of a header field`},
		{"body", "HostError: fetch: invalid: the body has 6291457 bytes"}, {"key", "TypeError: a key is 1; it must be text"},
		{"table", "TypeError: the name of a state table is undefined"}, {"value", "TypeError: put \"k\" of state table \"t\": the value must be text, bytes"},
		{"secret", `HostError: secret "s": not granted: it may not call shardmill.secret`},
		{"lateContext", "after its handler has ended"}, {"lateTable", "after its handler has ended"}, {"lateList", "after its handler has ended"},
	} {
		_, err := w.ask(t.Context(), "f", tt[0])
		if f := failure(t, err, FailError); !strings.Contains(f.Type+": "+f.Message, tt[1]) {
			t.Errorf("%s: %s: %s", tt[0], f.Type, f.Message)
		}
	}
	w.deployScript(t, "bare", source, Config{Timeout: time.Minute})
	if _, err := w.ask(t.Context(), "bare", "answer"); !strings.Contains(failure(t, err, FailError).Message, "fetch: not granted") {
		t.Errorf("without grants: %v", err)
	}
}
