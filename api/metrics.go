package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the surface. Those of records, invocations and mappings are the
// engines' own.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// newMetrics registers the metrics; with a nil Registerer they are counted and
// not shown.
func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shardmill_http_requests_total",
			Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "shardmill_http_request_duration_seconds",
			Help:    "Time from a request's header to the end of its answer, by route and method. Follows last as long as they are followed.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}, []string{"route", "method"}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.duration)
	}
	return m
}

// observe counts one request. Status 0 is an empty answer, which net/http sends as 200.
func (m *metrics) observe(rt route, status int, took time.Duration) {
	if status == 0 {
		status = 200
	}
	m.requests.WithLabelValues(rt.path, rt.method, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(rt.path, rt.method).Observe(took.Seconds())
}
