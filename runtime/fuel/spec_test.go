//go:build !race

// The race detector is left out: everything here is one goroutine, and under it the stacks that endless recursion fills take most of the time.

package fuel

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// The core specification's test suite, as wazero's own module has it, is run as it is and rewritten: every command must
// come to the same. Only damage in custom sections may go with them.

type suite struct {
	Commands []command `json:"commands"`
}

type command struct {
	Type     string `json:"type"`
	Line     int    `json:"line"`
	Name     string `json:"name"`
	File     string `json:"filename"`
	As       string `json:"as"`
	Kind     string `json:"module_type"`
	Expected []value
	Action   struct {
		Type   string  `json:"type"`
		Module string  `json:"module"`
		Field  string  `json:"field"`
		Args   []value `json:"args"`
	} `json:"action"`
}

type value struct {
	Type  string `json:"type"`
	Lane  string `json:"lane_type"`
	Value any    `json:"value"`
}

// appendTo appends the value as the engine takes it.
func (v value) appendTo(args []uint64) []uint64 {
	if v.Type != "v128" {
		text, _ := v.Value.(string)
		n, _ := strconv.ParseUint(text, 10, 64)
		if v.Type == "externref" && text != "null" {
			n++ // the engine takes 0 for null
		}
		return append(args, n)
	}
	width, _ := strconv.Atoi(v.Lane[1:])
	var halves [2]uint64
	for i, lane := range v.Value.([]any) {
		n, _ := strconv.ParseUint(lane.(string), 10, width)
		halves[i*width/64] |= n << (i * width % 64)
	}
	return append(args, halves[0], halves[1])
}

func TestSpecification(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles several thousand modules")
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Skipf("SKIPPED: the test suite is found with the go command: %v", err)
	}
	var files []string
	for _, folder := range []string{"v1", "v2", "tail-call"} {
		found, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "internal/integration_test/spectest", folder, "testdata/*.json"))
		if err != nil || len(found) == 0 {
			t.Skipf("SKIPPED: the module cache has no specification tests (%s) of wazero: %v", folder, err)
		}
		files = append(files, found...)
	}
	total := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var s suite
		if err := json.Unmarshal(b, &s); err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(filepath.Dir(file))) + "/" + strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			plain, rewritten := s.run(t, filepath.Dir(file), false), s.run(t, filepath.Dir(file), true)
			for i, c := range s.Commands {
				if plain[i] != rewritten[i] && !strings.Contains(name, "custom") {
					t.Errorf("line %d, %s %s: %s, and rewritten %s", c.Line, c.Type, c.Action.Field, plain[i], rewritten[i])
				}
			}
			total += len(s.Commands)
		})
	}
	t.Logf("%d commands of %d files", total, len(files))
}

// script is a run of one file.
type script struct {
	*engine
	dir     string
	rewrite bool
	named   map[string]api.Module
	last    api.Module
}

// run says what came of each command.
func (s *suite) run(t *testing.T, dir string, rewritten bool) (outcomes []string) {
	r := &script{engine: newEngine(t, wazero.NewRuntimeConfigCompiler(), 1000), dir: dir, rewrite: rewritten, named: map[string]api.Module{}}
	defer r.Close(context.Background())
	b, err := os.ReadFile(filepath.Join(dir, "../../testdata/spectest.wasm"))
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	if _, err := r.start(b, "spectest"); err != nil {
		t.Fatal(err)
	}
	for i := range s.Commands {
		as := ""
		if i+1 < len(s.Commands) && s.Commands[i+1].Type == "register" {
			as = s.Commands[i+1].As
		}
		outcomes = append(outcomes, r.do(&s.Commands[i], as))
	}
	return outcomes
}

func (r *script) do(c *command, as string) string {
	switch c.Type {
	case "module":
		m, err := r.module(c.File, as)
		if err != nil {
			return "fails: " + reason(err)
		}
		r.last = m
		if c.Name != "" {
			r.named[c.Name] = m
		}
		return "runs"
	case "assert_invalid", "assert_malformed", "assert_unlinkable", "assert_uninstantiable":
		if c.Kind != "text" {
			m, err := r.module(c.File, "")
			if err == nil {
				m.Close(context.Background())
			}
			return fmt.Sprintf("is valid: %v", err == nil)
		}
	case "action", "assert_return", "assert_trap", "assert_exhaustion":
		return r.act(c)
	}
	return ""
}

func (r *script) module(file, name string) (api.Module, error) {
	b, err := os.ReadFile(filepath.Join(r.dir, file))
	if err == nil && r.rewrite {
		b, err = Rewrite(b)
	}
	if err != nil {
		return nil, err
	}
	return r.InstantiateWithConfig(context.Background(), b, wazero.NewModuleConfig().WithName(name))
}

func (r *script) act(c *command) string {
	m := r.last
	if c.Action.Module != "" {
		m = r.named[c.Action.Module]
	}
	if m == nil {
		return "no module"
	}
	if c.Action.Type == "get" {
		return fmt.Sprint(m.ExportedGlobal(c.Action.Field).Get())
	}
	f := m.ExportedFunction(c.Action.Field)
	if f == nil {
		return "no function"
	}
	var args []uint64
	for _, a := range c.Action.Args {
		args = a.appendTo(args)
	}
	results, err := f.Call(context.Background(), args...)
	if err != nil {
		return reason(err)
	}
	if len(results) == 1 && f.Definition().ResultTypes()[0] == 0x70 {
		return fmt.Sprintf("null: %v", results[0] == 0) // a function's address
	}
	return fmt.Sprintf("%x", results)
}
