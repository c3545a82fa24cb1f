package runtime

import (
	"bytes"
	"context"
	"testing"

	"github.com/tetratelabs/wazero"
)

func TestGuards(t *testing.T) {
	for _, c := range []struct {
		name    string
		body    []byte
		guarded bool
	}{
		{"leaf", code(0, i32Const(1)...), false},
		{"call", code(0, opCall, 0), true},
		{"call after a loop", code(0, opLoop, 0x40, opEnd, opCall, 0), false},
		{"loop in a block", code(0, opBlock, 0x40, opLoop, 0x40, opEnd, opEnd, opCall, 0), false},
		{"loop after a call", code(0, opCall, 0, 0x1a, opLoop, 0x40, opEnd, opCall, 0), true},
		{"loop that may be skipped", code(0, cat(i32Const(0), []byte{0x04, 0x40, opLoop, 0x40, opEnd, opEnd, opCall, 0})...), true},
		{"loop behind a branch", code(0, cat([]byte{opBlock, 0x40}, i32Const(0), []byte{0x0d, 0, opLoop, 0x40, opEnd, opEnd, opCall, 0})...), true},
		{"with locals", code(3, opCall, 0), true},
	} {
		module := fake{functions: [][]byte{c.body}}.build()
		info, err := inspect(module)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := len(info.guards) == 1; got != c.guarded {
			t.Errorf("%s: guards at %v", c.name, info.guards)
		}
		guarded := guardCalls(module, info.guards)
		if _, err := inspect(guarded); err != nil {
			t.Errorf("%s: with guards: %v", c.name, err)
		}
		if want := len(module) + len(info.guards)*len(guard); len(guarded) < want {
			t.Errorf("%s: %d bytes became %d", c.name, len(module), len(guarded))
		}
	}
}

func TestGuardsKeepTheNames(t *testing.T) {
	names := custom("name", cat([]byte{0}, str(string(str("module")))))
	module := fake{sections: [][]byte{custom(".debug_info", make([]byte, 100)), names, custom("producers", nil)}}.build()
	got := guardCalls(module, nil)
	if !bytes.HasSuffix(got, names) || bytes.Contains(got, []byte(".debug_info")) || bytes.Contains(got, []byte("producers")) {
		t.Errorf("custom sections: %q", got)
	}
}

// No module makes inspect panic or take much memory, and what it passes neither makes the rewriting panic nor the
// engine's decoder.
func FuzzInspect(f *testing.F) {
	f.Add(fake{}.build())
	f.Add(fake{handle: growing, start: spinning, data: []byte("data"), kinds: 16, imports: [][]byte{functionImport("env", "f")}}.build())
	f.Add(fake{functions: doubling(3), sections: [][]byte{custom("name", cat([]byte{0}, str(string(str("m")))))}}.build())
	f.Add(cat(wasmHeader, sec(sectionTable, vec([]byte{0x70, 1, 1, 2})), sec(sectionElement, vec(cat([]byte{0}, i32Const(0), []byte{opEnd}, vec())))))
	f.Add(cat(wasmHeader, sec(sectionGlobal, vec(cat([]byte{i32, 0}, i32Const(0), []byte{opEnd})))))
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	f.Cleanup(func() { r.Close(ctx) })
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := inspect(b)
		if err != nil {
			return
		}
		_ = info.admit(map[string]string{}, &Config{MemoryBytes: 1 << 20})
		guarded := guardCalls(b, info.guards)
		again, err := inspect(guarded)
		if err != nil {
			t.Fatalf("the module with guards: %v", err)
		}
		if len(again.guards) != 0 {
			t.Fatalf("the module with guards needs guards at %v", again.guards)
		}
		plain, plainErr := r.CompileModule(ctx, b)
		rewritten, rewrittenErr := r.CompileModule(ctx, guarded)
		if plainErr == nil && rewrittenErr != nil {
			t.Fatalf("valid without guards, and with them: %v", rewrittenErr)
		}
		for _, m := range []wazero.CompiledModule{plain, rewritten} {
			if m != nil {
				m.Close(ctx)
			}
		}
	})
}

func FuzzDefinition(f *testing.F) {
	f.Add("f", []byte(`{"format":1,"next":2,"versions":[{"version":1,"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1,"kinds":16,"created":"2026-01-02T03:04:05Z","timeoutMs":1,"memoryBytes":1048576,"concurrency":1,"emit":["a"]}]}`))
	f.Add("f", []byte(`{"format":2,"next":2,"reserved":3,"versions":[{"version":1,"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1,"kinds":16,"created":"2026-01-02T03:04:05Z","timeoutMs":1,"memoryBytes":1048576,"concurrency":1}],"aliases":[{"name":"a","version":1,"created":"2026-01-02T03:04:05Z","modified":"2026-01-02T03:04:05Z"}]}`))
	f.Add("f", []byte(`{"format":3}`))
	f.Add("..", []byte(`{"format":1,"next":1,"versions":[]}`))
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		fn, err := decodeDefinition(name, value)
		if err != nil {
			return
		}
		encoded, err := fn.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeDefinition(name, encoded)
		if err != nil {
			t.Fatalf("%s cannot be read back: %v", encoded, err)
		}
		for i, v := range fn.versions {
			if w := again.versions[i]; v.number != w.number || v.digest != w.digest || !v.config.equal(w.config) {
				t.Fatalf("read back as %+v, was %+v", w.identity, v.identity)
			}
		}
	})
}
