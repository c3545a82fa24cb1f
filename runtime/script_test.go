package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/runtime/quickjs"
	"github.com/shardmill/shardmill/sdk/record"
)

func (w *world) deployScript(t testing.TB, name, source string, config Config) Function {
	t.Helper()
	f, err := w.DeployProven(t.Context(), name, []byte(source), config, Proof{Language: TypeScript})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// logsOf are the lines that a function has written: "level message".
func (w *world) logsOf(t testing.TB, name string) (lines []string) {
	t.Helper()
	seq, err := w.Logs(t.Context(), name, time.Time{}, false)
	if err != nil {
		t.Fatal(err)
	}
	for l := range seq {
		lines = append(lines, l.Level+" "+l.Message)
	}
	return lines
}

// batch hands records to a function.
func (w *world) batch(t testing.TB, name string, records ...record.Run) (reply Reply, err error) {
	t.Helper()
	err = w.Invoke(t.Context(), Call{
		Function: name, Kind: KindBatch, Records: records, Attempt: 2, Source: Source{Mapping: "m", Stream: "in", Shard: 3},
	}, &reply)
	return reply, err
}

// TestScriptCalls has what a script sees of a call, and what it can say.
func TestScriptCalls(t *testing.T) {
	w := open(t)
	f := w.deployScript(t, "f", `
import type { Handlers } from "shardmill";
export default {
	batch(records, ctx) {
		for (const r of records) {
			switch (r.text) {
			case "pass": ctx.emit("b", r); break;
			case "data\x00": ctx.emit("b", { key: "data", data: r }); break;
			case "drop": ctx.drop(r, "not wanted"); break;
			case "retry": ctx.retry(r); break;
			case "reject": ctx.reject(r.index, "ü".repeat(1000)); break;
			case "facts":
				ctx.emit("a", { key: r.key, data: [ctx.function, ctx.version, ctx.mapping, ctx.stream, ctx.shard, ctx.attempt,
					r.index, String(r.sequence), r.time.toISOString(), String(r.hashKey), records.length, ctx.deadline! > new Date(), ctx.remaining() > 0] });
				break;
			default: {
				const v: { bytes?: number[], long?: number } = r.json();
				if (v.bytes) ctx.emit("b", { key: "bytes", data: new Uint8Array(v.bytes) });
				if (v.long) ctx.emit("a", { key: "long", data: "€".repeat(v.long) });
			}}
		}
	},
	async invoke(body, ctx) {
		await null;
		const say: any = { empty: undefined, text: "plain", bytes: new Uint8Array([0, 255]), number: 7, null: null, same: body, string: `+"`<${body}>`"+` };
		return say[body.text];
	},
} satisfies Handlers;
`, Config{Emit: []string{"a", "b"}})
	if f.Language != TypeScript || !f.Kinds.Has(KindBatch) || !f.Kinds.Has(KindInvoke) || f.Kinds.Has(KindWindowClose) {
		t.Errorf("deployed as %q, kinds %b", f.Language, f.Kinds)
	}
	hash := append(append([]byte{1}, make([]byte, 14)...), 2)
	var hashed record.Builder
	if err := hashed.Append(record.Record{Key: []byte("h"), Data: []byte("facts"), Sequence: 1<<44 | 5, Arrival: 1700000000123456, ExplicitHash: hash}); err != nil {
		t.Fatal(err)
	}
	reply, err := w.batch(t, "f", records(t, "schlüssel", "pass", "drop", "facts", "retry"), hashed.Run(),
		records(t, "k", "reject", `{"bytes":[1,2,3]}`, `{"long":50000}`, `{"bytes":[]}`, "data\x00"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a/schlüssel/" + `["f",1,"m","in",3,2,2,"0","1970-01-01T00:00:00.000Z","undefined",10,true,true]`,
		"a/h/" + fmt.Sprintf(`["f",1,"m","in",3,2,4,"%d","2023-11-14T22:13:20.123Z","1329227995784915872903807060280344578",10,true,true]`, int64(1<<44|5)),
		"a/long/" + strings.Repeat("€", 50000),
		"b/schlüssel/pass", "b/bytes/\x01\x02\x03", "b/bytes/", "b/data/data\x00",
	}
	slices.Sort(want)
	got := slices.Sorted(slices.Values(w.emitted.records))
	if !slices.Equal(got, want) {
		t.Errorf("emitted\n%.1000q\nwant\n%.1000q", got, want)
	}
	outcomes := []Outcome{{1, ResultDropped, "not wanted"}, {3, ResultRetry, ""}, {5, ResultRejected, strings.Repeat("ü", 512)}}
	if !slices.Equal(reply.Outcomes, outcomes) {
		t.Errorf("outcomes %v, want %v", reply.Outcomes, outcomes)
	}
	for body, want := range map[string]string{"empty": "", "text": "plain", "bytes": "\x00\xff", "number": "7", "null": "null", "same": "same", "string": "<string>"} {
		if got := w.mustAsk(t, "f", body); got != want {
			t.Errorf("%s is answered with %q, want %q", body, got, want)
		}
	}
}

// TestScriptFailures has the ways in which a script goes wrong, and that the next call of it is well.
func TestScriptFailures(t *testing.T) {
	w := open(t)
	source := `type Kind = "throw";
interface Nothing {}
function deep(n: number): number { return deep(n + 1) + 1 }
class Failure extends Error { name = "Failure" }
function inner(what: string): unknown {
	switch (what) {
	case "throw": throw new TypeError("thrown");
	case "own": throw new Failure("of its own", { cause: new Error("the cause") });
	case "text": throw "just text"; case "several": throw new AggregateError([new TypeError("one"), "two"], "both");
	case "circle": { const e: any = new Error("round"); e.cause = { e }; e.cause = e; throw e; }
	case "reject": return Promise.reject(new Error("rejected"));
	case "later": return new Promise((_, no) => setTimeout(() => no(new RangeError("late")), 5));
	case "never": return new Promise(() => {});
	case "spin": for (;;);
	case "jobs": { const f = (): Promise<void> => Promise.resolve().then(f); return f(); }
	case "sleep": return new Promise((yes) => setTimeout(yes, 3_600_000));
	case "memory": { const all: unknown[] = []; for (;;) all.push(new Array(1000).fill(1.5)); }
	case "long": { let s = "x"; for (;;) s += s; }
	case "deep": return deep(0);
	case "json": return JSON.parse("[".repeat(1_000_000));
	case "sort": for (;;) Array.from({ length: 30_000 }, (_, i) => i * 7919 % 30_011).sort();
	case "async": return (async () => { await null; try { for (;;) [1].map((x) => x + 1); } catch { throw new Error("caught"); } finally { console.log("finally"); } })();
	case "log": for (;;) console.log("x");
	case "tick": return new Promise(() => setInterval(() => { for (;;); }));
	case "replaced": { const f = () => { for (;;); }; (Error as any).prepareStackTrace = f; (Error as any).stackTraceLimit = 0; (globalThis as any).Reflect = null; return f(); }
	case "regexp": return /(x+x+)+y/.test("x".repeat(40));
	case "cycle": { const a: any = {}; a.a = a; return a; }
	case "function": return () => 1;
	case "reserved": (globalThis as any).JSON = null; throw new Error("after all that");
	}
	return "well";
}
export default { invoke: (body: any) => inner(body.text) };
`
	w.deployScript(t, "f", source, Config{Timeout: 300 * time.Millisecond})
	w.deployScript(t, "slow", source, Config{Timeout: time.Minute, MemoryBytes: 16 << 20})
	for _, tt := range []struct {
		what         string
		kind         ErrorKind
		typ, message string
		stack        string
	}{
		{"throw", FailError, "TypeError", "thrown", "at inner (function.ts:7:"},
		{"own", FailError, "Failure", "of its own (cause: Error: the cause)", "function.ts:8:"},
		{"several", FailError, "AggregateError", "both (errors: TypeError: one; string: two)", "function.ts:9:"},
		{"circle", FailError, "Error", "round (cause: Error: round (cause: ", "function.ts:10:"},
		{"text", FailError, "string", "just text", ""},
		{"reject", FailError, "Error", "rejected", "function.ts:11:"},
		{"later", FailError, "RangeError", "late", "function.ts:12:"},
		{"never", FailError, "Error", "never settled", ""},
		{"spin", FailTimeout, "", "longer than its timeout of 300ms", "at inner (function.ts:1"}, // the engine's own frames are in none
		{"jobs", FailTimeout, "", "longer than its timeout of 300ms", "at f (function.ts:15:"},
		{"async", FailTimeout, "", "longer than its timeout of 300ms", "(function.ts:22:"},
		{"sort", FailTimeout, "", "longer than its timeout of 300ms", "at inner (function.ts:21:"},
		{"log", FailTimeout, "", "longer than its timeout of 300ms", "at inner (function.ts:23:"},
		{"tick", FailTimeout, "", "longer than its timeout of 300ms", "at <anonymous> (function.ts:24:"},
		{"replaced", FailTimeout, "", "longer than its timeout of 300ms", "at f (function.ts:25:"},
		{"sleep", FailTimeout, "", "longer than its timeout of 300ms", "(it waits for a timer)"},
		{"memory", FailMemory, "", "needed more memory than its limit of 16 MiB", ""},
		{"long", FailError, "InternalError", "string too long", "function.ts:18:"},
		{"deep", FailError, "RangeError", "call stack", "deep (function.ts:3:"},
		{"json", FailError, "", "", ""},
		{"regexp", FailTimeout, "", "", "at test (native)\n    at inner (function.ts:26:"},
		{"cycle", FailError, "TypeError", "circular", ""},
		{"function", FailError, "TypeError", "what invoke returns must be", ""},
		{"reserved", FailError, "Error", "after all that", "function.ts:29:"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			started := time.Now()
			name := "slow"
			if tt.kind == FailTimeout {
				name = "f"
			}
			_, err := w.ask(t.Context(), name, tt.what)
			f := failure(t, err, tt.kind)
			if tt.typ != "" && f.Type != tt.typ || !strings.Contains(f.Message, tt.message) || !strings.Contains(f.Stack, tt.stack) || strings.Contains(f.Stack, "runtime:") || strings.Contains(f.Stack, ".$") {
				t.Errorf("%s: %s\n%s", f.Type, f.Message, f.Stack)
			}
			if d := time.Since(started); d > 10*time.Second {
				t.Errorf("it took %v", d)
			}
			if got := w.mustAsk(t, name, "well"); got != "well" {
				t.Errorf("the next call is answered with %q", got)
			}
		})
	}
}

// TestScriptRefused has sources that are not taken, and why.
func TestScriptRefused(t *testing.T) {
	w := open(t)
	for _, tt := range []struct {
		name, source string
		config       Config
		field, says  string
	}{
		{"syntax", "export default {\n  batch(records { }\n}", Config{}, "code", "function.ts:2:17: "},
		{"import", `import fs from "node:fs"; fs; export default {}`, Config{}, "code", `it imports "node:fs", which is not there`},
		{"empty", "", Config{}, "code", "the default export is undefined; it must be an object with batch"},
		{"no handler", "export default { bach() {} }", Config{}, "code", "code failed while the instance was made: TypeError: the default export has no handler"},
		{"no function", "export default { batch: 1 }", Config{}, "code", "batch is 1; it must be a function"},
		{"throws", "\nthrow new Error('at the start')", Config{}, "code", "Error: at the start at function.ts:2:"},
		{"spins", "for (;;);", Config{Timeout: 200 * time.Millisecond}, "code", "timeout"},
		{"deep", "export default " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), Config{}, "code", ""},
		{"memory", "export default {}; const a: any[] = []; for (;;) a.push(new Array(1000).fill(1.5))", Config{MemoryBytes: 4 << 20, Timeout: time.Minute}, "code", "more memory than its limit of 4 MiB"},
		{"little memory", "export default { invoke() {} }", Config{MemoryBytes: 1 << 20}, "memory", "18 pages"},
		{"long", "//" + strings.Repeat("x", quickjs.MaxSourceBytes), Config{}, "code", "4 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.DeployProven(t.Context(), "f", []byte(tt.source), tt.config, Proof{Language: TypeScript})
			var wrong *FieldError
			if !errors.As(err, &wrong) || wrong.Field != tt.field || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want one about %s that says %q", err, tt.field, tt.says)
			}
		})
	}
	if n := w.engine.scripts.users; n != 0 || w.engine.scripts.base != nil {
		t.Errorf("after uploads that were refused %d programs are left", n)
	}
}

