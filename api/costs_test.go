package api

import (
	"testing"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

func TestCosts(t *testing.T) {
	t.Parallel()
	h := boot(t)
	h.deploy(t, "echo", FunctionConfig{})
	if _, err := h.Invoke(t.Context(), "echo", "", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Costs(t.Context(), "echo"); err != nil || got.Calls != 1 || got.Fuel < 1 || got.FuelPerCall != got.Fuel || got.FuelPerRecord != 0 || got.Keys == nil || got.Heaviest == nil {
		t.Errorf("costs %+v, %v", got, err)
	}
	if _, err := h.Costs(t.Context(), "none"); asProblem(t, err).Status != 404 {
		t.Errorf("a function that is not there: %v", err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	out := costsOf(&runtime.Costs{
		Calls: 4, Records: 10, Fuel: 1000, RecordFuel: 900, Sampled: 800, Keys: []runtime.KeyCost{{Key: "k", Fuel: 600, Over: 5}},
		Heaviest: []runtime.RecordCost{{Source: runtime.Source{Mapping: "m", Stream: "s", Shard: 2, First: 9, Last: 9}, Key: "k", Fuel: 500, Invocation: "i", Version: 3, Time: at}},
	})
	if out.FuelPerCall != 250 || out.FuelPerRecord != 90 || out.Keys[0] != (KeyCost{"k", 600, 5, 0.75}) {
		t.Errorf("%+v", out)
	}
	if want := (RecordCost{"m", "s", out.Heaviest[0].Shard, 9, "k", 500, "i", 3, at}); out.Heaviest[0] != want || want.Shard == "" {
		t.Errorf("%+v, want %+v", out.Heaviest[0], want)
	}
}
