package extism

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/extism/go-sdk"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

// stores are the definitions and the code of one function, in memory.
type stores struct{ definition, code []byte }

func (s *stores) Get(string) (catalog.Entry, error) { return catalog.Entry{}, catalog.ErrNotFound }
func (s *stores) List() []catalog.Entry             { return nil }
func (s *stores) Create(_ context.Context, _ string, value []byte) (uint64, error) {
	s.definition = value
	return 1, nil
}

func (s *stores) Update(context.Context, string, []byte, uint64) (uint64, error) {
	return 0, catalog.ErrConflict
}
func (s *stores) Delete(context.Context, string, uint64) error { return catalog.ErrNotFound }

type blobs struct{ *stores }

func (b blobs) Put(_ context.Context, data []byte) (string, error) {
	b.code = data
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
func (b blobs) Get(context.Context, string) ([]byte, error) { return b.code, nil }
func (b blobs) Delete(context.Context, string) error        { return nil }

func build(t *testing.T, source string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, source)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", source, err, text)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// ours is a call of a function, theirs of a plugin, each with a timeout.
func ours(t *testing.T, batch record.Run) func() error {
	t.Helper()
	s := new(stores)
	rt, err := runtime.Open(t.Context(), runtime.Options{Functions: s, Code: blobs{s}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := rt.Deploy(t.Context(), "touch", build(t, "github.com/shardmill/shardmill/runtime/testdata/touch"), runtime.Config{Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	call := runtime.Call{Function: "touch", Kind: runtime.KindBatch, Records: []record.Run{batch}}
	reply := new(runtime.Reply)
	return func() error { return rt.Invoke(t.Context(), call, reply) }
}

func theirs(t *testing.T, batch record.Run) func() error {
	t.Helper()
	input := make([]byte, record.HeaderSize, record.HeaderSize+batch.Size())
	record.PutHeader(input, batch.Len(), batch.Size(), false)
	input = append(input, batch.Bytes()...)
	manifest := extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: build(t, "./plugin")}}, Timeout: uint64(time.Minute.Milliseconds())}
	plugin, err := extism.NewPlugin(t.Context(), manifest, extism.PluginConfig{EnableWasi: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plugin.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return func() error {
		if status, _, err := plugin.Call("touch", input); err != nil || status != 0 {
			return fmt.Errorf("status %d: %w", status, err)
		}
		return nil
	}
}

// TestFigures prints one line of JSON, as "shardmill bench --output json" does: the time of a call with 100 records of 1 KiB, the shortest
// of many each, in turn. It asserts nothing about time.
func TestFigures(t *testing.T) {
	var b record.Builder
	for range 100 {
		if err := b.Append(record.Record{Key: []byte("partition"), Data: make([]byte, 1024)}); err != nil {
			t.Fatal(err)
		}
	}
	ways := []func() error{ours(t, b.Run()), theirs(t, b.Run())}
	var best [2]time.Duration
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); {
		for n, call := range ways {
			began := time.Now()
			if err := call(); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); best[n] == 0 || took < best[n] {
				best[n] = took
			}
		}
	}
	micro := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	ratio := best[0].Seconds() / best[1].Seconds()
	line, err := json.Marshal(map[string]any{
		"name": "invoke.batch100.extism", "value": micro(best[0]), "unit": "µs", "baseline": micro(best[1]), "ratio": ratio,
		"goal": "ratio <= 0.333", "met": ratio <= 1.0/3,
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(line))
}
