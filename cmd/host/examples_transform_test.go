package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/runtime"
)

// The examples that make JSON of text do it on the way to a destination, without a grant: what goes on, and what is said of the rest, is in
// the golden files.
func TestTransformExamples(t *testing.T) {
	h := testHost(t)
	for name, in := range map[string]string{"access-log": "access.log", "csv": "flights.csv"} {
		t.Run(name, func(t *testing.T) {
			module := filepath.Join(t.TempDir(), "f.wasm")
			writeFile(t, module, string(built(t, example(name))))
			play(t, h, map[string]string{"WASM": module, "NAME": name}, []step{{line: "function deploy NAME WASM", stdout: `Handles: +batch, transform\n`}})
			r := cli{env: endpoint(h)}.run(t.Context(), "function", "invoke", name, "--transform", "--file", filepath.Join(example(name), "testdata", in))
			if r.status != exitOK {
				t.Fatalf("%d %s", r.status, r.stderr)
			}
			golden(t, filepath.Join(example(name), "testdata", "transformed.golden"), r.stdout+r.stderr)
			for line := range strings.Lines(r.stdout) {
				if !json.Valid([]byte(line)) {
					t.Errorf("%s is no JSON", line)
				}
			}
		})
	}
}

// transformed is what a batch's records come to when they are transformed, as if what takes their place were emitted to the stream.
func (g guest) transformed(t *testing.T, call runtime.Call, stream string) said {
	t.Helper()
	call.Function, call.Kind = "guest", runtime.KindTransform
	var reply runtime.Reply
	if err := g.runtime.Invoke(t.Context(), call, &reply); err != nil {
		t.Fatal(err)
	}
	s := said{Emitted: map[string][]string{}}
	for _, r := range reply.Replacements() {
		s.Emitted[stream] = append(s.Emitted[stream], fmt.Sprintf("%s %x %s", r.Key, r.ExplicitHash, r.Data))
	}
	for _, o := range reply.Outcomes {
		s.Outcomes = append(s.Outcomes, fmt.Sprintf("%d %s %s", o.Index, o.Result, o.Reason))
	}
	return s
}
