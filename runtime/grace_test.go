package runtime

import (
	"strings"
	"testing"
	"time"
)

// A script that has used up its fuel tells where it is as well, also in a function of the language, and in the same way each time.
func TestGraceOfFuel(t *testing.T) {
	w := open(t)
	w.deployScript(t, "f", `const all = new Array(100_000).fill(1);
function search(n: number): boolean {
	return all.includes(-n);
}
export default { invoke(body: any) {
	for (let n = 1; body.text === "native"; n++) search(n);
	for (let n = 1; ; n++) String(n);
} };
`, Config{Timeout: time.Minute, Fuel: 20_000_000, Isolation: IsolateInvocation})
	for body, place := range map[string]string{"native": "    at includes (native)\n    at search (function.ts:3:23)\n    at invoke (function.ts:6:54)", "jumps": "at invoke (function.ts:7:32)"} {
		var fuel []int64
		for range 2 {
			var reply Reply
			err := w.Invoke(t.Context(), Call{Function: "f", Kind: KindInvoke, Body: []byte(body)}, &reply)
			if f := failure(t, err, FailFuel); !strings.Contains(f.Stack, place) {
				t.Errorf("%s: it was at\n%s", body, f.Stack)
			}
			fuel = append(fuel, reply.Fuel)
		}
		if fuel[0] != fuel[1] || fuel[0] < 20_000_000 || fuel[0] > 22_000_000 {
			t.Errorf("%s: equal calls have used %d", body, fuel)
		}
	}
}

// What a script does after its time has no effect: its call has failed, whatever it answers or throws then, and nothing of it is caught or cleaned up.
func TestGraceOfTimeout(t *testing.T) {
	w := open(t, func(o *Options) { o.Doors.HTTP = web{} })
	config := Config{Timeout: 200 * time.Millisecond, HTTP: []string{"https://a.example"}}
	w.deployScript(t, "f", `async function get(url: string, ctx: any) {
	try {
		return await ctx.fetch(url);
	} catch (e) {
		console.log("caught");
		return "answered";
	} finally {
		console.log("finally");
	}
}
export default { invoke: (body: any, ctx: any) => get(body.text, ctx) };
`, config)
	_, err := w.ask(t.Context(), "f", "https://a.example/slow")
	f := failure(t, err, FailTimeout)
	if want := "    at get (function.ts:3:26)\n    at invoke (function.ts:11:66)"; f.Stack != want || f.Type != "" {
		t.Errorf("it was at\n%s, want\n%s", f.Stack, want)
	}
	if lines := w.logsOf(t, "f"); len(lines) != 1 || !strings.Contains(lines[0], "function.ts:3:26") {
		t.Errorf("the log has %q", lines)
	}
	_, err = w.DeployProven(t.Context(), "top", []byte("const f = (n: number) => Math.abs(n);\n\nfor (let i = 0; ; i++) f(i);\n"), config, Proof{Language: TypeScript})
	if err == nil || !strings.Contains(err.Error(), "timeout of 200ms") || !strings.Contains(err.Error(), "function.ts:") {
		t.Errorf("a script that does not end is refused with %v", err)
	}
}
