package shards

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmill/shardmill/sdk/record"
)

func TestMetrics(t *testing.T) {
	r := newRig(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	r.options.Registerer = registry
	r.open(t)
	st := r.create(t, Config{Name: "s", Shards: 4})
	r.create(t, Config{Name: "t"})
	put(t, st, "a", "a", "a")
	reader, err := st.Reader(put(t, st, "a")[0].Shard, Start{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.memLog(t, st).appendErr = errDisk
	if _, err := st.Put(t.Context(), []record.Record{{Key: []byte("k")}}, nil); !errors.Is(err, errDisk) {
		t.Errorf("put: %v", err)
	}
	size := (&record.Record{Key: []byte("a"), Data: []byte("a")}).Size()
	for name, want := range map[string]float64{
		"shardmill_stream_records_in_total": 4, "shardmill_stream_bytes_in_total": float64(4 * size),
		"shardmill_stream_records_out_total": 3, "shardmill_stream_bytes_out_total": float64(3 * size),
		"shardmill_stream_put_failures_total": 1, "shardmill_streams": 2, "shardmill_shards": 5,
	} {
		if got := metric(t, registry, name, "s"); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if n, err := testutil.GatherAndCount(registry, "shardmill_stream_put_duration_seconds"); n != 1 || err != nil {
		t.Errorf("%d put durations, %v", n, err)
	}
	if err := r.Delete(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry, "shardmill_stream_records_in_total"); n != 1 || err != nil {
		t.Errorf("%d streams counted after one of two was deleted, %v", n, err)
	}
	r.reopen(t) // on the same registry
}

func metric(t *testing.T, g prometheus.Gatherer, name, stream string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == stream) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}
