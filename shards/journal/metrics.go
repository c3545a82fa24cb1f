package journal

import "github.com/prometheus/client_golang/prometheus"

// Metrics are counted over all journals that share them.
type Metrics struct {
	groups      prometheus.Counter
	groupPuts   prometheus.Histogram
	groupBytes  prometheus.Histogram
	sync        prometheus.Histogram
	failures    prometheus.Counter
	damage      prometheus.Counter
	diskReads   prometheus.Counter
	diskBytes   prometheus.Counter
	sharedReads prometheus.Counter
	cachedReads prometheus.Counter
	segments    prometheus.Counter
}

// NewMetrics makes the metrics and registers them; a nil registerer is allowed.
func NewMetrics(r prometheus.Registerer) *Metrics {
	const prefix = "shardmill_journal_"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets})
	}
	m := &Metrics{
		groups:      counter("groups_total", "Groups written, each with one fdatasync."),
		groupPuts:   histogram("group_puts", "Puts and checkpoints in one group of the group commit.", prometheus.ExponentialBuckets(1, 2, 12)),
		groupBytes:  histogram("group_bytes", "Bytes of one group.", prometheus.ExponentialBuckets(256, 4, 10)),
		sync:        histogram("commit_seconds", "Time of one group's write and fdatasync.", prometheus.ExponentialBuckets(20e-6, 2, 18)),
		failures:    counter("commit_failures_total", "Groups that could not be written."),
		damage:      counter("damage_total", "Damaged places found."),
		diskReads:   counter("disk_reads_total", "Reads of segment files by readers."),
		diskBytes:   counter("disk_read_bytes_total", "Bytes of segment files that readers read."),
		sharedReads: counter("shared_reads_total", "Reads that readers were spared because another had just read the same place."),
		cachedReads: counter("cached_reads_total", "Stored batches that readers got from the tail cache."),
		segments:    counter("segments_total", "Segments begun."),
	}
	if r != nil {
		r.MustRegister(m.groups, m.groupPuts, m.groupBytes, m.sync, m.failures, m.damage, m.diskReads, m.diskBytes, m.sharedReads, m.cachedReads, m.segments)
	}
	return m
}