// TestScriptVersions has what is stored of a script, and that the engine is shared for as long as there is a script.
func TestScriptVersions(t *testing.T) {
	s := newStores()
	dir := t.TempDir()
	compiles := 0
	count := func(o *Options) {
		o.CacheDir = dir
		o.CompileScript = func(_ context.Context, source []byte, language Language) (*quickjs.Script, error) {
			compiles++
			return quickjs.Compile(source, language)
		}
	}
	w := reopen(t, s, count)
	const first, second = "export default { invoke: () => 1 }", "export default { invoke: (b: any): number => 2 }"
	w.deployScript(t, "f", first, Config{})
	if f := w.deployScript(t, "f", first, Config{}); f.Version != 1 {
		t.Errorf("the same source is version %d", f.Version)
	}
	f, err := w.DeployProven(t.Context(), "f", []byte(first), Config{}, Proof{Language: JavaScript})
	if err != nil || f.Version != 2 || f.Language != JavaScript {
		t.Errorf("in another language it is %+v, %v", f.VersionDetail, err)
	}
	w.deployScript(t, "g", second, Config{})
	if code, err := w.Code(t.Context(), "g", 0); err != nil || string(code) != second {
		t.Errorf("stored is %q, %v", code, err)
	}
	if n := w.engine.scripts.users; n != 3 {
		t.Errorf("%d programs share the engine, want 3", n)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.engine.scripts.base != nil {
		t.Error("a closed runtime keeps the engine")
	}
	before := compiles
	w = reopen(t, s, count)
	if a, b := w.mustAsk(t, "f", ""), w.mustAsk(t, "g", ""); a != "1" || b != "2" {
		t.Errorf("after a restart f answers %s, g %s", a, b)
	}
	if compiles != before {
		t.Errorf("scripts in the cache were compiled again: %d", compiles-before)
	}
	if err := w.Delete(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Deploy(t.Context(), "f", []byte(first), Config{}); err == nil || !strings.Contains(err.Error(), "not a WebAssembly module") {
		t.Errorf("a source that is said to be a module: %v", err)
	}
}

// TestScriptSurroundings has what a script finds beside the language.
func TestScriptSurroundings(t *testing.T) {
	w := open(t)
	w.deployScript(t, "f", `
let kept: any, calls = 0;
const seen = new Set();
const checks: { [name: string]: (body: any, ctx: any) => any } = {
	text: () => new TextDecoder().decode(new TextEncoder().encode("zoë €\u{1f600}")),
	bytes: () => new TextEncoder().encode("é€"),
	bom: () => new TextDecoder("UTF-8").decode(new Uint8Array([0xef, 0xbb, 0xbf, 65, 0xff]).buffer),
	latin: () => { try { new TextDecoder("latin1") } catch (e: any) { return e.message } },
	base64: () => atob(btoa("any carnal pleas")),
	uuid: () => /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()),
	random: () => { for (let i = 0; i < 1000; i++) { const r = Math.random(); if (r < 0 || r >= 1) return r; seen.add(r); } return seen.size; },
	timers: async () => {
		const order: any[] = [];
		clearTimeout(setTimeout(() => order.push("never"), 0));
		setTimeout((a) => order.push(a), 0, "t");
		queueMicrotask(() => order.push("m"));
		await new Promise<void>((yes) => {
			const every = setInterval(() => { order.push("i"); if (order.length > 3) { clearInterval(every); yes(); } }, 1);
		});
		return order;
	},
	date: () => new Date(0).getTimezoneOffset(),
	global: () => [typeof process, typeof fetch, typeof globalThis.Buffer].join(),
	keep: (body, ctx) => { kept = { body, ctx, data: body.data }; return "kept" },
	late: () => [kept.body.text],
	lateEmit: () => kept.ctx.emit("a", { key: "k", data: 1 }),
	lateView: (body) => kept.data.length,
	log: () => {
		console.log("plain", 1, { a: [1n] }, null, undefined, new Map([[1, 2]]));
		console.log({ e: new TypeError("inside", { cause: 1 }), m: new Map([["a", new Set([1n])]]) });
		console.warn("careful");
		console.debug("deep down");
		console.error("wrong");
		console.error(new TypeError("an error"));
		console.log("two\nlines");
		console.assert(true, "no"); console.assert(false, "yes");
	},
	json: (body) => body.json(),
	count: () => ++calls,
};
declare const process: any, fetch: any;
declare namespace globalThis { var Buffer: any }
export default { invoke: (body: any, ctx: any) => checks[body.text.split(" ")[0]](body, ctx) };
`, Config{Timeout: time.Minute, Concurrency: 1})
	for _, tt := range []struct{ ask, want string }{
		{"text", "zoë €\U0001f600"}, {"bytes", "é€"}, {"bom", "A\ufffd"}, {"latin", "the encoding latin1 is not supported; it must be utf-8"},
		{"base64", "any carnal pleas"}, {"uuid", "true"}, {"random", "1000"}, {"timers", `["m","t","i","i"]`}, {"date", "0"},
		{"global", "undefined,undefined,undefined"}, {"keep", "kept"}, {"count", "1"}, {"count", "2"}, {"log", ""},
	} {
		if got := w.mustAsk(t, "f", tt.ask); got != tt.want {
			t.Errorf("%s is %q, want %q", tt.ask, got, tt.want)
		}
	}
	for ask, says := range map[string]string{
		"late": "used after its handler has ended", "lateEmit": "used after its handler has ended", "json {": "unexpected token",
	} {
		_, err := w.ask(t.Context(), "f", ask)
		if f := failure(t, err, FailError); !strings.Contains(f.Message, says) || strings.Contains(f.Stack, "<anonymous> (native)") {
			t.Errorf("%s: %s\n%s", ask, f.Message, f.Stack)
		}
	}
	// A view that is kept over a call for which the input area grew sees nothing of what took its place.
	if got := w.mustAsk(t, "f", "lateView "+strings.Repeat("x", 1<<20)); got != "0" {
		t.Errorf("a kept view has %s bytes", got)
	}
	want := []string{
		`info plain 1 {"a":["1n"]} null undefined Map [[1,2]]`,
		`info {"e":"TypeError: inside (cause: number: 1)","m":[["a",["1n"]]]}`, `warn {"level":"warn","msg":"careful"}`, `debug {"level":"debug","msg":"deep down"}`,
		"error wrong", `error {"level":"error","msg":"TypeError: an error\n    at log (function.ts:`, `info {"level":"info","msg":"two\nlines"}`, "error assertion failed: yes",
	}
	got := w.logsOf(t, "f")[:len(want)] // behind them is what failed
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("logged\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestScriptReplays has a script's calls made again: with the clocks and random numbers of the first time.
func TestScriptReplays(t *testing.T) {
	s := newShelf()
	w := open(t, keeping(s))
	const source = `export default { invoke(body: any) {
	throw new Error([Math.random(), Date.now(), crypto.randomUUID(), performance.now(), body.text].join());
} }`
	w.deployScript(t, "f", source, Config{})
	err := w.Invoke(t.Context(), Call{Function: "f", Kind: KindInvoke, Body: []byte("x"), Keep: &Keep{Failed: true}}, new(Reply))
	failure(t, err, FailError)
	c := s.next(t)
	for range 2 {
		if o, err := Replay(t.Context(), []byte(source), c, ReplayOptions{CacheDir: compiled}); err != nil || o.Diverged() || !o.Same(&c.Again) {
			t.Errorf("it came to %+v, want %+v; diverged %v, %v", o, c.Again, o.Diverged(), err)
		}
	}
	other := "export default { invoke: (body) => body.text + 1 }"
	if o, err := Replay(t.Context(), []byte(other), c, ReplayOptions{CacheDir: compiled}); err != nil || string(o.Body) != "x1" {
		t.Errorf("another source came to %+v, %v", o, err)
	}
	for code, says := range map[string]string{"let a: = 1": "function.ts:1:8", "": "not a WebAssembly module"} {
		if _, err := Replay(t.Context(), []byte(code), c, ReplayOptions{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", code, err, says)
		}
	}
}

// BenchmarkScriptUpload is from an upload to a version that serves, without the compiler's process.
func BenchmarkScriptUpload(b *testing.B) {
	w := open(b)
	w.deployScript(b, "kept", "export default { invoke: () => 0 }", Config{}) // so that the engine stays
	for i := 0; b.Loop(); i++ {
		w.deployScript(b, "f", fmt.Sprintf("export default { invoke: () => %d }", i), Config{})
	}
}

// BenchmarkScriptInstance makes an instance of a small script.
func BenchmarkScriptInstance(b *testing.B) {
	w := open(b)
	w.deployScript(b, "f", "export default { invoke: () => 0 }", Config{})
	f, err := w.function("test", "f")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f.latest().pool.drain()
		w.mustAsk(b, "f", "")
	}
}
