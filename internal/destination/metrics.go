package destination

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count by scheme.
type metrics struct {
	deliveries, failures, bytes *prometheus.CounterVec
	seconds                     *prometheus.HistogramVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	labels := []string{"scheme"}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		deliveries: counter("shardmill_destination_deliveries_total", "Documents stored at on-failure destinations, by scheme of the URI."),
		failures:   counter("shardmill_destination_failures_total", "Tries to store a document that failed, by scheme of the URI."),
		bytes:      counter("shardmill_destination_bytes_total", "Bytes of the documents stored, by scheme of the URI."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "shardmill_destination_seconds", Help: "Duration of tries to store a document, by scheme of the URI.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, labels),
	}
	for _, scheme := range [...]string{schemeStream, schemeS3, schemeHTTP, schemeHTTPS, schemeFile} {
		m.deliveries.WithLabelValues(scheme) // so that each is there, as zero, before it first happens
		m.failures.WithLabelValues(scheme)
		m.bytes.WithLabelValues(scheme)
	}
	if registerer == nil {
		return m, nil
	}
	var err error
	for _, c := range m.all() {
		err = errors.Join(err, registerer.Register(c))
	}
	return m, err
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.deliveries, m.failures, m.bytes, m.seconds}
}

func (m *metrics) unregister(registerer prometheus.Registerer) {
	if registerer == nil {
		return
	}
	for _, c := range m.all() {
		registerer.Unregister(c)
	}
}

// delivered counts one try.
func (m *metrics) delivered(scheme string, bytes int, took time.Duration, err error) {
	m.seconds.WithLabelValues(scheme).Observe(took.Seconds())
	if err != nil {
		m.failures.WithLabelValues(scheme).Inc()
		return
	}
	m.deliveries.WithLabelValues(scheme).Inc()
	m.bytes.WithLabelValues(scheme).Add(float64(bytes))
}
