package main

import (
	"path/filepath"
	"testing"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// What is measured is what is said: one of 10,000 records, all in the first call, is given up, and the others are settled.
func TestBenchIsolatesOneRecord(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	if _, err := h.functions.Deploy(t.Context(), "poison", built(t, filepath.Join("testdata", "guests", "go")), runtime.Config{}); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"first", "second"} {
		if took, err := isolateOne(t.Context(), h, stream); err != nil || took <= 0 {
			t.Errorf("%v, %v", took, err)
		}
	}
}

// A function that lets the poison pass is an error, and no figure.
func TestBenchIsolateRefuses(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	if _, err := h.functions.Deploy(t.Context(), "poison", echoModule, runtime.Config{Emit: []string{"poison"}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.streams.Create(t.Context(), shards.Config{Name: "poison", Shards: 1}); err != nil {
		t.Fatal(err)
	}
	if took, err := isolateOne(t.Context(), h, "in"); err == nil {
		t.Errorf("it took %v", took)
	}
}
