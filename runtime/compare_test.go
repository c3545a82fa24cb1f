package runtime

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/runtime/wasm"
)

func TestCompare(t *testing.T) {
	code := fake{input: cat([]byte{wasm.OpLocalGet, 0, 0x1a}, i32Const(8))}.build()
	_, err := Compare(t.Context(), code, "nothing", 1, time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "no function") {
		t.Errorf("a function that is not there: %v", err)
	}
	c, err := Compare(t.Context(), code, "shardmill_input", 1, 10*time.Millisecond)
	if err != nil || c.Plain <= 0 || c.Metered <= 0 || c.Engine <= 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Compare(t.Context(), fake{input: unreachable}.build(), "shardmill_input", 1, time.Millisecond); err == nil {
		t.Error("a function that fails is measured")
	}
	if _, err := Compare(t.Context(), []byte("nothing"), "f", 1, time.Millisecond); err == nil {
		t.Error("what is no module is measured")
	}
}

func TestOverhead(t *testing.T) {
	w := open(t)
	reply := okReply(t)
	code := fake{data: reply, handle: packed(1024, uint32(len(reply))), pages: 2}.build()
	w.deploy(t, "f", code, Config{})
	call := Call{Function: "f", Kind: KindBatch, Records: batchOf(t, 4)}
	if o, err := w.Overhead(t.Context(), code, call, 10*time.Millisecond); err != nil || o.Plain <= 0 || o.Bare <= 0 || o.Invoke <= o.Plain {
		t.Errorf("%+v, %v", o, err)
	}
	for name, code := range map[string][]byte{"no module": []byte("nothing"), "traps at its start": fake{start: unreachable}.build(), "has no memory to give": fake{input: i32Const(0)}.build(),
		"traps": fake{handle: unreachable}.build()} {
		if _, err := w.Overhead(t.Context(), code, call, time.Millisecond); err == nil {
			t.Errorf("what %s is measured", name)
		}
	}
	call.Function = "other"
	if _, err := w.Overhead(t.Context(), code, call, time.Millisecond); !errors.Is(err, ErrNotFound) {
		t.Errorf("a function that is not there: %v", err)
	}
}

func TestCompareStarts(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(compiled)); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]struct {
		code     []byte
		language Language
	}{"module": {fake{}.build(), ""}, "script": {[]byte(counting), JavaScript}} {
		c, err := CompareStarts(t.Context(), s.code, s.language, dir, time.Millisecond)
		if err != nil || c.Plain <= 0 || c.Snapshot <= 0 || name == "script" && c.Bytes < 1<<16 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for name, s := range map[string]struct {
		code     []byte
		language Language
	}{
		"no module": {[]byte("nothing"), ""}, "no script": {[]byte("let let"), JavaScript}, "fails": {fake{initialize: unreachable}.build(), ""},
		"is plain": {fake{pages: maxImageBytes/wasmPage + 1}.build(), ""},
	} {
		if c, err := CompareStarts(t.Context(), s.code, s.language, dir, time.Millisecond); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// A call that executes more than it may is stopped there, and one that does not is not, however often the instance was used before.
func TestFuelLimit(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Concurrency: 1, Fuel: 3_000_000, Timeout: time.Minute})
	for range 20 {
		if got := w.mustAsk(t, "probe", "echo x"); got != "x" {
			t.Errorf("%q", got)
		}
	}
	var reply Reply
	err := w.Invoke(t.Context(), Call{Function: "probe", Kind: KindInvoke, Body: []byte("spin")}, &reply)
	if f := failure(t, err, FailFuel); !strings.Contains(f.Message, "limit of 3000000 instructions") || !strings.Contains(f.Stack, "spin") {
		t.Errorf("%+v", f)
	}
	if reply.Fuel < 3_000_000 || reply.Fuel > 3_010_000 {
		t.Errorf("it was stopped after %d", reply.Fuel)
	}
	w.deploy(t, "command", guests["command"], Config{Fuel: 300_000_000, Secrets: []string{"token"}, Timeout: time.Minute})
	if got := w.mustAsk(t, "command", "echo x"); got != "x" {
		t.Errorf("%q", got)
	}
	_, err = w.ask(t.Context(), "command", "spin")
	failure(t, err, FailFuel)

	w = reopen(t, w.stores) // the limit is kept
	_, err = w.ask(t.Context(), "probe", "spin")
	failure(t, err, FailFuel)
	for _, fuel := range []int64{-1, 1, MinFuel - 1, MaxFuel + 1} {
		_, err := w.Deploy(t.Context(), "f", fake{}.build(), Config{Fuel: fuel})
		if f := (*FieldError)(nil); !errors.As(err, &f) || f.Field != "fuel" {
			t.Errorf("a limit of %d: %v", fuel, err)
		}
	}
}

// The fuel of a call depends on what it does, not on the machine.
func TestFuelOfACall(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", fake{handle: []byte{wasm.OpLocalGet, 2, wasm.OpLocalSet, 3, wasm.OpLoop, 0x40, wasm.OpLocalGet, 3, wasm.OpI32Const, 1, 0x6b, wasm.OpLocalTee, 3, wasm.OpBrIf, 0, wasm.OpEnd, 0x42, 0}}.build(), Config{Concurrency: 1})
	fuel := func(body int) int64 {
		var reply Reply
		err := w.Invoke(t.Context(), Call{Function: "f", Kind: KindInvoke, Body: make([]byte, body), ID: "x"}, &reply)
		failure(t, err, FailMalformed)
		return reply.Fuel
	}
	base := fuel(800)
	if again := fuel(800); again != base {
		t.Errorf("used %d, and then %d", base, again)
	}
	if more := fuel(1800); more != base+5*1000 {
		t.Errorf("used %d for a thousand turns of 5 more than %d", more, base)
	}
}
