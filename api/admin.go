package api

import (
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check is one thing that has to be in order before the host is ready.
type Check struct {
	Name  string       // names it in the answer of /readyz
	Ready func() error // nil when it is in order; called by several requests at once, answers soon
}

// AdminOptions of NewAdmin. The zero value works: always ready, no metrics.
type AdminOptions struct {
	Checks   []Check
	Gatherer prometheus.Gatherer // nil: /metrics is empty
}

// Readiness is the answer of /readyz: 200 when ready, 503 when not.
type Readiness struct {
	Ready  bool          `json:"ready"`
	Checks []CheckResult `json:"checks"`
}

// CheckResult is the answer of one Check.
type CheckResult struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"` // what is not in order
}

// NewAdmin makes the handler of the admin listener: /livez is 200 while the
// process can answer at all, /readyz is 200 when all checks pass and says which
// do not, /metrics has the metrics in Prometheus' form, and /debug/pprof/ the
// profiles. It is for operators and has no access control of its own.
func NewAdmin(o AdminOptions) http.Handler {
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
	r := chi.NewRouter()
	r.Get("/livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("ok\n"))
	})
	r.Get("/readyz", func(w http.ResponseWriter, _ *http.Request) { answerReadiness(w, o.Checks) })
	r.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{Timeout: 30 * time.Second}))
	r.HandleFunc("/debug/pprof/*", pprof.Index)
	r.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	r.HandleFunc("/debug/pprof/profile", pprof.Profile)
	r.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	r.HandleFunc("/debug/pprof/trace", pprof.Trace)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, problem(KindNoRoute, "There is nothing at %s; this listener has /livez, /readyz, /metrics and /debug/pprof/.", quote(r.URL.Path)))
	})
	return r
}

// answerReadiness runs the checks.
func answerReadiness(w http.ResponseWriter, checks []Check) {
	answer := Readiness{Ready: true, Checks: []CheckResult{}}
	for _, check := range checks {
		result := CheckResult{Name: check.Name, Ready: true}
		if err := check.Ready(); err != nil {
			result.Ready, result.Error = false, err.Error()
			answer.Ready = false
		}
		answer.Checks = append(answer.Checks, result)
	}
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, answer)
}
