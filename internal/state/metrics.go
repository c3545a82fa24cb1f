package state

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	commits  prometheus.Histogram
	outcomes *prometheus.CounterVec
	batches  prometheus.Counter
	damaged  prometheus.Counter
	sizes    *sizes
}

// outcomeOf names what became of a commit.
func outcomeOf(err error) string {
	for _, row := range []struct {
		err  error
		name string
	}{{nil, "ok"}, {ErrConflict, "conflict"}, {ErrFull, "full"}, {ErrNoSpace, "no_space"}} {
		if err == row.err || err != nil && errors.Is(err, row.err) {
			return row.name
		}
	}
	return "failed"
}

func newMetrics(s *Store) (*metrics, error) {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("shardmill_state_"+name, help, nil, nil)
	}
	m := &metrics{
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "shardmill", Subsystem: "state", Name: "commit_seconds",
			Help: "Time to make a group of batches durable.", Buckets: prometheus.ExponentialBuckets(1e-4, 2, 16),
		}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "shardmill", Subsystem: "state", Name: "commits_total", Help: "Changes of state, each of one call or from outside, by what came of them.",
		}, []string{"outcome"}),
		batches: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "shardmill", Subsystem: "state", Name: "batches_total", Help: "Batches that were written or refused.",
		}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "shardmill", Subsystem: "state", Name: "damaged_reads_total", Help: "Reads that found damage.",
		}),
		sizes: &sizes{
			store: s, tables: desc("tables", "Tables that hold something."),
			keys: desc("keys", "Entries of all tables."), bytes: desc("bytes", "Bytes of all tables but those of shadows, as they count for the limit."),
		},
	}
	if s.options.Registerer == nil {
		return m, nil
	}
	for _, c := range m.collectors() {
		if err := s.options.Registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.commits, m.outcomes, m.batches, m.damaged, m.sizes}
}

func (m *metrics) unregister(r prometheus.Registerer) {
	if r == nil {
		return
	}
	for _, c := range m.collectors() {
		r.Unregister(c)
	}
}

func (m *metrics) observe(batches int, took time.Duration) {
	m.batches.Add(float64(batches))
	m.commits.Observe(took.Seconds())
}

// sizes tells how much there is when it is asked.
type sizes struct {
	store               *Store
	tables, keys, bytes *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (z *sizes) Describe(to chan<- *prometheus.Desc) {
	to <- z.tables
	to <- z.keys
	to <- z.bytes
}

// Collect implements prometheus.Collector.
func (z *sizes) Collect(to chan<- prometheus.Metric) {
	z.store.mu.Lock()
	tables, keys, bytes := len(z.store.sizes), int64(0), z.store.totals[""]
	for _, size := range z.store.sizes {
		keys += size.Keys
	}
	z.store.mu.Unlock()
	to <- prometheus.MustNewConstMetric(z.tables, prometheus.GaugeValue, float64(tables))
	to <- prometheus.MustNewConstMetric(z.keys, prometheus.GaugeValue, float64(keys))
	to <- prometheus.MustNewConstMetric(z.bytes, prometheus.GaugeValue, float64(bytes))
}
