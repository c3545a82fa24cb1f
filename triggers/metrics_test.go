package triggers

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmill/shardmill/runtime"
)

const wantMetrics = `
# HELP shardmill_mapping_batch_records Records per invocation.
# TYPE shardmill_mapping_batch_records histogram
shardmill_mapping_batch_records_bucket{mapping="m",le="1"} 1
shardmill_mapping_batch_records_bucket{mapping="m",le="3"} 5
shardmill_mapping_batch_records_bucket{mapping="m",le="10"} 5
shardmill_mapping_batch_records_bucket{mapping="m",le="30"} 5
shardmill_mapping_batch_records_bucket{mapping="m",le="100"} 5
shardmill_mapping_batch_records_bucket{mapping="m",le="300"} 5
shardmill_mapping_batch_records_bucket{mapping="m",le="1000"} 5
shardmill_mapping_batch_records_bucket{mapping="m",le="3000"} 5
shardmill_mapping_batch_records_bucket{mapping="m",le="10000"} 5
shardmill_mapping_batch_records_bucket{mapping="m",le="+Inf"} 5
shardmill_mapping_batch_records_sum{mapping="m"} 9
shardmill_mapping_batch_records_count{mapping="m"} 5
# HELP shardmill_mapping_checkpoint_saves_total Checkpoints saved.
# TYPE shardmill_mapping_checkpoint_saves_total counter
shardmill_mapping_checkpoint_saves_total{mapping="m"} 2
# HELP shardmill_mapping_events_total Records of a shard by Lambda's event counts, of mappings that ask for them: polled, filtered_out, invoked, failed_invoke, dropped, on_failure_delivered.
# TYPE shardmill_mapping_events_total counter
shardmill_mapping_events_total{event="dropped",mapping="m",shard="shardId-000000000000"} 0
shardmill_mapping_events_total{event="dropped",mapping="m",shard="shardId-000000000001"} 2
shardmill_mapping_events_total{event="failed_invoke",mapping="m",shard="shardId-000000000000"} 2
shardmill_mapping_events_total{event="failed_invoke",mapping="m",shard="shardId-000000000001"} 5
shardmill_mapping_events_total{event="filtered_out",mapping="m",shard="shardId-000000000000"} 0
shardmill_mapping_events_total{event="filtered_out",mapping="m",shard="shardId-000000000001"} 0
shardmill_mapping_events_total{event="invoked",mapping="m",shard="shardId-000000000000"} 4
shardmill_mapping_events_total{event="invoked",mapping="m",shard="shardId-000000000001"} 5
shardmill_mapping_events_total{event="on_failure_delivered",mapping="m",shard="shardId-000000000000"} 0
shardmill_mapping_events_total{event="on_failure_delivered",mapping="m",shard="shardId-000000000001"} 0
shardmill_mapping_events_total{event="polled",mapping="m",shard="shardId-000000000000"} 2
shardmill_mapping_events_total{event="polled",mapping="m",shard="shardId-000000000001"} 3
# HELP shardmill_mapping_info 1 for the state that the mapping is in.
# TYPE shardmill_mapping_info gauge
shardmill_mapping_info{mapping="m",state="enabled"} 1
# HELP shardmill_mapping_invocations_total Invocations by result: ok, partial, failed, throttled, refused.
# TYPE shardmill_mapping_invocations_total counter
shardmill_mapping_invocations_total{mapping="m",result="failed"} 3
shardmill_mapping_invocations_total{mapping="m",result="ok"} 1
shardmill_mapping_invocations_total{mapping="m",result="partial"} 0
shardmill_mapping_invocations_total{mapping="m",result="refused"} 0
shardmill_mapping_invocations_total{mapping="m",result="throttled"} 1
# HELP shardmill_mapping_iterator_age_seconds Age of the oldest record of the shard that the mapping has not settled.
# TYPE shardmill_mapping_iterator_age_seconds gauge
shardmill_mapping_iterator_age_seconds{mapping="m",shard="shardId-000000000000"} 0
shardmill_mapping_iterator_age_seconds{mapping="m",shard="shardId-000000000001"} 0.1
# HELP shardmill_mapping_records_total Records by what became of them: polled (of these: filtered), delivered (each delivery counts), settled (of these: dropped, rejected), given_up, sent (to the on-failure destination), skipped.
# TYPE shardmill_mapping_records_total counter
shardmill_mapping_records_total{mapping="m",outcome="delivered"} 9
shardmill_mapping_records_total{mapping="m",outcome="dropped"} 1
shardmill_mapping_records_total{mapping="m",outcome="filtered"} 0
shardmill_mapping_records_total{mapping="m",outcome="given_up"} 2
shardmill_mapping_records_total{mapping="m",outcome="polled"} 5
shardmill_mapping_records_total{mapping="m",outcome="rejected"} 0
shardmill_mapping_records_total{mapping="m",outcome="sent"} 0
shardmill_mapping_records_total{mapping="m",outcome="settled"} 2
shardmill_mapping_records_total{mapping="m",outcome="skipped"} 0
# HELP shardmill_mapping_retries_total Deliveries of a batch beyond its first.
# TYPE shardmill_mapping_retries_total counter
shardmill_mapping_retries_total{mapping="m"} 2
# HELP shardmill_mapping_shards Shards of the mapping by state.
# TYPE shardmill_mapping_shards gauge
shardmill_mapping_shards{mapping="m",state="blocked"} 0
shardmill_mapping_shards{mapping="m",state="damaged"} 0
shardmill_mapping_shards{mapping="m",state="ended"} 0
shardmill_mapping_shards{mapping="m",state="retrying"} 1
shardmill_mapping_shards{mapping="m",state="running"} 1
shardmill_mapping_shards{mapping="m",state="stopped"} 0
shardmill_mapping_shards{mapping="m",state="waiting"} 0
`

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.close()
		reg := prometheus.NewPedanticRegistry()
		o := b.options()
		o.Registerer = reg
		var err error
		if b.Triggers, err = Open(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			switch {
			case c.Source.Shard == 1:
				return failure("poison")
			case len(b.functions.calls) == 1:
				return runtime.ErrThrottled
			}
			return outcomes(runtime.ResultDropped, "", 0)(ctx, c, reply)
		}
		b.stream.put(0, "0", "1")
		b.put(func(m *Mapping) { m.MaxAttempts, m.EventCounts = 2, true })
		time.Sleep(10 * time.Second)
		b.stream.put(1, "poison", "poison")
		time.Sleep(10 * time.Second)
		b.functions.setHandle(func(context.Context, runtime.Call, *runtime.Reply) error { return failure("poison") })
		b.stream.put(1, "poison")
		time.Sleep(100 * time.Millisecond)
		if err := testutil.GatherAndCompare(reg, strings.NewReader(wantMetrics)); err != nil {
			t.Error(err)
		}
		if err := b.Delete(t.Context(), "m"); err != nil {
			t.Fatal(err)
		}
		if n, err := testutil.GatherAndCount(reg); n != 0 || err != nil {
			t.Errorf("%d metrics after the mapping was deleted, %v", n, err)
		}
		if _, err := Open(t.Context(), o); err == nil {
			t.Error("two sets of triggers share a registry")
		}
		b.close()
		b.Triggers, err = Open(t.Context(), o)
		if err != nil {
			t.Errorf("open after close: %v", err)
		}
	})
}

// scraped are streams whose metrics somebody reads whenever one is opened.
type scraped struct {
	Streams
	scrape func()
}

func (s scraped) Open(name string) (Source, error) {
	s.scrape()
	return s.Streams.Open(name)
}

// Metrics can be read while a host takes up the mappings that it finds.
func TestMetricsWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.put(nil)
		b.put(func(m *Mapping) { m.Name = "n" })
		b.close()
		o, registry, reads := b.options(), prometheus.NewRegistry(), 0
		o.Registerer = registry
		o.Streams = scraped{b.streams, func() {
			reads++
			if n, err := testutil.GatherAndCount(registry, "shardmill_mapping_info"); n != reads-1 || err != nil {
				t.Errorf("read %d: %d mappings, %v", reads, n, err)
			}
		}}
		var err error
		if b.Triggers, err = Open(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if reads != 2 {
			t.Errorf("read %d times", reads)
		}
	})
}
