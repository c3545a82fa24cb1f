package catalog

import "github.com/prometheus/client_golang/prometheus"

// metrics of one catalog; registered only where a Registerer was given.
type metrics struct {
	alarms   *prometheus.CounterVec
	writes   *prometheus.HistogramVec
	snapshot prometheus.Histogram
	failures prometheus.Counter
	bytes    prometheus.Gauge
	entries  *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		alarms: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shardmill_catalog_alarms_total",
			Help: "Damage found in the catalog's files, by kind.",
		}, []string{"kind"}),
		writes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "shardmill_catalog_write_seconds",
			Help:    "Time from a write of a definition to its acknowledgement, by operation and result.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"operation", "result"}),
		snapshot: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "shardmill_catalog_snapshot_commit_seconds",
			Help:    "Time to write and sync a group of changes to the snapshot file.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14),
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shardmill_catalog_snapshot_failures_total",
			Help: "Commits to the snapshot file that failed; the writes in them were not acknowledged.",
		}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shardmill_catalog_snapshot_bytes",
			Help: "Length of the snapshot file.",
		}),
		entries: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "shardmill_catalog_entries",
			Help: "Entries in a table.",
		}, []string{"table"}),
	}
	for _, k := range alarmKinds {
		m.alarms.WithLabelValues(string(k)) // an alert on an increase needs the zero
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.alarms, m.writes, m.snapshot, m.failures, m.bytes, m.entries} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
