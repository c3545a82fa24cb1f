package aws

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the surface. Those of records are the engines' own.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// newMetrics registers the metrics; with a nil Registerer they are counted and not shown.
func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shardmill_aws_requests_total",
			Help: "Requests in AWS's protocols, by operation and error code; the code is empty for a success.",
		}, []string{"operation", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "shardmill_aws_request_duration_seconds",
			Help:    "Time from a request's header to the end of its answer, by operation. Subscriptions last up to five minutes.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 300},
		}, []string{"operation"}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.duration)
	}
	return m
}

// observe counts one request; operation is empty when it named none.
func (m *metrics) observe(operation, code string, took time.Duration) {
	m.requests.WithLabelValues(operation, code).Inc()
	m.duration.WithLabelValues(operation).Observe(took.Seconds())
}
