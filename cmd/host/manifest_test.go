package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/api"
)

func TestReadManifest(t *testing.T) {
	tests := []struct {
		name string
		yaml string
		want manifest
		err  string
	}{
		{name: "whole", yaml: `
emit: [delays, alerts]
timeout: 5s
memory: 64MiB
idleMemory: 256MiB
concurrency: 2
isolation: invocation
show:
  delays: [flights, "mean = delayMinutes/flights"]
`, want: manifest{
			Emit: []string{"delays", "alerts"}, Timeout: "5s", Memory: "64MiB", IdleMemory: "256MiB", Concurrency: 2, Isolation: "invocation",
			Show: map[string][]string{"delays": {"flights", "mean = delayMinutes/flights"}},
			config: api.FunctionConfig{
				Emit: []string{"delays", "alerts"}, Timeout: api.Duration(5 * time.Second), Memory: 64 << 20, IdleMemory: 256 << 20, Concurrency: 2, Isolation: "invocation",
			},
			columns: map[string][]tallyColumn{"delays": {
				{name: "flights", num: "flights"}, {name: "mean", num: "delayMinutes", den: "flights"},
			}},
		}},
		{name: "numbers as they are written", yaml: "emit: [007]\nenv: {ACCOUNT: 000000000010, NONE: }\n", want: manifest{
			Emit: []string{"007"}, Env: map[string]string{"ACCOUNT": "000000000010", "NONE": ""},
			config:  api.FunctionConfig{Emit: []string{"007"}, Env: map[string]string{"ACCOUNT": "000000000010", "NONE": ""}},
			columns: map[string][]tallyColumn{},
		}},
		{name: "tag", yaml: "emit: !!str a", err: "shardmill.yaml: a value is not of its key's kind"},
		{name: "empty", yaml: "", want: manifest{columns: map[string][]tallyColumn{}}},
		{name: "unknown key", yaml: "emits: [delays]", err: `unknown field "emits"`},
		{name: "wrong type", yaml: "emit: {a: b}", err: "shardmill.yaml: "},
		{name: "bad column", yaml: "show: {delays: [a = b]}", err: `"a = b" is neither a field nor`},
		{name: "bad timeout", yaml: "timeout: soon", err: `timeout is "soon"; it must be a duration`},
		{name: "bad memory", yaml: "memory: lots", err: `memory is "lots"; it must be a number of bytes`},
		{name: "bad idle memory", yaml: "idleMemory: lots", err: `idleMemory is "lots"; it must be a number of bytes`},
		{name: "not yaml", yaml: "emit: [", err: "shardmill.yaml: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, manifestFile), tt.yaml)
			got, err := readManifest(dir)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(manifest{}, tallyColumn{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestReadManifestAbsent(t *testing.T) {
	m, err := readManifest(t.TempDir())
	if err != nil || len(m.Emit) != 0 {
		t.Errorf("got %+v, %v", m, err)
	}
}
