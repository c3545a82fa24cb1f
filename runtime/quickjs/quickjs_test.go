package quickjs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/runtime/wasm"
	"github.com/shardmill/shardmill/sdk/abi"
	jssdk "github.com/shardmill/shardmill/sdk/js"
)

// The engine is the published one, and the compiler the one that is named.
func TestPinned(t *testing.T) {
	const want = "d4c9375f2b1ca4dc95f72c8aa2982a7a9951ac8011490d79c6582df732b4bbd9"
	sum := sha256.Sum256(engineCode)
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("quickjs.wasm has the checksum %s, want %s: see README.md", got, want)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "637,405 bytes") || len(engineCode) != 637405 {
		t.Errorf("quickjs.wasm has %d bytes", len(engineCode))
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(Compiler, "esbuild "), ",")
	if !strings.Contains(string(mod), "github.com/evanw/esbuild v"+version+"\n") {
		t.Errorf("the compiler is called %q, and go.mod has another", Compiler)
	}
}

// glue.wasm is made of glue.wat.
func TestGlueIsBuilt(t *testing.T) {
	tool, err := exec.LookPath("wat2wasm")
	if err != nil {
		t.Skip("LEFT OUT: wat2wasm (wabt) is not here")
	}
	out := filepath.Join(t.TempDir(), "glue.wasm")
	if said, err := exec.Command(tool, "glue.wat", "-o", out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	built, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(built, glueCode) {
		t.Error("glue.wasm is not what glue.wat gives: go generate ./runtime/quickjs")
	}
}

// The linked module has the ABI's exports, imports of WASI and of the host only, and every function of both.
func TestLink(t *testing.T) {
	m, err := parse(Module())
	if err == nil {
		err = errors.New("it has one segment of elements")
	}
	if !strings.Contains(err.Error(), "more than one active segment") { // the linked one has two
		t.Fatal(err)
	}
	names := map[string]bool{}
	for s, err := range wasm.Sections(Module()) {
		if err != nil {
			t.Fatal(err)
		}
		r := &wasm.Reader{B: s.Bytes}
		m = &module{exports: map[string]uint32{}}
		switch s.ID {
		case wasm.SectionImport:
			m.section(s.ID, r)
			for _, i := range m.imports {
				if i.module != "wasi_snapshot_preview1" && i.module != abi.ImportModule {
					t.Errorf("it imports %s.%s", i.module, i.name)
				}
				if names[i.name] {
					t.Errorf("it imports %s twice", i.name)
				}
				names[i.name] = true
			}
		case wasm.SectionExport:
			m.section(s.ID, r)
			if len(m.exports) != 8 {
				t.Errorf("it exports %v", m.exports)
			}
		case wasm.SectionCode:
			m.section(s.ID, r)
			e, _ := parse(engineCode)
			g, _ := parse(glueCode)
			if len(m.bodies) != len(e.bodies)+len(g.bodies) {
				t.Errorf("it has %d functions of %d and %d", len(m.bodies), len(e.bodies), len(g.bodies))
			}
		}
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if !names["fd_read"] || !names["clock_time_get"] {
		t.Errorf("it imports %v", names)
	}
	if !strings.HasPrefix(Digest(), "sha256:") {
		t.Errorf("digest %s", Digest())
	}
}

// What does not fit is an error, whatever it is.
func TestLinkRefuses(t *testing.T) {
	if _, err := link(engineCode, glueCode, []string{"nothing"}); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("an export that is not there: %v", err)
	}
	if _, err := link(glueCode, glueCode, nil); err == nil {
		t.Error("glue on glue is linked")
	}
	for _, at := range []int{9, 100, 1000, 100_000, len(engineCode) - 1} {
		if _, err := link(engineCode[:at], glueCode, nil); err == nil {
			t.Errorf("an engine of %d bytes is linked", at)
		}
	}
}

func TestInput(t *testing.T) {
	in := (&Script{Text: "text", Map: ""}).Input()
	for _, want := range []string{jssdk.Runtime, "text", ""} {
		n := int(binary.LittleEndian.Uint32(in))
		if got := string(in[4 : 4+n]); got != want || in[4+n] != 0 {
			t.Errorf("got %.20q, want %.20q", got, want)
		}
		in = in[5+n:]
	}
	if len(in) > 0 {
		t.Errorf("%d bytes too many", len(in))
	}
}
