package runtime

import (
	"context"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/shardmill/shardmill/runtime/fuel"
	"github.com/shardmill/shardmill/runtime/wasm"
)

// No module makes inspect panic or take much memory, and what it passes neither makes the rewriting panic nor the
// engine's decoder. What was valid is so when it is rewritten.
func FuzzInspect(f *testing.F) {
	f.Add(fake{}.build())
	f.Add(fake{handle: growing, start: spinning, data: []byte("data"), kinds: 16, imports: [][]byte{functionImport("env", "f")}}.build())
	f.Add(fake{functions: doubling(3), sections: [][]byte{custom("name", cat([]byte{0}, str(string(str("m")))))}}.build())
	f.Add(cat(wasm.Header, sec(wasm.SectionTable, vec([]byte{0x70, 1, 1, 2})), sec(wasm.SectionElement, vec(cat([]byte{0}, i32Const(0), []byte{wasm.OpEnd}, vec())))))
	f.Add(cat(wasm.Header, sec(wasm.SectionGlobal, vec(cat([]byte{i32, 0}, i32Const(0), []byte{wasm.OpEnd})))))
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	f.Cleanup(func() { r.Close(ctx) })
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := inspect(b)
		if err != nil {
			return
		}
		_ = info.admit(map[string]string{}, &Config{MemoryBytes: 1 << 20})
		_, reserved := info.exports[fuel.Export]
		rewritten, err := fuel.Rewrite(b)
		if err == nil {
			if _, err := inspect(rewritten); err != nil {
				t.Fatalf("the rewritten module: %v", err)
			}
		}
		plain, invalid := r.CompileModule(ctx, b)
		if invalid != nil {
			return
		}
		plain.Close(ctx)
		if err != nil {
			if !reserved {
				t.Fatalf("valid, and %v", err)
			}
			return
		}
		compiled, err := r.CompileModule(ctx, rewritten)
		if err != nil {
			t.Fatalf("valid as it is, and rewritten: %v", err)
		}
		compiled.Close(ctx)
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
