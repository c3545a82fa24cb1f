package shards

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of a store. The counters work without a registerer too.
type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector

	recordsIn, bytesIn, recordsOut, bytesOut  *prometheus.CounterVec
	trimmed, putFailures, throttled, reshards *prometheus.CounterVec
	putDuration                               prometheus.Histogram
	segmentsTrimmed                           prometheus.Counter
}

// newMetrics makes the metrics of a store and registers them. count is called by those who collect.
func newMetrics(registerer prometheus.Registerer, count func() (streams, shards int)) *metrics {
	m := &metrics{registerer: registerer}
	perStream := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"stream"})
		m.all = append(m.all, v)
		return v
	}
	gauge := func(name, help string, value func() int) {
		m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return float64(value()) }))
	}
	m.recordsIn = perStream("shardmill_stream_records_in_total", "Records put and acknowledged.")
	m.bytesIn = perStream("shardmill_stream_bytes_in_total", "Encoded bytes of the records put and acknowledged.")
	m.recordsOut = perStream("shardmill_stream_records_out_total", "Records returned to readers, by all of them together.")
	m.bytesOut = perStream("shardmill_stream_bytes_out_total", "Encoded bytes of the records returned to readers.")
	m.trimmed = perStream("shardmill_stream_reader_trimmed_records_total", "Records that readers lost because they passed the retention first.")
	m.putFailures = perStream("shardmill_stream_put_failures_total", "Puts that failed as a whole.")
	m.throttled = perStream("shardmill_stream_throttled_records_total", "Records refused because of the rate limits of their shard.")
	m.reshards = perStream("shardmill_stream_reshards_total", "Changes of the shards: splits, merges and resizes, the store's own included.")
	m.putDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "shardmill_stream_put_duration_seconds", Help: "Time from a put's call to its acknowledgement.",
		Buckets: prometheus.ExponentialBuckets(25e-6, 2, 18), // 25 µs to 3.3 s
	})
	m.segmentsTrimmed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "shardmill_stream_segments_trimmed_total", Help: "Journal segments dropped because all their records passed the retention.",
	})
	m.all = append(m.all, m.putDuration, m.segmentsTrimmed)
	gauge("shardmill_streams", "Streams.", func() int { n, _ := count(); return n })
	gauge("shardmill_shards", "Open shards of all streams.", func() int { _, n := count(); return n })
	if registerer != nil {
		registerer.MustRegister(m.all...)
	}
	return m
}

// unregister takes the metrics back, so that another store can register its own.
func (m *metrics) unregister() {
	if m.registerer != nil {
		for _, c := range m.all {
			m.registerer.Unregister(c)
		}
	}
}

// streamMetrics are a stream's, looked up once.
type streamMetrics struct {
	recordsIn, bytesIn, recordsOut, bytesOut  prometheus.Counter
	trimmed, putFailures, throttled, reshards prometheus.Counter
	putDuration                               prometheus.Histogram
}

func (m *metrics) stream(name string) streamMetrics {
	return streamMetrics{
		recordsIn: m.recordsIn.WithLabelValues(name), bytesIn: m.bytesIn.WithLabelValues(name),
		recordsOut: m.recordsOut.WithLabelValues(name), bytesOut: m.bytesOut.WithLabelValues(name),
		trimmed: m.trimmed.WithLabelValues(name), putFailures: m.putFailures.WithLabelValues(name),
		throttled: m.throttled.WithLabelValues(name), reshards: m.reshards.WithLabelValues(name),
		putDuration: m.putDuration,
	}
}

// forget drops the metrics of a deleted stream.
func (m *metrics) forget(name string) {
	for _, v := range []*prometheus.CounterVec{m.recordsIn, m.bytesIn, m.recordsOut, m.bytesOut, m.trimmed, m.putFailures, m.throttled, m.reshards} {
		v.DeleteLabelValues(name)
	}
}

func (m *streamMetrics) put(records, bytes int, took time.Duration) {
	m.recordsIn.Add(float64(records))
	m.bytesIn.Add(float64(bytes))
	m.putDuration.Observe(took.Seconds())
}

func (m *streamMetrics) read(records, bytes int) {
	m.recordsOut.Add(float64(records))
	m.bytesOut.Add(float64(bytes))
}
